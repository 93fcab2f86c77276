"""Modules that a worker loads though no import statement leads to them, and who hears of it (contract §9)."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["LATE_IMPORT_LISTENER", "LoadedLate"]


@dataclass(frozen=True, slots=True)
class LoadedLate:
    """A local module that no import statement leads to: the worker pinned it when it was first imported.

    ``path`` is the user's file, as the worker's Python names it, ``source`` the bytes that it runs (None: they are more than
    is held), and ``digest`` theirs.
    """

    name: str
    path: Path
    digest: str
    source: bytes | None = field(default=None, repr=False, compare=False)


LATE_IMPORT_LISTENER: ContextVar[Callable[[LoadedLate], object] | None] = ContextVar("hears_of_late", default=None)
"""Who hears of what the bridges load late that are made in this context.

A session sets it around ``create_bridge`` and ``init()``, so that it hears of it also where the user's bridge has another inside.
"""
