"""Stages that hang where a test says so, until it says so."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import trio

from lastgood.errors import GenerationError
from real_project import DEADLINE, Told


class Time:
    """The time of a stage is over when the test says so."""

    def __init__(self) -> None:
        self._over = trio.Event()

    async def call_after(self, _seconds: float, call: Callable[[], object]) -> None:
        await self._over.wait()
        self._over = trio.Event()
        call()

    def is_over(self) -> None:
        self._over.set()


class Gate:
    """Blocks threads while it is shut. ``reached``: one waits there."""

    def __init__(self) -> None:
        self.is_shut = False
        self.visits = 0
        self._open = threading.Event()
        self._reached = threading.Event()

    def pass_by(self) -> None:
        self.visits += 1
        if self.is_shut:
            self._reached.set()
            assert self._open.wait(DEADLINE)

    async def reached(self) -> None:
        assert await trio.to_thread.run_sync(self._reached.wait, DEADLINE)
        self._reached.clear()

    def open(self) -> None:
        self.is_shut = False
        self._open.set()


async def failure(told: Told) -> tuple[str, Path | None, str]:
    failed = await told.failure()
    assert failed.effect == "stage"
    assert isinstance(failed.error, GenerationError)
    [each] = failed.error.failures
    return each.module, each.file, each.message


LATE = (
    "the stage was not done within 60 s (stage_timeout); it was abandoned while working on this. "
    "Simplify it, or raise stage_timeout."
)
