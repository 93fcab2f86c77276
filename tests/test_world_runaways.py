"""Files that change with each reload, in the world of lastgood.testing."""

from __future__ import annotations

import pytest

from lastgood.errors import RunawayError
from lastgood.testing import World
from lastgood.watch_events import ReloadStart, Runaway
from world_scripts import SOURCES, TWO, started, types


def reload_that_writes(world: World, path: str, text: str, operation: int = 2) -> None:
    """Have the next warm-up write a file, and let a cycle begin."""
    world.at("warm", operation, lambda: world.write(path, text))
    world.advance(0.1)


def runaway(path: str = "fresh/log.py") -> World:
    """Six cycles that each write a file; but for the first, that alone has caused them."""
    world = started({**SOURCES, "lastgood.toml": '[modules.fresh]\n[output]\ndir = "generated"\n'})
    world.write("fresh/__init__.py", TWO)
    for number in range(6):
        reload_that_writes(world, path, f"n = {number}\n")
    world.advance(0.1)
    return world


def test_after_five_reloads_the_status_says_so_and_nothing_more_happens() -> None:
    world = runaway()
    assert types(world)[-1] == "notice-runaway"
    [told] = [event for event in world.events if isinstance(event, Runaway)]
    assert ([path.name for path in told.files], told.cycles) == (["log.py"], 5)
    assert world.generation == 7
    assert isinstance(world.status.error, RunawayError)
    assert world.status.since == pytest.approx(world.clock.now, abs=1)
    for number in range(10, 20):
        world.write("fresh/log.py", f"n = {number}\n")
        world.advance(1)
    assert (types(world)[-1], world.generation) == ("notice-runaway", 7)


@pytest.mark.parametrize("by", ["another file", "reload_now()", "the file, after five quiet seconds"])
def test_it_is_over_with(by: str) -> None:
    world = runaway()
    match by:
        case "another file":
            world.write("fresh/deep.py", TWO)
            world.advance(0.1)
        case "reload_now()":
            assert world.reload_now()
        case _:
            world.advance(4.9)
            world.write("fresh/log.py", "n = 10\n")
            world.advance(5.1)
            assert world.generation == 7
            world.write("fresh/log.py", "n = 11\n")
            world.advance(0.1)
    assert (world.generation, world.status.stale) == (8, False)


def test_a_user_who_saves_one_file_again_and_again_is_no_runaway() -> None:
    world = started()
    for number in range(20):
        world.write("kept.py", f"{TWO}# {number}\n")
        world.advance(0.1)
    assert world.generation == 21
    assert len([event for event in world.events if isinstance(event, ReloadStart)]) == 21
