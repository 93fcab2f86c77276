"""Watching by the operating system's file notification. It gives hints that something changed, but not what.

A file is watched through its parent directory. A directory is watched with its tree, and through its parent as well. So a
file that is replaced by a rename, and a root that is removed and made again, stay watched. After a hint, files are read to find
out what has changed: those that the system has named, if it is known to name all.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

import trio
from watchfiles import Change

# Not exported by watchfiles, whose own watch() and awatch() do not tell when they have begun to watch, so that a change just
# after that could be missed, and take up to five seconds to end.
from watchfiles._rust_notify import RustNotify

from lastgood.children.limits import NO_THREAD, advice, in_thread
from lastgood.planner.watch_set import WatchSet
from lastgood.sources.listings import Listings, Names
from lastgood.sources.snapshots import Linked
from lastgood.store.disk import Disk

__all__ = [
    "LIMIT_ADVICE",
    "OPEN_FILES_ADVICE",
    "Note",
    "Notifier",
    "failure_to_watch",
    "places",
    "seconds_to_notice",
]

LIMIT_ADVICE = (
    "the system's limit of watched directories is reached; raise it with "
    '"sudo sysctl fs.inotify.max_user_watches=524288". Until then files are polled'
)

OPEN_FILES_ADVICE = (
    "the system's limit of watchers, or this process's of open files, is reached; raise it with "
    '"sudo sysctl fs.inotify.max_user_instances=1024", or "ulimit -n". Until then files are polled'
)

# Milliseconds. A shorter step notices a save sooner, but wakes the thread up more often.
_STEP = 10
_LONGEST_BATCH = 50
_WAKE_UP = 5_000

_NO_LINKS = Linked()

# Elsewhere the system may name the directory of what has changed, or leave something out.
_NAMES_ALL = sys.platform == "linux"
# More may be so many that the system has dropped some.
_MOST_NAMED = 256

Hint = Callable[[Collection[str] | None], object]
"""Called with the paths of the entries of directories that have changed; None if that is not known."""

T = TypeVar("T")

Note = Callable[[Path | None], object]
"""Called for each root before it is looked at, and with None before the system is asked to watch. It may be in a thread."""

Places = Mapping[Path, tuple[int, ...]]
"""Directories, each with its device and inode, which differ if it is removed and made again."""


def places(
    watch: WatchSet,
    note: Note = lambda _: None,
    listings: Listings | None = None,
    linked: Linked = _NO_LINKS,
) -> tuple[Places, Places]:
    """Return the directories to watch recursively, and those to watch by themselves. Reads the disk, through ``listings``.

    ``linked`` are the directories that links below the watched paths lead through.
    """
    listings = listings or Listings(Disk())
    trees: dict[Path, tuple[int, ...]] = {}
    alone: dict[str, tuple[int, ...]] = {}
    for directory, roots in watch.by_directory.items():
        note(next(iter(roots.values())))
        names, place, identity = listings.names(directory), directory, listings.directory(directory)
        for name, root in roots.items() if identity is not None else ():
            # There may be thousands of candidates, where nothing is, and of files.
            is_one = names.get(name, "") != "file" if name in names or root in watch.named else not names
            if is_one and (found := listings.directory(str(root))) is not None:
                trees[root] = found
        # If it does not exist, its nearest existing ancestor notices when it is made.
        while identity is None:
            place = os.path.dirname(place)
            identity = listings.directory(place)
        alone[place] = identity
    covered = set(map(str, trees))
    for tree in sorted(linked.trees):
        if not _is_below(tree, covered) and (identity := listings.directory(tree)) is not None:
            trees[Path(tree)] = identity
            covered.add(tree)
    for place in sorted({*linked.alone, *(os.path.dirname(link) for link in watch.links)}):
        if place not in alone and not _is_below(place, covered) and (identity := listings.directory(place)) is not None:
            alone[place] = identity
    return trees, {Path(place): identity for place, identity in alone.items()}


def _is_below(path: str, tops: Collection[str]) -> bool:
    """Return whether ``path`` is one of ``tops`` or lies below one."""
    while path not in tops:
        above = os.path.dirname(path)
        if above == path:
            return False
        path = above
    return True


class Notifier:
    """A notifier that calls ``hint(paths)`` on the trio thread whenever something may have changed in the armed paths.

    ``on_failure(reason)`` is called once if the system cannot watch; from then on the caller has to poll. What is to be polled
    anyway is not watched at all.
    """

    def __init__(self, nursery: trio.Nursery, hint: Hint, on_failure: Callable[[str], None]) -> None:
        self._nursery = nursery
        self._hint = hint
        self._on_failure = on_failure
        self._scopes: dict[bool, tuple[Places, trio.CancelScope]] = {}
        self._placed: tuple[WatchSet, Linked, Listings, tuple[Places, Places]] | None = None
        # Each watch occupies a thread while it waits. A limiter of its own leaves trio's default threads to the app.
        self._limiter = trio.CapacityLimiter(8)
        # On a network file system that is gone, arming hangs; then it is abandoned. At most one thread hangs there.
        self._arming = trio.CapacityLimiter(1)
        self.polling = False

    async def arm(self, watch: WatchSet, linked: Linked = _NO_LINKS, note: Note = lambda _: None) -> None:
        """Watch exactly ``watch``, with what is ``linked`` to it. A cancellation does not wait for the file system.

        The previous watches are released only after the new ones work, so no change is missed.
        """
        trees: Places = {}
        alone: Places = {}
        if (watch.roots or linked.alone) and not watch.poll and not self.polling:
            trees, alone = await self._in_thread(self._places, watch, linked, note)
            note(None)
        for recursive, directories in ((True, trees), (False, alone)):
            await self._arm(directories, recursive=recursive)

    def has_armed(self, watch: WatchSet, linked: Linked = _NO_LINKS) -> bool:
        """Return whether exactly this is watched, as far as :meth:`still_placed` is true."""
        if watch.poll or self.polling:
            return not self._scopes
        placed = self._placed
        return (
            placed is not None
            and placed[0] is watch
            and placed[1] == linked
            and all(map(self._is_armed, (True, False), placed[3]))
        )

    def _is_armed(self, recursive: bool, directories: Places) -> bool:
        armed = self._scopes.get(recursive)
        return not directories if armed is None else armed[0] == directories and not armed[1].cancel_called

    def still_placed(self, given: Mapping[str, Names]) -> bool:
        """Ask the disk again, but about listings that are ``given``; return False if other directories may have to be watched.

        It may block, and any thread may call it, but not while something is armed.
        """
        if self._placed is None or self._placed[2].hold(given):
            return True
        self._placed = None
        return False

    def _places(self, watch: WatchSet, linked: Linked, note: Note) -> tuple[Places, Places]:
        """Return the places of ``watch``: the last ones, if it is the same, and the disk gives the same answers."""
        placed = self._placed
        if placed is None or placed[0] is not watch or placed[1] != linked or not placed[2].hold():
            listings = Listings(Disk())
            placed = self._placed = watch, linked, listings, places(watch, note, listings, linked)
        return placed[3]

    async def _in_thread(self, do: Callable[..., T], *args: object) -> T:
        # If it is abandoned, its result is dropped, and a RustNotify that is dropped watches nothing any more.
        return await in_thread(do, *args, limiter=self._arming, abandon_on_cancel=True)

    async def _arm(self, directories: Places, *, recursive: bool) -> None:
        armed = self._scopes.get(recursive)
        if armed is not None and self._is_armed(recursive, directories):
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
                notify = await self._in_thread(_start, sorted(directories), recursive)
            except (OSError, RuntimeError, UnicodeError) as error:
                self._fail(error)
                task_status.started()
                return
            task_status.started()
            stop = threading.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_set_when_cancelled, stop)
                with trio.CancelScope(shield=True):  # wait, a step at most, until the thread has closed its descriptors
                    await self._wait(notify, {str(directory) for directory in directories}, stop)
                nursery.cancel_scope.cancel()
        # These directories are not watched any more: mark the scope, so that a later arm() watches them again.
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
                # The watch of a removed directory is gone, and the directory may be made again with the same inode.
                is_gone = any(change == Change.deleted and path in directories for change, path in seen)
                named = {path for _, path in seen}
                self._hint(named if _NAMES_ALL and len(named) <= _MOST_NAMED and not is_gone else None)
                if is_gone:
                    return
        except (OSError, RuntimeError, UnicodeError) as error:
            # A file name that cannot be decoded ends this watch, but the system still works: it can be armed again.
            if "decode path" not in str(error):
                self._fail(error)
            self._hint(None)  # reading finds the change that could not be reported
        finally:
            notify.close()

    def _fail(self, error: OSError | RuntimeError | UnicodeError) -> None:
        if not self.polling:
            self.polling = True
            self._on_failure(_reason(error))


def _reason(error: OSError | RuntimeError | UnicodeError) -> str:
    if "limit" in str(error):
        return LIMIT_ADVICE
    if str(error) == NO_THREAD:
        return f"{NO_THREAD}. {advice(error)} Files are polled instead"
    if "os error 24" in str(error):  # EMFILE, which watchfiles reports as an internal error
        return OPEN_FILES_ADVICE
    return f"the system cannot watch ({error}). Files are polled instead"


def failure_to_watch(trees: list[Path], alone: list[Path]) -> str | None:
    """Return why the system cannot watch these directories, of which ``trees`` with all below them; None if it can."""
    try:
        for directories, recursive in ((trees, True), (alone, False)):
            _start(directories, recursive).close()
    except (OSError, RuntimeError, UnicodeError) as error:
        return _reason(error)
    return None


def seconds_to_notice(directory: Path, timeout: float) -> float | None:
    """Make a file in ``directory``, and return the seconds until the system has told of it; None if it has not by ``timeout``."""
    notify = _start([directory], recursive=False)
    try:
        began = time.perf_counter()
        (directory / "edit").write_bytes(b"")
        seen = notify.watch(_LONGEST_BATCH, _STEP, round(timeout * 1000), threading.Event())
        return None if isinstance(seen, str) else time.perf_counter() - began
    finally:
        notify.close()


async def _set_when_cancelled(stop: threading.Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        stop.set()


def _start(directories: list[Path], recursive: bool, tries: int = 10) -> RustNotify:
    there = [str(directory) for directory in directories if directory.is_dir()]
    _require_threads()
    try:
        return RustNotify(there, False, False, 300, recursive, False)
    except FileNotFoundError:
        # A directory was removed after the check; the watch on its parent notices that. The number of tries is limited, because
        # in a fake file system a directory may exist for Python alone.
        if tries == 1:
            raise
        return _start(directories, recursive, tries - 1)


def _require_threads() -> None:
    """Raise :class:`RuntimeError` if no thread can be started: watchfiles would then abort the process.

    It starts one. Two are tried, since the system may not have released one of them yet when they have ended.
    """
    end = threading.Event()
    threads = [threading.Thread(target=end.wait) for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
    finally:
        end.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
