"""Calls and answers over two pipes, from a trio app: the client's side of the wire (contract §10).

No task runs in the background. Of the callers that wait for answers, one *leads*: it hands every answer that comes to whom
it belongs, and writes what the pipe would not take at once, whosoever it is. The others are parked. When the leader leaves,
with its own answer or because it was cancelled, it wakes another, which leads on.

Frames go through a buffer that is the channel's own, so a cancelled caller never leaves half a frame behind; and Ctrl-C
waits for a step that must be whole (``enable_ki_protection``).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Awaitable, Callable

import trio

from lastgood.bridges.readiness import readiness
from lastgood.bridges.worker import frames
from lastgood.errors import BridgeError

__all__ = ["MAX_OPEN", "Answer", "Channel"]

MAX_OPEN = 10_000
"""Calls that may be in flight at once."""

_SMALL_READ = 1 << 16
_PIPE_SIZE = 1 << 20
_F_SETPIPE_SZ = 1031


class Answer:
    """What a call waits for: ``kind`` and ``body`` of the frame, once it is there (``kind`` None: not yet)."""

    __slots__ = ("body", "kind", "number", "parked")

    def __init__(self, number: int) -> None:
        self.number = number
        self.kind: int | None = None
        self.body = b""
        self.parked: trio.lowlevel.Task | None = None


class _Unsent:
    __slots__ = ("begun", "number", "rest")

    def __init__(self, number: int, rest: memoryview, begun: bool) -> None:
        self.number = number
        self.rest = rest
        self.begun = begun


class Channel:
    """Frames to and from one worker. It owns the two descriptors, not ``pidfd`` (-1: none).

    ``on_end`` is awaited by the leader when the answers end or ``pidfd`` says that the worker has; ``on_garbage`` is
    called when what came is no answer. Both must :meth:`fail` the channel. ``on_loaded`` takes the body of a
    LOADED frame, and raises :class:`.frames.FrameError` if it is none.
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
    ) -> None:
        self._requests = requests
        self._answers = answers
        for descriptor in (requests, answers):
            os.set_blocking(descriptor, False)
            _widen(descriptor)
        self._readiness = readiness(answers, requests, pidfd)
        self._on_end = on_end
        self._on_garbage = on_garbage
        self._on_loaded = on_loaded
        self._inbox = frames.Inbox()
        self._read_size = _SMALL_READ
        self._unsent: deque[_Unsent] = deque()
        self._open: dict[int, Answer] = {}
        self._forgotten: set[int] = set()
        self._next = 1
        self._led = False
        self._failure: Callable[[], BridgeError] | None = None
        self._closed = False

    def busy(self) -> bool:
        """Whether the worker may still be doing something for us."""
        return bool(self._open or self._forgotten)

    @trio.lowlevel.enable_ki_protection
    def submit(self, kind: int, body: bytes) -> Answer:
        """Send a frame that will be answered. Raises :class:`BridgeError` when the worker is gone, or too much is in flight."""
        if self._failure is not None:
            raise self._failure()
        if len(body) > frames.MAX_BODY:
            raise BridgeError(f"The arguments take {len(body)} bytes; no more than {frames.MAX_BODY} can cross.")
        if len(self._open) >= MAX_OPEN:
            raise BridgeError(f"{MAX_OPEN} calls are in flight already. Wait for some of them before making more.")
        answer = Answer(self._next)
        self._next += 1
        self._open[answer.number] = answer
        self._send(kind, answer.number, body)
        return answer

    async def wait(self, answer: Answer) -> None:
        """Wait until ``answer`` is there. Cancelled, it tells the worker so. Raises what the channel failed with."""
        try:
            while answer.kind is None:
                if self._failure is not None:
                    raise self._failure()
                if self._led:
                    await _park(answer)
                else:
                    await self._lead()
        finally:
            if answer.kind is None:
                self._forget(answer)
            if not self._led:
                self._wake_another()

    @trio.lowlevel.enable_ki_protection
    def fail(self, failure: Callable[[], BridgeError]) -> None:
        """From now on every call raises ``failure()``. The first failure stays."""
        if self._failure is None:
            self._failure = failure
        self._unsent.clear()
        for answer in self._open.values():
            _unpark(answer)

    @trio.lowlevel.enable_ki_protection
    def close(self) -> None:
        """Close the descriptors. :meth:`fail` first."""
        if self._closed:
            return
        self._closed = True
        self._readiness.close()
        os.close(self._answers)
        os.close(self._requests)

    # Writing.

    def _send(self, kind: int, number: int, body: bytes) -> None:
        frame = frames.HEADER.pack(len(body), kind, number) + body
        sent = 0 if self._unsent else self._try_write(frame)
        if sent < len(frame):
            self._unsent.append(_Unsent(number if kind == frames.CALL else -1, memoryview(frame)[sent:], sent > 0))
            self._readiness.want_write(True)

    def _try_write(self, data: bytes | memoryview) -> int:
        try:
            return os.write(self._requests, data)
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            return len(data)  # the worker is gone; the leader finds out how

    def _flush(self) -> None:
        while self._unsent:
            first = self._unsent[0]
            sent = self._try_write(first.rest)
            first.rest = first.rest[sent:]
            first.begun = first.begun or sent > 0
            if first.rest:
                return
            self._unsent.popleft()
        self._readiness.want_write(False)

    @trio.lowlevel.enable_ki_protection
    def _forget(self, answer: Answer) -> None:
        if self._open.pop(answer.number, None) is None or self._failure is not None:
            return
        for unsent in self._unsent:
            if unsent.number == answer.number and not unsent.begun:
                self._unsent.remove(unsent)
                self._readiness.want_write(bool(self._unsent))
                return
        self._forgotten.add(answer.number)
        self._send(frames.FORGET, answer.number, b"")

    # Reading.

    async def _lead(self) -> None:
        self._led = True
        try:
            await self._readiness.wait()
            if not (self._closed or self._take_turn()):
                await self._on_end()
        except trio.ClosedResourceError:
            pass  # closed under us; the failure says why
        finally:
            self._led = False

    @trio.lowlevel.enable_ki_protection
    def _take_turn(self) -> bool:
        """Write what can be, read what is there; False if there will be no more."""
        if self._unsent:
            self._flush()
        try:
            chunk = os.read(self._answers, self._read_size)
        except BlockingIOError:
            return not self._readiness.exited()
        if not chunk:
            return False
        # One read for each turn of the app's event loop, so that a large answer does not hold it up.
        self._read_size = _PIPE_SIZE if len(chunk) >= _SMALL_READ else _SMALL_READ
        try:
            for kind, number, body in self._inbox.feed(chunk):
                self._dispatch(kind, number, body)
        except frames.FrameError as error:
            self._on_garbage(str(error))
        return True

    def _dispatch(self, kind: int, number: int, body: bytes) -> None:
        if kind == frames.LOADED:
            self._on_loaded(body)
            return
        if kind not in frames.ANSWERS:
            raise frames.FrameError(f"a frame of the unknown kind {kind}")
        answer = self._open.pop(number, None)
        if answer is not None:
            answer.kind = kind
            answer.body = body
            _unpark(answer)
        elif number in self._forgotten:
            self._forgotten.remove(number)
        else:
            raise frames.FrameError(f"an answer to call {number}, which is not open")

    @trio.lowlevel.enable_ki_protection
    def _wake_another(self) -> None:
        """Have another caller lead."""
        for answer in self._open.values():
            if answer.parked is not None:
                _unpark(answer)
                return


async def _park(answer: Answer) -> None:
    def abort(_: object) -> trio.lowlevel.Abort:
        answer.parked = None
        return trio.lowlevel.Abort.SUCCEEDED

    answer.parked = trio.lowlevel.current_task()
    await trio.lowlevel.wait_task_rescheduled(abort)


def _unpark(answer: Answer) -> None:
    if answer.parked is not None:
        task, answer.parked = answer.parked, None
        trio.lowlevel.reschedule(task)


def _widen(descriptor: int) -> None:
    """A larger buffer, where there is such a thing: ten megabytes then take ten turns of the event loop, not 160."""
    try:
        import fcntl

        fcntl.fcntl(descriptor, _F_SETPIPE_SZ, _PIPE_SIZE)
    except (ImportError, OSError):
        pass
