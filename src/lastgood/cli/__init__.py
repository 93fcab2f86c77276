"""The ``lastgood`` command."""

from lastgood.cli.commands import main

__all__ = ["main"]
