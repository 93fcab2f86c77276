"""The frame of the demo: its output, checks and deadline. The scenario is in :mod:`lastgood.cli.demo.scenario`."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import trio
from rich.console import Console
from rich.text import Text

from lastgood.session.console import hanging, make_console, width_of
from lastgood.session.error_texts import error_text
from lastgood.session.event_lines import EventLines
from lastgood.store.temporary import temporary_directory
from lastgood.watch_events import ReloadError, ReloadSuccess, WatchEvent

__all__ = ["Story", "run"]

DEADLINE = 60.0  # seconds for everything; it takes about three
_BETWEEN_CALLS = 0.01  # seconds


class Unexpected(Exception):  # its text has been printed when it is raised
    """A check of the demo has failed."""


class Story:
    """A printer of steps, events and checks, which also counts the checks."""

    def __init__(self, console: Console, project: Path, *, verbose: bool = False) -> None:
        self._console = console
        self._failures = make_console(stderr=True) if console.quiet else console
        self._lines = EventLines(base=project, verbose=verbose)
        self._outcomes: list[str] = []
        self._step = "Before the start."
        self._steps = 0
        self._checks = 0

    def step(self, what: str) -> None:
        """Begin a step of the story."""
        self._step = what
        self._steps += 1
        self._console.print()
        self._print_whole(f"{self._steps}. ", what)

    def _print_whole(self, head: str, text: str) -> None:
        """Print a sentence, broken between words where it is wider than the terminal."""
        for line in hanging(Text(head), Text(text), width_of(self._console)):
            self._console.print(line, style="bold")

    def on_event(self, event: WatchEvent) -> None:
        """Print an event of the session, and record the outcome of a cycle."""
        # A broken pipe ends the demo at its next check. Exceptions raised here would only be logged.
        with suppress(BrokenPipeError, SystemExit):
            for line in self._lines.lines(event, self._console, margin=3):
                self._console.print(Text("   ") + line)
        match event:
            case ReloadSuccess():
                self._outcomes.append(event.type)
            case ReloadError():
                self._outcomes.append(f"{event.type} at {event.effect}")
            case _:
                pass

    async def outcome(self, meanwhile: Callable[[], Awaitable[object]]) -> str:
        """Return the outcome of the next cycle. Until then, call ``meanwhile()`` over and over."""
        while not self._outcomes:
            await meanwhile()
            await trio.sleep(_BETWEEN_CALLS)
        return self._outcomes.pop(0)

    def check(self, what: str, came: object, expected: object) -> None:
        """Print that ``came`` equals ``expected``. Raises :class:`Unexpected` if it does not."""
        if came != expected:
            self.fail(what, expected, came)
            raise Unexpected
        self._checks += 1
        self._console.print(f"   ok       {what}: {_value_text(came)}", style="green")

    def fail(self, what: str, expected: object, came: object) -> None:
        """Print what was expected, and what came instead."""
        self._failures.print(f"   FAILED   {what}", style="bold red")
        self._failures.print(f"            expected: {_value_text(expected)}")
        self._failures.print(f"            came:     {_value_text(came)}")

    def end(self, summary: str) -> None:
        """Print the summary of a demo that went well."""
        self._console.print()
        self._print_whole("", f"{summary}\nAll {self._checks} checks hold.")

    @property
    def where(self) -> str:
        """The current step."""
        return self._step


def run(console: Console | None = None, *, verbose: bool = False) -> int:
    """Play the demo in a temporary directory. Return the exit status: 0 if all checks hold, else 1."""
    from lastgood.cli.demo.scenario import play

    with temporary_directory() as temporary:
        project = temporary.resolve()
        copy_project(project)
        story = Story(console or make_console(), project, verbose=verbose)

        async def bounded() -> None:
            with trio.fail_after(DEADLINE):
                await play(project, story)

        try:
            with _importable(project):
                trio.run(bounded)
        except Unexpected:
            return 1
        except trio.TooSlowError:
            story.fail(story.where, f"an end within {DEADLINE:g} s", None)
            return 1
        except Exception as error:
            story.fail(story.where, None, error)
            return 1
    return 0


def copy_project(directory: Path) -> None:
    """Copy the demo's project into ``directory``, also from inside a zipped wheel."""
    _copy(resources.files("lastgood.cli.demo") / "project", directory)


def _copy(source: Traversable, target: Path) -> None:
    for entry in source.iterdir():
        if entry.is_file():
            (target / entry.name).write_bytes(entry.read_bytes())
        elif entry.name != "__pycache__":
            (target / entry.name).mkdir()
            _copy(entry, target / entry.name)


@contextmanager
def _importable(project: Path) -> Iterator[None]:
    """Make the modules of ``project`` importable; afterwards, remove the wrappers from ``sys.modules``."""
    known = set(sys.modules)
    sys.path.insert(0, str(project))
    try:
        yield
    finally:
        sys.path.remove(str(project))
        for name in set(sys.modules) - known:
            if name.startswith("greenhouse_wrappers"):
                del sys.modules[name]


def _value_text(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case None:
            return "none"
        case list() | set() if not value:
            return "none"
        case BaseException():
            return error_text(value)
        case type():
            return value.__name__
        case _:
            return str(value)
