"""The app's side of the extractor process. Its methods block: call them from a worker thread, not on the event loop."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import msgspec

from lastgood.children.child import Child, exit_text
from lastgood.children.descriptors import pipe
from lastgood.children.forks import FORKS
from lastgood.children.limits import is_about_a_limit
from lastgood.children.output import Output
from lastgood.children.platforms import without_processes
from lastgood.config import Style
from lastgood.errors import GenerationError, ModuleFailure
from lastgood.sources.import_statements import IMPORTS, Imports, guessed_imports, imports_of
from lastgood.sources.memo import Memo
from lastgood.store.file_system import digest_of
from lastgood.wrappers import ModuleSource, Wrapped
from lastgood.wrappers.process.extractor import HereExtractor, NotStarted
from lastgood.wrappers.process.extractor_wire import (
    LENGTH,
    MOST,
    Defect,
    FoundImports,
    Made,
    Progress,
    Read,
    Reply,
    Request,
    Row,
    Use,
    Wrap,
    encode,
    reply_from,
)

__all__ = ["ExtractorProcess"]

logger = logging.getLogger(__name__)

_LASTGOOD = Path(__file__).parents[3]
_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[4:]\n"
    "from lastgood.wrappers.process.extractor_main import main\n"
    "main(*map(int, sys.argv[1:4]))"
)
_CAN_PASS_DESCRIPTORS = without_processes() is None
_END = 1.0
"""Seconds that the process has to flush its cache when it is asked to exit."""


class _Ended(Exception):
    """The process has exited, or sent an invalid reply. ``how`` says how it ended; ``at`` is the module that it was analysing."""

    def __init__(self, how: str, at: str) -> None:
        super().__init__(how, at)
        self.how = how
        self.at = at


class _NoProcess(Exception):
    """No process can be started."""


class ExtractorProcess:
    """An :class:`.Extractor` in a process of its own, which :meth:`start` starts.

    Until then, imports are answered from the cache, and what the cache does not have raises :class:`.NotStarted`. So a session
    without any new source goes live without that process.

    If the system cannot start a process, sources are read in the app's own process until :meth:`end`, or until the next stage if
    only a limit of the system is the cause; on Windows always.
    """

    def __init__(self) -> None:
        self.note: Callable[[str, Path | None], object] = lambda _name, _file: None
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._wire: tuple[BinaryIO, BinaryIO] | None = None  # requests, replies
        self._may_start_again = False  # else the process has ended before its first reply, as the next one would
        self._is_stopped = False
        self._stopped: Child | None = None  # no reply of it is awaited any more
        self._here: HereExtractor | None = None
        self._memo_file: tuple[Path | None, bool] = (None, True)
        self._memo = Memo()  # read until the process runs, which then has it
        self._is_makeshift = False  # there is no process only because of a limit of the system
        FORKS.add(self)
        self._reset()

    def _reset(self) -> None:
        """Reset the record of what has been sent: a new process knows nothing."""
        self._sent_memo_file: tuple[Path | None, bool] = (None, True)
        self._rows: dict[str, Row] = {}
        self._sent: Mapping[str, ModuleSource] = {}  # of which the rows were made
        self._made = Wrapped({})

    def leave_to_parent(self) -> list[int]:
        """See :class:`.Owner`."""
        return [stream.fileno() for stream in self._wire or () if not stream.closed]

    def resume(self) -> None:
        """Allow requests again after :meth:`stop`, for the next stage. That may start a process, if one failed for lack of room."""
        self._is_stopped = False
        if self._is_makeshift:
            self._here, self._is_makeshift = None, False

    def start(self) -> None:
        """Start the process if none runs, also after :meth:`stop`.

        Call this on the session's own thread: on Linux, the process is killed when the thread that started it ends.
        """
        child = self._child
        if self._here is not None or not (child is None or child is self._stopped or child.has_exited()):
            return
        with self._lock:
            if child is not None:
                self._kill(child)
            self._is_stopped = False
            self._memo.close()
            self._reset()
            self._may_start_again = False
            if not _CAN_PASS_DESCRIPTORS:
                self._here = HereExtractor()
                return
            try:
                with FORKS.starting:
                    self._child, self._wire = _start_process()
            except (OSError, RuntimeError) as error:  # the second: no thread can be started
                logger.warning("sources are read in the app's own process, since no other can be started: %s", error)
                self._here = HereExtractor()
                self._is_makeshift = isinstance(error, BlockingIOError) or is_about_a_limit(error)

    @property
    def has_started(self) -> bool:
        """See :class:`.Extractor`."""
        return self._child is not None or self._here is not None

    def _running(self) -> Child:
        """Return the process. Raises :class:`_Ended`, :class:`_NoProcess` and :class:`.NotStarted`."""
        child = self._child
        if child is not None and (child is self._stopped or child.has_exited()):
            self._kill(child)
            if child is not self._stopped and not self._may_start_again:
                raise _Ended(exit_text(child), "lastgood")
        if self._is_stopped:
            raise _Ended("was stopped", "lastgood")
        if self._here is not None:
            raise _NoProcess
        if self._child is None:
            raise NotStarted
        return self._child

    def use(self, cache: Path | None, *, read_only: bool) -> None:
        """Keep results in the directory ``cache``; see :class:`.Extractor`."""
        self._memo_file = (None if cache is None else cache / "cache", read_only)

    def imports_of(self, data: bytes) -> Imports:
        """Return the imports of a source. If parsing it kills the process, lines that look like import statements count."""
        with self._lock:
            if not self.has_started:
                self._memo.use(self._memo_file[0], read_only=True)
                known = self._memo.recall(IMPORTS, (digest_of(data),))
                if known is not None:
                    return known.found
            try:
                reply = self._ask(Read(data))
            except _NoProcess:
                return imports_of(data)
            except _Ended as ended:
                if self._is_stopped:  # no caller waits for the result, and a guess would be cached
                    raise _error_of_end(ended, None) from ended
                return guessed_imports(data)
            assert isinstance(reply, FoundImports)
            return reply.imports

    def wrap(
        self,
        sources: Sequence[ModuleSource],
        found: Mapping[str, ModuleSource],
        style: Style,
        annotated: tuple[str, ...] = (),
    ) -> Wrapped:
        """Wrap ``sources``; see :class:`.Extractor`. Raises :class:`GenerationError` if the process ends meanwhile."""
        with self._lock:
            try:
                return self._wrap(sources, found, style, annotated)
            except _NoProcess:
                assert self._here is not None
                self._here.note = self.note
                return self._here.wrap(sources, found, style, annotated)
            except _Ended as ended:
                file = next((source.path for source in sources if source.name == ended.at), None)
                raise _error_of_end(ended, file) from ended

    def _wrap(
        self,
        sources: Sequence[ModuleSource],
        found: Mapping[str, ModuleSource],
        style: Style,
        annotated: tuple[str, ...],
    ) -> Wrapped:
        self._running()
        named = {source.name: source for source in sources}
        current = {**found, **named}
        before, sent = self._rows, self._sent
        rows = {
            name: before[name]
            if sent.get(name) is each and before[name].is_named == (name in named)
            else Row(name, each.path, each.digest, each.is_package, name in named, each.selection)
            for name, each in current.items()
        }
        changed = tuple(row for name, row in rows.items() if (last := before.get(name)) is not row and last != row)
        gone = tuple(before.keys() - rows.keys())
        data = {row.digest: current[row.name].data for row in changed}
        unsent = data.keys() - {row.digest for row in before.values()} - {""}
        for name in sorted(row.name for row in changed if row.is_named)[:1]:
            self._note(name, rows)  # until the process reports the module that it analyses
        reply = self._ask(Wrap(style, annotated, changed, gone, tuple(data[digest] for digest in unsent)), rows)
        assert isinstance(reply, Made)
        self._rows, self._sent = rows, current
        self._made = _patched(self._made, reply)
        return self._made

    def _note(self, name: str, rows: Mapping[str, Row]) -> None:
        self.note(name, rows[name].path if name in rows else None)

    def _ask(self, request: Request, rows: Mapping[str, Row] = MappingProxyType({})) -> Reply:
        """Send a request about ``rows`` and return the reply. Raises :class:`_Ended` and :class:`_NoProcess`."""
        at = "lastgood"
        child = self._running()
        assert self._wire is not None
        requests, replies = self._wire
        try:
            if self._sent_memo_file != self._memo_file:
                _send(requests, Use(*self._memo_file))
                self._sent_memo_file = self._memo_file
            _send(requests, request)
            while isinstance(reply := _receive(replies), Progress):
                at = reply.module
                self._note(at, rows)
            if isinstance(reply, Defect):
                self._kill(child)  # its state cannot be trusted any more
                raise _Ended(f"met a defect of lastgood:\n{reply.text.rstrip()}\n", at)
            self._may_start_again = True
            return reply
        except (OSError, EOFError, msgspec.MsgspecError) as error:
            self._kill(child)
            raise _Ended(exit_text(child), at) from error

    def stop(self) -> None:
        """Kill the process; the running call raises an error."""
        self._is_stopped = True
        child = self._stopped = self._child
        if child is not None:
            child.signal(signal.SIGKILL)

    def end(self) -> None:
        """Close the pipes, wait for the process to exit, then kill it. It may be started again."""
        with self._lock:
            self._memo.close()
            child, self._here, self._is_stopped = self._child, None, False
            if child is None or self._wire is None:
                return
            with suppress(OSError):
                self._wire[0].close()
            child.has_exited(_END)
            self._kill(child)

    def _kill(self, child: Child) -> None:
        child.kill()
        wire, self._child, self._wire = self._wire, None, None
        for stream in wire or ():
            with suppress(OSError):
                stream.close()


def _start_process() -> tuple[Child, tuple[BinaryIO, BinaryIO]]:
    """Start a process. Return it with the streams of requests and replies.

    The streams have file descriptors of their own, so that whatever ``sitecustomize`` prints or reads cannot disturb them.
    """
    with ExitStack() as undo, ExitStack() as theirs:
        output = Output(forward=True)
        undo.callback(output.finish)
        (requests, to), (back, replies) = pipe(), pipe()
        for descriptor in (requests, replies):
            theirs.callback(os.close, descriptor)
        wire = undo.enter_context(open(to, "wb")), undo.enter_context(open(back, "rb"))
        command = [sys.executable, "-P", "-W", "ignore", "-c", _PROGRAM]
        child = Child(
            [*command, str(os.getpid()), str(requests), str(replies), *sys.path, str(_LASTGOOD)],
            output=output,
            pass_fds=(requests, replies),
        )
        undo.pop_all()
    return child, wire


def _error_of_end(ended: _Ended, file: Path | None) -> GenerationError:
    problem = f"the process that reads it {ended.how}. No source should cause that: it is a defect of lastgood."
    return GenerationError((ModuleFailure(ended.at, file, None, problem),))


def _patched(before: Wrapped, made: Made) -> Wrapped:
    """Apply the differences in ``made`` to ``before``."""
    files = _merged(before.files, made.files, made.no_files)
    return Wrapped(files, made.warnings, made.failures, _merged(before.modules, made.modules, made.no_modules))


def _merged(before: Mapping[str, bytes], new: Mapping[str, bytes], gone: Collection[str]) -> dict[str, bytes]:
    """Return ``before`` with what is ``new`` and without what is ``gone``, sorted."""
    merged = {**before, **new}
    for name in gone:
        del merged[name]
    return merged if len(merged) == len(before) and not gone else dict(sorted(merged.items()))


def _send(requests: BinaryIO, request: Request) -> None:
    requests.write(encode(request))
    requests.flush()


def _receive(replies: BinaryIO) -> Reply:
    (length,) = LENGTH.unpack(_exactly(replies, LENGTH.size))
    if length > MOST:
        raise EOFError
    return reply_from(_exactly(replies, length))


def _exactly(replies: BinaryIO, size: int) -> bytes:
    data = replies.read(size)
    if len(data) < size:
        raise EOFError
    return data
