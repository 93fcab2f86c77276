"""A program in a process of its own, whose lines can be waited for: for tests of the command and of the examples."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lastgood
from real_project import DEADLINE

__all__ = ["Ran", "Running", "program_environment", "run"]


def program_environment() -> dict[str, str]:
    """Return the environment in which a program imports the lastgood that is tested, also on an imitated platform."""
    path = [str(Path(lastgood.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}  # ipykernel heeds it
    # A pytest, at its end, would remove the temporary directories of earlier runs, with all that whole suites have left there.
    own |= {"PYTEST_DEBUG_TEMPROOT": os.path.dirname(own["XDG_CACHE_HOME"])} if "XDG_CACHE_HOME" in own else {}
    return {**own, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}


@dataclass(frozen=True)
class Ran:
    """How a program ended, and what it had printed that nobody had read."""

    status: int
    out: str
    err: str


class Running:
    """A program that runs; :meth:`stop` it. After the deadline it is killed, so that no test waits for ever."""

    def __init__(self, *command: str | Path, cwd: Path, deadline: float = DEADLINE) -> None:
        self._process = subprocess.Popen(
            command, cwd=cwd, env=program_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.out, self.err = self._process.stdout, self._process.stderr
        self._deadline = threading.Timer(deadline, self._process.kill)
        self._deadline.start()

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    def line(self, text: str) -> str:
        """The next line of stdout that holds ``text``; those before it are passed over."""
        passed = []
        for line in self.out:
            if text in line:
                return line.rstrip("\n")
            passed.append(line)
        raise AssertionError(f"no line with {text!r} came, but {passed}; stderr: {self.err.read()}")

    def interrupt(self) -> Ran:
        """Ctrl-C, and what comes after it."""
        self._process.send_signal(signal.SIGINT)
        return self.ended()

    def terminate(self) -> Ran:
        """SIGTERM, and what comes after it."""
        self._process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> Ran:
        """Wait for its end; what had not been read by then. It must not print much: one stream is read after the other."""
        out = "" if self.out.closed else self.out.read()
        err = self.err.read()
        return Ran(self._process.wait(), out, err)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def stop(self) -> None:
        """Have it gone."""
        self._deadline.cancel()
        self._process.kill()
        self._process.wait()
        self.out.close()
        self.err.close()


def run(command: Sequence[str | Path], cwd: Path, deadline: float = DEADLINE) -> Ran:
    """Run a program to its end."""
    ran = subprocess.run(
        command, cwd=cwd, env=program_environment(), capture_output=True, text=True, timeout=deadline, check=False
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)
