"""The step of a transition, and the phases between cycles: which one comes next, and what it begins with."""

from __future__ import annotations

import dataclasses
import math

from msgspec import Struct
from msgspec.structs import replace

from lastgood.effects import Action, Answer, Dispose, Effect, Look, Prepare, Release, Restart, SetTimer, StopTimer
from lastgood.errors import Undone
from lastgood.planner.brake import restart_wait
from lastgood.planner.settings import Settings
from lastgood.planner.states import Closing, Generation, Idle, Looking, Restarting, Scheduled, State

__all__ = [
    "AFTER_HINT",
    "DEBOUNCE",
    "IDLE_LOOK",
    "LAST_LOOK",
    "MAX_WAIT",
    "QUIET",
    "RESTART",
    "SECOND_LOOK",
    "STOP_EDIT_TIMERS",
    "STOP_TIMERS",
    "SUPERSEDE",
    "Step",
    "answer",
    "begin_closing",
    "debounce",
    "dispose_of",
    "drain_timer",
    "drop_waiting",
    "go_idle",
    "go_on_waiting",
    "idle_look",
    "look",
    "make_way",
    "max_wait",
    "next_phase",
    "next_undo",
    "restart_of",
    "start_looking",
    "when_pinned",
]

DEBOUNCE = "debounce"
MAX_WAIT = "max-wait"
RESTART = "restart"
SECOND_LOOK = "second-look"
LAST_LOOK = "last-look"
IDLE_LOOK = "idle-look"
SUPERSEDE = "supersede"
QUIET = "quiet"
STOP_EDIT_TIMERS = (StopTimer(DEBOUNCE), StopTimer(MAX_WAIT))
STOP_TIMERS = (
    *STOP_EDIT_TIMERS,
    StopTimer(RESTART),
    StopTimer(SECOND_LOOK),
    StopTimer(LAST_LOOK),
    StopTimer(IDLE_LOOK),
    StopTimer(SUPERSEDE),
    StopTimer(QUIET),
)

AFTER_HINT = (0.05, 0.45)
"""Seconds from the look after a hint to the second one, and from that to the last one."""
_POLL = 1.0
"""Seconds between two looks while the system cannot watch."""
_POLL_SHARE = 0.25
"""The largest share of the time that looks may take while the system does not watch."""
_IDLE_SHARE = 0.02
"""The largest share of the time that these looks may take while it does."""


class Step(Struct, frozen=True):
    """The state after an event, and the effects to perform next, in order."""

    state: State
    effects: tuple[Effect, ...] = ()

    def preceded_by(self, *effects: Effect) -> Step:
        """Return the same step with ``effects`` before its own."""
        return Step(self.state, (*effects, *self.effects))


def next_phase(state: State) -> Step:
    """Choose the phase after a cycle or a restart, by the requests and edits that arrived meanwhile."""
    if state.ending:
        return begin_closing(state)
    leads = state.following is None
    if leads and (state.tickets or next_undo(state) or (state.causes and not state.blocked and state.due)):
        return start_looking(state)
    is_there = state.live is not None and state.lost is None and not state.away
    prepare = (Prepare(state.live.cycle, state.edited),) if is_there and state.live is not None else ()
    if state.causes and not state.blocked:
        return Step(replace(state, phase=Scheduled()), (*prepare, debounce(state), max_wait(state)))
    return go_idle(state).preceded_by(*prepare)


def next_undo(state: State) -> Undone | None:
    """Return the reason if the next cycle is an undo, else None. Callers are served in the order of their requests."""
    if state.lost is not None and state.lost.failed_probation:
        return Undone(state.generation, state.lost.error)
    if state.undos and not (state.tickets and state.tickets[0] < state.undos[0]):
        return Undone(state.generation)
    return None


def go_idle(state: State) -> Step:
    """Go idle; if the live bridge is lost, schedule its restart; if it has made way for nothing, restart it."""
    if state.away and state.lost is None and state.live is not None:
        return make_way(replace(state, phase=Restarting()), (restart_of(state, state.live),))
    wait = None if state.lost is None else restart_wait(state.losses)
    timer = () if wait is None else (SetTimer(RESTART, wait),)
    return Step(replace(state, phase=Idle()), timer)


def look(state: State) -> Step:
    """Have the watched files read, in whatever phase."""
    number = state.looks + 1
    return Step(replace(state, looks=number), (Look(number),))


def start_looking(state: State) -> Step:
    """Have the watched files read, and wait for that reading: a cycle is about to start."""
    step = look(state)
    return Step(replace(step.state, phase=Looking(step.state.looks)), step.effects)


def idle_look(state: State) -> tuple[SetTimer, ...]:
    """Return the timer for a look that nothing else has caused, if there is to be one."""
    asked = 0.0 if state.watched is None else state.watched.poll
    if asked or state.polling:
        seconds = max(asked or _POLL, state.reading_seconds / _POLL_SHARE)
    else:
        seconds = max(state.settings.idle_look, state.reading_seconds / _IDLE_SHARE)
    return (SetTimer(IDLE_LOOK, seconds),) if math.isfinite(seconds) else ()


def begin_closing(state: State) -> Step:
    """Dispose the live bridge, and release everything when no bridge drains any more."""
    live = () if state.live is None or state.away else (state.live,)
    limit = state.settings.bounded_drain
    dispose = tuple(dataclasses.replace(dispose_of(state.settings, each), timeout=limit) for each in live)
    # Where calls on replaced bridges have no limit, no timer is running for those that drain already.
    untimed = tuple(each.cycle for each in state.retired) if math.isinf(state.settings.drain_timeout) else ()
    timers = tuple(SetTimer(drain_timer(bridge), limit) for bridge in untimed)
    waiting = (*state.tickets, *state.undos)
    closing = replace(
        state,
        phase=Closing(),
        live=None,
        closed_at=state.generation,
        retired=(*state.retired, *live),
        timed=state.timed.union(untimed),
        away=False,
        tickets=(),
        undos=(),
    )
    step = when_pinned(closing, (*dispose, Release(state.settings.release_timeout)))
    return step.preceded_by(*answer(waiting, succeeded=False), *timers)


def when_pinned(state: State, actions: tuple[Action, ...]) -> Step:
    """Ask for ``actions`` as soon as no pin is under way: they need the modules that the live bridge has imported late."""
    return Step(replace(state, held=actions)) if state.pinning else Step(state, actions)


def make_way(state: State, actions: tuple[Action, ...]) -> Step:
    """Have the live bridge disposed, if it is still there, and ask for ``actions`` when no bridge is left."""
    waiting = replace(state, vacating=actions)
    if state.live is not None and not state.away:
        if state.pinning:
            return Step(waiting)
        dispose = dispose_of(state.settings, state.live, makes_way=True)
        return Step(replace(waiting, away=True, retired=(*state.retired, state.live)), (dispose,))
    return Step(waiting) if state.retired else when_pinned(state, actions)


def go_on_waiting(state: State) -> Step:
    """Let the actions that wait for :func:`make_way` go on, as far as they can now."""
    return make_way(replace(state, vacating=()), state.vacating) if state.vacating else Step(state)


def dispose_of(settings: Settings, replaced: Generation, *, makes_way: bool = False) -> Dispose:
    """Return the action that disposes the bridge of ``replaced``, which makes way, or has been replaced already."""
    limits = settings.drain_timeout, settings.dispose_timeout
    return Dispose(replaced.cycle, *limits, in_background=makes_way or replaced.ends_in_background, makes_way=makes_way)


def restart_of(state: State, live: Generation) -> Restart:
    """Return the action that restarts the bridge of ``live``."""
    settings = state.settings
    return Restart(live.cycle, settings.warm_timeout, -1 - state.restarts, settings.dispose_timeout)


def drop_waiting(state: State) -> State:
    """Return ``state`` without the actions that wait."""
    return replace(state, held=(), vacating=())


def drain_timer(bridge: int) -> str:
    """Return the name of the timer that limits the draining of ``bridge``."""
    return f"drain {bridge}"


def debounce(state: State) -> SetTimer:
    """Return the timer that waits for a pause in the edits."""
    return SetTimer(DEBOUNCE, state.settings.debounce)


def max_wait(state: State) -> SetTimer:
    """Return the timer that limits how long edits can delay a cycle."""
    return SetTimer(MAX_WAIT, state.settings.max_wait)


def answer(tickets: tuple[int, ...], *, succeeded: bool) -> tuple[Answer, ...]:
    """Return the answer to the holders of ``tickets``, if there are any."""
    return (Answer(tickets, succeeded),) if tickets else ()
