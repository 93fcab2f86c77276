"""Pinned generations on disk: what a worker imports from, and what an undo goes back to (contract §9).

In ``<home>/generations/``, by content, so that keeping another generation costs what has changed:

- ``objects/<digest>``: the bytes of a source, or of another file of a generation;
- ``manifests/<digest>``: one for each generation (see :mod:`lastgood.bridges.worker.manifest`), and another when more of it is
  kept: a module that no import statement leads to, from when a worker imports it;
- ``history.json``: the last good ones, oldest first, under this user's seal (see :mod:`lastgood.store.user_key`).
  It vouches for the manifests that it names, and these for the objects; no other is opened that this process has not written.

What workers have compiled a source to (see :mod:`lastgood.bridges.worker.codes`) lies outside of the project, where the user's
caches are: ``code/<digest of the source>-…``.

Every file is written under another name and then renamed: what has its name is whole, unless the disk lost it. That is
noticed, since a name is a digest: what an earlier process wrote is checked before it is relied upon, and mended.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from lastgood.bridges.worker.manifest import Damaged, Manifest
from lastgood.errors import LastgoodError
from lastgood.store.file_system import FileSystem, digest_of
from lastgood.store.promotion import make_directories, overwrite, read_sealed, remove_tree, write_sealed

__all__ = ["KEPT", "DamagedGeneration", "GenerationStore", "Good", "Kept", "LateModule"]

KEPT = 5
"""Good generations that are kept, besides those in use."""


class DamagedGeneration(LastgoodError):
    """What was kept of a generation cannot be used. ``path`` is the file at fault."""

    def __init__(self, problem: str, *, path: Path | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = path

    def __str__(self) -> str:
        return self.problem


class Good(msgspec.Struct, frozen=True):
    """A generation in the history: its ``manifest``'s name, its number in the session that made it, when it became good
    (seconds since the epoch), and the files whose change led to it."""

    manifest: str
    generation: int
    at: float
    changed: tuple[str, ...] = ()


class _History(msgspec.Struct, frozen=True):
    version: int
    good: tuple[Good, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a generation: the sources of its modules by their names, and its other files by theirs.

    ``late`` has the paths of the modules to which no import statement leads.
    """

    sources: Mapping[str, bytes]
    files: Mapping[str, bytes]
    late: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LateModule:
    """A module that a worker imported though no import statement leads to it, from ``path``; ``source`` is what it runs."""

    name: str
    path: Path
    source: bytes = field(repr=False)


class Reading(Protocol):
    """One reading of the sources of a generation, as it is kept."""

    def manifest(self) -> Manifest:
        """What the worker is told of it."""
        ...

    def objects(self) -> Iterable[tuple[str, bytes]]:
        """The bytes that the manifest names, with their digests."""
        ...


class GenerationStore:
    """The generations of one output directory; ``home`` is its ``.lastgood/<name>/``. One process at a time writes there."""

    def __init__(self, files: FileSystem, home: Path) -> None:
        self._files = files
        self._top = home / "generations"
        self._objects = self._top / "objects"
        self._manifests = self._top / "manifests"
        self._former_codes = self._top / "code"  # where an earlier version kept them
        cache = files.cache(home)
        self.codes = None if cache is None else cache / "code"
        self._sound: set[str] = set()  # objects that this process has written or checked
        self._known: dict[str, Manifest] = {}

    def put(self, pinned: Reading, files: Mapping[str, bytes] | None = None) -> Path:
        """Keep a generation: ``pinned``, and other files by names of the caller's choice. Gives its manifest's path.

        It stays until the next :meth:`sweep` that is not told of it. Equal generations are one. Raises :class:`OSError`.
        """
        others = {name: (digest_of(data), data) for name, data in sorted((files or {}).items())}
        manifest = pinned.manifest()
        manifest.files = {name: digest for name, (digest, _) in others.items()}
        return self._put(manifest, (*pinned.objects(), *others.values()))

    def put_late(self, path: Path, late: Iterable[LateModule]) -> Path:
        """Keep ``late`` as a part of the generation whose manifest is at ``path``. Gives the path of its manifest from then on.

        Where the history names the one, it then names the other. The modules that are kept already stay as they are. Raises
        :class:`OSError`, :class:`DamagedGeneration`.
        """
        before = self._load(path.name)
        kept = {where for _, _, _, where in before.modules}
        fresh = {str(each.path): each for each in late if str(each.path) not in kept}
        if not fresh:
            return path
        manifest, objects = copy(before), []
        manifest.modules, manifest.late = list(before.modules), sorted((*before.late, *fresh))
        for where, each in sorted(fresh.items()):
            objects.append((digest_of(each.source), each.source))
            manifest.modules.append((each.path.name == "__init__.py", objects[-1][0], each.name, where))
        made = self._put(manifest, objects)
        self._rename(path.name, made.name)
        return made

    def forget(self, manifest: Path) -> None:
        """Nobody has any use for it, nor does the history name it. Raises :class:`OSError`."""
        self._known.pop(manifest.name, None)
        with suppress(FileNotFoundError):
            self._files.unlink(manifest)

    def _put(self, manifest: Manifest, objects: Iterable[tuple[str, bytes]]) -> Path:
        self._remove_links()
        for directory in (self._objects, self._manifests):
            make_directories(self._files, directory)
        standing = set(self._files.children(self._objects))
        for digest, data in objects:
            if digest not in self._sound or digest not in standing:
                self._put_object(digest, data, standing)
        text = manifest.dumps()
        path = self._manifests / digest_of(text)
        if not self._is(path, text):
            overwrite(self._files, path, text)
        self._known[path.name] = manifest
        return path

    def _remove_links(self) -> None:
        """Whoever puts a link in place of a directory wants us to write, or remove, elsewhere."""
        for directory in (self._top, self._objects, self._manifests, self._former_codes):
            standing = self._files.stat(directory)
            if standing is not None and standing.kind != "directory":
                self._files.unlink(directory)

    def _rename(self, before: str, after: str) -> None:
        history = self.history()
        if any(good.manifest == before for good in history):
            others = (good for good in history if good.manifest != after)
            renamed = (
                msgspec.structs.replace(good, manifest=after) if good.manifest == before else good for good in others
            )
            self._write_history(tuple(renamed))

    def record(
        self,
        manifest: Path,
        *,
        generation: int,
        at: float,
        changed: Iterable[Path] = (),
        repeats: Path | None = None,
    ) -> None:
        """A generation that was put has become good, and is now the last in the history; the one that it ``repeats`` leaves it.

        The history has each generation once, and forgets all but the last :data:`KEPT`. Raises :class:`OSError`.
        """
        entry = Good(manifest.name, generation, at, tuple(map(str, changed)))
        same = {entry.manifest, None if repeats is None else repeats.name}
        before = (good for good in self.history() if good.manifest not in same)
        self._write_history((*before, entry)[-KEPT:])

    def is_still(self, before: Path, manifest: Path) -> bool:
        """Whether a generation is the one ``before`` once more, and what that had imported late lies there as it was."""
        if before.parent != self._manifests:
            return False
        try:
            known = self._load(before.name)
        except DamagedGeneration:
            return False
        plain = copy(known)
        plain.modules, plain.late = [module for module in known.modules if module[3] not in known.late], []
        late = (module for module in known.modules if module[3] in known.late)
        return digest_of(plain.dumps()) == manifest.name and all(
            self._lies(path, digest) for _, digest, _, path in late
        )

    def _lies(self, path: str, digest: str) -> bool:
        try:
            return self._files.digest(Path(path)) == digest
        except OSError:
            return False

    def retract(self, manifest: Path) -> None:
        """The generations that became good after this one have been undone: it is the last in the history again.

        Raises :class:`OSError`.
        """
        history = self.history()
        names = [good.manifest for good in history]
        if manifest.name in names:
            self._write_history(history[: names.index(manifest.name) + 1])

    def before(self, manifest: Path | None) -> Good | None:
        """The last good generation before this one, or of all if this one is not in the history."""
        history = self.history()
        names = [good.manifest for good in history]
        if manifest is not None and manifest.name in names:
            history = history[: names.index(manifest.name)]
        return history[-1] if history else None

    def history(self) -> tuple[Good, ...]:
        """The last good generations, oldest first. A history that is not this user's, or cannot be read, counts as none."""
        try:
            data = read_sealed(self._files, self._top / "history.json")
            return () if data is None else msgspec.json.decode(data, type=_History).good
        except (OSError, msgspec.MsgspecError):
            return ()

    def changed(self, good: Good, before: Good | None) -> tuple[Path, ...]:
        """The user's files that differ between two generations, sorted; all of them if there is none ``before``.

        Of what only one of them has imported late nobody can say that. Raises :class:`DamagedGeneration`.
        """
        sources = self._sources_of(good)
        if before is None:
            return tuple(sorted(sources))
        known = self._sources_of(before)
        late = {*map(Path, (*self._load(good.manifest).late, *self._load(before.manifest).late))}
        compared = {*sources, *known} - (late - (sources.keys() & known.keys()))
        return tuple(sorted(path for path in compared if sources.get(path) != known.get(path)))

    def _sources_of(self, good: Good) -> dict[Path, str]:
        return {Path(path): digest for _, digest, _, path in self._load(good.manifest).modules}

    def path(self, good: Good) -> Path:
        """Where the manifest of a generation in the history lies: what a bridge is given to run it again."""
        return self._manifests / good.manifest

    def open(self, manifest: Path) -> Kept:
        """What is kept of a generation, every byte of it checked. Raises :class:`DamagedGeneration`."""
        loaded = self._load(manifest.name)
        sources = {name: self._read(digest) for _, digest, name, _ in loaded.modules}
        late = {name: Path(path) for _, _, name, path in loaded.modules if path in loaded.late}
        return Kept(sources, {name: self._read(digest) for name, digest in loaded.files.items()}, late)

    def files(self, manifest: Path) -> Mapping[str, str]:
        """The digests of a generation's other files, by their names. Raises :class:`DamagedGeneration`."""
        return self._load(manifest.name).files

    def read(self, digest: str) -> bytes:
        """The bytes of that digest, checked. Raises :class:`DamagedGeneration`."""
        return self._read(digest)

    def place(self, digest: str) -> Path | None:
        """Where the bytes with that digest lie, if this process has written or checked them."""
        return self._objects / digest if digest in self._sound else None

    def sweep(self, in_use: Collection[Path] = ()) -> None:
        """Remove every generation but the good ones in the history and those ``in_use``. Raises :class:`OSError`."""
        wanted = {good.manifest for good in self.history()} | {path.name for path in in_use}
        digests: set[str] = set()
        for name in sorted(wanted):
            try:
                digests |= _digests(self._load(name))
            except DamagedGeneration:
                wanted.discard(name)  # nobody can run it any more
        self._remove_links()
        kept: list[tuple[Path, Collection[str]]] = [(self._manifests, wanted), (self._objects, digests)]
        kept.append((self._former_codes, ()))
        if self.codes is not None:
            kept.append((self.codes, digests))
        for directory, keep in kept:
            for name in self._files.children(directory):
                if name.partition("-")[0] not in keep or "." in name:
                    with suppress(FileNotFoundError):  # a worker writes codes, under another name at first
                        remove_tree(self._files, directory / name)
        self._known = {name: manifest for name, manifest in self._known.items() if name in wanted}
        self._sound &= digests

    def _put_object(self, digest: str, data: bytes, standing: set[str]) -> None:
        path = self._objects / digest
        if digest not in standing or not self._is(path, data):
            overwrite(self._files, path, data)
            standing.add(digest)
        self._sound.add(digest)

    def _is(self, path: Path, data: bytes) -> bool:
        try:
            standing = self._files.stat(path)
            is_file = standing is not None and standing.kind == "file" and standing.size == len(data)
            return is_file and self._files.read(path) == data
        except OSError:
            return False

    def _load(self, name: str) -> Manifest:
        manifest = self._known.get(name)
        if manifest is None:
            path = self._manifests / name
            try:
                manifest = self._known[name] = Manifest.loads(self._checked(path), str(path))
            except Damaged as error:
                raise DamagedGeneration(str(error), path=path) from error
        return manifest

    def _read(self, digest: str) -> bytes:
        return self._checked(self._objects / digest)

    def _checked(self, path: Path) -> bytes:
        """The bytes of a file whose name is their digest."""
        try:
            data = self._files.read(path)
        except OSError as error:
            raise DamagedGeneration(_unreadable(path, error), path=path) from error
        if digest_of(data) != path.name:
            raise DamagedGeneration(f"{path} is damaged: its bytes are not those that its name stands for.", path=path)
        return data

    def _write_history(self, good: tuple[Good, ...]) -> None:
        text = msgspec.json.format(msgspec.json.encode(_History(1, good)))
        write_sealed(self._files, self._top / "history.json", text + b"\n")


def _digests(manifest: Manifest) -> set[str]:
    return {digest for _, digest, _, _ in manifest.modules} | {*manifest.files.values()}


def _unreadable(path: Path, error: OSError) -> str:
    return f"{path} cannot be read: {error.strerror or os.strerror(error.errno or 0)}."
