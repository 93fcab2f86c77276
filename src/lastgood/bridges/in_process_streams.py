"""Streams of an in-process bridge: each item is made when it is asked for, and crosses as from a worker.

The steps of a generator run in one context, a copy of the caller's when the first item is asked for.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from types import CoroutineType, coroutine
from typing import TYPE_CHECKING, Any, TypeAlias

from lastgood.bridges.answers import unreadable
from lastgood.bridges.in_process import _as_a_worker, _SourceErrors
from lastgood.bridges.worker.performing import encode_result, run_call
from lastgood.bridges.worker.streams import iterator_of
from lastgood.bridges.worker.values.known import Known
from lastgood.bridges.worker.values.values import DecodeError
from lastgood.calls import loops
from lastgood.errors import BridgeError

if TYPE_CHECKING:
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
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await self.step_async(_awaiting(close))


async def stream(bridge: InProcessBridge, call: Call) -> AsyncGenerator[Any]:
    """Yield the items of a call, on the loop of who asks for them."""
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


def stream_blocking(bridge: InProcessBridge, call: Call) -> Generator[Any]:
    """Yield the items of a call, in the thread of who asks for them. An async generator gets an event loop of its own."""
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


def _on_own_loop(bridge: InProcessBridge, source: _Source) -> Generator[Any]:
    loop = loops.current()
    if loop is not None or bridge._backend == "trio":
        with suppress(AttributeError):
            source.result.close()
        where = "a loop of trio's own" if loop is None else f"{loop}, where it would have to run"
        raise BridgeError(
            f"{source.name} is an async generator, and plain code cannot take its items on {where}. "
            'Use `async for` (wrappers of [output] style = "async"), or take them in another thread.'
        )
    import asyncio

    with asyncio.Runner() as runner:
        if type(source.result) is CoroutineType:
            source.result = runner.run(source.step_async(source.result))
        if not hasattr(type(source.result), "__aiter__"):
            source.result = _asynchronous(source.plain())
        iterator = source.step(source.result.__aiter__)
        try:
            while (item := runner.run(source.step_async(_next_of(iterator)))) is not _END:
                yield source.crossed(item)
        finally:
            runner.run(source.aclose(iterator))


async def _asynchronous(iterator: Iterator[Any]) -> AsyncIterator[Any]:
    for item in iterator:
        yield item


async def _next_of(iterator: Any) -> Any:
    try:
        return await iterator.__anext__()
    except StopAsyncIteration:
        return _END


async def _awaiting(function: Callable[[], Any]) -> Any:
    return await function()


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
