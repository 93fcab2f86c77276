"""What the planner can ask for: imperatives, as frozen, comparable, printable values (contract §8).

*Actions* take time and can fail. An interpreter does them one after another, in order, and tells the planner the outcome of
each as an event; when one fails, or at :class:`Interrupt`, it drops those that are left, because what the planner answers
replaces them. *Commands* are carried out at once, also while an action runs.

Bridges are named by the number of the cycle that warmed them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, assert_never

from lastgood.watch_events import WatchEvent

__all__ = [
    "Action",
    "Answer",
    "Arm",
    "Command",
    "CutOff",
    "Dispose",
    "Effect",
    "Emit",
    "Interrupt",
    "Look",
    "Pin",
    "Prepare",
    "Promote",
    "Release",
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
class Stage:
    """Resolve the config afresh, claim its output directory, arm the new watches, and generate every wrapper into a stage.

    ``undo``: take all of it from what was kept of the good generation before the live one, instead. After ``timeout`` seconds it
    is given up.
    """

    name: ClassVar[str] = "stage"
    cycle: int
    undo: bool = False
    timeout: float = 60.0

    def __str__(self) -> str:
        if self.undo:
            return "copy the previous good generation's wrappers into a staging directory"
        return "resolve the config, arm the new watches, generate every wrapper into a staging directory"


@dataclass(frozen=True, slots=True)
class Promote:
    """Write into the output directory what differs from the stage, and remove managed files that are no longer staged."""

    name: ClassVar[str] = "promote"
    cycle: int

    def __str__(self) -> str:
        return "write the wrappers that differ, remove managed ones that no longer exist"


@dataclass(frozen=True, slots=True)
class Warm:
    """Create the next bridge, await its ``init()`` and the probe, within ``timeout`` seconds."""

    name: ClassVar[str] = "warm"
    cycle: int
    timeout: float

    def __str__(self) -> str:
        return f"create the next bridge, init() and probe it, within {self.timeout:g} s"


@dataclass(frozen=True, slots=True)
class Swap:
    """Publish the bridge of ``cycle``: the commit point."""

    name: ClassVar[str] = "swap"
    cycle: int

    def __str__(self) -> str:
        return "publish the next bridge: the commit point"


@dataclass(frozen=True, slots=True)
class Dispose:
    """Dispose a bridge that is no longer live: at once if it has no lease, else in the background.

    Leases get ``timeout`` seconds to end before they are cut off, and ``dispose()`` itself as long again.
    """

    name: ClassVar[str] = "dispose"
    bridge: int
    timeout: float

    def __str__(self) -> str:
        return f"dispose the bridge of cycle {self.bridge} when its calls are done, or after {self.timeout:g} s"


@dataclass(frozen=True, slots=True)
class Restart:
    """Replace a live bridge that broke down by another one made from the same generation, ready within ``timeout`` seconds.

    The broken one goes on under the name ``broken``, and is disposed in the background as by :class:`Dispose`, with
    ``drain_timeout``.
    """

    name: ClassVar[str] = "restart"
    bridge: int
    timeout: float
    drain_timeout: float
    broken: int = -1

    def __str__(self) -> str:
        return f"create the bridge of cycle {self.bridge} once more, init() and probe it, within {self.timeout:g} s"


@dataclass(frozen=True, slots=True)
class Watch:
    """Commit the watched set of ``cycle``: from here on nothing else is watched."""

    name: ClassVar[str] = "watch"
    cycle: int

    def __str__(self) -> str:
        return "commit the watched set"


@dataclass(frozen=True, slots=True)
class Rollback:
    """Undo ``effect``, whether it was done, failed half-way, or was interrupted. ``timeout`` seconds bound a ``dispose()``."""

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
    """Wait for the bridges that still drain, stop watching, and let go of the output directory.

    A thread of a stage that was given up has ``timeout`` seconds to come back.
    """

    name: ClassVar[str] = "release"
    timeout: float = 60.0

    def __str__(self) -> str:
        return "wait for draining bridges, stop watching, release the output directory"


@dataclass(frozen=True, slots=True)
class Emit:
    """Tell the user."""

    event: WatchEvent


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Tell the planner in ``seconds`` that ``timer`` has elapsed; a timer of that name that runs is replaced."""

    timer: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StopTimer:
    """Forget ``timer``."""

    timer: str


@dataclass(frozen=True, slots=True)
class Arm:
    """Watch ``paths`` besides what is watched, until the next watched set is committed."""

    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """Read everything that is watched, now, and tell the planner what is there."""


@dataclass(frozen=True, slots=True)
class Pin:
    """Keep what ``bridge`` has told to have loaded late as a part of its generation, which is what it is made from once more."""

    bridge: int


@dataclass(frozen=True, slots=True)
class Prepare:
    """Have the live ``bridge`` prepare, in the background, what the next one can take over: a spare worker, say."""

    bridge: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Tell the callers of ``reload_now()`` who hold ``tickets`` whether their cycle succeeded."""

    tickets: tuple[int, ...]
    succeeded: bool


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Stop the action that runs as soon as it can be stopped, and drop those that are left. Its outcome is told all the same."""


@dataclass(frozen=True, slots=True)
class Unpublish:
    """Take the session's bridge out of the registry: no new call reaches it."""


@dataclass(frozen=True, slots=True)
class CutOff:
    """End the leases of a draining bridge now."""

    bridge: int


Action = Stage | Promote | Warm | Swap | Dispose | Restart | Watch | Rollback | Release
Command = Emit | SetTimer | StopTimer | Arm | Look | Pin | Prepare | Answer | Interrupt | Unpublish | CutOff
Effect = Action | Command
