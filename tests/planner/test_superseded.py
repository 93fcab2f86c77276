"""Cycles that take long are superseded by an edit that waits."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from lastgood import effects, watch_events
from lastgood.planner import events, states
from planner_script import (
    ERROR,
    SETTINGS,
    STOP,
    WATCH,
    A,
    B,
    Script,
    looked,
    rollbacks,
    src,
)

DEBOUNCE = effects.SetTimer("debounce", 0.1)
OVERDUE = events.TimerElapsed("supersede")
QUIET = events.TimerElapsed("debounce")
INTERRUPTED = TimeoutError("interrupted")


def start(seconds: float = 5.0) -> Script:
    """The first cycle runs, which ticket 7 waits for; it has been staged."""
    script = Script(replace(SETTINGS, supersede_after=seconds))
    script.give(events.Started(7))
    script.stage(1)
    return script


def second(seconds: float = 5.0) -> Script:
    """The second cycle runs, because of an edit of a.py; it has been staged."""
    script = start(seconds).through(1, "watch")
    script.give(events.Observed(src("2")))
    script.give(QUIET)
    begun = effects.Emit(watch_events.ReloadStart(2, False, (A,)))
    script.send(looked(src("2")), begun, effects.SetTimer("supersede", seconds), effects.Stage(2))
    script.stage(2)
    return script


def edited(script: Script, digest: str = "3") -> Script:
    script.send(events.Observed(src(digest)), effects.Emit(watch_events.Change(A)), DEBOUNCE)
    return script


@pytest.mark.parametrize("last", ["the edit", "the age"])
def test_as_soon_as_a_cycle_is_old_and_an_edit_waits_it_is_superseded(last: str) -> None:
    script = second()
    if last == "the edit":
        script.send(OVERDUE)
        edited(script).send(QUIET, effects.Interrupt())
    else:
        edited(script).send(QUIET)
        script.send(OVERDUE, effects.Interrupt())
    script.send(events.Failed(effects.Warm(2, 60.0), 9.0, INTERRUPTED, 1.0), *rollbacks(2, "warm", "promote", "stage"))
    for rollback in rollbacks(2, "warm", "promote"):
        script.send(events.RolledBack(rollback))
    [stage] = rollbacks(2, "stage")
    superseded = effects.Emit(watch_events.Superseded(2, (A,)))
    script.send(events.RolledBack(stage), superseded, script.next_look())
    assert script.staleness() is None
    begun = effects.Emit(watch_events.ReloadStart(3, False, (A,)))
    script.send(looked(src("3")), begun, effects.SetTimer("supersede", 5.0), effects.Stage(3))


def test_the_next_cycle_has_the_edits_and_the_callers_of_both() -> None:
    script = second()
    script.give(events.ReloadRequested(8))
    script.give(OVERDUE)
    script.give(events.Observed(src("2", b="1")))
    script.give(QUIET)
    script.give(events.Failed(effects.Promote(2), 9.0, INTERRUPTED, 1.0))
    for rollback in rollbacks(2, "promote", "stage"):
        script.give(events.RolledBack(rollback))
    start, *_ = script.give(looked(src("2", b="1")))
    assert start == effects.Emit(watch_events.ReloadStart(3, True, (A, B)))


def test_a_start_is_superseded_and_does_not_end_the_session() -> None:
    script = start()
    script.give(OVERDUE)
    edited(script).send(QUIET, effects.Interrupt())
    script.send(events.Failed(effects.Warm(1, 60.0), 9.0, INTERRUPTED, 1.0), *rollbacks(1, "warm", "promote", "stage"))
    for rollback in rollbacks(1, "warm", "promote"):
        script.give(events.RolledBack(rollback))
    [stage] = rollbacks(1, "stage")
    script.send(events.RolledBack(stage), effects.Emit(watch_events.Superseded(1, ())), script.next_look())
    script.give(looked(src("3")))
    script.stage(2)
    assert effects.Answer((7,), succeeded=True) in script.through(2, "swap").give(events.Watched(effects.Watch(2), 0.0))


def test_an_edit_that_is_not_quiet_yet_waits_for_another_pause() -> None:
    script = edited(second())
    script.send(QUIET)
    edited(script, "4")
    script.send(OVERDUE)
    script.send(QUIET, effects.Interrupt())


def test_an_edit_that_a_stage_finds_counts_too() -> None:
    script = start().through(1, "watch")
    script.give(events.ReloadRequested(8))
    script.give(looked(src("1")))
    script.give(OVERDUE)
    found = events.Staged(effects.Stage(2), 0.5, WATCH, src(), used={A: "2"})
    script.send(found, effects.Emit(watch_events.Change(A)), effects.Promote(2), DEBOUNCE)
    script.send(QUIET, effects.Interrupt())


def test_without_an_edit_a_cycle_may_take_long() -> None:
    script = second()
    script.send(OVERDUE)
    script.send(QUIET)
    script.give(events.ReloadRequested(8))
    script.send(OVERDUE)


def test_what_ends_well_in_spite_of_it_is_undone_too() -> None:
    script = second()
    script.give(OVERDUE)
    edited(script).give(QUIET)
    promoted = events.Promoted(effects.Promote(2), 0.5, (), ())
    script.send(promoted, *rollbacks(2, "promote", "stage"))


def test_a_swap_that_was_not_interrupted_in_time_stands() -> None:
    script = second()
    script.give(events.Promoted(effects.Promote(2), 0.5, (), ()))
    script.give(events.Warmed(effects.Warm(2, 60.0), 0.5))
    script.give(OVERDUE)
    edited(script).send(QUIET, effects.Interrupt())
    look = script.next_look()
    script.send(events.Swapped(effects.Swap(2), 0.0), look, effects.Dispose(1, 10.0), effects.Watch(2))
    script.send(OVERDUE)
    script.give(events.Disposed(1, 0.0))
    success, *_ = script.give(events.Watched(effects.Watch(2), 0.0))
    assert isinstance(success, effects.Emit)
    assert isinstance(success.event, watch_events.ReloadSuccess)
    assert isinstance(script.phase(), states.Scheduled)


def test_after_its_swap_a_cycle_is_not_superseded() -> None:
    script = second().through(2, "swap")
    script.send(OVERDUE)
    script.send(events.Observed(src("3")), effects.Emit(watch_events.Change(A)))
    script.send(QUIET)


def test_between_two_cycles_there_is_nothing_to_supersede() -> None:
    start().through(1, "watch").send(OVERDUE)


def test_an_undo_is_not_superseded() -> None:
    script = start().through(1, "watch")
    script.give(events.UndoRequested(8))
    undo = effects.Stage(2, undo=True)
    start_event = effects.Emit(watch_events.ReloadStart(2, True, ()))
    script.send(looked(src("1")), start_event, undo)
    script.send(OVERDUE)
    script.send(events.Observed(src("3")), effects.Emit(watch_events.Change(A)))
    script.send(QUIET)


def test_with_an_infinite_age_no_cycle_is_superseded() -> None:
    script = start(math.inf).through(1, "watch")
    script.give(events.Observed(src("2")))
    script.send(QUIET, *STOP, script.next_look())
    script.send(looked(src("2")), effects.Emit(watch_events.ReloadStart(2, False, (A,))), effects.Stage(2))
    script.stage(2)
    script.send(events.Observed(src("3")), effects.Emit(watch_events.Change(A)))


def test_a_close_wins() -> None:
    script = second()
    script.give(OVERDUE)
    edited(script).give(QUIET)
    script.give(events.CloseRequested())
    script.give(events.Failed(effects.Warm(2, 60.0), 9.0, INTERRUPTED, 1.0))
    for rollback in rollbacks(2, "warm", "promote"):
        script.send(events.RolledBack(rollback))
    [stage] = rollbacks(2, "stage")
    script.send(events.RolledBack(stage), effects.Dispose(1, 10.0), effects.Release())


def test_a_cycle_that_is_superseded_leaves_the_status_as_it_was() -> None:
    script = second()
    script.give(events.Failed(effects.Promote(2), 0.5, ERROR, 1000.0))
    for rollback in rollbacks(2, "promote", "stage"):
        script.give(events.RolledBack(rollback))
    before = script.staleness()
    assert before is not None
    script.give(events.ReloadRequested(8))
    script.give(looked(src("2")))
    script.give(OVERDUE)
    edited(script).give(QUIET)
    script.give(events.Failed(effects.Stage(3), 9.0, INTERRUPTED, 2000.0))
    script.give(events.RolledBack(effects.Rollback(effects.Stage(3), 10.0)))
    assert script.staleness() == before
    assert isinstance(script.phase(), states.Looking)


# --- the default age


def test_the_age_is_twice_the_longest_of_the_last_five_good_cycles() -> None:
    script = Script(replace(SETTINGS, supersede_after=None))
    assert script.state.supersede_after == 2.0
    script.give(events.Started(7))
    ages = []
    for cycle, seconds in enumerate([0.5, 9.0, 1.0, 1.0, 1.0, 3.0, 0.5], start=1):
        script.stage(cycle)  # half a second
        script.give(events.Promoted(effects.Promote(cycle), 0.5, (), ()))
        script.give(events.Warmed(effects.Warm(cycle, 60.0), seconds))
        script.give(events.Swapped(effects.Swap(cycle), 0.0))
        script.give(events.Watched(effects.Watch(cycle), 100.0))
        ages.append(script.state.supersede_after)
        script.give(events.ReloadRequested(7 + cycle))
        script.give(looked(src("1")))
    assert ages == [3.0, 20.0, 20.0, 20.0, 20.0, 20.0, 8.0]
