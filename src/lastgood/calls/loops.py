"""The event loop that runs right now, trio's or asyncio's, as far as bridges need one.

Neither library is imported here unless it has been already: who runs under one of them pays for no other. A room of its
own, so that the registry and the reloader are written once for both.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeAlias

if TYPE_CHECKING:
    import asyncio

__all__ = ["AsyncioLoop", "Guard", "Loop", "TrioLoop", "current", "end_forked", "here"]


class Guard(Protocol):
    """A context that can be left from outside, once: what runs in it is cancelled, and the cancellation ends at its edge.

    A cancellation that comes from elsewhere, at the same time too, passes through it. It swallows nothing else.
    """

    def __enter__(self) -> Any: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> bool: ...

    def cancel(self) -> object:
        """To be called on the guard's own loop, while the guarded task waits; after the end it does nothing."""
        ...


class TrioLoop:
    """A run of trio."""

    __slots__ = ("_current_token", "_thread", "_token", "guard", "lock")

    def __init__(self) -> None:
        import trio

        self._current_token = trio.lowlevel.current_trio_token
        self._token = self._current_token()
        self._thread = threading.current_thread().name
        self.guard: Callable[[], Guard] = trio.CancelScope
        self.lock: Callable[[], AbstractAsyncContextManager[None]] = trio.Lock

    def __str__(self) -> str:
        return f"the trio loop of thread {self._thread!r}"

    def is_here(self) -> bool:
        """Whether the code that asks runs on this loop."""
        try:
            return self._current_token() is self._token
        except RuntimeError:
            return False

    def soon(self, function: Callable[[], object]) -> None:
        """Call ``function`` on this loop. Safe from any thread; does nothing if the loop is over."""
        with suppress(RuntimeError):
            self._token.run_sync_soon(function)

    def spawn(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run ``function``, which must not raise, as a task of its own. Safe from any thread."""
        import trio

        self.soon(lambda: trio.lowlevel.spawn_system_task(function))

    async def shielded(self, function: Callable[[], Awaitable[None]], seconds: float) -> bool:
        """Run ``function`` to its end whoever cancels; after ``seconds`` it is given up (False)."""
        import trio

        with trio.move_on_after(seconds, shield=True):
            await function()
            return True
        return False


class AsyncioLoop:
    """A running loop of asyncio."""

    __slots__ = ("_loop", "_running", "_tasks", "_thread")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        import asyncio

        self._running = asyncio._get_running_loop  # what get_running_loop() asks; gives None instead of raising
        self._loop = loop
        self._tasks: set[asyncio.Future[None]] = set()
        self._thread = threading.current_thread().name

    def __str__(self) -> str:
        return f"the asyncio loop of thread {self._thread!r}"

    def is_here(self) -> bool:
        return self._running() is self._loop

    def guard(self) -> Guard:
        return _TaskGuard()

    def lock(self) -> AbstractAsyncContextManager[None]:
        import asyncio

        return asyncio.Lock()

    def soon(self, function: Callable[[], object]) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    def spawn(self, function: Callable[[], Awaitable[None]]) -> None:
        import asyncio

        def start() -> None:
            task = asyncio.ensure_future(function())
            self._tasks.add(task)  # the loop itself holds its tasks by weak references only
            task.add_done_callback(self._tasks.discard)

        self.soon(start)

    async def shielded(self, function: Callable[[], Awaitable[None]], seconds: float) -> bool:
        import asyncio

        task = asyncio.ensure_future(function())
        deadline = self._loop.time() + seconds
        cancelled = None
        while not task.done() and (left := deadline - self._loop.time()) > 0:
            try:
                await asyncio.wait([task], timeout=left)
            except asyncio.CancelledError as error:
                cancelled = error
        finished = task.done() and not task.cancelled()
        if finished:
            task.result()
        else:
            task.cancel()
        if cancelled is not None:
            raise cancelled
        return finished


Loop: TypeAlias = TrioLoop | AsyncioLoop


class _TaskGuard:
    """What :class:`trio.CancelScope` is to trio; the counting of cancellations is that of :func:`asyncio.timeout`."""

    __slots__ = ("_before", "_cut", "_task")

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._before = 0
        self._cut = False

    def __enter__(self) -> None:
        import asyncio

        self._task = asyncio.current_task()
        if self._task is not None:
            self._before = self._task.cancelling()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> bool:
        import asyncio

        task, self._task = self._task, None
        if task is None or not self._cut:
            return False
        return task.uncancel() <= self._before and kind is asyncio.CancelledError

    def cancel(self) -> None:
        if self._task is not None and not self._cut:
            self._cut = True
            self._task.cancel()


def current() -> Loop | None:
    """The loop that the calling code runs on; None if it runs on none, or on one of another library."""
    if "trio" in sys.modules:
        import trio

        if trio.lowlevel.in_trio_run():
            return TrioLoop()
    if "asyncio" in sys.modules:
        import asyncio

        with suppress(RuntimeError):
            return AsyncioLoop(asyncio.get_running_loop())
    return None


def here() -> str:
    """Where the calling code runs, for a sentence: its loop, or its thread."""
    loop = current()
    return f"no event loop, in thread {threading.current_thread().name!r}" if loop is None else str(loop)


def end_forked(error: BaseException | None) -> NoReturn:
    """End a process that was forked in a task and leaves it, by ``error`` if there is one, as multiprocessing ends its own.

    It must not go on to end the loop: what a loop waits for is kept in the kernel, and shared with the loop that was forked.
    """
    status = 0 if error is None else 1
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if not isinstance(error.code, int | None):
            print(error.code, file=sys.stderr)
    elif error is not None:
        traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(status & 0xFF)
