"""The file operations of a promotion, each with its undo; paths are relative to the output directory, with ``/``."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FileOperation", "MakeDirectory", "RemoveDirectory", "RemoveFile", "ReplaceFile", "SetAside", "WriteFile"]


@dataclass(frozen=True, slots=True)
class MakeDirectory:
    """Make the directory ``path``, which is not there. Undo: remove it."""

    path: str

    def __str__(self) -> str:
        return f"make   {self.path or '.'}/"


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Put the staged file at ``path``, where there is none. Undo: remove it."""

    path: str

    def __str__(self) -> str:
        return f"write  {self.path}"


@dataclass(frozen=True, slots=True)
class ReplaceFile:
    """Put the staged file in the place of the managed one at ``path``, with its mode. Undo: put the old inode back."""

    path: str

    def __str__(self) -> str:
        return f"write  {self.path} (replaced)"


@dataclass(frozen=True, slots=True)
class RemoveFile:
    """Remove the managed file at ``path``. Undo: put it back."""

    path: str

    def __str__(self) -> str:
        return f"remove {self.path}"


@dataclass(frozen=True, slots=True)
class SetAside:
    """Keep the hand-edited generated file at ``path`` as ``to``, before it is replaced or removed. Undo: remove ``to``."""

    path: str
    to: str

    def __str__(self) -> str:
        return f"keep   {self.path} as {self.to}"


@dataclass(frozen=True, slots=True)
class RemoveDirectory:
    """Remove the directory ``path``, which managed files have left empty. Undo: make it again."""

    path: str

    def __str__(self) -> str:
        return f"remove {self.path}/"


FileOperation = MakeDirectory | WriteFile | ReplaceFile | RemoveFile | SetAside | RemoveDirectory
