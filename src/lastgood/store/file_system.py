"""The file system as a port: the operations that promotion, staging and reading need, and no others.

One method is one operation, so that tests can inject a fault at each. The port has two adapters: the real file system
(:mod:`lastgood.store.disk`) and a dict (:mod:`lastgood.store.memory_files`).
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

__all__ = ["Claim", "FileSystem", "NoLocks", "Stat", "digest_of", "part_of", "place_of"]


def digest_of(data: bytes) -> str:
    """Return the SHA-256 digest of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def place_of(error: OSError, otherwise: Path) -> Path:
    """Return the file that an error is about; the target if the operation had a source and a target."""
    names = (error.filename2, error.filename)
    return next((Path(name) for name in names if isinstance(name, str | Path)), otherwise)


def part_of(path: Path) -> Path:
    """Return the path of an unfinished copy, beside ``path``."""
    return path.with_name(f"{path.name}.part")


class Stat(Struct, frozen=True):
    """The status of a path. ``kind``: "file", "directory", "link" or "other"; ``mode``: the permission bits.

    ``signature`` changes when the content may have changed (device, inode, size in bytes, mtime and ctime in nanoseconds).
    ``changed`` is the later of mtime and ctime, in seconds since the epoch. ``mtime_ns`` is the mtime in nanoseconds, only to
    be compared for equality. ``size`` is in bytes, ``owner`` the uid.
    """

    kind: str
    mode: int
    signature: tuple[int, ...]
    changed: float
    mtime_ns: int = 0
    size: int = 0
    owner: int = 0

    def is_fresh(self, now: float) -> bool:
        """Return whether the file, if it is read from ``now`` on, may change again without another signature."""
        return abs(now - self.changed) < _TOO_FRESH


# The resolution of timestamps may be as coarse as two seconds (FAT); usually it is a few milliseconds.
_TOO_FRESH = 2.0


class Claim(Protocol):
    """A lock that is held."""

    def release(self) -> None:
        """Release the lock."""
        ...


class NoLocks(OSError):
    """A lock file on a file system without locks, where another process has claimed it by the file ``marker``."""

    def __init__(self, marker: Path) -> None:
        super().__init__(errno.ENOLCK, os.strerror(errno.ENOLCK), str(marker))
        self.marker = marker


class FileSystem(Protocol):
    """Operations on absolute paths. Every method raises :class:`OSError` as the system does, unless it says otherwise."""

    def user(self) -> int:
        """Return the effective uid; 0 on systems without uids."""
        ...

    def cache(self, home: Path) -> Path | None:
        """Return the directory outside of any project for the caches of ``home``, a ``.lastgood/<name>/``; None if unavailable.

        Only this user can write there. It need not exist yet.
        """
        ...

    def key(self) -> bytes:
        """Return the secret key that seals what this user's lastgood writes. Never raises.

        If the key cannot be stored, it is valid in this process only.
        """
        ...

    def now(self) -> float:
        """Return the time in seconds since the epoch, as in :attr:`Stat.changed`."""
        ...

    def read(self, path: Path) -> bytes:
        """Return the bytes of a regular file. Raise :class:`OSError` for anything else, so that a FIFO does not block.

        In ``.lastgood/``, whose files somebody else may have prepared, a link is not followed.
        """
        ...

    def digest(self, path: Path) -> str:
        """Return :func:`digest_of` the file, reading it in pieces."""
        ...

    def write(self, path: Path, data: bytes) -> None:
        """Write a new file; raise :class:`FileExistsError` if it exists. No partial file is left."""
        ...

    def replace(self, source: Path, target: Path) -> None:
        """Rename ``source`` to ``target`` atomically, replacing a file there."""
        ...

    def link(self, source: Path, target: Path) -> None:
        """Make a hard link; where that is not possible, a copy with the same mode and times.

        A process that is killed while it copies leaves :func:`part_of` the source, or of a target in ``.lastgood``, and
        possibly an empty target.
        """
        ...

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        ...

    def mkdir(self, path: Path) -> None:
        """Make one directory."""
        ...

    def rmdir(self, path: Path) -> None:
        """Remove an empty directory."""
        ...

    def chmod(self, path: Path, mode: int) -> None:
        """Set the permission bits."""
        ...

    def barrier(self, paths: Sequence[Path]) -> None:
        """Return once these files and directories, as they are now, would survive a power failure."""
        ...

    def stat(self, path: Path, *, follow: bool = False) -> Stat | None:
        """Return the status of ``path``; None if nothing is there."""
        ...

    def children(self, path: Path) -> list[str]:
        """Return the sorted names in a directory; empty if it does not exist."""
        ...

    def scan(self, directory: str) -> dict[str, str]:
        """Return the names in a directory with their :attr:`Stat.kind`; empty if it does not exist or cannot be read.

        This is one operation, however many names there are.
        """
        ...

    def signature(self, path: str) -> tuple[int, ...]:
        """Return the :attr:`Stat.signature` of ``path``; empty if nothing is there, or it cannot be examined.

        It costs a third of :meth:`stat`, and there may be thousands of files.
        """
        ...

    def real_path(self, path: Path) -> Path:
        """Return ``path`` with symbolic links resolved, as far as it exists."""
        ...

    def read_link(self, path: str) -> str:
        """Return the text of the symbolic link ``path``; "" if it is none, or cannot be examined."""
        ...

    def lock(self, path: Path, *, holder: int | None = None) -> Claim | None:
        """Claim the lock file at ``path``, in an existing directory; return None if another process holds it.

        On a file system without locks, a file beside it is the claim, as long as the process in it runs, or is of another
        machine; :class:`NoLocks` is raised if there is one.

        ``holder`` is the process recorded as the owner. If it no longer exists, this may block for two seconds: a child that
        it was starting when it was killed holds the lock until its exec.
        """
        ...

    def take_turn(self, directory: Path) -> Claim | None:
        """Claim a directory itself; return None if another process holds it.

        Unlike the name of a lock file, it cannot be removed as long as something is in it. Where the file system cannot lock a
        directory, the claim keeps nobody out.
        """
        ...

    def is_file(self, path: Path) -> bool:
        """Return whether ``path`` is a regular file, following links."""
        ...

    def is_dir(self, path: Path) -> bool:
        """Return whether ``path`` is a directory, following links."""
        ...
