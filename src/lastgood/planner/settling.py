"""``settle()``: waiting until what is on disk has been attempted.

A caller waits for a reading that begins after its call. If that finds no edit, and no cycle is under way, the answer is whether the
status is good. If it finds one, a cycle starts without a debounce, as the caller says that the editing is done.
"""

from __future__ import annotations

from msgspec.structs import replace

from lastgood.planner import events, phases
from lastgood.planner.phases import Step, answer, look, start_looking
from lastgood.planner.states import Closed, Closing, Idle, Scheduled, State

__all__ = ["requested", "settled"]


def requested(state: State, event: events.SettleRequested) -> Step:
    """Have the watched files read for a caller of ``settle()``."""
    if state.ending or isinstance(state.phase, Closing | Closed):
        return Step(state, answer((event.ticket,), succeeded=False))
    step = look(state)
    waiting = (*state.settling, (event.ticket, step.state.looks))
    return Step(replace(step.state, settling=waiting), step.effects)


def settled(step: Step) -> Step:
    """Add to ``step`` what callers of ``settle()`` cause: their answers, or a cycle that they are waiting for."""
    state = step.state
    ends = state.ending or isinstance(state.phase, Closing | Closed)
    due = tuple(ticket for ticket, _ in state.settling) if ends else state.due
    if not due or (state.following is not None and not ends):
        return step
    match state.phase:
        case Scheduled() if not ends:
            return start_looking(state).preceded_by(*step.effects, *phases.STOP_EDIT_TIMERS)
        case Idle() | Closing() | Closed():
            pass
        case _ if not ends:
            return step
    left = tuple(waiting for waiting in state.settling if waiting[0] not in due)
    is_live = not ends and state.staleness is None
    return Step(replace(state, settling=left), (*step.effects, *answer(due, succeeded=is_live)))
