"""Promotion: replace the output directory's content by the stage, or leave everything as it was.

Synchronous, on the :class:`~lastgood.store.file_system.FileSystem` port. Beside the output directory lies
``.lastgood/<its name>/``:

- ``lock``, ``pid``: the session that holds the output directory;
- ``manifest.json``: the files that lastgood wrote there, with digests;
- ``stage-…``: the output of a cycle before promotion;
- ``journal.json``, ``backup/``: the operations of a promotion, and hard links to the files it replaces or removes;
- ``undo-request``: another process asks the session that holds the output directory to undo its live generation.

These files are only trusted with this user's seal (see :mod:`lastgood.store.user_key`), since they may have come with a
repository. An unsealed file counts as absent; a link or a directory in place of a file is removed.

Promotion uses a write-ahead journal. The backups and then the journal are on disk before the first change. Undoing relies on
the journal alone, not on how many operations were done, so the same code undoes a failure and recovers from a kill; it can be
interrupted and run again. Removing the journal is the commit.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from returns.result import Failure, Success

from lastgood.effects.files import (
    FileOperation,
    MakeDirectory,
    RemoveDirectory,
    RemoveFile,
    ReplaceFile,
    SetAside,
    WriteFile,
)
from lastgood.errors import AlreadyWatched, ConfigError, PromotionError, UnmanagedFile
from lastgood.planner.promotion import Existing, Promotion, plan_promotion
from lastgood.store.access import check_can_be_private, check_is_own, explained
from lastgood.store.file_system import Claim, FileSystem, Stat, digest_of, place_of
from lastgood.store.header import is_generated
from lastgood.store.trees import (
    drop_bytecode,
    is_text,
    make_directories,
    overwrite,
    read_bounded,
    read_sealed,
    remove_tree,
    staged_place,
    write_sealed,
)
from lastgood.store.user_key import seal

__all__ = ["OutputDirectory", "Promoting"]

logger = logging.getLogger(__name__)

_CACHE = "__pycache__"
_HOME = ".lastgood"
_PRIVATE = 0o700
_UNVERIFIED = ("journal.unverified", "backup.unverified")
_LEFTOVERS = (
    "backup",
    "backup.unverified",
    "undo-request",
    "cache",
    "cache-journal",
)  # an earlier version wrote the last two


class _Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``former``: the output directory this one replaces, until that is emptied; ``former_manifest``: its manifest's digest."""

    version: int
    files: dict[str, str]
    former: str = ""
    former_manifest: str = ""


class _Entry(msgspec.Struct, frozen=True):
    """One operation in the journal.

    ``digest``: of the file it writes; undoing removes no other. ``kept``: of the backup; undoing restores no other.
    """

    operation: str
    path: str
    to: str = ""
    digest: str = ""
    mode: int = 0
    kept: str = ""


class _Journal(msgspec.Struct, frozen=True):
    version: int
    entries: tuple[_Entry, ...]
    had_manifest: bool
    stage: str


@dataclass(slots=True)
class OutputDirectory:
    """One output directory and its ``.lastgood/<name>/``. :meth:`claim` makes it, and recovers an interrupted promotion."""

    files: FileSystem
    path: Path
    home: Path
    lock: Claim
    recovered: tuple[str, ...] = ()

    @classmethod
    def claim(cls, files: FileSystem, path: Path, pid: int, config_file: Path | None = None) -> OutputDirectory:
        """Lock the output directory, undo an interrupted promotion, and remove what dead sessions have left.

        Raises :class:`AlreadyWatched` if another session holds it, :class:`PromotionError` if it is not a directory, and
        :class:`ConfigError` if its ``.lastgood/`` is a link or belongs to an untrusted user.
        """
        around, home = cls._homes(files, path, config_file)
        with explained(files, around, config_file):
            check_can_be_private(files, (around, home), config_file)
            return cls._claim(files, path, pid, home)

    @classmethod
    def _claim(cls, files: FileSystem, path: Path, pid: int, home: Path) -> OutputDirectory:
        around = home.parent
        make_directories(files, home)
        status = files.stat(around)
        if status is not None and status.mode != _PRIVATE and status.owner == files.user():
            files.chmod(around, _PRIVATE)
        if not _is_file(files, home / "lock"):
            remove_tree(files, home / "lock")
        holder = _read_pid(files, home / "pid")
        lock = files.lock(home / "lock", holder=holder)
        if lock is None:
            raise AlreadyWatched(path, _read_pid(files, home / "pid"))
        output = cls(files, path, home, lock)
        try:
            output.recover()  # first: it needs no space on a full disk
            output._sweep()
            if not _is_file(files, around / ".gitignore"):
                overwrite(files, around / ".gitignore", b"*\n")
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

    def release(self) -> None:
        """Release the output directory for the next session."""
        try:
            remove_tree(self.files, self.home / "pid")
        finally:
            self.lock.release()

    def _put_pid(self, pid: int) -> None:
        """Record the pid of the lock's holder. On a full disk, leave no pid rather than an earlier process's."""
        try:
            overwrite(self.files, self.home / "pid", f"{pid}\n".encode())
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            remove_tree(self.files, self.home / "pid")

    def ask_undo(self) -> None:
        """Leave an undo request for the session that holds the output directory."""
        write_sealed(self.files, self.home / "undo-request", b"")

    def take_undo_request(self) -> bool:
        """Remove the undo request if there is one; return whether this user left it."""
        if self.files.stat(self.home / "undo-request") is None:
            return False
        is_own = read_sealed(self.files, self.home / "undo-request") is not None
        remove_tree(self.files, self.home / "undo-request")
        return is_own

    def recover(self) -> None:
        """Undo the promotion of a journal that is left. Without one, do nothing: it can be called before every cycle.

        A journal without this user's seal is kept until a promotion is committed: the key may be there at the next start.
        """
        self.put_back_unverified()
        while self.files.stat(self.home / "journal.json") is not None:
            journal = self._read_journal()
            if journal is None:
                logger.warning(
                    "%s is ignored, since it does not have this user's seal, or the key of the seal is lost. If a promotion was "
                    "interrupted, the wrappers may be of two generations until the next successful one writes them again.",
                    self.home / "journal.json",
                )
                return
            restored = tuple(
                entry.path
                for entry in journal.entries
                if entry.operation not in ("MakeDirectory", "RemoveDirectory", "SetAside")
            )
            _Undoing(self).undo(journal, begun=True)
            self.recovered = restored
            self.put_back_unverified()

    def set_unverified_aside(self) -> None:
        """Rename a journal without this user's seal, and its backup, since a promotion needs their names."""
        files, home = self.files, self.home
        if files.stat(home / "journal.json") is None:
            return
        if files.stat(home / _UNVERIFIED[0]) is not None:
            remove_tree(
                files, home / "journal.json"
            )  # two were interrupted, and the backup of the first has the last good
            return
        files.replace(home / "journal.json", home / _UNVERIFIED[0])
        if files.stat(home / "backup") is not None:
            remove_tree(files, home / _UNVERIFIED[1])
            files.replace(home / "backup", home / _UNVERIFIED[1])

    def put_back_unverified(self) -> None:
        """Revert :meth:`set_unverified_aside`, however far it came. The backup is first: a journal always has its own."""
        files, home = self.files, self.home
        if files.stat(home / _UNVERIFIED[0]) is None or files.stat(home / "journal.json") is not None:
            return
        if files.stat(home / _UNVERIFIED[1]) is not None:
            remove_tree(files, home / "backup")
            files.replace(home / _UNVERIFIED[1], home / "backup")
        files.replace(home / _UNVERIFIED[0], home / "journal.json")

    def _sweep(self) -> None:
        names = self.files.children(self.home)
        pairs = (("journal.json", "backup"), _UNVERIFIED)
        needed = {backup for journal, backup in pairs if journal in names}
        for name in names:
            is_left = name.startswith("stage-") or name in _LEFTOVERS or name.endswith(".new")
            if is_left and name not in needed:
                remove_tree(self.files, self.home / name)

    def manifest(self) -> Mapping[str, str]:
        """Return the managed files with their digests, as of the last commit; empty if the manifest has no valid seal."""
        return self._read_manifest().files

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

    def forget_former(self) -> None:
        """Record that the former output directory has been emptied."""
        _put_manifest(self.files, self.home, _Manifest(1, dict(self.manifest())))

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
        return manifest if all(map(_is_inside, manifest.files)) else _Manifest(1, {})

    def _read_journal(self) -> _Journal | None:
        """Return the journal; None if it has no valid seal. Raise :class:`PromotionError` if it cannot be read."""
        path = self.home / "journal.json"
        try:
            data = read_sealed(self.files, path)
            journal = None if data is None else msgspec.json.decode(data, type=_Journal)
        except (OSError, msgspec.MsgspecError) as error:
            raise PromotionError(
                f"the journal of a promotion that was cut short cannot be read ({error}). The files it replaced are in "
                f"{self.home / 'backup'}: put them back, then remove the journal.",
                path=path,
            ) from error
        if journal is None:
            return None
        names = [name for entry in journal.entries for name in (entry.path, entry.to) if name]
        return journal if all(map(_is_inside, (*names, journal.stage))) and "/" not in journal.stage else None

    def existing(self) -> Mapping[str, Existing]:
        """Return everything in the output directory except bytecode caches."""
        found: dict[str, Existing] = {}
        top = self.files.stat(self.path, follow=True)
        if top is None:
            return found
        found[""] = Existing("directory")
        self._walk(self.path, "", found)
        return found

    def _walk(self, directory: Path, prefix: str, found: dict[str, Existing]) -> None:
        for name in self.files.children(directory):
            path = directory / name
            relative = f"{prefix}{name}"
            status = self.files.stat(path)
            if name == _CACHE or status is None:
                continue
            if not is_text(name):
                found[relative] = Existing("other")  # lastgood writes no such names, and a journal could not hold them
            elif status.kind == "file":
                found[relative] = _existing_file(self.files, path)
            elif status.kind == "directory":
                found[relative] = Existing("directory")
                if name != _HOME and not self._is_other_output(path):
                    self._walk(path, f"{relative}/", found)
            else:
                found[relative] = Existing("other")

    def _is_other_output(self, directory: Path) -> bool:
        """Return whether a directory inside this one is an output directory itself, whose files are not this one's."""
        # A sealed manifest is proof enough; whose the directories around it are decides nothing here.
        return bool(
            OutputDirectory(self.files, directory, directory.parent / _HOME / directory.name, _Unclaimed()).manifest()
        )

    def plan(self, staged: Mapping[str, str]) -> Promotion:
        """Plan a promotion of ``staged`` (path to digest) without changing anything. Raises :class:`UnmanagedFile`."""
        return self.plan_from(self.existing(), staged)

    def plan_from(self, existing: Mapping[str, Existing], staged: Mapping[str, str]) -> Promotion:
        """Plan a promotion of ``staged`` over the files ``existing``. Raises :class:`UnmanagedFile`."""
        match plan_promotion(existing, staged, self.manifest()):
            case Success(promotion):
                return promotion
            case Failure(clash):
                raise UnmanagedFile(self.path / clash.path)


class _Unclaimed:
    """The lock of an output directory that is only read."""

    def release(self) -> None:
        """Do nothing."""


class Promoting:
    """One promotion of ``stage`` into ``output``: :meth:`apply`, then :meth:`commit` or :meth:`undo`.

    ``former`` is the output directory that ``output`` replaces: the manifest names it until it is emptied. ``shared`` maps
    staged files that are hard links to files stored elsewhere to their contents. Such a file becomes an independent copy
    before it is promoted, so that editing the output in place does not change the stored file.
    """

    def __init__(
        self,
        output: OutputDirectory,
        stage: Path,
        staged: Mapping[str, str],
        former: OutputDirectory | None = None,
        shared: Mapping[str, bytes] | None = None,
    ) -> None:
        self.output = output
        self.former = former
        self.stage = stage
        self.staged = staged
        self.shared = shared or {}
        self.promotion = Promotion()
        self._journal: _Journal | None = None
        self._existing: Mapping[str, Existing] = {}
        self._begun = False

    def apply(self, before_changes: Callable[[], object] = lambda: None) -> None:
        """Change the output directory to what the stage holds. If it raises at any point, :meth:`undo` reverts it.

        ``before_changes`` is called after ``promotion`` is known and before the first change; not if nothing will change.
        Raises :class:`UnmanagedFile` before anything is changed, :class:`PromotionError` if an operation fails.
        """
        files = dict(sorted(self.staged.items()))
        try:
            self._existing = self.output.existing()
            self.promotion = self.output.plan_from(self._existing, self.staged)
            if self.former is not None:
                manifest = _Manifest(1, files, str(self.former.path), self.former.manifest_digest())
            elif self.promotion.operations or self.output.manifest() != files:
                manifest = _Manifest(1, files)
            else:
                manifest = None
            self.output.set_unverified_aside()
            if manifest is None:
                return
            self._unshare()
            self._prepare()
            before_changes()
            for operation in self.promotion.operations:
                self._do(operation)
            drop_bytecode(self.output.files, (self.output.path / name for name in self.promotion.touched))
            _put_manifest(self.output.files, self.output.home, manifest)
            self._flush()
        except OSError as error:
            where = place_of(error, self.output.home)
            raise PromotionError(
                f"the wrappers could not be promoted: {error.strerror or error}.", path=where
            ) from error

    def commit(self) -> None:
        """Commit: a crash from here on keeps the new files."""
        remove_tree(
            self.output.files, self.output.home / _UNVERIFIED[0]
        )  # first: it must not be undone after the commit
        if self._journal is None:
            return
        self.output.files.unlink(self.output.home / "journal.json")
        self._journal = None

    def sweep(self) -> None:
        """Remove the backups after the commit; what cannot be removed now is removed at the next start."""
        for name in ("backup", _UNVERIFIED[1]):
            remove_tree(self.output.files, self.output.home / name)

    def undo(self) -> None:
        """Restore everything to the state before :meth:`apply`."""
        if self._journal is not None:
            _Undoing(self.output).undo(self._journal, begun=self._begun)
            self._journal = None
        self.output.put_back_unverified()

    def _unshare(self) -> None:
        files = self.output.files
        for operation in self.promotion.operations:
            if isinstance(operation, WriteFile | ReplaceFile) and operation.path in self.shared:
                staged = staged_place(self.stage, operation.path)
                files.unlink(staged)
                files.write(staged, self.shared[operation.path])

    def _prepare(self) -> None:
        files, home, path = self.output.files, self.output.home, self.output.path
        had_manifest = _is_file(files, home / "manifest.json")
        self._journal = _Journal(
            1,
            tuple(self._entry(operation) for operation in self.promotion.operations),
            had_manifest,
            self.stage.name,
        )
        make_directories(files, path.parent)
        backup = home / "backup"
        remove_tree(files, backup)
        files.mkdir(backup)
        for number, entry in enumerate(self._journal.entries):
            if entry.operation in ("ReplaceFile", "RemoveFile"):
                files.link(path / entry.path, backup / str(number))
        if had_manifest:
            files.link(home / "manifest.json", backup / "manifest.json")
        remove_tree(files, home / "journal.new")
        sealed = seal(files.key(), home / "journal.json", msgspec.json.encode(self._journal))
        files.write(home / "journal.new", sealed)
        files.barrier((home / "journal.new", backup))
        self._begun = True
        files.replace(home / "journal.new", home / "journal.json")
        files.barrier((home,))

    def _entry(self, operation: FileOperation) -> _Entry:
        path = self.output.path / operation.path
        status = self.output.files.stat(path)
        mode = 0 if status is None else status.mode
        match operation:
            case SetAside(name, to):
                return _Entry("SetAside", name, to, digest_of(self.output.files.read(path)))
            case WriteFile(name):
                return _Entry("WriteFile", name, digest=self.staged[name], mode=mode)
            case ReplaceFile(name):
                kept = self._existing[name].digest
                return _Entry("ReplaceFile", name, digest=self.staged[name], mode=mode, kept=kept)
            case RemoveFile(name):
                return _Entry("RemoveFile", name, mode=mode, kept=self._existing[name].digest)
            case MakeDirectory(name) | RemoveDirectory(name):
                return _Entry(type(operation).__name__, name, mode=mode)

    def _do(self, operation: FileOperation) -> None:
        files = self.output.files
        path = self.output.path / operation.path
        match operation:
            case MakeDirectory():
                files.mkdir(path)
            case SetAside(_, to):
                files.link(path, self.output.path / to)
            case WriteFile(name):
                # A link rather than a rename: it fails instead of overwriting a file that was put there after planning.
                files.link(staged_place(self.stage, name), path)
                files.unlink(staged_place(self.stage, name))
            case ReplaceFile(name):
                status = files.stat(path)
                if status is not None:
                    files.chmod(staged_place(self.stage, name), status.mode)
                files.replace(staged_place(self.stage, name), path)
            case RemoveFile():
                files.unlink(path)
            case RemoveDirectory():
                remove_tree(files, path / _CACHE)
                files.rmdir(path)

    def _flush(self) -> None:
        path = self.output.path
        written = [path / op.path for op in self.promotion.operations if isinstance(op, WriteFile | ReplaceFile)]
        around = {(path / op.path).parent for op in self.promotion.operations if (path / op.path).parent != path.parent}
        status = [each for each in sorted(around) if self.output.files.stat(each) is not None]
        self.output.files.barrier((*written, *status, self.output.home))


class _Undoing:
    """Undoes a journal, however many of its operations were done. Each step is idempotent."""

    def __init__(self, output: OutputDirectory) -> None:
        self.files = output.files
        self.output = output
        self.backup = output.home / "backup"

    def undo(self, journal: _Journal, *, begun: bool) -> None:
        """Undo the journal. ``begun``: the backups are complete, and some of the operations may have been done."""
        if begun:
            entries = [each for each in enumerate(journal.entries) if not self._is_behind_link(each[1].path)]
            for number, entry in reversed(entries):
                self._undo(number, entry, self.output.home / journal.stage)
            drop_bytecode(self.files, (self.output.path / entry.path for _, entry in entries))
            self._restore_manifest(journal)
        for unfinished in ("journal.json", "journal.new", "manifest.json.new"):
            remove_tree(self.files, self.output.home / unfinished)
        remove_tree(self.files, self.backup)

    def _is_behind_link(self, name: str) -> bool:
        """Return whether the path to that file now leads through a link: the file behind it was not promoted."""
        path = self.output.path / name
        return bool(name) and self.files.real_path(path.parent) != self.files.real_path(
            self.output.path
        ) / path.parent.relative_to(self.output.path)

    def _undo(self, number: int, entry: _Entry, stage: Path) -> None:
        files = self.files
        path = self.output.path / entry.path
        status = files.stat(path)
        match entry.operation:
            case "WriteFile":
                if status is not None and self._is_written(entry, status, stage):
                    files.unlink(path)
            case "ReplaceFile" | "RemoveFile":
                if _is_file(files, kept := self.backup / str(number), entry.kept):
                    files.replace(kept, path)
            case "SetAside":
                if _is_file(files, aside := self.output.path / entry.to, entry.digest):
                    files.unlink(aside)
            case "MakeDirectory":
                if status is not None and status.kind == "directory":
                    remove_tree(files, path / _CACHE)
                    if not files.children(path):
                        files.rmdir(path)
            case "RemoveDirectory":
                if status is None:
                    files.mkdir(path)
                if status is None or (status.kind == "directory" and status.mode != entry.mode):
                    files.chmod(path, entry.mode)
            case _:
                raise PromotionError(
                    f'the journal names an operation "{entry.operation}" that this version of lastgood does not know. '
                    "Start the version that wrote it once, or restore the files from the backup directory beside it.",
                    path=self.output.home / "journal.json",
                )

    def _is_written(self, entry: _Entry, status: Stat, stage: Path) -> bool:
        """Return whether the promotion wrote this file, rather than somebody else one with the same bytes."""
        path = self.output.path / entry.path
        if status.kind != "file" or digest_of(self.files.read(path)) != entry.digest:
            return False
        # The staged file is removed once it is in place. Until then the promoted link or copy has the same mtime.
        staged = self.files.stat(staged_place(stage, entry.path))
        return staged is None or staged.mtime_ns == status.mtime_ns

    def _restore_manifest(self, journal: _Journal) -> None:
        manifest = self.output.home / "manifest.json"
        kept = self.backup / "manifest.json"
        if not journal.had_manifest:
            remove_tree(self.files, manifest)
        elif _is_file(self.files, kept):
            self.files.replace(kept, manifest)


def _is_file(files: FileSystem, path: Path, digest: str | None = None) -> bool:
    """Return whether a regular file is there, not a link; with that digest, if one is given."""
    status = files.stat(path)
    return (
        status is not None and status.kind == "file" and digest in (None, "" if digest is None else files.digest(path))
    )


def _is_inside(name: str) -> bool:
    """Return whether the relative path names something below the directory it is relative to."""
    return name not in ("", ".") and not name.startswith("/") and "\0" not in name and ".." not in name.split("/")


def _existing_file(files: FileSystem, path: Path) -> Existing:
    try:
        data = files.read(path)
    except PermissionError:
        return Existing("other")
    return Existing("file", digest_of(data), is_generated(data))


def _put_manifest(files: FileSystem, home: Path, manifest: _Manifest) -> None:
    write_sealed(files, home / "manifest.json", msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")


def _read_pid(files: FileSystem, path: Path) -> int | None:
    try:
        return int(read_bounded(files, path, 32) or b"")
    except (OSError, ValueError):
        return None
