"""The running event loop, trio's or asyncio's, behind one interface.

It lets the registry and the reloader be written once for both libraries. Neither library is imported here unless the app has
imported it: an app that uses one does not pay for the other.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol, TypeAlias

from lastgood.bridges.worker.forks import end_forked
from lastgood.errors import BridgeError

if TYPE_CHECKING:
    import asyncio

__all__ = [
    "Abandoned",
    "AsyncioLoop",
    "Barrier",
    "Guard",
    "Loop",
    "TrioLoop",
    "Unguarded",
    "current",
    "end_forked_task",
    "here",
    "result_at_once",
]


class Abandoned(Exception):
    """What was not done within its time was given up."""


class Guard(Protocol):
    """A context whose body can be cancelled from outside, once. The context catches that cancellation at its end.

    A cancellation from elsewhere propagates, even if it comes at the same time. No other exception is caught.
    """

    def __enter__(self) -> Any: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> bool: ...

    def cancel(self) -> object:
        """Cancel the body. Call this on the guard's own loop, while the guarded task waits. No effect after the end."""
        ...


class Barrier(Protocol):
    """A semaphore of an event loop. It starts at 0, so that tasks that enter wait."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

    def release(self) -> object:
        """Let the first task in; each that leaves lets in the next. Call this on the loop."""
        ...


class TrioLoop:
    """A run of trio."""

    __slots__ = ("_current_token", "_thread", "_token", "barrier", "guard", "lock")

    def __init__(self) -> None:
        import trio

        self._current_token = trio.lowlevel.current_trio_token
        self._token = self._current_token()
        self._thread = threading.current_thread().name
        self.guard: Callable[[], Guard] = trio.CancelScope
        self.lock: Callable[[], AbstractAsyncContextManager[None]] = trio.Lock
        self.barrier: Callable[[], Barrier] = partial(trio.Semaphore, 0)

    def __str__(self) -> str:
        return f"the trio loop of thread {self._thread!r}"

    def is_here(self) -> bool:
        """Return whether the calling code runs on this loop."""
        try:
            return self._current_token() is self._token
        except RuntimeError:
            return False

    def soon(self, function: Callable[[], object]) -> None:
        """Call ``function`` on this loop. Safe from any thread; does nothing if the loop has ended."""
        with suppress(RuntimeError):
            self._token.run_sync_soon(function)

    def spawn(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run ``function``, which must not raise, as a task of its own. Safe from any thread; no effect if the loop ends."""
        import trio

        def start() -> None:
            with suppress(RuntimeError):  # the loop is ending and takes no new tasks
                trio.lowlevel.spawn_system_task(function)

        self.soon(start)

    async def shielded(self, function: Callable[[], Awaitable[None]], seconds: float) -> BaseException | None:
        """Run ``function`` to its end, shielded from cancellation. Return what it raised; :class:`Abandoned` after ``seconds``.

        What it raises may be SystemExit, or another exception that is no :class:`Exception`, too.
        """
        import trio

        try:
            with trio.move_on_after(seconds, shield=True):
                await function()
                return None
        except BaseException as error:
            return error
        return Abandoned()


class AsyncioLoop:
    """A running loop of asyncio."""

    __slots__ = ("_loop", "_running", "_tasks", "_thread")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        import asyncio

        self._running = asyncio._get_running_loop  # like get_running_loop(), but returns None instead of raising
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

    def barrier(self) -> Barrier:
        import asyncio

        return asyncio.Semaphore(0)

    def soon(self, function: Callable[[], object]) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    def spawn(self, function: Callable[[], Awaitable[None]]) -> None:
        import asyncio

        def start() -> None:
            task = asyncio.ensure_future(function())
            self._tasks.add(task)  # the loop itself keeps only weak references to its tasks
            task.add_done_callback(self._tasks.discard)

        self.soon(start)

    async def shielded(self, function: Callable[[], Awaitable[None]], seconds: float) -> BaseException | None:
        import asyncio

        async def attempt() -> BaseException | None:
            try:
                await function()
            except BaseException as error:  # a SystemExit that left the task would end the loop
                return error
            return None

        task = asyncio.ensure_future(attempt())
        deadline = self._loop.time() + seconds
        cancelled = None
        while not task.done() and (left := deadline - self._loop.time()) > 0:
            try:
                await asyncio.wait([task], timeout=left)
            except asyncio.CancelledError as error:
                cancelled = error
        if not task.done():
            task.cancel()
        if cancelled is not None:
            raise cancelled
        return task.result() if task.done() else Abandoned()


Loop: TypeAlias = TrioLoop | AsyncioLoop


class _TaskGuard:
    """The asyncio counterpart of :class:`trio.CancelScope`. It counts cancellations as :func:`asyncio.timeout` does."""

    __slots__ = ("_before", "_is_cut", "_task")

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._before = 0
        self._is_cut = False

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
        if task is None or not self._is_cut:
            return False
        return task.uncancel() <= self._before and kind is asyncio.CancelledError

    def cancel(self) -> None:
        if self._task is not None and not self._is_cut:
            self._is_cut = True
            self._task.cancel()


class Unguarded:
    """The guard of a call outside of any known event loop: nothing can cancel it."""

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> Literal[False]:
        return False

    def cancel(self) -> None: ...


def current() -> Loop | None:
    """Return the loop that the calling code runs on; None if there is none, or it belongs to another library."""
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
    """Return a phrase for error texts that names the loop or the thread of the calling code."""
    loop = current()
    return f"no event loop, in thread {threading.current_thread().name!r}" if loop is None else str(loop)


def end_forked_task(error: BaseException | None) -> NoReturn:
    """End a process that was forked inside a task, at the end of that task, which ``error`` has ended, if anything.

    The child must not shut down the loop: the loop's epoll instance is a kernel object that parent and child share.
    """
    end_forked(error, traceback.print_exception)


def result_at_once(call: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a call that never suspends, such as a fake bridge's. Without a loop there is nothing to wait on."""
    try:
        call.send(None)
    except StopIteration as stop:
        return stop.value
    call.close()
    raise BridgeError(
        "A blocking call has to wait, and its bridge lives on no event loop to wait on: it was set outside of one. "
        "Await it, or run a session by `with watch(...)` or `watch(...).start()`."
    )
