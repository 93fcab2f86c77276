"""A file that changes with each reload starts no more of them after a while."""

from __future__ import annotations

import pytest

from lastgood import effects, watch_events
from lastgood.errors import RunawayError
from lastgood.planner import events, states
from planner_script import STOP, WATCH, A, Script, idle, looked, src

FIVE = effects.SetTimer("quiet", 5.0)
B = A.with_name("b.py")


def cycle(script: Script, edited: dict[str, str], during: dict[str, str], *, found: str = "warming") -> None:
    """Run a cycle because of ``edited``, during whose warm-up the files become ``during``.

    The watcher finds that while the bridge warms up, or by the reading after the swap.
    """
    if isinstance(script.phase(), states.Idle):
        script.give(events.Observed(src(**edited)))
    script.give(events.TimerElapsed("debounce"))
    script.give(looked(src(**edited)))
    assert isinstance(script.phase(), states.Running)
    number = script.state.cycle
    script.give(events.Staged(effects.Stage(number), 0.5, WATCH, src(**edited)))
    script.give(events.Promoted(effects.Promote(number), 0.25, (), ()))
    if found == "warming":
        script.give(events.Observed(src(**during), script.state.looks))
    script.give(events.Warmed(effects.Warm(number, 60.0), 1.0))
    script.give(events.Swapped(effects.Swap(number), 0.0, 1000.0 + number))
    script.give(events.Observed(src(**during), script.state.looks))
    script.give(events.Disposed(number - 1, 0.0))
    script.give(events.Watched(effects.Watch(number), 0.0))


def runaway(times: int = 5, found: str = "warming") -> Script:
    """So many cycles ran, each of which changed ``b.py``, and but for the first that alone had caused it."""
    script = idle()
    for number in range(times + 1):
        cycle(script, {"a": "2", "b": str(number)}, {"a": "2", "b": str(number + 1)}, found=found)
    return script


def stopped() -> Script:
    script = runaway()
    script.give(events.TimerElapsed("debounce"))
    script.give(looked(src("2", b="6")))
    return script


@pytest.mark.parametrize("found", ["warming", "swapped"])
def test_after_five_cycles_that_it_caused_alone_it_causes_no_further_one(found: str) -> None:
    script = runaway(found=found)
    assert isinstance(script.phase(), states.Scheduled)
    script.send(events.TimerElapsed("debounce"), *STOP, script.next_look())
    script.send(looked(src("2", b="6")), effects.Emit(watch_events.Runaway((B,), 5)), FIVE)
    assert isinstance(script.phase(), states.Idle)
    staleness = script.staleness()
    assert staleness is not None
    assert isinstance(staleness.error, RunawayError)
    assert staleness.error.files == (B,)
    assert staleness.since == 1007.0


def test_four_cycles_are_not_enough() -> None:
    script = runaway(4)
    script.give(events.TimerElapsed("debounce"))
    start, *_ = script.give(looked(src("2", b="5")))
    assert start == effects.Emit(watch_events.ReloadStart(7, False, (B,)))


def test_edits_that_come_after_the_swap_are_the_users() -> None:
    script = idle()
    for number in range(9):
        cycle(script, {"a": str(number + 2)}, {"a": str(number + 2)})
    script.give(events.Observed(src("99")))
    script.give(events.TimerElapsed("debounce"))
    start, *_ = script.give(looked(src("99")))
    assert start == effects.Emit(watch_events.ReloadStart(11, False, (A,)))


def test_a_cycle_with_another_cause_begins_the_count_anew() -> None:
    script = runaway(4)
    cycle(script, {"a": "3", "b": "5"}, {"a": "3", "b": "6"})
    for number in range(6, 10):
        cycle(script, {"a": "3", "b": str(number)}, {"a": "3", "b": str(number + 1)})
    assert script.staleness() is None
    cycle(script, {"a": "3", "b": "10"}, {"a": "3", "b": "11"})
    script.give(events.TimerElapsed("debounce"))
    assert effects.Emit(watch_events.Runaway((B,), 5)) in script.give(looked(src("3", b="11")))


def test_a_request_is_no_runaway() -> None:
    script = runaway()
    script.give(events.ReloadRequested(9))
    start, *_ = script.give(looked(src("2", b="6")))
    assert start == effects.Emit(watch_events.ReloadStart(8, True, (B,)))


def test_its_changes_start_nothing_and_are_not_told() -> None:
    script = stopped()
    script.send(events.Observed(src("2", b="7")), FIVE)
    script.send(events.Observed(src("2", b="8")), FIVE)
    assert isinstance(script.phase(), states.Idle)
    assert script.staleness() is not None


@pytest.mark.parametrize("by", ["another file", "a request", "its change after a while"])
def test_it_goes_on_with(by: str) -> None:
    script = stopped()
    match by:
        case "another file":
            script.give(events.Observed(src("3", b="6")))
            script.give(events.TimerElapsed("debounce"))
            start, *_ = script.give(looked(src("3", b="6")))
        case "a request":
            script.give(events.ReloadRequested(9))
            start, *_ = script.give(looked(src("2", b="6")))
        case _:
            script.send(events.TimerElapsed("quiet"))
            assert isinstance(script.phase(), states.Idle), "a pause alone starts nothing"
            script.give(events.Observed(src("2", b="7")))
            script.give(events.TimerElapsed("debounce"))
            start, *_ = script.give(looked(src("2", b="7")))
    assert isinstance(start, effects.Emit)
    assert isinstance(start.event, watch_events.ReloadStart)
    assert script.staleness() is not None, "until that has succeeded"
    number = script.state.cycle
    script.through(number, "swap")
    assert script.staleness() is None


def test_a_lost_bridge_is_restarted_meanwhile() -> None:
    script = stopped()
    script.give(events.Lost(7, ValueError(), 5000.0))
    script.give(events.TimerElapsed("restart"))
    restart = effects.Restart(7, 60.0)
    script.send(events.Observed(src("2", b="7")), FIVE)
    script.give(events.Restarted(restart, 0.5))
    assert isinstance(script.phase(), states.Idle)
