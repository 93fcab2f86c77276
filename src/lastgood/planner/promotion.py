"""Plan a promotion: the file operations that turn the output directory into what is staged. Pure.

A file is *managed* by lastgood if the manifest lists it, or the digest in its header matches its body, or its bytes equal the
staged ones. Files that are not managed are never overwritten or removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from posixpath import dirname

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

__all__ = ["Clash", "Existing", "Promotion", "plan_promotion"]


@dataclass(frozen=True, slots=True)
class Existing:
    """An existing entry of the output directory.

    ``kind``: "file", "directory", or "other" (a link, a FIFO, ...); ``digest``: of a file's bytes; ``generated``: the digest in
    the file's header matches its body.
    """

    kind: str
    digest: str = ""
    generated: bool = False


@dataclass(frozen=True, slots=True)
class Clash:
    """An entry at ``path``, relative to the output directory, is in the way and is not managed by lastgood."""

    path: str


@dataclass(frozen=True, slots=True)
class Promotion:
    """A planned promotion: ``operations`` in order, and ``warnings`` for the user."""

    operations: tuple[FileOperation, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def touched(self) -> tuple[str, ...]:
        """The generated files that will be written or removed, sorted."""
        return tuple(sorted(op.path for op in self.operations if isinstance(op, WriteFile | ReplaceFile | RemoveFile)))


def plan_promotion(
    before: Mapping[str, Existing], staged: Mapping[str, str], managed: Mapping[str, str]
) -> Success[Promotion] | Failure[Clash]:
    """Plan the operations after which the output directory has the staged content.

    ``before``: all entries below the output directory, without caches, and ``""`` for the directory itself if it exists.
    ``staged`` and ``managed`` map paths to digests: those of the stage and those of the manifest. A file with equal content
    needs no operation.
    """
    makes: list[FileOperation] = []
    writes: list[FileOperation] = []
    removed = [path for path, each in sorted(before.items()) if path not in staged and _is_managed(path, each, managed)]
    kept_aside = [
        SetAside(path, _free_name(path, before))
        for path in sorted({*removed, *(staged.keys() & managed.keys() & before.keys())})
        if _is_edited(path, before[path], managed) and before[path].digest != staged.get(path)
    ]
    directories = {parent for path in staged for parent in _parents(path)}
    left = {*before, *directories, *staged, *(aside.to for aside in kept_aside)}
    emptied = _emptied(left, set(removed))
    for directory in sorted(directories):
        existing = before.get(directory)
        if existing is None or directory in removed:
            makes.append(MakeDirectory(directory))
        elif existing.kind != "directory":
            return Failure(Clash(directory))
    for path, digest in sorted(staged.items()):
        existing = before.get(path)
        if existing is None or path in emptied:
            writes.append(WriteFile(path))
        elif existing.kind == "file" and existing.digest == digest:
            continue
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
    warnings = tuple(f"{aside.path} had been edited by hand; it was kept as {aside.to}." for aside in kept_aside)
    return Success(Promotion((*kept_aside, *first, *makes, *writes, *last), warnings))


def _is_managed(path: str, existing: Existing, managed: Mapping[str, str]) -> bool:
    return existing.kind == "file" and (path in managed or existing.generated)


def _is_edited(path: str, existing: Existing, managed: Mapping[str, str]) -> bool:
    """Return whether a generated file was edited by hand, and not merely written by another version of lastgood."""
    return existing.kind == "file" and existing.digest != managed.get(path, existing.digest) and not existing.generated


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
