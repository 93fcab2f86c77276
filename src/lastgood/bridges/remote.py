"""One worker, as the app sees it: its process, the channel to it, and what has become of it (contract §10)."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable

import trio

from lastgood.bridges.channel import Channel
from lastgood.bridges.child import Child
from lastgood.bridges.surroundings import Surroundings
from lastgood.errors import BridgeError, WorkerDied

__all__ = ["RemoteWorker"]

_EXIT_WAIT = 1.0  # seconds from the end of a worker's answers to its exit
_KILL_WAIT = 5.0  # seconds from SIGKILL to its exit; one that needs more is stuck in the kernel


class RemoteWorker:
    """A worker, started at once. Of calls, ``threads`` run at once in it, and each may take ``timeout`` seconds.

    ``ready`` is for its owner to set, when it has imported its modules. ``on_loaded`` takes the body of a LOADED frame.
    Raises :class:`BridgeError` if the interpreter cannot be started.
    """

    @trio.lowlevel.enable_ki_protection
    def __init__(
        self, surroundings: Surroundings, *, threads: int, timeout: float, on_loaded: Callable[[bytes], object]
    ) -> None:
        self.ready = False
        self._burying = trio.Lock()
        self._child = Child(surroundings)
        self.channel = Channel(
            self._child.requests,
            self._child.answers,
            self._child.pidfd,
            on_end=self._bury,
            on_garbage=self.break_with,
            on_loaded=on_loaded,
            threads=threads,
            timeout=timeout,
        )

    @property
    def pid(self) -> int | None:
        """Its process id; None when it has ended."""
        return None if self._child.status is not None else self._child.pid

    def break_with(self, problem: str) -> BridgeError:
        """It sent what it should not: have no more to do with it."""
        failure = BridgeError(f"The worker sent what cannot be understood, and was killed: {problem}.")
        self._child.signal(signal.SIGKILL)
        self.channel.fail(lambda: BridgeError(*failure.args))
        return failure

    async def end(self, grace: float) -> None:
        """End it and all it started; every call in flight raises :class:`BridgeError`.

        It is asked to exit by the end of its requests, after ``grace`` by SIGTERM, after as much again by SIGKILL; one that is
        busy, at once by SIGTERM. What it started gets SIGTERM when it has exited. Cancelled, it goes straight to SIGKILL.
        """
        child, busy = self._child, self.channel.busy()
        self.channel.fail(lambda: BridgeError("The bridge was disposed while the call was in flight."))
        if child.pidfd >= 0:
            trio.lowlevel.notify_closing(child.pidfd)  # a caller may be waiting for its exit; now we do
        self.channel.close()
        offspring = child.offspring() if child.status is None else []
        try:
            exited = child.status is not None or (not busy and await child.exited(grace))
            if not exited or offspring:
                child.signal(signal.SIGTERM)  # to its whole group
                with trio.move_on_after(grace):
                    await child.exited(grace)
                    for pidfd in offspring:
                        await trio.lowlevel.wait_readable(pidfd)
        finally:
            for pidfd in offspring:
                os.close(pidfd)
            with trio.CancelScope(shield=True):
                if child.status is None:
                    child.signal(signal.SIGKILL)
                    await child.exited(_KILL_WAIT)
                if not child.end():
                    raise BridgeError(f"The worker process {child.pid} still exists {_KILL_WAIT:g} s after SIGKILL.")

    async def died(self) -> BridgeError:
        """Wait until its process has ended, and give what calls raise from then on."""
        if self._child.pidfd >= 0:
            pidfd = os.dup(self._child.pidfd)  # others wait for it, too, and a descriptor can be waited for only once
            try:
                await trio.lowlevel.wait_readable(pidfd)
            finally:
                os.close(pidfd)
        else:
            await self._child.exited(math.inf)
        await self._bury()
        return self.channel.failure()

    async def _bury(self) -> None:
        """Its answers have ended, or it has: find out how it died."""
        async with self._burying:
            if self.channel.failed():
                return
            child = self._child
            if not await child.exited(_EXIT_WAIT):
                child.signal(signal.SIGKILL)
                await child.exited(_KILL_WAIT)
            child.end()
            status, tail, doing = child.status, child.tail(), "" if self.ready else "before it was ready"
            self.channel.fail(lambda: WorkerDied(status, tail, doing=doing))
