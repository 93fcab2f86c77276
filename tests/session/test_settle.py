"""``settle()``, in sessions of each kind, on real files."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import trio

from lastgood.errors import Disposed
from lastgood.session.watch import WatchProgram
from real_project import BROKEN, DEADLINE, MORE, QUOTE, RealProject, Told


async def test_what_is_saved_is_live_when_it_returns(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    with trio.fail_after(DEADLINE):
        async with start(debounce=math.inf, max_wait=math.inf) as session:
            assert await session.settle()
            assert session.generation == 1
            for generation, text in enumerate((MORE, QUOTE), 2):
                project.save("pricing.py", text)
                assert await session.settle()
                assert session.generation == generation
            project.save("pricing.py", BROKEN)
            assert not await session.settle()
            assert not await session.settle()
            assert session.status.stale
        with pytest.raises(Disposed):
            await session.settle()
    assert [event.type for event in told.events].count("reload-error") == 1


async def test_it_has_a_timeout(project: RealProject, start: Callable[..., WatchProgram], told: Told) -> None:
    hangs = trio.Event()

    async def probe(_: object) -> None:
        if session_started.is_set():
            hangs.set()
            await trio.sleep_forever()

    session_started = trio.Event()
    async with start(probe=probe) as session:
        await told.success()
        session_started.set()
        project.save("pricing.py", MORE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hangs.wait)
            assert not await session.settle(0)
        with pytest.raises(TypeError, match=r"settle\(\): timeout must be a number of seconds, not str"):
            await session.settle("1")  # type: ignore[arg-type]  # wrong on purpose


def test_in_plain_code(project: RealProject, start: Callable[..., WatchProgram]) -> None:
    with start(debounce=math.inf, max_wait=math.inf) as session:
        project.save("pricing.py", MORE)
        assert session.settle()
        project.save("pricing.py", BROKEN)
        assert not session.settle(timeout=DEADLINE)
        assert session.generation == 2
