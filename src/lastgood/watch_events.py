"""What a session tells its user (contract §3): frozen dataclasses, each with a ``type`` tag and ``to_dict()``.

Paths are resolved :class:`pathlib.Path` objects, collections are tuples, times are seconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

__all__ = [
    "ApiChange",
    "BridgeLost",
    "BridgeRestored",
    "Change",
    "DisposeFailed",
    "EventsMissed",
    "GenerationUndone",
    "ModuleLoadedLate",
    "Notice",
    "PollingStarted",
    "Recovered",
    "ReloadError",
    "ReloadStart",
    "ReloadSuccess",
    "RollbackFailed",
    "WatchEvent",
    "WatchPaths",
]


class _Told:
    """Gives an event its ``to_dict()``.

    Events have no slots: with them, the frozen ``__setattr__`` fails by a TypeError of its own for ``type``, which is no field.
    """

    type: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """The event as plain data that :mod:`json` takes: paths as text, tuples as lists, an error as its type, text and notes."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # every subclass is a dataclass
        return {"type": self.type} | {item.name: _plain(getattr(self, item.name)) for item in fields}


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
    except Exception:  # an error of the user's with a broken __str__ is told all the same
        return "<its text cannot be had>"


@dataclass(frozen=True, slots=True)
class ApiChange:
    """What callers of a wrapper see differently: a function, a type or a constant was added, removed, or altered.

    ``name`` is its name in ``module`` (dots pass through classes); ``old`` and ``new`` are its signature as :mod:`inspect`
    prints it, a type's fields, or a constant's value, as text (None: there is none). ``breaking``: a call that was right, or
    a use of its result, may be wrong now (see :mod:`lastgood.wrappers.changes` for the rule).
    """

    kind: Literal["added", "removed", "altered"]
    what: Literal["function", "type", "constant"]
    module: str
    name: str
    old: str | None
    new: str | None
    breaking: bool

    def to_dict(self) -> dict[str, Any]:
        """The change as plain data that :mod:`json` takes."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class WatchPaths(_Told):
    """The watched set was committed, or changed: ``paths`` are sorted."""

    type: ClassVar[str] = "watch-paths"
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Change(_Told):
    """The bytes at ``path`` changed, and a reload has been scheduled.

    ``manual``: the edit was found by a ``reload_now()`` that looked before it started, not by the watcher.
    """

    type: ClassVar[str] = "change"
    path: Path
    manual: bool = False


@dataclass(frozen=True)
class ReloadStart(_Told):
    """A cycle begins. ``manual``: start-up or ``reload_now()``; ``changed``: every path that led here, sorted."""

    type: ClassVar[str] = "reload-start"
    cycle: int
    manual: bool
    changed: tuple[Path, ...]


@dataclass(frozen=True)
class ReloadSuccess(_Told):
    """A cycle succeeded; ``generation`` is now the live one.

    ``written``: every generated file now on disk, sorted, relative to the output directory; ``touched``: those that this
    cycle really wrote or removed; ``warnings``: texts of the generator; ``timings``: effect name to seconds; ``changes``: what
    callers see differently than in the good generation before (none with a generator of one's own).
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


@dataclass(frozen=True)
class ReloadError(_Told):
    """A cycle failed and was undone. ``error`` is the exception object itself, ``effect`` the name of the effect that failed.

    ``live_generation`` is what stays live (None: there is none, the session did not start).
    """

    type: ClassVar[str] = "reload-error"
    cycle: int
    manual: bool
    changed: tuple[Path, ...]
    error: BaseException
    effect: str
    live_generation: int | None


class _Notice(_Told):
    """What is not fatal but must not be silent."""


@dataclass(frozen=True)
class DisposeFailed(_Notice):
    """The replaced bridge of ``generation`` raised ``error`` when it was disposed, or did not finish in time."""

    type: ClassVar[str] = "notice-dispose-failed"
    generation: int
    error: BaseException


@dataclass(frozen=True)
class RollbackFailed(_Notice):
    """``effect`` of a failed cycle could not be undone: ``error``. ``cause`` is what had made the undoing necessary.

    The next cycle or start finishes the restore before it does anything else.
    """

    type: ClassVar[str] = "notice-rollback-failed"
    effect: str
    error: BaseException
    cause: BaseException | None


@dataclass(frozen=True)
class PollingStarted(_Notice):
    """The system's own watching gave out; ``reason`` says why, and how to get it back. Files are polled instead."""

    type: ClassVar[str] = "notice-polling-started"
    reason: str


@dataclass(frozen=True)
class Recovered(_Notice):
    """A promotion that had been cut short was undone from its journal: ``restored`` files, relative to ``output``."""

    type: ClassVar[str] = "notice-recovered"
    output: Path
    restored: tuple[Path, ...]


@dataclass(frozen=True)
class BridgeLost(_Notice):
    """The live bridge of ``generation`` broke down, or could not be brought back: ``error``.

    ``restart_in``: seconds until it is (once more) created from the same generation. None: not by itself; a cycle is about
    to replace it, or it broke down too often, and an edit or ``reload_now()`` is needed.
    """

    type: ClassVar[str] = "notice-bridge-lost"
    generation: int
    error: BaseException
    restart_in: float | None = None


@dataclass(frozen=True)
class BridgeRestored(_Notice):
    """The bridge of ``generation`` is back."""

    type: ClassVar[str] = "notice-bridge-restored"
    generation: int


@dataclass(frozen=True)
class GenerationUndone(_Notice):
    """``generation`` was undone: the wrappers and the bridge of the one before are live again, as a generation of their own.

    ``reason``: the loss of its bridge on probation; None where ``undo()`` was called.
    """

    type: ClassVar[str] = "notice-generation-undone"
    generation: int
    reason: BaseException | None


@dataclass(frozen=True)
class ModuleLoadedLate(_Notice):
    """The worker imported ``module`` from ``path``, to which no import statement leads: it is pinned from now on, and watched."""

    type: ClassVar[str] = "notice-module-loaded-late"
    module: str
    path: Path


@dataclass(frozen=True)
class EventsMissed(_Notice):
    """Told to one ``events()`` iterator alone: it fell behind, and ``count`` events were dropped for it."""

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
    | EventsMissed
)
"""What is not fatal, but must not be silent."""

WatchEvent = WatchPaths | Change | ReloadStart | ReloadSuccess | ReloadError | Notice
"""Every event of a session."""
