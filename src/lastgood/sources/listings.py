"""What the disk has answered to questions about names, from which others find out where things are.

Each question is asked once. What was found out from the answers is valid as long as :meth:`Listings.hold`, which asks them all
again: a few, since a directory is listed as a whole, and what is not in the listing of its directory is known to be absent.
Directories that somebody else has just listed, for the same purpose, need not be listed again: they are ``given``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lastgood.store.file_system import FileSystem

__all__ = ["Listings", "Names"]

Names = Mapping[str, str]
"""The names in a directory, each with its kind: "file", "directory", "link" or "other"."""

_NOTHING: Names = {}
_NOT_GIVEN: Mapping[str, Names] = {}


class Listings:
    """Answers about the names in ``files``, each as of its first use. Paths are absolute.

    ``given``: listings of some directories, none of them empty.
    """

    def __init__(self, files: FileSystem, given: Mapping[str, Names] = _NOT_GIVEN) -> None:
        self._files = files
        self._given = given
        self._names: dict[str, Names] = {}
        self._listed: list[str] = []  # those of the directories that the disk was asked about
        self._real: dict[str, str] = {}
        self._texts: dict[str, str] = {}  # of links
        self._is_file: dict[str, bool] = {}
        self._is_directory: dict[str, bool] = {}
        self._directories: dict[str, tuple[int, ...] | None] = {}

    def hold(self, given: Mapping[str, Names] = _NOT_GIVEN) -> bool:
        """Ask the disk again, but about directories that are ``given``; return whether all answers are the same."""
        self._given = given
        for each in self._listed:
            names, known = given.get(each), self._names[each]
            if names is None:
                names = self._files.scan(each)
            elif names == known:
                self._names[each] = names  # the same object is compared at once
            if names is not known and names != known:
                return False
        return self._others_hold()

    def of_all(self) -> Mapping[str, Names]:
        """Return the listings of the directories that the disk was asked about, to be ``given`` to others."""
        return {each: names for each in self._listed if (names := self._names[each])}

    def copy(self) -> Listings:
        """Return the same answers, to which others can be added."""
        copied = Listings(self._files)
        for name, known in vars(self).items():
            setattr(copied, name, known.copy() if isinstance(known, dict | list) else known)
        return copied

    def renewed(self) -> Listings:
        """Ask the disk again; return these answers if all are the same, else new ones, with the directories just listed."""
        fresh, is_same = Listings(self._files), True
        for each in self._listed:
            names, known = self._files.scan(each), self._names[each]
            is_same &= names == known
            if names:
                fresh._names[each] = known if names == known else names
                fresh._listed.append(each)
        return self if is_same and self._others_hold() else fresh

    def _others_hold(self) -> bool:
        files = self._files
        return (
            self.links_hold()
            and all(files.is_file(Path(path)) == known for path, known in self._is_file.items())
            and all(files.is_dir(Path(path)) == known for path, known in self._is_directory.items())
            and all(self._identity(path) == known for path, known in self._directories.items())
        )

    def links_hold(self) -> bool:
        """Ask the disk again about links alone; return whether all lead where they led."""
        files = self._files
        return all(files.read_link(path) == known for path, known in self._texts.items()) and all(
            str(files.real_path(Path(path))) == known for path, known in self._real.items()
        )

    def names(self, directory: str) -> Names:
        """Return the names in a directory with their kinds; empty if it does not exist or cannot be read."""
        known = self._names.get(directory)
        if known is None:
            if self.is_absent(directory):
                known = _NOTHING
            else:
                known = self._given.get(directory) or self._files.scan(directory)
                self._listed.append(directory)
            self._names[directory] = known
        return known

    def listed(self, directory: str) -> Names | None:
        """Return the names in a directory if they are known already."""
        return self._names.get(directory)

    def is_absent(self, path: str) -> bool:
        """Return whether the listings so far prove that nothing is at ``path``. The disk is not asked."""
        above, _, name = path.rpartition("/")  # quicker than os.path.split(), and there may be thousands
        beside = self._names.get(above or "/")
        if beside and name:
            return name not in beside
        return bool(above) and self.is_absent(above)  # an unreadable directory is empty, too

    def real_path(self, path: str) -> str:
        """Return ``path`` with symbolic links resolved, as far as it exists."""
        known = self._real.get(path)
        if known is None:
            known = self._real[path] = str(self._files.real_path(Path(path)))
        return known

    def read_link(self, path: str) -> str:
        """Return the text of the symbolic link ``path``; "" if it is none."""
        known = self._texts.get(path)
        if known is None:
            known = self._texts[path] = self._files.read_link(path)
        return known

    def is_file(self, path: str) -> bool:
        """Return whether ``path`` is a regular file, following links."""
        known = self._is_file.get(path)
        if known is None:
            known = self._is_file[path] = self._files.is_file(Path(path))
        return known

    def is_directory(self, path: str) -> bool:
        """Return whether ``path`` is a directory, following links."""
        known = self._is_directory.get(path)
        if known is None:
            if self.is_absent(path):
                return False
            known = self._is_directory[path] = self._files.is_dir(Path(path))
        return known

    def directory(self, path: str) -> tuple[int, ...] | None:
        """Return what tells the directory ``path`` from another one of that name; None if it is no directory."""
        if path not in self._directories:
            if self.is_absent(path):
                return None
            self._directories[path] = self._identity(path)
        return self._directories[path]

    def _identity(self, path: str) -> tuple[int, ...] | None:
        try:
            found = self._files.stat(Path(path), follow=True)
        except OSError:
            return None
        return found.signature[:2] if found is not None and found.kind == "directory" else None
