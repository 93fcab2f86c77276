"""The file operations of a promotion, each with its undo. Paths are relative to the output directory, with ``/``."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "FileOperation",
    "KeepCopy",
    "MakeDirectory",
    "RemoveDirectory",
    "RemoveFile",
    "ReplaceFile",
    "SetAside",
    "WriteFile",
]


@dataclass(frozen=True, slots=True)
class MakeDirectory:
    """Make the directory ``path``, which does not exist. Undo: remove it."""

    path: str

    def __str__(self) -> str:
        return f"make   {self.path or '.'}/"


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Put the staged file at ``path``, where no file exists. Undo: remove it."""

    path: str

    def __str__(self) -> str:
        return f"write  {self.path}"


@dataclass(frozen=True, slots=True)
class ReplaceFile:
    """Replace the managed file at ``path`` by the staged one, keeping its mode. Undo: put the old inode back."""

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
    """Keep the hand-edited generated file at ``path`` as ``to`` before it is replaced or removed. Undo: remove ``to``."""

    path: str
    to: str

    def __str__(self) -> str:
        return f"keep   {self.path} as {self.to}"


@dataclass(frozen=True, slots=True)
class KeepCopy:
    """Copy the generated file at ``path``, which may have been edited, to ``to`` before it is replaced or removed.

    ``to`` is below ``.lastgood/`` and named for the content, relative to the directory that the output directory is in. Undo:
    nothing, since a copy does no harm.
    """

    path: str
    to: str

    def __str__(self) -> str:
        return f"copy   {self.path} to {self.to}"


@dataclass(frozen=True, slots=True)
class RemoveDirectory:
    """Remove the directory ``path``, which became empty. Undo: make it again."""

    path: str

    def __str__(self) -> str:
        return f"remove {self.path}/"


FileOperation = MakeDirectory | WriteFile | ReplaceFile | RemoveFile | SetAside | KeepCopy | RemoveDirectory
