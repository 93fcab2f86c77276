"""What a session and the bridges in it tell each other besides calls, by context variables: these also reach a bridge inside
the user's own bridge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["EDITED_MODULES", "LAST_EDIT", "LATE_IMPORT_LISTENER", "EditedModule", "LoadedLate"]

LAST_EDIT: ContextVar[tuple[Path, ...]] = ContextVar("last_edit", default=())
"""The files that were edited last, for the ``prepare_spare()`` of a bridge that is called in this context."""

EditedModule = tuple[str, str, str]
"""Name and path of a module that differs from the live generation's, and the digest that it has there ("": it is new)."""

EDITED_MODULES: ContextVar[Sequence[EditedModule]] = ContextVar("edited_modules", default=())
"""The modules that the workers of a bridge compile before it is ready, for an ``init()`` that is called in this context.

What import statements inside functions lead to would else be found broken by a call.
"""


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

A session sets it around ``create_bridge`` and ``init()``.
"""
