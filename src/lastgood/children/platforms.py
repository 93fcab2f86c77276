"""Platforms on which no process can be started as lastgood starts one."""

from __future__ import annotations

import sys

from lastgood.errors import Unsupported

__all__ = ["require_processes", "without_processes"]

_NAMES = {"win32": "Windows", "emscripten": "Pyodide", "wasi": "WASI", "ios": "iOS"}


def without_processes() -> str | None:
    """Return the name of this platform for people if it has no processes, or others than Linux and macOS; else None."""
    return _NAMES.get(sys.platform)


def require_processes(what: str) -> None:
    """Raise :class:`Unsupported`, at once and with what works, where ``what`` cannot."""
    platform = without_processes()
    if platform is not None:
        raise Unsupported(what, platform)
