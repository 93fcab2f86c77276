"""A portal from other threads and event loops onto a trio loop.

A function that is sent through the portal runs on that loop as a task of its own, in the caller's context. A caller under trio
or asyncio awaits the result without blocking its loop; a plain thread blocks. If the caller is cancelled, the task is
cancelled too, and the caller waits until the task has unwound: no part of a call outlives its caller. Neither trio nor asyncio
is imported before it is needed.
"""

from __future__ import annotations

import contextvars
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from lastgood.calls import loops

if TYPE_CHECKING:
    import trio

__all__ = ["LoopClosed", "Portal"]

T = TypeVar("T")


class LoopClosed(Exception):  # without the suffix "Error": an outcome, which the caller turns into an error of its own
    """The loop ended before the function that runs there did."""


class Portal:
    """A portal to the trio loop on which it is created. Any number of other loops and threads may use it at once."""

    def __init__(self) -> None:
        import trio

        self._token = trio.lowlevel.current_trio_token()
        self._inside = 0
        self._left = trio.Event()

    def is_here(self) -> bool:
        """Return whether the calling code runs on the loop."""
        import trio

        try:
            return trio.lowlevel.current_trio_token() is self._token
        except RuntimeError:
            return False

    async def cross(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run ``function`` on the loop and await its result, in a task of another trio or asyncio loop.

        Raises what ``function`` raises, and :class:`LoopClosed`.
        """
        call = _PortalCall(self._token, self._stay, function)
        if isinstance(loops.current(), loops.TrioLoop):
            await _wait_on_trio(call)
        else:
            await _wait_on_asyncio(call)
        return call.result()

    def cross_blocking(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run ``function`` on the loop and block the calling thread until it returns.

        Ctrl-C cancels the function and waits for it; a second Ctrl-C stops the waiting. Raises what ``function`` raises, and
        :class:`LoopClosed`.
        """
        call = _PortalCall(self._token, self._stay, function)
        back = threading.Lock()  # an Event takes several steps to wait, and a Ctrl-C between two of them breaks it
        back.acquire()
        call.begin(back.release)
        try:
            while not call.over:
                back.acquire()
        except BaseException:
            call.cancel()
            while not call.over:
                back.acquire()
            raise
        return call.result()

    async def emptied(self, seconds: float) -> None:
        """Wait on the loop, at most ``seconds``, until no portal call runs: the end of the loop would cancel them."""
        import trio

        with trio.move_on_after(seconds):
            while self._inside:
                self._left = trio.Event()
                await self._left.wait()

    @contextmanager
    def _stay(self) -> Iterator[None]:
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._left.set()

    def send(self, function: Callable[[], object]) -> None:
        """Schedule ``function``, which must not raise, on the loop, without waiting. No effect if the loop has ended."""
        import trio

        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(function)


class _PortalCall(Generic[T]):
    """One call through the portal. ``wake`` is called at its end, on the portal's loop, or by :meth:`begin` if that has ended."""

    def __init__(
        self,
        token: trio.lowlevel.TrioToken,
        stay: Callable[[], AbstractContextManager[None]],
        function: Callable[[], Awaitable[T]],
    ) -> None:
        import trio

        self._token = token
        self._stay = stay
        self._function = function
        self._context = contextvars.copy_context()
        self._scope = trio.CancelScope()
        self._wake: Callable[[], object] = bool
        self._value: T | None = None
        self._error: BaseException | None = None
        self.over = False
        """True once the call has ended."""
        self.cancelled = False
        """True if :meth:`cancel` ended the call."""

    def begin(self, wake: Callable[[], object]) -> None:
        import trio

        self._wake = wake
        try:
            self._token.run_sync_soon(self._start)
        except trio.RunFinishedError:
            self._end(LoopClosed())

    def cancel(self) -> None:
        """Cancel the call, from any thread, after :meth:`begin`."""
        import trio

        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._scope.cancel)

    def result(self) -> T:
        error, self._error = self._error, None
        if error is None:
            return cast("T", self._value)
        try:
            raise error
        finally:
            del error  # its traceback references this frame: avoid the cycle

    def _start(self) -> None:
        import trio

        try:
            trio.lowlevel.spawn_system_task(self._run, context=self._context)
        except RuntimeError:  # the loop is ending and takes no new tasks
            self._end(LoopClosed())

    async def _run(self) -> None:
        import trio

        try:
            with self._stay(), self._scope:
                self._value = await self._function()
        except trio.Cancelled:
            self._end(LoopClosed())
            raise
        except BaseException as error:  # raised again in the caller; a system task that raises would crash the loop
            self._end(error)
        else:
            self.cancelled = self._scope.cancelled_caught
            self._end(None)

    def _end(self, error: BaseException | None) -> None:
        self._error = error
        self.over = True
        self._wake()


async def _wait_on_trio(call: _PortalCall[Any]) -> None:
    import trio

    task = trio.lowlevel.current_task()
    token = trio.lowlevel.current_trio_token()
    raise_cancel: Callable[[], object] | None = None

    def abort(raise_: Callable[[], object]) -> trio.lowlevel.Abort:
        nonlocal raise_cancel
        raise_cancel = raise_
        call.cancel()
        return trio.lowlevel.Abort.FAILED  # the task is rescheduled once the call has unwound

    await trio.lowlevel.checkpoint_if_cancelled()
    call.begin(lambda: token.run_sync_soon(trio.lowlevel.reschedule, task))
    await trio.lowlevel.wait_task_rescheduled(abort)
    if call.cancelled and raise_cancel is not None:
        raise_cancel()


async def _wait_on_asyncio(call: _PortalCall[Any]) -> None:
    asyncio = sys.modules["asyncio"]
    loop = asyncio.get_running_loop()
    back = asyncio.Event()

    def wake() -> None:
        with suppress(RuntimeError):  # the caller's loop has been closed meanwhile
            loop.call_soon_threadsafe(back.set)

    call.begin(wake)
    cancelled: BaseException | None = None
    while not call.over:  # Ctrl-C may have interrupted the callback that sets the event
        try:
            await back.wait()
        except asyncio.CancelledError as error:
            cancelled = error
            call.cancel()
    if cancelled is not None:
        raise cancelled
