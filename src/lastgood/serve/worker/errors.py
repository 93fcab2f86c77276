"""What keeps an application from being served, apart from what it raises itself."""

from __future__ import annotations

__all__ = ["ServeError"]


class ServeError(Exception):
    """The text says it all: it is shown without a traceback."""
