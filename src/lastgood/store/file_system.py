"""The file system as a port: the operations that promotion, staging and reading need, and no others.

One method is one operation, so that tests can inject a fault at each. :class:`Disk` is the real file system; it makes every
change through :mod:`os`, never through ``open()``, so that a fake of :mod:`os` sees every operation. The in-memory file system
is in :mod:`lastgood.interpreters.memory`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import filelock

from lastgood.store.user_key import cache_directory, user_key

__all__ = ["Claim", "Disk", "FileSystem", "Stat", "digest_of", "place_of"]


def digest_of(data: bytes) -> str:
    """Return the SHA-256 digest of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def place_of(error: OSError, otherwise: Path) -> Path:
    """Return the file that an error is about; the target if the operation had a source and a target."""
    names = (error.filename2, error.filename)
    return next((Path(name) for name in names if isinstance(name, str | Path)), otherwise)


@dataclass(frozen=True, slots=True)
class Stat:
    """The status of a path. ``kind``: "file", "directory", "link" or "other"; ``mode``: the permission bits.

    ``signature`` changes when the content may have changed (device, inode, size in bytes, mtime and ctime in nanoseconds).
    ``changed`` is the later of mtime and ctime, in seconds since the epoch. ``modified`` is the mtime, only to be compared for
    equality. ``size`` is in bytes, ``owner`` the uid.
    """

    kind: str
    mode: int
    signature: tuple[int, ...]
    changed: float
    modified: float = 0.0
    size: int = 0
    owner: int = 0


class Claim(Protocol):
    """A lock that is held."""

    def release(self) -> None:
        """Release the lock."""
        ...


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

    def read(self, path: Path) -> bytes:
        """Return the bytes of a regular file. Raise :class:`OSError` for anything else, so that a FIFO does not block."""
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
        """Make a hard link; where that is not possible, a copy with the same mode and times."""
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

    def scan(self, directory: str) -> list[tuple[str, Stat]]:
        """Return the names in a directory with their status; empty if it does not exist or cannot be read.

        For a subdirectory only ``kind`` is valid, which saves a system call for each.
        """
        ...

    def real_path(self, path: Path) -> Path:
        """Return ``path`` with symbolic links resolved, as far as it exists."""
        ...

    def lock(self, path: Path, *, holder: int | None = None) -> Claim | None:
        """Claim the lock file at ``path``, in an existing directory; return None if another process holds it.

        ``holder`` is the process recorded as the owner. If it no longer exists, this may block for two seconds: a child that
        it was starting when it was killed holds the lock until its exec.
        """
        ...

    def is_file(self, path: Path) -> bool:
        """Return whether ``path`` is a regular file, following links."""
        ...

    def is_dir(self, path: Path) -> bool:
        """Return whether ``path`` is a directory, following links."""
        ...


class Disk:
    """The real file system."""

    _key: bytes | None = None

    def user(self) -> int:
        """See :class:`FileSystem`."""
        return _user()

    def cache(self, home: Path) -> Path | None:
        """See :class:`FileSystem`."""
        return cache_directory(home)

    def key(self) -> bytes:
        """See :class:`FileSystem`."""
        if self._key is None:
            self._key = user_key()
        return self._key

    def read(self, path: Path) -> bytes:
        """See :class:`FileSystem`."""
        _require_regular(path)
        with open(path, "rb") as file:
            return file.read()

    def digest(self, path: Path) -> str:
        """See :class:`FileSystem`."""
        _require_regular(path)
        with open(path, "rb") as file:
            found = hashlib.sha256()
            while chunk := file.read(_CHUNK):
                found.update(chunk)
            return found.hexdigest()

    def write(self, path: Path, data: bytes) -> None:
        """See :class:`FileSystem`."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags, 0o666)
        try:
            try:
                left = memoryview(data)
                while left:
                    left = left[os.write(descriptor, left) :]
            finally:
                os.close(descriptor)
        except OSError as error:
            error.filename = error.filename or str(path)  # a write to a descriptor names no file
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise

    def replace(self, source: Path, target: Path) -> None:
        """See :class:`FileSystem`."""
        os.replace(source, target)

    def link(self, source: Path, target: Path) -> None:
        """See :class:`FileSystem`."""
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self._copy(source, target)

    def _copy(self, source: Path, target: Path) -> None:
        """Copy with mode and times, atomically, in place of a hard link."""
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(source), None, str(target))
        was = os.stat(source)
        # In a place that is swept at the next start, in case of a kill.
        beside = target if ".lastgood" in target.parts else source
        part = beside.with_name(f"{beside.name}.part")
        self.write(part, self.read(source))
        try:
            os.chmod(part, stat.S_IMODE(was.st_mode))
            os.utime(part, ns=(was.st_atime_ns, was.st_mtime_ns))
            os.replace(part, target)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise

    def unlink(self, path: Path) -> None:
        """See :class:`FileSystem`."""
        os.unlink(path)

    def mkdir(self, path: Path) -> None:
        """See :class:`FileSystem`."""
        os.mkdir(path)

    def rmdir(self, path: Path) -> None:
        """See :class:`FileSystem`."""
        os.rmdir(path)

    def chmod(self, path: Path, mode: int) -> None:
        """See :class:`FileSystem`."""
        os.chmod(path, mode)

    def barrier(self, paths: Sequence[Path]) -> None:
        """See :class:`FileSystem`. Many paths are flushed by one ``sync()``, since every ``fsync()`` waits for the device."""
        if len(paths) > _MAX_FSYNCS and hasattr(os, "sync"):
            os.sync()
            return
        for path in paths:
            if os.path.isdir(path):
                descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            else:
                with open(path, "rb") as file:
                    os.fsync(file.fileno())

    def stat(self, path: Path, *, follow: bool = False) -> Stat | None:
        """See :class:`FileSystem`."""
        try:
            found = os.stat(path) if follow else os.lstat(path)
        except ValueError:  # a name that no file can have, such as one with a null character
            return None
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        return _stat_of(found)

    def children(self, path: Path) -> list[str]:
        """See :class:`FileSystem`."""
        try:
            return sorted(os.listdir(path))
        except OSError as error:
            if error.errno in _ABSENT:
                return []
            raise

    def scan(self, directory: str) -> list[tuple[str, Stat]]:
        """See :class:`FileSystem`."""
        found: list[tuple[str, Stat]] = []
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        found.append((entry.name, _DIRECTORY))
                        continue
                    # An entry that was removed after the listing is left out.
                    with contextlib.suppress(OSError):
                        found.append((entry.name, _stat_of(entry.stat(follow_symlinks=False))))
        except OSError:
            return []
        return found

    def real_path(self, path: Path) -> Path:
        """See :class:`FileSystem`."""
        return Path(os.path.realpath(path))

    def lock(self, path: Path, *, holder: int | None = None) -> Claim | None:
        """See :class:`FileSystem`. A dead process holds no lock: the system has released it."""
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(path).st_nlink > 1:
                os.unlink(path)  # locking truncates the file, and a hard link may be somebody else's file
        lock = filelock.FileLock(path, thread_local=False)
        with contextlib.suppress(filelock.Timeout):
            lock.acquire(blocking=False)
            return lock
        if holder is not None and not _is_running(holder):
            with contextlib.suppress(filelock.Timeout):
                lock.acquire(timeout=_LOCK_WAIT, poll_interval=0.01)
                return lock
        return None

    def is_file(self, path: Path) -> bool:
        """See :class:`FileSystem`."""
        return os.path.isfile(path)

    def is_dir(self, path: Path) -> bool:
        """See :class:`FileSystem`."""
        return os.path.isdir(path)


_MAX_FSYNCS = 32
_LOCK_WAIT = 2.0
"""Seconds."""
_CHUNK = 1 << 20
# Any other error is raised: a file that cannot be examined, such as a backup, must not be treated as absent.
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EACCES})


_DIRECTORY = Stat("directory", 0, (), 0.0)


def _require_regular(path: Path) -> None:
    """Raise :class:`OSError` for a FIFO or a device: opening or reading it could block forever."""
    if _kind(os.stat(path).st_mode) == "other":
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def _user() -> int:
    return os.geteuid() if hasattr(os, "geteuid") else 0


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _stat_of(found: os.stat_result) -> Stat:
    signature = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    changed = max(found.st_mtime, found.st_ctime)
    return Stat(
        _kind(found.st_mode),
        stat.S_IMODE(found.st_mode),
        signature,
        changed,
        found.st_mtime_ns,
        found.st_size,
        found.st_uid,
    )


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "link" if stat.S_ISLNK(mode) else "other"
