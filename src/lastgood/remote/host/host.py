"""The host: it passes bytes on between the app and its worker, and ends with either.

It reads the messages of messages.py from one descriptor and writes to another. What was shipped is kept in the cache (cache.py);
the worker is its child (child.py).

When the connection is at its end, or silent for too long, the worker is ended with all that it has started. If the host itself is
killed, the kernel kills the worker, and the guardian, a forked process that holds nothing else, what the worker has started.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
import zlib

from .cache import Cargo, cache_home, sweep
from .child import GUARD_GRACE, WorkerChild, start_guardian
from .messages import (
    ANSWERS,
    BEAT,
    DIGEST_SIZE,
    END,
    EXIT,
    GREETING,
    HEADER,
    HELLO,
    LACKS,
    OBJECT,
    OPEN,
    REFUSED,
    REQUESTS,
    SHIP,
    SIGNAL,
    START,
    STARTED,
    Inbox,
    Outbox,
    Problem,
    packed,
    unpacked,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

_QUIET = 2.0  # seconds without a message before the host sweeps
_READ = 1 << 20
_MAX_WAITING = 1 << 22  # bytes that wait to be written before the host stops to read what is for the same pipe
_POLL_GROUP = 0.02  # seconds between two looks at a process group that is ending
_LAST_READS = 64


class Host:
    """Reads messages from the descriptor ``incoming``, writes to ``outgoing``, and returns from :meth:`run` when all is over."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._incoming = incoming
        self._out = Outbox(outgoing)
        self._out.put(GREETING)
        os.set_blocking(incoming, False)
        self._inbox = Inbox()
        self._guardian_pid, self._guardian = start_guardian()
        self._woken, self._wake = os.pipe()
        self._home = ""
        self._cargo: Cargo | None = None
        self._worker: WorkerChild | None = None
        self._beat = self._silence = float("inf")
        self._heard = self._beaten = time.monotonic()
        self._is_open = True
        self._sweeping: Generator[None, None, None] | None = None
        self._has_swept = False
        # What is to be done next, at which time: an end that is under way.
        self._next: tuple[float, int] | None = None
        self._grace = 0.0

    def run(self) -> None:
        """Serve until the connection, and the worker, are gone."""
        while self._is_open or self._worker is not None:
            self._step()
        if self._cargo is not None:
            self._cargo.release()
        os.kill(self._guardian_pid, signal.SIGKILL)  # there is nothing left to guard
        os.waitpid(self._guardian_pid, 0)
        self._out.finish()
        deadline = time.monotonic() + GUARD_GRACE
        while self._out.descriptor >= 0 and time.monotonic() < deadline:
            select.select([], [self._out.descriptor], [], GUARD_GRACE)
            self._out.flush()

    def _step(self) -> None:
        poll = select.poll()
        worker = self._worker
        is_full = self._out.size > _MAX_WAITING
        if self._is_open:
            stuck = worker is not None and worker.requests.size > _MAX_WAITING
            poll.register(self._incoming, 0 if stuck else select.POLLIN)
        if self._out.size:
            poll.register(self._out.descriptor, select.POLLOUT)
        poll.register(self._woken, select.POLLIN)
        if worker is not None:
            if worker.requests.size:
                poll.register(worker.requests.descriptor, select.POLLOUT)
            for descriptor in () if is_full else worker.sources:
                poll.register(descriptor, select.POLLIN)
        sources = {} if worker is None else worker.sources
        # The kernel looks at the pipe of answers first. So the records and the output that were written before an answer are ready
        # with it, and are passed on before it.
        ready = sorted(poll.poll(self._patience() * 1000), key=lambda each: sources.get(each[0]) == ANSWERS)
        for descriptor, events in ready:
            if descriptor == self._incoming:
                self._read(events)
            elif descriptor == self._out.descriptor:
                self._out.flush()
            elif descriptor == self._woken:
                os.read(self._woken, 1)
                self._begin_burial()
            elif worker is not None and descriptor == worker.requests.descriptor:
                worker.requests.flush()
            elif worker is not None and descriptor in worker.sources:
                self._pass_on(worker, descriptor)
        self._keep_time()

    def _patience(self) -> float:
        """Return the seconds until there is something to do."""
        now = time.monotonic()
        due = [self._beaten + self._beat, self._heard + self._silence] if self._is_open else [now + 1]
        if self._next is not None:
            due.append(self._next[0] if self._next[1] else now + _POLL_GROUP)
        if self._sweeping is not None:
            due.append(now)
        elif not self._has_swept and self._home:
            due.append(self._heard + _QUIET)
        return min(max(min(due) - now, 0), 3600)

    def _send(self, kind: int, body: bytes) -> None:
        self._out.put(HEADER.pack(kind, len(body)) + body)
        self._beaten = time.monotonic()

    def _say(self, kind: int, value: Any) -> None:
        self._send(kind, json.dumps(value).encode())

    def _read(self, events: int) -> None:
        try:
            chunk = b"" if not events & select.POLLIN else os.read(self._incoming, _READ)
            messages = self._inbox.feed(chunk)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            chunk, messages = b"", []
        if not chunk:
            self._close()
            return
        self._heard = time.monotonic()
        for kind, body in messages:
            try:
                self._take(kind, body)
            except Problem as problem:
                self._say(REFUSED, {"problem": str(problem)})
            except OSError as error:
                where = "" if error.filename is None else f"{error.filename}: "
                self._say(REFUSED, {"problem": f"The host has failed: {where}{error.strerror or error}."})

    def _take(self, kind: int, body: bytes) -> None:
        if kind == REQUESTS:
            if self._worker is not None:
                self._worker.requests.put(body)
        elif kind == OBJECT:
            if self._cargo is not None:
                self._cargo.keep(body[:DIGEST_SIZE].decode(), zlib.decompress(body[DIGEST_SIZE:]))
        elif kind == OPEN:
            self._open(json.loads(body))
        elif kind == SHIP:
            self._ship(unpacked(body))
        elif kind == START:
            self._start(json.loads(body))
        elif kind == SIGNAL:
            if self._worker is not None and self._next is None:
                self._worker.signal(json.loads(body)[0])
        elif kind == END:
            ends = json.loads(body)
            self._end(ends["patience"], ends["grace"])

    def _open(self, settings: dict[str, Any]) -> None:
        self._beat, self._silence = settings["beat"], settings["silence"]
        self._home = cache_home()
        version = list(sys.version_info[:3])
        self._say(HELLO, {"pid": os.getpid(), "python": version, "executable": sys.executable, "home": self._home})

    def _ship(self, shipped: dict[str, Any]) -> None:
        if self._cargo is not None:
            self._cargo.release()
        cargo = self._cargo = Cargo(self._home, shipped)
        codes = os.path.join(self._home, "codes")
        answer = {"objects": cargo.lacks(), "manifest": cargo.manifest, "codes": codes}
        self._send(LACKS, packed(answer))

    def _start(self, settings: dict[str, Any]) -> None:
        if self._cargo is None or self._worker is not None:
            raise Problem("The host was asked to start a worker out of turn.")
        self._cargo.unpack()
        self._worker = WorkerChild(self._cargo, settings, self._guardian, self._wake)
        self._say(STARTED, {"pid": self._worker.pid})

    def _pass_on(self, worker: WorkerChild, descriptor: int) -> None:
        chunk = os.read(descriptor, _READ)
        if chunk:
            self._send(worker.sources[descriptor], chunk)
        else:
            del worker.sources[descriptor]
            os.close(descriptor)

    # The end.

    def _close(self) -> None:
        """The connection has gone, or is taken for gone."""
        if self._is_open:
            self._is_open = False
            self._out.close()
            self._end(0, min(self._worker.grace, 1.0) if self._worker is not None else 0)

    def _end(self, patience: float, grace: float) -> None:
        self._grace = grace
        worker = self._worker
        if worker is None:
            self._say(EXIT, {"status": None})
            self._is_open = False
            return
        worker.requests.finish()
        if not worker.has_exited:
            self._next = (time.monotonic() + patience, signal.SIGTERM)

    def _begin_burial(self) -> None:
        """The worker has exited: end what it has started."""
        worker = self._worker
        if worker is not None:
            alone = worker.is_alone()
            if not alone:
                worker.signal(signal.SIGTERM)
            if self._next is None:
                self._grace = worker.grace
            self._next = (time.monotonic() + (0 if alone else self._grace), 0)

    def _keep_time(self) -> None:
        now = time.monotonic()
        worker = self._worker
        if self._is_open and now - self._heard >= self._silence:
            self._close()
        if now - self._beaten >= self._beat:
            self._send(BEAT, b"")
        if worker is not None and self._next is not None:
            when, number = self._next
            if number and now >= when and not worker.has_exited:
                worker.signal(number)
                self._next = (now + self._grace, signal.SIGKILL)
            elif not number and (now >= when or worker.is_alone()):
                self._bury(worker)
        self._sweep_on(now)

    def _bury(self, worker: WorkerChild) -> None:
        status = worker.reap()
        for descriptor in list(worker.sources):
            os.set_blocking(descriptor, False)
            with contextlib.suppress(BlockingIOError):
                for _ in range(_LAST_READS if self._out.descriptor >= 0 else 0):
                    self._pass_on(worker, descriptor)
                    if descriptor not in worker.sources:
                        break
        for descriptor in worker.sources:
            os.close(descriptor)
        worker.requests.close()
        self._say(EXIT, {"status": status})
        self._worker, self._next = None, None
        self._is_open = False

    def _sweep_on(self, now: float) -> None:
        if self._sweeping is None:
            if not self._has_swept and self._home and now - self._heard >= _QUIET:
                self._sweeping = sweep(self._home)
            return
        try:
            deadline = now + 0.002
            while time.monotonic() < deadline:
                next(self._sweeping)
        except (StopIteration, OSError):
            self._sweeping, self._has_swept = None, True


def main() -> None:
    """Be a host on stdin and stdout. What is printed by accident goes to stderr."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        # The end of the connection ends the host, so that it can end its worker.
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    outgoing = os.dup(1)
    os.dup2(2, 1)
    Host(0, outgoing).run()
