"""The planner's state between two events. States are frozen: a transition makes a new one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace

from lastgood.effects.cycle import Action, Dispose, LeaderGeneration, Restart
from lastgood.effects.plan import Plan
from lastgood.errors import Undone
from lastgood.planner.events import Failed, Promoted, Staged, Warmed
from lastgood.planner.news import Following
from lastgood.planner.settings import MOST_DRAINING, Settings
from lastgood.planner.watch_set import Snapshot, WatchSet, among, differing
from lastgood.watch_events import Role

__all__ = [
    "KEPT_DURATIONS",
    "Closed",
    "Closing",
    "Cycle",
    "Generation",
    "Idle",
    "Looking",
    "Lost",
    "Phase",
    "Restarting",
    "Restoring",
    "RollingBack",
    "Runaway",
    "Running",
    "Scheduled",
    "Stale",
    "State",
    "Status",
    "Unstarted",
]

KEPT_DURATIONS = 5
"""The number of good cycles whose durations count for ``supersede_after``."""
_LEAST_SUPERSEDE_AFTER = 2.0


class Generation(Struct, frozen=True):
    """A cycle that succeeded.

    ``number`` counts the successful cycles, ``cycle`` all of them; the latter names the bridge. The generation is live since
    ``since``. If its bridge is lost before ``probation_ends``, and its code is to blame, the generation before it is restored.
    Both times are in seconds since the epoch. Without ``overlap``, no two of its bridges may be there at once. With
    ``ends_in_background``, nothing waits for the ``dispose()`` of its bridge but a close. ``promotes``: it has an output directory.
    ``most_draining``: the number of bridges that may drain at once while it is live.
    """

    number: int
    cycle: int
    since: float = 0.0
    probation_ends: float = 0.0
    overlap: bool = True
    ends_in_background: bool = False
    promotes: bool = True
    most_draining: int = MOST_DRAINING


class Lost(Struct, frozen=True):
    """The live bridge broke down with ``error`` at ``since``. ``failed_probation``: its generation is to be undone."""

    error: BaseException
    since: float
    failed_probation: bool = False


class Stale(Struct, frozen=True):
    """The reason why the live generation differs from the files on disk, and since when, in seconds since the epoch."""

    error: BaseException
    since: float


class Runaway(Struct, frozen=True):
    """Files that change with each warm-up: what the planner knows of the last good cycles about it.

    ``files`` caused each of the last ``cycles`` good cycles, alone, and changed between the start of its warm-up and its swap.
    ``changed`` is what has changed since the start of the last warm-up, ``until`` the reading of this number, which began with
    the swap (infinite: before the swap; None: that reading is over). ``stopped``: edits of ``files`` start no cycle. ``quiet``:
    they may again, as there was none for a while. ``superseded``: cycles in a row that made way for an edit of ``by`` alone.
    """

    files: frozenset[Path] = frozenset()
    cycles: int = 0
    changed: frozenset[Path] = frozenset()
    until: float | None = None
    stopped: bool = False
    quiet: bool = False
    superseded: int = 0
    by: frozenset[Path] = frozenset()


class Cycle(Struct, frozen=True):
    """One attempt to reload: its cause, its plan, and its results so far.

    ``undoes``: the cycle restores the good generation before the live one, for this reason. ``attempted`` and ``disturbed``
    are those of the state before the cycle. ``overdue``: it is older than ``supersede_after``. ``edits_settled``: no edit has come
    for ``debounce`` since the last one during the cycle. ``superseded``: it is being undone because both are so.
    ``adopts``: the cycle takes over this generation of the session that leads.
    """

    number: int
    manual: bool
    changed: tuple[Path, ...]
    tickets: tuple[int, ...]
    plan: Plan
    undoes: Undone | None = None
    attempted: Snapshot = field(default_factory=dict)
    disturbed: frozenset[Path] = frozenset()
    timings: Mapping[str, float] = field(default_factory=dict)
    staged: Staged | None = None
    promoted: Promoted | None = None
    warmed: Warmed | None = None
    swapped: bool = False
    overdue: bool = False
    edits_settled: bool = False
    superseded: bool = False
    adopts: LeaderGeneration | None = None

    def timed(self, effect: str, seconds: float) -> Cycle:
        """Return a copy that also records the duration of the effect named ``effect``."""
        return replace(self, timings={**self.timings, effect: seconds})


class Unstarted(Struct, frozen=True):
    """The session has not started; nothing was touched."""


class Idle(Struct, frozen=True):
    """No cycle is under way or scheduled: the files on disk have been attempted, unless a stuck thread blocks that."""


class Scheduled(Struct, frozen=True):
    """An edit was seen; a cycle starts when edits pause for ``debounce``, or after ``max_wait``."""


class Looking(Struct, frozen=True):
    """A cycle is about to start; it waits for a reading of the watched files that began after the look of this number."""

    look: int


class Running(Struct, frozen=True):
    """The actions of ``cycle`` are being performed."""

    cycle: Cycle


class RollingBack(Struct, frozen=True):
    """``cycle`` is being rolled back because of ``failure``, or of a close (None); ``left`` rollbacks are still to be done."""

    cycle: Cycle
    failure: Failed | None
    left: int


class Restoring(Struct, frozen=True):
    """``cycle`` was rolled back because of ``failure``, and the live bridge, which had made way for its own, is restarted."""

    cycle: Cycle
    failure: Failed | None


class Restarting(Struct, frozen=True):
    """The live bridge, which is lost, or has made way for nothing, is being restarted. A request for a cycle interrupts that."""


class Closing(Struct, frozen=True):
    """The session is closing: it disposes its bridges, then releases everything else."""


class Closed(Struct, frozen=True):
    """The session is closed; nothing follows."""


Phase = Unstarted | Idle | Scheduled | Looking | Running | RollingBack | Restoring | Restarting | Closing | Closed


class State(Struct, frozen=True):
    """The whole state of a session.

    - ``cycle``: the number of the last cycle. ``live``: the last good generation. ``retired``: replaced generations whose
      bridges are not disposed yet. ``durations``: seconds from start to swap of the last good cycles, undos left out.
    - ``watched``: the committed watch set. ``late``: files of modules that the live bridge imported dynamically.
    - ``attempted``: the bytes from which the last cycle started. ``observed``: the bytes read last. ``disturbed``: files that
      changed while that cycle ran, so that it may have read either version. ``blocked``: the last cycle attempted nothing,
      and its edits wait for the thread of an earlier stage.
    - ``edited``: the edits of the last cycle that had some.
    - ``tickets``: callers that wait for the next cycle. ``undos``: callers that wait for an undo. ``settling``: callers that wait
      until what is on disk was attempted, each with the number of the look that it has caused. ``first``: the caller that waits
      for the first good cycle, if there is one.
    - ``runaway``: files that change with each reload.
    - ``stale``: set from the first failure until a cycle succeeds. ``lost``: set while the live bridge is broken.
    - ``losses``: times of recent losses. ``restarts``: the number of restarts; broken bridges are named -1, -2, and so on.
    - ``looks``: the number of the last look. ``seen``: that of the last one that was observed. ``reading_seconds``: the duration
      of the last reading. ``polling``: the system cannot watch, so the files are only read from time to time.
    - ``pinning``: the live bridge, once for each of its pins that has not ended. ``held``: actions that wait for these.
    - ``timed``: the draining bridges that a timer cuts off.
    - ``away``: the bridge of ``live`` makes way for another: it is among ``retired``, and then gone. ``vacating``: actions that
      wait until it has, and no retired bridge is left.
    - ``ending``: a close was requested, and no more events are emitted. ``closed_at``: the generation that was live then.
    - ``following``: what is known of the session that leads; None if this one does. ``numbered``: the generation after which the
      next one is numbered, if that is later than the live one. ``followers``: the number of those that follow this session.
      ``asked_for``: the paths that these want to have watched.
    """

    settings: Settings = field(default_factory=Settings)
    phase: Phase = Unstarted()
    cycle: int = 0
    live: Generation | None = None
    retired: tuple[Generation, ...] = ()
    durations: tuple[float, ...] = ()
    watched: WatchSet | None = None
    late: tuple[Path, ...] = ()
    attempted: Snapshot = field(default_factory=dict)
    observed: Snapshot = field(default_factory=dict)
    edited: tuple[Path, ...] = ()
    disturbed: frozenset[Path] = frozenset()
    blocked: bool = False
    tickets: tuple[int, ...] = ()
    undos: tuple[int, ...] = ()
    settling: tuple[tuple[int, int], ...] = ()
    first: tuple[int, ...] = ()
    runaway: Runaway = Runaway()
    stale: Stale | None = None
    lost: Lost | None = None
    losses: tuple[float, ...] = ()
    restarts: int = 0
    looks: int = 0
    seen: int = 0
    reading_seconds: float = 0.0
    polling: bool = False
    pinning: tuple[int, ...] = ()
    held: tuple[Action, ...] = ()
    timed: frozenset[int] = frozenset()
    away: bool = False
    vacating: tuple[Action, ...] = ()
    ending: bool = False
    closed_at: int = 0
    following: Following | None = None
    numbered: int = 0
    followers: int = 0
    asked_for: tuple[Path, ...] = ()

    @property
    def role(self) -> Role:
        """The part of this session among all those on its project."""
        return "leader" if self.following is None else "follower"

    @property
    def generation(self) -> int:
        """The number of the live generation, or of the last one after closing; 0 if there never was one."""
        return self.closed_at if self.live is None else self.live.number

    @property
    def is_waiting(self) -> bool:
        """True if the next action waits, for a pin or for a bridge that is still there."""
        return bool(self.held or self.vacating)

    def is_held(self, action: Action) -> bool:
        """Return whether ``action``, which was asked for when no pin was under way, must wait for one that has begun since then."""
        match action:
            case Dispose(bridge):
                return bridge in self.pinning
            case Restart():
                return bool(self.pinning)
            case _:
                return False

    @property
    def due(self) -> tuple[int, ...]:
        """The callers of ``settle()`` whose look has been observed."""
        return tuple(ticket for ticket, number in self.settling if number <= self.seen)

    @property
    def supersede_after(self) -> float:
        """The age, in seconds, from which the next cycle is superseded if an edit waits."""
        if self.settings.supersede_after is not None:
            return self.settings.supersede_after
        return max(2 * max(self.durations, default=0.0), _LEAST_SUPERSEDE_AFTER)

    @property
    def staleness(self) -> Stale | None:
        """The reason why the status is stale: a failed or undone generation, or a lost bridge. None if it is not stale."""
        if self.stale is None and self.lost is not None:
            return Stale(self.lost.error, self.lost.since)
        return self.stale

    @property
    def edits(self) -> tuple[Path, ...]:
        """The files whose bytes differ from those last attempted, sorted."""
        # A file that only existed for a while during a cycle, such as a lock file, needs no other cycle.
        disturbed = among(self.disturbed, self.attempted)
        return tuple(sorted(differing(self.attempted, self.observed) | disturbed))

    @property
    def causes(self) -> tuple[Path, ...]:
        """The edits that are to start a cycle: all, unless they are only of files that change with each reload."""
        edits = self.edits
        return () if self.runaway.stopped and self.runaway.files.issuperset(edits) else edits


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Status:
    """The status of a session: the live generation, and whether it is up to date with the files on disk.

    ``stale``: it is not, because the last cycle failed, a generation was undone, or the live bridge is lost. ``since``: when
    that began, in seconds since the epoch (the first of several failures in a row). ``error``: the error of the last failure.
    ``calls``: how many calls and streams are in flight, by generation: of the live one, and of earlier ones whose calls have
    not ended. Generations without any are left out, and two statuses are equal whatever is in flight.
    """

    generation: int
    stale: bool
    since: float | None
    error: BaseException | None
    calls: Mapping[int, int] = dataclasses.field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        """Return the fields, of the error its first line."""
        error = None if self.error is None else f"<{self.brief}>"
        fields = f"generation={self.generation}, stale={self.stale}, since={self.since}, error={error}"
        return f"Status({fields}, calls={dict(self.calls)})"

    @property
    def brief(self) -> str:
        """The type and the first line of the error; empty if there is none."""
        if self.error is None:
            return ""
        first, *more = str(self.error).splitlines() or [""]
        return f"{type(self.error).__name__}: {first}{' …' if more else ''}"

    @classmethod
    def of(cls, state: State, in_flight: Callable[[int], int]) -> Status:
        """Make the status that describes ``state``. ``in_flight`` gives the number of calls on the bridge of a cycle."""
        calls: dict[int, int] = {}
        live = () if state.live is None or state.away else (state.live,)  # one that makes way is among the retired
        for generation in (*state.retired, *live):
            if count := in_flight(generation.cycle):
                calls[generation.number] = calls.get(generation.number, 0) + count
        staleness = state.staleness
        if staleness is None:
            return cls(state.generation, False, None, None, calls)
        return cls(state.generation, True, staleness.since, staleness.error, calls)
