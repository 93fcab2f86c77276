"""A bridge with its leases, the calls in flight on it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from lastgood.calls import loops
from lastgood.calls.loops import Guard, Loop
from lastgood.errors import BridgeError

if TYPE_CHECKING:
    from lastgood.bridges import Bridge
    from lastgood.config import CheckResults

__all__ = ["DISPOSE_TIMEOUT", "IdleCallback", "Leased", "exact_of"]

DISPOSE_TIMEOUT = 10.0
"""Seconds that the callbacks at the end of a bridge's last lease may take; then they are abandoned, and that is logged."""

logger = logging.getLogger(__name__)

IdleCallback: TypeAlias = Callable[[], Awaitable[None] | None]


class Leased:
    """A bridge with its leases, the calls in flight on it. Created by :meth:`Slot.swap`."""

    __slots__ = ("_cut_error", "_home", "_in_flight", "_lock", "_waiting", "bridge", "call_exact", "checks")

    def __init__(
        self, bridge: Bridge, home: Loop | None, lock: threading.RLock, checks: CheckResults = "error"
    ) -> None:
        self.bridge = bridge
        self.checks = checks
        self.call_exact = exact_of(bridge, "call")
        self._home = home
        self._lock = lock  # the slot's lock: a lease is never taken during a swap
        self._in_flight: dict[Guard, Loop | None] = {}
        self._waiting: list[IdleCallback] = []
        self._cut_error: Callable[[], BaseException] = BridgeError

    @property
    def count(self) -> int:
        """The number of calls in flight."""
        return len(self._in_flight)

    def on_idle(self, callback: IdleCallback) -> Awaitable[None] | None:
        """Call ``callback`` at once if no call is in flight, and return its result for the caller to await.

        Otherwise return None: the task that ends the last lease calls ``callback`` and awaits its result before that
        task's own call returns, shielded, for at most :data:`DISPOSE_TIMEOUT` seconds. Exceptions are logged, not raised
        there. If that task runs on another loop than the bridge's, ``callback`` runs in a new task on the bridge's loop.
        Use it for a bridge that is no longer live: on a live bridge, another call may begin at any time.
        """
        with self._lock:
            if self._in_flight:
                self._waiting.append(callback)
                return None
        return callback()

    def cut_off(self, error_factory: Callable[[], BaseException]) -> None:
        """Cancel the calls in flight; each raises its own ``error_factory()``.

        Does not wait: a call stays in flight until it has unwound. If the caller is cancelled at the same time, its
        cancellation propagates instead of the error.
        """
        with self._lock:
            self._cut_error = error_factory
            calls = list(self._in_flight.items())
        for guard, loop in calls:
            if loop is not None:
                loop.soon(guard.cancel)

    def _end(self, guard: Guard) -> list[IdleCallback]:
        """End a lease. Return the callbacks to run if it was the last one."""
        with self._lock:
            del self._in_flight[guard]
            if self._in_flight or not self._waiting:
                return []
            waiting, self._waiting = self._waiting, []
            return waiting

    async def _run_idle_callbacks(self, waiting: list[IdleCallback], loop: Loop | None) -> None:
        async def run_callbacks() -> None:
            for callback in waiting:
                try:
                    result = callback()
                    if result is not None:
                        await result
                except Exception:
                    logger.exception("A callback at the end of the last call on %r raised an exception", self.bridge)

        if self._home is not None and not self._home.is_here():
            self._home.spawn(run_callbacks)
        elif loop is None:
            await run_callbacks()
        else:
            error = await loop.shielded(run_callbacks, DISPOSE_TIMEOUT)
            if isinstance(error, loops.Abandoned):
                logger.error(
                    "A callback at the end of the last call on %r was abandoned after %g s",
                    self.bridge,
                    DISPOSE_TIMEOUT,
                )
            elif error is not None:
                raise error

    def _spawn_idle_callbacks(self, waiting: list[IdleCallback]) -> None:
        """Run the callbacks as :meth:`_run_idle_callbacks` does, from plain code."""
        home = self._home
        if home is None:
            loops.result_at_once(self._run_idle_callbacks(waiting, None))
        else:
            home.spawn(lambda: self._run_idle_callbacks(waiting, home))


def exact_of(bridge: Any, name: Literal["call", "stream"]) -> Callable[..., Any] | None:
    """Return the ``call_exact`` of a bridge; None if it has none, or a ``call`` that overrides the one beside it.

    Of ``stream`` likewise.
    """
    for kind in type(bridge).__mro__:
        if f"{name}_exact" in vars(kind):
            found: Callable[..., Any] = getattr(bridge, f"{name}_exact")
            return found
        if name in vars(kind):
            return None
    return None
