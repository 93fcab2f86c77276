"""A gate at which calls wait while there is no bridge to call, on their own event loop or in their own thread.

Callers of one loop pass in the order in which they came, each when the one before has begun its call; so do threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from lastgood.calls.loops import Barrier, Loop

__all__ = ["Gate"]


class Gate:
    """A gate, which is closed until :meth:`open`. Its methods but the waiting need the lock of whoever has it."""

    __slots__ = ("_barriers", "_baton", "refusal")

    def __init__(self, refusal: Callable[[], BaseException] | None = None) -> None:
        self._barriers: list[tuple[Loop, Barrier]] = []
        self._baton = threading.Lock()
        self._baton.acquire()
        self.refusal = refusal
        """What makes the error that calls raise instead of waiting."""

    def on(self, loop: Loop) -> Barrier:
        """Return what a task on ``loop``, where this is called, enters and leaves to wait."""
        for known, barrier in self._barriers:
            if known.is_here():
                return barrier
        barrier = loop.barrier()
        self._barriers.append((loop, barrier))
        return barrier

    @property
    def in_thread(self) -> threading.Lock:
        """What a plain thread enters and leaves to wait."""
        return self._baton

    def open(self) -> None:
        """Let those who wait pass. Call it once."""
        for loop, barrier in self._barriers:
            loop.soon(barrier.release)
        self._baton.release()
