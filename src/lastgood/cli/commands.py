"""The ``lastgood`` command: watch, generate, plan, history, undo, init, demo.

An error of the user is one message on stderr, with exit status 1. Status 2 means wrong usage, or warnings with
``--fail-on-warn``; 3, wrappers out of date with ``--check``; 130, Ctrl-C. A defect of lastgood shows its traceback.
"""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lastgood import __version__
from lastgood.errors import LastgoodError

if TYPE_CHECKING:
    from rich.console import Console

    from lastgood.effects import FileOperation
    from lastgood.interpreters.project import Project
    from lastgood.session.watch import WatchProgram
    from lastgood.watch_events import WatchEvent

# Each command imports what it needs when it runs, so that "lastgood --help" does not wait for trio.

__all__ = ["main"]

WARNED = 2
OUT_OF_DATE = 3
INTERRUPTED = 130  # 128 + SIGINT, the convention of shells

UNDO_TIMEOUT = 10.0
"""Seconds that ``lastgood undo`` waits for a running session."""


class _Commands(click.Group):
    """A command group that turns errors into messages and exit statuses."""

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            # A file name may not be valid text in any encoding. Escape it instead of failing to print the line.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if sys.stderr.isatty():
                click.echo(err=True)  # the terminal has left the cursor after "^C"
            click.echo("Stopped.", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:  # the reader of the output has exited; click ends silently
            raise
        except (LastgoodError, OSError, MemoryError, RuntimeError) as error:
            if not isinstance(error, LastgoodError | OSError):
                from lastgood.children.limits import is_about_a_limit

                if not is_about_a_limit(error):
                    raise
            _print_error(error)
            ctx.exit(1)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(self.commands)  # in the order of definition, the most used first


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lastgood", message="%(prog)s %(version)s")
def main() -> None:
    """Keep generated wrappers and a live worker in step with Python sources. When anything fails, the last good ones stay.

    CONFIG is a lastgood.toml, or a pyproject.toml with a [tool.lastgood] table. Without it, the nearest one is taken, from
    the working directory upwards.
    """


_config = click.argument("config", required=False, type=click.Path(path_type=Path))
_verbose = click.option("--verbose", is_flag=True, help="Print every warning, not one line a cause, and more.")


def _forgo_color(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta[_NO_COLOR] = value


_NO_COLOR = "lastgood.no_color"
_no_color = click.option(
    "--no-color", is_flag=True, expose_value=False, callback=_forgo_color, help="Print no colors, on a terminal either."
)


@main.command()
@_config
@click.option("--json", "as_json", is_flag=True, help="Print each event as one JSON object a line, and nothing else.")
@click.option("--wait", is_flag=True, help="If the start fails, wait for an edit that mends it.")
@_verbose
@_no_color
def watch(config: Path | None, as_json: bool, wait: bool, verbose: bool) -> None:
    """Reload on every edit, and print each event, until Ctrl-C."""
    import lastgood

    path = _config_file(config)
    if as_json:
        _watch(path, lambda event: click.echo(json.dumps(event.to_dict())), wait=wait)
        return
    from lastgood.cli.worker_lines import mark_worker_lines
    from lastgood.session.event_lines import EventLines, EventPrinter, nearby

    mark_worker_lines(_console(stderr=True))
    console, lines = _console(), EventLines(base=Path.cwd(), verbose=verbose, waits=wait)
    console.print(f"lastgood {lastgood.__version__} watches for {nearby(path, Path.cwd())}. Ctrl-C ends it.")
    _watch(path, EventPrinter(lines, console), wait=wait)


@main.command()
@_config
@click.option("--check", is_flag=True, help="Write nothing: status 3, and a diff, if a wrapper is out of date.")
@click.option("--fail-on-warn", is_flag=True, help="End with status 2 if there were warnings.")
@_verbose
@_no_color
def generate(config: Path | None, check: bool, fail_on_warn: bool, verbose: bool) -> None:
    """Write the wrappers once, without a worker."""
    if check:
        warnings, status = _show_differences(config)
    else:
        warnings, status = _generate(config), 0
    _print_warnings(warnings, verbose=verbose)
    sys.exit(WARNED if fail_on_warn and warnings else status)


def _show_differences(config: Path | None) -> tuple[tuple[str, ...], int]:
    """Show how the wrappers on disk differ from those that would be written. Return warnings and exit status."""
    from lastgood.interpreters.once import differences
    from lastgood.session.event_lines import nearby

    would, diff = differences(_project(_config_file(config)), lambda path: nearby(path, Path.cwd()))
    files = [*would.written, *would.removed]
    if not files:
        click.echo(f"{_count_text(len(would.unchanged), 'file')} up to date in {nearby(would.output, Path.cwd())}.")
        return would.warnings, 0
    for line in diff:
        click.echo(line, nl=False)
    click.echo(f"{_count_text(len(files), 'file')} out of date: run lastgood generate.", err=True)
    return would.warnings, OUT_OF_DATE


def _count_text(number: int, what: str) -> str:
    return f"{number} {what} is" if number == 1 else f"{number} {what}s are"


def _generate(config: Path | None) -> tuple[str, ...]:
    """Write the wrappers and print what was written. Return the warnings."""
    from lastgood.interpreters.once import generate_once
    from lastgood.session.event_lines import nearby

    done = generate_once(_project(_config_file(config)))
    console, output = _console(), Path(nearby(done.output, Path.cwd()))
    if done.recovered:
        console.print("A promotion that was cut short has been undone first:", style="yellow")
    for path in done.recovered:
        console.print(f"  restored   {output / path}")
    for label, style, paths in (("wrote", "green", done.written), ("removed", "red", done.removed)):
        for path in paths:
            console.print(f"  {label:<9}  {output / path}", style=style)
    if done.unchanged:
        console.print(f"  {len(done.unchanged)} unchanged", style="dim")
    if not (done.written or done.removed or done.unchanged):
        console.print("  There is nothing to wrap: [modules] is empty.")
    return done.warnings


@main.command()
@_config
@_verbose
@_no_color
def plan(config: Path | None, verbose: bool) -> None:
    """Show what a first cycle would do, and touch nothing."""
    from lastgood.config import load_config
    from lastgood.interpreters.once import preview
    from lastgood.planner import plan_of_cycle
    from lastgood.planner.states import Generation
    from lastgood.session.event_lines import change_text, nearby

    path = _config_file(config)
    project = _project(path)
    would = preview(project)
    console, output = _console(), Path(nearby(would.output, Path.cwd()))
    settings = project.first_settings()
    console.print(str(plan_of_cycle(settings, 1, None)))
    if not load_config(path).runtime.process.overlap:
        later = plan_of_cycle(settings, 2, Generation(1, 1), overlap=False)
        console.print(f"\nlater on, with overlap = false\n{later}")
    console.print(f"\nfiles in {output}")
    for operation in would.operations:
        console.print(f"  {_operation(operation, output)}")
    if would.unchanged:
        console.print(f"  {len(would.unchanged)} unchanged")
    if not (would.operations or would.unchanged):
        console.print("  nothing: [modules] is empty")
    if would.changes:
        console.print("\nagainst the last good generation")
    for change in would.changes:
        console.print(f"  {change.kind:<8} {change_text(change)}", style="red" if change.breaking else None)
    _print_warnings(would.warnings, verbose=verbose)


@main.command()
@_config
@_no_color
def history(config: Path | None) -> None:
    """List the good generations that are kept, the newest first."""
    from lastgood.interpreters.once import output_path
    from lastgood.session.event_lines import listed, nearby
    from lastgood.store.generations import DamagedGeneration

    project = _project(_config_file(config))
    output = output_path(project)
    store = project.store(project.look_at(output))
    console, good = _console(), store.history()
    if not good:
        console.print(f"No good generation of {nearby(output, Path.cwd())} is kept yet.")
    for each, before in reversed([*zip(good, [None, *good], strict=False)]):
        try:
            changed = listed([nearby(path, Path.cwd()) for path in store.changed(each, before)])
        except DamagedGeneration as error:
            changed = f"cannot be used: {error}"
        mark = "* " if each is good[-1] else "  "
        console.print(f"{mark}{_time_text(each.at)}  {changed or 'the config'}")


@main.command()
@_config
@_verbose
@_no_color
def undo(config: Path | None, verbose: bool) -> None:
    """Go back to the good generation before the last one.

    A session that runs is asked to do it, wrappers and worker, and waited for; where none runs, the wrappers alone are
    brought back.
    """
    from lastgood.errors import AlreadyWatched
    from lastgood.interpreters.once import ask_undo, undo_once
    from lastgood.session.event_lines import nearby

    project = _project(_config_file(config))
    console = _console()
    try:
        done = undo_once(project)
    except AlreadyWatched as error:
        who = "a session" if error.pid is None else f"the session of process {error.pid}"
        console.print(f"Asked {who} to undo its live generation.")
        gone_back_to = ask_undo(project, UNDO_TIMEOUT)
        console.print(f"It has gone back to that of {_time_text(gone_back_to.at)}.")
        return
    output = Path(nearby(done.output, Path.cwd()))
    for label, paths in (("wrote", done.written), ("removed", done.removed)):
        for path in paths:
            console.print(f"  {label:<9}  {output / path}")
    if not (done.written or done.removed):
        console.print("  The wrappers are the same in both generations.")
    _print_warnings(done.warnings, verbose=verbose)


@main.command()
@click.argument("directory", required=False, default=".", type=click.Path(path_type=Path, file_okay=False))
@_no_color
def init(directory: Path) -> None:
    """Write a commented lastgood.toml to start from. Nothing is overwritten."""
    from lastgood.cli.starter import start_project
    from lastgood.session.event_lines import listed, nearby

    started = start_project(directory)
    console = _console()
    for path in started.written:
        console.print(f"  wrote  {nearby(path, Path.cwd())}", style="green")
    console.print("\nNext:")
    if started.directory != Path.cwd():
        console.print(f"  cd {directory}")
    if len(started.written) == 1:
        found = f" ({listed(started.found)})" if started.found else ""
        console.print(f"  Name the modules to wrap under [modules] in lastgood.toml{found}.")
    console.print("  lastgood plan       shows what would be written")
    console.print("  lastgood watch      writes it, and reloads on every edit")


@main.command()
def demo() -> None:
    """Play a real session with real edits in a temporary directory."""
    from lastgood.cli.demo import run

    sys.exit(run())


# --- helpers


def _config_file(given: Path | None) -> Path:
    from lastgood.config import find_config

    return find_config(Path.cwd()) if given is None else Path.cwd() / given


def _project(config_file: Path) -> Project:
    import os

    from lastgood.config import load_config
    from lastgood.interpreters.project import Project
    from lastgood.sources.resolution import worker_interpreter
    from lastgood.store.disk import Disk
    from lastgood.wrappers.process.extractor_process import ExtractorProcess

    return Project(Disk(), config_file, (), load_config, worker_interpreter, os.getpid(), ExtractorProcess())


def _watch(config_file: Path, show: Callable[[WatchEvent], None], *, wait: bool) -> None:
    """Run a session that shows its events, until Ctrl-C, or until its output is closed."""
    import trio

    import lastgood

    scope = trio.CancelScope()
    broken: list[BrokenPipeError] = []

    def on_event(event: WatchEvent) -> None:
        # Exceptions of on_event are only logged. On a broken pipe, rich raises SystemExit.
        try:
            show(event)
        except (BrokenPipeError, SystemExit):
            broken.append(BrokenPipeError(errno.EPIPE, "the reader of the events has closed the pipe"))
            scope.cancel()

    async def run(program: WatchProgram) -> None:
        with scope:
            await program()

    trio.run(run, lastgood.watch(config_file, on_event=on_event, wait_for_first=wait))
    if broken:
        raise broken[0]


def _time_text(at: float) -> str:
    from datetime import datetime

    return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M:%S}"


def _operation(operation: FileOperation, output: Path) -> str:
    from lastgood.effects import KeepCopy, MakeDirectory, RemoveDirectory, RemoveFile, ReplaceFile, SetAside, WriteFile

    path = output / operation.path
    match operation:
        case MakeDirectory():
            return f"make     {path}/"
        case WriteFile():
            return f"write    {path}"
        case ReplaceFile():
            return f"replace  {path}"
        case RemoveFile():
            return f"remove   {path}"
        case SetAside(_, to):
            return f"keep     {path} as {output / to}"
        case KeepCopy(_, to):
            return f"copy     {path} to {output.parent / to}"
        case RemoveDirectory():
            return f"remove   {path}/"


def _console(*, stderr: bool = False) -> Console:
    from lastgood.session.event_lines import make_console

    ctx = click.get_current_context(silent=True)
    return make_console(stderr=stderr, colors=ctx is None or not ctx.meta.get(_NO_COLOR, False))


def _print_warnings(warnings: tuple[str, ...], *, verbose: bool) -> None:
    from lastgood.wrappers.types.warning_texts import summed_up

    console = _console(stderr=True)
    lines = warnings if verbose else summed_up(warnings)
    for line in lines:
        console.print(f"Warning: {line}", style="yellow")
    if not set(warnings) <= set(lines):
        console.print(f"These are the causes of {len(warnings)} warnings; --verbose prints each.", style="yellow")


def _print_error(error: Exception) -> None:
    from lastgood.children.limits import explain
    from lastgood.session.event_lines import error_text

    explain(error)
    message = error_text(error)
    if isinstance(error, OSError) and error.strerror is not None and error.filename is not None:
        message = "\n".join([f"{error.filename}: {error.strerror}", *getattr(error, "__notes__", ())])
    _console(stderr=True).print(f"Error: {message}", style="red")
