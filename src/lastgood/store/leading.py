"""The files that the session that leads a project and its followers write for each other, beside the output directory.

- ``leader/record.json``, sealed: who leads, what its followers must have in common with it, its news, and its answers;
- ``leader/beat``: a number that changes while the leader responds and has followers;
- ``followers/<name>.lock``: locked by a follower for as long as it lives; ``<name>.json``, sealed: what it needs;
- ``followers/<name>-<ticket>.request``, sealed: a request, which the leader takes away.

The lock of the output directory says who leads, not these files: a record counts only together with the lock and the pid that
lie beside it. None of them has to survive a power failure.

Any of them may have come with a checkout, also while sessions run. A file without a seal counts as absent. A link in place of
one of the two directories is replaced by a directory before anything is written, and nothing is listed or removed through it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field

from lastgood.effects import Request
from lastgood.planner.news import News
from lastgood.store.file_system import Claim, FileSystem
from lastgood.store.trees import (
    is_regular,
    make_directories,
    overwrite,
    read_bounded,
    read_sealed,
    remove_tree,
    write_sealed,
)

__all__ = ["Asked", "FollowerFiles", "Identity", "LeaderFiles", "Needs", "Record", "Signatures"]

T = TypeVar("T")

_LOCK = ".lock"
_NEEDS = ".json"
_REQUEST = ".request"
_ACCESS = 0o700

Signatures = tuple[tuple[int, ...], tuple[int, ...]]
"""Those of the record and of the pid."""


class Identity(msgspec.Struct, frozen=True):
    """The facts that two sessions must have in common for one to follow the other. The config file is compared as a file.

    ``version`` is a digest of lastgood's own sources and of Python's version. ``arguments`` are those of :func:`lastgood.watch` in
    place of a config file, ``python`` is the workers' interpreter; ``generates``: the session has a ``generate`` of its own.
    """

    version: str
    config_file: str
    arguments: str
    python: str
    generates: bool

    def difference(self, leader: Identity, is_same: Callable[[Path, Path], bool]) -> str:
        """Return, as a clause, why a session with this identity cannot follow ``leader``; empty if it can."""
        if self.version != leader.version:
            return "it is of another version of lastgood, or of Python"
        if not is_same(Path(self.config_file), Path(leader.config_file)):
            return f"its config file is {leader.config_file}, and this one's is {self.config_file}"
        if self.arguments != leader.arguments:
            return "its watch() has other arguments"
        if self.python != leader.python:
            return f"its workers' interpreter is {leader.python}, and this one's is {self.python}"
        if self.generates or leader.generates:
            return "sessions that were given a generate() neither lead nor follow others"
        return ""


class Record(msgspec.Struct, frozen=True):
    """The words of a leader: who it is, its news, and its answers to requests, by their names."""

    identity: Identity
    pid: int
    news: News
    answers: dict[str, bool]


class Needs(msgspec.Struct, frozen=True):
    """The needs of a follower: to have these paths watched, and the generations with these manifests kept."""

    pid: int
    paths: tuple[str, ...] = ()
    manifests: tuple[str, ...] = ()


class _Asking(msgspec.Struct, frozen=True):
    request: Request


class Asked(Struct, frozen=True):
    """The wants of the followers: new requests by name, the number of followers, what they want to have watched, and kept."""

    requests: Mapping[str, Request] = field(default_factory=dict)
    followers: int = 0
    paths: tuple[Path, ...] = ()
    manifests: frozenset[str] = frozenset()


class LeaderFiles:
    """The files in ``home``, the ``.lastgood/<name>/`` of an output directory, as the leader writes and others read them."""

    def __init__(self, files: FileSystem, home: Path) -> None:
        self._files = files
        self._record = home / "leader" / "record.json"
        self._beat = home / "leader" / "beat"
        self._followers = home / "followers"
        self._pid = home / "pid"

    @property
    def told(self) -> Path:
        """The directory that the leader writes to."""
        return self._record.parent

    @property
    def asked(self) -> Path:
        """The directory that the followers write to."""
        return self._followers

    def tell(self, record: Record, known: Signatures | None = None) -> Signatures:
        """Replace the record, and the pid unless it is the ``known`` one. Only the holder of the lock may do so.

        Return what :meth:`is_told` compares. Raises :class:`OSError`.
        """
        for directory in (self.told, self.asked):
            _make_own(self._files, directory)
        if known is None or self._files.signature(str(self._pid)) != known[1]:
            overwrite(self._files, self._pid, f"{record.pid}\n".encode())
        write_sealed(self._files, self._record, _encoded(record))
        return self._signatures()

    def is_told(self, signatures: Signatures) -> bool:
        """Return whether what is there is still what :meth:`tell` has written, rather than removed or from a checkout."""
        return _is_own(self._files, self.told) and self._signatures() == signatures

    def _signatures(self) -> Signatures:
        return self._files.signature(str(self._record)), self._files.signature(str(self._pid))

    def beat(self, number: int) -> None:
        """Give a sign of life. Raises :class:`OSError`."""
        _make_own(self._files, self.told)
        overwrite(self._files, self._beat, f"{number}\n".encode())

    def last(self) -> Record | None:
        """Return the last record that a leader has written, whoever leads now; None if there is none with a valid seal."""
        try:
            data = read_sealed(self._files, self._record)
            return None if data is None else _decoded(data, Record)
        except (OSError, ValueError):
            return None

    def read(self) -> tuple[Record, int] | None:
        """Return what the leader tells, and its sign of life; None as long as the holder of the lock has told nothing."""
        record = self.last()
        if record is None or record.pid != self._holder():
            return None
        try:
            return record, int(read_bounded(self._files, self._beat, 32) or b"0")
        except (OSError, ValueError):
            return record, 0

    def _holder(self) -> int | None:
        with contextlib.suppress(OSError, ValueError):
            return int(read_bounded(self._files, self._pid, 32) or b"")
        return None

    def take(self) -> Asked:
        """Take the followers' requests, and return what they want. What is of no follower that lives is removed."""
        names = _scan(self._files, self._followers)
        alive = self._alive(names)
        requests: dict[str, Request] = {}
        for name in sorted(names):
            path, stem = self._followers / name, name.removesuffix(_REQUEST)
            owner = _owner_of(name)
            if owner in alive and stem != name:
                with contextlib.suppress(OSError, ValueError):
                    if (data := read_sealed(self._files, path)) is not None:
                        requests[stem] = _decoded(data, _Asking).request
            elif owner in alive or is_regular(self._files, self._followers / f"{owner}{_LOCK}"):
                continue  # what it needs, a request that is being written, or one that has joined only now
            with contextlib.suppress(OSError):
                remove_tree(self._files, path)
        paths = sorted({Path(path) for needs in alive.values() for path in needs.paths})
        manifests = frozenset(name for needs in alive.values() for name in needs.manifests)
        return Asked(requests, len(alive), tuple(paths), manifests)

    def followers(self) -> Mapping[str, Needs]:
        """Return what each follower that lives needs, by its name."""
        return self._alive(_scan(self._files, self._followers))

    def _alive(self, names: Mapping[str, str]) -> dict[str, Needs]:
        locks = (name for name in sorted(names) if name.endswith(_LOCK))
        alive = [name.removesuffix(_LOCK) for name in locks if self._is_locked(self._followers / name)]
        return {each: self._needs_of(each) for each in alive}

    def _is_locked(self, lock: Path) -> bool:
        """Return whether a follower that lives holds the lock. Any other is removed, also one that nobody could hold."""
        claim = None
        with contextlib.suppress(OSError):  # on a file system without locks nobody follows
            if is_regular(self._files, lock):
                claim = self._files.lock(lock)
                if claim is None:
                    return True
        with contextlib.suppress(OSError):
            remove_tree(self._files, lock)
        if claim is not None:
            claim.release()
        return False

    def _needs_of(self, stem: str) -> Needs:
        """Return what a follower needs; nothing as long as it has not said so."""
        with contextlib.suppress(OSError, ValueError):
            if (data := read_sealed(self._files, self._followers / f"{stem}{_NEEDS}")) is not None:
                return _decoded(data, Needs)
        return Needs(0)


class FollowerFiles:
    """The files of one follower, whose ``name`` no other has had. :meth:`join` comes first."""

    def __init__(self, files: FileSystem, home: Path, name: str) -> None:
        self._files = files
        self._directory = home / "followers"
        self._name = name
        self._claim: Claim | None = None
        self._said: tuple[Needs, tuple[int, ...]] | None = None

    def join(self, needs: Needs) -> bool:
        """Say what this follower needs, as long as it lives. Return whether nothing of it was there. Raises :class:`OSError`."""
        lock = self._directory / f"{self._name}{_LOCK}"
        is_there = _is_own(self._files, self._directory) and is_regular(self._files, lock)
        is_new = self._claim is None or not is_there  # the second: `git clean`
        if is_new:
            _make_own(self._files, self._directory)
            self.leave()
            self._claim = self._lock(lock)
        path = self._directory / f"{self._name}{_NEEDS}"
        if self._said != (needs, self._files.signature(str(path))):
            write_sealed(self._files, path, _encoded(needs))
            self._said = needs, self._files.signature(str(path))
        return is_new

    def _lock(self, lock: Path) -> Claim | None:
        """Lock a new file, and only then give it its name: the leader removes each one that is not locked."""
        fresh = lock.parent.parent / f"{lock.name}.new"
        remove_tree(self._files, fresh)
        claim = self._files.lock(fresh)
        try:
            self._files.replace(fresh, lock)
        except OSError:
            if claim is not None:
                claim.release()
            raise
        return claim

    def ask(self, ticket: int, request: Request) -> str:
        """Leave a request for the leader, and return the name under which it answers. Raises :class:`OSError`."""
        name = self.name_of(ticket)
        path = self._directory / f"{name}{_REQUEST}"
        write_sealed(self._files, path, _encoded(_Asking(request)))
        return name

    def name_of(self, ticket: int) -> str:
        """Return the name of the request with ``ticket``."""
        return f"{self._name}-{ticket}"

    def leave(self) -> None:
        """Remove the files of this follower."""
        claim, self._claim = self._claim, None
        self._said = None
        with contextlib.suppress(OSError):
            for name in _scan(self._files, self._directory):
                if name.startswith((f"{self._name}.", f"{self._name}-")):
                    remove_tree(self._files, self._directory / name)
        if claim is not None:
            claim.release()


def _owner_of(name: str) -> str:
    """Return the name of the follower that has written the file of that ``name``."""
    base, _, kind = name.partition(".")
    return base.rpartition("-")[0] if f".{kind}".startswith(_REQUEST) else base


def _is_own(files: FileSystem, directory: Path) -> bool:
    status = files.stat(directory)
    return status is not None and status.kind == "directory"


def _scan(files: FileSystem, directory: Path) -> Mapping[str, str]:
    """Return the names in a directory; none in one behind a link, whose files are somebody else's."""
    return files.scan(str(directory)) if _is_own(files, directory) else {}


def _make_own(files: FileSystem, directory: Path) -> None:
    """Make a directory, in place of a link, through which files elsewhere would be written, and have access to it."""
    found = files.stat(directory)
    if found is not None and found.kind != "directory":
        remove_tree(files, directory)
    make_directories(files, directory)
    if found is not None and found.kind == "directory" and found.mode & _ACCESS != _ACCESS:
        files.chmod(directory, found.mode | _ACCESS)


def _encoded(what: msgspec.Struct) -> bytes:
    # Not by msgspec alone: a path need not be valid text in any encoding.
    return json.dumps(msgspec.to_builtins(what, enc_hook=str)).encode()


def _decoded(data: bytes, kind: type[T]) -> T:
    """Raises :class:`ValueError`, which the errors of msgspec are, too."""
    return msgspec.convert(json.loads(data), type=kind, dec_hook=_path)


def _path(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(kind)
