"""What a program has read of the file system: what it was then, and what is different since.

Python's audit events tell of files and directories just before they are read (ahead.py), but not of questions for the state of a
file, see questions.py. What C code reads, and what a directory listing says besides names, is not seen.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from os import listdir  # bound here, since the program may replace it
from time import time_ns

from .questions import RACING, Questions, absolute, state_of

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Observed", "is_bytecode"]

_IMPORTLIB = "<frozen importlib._bootstrap_external>"
_CLOCKS = ("/proc/", "/sys/", "/dev/")  # not files: they read as the clock does
_PYCACHE = f"{os.sep}__pycache__{os.sep}"


def is_bytecode(path: str) -> bool:
    """Return whether the import system keeps compiled code in this file."""
    return _PYCACHE in path


class Observed:
    """What was read so far. ``ignored``: directories whose files do not count."""

    def __init__(self, ignored: tuple[str, ...] = ()) -> None:
        self._ignored = tuple(f"{each}{os.sep}" for each in ignored) + _CLOCKS
        self._files: dict[str, Any] = {}
        self._listings: dict[tuple[str, bool], Any] = {}
        self.questions = Questions(self._ignored)

    # Files that are read.

    def file(self, path: Any) -> None:
        """Note a file that is about to be read; its bytecode stands for the source, too."""
        name = absolute(path)
        if name is None or name in self._files or name.startswith(self._ignored):
            return
        self._files[name] = state_of(name, now=time_ns())
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

    # Directories that are listed.

    def directory(self, path: Any, reader: str) -> None:
        """Note a directory that is about to be listed by code of the file ``reader``."""
        name = absolute(os.curdir if path is None else path)
        key = name or "", reader == _IMPORTLIB
        if name is not None and key not in self._listings:
            self._listings[key] = _names(name)

    # The comparison.

    def difference(self, imported: Collection[str] = ()) -> str | None:
        """Return what is different now; None if nothing is.

        ``imported`` are the last names of the modules that were looked up: no other names count in the directories that the
        import system has listed.
        """
        for name, state in self._files.items():
            if state is RACING or state_of(name) != state:
                return f"{name} has changed since the spare read it"
        for (name, is_search), names in self._listings.items():
            now = _names(name)
            if now == names:
                continue
            others = {*(names or ())} ^ {*(now or ())}
            if not is_search or not {each.partition(".")[0] for each in others}.isdisjoint(imported):
                return f"{name} has other files than when the spare listed it"
        return self.questions.difference()


def _names(path: str) -> list[str] | None:
    try:
        return listdir(path)
    except OSError:
        return None
