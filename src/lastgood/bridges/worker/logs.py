"""The pipe by which log records of the worker reach the app, in the order in which they were made.

A record is written at once, if the pipe takes it. What it does not take waits for a thread; of too many, the oldest are dropped,
and the app is told how many. So nobody who logs waits for the app. A call is answered after a LOGGED frame if there are
records that the app may not have seen: it handles them before it takes the answer.

:mod:`logging` is never imported for it. What is done when the user's code imports it is in log_handler.py.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from importlib.machinery import ModuleSpec
from types import ModuleType

from . import frames
from .interrupts import SHIELD
from .performing import VALUES

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

    from .log_handler import Forwarding

__all__ = ["MAX_WAITING", "LogPipe"]

MAX_WAITING = 1 << 20
"""Bytes of records that wait for the pipe to take them."""

_FLUSH = 0.5  # seconds for the app to take what waits when the worker ends


class LogPipe:
    """Sends log records on ``descriptor`` (-1: nowhere), from any thread."""

    def __init__(self, descriptor: int = -1) -> None:
        self.levels: Mapping[str, int] = {}
        """The levels of the app's loggers that have one, by name; the root logger's is ``""``."""
        self.unannounced = False
        """Whether records were written since the last LOGGED frame."""
        self._descriptor = descriptor
        self._pid = os.getpid()
        self._lock = threading.RLock()  # a signal handler may log while its thread writes a record
        self._waiting: deque[memoryview] = deque()
        self._size = 0
        self._begun = False  # a part of the first was written
        self._dropped = 0
        self._is_writing = False
        self._writer: threading.Thread | None = None
        self._forwarding: Forwarding | None = None
        self._imported = False
        self._is_held = False

    # The steps of a worker.

    def watch(self) -> None:
        """Forward what the user's code logs, as soon as it has imported :mod:`logging`."""
        if self._descriptor < 0:
            return
        os.set_blocking(self._descriptor, False)
        logging = sys.modules.get("logging")
        if logging is not None:
            self._attach(logging)
        else:
            sys.meta_path.insert(0, _LoggingFinder(self._attach))

    def adopt(self, levels: Mapping[str, int]) -> None:
        """Take over the levels of the app's loggers."""
        self.levels = levels
        if self._forwarding is not None:
            self._forwarding.set_levels()

    def set_levels(self, body: bytes) -> None:
        """Do as :meth:`adopt` does, with the body of a LEVELS frame."""
        try:
            levels = VALUES.loads(body)
        except (ValueError, TypeError) as error:
            raise frames.FrameError(str(error)) from None
        if not isinstance(levels, dict) or not all(type(each) is int for each in levels.values()):
            raise frames.FrameError("a LEVELS frame without levels")
        self.adopt(levels)

    def hold(self) -> None:
        """Have all records wait, until :meth:`release`."""
        self._is_held = True

    def release(self) -> None:
        """Send what waits, and what comes."""
        with self._lock:
            self._is_held = False
            self._write()

    def imports_are_done(self) -> None:
        """Forward from now on only if the root logger has no handlers."""
        self._imported = True
        if self._forwarding is not None:
            self._forwarding.decide()

    def _attach(self, _: ModuleType) -> None:
        from .log_handler import Forwarding

        self._forwarding = Forwarding(self)
        if self._imported:
            self._forwarding.decide()

    # Any thread.

    def is_mine(self) -> bool:
        """Return whether this is the worker itself, rather than a process that it has forked."""
        return os.getpid() == self._pid

    def put(self, record: Any) -> None:
        """Send a record, or have it wait."""
        body = VALUES.dumps(record)
        with SHIELD, self._lock:
            self._append(body)
            self._write()
            self.unannounced = True

    def announcement(self) -> bytes:
        """Return a LOGGED frame, for the records so far."""
        self.unannounced = False
        return frames.HEADER.pack(0, frames.LOGGED, 0)

    def flush(self) -> None:
        """Wait a moment until the app has taken what waits."""
        writer = self._writer
        if writer is not None and writer is not threading.current_thread() and self.is_mine():
            writer.join(_FLUSH)

    def _append(self, body: bytes) -> None:
        frame = memoryview(frames.HEADER.pack(len(body), frames.LOG, 0) + body)
        self._waiting.append(frame)
        self._size += len(frame)
        while self._size > MAX_WAITING and len(self._waiting) > 1 + self._begun:
            self._size -= len(self._waiting[self._begun])
            del self._waiting[self._begun]
            self._dropped += 1

    def _write(self) -> None:
        if self._is_writing or self._is_held:
            return  # the former: interrupted by a signal handler that logs
        self._is_writing = True
        try:
            while self._waiting:
                if self._dropped and not self._begun:
                    dropped = self._dropped
                    body = VALUES.dumps(dropped)
                    os.write(
                        self._descriptor, frames.HEADER.pack(len(body), frames.LOG, 0) + body
                    )  # all of it, or nothing
                    self._dropped -= dropped
                first = self._waiting[0]
                sent = os.write(self._descriptor, first)
                self._size -= sent
                self._begun = sent < len(first)
                if self._begun:
                    self._waiting[0] = first[sent:]
                else:
                    self._waiting.popleft()
        except BlockingIOError:
            self._start_writer()
        except OSError:  # the app has gone
            self._waiting.clear()
            self._size = 0
        finally:
            self._is_writing = False

    def _start_writer(self) -> None:
        if self._writer is None:
            writer = threading.Thread(target=self._write_the_rest, name="lastgood-logs", daemon=True)
            try:
                writer.start()
            except RuntimeError:
                return  # no more threads: the next record tries again
            self._writer = writer

    def _write_the_rest(self) -> None:
        import select

        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        while True:
            poll.poll()
            with self._lock:
                self._write()
                if not self._waiting:
                    self._writer = None
                    return


class _LoggingFinder:
    """Calls ``attach`` with the standard library's :mod:`logging` when it was imported, by whichever finder finds it."""

    def __init__(self, attach: Callable[[ModuleType], None]) -> None:
        self._attach = attach

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "logging":
            return None
        from .pinned import after_loading

        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.origin == os.path.join(os.path.dirname(os.__file__), "logging", "__init__.py"):
                    after_loading(spec, self._attach)
                return spec
        return None
