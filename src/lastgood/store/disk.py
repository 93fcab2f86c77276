"""The real file system. Every change is made through :mod:`os`, never ``open()``, so that a fake of :mod:`os` sees it."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import logging
import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, ClassVar

import filelock

from lastgood.store.file_system import Claim, NoLocks, Stat, part_of
from lastgood.store.user_key import cache_directory, user_key

__all__ = ["Disk", "is_running"]

logger = logging.getLogger(__name__)
_SIGNATURES_IN_A_TURN = 128
_TURN = 0.00002
"""Seconds to give the interpreter up for, after so many signatures: about half a millisecond of them.

A thread that waits for the interpreter does not get it in the microsecond for which each system call gives it up, but is woken,
and waits anew: as long as such calls follow one another, it waits.
"""


class Disk:
    """The real file system: a :class:`~lastgood.store.file_system.FileSystem`."""

    _key: bytes | None = None
    _signatures = 0

    def user(self) -> int:
        """See ``FileSystem``, also for the following methods."""
        return _user()

    def cache(self, home: Path) -> Path | None:
        """See :class:`FileSystem`."""
        return cache_directory(home)

    def key(self) -> bytes:
        """See :class:`FileSystem`."""
        if self._key is None:
            self._key = user_key()
        return self._key

    def now(self) -> float:
        """See :class:`FileSystem`."""
        return time.time()

    def read(self, path: Path) -> bytes:
        """See :class:`FileSystem`."""
        with _open_regular(path, follow=_OWN not in str(path)) as file:
            return file.read()

    def digest(self, path: Path) -> str:
        """See :class:`FileSystem`."""
        with _open_regular(path) as file:
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
        """Copy with mode and times, in place of a hard link; like a link, it never replaces a file that is there already."""
        was = os.stat(source)
        # In a place that is swept at the next start, in case of a kill.
        part = part_of(target if ".lastgood" in target.parts else source)
        self.write(part, self.read(source))
        try:
            os.chmod(part, stat.S_IMODE(was.st_mode))
            os.utime(part, ns=(was.st_atime_ns, was.st_mtime_ns))
            self.barrier((part,))  # a link would be to a file that has been flushed
            self.write(target, b"")  # claims the name: a rename alone would replace a file that has appeared there
            try:
                os.replace(part, target)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(target)
                raise
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
        """See :class:`FileSystem`. Many paths are flushed by one ``syncfs()``, since every ``fsync()`` waits for the device.

        A ``syncfs()`` also waits for what other programs have written to that file system, so a few paths are flushed singly.
        """
        flush: Callable[[int], None] = os.fsync
        distinct = [*dict.fromkeys(paths)]
        flush_all = _syncfs() if len(distinct) > _MAX_FSYNCS else None
        if flush_all is not None:
            flush, distinct = flush_all, [*{os.stat(path).st_dev: path for path in distinct}.values()]
        for path in distinct:
            _flush(path, flush)
        if (flush_drive := _flush_drive()) is not None:
            for path in {os.stat(path).st_dev: path for path in distinct}.values():
                _flush(path, flush_drive)

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

    def scan(self, directory: str) -> dict[str, str]:
        """See :class:`FileSystem`."""
        found: dict[str, str] = {}
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False):
                        found[entry.name] = "file"
                    elif entry.is_dir(follow_symlinks=False):
                        found[entry.name] = "directory"
                    else:
                        found[entry.name] = "link" if entry.is_symlink() else "other"
        except OSError:
            return {}
        return found

    def signature(self, path: str) -> tuple[int, ...]:
        """See :class:`FileSystem`. Where thousands are asked for, the app's event loop comes round in between."""
        self._signatures += 1  # it is no matter if two threads count one
        if not self._signatures % _SIGNATURES_IN_A_TURN:
            time.sleep(_TURN)
        try:
            return _signature_of(os.lstat(path))
        except (OSError, ValueError):
            return ()

    def real_path(self, path: Path) -> Path:
        """See :class:`FileSystem`."""
        return Path(os.path.realpath(path))

    def read_link(self, path: str) -> str:
        """See :class:`FileSystem`."""
        try:
            return os.readlink(path)
        except (OSError, ValueError):
            return ""

    def lock(self, path: Path, *, holder: int | None = None) -> Claim | None:
        """See :class:`FileSystem`. A dead process holds no lock: the system has released it."""
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(path).st_nlink > 1:
                os.unlink(path)  # locking truncates the file, and a hard link may be somebody else's file
        lock = filelock.FileLock(path, thread_local=False, fallback_to_soft=False)
        try:
            lock.acquire(blocking=False)
            return lock
        except filelock.Timeout:
            pass
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return _mark(path.with_name(f"{path.name}.held"))
        if holder is not None and not is_running(holder):
            with contextlib.suppress(filelock.Timeout):
                lock.acquire(timeout=_LOCK_WAIT, poll_interval=0.01)
                return lock
        return None

    def take_turn(self, directory: Path) -> Claim | None:
        """See :class:`FileSystem`."""
        return _Turn.take(directory)

    def is_file(self, path: Path) -> bool:
        """See :class:`FileSystem`."""
        return os.path.isfile(path)

    def is_dir(self, path: Path) -> bool:
        """See :class:`FileSystem`."""
        return os.path.isdir(path)


class _Turn:
    """A directory that is locked, or one that cannot be. A forked child has no part in it."""

    _taken: ClassVar[set[_Turn]] = set()

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._taken.add(self)

    @classmethod
    def take(cls, directory: Path) -> _Turn | None:
        try:
            import fcntl
        except ImportError:  # on Windows and Pyodide
            return cls(None)
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return cls(None)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:  # NFS, for example, locks no directory
            os.close(descriptor)
            return cls(None)
        return cls(descriptor)

    def release(self) -> None:
        self._taken.discard(self)
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that was forked meanwhile has the descriptor as well
            os.close(descriptor)


def _release_turns() -> None:
    """Close, in a forked child, what would hold its parent's turns for as long as the child lives."""
    for turn in tuple(_Turn._taken):
        turn.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_turns)


def _mark(marker: Path) -> Claim:
    """Claim a file by making another one, which says which process has made it. One of a process that is gone is replaced."""
    lock = filelock.SoftFileLock(marker, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise NoLocks(marker) from None
    _warn_of_no_locks(marker.parent)
    return lock


@functools.cache
def _warn_of_no_locks(directory: Path) -> None:
    logger.warning(
        "the file system of %s has no locks, so only one session at a time can use it, and no other can follow. Put the project, "
        "or the [output] dir, on a local file system.",
        directory,
    )


_MAX_FSYNCS = 32
_LOCK_WAIT = 2.0
"""Seconds."""
_CHUNK = 1 << 20
_OWN = f"{os.sep}.lastgood{os.sep}"
# Any other error is raised: a file that cannot be examined, such as a backup, must not be treated as absent.
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EACCES})


@functools.cache
def _syncfs() -> Callable[[int], None] | None:
    """Return a function that flushes the file system of a descriptor; None on systems without one."""
    import ctypes

    try:
        system_call = ctypes.CDLL(None, use_errno=True).syncfs
    except (AttributeError, OSError, TypeError):
        return None

    def syncfs(descriptor: int) -> None:
        if system_call(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    return syncfs


_NO_DRIVE = (errno.EINVAL, errno.ENOTSUP, errno.ENOTTY)  # what a network's file system answers
_READING = os.O_RDONLY | sum(getattr(os, flag, 0) for flag in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


def _flush(path: Path, flush: Callable[[int], None]) -> None:
    """Call ``flush`` with a descriptor of a file or directory."""
    if os.path.isdir(path):
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            flush(descriptor)
        finally:
            os.close(descriptor)
    else:
        with _open_regular(path) as file:
            flush(file.fileno())


def _flush_drive() -> Callable[[int], None] | None:
    """Return a function that has a descriptor's drive write its own cache, as macOS does not by ``fsync()``; None elsewhere."""
    try:
        import fcntl

        command: int = vars(fcntl)["F_FULLFSYNC"]
    except (ImportError, KeyError):
        return None

    def flush_drive(descriptor: int) -> None:
        try:
            fcntl.fcntl(descriptor, command)
        except OSError as error:
            if error.errno not in _NO_DRIVE:
                raise

    return flush_drive


def _open_regular(path: Path, *, follow: bool = True) -> BinaryIO:
    """Open a regular file for reading. Raise :class:`OSError` for a FIFO or a device, which could block forever."""
    found = os.stat(path) if follow else os.lstat(path)
    _require_regular(path, found)  # first, because opening a device may have effects
    flags = _READING if follow else _READING | getattr(os, "O_NOFOLLOW", 0)
    # The mode is for pyfakefs, which sets it also for a file that exists.
    descriptor = os.open(path, flags, stat.S_IMODE(found.st_mode))
    try:  # it may have been replaced meanwhile
        _require_regular(path, os.fstat(descriptor))
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _require_regular(path: Path, found: os.stat_result) -> None:
    kind = _kind(found.st_mode)
    if kind == "directory":
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if kind != "file":
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def _user() -> int:
    return os.geteuid() if hasattr(os, "geteuid") else 0


def is_running(pid: int) -> bool:
    """Return whether a process of this number runs, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _signature_of(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _stat_of(found: os.stat_result) -> Stat:
    changed = max(found.st_mtime, found.st_ctime)
    return Stat(
        _kind(found.st_mode),
        stat.S_IMODE(found.st_mode),
        _signature_of(found),
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
