"""Collection of a generator's files: they are moved from the generator's own directory into the stage."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

__all__ = ["FileCollision", "collect", "written"]


class FileCollision(Exception):
    """Two generators have written the same file. ``name`` is its path in the output."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def written(directory: Path) -> tuple[str, ...]:
    """Return the files below ``directory`` as sorted relative paths with ``/``, except ``__pycache__``.

    Raises :class:`OSError` for anything that is neither a file nor a directory: a link may lead out of the stage.
    """
    return tuple(sorted(_walk(directory, "")))


def _walk(directory: Path, inside: str) -> Iterator[str]:
    with os.scandir(directory / inside) as entries:
        for entry in entries:
            name = f"{inside}{entry.name}"
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                if entry.name != "__pycache__":
                    yield from _walk(directory, f"{name}/")
            elif stat.S_ISREG(mode):
                yield name
            else:
                raise OSError(f"{name} is neither a file nor a directory; expected nothing else in the stage")


def collect(directory: Path, names: Collection[str], stage: Path, into: str, taken: Collection[str]) -> tuple[str, ...]:
    """Move the files ``names`` of ``directory`` to the directory ``into`` of ``stage``. Return their paths in the stage.

    Raises :class:`FileCollision` for a path that exists already or is in ``taken``, and :class:`OSError`.
    """
    moved = []
    for name in names:
        target = str(PurePosixPath(into, name))
        if target in taken or os.path.lexists(stage / target):
            raise FileCollision(target)
        (stage / target).parent.mkdir(parents=True, exist_ok=True)
        os.rename(directory / name, stage / target)
        moved.append(target)
    return tuple(moved)
