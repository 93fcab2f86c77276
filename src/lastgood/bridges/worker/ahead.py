"""A worker that runs ahead of the next generation: the app's spare (spare.py there).

It runs the program of the live generation, in its order, and waits: in the module that was edited last, between its header and
the rest (parts.py), or before the first operation that reaches outside of the process, or when all modules are imported. When
the app has a new generation it *offers* it. The worker takes it over, and goes on, if all that it has run, read and looked up
is the same there; else it refuses and exits. So nothing runs twice, nothing runs that a fresh worker would not run, and what a
module did before it imports another has been done before in the same order.

What reaches outside is known from Python's audit events, which come before the operation. C code has none; what it reads, and
the clock, are as old as the spare, which is at most MAX_AGE.

While it runs ahead, its reports, log records and output are held back. One that is not taken over exits without running
anything more, such as exit handlers.
"""

from __future__ import annotations

import os
import sys
import threading
from _signal import getitimer  # type: ignore[import-not-found]  # signal imports enum: 2 ms
from _thread import _count as count_threads
from collections.abc import Callable, Collection
from os.path import basename, isabs, realpath  # bound here, since the program may replace them
from queue import SimpleQueue
from time import monotonic
from types import CodeType

from .manifest import Damaged, digest_of
from .observed import Observed, is_bytecode
from .parts import Parts, make_parts, same_beginning
from .performing import VALUES
from .read_ahead import ReadAhead, replaced_builtin

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from .pinned import Pins

__all__ = ["MAX_AGE", "Ahead", "Running"]

MAX_AGE = 300.0
"""Seconds from the start of a spare until it refuses every offer."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_MAKING = frozenset(("os.mkdir", "os.rename", "os.remove"))  # the import system does these to bytecode, too
_OUTSIDE = {
    "_posixsubprocess": "fork_exec",
    "_thread": "start_joinable_thread start_new_thread",
    "builtins": "input",
    "fcntl": "fcntl flock ioctl lockf",
    "os": "chflags chmod chown exec fork forkpty kill killpg link lockf mkdir posix_spawn remove removexattr rename rmdir "
    "setxattr spawn symlink system truncate utime",
    "pty": "spawn",
    "resource": "prlimit setrlimit",
    "signal": "pthread_kill",
    "sqlite3": "connect",
    "subprocess": "Popen",
    "sys": "addaudithook setprofile settrace",
    "tempfile": "mkdtemp mkstemp",
    "webbrowser": "open",
}
_OUTSIDE_EVENTS = frozenset(f"{module}.{name}" for module, names in _OUTSIDE.items() for name in names.split())
_TRACING = ("sys.setprofile", "sys.settrace")
_OUTSIDE_PREFIXES = ("socket.", "syslog.", "urllib.", "http.", "ftplib.", "smtplib.", "imaplib.", "poplib.", "nntplib.")


class Running:
    """A module that is being run: its path and digest, its two parts, and whether its header has ended."""

    __slots__ = ("digest", "in_rest", "parts", "path")

    def __init__(self, path: str, digest: str, parts: Parts) -> None:
        self.path = path
        self.digest = digest
        self.parts = parts
        self.in_rest = False


class Ahead:
    """The program that a spare runs ahead. ``focus`` are the canonical paths of files that are likely to be edited next.

    ``later`` are the paths of installed modules that the program imports; their code is read while the spare waits.

    ``waits`` is called once, with where it waits; ``taken`` with the number of the offer that is taken over, ``refused`` with
    that of one that is not, and the reason.
    """

    def __init__(
        self,
        focus: Collection[str],
        later: Collection[str] = (),
        *,
        waits: Callable[[str], object],
        taken: Callable[[int], object],
        refused: Callable[[int, str], object],
    ) -> None:
        self.active = True
        """Whether nothing was taken over yet."""
        self.number = 0
        """The number of the offer that was taken over."""
        self.setup: dict[str, Any] = {}
        """What was offered with it."""
        self._focus = frozenset(focus)
        self._focus_names = frozenset(map(basename, focus))
        self._later = later
        self._read_ahead = ReadAhead()
        self._tell_waits: Callable[[str], object] | None = waits
        self._tell_taken = taken
        self._tell_refused = refused
        self._started = monotonic()
        self._offers: SimpleQueue[tuple[int, dict[str, Any], Pins | Damaged]] = SimpleQueue()
        self._begun = threading.Event()
        self._main = threading.get_ident()
        self._is_busy = False  # in a step of its own, whose audit events do not count
        self._spoilt: str | None = None
        self._running: list[Running] = []
        self._ran: dict[str, str] = {}  # the digests of the modules of which more than the header was run or read

    def offer(self, number: int, body: bytes) -> None:
        """Offer a generation, by the body of a SETUP frame. Call it on the thread that reads.

        Refuse it at once if a module has changed that was run: the main thread may hang in that very module.
        """
        self._begun.wait()
        setup = VALUES.loads(body)
        other: Pins | Damaged
        try:
            other = self._pins.of_generation(setup["pinned"])
            problem = self._changed(other)
        except Damaged as damaged:
            other, problem = damaged, str(damaged)
        if problem is not None and self.active:
            self._refuse(number, problem)
        self._offers.put((number, setup, other))

    # The steps of the program, on the main thread.

    def begin(self, pins: Pins) -> None:
        """Start to observe, before the first module is imported. ``pins``: the sources of the live generation."""
        self._pins = pins
        self._observed = Observed((pins.home,))
        self._observed.loaded()
        self._observed.questions.replace()
        self._read_ahead.install()
        self._threads = count_threads()
        self._own_threads = frozenset(threading._active)  # type: ignore[attr-defined]  # private: enumerate() takes a lock
        if sys.version_info < (3, 12):  # there are no audit events of thread starts
            self._start_thread = threading._start_new_thread  # type: ignore[attr-defined]  # private to threading
            threading._start_new_thread = self._start_thread_later  # type: ignore[attr-defined]  # likewise
        sys.addaudithook(self._on_event)
        self._begun.set()

    def quietly(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function of the worker's own, which reads and writes what does not count."""
        before, self._is_busy = self._is_busy, True
        try:
            return function(*args)
        finally:
            self._is_busy = before

    def enter(self, path: str, digest: str, parts: Parts) -> Running:
        """Begin to run a module."""
        running = Running(path, digest, parts)
        self._running.append(running)
        self._poll()
        return running

    def between(self, running: Running) -> CodeType:
        """Go from the header of a module to its rest; return the code of that."""
        if self.active:
            if self._is_focus(running.path):
                self._wait(running.path)
            self._poll()
        running.in_rest = True
        self._ran.setdefault(running.path, running.digest)
        return running.parts.rest

    def leave(self, running: Running) -> None:
        """End a module, which may have raised."""
        self._running.remove(running)

    def saw(self, path: str, digest: str) -> None:
        """Note that the whole source of a module was read, by its loader or for a traceback."""
        if not self._is_busy:
            self._ran.setdefault(path, digest)

    def finish(self, error: BaseException | None = None) -> None:
        """End the program, which may have raised: wait for a generation, unless one was taken over."""
        if self.active:
            if error is not None:
                self._spoilt = f"the program raised {type(error).__name__} while the spare ran it ahead"
            self._wait("the end of the imports")
        self._read_ahead.remove()

    # Waiting.

    def _is_focus(self, path: str) -> bool:
        return basename(path) in self._focus_names and realpath(path) in self._focus

    def _poll(self) -> None:
        if self.active and not self._offers.empty():
            self._take_or_refuse()

    def _wait(self, where: str) -> None:
        self._is_busy = True
        self._note_waiting(where)
        self._read_ahead.read(self._later, lambda: not self._offers.empty())
        self._take_or_refuse()

    def _note_waiting(self, where: str) -> None:
        if self._tell_waits is not None:
            self._tell_waits(where)
            self._tell_waits = None

    def _take_or_refuse(self) -> None:
        self._is_busy = True
        number, setup, other = self._offers.get()
        assert not isinstance(other, Damaged)  # that was refused
        problem = self._problem() or self._difference(other)
        self._note_waiting("")
        if problem is not None:
            self._refuse(number, problem)
        self.number, self.setup, self.active = number, setup, False
        if sys.version_info < (3, 12):
            threading._start_new_thread = self._start_thread  # type: ignore[attr-defined]  # private to threading
        self._observed.questions.restore()
        self._pins.adopt(other)
        self._tell_taken(number)
        self._is_busy = False

    def _refuse(self, number: int, problem: str) -> NoReturn:
        self._tell_refused(number, problem)
        os._exit(0)  # without exit handlers

    # What must be the same.

    def _problem(self) -> str | None:
        if self._spoilt is not None:
            return self._spoilt
        if monotonic() - self._started > MAX_AGE:
            return f"the spare was older than {MAX_AGE:g} s"
        if count_threads() != self._threads:
            return "a thread of the program was running"
        if any(getitimer(which)[0] for which in (0, 1, 2)):
            return "a timer of the program was running"
        replaced = replaced_builtin()
        return None if replaced is None else f"the program replaces the builtin {replaced}"

    def _difference(self, other: Pins) -> str | None:
        for running in self._running:
            if not running.in_rest and running.path not in self._ran:
                problem = self._adapt(running, other)
                if problem is not None:
                    return problem
        return self._changed(other) or self._pins.difference(other) or self._observed.difference(self._pins.looked_up())

    def _changed(self, other: Pins) -> str | None:
        for path, digest in dict(self._ran).items():  # a copy, since the main thread may add to it
            if other.digest(path) != digest:
                return f"{path} has changed, and the spare had run it"
        return None

    def _adapt(self, running: Running, other: Pins) -> str | None:
        """Give a module, of which only the header was run, the rest that it has in another generation."""
        path, count = running.path, running.parts.count
        digest = other.digest(path)
        if digest == running.digest:
            return None
        try:
            name = basename(path)
            old, new = self._pins.sources.source(name, path), other.sources.source(name, path)
            if not same_beginning(old, new, path, count):
                return f"the imports of {path} have changed, and the spare had run them"
            parts = other.sources.parts(name, path)
            running.parts = parts if parts.count == count else make_parts(new, path, count)
        except Exception as error:  # a SyntaxError among others; a fresh worker will say what is wrong
            return f"{path} cannot be compiled: {error}"
        running.digest = digest_of(new)
        return None

    # Audit events, on any thread.

    def _on_event(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _TRACING:
            self._read_ahead.remove()  # a tracer would see its frames
        if not self.active or self._is_busy:
            return
        here = threading.get_ident()
        if here != self._main:
            if here not in self._own_threads:
                self._spoilt = "a thread of the program was running"
            return
        self._is_busy = True
        try:
            where = self._note(event, args)
        finally:
            self._is_busy = False
        if where is not None:
            self._wait(where)
        elif event == "import":
            self._poll()

    def _note(self, event: str, args: tuple[Any, ...]) -> str | None:
        """Note what is about to be read. Return where to wait, if the operation reaches outside or reads the focus."""
        if event == "open":
            return self._note_open(*args)
        if event == "import":
            if args[0].startswith("multiprocessing.popen_"):
                return "a process starts"  # there is no event of that
            if args[0] == "_posixshmem":
                return "shared memory may be made"  # likewise
            if args[1] is not None:
                self._observed.file(args[1])
        elif event in ("os.listdir", "os.scandir"):
            if isinstance(args[0], int):
                self._spoilt = "the program reads a directory by its descriptor"
            else:
                self._observed.directory(args[0], sys._getframe(2).f_code.co_filename)
        elif event in _OUTSIDE_EVENTS or event.startswith(_OUTSIDE_PREFIXES):
            return None if event in _MAKING and "__pycache__" in str(args[0]) else event
        return None

    def _note_open(self, path: Any, mode: Any, flags: Any) -> str | None:
        name = str(os.fsdecode(path)) if isinstance(path, (str, bytes, os.PathLike)) else ""
        if isinstance(flags, int) and flags & _WRITING:
            return None if is_bytecode(name) else f"{name} is opened for writing"
        if not name:
            return None
        if mode is None and not isabs(name):
            self._spoilt = "the program may open a file by the descriptor of its directory"  # the event does not tell
        if self._is_focus(name):
            return name
        self._observed.file(name)
        return None

    def _start_thread_later(self, *args: Any) -> Any:
        self._wait("a thread starts")
        return self._start_thread(*args)
