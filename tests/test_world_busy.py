"""A bridge that is busy by itself, as a server is, in the world of lastgood.testing: what it has begun has its drain."""

from __future__ import annotations

from lastgood.testing import World
from world_scripts import ONE, TWO, config


def started(drain_timeout: float = 10.0) -> World:
    world = World({"lastgood.toml": config("kept"), "kept.py": ONE}, drain_timeout=drain_timeout)
    world.start()
    return world


def edit(world: World, text: str = TWO) -> None:
    world.write("kept.py", text)
    world.advance(0.2)


def test_what_it_has_begun_holds_up_no_cycle_and_is_waited_for() -> None:
    world = started()
    first = world.begin_work()
    assert world.status.calls == {}, "it is no call"
    edit(world)
    assert (world.generation, first.state) == (2, "ready")
    world.end_work(first)
    assert (first.state, first.cut_off) == ("disposed", False)


def test_it_is_cut_off_when_the_drain_is_over() -> None:
    world = started(drain_timeout=3.0)
    first = world.begin_work()
    edit(world)
    world.advance(2.5)
    assert first.state == "ready"
    world.advance(1)
    assert (first.state, first.cut_off) == ("disposed", True)


def test_calls_and_work_are_both_waited_for() -> None:
    world = started()
    first = world.begin_work()
    assert world.begin_call() is first
    edit(world)
    world.end_calls(first)
    assert first.state == "ready"
    world.end_work(first)
    assert first.state == "disposed"


def test_the_live_bridge_is_told_its_generation_and_whether_it_is_stale() -> None:
    world = started()
    first = world.bridge
    assert first is not None
    assert first.told == (1, False)
    edit(world, "def f(:\n")
    assert first.told == (1, True)
    edit(world)
    assert world.bridge is not None
    assert (world.bridge.told, first.told) == ((2, False), (1, True))
