"""Undo, a bridge that is lost, and modules that are loaded late, in the world of lastgood.testing."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood.errors import NothingToUndo, Undone, WorkerDied
from lastgood.testing import ROOT, World
from lastgood.watch_events import GenerationUndone, ModuleLoadedLate, WatchPaths
from world_scripts import BROKEN, ONE, SOURCES, THREE, TWO, bridge_of, edit, started, texts, types, wrappers


def test_an_undo_brings_wrappers_and_bridge_of_the_generation_before_back() -> None:
    world = started()
    before = wrappers(world)
    edit(world)
    world.advance(1)
    assert world.undo()
    assert texts(wrappers(world)) == texts(before)
    assert world.bridge is not None
    assert world.bridge.sources["kept"] == ONE
    assert world.generation == 3
    assert str(world.status.error).startswith("Generation 2 was undone")
    assert types(world)[-3:] == ["reload-start", "notice-generation-undone", "reload-success"]
    world.advance(100)
    assert world.generation == 3, "what was undone is not tried again by itself"
    world.write("kept.py", THREE)
    world.advance(1)
    assert not world.status.stale
    assert "y: int" in world.files["generated/kept.py"]


def test_an_undo_goes_back_further_each_time_until_there_is_nothing() -> None:
    world = started()
    for text in (TWO, THREE):
        world.write("kept.py", text)
        world.advance(1)
    assert world.undo()
    assert "f(x: int)" in world.files["generated/kept.py"]
    assert world.undo()
    assert "f()" in world.files["generated/kept.py"]
    kept = wrappers(world)
    assert not world.undo()
    assert isinstance(world.status.error, NothingToUndo)
    assert wrappers(world) == kept
    assert world.reload_now()
    assert "y: int" in world.files["generated/kept.py"]
    assert world.undo(), "a reload after an undo is a new generation"
    assert "f()" in world.files["generated/kept.py"]


def test_an_undo_needs_neither_the_config_nor_the_sources() -> None:
    world = started()
    edit(world)
    world.advance(1)
    world.write("lastgood.toml", "nonsense")
    world.remove("kept.py")
    world.advance(1)
    assert world.status.stale
    assert world.undo()
    assert "f()" in world.files["generated/kept.py"]


def test_an_undo_with_an_edit_that_waits_loses_it_not() -> None:
    world = started()
    edit(world)
    world.advance(1)
    world.write("kept.py", THREE)
    assert world.undo()
    world.advance(1)
    assert "y: int" in world.files["generated/kept.py"]


def test_a_lost_bridge_comes_back_from_its_own_generation() -> None:
    world = started()
    world.advance(60)
    world.write("kept.py", BROKEN)
    world.advance(1)
    was = world.bridge
    world.lose_bridge()
    assert world.bridge is was
    assert types(world)[-1] == "notice-bridge-lost"
    world.advance(0.1)
    assert types(world)[-1] == "notice-bridge-restored"
    assert world.bridge is not None
    assert world.bridge is not was
    assert world.bridge.sources["kept"] == ONE
    assert world.generation == 1


def test_a_lost_bridge_that_does_not_come_back_is_tried_again_and_then_given_up() -> None:
    world = started()
    for at in range(1, 6):
        world.fail("restart", 1 + at % 3)
    world.lose_bridge()
    world.advance(60)
    assert types(world).count("notice-bridge-lost") == 6
    assert world.status.stale
    assert world.reload_now()
    assert not world.status.stale


def test_a_restart_that_hangs_is_given_up_after_warm_timeout() -> None:
    world = started(warm_timeout=3.0)
    world.hang("restart", 2)
    world.lose_bridge()
    world.advance(10)
    assert types(world).count("notice-bridge-lost") == 2
    assert types(world)[-1] == "notice-bridge-restored"


def test_a_bridge_that_is_lost_on_probation_brings_the_generation_before_back() -> None:
    world = started()
    edit(world)
    world.advance(1)
    error = WorkerDied(-11, "")
    world.lose_bridge(error)
    assert "f()" in world.files["generated/kept.py"]
    assert world.bridge is not None
    assert world.bridge.sources["kept"] == ONE
    undone = next(event for event in world.events if isinstance(event, GenerationUndone))
    assert undone == GenerationUndone(2, error)
    assert isinstance(world.status.error, Undone)
    assert world.status.error.reason is error


def test_probation_is_a_setting() -> None:
    world = started({**SOURCES, "lastgood.toml": SOURCES["lastgood.toml"] + "[runtime.process]\nprobation = 0\n"})
    world.write("kept.py", TWO)
    world.advance(0.1)
    world.lose_bridge()
    world.advance(1)
    assert types(world)[-1] == "notice-bridge-restored"
    assert world.generation == 2


def test_a_module_that_is_loaded_late_is_watched() -> None:
    world = started({**SOURCES, "plugins/late.py": ONE})
    world.load_late("late", "plugins/late.py")
    assert ModuleLoadedLate("late", ROOT / "plugins/late.py") in world.events
    paths = world.events[-1]
    assert isinstance(paths, WatchPaths)
    assert ROOT / "plugins/late.py" in paths.paths
    world.write("plugins/late.py", TWO)
    world.advance(1)
    assert world.generation == 2


def test_what_was_loaded_late_comes_back_with_the_bridge_and_with_an_undo() -> None:
    world = started({**SOURCES, "plugins/late.py": ONE})
    world.load_late("late", "plugins/late.py")
    world.write("kept.py", "def broken(:\n")
    world.write("plugins/late.py", TWO)
    world.advance(1)
    world.lose_bridge()
    world.advance(1)
    assert types(world)[-1] == "notice-bridge-restored"
    assert bridge_of(world).sources["late"] == ONE
    world.write("kept.py", TWO)
    world.advance(1)
    assert "late" not in bridge_of(world).sources
    assert world.undo()
    assert bridge_of(world).sources["late"] == ONE
    assert ROOT / "plugins/late.py" in last_paths(world)
    world.write("plugins/late.py", "def three() -> int: ...\n")
    world.advance(1)
    assert world.generation == 4


@pytest.mark.parametrize("late", [False, True], ids=["", "that had loaded a module late"])
def test_a_reload_of_the_same_generation_is_neither_on_trial_nor_undone_to_itself(late: bool) -> None:
    world = started({**SOURCES, "plugins/late.py": ONE})
    world.write("kept.py", TWO)
    world.advance(1)
    if late:
        world.load_late("late", "plugins/late.py")
    assert world.reload_now()
    world.lose_bridge()
    world.advance(1)
    assert types(world)[-1] == "notice-bridge-restored"
    assert world.undo()
    assert bridge_of(world).sources["kept"] == ONE


def test_of_equal_generations_that_loaded_other_bytes_late_each_can_be_gone_back_to() -> None:
    world = started({**SOURCES, "plugins/late.py": ONE})
    world.load_late("late", "plugins/late.py")
    world.write("plugins/late.py", TWO)
    world.advance(1)
    world.lose_bridge()
    world.advance(1)
    assert types(world)[-1] == "reload-success", "the new bytes are on trial"
    assert bridge_of(world).sources["late"] == ONE


@pytest.mark.parametrize("at", ["stage", "warm"])
def test_what_is_loaded_late_while_a_cycle_runs_is_kept_all_the_same(at: str) -> None:
    world = started({**SOURCES, "plugins/late.py": ONE})
    world.at(at, 1, lambda: world.load_late("late", "plugins/late.py"))
    world.fail(at, 2)
    assert not world.reload_now()
    world.write("kept.py", "def broken(:\n")
    world.write("plugins/late.py", TWO)
    world.advance(1)
    world.lose_bridge()
    world.advance(1)
    assert bridge_of(world).sources["late"] == ONE


def last_paths(world: World) -> tuple[Path, ...]:
    return [event for event in world.events if isinstance(event, WatchPaths)][-1].paths
