"""An output directory: its lock, its manifest, and what is in it.

Synchronous, on the :class:`~lastgood.store.file_system.FileSystem` port. Beside the output directory lies its home,
``.lastgood/<its name>/``:

- ``lock``, ``pid``: the session that holds the output directory;
- ``manifest.json``: the files that lastgood wrote there, with digests;
- ``stage-…``: the output of a cycle before promotion;
- ``journal.json``, ``backup/``: a promotion that is under way (:mod:`lastgood.store.journal`);
- ``kept/``: copies of replaced files that may have been edited, for some time (:mod:`lastgood.planner.promotion`);
- ``leader/``, ``followers/``: what several sessions write for each other (:mod:`lastgood.store.leading`).

These files are only trusted with this user's seal (see :mod:`lastgood.store.user_key`), since they may have come with a
repository. An unsealed file counts as absent; a link or a directory in place of a file is removed.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from returns.result import Failure, Success

from lastgood.errors import AlreadyWatched, ConfigError, PromotionError, UnmanagedFile
from lastgood.planner.promotion import Existing, Promotion, plan_promotion
from lastgood.store.access import check_can_be_private, check_is_own, explained, make_private
from lastgood.store.file_system import Claim, FileSystem, NoLocks, digest_of
from lastgood.store.header import has_header, is_intact, without_conversion
from lastgood.store.journal import JournalStore
from lastgood.store.kept_copies import sweep_copies
from lastgood.store.trees import (
    BYTECODE,
    is_inside,
    is_regular,
    is_text,
    make_directories,
    overwrite,
    read_bounded,
    read_sealed,
    remove_tree,
    write_sealed,
)

__all__ = ["OutputDirectory"]

logger = logging.getLogger(__name__)

_HOME = ".lastgood"
_LEFTOVERS = ("undo-request", "cache", "cache-journal")
"""What an earlier version wrote."""


_NO_LOCKS = "the file system has no locks (if no session runs, on no machine, remove {})"
_TURN = 10.0
_TURN_CHECK = 0.005


class _Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``former``: the output directory this one replaces, until that is emptied; ``former_manifest``: its manifest's digest."""

    version: int
    files: dict[str, str]
    former: str = ""
    former_manifest: str = ""


_Known = dict[str, tuple[tuple[int, ...], Existing]]


@dataclass(slots=True)
class OutputDirectory:
    """One output directory and its ``.lastgood/<name>/``. :meth:`claim` makes it, and recovers an interrupted promotion."""

    files: FileSystem
    path: Path
    home: Path
    lock: Claim
    recovered: tuple[str, ...] = ()
    _known: _Known = field(default_factory=dict, repr=False)
    """The files of the last reading, and their signatures, except those that may change without another one."""
    _expected: Mapping[str, str] | None = field(default=None, repr=False)
    _lock_file: tuple[int, ...] = field(default=(), repr=False)
    """The identity of the locked file. Its name may come to mean another one, which a second session can lock."""
    _releasing: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def claim(cls, files: FileSystem, path: Path, pid: int, config_file: Path | None = None) -> OutputDirectory:
        """Lock the output directory, undo an interrupted promotion, and remove what dead sessions have left.

        Raises :class:`AlreadyWatched` if another session holds it, :class:`PromotionError` if it is not a directory, and
        :class:`ConfigError` if its ``.lastgood/`` is a link or belongs to an untrusted user.
        """
        around, home = cls._homes(files, path, config_file)
        with explained(files, around, config_file):
            check_can_be_private(files, (around, home), config_file)
            for each in (around, home):
                make_directories(files, each)
                check_is_own(files, each, config_file)  # again: somebody else may have made it at this moment
            make_private(files, around)
            return cls._claim(files, path, pid, home)

    @classmethod
    def _claim(cls, files: FileSystem, path: Path, pid: int, home: Path) -> OutputDirectory:
        around = home.parent
        if not is_regular(files, home / "lock"):
            remove_tree(files, home / "lock")
        holder = _read_pid(files, home / "pid")
        try:
            lock = files.lock(home / "lock", holder=holder)
        except NoLocks as error:
            raise AlreadyWatched(path, holder, _NO_LOCKS.format(error.marker)) from None
        if lock is None:
            raise AlreadyWatched(path, _read_pid(files, home / "pid"))
        output = cls(files, path, home, lock, _lock_file=_identity(files, home / "lock"))
        try:
            with output.turn():
                output.recover()  # first: it needs no space on a full disk
            output._sweep()
            if not is_regular(files, around / ".gitignore"):
                overwrite(files, around / ".gitignore", b"*\n", after=())
            output._put_pid(pid)
        except BaseException:
            lock.release()
            raise
        return output

    @classmethod
    def unclaimed(cls, files: FileSystem, path: Path, config_file: Path | None = None) -> OutputDirectory:
        """Return the output directory for reading only, without its lock. Raises the errors of :meth:`claim`, except the first."""
        return cls(files, path, cls._homes(files, path, config_file)[1], _Unclaimed())

    @classmethod
    def _homes(cls, files: FileSystem, path: Path, config_file: Path | None) -> tuple[Path, Path]:
        status = files.stat(path, follow=True) or files.stat(path)  # the second: for a dangling link
        if status is not None and status.kind != "directory":
            raise PromotionError("the output directory, set by dir under [output], is not a directory.", path=path)
        around = path.parent / _HOME
        check_is_own(files, around, config_file)
        with explained(files, around, config_file):
            check_is_own(files, around / path.name, config_file)
        return around, around / path.name

    @property
    def pid(self) -> int | None:
        """The process whose session was the last to hold it, unless that has released it."""
        return _read_pid(self.files, self.home / "pid")

    def is_held(self) -> bool:
        """Return whether the lock keeps others out: not if its file was removed, or replaced by another one."""
        return bool(self._lock_file) and _identity(self.files, self.home / "lock") == self._lock_file

    def check_is_held(self) -> None:
        """Raise :class:`PromotionError` unless :meth:`is_held`."""
        if not self.is_held():
            raise PromotionError(
                "the lock was removed while this cycle ran, so another session may be using the output directory. The next "
                "cycle takes the lock anew.",
                path=self.home / "lock",
            )

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Be the only process that changes files in this output directory, also if another one has taken the lock.

        The lock is a file, whose name another process can lock as soon as it was removed. Therefore those who change files, for
        milliseconds as a rule, take turns on the directory around it, which stays. Raises :class:`PromotionError` after
        :data:`_TURN` seconds.
        """
        until = time.monotonic() + _TURN
        while (claim := self.files.take_turn(self.path.parent)) is None:
            if time.monotonic() >= until:
                raise PromotionError(
                    f"another process has been changing files there for {_TURN:g} s. The next cycle tries again.",
                    path=self.path,
                )
            time.sleep(_TURN_CHECK)
        try:
            yield
        finally:
            claim.release()

    @contextlib.contextmanager
    def turn_if_held(self) -> Iterator[bool]:
        """Be the only process that changes files, as in :meth:`turn`; the value is that of :meth:`is_held`, for as long."""
        with self.turn():
            yield self.is_held()

    def release(self) -> None:
        """Release the output directory for the next session."""
        with self._releasing:
            try:
                if self.is_held():
                    remove_tree(self.files, self.home / "pid")
            finally:
                self._lock_file = ()
                self.lock.release()

    @contextlib.contextmanager
    def unreleased(self) -> Iterator[bool]:
        """Hold up :meth:`release` in another thread meanwhile; give whether the lock is held."""
        with self._releasing:
            yield self.is_held()

    def _put_pid(self, pid: int) -> None:
        """Record the pid of the lock's holder. On a full disk, leave no pid rather than an earlier process's."""
        try:
            overwrite(self.files, self.home / "pid", f"{pid}\n".encode())
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            remove_tree(self.files, self.home / "pid")

    @property
    def journal(self) -> JournalStore:
        """The journal of the promotions into it."""
        return JournalStore(self.files, self.path, self.home, self._adopt)

    def recover(self) -> None:
        """Undo an interrupted promotion. If none was, do nothing: it can be called before every cycle."""
        restored = self.journal.recover()
        if restored is not None:
            self.recovered = restored

    def _sweep(self) -> None:
        self.journal.sweep()
        for name in self.files.children(self.home):
            if name in _LEFTOVERS or name.endswith(".new"):
                remove_tree(self.files, self.home / name)
        self.sweep()

    def sweep(self) -> None:
        """Remove stages that could not be removed, and copies that were kept long enough. No stage may be in use."""
        for name in self.files.children(self.home):
            if name.startswith("stage-"):
                remove_tree(self.files, self.home / name)
        sweep_copies(self.files, self.home / "kept")

    def manifest(self) -> Mapping[str, str]:
        """Return the managed files with their digests, as of the last commit; empty if the manifest has no valid seal."""
        self._expected = self._read_manifest().files
        return self._expected

    def expected(self) -> Mapping[str, str]:
        """Return the managed files with their digests, as of the last reading or writing of the manifest."""
        return self.manifest() if self._expected is None else self._expected

    def former(self) -> OutputDirectory | None:
        """Return the output directory that this one replaces, if it is still to be emptied.

        It is not claimed. None also if another session has promoted into it since.
        """
        manifest = self._read_manifest()
        if not manifest.former:
            return None
        try:
            former = OutputDirectory.unclaimed(self.files, Path(manifest.former))
        except (ConfigError, PromotionError):
            return None
        return former if former.manifest_digest() == manifest.former_manifest else None

    def put_manifest(self, files: Mapping[str, str], former: OutputDirectory | None = None) -> None:
        """Record the managed files with their digests, and the output directory that is still to be emptied.

        It survives a power failure only after a barrier on the manifest and the home.
        """
        replaced = {} if former is None else {"former": str(former.path), "former_manifest": former.manifest_digest()}
        self._write_manifest(_Manifest(1, dict(files), **replaced))
        self._expected = files

    def forget_former(self) -> None:
        """Record that the former output directory has been emptied."""
        self._write_manifest(_Manifest(1, dict(self.manifest())), after=())

    def manifest_digest(self) -> str:
        """Return the digest of the manifest file; empty if there is none."""
        data = read_bounded(self.files, self.home / "manifest.json")
        return "" if data is None else digest_of(data)

    def _read_manifest(self) -> _Manifest:
        try:
            data = read_sealed(self.files, self.home / "manifest.json")
            manifest = _Manifest(1, {}) if data is None else msgspec.json.decode(data, type=_Manifest)
        except (OSError, msgspec.MsgspecError) as error:
            logger.warning("%s cannot be used and is ignored: %s", self.home / "manifest.json", error)
            return _Manifest(1, {})
        is_usable = manifest.files == self._expected or all(map(is_inside, manifest.files))
        return manifest if is_usable else _Manifest(1, {})

    def _write_manifest(self, manifest: _Manifest, *, after: Sequence[Path] | None = None) -> None:
        data = msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
        write_sealed(self.files, self.home / "manifest.json", data, after=after)

    def _adopt(self, files: Mapping[str, str]) -> None:
        """Add files to the manifest, unless it lists them; on a full disk they are not lastgood's from then on."""
        manifest = self._read_manifest()
        with contextlib.suppress(OSError):
            self._write_manifest(msgspec.structs.replace(manifest, files={**files, **manifest.files}), after=())

    def existing(self) -> Mapping[str, Existing]:
        """Return everything in the output directory except bytecode caches. Read only what has changed since the last time."""
        found: dict[str, Existing] = {}
        top = self.files.stat(self.path, follow=True)
        if top is None:
            return found
        found[""] = Existing("directory")
        known, self._known = self._known, {}
        self._walk(str(self.path), "", found, known)
        return found

    def _walk(self, directory: str, prefix: str, found: dict[str, Existing], known: _Known) -> None:
        names = self.files.scan(directory)
        if not names:
            self.files.children(Path(directory))  # raises the error if it cannot be read
        for name, kind in sorted(names.items()):
            path, relative = f"{directory}/{name}", f"{prefix}{name}"
            last = known.get(relative) if kind == "file" else None
            if last is not None and last[0] == self.files.signature(path):
                self._known[relative] = last
                found[relative] = last[1]
            elif name == BYTECODE:
                continue
            elif not is_text(name):
                found[relative] = Existing("other")  # lastgood writes no such names, and a journal could not hold them
            elif kind == "file":
                if (existing := self._existing_file(path, relative)) is not None:
                    found[relative] = existing
            elif kind == "directory":
                found[relative] = Existing("directory")
                if name != _HOME and not self._is_other_output(Path(path)):
                    self._walk(path, f"{relative}/", found, known)
            else:
                found[relative] = Existing("other")

    def _existing_file(self, path: str, relative: str) -> Existing | None:
        status = self.files.stat(Path(path))
        if status is None or status.kind != "file":
            return None if status is None else Existing("other")
        is_fresh = status.is_fresh(self.files.now())
        existing = _read_existing(self.files, Path(path))
        if not is_fresh and existing.kind == "file":
            self._known[relative] = status.signature, existing
        return existing

    def _is_other_output(self, directory: Path) -> bool:
        """Return whether a directory inside this one is an output directory itself, whose files are not this one's."""
        # A sealed manifest is proof enough; whose the directories around it are decides nothing here.
        return bool(
            OutputDirectory(self.files, directory, directory.parent / _HOME / directory.name, _Unclaimed()).manifest()
        )

    def plan(
        self, staged: Mapping[str, str], existing: Mapping[str, Existing], managed: Mapping[str, str]
    ) -> Promotion:
        """Plan a promotion of ``staged`` (path to digest) over the files ``existing``, without changing anything.

        ``managed`` are the files of the manifest. Raises :class:`UnmanagedFile`.
        """
        match plan_promotion(existing, staged, managed, f"{_HOME}/{self.path.name}/kept"):
            case Success(promotion):
                return promotion
            case Failure(clash):
                raise UnmanagedFile(self.path / clash.path)


class _Unclaimed:
    """The lock of an output directory that is only read."""

    def release(self) -> None:
        """Do nothing."""


def _read_existing(files: FileSystem, path: Path) -> Existing:
    try:
        data = files.read(path)
    except PermissionError:
        return Existing("other")
    digest = digest_of(data)
    # Only wrappers are written with a header. A tool's copy of one (.orig, .edited, ...) is not lastgood's to remove.
    if path.suffix != ".py" or not has_header(data):
        return Existing("file", digest)
    original = without_conversion(data)
    return Existing("file", digest, digest if original == data else digest_of(original), is_intact(data))


def _identity(files: FileSystem, path: Path) -> tuple[int, ...]:
    """Return the device and inode of a file; empty if it does not exist."""
    status = files.stat(path)
    return () if status is None else status.signature[:2]


def _read_pid(files: FileSystem, path: Path) -> int | None:
    try:
        return int(read_bounded(files, path, 32) or b"")
    except (OSError, ValueError):
        return None
