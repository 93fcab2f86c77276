"""What hypothesis draws from: bytes, trees of an output directory, events of a planner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from posixpath import dirname

from hypothesis import strategies as st

from lastgood.effects import Promote, Restart, Rollback, Stage, Swap, Warm, Watch
from lastgood.planner.events import (
    CloseRequested,
    Disposed,
    DisposeFailed,
    Draining,
    Event,
    Failed,
    Hinted,
    Late,
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
    SettleRequested,
    Staged,
    StageReturned,
    Started,
    Swapped,
    TimerElapsed,
    UndoRequested,
    Warmed,
    Watched,
)
from lastgood.planner.promotion import Existing
from lastgood.planner.watch_set import Snapshot, WatchSet
from lastgood.watch_events import PollingStarted

__all__ = ["Trees", "events", "snapshots", "trees"]

ROOTS = (Path("/p/src"), Path("/p/lib"))
DIGESTS = ("0", "1", "2")


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """A reading of some of two roots, each with at most two files."""
    roots = draw(st.lists(st.sampled_from(ROOTS), unique=True))
    names = st.dictionaries(st.sampled_from(["a.py", "b.py"]), st.sampled_from(DIGESTS))
    return {root: {root / name: digest for name, digest in draw(names).items()} for root in roots}


def events(cycles: int = 3) -> st.SearchStrategy[Event]:
    """Any event there is, of any of the first ``cycles`` cycles, whether it makes sense or not."""
    cycle = st.integers(1, cycles)
    stages, promotes = cycle.map(Stage), cycle.map(Promote)
    warms = cycle.map(lambda number: Warm(number, 60.0))
    swaps, watches = cycle.map(Swap), cycle.map(Watch)
    restarts = cycle.map(lambda number: Restart(number, 60.0))
    rollbacks = st.one_of(stages, promotes, warms).map(lambda effect: Rollback(effect, 10.0))
    seconds, error, ticket = st.just(0.5), st.just(ValueError("no")), st.integers(0, 9)
    watch_sets = st.lists(st.sampled_from(ROOTS), unique=True).map(lambda roots: WatchSet(tuple(sorted(roots))))
    late = st.builds(Late, st.just("late"), st.sampled_from(ROOTS), st.sampled_from(DIGESTS))
    return st.one_of(
        ticket.map(Started),
        st.just(Hinted()),
        st.builds(Observed, snapshots(), st.integers(0, 9), seconds),
        st.sampled_from(["debounce", "max-wait", "restart", "second-look", "last-look", "idle-look", "drain 1"]).map(
            TimerElapsed
        ),
        ticket.map(ReloadRequested),
        ticket.map(UndoRequested),
        ticket.map(SettleRequested),
        st.just(CloseRequested()),
        st.builds(Staged, stages, seconds, watch_sets, snapshots(), previous=st.booleans(), probation=st.just(5.0)),
        st.builds(Promoted, promotes, seconds, st.just(()), st.just(())),
        st.builds(Warmed, warms, seconds),
        st.builds(Swapped, swaps, seconds),
        st.builds(Watched, watches, seconds),
        st.builds(Failed, st.one_of(stages, promotes, warms, swaps), seconds, error, seconds, snapshots()),
        st.builds(Failed, stages, seconds, error, seconds, only_waited=st.just(True)),
        st.just(StageReturned()),
        rollbacks.map(RolledBack),
        st.builds(RollbackFailed, rollbacks, error),
        st.builds(Draining, cycle, seconds),
        st.builds(Disposed, cycle, seconds),
        st.builds(DisposeFailed, cycle, seconds, error),
        st.builds(Lost, cycle, error, st.integers(0, 200).map(float)),
        st.builds(Restarted, restarts, seconds),
        st.builds(RestartFailed, restarts, seconds, st.none() | error, seconds),
        st.builds(LoadedLate, cycle, st.lists(late, max_size=2).map(tuple)),
        st.just(Noticed(PollingStarted("x"))),
        st.just(Released()),
    )


@dataclass(frozen=True, slots=True)
class Trees:
    """What stands in an output directory, what is staged, and what the manifest says."""

    before: Mapping[str, Existing]
    staged: Mapping[str, str]
    managed: Mapping[str, str]


@st.composite
def trees(draw: st.DrawFn) -> Trees:
    """Any output directory and any stage over a few names, two directories deep, with modules that are also packages."""
    names = ("a.py", "b.py", "a/__init__.py", "a/b.py", "a/c/d.py", "e/f.py", "a", "b.py/c", "a.py.edited", "notes.txt")
    existing = st.one_of(
        st.builds(Existing, st.just("file"), st.sampled_from(DIGESTS)),
        st.builds(Existing, st.just("file"), st.sampled_from(DIGESTS), st.sampled_from(DIGESTS), st.booleans()),
        st.just(Existing("other")),
        st.just(Existing("directory")),
    )
    before = draw(st.dictionaries(st.sampled_from(names), existing))
    for name in [*before]:
        while name:
            name = dirname(name)
            before[name] = Existing("directory")
    wrappers = st.sampled_from(names[:8])
    staged = draw(st.dictionaries(wrappers, st.sampled_from(DIGESTS)))
    for name in [*staged]:
        while name := dirname(name):
            staged.pop(name, None)  # no stage has a file and a directory of one name
    managed = draw(st.dictionaries(wrappers, st.sampled_from(DIGESTS)))
    return Trees(before, staged, managed)
