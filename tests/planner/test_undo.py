"""Going back to the generation before: on request, and when a bridge is lost on probation."""

from __future__ import annotations

from lastgood import effects, watch_events
from lastgood.errors import Undone, WorkerDied
from lastgood.planner import events, states
from planner_script import ERROR, WATCH, A, Script, first_cycle, looked, name_of, second_cycle, src


def undo_deeds(cycle: int) -> tuple[effects.Action, ...]:
    return (effects.Stage(cycle, undo=True),)


def on_probation() -> Script:
    """Generation 2 is live since the second 1000, on trial for 5 seconds."""
    script = second_cycle()
    script.give(events.Staged(effects.Stage(2), 0.5, WATCH, src("2"), previous=True, probation=5.0))
    for event in (
        events.Promoted(effects.Promote(2), 0.5, (), ()),
        events.Warmed(effects.Warm(2, 60.0), 0.5),
        events.Swapped(effects.Swap(2), 0.0, 1000.0),
    ):
        script.give(event)
    script.give(events.Disposed(1, 0.0))
    script.give(events.Watched(effects.Watch(2), 0.0))
    assert script.phase() == states.Idle()
    return script


def through_undo(script: Script, live: int) -> tuple[effects.Effect, ...]:
    script.give(events.Staged(effects.Stage(3, undo=True), 0.5, WATCH, src(), previous=True, probation=5.0))
    for event in (
        events.Promoted(effects.Promote(3), 0.5, (), ()),
        events.Warmed(effects.Warm(3, 60.0), 0.5),
        events.Swapped(effects.Swap(3), 0.0, 2000.0),
    ):
        script.give(event)
    script.give(events.Disposed(live, 0.0))
    return script.give(events.Watched(effects.Watch(3), 0.0))


def test_an_undo_is_a_cycle_that_leaves_the_status_stale_until_one_succeeds() -> None:
    script = on_probation()
    script.send(events.UndoRequested(7), script.next_look())
    script.send(
        looked(src("2")),
        effects.Emit(watch_events.ReloadStart(3, True, ())),
        *undo_deeds(3),
    )
    notice, success, answer, prepare = through_undo(script, live=2)
    assert notice == effects.Emit(watch_events.GenerationUndone(2, None))
    assert name_of(success) == "reload-success"
    assert answer == effects.Answer((7,), succeeded=True)
    assert prepare == effects.Prepare(3, (A,))
    assert script.state.generation == 3
    assert script.state.stale is not None
    assert isinstance(script.state.stale.error, Undone)
    assert script.state.stale.error.generation == 2
    assert script.stale_since() == 2000.0
    script.send(events.Observed(src("2")))
    assert script.phase() == states.Idle(), "what was undone is not tried again by itself"
    script.give(events.ReloadRequested(8))
    script.give(looked(src("2")))
    script.through(4, "watch", live=3)
    assert script.stale_since() is None


def test_an_undo_attempts_no_edit_and_so_loses_none() -> None:
    script = on_probation()
    script.give(events.Observed(src("3")))
    script.give(events.UndoRequested(7))
    script.send(
        looked(src("3")),
        effects.Emit(watch_events.ReloadStart(3, True, ())),
        *undo_deeds(3),
    )
    through_undo(script, live=2)
    assert script.phase() == states.Scheduled()


def test_requests_are_served_in_the_order_they_came() -> None:
    script = on_probation()
    for event in (events.ReloadRequested(7), events.UndoRequested(8), events.ReloadRequested(9)):
        script.give(event)
    script.send(looked(src("2")), effects.Emit(watch_events.ReloadStart(3, True, ())), effects.Stage(3))
    assert isinstance(script.state.phase, states.Running)
    assert script.state.phase.cycle.tickets == (7, 9), "those who wait for a reload share one"
    script.through(3, "watch", live=2)
    script.send(
        looked(src("2")),
        effects.Emit(watch_events.ReloadStart(4, True, ())),
        *undo_deeds(4),
    )


def test_each_undo_that_is_asked_for_is_a_cycle_of_its_own() -> None:
    script = on_probation()
    for ticket in (7, 8):
        script.give(events.UndoRequested(ticket))
    script.give(looked(src("2")))
    *_, answer, look = through_undo(script, live=2)
    assert (answer, look) == (effects.Answer((7,), succeeded=True), script.last_look())
    script.send(looked(src("2")), effects.Emit(watch_events.ReloadStart(4, True, ())), *undo_deeds(4))


def test_a_bridge_that_is_lost_on_trial_brings_the_generation_before_back() -> None:
    script = on_probation()
    script.send(events.Lost(2, ERROR, 1004.0), effects.Emit(watch_events.BridgeLost(2, ERROR)), script.next_look())
    script.send(
        looked(src("2")),
        effects.Emit(watch_events.ReloadStart(3, False, ())),
        *undo_deeds(3),
    )
    notice, *_ = through_undo(script, live=2)
    assert notice == effects.Emit(watch_events.GenerationUndone(2, ERROR))
    assert script.state.stale is not None
    assert isinstance(script.state.stale.error, Undone)
    assert script.state.stale.error.reason is ERROR
    script.send(
        events.Lost(3, ERROR, 2001.0),
        effects.Emit(watch_events.BridgeLost(3, ERROR, 0.0)),
        effects.SetTimer("restart", 0.0),
    )


def test_a_place_that_is_lost_on_trial_undoes_nothing() -> None:
    killed = WorkerDied(-9, "")
    script = on_probation()
    script.send(
        events.Lost(2, killed, 1004.0),
        effects.Emit(watch_events.BridgeLost(2, killed, 0.0, "place")),
        effects.SetTimer("restart", 0.0),
    )


def test_after_its_trial_a_bridge_that_is_lost_is_made_once_more() -> None:
    on_probation().send(
        events.Lost(2, ERROR, 1005.0),
        effects.Emit(watch_events.BridgeLost(2, ERROR, 0.0)),
        effects.SetTimer("restart", 0.0),
    )


def test_an_undo_by_loss_that_fails_leaves_the_bridge_to_be_made_once_more() -> None:
    script = on_probation()
    script.give(events.Lost(2, ERROR, 1004.0))
    script.give(looked(src("2")))
    worse = OSError("damaged")
    stage = effects.Stage(3, undo=True)
    script.send(events.Failed(stage, 0.5, worse, at=1005.0), effects.Rollback(stage, 10.0))
    error = watch_events.ReloadError(3, False, (), error=worse, effect="stage", live_generation=2)
    script.send(events.RolledBack(effects.Rollback(stage, 10.0)), effects.Emit(error), effects.SetTimer("restart", 0.0))


def test_the_first_generation_of_a_session_is_not_on_trial() -> None:
    script = first_cycle()
    script.give(events.Staged(effects.Stage(1), 0.5, WATCH, src("2"), previous=True, probation=5.0))
    for event in (
        events.Promoted(effects.Promote(1), 0.5, (), ()),
        events.Warmed(effects.Warm(1, 60.0), 0.5),
        events.Swapped(effects.Swap(1), 0.0, 1000.0),
    ):
        script.give(event)
    script.give(events.Watched(effects.Watch(1), 0.0))
    script.send(
        events.Lost(1, ERROR, 1001.0),
        effects.Emit(watch_events.BridgeLost(1, ERROR, 0.0)),
        effects.SetTimer("restart", 0.0),
    )
