"""A file system in a dict, for tests and for the in-memory interpreter."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path

from msgspec import Struct

from lastgood.store.file_system import Stat, digest_of

__all__ = ["MemoryFile", "MemoryFiles"]


class MemoryFile(Struct):
    """The content of a file; two names can share it, as hard links do. ``mtime`` and ``ctime`` in seconds."""

    data: bytes
    mode: int
    mtime: float
    ctime: float
    number: int


class MemoryFiles:
    """A :class:`~lastgood.store.file_system.FileSystem` in a dict. ``before(operation, path)`` is called before each change.

    ``now()`` returns the time of a change, in seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float] = lambda: 1_000_000.0) -> None:
        self.names: dict[Path, MemoryFile] = {}
        self.directories: dict[Path, int] = {Path("/"): 0o755}
        self.before: Callable[[str, Path], None] = lambda _operation, _path: None
        self.now = now
        self._numbers = itertools.count(1)
        self._locked: set[int] = set()  # by their numbers: the name of a locked file may come to mean another one
        self._own: set[int] = set()

    def of_another_process(self) -> MemoryFiles:
        """Return the same file system as another process has it: with locks, and a function ``before``, of its own."""
        other = copy(self)
        other.before = lambda _operation, _path: None
        other._own = set()
        return other

    def end_process(self) -> None:
        """Release all locks of this process, as the system does at its end."""
        self._locked -= self._own
        self._own.clear()

    def put(self, path: Path, data: bytes) -> None:
        """Write a file and its directories, like an editor does. This does not count as an operation."""
        for parent in reversed(path.parents):
            self.directories.setdefault(parent, 0o755)
        known = self.names.get(path)
        mode = 0o644 if known is None else known.mode
        self.names[path] = MemoryFile(data, mode, self.now(), self.now(), next(self._numbers))

    def user(self) -> int:
        """See :class:`~lastgood.store.file_system.FileSystem`, also for the following methods."""
        return 0

    def cache(self, home: Path) -> Path | None:  # noqa: ARG002 - a cache on disk makes no sense in memory
        return None

    def key(self) -> bytes:
        return b"the key of the only user in memory"

    def read(self, path: Path) -> bytes:
        if path in self.directories:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        return self._file(path).data

    def digest(self, path: Path) -> str:
        return digest_of(self.read(path))

    def write(self, path: Path, data: bytes) -> None:
        self._begin("write", path)
        self._must_be_free(path)
        self.names[path] = MemoryFile(data, 0o644, self.now(), self.now(), next(self._numbers))

    def replace(self, source: Path, target: Path) -> None:
        self._begin("replace", target)
        if source in self.directories:
            self._replace_directory(source, target)
            return
        moved = self._file(source)
        if target in self.directories:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
        self._must_have_parent(target)
        if self.names.get(target) is not moved:
            self.names[target] = moved
            del self.names[source]

    def _replace_directory(self, source: Path, target: Path) -> None:
        if target in self.names:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target))
        if self.children(target):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(target))
        self._must_have_parent(target)
        self.directories.pop(target, None)
        names = {_moved(path, source, target): file for path, file in self.names.items()}
        directories = {_moved(path, source, target): mode for path, mode in self.directories.items()}
        for known, moved in ((self.names, names), (self.directories, directories)):
            known.clear()
            known.update(moved)  # type: ignore[arg-type]  # each with its own

    def link(self, source: Path, target: Path) -> None:
        self._begin("link", target)
        self._must_be_free(target)
        self.names[target] = self._file(source)

    def unlink(self, path: Path) -> None:
        self._begin("unlink", path)
        self._file(path)
        del self.names[path]

    def mkdir(self, path: Path) -> None:
        self._begin("mkdir", path)
        self._must_be_free(path)
        self.directories[path] = 0o755

    def rmdir(self, path: Path) -> None:
        self._begin("rmdir", path)
        if path not in self.directories:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        if self.children(path):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(path))
        del self.directories[path]

    def chmod(self, path: Path, mode: int) -> None:
        self._begin("chmod", path)
        if path in self.directories:
            self.directories[path] = mode
        else:
            self._file(path).mode = mode

    def barrier(self, paths: Sequence[Path]) -> None:
        self._begin("barrier", paths[0])
        for path in paths:
            if path not in self.directories:
                self._file(path)

    def stat(self, path: Path, *, follow: bool = False) -> Stat | None:
        del follow
        if path in self.directories:
            return Stat("directory", self.directories[path], (), 0.0)
        found = self.names.get(path)
        if found is None:
            return None
        times = (int(found.mtime * 1e9), int(found.ctime * 1e9))
        size, changed = len(found.data), max(found.mtime, found.ctime)
        return Stat("file", found.mode, (found.number, size, *times), changed, times[0], size)

    def children(self, path: Path) -> list[str]:
        return sorted({each.name for each in (*self.names, *self.directories) if each.parent == path and each != path})

    def scan(self, directory: str) -> dict[str, str]:
        top = Path(directory)
        return {name: "directory" if top / name in self.directories else "file" for name in self.children(top)}

    def signature(self, path: str) -> tuple[int, ...]:
        found = self.stat(Path(path))
        return () if found is None else found.signature

    def real_path(self, path: Path) -> Path:
        return path

    def read_link(self, path: str) -> str:  # noqa: ARG002 - there are no links in memory
        return ""

    def lock(self, path: Path, *, holder: int | None = None) -> MemoryClaim | None:  # noqa: ARG002 - there are no forks
        if path not in self.names:
            self.put(path, b"")
        number = self.names[path].number
        if number in self._locked:
            return None
        self._locked.add(number)
        self._own.add(number)
        return MemoryClaim(self._locked, number)

    def take_turn(self, directory: Path) -> MemoryClaim | None:
        number = -1 - hash(directory) % (1 << 60)
        if number in self._locked:
            return None
        self._locked.add(number)
        self._own.add(number)
        return MemoryClaim(self._locked, number)

    def is_file(self, path: Path) -> bool:
        return path in self.names

    def is_dir(self, path: Path) -> bool:
        return path in self.directories

    def _begin(self, operation: str, path: Path) -> None:
        self.before(operation, path)

    def _file(self, path: Path) -> MemoryFile:
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return self.names[path]

    def _must_be_free(self, path: Path) -> None:
        if path in self.names or path in self.directories:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        self._must_have_parent(path)

    def _must_have_parent(self, path: Path) -> None:
        if path.parent not in self.directories:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def _moved(path: Path, source: Path, target: Path) -> Path:
    return target / path.relative_to(source) if path.is_relative_to(source) else path


class MemoryClaim(Struct, frozen=True):
    """A lock that is held."""

    locked: set[int]
    number: int

    def release(self) -> None:
        """Release the lock."""
        self.locked.discard(self.number)
