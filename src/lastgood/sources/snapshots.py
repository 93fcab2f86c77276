"""Snapshots of what is watched: every regular file below the watched roots, with the digest of its bytes.

There may be thousands of roots, and most of them are paths at which nothing is. So a reading lists each directory that they lie
in once, and examines what is there. What has not changed is the same object in one snapshot as in the one before.

A reading is of everything (:meth:`Reader.read`), of what is watched in addition (:meth:`Reader.extend`), or of files that the
system has named (:meth:`Reader.glance`).
"""

from __future__ import annotations

import operator
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from msgspec import Struct, field

from lastgood.planner.watch_set import Snapshot, WatchSet, is_ignored_name
from lastgood.sources.contents import Content, Contents
from lastgood.sources.links import Links, Way, digest_of_link
from lastgood.sources.listings import Listings
from lastgood.store.file_system import Stat

__all__ = ["Linked", "Reader", "Reading"]

_NOTHING: Mapping[Path, str] = {}
_LINK = "bare link"  # the kind of a root that counts by its text alone


class Linked(Struct, frozen=True):
    """Directories that links below the watched roots lead through: ``trees`` are read whole, ``alone`` hold a link or a file."""

    trees: AbstractSet[str] = frozenset()
    alone: AbstractSet[str] = frozenset()

    def union(self, other: Linked) -> Linked:
        """Return the directories of both."""
        return Linked(self.trees | other.trees, self.alone | other.alone)


class _Tree(Struct, frozen=True):
    """A directory below a root, as of one listing: the ``files`` in it that count, and what else is to be looked at."""

    names: Mapping[str, str]
    files: tuple[str, ...]
    directories: tuple[str, ...]
    links: tuple[str, ...]


class Reading(Struct, frozen=True):
    """The findings of a reading of ``watch``, for the next one to go on from.

    ``present``: the roots at which something may be, with their kinds; ``found``: what was there. ``seen``: the files.
    """

    watch: WatchSet
    listings: Listings
    linked: Linked = Linked()
    snapshot: Snapshot = field(default_factory=dict)
    present: Sequence[tuple[Path, str]] = ()
    found: Sequence[Mapping[Path, str]] = ()
    trees: Mapping[tuple[str, str], _Tree] = field(default_factory=dict)
    seen: Mapping[str, Content] = field(default_factory=dict)

    def kept_by(self, watch: WatchSet) -> frozenset[Path]:
        """Return the roots that ``watch`` would have read in the same way."""
        before, now = self.watch, watch
        kinds = (({*before.paths}, {*now.paths}), ({*before.bare_links}, {*now.bare_links}))
        return frozenset(root for root in before.roots if all((root in a) == (root in b) for a, b in kinds))


class Reader:
    """Takes snapshots. Not thread-safe: one reading at a time."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self.last = Reading(WatchSet(()), Listings(contents.files))
        """The last reading, but for glances."""

    @property
    def linked(self) -> Linked:
        """The targets of the links that were met at the last reading."""
        return self.last.linked

    def read(self, watch: WatchSet) -> Snapshot:
        """Read everything below each root of ``watch``.

        A file that cannot be read is listed with the reason in place of a digest, so it differs once it can be read.
        """
        last = self.last
        known, is_same = last if watch.counts_as(last.watch) else None, watch is last.watch
        listings = last.listings.renewed() if is_same else Listings(self._contents.files)
        present, before, snapshot = last.present, last.found, last.snapshot
        if listings is not last.listings:
            present = list(_present(watch, listings))
            before = [last.snapshot.get(root, _NOTHING) for root, _ in present]
            snapshot = {
                **dict.fromkeys(watch.roots, _NOTHING),
                **dict(zip((root for root, _ in present), before, strict=True)),
            }
            if is_same and all(map(operator.is_, snapshot.values(), last.snapshot.values())):
                snapshot = last.snapshot
        reading = _Reading(self._contents, watch, listings, known)
        found = [reading.root(*each, last) for each, last in zip(present, before, strict=True)]
        changed = {
            root: files for (root, _), files, last in zip(present, found, before, strict=True) if files is not last
        }
        snapshot = {**snapshot, **changed} if changed else snapshot
        return self._taken(
            Reading(watch, listings, reading.linked, snapshot, present, found, reading.trees, reading.seen)
        )

    def extend(self, watch: WatchSet, base: Reading) -> Snapshot:
        """Read what ``watch`` has in addition to ``base``, all of which is watched since before that reading."""
        if not (base.watch.counts_as(watch) and watch.includes(base.watch)):
            return self.read(watch)
        listings, kept = base.listings.copy(), base.kept_by(watch)
        present = list(_present(watch, listings))
        known = dict(zip((root for root, _ in base.present), base.found, strict=True))
        reading = _Reading(self._contents, watch, listings, base)
        found = [
            known[root] if root in kept and root in known else reading.root(root, kind, _NOTHING)
            for root, kind in present
        ]
        snapshot = {
            **dict.fromkeys(watch.roots, _NOTHING),
            **dict(zip((root for root, _ in present), found, strict=True)),
        }
        return self._taken(
            Reading(
                watch,
                listings,
                base.linked.union(reading.linked),
                snapshot,
                present,
                found,
                {**base.trees, **reading.trees},
                {**base.seen, **reading.seen},
            )
        )

    def _taken(self, reading: Reading) -> Snapshot:
        self.last = reading
        self._contents.retain({**reading.seen})
        self._contents.listed = reading.listings.of_all()
        return reading.snapshot

    def glance(self, watch: WatchSet, paths: Collection[str]) -> Snapshot | None:
        """Read those files again that the system has named, by the ``paths`` of all entries of directories that have changed.

        Return the roots of ``watch`` in which they are; None if everything is to be read: if one of the entries may be anything
        but a file that was read before and still is one.
        """
        last = self.last
        if not (watch is last.watch or (watch.counts_as(last.watch) and last.watch.includes(watch))):
            return None
        files: dict[Path, str] = {}
        directories = {os.path.dirname(path) for path in paths}
        if any(str(self._contents.files.real_path(Path(each))) != each for each in directories):
            return None  # the system may name a directory by a link to it
        for path in paths:
            content = self._contents.look_again(path)
            if content is not None:
                files[content.path] = content.digest
            elif path in last.seen or last.linked != Linked() or watch.links or watch.concerns(path):
                return None  # by a link, it may be at or above a root as well
        if last.linked == Linked() and not watch.links:  # each lies below the roots that have it
            roots: Collection[Path] = {*files, *(above for path in files for above in path.parents)}
        else:
            roots = last.snapshot
        among = {
            root: found for root in roots if (found := last.snapshot.get(root)) and not found.keys().isdisjoint(files)
        }
        if watch is not last.watch:
            among = {root: among[root] for root in among.keys() & {*watch.roots}} if among else among
        # What a stage has read since then is newer than the last snapshot.
        return {
            root: {path: self._contents.digest(path) or digest for path, digest in found.items()}
            for root, found in among.items()
        }


def _present(watch: WatchSet, listings: Listings) -> Iterator[tuple[Path, str]]:
    """Yield each root at which something may be, with its kind; "" if that is not known."""
    for directory, roots in watch.by_directory.items():
        names = listings.names(directory)
        if not names and not listings.is_directory(directory):
            continue
        for name in roots.keys() & names.keys() if names else roots:
            yield roots[name], names.get(name, "")
        # A file system may know a name in another spelling than its listing. Candidates are spelt as listings are.
        for name in roots.keys() - names.keys() if names else ():
            if roots[name] in watch.named:
                yield roots[name], ""
    for link in watch.bare_links:
        yield link, _LINK


class _Reading:
    """One reading, under way. ``seen``: the files that were looked at. ``last``: the last one, if the same files counted then."""

    def __init__(self, contents: Contents, watch: WatchSet, listings: Listings, last: Reading | None) -> None:
        self.seen: dict[str, Content] = {}
        self.trees: dict[tuple[str, str], _Tree] = {}
        self._contents = contents
        self._files = contents.files
        self._watch = watch
        self._output = None if watch.output is None else str(watch.output)
        self._known = {} if last is None else last.trees
        self._seen_before = {} if last is None else last.seen
        self._listings = listings
        self._linked_trees: set[str] = set()
        self._linked_alone: set[str] = set()
        self._links = Links(contents.files.read_link)

    @property
    def linked(self) -> Linked:
        """The targets of the links that were met."""
        return Linked(self._linked_trees, self._linked_alone)

    def root(self, root: Path, kind: str, last: Mapping[Path, str]) -> Mapping[Path, str]:
        """Read everything at or below ``root``. Return ``last``, the result of the last time, if it is the same."""
        found: Mapping[Path, str] | None
        if kind == "file" and last:
            before = self._seen_before.get(path := str(root))
            if before is not None and self._contents.is_still(before, path):
                self.seen[path] = before
                return last
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
            is_elsewhere = is_directory and path == top and root not in self._watch.named
            if is_elsewhere or (status is not None and status.kind == "file" and not is_taken):
                return None
            path = way.real
        if status is None:
            return None
        if status.kind == "file" and (is_linked or rules.takes(top, path)):
            self._add(path, found)
        return path if status.kind == "directory" else None

    def _note_way(self, way: Way, *, is_directory: bool) -> None:
        self._linked_alone.update(map(os.path.dirname, (*way.links, way.real)))
        if is_directory:
            self._linked_trees.add(way.real)

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
