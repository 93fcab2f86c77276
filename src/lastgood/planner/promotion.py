"""Two trees -> the file operations that lead from one to the other (contract §§4, 5). Pure.

Ours is a file that the manifest lists, or whose header's digest matches its body, or whose bytes equal the staged ones.
What is not ours is never overwritten or removed.
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
    """What stands at one path of the output directory.

    ``kind``: "file", "directory", or "other" (a link, a FIFO, ...); ``digest`` of a file's bytes; ``generated``: its header's
    digest matches its body.
    """

    kind: str
    digest: str = ""
    generated: bool = False


@dataclass(frozen=True, slots=True)
class Clash:
    """What stands at ``path``, relative to the output directory, is not ours, and in the way."""

    path: str


@dataclass(frozen=True, slots=True)
class Promotion:
    """``operations`` in order, and ``warnings`` for the user."""

    operations: tuple[FileOperation, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def touched(self) -> tuple[str, ...]:
        """The generated files that are written or removed, sorted."""
        return tuple(sorted(op.path for op in self.operations if isinstance(op, WriteFile | ReplaceFile | RemoveFile)))


def plan_promotion(
    before: Mapping[str, Existing], staged: Mapping[str, str], managed: Mapping[str, str]
) -> Success[Promotion] | Failure[Clash]:
    """The operations that make the output directory hold what is staged.

    ``before``: everything below the output directory (and ``""``, the directory itself, where it exists), caches left out;
    ``staged`` and ``managed``: path to digest, of the stage and of the manifest. Equal content gives no operation.
    """
    makes: list[FileOperation] = []
    writes: list[FileOperation] = []
    removed = [path for path, each in sorted(before.items()) if path not in staged and _is_ours(path, each, managed)]
    keeps = [
        SetAside(path, _free_name(path, before))
        for path in sorted({*removed, *(staged.keys() & managed.keys() & before.keys())})
        if _is_edited(path, before[path], managed) and before[path].digest != staged.get(path)
    ]
    directories = {parent for path in staged for parent in _parents(path)}
    left = {*before, *directories, *staged, *(keep.to for keep in keeps)}
    emptied = _emptied(left, set(removed))
    for directory in sorted(directories):
        standing = before.get(directory)
        if standing is None or directory in removed:
            makes.append(MakeDirectory(directory))
        elif standing.kind != "directory":
            return Failure(Clash(directory))
    for path, digest in sorted(staged.items()):
        standing = before.get(path)
        if standing is None or path in emptied:
            writes.append(WriteFile(path))
        elif standing.kind == "file" and standing.digest == digest:
            continue
        elif _is_ours(path, standing, managed):
            writes.append(ReplaceFile(path))
        else:
            return Failure(Clash(path))

    def is_in_the_way(path: str) -> bool:
        return path in directories or not {path, *_parents(path)}.isdisjoint(staged)

    # What is written comes before what is removed: who imports meanwhile finds the one or the other.
    removes: list[RemoveFile | RemoveDirectory] = [*map(RemoveFile, removed), *map(RemoveDirectory, emptied)]
    first = [remove for remove in removes if is_in_the_way(remove.path)]
    last = [remove for remove in removes if not is_in_the_way(remove.path)]
    warnings = tuple(f"{keep.path} had been edited by hand; it was kept as {keep.to}." for keep in keeps)
    return Success(Promotion((*keeps, *first, *makes, *writes, *last), warnings))


def _is_ours(path: str, standing: Existing, managed: Mapping[str, str]) -> bool:
    return standing.kind == "file" and (path in managed or standing.generated)


def _is_edited(path: str, standing: Existing, managed: Mapping[str, str]) -> bool:
    """Whether somebody changed by hand what we wrote: its header, if it has one, does not tell of another version of us."""
    return standing.kind == "file" and standing.digest != managed.get(path, standing.digest) and not standing.generated


def _parents(path: str) -> list[str]:
    """Every directory above ``path``, up to the output directory itself, which is ``""``."""
    parents = [dirname(path)]
    while parents[-1]:
        parents.append(dirname(parents[-1]))
    return parents


def _emptied(paths: set[str], removed: set[str]) -> list[str]:
    """The directories below the output directory that ``removed`` leaves empty, the deepest first."""
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
