"""A program and its child processes in a process group of their own."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import trio

from lastgood.children.guardian import GUARDIAN

__all__ = ["ProcessGroup", "is_readable", "open_pidfd"]

_REAP = 1.0
"""Seconds for the kernel to release a killed process."""


class ProcessGroup:
    """A program in a process group of its own, without input and with its output in files. The methods may block.

    ``status`` is the exit status; None until the program has ended and was waited for. Raises :class:`OSError` if it cannot be
    started.
    """

    def __init__(
        self,
        arguments: Sequence[str | Path],
        out: IO[bytes],
        err: IO[bytes],
        *,
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            arguments, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
        self.pid = self._process.pid
        GUARDIAN.add(self.pid)

    @property
    def status(self) -> int | None:
        return self._process.returncode

    def has_exited(self, within: float) -> bool:
        """Wait at most ``within`` seconds for the program's exit; return whether it has exited."""
        pidfd = open_pidfd(self.pid)
        if pidfd >= 0:
            try:
                return is_readable(pidfd, within)
            finally:
                os.close(pidfd)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(within)
        return self._process.returncode is not None

    @trio.lowlevel.enable_ki_protection
    def end(self) -> None:
        """Kill what is left of the group, and reap the program."""
        # Kill before reaping: afterwards the pid may be reused.
        if hasattr(os, "killpg") and self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        elif self._process.returncode is None:
            self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_REAP)
        GUARDIAN.remove(self.pid)


def open_pidfd(pid: int) -> int:
    """Return a descriptor that is readable when the process has exited; -1 where the system has none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1


def is_readable(descriptor: int, within: float) -> bool:
    """Wait at most ``within`` seconds until a descriptor is readable; return whether it is."""
    poll = select.poll()  # select() takes no descriptor above 1023
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(within * 1000))
