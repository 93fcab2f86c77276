"""Shorter turns of the interpreter while a thread of lastgood's works, so that it holds up the app's event loop less.

A thread that computes keeps the interpreter for 5 ms (:func:`sys.setswitchinterval`) though the loop waits for it; a reload of a
large program computes for some fifty. With shorter turns the loop comes round in time, and the reload takes no longer.
"""

from __future__ import annotations

import os
import sys
import threading

__all__ = ["SHORT_TURNS"]

_SHORT = 0.0005
"""Seconds. A turn costs some microseconds."""


class _ShortTurns:
    """A context manager for any number of threads. What the app has set itself meanwhile stays."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._before = 0.0

    def __enter__(self) -> None:
        with self._lock:
            self._count += 1
            if self._count == 1:
                self._before = sys.getswitchinterval()
                if self._before > _SHORT:
                    sys.setswitchinterval(_SHORT)

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self._count = max(self._count - 1, 0)  # a thread that has forked leaves it in the child, too
            if not self._count:
                self._restore()

    def _restore(self) -> None:
        if self._before > _SHORT and abs(sys.getswitchinterval() - _SHORT) < 1e-6:
            sys.setswitchinterval(self._before)

    def in_child(self) -> None:
        """Restore what was before, in a forked process: there are no other threads in it."""
        if self._count:
            self._restore()
        self._lock, self._count = threading.Lock(), 0


SHORT_TURNS = _ShortTurns()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SHORT_TURNS.in_child)
