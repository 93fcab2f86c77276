"""The IPython extension: ``%load_ext lastgood``, then ``%lastgood [CONFIG]``, in Jupyter and in IPython's terminal.

The magic starts a session in a thread of its own. Before each cell, the session is brought up to date with what has been saved.
IPython itself is never imported: whoever loads the extension has it. See docs/how-to/notebooks.md.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from lastgood.calls.import_hints import is_on_path
from lastgood.config import find_config, load_config
from lastgood.errors import LastgoodError, WatchError
from lastgood.session.event_lines import EventLog, brief, error_text
from lastgood.session.session import logger
from lastgood.session.threaded import ThreadedSession
from lastgood.session.watch import watch
from lastgood.watch_events import ReloadError, WatchEvent

__all__ = ["load_ipython_extension"]

_QUIET = 1.0
"""Seconds that a cell waits for a reload before it says so."""

_LONGEST = 60.0
"""Seconds that a cell waits for a reload in all; then it runs with the generation that is live."""

_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
"""The directory of lastgood's own files."""

_USAGE = "Usage: %lastgood [CONFIG], or %lastgood --stop"


class Notebook:
    """The session of a kernel: a process publishes one bridge, so it has one of these, however often it is loaded."""

    def __init__(self) -> None:
        self._session: ThreadedSession | None = None
        self._entry: str | None = None

    def load(self, shell: Any) -> None:
        """Register magic, hook and short tracebacks in an ``InteractiveShell``. Registering them again has no effect."""
        shell.register_magic_function(self.lastgood, "line")
        shell.events.register("pre_run_cell", self.before_cell)
        if not shell.custom_exceptions:  # there is one handler: that of the user's own stays
            shell.set_custom_exc((LastgoodError, KeyboardInterrupt, asyncio.CancelledError), _show)

    def lastgood(self, line: str) -> None:
        """Start a lastgood session: %lastgood [CONFIG]. If it runs already, print its status; --stop ends it.

        Without CONFIG, it is found as the command finds it, unless a session runs. Another CONFIG replaces the session that runs.
        """
        try:
            arguments = shlex.split(line)
        except ValueError as error:
            _fail(WatchError(f"{error}. {_USAGE}"))
        if arguments == ["--stop"]:
            self._stop()
        elif len(arguments) > 1 or any(each.startswith("-") for each in arguments):
            _fail(WatchError(f"%lastgood does not take {line.strip()!r}. {_USAGE}"))
        else:
            try:
                self._run(*map(os.path.expanduser, arguments))
            except LastgoodError as error:
                _fail(error)

    def _run(self, config: str | None = None) -> None:
        session = self._running
        if session is None or not (config is None or _is_same(session.config_file, config)):
            file = find_config(Path.cwd()) if config is None else Path(os.path.abspath(config))
            output = load_config(file).output.dir  # before the session that runs is closed
            self._close()
            session = self._session = watch(file, on_event=_Log(logger)).start()
            if output is not None:
                self._make_importable(output)
        status = session.status
        print(f"lastgood: generation {status.generation} is live, of {session.config_file}")
        if status.error is not None:
            print(error_text(status.error), file=sys.stderr)

    def _stop(self) -> None:
        print("lastgood: no session runs" if self._running is None else "lastgood: the session has ended")
        self._close()

    @property
    def _running(self) -> ThreadedSession | None:
        return None if self._session is None or self._session.closed else self._session

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()
        if self._entry in sys.path:
            sys.path.remove(self._entry)
        self._entry = None

    def _make_importable(self, output: Path) -> None:
        """Put the directory around ``output`` at the end of ``sys.path``, if it is missing there: notebooks lie anywhere."""
        entry = os.path.realpath(output.parent)
        if not is_on_path(entry):
            self._entry = entry
            sys.path.append(entry)
            print(f"lastgood: {entry} is on sys.path from now on, for `import {output.name}`")

    def before_cell(self, _info: object = None) -> None:
        """Wait until what is on disk has been attempted, and print why it is not live, if it is not."""
        session = self._running
        if session is None:
            return
        try:
            is_late = not _settled(session)
            status = session.status
        except LastgoodError:  # the session was closed meanwhile, or this is a forked process: calls say so
            return
        except KeyboardInterrupt:
            is_late, status = True, session.status
        if status.error is not None:
            why = brief(status.error, session.config_file.parent)
        elif is_late:
            why = "a reload has not ended yet"
        else:
            return
        print(f"STALE: generation {status.generation} is live: {why}", file=sys.stderr)


def _settled(session: ThreadedSession) -> bool:
    """Wait until what is on disk has been attempted. Return False if that has not ended within ``_LONGEST`` seconds."""
    begun = time.monotonic()
    session.settle(_QUIET)
    if time.monotonic() - begun < _QUIET:
        return True
    print(f"lastgood: this cell waits for a reload, at most {_LONGEST:.0f} s", file=sys.stderr)
    session.settle(_LONGEST)
    return time.monotonic() - begun < _LONGEST


def _is_same(file: Path, other: str) -> bool:
    try:
        return os.path.samefile(file, other)
    except OSError:  # one of them is not there
        return False


class _Log(EventLog):
    """Logs all but failed cycles, of which each cell says whether they are over."""

    def __call__(self, event: WatchEvent) -> None:
        if not isinstance(event, ReloadError):
            super().__call__(event)


def _fail(error: Exception) -> NoReturn:
    """Raise ``error`` with its text for a traceback, in IPython: nothing in the frames of a magic is the user's."""
    text = error_text(error)
    error._render_traceback_ = text.splitlines  # type: ignore[attr-defined]  # IPython asks for it by this name
    raise error


def _show(
    shell: Any, kind: type, error: BaseException, trace: TracebackType | None, tb_offset: int | None = None
) -> None:
    """Show an error without the frames of lastgood between the user's. Errors of the worker have none to begin with."""
    frames: list[TracebackType] = []
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
            frames.append(trace)
        trace = trace.tb_next
    shown: TracebackType | None = None
    for each in reversed(frames):
        shown = TracebackType(shown, each.tb_frame, each.tb_lasti, each.tb_lineno)
    shell.showtraceback((kind, error, shown), tb_offset=tb_offset)


_notebook = Notebook()


def load_ipython_extension(shell: Any) -> None:
    """Add ``%lastgood`` to an IPython shell: ``%load_ext lastgood`` calls this."""
    _notebook.load(shell)
