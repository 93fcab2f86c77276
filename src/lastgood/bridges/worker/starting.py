"""Starting a worker on the descriptors that its app has given it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Collection

from . import frames
from .forks import FORKS
from .interactive import refuse_interaction
from .interrupts import enable_interrupts
from .logs import LogPipe
from .parent import die_with
from .serving import Worker
from .values.codec import CODEC

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["run"]


def run(
    requests: int, answers: int, logs: int, incoming: int, outgoing: int, parent: int, *, bare: Collection[str] = ()
) -> None:
    """Run a worker on these descriptors (see main.py) until the app, process ``parent``, has gone.

    ``bare``: the modules that the interpreter had loaded before any of lastgood's.
    """
    die_with(parent)
    if hasattr(signal, "SIGCHLD"):
        signal.signal(
            signal.SIGCHLD, signal.SIG_DFL
        )  # an app that ignores it hands that on, and hides how children end
    descriptors = [each for each in (requests, answers, logs, incoming, outgoing) if each >= 0]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    FORKS.close_in_children(descriptors)
    CODEC.open(incoming, outgoing)
    refuse_interaction()
    enable_interrupts()
    pipe = LogPipe(logs)
    pipe.watch()
    worker = Worker(requests, answers, pipe)
    kind, number, setup = _read_frame(requests)
    if kind == frames.AHEAD:
        worker.run_ahead(number, setup)
    threading.Thread(target=worker.watch, name="lastgood-watcher", daemon=True).start()
    if worker.prepare(number, setup, bare):
        worker.serve()


def _read_frame(descriptor: int) -> tuple[int, int, bytes]:
    try:
        length, kind, number = frames.HEADER.unpack(frames.read_exactly(descriptor, frames.HEADER.size))
        if kind not in (frames.AHEAD, frames.SETUP) or length > frames.MAX_BODY:
            _exit_wrong_parent()
        return kind, number, frames.read_exactly(descriptor, length)
    except EOFError:
        sys.exit(0)  # the app has gone already


def _exit_wrong_parent() -> NoReturn:
    sys.exit("lastgood's worker was started by something that is not its app.")
