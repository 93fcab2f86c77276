"""Transitions of bridges: the live one that is lost, restarted, or imports modules late, and the replaced ones that drain."""

from __future__ import annotations

import math

from msgspec.structs import replace

from lastgood.effects import Arm, CutOff, Dispose, Effect, Emit, Interrupt, Pin, Refuse, SetTimer, StopTimer
from lastgood.errors import Blame, BridgeError
from lastgood.planner import events
from lastgood.planner.brake import count_loss, restart_wait
from lastgood.planner.phases import (
    Step,
    dispose_of,
    drain_timer,
    drop_waiting,
    go_idle,
    go_on_waiting,
    make_way,
    next_phase,
    restart_of,
    start_looking,
    when_pinned,
)
from lastgood.planner.settings import MOST_DRAINING
from lastgood.planner.states import Closed, Closing, Cycle, Generation, Idle, Lost, Restarting, Running, State
from lastgood.planner.watch_set import Snapshot, WatchSet, merge
from lastgood.watch_events import BridgeLost, BridgeRestored, DisposeFailed, ModuleLoadedLate, WatchPaths

__all__ = [
    "blame_of",
    "bridge_disposed",
    "bridge_drains",
    "bridge_lost",
    "bridge_restarted",
    "drain_elapsed",
    "interrupt_restart",
    "modules_loaded_late",
    "not_restarted",
    "pin_ended",
    "restart",
    "restarted",
    "restore",
]
_NUMBERS = {2: "two", 16: "sixteen"}


# --- a lost bridge


def bridge_lost(state: State, event: events.Lost) -> Step:
    """Restart the live bridge, or go back to the generation before it if it was on probation and its code is to blame."""
    live = state.live
    if live is None or live.cycle != event.bridge or state.lost is not None or state.away:
        return Step(state)
    failed_probation = event.at < live.probation_ends and blame_of(event.error) == "code"
    lost = Lost(event.error, event.at, failed_probation)
    return _report_loss(replace(state, losses=count_loss(state.losses, event.at), lost=lost), live, event.error)


def restart(state: State) -> Step:
    """Begin a restart, when its timer has elapsed. A cycle or a close that has begun meanwhile takes precedence."""
    if not isinstance(state.phase, Idle) or state.lost is None or state.live is None:
        return Step(state)
    restarting = replace(state, phase=Restarting())
    if state.live.overlap and not state.away:
        return when_pinned(restarting, (restart_of(state, state.live),))
    return make_way(restarting, (restart_of(state, state.live),))


def restore(state: State) -> Step:
    """Restart the live bridge, which has made way for one that came to nothing."""
    assert state.live is not None, "a bridge that has made way is that of the live generation"
    return make_way(state, (restart_of(state, state.live),))


def interrupt_restart(state: State) -> Step:
    """End a restart, because something takes precedence over it."""
    if state.is_waiting:
        return next_phase(drop_waiting(state))
    return Step(state, (Interrupt(),))


def bridge_restarted(state: State, event: events.Restarted | events.RestartFailed) -> Step:
    """Go on with the new bridge and dispose the broken one; or count the failure as a loss."""
    if not isinstance(state.phase, Restarting) or state.live is None:
        return Step(state)
    if isinstance(event, events.Restarted):
        step = restarted(state, event)
        return next_phase(step.state).preceded_by(*step.effects)
    if event.error is None or state.ending:
        return next_phase(state)
    step = not_restarted(state, event.error, event.at)
    lost_again = _report_loss(replace(step.state, phase=Idle()), state.live, event.error)
    return next_phase(lost_again.state).preceded_by(*step.effects, *lost_again.effects[:1])


def restarted(state: State, event: events.Restarted) -> Step:
    """Make the new bridge the live one; dispose the broken one, unless it had made way."""
    assert state.live is not None, "only the live bridge is restarted"
    notice = () if state.lost is None else (Emit(BridgeRestored(state.live.number)),)
    back = replace(state, lost=None, away=False, restarts=state.restarts + 1)
    if state.away:
        return Step(back, notice)
    # Its other workers may still have calls, and its dispose() may hang: neither holds up the next cycle.
    broken = replace(state.live, cycle=event.effect.broken, ends_in_background=True)
    dispose = dispose_of(state.settings, broken)
    return Step(replace(back, retired=(*state.retired, broken)), (*notice, dispose))


def not_restarted(state: State, error: BaseException, at: float) -> Step:
    """Count a restart that failed as a loss. Calls that wait for the bridge do so no longer."""
    lost = Lost(error, at) if state.lost is None else state.lost
    refuse = (Refuse(error),) if state.away else ()
    return Step(replace(state, lost=lost, losses=count_loss(state.losses, at)), refuse)


def _report_loss(state: State, live: Generation, error: BaseException) -> Step:
    if not isinstance(state.phase, Idle) or (state.lost is not None and state.lost.failed_probation):
        is_final = restart_wait(state.losses) is None
        notice = Emit(BridgeLost(live.number, error, blame=blame_of(error), final=is_final))
        step = start_looking(state) if isinstance(state.phase, Idle) else Step(state)
        return step.preceded_by(notice)
    wait = restart_wait(state.losses)
    return go_idle(state).preceded_by(Emit(BridgeLost(live.number, error, wait, blame_of(error), final=wait is None)))


def blame_of(error: BaseException) -> Blame:
    """Return whose fault it is that a bridge was lost by ``error``."""
    return error.blame if isinstance(error, BridgeError) else "code"


# --- modules that are imported late


def modules_loaded_late(state: State, event: events.LoadedLate) -> Step:
    """Watch the modules, and have them stored with the live generation."""
    if state.live is None or state.live.cycle != event.bridge:
        return Step(state)
    state = replace(state, pinning=(*state.pinning, event.bridge))
    if state.ending:
        return Step(state, (Pin(event.bridge),))
    match state.phase:
        case Running(Cycle(swapped=True, staged=events.Staged(watch=watch))):
            committed = False  # the end of the cycle commits them
        case _:
            watch, committed = state.watched or WatchSet(()), True
    notices = (Emit(ModuleLoadedLate(late.name, late.path)) for late in event.modules)
    effects: tuple[Effect, ...] = (*notices, Pin(event.bridge))
    digests = {late.path: late.digest for late in event.modules}
    new_paths = {path: digests[path] for path in watch.uncovered(digests)}
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


def pin_ended(state: State, event: events.Pinned) -> Step:
    """Ask for the actions that were waiting for the last pin."""
    pinning = list(state.pinning)
    if event.bridge in pinning:
        pinning.remove(event.bridge)
    state = replace(state, pinning=tuple(pinning))
    return Step(state) if pinning else go_on_waiting(replace(state, held=())).preceded_by(*state.held)


# --- replaced bridges


def bridge_drains(state: State, event: events.Draining) -> Step:
    """Limit how long the bridge may drain, and cut off the oldest ones if too many do."""
    if isinstance(state.phase, Closed) or all(each.cycle != event.bridge for each in state.retired):
        return Step(state)
    state = _dispose_timed(state, event)
    if event.is_idle:
        return Step(state)
    settings = state.settings
    limit = settings.bounded_drain if isinstance(state.phase, Closing) else settings.drain_timeout
    if math.isinf(limit):
        return Step(state)
    state = replace(state, timed=state.timed | {event.bridge})
    draining = [each.cycle for each in state.retired if each.cycle in state.timed]
    most = MOST_DRAINING if state.live is None else state.live.most_draining
    why = f"was cut off: it was still in flight when {_NUMBERS.get(most, most)} later bridges had been replaced as well"
    timer = SetTimer(drain_timer(event.bridge), limit)
    return Step(state, (timer, *(CutOff(bridge, why) for bridge in draining[:-most])))


def drain_elapsed(state: State, timer: str) -> Step:
    """Cut off the bridge whose calls have had their time."""
    bridge = next((each for each in state.timed if drain_timer(each) == timer), None)
    if bridge is None:
        return Step(state)
    limit = state.settings.bounded_drain
    why = f"was cut off: it had not ended {limit:g} s after its bridge was replaced or closed"
    return Step(replace(state, timed=state.timed - {bridge}), (CutOff(bridge, why),))


def bridge_disposed(state: State, event: events.Disposed | events.DisposeFailed) -> Step:
    """Forget the bridge."""
    generation = next((each for each in state.retired if each.cycle == event.bridge), None)
    if generation is None:
        return Step(state)
    stop = (StopTimer(drain_timer(event.bridge)),) if event.bridge in state.timed else ()
    retired = tuple(each for each in state.retired if each != generation)
    state = _dispose_timed(replace(state, retired=retired, timed=state.timed - {event.bridge}), event)
    notice: tuple[Effect, ...] = ()
    if isinstance(event, events.DisposeFailed):
        notice = (Emit(DisposeFailed(generation.number, event.error)),)
    return go_on_waiting(state).preceded_by(*stop, *notice)


def _dispose_timed(state: State, event: events.Draining | events.Disposed | events.DisposeFailed) -> State:
    """Record the duration if the running cycle replaced this bridge; bridges of earlier cycles may still drain."""
    match state.phase:
        case Running(cycle) if any(
            isinstance(action, Dispose) and action.bridge == event.bridge for action in cycle.plan.actions
        ):
            return replace(state, phase=Running(cycle.timed("dispose", event.seconds)))
        case _:
            return state
