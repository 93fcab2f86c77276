"""The guardian: a process that ends the process groups of all children when the app is killed with ``kill -9``.

The kernel kills a worker with its app, but not the processes that the worker has started. So an app with children has one small
process beside it, the guardian. The app tells it each child's process group through a pipe. At the end of that pipe or of the
app, it ends these groups. It holds no other resource of the app, and ends with the last child.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

from lastgood.children.descriptors import pipe

__all__ = ["GRACE", "GUARDIAN", "Guardian"]

logger = logging.getLogger(__name__)

GRACE = 0.5
"""Seconds from SIGTERM to SIGKILL, once the app has gone."""

_PROGRAM = Path(__file__).with_name("guard.py")


class Guardian:
    """The guardian of this process. Thread-safe. Nothing here raises, since everything else works without it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    @property
    def pid(self) -> int | None:
        """The guardian's process id; None while there is none."""
        return None if self._process is None else self._process.pid

    def add(self, group: int, *, at_once: bool = True) -> None:
        """Guard a process group; unless ``at_once``, perhaps not before :meth:`begin` or the next group.

        The first one starts the guardian, which blocks this thread for a millisecond or two.
        """
        with self._lock:
            self._groups.add(group)
            if at_once if self._process is None else not self._send(f"+{group}\n"):
                self._start()

    def begin(self) -> None:
        """Guard every group from now on."""
        with self._lock:
            if self._groups and self._process is None:
                self._start()

    def remove(self, group: int) -> None:
        """Stop guarding a process group, which has ended. With the last group, end the guardian."""
        with self._lock:
            self._groups.discard(group)
            if not self._groups:
                self._end()
            elif self._process is not None:
                self._send(f"-{group}\n")

    def _start(self) -> None:
        self._end()
        if os.name != "posix" or not sys.executable:
            return  # no process groups on this system, or no interpreter
        try:
            self._process = self._start_process()
        except OSError as error:
            logger.warning(
                "The guardian cannot be started, so if the app is killed, processes that workers started go on: %s",
                error,
            )
            return
        self._send("".join(f"+{group}\n" for group in self._groups))

    def _start_process(self) -> subprocess.Popen[bytes]:
        theirs, ours = pipe()
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_PROGRAM), str(os.getpid()), str(GRACE)],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,  # so that Ctrl-C in the app's terminal does not reach it
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        process.stdin = os.fdopen(ours, "wb", buffering=0)
        os.set_blocking(ours, False)
        return process

    def _send(self, lines: str) -> bool:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(lines.encode())
        except OSError:  # it was killed, or stopped for so long that the pipe is full
            return False
        return True

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.kill()  # it has nothing to clean up
            process.wait()
            process.stdin.close()

    def _forget(self) -> None:
        """In a forked process, whose parent has all the children: forget the guardian."""
        process, self._process = self._process, None
        self._lock, self._groups = threading.Lock(), set()
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()
            process.returncode = 0  # only its parent can wait for it


GUARDIAN = Guardian()
"""The guardian of this process."""
