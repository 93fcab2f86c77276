"""The checks of versions, and of the limits of the system and of this process."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from lastgood import __version__
from lastgood.children.limits import NEEDED_DESCRIPTORS, free_descriptors
from lastgood.cli.doctor.findings import State

__all__ = ["inotify", "open_files", "processes", "versions"]

_NEEDED = ("trio", "watchfiles", "msgspec")
_ENOUGH_FILES = 1024
_ENOUGH_PROCESSES = 100
"""Processes and threads of a session with two generations and a spare worker, with room to spare."""
_INOTIFY = Path("/proc/sys/fs/inotify")

Said = Iterator[tuple[State, str, str]]


def versions() -> Said:
    """Say which versions run here, and whether lastgood is tested on this system."""
    needed = ", ".join(f"{name} {_version(name)}" for name in _NEEDED)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    text = (
        f"lastgood {__version__}, {python} on {platform.system()} {platform.release()} ({platform.machine()}), {needed}"
    )
    if sys.platform != "linux":
        yield "warn", text, "lastgood is tested on Linux alone. What does not exist here is refused with an error."
    else:
        yield "ok", text, ""


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # bundled without what pip knows of it
        return "of unknown version"


def open_files() -> Said:
    """Say how many files this process may open."""
    free, limit = free_descriptors()
    if limit == float("inf"):
        yield "ok", "no limit of open files is known", ""
        return
    text = (
        f"this process may open {limit} files, of which {limit - free} are open; a session needs {NEEDED_DESCRIPTORS}"
    )
    raised = "Raise the limit, in the shell that starts the app: ulimit -n 4096"
    if free < NEEDED_DESCRIPTORS:
        yield "wrong", text, raised
    elif limit < _ENOUGH_FILES:
        yield "warn", f"{text}, and what it runs some, too", raised
    else:
        yield "ok", text, ""


def processes() -> Said:
    """Say how many processes and threads may be started, as far as this container's limit is known."""
    free = _free_in_container(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    if free is None:
        yield "ok", "no limit of processes is known", ""
    elif free < _ENOUGH_PROCESSES:
        text = f"{free} more processes and threads can be started in this container; a session needs up to {_ENOUGH_PROCESSES}"
        yield "warn", text, "Raise the container's limit (docker run --pids-limit), or end some."
    else:
        yield "ok", f"{free} more processes and threads can be started", ""


def _free_in_container(groups: Path, mounted: Path) -> int | None:
    """Return what the nearest control group of this process with a limit has left; None if there is none."""
    try:
        own = [line.rpartition("::")[2] for line in groups.read_text().splitlines() if line.startswith("0::")]
    except OSError:
        return None
    for name in own:
        place = mounted / name.strip("/")
        for group in (place, *place.parents):
            if not group.is_relative_to(mounted):
                break
            most, current = _number(group / "pids.max"), _number(group / "pids.current")
            if most is not None and current is not None:
                return most - current
    return None


def inotify(directories: Callable[[], int | None], settings: Path = _INOTIFY) -> Said:
    """Say how many directories the system would watch. ``directories()`` counts those of the project."""
    most, watchers = _number(settings / "max_user_watches"), _number(settings / "max_user_instances")
    if most is None or watchers is None:
        return  # another system
    count = directories()
    known = "" if count is None else f"; this project has {count}"
    text = f"this user may watch {most} directories, with {watchers} watchers, in all programs together{known}"
    if count is not None and count > most // 2:
        more = max(524_288, 4 * count)
        yield (
            "warn",
            text,
            f"Raise it: sudo sysctl fs.inotify.max_user_watches={more}. Where it is reached, files are polled.",
        )
    elif watchers < 64:
        yield "warn", text, "Raise it: sudo sysctl fs.inotify.max_user_instances=1024"
    else:
        yield "ok", text, ""


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # "max"
        return None


def file_system_of(directory: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """Return the type of the file system that a directory is on, as Linux names it; "" if that is not known."""
    device = os.stat(directory).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        before, _, after = line.partition(" - ")
        if before.split()[2:3] == [wanted]:
            return after.split()[0]
    return ""
