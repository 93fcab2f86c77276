"""The worker as a child of the host, and the guardian, which ends what a worker has started if the host is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

from .cache import Cargo
from .messages import ANSWERS, LOGS, OUTPUT, Outbox, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GUARD_GRACE = 0.5
"""Seconds from SIGTERM to SIGKILL, once the host has gone."""
_DESCRIPTORS = 256  # the host has opened fewer when it forks the guardian
_PIPE_SIZE = 1 << 20
_F_SETPIPE_SZ = 1031


def start_guardian() -> tuple[int, int]:
    """Fork the guardian; return its pid, and the descriptor by which it is told the worker's process group."""
    theirs, ours = os.pipe()
    pid = os.fork()
    if pid:
        os.close(theirs)
        return pid, ours
    try:
        os.close(ours)
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os.dup2(theirs, 3)
        os.closerange(4, _DESCRIPTORS)
        groups = b""
        while chunk := os.read(3, 100):
            groups += chunk
        for group in map(int, groups.split()):
            _signal_group(group, signal.SIGTERM)
            time.sleep(GUARD_GRACE)
            _signal_group(group, signal.SIGKILL)
    finally:
        os._exit(0)


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except OSError:
        return False
    return True


class WorkerChild:
    """The worker. ``wake`` is a descriptor to which a byte is written when it has exited. Raises OSError, Problem."""

    def __init__(self, cargo: Cargo, settings: dict[str, Any], guardian: int, wake: int) -> None:
        self.grace = float(settings["grace"])
        cwd = cargo.tree if settings["cwd"] is None else os.path.join(cargo.tree, settings["cwd"])
        if not os.path.isdir(cwd):
            raise Problem(f"There is no directory {cwd} on the other side: cwd under [runtime.process].")
        theirs_in, requests = os.pipe()
        answers, theirs_out = os.pipe()
        logs, theirs_logs = os.pipe()
        output, theirs_output = os.pipe()
        theirs = [theirs_in, theirs_out, theirs_logs, theirs_output]
        for descriptor in (requests, answers):
            _enlarge(descriptor)
        main = os.path.join(cargo.worker, "main.py")
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-u", main, *map(str, theirs[:3]), "-1", "-1", str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=theirs_output,
                stderr=theirs_output,
                pass_fds=theirs[:3],
                env={**os.environ, **settings["env"]},
                cwd=cwd,
                start_new_session=True,
            )
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        self.pid = self._process.pid
        os.write(guardian, f"{self.pid}\n".encode())
        self.requests = Outbox(requests)
        self.sources = {answers: ANSWERS, logs: LOGS, output: OUTPUT}
        self.has_exited = False
        threading.Thread(target=self._wait, args=(wake,), name="lastgood-exit", daemon=True).start()

    def _wait(self, wake: int) -> None:
        """Wait for the exit, if possible without reaping it: until then its number is nobody else's."""
        try:
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        except (AttributeError, OSError):  # macOS has no waitid() before Python 3.13
            self._process.wait()
        self.has_exited = True
        with contextlib.suppress(OSError):
            os.write(wake, b"x")

    def signal(self, number: int) -> None:
        """Send a signal to its process group."""
        _signal_group(self.pid, number)

    def is_alone(self) -> bool:
        """Return whether no other process of its group is left, as far as that can be found out."""
        try:
            names = [name for name in os.listdir("/proc") if name.isdecimal()]
        except OSError:
            return not _signal_group(self.pid, 0)
        for name in names:
            with contextlib.suppress(OSError):
                if int(name) != self.pid and os.getpgid(int(name)) == self.pid and not _is_zombie(name):
                    return False
        return True

    def reap(self) -> int:
        """Kill what is left of its group, and return its exit status."""
        self.signal(signal.SIGKILL)
        return self._process.wait()


def _is_zombie(pid: str) -> bool:
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] == b"Z"


def _enlarge(descriptor: int) -> None:
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.fcntl(descriptor, _F_SETPIPE_SZ, _PIPE_SIZE)
