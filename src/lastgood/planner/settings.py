"""The timing of a session."""

from __future__ import annotations

import math

from msgspec import Struct

__all__ = ["MOST_DRAINING", "Settings"]

MOST_DRAINING = 2
"""The number of bridges that may drain at once, unless the live one says otherwise."""


class Settings(Struct, frozen=True):
    """The seconds that :func:`lastgood.watch` and ``[watch]`` know, and one more.

    ``idle_look``: the time between two looks that nothing has caused, at least. The system does not report every change; where
    it does, :data:`math.inf` means none. ``supersede_after`` None: twice the longest of the last good cycles, see
    :attr:`.State.supersede_after`.
    """

    debounce: float = 0.1
    max_wait: float = 2.0
    warm_timeout: float = 60.0
    drain_timeout: float = 10.0
    stage_timeout: float = 60.0
    idle_look: float = 2.0
    supersede_after: float | None = None

    @property
    def bounded_drain(self) -> float:
        """The limit, in seconds, of calls in flight at a close: 10 where ``drain_timeout`` is infinite."""
        return self.drain_timeout if math.isfinite(self.drain_timeout) else Settings().drain_timeout

    @property
    def dispose_timeout(self) -> float:
        """The limit, in seconds, of a ``dispose()``. That ``drain_timeout`` is 0 must not make a worker process survive."""
        return max(self.bounded_drain, 0.1)

    @property
    def release_timeout(self) -> float:
        """The limit, in seconds, of the wait for a thread at a close: 60 where ``stage_timeout`` is infinite."""
        return self.stage_timeout if math.isfinite(self.stage_timeout) else Settings().stage_timeout
