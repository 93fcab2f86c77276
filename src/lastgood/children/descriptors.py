"""Descriptors above those of the standard streams.

An app may have closed these, as a daemon does, or open them anew at any time. A pipe that had one of their numbers would be
overwritten by the child's own standard streams, or written to by the app's ``print()``.
"""

from __future__ import annotations

import os
from contextlib import suppress

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # what it is for does not exist there

__all__ = ["PIPE_SIZE", "above_standard", "enlarge", "occupy_standard", "pipe"]

PIPE_SIZE = 1 << 20
"""Bytes that an enlarged pipe holds."""
_STANDARD = (0, 1, 2)
_F_SETPIPE_SZ = 1031


def above_standard(descriptor: int) -> int:
    """Return the descriptor, moved if it has the number of a standard stream. It is not inherited by children."""
    if descriptor not in _STANDARD or fcntl is None:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, len(_STANDARD))
    finally:
        os.close(descriptor)


def pipe() -> tuple[int, int]:
    """Return the ends of a new pipe, the one to read from first."""
    source, target = os.pipe()
    try:
        source = above_standard(source)
        return source, above_standard(target)
    except BaseException:
        for end in (source, target):
            if end not in _STANDARD:  # these are closed already
                os.close(end)
        raise


def enlarge(descriptor: int) -> None:
    """Enlarge the pipe's buffer where possible: ten megabytes then take ten turns of the event loop instead of 160."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.fcntl(descriptor, _F_SETPIPE_SZ, PIPE_SIZE)


def occupy_standard() -> None:
    """Open the standard descriptors that the app has closed, on nothing, so that no others get their numbers."""
    for descriptor in _STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
