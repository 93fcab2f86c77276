"""Log records of a worker: the app's loggers of the same names handle them."""

from __future__ import annotations

import logging
import os
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import msgspec
import trio

from lastgood.bridges.worker import frames

__all__ = ["LEVELS", "WorkerLogs"]

logger = logging.getLogger(__name__)

_READ = 1 << 16  # what a pipe holds
_MAX_BODY = 1 << 22
_MOST_LEVELS = 1000
_MOST_DEFERRED = 10_000
_PATIENCE = 0.05  # seconds to wait for another thread that is in a handler
_RETRY = 0.02  # seconds
_OWN = (
    "levelname",
    "thread",
    "threadName",
    "process",
    "processName",
    "taskName",
    "exc_text",
)  # what a LogRecord's constructor does not take


class _Levels:
    """The levels of the loggers of this process that have one.

    :mod:`logging` clears the caches of all loggers with every change of a level, so a mark in one of them says whether there
    was one. That is checked before each call, at a cost that cannot be measured.
    """

    MARK = -1  # no level

    def __init__(self) -> None:
        self.cache: dict[int, bool] = getattr(logging.root, "_cache", {})
        self.current: Mapping[str, int] = {}
        """By name; the root logger's is ``""``. The same object as long as no level has changed."""

    def renew(self) -> Mapping[str, int]:
        """Return the levels at this moment."""
        self.cache[self.MARK] = True  # before the levels are read
        levels = {"": logging.root.level}
        for name, each in list(logging.root.manager.loggerDict.items())[:_MOST_LEVELS]:
            if isinstance(each, logging.Logger) and each.level != logging.NOTSET:
                levels[name] = each.level
        if levels != self.current:
            self.current = levels
        return self.current


LEVELS = _Levels()


class WorkerLogs:
    """The records that a worker writes to a pipe, of which this is the reading end.

    They are handled in the trio thread, before the answers of the calls that made them, and else as they come. While another
    thread is in one of the handlers for a record, that record, and those after it, are handled later: that thread may be waiting
    for the answer of a call. ``on_garbage`` is called when the worker sends invalid data.
    """

    def __init__(self, descriptor: int, *, on_garbage: Callable[[str], object]) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._on_garbage = on_garbage
        self._inbox = frames.Inbox(_MAX_BODY)
        self._reading: trio.CancelScope | None = None
        self._deferred: deque[logging.LogRecord] = deque(maxlen=_MOST_DEFERRED)
        self._retries = False

    def start(self) -> None:
        """Handle records from now on."""
        self._reading = trio.CancelScope()
        trio.lowlevel.spawn_system_task(self._read_on, self._reading, name="lastgood's log reader")

    async def _read_on(self, scope: trio.CancelScope) -> None:
        with scope:
            while self._descriptor >= 0:
                try:
                    await trio.lowlevel.wait_readable(self._descriptor)
                except trio.ClosedResourceError:
                    return
                if not self.catch_up():
                    return

    def catch_up(self) -> bool:
        """Handle what has arrived. Return False if nothing more will come."""
        try:
            chunk = b"" if self._descriptor < 0 else os.read(self._descriptor, _READ)
        except BlockingIOError:
            return True
        try:
            for kind, _, body in self._inbox.feed(chunk):
                if kind != frames.LOG:
                    raise frames.FrameError(f"a log record of kind {kind}")
                self._take(msgspec.msgpack.decode(body))
        except (ValueError, TypeError, LookupError, msgspec.DecodeError) as error:  # including a FrameError
            self._on_garbage(f"a log record that cannot be read: {error}")
            return False
        return bool(chunk)

    def _take(self, sent: Any) -> None:
        if isinstance(sent, int):
            logger.warning("The worker logs faster than this app takes its records; %d of them were dropped.", sent)
            return
        record = _record(sent)
        if self._deferred or not _handle(record, _PATIENCE):
            self._deferred.append(record)
            if not self._retries and self._reading is not None:
                self._retries = True
                trio.lowlevel.spawn_system_task(self._retry, name="lastgood's log records")

    async def _retry(self) -> None:
        while self._deferred and self._descriptor >= 0:
            await trio.sleep(_RETRY)
            self._handle_deferred(0)
        self._retries = False

    def _handle_deferred(self, patience: float) -> None:
        while self._deferred and _handle(self._deferred[0], patience):
            self._deferred.popleft()

    @property
    def descriptor(self) -> int:
        """The pipe; -1 once it is closed."""
        return self._descriptor

    def close(self) -> None:
        """Handle what has arrived, and close the pipe. May be called again."""
        if self._descriptor < 0:
            return
        self.catch_up()
        self._handle_deferred(_PATIENCE)
        if self._reading is not None:
            self._reading.cancel()
            trio.lowlevel.notify_closing(self._descriptor)
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)


def _handle(record: logging.LogRecord, patience: float) -> bool:
    """Have the app's loggers handle ``record``. Return False if another thread is in one of the handlers."""
    with ExitStack() as held:
        try:
            target = logging.getLogger(record.name)
            if not target.isEnabledFor(record.levelno):
                return True
            for lock in _locks(target, record.levelno):
                if not lock.acquire(timeout=patience):
                    return False
                held.callback(lock.release)
            target.handle(record)
        except BaseException:  # a filter of the app's; it must not end the worker's calls
            if logging.raiseExceptions:
                traceback.print_exc()
    return True


def _locks(target: logging.Logger, level: int) -> list[Any]:
    """Return the locks of the handlers that would handle a record of ``target``."""
    handlers: list[logging.Handler] = []
    each: logging.Logger | None = target
    while each is not None:
        handlers += each.handlers
        each = each.parent if each.propagate else None
    return [handler.lock for handler in handlers if level >= handler.level and isinstance(handler.lock, _LOCK)]


_LOCK = type(threading.RLock())


def _record(sent: Mapping[str, Any]) -> logging.LogRecord:
    """Make a record of what the worker sent. Raises LookupError, TypeError or ValueError if it is invalid."""
    name, level, line, created = sent["name"], sent["levelno"], sent["lineno"], sent["created"]
    extras = sent["extras"]
    if not (isinstance(name, str) and isinstance(level, int) and isinstance(created, float)):
        raise TypeError("it has no name, level or time")
    if not (isinstance(line, int | None) and isinstance(extras, dict)):
        raise TypeError("it has no line or extras")
    make = logging.getLogRecordFactory()
    record = make(
        name, level, str(sent["pathname"]), line or 0, str(sent["msg"]), (), None, sent["funcName"], sent["stack_info"]
    )
    record.__dict__.update({str(each): value for each, value in extras.items()})
    record.__dict__.update({each: sent[each] for each in _OWN})
    record.relativeCreated += (created - record.created) * 1000
    record.created, record.msecs = created, float(int(created % 1 * 1000))
    return record
