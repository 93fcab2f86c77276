"""Intermediate representation to text."""
