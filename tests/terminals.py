"""A program on a terminal of its own, whose keys a test presses and whose screen it reads."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping
from pathlib import Path

from real_project import DEADLINE
from running import program_environment

__all__ = ["Terminal"]

# Stands for a shell: the program runs as a job of its own. When Ctrl-Z has stopped it, the shell says so, and whether the
# terminal is as it was; for a line that it reads it brings the job back to the foreground.
_SHELL = """
import fcntl, os, signal, sys, termios

fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
before = termios.tcgetattr(0)
job = os.fork()
if not job:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
while True:
    _, status = os.waitpid(job, os.WUNTRACED)
    os.tcsetpgrp(0, os.getpgrp())
    same = "as it was" if termios.tcgetattr(0) == before else "altered"
    if not os.WIFSTOPPED(status):
        print(f"[ended with {os.waitstatus_to_exitcode(status)}, the terminal is {same}]", flush=True)
        break
    print(f"[stopped by {os.WSTOPSIG(status)}, the terminal is {same}]", flush=True)
    sys.stdin.readline()
    os.tcsetpgrp(0, job)
    os.kill(job, signal.SIGCONT)
"""


class Terminal:
    """A terminal with a program that runs on it; :meth:`stop` it. After a minute it is killed, so that no test hangs."""

    def __init__(
        self, *command: str, cwd: Path, columns: int = 200, variables: Mapping[str, str] | None = None
    ) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        unset = ("FORCE_COLOR", "COLUMNS")
        environment = {name: value for name, value in program_environment().items() if name not in unset}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SHELL, *command],
            cwd=cwd,
            env={**environment, "TERM": "xterm", "NO_COLOR": "1", **(variables or {})},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._unread = ""
        self.shown = ""
        self._deadline = threading.Timer(2 * DEADLINE, self._process.kill)
        self._deadline.start()

    def wait(self, text: str) -> str:
        """Wait until ``text`` is shown; return what was shown since the last time, up to the end of its line."""
        while not (found := re.search(f"{re.escape(text)}[^\n]*\n?", self._unread)):
            try:
                data = os.read(self._ours, 4096)
            except OSError:  # the last process that had the terminal has ended
                data = b""
            if not data:
                raise AssertionError(f"{text!r} is not shown, but {self._unread}")
            self._unread += data.decode(errors="replace").replace("\r\n", "\n")
            self.shown += data.decode(errors="replace")
        passed, self._unread = self._unread[: found.end()], self._unread[found.end() :]
        return passed

    def press(self, keys: str) -> None:
        """Press keys; Ctrl-C is ``\\x03``, Ctrl-Z ``\\x1a``."""
        os.write(self._ours, keys.encode())

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to the program, not to its shell."""
        os.kill(os.tcgetpgrp(self._ours), number)

    def is_cooked(self) -> bool:
        """Return whether the terminal shows what is typed, and gives it line by line."""
        local = termios.tcgetattr(self._ours)[3]
        return bool(local & termios.ECHO and local & termios.ICANON)

    def stop(self) -> None:
        """Have it gone."""
        self._deadline.cancel()
        os.close(self._ours)  # hangs up
        self._process.kill()
        self._process.wait()
