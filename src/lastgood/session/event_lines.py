"""Events as lines of text for a terminal, with a STALE line after a failed cycle, and for a log.

``lastgood watch`` and ``lastgood demo`` print them; a session without ``on_event`` logs them. Text of the user's (paths,
messages, module names) is never interpreted as markup, nor by the terminal.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from msgspec import Struct

from lastgood.errors import GenerationError, LastgoodError, RemoteError
from lastgood.session.change_texts import change_text, marked_change
from lastgood.session.console import hanging, harmless, make_console, width_of
from lastgood.session.error_texts import brief, error_details, error_text, files_of, listed, nearby
from lastgood.watch_events import (
    ApiChange,
    BridgeLost,
    BridgeRestored,
    Change,
    DisposeFailed,
    EventsMissed,
    GenerationUndone,
    LeaderChanged,
    ModuleLoadedLate,
    PollingStarted,
    Recovered,
    ReloadError,
    ReloadStart,
    ReloadSuccess,
    RollbackFailed,
    Runaway,
    Superseded,
    WatchEvent,
    WatchPaths,
)
from lastgood.wrappers.types.warning_texts import summed_up

if TYPE_CHECKING:  # a session that logs nothing needs no rich
    from rich.console import Console
    from rich.text import Text

__all__ = [
    "EventLines",
    "EventLog",
    "EventPrinter",
    "brief",
    "change_text",
    "error_text",
    "listed",
    "make_console",
    "nearby",
    "print_events",
]

_LABELLED = 10
_STAMPED = 10
"""The columns of a label, and of the time before it. What is said of an event begins behind them."""
_INDENT = " " * (_STAMPED + 2)
_LINE = re.compile(r":\d+(?=\)$)")

_STALE = "bold reverse red"
_EFFECTS = ("stage", "promote", "warm", "swap")
_MOST_BEHIND = 5

_Said = tuple[str, str, str | ApiChange]
"""A label, its style, and what is said."""


class _Failure(Struct, frozen=True):
    """A failed cycle, as long as nothing shows that what it failed of is mended. ``text`` is its error in one line."""

    at: datetime
    effect: str
    error: BaseException
    text: str

    def may_stand(self, event: ReloadError, text: str) -> bool:
        """Return whether it may still be there behind a later failure: neither edited since, nor got past, nor told again."""
        before, now = (_EFFECTS.index(each) if each in _EFFECTS else 0 for each in (self.effect, event.effect))
        if now > before or self.text == text or not files_of(self.error).isdisjoint(event.changed):
            return False
        return now < before or now > 0 or not isinstance(event.error, GenerationError)  # which names each broken module


class EventLines:
    """A converter of events to lines, to be given all events in order.

    ``now`` returns the local time; paths below ``base``, if given, are shown relative to it. An edit is one line, with its total
    time. ``verbose``: its steps are lines, too, the time of each effect is shown, every warning has a line of its own, instead of
    every cause, a line says how the worker was started, and tracebacks are whole. ``waits``: after a failed start the session waits
    for an edit (None: unknown).
    """

    def __init__(
        self,
        *,
        base: Path | None = None,
        now: Callable[[], datetime] = datetime.now,
        verbose: bool = False,
        waits: bool | None = False,
    ) -> None:
        self._base = base
        self._verbose = verbose
        self._waits = waits
        self._now = now
        self._stale_since: datetime | None = None
        self._warned: frozenset[str] = frozenset()
        self._undone: int | None = None
        self._failures: list[_Failure] = []
        self._late: set[str] = set()
        self._led_by: int | None = None  # the process of the session that is followed

    def lines(self, event: WatchEvent, console: Console | None = None, *, margin: int = 0) -> list[Text]:
        """Return the lines to print for ``event``.

        On a terminal, that of ``console``, lines are broken to leave ``margin`` columns of its width free.
        """
        from rich.text import Text

        now = self._now()
        said = list(self._said(event, now))
        if not self._verbose and isinstance(event, WatchPaths | Change | ReloadStart):
            return []
        width = None if console is None else width_of(console)
        width = None if width is None else width - margin
        lines = [hanging(_head(now, label, style), self._body(what, width), width) for label, style, what in said]
        # A failed start raises its error anyway, unless the session waits.
        if isinstance(event, ReloadError) and (self._waits is not False or event.live_generation is not None):
            room = None if width is None else width - len(_INDENT)
            details = error_details(event.error, self._base, room, verbose=self._verbose)
            if isinstance(event.error, GenerationError) and len(event.error.failures) == 1:
                # Without the line that says how many there are, and the indentation below it.
                details = [each[2:] if each.plain.startswith("  ") else each for each in details[1:]]
            lines[1:1] = [hanging(Text(_INDENT), each, width) for each in details]
        return [line for group in lines for line in group]

    def _body(self, what: str | ApiChange, width: int | None) -> Text:
        from rich.text import Text

        if isinstance(what, ApiChange):
            return marked_change(what, None if width is None else width - _STAMPED - _LABELLED)
        return Text(harmless(what))

    def _said(self, event: WatchEvent, now: datetime) -> Iterator[_Said]:
        match event:
            case WatchPaths(paths):
                yield "watching", "", listed([self._near(path) for path in paths])
            case Change(path):
                yield "change", "", self._near(path)
            case ReloadStart():
                yield "reload", "", f"cycle {event.cycle}: {self._reason(event)}"
            case ReloadSuccess():
                yield from self._succeeded(event, now)
            case ReloadError():
                yield from self._failed(event, now)
            case DisposeFailed(generation, error):
                yield (
                    "notice",
                    "magenta",
                    f"the bridge of generation {generation} was not disposed: {self._brief(error)}",
                )
            case RollbackFailed(effect, error):
                yield "notice", "red", f"{effect} could not be undone; the next cycle tries again: {self._brief(error)}"
            case PollingStarted(reason):
                yield "notice", "magenta", f"files are polled from now on: {reason}"
            case Recovered(output, restored):
                names = listed([str(path) for path in restored])
                yield "notice", "magenta", f"a promotion cut short was undone in {self._near(output)}: {names}"
            case BridgeLost(generation, error, restart_in):
                yield "notice", "red", f"the bridge of generation {generation} broke down: {self._brief(error)}"
                if event.final:
                    yield "notice", "red", "it is not restarted by itself now; an edit or reload_now() replaces it"
                elif restart_in:
                    yield "notice", "magenta", f"it is restarted in {restart_in:g} s"
            case GenerationUndone(generation, reason):
                self._undone = generation
                why = "" if reason is None else f", for its bridge was lost on probation: {self._brief(reason)}"
                yield "notice", "magenta", f"generation {generation} is undone{why}"
            case ModuleLoadedLate(module, path):
                if self._verbose or module not in self._late:  # the next generation imports the same ones late
                    yield "notice", "", f"{module} was imported late, and is watched too: {self._near(path)}"
                self._late.add(module)
            case Superseded(cycle):
                why = "an edit came while it ran, and it took long"
                if self._led_by is not None:
                    why = f"what the session of process {self._led_by} makes is taken over instead"
                yield "notice", "magenta", f"cycle {cycle} is superseded: {why}"
            case Runaway(files, cycles):
                names = listed([self._near(path) for path in files])
                changed = f"{names} changed during each of the last {cycles} reloads, and caused the next one"
                yield "notice", "red", f"{changed}: its edits start no more reloads for now"
                yield "notice", "", "if you saved that often: save once more after 5 s, or reload (r, reload_now())"
                yield "notice", "", "if the program writes it: write it elsewhere, or `ignore` it under [watch]"
                self._stale_since = self._stale_since or now
                yield "STALE", _STALE, "until that file changes after 5 quiet seconds, another one changes, or a reload"
            case LeaderChanged(role, pid):
                self._led_by = pid if role == "follower" else None
                yield from _of_leader(event)
            case BridgeRestored(generation):
                yield "notice", "green", f"the bridge of generation {generation} is back"
            case EventsMissed(count):
                yield "notice", "magenta", f"{count} event(s) were missed"
            case _:
                assert_never(event)

    def _reason(self, event: ReloadStart | ReloadSuccess | ReloadError) -> str:
        """Return what has caused a cycle."""
        reason = listed([self._near(path) for path in event.changed])
        if event.manual:
            asked = "start-up" if event.cycle == 1 else "asked for"
            reason = f"{asked}; {reason}" if reason else asked
        return reason

    def _live_text(self, event: ReloadSuccess) -> str:
        total = f" in {_duration(sum(event.timings.values()))}" if event.timings else ""
        if self._verbose:
            did = self._done(event)
            return f"generation {event.generation}{total} (cycle {event.cycle}): {did}; {_durations(event.timings)}"
        did = f"; {self._done(event)}" if event.touched or self._led_by is not None else ""
        return f"generation {event.generation}{total}: {self._reason(event)}{did}"

    def _done(self, event: ReloadSuccess) -> str:
        """Return what a cycle has done to the wrappers."""
        return _done(event) if self._led_by is None else f"taken over from process {self._led_by}"

    def _succeeded(self, event: ReloadSuccess, now: datetime) -> Iterator[_Said]:
        self._stale_since = None
        self._failures = []
        yield "live", "bold green", self._live_text(event)
        if self._verbose and event.warm == "spare":
            yield "spare", "green", "its worker had run the program ahead"
        elif self._verbose and event.why_fresh is not None:
            yield "fresh", "magenta", f"its worker started from the beginning: {event.why_fresh}"
        for change in event.changes:
            yield change.kind, "red" if change.breaking else "green", change
        # Show a warning once, and not again after every edit, which may have moved the line that it names.
        fresh = [warning for warning in event.warnings if _LINE.sub("", warning) not in self._warned]
        for line in fresh if self._verbose else summed_up(fresh):
            yield "warning", "magenta", line
        self._warned = frozenset(_LINE.sub("", warning) for warning in event.warnings)
        if self._undone is not None:
            self._stale_since, undone, self._undone = now, self._undone, None
            text = (
                f"since {now:%H:%M:%S}; what was live before generation {undone} is live, until an edit or reload_now()"
            )
            yield "STALE", _STALE, text

    def _failed(self, event: ReloadError, now: datetime) -> Iterator[_Said]:
        reason = "" if self._verbose else self._reason(event)
        text = (
            f"{reason}; cycle {event.cycle} at {event.effect}" if reason else f"cycle {event.cycle} at {event.effect}"
        )
        error = self._brief(event.error)
        behind = [each for each in self._failures if each.may_stand(event, error)][-_MOST_BEHIND:]
        self._failures = [*behind, _Failure(now, event.effect, event.error, error)]
        if event.live_generation is None:
            so = {True: ", it waits for an edit", False: ", so the session ends", None: ""}[self._waits]
            yield "failed", "red", f"{text}; nothing is live yet{so}"
        else:
            yield "failed", "red", text
        for each in behind:
            yield "behind", "red", f"since {_moment(each.at, now)}, and not reached again: {each.text}"
        if event.live_generation is not None:
            since = self._stale_since = self._stale_since or now
            text = f"since {_moment(since, now)}; generation {event.live_generation} is live. {error}"
            yield "STALE", _STALE, text

    def _near(self, path: Path) -> str:
        return nearby(path, self._base)

    def _brief(self, error: BaseException) -> str:
        return brief(error, self._base)


class EventPrinter:
    """An ``on_event`` that prints each event as ``lastgood watch`` does; default: to stdout, paths below the working directory."""

    def __init__(self, lines: EventLines | None = None, console: Console | None = None) -> None:
        self._lines = lines
        self._console = console

    def __call__(self, event: WatchEvent) -> None:
        """Print one event."""
        self._lines = self._lines or EventLines(base=Path.cwd(), waits=None)
        self._console = self._console or make_console()
        for line in self._lines.lines(event, self._console):
            self._console.print(line)


print_events = EventPrinter()
"""Prints events: ``watch(on_event=lastgood.print_events)``."""


class EventLog(EventLines):
    """The default ``on_event`` of a session, which logs the events, with absolute paths.

    A failed start is not logged, because it raises its error, unless the session waits for an edit.
    """

    def __init__(self, logger: logging.Logger, *, waits: bool = False) -> None:
        super().__init__(waits=waits)
        self._logger = logger

    def _live_text(self, event: ReloadSuccess) -> str:
        return f"generation {event.generation} (cycle {event.cycle}): {_done(event)}; {_durations(event.timings)}"

    def __call__(self, event: WatchEvent) -> None:
        level = _level(event)
        if not self._logger.isEnabledFor(level):
            return
        error = getattr(event, "error", None)
        if not isinstance(event, ReloadError):
            said = ((label, _plain(what)) for label, _, what in self._said(event, self._now()))
            text = "\n  ".join(text if label == "notice" else f"{label}: {text}" for label, text in said)
        elif event.live_generation is None and not self._waits:
            return
        elif event.live_generation is None:
            text = f"start failed, nothing is live yet, and an edit is waited for: {_in_full(event.error)}"
        else:
            text = f"reload failed, generation {event.live_generation} stays live: {_in_full(event.error)}"
        # An error from a function of the user's needs its traceback; the texts of lastgood's own errors name the place.
        foreign = error is not None and not isinstance(error, LastgoodError)
        self._logger.log(level, "%s", text, exc_info=error if foreign else None)


def _level(event: WatchEvent) -> int:
    match event:
        case ReloadError() | RollbackFailed():
            return logging.ERROR
        case (
            DisposeFailed()
            | PollingStarted()
            | Recovered()
            | BridgeLost()
            | GenerationUndone()
            | EventsMissed()
            | Runaway()
            | LeaderChanged(responding=False)
        ):
            return logging.WARNING
        case ReloadSuccess() | BridgeRestored() | ModuleLoadedLate() | Superseded() | LeaderChanged():
            return logging.INFO
        case WatchPaths() | Change() | ReloadStart():
            return logging.DEBUG
        case _:
            assert_never(event)


def _of_leader(event: LeaderChanged) -> Iterator[tuple[str, str, str]]:
    if event.role == "leader":
        yield "notice", "", "this session leads from now on"
    elif event.responding:
        yield "notice", "", f"the session of process {event.pid} leads; this one takes over what it makes"
    else:
        yield "notice", "red", f"the session of process {event.pid}, which leads, has stopped responding"


def _in_full(error: BaseException) -> str:
    """Format an error for a log: a summary in one line and, indented below it, the details that the summary lacks."""
    lines = error_text(error).splitlines()
    if isinstance(error, GenerationError) and len(error.failures) == 1:
        lines = list(getattr(error, "__notes__", ()))
    elif not isinstance(error, GenerationError | RemoteError):
        lines = lines[1:]
    return "\n  ".join([brief(error), *lines])


def _plain(what: str | ApiChange) -> str:
    return change_text(what) if isinstance(what, ApiChange) else what


def _done(event: ReloadSuccess) -> str:
    """Return what a cycle has done to the wrappers."""
    on_disk = frozenset(event.written)
    wrote = listed([str(path) for path in event.touched if path in on_disk])
    removed = listed([str(path) for path in event.touched if path not in on_disk])
    did = [f"wrote {wrote}"] * bool(wrote) + [f"removed {removed}"] * bool(removed)
    return "; ".join(did or ["no wrapper changed" if event.written else "there are no wrappers"])


def _moment(then: datetime, now: datetime) -> str:
    return f"{then:%H:%M:%S}" if then.date() == now.date() else f"{then:%Y-%m-%d %H:%M:%S}"


def _duration(seconds: float) -> str:
    return f"{_milliseconds(seconds)} ms" if seconds < 1 else f"{seconds:.1f} s"


def _durations(timings: Mapping[str, float]) -> str:
    each = ", ".join(f"{name} {_milliseconds(seconds)}" for name, seconds in timings.items())
    return f"{each} ms" if each else ""


def _milliseconds(seconds: float) -> str:
    milliseconds = seconds * 1000
    if milliseconds >= 10:
        return f"{milliseconds:.0f}"
    return f"{milliseconds:.1f}" if milliseconds >= 0.05 else "<0.1"


def _head(now: datetime, label: str, style: str) -> Text:
    from rich.text import Text

    stamp = f"{now:%H:%M:%S}".ljust(_STAMPED)
    return Text.assemble((stamp, "dim"), (label, style), " " * max(1, _LABELLED - len(label)))
