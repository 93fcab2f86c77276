"""Spare workers: they have imported the installed modules that the live one has loaded, and wait for local ones (contract §10).

When no cycle is under way, the live bridge has as many made as it has workers; the next bridge takes them, so that
its warm-up imports local modules only. A spare is taken only where a fresh worker would do the very same: the same
interpreter in the same environment, no installed file among those it loaded changed since, nothing installed or removed,
and no local module that has the name of one of them. Else it is left to the bridge that had it made, which ends it with
itself.

Off unless it is asked for: what local code does before it imports an installed module, such as setting a variable that the
module reads as it is imported, comes too late in a spare.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import trio

from lastgood.bridges.channel import Answer
from lastgood.bridges.remote import PACK, RemoteWorker
from lastgood.bridges.worker.manifest import Manifest
from lastgood.errors import BridgeError, WorkerDied
from lastgood.sources.environment import Environment

__all__ = ["Loaded", "Place", "Spare", "stamps_of", "take_spare"]

_LOOK = 0.05  # seconds
_MOST = 50_000  # bytes of names: no more than a pipe takes at once

Stamps = dict[str, tuple[int, int, int] | None]
"""Path to what changes when the file or directory does: inode, size, time in nanoseconds. None: it is not there."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The installed modules that a worker has loaded: [name, path] of each, in their order."""

    modules: tuple[tuple[str, str], ...] = ()

    def named_by(self, manifest: Path) -> tuple[str, ...]:
        """Those of packages that an import statement of the pinned generation leads to: the others come with them."""
        elsewhere = set(Manifest.load(str(manifest)).elsewhere)
        return tuple(name for name, _ in self.modules if name.partition(".")[0] in elsewhere)

    def files(self) -> set[str]:
        """Everything that must be as it was: the files, and the directories in which something may be installed."""
        paths = {path for _, path in self.modules}
        parts = ("site-packages", "dist-packages")
        return paths | {path[: path.index(part) + len(part)] for path in paths for part in parts if part in path}


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker runs in, whole: with what ``environment`` leaves to the app as it is now, and the app's event loop."""

    environment: Environment
    variables: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    directory: str = field(default_factory=os.getcwd)
    token: trio.lowlevel.TrioToken = field(default_factory=trio.lowlevel.current_trio_token)


@dataclass(eq=False, slots=True)
class Spare:
    """``worker`` imports ``names``, or has; ``stamps`` are those of the moment before."""

    worker: RemoteWorker
    place: Place
    names: tuple[str, ...]
    stamps: Stamps

    def start(self) -> None:
        """Have it import, and let it be taken."""
        size, names = 0, []
        for name in self.names:
            size += len(name) + 5
            if size < _MOST:
                names.append(name)
        self.worker.channel.preload(PACK(names))
        _waiting.append(self)

    def is_waiting(self) -> bool:
        """Whether nobody has taken it, and it has not ended."""
        return self in _waiting

    async def end(self) -> bool:
        """End it, if nobody has taken it; tells whether that was so."""
        if self not in _waiting:
            return False
        _waiting.remove(self)
        await self.worker.end(0)
        return True


_waiting: list[Spare] = []


async def take_spare(environment: Environment, manifest: Path) -> Spare | None:
    """A spare that does for a bridge which runs that pinned generation; None if there is none."""
    place = Place(environment)
    local = await trio.to_thread.run_sync(_local_names, manifest) if _waiting else set()
    for spare in [each for each in _waiting if each.place == place]:
        if not {name.partition(".")[0] for name in spare.names}.isdisjoint(local):
            continue
        if spare.worker.is_stopped():
            await spare.end()
            continue
        stamps = await trio.to_thread.run_sync(stamps_of, spare.stamps)
        if stamps == spare.stamps and spare in _waiting and not spare.worker.has_exited():
            _waiting.remove(spare)
            return spare
    return None


async def gets_ready(worker: RemoteWorker, answer: Answer) -> bool:
    """Wait for the answer of a spare that was taken. False if it died instead, or was stopped, from which nothing may wake it."""
    failure: BridgeError | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when_stopped, worker, nursery.cancel_scope)
        try:
            await worker.channel.wait(answer)
        except BridgeError as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None and not isinstance(failure, WorkerDied):
        raise failure
    return answer.kind is not None


async def _cancel_when_stopped(worker: RemoteWorker, scope: trio.CancelScope) -> None:
    while not worker.is_stopped():  # noqa: ASYNC110 - nothing tells of a stop but asking
        await trio.sleep(_LOOK)
    scope.cancel()


def _local_names(manifest: Path) -> set[str]:
    pinned = Manifest.load(str(manifest))
    names = (*(name for _, _, name, _ in pinned.modules), *pinned.namespaces)
    return {name.partition(".")[0] for name in names}


def stamps_of(paths: Iterable[str]) -> Stamps:
    """The stamps of files and directories."""
    stamps: Stamps = {}
    for path in paths:
        try:
            found = os.stat(path)
        except OSError:
            stamps[path] = None
        else:
            stamps[path] = (found.st_ino, found.st_size, found.st_mtime_ns)
    return stamps
