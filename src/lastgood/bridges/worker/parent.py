"""Tying the life of a process to the process that started it."""

from __future__ import annotations

import os
import sys

__all__ = ["die_with"]

_NOT_DIRECTLY = (
    "lastgood's worker must be the process that its app has started, and not a child of that. If python under "
    '[runtime.process] is a shell script, write "exec" before the command that starts Python.'
)


def die_with(parent: int) -> None:
    """On Linux, have the kernel kill this process when the thread that started it ends. Elsewhere the guardian kills it.

    ``parent`` is the pid of that thread's process. EOF on the input is not enough, since a busy worker does not notice it.
    """
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig, sigkill = 1, 9
        prctl = getattr(ctypes.CDLL(None), "prctl", None)
        if prctl is not None:
            prctl(pr_set_pdeathsig, sigkill, 0, 0, 0)
    if os.getppid() != parent:
        if _lives(parent):
            sys.exit(_NOT_DIRECTLY)
        os._exit(1)  # the parent died before prctl()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True
