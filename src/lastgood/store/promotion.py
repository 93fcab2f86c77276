"""Promotion: replace the output directory's content by the stage, or leave everything as it was.

Each operation is written down in the journal before the first is done (:mod:`lastgood.store.journal`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lastgood.effects.files import (
    FileOperation,
    KeepCopy,
    MakeDirectory,
    RemoveDirectory,
    RemoveFile,
    ReplaceFile,
    SetAside,
    WriteFile,
)
from lastgood.errors import PromotionError
from lastgood.planner.promotion import Existing, Promotion
from lastgood.store.file_system import digest_of, place_of
from lastgood.store.journal import Entry, Journal
from lastgood.store.kept_copies import keep_copy
from lastgood.store.output_directory import OutputDirectory
from lastgood.store.trees import (
    BYTECODE,
    drop_bytecode,
    is_regular,
    make_directories,
    real_directories,
    remove_tree,
    staged_place,
)

__all__ = ["Promoting", "empty"]


class Promoting:
    """One promotion of ``stage`` into ``output``: :meth:`apply`, then :meth:`commit` or :meth:`undo`.

    ``former`` is the output directory that ``output`` replaces: the manifest names it until it is emptied. ``staged`` are the
    digests of all files of the generation, ``texts`` the contents of those that the stage may lack, because the output
    directory should have them already.
    """

    def __init__(
        self,
        output: OutputDirectory,
        stage: Path,
        staged: Mapping[str, str],
        former: OutputDirectory | None = None,
        texts: Mapping[str, bytes] | None = None,
    ) -> None:
        self.output = output
        self.former = former
        self.stage = stage
        self.staged = staged
        self._texts = texts or {}
        self.promotion = Promotion()
        self._journal: Journal | None = None
        self._existing: Mapping[str, Existing] = {}
        self._begun = False

    def apply(self, before_changes: Callable[[], object] = lambda: None) -> None:
        """Change the output directory to what the stage holds. If it raises at any point, :meth:`undo` reverts it.

        ``before_changes`` is called after ``promotion`` is known and before the first change; not if nothing will change.
        Raises :class:`UnmanagedFile` before anything is changed, :class:`PromotionError` if an operation fails.
        """
        files = dict(sorted(self.staged.items()))
        try:
            self._existing, managed = self.output.existing(), self.output.manifest()
            self.promotion = self.output.plan(self.staged, self._existing, managed)
            has_changed = bool(self.promotion.operations) or managed != files
            self.output.journal.set_unverified_aside()
            if self.former is None and not has_changed:
                return
            self._begin(self._complete_stage(), is_first=not managed)
            before_changes()
            for operation in self.promotion.operations:
                self._do(operation)
            drop_bytecode(self.output.files, (self.output.path / name for name in self.promotion.touched))
            self.output.put_manifest(files, self.former)
            self._flush()
        except OSError as error:
            where = place_of(error, self.output.home)
            raise PromotionError(
                f"the wrappers could not be promoted: {error.strerror or error}.", path=where
            ) from error

    def texts_before(self) -> dict[str, bytes | bool | None]:
        """Return, before the first change, the Python files that will change; None: nothing is there, True: a directory is."""
        before: dict[str, bytes | bool | None] = {}
        for operation in self.promotion.operations:
            match operation:
                case ReplaceFile(name) | RemoveFile(name) if name.endswith(".py"):
                    before[name] = self.output.files.read(self.output.path / name)
                case WriteFile(name) | MakeDirectory(name):
                    before[name] = None
                case RemoveDirectory(name):
                    before[name] = True
        return before

    def commit(self) -> None:
        """Commit: a crash from here on keeps the new files."""
        self.output.journal.commit()
        self._journal = None

    def sweep(self) -> None:
        """Remove the backups after the commit; what cannot be removed now is removed at the next start."""
        self.output.journal.sweep()

    def undo(self) -> None:
        """Restore everything to the state before :meth:`apply`."""
        journal = self.output.journal
        if self._journal is not None:
            if self._begun:
                journal.undo(self._journal)
            else:
                journal.discard()
            self._journal = None
        journal.put_back_unverified()

    def _complete_stage(self) -> list[Path]:
        """Complete the staged files that will be promoted, and return them. Each has the mode of the file it replaces."""
        files = self.output.files
        places = []
        for operation in self.promotion.operations:
            if isinstance(operation, WriteFile | ReplaceFile):
                place = staged_place(self.stage, operation.path)
                if operation.path in self._texts and files.stat(place) is None:
                    make_directories(files, place.parent)
                    files.write(place, self._texts[operation.path])
                status = files.stat(self.output.path / operation.path)
                if status is not None and isinstance(operation, ReplaceFile):
                    files.chmod(place, status.mode)
                places.append(place)
        return places

    def _begin(self, staged: Sequence[Path], *, is_first: bool) -> None:
        files, home = self.output.files, self.output.home
        entries = tuple(self._entry(each) for each in self.promotion.operations if not isinstance(each, KeepCopy))
        self._journal = Journal(1, entries, is_regular(files, home / "manifest.json"), self.stage.name)
        make_directories(files, self.output.path.parent)
        self.output.journal.prepare(self._journal, staged, is_first=is_first)
        self._begun = True
        self.output.journal.begin()

    def _entry(
        self, operation: MakeDirectory | WriteFile | ReplaceFile | RemoveFile | SetAside | RemoveDirectory
    ) -> Entry:
        path = self.output.path / operation.path
        status = self.output.files.stat(path)
        mode = 0 if status is None else status.mode
        match operation:
            case SetAside(name, to):
                return Entry("SetAside", name, to, digest_of(self.output.files.read(path)))
            case WriteFile(name):
                return Entry("WriteFile", name, digest=self.staged[name], mode=mode)
            case ReplaceFile(name):
                kept = self._existing[name].digest
                return Entry("ReplaceFile", name, digest=self.staged[name], mode=mode, kept=kept)
            case RemoveFile(name):
                return Entry("RemoveFile", name, mode=mode, kept=self._existing[name].digest)
            case MakeDirectory(name) | RemoveDirectory(name):
                return Entry(type(operation).__name__, name, mode=mode)

    def _do(self, operation: FileOperation) -> None:
        files = self.output.files
        path = self.output.path / operation.path
        match operation:
            case MakeDirectory():
                files.mkdir(path)
            case SetAside(name, to):
                # The backup rather than the file: what a killed process has not finished is beside it, and swept.
                files.link(self._backup(name), self.output.path / to)
            case KeepCopy(_, to):
                keep_copy(files, path, self.output.path.parent / to)
            case WriteFile(name):
                # A link rather than a rename: it fails instead of overwriting a file that was put there after planning.
                files.link(staged_place(self.stage, name), path)
                files.unlink(staged_place(self.stage, name))
            case ReplaceFile(name):
                files.replace(staged_place(self.stage, name), path)
            case RemoveFile():
                files.unlink(path)
            case RemoveDirectory():
                remove_tree(files, path / BYTECODE)
                files.rmdir(path)

    def _backup(self, set_aside: str) -> Path:
        assert self._journal is not None, "there are no operations before it"
        kinds = [(entry.operation, entry.path) for entry in self._journal.entries]
        return self.output.journal.backup / str(kinds.index(("SetAside", set_aside)))

    def _flush(self) -> None:
        """Have the changes survive a power failure. The new files themselves do already, see :meth:`JournalStore.prepare`."""
        files, home, path = self.output.files, self.output.home, self.output.path
        copies = [path.parent / op.to for op in self.promotion.operations if isinstance(op, KeepCopy)]
        changed = {(path / op.path).parent for op in self.promotion.operations}
        changed |= {(path / name).parent / BYTECODE for name in self.promotion.touched}
        changed |= {directory for copy in copies for directory in (copy.parent, copy.parent.parent)}
        files.barrier((*copies, *real_directories(files, changed), home / "manifest.json", home))


def empty(output: OutputDirectory, stage: Path) -> None:
    """Remove all that was promoted into ``output``, or nothing. ``stage`` is a directory that nothing else needs."""
    emptying = Promoting(output, stage, {})
    try:
        emptying.apply()
        emptying.commit()
    except BaseException:
        emptying.undo()
        raise
    emptying.sweep()
