"""Events as lines of text for a terminal, with a STALE line after a failed cycle, and for a log.

``lastgood watch`` and ``lastgood demo`` print them; a session without ``on_event`` logs them. Text of the user's (paths,
messages, module names) is never interpreted as markup.
"""

from __future__ import annotations

import logging
import os
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, assert_never

from lastgood.errors import ConfigError, GenerationError, LastgoodError, RemoteError, UnwatchableModule
from lastgood.watch_events import (
    ApiChange,
    BridgeLost,
    BridgeRestored,
    Change,
    DisposeFailed,
    EventsMissed,
    GenerationUndone,
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

_MOST_LISTED = 6
_INDENT = " " * 11
# A frame of a traceback: `  File "pricing.py", line 14, in quote`.
_FRAME = re.compile(r'^ *File "(?P<file>[^"\n]+)", line (?P<line>\d+)', re.MULTILINE)


_LINE = re.compile(r":\d+(?=\)$)")
_LIBRARY = re.compile(r"^<|[/\\\\](?:lib[/\\\\]python\d|site-packages[/\\\\]|dist-packages[/\\\\])", re.IGNORECASE)
"""A pattern for paths in the standard library or an installed package, and for names such as ``<string>``."""


def make_console(file: IO[str] | None = None, *, stderr: bool = False, colors: bool = True) -> Console:
    """Make a console for plain text, without wrapping, highlighting or markup; ``colors`` only show on a terminal."""
    from rich.console import Console

    return Console(
        file=file,
        stderr=stderr,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
        color_system="auto" if colors else None,
    )


_STALE = "bold reverse red"


class EventLines:
    """A converter of events to lines, to be given all events in order.

    ``now`` returns the local time; paths below ``base``, if given, are shown relative to it. ``verbose``: every warning has a
    line of its own, instead of every cause, and a line says how the worker was started. ``waits``: after a failed start the session
    waits for an edit (None: unknown).
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

    def lines(self, event: WatchEvent) -> list[Text]:
        """Return the lines to print for ``event``."""
        now = self._now()
        stamp = f"{now:%H:%M:%S}"
        lines = [_line(stamp, label, style, text) for label, style, text in self._said(event, now)]
        # A failed start raises its error anyway, unless the session waits.
        if isinstance(event, ReloadError) and (self._waits is not False or event.live_generation is not None):
            from rich.text import Text

            details = error_text(event.error).splitlines()
            lines[1:1] = [Text(f"{_INDENT}{each}".rstrip()) for each in details]
        return lines

    def _said(self, event: WatchEvent, now: datetime) -> Iterator[tuple[str, str, str]]:
        match event:
            case WatchPaths(paths):
                yield "watching", "", listed([self._near(path) for path in paths])
            case Change(path):
                yield "change", "cyan", self._near(path)
            case ReloadStart():
                yield "reload", "", self._why(event)
            case ReloadSuccess():
                yield from self._succeeded(event, now)
            case ReloadError():
                yield from self._failed(event, now)
            case DisposeFailed(generation, error):
                yield (
                    "notice",
                    "yellow",
                    f"the bridge of generation {generation} was not disposed: {self._brief(error)}",
                )
            case RollbackFailed(effect, error):
                yield "notice", "red", f"{effect} could not be undone; the next cycle tries again: {self._brief(error)}"
            case PollingStarted(reason):
                yield "notice", "yellow", f"files are polled from now on: {reason}"
            case Recovered(output, restored):
                names = listed([str(path) for path in restored])
                yield "notice", "yellow", f"a promotion cut short was undone in {self._near(output)}: {names}"
            case BridgeLost(generation, error, restart_in):
                yield "notice", "red", f"the bridge of generation {generation} broke down: {self._brief(error)}"
                if restart_in is None:
                    yield "notice", "red", "it is not restarted by itself now; an edit or reload_now() replaces it"
                elif restart_in:
                    yield "notice", "yellow", f"it is restarted in {restart_in:g} s"
            case GenerationUndone(generation, reason):
                self._undone = generation
                why = "" if reason is None else f", for its bridge was lost on probation: {self._brief(reason)}"
                yield "notice", "yellow", f"generation {generation} is undone{why}"
            case ModuleLoadedLate(module, path):
                yield "notice", "", f"{module} was imported late, and is watched too: {self._near(path)}"
            case Superseded(cycle):
                yield "notice", "yellow", f"cycle {cycle} is superseded: an edit came while it ran, and it took long"
            case Runaway(files, cycles):
                names = listed([self._near(path) for path in files])
                changed = f"{names} changed during each of the last {cycles} reloads, and caused the next one"
                yield "notice", "red", changed
                left = "its edits start no more reloads; write it elsewhere, or `ignore` it under [watch]"
                yield "notice", "red", left
                self._stale_since = self._stale_since or now
                yield (
                    "STALE",
                    _STALE,
                    "until another file changes, or reload_now()",
                )
            case BridgeRestored(generation):
                yield "notice", "green", f"the bridge of generation {generation} is back"
            case EventsMissed(count):
                yield "notice", "yellow", f"{count} event(s) were missed"
            case _:
                assert_never(event)

    def _why(self, event: ReloadStart) -> str:
        reason = listed([self._near(path) for path in event.changed])
        if event.manual:
            asked = "start-up" if event.cycle == 1 else "asked for"
            reason = f"{asked}; {reason}" if reason else asked
        return f"cycle {event.cycle}: {reason}"

    def _succeeded(self, event: ReloadSuccess, now: datetime) -> Iterator[tuple[str, str, str]]:
        on_disk = frozenset(event.written)
        wrote = listed([str(path) for path in event.touched if path in on_disk])
        removed = listed([str(path) for path in event.touched if path not in on_disk])
        did = "; ".join(
            [f"wrote {wrote}"] * bool(wrote)
            + [f"removed {removed}"] * bool(removed)
            + ["no wrapper changed"] * (not event.touched)
        )
        self._stale_since = None
        yield (
            "live",
            "bold green",
            f"generation {event.generation} (cycle {event.cycle}): {did}; {_durations(event.timings)}",
        )
        if self._verbose and event.warm == "spare":
            yield "spare", "green", "its worker had run the program ahead"
        elif self._verbose and event.why_fresh is not None:
            yield "fresh", "yellow", f"its worker started from the beginning: {event.why_fresh}"
        for change in event.changes:
            yield change.kind, "red" if change.breaking else "green", change_text(change)
        # Show a warning once, and not again after every edit, which may have moved the line that it names.
        fresh = [warning for warning in event.warnings if _LINE.sub("", warning) not in self._warned]
        for line in fresh if self._verbose else summed_up(fresh):
            yield "warning", "yellow", line
        self._warned = frozenset(_LINE.sub("", warning) for warning in event.warnings)
        if self._undone is not None:
            self._stale_since, undone, self._undone = now, self._undone, None
            text = (
                f"since {now:%H:%M:%S}; what was live before generation {undone} is live, until an edit or reload_now()"
            )
            yield "STALE", _STALE, text

    def _failed(self, event: ReloadError, now: datetime) -> Iterator[tuple[str, str, str]]:
        if event.live_generation is None:
            so = {True: ", it waits for an edit", False: ", so the session ends", None: ""}[self._waits]
            yield "failed", "red", f"cycle {event.cycle} at {event.effect}; nothing is live yet{so}"
            return
        yield "failed", "red", f"cycle {event.cycle} at {event.effect}"
        since = self._stale_since = self._stale_since or now
        moment = f"{since:%H:%M:%S}" if since.date() == now.date() else f"{since:%Y-%m-%d %H:%M:%S}"
        text = f"since {moment}; generation {event.live_generation} is live. {self._brief(event.error)}"
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
        for line in self._lines.lines(event):
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

    def __call__(self, event: WatchEvent) -> None:
        level = _level(event)
        if not self._logger.isEnabledFor(level):
            return
        error = getattr(event, "error", None)
        if not isinstance(event, ReloadError):
            said = self._said(event, self._now())
            text = "\n  ".join(text if label == "notice" else f"{label}: {text}" for label, _, text in said)
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
        ):
            return logging.WARNING
        case ReloadSuccess() | BridgeRestored() | ModuleLoadedLate() | Superseded():
            return logging.INFO
        case WatchPaths() | Change() | ReloadStart():
            return logging.DEBUG
        case _:
            assert_never(event)


def _in_full(error: BaseException) -> str:
    """Format an error for a log: a summary in one line and, indented below it, the details that the summary lacks."""
    lines = error_text(error).splitlines()
    if isinstance(error, GenerationError) and len(error.failures) == 1:
        lines = list(getattr(error, "__notes__", ()))
    elif not isinstance(error, GenerationError | RemoteError):
        lines = lines[1:]
    return "\n  ".join([brief(error), *lines])


def change_text(change: ApiChange) -> str:
    """Describe an API change in one line, without its kind ("added", "removed" or "altered")."""
    between = {"function": "", "type": ": ", "constant": " = "}[change.what]
    now = "" if change.old is None or change.new is None else f", now {change.new}"
    now = ", now another object" if change.old == change.new else now
    mark = "; breaking" if change.breaking else ""
    return f"{change.what} {change.module}.{change.name}{between}{change.old or change.new}{now}{mark}"


def nearby(path: Path | str, base: Path | None) -> str:
    """Return ``path`` as text, relative to ``base`` if it lies below it."""
    text = str(path)
    prefix = "" if base is None else os.path.join(base, "")
    return text.removeprefix(prefix) if text != prefix else text


def listed(names: Sequence[str]) -> str:
    """Join the names with commas; of many names, list the first few and the number of the others."""
    more = len(names) - _MOST_LISTED
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:_MOST_LISTED])} and {more} more"


def error_text(error: BaseException) -> str:
    """Return the full text of an error: its type (unless it is lastgood's own), its message, and its notes."""
    match error:
        case RemoteError(traceback=str(remote)) if remote:
            said = remote.rstrip()
        case ConfigError(file=Path() as file) if str(file) not in str(error):
            said = f"{file}: {error}"
        case LastgoodError():
            said = str(error)
        case _:
            said = _type_and_text(error)
    return "\n".join([said, *getattr(error, "__notes__", ())])


def brief(error: BaseException, base: Path | None = None) -> str:
    """Summarise an error in one line: file and line number, if known, and the problem."""
    match error:
        case GenerationError(failures=(first, *others)):
            place = "" if first.file is None else f"{nearby(first.file, base)}:"
            place += "" if first.line is None or not place else f"{first.line}:"
            more = f" (and {len(others)} more)" if others else ""
            return f"{place} {first.module}: {first.message}{more}".lstrip()
        case RemoteError():
            frames = [(frame["file"], frame["line"]) for frame in _FRAME.finditer(error.traceback)]
            return _innermost_place(frames, base) + _first_line(
                f"{error.type_name}: {error.message}" if error.message else error.type_name
            )
        case LastgoodError():
            more = f" (and {len(error.others)} more)" if isinstance(error, UnwatchableModule) and error.others else ""
            said = f"{_first_line(error_text(error))}{more}"
            return said if base is None else said.replace(os.path.join(base, ""), "")
        case _:
            raised = [(frame.filename, str(frame.lineno)) for frame in traceback.extract_tb(error.__traceback__)]
            return _innermost_place(raised, base) + _first_line(_type_and_text(error))


def _innermost_place(frames: Sequence[tuple[str, str]], base: Path | None) -> str:
    """Return file and line of the innermost frame in the user's code, or if there is none, of the innermost frame."""
    if not frames:
        return ""
    file, line = ([frame for frame in frames if not _LIBRARY.search(frame[0])] or frames)[-1]
    return f"{nearby(file, base)}:{line}: "


def _type_and_text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].rstrip(":")


def _durations(timings: Mapping[str, float]) -> str:
    each = ", ".join(f"{name} {_milliseconds(seconds)}" for name, seconds in timings.items())
    return f"{each} ms" if each else ""


def _milliseconds(seconds: float) -> str:
    milliseconds = seconds * 1000
    if milliseconds >= 10:
        return f"{milliseconds:.0f}"
    return f"{milliseconds:.1f}" if milliseconds >= 0.05 else "<0.1"


def _line(stamp: str, label: str, style: str, text: str) -> Text:
    from rich.text import Text

    # Indent the further lines of a text, so that they are aligned below the first one.
    aligned = text.replace("\n", f"\n{_INDENT}")
    gap = " " * max(1, 10 - len(label))
    return Text.assemble((f"{stamp}  ", "dim"), (label, style), gap, aligned)
