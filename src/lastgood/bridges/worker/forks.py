"""Processes that a user's function forks in a worker: they have no app, and end with the function in which they were forked."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["FORKS", "end_forked"]


class Forks:
    """Notices that this process was forked from the worker. Its locks may be held by threads that do not exist here."""

    def __init__(self) -> None:
        self._descriptors: tuple[int, ...] = ()
        self._is_child = False

    def close_in_children(self, descriptors: Iterable[int]) -> None:
        """Close these descriptors in every process that is forked from this one."""
        self._descriptors = tuple(descriptors)
        os.register_at_fork(after_in_child=self._leave)

    def call_in_children(self, close: Callable[[], object]) -> None:
        """Call a function in every process that is forked from this one. It closes what must not outlive the worker."""
        os.register_at_fork(after_in_child=close)

    def _leave(self) -> None:
        # Once only: in a child of the child, other files may have these numbers.
        descriptors, self._descriptors = self._descriptors, ()
        for descriptor in descriptors:
            os.close(descriptor)
        self._is_child = True

    def end_child(self, error: BaseException | None = None) -> None:
        """End this process if it is a forked child, whose function has returned, or raised ``error``."""
        if self._is_child:
            end_forked(error, _show)


def _show(error: BaseException) -> None:
    from .failures import traceback_of

    print(traceback_of(error), end="", file=sys.stderr)


def end_forked(error: BaseException | None, show: Callable[[BaseException], object]) -> NoReturn:
    """End a process that was forked inside a call or a task, at the end of that, as multiprocessing ends its children.

    No exit handlers run, and nothing is finalised: that is left to the parent. ``error`` is the exception that has ended the
    call or task, if any. One that is no SystemExit is shown by ``show``.
    """
    status = 0 if error is None else 1
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if not (error.code is None or isinstance(error.code, int)):
            print(error.code, file=sys.stderr)
    elif error is not None:
        show(error)
    from contextlib import suppress  # not before it is needed: a worker starts faster without

    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # it is closed, or none
            stream.flush()
    os._exit(status & 0xFF)


FORKS = Forks()
"""The forks of this process, which is a worker."""
