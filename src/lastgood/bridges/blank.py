"""A blank worker: one that has done nothing yet, started while the first generation of a session is still being staged.

Python takes as long to start as to import some dozens of modules. The bridge of the first generation takes the blank over, if all
that the start of a worker depends on is still the same; else the session ends it. What it has printed is shown when it is taken.
"""

from __future__ import annotations

import os

import trio
from msgspec import Struct, field

from lastgood.bridges.remote import RemoteWorker
from lastgood.config import ProcessConfig
from lastgood.sources.environment import Environment, find_environment

__all__ = ["Blank", "take_blank"]


class _Start(Struct, frozen=True):
    """Everything that the start of a worker depends on."""

    environment: Environment
    grace: float
    variables: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    directory: tuple[int, int] = field(default_factory=lambda: _identity("."))
    token: trio.lowlevel.TrioToken = field(default_factory=trio.lowlevel.current_trio_token)


def _identity(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0)
    return found.st_dev, found.st_ino


class Blank:
    """A blank worker for ``process``, ``[runtime.process]`` of a config. Raises :class:`ConfigError`, :class:`BridgeError`."""

    def __init__(self, process: ProcessConfig) -> None:
        self.start = _Start(find_environment(process), process.grace)
        self.worker = RemoteWorker(
            self.start.environment,
            is_spare=True,
            threads=process.threads,
            timeout=process.timeout,
            grace=process.grace,
            on_loaded=lambda _worker, _body: None,
        )
        _waiting.append(self)

    async def end(self) -> None:
        """End the worker, unless it was taken. Raises :class:`BridgeError` if it still exists afterwards."""
        if self in _waiting:
            _waiting.remove(self)
            await self.worker.end(0)


_waiting: list[Blank] = []


def take_blank(environment: Environment, grace: float) -> RemoteWorker | None:
    """Take over a blank worker that is like one which would be started now; None if there is none."""
    wanted = _Start(environment, grace) if _waiting else None
    for blank in _waiting:
        worker = blank.worker
        if blank.start == wanted and not (worker.has_exited() or worker.is_stopped()):
            _waiting.remove(blank)
            worker.show()
            return worker
    return None
