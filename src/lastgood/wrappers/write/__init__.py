"""Rendering of the intermediate representation as text."""
