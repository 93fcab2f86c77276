"""Transitions by which a cycle that takes long is superseded by an edit that waits."""

from __future__ import annotations

import math

from msgspec.structs import replace

from lastgood.effects import Interrupt
from lastgood.planner import rollback, runaways
from lastgood.planner.phases import Step, debounce
from lastgood.planner.states import Cycle, Running, State

__all__ = ["may_be_superseded", "overdue", "settle_again", "supersede"]


def may_be_superseded(state: State, cycle: Cycle) -> bool:
    """Return whether an edit could supersede ``cycle``, if it takes long."""
    never = math.isinf(state.supersede_after) or cycle.undoes is not None
    return not (never or cycle.swapped or cycle.superseded)


def settle_again(state: State, cycle: Cycle) -> Step:
    """Wait until edits pause, because one came while ``cycle`` is running: it may be superseded then."""
    if not may_be_superseded(state, cycle):
        return Step(state)
    return Step(replace(state, phase=Running(replace(cycle, edits_settled=False))), (debounce(state),))


def overdue(state: State) -> Step:
    """Note that the running cycle is older than ``supersede_after``."""
    match state.phase:
        case Running(cycle):
            return supersede(state, replace(cycle, overdue=True))
        case _:
            return Step(state)


def supersede(state: State, cycle: Cycle) -> Step:
    """Supersede ``cycle``, which is running, if it is overdue and an edit waits."""
    is_due = cycle.overdue and cycle.edits_settled and bool(state.edits) and not runaways.keep_superseding(state)
    if state.ending or not (is_due and may_be_superseded(state, cycle)):
        return Step(replace(state, phase=Running(cycle)))
    superseded = replace(cycle, superseded=True)
    if state.is_waiting:
        return rollback.roll_back_waiting(state, superseded)
    return Step(replace(state, phase=Running(superseded)), (Interrupt(),))
