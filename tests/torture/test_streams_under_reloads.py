"""Streams that are read without a pause while their bridge is replaced: no item is lost, doubled or of another generation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import trio

from lastgood.session.watch import watch
from lastgood.watch_events import WatchEvent
from real_project import RealProject

READERS = 4
ITEMS = 2000
SWAPS = [2, pytest.param(100, marks=pytest.mark.torture)]
DEADLINE = 900


def source(number: int) -> str:
    """A generation whose items say which one made them."""
    return (
        f"def plain(count):\n    for item in range(count):\n        yield [{number}, item]\n"
        f"async def later(count):\n    for item in range(count):\n        yield [{number}, item]\n"
    )


def ignore(_event: WatchEvent) -> None: ...


@pytest.fixture
def project(tmp_path: Path) -> RealProject:
    return RealProject(tmp_path, {"pricing.py": source(1)})


@pytest.mark.parametrize("swaps", SWAPS)
async def test_no_item_is_lost_or_doubled(project: RealProject, swaps: int) -> None:
    read: list[int] = []
    is_over = False

    async def reader(session: Any, function: str) -> None:
        while not is_over:
            items = [item async for item in session.handle.stream("pricing", function, [ITEMS])]
            (generation,) = {item[0] for item in items}
            assert items == [[generation, number] for number in range(ITEMS)]
            read.append(generation)

    with trio.fail_after(DEADLINE):
        async with (
            watch(project.config_file, on_event=ignore, drain_timeout=math.inf, debounce=0.0) as session,
            trio.open_nursery() as nursery,
        ):
            for number in range(READERS):
                nursery.start_soon(reader, session, ("plain", "later")[number % 2])
            for number in range(2, swaps + 2):
                project.save("pricing.py", source(number))
                assert await session.reload_now()
                while number not in read:  # some stream was read of each generation
                    await trio.lowlevel.checkpoint()
            is_over = True
    assert {*read} == {*range(1, swaps + 2)} or {*read} == {*range(2, swaps + 2)}
