"""Processes that descend from one that was started with a mark in its environment, as long as they run."""

from __future__ import annotations

import os
import time
from pathlib import Path

from real_project import DEADLINE

__all__ = ["all_ended", "marked", "running_with"]

_NAME = "LASTGOOD_TESTED_IN"


def marked(directory: Path) -> dict[str, str]:
    """Return what an environment has besides, for a program whose processes are told by ``directory``."""
    return {_NAME: str(directory)}


def running_with(directory: Path) -> dict[int, str]:
    """Return the processes with that mark, each by its id with its command."""
    mark = f"{_NAME}={directory}".encode()
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        process = Path("/proc", name)
        try:
            environment = (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes()
        except OSError:  # it has ended meanwhile, or is another user's
            continue
        if mark in environment.split(b"\0") and command:  # one that has ended and was not waited for has none
            found[int(name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def all_ended(directory: Path) -> bool:
    """Wait until no process with that mark runs. Return False if some do so long as the deadline."""
    end = time.monotonic() + DEADLINE
    while running_with(directory):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
