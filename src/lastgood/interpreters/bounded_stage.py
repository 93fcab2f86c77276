"""A stage within its time, under trio: what waits is cancelled, what blocks in a thread is given up.

A thread that hangs, in a user's ``generate`` or in a read of a network file, cannot be ended. So the blocking steps run one at
a time, and no stage begins before the thread of an earlier one is back: however many stages are given up, one thread is stuck.

The time is the machine's and not trio's: a virtual clock jumps while a thread works.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import trio

from lastgood.interpreters.cycle_files import CycleFiles

__all__ = ["BoundedStage"]

T = TypeVar("T")


class BoundedStage:
    """The stages of one session, one after another."""

    def __init__(self) -> None:
        # A token is held until the thread ends, given up or not.
        self._thread = trio.CapacityLimiter(1)
        self._reading = trio.CapacityLimiter(1)
        self._step = trio.CancelScope()
        self._waiting = trio.CancelScope()

    async def run(self, stage: Callable[[], Awaitable[T]], work: CycleFiles, timeout: float) -> T:
        """Await ``stage()``, the stage of ``work``. Raises :class:`GenerationError` after ``timeout`` seconds."""
        made: list[T] = []
        raised: BaseException | None = None
        waits, is_late = True, False
        async with trio.open_nursery() as nursery:

            def give_up() -> None:
                nonlocal is_late
                is_late = True
                work.project.extractor.stop()
                self._step.cancel()
                nursery.cancel_scope.cancel()

            nursery.start_soon(_call_after, timeout, give_up)
            try:
                async with self._thread:
                    waits = False
                made.append(await stage())
            except trio.Cancelled:
                raise
            except BaseException as error:  # raised again below, in no group
                raised = error
            nursery.cancel_scope.cancel()
        if is_late:
            raise work.late(timeout, waited=waits)
        if raised is not None:
            raise raised
        return made[0]

    async def step(self, work: CycleFiles, do: Callable[..., T], *args: object) -> T:
        """Call ``do`` in a thread. A cancel from outside of the stage waits for it; the end of the stage's time does not."""

        def call() -> T:
            try:
                return do(*args)
            finally:
                work.clear_if_discarded()

        with trio.CancelScope(shield=True) as self._step:
            return await trio.to_thread.run_sync(call, limiter=self._thread, abandon_on_cancel=True)
        await trio.sleep_forever()  # it is cancelled already
        raise AssertionError("unreachable")

    async def read(self, do: Callable[..., T], *args: object) -> T:
        """Call ``do``, which changes nothing, in a thread besides that of the steps. A cancel does not wait for it."""
        return await trio.to_thread.run_sync(partial(do, *args), limiter=self._reading, abandon_on_cancel=True)

    async def back(self, timeout: float) -> bool:
        """Wait until no thread works any more, at most ``timeout`` seconds, and not after :meth:`give_up`."""
        with self._waiting:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_call_after, timeout, nursery.cancel_scope.cancel)
                async with self._thread, self._reading:
                    nursery.cancel_scope.cancel()
                    return True
        return False

    def give_up(self) -> None:
        """Wait for no thread from now on."""
        self._step.cancel()
        self._waiting.cancel()


@trio.lowlevel.enable_ki_protection
async def _call_after(seconds: float, call: Callable[[], object]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:  # noqa: ASYNC110 - nothing tells of it but the clock
        await trio.sleep(left)
    call()
