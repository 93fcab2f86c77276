"""Events: the planner's input. Each says, in the past tense, what has happened.

Events carry their times, because the planner has no clock: ``seconds`` is the duration of an effect, ``at`` a point in time
in seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct, field

from lastgood.effects.cycle import Promote, Request, Restart, Rollback, Stage, Swap, Warm, Watch
from lastgood.planner.news import News
from lastgood.planner.settings import MOST_DRAINING, Settings
from lastgood.planner.watch_set import Snapshot, WatchSet
from lastgood.watch_events import ApiChange, Notice, Warmth

__all__ = [
    "NOBODY",
    "REQUESTS",
    "CloseRequested",
    "DisposeFailed",
    "Disposed",
    "Draining",
    "Elected",
    "Event",
    "Failed",
    "Followed",
    "Heard",
    "Hinted",
    "Late",
    "LoadedLate",
    "LockRemoved",
    "Lost",
    "Noticed",
    "Observed",
    "Pinned",
    "Promoted",
    "Released",
    "ReloadRequested",
    "RestartFailed",
    "Restarted",
    "RollbackFailed",
    "RolledBack",
    "StageReturned",
    "Staged",
    "Started",
    "Swapped",
    "TimerElapsed",
    "UndoRequested",
    "Warmed",
    "Watched",
]


NOBODY = -1
"""The ticket of a request whose answer nobody waits for."""


class Started(Struct, frozen=True):
    """The program was started; the holder of ``ticket`` waits for the first cycle; with ``waits``, for the first good one.

    ``leader``: the news of the session to follow, if another one leads. ``numbered``: the cycle and the generation after which
    this session numbers its own, because others follow that have had them from a former leader.
    """

    ticket: int
    waits: bool = False
    leader: News | None = None
    numbered: tuple[int, int] = (0, 0)


class Hinted(Struct, frozen=True):
    """Something may have changed in the watched files."""


class Observed(Struct, frozen=True):
    """The watched files were read, in ``seconds``. ``look``: the number of the last :class:`~lastgood.effects.Look` before."""

    files: Snapshot
    look: int = 0
    seconds: float = 0.0


class TimerElapsed(Struct, frozen=True):
    """The timer named ``timer`` elapsed."""

    timer: str


class ReloadRequested(Struct, frozen=True):
    """``reload_now()`` was called; the holder of ``ticket`` waits for the answer."""

    ticket: int


class LockRemoved(Struct, frozen=True):
    """The lock of the output directory was removed, as by ``git clean``, so that another session may have come to lead."""


class UndoRequested(Struct, frozen=True):
    """``undo()`` was called; the holder of ``ticket`` waits for the answer."""

    ticket: int


class SettleRequested(Struct, frozen=True):
    """``settle()`` was called; the holder of ``ticket`` waits for the answer."""

    ticket: int


class CloseRequested(Struct, frozen=True):
    """The session is to end, because of ``close()``, a cancellation, Ctrl-C, or a failure of the watcher."""


class Staged(Struct, frozen=True):
    """All wrappers were generated into the stage.

    ``watch`` is the set of paths this cycle needs watched, ``read`` the reading of the paths that were newly armed for it.
    ``used`` are the digests of the bytes the stage was made from; a file may have changed since the look before the cycle.

    ``previous``: an earlier good generation is kept on disk, so that an undo is possible, and this one differs from the live
    one; ``probation``: seconds for which a loss of the new bridge undoes the generation; ``changes``: differences between its
    wrappers and those of the generation before; ``overlap``: its bridge may be created while the one before is there.
    ``promotes``: there is an output directory. ``settings`` are the session's from now on (None: as before).
    """

    effect: Stage
    seconds: float
    watch: WatchSet
    read: Snapshot
    warnings: tuple[str, ...] = ()
    used: Mapping[Path, str] = field(default_factory=dict)
    previous: bool = False
    probation: float = 0.0
    changes: tuple[ApiChange, ...] = ()
    overlap: bool = True
    promotes: bool = True
    settings: Settings | None = None


class Promoted(Struct, frozen=True):
    """The output directory has the staged content: ``written`` are all generated files, ``touched`` those written or removed."""

    effect: Promote
    seconds: float
    written: tuple[Path, ...]
    touched: tuple[Path, ...]
    warnings: tuple[str, ...] = ()


class Warmed(Struct, frozen=True):
    """The next bridge is ready for calls. ``warnings`` say where its functions differ from their wrappers.

    ``warm`` and ``why_fresh`` are those of :class:`~lastgood.watch_events.ReloadSuccess`, the other fields are those of the
    :class:`~lastgood.bridges.Bridge`.
    """

    effect: Warm
    seconds: float
    warnings: tuple[str, ...] = ()
    warm: Warmth = "fresh"
    why_fresh: str | None = None
    ends_in_background: bool = False
    most_draining: int = MOST_DRAINING


class Swapped(Struct, frozen=True):
    """The next bridge is live."""

    effect: Swap
    seconds: float
    at: float = 0.0


class Watched(Struct, frozen=True):
    """The watched set is committed."""

    effect: Watch
    seconds: float


class Failed(Struct, frozen=True):
    """An action before the commit point failed or was interrupted. ``read`` and ``used`` are as in :class:`Staged`, but may be
    incomplete. ``only_waited``: a stage has read nothing, because the thread of an earlier one did not return in time.
    ``leader``: another session leads the project, and this is its news: it is to be followed. ``displaced``: the lock on the
    output directory was removed during the cycle."""

    effect: Stage | Promote | Warm | Swap
    seconds: float
    error: BaseException
    at: float
    read: Snapshot = field(default_factory=dict)
    used: Mapping[Path, str] = field(default_factory=dict)
    only_waited: bool = False
    leader: News | None = None
    displaced: bool = False


class Heard(Struct, frozen=True):
    """A follower has read the ``news`` of its leader, at ``at``. ``beat`` changes as long as the leader gives signs of life.

    ``answers``: the leader's answers to requests, by ticket.
    """

    news: News
    at: float
    beat: int = 0
    answers: tuple[tuple[int, bool], ...] = ()


class Elected(Struct, frozen=True):
    """This follower leads from now on, as process ``pid``: its leader is gone, and the output directory is claimed."""

    pid: int


class Followed(Struct, frozen=True):
    """``followers`` sessions and commands follow this one. ``paths`` are those that they want to have watched, sorted."""

    followers: int
    paths: tuple[Path, ...] = ()


class StageReturned(Struct, frozen=True):
    """The thread has returned for which a failed stage has only waited."""


class RolledBack(Struct, frozen=True):
    """``effect`` was undone."""

    effect: Rollback


class RollbackFailed(Struct, frozen=True):
    """``effect`` could not be undone; its journal stays on disk, for the next attempt."""

    effect: Rollback
    error: BaseException


class Draining(Struct, frozen=True):
    """The bridge is disposed in the background, when its leases have ended. ``is_idle``: it has none."""

    bridge: int
    seconds: float
    is_idle: bool = False


class Disposed(Struct, frozen=True):
    """The bridge was disposed."""

    bridge: int
    seconds: float


class DisposeFailed(Struct, frozen=True):
    """The bridge was abandoned: its ``dispose()`` raised, or did not return in time."""

    bridge: int
    seconds: float
    error: BaseException


class Lost(Struct, frozen=True):
    """The bridge broke down with ``error``, without having been disposed."""

    bridge: int
    error: BaseException
    at: float


class Restarted(Struct, frozen=True):
    """The live bridge was restarted. A broken one may still have leases, for example calls in other workers of its pool."""

    effect: Restart
    seconds: float


class RestartFailed(Struct, frozen=True):
    """The live bridge could not be restarted. ``error`` is None if the restart was interrupted."""

    effect: Restart
    seconds: float
    error: BaseException | None
    at: float


class Late(Struct, frozen=True):
    """A module that was imported dynamically, so that no import statement leads to it. ``digest``: of the imported bytes."""

    name: str
    path: Path
    digest: str


class LoadedLate(Struct, frozen=True):
    """The bridge has imported ``modules`` dynamically: no import statement leads to them."""

    bridge: int
    modules: tuple[Late, ...]


class Pinned(Struct, frozen=True):
    """A :class:`~lastgood.effects.Pin` of ``bridge`` has ended."""

    bridge: int


class Noticed(Struct, frozen=True):
    """An interpreter has a notice for the user."""

    notice: Notice


class Released(Struct, frozen=True):
    """All resources of the session were released."""


REQUESTS: Mapping[Request, Callable[[int], ReloadRequested | UndoRequested | SettleRequested]] = {
    "reload": ReloadRequested,
    "undo": UndoRequested,
    "settle": SettleRequested,
}
"""The event of each request of a follower, by what it asks for."""

Event = (
    Started
    | Hinted
    | Observed
    | TimerElapsed
    | ReloadRequested
    | LockRemoved
    | UndoRequested
    | SettleRequested
    | CloseRequested
    | Staged
    | Promoted
    | Warmed
    | Swapped
    | Watched
    | Failed
    | Heard
    | Elected
    | Followed
    | StageReturned
    | RolledBack
    | RollbackFailed
    | Draining
    | Disposed
    | DisposeFailed
    | Lost
    | Restarted
    | RestartFailed
    | LoadedLate
    | Pinned
    | Noticed
    | Released
)
