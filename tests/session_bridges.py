"""Bridges for sessions that are called from several threads and loops."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import trio

from flavours import DEADLINE
from lastgood.config import Config

Main = Callable[[], Awaitable[None]]
Run = Callable[[Main], None]


class Bridge:
    """A call of ``wait`` is in flight until :meth:`answer`; ``ended``: how such calls ended."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.in_flight = threading.Semaphore(0)
        self.ended: list[str] = []
        self.disposed = False
        self.threads: set[str] = set()
        self._answer = trio.Event()
        self._token = trio.lowlevel.current_trio_token()

    def answer(self) -> None:
        self._token.run_sync_soon(self._answer.set)

    async def call(self, module: str, function: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        self.threads.add(threading.current_thread().name)
        if function == "wait":
            try:
                self.in_flight.release()
                await self._answer.wait()
            except trio.Cancelled:
                self.ended.append("cancelled")
                raise
        await trio.lowlevel.checkpoint()
        return self.number, f"{module}.{function}", tuple(args), dict(kwargs)

    async def dispose(self) -> None:
        self.disposed = True
        await trio.lowlevel.checkpoint()


class Bridges:
    def __init__(self) -> None:
        self.made: list[Bridge] = []

    def create(self, _: Config) -> Bridge:
        self.made.append(Bridge(len(self.made) + 1))
        return self.made[-1]


def session_threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("lastgood")]


def in_flight(bridge: Bridge) -> None:
    """Wait until a call of ``wait`` has reached it."""
    assert bridge.in_flight.acquire(timeout=DEADLINE)
