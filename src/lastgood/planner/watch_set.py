"""What is watched, what in it is ignored, and what an edit is (contract §6). Pure: paths here are only names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import translate
from pathlib import Path

__all__ = ["Snapshot", "WatchSet", "among", "differing", "is_ignored_name", "merge", "overlay", "restrict"]

Snapshot = Mapping[Path, Mapping[Path, str]]
"""What a reading found: for each watched root, every regular file at or below it, with the digest of its bytes."""

IGNORED_NAMES = frozenset({"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".git", ".lastgood"})

# Vim, Emacs, JetBrains, Kate, gedit, VS Code and the usual names for a file on its way to replace another.
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
    """What one cycle wants watched.

    ``paths`` are what the user is told, sorted; ``candidates`` are paths whose appearance would change where a module is
    found, in the order of their texts, which is told many times faster; ``output`` is the directory of the wrappers, ignored
    wherever it lies inside a watched root.
    """

    paths: tuple[Path, ...]
    candidates: tuple[Path, ...] = ()
    output: Path | None = None

    @property
    def roots(self) -> tuple[Path, ...]:
        """Everything to be read, in the order of the texts, each path once."""
        return tuple(sorted({*self.paths, *self.candidates}, key=str))

    def besides(self, paths: Iterable[Path]) -> WatchSet:
        """This, and ``paths`` as far as they lie in none of its own."""
        fresh = _outside(paths, self.paths)
        return replace(self, paths=tuple(sorted({*self.paths, *fresh}))) if fresh else self

    def lacking(self, paths: Iterable[Path]) -> tuple[Path, ...]:
        """Those of ``paths``, sorted, that are not read with it."""
        return tuple(sorted(_outside(paths, (*self.paths, *self.candidates))))

    def union(self, other: WatchSet | None) -> WatchSet:
        """Both, for as long as it is not known which will stay; the output is this one's."""
        if other is None:
            return self
        return WatchSet(
            tuple(sorted({*self.paths, *other.paths})),
            tuple(sorted({*self.candidates, *other.candidates}, key=str)),
            self.output,
        )


def _outside(paths: Iterable[Path], roots: Iterable[Path]) -> set[Path]:
    """Those of ``paths`` that are, and lie in, none of ``roots``. There may be thousands of either."""
    known = dict.fromkeys(roots, True)

    def is_inside(path: Path) -> bool:
        inside = known.get(path)
        if inside is None:
            above = path.parent
            inside = known[path] = above != path and is_inside(above)
        return inside

    return {path for path in paths if not is_inside(path)}


def is_ignored_name(name: str) -> bool:
    """Whether a file or directory of this name, below a watched root, is a cache, or an editor's on the way to a save."""
    return name in IGNORED_NAMES or _EDITORS.fullmatch(name) is not None


def differing(before: Snapshot, after: Snapshot) -> frozenset[Path]:
    """The files whose bytes differ between two readings, in the roots that both have read."""
    changed: set[Path] = set()
    for root, files in after.items():
        known = before.get(root)
        if known is None or known == files:
            continue
        changed.update(path for path in {*known, *files} if known.get(path) != files.get(path))
    return frozenset(changed)


def among(paths: Iterable[Path], known: Snapshot) -> frozenset[Path]:
    """Those of ``paths`` that ``known`` has bytes of."""
    return frozenset(path for path in paths if any(path in files for files in known.values()))


def merge(known: Snapshot, fresh: Snapshot) -> Snapshot:
    """``known``, with the roots of ``fresh`` that it does not have yet."""
    return {**fresh, **known}


def overlay(known: Snapshot, used: Mapping[Path, str]) -> Snapshot:
    """``known``, with the digests in ``used`` for the files that it has."""
    return {
        root: {path: used.get(path, digest) for path, digest in files.items()} if used.keys() & files.keys() else files
        for root, files in known.items()
    }


def restrict(known: Snapshot, roots: Iterable[Path]) -> Snapshot:
    """``known``, as far as it is about ``roots``."""
    return {root: known[root] for root in roots if root in known}
