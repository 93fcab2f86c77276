"""Watch sets, ignored names, and snapshots of file digests. Pure: nothing here touches the file system."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import translate
from pathlib import Path

__all__ = ["Snapshot", "WatchSet", "among", "differing", "is_ignored_name", "merge", "overlay", "restrict"]

Snapshot = Mapping[Path, Mapping[Path, str]]
"""The result of a reading: for each watched root, every regular file at or below it, with the digest of its bytes."""

IGNORED_NAMES = frozenset({"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".git", ".lastgood"})

# Temporary and backup files of Vim, Emacs, JetBrains, Kate, gedit, VS Code, and usual names of files that replace another.
EDITOR_PATTERNS = (
    "*~",
    ".*.sw?",
    ".*.sw?x",
    "4913",
    ".#*",
    "#*#",
    "*___jb_tmp___",
    "*___jb_old___",
    "*.kate-swp",
    ".goutputstream-*",
    "*.tmp",
    "*.tmp.*",
    "*.bak",
    ".DS_Store",
)

_EDITORS = re.compile("|".join(translate(pattern) for pattern in EDITOR_PATTERNS))


@dataclass(frozen=True, slots=True)
class WatchSet:
    """The paths that a cycle needs watched.

    ``paths``, sorted, are those reported to the user. ``candidates`` are paths at which a new file would change where a module
    is found; they are sorted as text, because comparing ``Path`` objects is many times slower. ``output`` is the directory of
    the wrappers, which is ignored inside a watched root.
    """

    paths: tuple[Path, ...]
    candidates: tuple[Path, ...] = ()
    output: Path | None = None

    @property
    def roots(self) -> tuple[Path, ...]:
        """All paths to read, sorted as text, without duplicates."""
        return tuple(sorted({*self.paths, *self.candidates}, key=str))

    def with_paths(self, paths: Iterable[Path]) -> WatchSet:
        """Return a set that also has those of ``paths`` that lie outside of its own paths."""
        fresh = _outside(paths, self.paths)
        return replace(self, paths=tuple(sorted({*self.paths, *fresh}))) if fresh else self

    def uncovered(self, paths: Iterable[Path]) -> tuple[Path, ...]:
        """Return those of ``paths``, sorted, that lie outside of everything this set reads."""
        return tuple(sorted(_outside(paths, (*self.paths, *self.candidates))))

    def union(self, other: WatchSet | None) -> WatchSet:
        """Return a set with the paths of both, to be watched until one is committed; the output is this one's."""
        if other is None:
            return self
        return WatchSet(
            tuple(sorted({*self.paths, *other.paths})),
            tuple(sorted({*self.candidates, *other.candidates}, key=str)),
            self.output,
        )


def _outside(paths: Iterable[Path], roots: Iterable[Path]) -> set[Path]:
    """Return those of ``paths`` that neither are nor lie below one of ``roots``. There may be thousands of either."""
    known = dict.fromkeys(roots, True)

    def is_inside(path: Path) -> bool:
        inside = known.get(path)
        if inside is None:
            above = path.parent
            inside = known[path] = above != path and is_inside(above)
        return inside

    return {path for path in paths if not is_inside(path)}


def is_ignored_name(name: str) -> bool:
    """Return whether a file or directory of this name below a watched root is a cache or an editor's temporary file."""
    return name in IGNORED_NAMES or _EDITORS.fullmatch(name) is not None


def differing(before: Snapshot, after: Snapshot) -> frozenset[Path]:
    """Return the files whose bytes differ between two readings, in the roots that both contain."""
    changed: set[Path] = set()
    for root, files in after.items():
        known = before.get(root)
        if known is None or known == files:
            continue
        changed.update(path for path in {*known, *files} if known.get(path) != files.get(path))
    return frozenset(changed)


def among(paths: Iterable[Path], known: Snapshot) -> frozenset[Path]:
    """Return those of ``paths`` that occur in ``known``."""
    return frozenset(path for path in paths if any(path in files for files in known.values()))


def merge(known: Snapshot, fresh: Snapshot) -> Snapshot:
    """Return ``known`` plus the roots of ``fresh`` that it lacks."""
    return {**fresh, **known}


def overlay(known: Snapshot, used: Mapping[Path, str]) -> Snapshot:
    """Return ``known`` with the digests of its files replaced by those in ``used``."""
    return {
        root: {path: used.get(path, digest) for path, digest in files.items()} if used.keys() & files.keys() else files
        for root, files in known.items()
    }


def restrict(known: Snapshot, roots: Iterable[Path]) -> Snapshot:
    """Return the part of ``known`` that belongs to ``roots``."""
    return {root: known[root] for root in roots if root in known}
