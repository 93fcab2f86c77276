"""A cycle without an output directory has no promotion: staged, it goes on to its bridge."""

from __future__ import annotations

from lastgood import effects, watch_events
from lastgood.planner import events, plan_of_cycle, states
from planner_script import ERROR, SETTINGS, WATCH, Script, first_cycle, looked, src

STAGED = events.Staged(effects.Stage(1), 0.5, WATCH, src(), promotes=False)


def live() -> Script:
    """Generation 1 is live, and has no wrappers."""
    script = first_cycle()
    for event in (
        STAGED,
        events.Warmed(effects.Warm(1, 60.0), 2.0, most_draining=3),
        events.Swapped(effects.Swap(1), 0.0),
        events.Watched(effects.Watch(1), 0.0),
    ):
        script.give(event)
    return script


def test_the_plan_has_no_promotion() -> None:
    plan = plan_of_cycle(SETTINGS, 2, states.Generation(1, 1), promotes=False)
    assert [action.name for action in plan.actions] == ["stage", "warm", "swap", "dispose", "watch"]
    assert plan.actions[0] == effects.Stage(2, generates=False)
    assert "read the sources" in str(plan)
    undo = plan_of_cycle(SETTINGS, 2, None, undo=True, promotes=False)
    assert "the previous good generation" in str(undo)


def test_staged_it_is_warmed_and_the_success_names_no_files() -> None:
    script = first_cycle()
    assert script.give(STAGED) == (effects.Warm(1, 60.0),)
    script.give(events.Warmed(effects.Warm(1, 60.0), 2.0))
    script.give(events.Swapped(effects.Swap(1), 0.0))
    told = [
        effect.event
        for effect in script.give(events.Watched(effects.Watch(1), 0.0))
        if isinstance(effect, effects.Emit)
    ]
    (success,) = [event for event in told if isinstance(event, watch_events.ReloadSuccess)]
    assert (success.written, success.touched) == ((), ())


def test_the_next_cycle_expects_no_promotion_either() -> None:
    script = live()
    script.give(events.ReloadRequested(1))
    script.give(looked(src("1")))
    assert isinstance(script.state.phase, states.Running)
    assert effects.Promote(2) not in script.state.phase.cycle.plan.actions


def test_a_failed_warm_up_has_no_promotion_to_undo() -> None:
    script = first_cycle()
    script.give(STAGED)
    rollbacks = script.give(events.Failed(effects.Warm(1, 60.0), 0.0, ERROR, 0.0))
    assert rollbacks == (
        effects.Rollback(effects.Warm(1, 60.0), 10.0),
        effects.Rollback(effects.Stage(1), 10.0),
    )


def test_the_live_bridge_says_how_many_may_drain() -> None:
    script = live()
    generation = script.state.live
    assert generation is not None
    assert (generation.promotes, generation.most_draining) == (False, 3)
