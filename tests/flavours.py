"""trio and asyncio behind one small face, so that one test speaks for both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar

import trio
import trio.testing

__all__ = ["FLAVOURS", "Flavour", "Start", "Task"]

T = TypeVar("T")
DEADLINE = 30.0


class Event(Protocol):
    def set(self) -> None: ...
    def is_set(self) -> bool: ...
    async def wait(self) -> Any: ...


class Task(Protocol):
    """A call running beside the test."""

    def cancel(self) -> None: ...
    def done(self) -> bool: ...

    async def result(self) -> Any:
        """What it returned or raised. A cancelled one gives :data:`CANCELLED`."""
        ...


CANCELLED = "cancelled"
Start = Callable[[Callable[[], Awaitable[Any]]], Task]


class Flavour(Protocol):
    name: str

    def run(self, main: Callable[[], Awaitable[T]]) -> T: ...
    def event(self) -> Event: ...

    def tasks(self) -> AbstractAsyncContextManager[Start]: ...

    async def settle(self) -> None:
        """Until every other task waits for something."""
        ...

    async def in_thread(self, function: Callable[[], T]) -> T: ...


class Trio:
    name = "trio"

    def run(self, main: Callable[[], Awaitable[T]]) -> T:
        async def bounded() -> T:
            with trio.fail_after(DEADLINE):
                return await main()

        return trio.run(bounded)

    def event(self) -> Event:
        return trio.Event()

    @asynccontextmanager
    async def tasks(self) -> AsyncIterator[Start]:
        async with trio.open_nursery() as nursery:

            def start(function: Callable[[], Awaitable[Any]]) -> Task:
                task = _TrioTask(function)
                nursery.start_soon(task.run)
                return task

            yield start

    async def settle(self) -> None:
        await trio.testing.wait_all_tasks_blocked()

    async def in_thread(self, function: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(function)


class _TrioTask:
    def __init__(self, function: Callable[[], Awaitable[Any]]) -> None:
        self._function = function
        self._scope = trio.CancelScope()
        self._done = trio.Event()
        self._value: Any = CANCELLED
        self._error: Exception | None = None

    async def run(self) -> None:
        with self._scope:
            try:
                self._value = await self._function()
            except Exception as error:
                self._error = error
        self._done.set()

    def cancel(self) -> None:
        self._scope.cancel()

    def done(self) -> bool:
        return self._done.is_set()

    async def result(self) -> Any:
        await self._done.wait()
        if self._error is not None:
            raise self._error
        return self._value


class Asyncio:
    name = "asyncio"

    def run(self, main: Callable[[], Awaitable[T]]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(DEADLINE):
                return await main()

        return asyncio.run(bounded())

    def event(self) -> Event:
        return asyncio.Event()

    @asynccontextmanager
    async def tasks(self) -> AsyncIterator[Start]:
        started: list[asyncio.Future[Any]] = []

        def start(function: Callable[[], Awaitable[Any]]) -> Task:
            task = asyncio.ensure_future(function())
            started.append(task)
            return _AsyncioTask(task)

        yield start
        await asyncio.gather(*started, return_exceptions=True)

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.to_thread(function)


class _AsyncioTask:
    def __init__(self, task: asyncio.Future[Any]) -> None:
        self._task = task

    def cancel(self) -> None:
        self._task.cancel()

    def done(self) -> bool:
        return self._task.done()

    async def result(self) -> Any:
        await asyncio.wait([self._task])
        return CANCELLED if self._task.cancelled() else self._task.result()


FLAVOURS: tuple[Flavour, ...] = (Trio(), Asyncio())
