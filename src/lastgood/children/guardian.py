"""What ends the processes that workers have started, when the app is killed with ``kill -9``.

The kernel kills a worker with its app, but not what the worker had started. So beside an app that has workers runs one small
process, the guardian, which is told of each worker's process group. It learns that the app has gone from the end of the
pipe through which it is told, and ends those groups. It holds nothing else of the app's, and ends with the last worker.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

__all__ = ["GRACE", "GUARDIAN", "Guardian"]

logger = logging.getLogger(__name__)

GRACE = 0.5
"""Seconds from SIGTERM to SIGKILL, once the app has gone."""

_PROGRAM = Path(__file__).with_name("guard.py")


class Guardian:
    """The guardian of this process. It may be used from any thread; nothing here raises, for without it all else still works."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    @property
    def pid(self) -> int | None:
        """Its process id; None while there is none."""
        return None if self._process is None else self._process.pid

    def add(self, group: int) -> None:
        """Guard a process group. The first one starts the guardian, which takes this thread a millisecond or two."""
        with self._lock:
            self._groups.add(group)
            if self._process is None or not self._tell(f"+{group}\n"):
                self._start()

    def remove(self, group: int) -> None:
        """A process group has gone. With the last one goes the guardian."""
        with self._lock:
            self._groups.discard(group)
            if not self._groups:
                self._end()
            elif self._process is not None:
                self._tell(f"-{group}\n")

    def _start(self) -> None:
        self._end()
        if os.name != "posix" or not sys.executable:
            return  # there are no process groups here, or no interpreter
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_PROGRAM), str(os.getpid()), str(GRACE)],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,  # Ctrl-C in the app's terminal is not for it
            )
        except OSError as error:
            logger.warning("What workers start would outlive a killed app: its guardian cannot be started: %s", error)
            return
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._tell("".join(f"+{group}\n" for group in self._groups))

    def _tell(self, lines: str) -> bool:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(lines.encode())
        except OSError:  # someone has killed it, or stopped it for very long
            return False
        return True

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.kill()  # it has nothing left to do
            process.wait()
            process.stdin.close()

    def _forget(self) -> None:
        """In a forked child, which is not the app."""
        process, self._process = self._process, None
        self._lock, self._groups = threading.Lock(), set()
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()
            process.returncode = 0  # not ours to wait for


GUARDIAN = Guardian()
"""This process's own."""
