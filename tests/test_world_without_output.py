"""A project without an output directory, in the world of lastgood.testing: nothing is generated, all else is as ever."""

from __future__ import annotations

import pytest

from lastgood.errors import ConfigError
from lastgood.testing import World
from lastgood.watch_events import ReloadError, ReloadSuccess, Superseded
from world_scripts import BROKEN, ONE, TWO, config

WITHOUT = "[modules.kept]\n[output]\ndir = false\n"
SOURCES = {"lastgood.toml": WITHOUT, "kept.py": ONE}
FAULTS = [("stage", 1), ("warm", 1), ("warm", 2), ("warm", 3)]


def started(settings: str = "") -> World:
    world = World({**SOURCES, "lastgood.toml": WITHOUT + settings})
    world.start()
    return world


def edit(world: World, text: str = TWO) -> None:
    world.write("kept.py", text)
    world.advance(0.2)


def successes(world: World) -> list[ReloadSuccess]:
    return [event for event in world.events if isinstance(event, ReloadSuccess)]


def test_nothing_is_written_and_the_bridge_is_that_of_the_edit() -> None:
    world = started()
    before = set(world.files)
    edit(world)
    assert world.bridge is not None
    assert (world.generation, world.bridge.sources) == (2, {"kept": TWO})
    assert set(world.files) == before == {"lastgood.toml", "kept.py"}
    assert [(event.written, event.touched, "promote" in event.timings) for event in successes(world)] == [
        ((), (), False)
    ] * 2


@pytest.mark.parametrize(("effect", "at"), FAULTS)
def test_a_failure_leaves_the_last_good_bridge(effect: str, at: int) -> None:
    world = started()
    first = world.bridge
    world.fail(effect, at)
    edit(world)
    assert (world.bridge, world.generation, world.status.stale) == (first, 1, True)
    assert isinstance(world.events[-1], ReloadError)
    assert world.reload_now()
    assert (world.generation, world.status.stale) == (2, False)


def test_undo_goes_back_to_the_sources_of_the_generation_before() -> None:
    world = started()
    edit(world)
    assert world.undo()
    assert world.bridge is not None
    assert world.bridge.sources == {"kept": ONE}


def test_the_bridge_makes_way_without_overlap_and_comes_back() -> None:
    world = started("[runtime.process]\noverlap = false\n")
    world.fail("warm", 2)
    edit(world)
    assert sorted(bridge.state for bridge in world.bridges) == ["disposed", "disposed", "ready"]
    assert world.status.stale
    edit(world, TWO + "#")
    assert (world.generation, world.status.stale) == (2, False)


def test_a_warm_up_that_hangs_is_superseded() -> None:
    world = started()
    world.hang("warm")
    world.after(1.0, lambda: world.write("kept.py", TWO + "#"))
    edit(world)
    world.advance(10)
    assert any(isinstance(event, Superseded) for event in world.events)
    assert world.generation == 2


def test_wrappers_go_when_the_config_comes_to_ask_for_none_and_come_back() -> None:
    world = World({**SOURCES, "lastgood.toml": config("kept")})
    world.start()
    assert "generated/kept.py" in world.files
    world.write("lastgood.toml", WITHOUT)
    world.advance(0.2)
    assert (world.generation, [name for name in world.files if name.startswith("generated/")]) == (2, [])
    world.write("lastgood.toml", config("kept"))
    world.advance(0.2)
    assert world.generation == 3
    assert "generated/kept.py" in world.files


def test_what_a_killed_session_has_left_is_in_nobodys_way() -> None:
    world = started()
    edit(world)
    world.kill()
    second = World({}, beside=world)
    second.start()
    assert second.bridge is not None
    assert second.bridge.sources == {"kept": TWO}
    assert second.undo()


def test_a_second_session_follows() -> None:
    world = started()
    second = World({}, beside=world)
    second.start()
    assert (second.role, second.generation) == ("follower", 1)
    edit(world)
    second.advance(1)
    assert second.bridge is not None
    assert (second.generation, second.bridge.sources) == (2, {"kept": TWO})


def test_a_broken_config_changes_nothing() -> None:
    world = started()
    world.write("lastgood.toml", "[modules.kept]\n[output]\ndir = true\n")
    world.advance(0.2)
    assert isinstance(world.status.error, ConfigError)
    assert "expected a string, found a boolean" in str(world.status.error)
    edit(world, BROKEN)
    assert world.generation == 1
