"""One run of a program under trio, with a timeout and the end of its output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import trio
from msgspec import Struct

from lastgood.children.child import Child

__all__ = ["Ended", "run_process"]


class Ended(Struct, frozen=True):
    """The end of a program. ``status`` is as in :mod:`subprocess`; None if it was killed at its timeout, or is not known.

    ``out`` and ``err`` are the ends of its output. ``in_time``: it was not killed at its timeout.
    """

    status: int | None
    out: str
    err: str
    in_time: bool = True

    @property
    def how(self) -> str:
        if not self.in_time:
            return "was killed, for its timeout was over"
        if self.status is None:
            return "ended with a status that is not known, since this process ignores SIGCHLD or waits for all its children"
        return f"exited with status {self.status}" if self.status >= 0 else f"was killed by signal {-self.status}"


@trio.lowlevel.enable_ki_protection
async def run_process(arguments: Sequence[str | Path], *, cwd: Path | None, timeout: float) -> Ended:
    """Run a program to its end. After ``timeout`` seconds, or when cancelled, its whole process group is killed.

    ``cwd`` None is the app's. Processes of the group that outlive the program are ended, too. Raises :class:`OSError` if it
    cannot be started.
    """
    child = Child(arguments, cwd=cwd)
    try:
        in_time = await child.exited(timeout)
    finally:
        child.kill()
    return Ended(child.status if in_time else None, child.out.text(), child.err.text(), in_time)
