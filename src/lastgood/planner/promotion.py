"""Plan a promotion: the file operations that turn the output directory into what is staged. Pure.

A file is *managed* by lastgood if the manifest lists it, or it has lastgood's header, or its bytes equal the staged ones. The
manifest also lists the files that the last promotion had written when it was undone, and that somebody had changed by then.
Files that are not managed are never overwritten or removed. The bytes of a managed file are *known* if lastgood wrote them or
would write them now: those of the manifest or the stage, or those that the digest line of a former version stands for. Before
a managed file with other bytes is replaced or removed, they are kept:

- beside it, if the manifest lists the file: here somebody changed what lastgood had written;
- in ``.lastgood/``, if it has only its header, as every committed wrapper of a fresh clone. Such a file was edited by hand, or,
  which is far more common, it was committed before its source changed. Nobody can know, and an edit must not be lost. A file
  beside each outdated wrapper would fill the working tree with files that nobody wants to commit, so that copies are kept out
  of it, once for each content, and one warning names them all. They are removed :data:`DAYS_KEPT` days after the last time
  that such a file was replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from posixpath import basename, dirname

from msgspec import Struct
from returns.result import Failure, Success

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

__all__ = ["DAYS_KEPT", "Clash", "Existing", "Promotion", "copy_name", "plan_promotion"]

DAYS_KEPT = 30


class Existing(Struct, frozen=True):
    """An existing entry of the output directory.

    ``kind``: "file", "directory", or "other" (a link, a FIFO, ...); ``digest``: of a file's bytes. Of a file with lastgood's
    header: ``converted_from``: the digest of its bytes before a checkout or an editor converted line endings; ``intact``: a
    former version's digest line matches.
    """

    kind: str
    digest: str = ""
    converted_from: str = ""
    intact: bool = False

    @property
    def has_header(self) -> bool:
        """Return whether the file has lastgood's header."""
        return bool(self.converted_from)


class Clash(Struct, frozen=True):
    """An entry at ``path``, relative to the output directory, is in the way and is not managed by lastgood."""

    path: str


class Promotion(Struct, frozen=True):
    """A planned promotion: ``operations`` in order, and ``warnings`` for the user."""

    operations: tuple[FileOperation, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def touched(self) -> tuple[str, ...]:
        """The generated files that will be written or removed, sorted."""
        return tuple(sorted(op.path for op in self.operations if isinstance(op, WriteFile | ReplaceFile | RemoveFile)))


def plan_promotion(
    before: Mapping[str, Existing], staged: Mapping[str, str], managed: Mapping[str, str], kept: str
) -> Success[Promotion] | Failure[Clash]:
    """Plan the operations after which the output directory has the staged content.

    ``before``: all entries below the output directory, without caches, and ``""`` for the directory itself if it exists.
    ``staged`` and ``managed`` map paths to digests: those of the stage and those of the manifest. ``kept``: the directory
    for copies, see :class:`KeepCopy`. A file with equal content needs no operation.
    """
    makes: list[FileOperation] = []
    writes: list[FileOperation] = []
    removed = [path for path in sorted(before.keys() - staged.keys()) if _is_managed(path, before[path], managed)]
    # There may be thousands of files, of which hardly any differs.
    differing = sorted(
        [
            path
            for path, digest in staged.items()
            if (there := before.get(path)) is None or there.digest != digest or there.kind != "file"
        ]
    )
    replaced = [
        path
        for path in sorted({*removed, *(path for path in differing if path in before)})
        if _is_managed(path, before[path], managed) and not _is_known(path, before[path], staged, managed)
    ]
    kept_aside = [SetAside(path, _free_name(path, before)) for path in replaced if path in managed]
    copied = [KeepCopy(path, copy_name(path, before[path].digest, kept)) for path in replaced if path not in managed]
    above = {path.rpartition("/")[0] for path in differing}  # what is equal is in its directory
    directories = {*above, *(parent for directory in above for parent in _parents(directory))}
    emptied: list[str] = []
    if removed:
        emptied = _emptied({*before, *directories, *staged, *(aside.to for aside in kept_aside)}, set(removed))
    for directory in sorted(directories):
        existing = before.get(directory)
        if existing is None or directory in removed:
            makes.append(MakeDirectory(directory))
        elif existing.kind != "directory":
            return Failure(Clash(directory))
    for path in differing:
        existing = before.get(path)
        if existing is None or path in emptied:
            writes.append(WriteFile(path))
        elif _is_managed(path, existing, managed):
            writes.append(ReplaceFile(path))
        else:
            return Failure(Clash(path))

    def is_in_the_way(path: str) -> bool:
        return path in directories or not {path, *_parents(path)}.isdisjoint(staged)

    # Write before removing, so that an import meanwhile finds either the old or the new module.
    removes: list[RemoveFile | RemoveDirectory] = [*map(RemoveFile, removed), *map(RemoveDirectory, emptied)]
    first = [remove for remove in removes if is_in_the_way(remove.path)]
    last = [remove for remove in removes if not is_in_the_way(remove.path)]
    warnings = [f"{aside.path} had been edited by hand; it was kept as {aside.to}." for aside in kept_aside]
    if copied:
        warnings.append(_copies_text([copy.path for copy in copied], kept))
    return Success(Promotion((*kept_aside, *copied, *first, *makes, *writes, *last), tuple(warnings)))


def _is_managed(path: str, existing: Existing, managed: Mapping[str, str]) -> bool:
    return existing.kind == "file" and (path in managed or existing.has_header)


def _is_known(path: str, existing: Existing, staged: Mapping[str, str], managed: Mapping[str, str]) -> bool:
    return existing.intact or not {existing.digest, existing.converted_from}.isdisjoint(
        {managed.get(path), staged.get(path)}
    )


def _parents(path: str) -> list[str]:
    """Return every directory above ``path``, up to the output directory itself, which is ``""``."""
    parents = [dirname(path)]
    while parents[-1]:
        parents.append(dirname(parents[-1]))
    return parents


def _emptied(paths: set[str], removed: set[str]) -> list[str]:
    """Return the directories below the output directory that become empty without ``removed``, deepest first."""
    left = paths - removed
    emptied: list[str] = []
    above = {parent for path in removed for parent in _parents(path) if parent}
    for directory in sorted(above, key=lambda path: (-path.count("/"), path)):
        if not any(dirname(path) == directory for path in left if path != ""):
            emptied.append(directory)
            left.discard(directory)
    return emptied


def _free_name(path: str, before: Mapping[str, Existing]) -> str:
    number = 1
    while (name := f"{path}.edited" if number == 1 else f"{path}.edited-{number}") in before:
        number += 1
    return name


def copy_name(path: str, digest: str, kept: str) -> str:
    """Return where in the directory ``kept`` a copy of the file ``path`` is: named for its content, so that it is kept once."""
    return f"{kept}/{digest[:16]}/{basename(path)}"


_MAX_NAMED = 5


def _copies_text(paths: list[str], kept: str) -> str:
    named = ", ".join(paths[:_MAX_NAMED])
    more = f" and {len(paths) - _MAX_NAMED} more" if len(paths) > _MAX_NAMED else ""
    return (
        f"{named}{more} may have been edited by hand: there is no record of them in .lastgood/, as in a fresh clone. "
        f"Copies stay in {kept} for {DAYS_KEPT} days."
    )
