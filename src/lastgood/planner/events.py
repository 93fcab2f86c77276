"""What has happened, in the past tense: the planner's input (contract §8).

Times are given, never looked up: ``seconds`` an effect took, ``at`` as seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lastgood.effects.cycle import Promote, Restart, Rollback, Stage, Swap, Warm, Watch
from lastgood.planner.watch_set import Snapshot, WatchSet
from lastgood.watch_events import ApiChange, Notice

__all__ = [
    "NOBODY",
    "CloseRequested",
    "DisposeFailed",
    "Disposed",
    "Draining",
    "Event",
    "Failed",
    "Late",
    "LoadedLate",
    "Lost",
    "Noticed",
    "Observed",
    "Promoted",
    "Released",
    "ReloadRequested",
    "RestartFailed",
    "Restarted",
    "RollbackFailed",
    "RolledBack",
    "Staged",
    "Started",
    "Swapped",
    "TimerElapsed",
    "UndoRequested",
    "Warmed",
    "Watched",
]


NOBODY = -1
"""The ticket of a request for whose answer nobody waits."""


@dataclass(frozen=True, slots=True)
class Started:
    """The program runs; whoever holds ``ticket`` waits for its first cycle."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Observed:
    """The watched files were read. ``asked``: the reading began after a :class:`~lastgood.effects.Look`."""

    files: Snapshot = field(repr=False)
    asked: bool = False


@dataclass(frozen=True, slots=True)
class TimerElapsed:
    """``timer`` ran out."""

    timer: str


@dataclass(frozen=True, slots=True)
class ReloadRequested:
    """Somebody called ``reload_now()`` and waits for the answer to ``ticket``."""

    ticket: int


@dataclass(frozen=True, slots=True)
class UndoRequested:
    """Somebody called ``undo()`` and waits for the answer to ``ticket``."""

    ticket: int


@dataclass(frozen=True, slots=True)
class CloseRequested:
    """The session is to end: ``close()``, a cancel, Ctrl-C, or watching that died."""


@dataclass(frozen=True, slots=True)
class Staged:
    """Everything is generated. ``watch`` is what the cycle wants watched, ``read`` the reading of what was armed for it, and
    ``used`` the digests of the very bytes it was made from, where they may have been others than the look before it saw.

    ``previous``: a good generation before it is kept, and it is not the live one once more; ``probation``: the bridge is on
    trial for so many seconds; ``changes``: how its wrappers differ from those of the generation before.
    """

    effect: Stage
    seconds: float
    watch: WatchSet
    read: Snapshot = field(repr=False)
    warnings: tuple[str, ...] = ()
    used: Mapping[Path, str] = field(default_factory=dict, repr=False)
    previous: bool = False
    probation: float = 0.0
    changes: tuple[ApiChange, ...] = ()


@dataclass(frozen=True, slots=True)
class Promoted:
    """The output directory holds the stage: ``written`` are all files there, ``touched`` those that were written or removed."""

    effect: Promote
    seconds: float
    written: tuple[Path, ...]
    touched: tuple[Path, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Warmed:
    """The next bridge is ready."""

    effect: Warm
    seconds: float


@dataclass(frozen=True, slots=True)
class Swapped:
    """The next bridge is live."""

    effect: Swap
    seconds: float
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Watched:
    """The watched set is committed."""

    effect: Watch
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """An action before the commit point failed, or was interrupted. ``read`` and ``used``: as far as it had come, see
    :class:`Staged`."""

    effect: Stage | Promote | Warm | Swap
    seconds: float
    error: BaseException
    at: float
    read: Snapshot = field(default_factory=dict, repr=False)
    used: Mapping[Path, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class RolledBack:
    """``effect`` is undone."""

    effect: Rollback


@dataclass(frozen=True, slots=True)
class RollbackFailed:
    """``effect`` could not be undone; the journal stays."""

    effect: Rollback
    error: BaseException


@dataclass(frozen=True, slots=True)
class Draining:
    """The bridge still has leases, and is disposed in the background."""

    bridge: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Disposed:
    """The bridge is gone."""

    bridge: int
    seconds: float


@dataclass(frozen=True, slots=True)
class DisposeFailed:
    """The bridge is given up: its ``dispose()`` raised, or did not end in time."""

    bridge: int
    seconds: float
    error: BaseException


@dataclass(frozen=True, slots=True)
class Lost:
    """The bridge broke down by itself: ``error``."""

    bridge: int
    error: BaseException
    at: float


@dataclass(frozen=True, slots=True)
class Restarted:
    """The bridge is back. ``draining``: the one that broke down still has leases, those of a pool's other workers, say."""

    effect: Restart
    seconds: float
    draining: bool = False


@dataclass(frozen=True, slots=True)
class RestartFailed:
    """The bridge did not come back; ``error`` None: because the restart was interrupted."""

    effect: Restart
    seconds: float
    error: BaseException | None
    at: float


@dataclass(frozen=True, slots=True)
class Late:
    """A module to which no import statement leads; ``digest`` is that of the bytes that were imported."""

    name: str
    path: Path
    digest: str


@dataclass(frozen=True, slots=True)
class LoadedLate:
    """The bridge has imported ``modules``, to which no import statement leads (contract §9)."""

    bridge: int
    modules: tuple[Late, ...]


@dataclass(frozen=True, slots=True)
class Noticed:
    """An interpreter saw what the user should be told."""

    notice: Notice


@dataclass(frozen=True, slots=True)
class Released:
    """Nothing of the session is left."""


Event = (
    Started
    | Observed
    | TimerElapsed
    | ReloadRequested
    | UndoRequested
    | CloseRequested
    | Staged
    | Promoted
    | Warmed
    | Swapped
    | Watched
    | Failed
    | RolledBack
    | RollbackFailed
    | Draining
    | Disposed
    | DisposeFailed
    | Lost
    | Restarted
    | RestartFailed
    | LoadedLate
    | Noticed
    | Released
)
