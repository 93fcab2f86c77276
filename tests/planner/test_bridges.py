"""Bridges that are replaced, lost, restarted and prepared."""

from __future__ import annotations

import dataclasses
import math

import pytest
from msgspec.structs import replace

from lastgood import effects, watch_events
from lastgood.planner import Settings, events, states
from planner_script import (
    ERROR,
    RESTART,
    SCHEDULE,
    SRC,
    STOP,
    STOP_ALL,
    TOO_LONG,
    TOO_MANY,
    A,
    drain,
    idle,
    looked,
    lost,
    restarting,
    rolling_back,
    scheduled,
    second_cycle,
    src,
    swapped,
)


def let_go(broken: int) -> effects.Dispose:
    """What becomes of a broken bridge when a new one is there."""
    return effects.Dispose(broken, 10.0, in_background=True)


# --- bridges that are replaced


def test_a_third_draining_bridge_cuts_the_oldest_off() -> None:
    script = idle()
    for cycle in (2, 3, 4):
        script.give(events.ReloadRequested(cycle))
        script.give(looked(src("1")))
        script.through(cycle, "swap")
        cut_off = (effects.CutOff(1, TOO_MANY),) if cycle == 4 else ()
        script.send(events.Draining(cycle - 1, 0.0), drain(cycle - 1), *cut_off)
        script.give(events.Watched(effects.Watch(cycle), 0.0))
    assert [each.cycle for each in script.state.retired] == [1, 2, 3]
    script.send(events.Disposed(1, 0.0), effects.StopTimer("drain 1"))
    assert [each.cycle for each in script.state.retired] == [2, 3]


def test_a_bridge_that_drains_for_too_long_is_cut_off() -> None:
    script = swapped()
    script.send(events.Draining(1, 0.0), drain(1))
    script.give(events.Watched(effects.Watch(2), 0.0))
    script.send(events.TimerElapsed("drain 1"), effects.CutOff(1, TOO_LONG))
    script.send(events.Disposed(1, 0.0))
    assert script.state.retired == ()


def test_calls_may_drain_for_ever() -> None:
    script = swapped()
    script.state = replace(script.state, settings=Settings(drain_timeout=math.inf))
    script.send(events.Draining(1, 0.0))
    assert script.state.timed == frozenset()


def test_where_calls_may_drain_for_ever_a_third_bridge_cuts_none_off() -> None:
    script = idle()
    script.state = replace(script.state, settings=Settings(drain_timeout=math.inf))
    for cycle in (2, 3, 4):
        script.give(events.ReloadRequested(cycle))
        script.give(looked(src("1")))
        script.through(cycle, "swap")
        script.send(events.Draining(cycle - 1, 0.0))
        script.give(events.Watched(effects.Watch(cycle), 0.0))
    assert [each.cycle for each in script.state.retired] == [1, 2, 3]


def test_a_bridge_without_calls_does_not_count_as_one_that_drains() -> None:
    script = idle()
    script.give(events.Lost(1, ERROR, 1000.0))
    script.give(events.TimerElapsed("restart"))
    script.give(events.Restarted(RESTART, 0.5))
    script.send(events.Draining(-1, 0.0, is_idle=True))
    for cycle in (2, 3):
        script.give(events.ReloadRequested(cycle))
        script.give(looked(src("1")))
        script.through(cycle, "swap")
        script.send(events.Draining(cycle - 1, 0.0), drain(cycle - 1))
        script.give(events.Watched(effects.Watch(cycle), 0.0))


def test_a_broken_bridge_without_calls_cuts_no_other_off() -> None:
    script = idle()
    for cycle in (2, 3):
        script.give(events.ReloadRequested(cycle))
        script.give(looked(src("1")))
        script.through(cycle, "swap")
        script.send(events.Draining(cycle - 1, 0.0), drain(cycle - 1))
        script.give(events.Watched(effects.Watch(cycle), 0.0))
    script.give(events.Lost(3, ERROR, 1000.0))
    script.give(events.TimerElapsed("restart"))
    script.give(events.Restarted(dataclasses.replace(RESTART, bridge=3), 0.5))
    script.send(events.Draining(-1, 0.0, is_idle=True))
    script.send(events.Disposed(-1, 0.0))


def test_a_dispose_that_fails_is_a_notice_that_names_the_generation() -> None:
    script = swapped()
    script.send(events.DisposeFailed(1, 0.5, ERROR), effects.Emit(watch_events.DisposeFailed(1, ERROR)))
    assert isinstance(script.state.phase, states.Running)
    assert script.state.phase.cycle.timings["dispose"] == 0.5
    assert script.state.retired == ()


def test_a_bridge_that_ends_draining_later_does_not_count_into_another_cycle() -> None:
    script = swapped()
    script.send(events.Draining(1, 0.25), drain(1))
    script.give(events.Watched(effects.Watch(2), 0.0))
    script.give(events.ReloadRequested(5))
    script.give(looked(src("2")))
    script.send(events.Disposed(1, 9.0), effects.StopTimer("drain 1"))
    assert isinstance(script.state.phase, states.Running)
    assert script.state.phase.cycle.timings == {}


def test_a_bridge_that_ends_in_the_background_is_waited_for_by_no_cycle() -> None:
    script = idle()
    script.give(events.ReloadRequested(2))
    script.give(looked(src("1")))
    script.through(2, "promote")
    script.give(events.Warmed(effects.Warm(2, 60.0), 2.0, ends_in_background=True))
    script.give(events.Swapped(effects.Swap(2), 0.0))
    script.give(events.Disposed(1, 0.0))
    script.give(events.Watched(effects.Watch(2), 0.0))
    script.give(events.ReloadRequested(3))
    script.give(looked(src("1")))
    script.through(3, "warm")
    dispose = effects.Dispose(2, 10.0, in_background=True)
    script.send(events.Swapped(effects.Swap(3), 0.0), dispose, effects.Watch(3))


# --- a bridge that is lost


def test_a_lost_bridge_is_made_once_more_and_the_status_says_so_meanwhile() -> None:
    script = restarting()
    assert script.staleness() == states.Stale(ERROR, 1000.0)
    script.send(
        events.Restarted(RESTART, 0.5), effects.Emit(watch_events.BridgeRestored(1)), let_go(-1), effects.Prepare(1)
    )
    script.send(events.Draining(-1, 0.0), drain(-1))
    script.send(events.Disposed(-1, 0.0), effects.StopTimer("drain -1"))
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
        restart = dataclasses.replace(RESTART, broken=-1 - number)
        script.send(events.TimerElapsed("restart"), restart)
        script.send(
            events.Restarted(restart, 0.5),
            effects.Emit(watch_events.BridgeRestored(1)),
            let_go(restart.broken),
            effects.Prepare(1),
        )
        script.give(events.Disposed(restart.broken, 0.0))
    script.send(events.Lost(1, ERROR, 1005.0), effects.Emit(watch_events.BridgeLost(1, ERROR, final=True)))
    assert script.phase() == states.Idle()
    script.give(events.Observed(src("2")))
    assert script.phase() == states.Scheduled(), "an edit is worth a try"


def test_at_most_two_drain_after_losses_too_and_the_oldest_is_cut_off() -> None:
    script = idle()
    for number, cut_off in enumerate(((), (), (effects.CutOff(-1, TOO_MANY),), (effects.CutOff(-2, TOO_MANY),))):
        script.give(events.Lost(1, ERROR, 1000.0 + 100 * number))
        restart = dataclasses.replace(RESTART, broken=-1 - number)
        script.send(events.TimerElapsed("restart"), restart)
        script.send(
            events.Restarted(restart, 0.5),
            effects.Emit(watch_events.BridgeRestored(1)),
            let_go(restart.broken),
            effects.Prepare(1),
        )
        script.send(events.Draining(restart.broken, 0.0), drain(restart.broken), *cut_off)
        for each in cut_off:
            script.send(events.Disposed(each.bridge, 0.5), effects.StopTimer(f"drain {each.bridge}"))
    script.send(
        events.DisposeFailed(-3, 0.5, ERROR),
        effects.StopTimer("drain -3"),
        effects.Emit(watch_events.DisposeFailed(1, ERROR)),
    )
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


def test_the_losses_of_a_generation_do_not_count_against_the_next() -> None:
    script = restarting()
    script.give(events.Restarted(RESTART, 0.5))
    script.give(events.ReloadRequested(5))
    script.give(looked(src("2")))
    script.through(2, "watch", live=1)
    assert effects.SetTimer("restart", 0.0) in script.give(events.Lost(2, ERROR, 1002.0))


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
    script.send(events.RestartFailed(RESTART, 0.5, None, 1001.0), script.next_look())
    script.send(looked(src("1")), effects.Emit(watch_events.ReloadStart(2, True, ())), effects.Stage(2))
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


# --- modules that are imported late, and what waits until they are stored

LATE = events.LoadedLate(1, (events.Late("plugin", SRC / "plugin.py", "1"),))


def test_a_restart_waits_until_what_was_loaded_late_is_stored() -> None:
    script = idle()
    for _ in range(2):
        assert effects.Pin(1) in script.give(LATE)
    script.give(events.Lost(1, ERROR, 1000.0))
    script.send(events.TimerElapsed("restart"))
    assert script.phase() == states.Restarting()
    script.send(events.Pinned(1))
    script.send(events.Pinned(1), RESTART)
    script.give(LATE)
    script.send(events.Pinned(1))


def test_a_restart_that_was_asked_for_waits_as_well() -> None:
    script = idle()
    script.give(LATE)
    script.give(events.Lost(1, ERROR, 1000.0))
    script.send(events.TimerElapsed("restart"))
    script.send(events.Pinned(1), RESTART)
    script.give(LATE)
    assert script.state.is_held(RESTART)
    script.send(events.Pinned(1))
    assert not script.state.is_held(RESTART)


def test_a_replaced_bridge_is_kept_until_what_it_has_loaded_late_is_stored() -> None:
    script = second_cycle().through(2, "warm")
    script.give(LATE)
    script.send(events.Swapped(effects.Swap(2), 0.0), script.next_look())
    script.send(events.CloseRequested(), *STOP_ALL, effects.Unpublish())
    script.send(events.Pinned(1), effects.Dispose(1, 10.0), effects.Watch(2))


def test_a_close_waits_until_what_was_loaded_late_is_stored() -> None:
    script = idle()
    script.give(LATE)
    script.send(events.CloseRequested(), *STOP_ALL, effects.Unpublish())
    script.send(events.Pinned(1), effects.Dispose(1, 10.0), effects.Release())


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (events.ReloadRequested(5), (effects.Look(1),)),
        (events.CloseRequested(), (*STOP_ALL, effects.Unpublish())),
    ],
    ids=["reload", "close"],
)
def test_a_restart_that_only_waits_is_given_up_at_once(
    event: events.Event, expected: tuple[effects.Effect, ...]
) -> None:
    script = lost()
    script.give(LATE)
    script.send(events.TimerElapsed("restart"))
    script.send(event, *expected)
    assert RESTART not in script.give(events.Pinned(1))


# --- what the next bridge can take over


def test_a_cycle_that_is_over_has_the_live_bridge_prepare_for_the_next() -> None:
    assert second_cycle().through(2, "dispose", live=1).give(events.Watched(effects.Watch(2), 0.0))[
        -1
    ] == effects.Prepare(2, (A,))
    assert rolling_back().give(events.RolledBack(effects.Rollback(effects.Stage(2), 10.0)))[-1] == effects.Prepare(
        1, (A,)
    ), "it may have given what it had"


def test_nothing_is_prepared_while_a_cycle_is_about_to_start() -> None:
    script = second_cycle()
    script.give(events.ReloadRequested(5))
    assert script.through(2, "dispose", live=1).give(events.Watched(effects.Watch(2), 0.0))[-1] == script.last_look()


def test_a_lost_bridge_prepares_nothing_before_it_is_back() -> None:
    script = second_cycle()
    script.give(events.Lost(1, ERROR, 1000.0))
    script.give(events.Failed(effects.Stage(2), 0.5, ERROR, at=1001.0))
    assert effects.Prepare(1, (A,)) not in script.give(events.RolledBack(effects.Rollback(effects.Stage(2), 10.0)))
    script.send(events.TimerElapsed("restart"), RESTART)
    script.send(
        events.Restarted(RESTART, 0.5),
        effects.Emit(watch_events.BridgeRestored(1)),
        let_go(-1),
        effects.Prepare(1, (A,)),
    )


def test_a_session_that_ends_prepares_nothing() -> None:
    script = swapped()
    script.give(events.CloseRequested())
    script.give(events.Disposed(1, 0.125))
    script.send(events.Watched(effects.Watch(2), 0.0), effects.Dispose(2, 10.0), effects.Release())
