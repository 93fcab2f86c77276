"""Starting a worker: its process, the pipes to it, and the shared memory for large values."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from contextvars import ContextVar
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from lastgood.bridges.worker.values.arena import make_arena
from lastgood.children.child import Child
from lastgood.children.descriptors import above_standard, pipe
from lastgood.children.limits import advice
from lastgood.children.output import Output
from lastgood.errors import Blame, BridgeError
from lastgood.sources.environment import Environment

__all__ = ["WORKER_MARK", "StartedWorker", "WorkerProcess", "start_worker"]

WORKER_MARK: ContextVar[bytes] = ContextVar("worker_mark", default=b"")
"""What stands before each line that a worker prints, for the workers that are started in this context."""

_DIES_WITH_ITS_APP = sys.platform == "linux"
"""Whether the kernel sees to it (:mod:`lastgood.bridges.worker.parent`)."""

_MAIN = Path(__file__).with_name("worker") / "main.py"


class WorkerProcess(Protocol):
    """The process of a worker, here or elsewhere: what :class:`~lastgood.children.child.Child` says of each of these.

    ``death`` says how it was lost, if that is not known from its exit: the end of the sentence "The worker process ended …".
    ``blame`` is that of the loss, if it is not known from the status.
    """

    pidfd: int
    out: Output

    @property
    def pid(self) -> int: ...

    @property
    def status(self) -> int | None: ...

    @property
    def gone(self) -> bool: ...

    @property
    def death(self) -> str: ...

    @property
    def blame(self) -> Blame | None: ...

    def has_exited(self) -> bool: ...

    def is_stopped(self) -> bool: ...

    def signal(self, number: int) -> None: ...

    async def exited(self, within: float = ...) -> bool: ...

    async def end(self, grace: float, *, patience: float = ...) -> bool: ...


class StartedWorker(Struct, frozen=True):
    """A worker's process, with descriptors that their user closes.

    ``requests``, ``answers`` and ``logs`` are the app's ends of the pipes; ``arenas`` are the outgoing and the incoming arena
    (-1: none).
    """

    child: WorkerProcess
    requests: int
    answers: int
    logs: int
    arenas: tuple[int, int]


def start_worker(environment: Environment, *, held: bool = False, pass_fds: Sequence[int] = ()) -> StartedWorker:
    """Start a worker, on the thread that runs the app's event loop: the kernel kills it when that *thread* ends.

    So no worker survives a killed app. ``held``: its output waits for ``release()``, and it starts no process before it is taken.
    ``pass_fds`` are descriptors that it inherits. Raises :class:`BridgeError` with the interpreter's name if it cannot be started.
    """
    try:
        with ExitStack() as undo, ExitStack() as theirs:
            output = Output(forward=True, mark=WORKER_MARK.get(), held=held)
            undo.callback(output.finish)
            theirs_in, requests = _pipe(theirs, undo)
            theirs_out, answers = reversed(_pipe(undo, theirs))
            theirs_logs, logs = reversed(_pipe(undo, theirs))
            arenas = above_standard(make_arena()), above_standard(make_arena())
            for arena in arenas:
                if arena >= 0:
                    undo.callback(os.close, arena)
            shared = [theirs_in, theirs_out, theirs_logs, *arenas]
            child = Child(
                [environment.python, "-u", str(_MAIN), *map(str, shared), str(os.getpid())],
                output=output,
                pass_fds=[*(descriptor for descriptor in shared if descriptor >= 0), *pass_fds],
                env=environment.env,
                cwd=environment.cwd,
                may_have_children=not (held and _DIES_WITH_ITS_APP),
            )
            undo.pop_all()
    except (OSError, ValueError, RuntimeError) as error:  # the last: no thread can be started
        raise BridgeError(_cannot_start(environment.python, error)) from error
    return StartedWorker(child, requests, answers, logs, arenas)


def _pipe(read_end: ExitStack, write_end: ExitStack) -> tuple[int, int]:
    """Make a pipe, each end of which is closed with its stack."""
    ends = pipe()
    for descriptor, stack in zip(ends, (read_end, write_end), strict=True):
        stack.callback(os.close, descriptor)
    return ends


def _cannot_start(python: str, error: Exception) -> str:
    match error:
        case FileNotFoundError():
            why = "there is no such file"
        case PermissionError():
            why = "it may not be executed"
        case _:
            why = str(error)
    is_scarce = isinstance(error, BlockingIOError) or advice(error) is not None  # the first: no process can be started
    remedy = "" if is_scarce else " Set python under [runtime.process] in the config."
    return f"The worker's interpreter {python} cannot be started: {why}.{remedy}"
