"""Snapshots of what is watched: every regular file below the watched roots, with the digest of its bytes.

There may be thousands of roots, and most of them are paths at which nothing is. So a reading lists each directory that they lie
in once, and examines what is there. What has not changed is the same object in one snapshot as in the one before.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from lastgood.planner.watch_set import Snapshot, WatchSet, is_ignored_name
from lastgood.sources.contents import Content, Contents
from lastgood.sources.links import Links, Way, digest_of_link
from lastgood.sources.listings import Listings
from lastgood.store.file_system import Stat

__all__ = ["Linked", "Reader"]

_NOTHING: Mapping[Path, str] = {}
_LINK = "bare link"  # the kind of a root that counts by its text alone


@dataclass(frozen=True, slots=True)
class Linked:
    """Directories that links below the watched roots lead through: ``trees`` are read whole, ``alone`` hold a link or a file."""

    trees: AbstractSet[str] = frozenset()
    alone: AbstractSet[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Tree:
    """A directory below a root, as of one listing: the ``files`` in it that count, and what else is to be looked at."""

    names: Mapping[str, str]
    files: tuple[str, ...]
    directories: tuple[str, ...]
    links: tuple[str, ...]


class Reader:
    """Takes snapshots. Not thread-safe: one reading at a time."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self.linked = Linked()
        """What the links led to that were met at the last reading."""
        self._watch = WatchSet(())
        self._listings = Listings(contents.files)
        self._present: list[tuple[Path, str]] = []
        self._found: list[Mapping[Path, str]] = []  # what was there
        self._trees: dict[tuple[str, str], _Tree] = {}
        self._snapshot: dict[Path, Mapping[Path, str]] = {}

    def read(self, watch: WatchSet) -> Snapshot:
        """Read everything below each root of ``watch``.

        A file that cannot be read is listed with the reason in place of a digest, so it differs once it can be read.
        """
        known, is_same = self._trees if watch.counts_as(self._watch) else {}, watch is self._watch
        listings = self._listings.renewed() if is_same else Listings(self._contents.files)
        if listings is not self._listings:
            self._listings = listings
            self._present = list(_present(watch, self._listings))
            before, self._snapshot = self._snapshot, dict.fromkeys(watch.roots, _NOTHING)
            self._found = [before.get(root, _NOTHING) for root, _ in self._present]
            self._snapshot.update(zip((root for root, _ in self._present), self._found, strict=True))
            if is_same and all(map(operator.is_, self._snapshot.values(), before.values())):
                self._snapshot = before
        reading = _Reading(self._contents, watch, self._listings, known)
        found = [reading.root(*each, last) for each, last in zip(self._present, self._found, strict=True)]
        changed = {
            root: files
            for (root, _), files, last in zip(self._present, found, self._found, strict=True)
            if files is not last
        }
        self._contents.retain(reading.seen)
        self.linked = Linked(reading.linked_trees, reading.linked_alone)
        self._watch, self._trees, self._found = watch, reading.trees, found
        if changed:
            self._snapshot = {**self._snapshot, **changed}
        return self._snapshot


def _present(watch: WatchSet, listings: Listings) -> Iterator[tuple[Path, str]]:
    """Yield each root at which something may be, with its kind; "" if that is not known."""
    named = frozenset(watch.paths)
    for directory, roots in watch.by_directory.items():
        names = listings.names(directory)
        if not names and not listings.is_directory(directory):
            continue
        for name in roots.keys() & names.keys() if names else roots:
            yield roots[name], names.get(name, "")
        # A file system may know a name in another spelling than its listing. Candidates are spelt as listings are.
        for name in roots.keys() - names.keys() if names else ():
            if roots[name] in named:
                yield roots[name], ""
    for link in watch.bare_links:
        yield link, _LINK


class _Reading:
    """One reading. ``seen``: the files that were looked at. ``known``: directories as of the last reading.

    ``linked_trees``, ``linked_alone``: as in :class:`Linked`.
    """

    def __init__(
        self, contents: Contents, watch: WatchSet, listings: Listings, known: Mapping[tuple[str, str], _Tree]
    ) -> None:
        self.seen: dict[str, Content] = {}
        self.trees: dict[tuple[str, str], _Tree] = {}
        self._contents = contents
        self._files = contents.files
        self._watch = watch
        self._output = None if watch.output is None else str(watch.output)
        self._known = known
        self._listings = listings
        self.linked_trees: set[str] = set()
        self.linked_alone: set[str] = set()
        self._links = Links(contents.files.read_link)
        self._paths = frozenset(watch.paths)

    def root(self, root: Path, kind: str, last: Mapping[Path, str]) -> Mapping[Path, str]:
        """Read everything at or below ``root``. Return ``last``, the result of the last time, if it is the same."""
        found: Mapping[Path, str] | None
        if kind == _LINK:
            text = self._files.read_link(str(root))
            found = {root: digest_of_link(text)} if text else _NOTHING
        else:
            found = self._file(root, last) if kind == "file" else None
        if found is None:
            found = self._tree_of(root)
        return last if found == last else found

    def _file(self, root: Path, last: Mapping[Path, str]) -> Mapping[Path, str] | None:
        path = str(root)
        content = self._look(path) if self._watch.rules.takes(path, path) else None
        if content is None:
            return None
        for known, digest in last.items():
            if len(last) == 1 and digest == content.digest and (known is content.path or known == content.path):
                return last
        return {content.path: content.digest}

    def _tree_of(self, root: Path) -> dict[Path, str]:
        top = str(root)
        found: dict[Path, str] = {}
        visited: set[str] = set()
        directories: list[str] = []
        others = [top]
        while directories or others:
            if directories:
                path = directories.pop()
            else:
                followed = self._follow(root, others.pop(), found)
                if followed is None:
                    continue
                path = followed
            if path in visited:
                continue
            visited.add(path)
            tree = self._tree(top, path)
            for file in tree.files:
                self._add(file, found)
            # What is listed as a directory is not examined by itself. There may be thousands.
            directories += tree.directories
            others += tree.links
        return found

    def _follow(self, root: Path, path: str, found: dict[Path, str]) -> str | None:
        """Read ``path``, which is ``root`` or a link, if it is a file. Return the directory that it is or leads to, if any."""
        top, rules = str(root), self._watch.rules
        status = self._stat(path)
        is_linked = status is not None and status.kind == "link"
        if is_linked:
            way = self._links.way(path)
            status = self._stat(way.real)
            is_directory, is_taken = status is not None and status.kind == "directory", rules.takes(top, path)
            if status is None or is_directory or is_taken:
                # It may come to lead elsewhere without a change of any file's bytes, and so may each that it leads to.
                found.update((Path(link), digest_of_link(text)) for link, text in way.links.items())
                self._note_way(way, is_directory=is_directory)
            # A directory with a link at a candidate is a root of its own.
            is_elsewhere = is_directory and path == top and root not in self._paths
            if is_elsewhere or (status is not None and status.kind == "file" and not is_taken):
                return None
            path = way.real
        if status is None:
            return None
        if status.kind == "file" and (is_linked or rules.takes(top, path)):
            self._add(path, found)
        return path if status.kind == "directory" else None

    def _note_way(self, way: Way, *, is_directory: bool) -> None:
        self.linked_alone.update(map(os.path.dirname, (*way.links, way.real)))
        if is_directory:
            self.linked_trees.add(way.real)

    def _add(self, path: str, found: dict[Path, str]) -> None:
        content = self._look(path)
        if content is not None:
            found[content.path] = content.digest

    def _look(self, path: str) -> Content | None:
        content = self.seen.get(path)
        if content is None:
            content = self._contents.look(path)
            if content is not None:
                self.seen[path] = content
        return content

    def _tree(self, root: str, directory: str) -> _Tree:
        names = self._listings.names(directory)
        tree = self._known.get((root, directory))
        if tree is None or tree.names != names:
            rules = self._watch.rules
            paths = {name: f"{directory}/{name}" for name in names if not is_ignored_name(name)}
            files = (path for name, path in paths.items() if names[name] == "file" and rules.takes(root, path))
            others = (
                path for name, path in paths.items() if names[name] == "directory" and not rules.ignores(root, path)
            )
            links = (path for name, path in paths.items() if names[name] == "link")
            output = self._output
            tree = _Tree(names, *(tuple(path for path in each if path != output) for each in (files, others, links)))
        self.trees[root, directory] = tree
        return tree

    def _stat(self, path: str) -> Stat | None:
        # A path that cannot be examined counts as absent, so it differs once it can be.
        try:
            return self._files.stat(Path(path))
        except OSError:
            return None
