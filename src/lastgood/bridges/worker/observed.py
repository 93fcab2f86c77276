"""Files and directories that a program has read: what they were then, and what has changed since.

Python's audit events tell of them, just before the operation (ahead.py). What is read by C code, and what is only asked for its
existence, size or time (``os.path.exists``), is not told.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Observed", "is_bytecode"]

_IMPORTLIB = "<frozen importlib._bootstrap_external>"
_CLOCKS = ("/proc/", "/sys/", "/dev/")  # not files: they read as the clock does
_TICK = 20_000_000  # nanoseconds; file systems keep times no finer than the kernel's tick, which is at most 10 ms
_PYCACHE = f"{os.sep}__pycache__{os.sep}"


def is_bytecode(path: str) -> bool:
    """Return whether the import system keeps compiled code in this file."""
    return _PYCACHE in path


class Observed:
    """What was read so far. ``ignored``: directories whose files do not count."""

    def __init__(self, ignored: tuple[str, ...] = ()) -> None:
        self._ignored = tuple(f"{each}{os.sep}" for each in ignored) + _CLOCKS
        self._files: dict[str, Any] = {}
        self._listings: dict[str, Any] = {}

    def file(self, path: Any) -> None:
        """Note a file that is about to be read; its bytecode stands for the source, too."""
        name = _absolute(path)
        if name is None or name in self._files or name.startswith(self._ignored):
            return
        self._files[name] = _stamp(name, time.time_ns())
        if is_bytecode(name):
            head, _, tail = name.rpartition(_PYCACHE)
            self.file(f"{head}{os.sep}{tail.partition('.')[0]}.py")

    def loaded(self) -> None:
        """Note the files of all modules that are loaded."""
        for module in list(sys.modules.values()):
            for name in ("__file__", "__cached__"):
                path = getattr(module, name, None)
                if isinstance(path, str):
                    self.file(path)

    def directory(self, path: Any, reader: str) -> None:
        """Note a directory that is about to be listed by code of the file ``reader``. The import system minds no order."""
        name = _absolute(os.curdir if path is None else path)
        if name is not None:
            ordered = reader != _IMPORTLIB
            if not (name in self._listings and self._listings[name][0] >= ordered):
                self._listings[name] = ordered, _names(name, ordered=ordered)

    def difference(self) -> str | None:
        """Return which file or directory is not what it was when it was read; None if all are."""
        for name, stamp in self._files.items():
            if stamp is _RACING or _stamp(name, 0) != stamp:
                return f"{name} has changed since the spare read it"
        for name, (ordered, names) in self._listings.items():
            if _names(name, ordered=ordered) != names:
                return f"{name} has other files than when the spare listed it"
        return None


_RACING = object()


def _stamp(path: str, now: int) -> Any:
    """Return what changes when a file changes; ``_RACING`` if it was just written, so that a further change may not show."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    if now and now - found.st_mtime_ns < _TICK:
        return _RACING
    return found.st_ino, found.st_size, found.st_mtime_ns


def _names(path: str, *, ordered: bool) -> Any:
    try:
        names = os.listdir(path)
    except OSError:
        return None
    return names if ordered else {name for name in names if name != "__pycache__"}


def _absolute(path: Any) -> str | None:
    try:
        return os.path.abspath(os.fsdecode(path))
    except TypeError:  # a descriptor
        return None
