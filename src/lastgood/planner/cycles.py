"""Transitions of a cycle, from its beginning to its success, or to the failure of an action."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import assert_never

from msgspec.structs import replace

from lastgood import watch_events
from lastgood.effects import (
    Action,
    Arm,
    Effect,
    Emit,
    LeaderGeneration,
    Plan,
    Promote,
    SetTimer,
    Stage,
    Swap,
    Warm,
    Watch,
)
from lastgood.planner import events, phases, rollback, runaways, superseding
from lastgood.planner.phases import (
    Step,
    answer,
    dispose_of,
    idle_look,
    look,
    make_way,
    next_phase,
    next_undo,
    start_looking,
    when_pinned,
)
from lastgood.planner.settings import Settings
from lastgood.planner.states import (
    KEPT_DURATIONS,
    Cycle,
    Generation,
    Idle,
    Runaway,
    Running,
    Stale,
    State,
)
from lastgood.planner.watch_set import differing, merge, overlay, restrict

__all__ = ["adopt", "begin", "cycle_of", "done", "failed", "plan_of_cycle", "stage_returned"]

_NOTHING_PROMOTED = events.Promoted(Promote(0), 0.0, (), ())
"""Stands for the promotion of a cycle that has no output directory."""


def plan_of_cycle(
    settings: Settings,
    number: int,
    live: Generation | None,
    *,
    undo: bool = False,
    overlap: bool = True,
    promotes: bool = True,
    adopts: LeaderGeneration | None = None,
) -> Plan:
    """Return the plan of cycle ``number``, with its actions in order, when the bridge of ``live`` is there.

    ``undo``: the cycle restores the previous generation. Without ``overlap``, that bridge makes way for the next one.
    ``promotes``: there is an output directory. ``adopts``: the cycle takes over this generation, whose wrappers another session
    has promoted.
    """
    stage = Stage(number, undo, settings.stage_timeout, adopts, promotes)
    files: tuple[Action, ...] = (stage, Promote(number)) if promotes and adopts is None else (stage,)
    bridge = (Warm(number, settings.warm_timeout), Swap(number))
    actions: tuple[Action, ...]
    if live is None:
        actions = (*files, *bridge)
    elif overlap:
        actions = (*files, *bridge, dispose_of(settings, live))
    else:
        actions = (*files, dispose_of(settings, live, makes_way=True), *bridge)
    return Plan(number, (*actions, Watch(number, settings.stage_timeout)), settings.dispose_timeout)


def _plan_of_next(
    state: State,
    number: int,
    *,
    undo: bool,
    staged: events.Staged | None = None,
    adopts: LeaderGeneration | None = None,
) -> Plan:
    """Return the plan of the next cycle, or of the one that has ``staged``. Before that the config may come to say otherwise."""
    live = None if state.away else state.live
    known = staged or state.live
    overlap, promotes = (True, True) if known is None else (known.overlap, known.promotes)
    return plan_of_cycle(state.settings, number, live, undo=undo, overlap=overlap, promotes=promotes, adopts=adopts)


def begin(state: State) -> Step:
    """Begin the next cycle."""
    before, number = state, state.cycle + 1
    undoes = next_undo(state)
    cycle_plan = _plan_of_next(state, number, undo=undoes is not None)
    if undoes is None:
        cycle = Cycle(number, bool(state.tickets), state.edits, state.tickets, cycle_plan)
        edited = cycle.changed or state.edited
        state = replace(state, attempted=state.observed, disturbed=frozenset(), tickets=(), edited=edited)
    elif undoes.reason is None:
        cycle = Cycle(number, True, (), state.undos[:1], cycle_plan, undoes)
        state = replace(state, undos=state.undos[1:])
    else:
        cycle = Cycle(number, False, (), (), cycle_plan, undoes)
        state = replace(state, lost=None if state.lost is None else replace(state.lost, failed_probation=False))
    if state.runaway.stopped:
        state = replace(state, runaway=Runaway())
    cycle = replace(cycle, attempted=before.attempted, disturbed=before.disturbed)
    begun = replace(state, phase=Running(cycle), cycle=number, blocked=False)
    start = Emit(watch_events.ReloadStart(number, cycle.manual, cycle.changed))
    timer = (SetTimer(phases.SUPERSEDE, state.supersede_after),) if superseding.may_be_superseded(state, cycle) else ()
    return Step(begun, (start, *timer, *cycle_plan.actions[:1]))


def adopt(state: State, good: LeaderGeneration) -> Step:
    """Begin a cycle that takes over a generation of the session that leads, under its number unless that was used before."""
    number = good.cycle if good.cycle > state.cycle else state.cycle + 1
    cycle_plan = _plan_of_next(state, number, undo=False, adopts=good)
    # A caller of reload_now() waits for a cycle that begins after the call, so the leader is asked for it.
    tickets, waiting = (state.tickets, ()) if state.live is None else ((), state.tickets)
    cycle = Cycle(number, good.manual, good.changed, tickets, cycle_plan, adopts=good)
    begun = replace(state, phase=Running(cycle), cycle=number, tickets=waiting)
    start = Emit(watch_events.ReloadStart(number, cycle.manual, cycle.changed))
    return Step(begun, (start, *cycle_plan.actions[:1]))


def done(
    state: State, event: events.Staged | events.Promoted | events.Warmed | events.Swapped | events.Watched
) -> Step:
    """Record the success of an action of the running cycle."""
    cycle = cycle_of(state, event.effect)
    if cycle is None:
        return Step(state)
    effects: tuple[Effect, ...] = ()
    cycle = cycle.timed(event.effect.name, event.seconds)
    match event:
        case events.Staged():
            state = state if event.settings is None else replace(state, settings=event.settings)
            undo, adopts = cycle.undoes is not None, cycle.adopts
            cycle_plan = _plan_of_next(state, cycle.number, undo=undo, staged=event, adopts=adopts)
            cycle_plan = dataclasses.replace(cycle_plan, actions=(event.effect, *cycle_plan.actions[1:]))
            cycle = replace(cycle, staged=event, plan=cycle_plan)
            if not event.promotes:
                cycle = replace(cycle, promoted=_NOTHING_PROMOTED)
                state = replace(state, runaway=runaways.with_warm_up(state.runaway))
            state, effects = _record_reading(state, event)
        case events.Promoted():
            cycle = replace(cycle, promoted=event)
            state = replace(state, runaway=runaways.with_warm_up(state.runaway))
        case events.Warmed():
            cycle = replace(cycle, warmed=event)
        case events.Swapped():
            cycle = replace(cycle, swapped=True)
            retired = state.retired if state.live is None or state.away else (*state.retired, state.live)
            stale = None if cycle.undoes is None else Stale(cycle.undoes, event.at)
            generation = _new_generation(state, cycle, event.at)
            swapped = replace(
                state,
                phase=Running(cycle),
                live=generation,
                retired=retired,
                stale=stale,
                lost=None,
                losses=(),
                away=False,
                late=(),
                durations=_durations(state, cycle),
            )
            return _look_for_runaways(swapped, cycle)
        case events.Watched():
            return _succeeded(state, cycle)
        case _:
            assert_never(event)
    if state.ending or cycle.superseded:
        return rollback.roll_back(state, cycle, event.effect, None).preceded_by(*effects)
    running = replace(state, phase=Running(cycle))
    following = _following(running, cycle, event.effect)
    if not effects:
        return following
    return superseding.settle_again(following.state, cycle).preceded_by(*effects, *following.effects)


def _following(state: State, cycle: Cycle, done: Stage | Promote | Warm) -> Step:
    """Ask for the next action of ``cycle``: one that warms a bridge waits until it may be there, if another must not."""
    following = cycle.plan.after(done)[:1]
    is_ready = not isinstance(done, Warm) and following != (Promote(cycle.number),)
    if is_ready and cycle.staged is not None and not cycle.staged.overlap:
        return make_way(state, (Warm(cycle.number, state.settings.warm_timeout),))
    return Step(state, following)


def failed(state: State, event: events.Failed) -> Step:
    """Undo the running cycle, because an action failed or was interrupted."""
    cycle = cycle_of(state, event.effect)
    if cycle is None:
        return Step(state)
    armed, changes = _record_reading(state, event)
    failure = None if state.ending or cycle.superseded else event
    if event.displaced and state.live is not None and not state.ending:
        armed = replace(
            armed, tickets=(*armed.tickets, events.NOBODY)
        )  # the next cycle takes the lock anew, or follows
    step = rollback.roll_back(replace(armed, blocked=event.only_waited), cycle, event.effect, failure)
    return step.preceded_by(*changes)


def stage_returned(state: State) -> Step:
    """Attempt the edits that the last cycle did not attempt, because its stage only waited for an earlier one."""
    free = replace(state, blocked=False)
    if isinstance(state.phase, Idle) and state.causes:
        return start_looking(free)
    return Step(free)


def _look_for_runaways(state: State, cycle: Cycle) -> Step:
    """Go on after the swap; if only edits have caused ``cycle``, read once more what has changed until now."""
    after = when_pinned(state, cycle.plan.after(Swap(cycle.number)))
    if cycle.manual or not cycle.changed or state.ending or cycle.adopts is not None:
        return Step(replace(after.state, runaway=Runaway()), after.effects)
    step = look(after.state)
    runaway = runaways.with_cycle(state.runaway, cycle.changed, step.state.looks)
    return Step(replace(step.state, runaway=runaway), (*step.effects, *after.effects))


def _durations(state: State, cycle: Cycle) -> tuple[float, ...]:
    if cycle.undoes is not None or cycle.adopts is not None:
        return state.durations
    return (*state.durations, sum(cycle.timings.values()))[-KEPT_DURATIONS:]


def _new_generation(state: State, cycle: Cycle, at: float) -> Generation:
    """Make the generation that is live from now on.

    It is on probation if the session has an earlier generation to restore, unless it is itself a restored one.
    """
    on_probation = (
        cycle.staged is not None and cycle.staged.previous and state.live is not None and cycle.undoes is None
    )
    trial = cycle.staged.probation if on_probation and cycle.staged is not None else 0.0
    overlap = cycle.staged is None or cycle.staged.overlap
    promotes = cycle.staged is None or cycle.staged.promotes
    number = max(state.generation, state.numbered) + 1 if cycle.adopts is None else cycle.adopts.generation
    generation = Generation(number, cycle.number, at, at + trial, overlap, promotes=promotes)
    if cycle.warmed is None:
        return generation
    ends_in_background, most_draining = cycle.warmed.ends_in_background, cycle.warmed.most_draining
    return replace(generation, ends_in_background=ends_in_background, most_draining=most_draining)


def _succeeded(state: State, cycle: Cycle) -> Step:
    promoted = cycle.promoted or cycle.adopts
    if cycle.staged is None or promoted is None or cycle.warmed is None:
        return Step(state)
    watch = cycle.staged.watch.with_paths(state.late)
    effects: list[Effect] = []
    if cycle.undoes is not None:
        effects.append(Emit(watch_events.GenerationUndone(cycle.undoes.generation, cycle.undoes.reason)))
    if state.watched is None or watch.paths != state.watched.paths:
        effects.append(Emit(watch_events.WatchPaths(watch.paths)))
    success = watch_events.ReloadSuccess(
        cycle.number,
        cycle.manual,
        cycle.changed,
        generation=state.generation,
        written=promoted.written,
        touched=promoted.touched,
        warnings=cycle.staged.warnings + promoted.warnings + cycle.warmed.warnings,
        timings=MappingProxyType(dict(cycle.timings)),
        changes=cycle.staged.changes,
        warm=cycle.warmed.warm,
        why_fresh=cycle.warmed.why_fresh,
    )
    first = tuple(ticket for ticket in state.first if ticket not in cycle.tickets)
    effects += [Emit(success), *answer((*cycle.tickets, *first), succeeded=not state.ending)]
    if state.late:
        effects.append(Arm(state.late))
    settled = replace(
        state,
        first=(),
        watched=watch,
        attempted=restrict(state.attempted, watch.roots),
        observed=restrict(state.observed, watch.roots),
    )
    if watch.poll != (0.0 if state.watched is None else state.watched.poll):
        effects += idle_look(settled)
    return next_phase(settled).preceded_by(*effects)


def _record_reading(state: State, event: events.Staged | events.Failed) -> tuple[State, tuple[Effect, ...]]:
    """Record the bytes that a stage has read: for newly watched roots these are the attempted ones, for others the look's are.

    If the stage was made from bytes that differ from the attempted ones, the file changed between two readings, which counts
    as an edit.
    """
    known = state.edits
    attempted = merge(state.attempted, event.read)
    changed_meanwhile = differing(attempted, overlay(attempted, event.used))
    state = replace(
        state,
        attempted=attempted,
        observed=overlay(merge(state.observed, event.read), {path: event.used[path] for path in changed_meanwhile}),
    )
    new_edits = tuple(path for path in state.edits if path not in known)
    return replace(state, disturbed=state.disturbed.union(new_edits)), tuple(
        Emit(watch_events.Change(path)) for path in new_edits
    )


def cycle_of(state: State, action: Action) -> Cycle | None:
    """Return the running cycle if ``action`` can be under way in it, else None: outcomes of other actions are ignored."""
    match state.phase:
        case Running() if state.is_waiting:
            return None
        case Running(cycle) if action in cycle.plan.actions and (isinstance(action, Watch) or not cycle.swapped):
            return cycle
        case _:
            return None
