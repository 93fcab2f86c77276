"""What a generator wrote into a directory of its own, moved to where it belongs in the stage."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

__all__ = ["Clash", "collect", "written"]


class Clash(Exception):
    """Two generators have made one file. ``name`` is its path in the output."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def written(directory: Path) -> tuple[str, ...]:
    """Every file below ``directory``, relative to it, with ``/``, sorted; caches of bytecode apart.

    Raises :class:`OSError` for what is neither a file nor a directory: a link leads to what is no part of the stage.
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
    """Move the files ``names`` of ``directory`` to the directory ``into`` of ``stage``; their paths there.

    Raises :class:`Clash` for one that is there already, or that is in ``taken``, and :class:`OSError`.
    """
    moved = []
    for name in names:
        target = str(PurePosixPath(into, name))
        if target in taken or os.path.lexists(stage / target):
            raise Clash(target)
        (stage / target).parent.mkdir(parents=True, exist_ok=True)
        os.rename(directory / name, stage / target)
        moved.append(target)
    return tuple(moved)
