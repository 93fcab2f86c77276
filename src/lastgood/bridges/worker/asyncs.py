"""Calls of ``async def`` functions: they run together on one asyncio loop, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from functools import partial

from . import frames
from .serving import MAX_FORGOTTEN, pack_raised, pack_result

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Loops"]

_RESPONSE = 0.2


class _Loop:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.tasks: dict[int, asyncio.Task[tuple[int, bytes]]] = {}
        self.doubtful: set[int] = set()  # cancelled, and not over yet
        threading.Thread(target=self.loop.run_forever, name="lastgood-asyncio", daemon=True).start()

    def responds(self) -> bool:
        """Whether its thread still turns the loop, rather than being stuck in a forgotten call."""
        turned = threading.Event()
        self.loop.call_soon_threadsafe(turned.set)
        return turned.wait(_RESPONSE)


class Loops:
    """The event loop that takes new calls, and those before it that got stuck in a forgotten one."""

    def __init__(self, answer: Callable[[int, int, bytes], None]) -> None:
        self._answer = answer
        self._lock = threading.Lock()
        self._homes: dict[int, _Loop] = {}  # open calls and where they run
        self._current: _Loop | None = None
        self._stuck = 0

    def start(self, number: int, coroutine: Coroutine[Any, Any, Any]) -> bool:
        """Run ``coroutine`` and answer call ``number`` with what it gives. False: too many loops are stuck."""
        current = self._current
        if current is not None and current.doubtful and not current.responds():
            self._stuck += 1
            current = self._current = None
        if current is None:
            if self._stuck >= MAX_FORGOTTEN:
                coroutine.close()
                return False
            current = self._current = _Loop()
        with self._lock:
            self._homes[number] = current
            current.loop.call_soon_threadsafe(self._spawn, current, number, coroutine)
        return True

    def cancel(self, number: int) -> None:
        """Cancel call ``number``, if it runs here."""
        with self._lock:
            home = self._homes.get(number)
            if home is None:
                return
            home.doubtful.add(number)
            home.loop.call_soon_threadsafe(self._cancel, home, number)

    # On the loop's thread.

    def _spawn(self, home: _Loop, number: int, coroutine: Coroutine[Any, Any, Any]) -> None:
        task = home.loop.create_task(_outcome(coroutine))
        home.tasks[number] = task
        task.add_done_callback(partial(self._finish, home, number, coroutine))

    def _cancel(self, home: _Loop, number: int) -> None:
        task = home.tasks.get(number)
        if task is not None:
            task.cancel()

    def _finish(
        self, home: _Loop, number: int, coroutine: Coroutine[Any, Any, Any], task: asyncio.Task[tuple[int, bytes]]
    ) -> None:
        coroutine.close()  # it may have been cancelled before its first step
        del home.tasks[number]
        with self._lock:
            del self._homes[number]
            home.doubtful.discard(number)
        self._answer(number, *((frames.FORGOTTEN, b"") if task.cancelled() else task.result()))


async def _outcome(coroutine: Coroutine[Any, Any, Any]) -> tuple[int, bytes]:
    try:
        return pack_result(await coroutine)
    except (
        BaseException
    ) as error:  # also SystemExit, which would end the loop, and CancelledError: every call is answered
        return pack_raised(error)
