"""Transitions of a cycle that is undone, after a failure, for a close, or because an edit supersedes it."""

from __future__ import annotations

from dataclasses import replace

from lastgood import watch_events
from lastgood.effects import Action, Effect, Emit
from lastgood.planner import events, phases, runaways
from lastgood.planner.phases import Step, answer, next_phase, start_looking
from lastgood.planner.states import Cycle, RollingBack, Runaway, Stale, State
from lastgood.planner.watch_set import merge

__all__ = ["roll_back", "rolled_back"]


def roll_back(state: State, cycle: Cycle, reached: Action, failure: events.Failed | None) -> Step:
    """Undo the actions of ``cycle`` up to ``reached``."""
    rollbacks = cycle.plan.undo_through(reached)
    return Step(replace(state, phase=RollingBack(cycle, failure, len(rollbacks))), rollbacks)


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
        if state.live is None:  # a start has failed
            state = replace(state, ending=True)
            effects += phases.STOP_TIMERS
    effects += answer(cycle.tickets, succeeded=False)
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
    return start_looking(waiting).preceded_by(Emit(watch_events.Superseded(cycle.number, cycle.changed)))
