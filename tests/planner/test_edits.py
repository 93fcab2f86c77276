"""Edits and requests for a reload lead to cycles: send this event, expect these effects."""

from __future__ import annotations

import pytest

from lastgood import effects, watch_events
from lastgood.planner import events, states
from lastgood.planner.watch_set import WatchSet
from planner_script import (
    ERROR,
    IDLE_LOOK,
    LIB,
    SCHEDULE,
    SRC,
    STOP,
    WATCH,
    A,
    B,
    asked,
    idle,
    looked,
    looking,
    rollbacks,
    rolling_back,
    scheduled,
    second_cycle,
    src,
    unstarted,
)

# --- edits


def test_a_touch_is_no_edit() -> None:
    script = idle()
    script.send(events.Observed(src("1")))
    assert script.phase() == states.Idle()


def test_an_edit_restarts_the_debounce_and_leaves_max_wait() -> None:
    script = scheduled()
    script.send(events.Observed(src("3")), effects.Emit(watch_events.Change(A)), effects.SetTimer("debounce", 0.1))
    script.send(
        events.Observed(src("3", b="1")), effects.Emit(watch_events.Change(B)), effects.SetTimer("debounce", 0.1)
    )
    script.send(events.Observed(src("3", b="1")))
    script.send(events.TimerElapsed("max-wait"), *STOP, script.next_look())


def test_an_edit_that_is_taken_back_before_the_debounce_is_none() -> None:
    script = scheduled()
    script.send(events.Observed(src("1")), *STOP)
    assert script.phase() == states.Idle()


def test_an_edit_that_is_taken_back_before_the_look_is_none() -> None:
    script = looking()
    script.send(looked(src("1")))
    assert script.phase() == states.Idle()


def test_a_reading_that_began_before_the_look_starts_no_cycle() -> None:
    script = looking()
    script.send(events.Observed(src("3")), effects.Emit(watch_events.Change(A)))
    script.send(
        looked(src("3")),
        effects.Emit(watch_events.ReloadStart(2, False, (A,))),
        effects.Stage(2),
    )


def test_an_edit_that_the_look_finds_is_told_before_the_cycle_and_belongs_to_it() -> None:
    script = looking()
    start = watch_events.ReloadStart(2, False, (A, B))
    script.send(
        looked(src("2", b="1")),
        effects.Emit(watch_events.Change(B)),
        effects.Emit(start),
        effects.Stage(2),
    )


@pytest.mark.parametrize("last", ["stage", "promote", "warm", "swap", "dispose"])
def test_an_edit_while_a_cycle_runs_leads_to_the_next_one(last: str) -> None:
    script = second_cycle().through(2, last, live=1)
    script.send(events.Observed(src("3")), effects.Emit(watch_events.Change(A)))
    script.through(2, "watch", live=1)
    assert script.phase() == states.Scheduled()
    script.send(events.TimerElapsed("debounce"), *STOP, script.next_look())
    script.send(
        looked(src("3")),
        effects.Emit(watch_events.ReloadStart(3, False, (A,))),
        effects.Stage(3),
    )


def test_an_edit_that_is_taken_back_while_a_cycle_runs_still_leads_to_the_next_one() -> None:
    script = second_cycle()
    script.send(events.Observed(src("3")), effects.Emit(watch_events.Change(A)))  # the stage may have read this, ...
    script.send(events.Observed(src("2")))  # ... or this
    script.through(2, "watch", live=1)
    assert script.phase() == states.Scheduled()
    script.send(events.TimerElapsed("debounce"), *STOP, script.next_look())
    script.send(
        looked(src("2")),
        effects.Emit(watch_events.ReloadStart(3, False, (A,))),
        effects.Stage(3),
    )
    script.through(3, "watch", live=2)
    assert script.phase() == states.Idle()


def test_a_file_that_comes_and_goes_while_a_cycle_runs_does_not_lead_to_another() -> None:
    script = second_cycle()
    script.send(events.Observed(src("2", lock="1")), effects.Emit(watch_events.Change(SRC / "lock.py")))
    script.send(events.Observed(src("2")))
    script.through(2, "watch", live=1)
    assert script.phase() == states.Idle()


def test_an_edit_while_a_failed_cycle_is_undone_leads_to_the_next_one() -> None:
    script = rolling_back()
    script.send(events.Observed(src("3")), effects.Emit(watch_events.Change(A)))
    error = watch_events.ReloadError(2, False, (A,), error=ERROR, effect="stage", live_generation=1)
    script.send(
        events.RolledBack(effects.Rollback(effects.Stage(2), 10.0)),
        effects.Emit(error),
        effects.Prepare(1, (A,)),
        *SCHEDULE,
    )


def test_an_edit_that_is_taken_back_while_a_failed_cycle_is_undone_leads_to_the_next_one() -> None:
    """It may have been made while the stage was reading."""
    script = rolling_back()
    script.send(events.Observed(src("3")), effects.Emit(watch_events.Change(A)))
    script.send(events.Observed(src("2")))
    assert script.give(events.RolledBack(effects.Rollback(effects.Stage(2), 10.0)))[-2:] == SCHEDULE


def test_an_edit_of_what_a_stage_has_just_armed_is_found_by_its_own_reading() -> None:
    script = second_cycle()
    script.send(
        events.Observed({**src("2"), LIB: {LIB / "c.py": "new"}})
    )  # read after the stage had armed LIB and read it
    fresh = {**src("2"), LIB: {LIB / "c.py": "old"}}
    script.send(
        events.Staged(effects.Stage(2), 0.5, WatchSet((LIB, SRC)), fresh),
        effects.Emit(watch_events.Change(LIB / "c.py")),
        effects.Promote(2),
    )
    script.through(2, "watch", WatchSet((LIB, SRC)), live=1)
    assert script.phase() == states.Scheduled()
    script.send(events.Observed(fresh))
    assert script.phase() == states.Scheduled(), "the stage may have read what it was in between"


@pytest.mark.parametrize("fails", [False, True], ids=["it succeeds", "it fails"])
def test_bytes_that_were_there_for_the_cycle_alone_are_an_edit(fails: bool) -> None:
    script = second_cycle()
    used = {A: "there for a moment", LIB / "c.py": "of nobody who watches"}
    if fails:
        script.send(
            events.Failed(effects.Stage(2), 0.5, ERROR, at=1000.0, used=used),
            effects.Emit(watch_events.Change(A)),
            *rollbacks(2, "stage"),
        )
        error = watch_events.ReloadError(2, False, (A,), error=ERROR, effect="stage", live_generation=1)
        script.send(
            events.RolledBack(effects.Rollback(effects.Stage(2), 10.0)),
            effects.Emit(error),
            effects.Prepare(1, (A,)),
            *SCHEDULE,
        )
    else:
        script.send(
            events.Staged(effects.Stage(2), 0.5, WATCH, src("2"), used=used),
            effects.Emit(watch_events.Change(A)),
            effects.Promote(2),
        )
        script.send(events.Observed(src("2")))
        script.through(2, "watch", live=1)
    assert script.phase() == states.Scheduled()


def test_bytes_that_the_look_has_seen_are_no_edit() -> None:
    script = second_cycle()
    script.send(events.Staged(effects.Stage(2), 0.5, WATCH, src("2"), used={A: "2"}), effects.Promote(2))


def test_bytes_that_failed_are_not_tried_again_by_themselves() -> None:
    script = rolling_back()
    script.give(events.RolledBack(effects.Rollback(effects.Stage(2), 10.0)))
    assert script.phase() == states.Idle()
    script.send(events.Observed(src("2")))
    script.send(events.Observed(src("1")), effects.Emit(watch_events.Change(A)), *SCHEDULE)


def test_what_a_failed_stage_had_armed_stays_watched() -> None:
    script = second_cycle()
    read = {**src("2"), LIB: {LIB / "c.py": "1"}}
    script.send(events.Failed(effects.Stage(2), 0.5, ERROR, at=1000.0, read=read), *rollbacks(2, "stage"))
    script.give(events.RolledBack(effects.Rollback(effects.Stage(2), 10.0)))
    script.send(
        events.Observed({**src("2"), LIB: {LIB / "c.py": "2"}}),
        effects.Emit(watch_events.Change(LIB / "c.py")),
        *SCHEDULE,
    )


# --- reload_now()


def test_a_reload_looks_first_and_tells_what_it_finds() -> None:
    script = idle()
    script.send(events.ReloadRequested(5), script.next_look())
    start = (effects.Emit(watch_events.Change(A, manual=True)), effects.Emit(watch_events.ReloadStart(2, True, (A,))))
    script.send(looked(src("2")), *start, effects.Stage(2))


def test_a_reload_without_an_edit_runs_a_cycle_all_the_same() -> None:
    script = asked()
    script.send(looked(src("1")), effects.Emit(watch_events.ReloadStart(2, True, ())), effects.Stage(2))
    script.through(2, "dispose", live=1)
    assert script.give(events.Watched(effects.Watch(2), 0.0))[-2:] == (
        effects.Answer((5,), succeeded=True),
        effects.Prepare(2),
    )


def test_a_reload_waits_for_no_timer() -> None:
    script = scheduled()
    script.send(events.ReloadRequested(5), *STOP, script.next_look())


def test_callers_that_wait_together_share_a_cycle() -> None:
    script = asked()
    script.send(events.ReloadRequested(6))
    script.give(looked(src("1")))
    script.through(2, "dispose", live=1)
    assert script.give(events.Watched(effects.Watch(2), 0.0))[-2:] == (
        effects.Answer((5, 6), succeeded=True),
        effects.Prepare(2),
    )


@pytest.mark.parametrize("last", ["stage", "promote", "warm", "swap", "dispose"])
def test_a_reload_asked_for_while_a_cycle_runs_gets_the_next_one(last: str) -> None:
    script = second_cycle().through(2, last, live=1)
    script.send(events.ReloadRequested(5))
    script.through(2, "warm", live=1).give(events.Swapped(effects.Swap(2), 0.0))
    given = script.give(events.Watched(effects.Watch(2), 0.0))
    assert given[-1] == script.last_look()
    assert not [each for each in given if isinstance(each, effects.Answer)]
    script.send(looked(src("2")), effects.Emit(watch_events.ReloadStart(3, True, ())), effects.Stage(3))


def test_an_edit_while_a_cycle_runs_is_the_users_own_though_a_reload_was_asked_for() -> None:
    script = second_cycle()
    script.send(events.ReloadRequested(5))
    script.send(events.Observed(src("3")), effects.Emit(watch_events.Change(A, manual=False)))


def test_a_reload_asked_for_while_a_cycle_is_undone_gets_the_next_one() -> None:
    script = rolling_back()
    script.send(events.ReloadRequested(5))
    assert script.give(events.RolledBack(effects.Rollback(effects.Stage(2), 10.0)))[-1] == script.last_look()


def test_a_reload_asked_for_before_the_start_gets_the_first_cycle() -> None:
    script = unstarted()
    script.send(events.ReloadRequested(5))
    script.send(events.Started(0), effects.Emit(watch_events.ReloadStart(1, True, ())), effects.Stage(1), IDLE_LOOK)
    script.through(1, "swap")
    assert script.give(events.Watched(effects.Watch(1), 0.0))[-2:] == (
        effects.Answer((0, 5), succeeded=True),
        effects.Prepare(1),
    )


def test_a_reload_whose_cycle_fails_is_answered_with_false() -> None:
    script = asked()
    script.give(looked(src("1")))
    script.give(events.Failed(effects.Stage(2), 0.5, ERROR, at=1000.0))
    error = watch_events.ReloadError(2, True, (), error=ERROR, effect="stage", live_generation=1)
    script.send(
        events.RolledBack(effects.Rollback(effects.Stage(2), 10.0)),
        effects.Emit(error),
        effects.Answer((5,), succeeded=False),
        effects.Prepare(1),
    )
