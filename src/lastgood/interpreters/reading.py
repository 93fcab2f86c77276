"""Reading what is watched: every regular file below the watched roots, by the digest of its bytes (contract §6).

A file is read again only when its stat signature changed, or when its times are so close to the last reading that a change
could hide behind them, as git's index does it.
"""

from __future__ import annotations

from pathlib import Path

from lastgood.interpreters.file_system import FileSystem, Stat, digest_of
from lastgood.planner.watch_set import Snapshot, WatchSet, is_ignored

__all__ = ["Reader"]

# A file system's clock may be as coarse as two seconds (FAT); a jiffy is the rule.
_TOO_FRESH = 2.0


class Reader:
    """Makes snapshots, and remembers digests from one to the next. Not thread-safe: one reading at a time."""

    def __init__(self, files: FileSystem) -> None:
        self._files = files
        self._known: dict[Path, tuple[tuple[int, ...], str]] = {}

    def read(self, watch: WatchSet, now: float) -> Snapshot:
        """What stands at each root of ``watch``; ``now`` is the time in seconds since the epoch.

        A file that cannot be read counts with the reason in place of a digest: it is there, and it differs once it can be.
        """
        seen: dict[Path, tuple[tuple[int, ...], str]] = {}
        snapshot = {root: self._root(root, watch.output, now, seen) for root in watch.roots}
        self._known = seen
        return snapshot

    def _root(
        self, root: Path, output: Path | None, now: float, seen: dict[Path, tuple[tuple[int, ...], str]]
    ) -> dict[Path, str]:
        found: dict[Path, str] = {}
        visited: set[Path] = set()
        left = [root]
        while left:
            path = left.pop()
            standing = self._files.stat(path)
            if standing is not None and standing.kind == "link":
                path = self._files.real_path(path)
                standing = self._files.stat(path)
            if standing is None:
                continue
            if standing.kind == "file":
                found[path] = self._digest(path, standing, now, seen)
            elif standing.kind == "directory" and path not in visited:
                visited.add(path)
                children = (path / name for name in self._files.children(path))
                left.extend(each for each in children if not _ignored(each, root, output))
        return found

    def _digest(self, path: Path, standing: Stat, now: float, seen: dict[Path, tuple[tuple[int, ...], str]]) -> str:
        if path in seen:
            return seen[path][1]
        known = self._known.get(path)
        if known is not None and known[0] == standing.signature:
            seen[path] = known
            return known[1]
        try:
            digest = digest_of(self._files.read(path))
        except OSError as error:
            digest = f"unreadable: {error.strerror}"
        # A file that changed just now can change again within the same tick of its clock: it is read again next time.
        fresh = abs(now - standing.changed) < _TOO_FRESH
        seen[path] = (() if fresh else standing.signature, digest)
        return digest


def _ignored(path: Path, root: Path, output: Path | None) -> bool:
    # Through a link a walk can leave its root; what is found there is judged by its name alone.
    base = root if path.is_relative_to(root) else path.parent
    return is_ignored(path, base, output)
