"""The contents of watched and pinned files: each is read and hashed once, whoever asks for it.

A file is only read again if its stat signature has changed, or if its times were so close to the reading that a later change
may not show in them (git's index does the same, under the name "racy").

Two threads use this at the same time, one that looks and one that pins, without a lock: what is known of a file is immutable
and replaced as a whole, by single operations on dicts. If one thread overwrites what the other has just found, the file is
read once more, and nothing else happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from lastgood.sources.listings import Names
from lastgood.store.file_system import FileSystem, Stat, digest_of

__all__ = ["Content", "Contents"]

# Python sources and config files, which are pinned after a look. Others may be large, and are hashed in pieces.
_PINNED = (".py", ".toml")
_MAX_KEPT = 1 << 26
"""Bytes of file contents in memory. What is beyond is read again by each cycle."""


class Content(Struct, frozen=True):
    """A file as it was read: the digest of its bytes, or the reason why it could not be read.

    ``is_fresh``: a later change may not show in ``signature``. The path is stored because creating one costs more than the
    system calls.
    """

    path: Path
    signature: tuple[int, ...]
    digest: str
    is_fresh: bool


class Contents:
    """The contents of the files in ``files``, as of their last reading.

    ``path_of`` makes paths. Where it returns those that others have, too, they are compared at once.
    """

    def __init__(self, files: FileSystem, path_of: Callable[[str], Path] = Path) -> None:
        self.files = files
        self._path_of = path_of
        # No Memo: this is how the state of a file is found out, which is what the answers of a Memo depend on.
        self._known: dict[str, Content] = {}
        self._bytes: dict[str, bytes] = {}  # by digest
        self._room = _MAX_KEPT
        self._asked: set[str] = set()
        self.listed: Mapping[str, Names] = {}
        """The directories that were listed by the last reading of everything that is watched."""

    def look(self, path: str) -> Content | None:
        """Return what the file ``path`` contains now; None if no regular file is there."""
        known = self._known.get(path)
        if known is not None and self.is_still(known, path):
            return known
        where = self._path_of(path) if known is None else known.path
        status = self._stat(where)
        if status is None or status.kind != "file":
            return None
        is_fresh = status.is_fresh(self.files.now())
        try:
            if path.endswith(_PINNED) and status.size <= self._room:
                digest = self._keep(self.files.read(where))
            else:
                digest = self.files.digest(where)
        except OSError as error:
            return Content(where, (), f"unreadable: {error.strerror}", is_fresh=True)  # tried again each time
        return Content(where, status.signature, digest, is_fresh)

    def is_still(self, known: Content, path: str) -> bool:
        """Return whether the file ``path`` certainly contains what it did."""
        return not known.is_fresh and known.signature == self.files.signature(path)

    def look_again(self, path: str) -> Content | None:
        """Do :meth:`look` at a file that was looked at before, and remember it; None if it was not, or if it is no file now."""
        content = self.look(path) if path in self._known else None
        if content is not None:
            self._known[path] = content
        return content

    def _stat(self, path: Path) -> Stat | None:
        try:
            return self.files.stat(path)
        except OSError:  # what cannot be examined counts as absent
            return None

    def retain(self, looked: dict[str, Content]) -> None:
        """Forget all files but those that were looked at."""
        self._known = looked

    def digest(self, path: Path) -> str | None:
        """Return the digest of the file at the canonical ``path`` as of the last reading; None if it was not read."""
        known = self._known.get(str(path))
        return None if known is None else known.digest

    def differing(self, digests: Mapping[Path, str]) -> list[Path]:
        """Return the files of which :meth:`digest` is another one."""
        known = self._known
        return [
            file for file, digest in digests.items() if (now := known.get(str(file))) is None or now.digest != digest
        ]

    def keep(self, digests: Iterable[str]) -> None:
        """Keep bytes as if they had been asked for."""
        self._asked.update(digests)

    def read(self, path: Path) -> tuple[str, bytes]:
        """Return digest and bytes of the file at the canonical ``path``, to be pinned. Raise :class:`OSError`.

        If its signature is that of the last reading, these are the bytes of that reading, also if the file was fresh then:
        should they have changed since, the next look reads them, and finds an edit.
        """
        known = self._known.get(str(path))
        data = None
        if known is not None and known.signature and known.signature == self.files.signature(str(path)):
            digest, data = known.digest, self._bytes.get(known.digest)
        if data is None:
            status = self.files.stat(path)
            is_fresh = status is None or status.is_fresh(self.files.now())
            data = self.files.read(path)
            digest = self._keep(data)
            if status is not None and status.kind == "file":
                self._known[str(path)] = Content(path, status.signature, digest, is_fresh)
        self._asked.add(digest)
        return digest, data

    def forget_others(self) -> None:
        """Forget all bytes that were not asked for since the last call. This is the app, which should not grow."""
        known = self._bytes
        self._bytes = {digest: known[digest] for digest in self._asked if digest in known}
        self._room = _MAX_KEPT - sum(map(len, self._bytes.values()))
        self._asked.clear()

    def _keep(self, data: bytes) -> str:
        digest = digest_of(data)
        if digest not in self._bytes and len(data) <= self._room:
            self._room -= len(data)
            self._bytes[digest] = data
        return digest
