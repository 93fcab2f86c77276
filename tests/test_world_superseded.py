"""Cycles that are superseded, in the world of lastgood.testing: undone at whatever operation, and none of their edits lost."""

from __future__ import annotations

import pytest

from lastgood.testing import World
from lastgood.watch_events import ReloadStart, ReloadSuccess, Superseded
from world_scripts import BEFORE_SWAP, ONE, SOURCES, THREE, TWO, edit, not_disposed, started, types, wrappers

HANGS = sorted({(effect, at) for effect, at in BEFORE_SWAP if effect in ("stage", "warm")})


def starts(world: World) -> list[list[str]]:
    """The names of what each cycle has begun with."""
    return [[path.name for path in event.changed] for event in world.events if isinstance(event, ReloadStart)]


@pytest.mark.parametrize(("effect", "at"), HANGS)
def test_a_cycle_that_hangs_is_superseded_by_an_edit_and_undone(effect: str, at: int) -> None:
    world = started()
    before = wrappers(world)
    world.hang(effect, at)
    seen = []

    def save() -> None:
        seen.append(wrappers(world))
        world.write("same.py", THREE)

    world.after(10, save)
    edit(world)
    begun = world.clock.now
    world.advance(0.1)
    assert world.clock.now - begun == pytest.approx(10.1), "the edit, and a pause after it"
    assert types(world)[-4:] == ["notice-superseded", "reload-start", "watch-paths", "reload-success"]
    assert starts(world)[1:] == [["kept.py", "lastgood.toml"], ["kept.py", "lastgood.toml", "same.py"]]
    assert len(seen) == 1
    if effect == "stage":
        assert seen[0] == before
    assert (world.generation, world.status.stale, world.leftovers) == (2, False, ())
    assert not_disposed(world) == [3]


def test_an_edit_that_came_early_supersedes_as_soon_as_the_cycle_is_old() -> None:
    world = started()
    world.hang("warm", 2)
    world.at("warm", 1, lambda: world.write("same.py", THREE))
    world.write("kept.py", TWO)
    begun = world.clock.now
    world.advance(0.1)
    assert world.clock.now - begun == pytest.approx(0.1 + 2.0)
    assert [event.cycle for event in world.events if isinstance(event, Superseded)] == [2]
    assert world.generation == 2


def test_a_start_that_hangs_is_superseded_too() -> None:
    world = World(SOURCES)
    world.hang("warm", 2)
    world.after(10, lambda: world.write("kept.py", TWO))
    world.start()
    assert starts(world) == [[], ["kept.py"]]
    assert world.generation == 1
    assert isinstance(world.events[-1], ReloadSuccess)


def test_who_asked_for_the_cycle_gets_the_result_of_the_next() -> None:
    world = started()
    world.hang("warm", 2)
    world.after(10, lambda: world.write("kept.py", TWO))
    assert world.reload_now()
    assert world.generation == 2
    assert "x" in world.files["generated/kept.py"]


def test_an_edit_that_is_taken_back_leads_to_the_next_cycle_too() -> None:
    world = started()
    world.hang("warm", 2)
    world.after(10, lambda: world.write("kept.py", ONE))
    world.write("kept.py", TWO)
    world.advance(0.1)
    assert starts(world)[1:] == [["kept.py"], ["kept.py"]]
    assert (world.generation, world.status.stale) == (2, False)


def test_a_stage_that_cannot_be_ended_is_waited_for() -> None:
    world = started(stage_timeout=7.0)
    world.hang("stage", 2, stuck=True)
    world.after(3, lambda: world.write("kept.py", TWO))
    world.after(9, world.return_stage)
    begun = world.clock.now
    assert world.reload_now()
    assert world.clock.now - begun == pytest.approx(9.0)
    assert "notice-superseded" in types(world)
    assert world.generation == 2


def test_the_age_can_be_given_and_be_infinite() -> None:
    world = World(SOURCES, supersede_after=float("inf"))
    world.start()
    world.hang("warm", 2)
    world.after(10, lambda: world.write("kept.py", TWO))
    assert not world.reload_now()
    assert "notice-superseded" not in types(world)


def test_what_is_to_be_called_later_is_called_then() -> None:
    world = started()
    called: list[float] = []
    world.after(1, lambda: called.append(world.clock.now))
    world.after(2, lambda: called.append(world.clock.now))
    begun = world.clock.now
    world.advance(1.5)
    assert called == [begun + 1]
    with pytest.raises(ValueError, match="time does not go back"):
        world.after(-1, print)


def test_a_slow_source_that_changes_a_file_when_it_is_imported_is_live_in_the_end() -> None:
    world = started()
    imports = 0

    def import_slowly() -> None:
        nonlocal imports
        imports += 1
        if imports < 10:
            world.at("warm", 1, import_slowly)
        world.write("same.py", f"{THREE}# {imports}\n")
        world.clock.advance(10)

    world.at("warm", 1, import_slowly)
    world.write("kept.py", TWO)
    world.advance(0.1)
    ends = [kind for kind in types(world) if kind in ("notice-superseded", "reload-success")]
    assert ends[1:7] == ["notice-superseded"] * 5 + ["reload-success"]
