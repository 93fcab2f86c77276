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
- Cycles never overlap: no other cycle starts in the phases ``Running`` and ``RollingBack``.
- Each edit restarts the ``debounce`` timer; only the first edit starts ``max-wait``. ``reload_now()`` waits for no timer, and
  is answered by a cycle that starts after the call.
- At most two replaced bridges drain at once, broken ones included; when there are more, the oldest is cut off.
- A lost live bridge is restarted from its own generation, with a longer delay each time; after too many losses within a
  minute it stays lost. A cycle takes precedence, because it replaces the bridge anyway. A new bridge that is lost on probation
  is not restarted: the previous generation is restored.
- Modules that a live bridge imported dynamically are pinned before the bridge can be restarted.
- After a cycle or a restart, when nothing is about to replace the live bridge, it prepares resources for the next cycle (a
  spare worker). During a cycle they would compete with it.
- An undo is a cycle that stages the kept files of an earlier generation. It attempts no bytes on disk, so it loses no edit.
- A failed first cycle ends the session. After a close was requested, no event is emitted. Calls in flight at a close
  are cut off in the end, even if ``drain_timeout`` is infinite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import assert_never

from lastgood.effects.cycle import (
    Action,
    Answer,
    Arm,
    CutOff,
    Dispose,
    Effect,
    Emit,
    Interrupt,
    Look,
    Pin,
    Prepare,
    Promote,
    Release,
    Restart,
    SetTimer,
    Stage,
    StopTimer,
    Swap,
    Unpublish,
    Warm,
    Watch,
)
from lastgood.effects.plan import Plan
from lastgood.errors import Undone
from lastgood.planner.brake import count_loss, restart_wait
from lastgood.planner.events import (
    CloseRequested,
    Disposed,
    DisposeFailed,
    Draining,
    Event,
    Failed,
    LoadedLate,
    Lost,
    Noticed,
    Observed,
    Promoted,
    Released,
    ReloadRequested,
    Restarted,
    RestartFailed,
    RollbackFailed,
    RolledBack,
    Staged,
    StageReturned,
    Started,
    Swapped,
    TimerElapsed,
    UndoRequested,
    Warmed,
    Watched,
)
from lastgood.planner.states import (
    Closed,
    Closing,
    Cycle,
    Generation,
    Idle,
    Looking,
    Restarting,
    RollingBack,
    Running,
    Scheduled,
    Settings,
    Stale,
    State,
    Unstarted,
)
from lastgood.planner.states import Lost as LostBridge
from lastgood.planner.watch_set import Snapshot, WatchSet, differing, merge, overlay, restrict
from lastgood.watch_events import (
    BridgeLost,
    BridgeRestored,
    Change,
    GenerationUndone,
    ModuleLoadedLate,
    ReloadError,
    ReloadStart,
    ReloadSuccess,
    WatchPaths,
)
from lastgood.watch_events import DisposeFailed as DisposeFailedNotice
from lastgood.watch_events import RollbackFailed as RollbackFailedNotice

__all__ = ["CLOSE", "DEBOUNCE", "MAX_WAIT", "RESTART", "Step", "plan", "plan_of_cycle"]

DEBOUNCE = "debounce"
MAX_WAIT = "max-wait"
RESTART = "restart"
CLOSE = "close"
MOST_DRAINING = 2
_STOP_TIMERS: tuple[StopTimer, ...] = (StopTimer(DEBOUNCE), StopTimer(MAX_WAIT))


@dataclass(frozen=True, slots=True)
class Step:
    """The state after an event, and the effects to perform next, in order."""

    state: State
    effects: tuple[Effect, ...] = ()


def plan(state: State, event: Event) -> Step:
    """Return the next state and the effects to perform after ``event`` in ``state``.

    Pure and total: no clock, no IO, no randomness. An event that is irrelevant in a state, such as a timer that was stopped,
    changes nothing.
    """
    step = _transition(state, event)
    if not state.ending:
        return step
    return Step(step.state, tuple(effect for effect in step.effects if not isinstance(effect, Emit)))


def _transition(state: State, event: Event) -> Step:
    match event:
        case Started():
            return _started(state, event)
        case Observed():
            return _observed(state, event)
        case TimerElapsed():
            return _timer_elapsed(state, event)
        case ReloadRequested() | UndoRequested():
            return _requested(state, event)
        case CloseRequested():
            return _close_requested(state)
        case Staged() | Promoted() | Warmed() | Swapped() | Watched():
            return _done(state, event)
        case Failed():
            return _failed(state, event)
        case StageReturned():
            return _stage_returned(state)
        case RolledBack() | RollbackFailed():
            return _rolled_back(state, event)
        case Draining():
            return _draining(state, event)
        case Disposed() | DisposeFailed():
            return _bridge_disposed(state, event)
        case Lost():
            return _lost(state, event)
        case Restarted() | RestartFailed():
            return _restarted(state, event)
        case LoadedLate():
            return _loaded_late(state, event)
        case Noticed():
            return Step(state, (Emit(event.notice),))
        case Released():
            return Step(replace(state, phase=Closed()), (StopTimer(CLOSE),) if _may_drain_for_ever(state) else ())
        case _:
            assert_never(event)


def plan_of_cycle(settings: Settings, number: int, live: Generation | None, *, undo: bool = False) -> Plan:
    """Return the plan of cycle ``number``, with its actions in order. ``undo``: the cycle restores the previous generation."""
    stage = Stage(number, undo, settings.stage_timeout)
    actions: tuple[Action, ...] = (stage, Promote(number), Warm(number, settings.warm_timeout), Swap(number))
    if live is not None:
        actions += (Dispose(live.cycle, settings.drain_timeout, settings.bounded_drain),)
    return Plan(number, (*actions, Watch(number)), settings.bounded_drain)


# --- causes of a cycle


def _started(state: State, event: Started) -> Step:
    match state.phase:
        case Unstarted():
            return _begin(replace(state, tickets=(event.ticket, *state.tickets)))
        case Idle() | Scheduled() | Looking() | Running() | RollingBack() | Restarting():
            return Step(state)
        case Closing() | Closed():
            return Step(state, _answer((event.ticket,), succeeded=False))
        case _:
            assert_never(state.phase)


def _observed(state: State, event: Observed) -> Step:
    changed = differing(state.observed, event.files)
    new_edits = changed & differing(state.attempted, event.files)
    if isinstance(state.phase, Running | RollingBack):
        state = replace(state, disturbed=state.disturbed | changed)
    state = replace(state, observed={**state.observed, **event.files})
    requested = bool(state.tickets or _undo_next(state))
    manual = isinstance(state.phase, Looking) and requested
    changes = tuple(Emit(Change(path, manual)) for path in sorted(new_edits))
    match state.phase:
        case Idle() if new_edits:
            return Step(replace(state, phase=Scheduled()), (*changes, _debounce(state), _max_wait(state)))
        case Scheduled() if not state.edits:
            step = _idle(state)
            return Step(step.state, (*_STOP_TIMERS, *step.effects))
        case Scheduled() if new_edits:
            return Step(state, (*changes, _debounce(state)))
        case Restarting() if new_edits:
            return Step(state, (*changes, _debounce(state)))
        case Looking() if event.asked and (state.edits or requested):
            step = _begin(state)
            return Step(step.state, (*changes, *step.effects))
        case Looking() if event.asked:
            return _idle(state)
        case Unstarted() | Closing() | Closed():
            return Step(state)
        case Idle() | Scheduled() | Looking() | Running() | RollingBack() | Restarting():
            return Step(state, changes)
        case _:
            assert_never(state.phase)


def _timer_elapsed(state: State, event: TimerElapsed) -> Step:
    match state.phase:
        case Scheduled() if event.timer != RESTART:
            return Step(replace(state, phase=Looking()), (*_STOP_TIMERS, Look()))
        case Restarting() if event.timer != RESTART:
            return Step(state, (Interrupt(),))
        case Closing() if event.timer == CLOSE:
            why = f"was cut off: it had not ended {state.settings.bounded_drain:g} s after the session was closed"
            return Step(state, tuple(CutOff(each.cycle, why) for each in state.retired))
        case Idle() if event.timer == RESTART and state.lost is not None and state.live is not None:
            settings = state.settings
            restart = Restart(
                state.live.cycle,
                settings.warm_timeout,
                settings.drain_timeout,
                broken=-1 - state.restarts,
                dispose_timeout=settings.bounded_drain,
            )
            return Step(replace(state, phase=Restarting()), (restart,))
        case (
            Unstarted()
            | Idle()
            | Scheduled()
            | Looking()
            | Running()
            | RollingBack()
            | Restarting()
            | Closing()
            | Closed()
        ):
            return Step(state)
        case _:
            assert_never(state.phase)


def _requested(state: State, event: ReloadRequested | UndoRequested) -> Step:
    match event:
        case ReloadRequested(ticket):
            waiting = replace(state, tickets=(*state.tickets, ticket))
        case UndoRequested(ticket):
            waiting = replace(state, undos=(*state.undos, ticket))
        case _:
            assert_never(event)
    match state.phase:
        case Idle():
            return Step(replace(waiting, phase=Looking()), (Look(),))
        case Scheduled():
            return Step(replace(waiting, phase=Looking()), (*_STOP_TIMERS, Look()))
        case Unstarted() | Looking():
            return Step(waiting)
        case Running() | RollingBack() if not state.ending:
            return Step(waiting)
        case Restarting() if not state.ending:
            return Step(waiting, (Interrupt(),))
        case Running() | RollingBack() | Restarting() | Closing() | Closed():
            return Step(state, _answer((event.ticket,), succeeded=False))
        case _:
            assert_never(state.phase)


def _begin(state: State) -> Step:
    before, number = state, state.cycle + 1
    undoes = _undo_next(state)
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
    cycle = replace(cycle, attempted=before.attempted, disturbed=before.disturbed)
    begun = replace(state, phase=Running(cycle), cycle=number, blocked=False)
    return Step(begun, (Emit(ReloadStart(number, cycle.manual, cycle.changed)), *cycle_plan.actions))


def _undo_next(state: State) -> Undone | None:
    """Return the reason if the next cycle is an undo, else None. Callers are served in the order of their requests."""
    if state.lost is not None and state.lost.failed_probation:
        return Undone(state.generation, state.lost.error)
    if state.undos and not (state.tickets and state.tickets[0] < state.undos[0]):
        return Undone(state.generation)
    return None


def _next_phase(state: State) -> Step:
    """Choose the next phase after a cycle or a restart, by the requests and edits that arrived meanwhile."""
    if state.ending:
        return _begin_closing(state)
    if state.tickets or _undo_next(state):
        return Step(replace(state, phase=Looking()), (Look(),))
    prepare = () if state.live is None or state.lost is not None else (Prepare(state.live.cycle),)
    if state.edits and not state.blocked:
        return Step(replace(state, phase=Scheduled()), (*prepare, _debounce(state), _max_wait(state)))
    idle = _idle(state)
    return Step(idle.state, (*prepare, *idle.effects))


def _idle(state: State) -> Step:
    """Go idle; if the live bridge is lost, schedule its restart."""
    wait = None if state.lost is None else restart_wait(state.losses)
    timer = () if wait is None else (SetTimer(RESTART, wait),)
    return Step(replace(state, phase=Idle()), timer)


# --- a lost bridge


def _lost(state: State, event: Lost) -> Step:
    live = state.live
    if live is None or live.cycle != event.bridge or state.lost is not None:
        return Step(state)
    lost = LostBridge(event.error, event.at, failed_probation=event.at < live.probation_ends)
    return _report_loss(replace(state, losses=count_loss(state.losses, event.at), lost=lost), live, event.error)


def _restarted(state: State, event: Restarted | RestartFailed) -> Step:
    if not isinstance(state.phase, Restarting) or state.live is None:
        return Step(state)
    if isinstance(event, Restarted):
        broken = (replace(state.live, cycle=event.effect.broken),) if event.draining else ()
        back = replace(state, lost=None, retired=state.retired + broken, restarts=state.restarts + 1)
        rest = _next_phase(back)
        return Step(rest.state, (Emit(BridgeRestored(state.live.number)), *_cut_off(back), *rest.effects))
    if event.error is None:
        return _next_phase(state)
    lost_again = _report_loss(
        replace(state, losses=count_loss(state.losses, event.at), phase=Idle()), state.live, event.error
    )
    rest = _next_phase(lost_again.state)
    return Step(rest.state, (*lost_again.effects[:1], *rest.effects))


def _report_loss(state: State, live: Generation, error: BaseException) -> Step:
    if not isinstance(state.phase, Idle) or (state.lost is not None and state.lost.failed_probation):
        notice = Emit(BridgeLost(live.number, error))
        if isinstance(state.phase, Idle):
            return Step(replace(state, phase=Looking()), (notice, Look()))
        return Step(state, (notice,))
    step = _idle(state)
    return Step(step.state, (Emit(BridgeLost(live.number, error, restart_wait(state.losses))), *step.effects))


def _loaded_late(state: State, event: LoadedLate) -> Step:
    if state.live is None or state.live.cycle != event.bridge:
        return Step(state)
    if state.ending:
        return Step(state, (Pin(event.bridge),))
    match state.phase:
        case Running(Cycle(swapped=True, staged=Staged(watch=watch))):
            committed = False  # the end of the cycle commits them
        case _:
            watch, committed = state.watched or WatchSet(()), True
    notices = (Emit(ModuleLoadedLate(late.name, late.path)) for late in event.modules)
    effects: tuple[Effect, ...] = (*notices, Pin(event.bridge))
    new_paths = {late.path: late.digest for late in event.modules}
    known = frozenset(state.late)
    new_paths = {path: new_paths[path] for path in watch.uncovered(new_paths) if path not in known}
    if not new_paths:
        return Step(state, effects)
    read: Snapshot = {path: {path: digest} for path, digest in new_paths.items()}
    state = replace(
        state,
        late=(*state.late, *new_paths),
        attempted=merge(state.attempted, read),
        observed=merge(state.observed, read),
    )
    if not committed:
        return Step(state, effects)
    watched = watch.with_paths(new_paths)
    return Step(replace(state, watched=watched), (*effects, Emit(WatchPaths(watched.paths)), Arm(tuple(new_paths))))


# --- the running cycle


def _done(state: State, event: Staged | Promoted | Warmed | Swapped | Watched) -> Step:
    cycle = _cycle_of(state, event.effect)
    if cycle is None:
        return Step(state)
    effects: tuple[Effect, ...] = ()
    cycle = cycle.timed(event.effect.name, event.seconds)
    match event:
        case Staged():
            cycle = replace(cycle, staged=event)
            state, effects = _record_reading(state, event)
        case Promoted():
            cycle = replace(cycle, promoted=event)
        case Warmed():
            pass
        case Swapped():
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
            )
            # A close during the swap has made the interpreter drop the actions after it: they are asked for again.
            return Step(swapped, cycle.plan.after(event.effect) if state.ending else ())
        case Watched():
            return _succeeded(state, cycle)
        case _:
            assert_never(event)
    if state.ending:
        return _roll_back(state, cycle, event.effect, None)
    return Step(replace(state, phase=Running(cycle)), effects)


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
    if cycle.staged is None or cycle.promoted is None:
        return Step(state)
    watch = cycle.staged.watch.with_paths(state.late)
    effects: list[Effect] = []
    if cycle.undoes is not None:
        effects.append(Emit(GenerationUndone(cycle.undoes.generation, cycle.undoes.reason)))
    if state.watched is None or watch.paths != state.watched.paths:
        effects.append(Emit(WatchPaths(watch.paths)))
    success = ReloadSuccess(
        cycle.number,
        cycle.manual,
        cycle.changed,
        generation=state.generation,
        written=cycle.promoted.written,
        touched=cycle.promoted.touched,
        warnings=cycle.staged.warnings + cycle.promoted.warnings,
        timings=MappingProxyType(dict(cycle.timings)),
        changes=cycle.staged.changes,
    )
    effects += [Emit(success), *_answer(cycle.tickets, succeeded=not state.ending)]
    if state.late:
        effects.append(Arm(state.late))
    settled = replace(
        state,
        watched=watch,
        attempted=restrict(state.attempted, watch.roots),
        observed=restrict(state.observed, watch.roots),
    )
    rest = _next_phase(settled)
    return Step(rest.state, (*effects, *rest.effects))


def _failed(state: State, event: Failed) -> Step:
    cycle = _cycle_of(state, event.effect)
    if cycle is None:
        return Step(state)
    armed, changes = _record_reading(state, event)
    step = _roll_back(replace(armed, blocked=event.only_waited), cycle, event.effect, None if state.ending else event)
    return Step(step.state, (*changes, *step.effects))


def _roll_back(state: State, cycle: Cycle, reached: Action, failure: Failed | None) -> Step:
    rollbacks = cycle.plan.undo_through(reached)
    return Step(replace(state, phase=RollingBack(cycle, failure, len(rollbacks))), rollbacks)


def _rolled_back(state: State, event: RolledBack | RollbackFailed) -> Step:
    if not isinstance(state.phase, RollingBack):
        return Step(state)
    cycle, failure, left = state.phase.cycle, state.phase.failure, state.phase.left - 1
    effects: list[Effect] = []
    if isinstance(event, RollbackFailed):
        cause = None if failure is None else failure.error
        effects.append(Emit(RollbackFailedNotice(event.effect.effect.name, event.error, cause)))
    if left:
        return Step(replace(state, phase=RollingBack(cycle, failure, left)), tuple(effects))
    if failure is not None:
        error_event = ReloadError(
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
        state = replace(state, stale=Stale(failure.error, since), ending=state.ending or state.live is None)
    effects += _answer(cycle.tickets, succeeded=False)
    rest = _next_phase(state)
    return Step(rest.state, (*effects, *rest.effects))


def _stage_returned(state: State) -> Step:
    """Attempt the edits that the last cycle did not attempt, because its stage only waited for an earlier one."""
    free = replace(state, blocked=False)
    if isinstance(state.phase, Idle) and state.edits:
        return Step(replace(free, phase=Looking()), (Look(),))
    return Step(free)


def _record_reading(state: State, event: Staged | Failed) -> tuple[State, tuple[Effect, ...]]:
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
        disturbed=state.disturbed | changed_meanwhile,
    )
    new_edits = tuple(path for path in state.edits if path not in known)
    return replace(state, disturbed=state.disturbed.union(new_edits)), tuple(Emit(Change(path)) for path in new_edits)


# --- closing and disposing


def _close_requested(state: State) -> Step:
    waiting = (*state.tickets, *state.undos)
    ending = replace(state, ending=True, tickets=(), undos=())
    stop: tuple[Effect, ...] = (*_STOP_TIMERS, StopTimer(RESTART), *_answer(waiting, succeeded=False), Unpublish())
    match state.phase:
        case Unstarted() | Idle() | Scheduled() | Looking():
            step = _begin_closing(ending)
            return Step(step.state, (*stop, *step.effects))
        case Running(cycle) if cycle.swapped or state.ending:
            return Step(ending, stop)
        case Running() | Restarting():
            return Step(ending, (*stop, Interrupt()))
        case RollingBack():
            return Step(ending, stop)
        case Closing() | Closed():
            return Step(state)
        case _:
            assert_never(state.phase)


def _begin_closing(state: State) -> Step:
    live = () if state.live is None else (state.live,)
    limit = state.settings.bounded_drain
    dispose = tuple(Dispose(each.cycle, limit, limit) for each in live)
    # The bridges that drain already may have no limit of their own.
    timer = (SetTimer(CLOSE, limit),) if state.retired and _may_drain_for_ever(state) else ()
    waiting = (*state.tickets, *state.undos)
    closing = replace(
        state,
        phase=Closing(),
        live=None,
        closed_at=state.generation,
        retired=(*state.retired, *live),
        tickets=(),
        undos=(),
        lost=None,
    )
    return Step(
        closing, (*_answer(waiting, succeeded=False), *timer, *dispose, Release(state.settings.release_timeout))
    )


def _may_drain_for_ever(state: State) -> bool:
    return math.isinf(state.settings.drain_timeout)


def _draining(state: State, event: Draining) -> Step:
    return Step(_timed_dispose(state, event), _cut_off(state))


def _cut_off(state: State) -> tuple[CutOff, ...]:
    """Cut off the oldest draining bridges if there are too many."""
    too_many = state.retired[: max(0, len(state.retired) - MOST_DRAINING)]
    return tuple(CutOff(each.cycle) for each in too_many)


def _bridge_disposed(state: State, event: Disposed | DisposeFailed) -> Step:
    generation = next((each for each in state.retired if each.cycle == event.bridge), None)
    if generation is None:
        return Step(state)
    state = _timed_dispose(replace(state, retired=tuple(each for each in state.retired if each != generation)), event)
    if isinstance(event, DisposeFailed):
        return Step(state, (Emit(DisposeFailedNotice(generation.number, event.error)),))
    return Step(state)


# --- helpers


def _cycle_of(state: State, action: Action) -> Cycle | None:
    """Return the running cycle if ``action`` belongs to it, else None: outcomes of other actions are ignored."""
    match state.phase:
        case Running(cycle) if action in cycle.plan.actions:
            return cycle
        case _:
            return None


def _debounce(state: State) -> SetTimer:
    return SetTimer(DEBOUNCE, state.settings.debounce)


def _max_wait(state: State) -> SetTimer:
    return SetTimer(MAX_WAIT, state.settings.max_wait)


def _answer(tickets: tuple[int, ...], *, succeeded: bool) -> tuple[Answer, ...]:
    return (Answer(tickets, succeeded),) if tickets else ()


def _timed_dispose(state: State, event: Draining | Disposed | DisposeFailed) -> State:
    """Record the duration if the running cycle replaced this bridge; bridges of earlier cycles may still drain."""
    match state.phase:
        case Running(cycle) if any(
            isinstance(action, Dispose) and action.bridge == event.bridge for action in cycle.plan.actions
        ):
            return replace(state, phase=Running(cycle.timed("dispose", event.seconds)))
        case _:
            return state
