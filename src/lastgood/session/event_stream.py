"""Delivery of events: to ``on_event``, to ``events()`` iterators on any loop, and to other listeners."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

import trio

from lastgood.calls.portal import LoopClosed
from lastgood.watch_events import EventsMissed, WatchEvent

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Backlog", "EventStream", "Listener", "deliver_event"]

logger = logging.getLogger("lastgood.session")

EVENTS_KEPT = 1000


def deliver_event(
    on_event: Callable[[WatchEvent], object], event: WatchEvent, let_through: tuple[type[BaseException], ...] = ()
) -> None:
    """Call ``on_event``. Log the error if it raises, even SystemExit, because it must not break a reload.

    Exceptions of the types in ``let_through`` are raised.
    """
    try:
        on_event(event)
    except let_through:
        raise
    except BaseException:
        logger.exception("on_event raised for %s", event.type)


class Listener(Protocol):
    """A receiver of events. Its methods are called on the session's loop, and must neither raise nor wait."""

    def put(self, event: WatchEvent) -> object: ...

    def end(self) -> None:
        """Take note that no more events will come."""
        ...


class Backlog:
    """A thread-safe, bounded queue of the events that a listener has not taken yet.

    When it is full, the oldest events are dropped, and an ``EventsMissed`` with their number takes their place.
    """

    def __init__(self) -> None:
        self._kept: deque[WatchEvent] = deque()
        self._missed = 0
        self._lock = threading.Lock()

    def put(self, event: WatchEvent) -> bool:
        """Add ``event``; return whether it is the only one."""
        with self._lock:
            if len(self._kept) == EVENTS_KEPT:
                self._kept.popleft()
                self._missed += 1
            self._kept.append(event)
            return len(self._kept) == 1

    def take(self) -> WatchEvent | None:
        """Remove and return the oldest event; None if there is none."""
        with self._lock:
            if self._missed:
                missed, self._missed = self._missed, 0
                return EventsMissed(missed)
            return self._kept.popleft() if self._kept else None

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self._missed = 0

    def __bool__(self) -> bool:
        return bool(self._kept)


class EventStream:
    """An ``events()`` iterator, which ends with the session or with ``aclose()``.

    It waits on the session's loop, by ``run_on_loop(function)``, but takes events on the reader's loop, so that a reader that
    is cancelled while it waits loses no event. ``leave(stream)`` is called at the end.
    """

    def __init__(
        self,
        run_on_loop: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]],
        leave: Callable[[Listener], object],
    ) -> None:
        self._run_on_loop = run_on_loop
        self._leave = leave
        self._backlog = Backlog()
        self._ended = False
        self._changed = trio.Event()

    def put(self, event: WatchEvent) -> None:
        self._backlog.put(event)
        self._changed.set()

    def end(self) -> None:
        self._ended = True
        self._leave(self)
        self._changed.set()

    async def aclose(self) -> None:
        """End the iterator. It gets no more events."""
        self._backlog.clear()
        await self._wait(self._end)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchEvent:
        while True:
            await self._wait(self._wait_for_event)
            if (event := self._backlog.take()) is not None:
                return event
            if self._ended:
                raise StopAsyncIteration

    async def _wait(self, function: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._run_on_loop(function)
        except LoopClosed:
            self._ended = True

    # --- on the session's loop

    async def _wait_for_event(self) -> None:
        await trio.lowlevel.checkpoint()
        while not (self._backlog or self._ended):
            if self._changed.is_set():  # replace it only when it is set: another task may wait for it, too
                self._changed = trio.Event()
            await self._changed.wait()

    async def _end(self) -> None:
        self.end()
        await trio.lowlevel.checkpoint()
