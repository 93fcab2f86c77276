"""Spare workers: each runs the live generation's program ahead, and waits for the next generation (worker/ahead.py).

When no cycle is under way, the live bridge starts as many spares as it has workers. The next bridge offers its generation to
them, and takes over those to which it fits. Whether it fits is decided on both sides. Here: the interpreter, the environment
and the settings are the same. In the spare: everything that it has run, read and looked up is the same.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trio
from msgspec import Struct, field

from lastgood.bridges.pending import PendingAnswer
from lastgood.bridges.remote import RemoteWorker
from lastgood.bridges.worker.ahead import MAX_AGE
from lastgood.bridges.worker.manifest import Damaged, Manifest, new_sources, read_object
from lastgood.children.limits import in_thread
from lastgood.errors import BridgeError, WorkerDied
from lastgood.sources.environment import Environment

__all__ = ["RunContext", "Spare", "becomes_ready", "newest_source", "take_spare"]

_CHECK_INTERVAL = 0.05  # seconds between two checks


def _working_directory() -> str:
    """Return the working directory; empty if it was removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


class RunContext(Struct, frozen=True):
    """Everything that a worker's run depends on, apart from the generation.

    ``environment``, the app's variables and directory, its event loop, ``setup``, what the worker is told, and ``home``, where
    the generations are stored.
    """

    environment: Environment
    setup: Mapping[str, Any]
    home: str
    variables: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    directory: str = field(default_factory=_working_directory)
    token: trio.lowlevel.TrioToken = field(default_factory=trio.lowlevel.current_trio_token)

    def difference(self, other: RunContext) -> str | None:
        """Return what is another in ``other``, for a person; None if all is the same."""
        if self.environment != other.environment:
            return "the interpreter or its environment has changed"
        if self.variables != other.variables:
            return "an environment variable of the app has changed"
        if self.directory != other.directory:
            return "the working directory of the app has changed"
        if self.token is not other.token:
            return "the spare belongs to another event loop"
        changed = [name for name in self.setup if self.setup[name] != other.setup.get(name)]
        return f"{', '.join(changed)} changed in the settings" if changed else None


class Spare(Struct, eq=False):
    """A spare worker. ``manifest``: of the generation that it runs ahead; ``started``: trio's time."""

    worker: RemoteWorker
    context: RunContext
    manifest: str
    started: float = field(default_factory=trio.current_time)

    def is_old(self) -> bool:
        """Return whether it should be replaced, before it is too old to be taken."""
        return trio.current_time() - self.started > MAX_AGE / 2

    def is_usable(self) -> bool:
        """Return whether its process runs."""
        return not (self.worker.has_exited() or self.worker.is_stopped())

    def is_waiting(self) -> bool:
        """Return whether the spare was neither taken nor ended."""
        return self in _waiting

    def wait(self) -> None:
        """Make it available."""
        _waiting.append(self)

    async def end(self) -> bool:
        """End the spare, unless it was taken; return whether it was ended."""
        if self not in _waiting:
            return False
        _waiting.remove(self)
        await self.worker.end(0)
        return True


_waiting: list[Spare] = []


async def take_spare(context: RunContext, manifest: str) -> Spare | str:
    """Take a spare to offer it the generation of ``manifest``; return why not if there is none for it.

    A generation with a module that cannot be compiled is left to a fresh worker, which says what is wrong, unless the program
    can do without that module. So the spare is there for the edit that mends it.
    """
    why = "there was no spare"
    for spare in [each for each in _waiting if each.context.home == context.home]:
        problem = spare.context.difference(context)
        if problem is None and not spare.is_usable():
            await spare.end()
            problem = "the spare had ended, or was stopped by a signal"
        if problem is None and context.environment.python == sys.executable:
            problem = await in_thread(_uncompilable, manifest, spare.manifest)
        if problem is None and spare in _waiting:
            _waiting.remove(spare)
            return spare
        why = problem or why
    return why


def _uncompilable(manifest: str, before: str) -> str | None:
    """Return which module cannot be compiled, of those that the generation ``before`` has not; None if all can."""
    try:
        for digest, path in new_sources(manifest, before):
            source = read_object(manifest, digest)
            try:
                # Ignore warnings about the source, which under -W error would be raised as SyntaxError here.
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    compile(source, path, "exec", dont_inherit=True)
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                return f"{path} cannot be compiled: {error}"
    except Damaged:
        pass  # the worker will say so
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


def newest_source(manifest: Path) -> tuple[Path, ...]:
    """Return the file that was written last, of a pinned generation's modules. Raises :class:`.worker.manifest.Damaged`."""
    newest: tuple[int, str] | None = None
    for _, _, _, path in Manifest.load(str(manifest)).modules:
        try:
            newest = max(newest or (0, ""), (os.stat(path).st_mtime_ns, path))
        except OSError:
            continue
    return () if newest is None else (Path(os.path.realpath(newest[1])),)
