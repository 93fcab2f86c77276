"""Streams: the items of generators and other iterators, made ahead of who takes them.

- The items of a *plain* iterator are made in the threads that run calls. A stream takes a turn among the calls for each item,
  and gives it back as soon as a call, or another stream, waits for one. In between it is in no thread.
- The items of an *async* iterator are made by a task on the event loop (asyncs.py), from its first item to its end.

Both keep the context in which the stream was opened. At most WINDOW_ITEMS items, or WINDOW_BYTES bytes, are ahead of what the
app has taken: those that wait here, and those of the last answer, which count until the app asks for more. A single item may be
larger. An answer has at most half of that, so that more is made while the app takes it.

A stream is over once its end was sent, or it was closed. The generator is closed in its own context, in a turn of its own.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from types import CoroutineType

from . import frames
from .calling import Refused
from .contexts import CONTEXTS
from .forks import FORKS
from .performing import pack_raised, pack_refused, pack_result
from .values.codec import CODEC, Lending

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

    from .interrupts import Exposure

    Outcome = tuple[int, bytes]

__all__ = ["WINDOW_BYTES", "WINDOW_ITEMS", "Stream", "Streams", "aclosed", "iterator_of"]

WINDOW_ITEMS = 256
WINDOW_BYTES = 1 << 20

_LONGEST_TURN = 0.002  # seconds that an async iterator that never waits may keep the loop from others
_CLOSED: Outcome = (frames.RESULT, b"\xc0")  # a packed None
_ENDED: Outcome = (frames.ENDED, b"")
_FORGOTTEN: Outcome = (frames.FORGOTTEN, b"")
_NO_STREAMS = (str, bytes, bytearray, dict)  # they can be iterated over, but are values


class Stream:
    """A stream and what was made of it. ``iterator`` is None if a task on an event loop makes the items."""

    __slots__ = (
        "cancelled",
        "closing",
        "context",
        "count",
        "end",
        "given",
        "interrupted",
        "items",
        "iterator",
        "number",
        "queued",
        "request",
        "requested",
        "resting",
        "size",
        "slot",
        "started",
        "wake",
    )

    def __init__(self, number: int, iterator: Iterator[Any] | None) -> None:
        self.number = number
        self.iterator = iterator
        self.context: Context = copy_context()
        self.request: int | None = number
        """The unanswered request of the app."""
        self.requested: Sequence[Any] = ()
        """The rest of the call, besides its arguments."""
        self.items: deque[bytes] = deque()
        self.count = 0  # items made so far
        self.size = 0  # bytes of the items that wait
        self.given = 0, 0  # items and bytes of the last answer
        self.end: Outcome | None = None
        self.closing = False
        self.started = False  # its task can be cancelled
        self.cancelled = False  # its task is to be cancelled
        self.interrupted = False  # its task has ended so
        self.resting = False
        """True while its task waits for room, or closes the generator: it needs no cancelling then."""
        self.queued = False
        """True while it waits for a turn, or has one."""
        self.slot: Any = None
        """The slot of the thread that makes an item at present."""
        self.wake: Callable[[], object] | None = None
        """Wakes the task that makes the items."""

    def spare(self) -> bool:
        """Return whether its task needs no cancelling. Called on the loop of the task, when that is about to be cancelled."""
        self.cancelled = not self.resting
        return self.resting

    def was_ahead(self) -> bool:
        """Return whether its task raised by itself, ahead of a reader who has left, rather than since it is closed."""
        return self.closing and not self.resting and not self.cancelled

    def has_room(self) -> bool:
        """Return whether another item may be made."""
        items, size = self.given
        return len(self.items) + items < WINDOW_ITEMS and self.size + size < WINDOW_BYTES


class Streams:
    """The open streams of a worker.

    ``answer`` sends an answer, ``enqueue`` has a stream get a turn in a thread, and ``cancel`` ends the task of one, unless what
    it is given says at that moment, on the loop of the task, that it need not. ``is_forgotten`` says whether nobody waits any
    more for the answer to a request that is not known here: it was forgotten before its stream began.
    """

    def __init__(
        self,
        answer: Callable[[int, int, bytes], None],
        enqueue: Callable[[Stream], None],
        cancel: Callable[[int, Callable[[], bool]], None],
        is_forgotten: Callable[[int], bool],
    ) -> None:
        self._answer = answer
        self._enqueue = enqueue
        self._cancel = cancel
        self._is_forgotten = is_forgotten
        self._changed = threading.Condition()  # guards what follows, and every stream
        self._streams: dict[int, Stream] = {}
        self._requests: dict[int, Stream] = {}

    def any_open(self) -> bool:
        """Return whether a stream is open."""
        return bool(self._streams)

    # A thread that runs calls.

    def begin(
        self,
        number: int,
        result: Any,
        requested: Sequence[Any],
        backend: str,
        send: Callable[[int, int, bytes], object],
        start: Callable[[int, Coroutine[Any, Any, Outcome], Callable[[Outcome], Outcome]], Outcome | None],
    ) -> Outcome | None:
        """Begin a stream over what a function gave, in the current context. Return an answer if there will be no items.

        ``start`` starts a coroutine on an event loop of ``backend``. It returns an answer if it cannot. ``send`` sends a frame. The
        reading thread may forget the stream, or close it, at any moment of this.
        """
        is_async = type(result) is CoroutineType or hasattr(type(result), "__aiter__")
        try:
            stream = Stream(number, None if is_async else iterator_of(result))
        except Refused as refused:
            return pack_refused(str(refused))
        stream.requested = requested
        stream.queued = True
        if is_async:
            stream.wake = bool
            send(frames.APART, number, b"")  # before anybody can answer it
        with self._changed:
            self._streams[number] = stream
            forgotten = stream.closing = self._is_forgotten(number)
            if forgotten:
                stream.request = None
            else:
                self._requests[number] = stream
        if not is_async:
            self._enqueue(stream)
        else:
            self._start(stream, start(number, self._produce(stream, result, backend), lambda outcome: outcome))
        return _FORGOTTEN if forgotten else None

    def _start(self, stream: Stream, failure: Outcome | None) -> None:
        """Note that the task of a stream has started, or why it has not, and cancel it if the stream was closed before."""
        if failure is not None:
            self.finished(stream.number, failure)
            return
        with self._changed:
            stream.started, closed = True, stream.closing
        if closed:
            self._cancel(stream.number, stream.spare)

    def advance(self, stream: Stream, exposure: Exposure, others_wait: Callable[[], bool]) -> None:
        """Make items in this thread until there is no room for more, or others wait."""
        CONTEXTS.enter_thread()
        stream.context.run(self._advance, stream, exposure, others_wait)

    def _advance(self, stream: Stream, exposure: Exposure, others_wait: Callable[[], bool]) -> None:
        iterator = stream.iterator
        while iterator is not None:
            if stream.closing:
                error = _close(iterator)
                FORKS.end_child(error)
                if error is not None and stream.request is None:
                    traceback.print_exception(type(error), error, error.__traceback__)
                self._ended(stream, _CLOSED if error is None else pack_raised(error))
                return
            try:
                try:
                    exposure.expose()
                    item = next(iterator)
                finally:
                    exposure.cover()
                kind, body = self._packed(stream, item)
            except StopIteration:
                FORKS.end_child()
                kind, body = _ENDED
            except BaseException as error:  # including SystemExit: a stream must not end the worker
                kind, body = pack_raised(error)
            if kind != frames.RESULT:
                _close(iterator)  # if it was its item that failed
                # Who leaves early does not learn what comes of items that nobody asked for.
                self._ended(stream, _CLOSED if stream.closing else (kind, body))
                return
            if not self._put(stream, body) or others_wait():
                return

    def rest(self, stream: Stream) -> None:
        """End the turn of a stream. It gets another one if there is something to do."""
        with self._changed:
            stream.queued = stream.end is None and (stream.closing or stream.has_room())
            queued = stream.queued
        if queued:
            self._enqueue(stream)

    # An event loop.

    async def _produce(self, stream: Stream, source: Any, backend: str) -> Outcome:
        try:
            return await self._produce_items(stream, source, backend)
        except Refused as refused:
            return pack_refused(str(refused))
        except Exception as error:
            FORKS.end_child(error)
            if stream.was_ahead():
                return _CLOSED
            if stream.closing and stream.request is None:
                traceback.print_exception(type(error), error, error.__traceback__)
            return pack_raised(error)
        except BaseException:
            stream.interrupted = True
            raise

    async def _produce_items(self, stream: Stream, source: Any, backend: str) -> Outcome:
        gate = _TrioGate() if backend == "trio" else _AsyncioGate()
        stream.wake = gate.open
        iterator = _async_iterator(await source if type(source) is CoroutineType else source)
        try:
            since = time.monotonic()
            async for item in iterator:
                if stream.closing:
                    stream.resting = True
                    return _CLOSED
                kind, body = self._packed(stream, item)
                if kind != frames.RESULT:
                    return kind, body
                if not self._put(stream, body):
                    if not await self._room(stream, gate):
                        return _CLOSED
                    since = time.monotonic()
                elif time.monotonic() - since > _LONGEST_TURN:
                    await gate.pause()
                    since = time.monotonic()
            FORKS.end_child()
            return _ENDED
        finally:
            await aclosed(iterator)

    async def _room(self, stream: Stream, gate: _AsyncioGate | _TrioGate) -> bool:
        """Wait until there is room for an item. Return False if the stream is to be closed instead."""
        stream.resting = True
        while not stream.closing:
            with self._changed:
                if stream.has_room():
                    stream.resting = False
                    return True
            await gate.wait()
        return False

    def finished(self, number: int, outcome: Outcome) -> bool:
        """Note how the task of a stream has ended. Return False if ``number`` is not a stream's."""
        with self._changed:
            stream = self._streams.get(number)
        if stream is None:
            return False
        if outcome[0] == frames.FORGOTTEN:
            outcome = pack_refused("The task of the stream was cancelled in the worker.")
        self._ended(stream, outcome)
        return True

    # Any thread.

    def _packed(self, stream: Stream, item: Any) -> Outcome:
        kind, body = pack_result(item, stream.requested, name=f"item {stream.count + 1}")
        if len(body) > frames.MAX_BODY - frames.RECORD.size:
            _drop((body,))
            size = frames.MAX_BODY - frames.RECORD.size
            return pack_refused(
                f"Item {stream.count + 1} of the stream takes {len(body)} bytes; no more than {size} can cross."
            )
        return kind, body

    def _put(self, stream: Stream, body: bytes) -> bool:
        """Add an item, and send it if the app waits for it. Return whether another one may be made."""
        with self._changed:
            stream.count += 1
            if stream.closing:
                _drop((body,))
                return True  # to be closed
            stream.items.append(body)
            stream.size += _size_of(body)
            request, answer = self._take_answer(stream)
            room = stream.has_room()
        if answer is not None:
            self._answer(request, frames.ITEMS, answer)
        return room

    def _take_answer(self, stream: Stream) -> tuple[int, bytes | None]:
        """Return the request that waits, and its answer, which is taken from the stream; None if there is none yet."""
        request = stream.request
        if request is None or not (stream.items or stream.end is not None):
            return 0, None
        parts: list[bytes] = []
        blocks: list[int] = []
        items = size = 0
        room = frames.MAX_BODY
        while stream.items and items < WINDOW_ITEMS // 2 and size < WINDOW_BYTES // 2:
            room -= frames.RECORD.size + len(stream.items[0])
            if room < 0:
                break
            body = stream.items.popleft()
            items += 1
            size += _size_of(body)
            blocks += getattr(body, "blocks", ())
            parts += frames.RECORD.pack(frames.RESULT, len(body)), body
        if not stream.items and stream.end is not None and room >= frames.RECORD.size + len(stream.end[1]):
            kind, body = stream.end
            parts += frames.RECORD.pack(kind, len(body)), body
            self._remove(stream)
        stream.given = items, size
        stream.size -= size
        stream.request = None
        del self._requests[request]
        answer = b"".join(parts)
        if blocks:
            answer = Lending(answer)
            answer.blocks = blocks
        return request, answer

    def _ended(self, stream: Stream, outcome: Outcome) -> None:
        """Note the end of a stream: there will be no more items."""
        with self._changed:
            stream.end, stream.iterator = outcome, None
            kind = frames.ITEMS
            if stream.closing:
                self._remove(stream)
                request, stream.request = stream.request, None
                # A cancelled task has ended as it was told to. What a generator raises as it is closed is the app's to know.
                kind, answer = _CLOSED if stream.interrupted or outcome[0] != frames.RAISED else outcome
                if request is not None:
                    del self._requests[request]
            else:
                request, answer = self._take_answer(stream)  # type: ignore[assignment]  # None: nobody waits for it yet
        if request and answer is not None:
            self._answer(request, kind, answer)

    def _remove(self, stream: Stream) -> None:
        self._streams.pop(stream.number, None)
        self._changed.notify_all()

    # The thread that reads.

    def request(self, kind: int, request: int, body: bytes) -> None:
        """Answer a TAKE or CLOSE, now or later. Raise an error for an invalid one."""
        (number,) = frames.STREAM_NUMBER.unpack(body)
        if kind == frames.TAKE:
            self._take(request, number)
        else:
            self._close(request, number)

    def _take(self, request: int, number: int) -> None:
        with self._changed:
            stream = self._streams.get(number)
            if stream is not None and not stream.closing:
                self._expect(stream, request)
                stream.given = 0, 0
                begun, answer = self._take_answer(stream)
                queued = not stream.queued and stream.end is None and stream.wake is None and stream.has_room()
                stream.queued = stream.queued or queued
        if stream is None or stream.closing:
            self._answer(request, frames.ITEMS, frames.RECORD.pack(frames.ENDED, 0))
            return
        if answer is not None:
            self._answer(begun, frames.ITEMS, answer)
        if queued:
            self._enqueue(stream)
        elif stream.wake is not None:
            stream.wake()

    def _close(self, request: int, number: int) -> None:
        with self._changed:
            stream = self._streams.get(number)
            if stream is not None:
                self._expect(stream, request)
                over = stream.end is not None
                if over:
                    self._remove(stream)
                    del self._requests[request]
        if stream is None or over:
            if stream is not None:
                _drop(stream.items)
            self._answer(request, *_CLOSED)
        else:
            self._begin_closing(stream)

    def forget(self, request: int) -> Stream | None:
        """Close the stream whose request is not waited for any more; return it, or None if that is not a stream's."""
        with self._changed:
            stream = self._requests.pop(request, None)
            if stream is None:
                return None
            stream.request = None
        self._begin_closing(stream)
        return stream

    def _expect(self, stream: Stream, request: int) -> None:
        if stream.request is not None:
            raise frames.FrameError(f"a second request of stream {stream.number}, which has not answered the first")
        stream.request = request
        self._requests[request] = stream

    def _begin_closing(self, stream: Stream) -> None:
        with self._changed:
            already, stream.closing = stream.closing, True
            _drop(stream.items)
            stream.items.clear()
            queued = not stream.queued and stream.end is None
            stream.queued = stream.queued or queued
            started = stream.started
            if stream.end is not None:
                self._remove(stream)
        if already:
            return
        if stream.wake is not None:
            if started:
                self._cancel(stream.number, stream.spare)
            stream.wake()
        elif queued:
            self._enqueue(stream)

    # The end of the worker.

    def close_all(self, seconds: float) -> None:
        """Close every stream that is in no turn: the plain ones here, the others by their tasks, within ``seconds``."""
        with self._changed:
            streams = list(self._streams.values())
        for stream in streams:
            iterator = stream.iterator
            if iterator is not None and stream.slot is None:
                stream.context.run(_close, iterator)
                with self._changed:
                    self._remove(stream)
            elif stream.wake is not None:
                self._begin_closing(stream)
        with self._changed:
            self._changed.wait_for(
                lambda: not any(stream.wake is not None for stream in self._streams.values()), seconds
            )


def iterator_of(result: Any) -> Iterator[Any]:
    """Return an iterator over what a function gave as a stream. Raise :class:`.calling.Refused` if that has no items.

    It runs nothing: what ``__iter__`` raises comes with the first item.
    """
    kind = type(result)
    if not (hasattr(kind, "__iter__") or hasattr(kind, "__getitem__")) or isinstance(result, _NO_STREAMS):
        raise Refused(
            f"It was called as a stream of items, but returned an object of type {kind.__qualname__}, which is none. Make it a "
            "plain call: by handle.call(), or a wrapper that was generated since the function ceased to be a stream. Where a "
            "decorator makes it one, annotate that: `-> Callable[..., dict[str, int]]`, for example."
        )
    return result if hasattr(kind, "__next__") else _items_of(result)


def _items_of(iterable: Any) -> Iterator[Any]:
    yield from iterable


def _async_iterator(made: Any) -> AsyncIterator[Any]:
    return made.__aiter__() if hasattr(type(made), "__aiter__") else _stepwise(iterator_of(made))


async def _stepwise(iterator: Iterator[Any]) -> AsyncIterator[Any]:
    try:
        for item in iterator:
            yield item
    finally:
        error = _close(iterator)
        if error is not None:
            raise error


async def aclosed(iterator: Any) -> None:
    """Close an async generator, or another iterator that can be closed."""
    close = getattr(iterator, "aclose", None)
    try:
        if close is not None:
            await close()
    except BaseException as error:
        if not _is_exit(error):
            raise


def _is_exit(error: BaseException) -> bool:
    """Return whether ``error`` is what closes a generator: a task group or nursery around the ``yield`` puts it into a group."""
    members = getattr(error, "exceptions", None)
    return isinstance(error, GeneratorExit) or (
        type(members) is tuple and bool(members) and all(map(_is_exit, members))
    )


def _close(iterator: Iterator[Any]) -> BaseException | None:
    """Close a generator, or another iterator that can be closed. Return what it raised."""
    close = getattr(iterator, "close", None)
    try:
        if close is not None:
            close()
    except BaseException as error:  # see above
        return error
    return None


def _size_of(body: bytes) -> int:
    return len(body) + CODEC.outgoing.size_of(body.blocks) if type(body) is Lending else len(body)


def _drop(bodies: Any) -> None:
    for body in bodies:
        if type(body) is Lending:
            CODEC.outgoing.reclaim(body.blocks)


class _AsyncioGate:
    """Where a task waits until another thread calls :meth:`open`."""

    def __init__(self) -> None:
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._sleep = asyncio.sleep

    def open(self) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        await self._event.wait()
        self._event.clear()

    async def pause(self) -> None:
        """Let other tasks go on."""
        await self._sleep(0)


class _TrioGate:
    def __init__(self) -> None:
        import trio

        self._token = trio.lowlevel.current_trio_token()
        self._make = trio.Event
        self._event = trio.Event()
        self.pause = trio.lowlevel.checkpoint

    def open(self) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._token.run_sync_soon(self._set)

    def _set(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event = self._make()
