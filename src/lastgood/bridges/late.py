"""Modules that a worker loads though no import statement leads to them, and a listener for these."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["LATE_IMPORT_LISTENER", "LoadedLate"]


@dataclass(frozen=True, slots=True)
class LoadedLate:
    """A local module that no import statement leads to: the worker pinned it when it was first imported.

    ``path`` is the user's file as the worker's Python names it, ``source`` the bytes that the worker runs (None if too many
    bytes are kept already, see ``MAX_LATE_BYTES``), ``digest`` their digest.
    """

    name: str
    path: Path
    digest: str
    source: bytes | None = field(default=None, repr=False, compare=False)


LATE_IMPORT_LISTENER: ContextVar[Callable[[LoadedLate], object] | None] = ContextVar(
    "late_import_listener", default=None
)
"""The listener for late imports of bridges that are created in this context.

A session sets it around ``create_bridge`` and ``init()``, so it also applies to a bridge inside the user's own bridge.
"""
