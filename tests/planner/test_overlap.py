"""Without overlap, the live bridge makes way for the next one, and is restarted if that comes to nothing."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from lastgood import effects, watch_events
from lastgood.planner import events, plan_of_cycle, states
from lastgood.planner.watch_set import Snapshot
from planner_script import (
    ERROR,
    MAKE_WAY,
    RESTART,
    SETTINGS,
    SRC,
    STOP_ALL,
    TOO_LONG,
    TOO_MANY,
    A,
    Script,
    actions,
    drain,
    first_cycle,
    idle,
    looked,
    making_way,
    restoring,
    rollbacks,
    second_cycle,
    src,
)

FAILED = effects.Emit(watch_events.ReloadError(2, False, (A,), error=ERROR, effect="warm", live_generation=1))
PINNING = events.LoadedLate(1, (events.Late("plugin", SRC / "plugin.py", "1"),))
WARM = effects.Warm(2, 60.0)


def alone() -> Script:
    """Generation 1 is live, and was made without overlap."""
    return first_cycle().through(1, "watch", overlap=False)


def roll_back(script: Script, *names: str) -> tuple[effects.Effect, ...]:
    """Let these rollbacks of cycle 2 succeed; return what follows the last."""
    following: tuple[effects.Effect, ...] = ()
    for rollback in rollbacks(2, *names):
        assert following == ()
        following = script.give(events.RolledBack(rollback))
    return following


def begin(script: Script, cycle: int) -> Script:
    script.give(events.ReloadRequested(cycle))
    script.give(looked(src("1")))
    return script


# --- a cycle that succeeds


def test_the_plan_shows_the_order() -> None:
    plan = plan_of_cycle(SETTINGS, 2, states.Generation(1, 1), overlap=False)
    stage, promote, warm, swap = actions(2)
    assert plan.actions == (stage, promote, MAKE_WAY, warm, swap, effects.Watch(2))
    assert str(plan).splitlines()[5:9] == [
        "  3. dispose  dispose the bridge of cycle 1 when its calls are done, or after 10 s; new calls wait until the swap",
        "              undo: create it again, once all else is undone",
        "  4. warm     create the next bridge, init() and probe it, within 60 s",
        "              undo: dispose the half-prepared bridge",
    ]


def test_the_next_bridge_is_warmed_when_the_live_one_is_gone() -> None:
    script = second_cycle().through(2, "stage", overlap=False)
    script.send(events.Promoted(effects.Promote(2), 0.25, (), ()), MAKE_WAY)
    script.send(events.Draining(1, 0.0), drain(1))
    script.send(events.Disposed(1, 3.0), effects.StopTimer("drain 1"), WARM)
    script.send(events.Warmed(WARM, 2.0), effects.Swap(2))
    script.send(events.Swapped(effects.Swap(2), 0.0, 1000.0), script.next_look(), effects.Watch(2))
    success, *_ = script.give(events.Watched(effects.Watch(2), 0.0))
    assert isinstance(success, effects.Emit)
    assert isinstance(success.event, watch_events.ReloadSuccess)
    assert list(success.event.timings) == ["stage", "promote", "dispose", "warm", "swap", "watch"]
    assert success.event.timings["dispose"] == 3.0
    assert script.state.live == states.Generation(2, 2, 1000.0, 1000.0, overlap=False)
    assert script.state.retired == ()


def test_at_the_start_nothing_makes_way() -> None:
    script = first_cycle().through(1, "stage", overlap=False)
    script.send(events.Promoted(effects.Promote(1), 0.25, (), ()), effects.Warm(1, 60.0))


def test_the_config_of_the_cycle_itself_counts() -> None:
    script = begin(alone(), 2).through(2, "warm")
    script.give(events.Swapped(effects.Swap(2), 0.0))
    assert script.state.retired == (states.Generation(1, 1, overlap=False),), (
        "with overlap, it is disposed after the swap"
    )


def test_a_bridge_that_drains_too_long_is_cut_off() -> None:
    making_way().send(events.TimerElapsed("drain 1"), effects.CutOff(1, TOO_LONG))


def test_a_bridge_without_calls_needs_no_limit_and_neither_does_an_infinite_one() -> None:
    script = second_cycle().through(2, "promote", overlap=False)
    script.send(events.Draining(1, 0.0, is_idle=True))
    script.state = replace(script.state, settings=replace(SETTINGS, drain_timeout=math.inf))
    script.send(events.Draining(1, 0.0))


def test_earlier_bridges_that_still_drain_are_waited_for_too() -> None:
    script = idle()
    for cycle in (2, 3):
        begin(script, cycle).through(cycle, "swap")
        script.give(events.Draining(cycle - 1, 0.0))
        script.give(events.Watched(effects.Watch(cycle), 0.0))
    begin(script, 4).through(4, "promote", overlap=False)
    script.send(events.Draining(3, 0.0), drain(3), effects.CutOff(1, TOO_MANY))
    for bridge in (1, 3):
        script.send(events.Disposed(bridge, 0.5), effects.StopTimer(f"drain {bridge}"))
    script.send(events.Disposed(2, 0.5), effects.StopTimer("drain 2"), effects.Warm(4, 60.0))


def test_a_dispose_that_fails_is_a_notice_and_the_cycle_goes_on() -> None:
    notice = effects.Emit(watch_events.DisposeFailed(1, ERROR))
    making_way().send(events.DisposeFailed(1, 0.5, ERROR), effects.StopTimer("drain 1"), notice, WARM)


def test_what_it_has_imported_late_is_stored_before() -> None:
    script = second_cycle().through(2, "stage", overlap=False)
    script.give(PINNING)
    script.send(events.Promoted(effects.Promote(2), 0.25, (), ()))
    script.send(events.Pinned(1), MAKE_WAY)


def test_what_it_imports_before_its_dispose_has_begun_is_stored_before() -> None:
    script = making_way()
    script.give(PINNING)
    assert script.state.is_held(MAKE_WAY)
    script.send(events.Pinned(1))
    assert not script.state.is_held(MAKE_WAY)


def test_what_its_last_calls_import_late_is_stored_before_another_takes_its_place() -> None:
    script = making_way()
    script.give(PINNING)
    script.send(events.Disposed(1, 0.5), effects.StopTimer("drain 1"))
    script.send(events.Pinned(1), WARM)


def test_that_it_is_lost_meanwhile_is_no_loss() -> None:
    script = making_way()
    script.send(events.Lost(1, ERROR, 1000.0))
    assert script.staleness() is None


# --- a cycle that fails


@pytest.mark.parametrize("name", ["stage", "promote"])
def test_what_fails_before_leaves_the_live_bridge_where_it_is(name: str) -> None:
    script, undone = second_cycle(), ["stage"]
    action: effects.Stage | effects.Promote = effects.Stage(2)
    if name == "promote":
        script.through(2, "stage", overlap=False)
        action, undone = effects.Promote(2), ["promote", "stage"]
    script.give(events.Failed(action, 0.5, ERROR, 1000.0))
    [error, prepare] = roll_back(script, *undone)
    assert name_of_event(error) == "reload-error"
    assert prepare == effects.Prepare(1, (A,))


def name_of_event(effect: effects.Effect) -> str:
    assert isinstance(effect, effects.Emit)
    return effect.event.type


def test_the_former_bridge_is_created_again_when_all_is_undone_and_then_the_failure_is_told() -> None:
    script = restoring()
    assert script.staleness() is None
    script.send(events.Restarted(RESTART, 0.5), FAILED, effects.Prepare(1, (A,)))
    assert script.phase() == states.Idle()
    assert script.staleness() == states.Stale(ERROR, 1000.0)
    assert script.state.live == states.Generation(1, 1)
    assert begin(script, 2).through(3, "stage", overlap=False).give(
        events.Promoted(effects.Promote(3), 0.25, (), ())
    ) == (MAKE_WAY,)


def test_if_that_fails_too_it_is_lost_and_calls_wait_no_longer() -> None:
    script, worse = restoring(), OSError("no fork")
    script.send(
        events.RestartFailed(RESTART, 0.5, worse, 1001.0),
        effects.Refuse(worse),
        FAILED,
        effects.SetTimer("restart", 0.0),
        effects.Emit(watch_events.BridgeLost(1, worse, 0.0)),
    )
    script.send(events.TimerElapsed("restart"), RESTART)
    script.send(
        events.RestartFailed(RESTART, 0.5, worse, 1002.0),
        effects.Refuse(worse),
        effects.Emit(watch_events.BridgeLost(1, worse, 0.5)),
        effects.SetTimer("restart", 0.5),
    )
    script.send(events.TimerElapsed("restart"), RESTART)
    script.send(events.Restarted(RESTART, 0.5), effects.Emit(watch_events.BridgeRestored(1)), effects.Prepare(1, (A,)))
    assert script.state.retired == ()
    assert script.staleness() == states.Stale(ERROR, 1000.0)


def test_a_reload_that_waits_comes_after_that_and_needs_no_bridge_to_make_way() -> None:
    script = restoring()
    script.send(events.ReloadRequested(5))
    lost = effects.Emit(watch_events.BridgeLost(1, ERROR))
    script.send(
        events.RestartFailed(RESTART, 0.5, ERROR, 1001.0), effects.Refuse(ERROR), FAILED, script.next_look(), lost
    )
    script.give(looked(src("2")))
    script.through(3, "stage", overlap=False)
    script.send(events.Promoted(effects.Promote(3), 0.25, (), ()), effects.Warm(3, 60.0))


def test_a_bridge_that_was_lost_before_is_told_to_be_back() -> None:
    script = second_cycle()
    script.give(events.Lost(1, ERROR, 900.0))
    script.through(2, "promote", overlap=False)
    script.give(events.Disposed(1, 0.5))
    script.give(events.Failed(WARM, 0.5, ERROR, at=1000.0))
    assert roll_back(script, "warm", "promote", "stage") == (RESTART,)
    restored = effects.Emit(watch_events.BridgeRestored(1))
    script.send(events.Restarted(RESTART, 0.5), restored, FAILED, effects.Prepare(1, (A,)))
    assert script.state.lost is None


# --- a close


def test_a_close_while_the_live_bridge_makes_way_undoes_the_cycle() -> None:
    script = making_way()
    script.send(events.CloseRequested(), *STOP_ALL, effects.Unpublish(), *rollbacks(2, "promote", "stage"))
    assert roll_back(script, "promote", "stage") == (effects.Release(),)
    script.send(events.Disposed(1, 0.5), effects.StopTimer("drain 1"))


def test_a_close_limits_a_drain_that_had_no_limit() -> None:
    script = second_cycle()
    script.state = replace(script.state, settings=replace(SETTINGS, drain_timeout=math.inf))
    script.through(2, "promote", overlap=False)
    script.send(events.Draining(1, 0.0))
    script.give(events.CloseRequested())
    assert roll_back(script, "promote", "stage") == (drain(1), effects.Release())


def test_a_close_during_the_warm_up_restarts_nothing() -> None:
    script = making_way()
    script.give(events.Disposed(1, 0.5))
    script.send(events.CloseRequested(), *STOP_ALL, effects.Unpublish(), effects.Interrupt())
    script.give(events.Failed(WARM, 0.5, ERROR, 1000.0))
    assert roll_back(script, "warm", "promote", "stage") == (effects.Release(),)


@pytest.mark.parametrize("error", [None, ERROR], ids=["interrupted", "failed"])
def test_a_close_while_the_former_bridge_is_created_again_interrupts_that(error: BaseException | None) -> None:
    script = restoring()
    script.send(events.CloseRequested(), *STOP_ALL, effects.Unpublish(), effects.Interrupt())
    script.send(events.CloseRequested(), *STOP_ALL, effects.Unpublish())
    script.send(events.RestartFailed(RESTART, 0.5, error, 1001.0), effects.Release())


def test_a_bridge_that_is_back_in_spite_of_a_close_is_disposed() -> None:
    script = restoring()
    script.give(events.CloseRequested())
    script.send(events.Restarted(RESTART, 0.5), effects.Dispose(1, 10.0), effects.Release())


def test_a_close_while_that_still_waits_for_a_pin_ends_the_session() -> None:
    script = making_way()
    script.give(PINNING)
    script.give(events.Disposed(1, 0.5))
    script.give(events.CloseRequested())
    assert roll_back(script, "promote", "stage") == ()
    script.send(events.Pinned(1), effects.Release())


def test_a_close_while_the_former_bridge_waits_to_be_created_again() -> None:
    script = failed_again(superseded(making_way()))
    assert isinstance(script.phase(), states.Restoring)
    script.send(events.CloseRequested(), *STOP_ALL, effects.Unpublish(), effects.Release())


# --- a cycle that is superseded


def superseded(script: Script, edit: Snapshot | None = None) -> Script:
    """The second cycle, during which an edit comes, is superseded; the next one begins."""
    script.state = replace(script.state, settings=replace(SETTINGS, supersede_after=1.0))
    script.give(events.TimerElapsed("supersede"))
    script.give(events.Observed(src("3") if edit is None else edit))
    script.send(events.TimerElapsed("debounce"), *rollbacks(2, "promote", "stage"))
    [told, look] = roll_back(script, "promote", "stage")
    assert (name_of_event(told), look) == ("notice-superseded", script.last_look())
    return script


def failed_again(script: Script) -> Script:
    """The cycle after it fails at its stage."""
    script.give(looked(src("3")))
    script.give(events.Failed(effects.Stage(3), 0.5, ERROR, 1000.0))
    script.send(events.RolledBack(effects.Rollback(effects.Stage(3), 10.0)))
    return script


def test_the_next_cycle_waits_for_the_same_bridge() -> None:
    script = superseded(making_way())
    script.give(looked(src("3")))
    script.through(3, "promote", overlap=False)
    script.send(events.Disposed(1, 0.5), effects.StopTimer("drain 1"), effects.Warm(3, 60.0))
    script.give(events.Warmed(effects.Warm(3, 60.0), 2.0))
    script.send(events.Swapped(effects.Swap(3), 0.0), script.next_look(), effects.Watch(3))
    assert script.state.retired == ()


def test_with_an_overlap_the_next_cycle_does_not_wait() -> None:
    script = superseded(making_way())
    script.give(looked(src("3")))
    script.through(3, "stage")
    script.send(events.Promoted(effects.Promote(3), 0.25, (), ()), effects.Warm(3, 60.0))
    script.give(events.Warmed(effects.Warm(3, 60.0), 2.0))
    script.send(events.Swapped(effects.Swap(3), 0.0), script.next_look(), effects.Watch(3))
    assert [each.cycle for each in script.state.retired] == [1]


def test_the_bridge_is_created_again_as_soon_as_it_is_gone_if_the_next_cycle_fails() -> None:
    script = failed_again(superseded(making_way()))
    script.send(events.Disposed(1, 0.5), effects.StopTimer("drain 1"), RESTART)


def gone_again() -> Script:
    """The cycle was because of a file that is gone again: no other is needed."""
    script = idle()
    script.give(events.Observed(src("1", b="1")))
    script.give(events.TimerElapsed("debounce"))
    script.give(looked(src("1", b="1")))
    script.through(2, "promote", overlap=False)
    script.send(events.Draining(1, 0.0), drain(1))
    superseded(script, src("1", b="2"))
    script.send(looked(src("1")))
    return script


def test_the_bridge_is_created_again_if_no_other_cycle_is_needed() -> None:
    script = gone_again()
    assert script.phase() == states.Restarting()
    script.send(events.Disposed(1, 0.5), effects.StopTimer("drain 1"), RESTART)
    script.send(events.Restarted(RESTART, 0.5), effects.Prepare(1, (SRC / "b.py",)))


def test_a_request_ends_that_while_it_waits_and_the_cycle_waits_for_the_same_bridge() -> None:
    script = gone_again()
    script.send(events.ReloadRequested(5), script.next_look())
    script.give(looked(src("1")))
    script.through(3, "promote", overlap=False)
    script.send(events.Disposed(1, 0.5), effects.StopTimer("drain 1"), effects.Warm(3, 60.0))


def test_before_it_has_made_way_a_cycle_that_is_superseded_leaves_it() -> None:
    script = second_cycle().through(2, "stage", overlap=False)
    script.give(PINNING)
    script.give(events.Promoted(effects.Promote(2), 0.25, (), ()))
    superseded(script)
    assert not script.state.away
    script.send(events.Pinned(1))


# --- a bridge that is lost


def test_a_lost_bridge_makes_way_for_the_one_that_takes_its_place() -> None:
    script = alone()
    script.give(events.Lost(1, ERROR, 1000.0))
    script.send(events.TimerElapsed("restart"), MAKE_WAY)
    script.send(events.Draining(1, 0.0), drain(1))
    script.send(events.Disposed(1, 0.5), effects.StopTimer("drain 1"), RESTART)
    script.send(events.Restarted(RESTART, 0.5), effects.Emit(watch_events.BridgeRestored(1)), effects.Prepare(1))
    assert script.state.retired == ()


def test_a_restart_that_waits_for_that_is_ended_by_a_close() -> None:
    script = alone()
    script.give(events.Lost(1, ERROR, 1000.0))
    script.send(events.TimerElapsed("restart"), MAKE_WAY)
    script.send(events.CloseRequested(), *STOP_ALL, effects.Unpublish(), effects.Release())
