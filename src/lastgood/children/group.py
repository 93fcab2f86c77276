"""A program and all that it starts, in a process group of its own."""

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

__all__ = ["ProcessGroup", "open_pidfd"]

_REAP = 1.0
"""Seconds for a process that was killed to be let go of by the kernel."""


class ProcessGroup:
    """A program, and all it starts: in a process group of its own, without input, its output in files. It may block.

    ``status`` is None until it has ended and was waited for. Raises :class:`OSError` if it cannot be started.
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
        """Wait until it has exited, at most ``within`` seconds; tells whether it has."""
        pidfd = open_pidfd(self.pid)
        if pidfd >= 0:
            try:
                return bool(select.select([pidfd], [], [], within)[0])
            finally:
                os.close(pidfd)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(within)
        return self._process.returncode is not None

    @trio.lowlevel.enable_ki_protection
    def end(self) -> None:
        """Kill what is left of it."""
        # Before it is reaped: afterwards its number may be another's.
        if hasattr(os, "killpg") and self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        elif self._process.returncode is None:
            self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_REAP)
        GUARDIAN.remove(self.pid)


def open_pidfd(pid: int) -> int:
    """A descriptor that tells of the process's exit; -1 where the system has none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1
