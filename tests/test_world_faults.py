"""Every effect failing at each of its operations, and an edit, a request or a close at each point (contract §§4, 5, 8).

In memory: the whole table takes seconds, and each entry of it is a history that can be told again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from lastgood.errors import PromotionError
from lastgood.testing import World
from lastgood.watch_events import Change, ReloadError, ReloadStart, ReloadSuccess

CONFIG = '[modules.pricing]\n[modules."shop.desk"]\n[output]\ndir = "generated"\n'
SMALLER = '[modules.pricing]\n[output]\ndir = "generated"\n'
OLD = "def quote(sku: str) -> float: ...\n"
NEW = "def quote(sku: str, quantity: int) -> float: ...\n"


def started() -> World:
    """A world whose next cycle writes one wrapper and removes another, with its directory."""
    world = World(
        {
            "lastgood.toml": CONFIG,
            "pricing.py": OLD,
            "shop/__init__.py": "",
            "shop/desk.py": "def open() -> None: ...\n",
        }
    )
    world.start()
    world.advance(5)
    return world


def edit(world: World) -> None:
    world.write("pricing.py", NEW)
    world.write("lastgood.toml", SMALLER)


def points() -> list[tuple[str, int]]:
    """Every operation of that next cycle: the effect, and which of its operations (from 1)."""
    world = started()
    before = len(world.operations)
    edit(world)
    world.advance(1)
    assert world.generation == 2
    counts: Counter[str] = Counter()
    found = []
    for effect, _ in world.operations[before:]:
        counts[effect] += 1
        found.append((effect, counts[effect]))
    return found


POINTS = points()
START = started().operations
BEFORE_THE_SWAP = [point for point in POINTS if point[0] in ("stage", "promote", "warm", "swap")]


@dataclass(frozen=True)
class Live:
    """What must still be so after a failure."""

    wrappers: dict[str, tuple[str, tuple[int, float]]]
    bridge: object

    @classmethod
    def of(cls, world: World) -> Live:
        wrappers = {
            name: (text, world.times[name]) for name, text in world.files.items() if name.startswith("generated/")
        }
        return cls(wrappers, world.bridge)


def assert_bridges_are_accounted_for(world: World) -> None:
    for bridge in world.bridges:
        assert (bridge.state == "disposed") == (bridge is not world.bridge)


@pytest.mark.parametrize(("effect", "at"), BEFORE_THE_SWAP, ids=lambda value: str(value))
def test_a_failure_leaves_everything_as_it_was_and_the_next_cycle_succeeds(effect: str, at: int) -> None:
    world = started()
    live = Live.of(world)
    error = OSError(28, "injected")
    world.fail(effect, at, error)
    edit(world)
    world.advance(1)
    assert Live.of(world) == live
    assert live.bridge is not None
    assert world.leftovers == ()
    failure = world.events[-1]
    assert isinstance(failure, ReloadError)
    assert failure.effect == effect
    assert failure.live_generation == 1
    assert failure.error is error or failure.error.__cause__ is error
    assert world.status.stale
    assert_bridges_are_accounted_for(world)
    before = len(world.events)
    world.advance(100)
    assert len(world.events) == before, "bytes that failed are not tried again by themselves"
    assert world.reload_now()
    assert "quantity" in world.files["generated/pricing.py"]
    assert "generated/shop/desk.py" not in world.files
    assert world.status.error is None
    assert_bridges_are_accounted_for(world)


@pytest.mark.parametrize(("effect", "at"), [point for point in POINTS if point not in BEFORE_THE_SWAP], ids=str)
def test_a_failure_after_the_swap_leads_to_a_notice_at_most(effect: str, at: int) -> None:
    world = started()
    world.fail(effect, at)
    edit(world)
    world.advance(1)
    assert world.generation == 2
    assert not world.status.stale
    assert [event.type for event in world.events if event.type == "reload-error"] == []
    assert world.reload_now()


def firsts() -> list[Any]:
    """No failure, and a failure at each point; most of these for those who have the time."""
    often = {*BEFORE_THE_SWAP[::7], BEFORE_THE_SWAP[-1]}
    rest = (pytest.param(point, marks=() if point in often else pytest.mark.torture) for point in BEFORE_THE_SWAP)
    return [None, *rest]


@pytest.mark.parametrize("first", firsts(), ids=str)
def test_an_edit_a_request_and_a_close_at_every_point_of_a_good_and_of_a_failing_cycle(
    first: tuple[str, int] | None,
) -> None:
    later = "def quote(sku: str, quantity: int, late: bool) -> float: ...\n"
    histories = 0
    for effect, at in POINTS:
        for arrival in ("edit", "request", "close"):
            world = started()
            live = Live.of(world)
            asked: list[int] = []
            arrived: list[int] = []
            if first is not None:
                world.fail(*first)

            def arrive(
                world: World = world,
                arrival: str = arrival,
                asked: list[int] = asked,
                arrived: list[int] = arrived,
            ) -> None:
                arrived.append(len(world.events))
                if arrival == "edit":
                    world.write("pricing.py", later)
                elif arrival == "request":
                    asked.append(world.request_reload())
                else:
                    world.close()

            world.at(effect, at, arrive)
            edit(world)
            world.advance(5)
            histories += 1
            if not arrived:
                continue  # the first failure came before this point was reached
            since = world.events[arrived[0] :]
            if arrival == "edit":
                assert any(isinstance(event, Change) for event in since)
                assert any(isinstance(event, ReloadStart) for event in since)
                assert isinstance(world.events[-1], ReloadSuccess)
                assert "late" in world.files["generated/pricing.py"]
                assert_bridges_are_accounted_for(world)
            elif arrival == "request":
                assert world.answer(asked[0]) is True
                assert any(isinstance(event, ReloadStart) and event.manual for event in since)
                assert_bridges_are_accounted_for(world)
            else:
                assert since == []
                assert world.closed
                assert world.bridge is None
                assert all(bridge.state == "disposed" for bridge in world.bridges)
                committed = effect in ("dispose", "watch") or (world.generation == 0 and "quantity" in str(world.files))
                if not committed:
                    assert Live.of(world).wrappers == live.wrappers
            assert world.leftovers == ()
    assert histories == 3 * len(POINTS)


@pytest.mark.parametrize(("effect", "at"), points(), ids=str)
def test_a_start_that_fails_raises_the_error_itself_and_leaves_nothing(effect: str, at: int) -> None:
    world = World({"lastgood.toml": CONFIG, "pricing.py": OLD, "shop/__init__.py": "", "shop/desk.py": ""})
    error = OSError(28, "injected")
    world.fail(effect, at, error)
    if effect in ("dispose", "watch"):
        world.start()
        return
    if len([point for point in START if point[0] == effect]) < at:
        world.start()  # the first cycle has fewer operations than a later one
        return
    with pytest.raises((OSError, PromotionError)) as caught:
        world.start()
    assert caught.value is error or caught.value.__cause__ is error
    assert [event.type for event in world.events] == ["reload-start", "reload-error"]
    assert not any(name.startswith("generated") for name in world.files)
    assert world.leftovers == ()
    assert world.closed
    assert all(bridge.state == "disposed" for bridge in world.bridges)


def test_a_rollback_that_fails_is_told_with_both_errors_and_finished_first_by_the_next_cycle() -> None:
    world = started()
    live = Live.of(world)
    why, worse = OSError("probe"), OSError("rollback")
    world.fail("warm", 3, why)
    world.fail("rollback", 3, worse)
    edit(world)
    world.advance(1)
    told = [event.type for event in world.events[-2:]]
    assert told == ["notice-rollback-failed", "reload-error"]
    assert world.bridge is live.bridge
    assert world.reload_now()
    assert any(event.type == "notice-recovered" for event in world.events)
    assert "quantity" in world.files["generated/pricing.py"]
