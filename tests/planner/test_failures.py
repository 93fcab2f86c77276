"""A cycle that fails is undone, and its last good generation stays live; a stage that hangs is waited for."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from lastgood import effects, watch_events
from lastgood.planner import events, states
from planner_script import (
    ERROR,
    SCHEDULE,
    SETTINGS,
    STOP_ALL,
    A,
    Script,
    first_cycle,
    idle,
    looked,
    rollbacks,
    rolling_back,
    second_cycle,
    src,
)

# --- what fails


@pytest.mark.parametrize(
    ("done", "failed", "undone"),
    [
        ("", effects.Stage(2), ["stage"]),
        ("stage", effects.Promote(2), ["promote", "stage"]),
        ("promote", effects.Warm(2, 60.0), ["warm", "promote", "stage"]),
        ("warm", effects.Swap(2), ["warm", "promote", "stage"]),
    ],
    ids=["stage", "promote", "warm", "swap"],
)
def test_a_failure_undoes_what_was_reached_and_keeps_the_last_good(
    done: str, failed: effects.Stage | effects.Promote | effects.Warm | effects.Swap, undone: list[str]
) -> None:
    script = second_cycle()
    if done:
        script.through(2, done)
    script.send(events.Failed(failed, 0.5, ERROR, at=1000.0), *rollbacks(2, *undone))
    *first, last = rollbacks(2, *undone)
    for rollback in first:
        script.send(events.RolledBack(rollback))
    error = watch_events.ReloadError(2, False, (A,), error=ERROR, effect=failed.name, live_generation=1)
    script.send(events.RolledBack(last), effects.Emit(error), effects.Prepare(1, (A,)))
    assert script.phase() == states.Idle()
    assert script.state.live == states.Generation(1, 1)
    assert script.state.stale == states.Stale(ERROR, 1000.0)


def test_stale_since_is_the_first_of_a_row_of_failures_until_one_succeeds() -> None:
    script = rolling_back()
    script.give(events.RolledBack(effects.Rollback(effects.Stage(2), 10.0)))
    for event in (
        events.ReloadRequested(5),
        looked(src("2")),
        events.Failed(effects.Stage(3), 0.5, ERROR, at=2000.0),
    ):
        script.give(event)
    script.give(events.RolledBack(effects.Rollback(effects.Stage(3), 10.0)))
    assert script.stale_since() == 1000.0, "the first of the row"
    for event in (events.ReloadRequested(6), looked(src("2"))):
        script.give(event)
    script.through(4, "watch", live=1)
    assert script.stale_since() is None
    assert script.state.stale is None
    assert script.state.live == states.Generation(2, 4)


def test_an_undoing_that_fails_is_told_with_both_errors_and_stops_nothing() -> None:
    script = second_cycle().through(2, "stage")
    script.send(events.Failed(effects.Promote(2), 0.5, ERROR, at=1000.0), *rollbacks(2, "promote", "stage"))
    worse = OSError("worse")
    promote, stage = rollbacks(2, "promote", "stage")
    script.send(
        events.RollbackFailed(promote, worse), effects.Emit(watch_events.RollbackFailed("promote", worse, ERROR))
    )
    error = watch_events.ReloadError(2, False, (A,), error=ERROR, effect="promote", live_generation=1)
    script.send(events.RolledBack(stage), effects.Emit(error), effects.Prepare(1, (A,)))


def test_a_start_that_fails_is_told_and_ends_the_session() -> None:
    script = first_cycle()
    script.send(events.Failed(effects.Stage(1), 0.5, ERROR, at=1000.0), *rollbacks(1, "stage"))
    error = watch_events.ReloadError(1, True, (), error=ERROR, effect="stage", live_generation=None)
    script.send(
        events.RolledBack(effects.Rollback(effects.Stage(1), 10.0)),
        effects.Emit(error),
        *STOP_ALL,
        effects.Answer((0,), succeeded=False),
        effects.Release(),
    )
    script.send(events.Released())
    assert script.phase() == states.Closed()


def test_what_was_asked_for_during_a_start_that_fails_is_answered_with_false() -> None:
    script = first_cycle()
    script.send(events.ReloadRequested(5))
    script.send(events.UndoRequested(6))
    script.give(events.Failed(effects.Stage(1), 0.5, ERROR, at=1000.0))
    given = script.give(events.RolledBack(effects.Rollback(effects.Stage(1), 10.0)))
    assert [each for each in given if isinstance(each, effects.Answer)] == [
        effects.Answer((0,), succeeded=False),
        effects.Answer((5, 6), succeeded=False),
    ]


# --- a stage is bounded


def test_a_stage_and_the_wait_for_its_thread_have_the_time_that_was_asked_for() -> None:
    script = Script(replace(SETTINGS, stage_timeout=5.0))
    assert script.give(events.Started(0))[1] == effects.Stage(1, timeout=5.0)
    assert script.give(events.CloseRequested())[-1] == effects.Interrupt()
    script.give(events.Failed(effects.Stage(1, timeout=5.0), 0.5, ERROR, at=1000.0))
    rolled_back = script.give(events.RolledBack(effects.Rollback(effects.Stage(1, timeout=5.0), 10.0)))
    assert rolled_back[-1] == effects.Release(5.0)


def test_a_close_waits_for_a_thread_no_longer_than_a_minute_where_a_stage_may_take_for_ever() -> None:
    script = idle()
    script.state = replace(script.state, settings=replace(SETTINGS, stage_timeout=math.inf))
    assert script.give(events.CloseRequested())[-1] == effects.Release(60.0)


def waited() -> Script:
    """The stage of the third cycle is to have other bytes than that of the second, which hangs, and has only waited for it."""
    script = rolling_back()
    script.give(events.RolledBack(effects.Rollback(effects.Stage(2), 10.0)))
    script.give(events.Observed(src("3")))
    script.give(events.TimerElapsed("debounce"))
    assert script.give(looked(src("3")))[0] == effects.Emit(watch_events.ReloadStart(3, False, (A,)))
    script.send(events.Failed(effects.Stage(3), 0.5, ERROR, at=1000.0, only_waited=True), *rollbacks(3, "stage"))
    return script


WAITED = events.RolledBack(effects.Rollback(effects.Stage(3), 10.0))


def test_what_a_stage_that_only_waited_was_to_have_is_attempted_when_the_thread_is_back() -> None:
    script = waited()
    assert script.give(WAITED)[-1] == effects.Prepare(1, (A,))
    assert script.phase() == states.Idle(), "it does not wait over and over"
    script.send(events.StageReturned(), script.next_look())
    assert script.give(looked(src("3")))[0] == effects.Emit(watch_events.ReloadStart(4, False, (A,)))
    script.send(events.StageReturned())


def test_a_cycle_that_was_asked_for_meanwhile_attempts_them_and_what_is_edited_after_it() -> None:
    script = waited()
    script.give(WAITED)
    script.send(events.ReloadRequested(5), script.next_look())
    script.give(looked(src("3")))
    script.through(4, "swap")
    script.give(events.Observed(src("4")))
    assert script.give(events.Watched(effects.Watch(4), 0.0))[-2:] == SCHEDULE


def test_a_thread_that_is_back_before_the_stage_is_undone() -> None:
    script = waited()
    script.send(events.StageReturned())
    assert script.give(WAITED)[-2:] == SCHEDULE


@pytest.mark.parametrize("when", ["while it waits", "later"])
def test_bytes_that_failed_are_not_tried_again_when_the_thread_is_back(when: str) -> None:
    script = waited()
    reverted = events.Observed(src("2"))
    if when == "later":
        script.give(WAITED)
        script.send(reverted)
    else:
        script.give(reverted)
        script.give(WAITED)
    assert script.phase() == states.Idle()
    script.send(events.StageReturned())


def test_an_edit_does_not_wait_for_the_thread_to_be_back() -> None:
    script = waited()
    script.give(WAITED)
    script.send(events.Observed(src("4")), effects.Emit(watch_events.Change(A)), *SCHEDULE)
    script.send(events.StageReturned())
    assert isinstance(script.phase(), states.Scheduled)
