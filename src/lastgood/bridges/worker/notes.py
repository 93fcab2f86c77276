"""Notes on exceptions, on every Python that a worker runs in."""

from __future__ import annotations

__all__ = ["add_note"]


def add_note(error: BaseException, note: str) -> None:
    """Add a note, which the app shows behind the error. Before Python 3.11 there is no method for it."""
    if hasattr(error, "add_note"):
        error.add_note(note)
    else:
        error.__notes__ = [*getattr(error, "__notes__", ()), note]
