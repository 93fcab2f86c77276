"""A process in which no thread can be started, or no file opened, until there is room again."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NoReturn

import pytest
from trio._core import _thread_cache

__all__ = ["SCARCITIES", "Scarcity", "few_descriptors", "no_process", "no_threads"]

Scarcity = Callable[[], AbstractContextManager[None]]


@contextmanager
def no_threads() -> Iterator[None]:
    """As with a low ``ulimit -u``. Threads that run go on; those that trio keeps for later are not used."""

    def fail(_: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        patch.setattr(_thread_cache.THREAD_CACHE, "_idle_workers", {})
        yield


@contextmanager
def few_descriptors(free: int) -> Iterator[None]:
    """As with a low ``ulimit -n``: just so many more files can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fillers = [os.open(os.devnull, os.O_RDONLY)]
    top = max(map(int, os.listdir("/proc/self/fd"))) + 1
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (top, hard))
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                fillers.append(os.dup(fillers[0]))
        resource.setrlimit(resource.RLIMIT_NOFILE, (top + free, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for filler in fillers:
            os.close(filler)


@contextmanager
def no_process(number: int) -> Iterator[None]:
    """No program can be started, with this errno."""

    def fail(*_: object, **__: Any) -> NoReturn:
        raise OSError(number, os.strerror(number))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", fail)
        yield


SCARCITIES: dict[str, tuple[Scarcity, str]] = {
    "no thread": (no_threads, "ulimit -u"),
    "no process": (lambda: no_process(errno.EAGAIN), "ulimit -u"),
    "no memory for a process": (lambda: no_process(errno.ENOMEM), "ulimit -v"),
    "no file": (lambda: few_descriptors(0), "ulimit -n"),
    "one file": (lambda: few_descriptors(1), "ulimit -n"),
    "five files": (lambda: few_descriptors(5), "ulimit -n"),
}
"""What there is too little of, and what raises the limit."""
