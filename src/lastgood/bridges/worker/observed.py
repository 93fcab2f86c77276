"""What a program has read of the file system: what it was then, and what is different since.

Python's audit events tell of files and directories just before they are read (ahead.py). There are none of questions for the
state of a file (``os.path.exists``, ``os.stat``), so these functions are replaced while the program is observed. What C code
reads, and what a directory listing says besides names, is not seen.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection
from stat import S_IFDIR, S_IFLNK, S_IFMT
from time import time_ns

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Observed", "is_bytecode"]

_IMPORTLIB = "<frozen importlib._bootstrap_external>"
_CLOCKS = ("/proc/", "/sys/", "/dev/")  # not files: they read as the clock does
_TICK = 20_000_000  # nanoseconds; file systems keep times no finer than the kernel's tick, which is at most 10 ms
_PYCACHE = f"{os.sep}__pycache__{os.sep}"
_PATHS = frozenset(("genericpath", "pathlib", "posixpath"))
_STATES = frozenset(("getsize", "getmtime", "getatime", "getctime", "samefile", "stat", "lstat"))
_SUPPORTS = ("supports_dir_fd", "supports_effective_ids", "supports_fd", "supports_follow_symlinks")

_RACING = object()


def is_bytecode(path: str) -> bool:
    """Return whether the import system keeps compiled code in this file."""
    return _PYCACHE in path


class Observed:
    """What was read so far. ``ignored``: directories whose files do not count."""

    def __init__(self, ignored: tuple[str, ...] = ()) -> None:
        self._ignored = tuple(f"{each}{os.sep}" for each in ignored) + _CLOCKS
        self._files: dict[str, Any] = {}
        self._listings: dict[tuple[str, bool], Any] = {}
        self._asked: dict[tuple[Any, ...], Any] = {}
        self._replaced: dict[str, tuple[Any, Any]] = {}

    # Files that are read.

    def file(self, path: Any) -> None:
        """Note a file that is about to be read; its bytecode stands for the source, too."""
        name = _absolute(path)
        if name is None or name in self._files or name.startswith(self._ignored):
            return
        self._files[name] = _state(name, now=time_ns())
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
        name = _absolute(os.curdir if path is None else path)
        key = name or "", reader == _IMPORTLIB
        if name is not None and key not in self._listings:
            self._listings[key] = _names(name)

    # Questions for the state of a file.

    def replace_questions(self) -> None:
        """Replace the functions that ask for it, until :meth:`restore_questions`."""
        for name, note in (("stat", self._note_state), ("lstat", self._note_state), ("access", self._note_access)):
            real = getattr(os, name)
            self._replaced[name] = real, self._replacement(real, note)
        for name, (real, replacement) in self._replaced.items():
            setattr(os, name, replacement)
            for supported in (getattr(os, each) for each in _SUPPORTS):
                if real in supported:
                    supported.add(replacement)

    def restore_questions(self) -> None:
        """Restore the functions. Who has imported a replacement keeps it; it does the same then."""
        replaced, self._replaced = self._replaced, {}
        for name, (real, replacement) in replaced.items():
            if getattr(os, name) is replacement:
                setattr(os, name, real)
            for supported in (getattr(os, each) for each in _SUPPORTS):
                supported.discard(replacement)

    def _replacement(self, real: Any, note: Callable[..., object]) -> Any:
        def ask(*args: Any, **options: Any) -> Any:
            if self._replaced:
                try:
                    note(real, *args, **options)
                except (OSError, ValueError, TypeError):
                    return real(*args, **options)  # which raises it, too
            return real(*args, **options)

        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(ask, name, getattr(real, name))
        return ask

    def _note_state(self, real: Callable[..., Any], path: Any, **options: Any) -> None:
        follows = real is not self._replaced["lstat"][0] and options.get("follow_symlinks", True)
        name = None if options.get("dir_fd") is not None else _absolute(path)
        if name is not None and not name.startswith(self._ignored):
            whole = _asks_for_state(sys._getframe(2))
            self._asked.setdefault((_state, name, follows, whole), _state(name, follows, whole, time_ns()))

    def _note_access(self, real: Callable[..., Any], path: Any, mode: int, **options: Any) -> None:
        name = None if options.get("dir_fd") is not None else _absolute(path)
        if name is not None and not name.startswith(self._ignored):
            self._asked.setdefault((real, name, mode), real(name, mode))

    # The comparison.

    def difference(self, imported: Collection[str] = ()) -> str | None:
        """Return what is different now; None if nothing is.

        ``imported`` are the last names of the modules that were looked up: no other names count in the directories that the
        import system has listed.
        """
        for name, state in self._files.items():
            if state is _RACING or _state(name) != state:
                return f"{name} has changed since the spare read it"
        for (name, is_search), names in self._listings.items():
            now = _names(name)
            if now == names:
                continue
            others = {*(names or ())} ^ {*(now or ())}
            if not is_search or not {each.partition(".")[0] for each in others}.isdisjoint(imported):
                return f"{name} has other files than when the spare listed it"
        for (ask, name, *how), answer in self._asked.items():
            if answer is _RACING or ask(name, *how) != answer:
                return f"{name} is not what it was when the spare asked for its state"
        return None


def _asks_for_state(frame: Any) -> bool:
    """Return whether a caller of ``os.stat`` asks for more than whether there is a file, and of which kind.

    ``os.path.exists`` does not, nor does ``Path.exists``, which calls ``Path.stat``.
    """
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _PATHS:
        if frame.f_code.co_name not in _STATES:
            return False
        frame = frame.f_back
    return True


_stat, _readlink = os.stat, os.readlink


def _state(path: str, follows: bool = True, whole: bool = True, now: int = 0) -> Any:
    """Return what changes when a file changes; ``_RACING`` if it was just written, so that a further change may not show.

    If not ``whole``, only its kind counts, and where a link leads. A directory changes with each file in it, which does not
    count.
    """
    try:
        found = _stat(path, follow_symlinks=follows)
        kind = S_IFMT(found.st_mode)
        if kind == S_IFLNK:
            return kind, _readlink(path)
    except (OSError, ValueError):
        return None
    if not whole:
        return kind
    if kind == S_IFDIR:
        return kind, found.st_ino
    if now and now - found.st_mtime_ns < _TICK:
        return _RACING
    return found.st_ino, found.st_size, found.st_mtime_ns


def _names(path: str) -> list[str] | None:
    try:
        return os.listdir(path)
    except OSError:
        return None


def _absolute(path: Any) -> str | None:
    try:
        return os.path.abspath(os.fsdecode(path))
    except TypeError:  # a descriptor
        return None
