"""The journal of a promotion: a write-ahead log, by which the promotion can be undone.

In the home of an output directory (see :mod:`lastgood.store.output_directory`) lie ``journal.json``, with the operations of a
promotion, and ``backup/``, with hard links to the files that it replaces, removes or sets aside. Undoing relies on the journal
alone, not on how many operations were done, so the same code undoes a failure and recovers from a kill; it can be interrupted
and run again. Removing the journal is the commit.

A power failure may lose, in any order, what no barrier (:meth:`~lastgood.store.file_system.FileSystem.barrier`) has flushed. So
there is one between each two of these:

1. the backups, the new files and the journal are written, under another name;
2. the journal gets its name;
3. the output directory and the manifest are changed;
4. the journal is removed;
5. the backups are removed.

When it is undone, there is one between restoring files and removing the journal; and one between making a directory again and
moving a file there whose only name is in the backups.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from lastgood.errors import PromotionError
from lastgood.planner.promotion import DAYS_KEPT, copy_name
from lastgood.store.file_system import FileSystem, Stat, digest_of, part_of
from lastgood.store.kept_copies import keep_copy
from lastgood.store.trees import (
    BYTECODE,
    drop_bytecode,
    is_inside,
    is_regular,
    read_sealed,
    real_directories,
    remove_tree,
    staged_place,
)
from lastgood.store.user_key import seal

__all__ = ["Entry", "Journal", "JournalStore"]

logger = logging.getLogger(__name__)


class Entry(msgspec.Struct, frozen=True):
    """One operation in the journal.

    ``digest``: of the file it writes; undoing removes no other. ``kept``: of the backup; undoing restores no other.
    """

    operation: str
    path: str
    to: str = ""
    digest: str = ""
    mode: int = 0
    kept: str = ""


class Journal(msgspec.Struct, frozen=True):
    """The operations of a promotion, and the name of its stage. ``had_manifest``: the backup has the manifest before it."""

    version: int
    entries: tuple[Entry, ...]
    had_manifest: bool
    stage: str


class JournalStore(Struct, frozen=True):
    """The journal of the output directory ``output``, and the backups that belong to it, in its ``home``.

    ``adopt`` records files (path to digest) as lastgood's own, in the manifest.
    """

    files: FileSystem
    output: Path
    home: Path
    adopt: Callable[[Mapping[str, str]], object] = lambda _: None

    @property
    def path(self) -> Path:
        """The journal. It exists from the beginning of a promotion until its commit."""
        return self.home / "journal.json"

    @property
    def backup(self) -> Path:
        """The directory of the backups."""
        return self.home / "backup"

    @property
    def unverified(self) -> Path:
        """A journal without this user's seal, while a promotion needs its name."""
        return self.home / "journal.unverified"

    @property
    def unverified_backup(self) -> Path:
        """The backups of the unverified journal."""
        return self.home / "backup.unverified"

    def read(self) -> Journal | None:
        """Return the journal; None if it has no valid seal. Raise :class:`PromotionError` if it cannot be read."""
        try:
            data = read_sealed(self.files, self.path)
            journal = None if data is None else msgspec.json.decode(data, type=Journal)
        except (OSError, msgspec.MsgspecError) as error:
            raise PromotionError(
                f"the journal of a promotion that was cut short cannot be read ({error}). The files it replaced are in "
                f"{self.backup}: put them back, then remove the journal.",
                path=self.path,
            ) from error
        if journal is None:
            return None
        names = [name for entry in journal.entries for name in (entry.path, entry.to) if name]
        return journal if all(map(is_inside, (*names, journal.stage))) and "/" not in journal.stage else None

    # --- a promotion

    def prepare(self, journal: Journal, new: Sequence[Path], *, is_first: bool) -> None:
        """Make the backups, and write the journal under another name; they and the ``new`` files survive a power failure then.

        ``is_first``: no earlier promotion has made sure that the home itself does.
        """
        files = self.files
        self._remove_backup(self.backup)
        files.mkdir(self.backup)
        kept = [
            (self.output / entry.path, self.backup / str(number))
            for number, entry in enumerate(journal.entries)
            if entry.operation in ("ReplaceFile", "RemoveFile", "SetAside")
        ]
        if journal.had_manifest:
            kept.append((self.home / "manifest.json", self.backup / "manifest.json"))
        for path, backup in kept:
            files.link(path, backup)
        fresh = self.home / "journal.new"
        remove_tree(files, fresh)
        files.write(fresh, seal(files.key(), self.path, msgspec.json.encode(journal)))
        around = (self.home.parent, self.home.parent.parent) if is_first else ()
        files.barrier((*new, fresh, *(backup for _, backup in kept), self.backup, self.home, *around))

    def begin(self) -> None:
        """Give the prepared journal its name: from here on a crash undoes the promotion."""
        self.files.replace(self.home / "journal.new", self.path)
        self.files.barrier((self.home,))

    def commit(self) -> None:
        """Remove the journal: a crash from here on keeps the new files, a power failure only after :meth:`sweep`."""
        if self.files.stat(self.unverified) is not None:
            remove_tree(self.files, self.unverified)  # first: it must not be undone after the commit
            self.files.barrier((self.home,))
        remove_tree(self.files, self.path)

    def sweep(self) -> None:
        """Remove the backups that belong to no journal, as after a commit."""
        for journal, backup in ((self.path, self.backup), (self.unverified, self.unverified_backup)):
            if self.files.stat(journal) is None:
                self._remove_backup(backup)

    def _remove_backup(self, backup: Path) -> None:
        """Remove a directory of backups, after a barrier: its journal must not come back without it."""
        if self.files.stat(backup) is not None:
            self.files.barrier((self.home,))
            remove_tree(self.files, backup)

    # --- undoing

    def recover(self) -> tuple[str, ...] | None:
        """Undo the promotion of a journal that is left, and return the files it was to change; None if there is no such journal.

        A journal without this user's seal is kept until a promotion is committed: the key may be there at the next start.
        """
        restored: tuple[str, ...] | None = None
        self.put_back_unverified()
        while self.files.stat(self.path) is not None:
            journal = self.read()
            if journal is None:
                logger.warning(
                    "%s is ignored, since it does not have this user's seal, or the key of the seal is lost. If a promotion was "
                    "interrupted, the wrappers may be of two generations until the next successful one writes them again.",
                    self.path,
                )
                break
            self.undo(journal, after_crash=True)
            restored = tuple(
                entry.path
                for entry in journal.entries
                if entry.operation not in ("MakeDirectory", "RemoveDirectory", "SetAside")
            )
            self.put_back_unverified()
        return restored

    def undo(self, journal: Journal, *, after_crash: bool = False) -> None:
        """Restore everything to the state before the promotion, however many of its operations were done.

        ``after_crash``: a new file may be torn.
        """
        entries = [each for each in enumerate(journal.entries) if not self._is_behind_link(each[1].path)]
        stage = self.home / journal.stage
        made: set[Path] = set()
        for number, entry in reversed(entries):
            if entry.operation in ("ReplaceFile", "RemoveFile"):
                if directories := real_directories(self.files, made):
                    self.files.barrier(directories)  # before the only name of a file is moved into one of them
                made.clear()
            if after_crash:
                self._remove_torn(number, entry, stage)
            self._revert(number, entry, stage)
            if entry.operation == "RemoveDirectory":
                made.add((self.output / entry.path).parent)  # also if an undoing that was interrupted made it
        drop_bytecode(self.files, (self.output / entry.path for _, entry in entries))
        self._restore_manifest(journal)
        changed = {entry.path: entry.digest for _, entry in entries if self._was_changed(entry, stage)}
        if changed:
            self.adopt(changed)
        restored = real_directories(self.files, ((self.output / entry.path).parent for _, entry in entries))
        self.files.barrier((*restored, self.home))
        remove_tree(self.files, self.path)
        self.discard()

    def discard(self) -> None:
        """Remove what is left of a journal that has never had its name, or has it no more."""
        for path in (self.home / "journal.new", self.home / "manifest.json.new", self.backup):
            remove_tree(self.files, path)

    def _is_behind_link(self, name: str) -> bool:
        """Return whether the path to that file now leads through a link: the file behind it was not promoted."""
        path = self.output / name
        return bool(name) and self.files.real_path(path.parent) != self.files.real_path(
            self.output
        ) / path.parent.relative_to(self.output)

    def _revert(self, number: int, entry: Entry, stage: Path) -> None:
        files = self.files
        path = self.output / entry.path
        status = files.stat(path)
        match entry.operation:
            case "WriteFile":
                if status is not None and self._is_written(entry, status, stage):
                    files.unlink(path)
            case "ReplaceFile" | "RemoveFile":
                if is_regular(files, kept := self.backup / str(number), entry.kept):
                    self._keep_if_changed(entry, path)
                    files.replace(kept, path)
            case "SetAside":
                aside = self.output / entry.to
                if is_regular(files, aside, entry.digest) or self._is_unfinished(self.backup / str(number), aside):
                    files.unlink(aside)
            case "MakeDirectory":
                if status is not None and status.kind == "directory":
                    remove_tree(files, path / BYTECODE)
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
                    path=self.path,
                )

    def _keep_if_changed(self, entry: Entry, path: Path) -> None:
        """Copy what somebody has written to ``path`` since it was replaced or removed."""
        if not is_regular(self.files, path) or (digest := self.files.digest(path)) in (entry.digest, entry.kept):
            return
        to = self.home / copy_name(entry.path, digest, "kept")
        keep_copy(self.files, path, to)
        self.files.barrier((to, to.parent, to.parent.parent, self.home))  # before the only other copy is replaced
        logger.warning(
            "%s was changed before its promotion was undone, and is what it was before that. The changed file stays in %s for "
            "%d days.",
            path,
            to,
            DAYS_KEPT,
        )

    def _is_written(self, entry: Entry, status: Stat, stage: Path) -> bool:
        """Return whether the promotion wrote this file, rather than somebody else one with the same bytes."""
        path, place = self.output / entry.path, staged_place(stage, entry.path)
        if self._is_unfinished(place, path):
            return True
        if status.kind != "file" or digest_of(self.files.read(path)) != entry.digest:
            return False
        # The staged file is removed once it is in place. Until then the promoted link or copy has the same mtime.
        staged = self.files.stat(place)
        return staged is None or staged.mtime_ns == status.mtime_ns

    def _is_unfinished(self, source: Path, target: Path) -> bool:
        """Return whether ``target`` is empty, since copying ``source`` to it was interrupted."""
        status = self.files.stat(target)
        is_empty = status is not None and status.kind == "file" and status.size == 0
        return is_empty and self.files.stat(part_of(source)) is not None

    def _remove_torn(self, number: int, entry: Entry, stage: Path) -> None:
        """Remove a new file of which a power failure has left only a part: it is empty, cut off, or has holes."""
        match entry.operation:
            case "WriteFile":
                source, target = staged_place(stage, entry.path), self.output / entry.path
            case "SetAside":
                source, target = self.backup / str(number), self.output / entry.to
            case _:
                return
        if is_regular(self.files, source) and is_regular(self.files, target):
            whole, found = self.files.read(source), self.files.read(target)
            is_part = len(found) <= len(whole) and all(a in (b, 0) for a, b in zip(found, whole, strict=False))
            if is_part and found != whole:
                self.files.unlink(target)

    def _was_changed(self, entry: Entry, stage: Path) -> bool:
        """Return whether the promotion wrote this new file and somebody has changed it since, so that it was not removed."""
        is_done = entry.operation == "WriteFile" and self.files.stat(staged_place(stage, entry.path)) is None
        return is_done and is_regular(self.files, self.output / entry.path)

    def _restore_manifest(self, journal: Journal) -> None:
        manifest = self.home / "manifest.json"
        kept = self.backup / "manifest.json"
        if not journal.had_manifest:
            remove_tree(self.files, manifest)
        elif is_regular(self.files, kept):
            self.files.replace(kept, manifest)

    # --- a journal of unknown origin

    def set_unverified_aside(self) -> None:
        """Rename a journal without this user's seal, and its backup, since a promotion needs their names."""
        if self.files.stat(self.path) is None:
            return
        if self.files.stat(self.unverified) is not None:
            remove_tree(self.files, self.path)  # two were interrupted, and the backup of the first has the last good
            return
        self._remove_backup(self.unverified_backup)
        self.files.replace(self.path, self.unverified)
        if self.files.stat(self.backup) is not None:
            self.files.barrier((self.home,))  # a backup that has its name no more belongs to a journal that has neither
            self.files.replace(self.backup, self.unverified_backup)
            self.files.barrier((self.home,))  # before another backup takes its name

    def put_back_unverified(self) -> None:
        """Revert :meth:`set_unverified_aside`, however far it came. The backup is first: a journal always has its own."""
        if self.files.stat(self.unverified) is None or self.files.stat(self.path) is not None:
            return
        if self.files.stat(self.unverified_backup) is not None:
            self._remove_backup(self.backup)
            self.files.replace(self.unverified_backup, self.backup)
            self.files.barrier((self.home,))
        self.files.replace(self.unverified, self.path)
