"""Limits of the system: which one an error is about and how to raise it, and work where no thread can be started."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from lastgood.children.turns import SHORT_TURNS
from lastgood.errors import LastgoodError

if TYPE_CHECKING:
    import trio

__all__ = ["NEEDED_DESCRIPTORS", "NO_THREAD", "advice", "explain", "free_descriptors", "in_thread", "is_about_a_limit"]

T = TypeVar("T")

NEEDED_DESCRIPTORS = 64
"""Two generations, a spare worker and the watches need some fifty."""

NO_THREAD = "can't start new thread"
"""The text of the RuntimeError of :mod:`threading`."""

_MEMORY = (
    "There is not enough memory. Close something, or raise the limit of this process (ulimit -v) or of its container "
    "(docker run --memory)."
)
_FULL = 'The file system is full. Make room: "df -h" and "df -i" show what is used.'
_QUOTA = 'The quota of this user is used up. Make room: "quota -s" shows what is used.'
_READ_ONLY = "The file system is mounted read-only. Mount it writable or, for wrappers, set another dir under [output]."
_SYSTEM_FILES = (
    'The system\'s limit of open files is reached. Raise it, for example: "sudo sysctl fs.file-max=1000000".'
)


def advice(error: BaseException) -> str | None:
    """Return the limit that an error, or its cause, is about, and how to raise it; None if it is about no limit.

    The texts of lastgood's own errors are looked at, too: a worker that has died has left no other trace of it.
    """
    for each in _causes(error):
        text = str(each) if isinstance(each, LastgoodError | RuntimeError) else ""
        number = each.errno if isinstance(each, OSError) else None
        if isinstance(each, MemoryError) or _has(number, text, errno.ENOMEM):
            return _MEMORY
        if _has(number, text, errno.ENFILE):
            return _SYSTEM_FILES
        if _has(number, text, errno.EMFILE):
            limit = _limit("RLIMIT_NOFILE")
            return f"A process may open {limit} files. Raise that, in the shell that starts the app: ulimit -n 4096"
        # Elsewhere EAGAIN says that a lock is held, or that there is nothing to read.
        if NO_THREAD in text or (isinstance(each, BlockingIOError) and isinstance(error, LastgoodError)):
            return (
                f"No process or thread can be started. This user may have {_limit('RLIMIT_NPROC')} of them (ulimit -u), and a "
                "container may have a limit of its own (docker run --pids-limit). Raise it, or end some."
            )
        for other, said in ((errno.ENOSPC, _FULL), (errno.EDQUOT, _QUOTA), (errno.EROFS, _READ_ONLY)):
            if _has(number, text, other):
                return said
    return None


def explain(error: BaseException) -> None:
    """Add the :func:`advice` on an error as a note, unless it has it already."""
    said = advice(error)
    if said is not None and said not in getattr(error, "__notes__", ()):
        error.add_note(said)


def is_about_a_limit(error: BaseException) -> bool:
    """Return whether an error of Python itself is about a limit of the system."""
    if isinstance(error, RuntimeError):
        return str(error) == NO_THREAD
    return isinstance(error, OSError | MemoryError) and advice(error) is not None


def free_descriptors() -> tuple[float, float]:
    """Return how many more files this process can open, and how many it may have open; infinity if that is not known."""
    limit = _limit("RLIMIT_NOFILE")
    if not isinstance(limit, int):
        return float("inf"), float("inf")
    for directory in ("/proc/self/fd", "/dev/fd"):
        try:
            return limit - len(os.listdir(directory)), limit
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                return 0, limit
    return float("inf"), limit


async def in_thread(
    do: Callable[..., T], *args: object, limiter: trio.CapacityLimiter | None = None, abandon_on_cancel: bool = False
) -> T:
    """Call ``do`` in a thread; in this one if none can be started, so that the work goes on."""
    import trio  # not at the top: the texts above are for every platform, and trio is not everywhere

    begun = False

    def call() -> T:
        nonlocal begun
        begun = True
        with SHORT_TURNS:
            return do(*args)

    try:
        return await trio.to_thread.run_sync(call, limiter=limiter, abandon_on_cancel=abandon_on_cancel)
    except RuntimeError as error:
        if begun or str(error) != NO_THREAD:
            raise
    return do(*args)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__


_MOST_CAUSES = 10


def _has(number: int | None, text: str, wanted: int) -> bool:
    return number == wanted or os.strerror(wanted) in text


def _limit(name: str) -> int | str:
    """Return a soft limit of this process, or a word for it."""
    try:
        import resource
    except ImportError:  # Windows
        return "a limited number of"
    number, _ = resource.getrlimit(getattr(resource, name))
    return "any number of" if number == resource.RLIM_INFINITY else number
