"""Calls and answers over two pipes: the trio app's side of the wire (the frames are in worker/frames.py).

No task runs in the background. The callers that wait for answers form a leader/follower pattern: one *leads*, which means it
passes every incoming answer to its caller, and writes what the pipe did not take at once. The others are parked. When the
leader leaves, with its own answer or because it was cancelled, it wakes another caller, which leads on. One task that reads for
all would be simpler, but makes a small call take a fifth longer (52 µs instead of 44, ``benchmarks/calls.py``).

Frames are written through a buffer of the channel, so a cancelled caller never leaves half a frame behind. Ctrl-C waits for
steps that must not be interrupted (``enable_ki_protection``).

The worker begins calls in the order in which they were made, ``threads`` at once, and a call's time counts from its beginning.
A cancel scope for each call would double the cost of a call, so one task keeps the time of all calls. Every call has the same
timeout, so the first to begin is the first to be late. The app may check the time long after a deadline, because it was stopped
(Ctrl-Z) or its loop was blocked. So the channel first reads what has arrived. A call whose answer is not there gets an
extension once, as long as the check was late, since its worker may have been stopped as well. (A stop that ended before the
deadline is not noticed and counts as running time.) While a stream is open, its items take turns among the calls, so the worker
says when a call begins, and the time of the call starts anew.
"""

from __future__ import annotations

import math
import os
from bisect import insort
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from operator import attrgetter

import trio

from lastgood.bridges.pending import PendingAnswer, waited_behind
from lastgood.bridges.readiness import Readiness, readiness
from lastgood.bridges.worker import frames
from lastgood.children.descriptors import PIPE_SIZE, enlarge
from lastgood.errors import BridgeError

__all__ = ["MAX_OPEN", "MAX_UNSENT", "Channel", "PendingAnswer"]

MAX_OPEN = 10_000
"""Calls that may be in flight at once, including forgotten ones that still run."""

MAX_UNSENT = 1 << 30
"""Bytes that may wait to be sent. A single larger call is accepted if nothing else waits."""

_SMALL_READ = 1 << 12
_MAX_UNREAD = 4 * PIPE_SIZE  # more than a pipe can hold
_WITHDRAWN = frozenset(
    (frames.CALL, frames.STREAM, frames.INTERFACE)
)  # what is not sent any more once nobody waits for it
_NOTICES = frozenset((frames.FORGOTTEN, frames.APART, frames.BEGAN, frames.LOADED, frames.LOGGED, frames.TAKEN))
_OF_NO_CALL = frozenset((frames.LOADED, frames.LOGGED))
_MAX_NOTICE = 1 << 20  # bytes in the body of such a frame
_deadline = attrgetter("deadline")


class _Unsent:
    __slots__ = ("begun", "number", "rest")

    def __init__(self, number: int, rest: memoryview, begun: bool) -> None:
        self.number = number
        self.rest = rest
        self.begun = begun


class Channel:
    """Frames to and from one worker. The channel owns the two descriptors, but not ``pidfd`` (-1: none).

    ``threads`` calls run at once, and each may take ``timeout`` seconds.

    The leader awaits ``on_end`` when the answers end or ``pidfd`` reports the worker's exit; ``on_garbage`` is called when the
    worker sends invalid data. Both must :meth:`fail` the channel. ``on_loaded`` takes the body of a LOADED frame and raises
    :class:`.frames.FrameError` if it is invalid. ``on_over`` takes the number of each call that was answered, or that was
    withdrawn before any of it was sent. ``on_logged`` is called for a LOGGED frame, ``on_taken`` for a TAKEN frame.
    """

    def __init__(
        self,
        requests: int,
        answers: int,
        pidfd: int,
        *,
        on_end: Callable[[], Awaitable[None]],
        on_garbage: Callable[[str], object],
        on_loaded: Callable[[bytes], object] = lambda _body: None,
        on_over: Callable[[int], object] = lambda _number: None,
        on_logged: Callable[[], object] = lambda: None,
        on_taken: Callable[[], object] = lambda: None,
        threads: int = 1,
        timeout: float = math.inf,
    ) -> None:
        self._requests = requests
        self._answers = answers
        self._readiness = self._prepare(pidfd)
        self._on_end = on_end
        self._on_garbage = on_garbage
        self._on_loaded = on_loaded
        self._on_over = on_over
        self._on_logged = on_logged
        self._on_taken = on_taken
        self._inbox = frames.Inbox()
        self._read_size = _SMALL_READ
        self._unsent: deque[_Unsent] = deque()
        self._unsent_size = 0
        self._open: dict[int, PendingAnswer] = {}
        self._forgotten: dict[int, PendingAnswer] = {}
        self.streams: dict[int, PendingAnswer] = {}
        """The open streams: number and opening request. Their owners keep it up to date."""
        self._next = 1
        self._leader: PendingAnswer | None = None
        self.timeout = timeout
        self._threads = self._free_threads = threads
        self._queued: deque[PendingAnswer] = deque()  # not begun; may include calls that are no longer open
        self._due: deque[PendingAnswer] = (
            deque()
        )  # begun, earliest deadline first; may include calls that are no longer open
        self._timekeeper: trio.CancelScope | None = None
        self._timekeeper_parked: trio.lowlevel.Task | None = None
        self._failure: Callable[[], BridgeError] | None = None
        self._closed = False

    def _prepare(self, pidfd: int) -> Readiness:
        """Prepare the descriptors."""
        for descriptor in (self._requests, self._answers):
            os.set_blocking(descriptor, False)
            enlarge(descriptor)
        return readiness(self._answers, self._requests, pidfd)

    def adopt(self, *, threads: int, timeout: float, on_loaded: Callable[[bytes], object]) -> None:
        """Give the channel, which has not had a call yet, the settings of a new owner."""
        self._threads = self._free_threads = threads
        self.timeout, self._on_loaded = timeout, on_loaded

    def pin(self, body: bytes) -> None:
        """Send a PIN frame, unless the worker is gone."""
        if self._failure is None:
            self._send(frames.PIN, 0, body)

    def set_levels(self, body: bytes) -> None:
        """Send a LEVELS frame, unless the worker is gone."""
        if self._failure is None:
            self._send(frames.LEVELS, 0, body)

    def serve(self, body: bytes) -> None:
        """Send a SERVE frame that is not answered, unless the worker is gone."""
        if self._failure is None:
            self._send(frames.SERVE, 0, body)

    def busy(self) -> bool:
        """Return whether the worker may still be working on a call. A stream ends by itself with its worker."""
        return any(not answer.of_stream for each in (self._open, self._forgotten) for answer in each.values())

    def load(self) -> int:
        """Return the number of calls in flight, including forgotten ones that still run, and of open streams."""
        return len(self._open) + len(self._forgotten) + len(self.streams)

    def failed(self) -> bool:
        """Return whether every further call would raise."""
        return self._failure is not None

    def failure(self) -> BridgeError:
        """Return the error that every further call would raise."""
        assert self._failure is not None, "it has not failed"
        return self._failure()

    @trio.lowlevel.enable_ki_protection
    def submit(self, kind: int, body: bytes, target: bytes = b"") -> PendingAnswer:
        """Send a frame that will be answered; ``target`` is the function that it is about.

        Raise :class:`BridgeError` if the worker is gone or too much is in flight.
        """
        if self._failure is not None:
            raise self._failure()
        if len(body) > frames.MAX_BODY:
            raise BridgeError(f"The arguments take {len(body)} bytes; no more than {frames.MAX_BODY} can cross.")
        if len(self._open) + len(self._forgotten) >= MAX_OPEN:
            raise BridgeError(
                f"{MAX_OPEN} calls are in flight already, cancelled ones that still run among them. "
                "Wait for some of them before making more."
            )
        if self._unsent_size and self._unsent_size + len(body) > MAX_UNSENT:
            raise BridgeError(
                f"{self._unsent_size} bytes wait already for the worker to take them; no more than {MAX_UNSENT} can. "
                "Wait for calls that are in flight before making more."
            )
        answer = PendingAnswer(self._next, target)
        self._next += 1
        self._open[answer.number] = answer
        if kind == frames.CALL or kind == frames.STREAM or kind == frames.INTERFACE:
            answer.of_stream = kind == frames.STREAM
            if self._free_threads > 0:
                self._free_threads -= 1
                answer.holds_thread = True
                self._begin(answer)
            else:
                answer.queued = trio.current_time()
                self._queued.append(answer)
        elif kind == frames.SERVE:
            answer.of_stream = True  # its end is not waited for, and it has no timeout
        elif kind not in (frames.SETUP, frames.AHEAD):
            answer.of_stream = True
            self._begin(answer)
        self._send(kind, answer.number, body)
        return answer

    @trio.lowlevel.enable_ki_protection
    def close_stream(self, number: int) -> None:
        """Have the worker close a stream, without waiting for it."""
        if self._failure is None:
            request, self._next = self._next, self._next + 1
            forgotten = self._forgotten[request] = PendingAnswer(request)
            forgotten.of_stream = True
            self._send(frames.CLOSE, request, frames.STREAM_NUMBER.pack(number))
            self._send(frames.FORGET, request, b"")

    async def wait(self, answer: PendingAnswer) -> None:
        """Wait until ``answer`` has arrived or is late; raise the channel's failure. If late or cancelled, send FORGET."""
        try:
            while answer.kind is None and not answer.late:
                if self._failure is not None:
                    raise self._failure()
                if self._leader is not None:
                    await self._park(answer)
                    continue
                self._leader = answer
                try:
                    await self._readiness.wait()
                    if not (self._closed or self._step()):
                        await self._on_end()
                except trio.ClosedResourceError:
                    pass  # its own answer is late, or the channel was closed and the failure says why
                finally:
                    self._leader = None
        finally:
            if answer.kind is None:
                self._forget(answer)
            if self._leader is None and self._open:
                self._wake_another()

    @trio.lowlevel.enable_ki_protection
    def fail(self, failure: Callable[[], BridgeError]) -> None:
        """Make every further call raise ``failure()``. Only the first failure counts."""
        if self._failure is None:
            self._failure = failure
        self._unsent.clear()
        self._unsent_size = 0
        for answer in self._open.values():
            _unpark(answer)

    @trio.lowlevel.enable_ki_protection
    def close(self) -> None:
        """Close the descriptors. Call :meth:`fail` first."""
        if self._closed:
            return
        self._closed = True
        if self._timekeeper is not None:
            self._timekeeper.cancel()
        self._readiness.close()
        os.close(self._answers)
        os.close(self._requests)

    def descriptors(self) -> Iterable[int]:
        """Return all that it has open."""
        return () if self._closed else (self._requests, self._answers, self._readiness.descriptor)

    # Writing.

    def _send(self, kind: int, number: int, body: bytes) -> None:
        head = frames.HEADER.pack(len(body), kind, number)
        if len(body) >= _SMALL_READ and not self._unsent:
            sent = self._try_write(head, body)  # writev, rather than copying a large body to prepend 13 bytes
            rest = memoryview(body)[sent - len(head) :] if sent >= len(head) else memoryview(head + body)[sent:]
        else:
            frame = head + body
            sent = 0 if self._unsent else self._try_write(frame)
            if sent == len(frame):
                return
            rest = memoryview(frame)[sent:]
        if rest:
            self._unsent.append(_Unsent(number if kind in _WITHDRAWN else -1, rest, sent > 0))
            self._unsent_size += len(rest)
            self._readiness.want_write(True)

    def _try_write(self, *data: bytes | memoryview) -> int:
        try:
            return os.write(self._requests, data[0]) if len(data) == 1 else os.writev(self._requests, data)
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            return sum(map(len, data))  # the worker is gone; the leader finds out why

    def _flush(self) -> None:
        while self._unsent:
            first = self._unsent[0]
            sent = self._try_write(first.rest)
            first.rest = first.rest[sent:]
            first.begun = first.begun or sent > 0
            self._unsent_size -= sent
            if first.rest:
                return
            self._unsent.popleft()
        self._readiness.want_write(False)

    @trio.lowlevel.enable_ki_protection
    def _forget(self, answer: PendingAnswer) -> None:
        if self._open.pop(answer.number, None) is None or self._failure is not None:
            return
        self._free_thread(answer)
        for unsent in self._unsent:
            if unsent.number == answer.number and not unsent.begun:
                self._unsent.remove(unsent)
                self._unsent_size -= len(unsent.rest)
                self._readiness.want_write(bool(self._unsent))
                self._on_over(answer.number)
                return
        self._forgotten[answer.number] = answer
        self._send(frames.FORGET, answer.number, b"")

    @trio.lowlevel.enable_ki_protection
    def send_read(self, number: int) -> None:
        """Send READ: the answer to this call was read or discarded, so the worker can reuse the memory it lent for it."""
        if self._failure is None:
            self._send(frames.READ, number, b"")

    # Time.

    def _begin(self, answer: PendingAnswer) -> None:
        """Start the timeout of a call for which a thread of the worker is free, or of a request of a stream."""
        if self.timeout == math.inf:
            return
        answer.began = trio.current_time()
        answer.deadline = answer.began + self.timeout
        self._due.append(answer)
        if self._timekeeper is None:
            self._timekeeper = trio.CancelScope()
            trio.lowlevel.spawn_system_task(self._keep_time, name="lastgood's timekeeper")
        elif self._timekeeper_parked is not None:
            task, self._timekeeper_parked = self._timekeeper_parked, None
            trio.lowlevel.reschedule(task)

    def _begin_again(self, answer: PendingAnswer) -> None:
        """Start the timeout of a call anew: it waited for a stream's turn, and begins only now."""
        if answer in self._due:
            self._due.remove(answer)
            answer.has_begun = True
            self._begin(answer)

    def _free_thread(self, answer: PendingAnswer) -> None:
        """Free the thread of a call that has ended, was forgotten or runs apart, and begin the calls that waited for it."""
        if answer.holds_thread:
            answer.holds_thread = False
            self._free_threads += 1
            queued = self._queued
            while queued and self._free_threads > 0:
                following = queued.popleft()
                if following.number in self._open:
                    self._free_threads -= 1
                    following.holds_thread = True
                    following.behind = answer.target, answer.began
                    self._begin(following)
        due = self._due
        while due and due[0].number not in self._open:
            due.popleft()

    async def _keep_time(self) -> None:
        assert self._timekeeper is not None
        with self._timekeeper:
            while True:
                if self._due and self._due[0].deadline <= trio.current_time():
                    await self._end_late_calls()
                if self._due:
                    await trio.sleep_until(self._due[0].deadline)
                else:
                    await self._park_timekeeper()

    async def _park_timekeeper(self) -> None:
        def abort(_: object) -> trio.lowlevel.Abort:
            self._timekeeper_parked = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._timekeeper_parked = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)

    async def _end_late_calls(self) -> None:
        if not self._catch_up() or self._failure is not None:
            # The worker has gone or sent invalid data: the leader ends every call with that failure.
            await self._park_timekeeper()
            return
        now = trio.current_time()
        while self._due and self._due[0].deadline <= now:
            answer = self._due.popleft()
            if answer.number not in self._open:
                continue
            begun = self._inbox.begun()
            is_coming = begun is not None and begun[2] == answer.number
            # Another stream takes turns that the app is not told of: without BEGAN, this call may still wait for one.
            others = len(self.streams) - answer.of_stream
            may_have_waited = others > 0 and answer.holds_thread and not answer.has_begun
            more = self.timeout if is_coming or may_have_waited else min(now - answer.deadline, self.timeout)
            if more > 0 and not answer.extended:
                answer.extended = True
                answer.deadline = now + more
                insort(self._due, answer, key=_deadline)
            else:
                answer.late = True
                running = [*self._open.values(), *self._forgotten.values()]
                answer.waited = waited_behind(answer, running, self.streams.values(), now, self._threads)
                self._wake_caller(answer)

    def _wake_caller(self, answer: PendingAnswer) -> None:
        """Wake the caller, which then checks its answer."""
        if answer is self._leader:
            self._readiness.wake()
        else:
            _unpark(answer)

    # Reading.

    @trio.lowlevel.enable_ki_protection
    def _step(self) -> bool:
        """Write what the pipe takes, read what has arrived; return False if nothing more will come."""
        if self._unsent:
            self._flush()
        try:
            chunk = os.read(self._answers, self._read_size)
        except BlockingIOError:
            return not self._readiness.exited()
        if not chunk:
            return False
        # A single read in each turn of the app's event loop, so that a large answer does not block it.
        self._read_size = PIPE_SIZE if len(chunk) >= _SMALL_READ else _SMALL_READ
        self._take(chunk)
        return True

    @trio.lowlevel.enable_ki_protection
    def _catch_up(self) -> bool:
        """Read all that has arrived, from a task that is not the leader; return False if nothing more will come."""
        leader = self._leader
        try:
            chunk = b"" if self._closed else os.read(self._answers, PIPE_SIZE)  # a pipe holds no more
        except BlockingIOError:
            return not self._readiness.exited()
        self._take(chunk)
        if leader is not None and (leader.kind is not None or self._failure is not None):
            self._readiness.wake()
        return bool(chunk)

    @trio.lowlevel.enable_ki_protection
    def drain(self) -> None:
        """Read what a worker that has ended had still sent: answers, and reports of loaded modules."""
        for _ in range(_MAX_UNREAD // PIPE_SIZE):
            try:
                chunk = b"" if self._closed else os.read(self._answers, PIPE_SIZE)
            except BlockingIOError:  # a child of the worker holds the pipe open
                return
            if not chunk:
                return
            self._take(chunk)

    def _take(self, chunk: bytes) -> None:
        try:
            for kind, number, body in self._inbox.feed(chunk):
                self._dispatch(kind, number, body)
            if self._inbox.rest and (begun := self._inbox.begun()) is not None:
                self._check(*begun)
        except frames.FrameError as error:
            self._on_garbage(str(error))

    def _dispatch(self, kind: int, number: int, body: bytes) -> None:
        if kind not in frames.ANSWERS:
            self._dispatch_notice(kind, number, body)
            return
        self._on_over(number)
        answer = self._open.pop(number, None)
        if answer is not None:
            answer.kind = kind
            answer.body = body
            self._free_thread(answer)
            _unpark(answer)
        elif number in self._forgotten:
            del self._forgotten[number]
            if kind == frames.RESULT or kind == frames.ITEMS:
                self.send_read(number)
        else:
            self._check(len(body), kind, number)

    def _dispatch_notice(self, kind: int, number: int, body: bytes) -> None:
        self._check(len(body), kind, number)
        if kind == frames.LOADED:
            self._on_loaded(body)
        elif kind == frames.LOGGED:
            self._on_logged()
        elif kind == frames.TAKEN:
            self._on_taken()
        elif number in self._open:
            if kind == frames.BEGAN:
                self._begin_again(self._open[number])
            else:  # the frame is APART
                self._open[number].apart = True
                self._free_thread(self._open[number])

    def _check(self, length: int, kind: int, number: int) -> None:
        """Raise for an invalid frame, even before its body has arrived: otherwise every call waits for it, and memory fills."""
        if kind not in frames.ANSWERS and kind not in _NOTICES:
            raise frames.FrameError(f"a frame of the unknown kind {kind}")
        if length > _MAX_NOTICE and kind in _NOTICES:
            raise frames.FrameError(
                f"a frame of kind {kind} and {length} bytes, none of which has more than {_MAX_NOTICE}"
            )
        if kind not in _OF_NO_CALL and number not in self._open and number not in self._forgotten:
            what = "an answer to" if kind in frames.ANSWERS else "a notice of"
            raise frames.FrameError(f"{what} call {number}, which is not open")

    @trio.lowlevel.enable_ki_protection
    def _wake_another(self) -> None:
        """Make another caller the leader."""
        for answer in self._open.values():
            if answer.parked is not None:
                _unpark(answer)
                return

    async def _park(self, answer: PendingAnswer) -> None:
        def abort(_: object) -> trio.lowlevel.Abort:
            # A deadline of the caller's own may pass at the very moment its answer arrives, as after the process was stopped.
            self._catch_up()
            if answer.parked is None:
                return trio.lowlevel.Abort.FAILED  # it was rescheduled and returns the answer
            answer.parked = None
            return trio.lowlevel.Abort.SUCCEEDED

        answer.parked = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)


def _unpark(answer: PendingAnswer) -> None:
    if answer.parked is not None:
        task, answer.parked = answer.parked, None
        trio.lowlevel.reschedule(task)
