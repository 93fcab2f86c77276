"""The way from other threads and event loops onto a trio loop, and back with what came of it.

What is brought across runs there as a task of its own, in the caller's context. The caller waits as its own kind does: a task
of trio or of asyncio without holding up its loop, a plain thread by blocking. Cancelled, it has the task cancelled, and goes
when that has unwound: nothing of a call outlives its caller. Neither trio nor asyncio is imported before it is needed.
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


class LoopClosed(Exception):  # it is an outcome: who crosses says what that means
    """The loop ended before what was brought there did."""


class Portal:
    """The portal to the trio loop that it is made on. To be used from any other loop or thread, also by many at once."""

    def __init__(self) -> None:
        import trio

        self._token = trio.lowlevel.current_trio_token()
        self._inside = 0
        self._left = trio.Event()

    def is_here(self) -> bool:
        """Whether the code that asks runs on the loop."""
        import trio

        try:
            return trio.lowlevel.current_trio_token() is self._token
        except RuntimeError:
            return False

    async def cross(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run ``function`` on the loop, for a task of another loop, trio's or asyncio's.

        Raises what that raises, and :class:`LoopClosed`.
        """
        call = _PortalCall(self._token, self._stay, function)
        if isinstance(loops.current(), loops.TrioLoop):
            await _wait_on_trio(call)
        else:
            await _wait_on_asyncio(call)
        return call.result()

    def cross_blocking(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run ``function`` on the loop, for a plain thread, which blocks. Ctrl-C cancels it, a second one leaves it behind.

        Raises what that raises, and :class:`LoopClosed`.
        """
        call = _PortalCall(self._token, self._stay, function)
        back = threading.Event()
        call.begin(back.set)
        try:
            back.wait()
        except BaseException:
            call.cancel()
            back.wait()
            raise
        return call.result()

    async def emptied(self, seconds: float) -> None:
        """Wait, on the loop, until nothing is inside, at most ``seconds``: an ending loop would cancel what is."""
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
        """Call ``function`` on the loop soon, unless that is over. Nobody waits; it must not raise."""
        import trio

        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(function)


class _PortalCall(Generic[T]):
    """One function on its way. ``wake`` is called when it is back, on the loop where it ran, or by :meth:`begin`."""

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
        """Whether it is back."""
        self.cancelled = False
        """Whether :meth:`cancel` is what ended it."""

    def begin(self, wake: Callable[[], object]) -> None:
        import trio

        self._wake = wake
        try:
            self._token.run_sync_soon(self._start)
        except trio.RunFinishedError:
            self._end(LoopClosed())

    def cancel(self) -> None:
        """From any thread, once it has begun."""
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
            del error  # its traceback leads here: they would keep each other

    def _start(self) -> None:
        import trio

        try:
            trio.lowlevel.spawn_system_task(self._run, context=self._context)
        except RuntimeError:  # the loop takes no new tasks, for it ends
            self._end(LoopClosed())

    async def _run(self) -> None:
        import trio

        try:
            with self._stay(), self._scope:
                self._value = await self._function()
        except trio.Cancelled:
            self._end(LoopClosed())
            raise
        except BaseException as error:  # all of it is the caller's; a system task that raises would end the loop
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
        return trio.lowlevel.Abort.FAILED  # it goes on once the other side has unwound

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
        with suppress(RuntimeError):  # the caller's loop was closed under it
            loop.call_soon_threadsafe(back.set)

    call.begin(wake)
    cancelled: BaseException | None = None
    while not call.over:  # a Ctrl-C may have ended the callback that sets the event
        try:
            await back.wait()
        except asyncio.CancelledError as error:
            cancelled = error
            call.cancel()
    if cancelled is not None:
        raise cancelled
