"""Transitions of a cycle that is undone, after a failure, for a close, or because an edit supersedes it.

At the end, the live bridge is restarted if it has made way for that of the cycle, unless another cycle begins at once.
"""

from __future__ import annotations

from msgspec.structs import replace

from lastgood import watch_events
from lastgood.effects import Action, Effect, Emit, Promote
from lastgood.planner import bridges, events, phases, runaways
from lastgood.planner.brake import restart_wait
from lastgood.planner.phases import Step, answer, drop_waiting, next_phase, start_looking
from lastgood.planner.states import Cycle, Idle, Restoring, RollingBack, Runaway, Stale, State
from lastgood.planner.watch_set import merge

__all__ = ["restored", "roll_back", "roll_back_waiting", "rolled_back"]


def roll_back(state: State, cycle: Cycle, reached: Action, failure: events.Failed | None) -> Step:
    """Undo the actions of ``cycle`` up to ``reached``."""
    rollbacks = cycle.plan.undo_through(reached)
    return Step(replace(state, phase=RollingBack(cycle, failure, len(rollbacks))), rollbacks)


def roll_back_waiting(state: State, cycle: Cycle) -> Step:
    """Undo ``cycle``, whose files are in place, and which waits until it may warm its bridge."""
    promote = Promote(cycle.number)
    reached = promote if promote in cycle.plan.actions else cycle.plan.actions[0]
    return roll_back(drop_waiting(state), cycle, reached, None)


def rolled_back(state: State, event: events.RolledBack | events.RollbackFailed) -> Step:
    """Go on when a rollback has ended; after the last one, the cycle is over."""
    if not isinstance(state.phase, RollingBack):
        return Step(state)
    cycle, failure, left = state.phase.cycle, state.phase.failure, state.phase.left - 1
    effects: list[Effect] = []
    if isinstance(event, events.RollbackFailed):
        cause = None if failure is None else failure.error
        effects.append(Emit(watch_events.RollbackFailed(event.effect.effect.name, event.error, cause)))
    if left:
        return Step(replace(state, phase=RollingBack(cycle, failure, left)), tuple(effects))
    if cycle.superseded and not state.ending:
        return _begin_instead(state, cycle).preceded_by(*effects)
    if state.away and not state.ending:
        return bridges.restore(replace(state, phase=Restoring(cycle, failure))).preceded_by(*effects)
    return end(state, cycle, failure).preceded_by(*effects)


def restored(state: State, phase: Restoring, event: events.Restarted | events.RestartFailed) -> Step:
    """End the cycle that was rolled back, now that the live bridge is back, or is lost because it could not be restarted."""
    cycle, failure = phase.cycle, phase.failure
    if isinstance(event, events.Restarted):
        step = bridges.restarted(state, event)
        return end(step.state, cycle, failure).preceded_by(*step.effects)
    if event.error is None or state.ending:
        return end(state, cycle, failure)
    step = bridges.not_restarted(state, event.error, event.at)
    ended = end(step.state, cycle, failure)
    wait = restart_wait(step.state.losses) if isinstance(ended.state.phase, Idle) else None
    lost = watch_events.BridgeLost(state.generation, event.error, wait, bridges.blame_of(event.error))
    return Step(ended.state, (*step.effects, *ended.effects, Emit(lost)))


def end(state: State, cycle: Cycle, failure: events.Failed | None) -> Step:
    """Tell that ``cycle`` has come to nothing, and go on."""
    effects: list[Effect] = []
    if failure is not None:
        error_event = watch_events.ReloadError(
            cycle.number,
            cycle.manual,
            cycle.changed,
            error=failure.error,
            effect=failure.effect.name,
            live_generation=None if state.live is None else state.live.number,
        )
        effects.append(Emit(error_event))
        if failure.only_waited:
            state = replace(state, attempted=merge(cycle.attempted, state.attempted), disturbed=cycle.disturbed)
        since = failure.at if state.stale is None else state.stale.since
        state = replace(state, stale=Stale(failure.error, since), runaway=Runaway())
        if state.live is None and not state.first:  # a start has failed
            state = replace(state, ending=True)
            effects += phases.STOP_TIMERS
    effects += answer(tuple(each for each in cycle.tickets if each not in state.first), succeeded=False)
    return next_phase(state).preceded_by(*effects)


def _begin_instead(state: State, cycle: Cycle) -> Step:
    """Begin the cycle that supersedes ``cycle``: it has the edits and the callers of both."""
    waiting = replace(
        state,
        tickets=(*cycle.tickets, *state.tickets),
        attempted=merge(cycle.attempted, state.attempted),
        disturbed=state.disturbed | cycle.disturbed,
        blocked=False,
        runaway=runaways.with_superseded(state.runaway, state.edits),
    )
    superseded = Emit(watch_events.Superseded(cycle.number, cycle.changed))
    if state.following is not None:  # another session leads by now, and what it makes supersedes the cycle
        return next_phase(replace(waiting, attempted={}, disturbed=frozenset())).preceded_by(superseded)
    return start_looking(waiting).preceded_by(superseded)
