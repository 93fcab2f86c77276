"""A close, in each phase."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from lastgood import effects, watch_events
from lastgood.planner import Settings, events, plan_of_cycle, states
from planner_script import (
    ERROR,
    SETTINGS,
    STOP_ALL,
    TOO_LONG,
    WATCH,
    Script,
    asked,
    closing,
    drain,
    idle,
    interrupted,
    looked,
    looking,
    rollbacks,
    rolling_back,
    scheduled,
    second_cycle,
    src,
    swapped,
    unstarted,
)


@pytest.mark.parametrize("make", [idle, scheduled, looking], ids=lambda make: str(make.__name__))
def test_a_close_between_cycles_lets_everything_go(make: Callable[[], Script]) -> None:
    script = make()
    script.send(events.CloseRequested(), *STOP_ALL, effects.Unpublish(), effects.Dispose(1, 10.0), effects.Release())
    assert script.state.generation == 1, "the last one that was live"


def test_a_close_ends_calls_that_may_drain_for_ever_otherwise() -> None:
    script = swapped()
    script.state = replace(script.state, settings=Settings(drain_timeout=math.inf))
    script.send(events.Draining(1, 0.0))
    script.give(events.Watched(effects.Watch(2), 0.0))
    script.send(
        events.CloseRequested(),
        *STOP_ALL,
        effects.Unpublish(),
        drain(1),
        effects.Dispose(2, 10.0),
        effects.Release(),
    )
    script.send(events.Draining(2, 0.0), drain(2))
    for bridge in (1, 2):
        script.send(events.TimerElapsed(f"drain {bridge}"), effects.CutOff(bridge, TOO_LONG))


def test_calls_that_may_drain_for_ever_do_not_let_a_dispose_hang() -> None:
    plan = plan_of_cycle(Settings(drain_timeout=math.inf), 2, states.Generation(1, 1))
    assert plan.actions[4] == effects.Dispose(1, math.inf, dispose_timeout=10.0)
    assert plan.undo_timeout == 10.0


def test_calls_that_may_not_drain_at_all_leave_a_dispose_its_time() -> None:
    plan = plan_of_cycle(Settings(drain_timeout=0.0), 2, states.Generation(1, 1))
    assert plan.actions[4] == effects.Dispose(1, 0.0, dispose_timeout=0.1)
    assert plan.undo_timeout == 0.1


def test_a_close_before_the_start_leaves_nothing_to_start() -> None:
    script = unstarted()
    script.send(events.CloseRequested(), *STOP_ALL, effects.Unpublish(), effects.Release())
    script.send(events.Started(0), effects.Answer((0,), succeeded=False))
    script.send(events.Released())
    script.send(events.Started(1), effects.Answer((1,), succeeded=False))


@pytest.mark.parametrize(
    ("done", "ended"),
    [
        ("", effects.Stage(2)),
        ("stage", effects.Promote(2)),
        ("promote", effects.Warm(2, 60.0)),
        ("warm", effects.Swap(2)),
    ],
    ids=["stage", "promote", "warm", "swap"],
)
def test_a_close_before_the_swap_undoes_the_cycle_in_silence(
    done: str, ended: effects.Stage | effects.Promote | effects.Warm | effects.Swap
) -> None:
    script = asked()
    script.give(looked(src("1")))
    if done:
        script.through(2, done)
    script.send(events.ReloadRequested(6))
    script.send(
        events.CloseRequested(),
        *STOP_ALL,
        effects.Answer((6,), succeeded=False),
        effects.Unpublish(),
        effects.Interrupt(),
    )
    script.send(events.CloseRequested(), *STOP_ALL, effects.Unpublish())  # a second one interrupts nothing
    *first, last = plan_of_cycle(SETTINGS, 2, states.Generation(1, 1)).undo_through(ended)
    script.send(events.Failed(ended, 0.5, ERROR, at=1000.0), *first, last)
    for rollback in first:
        script.send(events.RolledBack(rollback))
    script.send(
        events.RolledBack(last), effects.Answer((5,), succeeded=False), effects.Dispose(1, 10.0), effects.Release()
    )
    assert script.state.stale is None, "a close is no failure"


@pytest.mark.parametrize("name", ["stage", "promote", "warm"])
def test_a_deed_that_ends_well_in_spite_of_a_close_is_undone(name: str) -> None:
    done = ["stage", "promote", "warm"][: ["stage", "promote", "warm"].index(name) + 1]
    script = second_cycle()
    if done[:-1]:
        script.through(2, done[-2])
    script.give(events.CloseRequested())
    outcomes: dict[str, events.Event] = {
        "stage": events.Staged(effects.Stage(2), 0.5, WATCH, src()),
        "promote": events.Promoted(effects.Promote(2), 0.25, (), ()),
        "warm": events.Warmed(effects.Warm(2, 60.0), 2.0),
    }
    script.send(outcomes[name], *rollbacks(2, *reversed(done)))


def test_a_swap_that_ends_well_in_spite_of_a_close_is_followed_by_the_rest_of_the_cycle() -> None:
    script = asked()
    script.give(looked(src("1")))
    script.through(2, "warm")
    script.send(
        events.CloseRequested(), *STOP_ALL, effects.Unpublish(), effects.Interrupt()
    )  # drops what is left of the cycle
    script.send(events.Swapped(effects.Swap(2), 0.0), effects.Dispose(1, 10.0), effects.Watch(2))
    script.send(events.Disposed(1, 0.0))
    script.send(
        events.Watched(effects.Watch(2), 0.0),
        effects.Answer((5,), succeeded=False),
        effects.Dispose(2, 10.0),
        effects.Release(),
    )


def test_a_close_after_the_swap_lets_the_cycle_end_in_silence() -> None:
    script = swapped()
    script.send(events.CloseRequested(), *STOP_ALL, effects.Unpublish())
    script.send(events.DisposeFailed(1, 0.0, ERROR))
    script.send(events.Watched(effects.Watch(2), 0.0), effects.Dispose(2, 10.0), effects.Release())


def test_a_close_while_a_cycle_is_undone_waits_for_it_in_silence() -> None:
    script = rolling_back()
    script.send(events.CloseRequested(), *STOP_ALL, effects.Unpublish())
    script.send(
        events.RolledBack(effects.Rollback(effects.Stage(2), 10.0)), effects.Dispose(1, 10.0), effects.Release()
    )


def test_after_a_close_nothing_is_told() -> None:
    script = closing()
    script.send(events.Noticed(watch_events.PollingStarted("x")))
    script.send(events.DisposeFailed(1, 0.0, ERROR))
    script.send(events.ReloadRequested(5), effects.Answer((5,), succeeded=False))
    script.send(events.Observed(src("9")))
    assert script.state.retired == ()


def test_a_rollback_that_fails_while_closing_is_not_told() -> None:
    script = interrupted()
    script.give(events.Failed(effects.Stage(2), 0.5, ERROR, at=1000.0))
    script.send(
        events.RollbackFailed(effects.Rollback(effects.Stage(2), 10.0), ERROR),
        effects.Dispose(1, 10.0),
        effects.Release(),
    )


def first_of(script: Script) -> list[effects.Answer]:
    """The answers to the caller that waits for the first good generation, when the session closes and everything ends."""
    given = script.give(events.CloseRequested())
    for _ in range(3):
        match script.phase():
            case states.Running(cycle):
                given += script.give(events.Failed(effects.Stage(cycle.number), 0.5, ERROR, 0.0))
            case states.RollingBack(cycle):
                given += script.give(events.RolledBack(effects.Rollback(effects.Stage(cycle.number), 10.0)))
    return [each for each in given if isinstance(each, effects.Answer) and 0 in each.tickets]


def waiting() -> Script:
    script = Script()
    script.give(events.Started(0, waits=True))
    return script


def test_a_caller_that_waits_for_the_first_good_cycle_is_answered_once() -> None:
    assert first_of(waiting()) == [effects.Answer((0,), False)]


def test_so_it_is_after_the_first_has_failed() -> None:
    script = waiting()
    script.give(events.Failed(effects.Stage(1), 0.5, ERROR, 0.0))
    assert not [
        each
        for each in script.give(events.RolledBack(effects.Rollback(effects.Stage(1), 10.0)))
        if isinstance(each, effects.Answer)
    ]
    assert script.phase() == states.Idle()
    assert first_of(script) == [effects.Answer((0,), False)]


def test_and_while_another_runs() -> None:
    script = waiting()
    script.give(events.Failed(effects.Stage(1), 0.5, ERROR, 0.0))
    script.give(events.RolledBack(effects.Rollback(effects.Stage(1), 10.0)))
    script.give(events.ReloadRequested(7))
    script.give(looked(src()))
    assert isinstance(script.phase(), states.Running)
    assert first_of(script) == [effects.Answer((0,), False)]
