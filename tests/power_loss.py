"""A file system in memory with a page cache: what no barrier has flushed can be lost, torn, or on the disk before the rest.

It is the weakest one that keeps its word: a barrier on a file covers its data and its mode, one on a directory the names in it
and its mode, and nothing else. Every other change of a name is on the disk or not, each by itself; a rename is so as a whole.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from lastgood.store.file_system import part_of
from lastgood.store.memory_files import MemoryFile, MemoryFiles

__all__ = ["Fate", "PageCache", "Tree", "left_by_power_losses", "power_losses", "tree_of"]

Tree = dict[str, tuple[bytes, int, float]]
"""Files with their bytes, modes and times, directories with their modes."""


@dataclass(frozen=True, slots=True)
class Names:
    """What a create, a link, a mkdir, an unlink, an rmdir or a rename makes of names: (directory, name, inode; None: removed)."""

    entries: tuple[tuple[int, str, int | None], ...]


@dataclass(frozen=True, slots=True)
class Data:
    """The bytes of a new file."""

    inode: int


@dataclass(frozen=True, slots=True)
class Mode:
    """A change of mode."""

    inode: int
    mode: int


@dataclass(frozen=True, slots=True)
class Flushed:
    """From here on these changes, by their numbers, are on the disk."""

    changes: frozenset[int]


Change = Names | Data | Mode | Flushed


def _nothing(_data: bytes) -> bytes:
    return b""


def _holes(data: bytes) -> bytes:
    return bytes(len(data))


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of the changes that nothing has flushed: which are ``kept``, and how the ``data`` of the others is torn."""

    name: str
    kept: Callable[[int, Change], bool]
    data: Callable[[bytes], bytes] = _nothing


class PageCache(MemoryFiles):
    """A file system that knows what a power failure could leave of it. Each change is made at a time of its own.

    ``barriers`` are those so far, by the number of changes before each. ``skips(number)`` says which of them do nothing.
    ``links=False``: it has no hard links, and copies as the disk does.
    """

    def __init__(self, *, links: bool = True) -> None:
        super().__init__(self._tick)
        self.time = 1_000_000.0
        self.changes: list[Change] = []
        self.barriers: list[int] = []
        self.skips: Callable[[int], bool] = lambda _number: False
        self.links = links
        self.secret = super().key()
        self._files: dict[int, MemoryFile] = {}
        self._directories: dict[Path, int] = {Path("/"): 0}

    def _tick(self) -> float:
        self.time += 10
        return self.time

    # --- the operations

    def key(self) -> bytes:
        return self.secret

    def put(self, path: Path, data: bytes) -> None:
        """Write a file that is on the disk at once."""
        made = [each for each in reversed(path.parents) if each not in self.directories]
        super().put(path, data)
        begun = len(self.changes)  # what is written here is on the disk as soon as it is written
        for directory in made:
            self._made(directory)
        self._written(path)
        self.changes.insert(begun, Flushed(frozenset(range(begun + 1, len(self.changes) + 1))))

    def write(self, path: Path, data: bytes) -> None:
        super().write(path, data)
        self._written(path)

    def replace(self, source: Path, target: Path) -> None:
        inode = self._inode(source)
        is_same = target in self.names and self._inode(target) == inode
        super().replace(source, target)
        if is_same:
            return
        if source in self._directories:
            self._directories.pop(target, None)
            moved = {
                target / path.relative_to(source) if path.is_relative_to(source) else path: number
                for path, number in self._directories.items()
            }
            self._directories.clear()  # the other processes have the same
            self._directories.update(moved)
        entries = (self._entry(source, None), self._entry(target, inode))
        self.changes.append(Names(entries))

    def link(self, source: Path, target: Path) -> None:
        if not self.links:
            self._copy(source, target)
            return
        super().link(source, target)
        self.changes.append(Names((self._entry(target, self._inode(source)),)))

    def _copy(self, source: Path, target: Path) -> None:
        part = part_of(target if ".lastgood" in target.parts else source)
        self.write(part, self.read(source))
        self.chmod(part, self._file(source).mode)
        self._file(part).mtime = self._files[self._inode(part)].mtime = self._file(source).mtime
        self.barrier((part,))
        self.write(target, b"")
        self.replace(part, target)

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self.changes.append(Names((self._entry(path, None),)))

    def mkdir(self, path: Path) -> None:
        super().mkdir(path)
        self._made(path)

    def rmdir(self, path: Path) -> None:
        super().rmdir(path)
        del self._directories[path]
        self.changes.append(Names((self._entry(path, None),)))

    def chmod(self, path: Path, mode: int) -> None:
        super().chmod(path, mode)
        self.changes.append(Mode(self._inode(path), mode))

    def barrier(self, paths: Sequence[Path]) -> None:
        super().barrier(paths)
        inodes = set() if self.skips(len(self.barriers)) else {self._inode(path) for path in paths}
        self.barriers.append(len(self.changes))
        covered = (at for at, change in enumerate(self.changes) if not _concerns(change).isdisjoint(inodes))
        self.changes.append(Flushed(frozenset(covered)))

    def _made(self, path: Path) -> None:
        self._directories[path] = next(self._numbers)
        self.changes.append(Names((self._entry(path, self._directories[path]),)))

    def _written(self, path: Path) -> None:
        found = self.names[path]
        self._files[found.number] = replace(found)
        self.changes += (Data(found.number), Names((self._entry(path, found.number),)))

    def _entry(self, path: Path, inode: int | None) -> tuple[int, str, int | None]:
        return self._directories[path.parent], path.name, inode

    def _inode(self, path: Path) -> int:
        return self._directories[path] if path in self._directories else self._file(path).number

    # --- what is left of it

    def flush(self) -> None:
        """Have everything on the disk."""
        self.changes.append(Flushed(frozenset(range(len(self.changes)))))

    def pending(self, at: int) -> list[int]:
        """Return the changes, of the first ``at``, that nothing has flushed by then."""
        flushed: set[int] = set()
        for change in self.changes[:at]:
            if isinstance(change, Flushed):
                flushed |= change.changes
        return [
            number
            for number, change in enumerate(self.changes[:at])
            if number not in flushed and not isinstance(change, Flushed)
        ]

    def after_power_failure(self, at: int, fate: Fate) -> PageCache:
        """Return the file system that is found when the power has failed after the first ``at`` changes."""
        left = self._rebuilt(at, fate)
        left.flush()
        return left

    def after_kill(self, at: int) -> PageCache:
        """Return the file system after the first ``at`` changes, of which as little is on the disk as then."""
        left = self._rebuilt(at, KEPT)
        left.changes = self.changes[:at]
        left._files = {number: replace(file) for number, file in self._files.items()}
        return left

    def _rebuilt(self, at: int, fate: Fate) -> PageCache:
        """Apply the changes that are kept to an empty disk. What no name leads to from the top is lost."""
        lost = {number for number in self.pending(at) if not fate.kept(number, self.changes[number])}
        names: dict[int, dict[str, int]] = {0: {}}
        files: dict[int, MemoryFile] = {}
        modes: dict[int, int] = {}
        for number, change in enumerate(self.changes[:at]):
            match change:
                case Data(inode):
                    files[inode] = replace(self._files[inode])
                    if number in lost:
                        files[inode].data = fate.data(files[inode].data)
                case Names(entries) if number not in lost:
                    for directory, name, child in entries:
                        there = names.setdefault(directory, {})
                        there.pop(name, None)
                        if child is not None:
                            there[name] = child
                case Mode(inode, mode) if number not in lost:
                    modes[inode] = mode
        left = PageCache(links=self.links)
        left.time, left.secret = self.time + 1000, self.secret
        left._take(Path("/"), 0, names, files, modes)
        left._numbers = itertools.count(next(self._numbers))  # no number means two things
        return left

    def _take(
        self,
        path: Path,
        inode: int,
        names: dict[int, dict[str, int]],
        files: dict[int, MemoryFile],
        modes: dict[int, int],
    ) -> None:
        for name, child in names.get(inode, {}).items():
            where = path / name
            if child in files:
                if child not in self._files:
                    files[child].mode = modes.get(child, files[child].mode)
                    self._files[child] = replace(files[child])
                    self.changes.append(Data(child))
                self.names[where] = files[child]
            elif child not in self._directories.values():
                self.directories[where] = modes.get(child, 0o755)
                self._directories[where] = child
                self.changes.append(Mode(child, self.directories[where]))
                self._take(where, child, names, files, modes)
            else:
                continue
            self.changes.append(Names((self._entry(where, child),)))


def _concerns(change: Change) -> frozenset[int]:
    match change:
        case Names(entries):
            return frozenset(directory for directory, _, _ in entries)
        case Data(inode) | Mode(inode, _):
            return frozenset((inode,))
        case Flushed():
            return frozenset()


# --- what can be left


def _removes(change: Change) -> bool:
    return isinstance(change, Names) and any(inode is None for _, _, inode in change.entries)


def _adds(change: Change) -> bool:
    return isinstance(change, Names) and any(inode is not None for _, _, inode in change.entries)


KEPT = Fate("everything is kept", lambda _at, _change: True)
FATES = (
    KEPT,
    Fate("everything is lost", lambda _at, _change: False),
    Fate("names without data", lambda _at, change: not isinstance(change, Data)),
    Fate("names with half of the data", lambda _at, change: not isinstance(change, Data), _half),
    Fate("names with data full of holes", lambda _at, change: not isinstance(change, Data), _holes),
    Fate("data without names", lambda _at, change: not isinstance(change, Names)),
    Fate("only what adds a name", lambda _at, change: not _removes(change)),
    Fate("only what removes a name", lambda _at, change: not _adds(change)),
    Fate("only renames", lambda _at, change: _removes(change) and _adds(change)),
    Fate("all but renames", lambda _at, change: not (_removes(change) and _adds(change))),
)


def power_losses(cache: PageCache, at: int, *, singly: bool = False, samples: int = 0) -> Iterator[Fate]:
    """Return what a power failure after the first ``at`` changes can come to.

    The extremes; the first and the last change of a name, or each of them if ``singly``, alone lost and alone kept; and random
    ``samples``, half of them of a disk that keeps its changes of names in order.
    """
    yield from FATES
    names = [each for each in cache.pending(at) if isinstance(cache.changes[each], Names)]
    for each in names if singly else {*names[:1], *names[-1:]}:
        yield _only(each)
        yield _all_but(each)
    rng = random.Random(at)
    for number in range(samples):
        kept = {each for each in cache.pending(at) if rng.random() < rng.choice((0.2, 0.5, 0.8))}
        if number % 2 and names:
            last = rng.choice(names)
            kept = {each for each in names if each <= last} | kept.difference(names)
        yield _sample(kept, rng.choice((_nothing, _half, _holes)))


def left_by_power_losses(
    cache: PageCache, begun: int, *, every: bool, samples: int = 0
) -> Iterator[tuple[str, PageCache]]:
    """Return what can be left after the first ``begun`` changes, just before each barrier, or after every change, once."""
    around = {*cache.barriers, len(cache.changes)}
    seen: set[object] = set()
    for at in range(begun, len(cache.changes) + 1):
        for fate in power_losses(cache, at, singly=every, samples=samples) if every or at in around else ():
            left = cache.after_power_failure(at, fate)
            names = frozenset((path, file.number, file.data, file.mode) for path, file in left.names.items())
            if (names, frozenset(left.directories)) not in seen:
                seen.add((names, frozenset(left.directories)))
                yield f"after {at - begun} changes: {fate.name}", left


def _only(each: int) -> Fate:
    return Fate(f"only {each}", lambda at, change: at == each or isinstance(change, Data))


def _all_but(each: int) -> Fate:
    return Fate(f"all but {each}", lambda at, _change: at != each)


def _sample(kept: set[int], data: Callable[[bytes], bytes]) -> Fate:
    return Fate(f"only {sorted(kept)}", lambda at, _change: at in kept, data)


def tree_of(files: MemoryFiles, top: Path) -> Tree:
    """Return everything below a directory, and the directory itself if it exists."""
    inside, above = f"{top}/", len(f"{top}/")
    tree: Tree = {
        str(path)[above:]: (file.data, file.mode, file.mtime)
        for path, file in files.names.items()
        if str(path).startswith(inside)
    }
    for path, mode in files.directories.items():
        if path == top or str(path).startswith(inside):
            tree[str(path)[above:]] = b"", mode, 0.0
    return tree
