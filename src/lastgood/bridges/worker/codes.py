"""What the pinned sources were compiled to, kept by their content, so that a worker compiles what has changed (contract §9).

A ``.pyc`` goes by size and time; this goes by the digest of the source, its path, which is part of the code, and the very
interpreter: what is found is never the code of another source. Each file begins with the digest of the rest. They lie where
the app says, in a directory that nobody but the user can write to, and never in the project: what lies there is run. Each is
``<digest of the source>-<digest of the others>``; the app removes those that no generation needs. Several workers may write
at once: whoever is last wins, with the same bytes.
"""

from __future__ import annotations

import marshal
import os
import sys
import threading
from types import CodeType

from .manifest import digest_of

__all__ = ["Codes"]

_HEAD = 64


class Codes:
    """The codes in ``directory``; None: none are kept. What cannot be read is not there, or written is not kept."""

    def __init__(self, directory: str | None) -> None:
        self._directory = directory
        self._interpreter = f"{sys.version}\t{sys.flags.optimize}\t"

    def get(self, digest: str, path: str) -> CodeType | None:
        """The code of the source with that digest, which lies at ``path``."""
        if self._directory is None:
            return None
        try:
            with open(self._place(self._directory, digest, path), "rb") as file:
                data = file.read()
        except OSError:
            return None
        if digest_of(data[_HEAD:]).encode() != data[:_HEAD]:
            return None
        code: CodeType = marshal.loads(data[_HEAD:])
        return code

    def keep(self, digest: str, path: str, code: CodeType) -> None:
        """Keep ``code`` for the next worker."""
        if self._directory is None:
            return
        place = self._place(self._directory, digest, path)
        fresh = f"{place}.{os.getpid()}-{threading.get_ident()}"
        try:
            data = marshal.dumps(code)
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            with open(fresh, "wb") as file:
                file.write(digest_of(data).encode() + data)
            os.replace(fresh, place)
        except (OSError, ValueError):
            return

    def _place(self, directory: str, digest: str, path: str) -> str:
        others = digest_of(f"{self._interpreter}{path}".encode("utf-8", "surrogateescape"))
        return os.path.join(directory, f"{digest}-{others[:16]}")
