"""Spare workers: they have imported the installed modules that the live worker has loaded, and wait for the local ones.

When no cycle is under way, the live bridge starts as many spares as it has workers. The next bridge takes them, so that its
warm-up imports local modules only. A spare is only taken if a fresh worker would do exactly the same: the interpreter and
environment are the same, none of its installed files has changed, nothing was installed or removed, and no local module has
the name of one of its modules. Otherwise it stays with the bridge that started it, and ends with that bridge.

Spares are off by default, because they change the order of imports. If local code has an effect on an installed module before
importing it, such as setting an environment variable that the module reads, that effect comes too late in a spare.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import trio

from lastgood.bridges.pending import PendingAnswer
from lastgood.bridges.remote import PACK, RemoteWorker
from lastgood.bridges.worker.manifest import Manifest
from lastgood.errors import BridgeError, WorkerDied
from lastgood.sources.environment import Environment

__all__ = ["Loaded", "RunContext", "Spare", "stamps_of", "take_spare"]

_CHECK_INTERVAL = 0.05  # seconds between two checks
_MAX_NAME_BYTES = 50_000  # bytes of names: they must fit into the pipe's buffer

Stamps = dict[str, tuple[int, int, int] | None]
"""Path to (inode, size in bytes, mtime in nanoseconds) of a file or directory; None if it does not exist."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The installed modules that a worker has loaded: (name, path) of each, in the order in which they were loaded."""

    modules: tuple[tuple[str, str], ...] = ()

    def named_by(self, manifest: Path) -> tuple[str, ...]:
        """Return the modules of packages that the pinned generation's import statements name; those import all others."""
        elsewhere = set(Manifest.load(str(manifest)).elsewhere)
        return tuple(name for name, _ in self.modules if name.partition(".")[0] in elsewhere)

    def files(self) -> set[str]:
        """Return everything that must not change: the files, and the directories into which packages are installed."""
        paths = {path for _, path in self.modules}
        parts = ("site-packages", "dist-packages")
        return paths | {path[: path.index(part) + len(part)] for path in paths for part in parts if part in path}


@dataclass(frozen=True, slots=True)
class RunContext:
    """Everything that a worker's run depends on: ``environment``, the app's variables and directory, and its event loop."""

    environment: Environment
    variables: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    directory: str = field(default_factory=os.getcwd)
    token: trio.lowlevel.TrioToken = field(default_factory=trio.lowlevel.current_trio_token)


@dataclass(eq=False, slots=True)
class Spare:
    """A spare: ``worker`` imports ``names`` or has done so; ``stamps`` were taken before."""

    worker: RemoteWorker
    context: RunContext
    names: tuple[str, ...]
    stamps: Stamps

    def start(self) -> None:
        """Start the imports, and make the spare available."""
        size, names = 0, []
        for name in self.names:
            size += len(name) + 5
            if size < _MAX_NAME_BYTES:
                names.append(name)
        self.worker.channel.preload(PACK(names))
        _waiting.append(self)

    def is_waiting(self) -> bool:
        """Return whether the spare was neither taken nor ended."""
        return self in _waiting

    async def end(self) -> bool:
        """End the spare, unless it was taken; return whether it was ended."""
        if self not in _waiting:
            return False
        _waiting.remove(self)
        await self.worker.end(0)
        return True


_waiting: list[Spare] = []


async def take_spare(environment: Environment, manifest: Path) -> Spare | None:
    """Take a spare that suits a bridge of that pinned generation; return None if there is none."""
    context = RunContext(environment)
    local = await trio.to_thread.run_sync(_local_names, manifest) if _waiting else set()
    for spare in [each for each in _waiting if each.context == context]:
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


async def becomes_ready(worker: RemoteWorker, answer: PendingAnswer) -> bool:
    """Wait for the answer of a spare that was taken. Return False if the spare died or is stopped by a signal."""
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
    while not worker.is_stopped():  # noqa: ASYNC110 - a stop can only be polled
        await trio.sleep(_CHECK_INTERVAL)
    scope.cancel()


def _local_names(manifest: Path) -> set[str]:
    pinned = Manifest.load(str(manifest))
    names = (*(name for _, _, name, _ in pinned.modules), *pinned.namespaces)
    return {name.partition(".")[0] for name in names}


def stamps_of(paths: Iterable[str]) -> Stamps:
    """Return the stamps of files and directories."""
    stamps: Stamps = {}
    for path in paths:
        try:
            found = os.stat(path)
        except OSError:
            stamps[path] = None
        else:
            stamps[path] = (found.st_ino, found.st_size, found.st_mtime_ns)
    return stamps
