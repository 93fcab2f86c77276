"""Snapshots of what is watched: every regular file below the watched roots, with the digest of its bytes.

A file is only read again if its stat signature changed, or if its times are so close to the previous reading that a later
change may not show in them (git's index does the same, under the name "racy").
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lastgood.planner.watch_set import Snapshot, WatchSet, is_ignored_name
from lastgood.store.file_system import FileSystem, Stat

__all__ = ["Reader"]

# The resolution of timestamps may be as coarse as two seconds (FAT); usually it is a few milliseconds.
_TOO_FRESH = 2.0


@dataclass(frozen=True, slots=True)
class _Known:
    """A file as it was read. The path is stored because creating one costs more than the system calls."""

    path: Path
    signature: tuple[int, ...]
    digest: str


class Reader:
    """Takes snapshots, and remembers digests from one to the next. Not thread-safe: one reading at a time."""

    def __init__(self, files: FileSystem) -> None:
        self._files = files
        # No Memo: this is how the state of a file is found out, which is what the answers of a Memo depend on.
        self._known: dict[str, _Known] = {}
        self._seen: dict[str, _Known] = {}

    def read(self, watch: WatchSet, now: float) -> Snapshot:
        """Read everything below each root of ``watch``; ``now`` is the time in seconds since the epoch.

        A file that cannot be read is listed with the reason in place of a digest, so it differs once it can be read.
        """
        output = None if watch.output is None else str(watch.output)
        snapshot = {root: self._root(str(root), output, now) for root in watch.roots}
        self._known, self._seen = self._seen, {}
        return snapshot

    def _root(self, root: str, output: str | None, now: float) -> dict[Path, str]:
        found: dict[Path, str] = {}
        visited: set[str] = set()
        status = self._stat(Path(root))
        left = [] if status is None else [(root, status)]
        while left:
            path, status = left.pop()
            if status.kind == "link":
                target = self._files.real_path(Path(path))
                if path != root:
                    found[Path(path)] = (
                        f"link to {target}"  # its target may change without a change of any file's bytes
                    )
                behind = self._stat(target)
                if behind is None:
                    continue
                path, status = str(target), behind
            if status.kind == "file":
                known = self._file(path, status, now)
                found[known.path] = known.digest
            elif status.kind == "directory" and path not in visited:
                visited.add(path)
                left.extend(
                    (child, seen)
                    for name, seen in self._files.scan(path)
                    if not is_ignored_name(name) and (child := f"{path}/{name}") != output
                )
        return found

    def _stat(self, path: Path) -> Stat | None:
        # A path that cannot be examined counts as absent, so it differs once it can be.
        try:
            return self._files.stat(path)
        except OSError:
            return None

    def _file(self, path: str, status: Stat, now: float) -> _Known:
        seen = self._seen.get(path)
        if seen is not None:
            return seen
        known = self._known.get(path)
        if known is None or known.signature != status.signature:
            where = Path(path) if known is None else known.path
            try:
                digest = self._files.digest(where)
            except OSError as error:
                digest = f"unreadable: {error.strerror}"
            # A file that changed just now may change again without a new timestamp, so it is read again next time.
            fresh = abs(now - status.changed) < _TOO_FRESH
            known = _Known(where, () if fresh else status.signature, digest)
        self._seen[path] = known
        return known
