"""Programs of a web framework under a reloader of its own, which answer with what their wrappers return."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from marked_processes import all_ended, marked, running_with
from real_project import DEADLINE, RealProject
from running import program_environment

__all__ = ["PRICING", "Served", "free_port", "pricing", "served"]

PRICING = "def price() -> int:\n    return 1\n"

_LONGEST = 4 * DEADLINE
"""Seconds in which a reloader has to have noticed an edit, ended the program and started it anew."""


_AGAIN = 5.0
"""Seconds after which an edit is made again: some reloaders overlook those that come while they start."""


def pricing(price: int) -> str:
    """Return a source in this version."""
    return PRICING.replace("1", str(price))


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Served:
    """A program that runs. ``PORT`` and ``STARTS``, a file to which each session adds a line, are in its environment."""

    def __init__(self, directory: Path, files: Mapping[str, str], command: Sequence[str], style: str) -> None:
        self.directory = directory
        config = f'[modules.pricing]\n[output]\ndir = "generated"\nstyle = "{style}"\n'
        own_files = {"pricing.py": PRICING, "lastgood.toml": config}
        self.project = RealProject(directory / "project", {**own_files, **files})
        self.port = free_port()
        self._starts = directory / "starts"
        self._starts.touch()
        self._out = directory / "out"
        own = {"PORT": str(self.port), "STARTS": str(self._starts), "PATH": _path()}
        with self._out.open("w") as out:
            self._process = subprocess.Popen(
                [each.format(port=self.port) for each in command],
                cwd=self.project.root,
                env=program_environment() | marked(directory) | own,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def starts(self) -> list[int]:
        """The processes in which a session was started, in order."""
        return [int(line) for line in self._starts.read_text().split()]

    @property
    def out(self) -> str:
        """What it has printed, without its log of requests."""
        return "\n".join(line for line in self._out.read_text().splitlines() if "GET / HTTP" not in line)

    def until(self, right: Callable[[Any], bool], again: Callable[[], object] = bool, path: str = "") -> Any:
        """Ask until an answer is right; return that. ``again()`` is called from time to time, for what may be overlooked."""
        begun = moment = time.monotonic()
        last: object = None
        while time.monotonic() < begun + _LONGEST:
            if time.monotonic() > moment + _AGAIN:
                moment = time.monotonic()
                again()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=DEADLINE) as answer:
                    last = json.load(answer)
                if right(last):
                    return last
            except (OSError, ValueError) as error:  # it is being restarted
                last = error
            time.sleep(0.02)
        raise AssertionError(f"the last answer was {last!r}, starts: {self.starts}, output:\n…{self.out[-2000:]}")

    def until_price(self, price: int) -> int:
        """Ask until the source returns this price; return the process that has answered."""
        pid: int = self.until(lambda answer: answer["price"] == price)["pid"]
        return pid

    def until_started(self, line: int, again: Callable[[], object] = bool) -> None:
        """Wait for a line in ``STARTS``. ``again()`` is called as by :meth:`until`."""
        begun = moment = time.monotonic()
        while line not in self.starts:
            assert time.monotonic() < begun + _LONGEST, (self.starts, self.out)
            if time.monotonic() > moment + _AGAIN:
                moment = time.monotonic()
                again()
            time.sleep(0.02)

    def until_steps(self, count: int) -> None:
        """Wait for so many lines in ``STARTS``."""
        self._until(lambda: len(self.starts) >= count)

    def until_printed(self, text: str) -> None:
        """Wait until it has printed this."""
        self._until(lambda: text in self.out)

    def _until(self, right: Callable[[], bool]) -> None:
        end = time.monotonic() + _LONGEST
        while not right():
            assert time.monotonic() < end, (self.starts, self.out)
            time.sleep(0.02)

    def ended(self) -> int:
        """Wait until nothing runs any more; return its exit status."""
        status = self._process.wait(_LONGEST)
        assert all_ended(self.directory), running_with(self.directory)
        return status

    def end(self, number: signal.Signals) -> int:
        """End it by a signal, to its whole group if that is Ctrl-C, and wait until nothing runs any more."""
        if number == signal.SIGINT:
            os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)
        return self.ended()

    def interrupt(self) -> None:
        """Press Ctrl-C, and wait until nothing runs any more."""
        self.end(signal.SIGINT)

    def kill(self) -> None:
        """End every process of it."""
        for pid in (self._process.pid, *running_with(self.directory)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()


def _path() -> str:
    """Return the search path on which the tools come first that are installed beside this interpreter."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


@contextmanager
def served(directory: Path, files: Mapping[str, str], command: Sequence[str], style: str = "sync") -> Iterator[Served]:
    """Start a program in ``directory``; whatever is left of it at the end is killed."""
    program = Served(directory, files, command, style)
    try:
        yield program
    finally:
        program.kill()
