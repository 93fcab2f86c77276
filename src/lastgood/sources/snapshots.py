"""Reading what is watched: every regular file below the watched roots, by the digest of its bytes (contract §6).

A file is read again only when its stat signature changed, or when its times are so close to the last reading that a change
could hide behind them, as git's index does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lastgood.planner.watch_set import Snapshot, WatchSet, is_ignored_name
from lastgood.store.file_system import FileSystem, Stat

__all__ = ["Reader"]

# A file system's clock may be as coarse as two seconds (FAT); a jiffy is the rule.
_TOO_FRESH = 2.0


@dataclass(frozen=True, slots=True)
class _Known:
    """A file as it was read. The path is kept because making one costs more than the system calls do."""

    path: Path
    signature: tuple[int, ...]
    digest: str


class Reader:
    """Makes snapshots, and remembers digests from one to the next. Not thread-safe: one reading at a time."""

    def __init__(self, files: FileSystem) -> None:
        self._files = files
        self._known: dict[str, _Known] = {}
        self._seen: dict[str, _Known] = {}

    def read(self, watch: WatchSet, now: float) -> Snapshot:
        """What stands at each root of ``watch``; ``now`` is the time in seconds since the epoch.

        A file that cannot be read counts with the reason in place of a digest: it is there, and it differs once it can be.
        """
        output = None if watch.output is None else str(watch.output)
        snapshot = {root: self._root(str(root), output, now) for root in watch.roots}
        self._known, self._seen = self._seen, {}
        return snapshot

    def _root(self, root: str, output: str | None, now: float) -> dict[Path, str]:
        found: dict[Path, str] = {}
        visited: set[str] = set()
        standing = self._stat(Path(root))
        left = [] if standing is None else [(root, standing)]
        while left:
            path, standing = left.pop()
            if standing.kind == "link":
                target = self._files.real_path(Path(path))
                if path != root:
                    found[Path(path)] = f"link to {target}"  # where it leads may change, and no byte with it
                behind = self._stat(target)
                if behind is None:
                    continue
                path, standing = str(target), behind
            if standing.kind == "file":
                known = self._file(path, standing, now)
                found[known.path] = known.digest
            elif standing.kind == "directory" and path not in visited:
                visited.add(path)
                left.extend(
                    (child, seen)
                    for name, seen in self._files.scan(path)
                    if not is_ignored_name(name) and (child := f"{path}/{name}") != output
                )
        return found

    def _stat(self, path: Path) -> Stat | None:
        # What cannot be looked at counts as absent: once it can be, it differs.
        try:
            return self._files.stat(path)
        except OSError:
            return None

    def _file(self, path: str, standing: Stat, now: float) -> _Known:
        seen = self._seen.get(path)
        if seen is not None:
            return seen
        known = self._known.get(path)
        if known is None or known.signature != standing.signature:
            where = Path(path) if known is None else known.path
            try:
                digest = self._files.digest(where)
            except OSError as error:
                digest = f"unreadable: {error.strerror}"
            # A file that changed just now can change again within the same tick of its clock: it is read again next time.
            fresh = abs(now - standing.changed) < _TOO_FRESH
            known = _Known(where, () if fresh else standing.signature, digest)
        self._seen[path] = known
        return known
