"""Operations on files and trees in lastgood's own directories, built on the file-system port."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from lastgood.errors import PromotionError
from lastgood.store.file_system import FileSystem, digest_of
from lastgood.store.user_key import seal, unseal

__all__ = [
    "BYTECODE",
    "drop_bytecode",
    "is_inside",
    "is_regular",
    "is_text",
    "make_directories",
    "overwrite",
    "read_bounded",
    "read_sealed",
    "real_directories",
    "remove_tree",
    "staged_files",
    "staged_place",
    "write_sealed",
]

BYTECODE = "__pycache__"
_MAX_SIZE = 1 << 28
"""Bytes: a larger file is not one of lastgood's."""
_MAX_REFILLS = 10
"""Directories that were not empty any more when they were to be removed, in one tree."""


def drop_bytecode(files: FileSystem, sources: Iterable[Path]) -> None:
    """Remove the cached bytecode of ``sources``, so that no process imports outdated bytecode."""
    stems: dict[Path, set[str]] = {}
    for source in sources:
        stems.setdefault(source.parent, set()).add(source.stem)
    for directory, names in stems.items():
        cache = directory / BYTECODE
        status = files.stat(cache)
        for name in files.children(cache) if status is not None and status.kind == "directory" else ():
            if name.endswith(".pyc") and name.split(".")[0] in names:
                remove_tree(files, cache / name)


def real_directories(files: FileSystem, paths: Iterable[Path]) -> list[Path]:
    """Return those of the paths that are directories, or links to one, sorted."""
    return [path for path in sorted(set(paths)) if files.is_dir(path)]


def make_directories(files: FileSystem, path: Path) -> None:
    """Make the directory ``path`` and its missing parents. Another process may make them at the same time."""
    if files.is_dir(path):
        return
    make_directories(files, path.parent)
    try:
        files.mkdir(path)
    except FileExistsError:
        if not files.is_dir(path):
            raise


def remove_tree(files: FileSystem, path: Path) -> None:
    """Remove ``path`` and everything below it, at any depth; links are removed, not followed.

    Other processes may remove some of it at the same time, or add to it, as one that writes bytecode does.
    """
    left = [path]
    refilled = 0
    while left:
        status = files.stat(left[-1])
        if status is None:
            child = left.pop()
            if child != path and child.name in files.children(child.parent):
                _shorten(files, path, child)
                left = [path]
        elif status.kind != "directory":
            with suppress(FileNotFoundError):
                files.unlink(left.pop())
        elif below := files.children(left[-1]):
            left += [left[-1] / name for name in reversed(below)]
        else:
            try:
                files.rmdir(left[-1])
            except FileNotFoundError:
                pass
            except OSError as error:
                refilled += 1
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or refilled > _MAX_REFILLS:
                    raise
                continue
            left.pop()


def _shorten(files: FileSystem, top: Path, child: Path) -> None:
    """Move a directory on the way to ``child``, whose path is too long for the system, up into ``top``.

    Raises :class:`OSError` if that does not shorten the path, so that the removal ends.
    """
    parts = child.relative_to(top).parts
    moved = top.joinpath(*parts[: (len(parts) + 1) // 2])
    short = next(each for number in itertools.count() if files.stat(each := top / f".{number}") is None)
    if moved == child or len(str(short)) >= len(str(moved)):
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(child))
    files.replace(moved, short)


def staged_place(stage: Path, name: str) -> Path:
    """Return the path in the stage of the file that becomes ``name``; its suffix keeps watchers of sources from seeing it."""
    return stage / f"{name}.staged"


def staged_files(files: FileSystem, stage: Path, names: Sequence[str | Path]) -> Mapping[str, str]:
    """Return path to digest of the files that a generator reports as written into ``stage``.

    Raises :class:`PromotionError` for a path that is absolute, contains "..", leads through a link, or was not written.
    """
    staged: dict[str, str] = {}
    real = files.real_path(stage)
    inside: set[PurePosixPath] = set()
    for name in names:
        relative = PurePosixPath(Path(name).as_posix())
        if relative.is_absolute() or ".." in relative.parts or not relative.parts:
            raise PromotionError(
                f'the generator says it wrote "{name}", which is not a path inside the stage directory and relative to it.'
            )
        if not is_text(str(relative)):
            raise PromotionError(f"the generator says it wrote {name!r}, a name that cannot be encoded in UTF-8.")
        status = files.stat(stage / relative)
        if status is None or status.kind != "file":
            what = "" if status is None else f" (kind: {status.kind})"
            raise PromotionError(
                f'the generator says it wrote "{name}", but there is no such file in the stage directory{what}.',
                path=stage,
            )
        if relative.parent not in inside and files.real_path(stage / relative.parent) != real / relative.parent:
            raise PromotionError(
                f'the generator says it wrote "{name}", which leads through a symbolic link.',
                path=stage / relative.parent,
            )
        inside.add(relative.parent)
        staged[str(relative)] = digest_of(files.read(stage / relative))
    return dict(sorted(staged.items()))


def is_inside(name: str) -> bool:
    """Return whether the relative path names something below the directory it is relative to."""
    return name not in ("", ".") and not name.startswith("/") and "\0" not in name and ".." not in name.split("/")


def is_regular(files: FileSystem, path: Path, digest: str | None = None) -> bool:
    """Return whether a regular file is there, not a link; with that digest, if one is given."""
    status = files.stat(path)
    return status is not None and status.kind == "file" and (digest is None or files.digest(path) == digest)


def is_text(name: str) -> bool:
    """Return whether the name is valid UTF-8: other bytes appear as surrogates (:pep:`383`)."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_sealed(files: FileSystem, path: Path) -> bytes | None:
    """Return the data that this user's lastgood last wrote to ``path``; None if it is absent or unsealed."""
    data = read_bounded(files, path)
    return None if data is None else unseal(files.key(), path, data)


def read_bounded(files: FileSystem, path: Path, limit: int = _MAX_SIZE) -> bytes | None:
    """Return the bytes of a regular file of at most ``limit`` bytes; None if there is no such file."""
    status = files.stat(path)
    return None if status is None or status.kind != "file" or status.size > limit else files.read(path)


def write_sealed(files: FileSystem, path: Path, data: bytes, *, after: Sequence[Path] | None = None) -> None:
    """Write data for :func:`read_sealed`, replacing whatever is there, as :func:`overwrite` does."""
    overwrite(files, path, seal(files.key(), path, data), after=after)


def overwrite(files: FileSystem, path: Path, data: bytes, *, after: Sequence[Path] | None = None) -> None:
    """Replace whatever is at ``path`` by a file with ``data``, atomically. A link there is replaced, not followed.

    If ``after`` is given, that holds for a power failure, too: what is at ``path`` is the old file or the whole new one, and
    the new one only if the files and directories ``after`` survive as they are now.
    """
    fresh = path.with_name(f"{path.name}.new")
    remove_tree(files, fresh)  # left by a process that was killed
    files.write(fresh, data)
    if after is not None:
        files.barrier((*after, fresh))
    status = files.stat(path)
    if status is not None and status.kind == "directory":
        remove_tree(files, path)
    files.replace(fresh, path)
