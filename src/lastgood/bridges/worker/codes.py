"""A cache of the code objects of pinned sources, so that a worker compiles only changed sources.

It is not a :class:`lastgood.sources.memo.Memo`, because the worker's side stands alone and may run on a Python without SQLite.

Python validates a ``.pyc`` by size and time. This cache uses the digest of the source, its path (which is part of the code) and
the exact interpreter, so it never returns the code of another source. Each file begins with the digest of the rest. The app
chooses the directory: only the user can write to it and it is never in the project, since its content is executed. File names
are ``<digest of the source>-<digest of path and interpreter>``; the app removes files that no generation needs. Several workers
may write the same file at once; they write the same bytes, and the last one wins.
"""

from __future__ import annotations

import marshal
import os
import sys
import threading

from .manifest import digest_of
from .parts import Parts

__all__ = ["Codes", "make_private_directories"]

_HEAD = 64


class Codes:
    """The cached code objects in ``directory`` (None: no cache). Errors of reading and writing are ignored."""

    def __init__(self, directory: str | None) -> None:
        self._directory = directory
        self._interpreter = f"parts\t{sys.version}\t{sys.flags.optimize}\t"

    def get(self, digest: str, path: str) -> Parts | None:
        """Return the cached code of the source with that digest at ``path``; None if there is none."""
        if self._directory is None:
            return None
        try:
            with open(self._place(self._directory, digest, path), "rb") as file:
                data = file.read()
        except OSError:
            return None
        if digest_of(data[_HEAD:]).encode() != data[:_HEAD]:
            return None
        code = marshal.loads(data[_HEAD:])
        return Parts(*code) if isinstance(code, tuple) else Parts(0, None, code)

    def keep(self, digest: str, path: str, parts: Parts) -> None:
        """Store ``parts`` for other workers."""
        if self._directory is None:
            return
        place = self._place(self._directory, digest, path)
        fresh = f"{place}.{os.getpid()}-{threading.get_ident()}"
        try:
            data = marshal.dumps((parts.count, parts.header, parts.rest) if parts.count else parts.rest)
            make_private_directories(self._directory)
            with open(fresh, "wb") as file:
                file.write(digest_of(data).encode() + data)
            os.replace(fresh, place)
        except (OSError, ValueError):
            return

    def _place(self, directory: str, digest: str, path: str) -> str:
        others = digest_of(f"{self._interpreter}{path}".encode("utf-8", "surrogateescape"))
        return os.path.join(directory, f"{digest}-{others[:16]}")


def make_private_directories(path: str) -> None:
    """Make a directory and its missing parents, for this user only. In :func:`os.makedirs` the umask decides on the parents."""
    if not os.path.isdir(path):
        make_private_directories(os.path.dirname(path))
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:  # another process has made it
            if not os.path.isdir(path):
                raise
