"""Questions of a program for the state of a file, such as ``os.stat``: what the answers were, and which are different since.

There are no audit events of them, so these functions of :mod:`os` are replaced while the program is observed. That must not show
afterwards: a program that keeps a replacement, or that sees an error which came through one, is spoilt.
"""

from __future__ import annotations

import os
import sys
from os import fsdecode
from os.path import abspath  # bound here, since the program may replace them
from stat import S_IFDIR, S_IFLNK, S_IFMT
from time import time_ns

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["RACING", "Questions", "absolute", "state_of"]

_NAMES = ("access", "lstat", "readlink", "stat")
_PATHS = frozenset(("genericpath", "pathlib", "posixpath"))
_STATES = frozenset(("getsize", "getmtime", "getatime", "getctime", "samefile", "stat", "lstat"))
_SUPPORTS = ("supports_dir_fd", "supports_effective_ids", "supports_fd", "supports_follow_symlinks")
# The classes of the standard library that keep one of them: of glob in Python 3.13, of pathlib in 3.9 and 3.10.
_HOLDERS = (("glob", "_StringGlobber"), ("pathlib", "_NormalAccessor"))
_DROP_ERRORS = frozenset((("importlib.metadata", "mtime"), ("importlib_metadata", "mtime")))
"""Functions that ask for a state and drop an error at once. This one asks for all of ``sys.path``, some of which never exists."""
_TICK = 20_000_000  # nanoseconds; file systems keep times no finer than the kernel's tick, which is at most 10 ms

RACING = object()
"""The state of a file that was just written, so that a further change may not show."""

_stat, _readlink, _access = os.stat, os.readlink, os.access


class _Question:
    """Replaces one of the functions. It is none itself: as an attribute of a class, a function would become a method."""

    def __init__(self, real: Any, questions: Questions) -> None:
        self.real = real
        self._questions = questions
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            setattr(self, name, getattr(real, name))

    def __call__(self, *args: Any, **options: Any) -> Any:
        caller = sys._getframe(1)
        is_seen = _asks_for_state(caller)
        self._questions.note(self.real, args, options, whole=is_seen)
        try:
            return self.real(*args, **options)
        except Exception:
            if is_seen and (caller.f_globals.get("__name__"), caller.f_code.co_name) not in _DROP_ERRORS:
                self._questions.spoilt = f"the program has seen an error of os.{self.real.__name__}"
            raise


class Questions:
    """What was asked so far. Names that begin with one of ``ignored`` do not count."""

    def __init__(self, ignored: tuple[str, ...]) -> None:
        self.spoilt: str | None = None
        """The reason why the program differs from one whose functions were not replaced."""
        self._ignored = ignored
        self._answers: dict[tuple[Any, ...], Any] = {}
        self._replaced: list[_Question] = []
        self._references: list[int] = []

    def replace(self) -> None:
        """Replace the functions, until :meth:`restore`."""
        for name in _NAMES:
            self._replace(name)
        self._references = self._count_references()

    def _replace(self, name: str) -> None:
        question = _Question(getattr(os, name), self)
        setattr(os, name, question)
        for supported in (getattr(os, each) for each in _SUPPORTS):
            if question.real in supported:
                supported.add(question)
        self._replaced.append(question)

    def _give_back(self) -> None:
        """Give the functions themselves to the classes of the standard library that have kept a replacement."""
        for module, holder in _HOLDERS:
            kept = getattr(sys.modules.get(module), holder, None)
            for name, value in list(vars(kept).items()) if kept is not None else ():
                is_static = isinstance(value, staticmethod)
                question = value.__func__ if is_static else value
                if isinstance(question, _Question):
                    setattr(kept, name, staticmethod(question.real) if is_static else question.real)

    def _count_references(self) -> list[int]:
        return [sys.getrefcount(question) for question in self._replaced]

    def restore(self) -> None:
        """Restore the functions."""
        for question in self._replaced:
            setattr(os, question.real.__name__, question.real)
            for supported in (getattr(os, each) for each in _SUPPORTS):
                supported.discard(question)

    def note(self, real: Any, args: tuple[Any, ...], options: dict[str, Any], *, whole: bool) -> None:
        """Note the answer to a question. ``whole``: it is for more than whether there is a file, and of which kind."""
        path, *mode = args or (options.get("path"),)
        name = None if options.get("dir_fd") is not None else absolute(path)
        if name is None or name.startswith(self._ignored):
            return
        kind = real.__name__
        if kind == "access":
            question = (_is_accessible, name, *(mode or (options.get("mode"),)))
        elif kind == "readlink":
            question = (state_of, name, False)
        else:
            question = (state_of, name, kind == "stat" and options.get("follow_symlinks", True), whole)
        if question not in self._answers:
            ask, *how = question
            self._answers[question] = ask(*how, now=time_ns())

    def difference(self) -> str | None:
        """Return what is different now; None if nothing is."""
        if self.spoilt is not None:
            return self.spoilt
        self._give_back()
        are_in_place = all(getattr(os, name) is each for name, each in zip(_NAMES, self._replaced))
        if not are_in_place or self._count_references() != self._references:
            return f"the program keeps or replaces one of {', '.join(f'os.{name}' for name in _NAMES)}"
        for (ask, name, *how), answer in self._answers.items():
            if answer is RACING or ask(name, *how) != answer:
                return f"{name} is not what it was when the spare asked for its state"
        return None


def _asks_for_state(frame: Any) -> bool:
    """Return whether a caller of ``os.stat`` asks for more than whether there is a file, and of which kind.

    ``os.path.exists`` does not, nor does ``Path.exists``, which calls ``Path.stat``. They do not pass on errors, either.
    """
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _PATHS:
        if frame.f_code.co_name not in _STATES:
            return False
        frame = frame.f_back
    return True


def _is_accessible(path: str, mode: Any, now: int = 0) -> bool | None:  # noqa: ARG001 - as state_of()
    try:
        return _access(path, mode)
    except (OSError, TypeError, ValueError):
        return None


def state_of(path: str, follows: bool = True, whole: bool = True, now: int = 0) -> Any:
    """Return what changes when a file changes; ``RACING`` if it was written just before ``now``, in nanoseconds.

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
        return RACING
    return found.st_ino, found.st_size, found.st_mtime_ns


def absolute(path: Any) -> str | None:
    """Return the absolute path as text; None for a descriptor."""
    try:
        return abspath(fsdecode(path))
    except TypeError:
        return None
