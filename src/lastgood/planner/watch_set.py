"""Watch sets, ignored names, and snapshots of file digests. Pure: nothing here touches the file system."""

from __future__ import annotations

import operator
import re
from collections.abc import Collection, Iterable, Mapping
from fnmatch import translate
from functools import cached_property, lru_cache
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

__all__ = [
    "Rules",
    "Snapshot",
    "WatchSet",
    "among",
    "differing",
    "is_ignored_name",
    "merge",
    "overlay",
    "restrict",
    "update",
]

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

_TOKEN = re.compile(r"\[!?[^]]+\]|.", re.DOTALL)
_EDITORS = re.compile("|".join(translate(pattern) for pattern in EDITOR_PATTERNS))


IMPORTABLE = (".py", ".pyi", ".so", ".pyd")
"""The ends of the names of files that Python can import, or that say what one offers."""


class Rules(Struct, frozen=True):
    """The files of the watched roots that count: those for which :meth:`takes` is true.

    In the package trees below ``trees`` what can be imported counts, and what one of the globs ``include`` names; below ``others``
    only the latter does, and elsewhere everything. What one of the globs ``ignore`` names never counts. A glob without ``/`` is
    for names at any depth; another one is relative to ``base`` or to the root. ``**`` stands for any number of directories, and a
    directory for all in it.
    """

    base: str = ""
    trees: frozenset[str] = frozenset()
    include: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    others: frozenset[str] = frozenset()

    def takes(self, root: str, path: str) -> bool:
        """Return whether the file ``path`` at or below ``root`` counts. All paths are absolute."""
        if self.ignores(root, path):
            return False
        counts = path.endswith(IMPORTABLE) if root in self.trees else root not in self.others
        return counts or (bool(self.include) and _matches(self.include, self.base, root, path))

    def ignores(self, root: str, path: str) -> bool:
        """Return whether the file or directory ``path`` at or below ``root`` is to be ignored."""
        return bool(self.ignore) and _matches(self.ignore, self.base, root, path)

    def union(self, other: Rules) -> Rules:
        """Return these rules with the directories of both; all of ``other`` if these are of no config."""
        return replace(self if self.base else other, trees=self.trees | other.trees, others=self.others | other.others)


def _matches(globs: tuple[str, ...], base: str, root: str, path: str) -> bool:
    pattern = _pattern(globs)
    return any(
        pattern.fullmatch(path[len(above) + 1 :]) is not None for above in (base, root) if path.startswith(f"{above}/")
    )


@lru_cache(maxsize=64)
def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(_translated, globs)) or r"(?!)", re.DOTALL)


def _translated(glob: str) -> str:
    """Return the regular expression of the paths that ``glob`` names, and of all below them."""
    steps = glob.strip("/").split("/")
    if "/" not in glob.rstrip("/"):
        steps.insert(0, "**")
    below = steps[-1] == "**"
    parts = [
        "(?:[^/]+/)*" if step == "**" else f"{_TOKEN.sub(_token, step)}/" for step in (steps[:-1] if below else steps)
    ]
    return "".join(parts) + ".+" if below else "".join(parts).removesuffix("/") + "(?:/.*)?"


def _token(found: re.Match[str]) -> str:
    match found[0]:
        case "*":
            return "[^/]*"
        case "?":
            return "[^/]"
        case text if len(text) > 1:
            inside = text[1:-1].replace("\\", r"\\")
            return f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
        case text:
            return re.escape(text)


class WatchSet(Struct, frozen=True, dict=True):
    """The paths that a cycle needs watched.

    ``paths``, sorted, are those reported to the user. ``candidates`` are paths at which a new file would change where a module
    is found; they are sorted as text, because comparing ``Path`` objects is many times slower. ``output`` is the directory of
    the wrappers, which is ignored inside a watched root. ``rules`` say which files below the roots count.
    ``links``, sorted as text, are symbolic links on the way to the others; each counts by its text. ``poll``: the seconds between
    two readings, instead of the system's notification; 0: the system notifies.
    """

    paths: tuple[Path, ...]
    candidates: tuple[Path, ...] = ()
    output: Path | None = None
    rules: Rules = Rules()
    links: tuple[Path, ...] = ()
    poll: float = 0.0

    @cached_property
    def roots(self) -> tuple[Path, ...]:
        """All paths to read, sorted as text, without duplicates."""
        return tuple(sorted({*self.paths, *self.candidates, *self.links}, key=str))

    @cached_property
    def named(self) -> frozenset[Path]:
        """The ``paths``."""
        return frozenset(self.paths)

    @cached_property
    def bare_links(self) -> tuple[Path, ...]:
        """Those of ``links`` that are neither paths nor candidates."""
        return tuple(sorted({*self.links} - {*self.paths, *self.candidates}, key=str))

    @cached_property
    def by_directory(self) -> Mapping[str, Mapping[str, Path]]:
        """The roots by the directory that they lie in, and by their names there. Directories come before those in them.

        The ``bare_links`` are left out: they may lie in any directory, however large it is.
        """
        found: dict[str, dict[str, Path]] = {}
        bare = frozenset(self.bare_links)
        for root in self.roots:
            if root in bare:
                continue
            found.setdefault(str(root.parent), {})[root.name] = root
        return dict(sorted(found.items()))

    @cached_property
    def _above(self) -> frozenset[str]:
        """The directories above all roots."""
        found: set[str] = set()
        for root in self.roots:
            for above in map(str, root.parents):
                if above in found:
                    break
                found.add(above)
        return frozenset(found)

    @cached_property
    def _texts(self) -> frozenset[str]:
        return frozenset(map(str, self.roots))

    def concerns(self, path: str) -> bool:
        """Return whether a new or changed entry of a directory, the absolute ``path``, may be a difference between two readings.

        It is not if it lies outside of all roots and above none, or below a name that is ignored.
        """
        if path in self._above:
            return True
        output, place = None if self.output is None else str(self.output), path
        while place and place not in self._texts:
            above, _, name = place.rpartition("/")
            if place == output or is_ignored_name(name):
                return False
            place = above
        return bool(place) or "/" in self._texts

    def includes(self, other: WatchSet) -> bool:
        """Return whether all roots of ``other`` are roots of this set."""
        return self is other or set(other.roots) <= set(self.roots)

    def counts_as(self, other: WatchSet) -> bool:
        """Return whether the same files below a root count as with ``other``."""
        return self is other or (self.output == other.output and self.rules == other.rules)

    def with_paths(self, paths: Collection[Path]) -> WatchSet:
        """Return a set that also has those of ``paths``, which are modules, that lie outside of its own paths."""
        fresh = _outside(paths, self._whole(self.paths)) if paths else ()
        return replace(self, paths=tuple(sorted({*self.paths, *fresh}))) if fresh else self

    def uncovered(self, paths: Iterable[Path]) -> tuple[Path, ...]:
        """Return those of ``paths``, sorted, that lie outside of everything this set reads."""
        return tuple(sorted(_outside(paths, self._whole((*self.paths, *self.candidates)))))

    def _whole(self, roots: Iterable[Path]) -> Iterable[Path]:
        """Return those of ``roots`` below which a module counts; below the others only what ``include`` names does."""
        others = self.rules.others
        return (root for root in roots if str(root) not in others) if others else roots

    def union(self, other: WatchSet | None) -> WatchSet:
        """Return a set with the paths of both, to be watched until one is committed; the output is this one's.

        The system notifies unless neither wants it to.
        """
        if other is None or self._has_all(other):
            return self
        return WatchSet(
            tuple(sorted({*self.paths, *other.paths})),
            tuple(sorted({*self.candidates, *other.candidates}, key=str)),
            self.output,
            self.rules.union(other.rules),
            tuple(sorted({*self.links, *other.links}, key=str)),
            min(self.poll, other.poll),
        )

    def _has_all(self, other: WatchSet) -> bool:
        pairs = ((self.paths, other.paths), (self.candidates, other.candidates), (self.links, other.links))
        return (
            self.poll <= other.poll
            and self.rules.union(other.rules) == self.rules
            and all({*own}.issuperset(others) for own, others in pairs)
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


@lru_cache(maxsize=1 << 12)  # the same few names, again and again
def is_ignored_name(name: str) -> bool:
    """Return whether a file or directory of this name below a watched root is a cache or an editor's temporary file."""
    return name in IGNORED_NAMES or _EDITORS.fullmatch(name) is not None


# A snapshot has thousands of roots, and hashing a path is slow. What has not changed is the same object from one snapshot to the
# next, and the functions below keep it so.


def differing(before: Snapshot, after: Snapshot) -> frozenset[Path]:
    """Return the files whose bytes differ between two readings, in the roots that both contain."""
    if before is after:
        return frozenset()
    changed: set[Path] = set()
    for known, files in _pairs(before, after):
        if known is not files and known != files:
            changed.update(path for path in {*known, *files} if known.get(path) != files.get(path))
    return frozenset(changed)


def _pairs(before: Snapshot, after: Snapshot) -> Iterable[tuple[Mapping[Path, str], Mapping[Path, str]]]:
    if _are_same(before, after):
        return zip(before.values(), after.values(), strict=True)
    return ((known, files) for root, files in after.items() if (known := before.get(root)) is not None)


def _are_same(paths: Collection[Path], others: Collection[Path]) -> bool:
    return len(paths) == len(others) and all(map(operator.is_, paths, others))


def among(paths: Iterable[Path], known: Snapshot) -> frozenset[Path]:
    """Return those of ``paths`` that occur in ``known``."""
    return frozenset(path for path in paths if any(path in files for files in known.values() if files))


def merge(known: Snapshot, fresh: Snapshot) -> Snapshot:
    """Return ``known`` plus the roots of ``fresh`` that it lacks."""
    return {**fresh, **known} if fresh else known


def update(known: Snapshot, fresh: Snapshot) -> Snapshot:
    """Return ``known`` with the roots of ``fresh`` in place of its own, and those that it lacks."""
    return fresh if _are_same(known, fresh) else {**known, **fresh}


def overlay(known: Snapshot, used: Mapping[Path, str]) -> Snapshot:
    """Return ``known`` with the digests of its files replaced by those in ``used``."""
    changed: dict[Path, Mapping[Path, str]] = {}
    # There may be thousands of roots with a file each, and roots with thousands of files.
    for root, files in known.items() if used else ():
        if len(files) <= len(used):
            others = {path: used[path] for path, digest in files.items() if used.get(path, digest) != digest}
        else:
            others = {path: used[path] for path in used.keys() & files.keys() if used[path] != files[path]}
        if others:
            changed[root] = {**files, **others}
    return {**known, **changed} if changed else known


def restrict(known: Snapshot, roots: Collection[Path]) -> Snapshot:
    """Return the part of ``known`` that belongs to ``roots``."""
    return known if _are_same(known, roots) else {root: known[root] for root in roots if root in known}
