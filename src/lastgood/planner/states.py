"""What the planner knows, between two events. Frozen: a transition makes a new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from lastgood.effects.plan import Plan
from lastgood.errors import Undone
from lastgood.planner.events import Failed, Promoted, Staged
from lastgood.planner.watch_set import Snapshot, WatchSet, among, differing

__all__ = [
    "Closed",
    "Closing",
    "Cycle",
    "Generation",
    "Idle",
    "Looking",
    "Lost",
    "Phase",
    "Restarting",
    "RollingBack",
    "Running",
    "Scheduled",
    "Settings",
    "Stale",
    "State",
    "Status",
    "Unstarted",
]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user asked for; seconds (contract §2)."""

    debounce: float = 0.1
    max_wait: float = 2.0
    warm_timeout: float = 60.0
    drain_timeout: float = 10.0
    stage_timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class Generation:
    """A cycle that succeeded: the ``number`` of it among the good ones, and of the ``cycle``, which names its bridge.

    Live since ``since`` (seconds since the epoch). A bridge that is lost before ``probation_ends`` brings back the generation
    before.
    """

    number: int
    cycle: int
    since: float = 0.0
    probation_ends: float = 0.0


@dataclass(frozen=True, slots=True)
class Lost:
    """The live bridge broke down by ``error``, at ``since``. ``failed_probation``: it is to be undone."""

    error: BaseException
    since: float
    failed_probation: bool = False


@dataclass(frozen=True, slots=True)
class Stale:
    """Why what is live is not what is on disk, and since when, in seconds since the epoch."""

    error: BaseException
    since: float


@dataclass(frozen=True, slots=True)
class Cycle:
    """One attempt to reload: what it is for, its plan, and what it has brought so far.

    ``undoes``: it brings back the good generation before the live one, for this reason.
    """

    number: int
    manual: bool
    changed: tuple[Path, ...]
    tickets: tuple[int, ...]
    plan: Plan
    undoes: Undone | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    staged: Staged | None = None
    promoted: Promoted | None = None
    swapped: bool = False

    def timed(self, effect: str, seconds: float) -> Cycle:
        """This, and what the effect of that name took."""
        return replace(self, timings={**self.timings, effect: seconds})


@dataclass(frozen=True, slots=True)
class Unstarted:
    """Nothing was touched yet."""


@dataclass(frozen=True, slots=True)
class Idle:
    """What is on disk has been attempted."""


@dataclass(frozen=True, slots=True)
class Scheduled:
    """An edit was seen; a cycle starts when it is quiet, or has taken long enough."""


@dataclass(frozen=True, slots=True)
class Looking:
    """A cycle is about to start, and waits for a last reading."""


@dataclass(frozen=True, slots=True)
class Running:
    """``cycle`` is under way."""

    cycle: Cycle


@dataclass(frozen=True, slots=True)
class RollingBack:
    """``cycle`` failed (``failure``), or a close came (None); ``left`` effects are still to be rolled back."""

    cycle: Cycle
    failure: Failed | None
    left: int


@dataclass(frozen=True, slots=True)
class Restarting:
    """The lost bridge of the live generation is made once more. What comes meanwhile interrupts it."""


@dataclass(frozen=True, slots=True)
class Closing:
    """Bridges are let go, then everything else."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The end."""


Phase = Unstarted | Idle | Scheduled | Looking | Running | RollingBack | Restarting | Closing | Closed


@dataclass(frozen=True, slots=True)
class State:
    """``cycle`` is the number of the last one; ``live`` the last good generation, ``retired`` those whose bridge is not gone yet.

    ``watched`` is committed, ``late`` what only the live bridge has told of; ``attempted`` are the bytes the last cycle
    started from, ``observed`` those seen last, and ``disturbed`` the files whose bytes changed while that cycle ran, so that
    it may have read others; ``tickets`` wait for the next cycle, ``undos`` for one that brings back the generation before;
    ``stale`` says so until a cycle succeeds; ``lost``: the live bridge is; ``losses`` are the times of the last ones;
    ``restarts`` is how many bridges that broke down were replaced by another of their generation: -1 names the first of them;
    ``ending``: a close was asked for, and the user is told nothing more; ``closed_at``
    is the generation that was live then.
    """

    settings: Settings = Settings()
    phase: Phase = Unstarted()
    cycle: int = 0
    live: Generation | None = None
    retired: tuple[Generation, ...] = ()
    watched: WatchSet | None = None
    late: tuple[Path, ...] = ()
    attempted: Snapshot = field(default_factory=dict, repr=False)
    observed: Snapshot = field(default_factory=dict, repr=False)
    disturbed: frozenset[Path] = frozenset()
    tickets: tuple[int, ...] = ()
    undos: tuple[int, ...] = ()
    stale: Stale | None = None
    lost: Lost | None = None
    losses: tuple[float, ...] = ()
    restarts: int = 0
    ending: bool = False
    closed_at: int = 0

    @property
    def generation(self) -> int:
        """The number of the live generation, or of the last that was; 0 where there never was one."""
        return self.closed_at if self.live is None else self.live.number

    @property
    def trouble(self) -> Stale | None:
        """What the status tells: why what is live is not what is on disk, or is not there at all."""
        if self.stale is None and self.lost is not None:
            return Stale(self.lost.error, self.lost.since)
        return self.stale

    @property
    def edits(self) -> tuple[Path, ...]:
        """What differs from the bytes last attempted, sorted."""
        # What only came and went while a cycle ran, a lock file say, is not worth another one.
        disturbed = among(self.disturbed, self.attempted)
        return tuple(sorted(differing(self.attempted, self.observed) | disturbed))


@dataclass(frozen=True, slots=True)
class Status:
    """Whether what is live is what is on disk.

    ``stale``: it is not, because the last cycle failed, a generation was undone, or the live bridge is lost; ``since``:
    seconds since the epoch at which that began (the first of a row of failures); ``error``: why, the last failure's.
    """

    generation: int
    stale: bool
    since: float | None
    error: BaseException | None

    @classmethod
    def of(cls, state: State) -> Status:
        """What there is to say of ``state``."""
        trouble = state.trouble
        if trouble is None:
            return cls(state.generation, False, None, None)
        return cls(state.generation, True, trouble.since, trouble.error)
