"""Snapshots of what is watched: every regular file below the watched roots, with the digest of its bytes."""

from __future__ import annotations

from pathlib import Path

from lastgood.planner.watch_set import Rules, Snapshot, WatchSet, is_ignored_name
from lastgood.sources.contents import Content, Contents
from lastgood.store.file_system import Stat

__all__ = ["Reader"]


class Reader:
    """Takes snapshots. Not thread-safe: one reading at a time."""

    def __init__(self, contents: Contents) -> None:
        self._files = contents.files
        self._contents = contents

    def read(self, watch: WatchSet) -> Snapshot:
        """Read everything below each root of ``watch``.

        A file that cannot be read is listed with the reason in place of a digest, so it differs once it can be read.
        """
        output = None if watch.output is None else str(watch.output)
        seen: dict[str, Content] = {}
        snapshot = {root: self._root(str(root), output, watch.rules, seen) for root in watch.roots}
        self._contents.retain(seen)
        return snapshot

    def _root(self, root: str, output: str | None, rules: Rules, seen: dict[str, Content]) -> dict[Path, str]:
        found: dict[Path, str] = {}
        visited: set[str] = set()
        status = self._stat(Path(root))
        left = [] if status is None else [(root, status)]
        while left:
            path, status = left.pop()
            is_linked = status.kind == "link"
            if is_linked:
                target = self._files.real_path(Path(path))
                behind = self._stat(target)
                if path != root and (behind is None or behind.kind == "directory" or rules.takes(root, path)):
                    # Its target may change without a change of any file's bytes.
                    found[Path(path)] = f"link to {target}"
                if behind is None or (behind.kind == "file" and not rules.takes(root, path)):
                    continue
                path, status = str(target), behind
            if status.kind == "file" and (is_linked or rules.takes(root, path)):
                content = seen.get(path)
                if content is None:
                    content = seen[path] = self._contents.look(path, status)
                found[content.path] = content.digest
            elif status.kind == "directory" and path not in visited:
                visited.add(path)
                left.extend(
                    (child, standing)
                    for name, standing in self._files.scan(path)
                    if not is_ignored_name(name)
                    and (child := f"{path}/{name}") != output
                    and not (standing.kind == "directory" and rules.ignores(root, child))
                )
        return found

    def _stat(self, path: Path) -> Stat | None:
        # A path that cannot be examined counts as absent, so it differs once it can be.
        try:
            return self._files.stat(path)
        except OSError:
            return None
