"""Streams of an in-process bridge: each item is made when it is asked for, and crosses as from a worker.

The steps of a generator run in one context, a copy of the caller's when the first item is asked for.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import suppress
from contextvars import Context, copy_context
from queue import SimpleQueue
from threading import Event, Thread
from types import CoroutineType, coroutine
from typing import TYPE_CHECKING, Any, TypeAlias

from lastgood.bridges.answers import unreadable
from lastgood.bridges.in_process import _as_a_worker, _SourceErrors
from lastgood.bridges.raised import leave
from lastgood.bridges.worker.performing import encode_result, run_call
from lastgood.bridges.worker.streams import aclosed, iterator_of
from lastgood.bridges.worker.values.known import Known
from lastgood.bridges.worker.values.values import DecodeError
from lastgood.calls import loops
from lastgood.errors import BridgeError, Forked, RemoteError

if TYPE_CHECKING:
    import asyncio

    import trio

    from lastgood.bridges.in_process import InProcessBridge

__all__ = ["stream", "stream_blocking"]

_END: Any = object()

Call: TypeAlias = tuple[str, str, Sequence[Any], Mapping[str, Any], Known | None]


class _Source:
    """What a function gave as a stream, and how its items cross."""

    def __init__(self, bridge: InProcessBridge, call: Call) -> None:
        self._bridge = bridge
        self._count = 0
        self.context = copy_context()
        self.name = f"{call[0]}.{call[1]}"
        self._known = call[4]
        callables, body = bridge._begin(*call)
        self.result: Any
        self.result, self._requested = self.step(lambda: run_call(callables, body))

    def step(self, function: Callable[[], Any]) -> Any:
        """Run plain code of the source. Raise what it raises as a worker does."""
        with self._bridge._in_view(), _SourceErrors(self._bridge._fresh, known=self._known):
            return self.context.run(function)

    async def step_async(self, awaited: Coroutine[Any, Any, Any]) -> Any:
        """Await a coroutine of the source."""
        steps: Any = _in_context(self.context, awaited)
        return await self._bridge._awaited(steps, self._known)

    def is_async(self) -> bool:
        """Return whether an event loop has to make the items."""
        return type(self.result) is CoroutineType or hasattr(type(self.result), "__aiter__")

    def plain(self) -> Iterator[Any]:
        """Return the iterator of plain code."""
        return self.step(lambda: iterator_of(self.result))  # type: ignore[no-any-return]  # it was made by iter()

    def crossed(self, item: Any) -> Any:
        """Return an item as it comes out of a worker."""
        self._count += 1
        body = self.step(lambda: encode_result(item, self._requested, name=f"item {self._count}"))
        try:
            return self._bridge._codec.loads(body, 0, self._known)
        except DecodeError as error:
            raise _as_a_worker(unreadable(error)) from None

    def close(self, iterator: Any) -> None:
        """Close a plain iterator."""
        close = getattr(iterator, "close", None)
        if close is not None:
            self.step(close)

    async def aclose(self, iterator: Any) -> None:
        """Close an async iterator."""
        await self.step_async(aclosed(iterator))


async def stream(bridge: InProcessBridge, call: Call) -> AsyncGenerator[Any]:
    """Yield the items of a call, on the loop of who asks for them."""
    try:
        source = _Source(bridge, call)
        if type(source.result) is CoroutineType:
            source.result = await source.step_async(source.result)
        if not hasattr(type(source.result), "__aiter__"):
            plain = source.plain()
            try:
                while (item := source.step(lambda: next(plain, _END))) is not _END:
                    yield source.crossed(item)
            finally:
                source.close(plain)
            return
        iterator = source.step(source.result.__aiter__)
        try:
            while (item := await source.step_async(_next_of(iterator))) is not _END:
                yield source.crossed(item)
        finally:
            await source.aclose(iterator)
    except RemoteError as error:
        leave(error)
        raise


def stream_blocking(bridge: InProcessBridge, call: Call) -> Generator[Any]:
    """Yield the items of a call, in the thread of who asks for them. An async generator gets an event loop of its own."""
    try:
        source = _Source(bridge, call)
        if source.is_async():
            yield from _on_own_loop(bridge, source)
            return
        iterator = source.plain()
        try:
            while (item := source.step(lambda: next(iterator, _END))) is not _END:
                yield source.crossed(item)
        finally:
            source.close(iterator)
    except RemoteError as error:
        leave(error)
        raise


def _on_own_loop(bridge: InProcessBridge, source: _Source) -> Generator[Any]:
    try:
        _refuse_on_loop(source.name)
    except BaseException:
        with suppress(AttributeError):
            source.result.close()
        raise
    task: _AsyncioTask | _TrioTask = _TrioTask(source) if bridge._backend == "trio" else _AsyncioTask(source)
    app = os.getpid()

    def close() -> None:
        if os.getpid() == app:
            _close(task)

    atexit.register(close)  # later the loop cannot run any more
    try:
        while (item := task.next()) is not _END:
            yield source.crossed(item)
            _refuse_on_loop(source.name)
            if os.getpid() != app:
                raise Forked("the stream", app)
    finally:
        atexit.unregister(close)
        close()


def _refuse_on_loop(name: str) -> None:
    loop = loops.current()
    if loop is not None:
        raise BridgeError(
            f"{name} is an async generator, and plain code cannot take its items on {loop}, where it would have to run. "
            'Use `async for` (wrappers of [output] style = "async"), or take them in another thread.'
        )


def _close(task: _AsyncioTask | _TrioTask) -> None:
    if loops.current() is None:
        task.close()
        return
    from concurrent.futures import ThreadPoolExecutor

    # The last reference to the stream has gone on a loop, which is not the stream's.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(task.close).result()


async def _make_items(source: _Source, hand_over: Callable[[Any], Awaitable[bool]]) -> None:
    """Make all items of a source in this one task, since cancel scopes may be open over a ``yield``.

    ``hand_over`` takes an item, and waits until the next one is asked for; it returns False if none will be.
    """
    if type(source.result) is CoroutineType:
        source.result = await source.step_async(source.result)
    if not hasattr(type(source.result), "__aiter__"):
        source.result = _asynchronous(source.plain())
    iterator = source.step(source.result.__aiter__)
    try:
        while (item := await source.step_async(_next_of(iterator))) is not _END:
            if not await hand_over(item):
                break
    finally:
        await source.aclose(iterator)


class _AsyncioTask:
    """A task that makes items, on an asyncio loop that runs in the thread of the reader while that waits for one."""

    def __init__(self, source: _Source) -> None:
        import asyncio

        self._source = source
        self._wait = asyncio.wait
        self._runner = asyncio.Runner()
        self._new = self._runner.get_loop().create_future
        self._item, self._request = self._new(), self._new()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    def next(self) -> Any:
        """Return the next item, or :data:`_END`."""
        return self._runner.run(self._next())

    async def _next(self) -> Any:
        self._item = self._new()
        if self._task is None:
            self._task = self._runner.get_loop().create_task(_make_items(self._source, self._hand_over))
        else:
            self._request.set_result(True)
        await self._wait([self._item, self._task], return_when="FIRST_COMPLETED")
        if self._item.done():
            return self._item.result()
        self._task.result()
        return _END

    async def _hand_over(self, item: Any) -> bool:
        self._request = self._new()
        self._item.set_result(item)
        is_wanted: bool = await self._request
        return is_wanted

    def close(self) -> None:
        """Close the iterator, and the loop."""
        if not self._is_closed:
            self._is_closed = True
            with self._runner as runner:
                runner.run(self._close())

    async def _close(self) -> None:
        task = self._task
        if task is None or task.done():
            return
        if self._item.done():
            self._request.set_result(False)
        else:  # Ctrl-C came while an item was made
            task.cancel()
        await self._wait([task])
        if not task.cancelled():
            task.result()


class _TrioTask:
    """A task that makes items, on a trio loop in a thread of its own: unlike asyncio's, it cannot run a step at a time."""

    def __init__(self, source: _Source) -> None:
        import trio

        self._source = source
        self._run_trio = trio.run
        self._event = trio.Event
        self._scope = trio.CancelScope()
        self._token_of = trio.lowlevel.current_trio_token
        self._answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._thread: Thread | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._ready = Event()
        self._waits = False
        self._is_over = False

    def next(self) -> Any:
        """Return the next item, or :data:`_END`."""
        self._waits = True
        if self._thread is None:
            self._thread = Thread(target=self._run, name=f"stream of {self._source.name}", daemon=True)
            self._thread.start()
        else:
            self._tell(self._ask, True)
        item = self._answer()
        self._waits = False
        return item

    def _answer(self) -> Any:
        item, error = self._answers.get()
        self._is_over = item is _END
        if error is not None:
            raise error
        return item

    def close(self) -> None:
        """Close the iterator, and wait until the loop has ended."""
        if self._thread is None or self._is_over:
            return
        self._ready.wait()
        if self._waits:  # Ctrl-C came while an item was made
            self._tell(self._scope.cancel)
        else:
            self._tell(self._ask, False)
        while not self._is_over:
            self._answer()

    def _tell(self, function: Callable[..., object], *args: Any) -> None:
        if self._token is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._token.run_sync_soon(function, *args)

    # In the thread.

    def _run(self) -> None:
        error = None
        try:
            self._run_trio(self._main)
        except BaseException as raised:
            error = raised
        self._ready.set()
        self._answers.put((_END, error))

    async def _main(self) -> None:
        self._token = self._token_of()
        self._ready.set()
        with self._scope:
            await _make_items(self._source, self._hand_over)

    async def _hand_over(self, item: Any) -> bool:
        self._request, self._is_wanted = self._event(), False
        self._answers.put((item, None))
        await self._request.wait()
        return self._is_wanted

    def _ask(self, is_wanted: bool) -> None:
        self._is_wanted = is_wanted
        self._request.set()


async def _asynchronous(iterator: Iterator[Any]) -> AsyncIterator[Any]:
    for item in iterator:
        yield item


async def _next_of(iterator: Any) -> Any:
    try:
        return await iterator.__anext__()
    except StopAsyncIteration:
        return _END


@coroutine
def _in_context(context: Context, of: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Await a coroutine, with each of its steps in ``context``."""
    step, value = of.send, None
    while True:
        try:
            awaited = context.run(step, value)
        except StopIteration as stop:
            return stop.value
        try:
            step, value = of.send, (yield awaited)
        except BaseException as error:  # also a cancellation, and the end of the task
            step, value = of.throw, error
