"""Bridges that are replaced, lost, restarted and prepared."""

from __future__ import annotations

from dataclasses import replace

from lastgood import effects, watch_events
from lastgood.planner import events, states
from planner_script import (
    ERROR,
    RESTART,
    SCHEDULE,
    STOP,
    A,
    actions,
    idle,
    restarting,
    rolling_back,
    scheduled,
    second_cycle,
    src,
    swapped,
)

# --- bridges that are replaced


def test_a_third_draining_bridge_cuts_the_oldest_off() -> None:
    script = idle()
    for cycle in (2, 3, 4):
        script.give(events.ReloadRequested(cycle))
        script.give(events.Observed(src("1"), asked=True))
        script.through(cycle, "swap")
        script.send(events.Draining(cycle - 1, 0.0), *((effects.CutOff(1),) if cycle == 4 else ()))
        script.give(events.Watched(effects.Watch(cycle), 0.0))
    assert [each.cycle for each in script.state.retired] == [1, 2, 3]
    script.send(events.Disposed(1, 0.0))
    assert [each.cycle for each in script.state.retired] == [2, 3]


def test_a_dispose_that_fails_is_a_notice_that_names_the_generation() -> None:
    script = swapped()
    script.send(events.DisposeFailed(1, 0.5, ERROR), effects.Emit(watch_events.DisposeFailed(1, ERROR)))
    assert isinstance(script.state.phase, states.Running)
    assert script.state.phase.cycle.timings["dispose"] == 0.5
    assert script.state.retired == ()


def test_a_bridge_that_ends_draining_later_does_not_count_into_another_cycle() -> None:
    script = swapped()
    script.send(events.Draining(1, 0.25))
    script.give(events.Watched(effects.Watch(2), 0.0))
    script.give(events.ReloadRequested(5))
    script.give(events.Observed(src("2"), asked=True))
    script.send(events.Disposed(1, 9.0))
    assert isinstance(script.state.phase, states.Running)
    assert script.state.phase.cycle.timings == {}


# --- a bridge that is lost


def test_a_lost_bridge_is_made_once_more_and_the_status_says_so_meanwhile() -> None:
    script = restarting()
    assert script.staleness() == states.Stale(ERROR, 1000.0)
    script.send(events.Restarted(RESTART, 0.5), effects.Emit(watch_events.BridgeRestored(1)), effects.Prepare(1))
    assert script.phase() == states.Idle()
    assert script.staleness() is None
    assert script.state.live == states.Generation(1, 1)


def test_a_bridge_that_is_lost_again_and_again_is_made_after_longer_waits_and_then_no_more() -> None:
    script = idle()
    for number, wait in enumerate((0.0, 0.5, 1.0, 2.0, 4.0)):
        script.send(
            events.Lost(1, ERROR, 1000.0 + number),
            effects.Emit(watch_events.BridgeLost(1, ERROR, wait)),
            effects.SetTimer("restart", wait),
        )
        restart = replace(RESTART, broken=-1 - number)
        script.send(events.TimerElapsed("restart"), restart)
        script.send(events.Restarted(restart, 0.5), effects.Emit(watch_events.BridgeRestored(1)), effects.Prepare(1))
    script.send(events.Lost(1, ERROR, 1005.0), effects.Emit(watch_events.BridgeLost(1, ERROR, None)))
    assert script.phase() == states.Idle()
    script.give(events.Observed(src("2")))
    assert script.phase() == states.Scheduled(), "an edit is worth a try"


def test_at_most_two_drain_after_losses_too_and_the_oldest_is_cut_off() -> None:
    script = idle()
    for number, cut_off in enumerate(((), (), (effects.CutOff(-1),), (effects.CutOff(-2),))):
        script.give(events.Lost(1, ERROR, 1000.0 + 100 * number))
        restart = replace(RESTART, broken=-1 - number)
        script.send(events.TimerElapsed("restart"), restart)
        script.send(
            events.Restarted(restart, 0.5, draining=True),
            effects.Emit(watch_events.BridgeRestored(1)),
            *cut_off,
            effects.Prepare(1),
        )
        if cut_off:
            script.send(events.Disposed(cut_off[0].bridge, 0.5))
    script.send(events.DisposeFailed(-3, 0.5, ERROR), effects.Emit(watch_events.DisposeFailed(1, ERROR)))
    assert [each.cycle for each in script.state.retired] == [-4]


def test_losses_are_forgotten_after_a_minute() -> None:
    script = idle()
    for at in (1000.0, 1061.0):
        script.send(
            events.Lost(1, ERROR, at),
            effects.Emit(watch_events.BridgeLost(1, ERROR, 0.0)),
            effects.SetTimer("restart", 0.0),
        )
        script.give(events.TimerElapsed("restart"))
        script.give(events.Restarted(RESTART, 0.5))


def test_a_restart_that_fails_counts_like_a_loss() -> None:
    script = restarting()
    worse = OSError("no fork")
    script.send(
        events.RestartFailed(RESTART, 0.5, worse, 1001.0),
        effects.Emit(watch_events.BridgeLost(1, worse, 0.5)),
        effects.SetTimer("restart", 0.5),
    )
    assert script.staleness() == states.Stale(ERROR, 1000.0)


def test_what_leads_to_a_cycle_ends_a_restart_and_the_cycle_replaces_the_bridge() -> None:
    script = restarting()
    script.send(events.ReloadRequested(5), effects.Interrupt())
    script.send(events.RestartFailed(RESTART, 0.5, None, 1001.0), effects.Look())
    script.send(
        events.Observed(src("1"), asked=True), effects.Emit(watch_events.ReloadStart(2, True, ())), *actions(2, live=1)
    )
    script.through(2, "watch", live=1)
    assert script.phase() == states.Idle()
    assert script.state.lost is None


def test_a_cycle_that_fails_leaves_a_lost_bridge_to_be_made_once_more() -> None:
    script = second_cycle()
    script.send(events.Lost(1, ERROR, 1000.0), effects.Emit(watch_events.BridgeLost(1, ERROR)))
    script.give(events.Failed(effects.Stage(2), 0.5, ERROR, at=1001.0))
    error = watch_events.ReloadError(2, False, (A,), error=ERROR, effect="stage", live_generation=1)
    script.send(
        events.RolledBack(effects.Rollback(effects.Stage(2), 10.0)),
        effects.Emit(error),
        effects.SetTimer("restart", 0.0),
    )


def test_an_edit_that_is_taken_back_leaves_a_lost_bridge_to_be_made_once_more() -> None:
    script = scheduled()
    script.send(events.Lost(1, ERROR, 1000.0), effects.Emit(watch_events.BridgeLost(1, ERROR)))
    script.send(events.Observed(src("1")), *STOP, effects.SetTimer("restart", 0.0))


def test_edits_during_a_restart_end_it_when_they_have_settled() -> None:
    script = restarting()
    script.send(events.Observed(src("2")), effects.Emit(watch_events.Change(A)), effects.SetTimer("debounce", 0.1))
    script.send(events.TimerElapsed("debounce"), effects.Interrupt())
    script.send(events.RestartFailed(RESTART, 0.5, None, 1001.0), *SCHEDULE)


def test_a_close_during_a_restart_ends_the_session() -> None:
    script = restarting()
    script.give(events.CloseRequested())
    script.send(events.RestartFailed(RESTART, 0.5, None, 1001.0), effects.Dispose(1, 10.0), effects.Release())


# --- what the next bridge can take over


def test_a_cycle_that_is_over_has_the_live_bridge_prepare_for_the_next() -> None:
    assert second_cycle().through(2, "dispose", live=1).give(events.Watched(effects.Watch(2), 0.0))[
        -1
    ] == effects.Prepare(2)
    assert rolling_back().give(events.RolledBack(effects.Rollback(effects.Stage(2), 10.0)))[-1] == effects.Prepare(1), (
        "it may have given what it had"
    )


def test_nothing_is_prepared_while_a_cycle_is_about_to_start() -> None:
    script = second_cycle()
    script.give(events.ReloadRequested(5))
    assert script.through(2, "dispose", live=1).give(events.Watched(effects.Watch(2), 0.0))[-1] == effects.Look()


def test_a_lost_bridge_prepares_nothing_before_it_is_back() -> None:
    script = second_cycle()
    script.give(events.Lost(1, ERROR, 1000.0))
    script.give(events.Failed(effects.Stage(2), 0.5, ERROR, at=1001.0))
    assert effects.Prepare(1) not in script.give(events.RolledBack(effects.Rollback(effects.Stage(2), 10.0)))
    script.send(events.TimerElapsed("restart"), RESTART)
    script.send(events.Restarted(RESTART, 0.5), effects.Emit(watch_events.BridgeRestored(1)), effects.Prepare(1))


def test_a_session_that_ends_prepares_nothing() -> None:
    script = swapped()
    script.give(events.CloseRequested())
    script.give(events.Disposed(1, 0.125))
    script.send(events.Watched(effects.Watch(2), 0.0), effects.Dispose(2, 10.0), effects.Release())
