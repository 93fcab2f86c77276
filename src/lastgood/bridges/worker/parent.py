"""A process that must not outlive the one that started it."""

from __future__ import annotations

import os
import sys

__all__ = ["die_with"]


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends, however it ends (Linux).

    ``parent`` is the pid of the process that did. The end of its input alone would miss one that is busy.
    """
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig, sigkill = 1, 9
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, sigkill, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it died before we could ask
