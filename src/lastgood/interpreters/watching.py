"""Watching with the operating system's notifier: hints that something happened, not what (contract §6).

A single file is watched through its parent directory, and so is a watched directory besides its own tree: a file that is
replaced by rename, or a root that is removed and made again, goes on being seen. What a hint means is found out by reading.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import trio
from watchfiles import Change
from watchfiles._rust_notify import RustNotify

from lastgood.planner.watch_set import WatchSet

__all__ = ["LIMIT_ADVICE", "OPEN_FILES_ADVICE", "Notifier", "places"]

LIMIT_ADVICE = (
    "the system's limit of watched directories is reached; raise it with "
    '"sudo sysctl fs.inotify.max_user_watches=524288". Until then files are polled'
)

OPEN_FILES_ADVICE = (
    "the system's limit of watchers, or this process's of open files, is reached; raise it with "
    '"sudo sysctl fs.inotify.max_user_instances=1024", or "ulimit -n". Until then files are polled'
)

# Milliseconds. The step decides how soon a save is seen, at the price of as many wake-ups.
_STEP = 10
_LONGEST_BATCH = 50
_WAKE_UP = 5_000

Places = Mapping[Path, tuple[int, int]]
"""Directories, each with what tells it from another one of the same name: device and inode."""


def places(watch: WatchSet) -> tuple[Places, Places]:
    """The directories to watch with everything below them, and those to watch alone. Looks at the disk."""
    trees: dict[Path, tuple[int, int]] = {}
    alone: dict[Path, tuple[int, int]] = {}
    for root in watch.roots:
        identity = _identity(root)
        if identity is not None:
            trees[root] = identity
        # Where the parent does not exist either, its nearest ancestor sees it come.
        above = next((each, found) for each in root.parents if (found := _identity(each)) is not None)
        alone[above[0]] = above[1]
    return trees, alone


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None


class Notifier:
    """Calls ``hint()`` on the trio thread whenever something may have changed in what is armed.

    ``gave_out(reason)`` is called once if the system refuses to watch; from then on the caller has to poll.
    """

    def __init__(self, nursery: trio.Nursery, hint: Callable[[], None], gave_out: Callable[[str], None]) -> None:
        self._nursery = nursery
        self._hint = hint
        self._gave_out = gave_out
        self._scopes: dict[bool, tuple[Places, trio.CancelScope]] = {}
        # Each notifier holds a thread for as long as it waits; the app's own threads are not taken for it.
        self._limiter = trio.CapacityLimiter(8)
        self.polling = False

    async def arm(self, watch: WatchSet) -> None:
        """Watch this, and nothing else, when it returns. What was armed before is let go only then, so nothing is missed."""
        trees, alone = await trio.to_thread.run_sync(places, watch, limiter=self._limiter)
        for recursive, directories in ((True, trees), (False, alone)):
            await self._arm(directories, recursive=recursive)

    async def _arm(self, directories: Places, *, recursive: bool) -> None:
        armed = self._scopes.get(recursive)
        if armed is not None and armed[0] == directories and not armed[1].cancel_called:
            return
        if directories and not self.polling:
            scope = trio.CancelScope()
            await self._nursery.start(self._notify, directories, recursive, scope)
            self._scopes[recursive] = (directories, scope)
        else:
            self._scopes.pop(recursive, None)
        if armed is not None:
            armed[1].cancel()

    @trio.lowlevel.enable_ki_protection
    async def _notify(
        self,
        directories: Collection[Path],
        recursive: bool,
        scope: trio.CancelScope,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        with scope:
            try:
                notify = await trio.to_thread.run_sync(_start, sorted(directories), recursive, limiter=self._limiter)
            except (OSError, RuntimeError, UnicodeError) as error:
                self._give_out(error)
                task_status.started()
                return
            task_status.started()
            stop = threading.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_set_when_cancelled, stop)
                with trio.CancelScope(shield=True):  # as long as its thread looks, it holds descriptors: a step at most
                    await self._wait(notify, {str(directory) for directory in directories}, stop)
                nursery.cancel_scope.cancel()
        # Whatever was watched is so no longer: a later arm() must not take it for armed.
        scope.cancel()

    async def _wait(self, notify: RustNotify, directories: set[str], stop: threading.Event) -> None:
        try:
            while True:
                seen = await trio.to_thread.run_sync(
                    notify.watch, _LONGEST_BATCH, _STEP, _WAKE_UP, stop, limiter=self._limiter
                )
                if seen == "timeout":
                    continue
                if isinstance(seen, str):  # "stop" or "signal"
                    return
                self._hint()
                # One that is removed takes its watch with it, and may be made again with the very same inode.
                if any(change == Change.deleted and path in directories for change, path in seen):
                    return
        except (OSError, RuntimeError, UnicodeError) as error:
            # One that saw a name it cannot tell has ended, and may be armed again.
            if "decode path" not in str(error):
                self._give_out(error)
            self._hint()  # what it would have told is found out by reading
        finally:
            notify.close()

    def _give_out(self, error: OSError | RuntimeError | UnicodeError) -> None:
        if not self.polling:
            self.polling = True
            if "limit" in str(error):
                reason = LIMIT_ADVICE
            elif "os error 24" in str(error):  # EMFILE, which comes as an internal error
                reason = OPEN_FILES_ADVICE
            else:
                reason = f"the system cannot watch ({error}). Files are polled instead"
            self._gave_out(reason)


async def _set_when_cancelled(stop: threading.Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        stop.set()


def _start(directories: list[Path], recursive: bool, tries: int = 10) -> RustNotify:
    there = [str(directory) for directory in directories if directory.is_dir()]
    try:
        return RustNotify(there, False, False, 300, recursive, False)
    except FileNotFoundError:
        # What goes between the look and the start is told by the directory above it. But some are there for Python alone,
        # as in a fake file system.
        if tries == 1:
            raise
        return _start(directories, recursive, tries - 1)
