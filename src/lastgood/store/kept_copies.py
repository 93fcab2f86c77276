"""Copies of files that somebody may have edited, made before they are replaced, in ``kept/`` of an output directory's home.

Each content is kept once, in a directory named for it (:mod:`lastgood.planner.promotion` says when, and for how long).
"""

from __future__ import annotations

from pathlib import Path

from lastgood.planner.promotion import DAYS_KEPT
from lastgood.store.file_system import FileSystem
from lastgood.store.trees import overwrite, remove_tree

__all__ = ["keep_copy", "sweep_copies"]

_DAY = 24 * 60 * 60


def keep_copy(files: FileSystem, path: Path, to: Path) -> None:
    """Copy a file. A link on the way is removed, not followed: it may have come with a checkout."""
    for directory in (to.parent.parent, to.parent):
        status = files.stat(directory)
        if status is None or status.kind != "directory":
            remove_tree(files, directory)
            files.mkdir(directory)
    overwrite(files, to, files.read(path))


def sweep_copies(files: FileSystem, kept: Path) -> None:
    """Remove the copies in the directory ``kept`` that were last made :data:`DAYS_KEPT` days ago or earlier."""
    status = files.stat(kept)
    if status is None or status.kind != "directory":
        return
    oldest = files.now() - DAYS_KEPT * _DAY
    for name in files.children(kept):
        copies = [files.stat(kept / name / each) for each in files.children(kept / name)]
        if all(copy is None or copy.changed < oldest for copy in copies):
            remove_tree(files, kept / name)
