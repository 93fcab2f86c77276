"""Events on their way to who asked for them: ``on_event``, ``events()`` on whatever loop, and other listeners."""

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

__all__ = ["Backlog", "EventStream", "Listener", "tell_event"]

logger = logging.getLogger("lastgood.session")

EVENTS_KEPT = 1000


def tell_event(
    on_event: Callable[[WatchEvent], object], event: WatchEvent, passing: tuple[type[BaseException], ...] = ()
) -> None:
    """Call ``on_event``. What it raises, even SystemExit, is logged: it must not break a reload. ``passing``: all but these."""
    try:
        on_event(event)
    except passing:
        raise
    except BaseException:
        logger.exception("on_event raised for %s", event.type)


class Listener(Protocol):
    """Who is told of events, on the session's loop. Neither may raise or wait."""

    def put(self, event: WatchEvent) -> object: ...

    def end(self) -> None:
        """No more will come."""
        ...


class Backlog:
    """Events that a listener has not taken yet, for any thread.

    Bounded: the oldest give way, and their number is told in their place.
    """

    def __init__(self) -> None:
        self._kept: deque[WatchEvent] = deque()
        self._missed = 0
        self._lock = threading.Lock()

    def put(self, event: WatchEvent) -> bool:
        """Add ``event``; true if it is the only one."""
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
    """One ``events()`` iterator, until the session ends or it is closed.

    It waits on the session's loop, by ``at_home(function)``, and takes events on its reader's: a reader that is cancelled
    while it waits loses none.
    """

    def __init__(
        self, at_home: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]], leave: Callable[[Listener], object]
    ) -> None:
        self._at_home = at_home
        self._leave = leave
        self._backlog = Backlog()
        self._ended = False
        self._news = trio.Event()

    def put(self, event: WatchEvent) -> None:
        self._backlog.put(event)
        self._news.set()

    def end(self) -> None:
        self._ended = True
        self._leave(self)
        self._news.set()

    async def aclose(self) -> None:
        """Take no further part."""
        self._backlog.clear()
        await self._wait(self._end)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchEvent:
        while True:
            await self._wait(self._more)
            if (event := self._backlog.take()) is not None:
                return event
            if self._ended:
                raise StopAsyncIteration

    async def _wait(self, function: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._at_home(function)
        except LoopClosed:
            self._ended = True

    # --- on the session's loop

    async def _more(self) -> None:
        await trio.lowlevel.checkpoint()
        while not (self._backlog or self._ended):
            if self._news.is_set():  # another task may wait for it as well
                self._news = trio.Event()
            await self._news.wait()

    async def _end(self) -> None:
        self.end()
        await trio.lowlevel.checkpoint()
