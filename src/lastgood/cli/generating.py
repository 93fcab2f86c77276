"""``lastgood generate``: several configs, and its output for a person, a program, or the annotations of GitHub."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import click

from lastgood.errors import AlreadyWatched, ConfigError, GenerationError, LastgoodError

if TYPE_CHECKING:
    from rich.console import Console

    from lastgood.interpreters.once import Once
    from lastgood.interpreters.project import Project

__all__ = ["OUT_OF_DATE", "WARNED", "Format", "generate_all"]

Format = Literal["text", "json", "github"]

FAILED = 1
WARNED = 2
OUT_OF_DATE = 3

# A warning ends with its place: "… (src/pricing.py:12)".
_PLACE = re.compile(r"^(?P<text>.*) \((?P<file>[^()]+?)(?::(?P<line>\d+))?\)$", re.DOTALL)


@dataclass(slots=True)
class Outcome:
    """What became of one config.

    ``differs``: the files that are out of date, with ``--check``; ``diff``: how, as lines. ``sources``: the files of the modules.
    """

    config: Path
    once: Once | None = None
    error: LastgoodError | OSError | None = None
    differs: tuple[Path, ...] = ()
    diff: tuple[str, ...] = field(default=(), repr=False)
    sources: Mapping[str, Path] = field(default_factory=dict, repr=False)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of the generator."""
        return () if self.once is None else self.once.warnings

    def status(self, *, fail_on_warn: bool) -> int:
        """Return the exit status."""
        if self.error is not None:
            return FAILED
        if fail_on_warn and self.warnings:
            return WARNED
        return OUT_OF_DATE if self.differs else 0


class Report(Protocol):
    """A kind of output."""

    def tell(self, outcome: Outcome) -> None:
        """Print what became of one config, at once."""
        ...

    def end(self) -> None:
        """Print what is printed once for all."""
        ...


def generate_all(
    configs: Sequence[Path], project_of: Callable[[Path], Project], report: Report, *, check: bool, fail_on_warn: bool
) -> int:
    """Generate the wrappers of each config, also after one has failed, and return the exit status: the worst one.

    ``check``: write nothing, and find out what is out of date.
    """
    statuses = {0}
    for config in configs:
        outcome = _checked(config, project_of) if check else _generated(config, project_of)
        report.tell(outcome)
        statuses.add(outcome.status(fail_on_warn=fail_on_warn))
    report.end()
    return next(status for status in (FAILED, WARNED, OUT_OF_DATE, 0) if status in statuses)


def _generated(config: Path, project_of: Callable[[Path], Project]) -> Outcome:
    from lastgood.interpreters.once import ask_generate, generate_once

    project = project_of(config)
    try:
        try:
            done = generate_once(project)
        except AlreadyWatched as error:
            done = ask_generate(project_of(config), error) or generate_once(project_of(config))
        return Outcome(config, done, sources=_sources(project))
    except (LastgoodError, OSError) as error:
        return Outcome(config, error=error)


def _checked(config: Path, project_of: Callable[[Path], Project]) -> Outcome:
    from lastgood.interpreters.once import differences

    project = project_of(config)
    try:
        would, diff = differences(project, _near)
    except (LastgoodError, OSError) as error:
        return Outcome(config, error=error)
    files = tuple(would.output / path for path in (*would.written, *would.removed))
    return Outcome(config, would, differs=files, diff=tuple(diff), sources=_sources(project))


def _sources(project: Project) -> Mapping[str, Path]:
    modules = {} if project.resolution is None else project.resolution.modules
    return {name: module.file for name, module in modules.items() if module.file is not None}


def _near(path: Path) -> str:
    from lastgood.session.event_lines import nearby

    return nearby(path, Path.cwd())


def count_text(number: int, what: str) -> str:
    """Return "1 file is", "2 files are"."""
    return f"{number} {what} is" if number == 1 else f"{number} {what}s are"


class TextReport:
    """For a person: what was written, or a diff. Errors and warnings go to stderr."""

    def __init__(
        self,
        console: Console,
        print_error: Callable[[LastgoodError | OSError], None],
        print_warnings: Callable[[tuple[str, ...]], None],
        *,
        names_configs: bool,
    ) -> None:
        self._console = console
        self._print_error = print_error
        self._print_warnings = print_warnings
        self._names_configs = names_configs

    def tell(self, outcome: Outcome) -> None:
        """See :class:`Report`."""
        if self._names_configs:
            self._console.print(f"{_near(outcome.config)}:", style="bold")
        if outcome.error is not None:
            self._print_error(outcome.error)
        elif outcome.differs:
            for line in outcome.diff if not self._console.quiet else ():
                click.echo(line, nl=False)  # as it is: a console would leave control characters out
            click.echo(f"{count_text(len(outcome.differs), 'file')} out of date: run lastgood generate.", err=True)
        elif outcome.once is not None:
            self._done(outcome.once)
        self._print_warnings(outcome.warnings)

    def _done(self, done: Once) -> None:
        console, output = self._console, Path(_near(done.output))
        if done.recovered:
            console.print("A promotion that was cut short has been undone first:", style="magenta")
        for path in done.recovered:
            console.print(f"  restored   {output / path}")
        for label, style, paths in (("wrote", "green", done.written), ("removed", "red", done.removed)):
            for path in paths:
                console.print(f"  {label:<9}  {output / path}", style=style)
        if done.unchanged:
            console.print(f"  {len(done.unchanged)} unchanged", style="dim")
        if not (done.written or done.removed or done.unchanged):
            why = "[modules] is empty" if done.wraps else "dir under [output] is false"
            console.print(f"  There is nothing to wrap: {why}.")

    def end(self) -> None:
        """See :class:`Report`."""


class UpToDateReport(TextReport):
    """:class:`TextReport` for ``--check``."""

    def _done(self, done: Once) -> None:
        self._console.print(f"{count_text(len(done.unchanged), 'file')} up to date in {_near(done.output)}.")


class JsonReport:
    """For a program: one JSON array on stdout, with an object for each config."""

    def __init__(self, *, check: bool) -> None:
        self._check = check
        self._told: list[dict[str, Any]] = []

    def tell(self, outcome: Outcome) -> None:
        """See :class:`Report`."""
        told: dict[str, Any] = {"config": str(outcome.config)}
        if outcome.error is not None:
            told["error"] = {
                "type": type(outcome.error).__name__,
                "message": str(outcome.error),
                "problems": [
                    {"file": None if file is None else str(file), "line": line, "message": message}
                    for file, line, message in _problems(outcome.error)
                ],
            }
        if outcome.once is not None:
            done = outcome.once
            told |= {
                "output": str(done.output),
                "written": list(done.written),
                "removed": list(done.removed),
                "unchanged": list(done.unchanged),
                "recovered": list(done.recovered),
                "warnings": list(done.warnings),
            }
        if self._check:
            told |= {"up_to_date": outcome.error is None and not outcome.differs, "diff": "".join(outcome.diff)}
        self._told.append(told)

    def end(self) -> None:
        """See :class:`Report`."""
        click.echo(json.dumps(self._told, indent=2))


class GithubReport:
    """For a workflow of GitHub: a command for each error and warning, which shows it at its line of a pull request.

    See https://docs.github.com/actions/reference/workflow-commands-for-github-actions.
    """

    def tell(self, outcome: Outcome) -> None:
        """See :class:`Report`."""
        if outcome.error is not None:
            for file, line, message in _problems(outcome.error):
                _annotate("error", file or outcome.config, line, message)
        for file in outcome.differs:
            _annotate("error", file, None, 'is out of date: run "lastgood generate", and commit what it writes')
        for warning in outcome.warnings:
            found = _PLACE.match(warning)
            if found is None:
                _annotate("warning", _source_of(warning, outcome), None, warning)
            else:
                _annotate("warning", Path(found["file"]), int(found["line"] or 0) or None, found["text"])

    def end(self) -> None:
        """See :class:`Report`."""


def _source_of(warning: str, outcome: Outcome) -> Path:
    """Return the source of the module that a warning begins with; else the config."""
    name = warning.partition(": ")[0]
    while name and name not in outcome.sources:
        name = name.rpartition(".")[0]
    return outcome.sources.get(name, outcome.config)


def _problems(error: LastgoodError | OSError) -> Iterable[tuple[Path | None, int | None, str]]:
    """Return file, line and text of each problem of which an error tells."""
    match error:
        case GenerationError(failures=failures):
            return [(each.file, each.line, f"{each.module}: {each.message}") for each in failures]
        case ConfigError(file=file, line=line):
            return [(file, line, str(error))]
        case OSError(filename=str(name), strerror=str(problem)):
            return [(Path(name), None, problem)]
    return [(None, None, str(error))]


def _annotate(kind: Literal["error", "warning"], file: Path, line: int | None, text: str) -> None:
    where = f"file={_escaped(_near(file), ',:')}" + ("" if line is None else f",line={line}")
    click.echo(f"::{kind} {where},title=lastgood::{_escaped(text)}")


def _escaped(text: str, others: str = "") -> str:
    """Escape what would end a command, or a property of it."""
    escapes = {"%": "%25", "\r": "%0D", "\n": "%0A", ":": "%3A", ",": "%2C"}
    return "".join(escapes[each] if each in f"%\r\n{others}" else each for each in text)
