"""Files that change each time that the sources are imported, such as a log in a package, so that each reload causes the next."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from msgspec.structs import replace

from lastgood.planner.states import Runaway, State

__all__ = [
    "CYCLES",
    "QUIET",
    "is_one",
    "keep_superseding",
    "with_cycle",
    "with_reading",
    "with_superseded",
    "with_warm_up",
]

CYCLES = 5
"""The number of cycles in a row after which the files that caused them start no further one."""
QUIET = 5.0
"""Seconds without a change of these files after which they may start a cycle again."""


def with_warm_up(runaway: Runaway) -> Runaway:
    """Return ``runaway`` when a warm-up begins: from now on, what changes may have been changed by it."""
    return replace(runaway, changed=frozenset(), until=math.inf)


def with_cycle(runaway: Runaway, causes: Iterable[Path], look: int) -> Runaway:
    """Return ``runaway`` when a cycle has swapped that only ``causes`` led to. Its last reading has the number ``look``."""
    files = frozenset(causes)
    cycles = runaway.cycles if files == runaway.files else 0
    return replace(runaway, files=files, cycles=cycles, until=look, superseded=0)


def with_reading(runaway: Runaway, changed: frozenset[Path], look: int) -> Runaway:
    """Return ``runaway`` after a reading with the number ``look`` has found ``changed``."""
    if runaway.until is None:
        return runaway
    changed = runaway.changed | changed
    if look < runaway.until:
        return replace(runaway, changed=changed)
    return replace(runaway, changed=changed, until=None, cycles=runaway.cycles + 1 if runaway.files <= changed else 0)


def with_superseded(runaway: Runaway, edits: Iterable[Path]) -> Runaway:
    """Return ``runaway`` when a cycle was superseded because of ``edits`` during it."""
    by = frozenset(edits)
    return replace(runaway, by=by, superseded=runaway.superseded + 1 if by == runaway.by else 1)


def keep_superseding(state: State) -> bool:
    """Return whether the edits that wait have superseded so many cycles in a row that the running one is left alone.

    Otherwise a source that takes long to import, and changes a watched file meanwhile, would never be live.
    """
    return state.runaway.superseded >= CYCLES and state.runaway.by.issuperset(state.edits)


def is_one(state: State) -> bool:
    """Return whether the next cycle would be another one that only such files cause."""
    runaway = state.runaway
    return (
        runaway.cycles >= CYCLES and not runaway.stopped and bool(state.edits) and runaway.files.issuperset(state.edits)
    )
