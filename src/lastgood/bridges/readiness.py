"""Waiting for several events at once: the worker has written, has exited, or can take more data.

Trio waits for one descriptor at a time. An epoll instance is itself a descriptor, readable when any of its descriptors is
ready, so one wait costs no more than waiting for a pipe. Without epoll, two tasks wait.
"""

from __future__ import annotations

import select
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

__all__ = ["EpollReadiness", "Readiness", "TaskReadiness", "readiness"]


class Readiness(Protocol):
    """Waits until ``answers`` is readable, or ``requests`` is writable if :meth:`want_write` was called with True.

    ``descriptor`` is its own, -1 if it has none.
    """

    descriptor: int

    def wait(self) -> Awaitable[None]:
        """Wait until an event may have happened, one task at a time. :meth:`wake` may make it raise ``ClosedResourceError``."""
        ...

    def want_write(self, wanted: bool) -> None:
        """Set whether to wait for ``requests``, too; a task that already waits takes it into account."""
        ...

    def exited(self) -> bool:
        """Return whether the worker is known to have exited. EOF of the answers may come later, if a child holds the pipe."""
        ...

    def wake(self) -> None:
        """End the wait of the waiting task, if there is one."""
        ...

    def close(self) -> None:
        """Release all resources. Call it before closing the descriptors."""
        ...


class EpollReadiness:
    """Readiness by epoll; ``pidfd`` -1: none."""

    def __init__(self, answers: int, requests: int, pidfd: int) -> None:
        self._epoll = select.epoll()
        self.descriptor = self._epoll.fileno()
        self._epoll.register(answers, select.EPOLLIN)
        if pidfd >= 0:
            self._epoll.register(pidfd, select.EPOLLIN)
        self._requests = requests
        self._pidfd = pidfd
        self._wanted = False

    def wait(self) -> Awaitable[None]:
        """See :class:`Readiness`."""
        return trio.lowlevel.wait_readable(self.descriptor)  # noqa: ASYNC105 - the caller awaits it, which saves a frame

    def want_write(self, wanted: bool) -> None:
        """See :class:`Readiness`."""
        if wanted != self._wanted:
            self._wanted = wanted
            if wanted:
                self._epoll.register(self._requests, select.EPOLLOUT)
            else:
                self._epoll.unregister(self._requests)

    def exited(self) -> bool:
        """See :class:`Readiness`."""
        return any(descriptor == self._pidfd for descriptor, _ in self._epoll.poll(0))

    def wake(self) -> None:
        """See :class:`Readiness`."""
        trio.lowlevel.notify_closing(self._epoll.fileno())

    def close(self) -> None:
        """See :class:`Readiness`."""
        self.wake()
        self._epoll.close()


class TaskReadiness:
    """Readiness by two tasks, for systems without epoll. It never knows of an exit."""

    descriptor = -1

    def __init__(self, answers: int, requests: int) -> None:
        self._answers = answers
        self._requests = requests
        self._wanted = False
        self._waiting: trio.CancelScope | None = None

    async def wait(self) -> None:
        """See :class:`Readiness`."""
        try:
            async with trio.open_nursery() as nursery:
                self._waiting = nursery.cancel_scope
                nursery.start_soon(self._wait_for, trio.lowlevel.wait_readable, self._answers)
                if self._wanted:
                    nursery.start_soon(self._wait_for, trio.lowlevel.wait_writable, self._requests)
        finally:
            self._waiting = None

    async def _wait_for(self, wait: Callable[[int], Awaitable[None]], descriptor: int) -> None:
        await wait(descriptor)
        self._stop_waiting()

    def want_write(self, wanted: bool) -> None:
        """See :class:`Readiness`."""
        if wanted != self._wanted:
            self._wanted = wanted
            self._stop_waiting()

    def exited(self) -> bool:
        """See :class:`Readiness`."""
        return False

    def wake(self) -> None:
        """See :class:`Readiness`."""
        self._stop_waiting()

    def close(self) -> None:
        """See :class:`Readiness`."""
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()


def readiness(answers: int, requests: int, pidfd: int) -> Readiness:
    """Return an :class:`EpollReadiness` if possible, else a :class:`TaskReadiness`."""
    try:
        return EpollReadiness(answers, requests, pidfd)
    except (AttributeError, OSError):  # no epoll on this system, or no free descriptor
        return TaskReadiness(answers, requests)
