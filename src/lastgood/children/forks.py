"""Forks of the app: a forked child keeps none of its parent's descriptors, and no process is forked in the midst of a start.

A child may outlive its parent: a daemon, a pool. Whatever it inherits stays open as long: the shared memory of a worker, or the
app's stderr, at whose end somebody may wait. While the parent lives, a worker would not see the end of its pipe; and a start
waits until no process has the other end of the pipe by which :mod:`subprocess` reports errors.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol
from weakref import WeakSet

__all__ = ["FORKS", "Forks", "Owner"]

_PATIENCE = 1.0  # seconds for a start to be over; it takes milliseconds


class Owner(Protocol):
    """Owns descriptors."""

    def leave_to_parent(self) -> Iterable[int]:
        """In a forked child: let go of what belongs to the parent, and return its descriptors (-1: none)."""
        ...


class Forks:
    """The forks of this process."""

    def __init__(self) -> None:
        self.starting = threading.RLock()
        """Held while descriptors are made that no owner has yet: no process is forked meanwhile."""
        self._owners: WeakSet[Owner] = WeakSet()
        self._forking: set[int] = set()  # threads that hold ``starting`` during a fork
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._hold, after_in_parent=self._go_on, after_in_child=self._leave)

    def add(self, owner: Owner) -> None:
        """Have a forked child leave to its parent what ``owner`` has at the fork."""
        self._owners.add(owner)

    def _hold(self) -> None:
        if self.starting.acquire(timeout=_PATIENCE):
            self._forking.add(threading.get_ident())

    def _go_on(self) -> None:
        if threading.get_ident() in self._forking:
            self._forking.discard(threading.get_ident())
            self.starting.release()

    def _leave(self) -> None:
        owners, self._owners = self._owners, WeakSet()
        self.starting, self._forking = threading.RLock(), set()
        null = -1
        with suppress(OSError):
            null = os.open(os.devnull, os.O_RDWR)
        for owner in tuple(owners):
            for descriptor in owner.leave_to_parent():
                # The number stays in use: somebody may still close it here, and it must not be another file by then.
                with suppress(OSError):
                    if descriptor >= 0:
                        os.dup2(null, descriptor, inheritable=False)
        if null >= 0:
            os.close(null)


FORKS = Forks()
"""The forks of this process."""
