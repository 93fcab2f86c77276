"""The cache of a host: the bytes that were shipped.

The cache is private (0700) and believed in nothing: what is taken from it has the digest that its name says. It has

    objects/<digest>     the bytes of a file         manifests/<digest>   the manifest of a generation
    workers/<digest>/    lastgood's worker package   trees/<digest>/      directories with the declared files
    codes/               compiled code, by the worker (bridges/worker/codes.py)
    leases/              a file for each host that runs, locked by it, with the names of what it uses

A host that has nothing to do sweeps it, once an hour at most: what was not used for 30 days goes, and beyond a GiB the oldest.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
import time

from .messages import MAX_OBJECT, Problem, digest_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from typing import Any

LIMIT = 1 << 30
"""Bytes that the cache may have."""
OLDEST = 30 * 86400  # seconds since the last use
_FRESH = 3600  # what was used within so many seconds is not removed
_SWEEP_EVERY = 3600
_REGULAR = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORIES = ("objects", "manifests", "workers", "trees", "codes", "leases")


def cache_home() -> str:
    """Return the directory of the cache, which exists and is private. Raises :class:`Problem`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    home = base if os.path.isabs(base) else os.path.join(os.path.expanduser("~"), ".cache")
    tried = []
    for place in (
        os.path.join(home, "lastgood", "remote"),
        os.path.join(tempfile.gettempdir(), f"lastgood-{os.geteuid()}"),
    ):
        try:
            os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
            _make_private(place)
            for name in _DIRECTORIES:
                _make_private(os.path.join(place, name))
        except OSError as error:
            tried.append(f"{place}: {error.strerror}")
        else:
            return place
    raise Problem(f"The host cannot keep what is shipped: {'; '.join(tried)}. Set XDG_CACHE_HOME there to a directory.")


def _make_private(path: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise OSError(0, "it is a link, or belongs to somebody else")
    if stat.S_IMODE(found.st_mode) & 0o077:
        os.chmod(path, 0o700)


def read_verified(path: str, digest: str) -> bytes | None:
    """Return the bytes of a file, if they have this digest."""
    try:
        descriptor = os.open(path, _REGULAR)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            data = file.read(MAX_OBJECT + 1)
    except OSError:
        return None
    return data if digest_of(data) == digest else None


def write_whole(path: str, data: bytes, mode: int = 0o600) -> None:
    """Write a file so that it is there as a whole or not at all."""
    fresh = f"{path}.{os.urandom(8).hex()}.tmp"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        os.replace(fresh, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise


def _inside(path: str) -> str:
    """Return ``path`` if it leads to nothing outside of the directory that it is relative to."""
    if os.path.isabs(path) or ".." in path.split("/"):
        raise Problem(f"The shipment has a file outside of it: {path}.")
    return path


class Cargo:
    """What was shipped, in the cache at ``home``. ``shipped`` is the body of SHIP. Raises :class:`Problem`, OSError."""

    def __init__(self, home: str, shipped: dict[str, Any]) -> None:
        self._home = home
        self._worker, self._tree = shipped["worker"], shipped["tree"]
        self._directories = shipped["directories"]
        for name in (*self._directories, *(each[0] for each in (*self._worker, *self._tree))):
            _inside(name)
        text = shipped["manifest"].encode("utf-8", "surrogateescape")
        self.manifest = self._path("manifests", digest_of(text))
        self.worker = self._path("workers", digest_of(json.dumps(self._worker).encode()))
        self.tree = self._path("trees", _inside(shipped["tree_name"]))
        lines = [line.split("\t") for line in shipped["manifest"].split("\n")]
        self._objects = {fields[1] for fields in lines if fields[0] in ("module", "package")}
        self._lease = self._take_lease()
        if read_verified(self.manifest, os.path.basename(self.manifest)) is None:
            write_whole(self.manifest, text)
        self._used(self.manifest)

    def _path(self, *names: str) -> str:
        return os.path.join(self._home, *names)

    def _take_lease(self) -> int:
        descriptor, _ = tempfile.mkstemp(dir=self._path("leases"))
        names = [self.manifest, self.worker, self.tree, *(self._path("objects", each) for each in self._objects)]
        os.write(descriptor, "\n".join(os.path.relpath(name, self._home) for name in names).encode())
        _lock(descriptor)
        return descriptor

    def _used(self, path: str) -> None:
        with contextlib.suppress(OSError):
            if time.time() - os.stat(path).st_mtime > _FRESH / 4:
                os.utime(path)

    def lacks(self) -> list[str]:
        """Return the digests of the objects that are needed and not there."""
        wanted = dict.fromkeys(sorted(self._objects))
        for directory, files in ((self.worker, self._worker), (self.tree, self._tree)):
            if not self._is_intact(directory, files):
                wanted.update(dict.fromkeys(digest for _, digest, _, _ in files))
        missing = []
        for digest in wanted:
            path = self._path("objects", digest)
            if read_verified(path, digest) is None:
                missing.append(digest)
            else:
                self._used(path)
        return missing

    def keep(self, digest: str, data: bytes) -> None:
        """Store an object, whose digest is checked."""
        if digest_of(data) != digest:
            raise Problem(f"What came as {digest} has another digest.")
        write_whole(self._path("objects", digest), data)

    def unpack(self) -> None:
        """Make the directories of the worker package and of the declared files, unless they are there, unchanged."""
        for directory, files in ((self.worker, self._worker), (self.tree, self._tree)):
            if not self._is_intact(directory, files):
                self._make(directory, files)
            self._used(directory)
        for name in self._directories:
            os.makedirs(os.path.join(self.tree, name), mode=0o700, exist_ok=True)

    def _is_intact(self, directory: str, files: Iterable[list[Any]]) -> bool:
        """Return whether all files are as they were made. Files of the program's own beside them do not count."""
        is_worker = directory == self.worker
        for name, digest, size, _ in files:
            path = os.path.join(directory, name)
            try:
                found = os.lstat(path)
            except OSError:
                return False
            if not stat.S_ISREG(found.st_mode) or found.st_size != size or int(found.st_mtime) != _stamp(digest):
                return False
            if is_worker and read_verified(path, digest) is None:
                return False
        return os.path.isdir(directory)

    def _make(self, directory: str, files: Iterable[list[Any]]) -> None:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        for name, digest, _, executable in files:
            path = os.path.join(directory, name)
            data = read_verified(self._path("objects", digest), digest)
            if data is None:
                raise Problem(f"{digest}, the object of {name}, has gone from the cache meanwhile. Reload once more.")
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            write_whole(path, data, 0o700 if executable else 0o600)
            os.utime(path, (_stamp(digest), _stamp(digest)))

    def release(self) -> None:
        """Let go of what is used: it may be swept."""
        os.close(self._lease)


def _stamp(digest: str) -> int:
    """Return the mtime of a file with this digest: whoever writes to the file changes it."""
    return 1_000_000_000 + int(digest[:6], 16)


def _lock(descriptor: int) -> bool:
    """Lock a file until it is closed; return False if another process has it locked, or if there are no locks here."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def sweep(home: str, limit: int = LIMIT) -> Generator[None, None, None]:
    """Remove what is not used: step by step, so that the host can do other things in between."""
    stamp = os.path.join(home, "swept")
    with contextlib.suppress(OSError):
        if time.time() - os.stat(stamp).st_mtime < _SWEEP_EVERY:
            return
    write_whole(stamp, b"")
    in_use = _leased(home)
    found = []
    for room in _DIRECTORIES[:-1]:
        for entry in os.scandir(os.path.join(home, room)):
            yield
            with contextlib.suppress(OSError):
                found.append((entry.stat(follow_symlinks=False).st_mtime, _size(entry), f"{room}/{entry.name}"))
    total = sum(size for _, size, _ in found)
    now = time.time()
    for used, size, name in sorted(found):
        if now - used < _FRESH or (total <= limit and now - used < OLDEST):
            break
        if name in in_use:
            continue
        yield
        with contextlib.suppress(OSError):
            path = os.path.join(home, name)
            if os.lstat(path).st_mtime != used:
                continue
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.unlink(path)
            total -= size


def _size(entry: os.DirEntry[str]) -> int:
    if not entry.is_dir(follow_symlinks=False):
        return entry.stat(follow_symlinks=False).st_size
    walked = os.walk(entry.path)
    return sum(os.lstat(os.path.join(at, name)).st_size for at, _, names in walked for name in names)


def _leased(home: str) -> set[str]:
    """Return what other hosts use, and remove the leases of those that are gone."""
    names: set[str] = set()
    for entry in os.scandir(os.path.join(home, "leases")):
        with contextlib.suppress(OSError):
            descriptor = os.open(entry.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:
                age = time.time() - os.fstat(descriptor).st_mtime
                if age > OLDEST or (age > _FRESH and _lock(descriptor)):
                    os.unlink(entry.path)
                else:
                    names.update(file.read().decode("utf-8", "surrogateescape").split("\n"))
    return names
