"""Directories in the system's temporary directory.

A process that is killed cannot remove its own, so their names say which process made them, and the next process of the same
user removes what is left of those that have ended.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lastgood.store.disk import is_running
from lastgood.store.user_key import is_own

__all__ = ["make_temporary_directory", "sweep", "temporary_directory"]


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """Make a directory that only this user can read, and remove it at the end."""
    directory = make_temporary_directory()
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def make_temporary_directory() -> Path:
    """Make a directory that only this user can read. The caller removes it."""
    _sweep_once()
    return Path(tempfile.mkdtemp(prefix=f"{_prefix()}{os.getpid()}-"))


def sweep() -> None:
    """Remove the directories of this user whose processes have ended."""
    made_by = re.compile(rf"{_prefix()}([0-9]+)-")
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            made = made_by.match(entry.name)
            if made is not None and not is_running(int(made[1])) and _is_own_directory(entry.path):
                shutil.rmtree(entry.path, ignore_errors=True)


_sweep_once = functools.cache(sweep)


def _prefix() -> str:
    """Return how the names of this process begin, up to its pid: a pid means nothing in another container."""
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:  # a system without namespaces
        namespace = 0
    return f"lastgood-{namespace}-"


def _is_own_directory(path: str) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and is_own(found)
