"""The user's own generators: programs and Python functions that the config names (see docs/how-to/generators.md).

commands    config and sources -> argument lists; pure
inputs      the paths that a generator depends on, and the sources that its globs match
process     one run of a program: its own process group, a timeout, captured output
function    the program of the process that calls a Python function
collecting  moves the files that a generator has written into the stage
checking    compiles or imports staged Python files before they are promoted
running     runs every generator of a config into a stage; a cycle calls this

Generators write into a stage, and their files are promoted and rolled back like generated wrappers.
"""
