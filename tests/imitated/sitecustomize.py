"""macOS, imitated on Linux: what it does not have is taken away, and what it has besides is made of what there is.

``LASTGOOD_TEST_PLATFORM=darwin pytest`` does it in the process of the tests (``conftest.py``); in each Python program that they
start, this file is found by its name. There, ``waitid()`` stays, since trio cannot be imported without.
"""

from __future__ import annotations

import os
import select
import sys
from types import ModuleType

VARIABLE = "LASTGOOD_TEST_PLATFORM"

OS = (
    *("copy_file_range", "eventfd", "fdatasync", "getrandom", "getresuid", "memfd_create", "pidfd_open", "pipe2"),
    *("posix_fadvise", "posix_fallocate", "setns", "splice", "unshare"),
    *("getxattr", "listxattr", "removexattr", "setxattr", "O_PATH"),
)
"""What :mod:`os` has on Linux alone. ``sched_getaffinity()`` stays: mypy asks for it wherever ``sys.platform`` is Linux."""
LIBC = frozenset({"inotify_init", "memfd_create", "prctl", "syncfs", "unshare"})
FULL_FSYNC = 51


# Where this file has been executed under its other name already, the imitation has it.
_pidfd_open = os.pidfd_open if hasattr(os, "pidfd_open") else sys.modules["sitecustomize"]._pidfd_open


class KEvent:
    def __init__(self, ident: int, *_: int) -> None:
        self.ident = ident


class KQueue:
    """One that notices the exit of one process, and has a descriptor that is readable then."""

    def __init__(self) -> None:
        self._descriptor = -1

    def control(self, changes: list[KEvent], _: int, __: float | None = None) -> list[object]:
        (change,) = changes
        self._descriptor = _pidfd_open(change.ident)
        return []

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


KQUEUE = {
    "kqueue": KQueue,
    "kevent": KEvent,
    **dict.fromkeys(("KQ_FILTER_PROC", "KQ_EV_ADD", "KQ_EV_ONESHOT", "KQ_NOTE_EXIT"), 1),
}
"""What :mod:`select` has besides, as far as it is used."""


def darwin(*, everything: bool) -> None:
    """Imitate macOS as Python 3.11 and 3.12 show it: without ``waitid()``, with kqueue."""
    if not hasattr(select, "kqueue"):
        _exchange()
    if everything:
        _take(os, "waitid")


def _take(module: ModuleType, name: str) -> None:
    if hasattr(module, name):
        delattr(module, name)
    if name in getattr(module, "__all__", ()):
        module.__all__.remove(name)


def _exchange() -> None:
    import ctypes
    import fcntl
    import mmap
    import selectors  # noqa: F401  # loaded before there is kqueue: asyncio's loops go on with what there is
    import signal

    real_fcntl, real_fsync, real_cdll = fcntl.fcntl, os.fsync, ctypes.CDLL

    class Libc(real_cdll):  # type: ignore[misc, valid-type]  # a class that is found at run time
        def __getattr__(self, name: str) -> object:
            if name in LIBC:
                raise AttributeError(f"{name}: symbol not found")
            return super().__getattr__(name)

    def fcntl_of_darwin(descriptor: int, command: int, argument: object = 0) -> object:
        if command == FULL_FSYNC:
            return real_fsync(descriptor)
        return real_fcntl(descriptor, command, argument)  # type: ignore[call-overload]  # whatever was given

    ctypes.CDLL = Libc  # type: ignore[misc]  # the imitation
    fcntl.fcntl = fcntl_of_darwin  # type: ignore[assignment]  # the imitation
    fcntl.F_FULLFSYNC = FULL_FSYNC  # type: ignore[attr-defined]  # macOS alone has it
    for name, value in KQUEUE.items():
        setattr(select, name, value)
    names = [(os, name) for name in OS]
    names += [(fcntl, "F_SETPIPE_SZ"), (fcntl, "F_ADD_SEALS"), (mmap, "MADV_REMOVE"), (signal, "pidfd_send_signal")]
    for module, name in names:
        _take(module, name)
    if not _is_worker():
        _without_proc()


def _is_worker() -> bool:
    """A worker looks for nothing below /proc, and is compared with a program that nobody has touched."""
    arguments = getattr(sys, "orig_argv", None)  # not in Python 3.9, which runs nothing else of lastgood
    return arguments is None or any(argument.endswith("bridges/worker/main.py") for argument in arguments)


def _without_proc() -> None:
    """Nothing of lastgood finds anything below /proc. What the tests look up there, they find."""

    def hide(name: str) -> None:
        real = getattr(os, name)

        def hiding(path: object = ".", *args: object, **kwargs: object) -> object:
            caller = str(sys._getframe(1).f_globals.get("__name__", ""))
            if caller.startswith("lastgood.") and str(path).startswith("/proc"):
                raise FileNotFoundError(2, os.strerror(2), str(path))
            return real(path, *args, **kwargs)

        setattr(os, name, hiding)

    hide("listdir")
    hide("stat")


if __name__ == "sitecustomize" and os.environ.get(VARIABLE) == "darwin":
    darwin(everything=False)
