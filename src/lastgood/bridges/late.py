"""What a session and the bridges in it tell each other besides calls, by context variables: these also reach a bridge inside
the user's own bridge."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lastgood.bridges.worker.frames import FrameError
from lastgood.bridges.worker.manifest import digest_of

__all__ = ["LAST_EDIT", "LATE_IMPORT_LISTENER", "LoadedLate", "decode_loaded"]

LAST_EDIT: ContextVar[tuple[Path, ...]] = ContextVar("last_edit", default=())
"""The files that were edited last, for the ``prepare_spare()`` of a bridge that is called in this context."""


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


def decode_loaded(loads: Callable[[bytes], Any], body: bytes, import_path: Sequence[str]) -> LoadedLate:
    """Decode a LOADED frame by ``loads``. The path will be watched, so it must be a local module's; raise FrameError otherwise."""
    try:
        name, path, source = loads(body)
    except (ValueError, TypeError) as error:
        raise FrameError(str(error)) from None
    if not (isinstance(name, str) and isinstance(path, str) and isinstance(source, bytes)):
        raise FrameError("a LOADED frame without a name, a path and a source")
    is_local = any(path.startswith(os.path.join(entry, "")) for entry in import_path)
    if not (is_local and os.path.normpath(path) == path and "\0" not in path):
        raise FrameError(f"{path[:200]!r} is not the path of a local module")
    return LoadedLate(name, Path(path), digest_of(source), source)
