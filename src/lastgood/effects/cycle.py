"""The effects of a cycle: imperatives, as frozen, comparable, printable values.

*Actions* take time and can fail. An interpreter performs them one after another, in order, and reports the outcome of each to
the planner as an event. When one fails, or at :class:`Interrupt`, it drops the remaining ones, because the planner's answer
replaces them. *Commands* are carried out at once, also while an action runs.

A bridge is named by the number of the cycle that warmed it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, assert_never

from lastgood.watch_events import ApiChange, WatchEvent

__all__ = [
    "Action",
    "Answer",
    "Arm",
    "Ask",
    "Beat",
    "Command",
    "CutOff",
    "Dispose",
    "Effect",
    "Emit",
    "Interrupt",
    "LeaderGeneration",
    "Look",
    "Pin",
    "Prepare",
    "Promote",
    "Refuse",
    "Release",
    "Request",
    "Restart",
    "Rollback",
    "SetTimer",
    "Stage",
    "StopTimer",
    "Swap",
    "Unpublish",
    "Warm",
    "Watch",
]


@dataclass(frozen=True, slots=True)
class LeaderGeneration:
    """A good generation of the session that leads, for its followers to take over.

    ``cycle`` and ``generation`` are the leader's numbers, ``manifest`` is the name of its manifest in the store. The other fields
    are those of the leader's :class:`~lastgood.watch_events.ReloadSuccess`, and of its last
    :class:`~lastgood.watch_events.WatchPaths`.
    """

    cycle: int
    generation: int
    manifest: str
    manual: bool = False
    changed: tuple[Path, ...] = ()
    written: tuple[Path, ...] = field(default=(), repr=False)
    touched: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()
    changes: tuple[ApiChange, ...] = ()
    watched: tuple[Path, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Stage:
    """Resolve the config again, claim its output directory, arm the new watches, and generate every wrapper into a stage.

    ``undo``: restore the kept files of the good generation before the live one instead. ``adopts``: take over this generation
    of the session that leads instead, whose wrappers are in the output directory already. Unless it ``generates``, there are no
    wrappers. The action fails after ``timeout`` seconds.
    """

    name: ClassVar[str] = "stage"
    cycle: int
    undo: bool = False
    timeout: float = 60.0
    adopts: LeaderGeneration | None = None
    generates: bool = True

    def __str__(self) -> str:
        if self.adopts is not None:
            return f"take over generation {self.adopts.generation} of the session that leads"
        if not self.generates:
            return (
                "take the previous good generation"
                if self.undo
                else "resolve the config, arm the new watches, read the sources"
            )
        if self.undo:
            return "copy the previous good generation's wrappers into a staging directory"
        return "resolve the config, arm the new watches, generate every wrapper into a staging directory"


@dataclass(frozen=True, slots=True)
class Promote:
    """Write the staged files that differ into the output directory, and remove managed files that are no longer staged."""

    name: ClassVar[str] = "promote"
    cycle: int

    def __str__(self) -> str:
        return "write the wrappers that differ, remove managed ones that no longer exist"


@dataclass(frozen=True, slots=True)
class Warm:
    """Create the next bridge, and await its ``init()`` and the probe, within ``timeout`` seconds.

    Then compare it with the wrappers; its ``interface()`` has ``describe_timeout`` seconds, and is done without if it needs more.
    """

    name: ClassVar[str] = "warm"
    cycle: int
    timeout: float
    describe_timeout: float = 2.0

    def __str__(self) -> str:
        return f"create the next bridge, init() and probe it, within {self.timeout:g} s"


@dataclass(frozen=True, slots=True)
class Swap:
    """Publish the bridge of ``cycle``. This is the commit point of the cycle."""

    name: ClassVar[str] = "swap"
    cycle: int

    def __str__(self) -> str:
        return "publish the next bridge: the commit point"


@dataclass(frozen=True, slots=True)
class Dispose:
    """Dispose a bridge that is no longer live, when its leases have ended or were cut off.

    Leases get ``timeout`` seconds, then the planner has them cut off; ``dispose()`` gets ``dispose_timeout`` seconds, or what
    the bridge says that it takes (``ends_within``), if that is more. The action waits for the ``dispose()`` of a bridge without
    leases, unless ``in_background``.

    ``makes_way``: the bridge is the live one, and goes before the next is created, in the background. New calls wait until a
    bridge is live, or for :class:`Refuse`. Its generation can still be restarted.
    """

    name: ClassVar[str] = "dispose"
    bridge: int
    timeout: float
    dispose_timeout: float = 10.0
    in_background: bool = False
    makes_way: bool = False

    def __str__(self) -> str:
        waiting = "; new calls wait until the swap" if self.makes_way else ""
        return (
            f"dispose the bridge of cycle {self.bridge} when its calls are done, or after {self.timeout:g} s{waiting}"
        )


@dataclass(frozen=True, slots=True)
class Restart:
    """Replace a live bridge by a new one of the same generation, which must be ready within ``timeout`` seconds.

    The former one, which is broken or was disposed to make way, is renamed to ``broken``. A bridge that did not get ready is
    disposed, within ``dispose_timeout`` seconds.
    """

    name: ClassVar[str] = "restart"
    bridge: int
    timeout: float
    broken: int = -1
    dispose_timeout: float = 10.0

    def __str__(self) -> str:
        return f"create the bridge of cycle {self.bridge} again, init() and probe it, within {self.timeout:g} s"


@dataclass(frozen=True, slots=True)
class Watch:
    """Commit the watch set of ``cycle``: from then on nothing else is watched. It is given up after ``timeout`` seconds.

    If it is given up or fails, more is watched than need be, or files are left for the next start to remove.
    """

    name: ClassVar[str] = "watch"
    cycle: int
    timeout: float = 60.0

    def __str__(self) -> str:
        return "commit the watched set"


@dataclass(frozen=True, slots=True)
class Rollback:
    """Undo ``effect``, whether it was completed, failed, or was interrupted. A ``dispose()`` has ``timeout`` seconds."""

    name: ClassVar[str] = "rollback"
    effect: Stage | Promote | Warm
    timeout: float

    def __str__(self) -> str:
        match self.effect:
            case Stage():
                return "discard the stage"
            case Promote():
                return "restore every file as it was"
            case Warm():
                return "dispose the half-prepared bridge"
            case _:
                assert_never(self.effect)


@dataclass(frozen=True, slots=True)
class Release:
    """Wait for draining bridges, stop watching, and release the output directory.

    The thread of a stage that timed out has ``timeout`` seconds to return.
    """

    name: ClassVar[str] = "release"
    timeout: float = 60.0

    def __str__(self) -> str:
        return "wait for draining bridges, stop watching, release the output directory"


@dataclass(frozen=True, slots=True)
class Emit:
    """Pass ``event`` to the user."""

    event: WatchEvent


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Start a timer that reports to the planner after ``seconds``; it replaces a running timer of the same name."""

    timer: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StopTimer:
    """Stop the timer named ``timer``."""

    timer: str


@dataclass(frozen=True, slots=True)
class Arm:
    """Watch ``paths`` in addition, until the next watch set is committed."""

    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """Read all watched files, beginning after this command, and report their digests together with ``number``.

    Looks are numbered in order. A reading that begins after several of them is reported once, with the last number.
    """

    number: int


@dataclass(frozen=True, slots=True)
class Pin:
    """Add the modules that ``bridge`` imported dynamically to its generation on disk, so that a restart uses the same bytes.

    The end of it is reported, also if it failed.
    """

    bridge: int


@dataclass(frozen=True, slots=True)
class Prepare:
    """Let the live ``bridge`` prepare resources in the background that the next one can take over, such as a spare worker.

    Do so now, and every ``every`` seconds until the next such command, since what is prepared grows old. ``edited``: the files
    whose edits caused the last cycle that edits have caused, sorted. They are likely to be edited next.
    """

    bridge: int
    edited: tuple[Path, ...] = ()
    every: float = 240.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Tell the callers that hold ``tickets`` whether their cycle succeeded, or raise ``error`` in them."""

    tickets: tuple[int, ...]
    succeeded: bool
    error: BaseException | None = None


Request = Literal["reload", "undo", "settle"]
"""What a follower can ask of the session that leads."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the session that leads for ``request``, for the caller that holds ``ticket``. The answer comes with its news."""

    ticket: int
    request: Request


@dataclass(frozen=True, slots=True)
class Beat:
    """Show the followers that this session responds."""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Cancel the running action as soon as possible, and drop the remaining ones. Its outcome is still reported."""


@dataclass(frozen=True, slots=True)
class Unpublish:
    """Remove the session's bridge from the registry, so that no new call reaches it."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Let the calls that wait for a bridge, and new ones, raise until a bridge is live. ``error``: why none could be made."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class CutOff:
    """End the leases of a draining bridge now, so that it is disposed. ``why`` completes "The call …" in their errors."""

    bridge: int
    why: str


Action = Stage | Promote | Warm | Swap | Dispose | Restart | Watch | Rollback | Release
Command = (
    Emit
    | SetTimer
    | StopTimer
    | Arm
    | Look
    | Pin
    | Prepare
    | Answer
    | Ask
    | Beat
    | Interrupt
    | Unpublish
    | Refuse
    | CutOff
)
Effect = Action | Command
