"""``overlap = false`` in the world of lastgood.testing: the live bridge makes way, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lastgood.errors import BridgeError, Disposed, WatchError
from lastgood.testing import World
from lastgood.watch_events import BridgeLost, BridgeRestored, ReloadError
from world_scripts import ONE, THREE, TWO, config, not_disposed, types

ALONE = "[runtime.process]\noverlap = false\n"
SOURCES = {"lastgood.toml": config("kept") + ALONE, "kept.py": ONE}
POINTS = ("create", "init", "probe")


def started(files: dict[str, str] | None = None, **settings: Any) -> World:
    world = World({**SOURCES, **(files or {})}, **settings)
    world.start()
    return world


def edit(world: World, text: str = TWO) -> None:
    world.write("kept.py", text)
    world.advance(0.1)


def ready(world: World) -> list[int]:
    return [bridge.cycle for bridge in world.bridges if bridge.state == "ready"]


def test_the_next_bridge_is_created_when_the_live_one_has_no_calls_and_is_gone() -> None:
    world = started()
    first = world.begin_call()
    states: list[str] = []
    world.at("warm", 1, lambda: states.append(first.state))
    edit(world)
    assert (world.calls_wait, world.bridge, world.generation, first.state) == (True, None, 1, "ready")
    assert world.status.calls == {1: 1}
    with pytest.raises(BridgeError, match="A call would wait"):
        world.begin_call()
    world.end_calls(first)
    assert states == ["disposed"]
    assert (world.calls_wait, world.generation, ready(world)) == (False, 2, [2])
    assert not first.cut_off


def test_calls_have_their_drain_and_are_cut_off_then() -> None:
    world = started()
    first = world.begin_call()
    assert world.reload_now()
    assert (first.cut_off, world.clock.now) == (True, 1_000_010.0)


def test_calls_without_a_limit_are_waited_for_and_whoever_waits_for_them_is_told() -> None:
    world = started(drain_timeout=float("inf"), supersede_after=float("inf"))
    first = world.begin_call()
    with pytest.raises(WatchError, match="waits for calls in flight"):
        world.reload_now()
    world.end_calls(first)
    assert world.generation == 2


@pytest.mark.parametrize("at", range(1, 4), ids=POINTS)
def test_if_the_next_one_fails_the_former_generation_is_back(at: int) -> None:
    world = started()
    before = world.files["generated/kept.py"]
    world.fail("warm", at)
    edit(world)
    assert isinstance(world.events[-1], ReloadError)
    assert (world.generation, world.status.stale, ready(world)) == (1, True, [1])
    assert world.bridge is not None
    assert world.bridge.sources == {"kept": ONE}
    assert world.files["generated/kept.py"] == before
    assert world.leftovers == ()
    assert world.begin_call() is world.bridge


def test_an_edit_that_cannot_be_staged_leaves_the_live_bridge() -> None:
    world = started()
    first = world.bridge
    edit(world, "def broken(:\n")
    assert world.bridge is first
    assert len(world.bridges) == 1


def test_the_former_generation_has_what_it_had_imported_late() -> None:
    world = started({"plugin.py": "x = 1\n"})
    world.load_late("plugin", "plugin.py")
    world.write("plugin.py", "x = 2\n")
    world.fail("warm", 2)
    world.advance(0.1)
    assert world.bridge is not None
    assert world.bridge.sources == {"kept": ONE, "plugin": "x = 1\n"}


def test_if_that_fails_too_calls_raise_until_it_is_back() -> None:
    world, gone = started(), OSError("no fork")
    world.fail("warm", 1)
    for _ in range(2):
        world.fail("restart", 1, gone)
    edit(world)
    assert types(world)[-3:] == ["reload-error", "notice-bridge-lost", "notice-bridge-lost"]
    assert (world.calls_wait, world.bridge) == (False, None)
    with pytest.raises(OSError, match="no fork"):
        world.begin_call()
    world.advance(0.5)
    assert isinstance(world.events[-1], BridgeRestored)
    assert (ready(world), world.begin_call().cycle) == ([1], 1)


def test_a_generation_that_cannot_be_created_again_stays_lost_until_an_edit() -> None:
    world = started()
    world.fail("warm", 1)
    for _ in range(6):
        world.fail("restart", 1)
    edit(world)
    world.advance(60.0)
    assert [event.restart_in for event in world.events if isinstance(event, BridgeLost)] == [
        0.0,
        0.5,
        1.0,
        2.0,
        4.0,
        None,
    ]
    assert (world.bridge, world.calls_wait) == (None, False)
    edit(world, THREE)
    assert (world.generation, ready(world), world.status.stale) == (2, [3], False)


def test_a_hanging_warm_up_is_given_up_and_superseded_by_its_mending() -> None:
    world = started(supersede_after=2.0)
    world.hang("warm", 1)
    world.after(1.0, lambda: world.write("kept.py", THREE))
    edit(world)
    world.advance(3.0)
    assert "notice-superseded" in types(world)
    assert (world.generation, ready(world)) == (2, [3])
    assert not [event for event in world.events if isinstance(event, ReloadError)]


OPERATIONS = [
    *(("warm", at) for at in (1, 2, 3)),
    *(("rollback", at) for at in (1, 2, 3)),
    *(("dispose", 1), ("restart", 1), ("restart", 2), ("restart", 3)),
]
ARRIVALS: dict[str, Callable[[World], object]] = {
    "an edit": lambda world: world.write("kept.py", THREE),
    "a request": World.request_reload,
    "an undo": World.request_undo,
    "a close": World.close,
}


@pytest.mark.parametrize("arrival", ARRIVALS)
@pytest.mark.parametrize("point", OPERATIONS, ids=lambda point: f"{point[0]} {point[1]}")
@pytest.mark.parametrize("fault", [None, 1, 2, 3], ids=["good", *POINTS])
def test_what_comes_in_the_midst_of_it_leaves_one_bridge_that_answers_or_none(
    fault: int | None, point: tuple[str, int], arrival: str
) -> None:
    world = started()
    edit(world, ONE + "# another\n")
    if fault is not None:
        world.fail("warm", fault)
    world.at(*point, lambda: ARRIVALS[arrival](world))
    most: list[int] = []
    for at in (1, 2, 3):
        world.at("warm", at, lambda: most.append(len(ready(world))))
    edit(world)
    world.advance(10.0)
    assert {*most} <= {0, 1}
    if world.closed:
        assert not_disposed(world) == []
        with pytest.raises(Disposed):
            world.begin_call()
    else:
        assert not world.calls_wait
        assert len(ready(world)) == 1
        assert world.begin_call().state == "ready"
    assert world.leftovers == ()
