"""The host: the program on the other side of a place. It is sent through the connection and run from there, never from a disk.

Like the worker it is made of the standard library alone, for Python 3.9 and newer. The app imports :mod:`.messages`.
"""
