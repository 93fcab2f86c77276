"""How the worker imports local modules: always from their source (contract §9).

A ``.pyc`` is trusted by the size and the whole second of its source, so an edit of the same size within the same second would
run as the old code. Local modules are few and small, so they are compiled from their bytes each time, and no ``.pyc`` of
theirs is read or written. What is installed keeps its ``.pyc`` files.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from types import CodeType

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["install", "is_local"]

_INSTALLED = frozenset(("site-packages", "dist-packages"))
_STDLIB = os.path.dirname(os.path.abspath(os.__file__))


class _SourceLoader(SourceFileLoader):
    """Compiles from the source's bytes, whatever lies in ``__pycache__``."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def is_local(path: str, roots: Sequence[str]) -> bool:
    """Whether the directory ``path`` belongs to the user's sources: under a root, and nothing that was installed there."""
    for root in roots:
        if path == root or path.startswith(root.rstrip(os.sep) + os.sep):
            if path == _STDLIB or (path.startswith(_STDLIB + os.sep) and not root.startswith(_STDLIB)):
                return False
            return not _INSTALLED.intersection(path[len(root) :].split(os.sep))
    return False


def install(import_path: Sequence[str]) -> None:
    """Put ``import_path`` first on ``sys.path``, and have what lies under it imported from source."""
    roots = [os.path.abspath(entry) for entry in import_path]
    find_in = FileFinder.path_hook((ExtensionFileLoader, EXTENSION_SUFFIXES), (_SourceLoader, SOURCE_SUFFIXES))

    def hook(path: str) -> Any:
        if not is_local(os.path.abspath(path), roots):
            raise ImportError(f"{path} is not local")
        return find_in(path)

    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.clear()
    sys.path[:0] = roots
