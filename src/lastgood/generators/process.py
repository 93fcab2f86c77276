"""One run of a program under trio: in a process group of its own, with a timeout and captured output.

Output goes to files, not to pipes: the program never blocks on a reader, and a process that it leaves behind does not delay
the end of the run.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import trio

from lastgood.children.group import ProcessGroup, open_pidfd

__all__ = ["Ended", "run_process"]

_TAIL = 16 * 1024  # bytes of output that are kept of each stream
_POLL = 0.005  # seconds between polls, on systems without pidfds


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a program. ``status`` is as in :mod:`subprocess`; None if it was killed at its timeout.

    ``out`` and ``err`` are the ends of its output.
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
    """Run a program to its end. After ``timeout`` seconds, or when cancelled, its whole process group is killed.

    Processes of the group that outlive the program are ended, too. Raises :class:`OSError` if it cannot be started.
    """
    with ExitStack() as files:
        out, err = (files.enter_context(TemporaryFile()) for _ in range(2))
        group = ProcessGroup(arguments, out, err, cwd=cwd)
        try:
            with trio.move_on_after(timeout) as scope:
                await _exited(group)
        finally:
            group.end()
        return Ended(None if scope.cancelled_caught else group.status, _tail(out), _tail(err))


async def _exited(group: ProcessGroup) -> None:
    pidfd = open_pidfd(group.pid)
    if pidfd >= 0:
        try:
            await trio.lowlevel.wait_readable(pidfd)
        finally:
            os.close(pidfd)
        return
    while not group.has_exited(0):  # noqa: ASYNC110 - without pidfds there is no event for an exit
        await trio.sleep(_POLL)


def _tail(file: IO[bytes]) -> str:
    """Return the last lines of ``file`` that fit into the limit."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL))
    text = file.read().decode("utf-8", "replace")
    return text if size <= _TAIL else f"…{text.partition(chr(10))[2]}"
