"""A blank worker: one that has done nothing yet, started while the first generation of a session is still being staged.

Python takes as long to start as to import some dozens of modules. The bridge of the first generation takes the blank over, if all
that the start of a worker depends on is still the same; else the session ends it. What it has printed is shown when it is taken.

If an earlier session has left a good generation, the blank becomes a spare (:mod:`lastgood.bridges.spare`): it runs that
generation's program ahead, and the first bridge takes it over if all it has run and read is the same in the new generation.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import trio
from msgspec import Struct, field

from lastgood.bridges.remote import RemoteWorker
from lastgood.bridges.spare import Spare, newest_source
from lastgood.bridges.start import start_worker
from lastgood.bridges.worker.manifest import Damaged
from lastgood.children.limits import in_thread
from lastgood.config import Config, ProcessConfig
from lastgood.sources.environment import Environment, find_environment

if TYPE_CHECKING:
    from lastgood.bridges.process import ProcessBridge

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
            partial(start_worker, self.start.environment, held=True),
            is_spare=True,
            threads=process.threads,
            timeout=process.timeout,
            grace=process.grace,
            on_loaded=lambda _worker, _body: None,
        )
        self._spare: Spare | None = None
        _waiting.append(self)

    async def run_ahead(self, config: Config, last_good: Callable[[], Path | None]) -> None:
        """Have the worker run the program of the generation that was live last, unless it was taken; ``config`` is today's.

        ``last_good()`` returns that generation's manifest, and may block; None if there is none.
        """
        if config.runtime.process.spare and config.runtime.process.overlap:
            found = await in_thread(lambda: _last(config, last_good))
            now = _Start(
                self.start.environment, self.start.grace
            )  # a spare counts as started from what is the case now
            if found is not None and self in _waiting and now == self.start:
                bridge, edited = found
                _waiting.remove(self)
                self._spare, _ = bridge.start_spare(self.worker, self.start.environment, edited)

    async def end(self) -> None:
        """End the worker, unless it was taken. Raises :class:`BridgeError` if it still exists afterwards."""
        if self._spare is not None:
            await self._spare.end()
        if self in _waiting:
            _waiting.remove(self)
            await self.worker.end(0)


def _last(config: Config, last_good: Callable[[], Path | None]) -> tuple[ProcessBridge, tuple[Path, ...]] | None:
    """Return a bridge of the generation that was live last, and the file of it that was written last."""
    from lastgood.bridges.process import ProcessBridge

    try:
        manifest = last_good()
        if manifest is None:
            return None
        edited = newest_source(manifest)
    except (Damaged, OSError):  # an earlier session's affair, which the stage deals with
        return None
    return ProcessBridge.from_config(msgspec.structs.replace(config, pinned=manifest)), edited


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
