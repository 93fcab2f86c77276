"""The one place that decides: ``plan(state, event) -> Step(state, effects)`` (contract §§4, 5, 8).

The rules:

- A cycle starts from a *look*, a reading of everything watched that begins after the cause of the cycle. What was read is
  then *attempted*; an edit is a difference from it. So an edit at any moment is found by a later reading, and leads to a
  later cycle, and bytes that failed are not tried again by themselves. A file that changes while a cycle runs counts as
  edited even if it changes back: the cycle may have read either.
- The plan of a cycle is whole before it starts. Actions are done in order. When one fails, or a close comes before the swap,
  everything up to and including it is undone, the last first; an undoing that fails does not stop the others.
- The swap is the commit point. After it there are only notices; a close then lets the cycle end in silence.
- One cycle at a time: ``Running`` and ``RollingBack`` hold it, and nothing starts another from there.
- An edit restarts the ``debounce`` timer; ``max-wait`` is set by the first edit and not by later ones. A call of
  ``reload_now()`` waits for no timer, and is answered by a cycle that starts after it.
- At most two replaced bridges drain at once, those that broke down among them; one more, and the oldest is cut off.
- A live bridge that is lost is made once more from its own generation, each time after a longer wait, and after a few
  losses within a minute no more. Whatever leads to a cycle comes first: the cycle replaces the bridge. A fresh one that is
  lost on probation is not made once more: the generation before is brought back.
- What a live bridge has loaded late is pinned before it can be made once more.
- When nothing is about to replace a live bridge, after a cycle or a restart, it prepares what the next one can take over: that
  is for the next cycle, and must not compete with this one.
- An undo is a cycle that stages what was kept. It attempts no bytes of the disk, so that no edit is lost by it.
- A start that fails ends the session. After a close was asked for, nothing is emitted.
"""

from __future__ import annotations

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
from lastgood.planner.brake import counted, restart_wait
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

__all__ = ["DEBOUNCE", "MAX_WAIT", "RESTART", "Step", "plan", "plan_of_cycle"]

DEBOUNCE = "debounce"
MAX_WAIT = "max-wait"
RESTART = "restart"
MOST_DRAINING = 2
_STOP_TIMERS: tuple[StopTimer, ...] = (StopTimer(DEBOUNCE), StopTimer(MAX_WAIT))


@dataclass(frozen=True, slots=True)
class Step:
    """The state after an event, and the effects that are to follow, in order."""

    state: State
    effects: tuple[Effect, ...] = ()


def plan(state: State, event: Event) -> Step:
    """What follows from ``event`` in ``state``. Pure and total: no clock, no IO, no randomness; an event that means nothing
    in a state (a timer that was stopped, say) changes nothing.
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
        case RolledBack() | RollbackFailed():
            return _rolled_back(state, event)
        case Draining():
            return _draining(state, event)
        case Disposed() | DisposeFailed():
            return _gone(state, event)
        case Lost():
            return _lost(state, event)
        case Restarted() | RestartFailed():
            return _restarted(state, event)
        case LoadedLate():
            return _loaded_late(state, event)
        case Noticed():
            return Step(state, (Emit(event.notice),))
        case Released():
            return Step(replace(state, phase=Closed()))
        case _:
            assert_never(event)


def plan_of_cycle(settings: Settings, number: int, live: Generation | None, *, undo: bool = False) -> Plan:
    """The actions of cycle ``number``, in the contract's order (§4). ``undo``: it brings back the generation before."""
    stage = Stage(number, undo, settings.stage_timeout)
    actions: tuple[Action, ...] = (stage, Promote(number), Warm(number, settings.warm_timeout), Swap(number))
    if live is not None:
        actions += (Dispose(live.cycle, settings.drain_timeout),)
    return Plan(number, (*actions, Watch(number)), settings.drain_timeout)


# --- what leads to a cycle


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
    news = changed & differing(state.attempted, event.files)
    if isinstance(state.phase, Running | RollingBack):
        state = replace(state, disturbed=state.disturbed | changed)
    state = replace(state, observed={**state.observed, **event.files})
    wanted = bool(state.tickets or _undo_next(state))
    manual = isinstance(state.phase, Looking) and wanted
    changes = tuple(Emit(Change(path, manual)) for path in sorted(news))
    match state.phase:
        case Idle() if news:
            return Step(replace(state, phase=Scheduled()), (*changes, _debounce(state), _max_wait(state)))
        case Scheduled() if not state.edits:
            step = _idle(state)
            return Step(step.state, (*_STOP_TIMERS, *step.effects))
        case Scheduled() if news:
            return Step(state, (*changes, _debounce(state)))
        case Restarting() if news:
            return Step(state, (*changes, _debounce(state)))
        case Looking() if event.asked and (state.edits or wanted):
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
        case Idle() if event.timer == RESTART and state.lost is not None and state.live is not None:
            settings = state.settings
            broken = -1 - state.restarts
            restart = Restart(state.live.cycle, settings.warm_timeout, settings.drain_timeout, broken)
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
    number = state.cycle + 1
    undoes = _undo_next(state)
    whole = plan_of_cycle(state.settings, number, state.live, undo=undoes is not None)
    if undoes is None:
        cycle = Cycle(number, bool(state.tickets), state.edits, state.tickets, whole)
        state = replace(state, attempted=state.observed, disturbed=frozenset(), tickets=())
    elif undoes.reason is None:
        cycle = Cycle(number, True, (), state.undos[:1], whole, undoes)
        state = replace(state, undos=state.undos[1:])
    else:
        cycle = Cycle(number, False, (), (), whole, undoes)
        state = replace(state, lost=None if state.lost is None else replace(state.lost, failed_probation=False))
    begun = replace(state, phase=Running(cycle), cycle=number)
    return Step(begun, (Emit(ReloadStart(number, cycle.manual, cycle.changed)), *whole.actions))


def _undo_next(state: State) -> Undone | None:
    """Why the next cycle is to bring back the generation before, if it is. Callers are served in the order they came."""
    if state.lost is not None and state.lost.failed_probation:
        return Undone(state.generation, state.lost.error)
    if state.undos and not (state.tickets and state.tickets[0] < state.undos[0]):
        return Undone(state.generation)
    return None


def _rest(state: State) -> Step:
    """After a cycle or a restart: to what has been waiting for it."""
    if state.ending:
        return _let_go(state)
    if state.tickets or _undo_next(state):
        return Step(replace(state, phase=Looking()), (Look(),))
    prepare = () if state.live is None or state.lost is not None else (Prepare(state.live.cycle),)
    if state.edits:
        return Step(replace(state, phase=Scheduled()), (*prepare, _debounce(state), _max_wait(state)))
    idle = _idle(state)
    return Step(idle.state, (*prepare, *idle.effects))


def _idle(state: State) -> Step:
    """Nothing waits, but perhaps a bridge that is lost."""
    wait = None if state.lost is None else restart_wait(state.losses)
    timer = () if wait is None else (SetTimer(RESTART, wait),)
    return Step(replace(state, phase=Idle()), timer)


# --- a bridge that is lost


def _lost(state: State, event: Lost) -> Step:
    live = state.live
    if live is None or live.cycle != event.bridge or state.lost is not None:
        return Step(state)
    lost = LostBridge(event.error, event.at, failed_probation=event.at < live.probation_ends)
    return _told_lost(replace(state, losses=counted(state.losses, event.at), lost=lost), live, event.error)


def _restarted(state: State, event: Restarted | RestartFailed) -> Step:
    if not isinstance(state.phase, Restarting) or state.live is None:
        return Step(state)
    if isinstance(event, Restarted):
        broken = (replace(state.live, cycle=event.effect.broken),) if event.draining else ()
        back = replace(state, lost=None, retired=state.retired + broken, restarts=state.restarts + 1)
        rest = _rest(back)
        return Step(rest.state, (Emit(BridgeRestored(state.live.number)), *_cut_off(back), *rest.effects))
    if event.error is None:
        return _rest(state)
    told = _told_lost(replace(state, losses=counted(state.losses, event.at), phase=Idle()), state.live, event.error)
    rest = _rest(told.state)
    return Step(rest.state, (*told.effects[:1], *rest.effects))


def _told_lost(state: State, live: Generation, error: BaseException) -> Step:
    if not isinstance(state.phase, Idle) or (state.lost is not None and state.lost.failed_probation):
        told = Emit(BridgeLost(live.number, error))
        if isinstance(state.phase, Idle):
            return Step(replace(state, phase=Looking()), (told, Look()))
        return Step(state, (told,))
    step = _idle(state)
    return Step(step.state, (Emit(BridgeLost(live.number, error, restart_wait(state.losses))), *step.effects))


def _loaded_late(state: State, event: LoadedLate) -> Step:
    if state.live is None or state.live.cycle != event.bridge:
        return Step(state)
    if state.ending:
        return Step(state, (Pin(event.bridge),))
    match state.phase:
        case Running(Cycle(swapped=True, staged=Staged(watch=watch))):
            committed = False  # the end of the cycle does it
        case _:
            watch, committed = state.watched or WatchSet(()), True
    notices = (Emit(ModuleLoadedLate(late.name, late.path)) for late in event.modules)
    told: tuple[Effect, ...] = (*notices, Pin(event.bridge))
    fresh = {late.path: late.digest for late in event.modules}
    known = frozenset(state.late)
    fresh = {path: fresh[path] for path in watch.lacking(fresh) if path not in known}
    if not fresh:
        return Step(state, told)
    read: Snapshot = {path: {path: digest} for path, digest in fresh.items()}
    state = replace(
        state,
        late=(*state.late, *fresh),
        attempted=merge(state.attempted, read),
        observed=merge(state.observed, read),
    )
    if not committed:
        return Step(state, told)
    watched = watch.besides(fresh)
    return Step(replace(state, watched=watched), (*told, Emit(WatchPaths(watched.paths)), Arm(tuple(fresh))))


# --- in a cycle


def _done(state: State, event: Staged | Promoted | Warmed | Swapped | Watched) -> Step:
    cycle = _cycle_of(state, event.effect)
    if cycle is None:
        return Step(state)
    effects: tuple[Effect, ...] = ()
    cycle = cycle.timed(event.effect.name, event.seconds)
    match event:
        case Staged():
            cycle = replace(cycle, staged=event)
            state, effects = _armed(state, event)
        case Promoted():
            cycle = replace(cycle, promoted=event)
        case Warmed():
            pass
        case Swapped():
            cycle = replace(cycle, swapped=True)
            retired = state.retired if state.live is None else (*state.retired, state.live)
            stale = None if cycle.undoes is None else Stale(cycle.undoes, event.at)
            fresh = _fresh(state, cycle, event.at)
            swapped = replace(
                state, phase=Running(cycle), live=fresh, retired=retired, stale=stale, lost=None, losses=(), late=()
            )
            # A close that came while the swap was under way has dropped what follows it.
            return Step(swapped, cycle.plan.after(event.effect) if state.ending else ())
        case Watched():
            return _succeeded(state, cycle)
        case _:
            assert_never(event)
    if state.ending:
        return _roll_back(state, cycle, event.effect, None)
    return Step(replace(state, phase=Running(cycle)), effects)


def _fresh(state: State, cycle: Cycle, at: float) -> Generation:
    """What is live from now on. On trial is what has another generation of this session to go back to, and is not one itself."""
    on_probation = (
        cycle.staged is not None and cycle.staged.previous and state.live is not None and cycle.undoes is None
    )
    trial = cycle.staged.probation if on_probation and cycle.staged is not None else 0.0
    return Generation(state.generation + 1, cycle.number, at, at + trial)


def _succeeded(state: State, cycle: Cycle) -> Step:
    if cycle.staged is None or cycle.promoted is None:
        return Step(state)
    watch = cycle.staged.watch.besides(state.late)
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
    rest = _rest(settled)
    return Step(rest.state, (*effects, *rest.effects))


def _failed(state: State, event: Failed) -> Step:
    cycle = _cycle_of(state, event.effect)
    if cycle is None:
        return Step(state)
    armed, changes = _armed(state, event)
    step = _roll_back(armed, cycle, event.effect, None if state.ending else event)
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
        told = ReloadError(
            cycle.number,
            cycle.manual,
            cycle.changed,
            error=failure.error,
            effect=failure.effect.name,
            live_generation=None if state.live is None else state.live.number,
        )
        effects.append(Emit(told))
        since = failure.at if state.stale is None else state.stale.since
        state = replace(state, stale=Stale(failure.error, since), ending=state.ending or state.live is None)
    effects += _answer(cycle.tickets, succeeded=False)
    rest = _rest(state)
    return Step(rest.state, (*effects, *rest.effects))


def _armed(state: State, event: Staged | Failed) -> tuple[State, tuple[Effect, ...]]:
    """What a stage has read of roots that are new was attempted; of the others, the look before it was.

    Bytes it was made from that are not those were there for a moment between two readings: an edit, too.
    """
    known = state.edits
    attempted = merge(state.attempted, event.read)
    strayed = differing(attempted, overlay(attempted, event.used))
    state = replace(
        state,
        attempted=attempted,
        observed=overlay(merge(state.observed, event.read), {path: event.used[path] for path in strayed}),
        disturbed=state.disturbed | strayed,
    )
    news = tuple(path for path in state.edits if path not in known)
    return replace(state, disturbed=state.disturbed.union(news)), tuple(Emit(Change(path)) for path in news)


# --- letting go


def _close_requested(state: State) -> Step:
    waiting = (*state.tickets, *state.undos)
    ending = replace(state, ending=True, tickets=(), undos=())
    stop: tuple[Effect, ...] = (*_STOP_TIMERS, StopTimer(RESTART), *_answer(waiting, succeeded=False), Unpublish())
    match state.phase:
        case Unstarted() | Idle() | Scheduled() | Looking():
            step = _let_go(ending)
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


def _let_go(state: State) -> Step:
    live = () if state.live is None else (state.live,)
    dispose = tuple(Dispose(each.cycle, state.settings.drain_timeout) for each in live)
    waiting = (*state.tickets, *state.undos)
    letting_go = replace(
        state,
        phase=Closing(),
        live=None,
        closed_at=state.generation,
        retired=(*state.retired, *live),
        tickets=(),
        undos=(),
        lost=None,
    )
    return Step(letting_go, (*_answer(waiting, succeeded=False), *dispose, Release(state.settings.stage_timeout)))


def _draining(state: State, event: Draining) -> Step:
    return Step(_timed_dispose(state, event), _cut_off(state))


def _cut_off(state: State) -> tuple[CutOff, ...]:
    """The oldest of those that drain, if they are too many."""
    too_many = state.retired[: max(0, len(state.retired) - MOST_DRAINING)]
    return tuple(CutOff(each.cycle) for each in too_many)


def _gone(state: State, event: Disposed | DisposeFailed) -> Step:
    was = next((each for each in state.retired if each.cycle == event.bridge), None)
    if was is None:
        return Step(state)
    state = _timed_dispose(replace(state, retired=tuple(each for each in state.retired if each != was)), event)
    if isinstance(event, DisposeFailed):
        return Step(state, (Emit(DisposeFailedNotice(was.number, event.error)),))
    return Step(state)


# --- small parts


def _cycle_of(state: State, action: Action) -> Cycle | None:
    """The cycle under way, if ``action`` belongs to it: the outcome of any other means nothing."""
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
    """Note the time, if the running cycle is the one that replaced this bridge; others may still drain."""
    match state.phase:
        case Running(cycle) if any(
            isinstance(action, Dispose) and action.bridge == event.bridge for action in cycle.plan.actions
        ):
            return replace(state, phase=Running(cycle.timed("dispose", event.seconds)))
        case _:
            return state
