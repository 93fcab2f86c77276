"""Pinned generations on disk: workers import from them, and an undo returns to them.

They form a content-addressed store in ``<home>/generations/``, so that another generation takes only the space of its changes:

- ``objects/<digest>``: the bytes of a source, or of another file of a generation;
- ``manifests/<digest>``: one for each generation (see :mod:`lastgood.bridges.worker.manifest`). A generation gets a new
  manifest when a module is added to it that no import statement leads to and a worker has imported;
- ``history.json``: the last good generations, oldest first, under this user's seal (see :mod:`lastgood.store.user_key`).
  It authenticates the manifests it names, and these the objects; other files are only opened if this process wrote them.

The compiled code that workers cache (see :mod:`lastgood.bridges.worker.codes`) is outside of the project, in the user's cache
directory: ``code/<digest of the source>-…``.

Every file is written under another name and then renamed, so it is complete unless the disk lost data. Names are digests, so
such damage is detected: files written by an earlier process are checked before use, and rewritten if damaged. What the history
names survives a power failure: it is on disk before the history is, and the history before what it names no more is removed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from copy import copy
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import msgspec
from msgspec import Struct, field

from lastgood.bridges.worker.manifest import Damaged, Manifest
from lastgood.errors import LastgoodError
from lastgood.store.file_system import FileSystem, digest_of
from lastgood.store.trees import make_directories, overwrite, read_bounded, read_sealed, remove_tree, write_sealed

__all__ = ["KEPT", "DamagedGeneration", "GenerationStore", "Good", "Kept", "LateModule"]

KEPT = 5
"""The number of good generations that are kept, besides those in use."""


class DamagedGeneration(LastgoodError):
    """The stored data of a generation cannot be used. ``path`` is the file at fault."""

    def __init__(self, problem: str, *, path: Path | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = path

    def __str__(self) -> str:
        return self.problem


class Good(msgspec.Struct, frozen=True):
    """A generation in the history.

    ``manifest``: the name of its manifest; ``generation``: its number in the session that made it; ``at``: the time when it
    became good, in seconds since the epoch; ``changed``: the files whose change led to it.
    """

    manifest: str
    generation: int
    at: float
    changed: tuple[str, ...] = ()


class _History(msgspec.Struct, frozen=True):
    version: int
    good: tuple[Good, ...]


class Kept(Struct, frozen=True):
    """The stored content of a generation: the sources of its modules and its other files, both by name.

    ``late``: module name to path, for modules to which no import statement leads.
    """

    sources: Mapping[str, bytes]
    files: Mapping[str, bytes]
    late: Mapping[str, Path] = field(default_factory=dict)


class LateModule(Struct, frozen=True):
    """A module that a worker imported from ``path`` though no import statement leads to it; ``source`` is the code it runs."""

    name: str
    path: Path
    source: bytes


class Reading(Protocol):
    """A snapshot of the sources of a generation, to be stored."""

    def manifest(self) -> Manifest:
        """Return the manifest for the worker."""
        ...

    def objects(self) -> Iterable[tuple[str, bytes]]:
        """Return the bytes that the manifest names, as (digest, bytes)."""
        ...


class GenerationStore:
    """The generations of an output directory; ``home`` is its ``.lastgood/<name>/``. Only one process writes at a time."""

    def __init__(self, files: FileSystem, home: Path) -> None:
        self._files = files
        self._top = home / "generations"
        self._objects = self._top / "objects"
        self._manifests = self._top / "manifests"
        self._former_codes = self._top / "code"  # used by an earlier version
        cache = files.cache(home)
        self.codes = None if cache is None else cache / "code"
        self._verified: set[str] = set()  # objects that this process has written or checked
        self._known: dict[str, Manifest] = {}
        self._digests: dict[str, frozenset[str]] = {}  # of the objects of each, from one sweep to the next
        self._unsafe: set[Path] = set()  # files that a power failure may take

    def put(self, pinned: Reading, files: Mapping[str, tuple[str, bytes]] = MappingProxyType({})) -> Path:
        """Store a generation, and return the path of its manifest.

        It consists of ``pinned``, and of other files, which have names of the caller's choice: digest and bytes by name. It
        stays until the next :meth:`sweep` without it. Equal generations are stored once. Raises :class:`OSError`.
        """
        others = {name: files[name] for name in sorted(files)}
        manifest = pinned.manifest()
        manifest.files = {name: digest for name, (digest, _) in others.items()}
        return self._put(manifest, (*pinned.objects(), *others.values()))

    def named(self, manifest: str) -> Path:
        """Return the path of the manifest of that name."""
        return self._manifests / manifest

    def put_late(self, path: Path, late: Iterable[LateModule], *, in_history: bool = True) -> Path:
        """Add ``late`` modules to the generation with the manifest ``path``; return the path of its new manifest.

        If ``in_history``, the history then names the new manifest in place of the old one. Modules that are stored already do
        not change.
        Raises :class:`OSError`, :class:`DamagedGeneration`.
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
        if in_history:
            self._rename(path.name, made.name)
        return made

    def forget(self, manifest: Path) -> None:
        """Remove the manifest of a generation that is neither used nor in the history. Raise :class:`OSError`."""
        self._known.pop(manifest.name, None)
        self._unsafe.discard(manifest)
        with suppress(FileNotFoundError):
            self._files.unlink(manifest)

    def _put(self, manifest: Manifest, objects: Iterable[tuple[str, bytes]]) -> Path:
        self._remove_links()
        for directory in (self._objects, self._manifests):
            make_directories(self._files, directory)
        standing, unsafe, written = set(self._files.children(self._objects)), set(self._unsafe), False
        for digest, data in objects:
            if digest not in self._verified or digest not in standing:
                written |= self._put_object(digest, data, standing)
        text = manifest.dumps()
        path = self._manifests / digest_of(text)
        if not self._has_content(path, text):
            overwrite(self._files, path, text)
            written = True
        if path.name not in self._known:
            self._unsafe.add(path)
        self._known[path.name] = manifest
        if not written and self._unsafe != unsafe and any(good.manifest == path.name for good in self.history()):
            self._unsafe = unsafe  # all of it was on disk before the history named it
        return path

    def _remove_links(self) -> None:
        """Remove links in place of the directories: following one would write or remove files elsewhere."""
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
            self._write_history(tuple(renamed), history)

    def record(
        self,
        manifest: Path,
        *,
        generation: int,
        at: float,
        changed: Iterable[Path] = (),
        repeats: Path | None = None,
    ) -> None:
        """Record that a stored generation has become good, as the last in the history; remove the one that it ``repeats``.

        The history contains each generation once, and only the last :data:`KEPT`. Raises :class:`OSError`.
        """
        entry = Good(manifest.name, generation, at, tuple(map(str, changed)))
        same = {entry.manifest, None if repeats is None else repeats.name}
        history = self.history()
        before = (good for good in history if good.manifest not in same)
        self._write_history((*before, entry)[-KEPT:], history)

    def is_still(self, before: Path, manifest: Path) -> bool:
        """Return whether ``manifest`` equals the generation ``before`` and the late modules of that are unchanged on disk."""
        if before.parent != self._manifests:
            return False
        try:
            known = self._load(before.name)
        except DamagedGeneration:
            return False
        if not known.late:
            return before.name == manifest.name
        late = (module for module in known.modules if module[3] in known.late)
        return digest_of(_without_late(known).dumps()) == manifest.name and all(
            self._is_unchanged(path, digest) for _, digest, _, path in late
        )

    def has_sources(self, manifest: Path, reading: Reading) -> bool:
        """Return whether the sources of a stored generation are those of ``reading``, apart from late modules.

        Raises :class:`DamagedGeneration`.
        """
        known, read = _without_late(self._load(manifest.name)), reading.manifest()
        read.files = known.files
        return read.dumps() == known.dumps()

    def _is_unchanged(self, path: str, digest: str) -> bool:
        try:
            return self._files.digest(Path(path)) == digest
        except OSError:
            return False

    def retract(self, manifest: Path) -> None:
        """Make a generation the last in the history again, since the later ones have been undone.

        Raises :class:`OSError`.
        """
        history = self.history()
        names = [good.manifest for good in history]
        if manifest.name in names:
            self._write_history(history[: names.index(manifest.name) + 1], history)

    def before(self, manifest: Path | None) -> Good | None:
        """Return the last good generation before this one, or the last of all if this one is not in the history."""
        history = self.history()
        names = [good.manifest for good in history]
        if manifest is not None and manifest.name in names:
            history = history[: names.index(manifest.name)]
        return history[-1] if history else None

    def history(self) -> tuple[Good, ...]:
        """Return the last good generations, oldest first; empty if the history has no valid seal or cannot be read."""
        try:
            data = read_sealed(self._files, self._top / "history.json")
            return () if data is None else msgspec.json.decode(data, type=_History).good
        except (OSError, msgspec.MsgspecError):
            return ()

    def changed(self, good: Good, before: Good | None) -> tuple[Path, ...]:
        """Return the user's files that differ between two generations, sorted; all of them if ``before`` is None.

        Modules that only one of them has imported late are left out. Raises :class:`DamagedGeneration`.
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
        """Return the path of the manifest of a generation in the history, with which a bridge can run it again."""
        return self._manifests / good.manifest

    def open(self, manifest: Path) -> Kept:
        """Return the stored content of a generation, fully checked. Raise :class:`DamagedGeneration`."""
        loaded = self._load(manifest.name)
        sources = {name: self._read(digest) for _, digest, name, _ in loaded.modules}
        late = {name: Path(path) for _, _, name, path in loaded.modules if path in loaded.late}
        return Kept(sources, {name: self._read(digest) for name, digest in loaded.files.items()}, late)

    def files(self, manifest: Path) -> Mapping[str, str]:
        """Return the digests of a generation's other files by name. Raise :class:`DamagedGeneration`."""
        return self._load(manifest.name).files

    def read(self, digest: str) -> bytes:
        """Return the bytes with that digest, checked. Raise :class:`DamagedGeneration`."""
        return self._read(digest)

    def place(self, digest: str) -> Path | None:
        """Return the path of the object with that digest; None unless this process has written or checked it."""
        return self._objects / digest if digest in self._verified else None

    def sweep(self, in_use: Collection[Path] = ()) -> None:
        """Remove every generation except those in the history and those ``in_use``. Raise :class:`OSError`."""
        wanted = {good.manifest for good in self.history()} | {path.name for path in in_use}
        by_name: dict[str, frozenset[str]] = {}
        for name in sorted(wanted):
            try:
                by_name[name] = self._digests.get(name) or _digests(self._load(name))
            except DamagedGeneration:
                wanted.discard(name)  # it can no longer be run
        self._digests, digests = by_name, frozenset[str]().union(*by_name.values())
        self._remove_links()
        kept: list[tuple[Path, Collection[str]]] = [(self._manifests, wanted), (self._objects, digests)]
        kept.append((self._former_codes, ()))
        if self.codes is not None:
            kept.append((self.codes, digests))
        for directory, keep in kept:
            for name in {*self._files.children(directory)} - {*keep}:
                if name.partition("-")[0] not in keep or "." in name:
                    self._unsafe.discard(directory / name)
                    with suppress(FileNotFoundError):  # a worker may rename a file of cached code at the same moment
                        remove_tree(self._files, directory / name)
        self._known = {name: manifest for name, manifest in self._known.items() if name in wanted}
        self._verified &= digests

    def _put_object(self, digest: str, data: bytes, standing: set[str]) -> bool:
        """Store an object; return whether it had to be written."""
        path = self._objects / digest
        is_missing = digest not in standing or not self._has_content(path, data)
        if is_missing:
            overwrite(self._files, path, data)
            standing.add(digest)
        self._verified.add(digest)
        self._unsafe.add(path)  # also if it stands there: an earlier process may have written it a moment ago
        return is_missing

    def _has_content(self, path: Path, data: bytes) -> bool:
        try:
            standing = self._files.stat(path)
            is_file = standing is not None and standing.kind == "file" and standing.size == len(data)
            return is_file and (path.name in self._known or self._files.read(path) == data)
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
        data = self._checked(self._objects / digest)
        self._verified.add(digest)
        return data

    def _checked(self, path: Path) -> bytes:
        """Return the bytes of a file whose name is their digest. Raise :class:`DamagedGeneration`."""
        try:
            data = read_bounded(self._files, path)
            if data is None and self._files.stat(path) is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        except OSError as error:
            raise DamagedGeneration(_unreadable(path, error), path=path) from error
        if data is None or digest_of(data) != path.name:
            raise DamagedGeneration(f"{path} is damaged: its bytes are not those that its name stands for.", path=path)
        return data

    def _write_history(self, good: tuple[Good, ...], former: tuple[Good, ...]) -> None:
        text = msgspec.json.format(msgspec.json.encode(_History(1, good)))
        directories = (self._objects, self._manifests, self._top, self._top.parent) if self._unsafe else ()
        write_sealed(self._files, self._top / "history.json", text + b"\n", after=(*sorted(self._unsafe), *directories))
        self._unsafe.clear()
        if [each.manifest for each in good] != [each.manifest for each in former]:  # else one is as good as the other
            self._files.barrier((self._top,))


def _without_late(manifest: Manifest) -> Manifest:
    plain = copy(manifest)
    plain.modules, plain.late = [module for module in manifest.modules if module[3] not in manifest.late], []
    return plain


def _digests(manifest: Manifest) -> frozenset[str]:
    return frozenset({digest for _, digest, _, _ in manifest.modules} | {*manifest.files.values()})


def _unreadable(path: Path, error: OSError) -> str:
    return f"{path} cannot be read: {error.strerror or os.strerror(error.errno or 0)}."
