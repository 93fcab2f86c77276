"""The one place that decides: ``plan(state, event) -> Step(state, effects)`` (contract §§4, 5, 8).

The rules:

- A cycle starts from a *look*, a reading of everything watched that begins after the cause of the cycle. What was read is
  then *attempted*; an edit is a difference from it. So an edit at any moment is found by a later reading, and leads to a
  later cycle, and bytes that failed are not tried again by themselves. A file that changes while a cycle runs counts as
  edited even if it changes back: the cycle may have read either.
- The plan of a cycle is whole before it starts. Deeds are done in order. When one fails, or a close comes before the swap,
  everything up to and including it is undone, the last first; an undoing that fails does not stop the others.
- The swap is the commit point. After it there are only notices; a close then lets the cycle end in silence.
- One cycle at a time: ``Running`` and ``Undoing`` hold it, and nothing starts another from there.
- An edit restarts the ``debounce`` timer; ``max-wait`` is set by the first edit and not by later ones. A call of
  ``reload_now()`` waits for no timer, and is answered by a cycle that starts after it.
- At most two replaced bridges drain at once; one more, and the oldest is cut off.
- A start that fails ends the session. After a close was asked for, nothing is emitted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import assert_never

from lastgood.effects.cycle import (
    Answer,
    CutOff,
    Deed,
    Dispose,
    Effect,
    Emit,
    Interrupt,
    Look,
    Promote,
    Release,
    SetTimer,
    Stage,
    StopTimer,
    Swap,
    Unpublish,
    Warm,
    Watch,
)
from lastgood.effects.plan import Plan
from lastgood.planner.events import (
    CloseRequested,
    Disposed,
    DisposeFailed,
    Draining,
    Event,
    Failed,
    Noticed,
    Observed,
    Promoted,
    Released,
    ReloadRequested,
    RollbackFailed,
    RolledBack,
    Staged,
    Started,
    Swapped,
    TimerElapsed,
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
    Running,
    Scheduled,
    Settings,
    State,
    Undoing,
    Unstarted,
)
from lastgood.planner.watch_set import differing, merge, overlay, restrict
from lastgood.watch_events import (
    Change,
    ReloadError,
    ReloadStart,
    ReloadSuccess,
    WatchPaths,
)
from lastgood.watch_events import DisposeFailed as DisposeFailedNotice
from lastgood.watch_events import RollbackFailed as RollbackFailedNotice

__all__ = ["DEBOUNCE", "MAX_WAIT", "Step", "plan", "plan_of_cycle"]

DEBOUNCE = "debounce"
MAX_WAIT = "max-wait"
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
            return _timer_elapsed(state)
        case ReloadRequested():
            return _reload_requested(state, event)
        case CloseRequested():
            return _close_requested(state)
        case Staged() | Promoted() | Warmed() | Swapped() | Watched():
            return _done(state, event)
        case Failed():
            return _failed(state, event)
        case RolledBack() | RollbackFailed():
            return _undone(state, event)
        case Draining():
            return _draining(state, event)
        case Disposed() | DisposeFailed():
            return _gone(state, event)
        case Noticed():
            return Step(state, (Emit(event.notice),))
        case Released():
            return Step(replace(state, phase=Closed()))
        case _:
            assert_never(event)


def plan_of_cycle(settings: Settings, number: int, live: Generation | None) -> Plan:
    """The deeds of cycle ``number``, in the contract's order (§4)."""
    deeds: tuple[Deed, ...] = (Stage(number), Promote(number), Warm(number, settings.warm_timeout), Swap(number))
    if live is not None:
        deeds += (Dispose(live.cycle, settings.drain_timeout),)
    return Plan(number, (*deeds, Watch(number)), settings.drain_timeout)


# --- what leads to a cycle


def _started(state: State, event: Started) -> Step:
    match state.phase:
        case Unstarted():
            return _begin(replace(state, tickets=(event.ticket, *state.tickets)), manual=True)
        case Idle() | Scheduled() | Looking() | Running() | Undoing():
            return Step(state)
        case Closing() | Closed():
            return Step(state, _answer((event.ticket,), succeeded=False))
        case _:
            assert_never(state.phase)


def _observed(state: State, event: Observed) -> Step:
    changed = differing(state.observed, event.files)
    news = changed & differing(state.attempted, event.files)
    if isinstance(state.phase, Running | Undoing):
        state = replace(state, disturbed=state.disturbed | changed)
    state = replace(state, observed={**state.observed, **event.files})
    manual = isinstance(state.phase, Looking) and bool(state.tickets)
    changes = tuple(Emit(Change(path, manual)) for path in sorted(news))
    match state.phase:
        case Idle() if news:
            return Step(replace(state, phase=Scheduled()), (*changes, _debounce(state), _max_wait(state)))
        case Scheduled() if not state.edits:
            return Step(replace(state, phase=Idle()), _STOP_TIMERS)
        case Scheduled() if news:
            return Step(state, (*changes, _debounce(state)))
        case Looking() if event.asked and (state.edits or state.tickets):
            step = _begin(state, manual=bool(state.tickets))
            return Step(step.state, (*changes, *step.effects))
        case Looking() if event.asked:
            return Step(replace(state, phase=Idle()))
        case Unstarted() | Closing() | Closed():
            return Step(state)
        case Idle() | Scheduled() | Looking() | Running() | Undoing():
            return Step(state, changes)
        case _:
            assert_never(state.phase)


def _timer_elapsed(state: State) -> Step:
    match state.phase:
        case Scheduled():
            return Step(replace(state, phase=Looking()), (*_STOP_TIMERS, Look()))
        case Unstarted() | Idle() | Looking() | Running() | Undoing() | Closing() | Closed():
            return Step(state)
        case _:
            assert_never(state.phase)


def _reload_requested(state: State, event: ReloadRequested) -> Step:
    waiting = replace(state, tickets=(*state.tickets, event.ticket))
    match state.phase:
        case Idle():
            return Step(replace(waiting, phase=Looking()), (Look(),))
        case Scheduled():
            return Step(replace(waiting, phase=Looking()), (*_STOP_TIMERS, Look()))
        case Unstarted() | Looking():
            return Step(waiting)
        case Running() | Undoing() if not state.ending:
            return Step(waiting)
        case Running() | Undoing() | Closing() | Closed():
            return Step(state, _answer((event.ticket,), succeeded=False))
        case _:
            assert_never(state.phase)


def _begin(state: State, *, manual: bool) -> Step:
    number = state.cycle + 1
    whole = plan_of_cycle(state.settings, number, state.live)
    cycle = Cycle(number, manual, state.edits, state.tickets, whole)
    begun = replace(
        state, phase=Running(cycle), cycle=number, attempted=state.observed, disturbed=frozenset(), tickets=()
    )
    return Step(begun, (Emit(ReloadStart(number, manual, cycle.changed)), *whole.deeds))


def _rest(state: State) -> Step:
    """After a cycle: to what has been waiting for it."""
    if state.ending:
        return _let_go(state)
    if state.tickets:
        return Step(replace(state, phase=Looking()), (Look(),))
    if state.edits:
        return Step(replace(state, phase=Scheduled()), (_debounce(state), _max_wait(state)))
    return Step(replace(state, phase=Idle()))


# --- in a cycle


def _done(state: State, event: Staged | Promoted | Warmed | Swapped | Watched) -> Step:
    cycle = _cycle_of(state, event.effect)
    if cycle is None:
        return Step(state)
    effects: tuple[Effect, ...] = ()
    cycle = _timed(cycle, event.effect.name, event.seconds)
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
            fresh = Generation(state.generation + 1, cycle.number)
            retired = state.retired if state.live is None else (*state.retired, state.live)
            swapped = replace(state, phase=Running(cycle), live=fresh, retired=retired, failure=None, stale_since=None)
            # A close that came while the swap was under way has dropped what follows it.
            return Step(swapped, cycle.plan.after(event.effect) if state.ending else ())
        case Watched():
            return _succeeded(state, cycle)
        case _:
            assert_never(event)
    if state.ending:
        return _undo(state, cycle, event.effect, None)
    return Step(replace(state, phase=Running(cycle)), effects)


def _succeeded(state: State, cycle: Cycle) -> Step:
    if cycle.staged is None or cycle.promoted is None:
        return Step(state)
    watch = cycle.staged.watch
    effects: list[Effect] = []
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
    )
    effects += [Emit(success), *_answer(cycle.tickets, succeeded=not state.ending)]
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
    step = _undo(armed, cycle, event.effect, None if state.ending else event)
    return Step(step.state, (*changes, *step.effects))


def _undo(state: State, cycle: Cycle, reached: Deed, failure: Failed | None) -> Step:
    undoing = cycle.plan.undo_through(reached)
    return Step(replace(state, phase=Undoing(cycle, failure, len(undoing))), undoing)


def _undone(state: State, event: RolledBack | RollbackFailed) -> Step:
    if not isinstance(state.phase, Undoing):
        return Step(state)
    cycle, failure, left = state.phase.cycle, state.phase.failure, state.phase.left - 1
    effects: list[Effect] = []
    if isinstance(event, RollbackFailed):
        cause = None if failure is None else failure.error
        effects.append(Emit(RollbackFailedNotice(event.effect.effect.name, event.error, cause)))
    if left:
        return Step(replace(state, phase=Undoing(cycle, failure, left)), tuple(effects))
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
        since = failure.at if state.stale_since is None else state.stale_since
        state = replace(state, failure=failure, stale_since=since, ending=state.ending or state.live is None)
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
    ending = replace(state, ending=True, tickets=())
    stop: tuple[Effect, ...] = (*_STOP_TIMERS, *_answer(state.tickets, succeeded=False), Unpublish())
    match state.phase:
        case Unstarted() | Idle() | Scheduled() | Looking():
            step = _let_go(ending)
            return Step(step.state, (*stop, *step.effects))
        case Running(cycle) if cycle.swapped or state.ending:
            return Step(ending, stop)
        case Running():
            return Step(ending, (*stop, Interrupt()))
        case Undoing():
            return Step(ending, stop)
        case Closing() | Closed():
            return Step(state)
        case _:
            assert_never(state.phase)


def _let_go(state: State) -> Step:
    live = () if state.live is None else (state.live,)
    dispose = tuple(Dispose(each.cycle, state.settings.drain_timeout) for each in live)
    letting_go = replace(state, phase=Closing(), live=None, retired=(*state.retired, *live), tickets=())
    return Step(letting_go, (*_answer(state.tickets, succeeded=False), *dispose, Release()))


def _draining(state: State, event: Draining) -> Step:
    too_many = state.retired[: max(0, len(state.retired) - MOST_DRAINING)]
    return Step(_timed_dispose(state, event), tuple(CutOff(each.cycle) for each in too_many))


def _gone(state: State, event: Disposed | DisposeFailed) -> Step:
    was = next((each for each in state.retired if each.cycle == event.bridge), None)
    if was is None:
        return Step(state)
    state = _timed_dispose(replace(state, retired=tuple(each for each in state.retired if each != was)), event)
    if isinstance(event, DisposeFailed):
        return Step(state, (Emit(DisposeFailedNotice(was.number, event.error)),))
    return Step(state)


# --- small parts


def _cycle_of(state: State, deed: Deed) -> Cycle | None:
    """The cycle under way, if ``deed`` belongs to it: the outcome of any other means nothing."""
    match state.phase:
        case Running(cycle) if deed in cycle.plan.deeds:
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
            isinstance(deed, Dispose) and deed.bridge == event.bridge for deed in cycle.plan.deeds
        ):
            return replace(state, phase=Running(_timed(cycle, "dispose", event.seconds)))
        case _:
            return state


def _timed(cycle: Cycle, effect: str, seconds: float) -> Cycle:
    return replace(cycle, timings={**cycle.timings, effect: seconds})
