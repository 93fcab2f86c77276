"""All transitions: ``plan(state, event) -> Step(state, effects)``. Every decision of a session is made here.

The rules:

- A cycle starts from a *look*: a reading of all watched files that begins after the cause of the cycle. The bytes read are
  then *attempted*, and an edit is a difference from the attempted bytes. So an edit at any moment is found by a later reading
  and leads to a later cycle, and bytes that failed are not retried without a new cause. A file that changes while a cycle
  runs counts as edited even if it changes back, because the cycle may have read either version.
- A stage that only waits for the thread of an earlier one attempts no bytes. Its edits lead to a cycle when that thread returns.
- The plan of a cycle is complete before the cycle starts. Its actions are performed in order. When one fails, or a close is
  requested before the swap, everything up to and including it is undone in reverse order; a failed rollback does not stop
  the other rollbacks.
- The swap is the commit point. Later failures only lead to notices; a close after the swap lets the cycle finish silently.
- A cycle that is older than ``supersede_after`` is superseded if an edit waits: it is undone, and the next one begins with its
  edits and its callers as well. So a source that hangs while it is imported does not hold up its own repair. Undos are not
  superseded, and no cycle is after its swap. Five in a row make way for the same file, no more.
- A file that changes during the warm-ups of five good cycles in a row, each of which it alone had caused, starts no further cycle
  by itself, until another file changes, a reload is requested, or it changes after five seconds in which it did not.
- Cycles never overlap: no other cycle starts in the phases ``Running`` and ``RollingBack``.
- Each edit restarts the ``debounce`` timer; only the first edit starts ``max-wait``. ``reload_now()`` waits for no timer, and
  is answered by a cycle that starts after the call.
- A replaced bridge drains for ``drain_timeout`` seconds, then it is cut off. At most two drain at once, broken ones included;
  when there are more, the oldest is cut off. With an infinite ``drain_timeout``, none is cut off before the close.
- A lost live bridge is restarted from its own generation, with a longer delay each time; after too many losses within a
  minute it stays lost. A cycle takes precedence, because it replaces the bridge anyway. A new bridge that is lost on probation
  is not restarted: the previous generation is restored, unless the place where the bridge ran is to blame.
- Modules that a live bridge imported dynamically are pinned before it is restarted or disposed: what needs them is held until
  the last pin has ended.
- Hints of the notifier may be early, late or missing. After each, all files are read at once and twice more; without any, they
  are read from time to time, in at most two percent of the time.
- After a cycle or a restart, when nothing is about to replace the live bridge, it prepares resources for the next cycle (a
  spare worker). During a cycle they would compete with it.
- An undo is a cycle that stages the kept files of an earlier generation. It attempts no bytes on disk, so it loses no edit.
- A failed first cycle ends the session. After a close was requested, no event is emitted. Calls in flight at a close
  are cut off in the end, even if ``drain_timeout`` is infinite.
"""

from __future__ import annotations

import math
from dataclasses import replace
from types import MappingProxyType
from typing import assert_never

from lastgood import watch_events
from lastgood.effects import (
    Action,
    Arm,
    Dispose,
    Effect,
    Emit,
    Interrupt,
    Plan,
    Promote,
    SetTimer,
    Stage,
    Swap,
    Unpublish,
    Warm,
    Watch,
)
from lastgood.errors import RunawayError
from lastgood.planner import bridges, events, phases, runaways
from lastgood.planner.phases import (
    Step,
    answer,
    begin_closing,
    debounce,
    go_idle,
    idle_look,
    look,
    max_wait,
    next_phase,
    next_undo,
    start_looking,
    when_pinned,
)
from lastgood.planner.states import (
    KEPT_DURATIONS,
    Closed,
    Closing,
    Cycle,
    Generation,
    Idle,
    Looking,
    Restarting,
    RollingBack,
    Runaway,
    Running,
    Scheduled,
    Settings,
    Stale,
    State,
    Unstarted,
)
from lastgood.planner.watch_set import differing, merge, overlay, restrict

__all__ = ["Step", "plan", "plan_of_cycle"]


def plan(state: State, event: events.Event) -> Step:
    """Return the next state and the effects to perform after ``event`` in ``state``.

    Pure and total: no clock, no IO, no randomness. An event that is irrelevant in a state, such as a timer that was stopped,
    changes nothing.
    """
    step = _transition(state, event)
    if not state.ending:
        return step
    return Step(step.state, tuple(effect for effect in step.effects if not isinstance(effect, Emit)))


def _transition(state: State, event: events.Event) -> Step:
    match event:
        case events.Started():
            return _started(state, event)
        case events.Hinted():
            return _hinted(state)
        case events.Observed():
            return _observed(state, event)
        case events.TimerElapsed():
            return _timer_elapsed(state, event.timer)
        case events.ReloadRequested() | events.UndoRequested():
            return _requested(state, event)
        case events.CloseRequested():
            return _close_requested(state)
        case events.Staged() | events.Promoted() | events.Warmed() | events.Swapped() | events.Watched():
            return _done(state, event)
        case events.Failed():
            return _failed(state, event)
        case events.StageReturned():
            return _stage_returned(state)
        case events.RolledBack() | events.RollbackFailed():
            return _rolled_back(state, event)
        case events.Draining():
            return bridges.bridge_drains(state, event)
        case events.Disposed() | events.DisposeFailed():
            return bridges.bridge_disposed(state, event)
        case events.Lost():
            return bridges.bridge_lost(state, event)
        case events.Restarted() | events.RestartFailed():
            return bridges.bridge_restarted(state, event)
        case events.LoadedLate():
            return bridges.modules_loaded_late(state, event)
        case events.Pinned():
            return bridges.pin_ended(state, event)
        case events.Noticed():
            return _noticed(state, event)
        case events.Released():
            return Step(replace(state, phase=Closed()))
        case _:
            assert_never(event)


def plan_of_cycle(settings: Settings, number: int, live: Generation | None, *, undo: bool = False) -> Plan:
    """Return the plan of cycle ``number``, with its actions in order. ``undo``: the cycle restores the previous generation."""
    stage = Stage(number, undo, settings.stage_timeout)
    actions: tuple[Action, ...] = (stage, Promote(number), Warm(number, settings.warm_timeout), Swap(number))
    if live is not None:
        actions += (Dispose(live.cycle, settings.drain_timeout, settings.dispose_timeout),)
    return Plan(number, (*actions, Watch(number)), settings.dispose_timeout)


# --- causes of a cycle


def _started(state: State, event: events.Started) -> Step:
    match state.phase:
        case Unstarted():
            step = _begin(replace(state, tickets=(event.ticket, *state.tickets)))
            return Step(step.state, (*step.effects, *idle_look(state)))
        case Idle() | Scheduled() | Looking() | Running() | RollingBack() | Restarting():
            return Step(state)
        case Closing() | Closed():
            return Step(state, answer((event.ticket,), succeeded=False))
        case _:
            assert_never(state.phase)


def _hinted(state: State) -> Step:
    """Look now and twice more: in new directories the system reports changes with a delay."""
    if isinstance(state.phase, Unstarted | Closing | Closed):
        return Step(state)
    step = look(state)
    return Step(step.state, (*step.effects, SetTimer(phases.SECOND_LOOK, phases.AFTER_HINT[0])))


def _noticed(state: State, event: events.Noticed) -> Step:
    if not isinstance(event.notice, watch_events.PollingStarted) or state.ending:
        return Step(state, (Emit(event.notice),))
    state = replace(state, polling=True)
    return Step(state, (Emit(event.notice), *idle_look(state)))


def _observed(state: State, event: events.Observed) -> Step:
    changed = differing(state.observed, event.files)
    new_edits = changed & differing(state.attempted, event.files)
    if isinstance(state.phase, Running | RollingBack):
        state = replace(state, disturbed=state.disturbed | changed)
    state = replace(
        state,
        observed={**state.observed, **event.files},
        reading_seconds=event.seconds,
        runaway=Runaway()
        if state.runaway.quiet and new_edits
        else runaways.with_reading(state.runaway, changed, event.look),
    )
    requested = bool(state.tickets or next_undo(state))
    manual = isinstance(state.phase, Looking) and requested
    changes = tuple(Emit(watch_events.Change(path, manual)) for path in sorted(new_edits) if state.causes or requested)
    match state.phase:
        case Idle() | Restarting() if new_edits and not state.causes:
            return Step(state, (SetTimer(phases.QUIET, runaways.QUIET),))
        case Idle() if new_edits:
            return Step(replace(state, phase=Scheduled()), (*changes, debounce(state), max_wait(state)))
        case Scheduled() if not state.causes:
            return go_idle(state).preceded_by(*phases.STOP_EDIT_TIMERS)
        case Scheduled() if new_edits:
            return Step(state, (*changes, debounce(state)))
        case Restarting() if new_edits:
            return Step(state, (*changes, debounce(state)))
        case Running(cycle) if new_edits:
            return _settle_again(state, cycle).preceded_by(*changes)
        case Looking(number) if event.look >= number and not requested and runaways.is_one(state):
            return _stop_runaway(state)
        case Looking(number) if event.look >= number and (state.causes or requested):
            return _begin(state).preceded_by(*changes)
        case Looking(number) if event.look >= number:
            return go_idle(state)
        case Unstarted() | Closing() | Closed():
            return Step(state)
        case Idle() | Scheduled() | Looking() | Running() | RollingBack() | Restarting():
            return Step(state, changes)
        case _:
            assert_never(state.phase)


def _timer_elapsed(state: State, timer: str) -> Step:
    match timer:
        case phases.DEBOUNCE | phases.MAX_WAIT:
            return _edits_settled(state)
        case phases.SUPERSEDE:
            return _overdue(state)
        case phases.QUIET:
            return Step(replace(state, runaway=replace(state.runaway, quiet=state.runaway.stopped)))
        case phases.RESTART:
            return bridges.restart(state)
        case phases.SECOND_LOOK | phases.LAST_LOOK | phases.IDLE_LOOK:
            return _look_again(state, timer)
        case _:
            return bridges.drain_elapsed(state, timer)


def _edits_settled(state: State) -> Step:
    match state.phase:
        case Scheduled():
            return start_looking(state).preceded_by(*phases.STOP_EDIT_TIMERS)
        case Restarting():
            return bridges.interrupt_restart(state)
        case Running(cycle):
            return _supersede(state, replace(cycle, edits_settled=True))
        case Unstarted() | Idle() | Looking() | RollingBack() | Closing() | Closed():
            return Step(state)
        case _:
            assert_never(state.phase)


def _look_again(state: State, timer: str) -> Step:
    if isinstance(state.phase, Unstarted | Closing | Closed):
        return Step(state)
    step = look(state)
    match timer:
        case phases.SECOND_LOOK:
            return Step(step.state, (*step.effects, SetTimer(phases.LAST_LOOK, phases.AFTER_HINT[1])))
        case phases.IDLE_LOOK:
            return Step(step.state, (*step.effects, *idle_look(state)))
        case _:
            return step


def _requested(state: State, event: events.ReloadRequested | events.UndoRequested) -> Step:
    match event:
        case events.ReloadRequested(ticket):
            waiting = replace(state, tickets=(*state.tickets, ticket))
        case events.UndoRequested(ticket):
            waiting = replace(state, undos=(*state.undos, ticket))
        case _:
            assert_never(event)
    match state.phase:
        case Idle():
            return start_looking(waiting)
        case Scheduled():
            return start_looking(waiting).preceded_by(*phases.STOP_EDIT_TIMERS)
        case Unstarted() | Looking():
            return Step(waiting)
        case Running() | RollingBack() if not state.ending:
            return Step(waiting)
        case Restarting() if not state.ending:
            return bridges.interrupt_restart(waiting)
        case Running() | RollingBack() | Restarting() | Closing() | Closed():
            return Step(state, answer((event.ticket,), succeeded=False))
        case _:
            assert_never(state.phase)


def _begin(state: State) -> Step:
    before, number = state, state.cycle + 1
    undoes = next_undo(state)
    cycle_plan = plan_of_cycle(state.settings, number, state.live, undo=undoes is not None)
    if undoes is None:
        cycle = Cycle(number, bool(state.tickets), state.edits, state.tickets, cycle_plan)
        state = replace(state, attempted=state.observed, disturbed=frozenset(), tickets=())
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
    timer = (SetTimer(phases.SUPERSEDE, state.supersede_after),) if _may_be_superseded(state, cycle) else ()
    return Step(begun, (start, *timer, *cycle_plan.until_commit))


# --- the running cycle


def _done(
    state: State, event: events.Staged | events.Promoted | events.Warmed | events.Swapped | events.Watched
) -> Step:
    cycle = _cycle_of(state, event.effect)
    if cycle is None:
        return Step(state)
    effects: tuple[Effect, ...] = ()
    cycle = cycle.timed(event.effect.name, event.seconds)
    match event:
        case events.Staged():
            cycle = replace(cycle, staged=event)
            state, effects = _record_reading(state, event)
        case events.Promoted():
            cycle = replace(cycle, promoted=event)
            state = replace(state, runaway=runaways.with_warm_up(state.runaway))
        case events.Warmed():
            cycle = replace(cycle, warmed=event)
        case events.Swapped():
            cycle = replace(cycle, swapped=True)
            retired = state.retired if state.live is None else (*state.retired, state.live)
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
                late=(),
                durations=_durations(state, cycle),
            )
            return _look_for_runaways(swapped, cycle)
        case events.Watched():
            return _succeeded(state, cycle)
        case _:
            assert_never(event)
    if state.ending or cycle.superseded:
        return _roll_back(state, cycle, event.effect, None).preceded_by(*effects)
    running = replace(state, phase=Running(cycle))
    return _settle_again(running, cycle).preceded_by(*effects) if effects else Step(running)


def _look_for_runaways(state: State, cycle: Cycle) -> Step:
    """Go on after the swap; if only edits have caused ``cycle``, read once more what has changed until now."""
    after = when_pinned(state, cycle.plan.after_commit)
    if cycle.manual or not cycle.changed or state.ending:
        return Step(replace(after.state, runaway=Runaway()), after.effects)
    step = look(after.state)
    runaway = runaways.with_cycle(state.runaway, cycle.changed, step.state.looks)
    return Step(replace(step.state, runaway=runaway), (*step.effects, *after.effects))


def _stop_runaway(state: State) -> Step:
    """Let the files that change with each reload start no more of them."""
    assert state.live is not None, "a good cycle comes first"
    files, cycles = tuple(sorted(state.runaway.files)), state.runaway.cycles
    stopped = replace(
        state,
        runaway=replace(state.runaway, stopped=True),
        stale=Stale(RunawayError(files), state.live.since),
    )
    notice = Emit(watch_events.Runaway(files, cycles))
    return go_idle(stopped).preceded_by(notice, SetTimer(phases.QUIET, runaways.QUIET))


def _durations(state: State, cycle: Cycle) -> tuple[float, ...]:
    if cycle.undoes is not None:
        return state.durations
    return (*state.durations, sum(cycle.timings.values()))[-KEPT_DURATIONS:]


def _settle_again(state: State, cycle: Cycle) -> Step:
    """Wait until edits pause, because one came while ``cycle`` is running: it may be superseded then."""
    if not _may_be_superseded(state, cycle):
        return Step(state)
    return Step(replace(state, phase=Running(replace(cycle, edits_settled=False))), (debounce(state),))


def _overdue(state: State) -> Step:
    match state.phase:
        case Running(cycle):
            return _supersede(state, replace(cycle, overdue=True))
        case _:
            return Step(state)


def _supersede(state: State, cycle: Cycle) -> Step:
    """Supersede ``cycle``, which is running, if it is overdue and an edit waits."""
    is_due = cycle.overdue and cycle.edits_settled and bool(state.edits) and not runaways.keep_superseding(state)
    if state.ending or not (is_due and _may_be_superseded(state, cycle)):
        return Step(replace(state, phase=Running(cycle)))
    return Step(replace(state, phase=Running(replace(cycle, superseded=True))), (Interrupt(),))


def _may_be_superseded(state: State, cycle: Cycle) -> bool:
    never = math.isinf(state.supersede_after) or cycle.undoes is not None
    return not (never or cycle.swapped or cycle.superseded)


def _new_generation(state: State, cycle: Cycle, at: float) -> Generation:
    """Make the generation that is live from now on.

    It is on probation if the session has an earlier generation to restore, unless it is itself a restored one.
    """
    on_probation = (
        cycle.staged is not None and cycle.staged.previous and state.live is not None and cycle.undoes is None
    )
    trial = cycle.staged.probation if on_probation and cycle.staged is not None else 0.0
    return Generation(state.generation + 1, cycle.number, at, at + trial)


def _succeeded(state: State, cycle: Cycle) -> Step:
    if cycle.staged is None or cycle.promoted is None or cycle.warmed is None:
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
        written=cycle.promoted.written,
        touched=cycle.promoted.touched,
        warnings=cycle.staged.warnings + cycle.promoted.warnings + cycle.warmed.warnings,
        timings=MappingProxyType(dict(cycle.timings)),
        changes=cycle.staged.changes,
    )
    effects += [Emit(success), *answer(cycle.tickets, succeeded=not state.ending)]
    if state.late:
        effects.append(Arm(state.late))
    settled = replace(
        state,
        watched=watch,
        attempted=restrict(state.attempted, watch.roots),
        observed=restrict(state.observed, watch.roots),
    )
    return next_phase(settled).preceded_by(*effects)


def _failed(state: State, event: events.Failed) -> Step:
    cycle = _cycle_of(state, event.effect)
    if cycle is None:
        return Step(state)
    armed, changes = _record_reading(state, event)
    failure = None if state.ending or cycle.superseded else event
    step = _roll_back(replace(armed, blocked=event.only_waited), cycle, event.effect, failure)
    return step.preceded_by(*changes)


def _roll_back(state: State, cycle: Cycle, reached: Action, failure: events.Failed | None) -> Step:
    rollbacks = cycle.plan.undo_through(reached)
    return Step(replace(state, phase=RollingBack(cycle, failure, len(rollbacks))), rollbacks)


def _rolled_back(state: State, event: events.RolledBack | events.RollbackFailed) -> Step:
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


def _stage_returned(state: State) -> Step:
    """Attempt the edits that the last cycle did not attempt, because its stage only waited for an earlier one."""
    free = replace(state, blocked=False)
    if isinstance(state.phase, Idle) and state.causes:
        return start_looking(free)
    return Step(free)


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


# --- closing and disposing


def _close_requested(state: State) -> Step:
    waiting = (*state.tickets, *state.undos)
    ending = replace(state, ending=True, tickets=(), undos=())
    stop: tuple[Effect, ...] = (*phases.STOP_TIMERS, *answer(waiting, succeeded=False), Unpublish())
    match state.phase:
        case Unstarted() | Idle() | Scheduled() | Looking():
            return begin_closing(ending).preceded_by(*stop)
        case Running(cycle) if cycle.swapped or state.ending:
            return Step(ending, stop)
        case Running():
            return Step(ending, (*stop, Interrupt()))
        case Restarting():
            return bridges.interrupt_restart(ending).preceded_by(*stop)
        case RollingBack():
            return Step(ending, stop)
        case Closing() | Closed():
            return Step(state)
        case _:
            assert_never(state.phase)


# --- helpers


def _cycle_of(state: State, action: Action) -> Cycle | None:
    """Return the running cycle if ``action`` belongs to it, else None: outcomes of other actions are ignored."""
    match state.phase:
        case Running(cycle) if action in cycle.plan.actions:
            return cycle
        case _:
            return None
