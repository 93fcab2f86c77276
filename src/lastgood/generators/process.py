"""One run of a program under trio: in a process group of its own, bounded, with its output kept for whoever asks.

Output goes to files, not to pipes: however much there is, nothing waits for a reader, and a process that it leaves behind
holds nobody up.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import trio

from lastgood.bridges.child import open_pidfd
from lastgood.bridges.guardian import GUARDIAN

__all__ = ["Ended", "run_process"]

_TAIL = 16 * 1024  # bytes of its output that are kept
_POLL = 0.005  # seconds, where there are no pidfds
_REAP = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: ``status`` as :mod:`subprocess` has it (None: it was killed, for its time was over).

    ``out`` and ``err`` are the ends of what it printed.
    """

    status: int | None
    out: str
    err: str

    @property
    def how(self) -> str:
        if self.status is None:
            return "was killed, for its timeout was over"
        return f"exited with status {self.status}" if self.status >= 0 else f"was killed by signal {-self.status}"


@trio.lowlevel.enable_ki_protection
async def run_process(arguments: Sequence[str | Path], *, cwd: Path, timeout: float) -> Ended:
    """Run a program to its end. After ``timeout`` seconds, or when cancelled, it is killed with all that it started.

    What it leaves running in its process group is ended with it. Raises :class:`OSError` if it cannot be started.
    """
    with ExitStack() as files:
        out, err = (files.enter_context(TemporaryFile()) for _ in range(2))
        group = _Group(arguments, cwd, out, err)
        try:
            with trio.move_on_after(timeout) as scope:
                await group.exited()
        finally:
            group.end()
        return Ended(None if scope.cancelled_caught else group.status, _tail(out), _tail(err))


class _Group:
    """A process, and all it starts. Killed with the app by the guardian, should that be killed itself."""

    def __init__(self, arguments: Sequence[str | Path], cwd: Path, out: IO[bytes], err: IO[bytes]) -> None:
        self._process = subprocess.Popen(
            arguments, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
        self._pidfd = open_pidfd(self._process.pid)
        GUARDIAN.add(self._process.pid)

    @property
    def status(self) -> int | None:
        return self._process.returncode

    async def exited(self) -> None:
        if self._pidfd >= 0:
            await trio.lowlevel.wait_readable(self._pidfd)
            return
        while self._process.poll() is None:  # noqa: ASYNC110 - nothing tells of an exit but asking
            await trio.sleep(_POLL)

    @trio.lowlevel.enable_ki_protection
    def end(self) -> None:
        """Kill what is left of it."""
        # Before it is reaped: afterwards its number may be another's.
        if hasattr(os, "killpg") and self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        elif self._process.returncode is None:
            self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_REAP)
        GUARDIAN.remove(self._process.pid)
        if self._pidfd >= 0:
            os.close(self._pidfd)


def _tail(file: IO[bytes]) -> str:
    """The last lines in ``file``, as many as fit."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL))
    text = file.read().decode("utf-8", "replace")
    return text if size <= _TAIL else f"…{text.partition(chr(10))[2]}"
