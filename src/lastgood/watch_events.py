"""The events of a session: frozen dataclasses, each with a ``type`` tag and ``to_dict()``.

Paths are resolved :class:`pathlib.Path` objects, collections are tuples, times are seconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from lastgood.errors import Blame

Warmth = Literal["fresh", "spare"]
"""What the workers of a bridge had been before it was created."""

Role = Literal["leader", "follower"]
"""The part of a session among all those on its project: the leader generates and promotes, a follower takes that over."""

__all__ = [
    "ApiChange",
    "BridgeLost",
    "BridgeRestored",
    "Change",
    "DisposeFailed",
    "EventsMissed",
    "GenerationUndone",
    "LeaderChanged",
    "ModuleLoadedLate",
    "Notice",
    "PollingStarted",
    "Recovered",
    "ReloadError",
    "ReloadStart",
    "ReloadSuccess",
    "RollbackFailed",
    "Runaway",
    "Superseded",
    "WatchEvent",
    "WatchPaths",
]


class _Event:
    """Base class of events, which has ``to_dict()``.

    Events have no slots: a frozen dataclass with slots raises a confusing TypeError on assignment to ``type``, which is not a
    field.
    """

    type: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the event as data for :mod:`json`: paths as text, tuples as lists, an error as its type, text and notes."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # every subclass is a dataclass
        return {"type": self.type} | {item.name: _plain(getattr(self, item.name)) for item in fields}

    def __repr__(self) -> str:
        """Return the fields that are not at their defaults, shortened, for a person."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # every subclass is a dataclass
        fields = tuple(each for each in fields if _counts(each, getattr(self, each.name)))
        shown = ", ".join(f"{each.name}={_shown(getattr(self, each.name))}" for each in fields)
        return f"{type(self).__name__}({shown})"


_MOST_SHOWN = 3


def _counts(item: dataclasses.Field[Any], value: object) -> bool:
    is_empty = value is None or value is False or (isinstance(value, tuple | Mapping) and not value)
    return not is_empty and value != item.default


def _shown(value: object) -> str:
    match value:
        case Path():
            return str(value)
        case float():
            return f"{value:.3g}"
        case BaseException():
            first, *more = _text(value).splitlines() or [""]
            return f"<{type(value).__name__}: {first}{' …' if more else ''}>"
        case ApiChange():
            return f"{value.kind} {value.module}.{value.name}"
        case Mapping():
            return "{" + ", ".join(f"{key}: {_shown(item)}" for key, item in value.items()) + "}"
        case tuple():
            shown = [item if isinstance(item, str) else _shown(item) for item in value[:_MOST_SHOWN]]
            more = [f"{len(value) - _MOST_SHOWN} more"] if len(value) > _MOST_SHOWN else []
            return f"[{', '.join([*shown, *more])}]"
        case _:
            return repr(value)


def _plain(value: object) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, BaseException):
        return {
            "type": type(value).__qualname__,
            "message": _text(value),
            "notes": list(getattr(value, "__notes__", ())),
        }
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, ApiChange):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # a user's error with a broken __str__ must not lose the event
        return "<its text cannot be had>"


@dataclass(frozen=True, slots=True)
class ApiChange:
    """A change of a wrapper's API: a function, a type or a constant was added, removed, or altered.

    ``name`` is its name in ``module`` (dots pass through classes); ``old`` and ``new`` are a function's signature as
    :mod:`inspect` prints it, a type's fields, or a constant's value, as text (None: there is none). ``breaking``: existing
    calls, or uses of their results, may fail (the rule is in :mod:`lastgood.wrappers.changes`).
    """

    kind: Literal["added", "removed", "altered"]
    what: Literal["function", "type", "constant"]
    module: str
    name: str
    old: str | None
    new: str | None
    breaking: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the change as data for :mod:`json`."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, repr=False)
class WatchPaths(_Event):
    """The set of watched paths was committed or has changed. ``paths`` are sorted."""

    type: ClassVar[str] = "watch-paths"
    paths: tuple[Path, ...]


@dataclass(frozen=True, repr=False)
class Change(_Event):
    """The bytes at ``path`` changed, and a reload was scheduled.

    ``manual``: the edit was found by the reading before a ``reload_now()``, not by the watcher.
    """

    type: ClassVar[str] = "change"
    path: Path
    manual: bool = False


@dataclass(frozen=True, repr=False)
class ReloadStart(_Event):
    """A cycle begins. ``manual``: because of start-up or ``reload_now()``; ``changed``: the edited paths, sorted."""

    type: ClassVar[str] = "reload-start"
    cycle: int
    manual: bool
    changed: tuple[Path, ...]


@dataclass(frozen=True, repr=False)
class ReloadSuccess(_Event):
    """A cycle succeeded; ``generation`` is now the live one.

    ``written``: every generated file now on disk, sorted, relative to the output directory; ``touched``: the files that this
    cycle wrote or removed; ``warnings``: the generator's; ``timings``: seconds by the name of the effect; ``changes``: API
    changes since the previous good generation (none with a ``generate`` function of the user). ``warm``: ``"spare"`` if the
    bridge's workers had all run the program ahead, else ``"fresh"``; ``why_fresh``: the reason, if the bridge gives one.
    """

    type: ClassVar[str] = "reload-success"
    cycle: int
    manual: bool
    changed: tuple[Path, ...]
    generation: int
    written: tuple[Path, ...]
    touched: tuple[Path, ...]
    warnings: tuple[str, ...]
    timings: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    changes: tuple[ApiChange, ...] = ()
    warm: Warmth = "fresh"
    why_fresh: str | None = None


@dataclass(frozen=True, repr=False)
class ReloadError(_Event):
    """A cycle failed and was undone. ``error`` is the exception object itself, ``effect`` the name of the effect that failed.

    ``live_generation`` is the generation that stays live (None: the start failed, and the session ends, unless ``wait_for_first``
    was given).
    """

    type: ClassVar[str] = "reload-error"
    cycle: int
    manual: bool
    changed: tuple[Path, ...]
    error: BaseException
    effect: str
    live_generation: int | None


class _Notice(_Event):
    """Base class of notices: problems that are not fatal but must not be silent."""


@dataclass(frozen=True, repr=False)
class DisposeFailed(_Notice):
    """The replaced bridge of ``generation`` raised ``error`` in ``dispose()``, or did not return in time."""

    type: ClassVar[str] = "notice-dispose-failed"
    generation: int
    error: BaseException


@dataclass(frozen=True, repr=False)
class RollbackFailed(_Notice):
    """``effect`` of a failed cycle could not be undone because of ``error``. ``cause`` is the failure of the cycle itself.

    The next cycle or start completes the rollback before it does anything else.
    """

    type: ClassVar[str] = "notice-rollback-failed"
    effect: str
    error: BaseException
    cause: BaseException | None


@dataclass(frozen=True, repr=False)
class PollingStarted(_Notice):
    """The operating system's file notification failed, and files are polled instead. ``reason`` says why, and how to fix it."""

    type: ClassVar[str] = "notice-polling-started"
    reason: str


@dataclass(frozen=True, repr=False)
class Recovered(_Notice):
    """An interrupted promotion was undone from its journal. ``restored`` are the files, relative to ``output``."""

    type: ClassVar[str] = "notice-recovered"
    output: Path
    restored: tuple[Path, ...]


@dataclass(frozen=True, repr=False)
class BridgeLost(_Notice):
    """The live bridge of ``generation`` broke down, or could not be restarted, because of ``error``.

    ``restart_in``: seconds until a restart from the same generation. None: there will be none, because a cycle is about to
    replace the bridge, or to undo its generation, or because it broke down too often: then it is ``final``, and needs an edit or
    ``reload_now()``. ``blame``: the cause, ``"code"`` or ``"place"`` (killed from outside, for example).
    """

    type: ClassVar[str] = "notice-bridge-lost"
    generation: int
    error: BaseException
    restart_in: float | None = None
    blame: Blame = "code"
    final: bool = False


@dataclass(frozen=True, repr=False)
class BridgeRestored(_Notice):
    """The bridge of ``generation`` was restarted."""

    type: ClassVar[str] = "notice-bridge-restored"
    generation: int


@dataclass(frozen=True, repr=False)
class GenerationUndone(_Notice):
    """``generation`` was undone: wrappers and bridge of the previous one are live again, as a generation with a new number.

    ``reason``: the loss of its bridge on probation; None if ``undo()`` was called.
    """

    type: ClassVar[str] = "notice-generation-undone"
    generation: int
    reason: BaseException | None


@dataclass(frozen=True, repr=False)
class ModuleLoadedLate(_Notice):
    """The worker imported ``module`` dynamically from ``path``. From now on the module is pinned and watched."""

    type: ClassVar[str] = "notice-module-loaded-late"
    module: str
    path: Path


@dataclass(frozen=True, repr=False)
class Superseded(_Notice):
    """The cycle of this number took long and was undone before its swap, because an edit waited. The next one begins at once.

    ``changed``: the edited paths that the cycle began with, sorted. They are among those of the next one.
    """

    type: ClassVar[str] = "notice-superseded"
    cycle: int
    changed: tuple[Path, ...]


@dataclass(frozen=True, repr=False)
class Runaway(_Notice):
    """``files`` changed during the warm-up of each of the last ``cycles`` cycles, which nothing else had caused.

    They start no further cycle by themselves until they change after five seconds without a change: the program writes them when
    it is imported, or somebody saved them that often.
    """

    type: ClassVar[str] = "notice-runaway"
    files: tuple[Path, ...]
    cycles: int


@dataclass(frozen=True, repr=False)
class LeaderChanged(_Notice):
    """The session that leads the project is another one, or has stopped or begun to respond.

    ``role``: this session leads, or it follows the session of process ``pid``. ``responding``: that one gives signs of life.
    """

    type: ClassVar[str] = "notice-leader"
    role: Role
    pid: int
    responding: bool = True


@dataclass(frozen=True, repr=False)
class EventsMissed(_Notice):
    """An ``events()`` iterator fell behind, and ``count`` of its events were dropped. Only that iterator gets this event."""

    type: ClassVar[str] = "notice-events-missed"
    count: int


Notice = (
    DisposeFailed
    | RollbackFailed
    | PollingStarted
    | Recovered
    | BridgeLost
    | BridgeRestored
    | GenerationUndone
    | ModuleLoadedLate
    | Superseded
    | Runaway
    | LeaderChanged
    | EventsMissed
)
"""The events about problems that are not fatal but must not be silent."""

WatchEvent = WatchPaths | Change | ReloadStart | ReloadSuccess | ReloadError | Notice
"""Every event of a session."""
