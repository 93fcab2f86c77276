"""The ``lastgood`` command: watch, serve, generate, plan, status, history, undo, init, doctor, demo.

An error of the user is one message on stderr, with exit status 1. Status 2 means wrong usage, or warnings with
``--fail-on-warn``; 3, wrappers out of date with ``--check``; 130, Ctrl-C; 143, SIGTERM. A defect of lastgood shows its traceback.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial, wraps
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

import lastgood
from lastgood import __version__
from lastgood.children.platforms import require_processes, without_processes
from lastgood.errors import ConfigError, LastgoodError, Unsupported

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from lastgood.cli.generating import Format
    from lastgood.effects import FileOperation
    from lastgood.interpreters.project import Project

# Each command imports what it needs when it runs, so that "lastgood --help" does not wait for trio.

__all__ = ["main"]

INTERRUPTED = 130  # 128 + SIGINT, the convention of shells
TERMINATED = 143  # 128 + SIGTERM
_GOOD = ("watch-paths", "change", "reload-start", "reload-success")  # the events that a quiet command does not print


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
            if sys.stderr.isatty() and not ctx.meta.get(_KEYS, False):
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
        except ImportError:
            platform = without_processes()
            if platform is None:
                raise
            _print_error(Unsupported(f"lastgood {ctx.invoked_subcommand}", platform))
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


def _config(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the argument CONFIG, and an option that does the same."""

    @click.argument("config", required=False, type=click.Path(path_type=Path))
    @click.option("--config", "named", type=click.Path(path_type=Path), help="The same as CONFIG.")
    @wraps(command)
    def with_config(config: Path | None, named: Path | None, **options: Any) -> None:
        if config is not None and named is not None:
            raise click.UsageError("CONFIG was given twice, as an argument and by --config.")
        command(config or named, **options)

    return with_config


_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, to stdout.")
_quiet = click.option("--quiet", is_flag=True, help="Print errors alone.")
_verbose = click.option("--verbose", is_flag=True, help="Print every warning, not one line a cause, and more.")


def _forgo_color(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta[_NO_COLOR] = value


_NO_COLOR = "lastgood.no_color"
_KEYS = "lastgood.keys"
"""In ``ctx.meta``: whether a terminal gives single keys, and does not show them, neither ``^C``."""
_no_color = click.option(
    "--no-color", is_flag=True, expose_value=False, callback=_forgo_color, help="Print no colors, on a terminal either."
)


def _shown(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say what it prints."""
    return _json(_quiet(_verbose(_no_color(command))))


@main.command()
@_config
@click.option("--json", "as_json", is_flag=True, help="Print each event as one JSON object a line, and nothing else.")
@click.option("--wait", is_flag=True, help="If the start fails, wait for an edit that mends it.")
@_quiet
@_verbose
@_no_color
def watch(config: Path | None, as_json: bool, wait: bool, quiet: bool, verbose: bool) -> None:
    """Reload on every edit, and print each event, until Ctrl-C."""
    require_processes("lastgood watch")
    from lastgood.cli.watching import watch_and_show
    from lastgood.session.event_lines import nearby

    path = _config_file(config)
    run = partial(watch_and_show, lambda on_event: lastgood.watch(path, on_event=on_event, wait_for_first=wait))
    if not as_json:
        from lastgood.cli.worker_lines import mark_worker_lines

        mark_worker_lines(_console(stderr=True))
    headline = f"watches for {nearby(path, Path.cwd())}"
    _run_shown(run, headline, as_json=as_json, quiet=quiet, verbose=verbose, waits=wait)


def _run_shown(
    run: Callable[..., int], headline: str, *, as_json: bool, quiet: bool, verbose: bool, waits: bool
) -> NoReturn:
    """Show the events of ``run(show, keys=descriptor)``, a session, and exit with the status that it returns."""
    if as_json:
        sys.exit(run(lambda event: click.echo(json.dumps(event.to_dict())), keys=None))
    from rich.text import Text

    from lastgood.cli.keys import keyboard
    from lastgood.session.event_lines import EventLines, EventPrinter

    console, lines = _console(), EventLines(base=Path.cwd(), verbose=verbose, waits=waits)
    show, keys = EventPrinter(lines, console), keyboard()
    click.get_current_context().meta[_KEYS] = keys is not None
    if not quiet:
        hint = "Ctrl-C ends it." if keys is None else "r reloads, q ends it."
        console.print(Text.assemble(f"lastgood {__version__} {headline}. ", (hint, "dim")))
    status = run(lambda event: None if quiet and event.type in _GOOD else show(event), keys=keys)
    if status == 0:
        click.echo("Stopped.", err=True)
    sys.exit(status)


@main.command()
@click.argument("app", required=False)
@click.argument("options", metavar="[-- UVICORN OPTIONS]", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--config", type=click.Path(path_type=Path), help="The config file. Default: the nearest one with [serve]."
)
@click.option("--factory", is_flag=True, help="APP is a function that returns the application.")
@click.option("--host", "hosts", multiple=True, help="Serve at this address (127.0.0.1); may be given several times.")
@click.option("--port", type=click.IntRange(0, 65535), help="Serve at this port (8000); 0: one that is free.")
@click.option("--uds", type=click.Path(path_type=Path), help="Serve at this Unix socket.")
@click.option("--fd", type=click.IntRange(0), help="Serve from this inherited descriptor of a socket.")
@click.option("--probe", metavar="PATH", help="A new generation must answer this path below 500 before it is live.")
@click.option(
    "--drain", type=click.FloatRange(0), help="Seconds in which what a replaced generation answers may end (10)."
)
@click.option("--no-header", is_flag=True, help="Leave the header Lastgood out of responses.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as one JSON object a line, and nothing else.")
@_quiet
@_verbose
@_no_color
def serve(
    app: str | None,
    options: tuple[str, ...],
    config: Path | None,
    factory: bool,
    no_header: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **where: Any,
) -> None:
    """Serve an ASGI application, and reload it on every edit.

    APP names it, such as main:app; no config is needed. The last good version answers until the next one has started, and no
    request fails. What stands behind -- are options of uvicorn.
    """
    require_processes("lastgood serve")
    if find_spec("uvicorn") is None:
        raise ConfigError("lastgood serve needs uvicorn, which is not installed: pip install 'lastgood[serve]'")
    from lastgood.cli.serving import Serving, addresses, config_of, uvicorn_options
    from lastgood.config import load_config
    from lastgood.serve.binding import release

    if app is not None and app.startswith("-"):  # the first of uvicorn's options
        options, app = (app, *options), None
    file = config_of(config)
    read = None if file is None else load_config(file).serve
    try:
        serving = Serving(file, app, factory=factory, header=not no_header, options=uvicorn_options(options), **where)
        settings = serving.settings(read)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    sockets = serving.bind(settings)
    try:
        places = addresses(sockets, encrypts=serving.encrypts)
        if (quiet or as_json) and serving.has_any_port(settings):
            click.echo("\n".join(places), err=as_json)
        headline = f"serves {settings.app} at {' and '.join(places)}"
        run = partial(serving.run, sockets)
        _run_shown(run, headline, as_json=as_json, quiet=quiet, verbose=verbose, waits=True)
    finally:
        release(sockets)


@main.command()
@click.argument("configs", metavar="[CONFIG]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--config", "more", multiple=True, type=click.Path(path_type=Path), help="The same as CONFIG.")
@click.option("--check", is_flag=True, help="Write nothing: status 3, and a diff, if a wrapper is out of date.")
@click.option("--fail-on-warn", is_flag=True, help="End with status 2 if there were warnings.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    help="For a person, a program, or as annotations of a workflow of GitHub.",
)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@_quiet
@_verbose
@_no_color
def generate(
    configs: tuple[Path, ...],
    more: tuple[Path, ...],
    check: bool,
    fail_on_warn: bool,
    form: Format,
    quiet: bool,
    verbose: bool,
) -> None:
    """Write the wrappers once, without a worker. Several configs are done one after another, also if one fails."""
    require_processes("lastgood generate")
    from lastgood.cli.generating import GithubReport, JsonReport, Report, TextReport, UpToDateReport, generate_all

    files = [_config_file(each) for each in (*configs, *more) or (None,)]
    report: Report
    if form == "json":
        report = JsonReport(check=check)
    elif form == "github":
        report = GithubReport()
    else:
        kind = UpToDateReport if check else TextReport
        print_warnings = partial(_print_warnings, verbose=verbose, quiet=quiet and not fail_on_warn)
        report = kind(_console(quiet=quiet), _print_error, print_warnings, names_configs=len(files) > 1)
    sys.exit(generate_all(files, _project, report, check=check, fail_on_warn=fail_on_warn))


@main.command()
@_config
@_shown
def plan(config: Path | None, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Show what a first cycle would do, and touch nothing."""
    from rich.text import Text

    from lastgood.config import load_config
    from lastgood.interpreters.once import preview
    from lastgood.planner import plan_of_cycle
    from lastgood.planner.states import Generation
    from lastgood.session.change_texts import marked_change
    from lastgood.session.console import hanging, width_of
    from lastgood.session.event_lines import nearby

    path = _config_file(config)
    project = _project(path)
    would = preview(project)
    settings, read = project.first_settings(), load_config(path)
    has_output = read.output.dir is not None
    first = plan_of_cycle(settings, 1, None, promotes=has_output)
    if as_json:
        _print_json(
            {
                "actions": [action.name for action in first.actions],
                "output": str(would.output) if has_output else None,
                "operations": [_operation(operation, would.output) for operation in would.operations],
                "unchanged": list(would.unchanged),
                "changes": [change.to_dict() for change in would.changes],
                "warnings": list(would.warnings),
            }
        )
        return
    console, output = _console(quiet=quiet), Path(nearby(would.output, Path.cwd()))
    console.print(str(first))
    if not read.runtime.process.overlap:
        later = plan_of_cycle(settings, 2, Generation(1, 1), overlap=False, promotes=has_output)
        console.print(f"\nlater on, with overlap = false\n{later}")
    if not has_output:
        console.print("\nno wrappers: dir under [output] is false")
        return
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
        head = Text.assemble("  ", (f"{change.kind:<8}", "red" if change.breaking else "green"), " ")
        for line in hanging(head, marked_change(change), width_of(console)):
            console.print(line)
    _print_warnings(would.warnings, verbose=verbose, quiet=quiet)


@main.command()
@_config
@_shown
def status(config: Path | None, as_json: bool, quiet: bool, verbose: bool) -> None:  # noqa: ARG001  # it says all
    """Say what is live in the sessions that run.

    The exit status is 0 if that is good, 4 if it is stale, and 5 if no session runs.
    """
    from lastgood.cli.status import show_status

    path = _config_file(config)
    exit_status, data = show_status(_project(path), _console(quiet=quiet or as_json), path, Path.cwd())
    if as_json:
        _print_json(data)
    sys.exit(exit_status)


@main.command()
@_config
@_shown
def history(config: Path | None, as_json: bool, quiet: bool, verbose: bool) -> None:
    """List the good generations that are kept, the newest first."""
    from lastgood.interpreters.once import output_path
    from lastgood.session.event_lines import listed, nearby
    from lastgood.store.generations import DamagedGeneration

    project = _project(_config_file(config))
    output = output_path(project)
    store = project.store(project.look_at(output))
    console, good, rows = _console(quiet=quiet or as_json), store.history(), []
    if not good:
        console.print(f"No good generation of {nearby(output, Path.cwd())} is kept yet.")
    for each, before in reversed([*zip(good, [None, *good], strict=False)]):
        files: tuple[Path, ...] = ()
        problem = None
        try:
            files = store.changed(each, before)
            named = [nearby(path, Path.cwd()) for path in files]
            changed = (", ".join(named) if verbose else listed(named)) or "the config"
        except DamagedGeneration as error:
            changed, problem = f"cannot be used: {error}", str(error)
        mark = "* " if each is good[-1] else "  "
        console.print(f"{mark}{_time_text(each.at)}  {changed}")
        is_last = each is good[-1]
        rows.append({"at": each.at, "last": is_last, "changed": list(map(str, files)), "problem": problem})
    if as_json:
        _print_json(rows)


@main.command()
@_config
@_shown
def undo(config: Path | None, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Go back to the good generation before the last one.

    A session that runs is asked to do it, wrappers and worker, and waited for; where none runs, the wrappers alone are
    brought back.
    """
    require_processes("lastgood undo")
    from lastgood.errors import AlreadyWatched, WatchError
    from lastgood.interpreters.once import ask_undo, undo_once
    from lastgood.session.event_lines import nearby

    config_file = _config_file(config)
    project = _project(config_file)
    console = _console(quiet=quiet or as_json)
    try:
        done = undo_once(project)
    except AlreadyWatched as error:
        who = "a session" if error.pid is None else f"the session of process {error.pid}"
        console.print(f"Asked {who} to undo its live generation.")
        gone_back_to = ask_undo(_project(config_file), error)
        if gone_back_to is None:
            raise WatchError("the session has ended before it had done that. Run the command again.") from None
        console.print(f"It has gone back to that of {_time_text(gone_back_to.at)}.")
        if as_json:
            _print_json({"session": error.pid, "at": gone_back_to.at})
        return
    output = Path(nearby(done.output, Path.cwd()))
    for label, paths in (("wrote", done.written), ("removed", done.removed)):
        for path in paths:
            console.print(f"  {label:<9}  {output / path}")
    if not (done.written or done.removed):
        console.print("  The wrappers are the same in both generations.")
    if as_json:
        _print_json({"session": None, "written": list(done.written), "removed": list(done.removed)})
    _print_warnings(done.warnings, verbose=verbose, quiet=quiet)


@main.command()
@click.argument("directory", required=False, default=".", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--config", "named", type=click.Path(path_type=Path), help="The lastgood.toml to write, in place of DIRECTORY."
)
@_shown
def init(directory: Path, named: Path | None, as_json: bool, quiet: bool, verbose: bool) -> None:  # noqa: ARG001  # likewise
    """Write a commented lastgood.toml to start from. Nothing is overwritten.

    In a git repository, generated/ gets a .gitattributes that marks wrappers as generated for reviewers, and a .gitignore for what
    is kept of wrappers that were edited by hand.
    """
    from lastgood.cli.starter import start_project
    from lastgood.session.event_lines import listed, nearby

    if named is not None and (named.name != "lastgood.toml" or directory != Path(".")):
        raise click.UsageError("--config names the lastgood.toml to write, and takes the place of DIRECTORY.")
    directory = directory if named is None else named.parent
    started = start_project(directory)
    if as_json:
        _print_json({"written": list(map(str, started.written)), "found": list(started.found)})
        return
    console = _console(quiet=quiet)
    for path in started.written:
        console.print(f"  wrote  {nearby(path, Path.cwd())}", style="green")
    console.print("\nNext:")
    if started.directory != Path.cwd():
        console.print(f"  cd {directory}")
    if started.example is None:
        found = f" ({listed(started.found)})" if started.found else ""
        console.print(f"  Name the modules to wrap under [modules] in lastgood.toml{found}.")
    console.print("  lastgood plan       shows what would be written")
    console.print("  lastgood watch      writes it, and reloads on every edit")
    if started.example is not None:
        console.print("\nIn an app:")
        console.print("  async with lastgood.watch():")
        console.print(f"      from generated import {started.example.stem}")
        console.print(f'      print(await {started.example.stem}.greet("Ada"))')


@main.command()
@_config
@_shown
def doctor(config: Path | None, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Check everything that a session needs, and say what to do."""
    require_processes("lastgood doctor")
    from lastgood.cli.doctor import examine
    from lastgood.cli.doctor.report import print_findings

    findings = examine(lambda: _config_file(config))
    if as_json:
        told = list(findings)
        _print_json([each.to_dict() for each in told])
    else:
        told = print_findings(findings, _console(), quiet=quiet, verbose=verbose)
    sys.exit(int(any(each.state == "wrong" for each in told)))


@main.command()
@_shown
def demo(as_json: bool, quiet: bool, verbose: bool) -> None:
    """Play a real session with real edits in a temporary directory."""
    require_processes("lastgood demo")
    from lastgood.cli.demo import run

    plain = not (as_json or quiet or verbose or click.get_current_context().meta[_NO_COLOR])
    passed = run() if plain else run(_console(quiet=quiet or as_json), verbose=verbose)
    if as_json:
        _print_json({"passed": passed == 0})
    sys.exit(passed)


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


def _print_json(data: object) -> None:
    click.echo(json.dumps(data, indent=2))


def _console(*, stderr: bool = False, quiet: bool = False) -> Console:
    from lastgood.session.event_lines import make_console

    ctx = click.get_current_context(silent=True)
    console = make_console(stderr=stderr, colors=ctx is None or not ctx.meta.get(_NO_COLOR, False))
    console.quiet = quiet
    return console


def _print_warnings(warnings: tuple[str, ...], *, verbose: bool, quiet: bool = False) -> None:
    from rich.text import Text

    from lastgood.wrappers.types.warning_texts import summed_up

    if quiet:
        return
    console = _console(stderr=True)
    lines = warnings if verbose else summed_up(warnings)
    for line in lines:
        _print_labelled(console, "Warning", "magenta", [Text(line)])
    if not set(warnings) <= set(lines):
        console.print(f"These are the causes of {len(warnings)} warnings; --verbose prints each.", style="dim")


def _print_error(error: Exception) -> None:
    from rich.text import Text

    from lastgood.children.limits import explain
    from lastgood.session.console import width_of
    from lastgood.session.error_texts import error_details, error_text

    explain(error)
    console = _console(stderr=True)
    if isinstance(error, LastgoodError):
        lines = error_details(error, None, width_of(console))
    elif isinstance(error, OSError) and error.strerror is not None and error.filename is not None:
        told = [f"{error.filename}: {error.strerror}", *getattr(error, "__notes__", ())]
        lines = [Text(line) for line in told]
    else:
        lines = [Text(line) for line in error_text(error).splitlines()]
    _print_labelled(console, "Error", "red", lines)


def _print_labelled(console: Console, label: str, style: str, lines: list[Text]) -> None:
    """Print a message of several lines, which are broken at the width of a terminal."""
    from rich.text import Text

    from lastgood.session.console import hanging, width_of

    head = Text.assemble((f"{label}:", style), " ")
    for line in lines:
        for part in hanging(head, line, width_of(console)):
            console.print(part)
        head = Text()
