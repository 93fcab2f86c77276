"""What comes in the midst of a cycle, at every operation, with a failure at every other, in the world of lastgood.testing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count, takewhile

import pytest

from lastgood.errors import NothingToUndo, Undone
from lastgood.testing import World
from lastgood.watch_events import BridgeLost, BridgeRestored, ReloadStart
from world_scripts import (
    BEFORE_SWAP,
    GOOD,
    ONE,
    SOURCES,
    THREE,
    TWO,
    Wrappers,
    config,
    edit,
    failures,
    named,
    not_disposed,
    operations,
    start_operations,
    started,
    texts,
    types,
    wrappers,
)

# --- what comes in the midst of a cycle


@pytest.mark.parametrize("point", GOOD, ids=named)
def test_an_edit_in_the_midst_of_any_operation_leads_to_a_cycle_that_starts_after_it(point: tuple[str, int]) -> None:
    world = started()
    edit(world)
    world.at(*point, lambda: world.write("kept.py", THREE))
    world.advance(0.1)
    world.advance(0.1)
    starts = [event for event in world.events if isinstance(event, ReloadStart)]
    assert [start.cycle for start in starts] == [1, 2, 3]
    assert [path.name for path in starts[-1].changed] == ["kept.py"]
    assert world.generation == 3
    assert "y: int" in world.files["generated/kept.py"]
    assert world.bridge is not None
    assert world.bridge.sources["kept"] == THREE


@pytest.mark.parametrize("point", GOOD, ids=named)
def test_a_reload_in_the_midst_of_any_operation_gets_a_cycle_that_starts_after_it(point: tuple[str, int]) -> None:
    world = started()
    edit(world)
    tickets: list[int] = []
    world.at(*point, lambda: tickets.append(world.request_reload()))
    world.advance(0.1)
    assert [world.answer(ticket) for ticket in tickets] == [True]
    assert len([event for event in world.events if isinstance(event, ReloadStart)]) == 3


@pytest.mark.parametrize("point", GOOD, ids=named)
def test_a_close_in_the_midst_of_any_operation_wins(point: tuple[str, int]) -> None:
    world = started()
    before = wrappers(world)
    edit(world)
    told: list[str] = []

    def close() -> None:
        told.extend(types(world))
        world.close()

    world.at(*point, close)
    assert not world.reload_now()
    assert world.closed
    assert types(world) == told
    assert world.bridge is None
    assert not_disposed(world) == []
    assert world.leftovers == ()
    if point in BEFORE_SWAP and point[0] != "swap":
        assert wrappers(world) == before


@pytest.mark.parametrize("point", start_operations(), ids=named)
def test_a_close_in_the_midst_of_a_start_leaves_nothing(point: tuple[str, int]) -> None:
    world = World(SOURCES)
    world.at(*point, world.close)
    with pytest.raises(Exception, match="ended before it had started"):
        world.start()
    assert world.closed
    assert not_disposed(world) == []
    assert world.leftovers == ()
    if point[0] in ("stage", "promote", "warm"):
        assert world.files == SOURCES


# --- every history, up to a depth


@dataclass(frozen=True)
class History:
    """A fault at one operation, and something that comes in the midst of another; None: there is no such thing."""

    fault: tuple[str, int] | None
    arrival: tuple[str, tuple[str, int]] | None

    def __str__(self) -> str:
        return f"fault at {self.fault}, arriving {self.arrival}"


SMALL = {"lastgood.toml": config("kept", "gone"), "kept.py": ONE, "gone.py": ONE}
ARRIVALS: dict[str, Callable[[World], int | None]] = {
    "an edit": lambda world: world.write("kept.py", THREE),
    "a request": World.request_reload,
    "a close": World.close,
    "an undo": World.request_undo,
    "a loss": World.lose_bridge,
}


def play(history: History) -> tuple[World, Wrappers, list[int | None]]:
    """A session whose second cycle meets ``history``. Also the wrappers before it, and the ticket of what arrived."""
    world = started(SMALL)
    before, arrived = wrappers(world), list[int | None]()
    world.write("kept.py", TWO)
    world.write("lastgood.toml", config("kept"))
    if history.arrival is not None:
        what, point = history.arrival
        world.at(*point, lambda: arrived.append(ARRIVALS[what](world)))
    if history.fault is not None:
        world.fail(*history.fault)
    world.advance(0.1)
    return world, before, arrived


def check(history: History) -> bool:
    """Play it, and see to what holds after every history; False if what was to arrive had no occasion to."""
    world, before, arrived = play(history)
    what = "" if history.arrival is None else history.arrival[0]
    if what and not arrived:
        return False
    fatal = history.fault is not None and history.fault in SMALL_POINTS and history.fault[0] not in ("dispose", "watch")
    starts = [event.cycle for event in world.events if isinstance(event, ReloadStart)]
    assert starts == [*range(1, len(starts) + 1)], history
    # What could not be removed after a swap goes at the next start.
    assert world.leftovers == () or (history.fault is not None and history.fault[0] == "watch"), history
    if what == "a close":
        assert world.closed, history
        assert (world.bridge, not_disposed(world)) == (None, []), history
        if [effect for effect, _ in world.operations].count("swap") == 1:
            assert wrappers(world) == before, history
        return True
    assert world.bridge is not None, history
    assert not_disposed(world) == [world.bridge.cycle], history
    if what == "a loss":
        check_loss(world, before, history)
    elif what == "an undo":
        check_undo(world, before, history, arrived[0], possible=not fatal)
    else:
        assert len(failures(world)) == fatal, history
        told = [world.answer(ticket) for ticket in arrived if ticket is not None]
        assert told == [True] * (what == "a request"), history
    if fatal and not what:
        assert (wrappers(world), world.generation) == (before, 1), history
    world.advance(0.1)
    if what == "an edit":
        assert "y: int" in world.files["generated/kept.py"], history
        assert world.bridge.sources["kept"] == THREE, history
    assert world.reload_now(), history
    assert not world.status.stale, history
    assert "generated/gone.py" not in world.files, history
    return True


def check_loss(world: World, before: Wrappers, history: History) -> None:
    """The bridge is back, or a later one is live; after a loss on trial, the generation before is."""
    assert world.bridge is not None
    assert world.bridge.state == "ready", history
    lost = next(event.generation for event in world.events if isinstance(event, BridgeLost))
    if lost == 2:
        assert world.generation == 3, history
        assert isinstance(world.status.error, Undone), history
        assert texts(wrappers(world)) == texts(before), history
    else:
        restored = [event.generation for event in world.events if isinstance(event, BridgeRestored)]
        assert restored == [1] * (world.generation == 1), history


def check_undo(world: World, before: Wrappers, history: History, ticket: int | None, *, possible: bool) -> None:
    """What was live before is live again; where there is nothing to go back to, nothing has changed."""
    assert ticket is not None
    assert world.answer(ticket) is possible, history
    assert texts(wrappers(world)) == texts(before), history
    assert type(world.status.error) is (Undone if possible else NothingToUndo), history
    assert world.generation == (3 if possible else 1), history


def small_points() -> list[tuple[str, int]]:
    world = started(SMALL)
    world.write("kept.py", TWO)
    world.write("lastgood.toml", config("kept"))
    world.advance(0.1)
    return operations(world)


SMALL_POINTS = small_points()


def histories(stride: int) -> Iterator[Iterable[History]]:
    """Each fault alone, each arrival alone, and each fault with each arrival before it or while it is undone.

    In rows, each of which ends where there is no occasion for the arrival any more; of the pairs one in ``stride``.
    """
    yield [History(None, None)]
    yield [History(fault, None) for fault in SMALL_POINTS]
    for what in ARRIVALS:
        yield [History(None, (what, point)) for point in SMALL_POINTS]
        for index, fault in enumerate(SMALL_POINTS):
            yield [History(fault, (what, point)) for point in SMALL_POINTS[index % stride : index + 1 : stride]]
            yield (History(fault, (what, ("rollback", at))) for at in count(1 + index % stride, stride))


@pytest.mark.parametrize(
    "stride", [pytest.param(1, marks=pytest.mark.torture, id="all"), pytest.param(96, id="one pair in ninety-six")]
)
def test_every_history(stride: int, capsys: pytest.CaptureFixture[str]) -> None:
    played = sum(len(list(takewhile(check, row))) for row in histories(stride))
    with capsys.disabled():
        print(f" {played} histories ", end="")
    assert played > 300
