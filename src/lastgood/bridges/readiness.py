"""Waiting for several things at once: that the worker has written, has exited, or takes more.

Trio waits for one descriptor at a time. An epoll set is itself a descriptor, readable when anything in it is ready, so one
wait costs no more than a wait for one pipe. Where there is no epoll, two tasks wait.
"""

from __future__ import annotations

import select
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

__all__ = ["EpollReadiness", "Readiness", "TaskReadiness", "readiness"]


class Readiness(Protocol):
    """Waits for ``answers`` to be readable, and while :meth:`want_write` says so for ``requests`` to be writable."""

    def wait(self) -> Awaitable[None]:
        """Wait until any of it may be so. One task at a time. Woken or closed, it returns or raises ``ClosedResourceError``."""
        ...

    def want_write(self, wanted: bool) -> None:
        """Whether to wait for ``requests``, too; heeded at once by a task that waits already."""
        ...

    def exited(self) -> bool:
        """Whether the worker is known to have exited. (The end of its answers tells so too, unless a child of it holds them.)"""
        ...

    def wake(self) -> None:
        """End the wait of the task that waits, if one does."""
        ...

    def close(self) -> None:
        """Let go. Before the descriptors are closed."""
        ...


class EpollReadiness:
    """With epoll; ``pidfd`` -1: none."""

    def __init__(self, answers: int, requests: int, pidfd: int) -> None:
        self._epoll = select.epoll()
        self._descriptor = self._epoll.fileno()
        self._epoll.register(answers, select.EPOLLIN)
        if pidfd >= 0:
            self._epoll.register(pidfd, select.EPOLLIN)
        self._requests = requests
        self._pidfd = pidfd
        self._wanted = False

    def wait(self) -> Awaitable[None]:
        """See :class:`Readiness`."""
        return trio.lowlevel.wait_readable(self._descriptor)  # noqa: ASYNC105 - the caller awaits it; one frame less for each call

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
    """Without epoll; it never knows of an exit."""

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
    """The better of the two that can be had."""
    try:
        return EpollReadiness(answers, requests, pidfd)
    except (AttributeError, OSError):  # no epoll on this system, or no descriptor left for it
        return TaskReadiness(answers, requests)
