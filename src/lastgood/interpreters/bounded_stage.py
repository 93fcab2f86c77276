"""Stages with a time limit, under trio: at the limit, async code is cancelled and a blocked thread is abandoned.

A thread that hangs, in a user's ``generate`` or in a read of a network file, cannot be ended. Therefore the blocking steps
run one at a time, and no stage begins before the thread of an earlier one has returned: however many stages time out, at most
one thread is stuck.

Time is measured by the system's clock and not by trio's, because a virtual clock jumps while a thread works.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from lastgood.children.limits import in_thread
from lastgood.generators.checking import check_staged
from lastgood.generators.running import run_generators
from lastgood.interpreters.cycle_files import CycleFiles
from lastgood.interpreters.project import StageStopped
from lastgood.interpreters.staging import Check, Request, RunGenerators, Start

__all__ = ["BoundedStage"]

T = TypeVar("T")


class BoundedStage:
    """A runner for the stages of one session, one after another."""

    def __init__(self) -> None:
        # A thread holds its token until it ends, abandoned or not.
        self._thread = trio.CapacityLimiter(1)
        self._reading = trio.CapacityLimiter(1)
        self._step = trio.CancelScope()
        self._waiting = trio.CancelScope()
        self.lock = trio.Lock()
        """Held while a stage's thread works, unless it was abandoned. Others that use the claims or the store hold it too."""

    async def run(self, stage: Callable[[], Awaitable[T]], work: CycleFiles, timeout: float) -> T:
        """Await ``stage()``, the stage of ``work``. Raises :class:`GenerationError` after ``timeout`` seconds."""
        made: list[T] = []
        raised: BaseException | None = None
        waiting, timed_out = True, False
        async with trio.open_nursery() as nursery:

            def give_up() -> None:
                nonlocal timed_out
                timed_out = True
                work.project.stop()
                self._step.cancel()
                nursery.cancel_scope.cancel()

            nursery.start_soon(_call_after, timeout, give_up)
            try:
                async with self._thread:
                    waiting = False
                work.project.begin_stage()
                made.append(await stage())
            except trio.Cancelled:
                raise
            except BaseException as error:  # raised again below, outside of the nursery, so that no group wraps it
                raised = error
            nursery.cancel_scope.cancel()
        if timed_out:
            work.only_waited = waiting
            raise work.project.timeout_error(timeout, waited=waiting)
        if raised is not None:
            raise raised
        return made[0]

    async def step(self, work: CycleFiles, do: Callable[..., T], *args: object) -> T:
        """Call ``do`` in a thread. A cancellation from outside of the stage waiting for the thread; the time limit does not."""

        def call() -> T:
            try:
                return do(*args)
            finally:
                work.clear_if_discarded()

        with trio.CancelScope(shield=True) as self._step:
            try:
                async with self.lock:
                    return await in_thread(call, limiter=self._thread, abandon_on_cancel=True)
            except StageStopped:  # not by suppress(), which makes another group of one that the user raises
                pass
        await trio.sleep_forever()  # the stage was cancelled: raises Cancelled
        raise AssertionError("unreachable")

    async def settle(self, arm: Callable[[], Awaitable[None]], do: Callable[[], None], timeout: float) -> bool:
        """Await ``arm()``, then call ``do`` in a thread: what is left after a swap. Return False if ``timeout`` is over before.

        The thread is then left running, and the next stage waits for it.
        """
        raised: Exception | None = None
        with trio.CancelScope(shield=True) as self._step:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_call_after, timeout, self._step.cancel)
                try:
                    await arm()
                    async with self.lock:
                        await in_thread(do, limiter=self._thread, abandon_on_cancel=True)
                except Exception as error:  # raised again below, outside of the nursery, so that no group wraps it
                    raised = error
                nursery.cancel_scope.cancel()
        if raised is not None:
            raise raised
        return not self._step.cancelled_caught

    async def read(self, do: Callable[..., T], *args: object) -> T:
        """Call ``do``, which must only read, in a thread of its own, beside that of the steps. A cancel does not wait for it."""
        return await in_thread(do, *args, limiter=self._reading, abandon_on_cancel=True)

    async def answer(self, request: Request, note: Callable[[str], object]) -> object:
        """Return the answer to a request of a stage that needs no more than programs. ``note(step)`` is called for each."""
        match request:
            case RunGenerators(config, text, directory, taken):
                return await run_generators(config, text, directory, taken, note)
            case Start(extractor):
                extractor.start()
                return None
            case Check(directory, package, imported, compiled):
                return await check_staged(directory, package, imported=imported, compiled=compiled, note=note)
            case _:
                raise AssertionError(f"{request} is for the interpreter of a session")

    async def returned(self, timeout: float) -> bool:
        """Wait until no thread works; return False after ``timeout`` seconds, or as soon as :meth:`give_up` was called."""
        if not (self._thread.borrowed_tokens or self._reading.borrowed_tokens):
            return True
        with self._waiting:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_call_after, timeout, nursery.cancel_scope.cancel)
                async with self._thread, self._reading:
                    nursery.cancel_scope.cancel()
                    return True
        return False

    async def thread_returned(self) -> None:
        """Wait until no thread of a stage works."""
        async with self._thread:
            pass

    def give_up(self) -> None:
        """Stop waiting for threads, now and later."""
        self._step.cancel()
        self._waiting.cancel()


@trio.lowlevel.enable_ki_protection
async def _call_after(seconds: float, call: Callable[[], object]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:  # noqa: ASYNC110 - there is no event to wait for, only the clock
        await trio.sleep(left)
    call()
