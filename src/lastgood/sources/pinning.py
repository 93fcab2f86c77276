"""Pinning the sources of a generation: one consistent reading of them, without importing any user code.

Pinned are the trees of the named modules, and every local module that an import statement in a pinned one leads to: absolute or
relative, inside functions or under ``if TYPE_CHECKING``, with its parent packages, transitively. A module is local if it is
under ``python_import_path`` and was not installed there. The imports of a module are remembered by the digest of its bytes, so
a further reading only parses changed files. After an edit that alters no import, and as long as modules are found where they
were, the last reading is brought up to date, whatever its size.
"""

from __future__ import annotations

import dataclasses
import errno
import itertools
import operator
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from lastgood.bridges.worker.manifest import Manifest
from lastgood.config import Config
from lastgood.sources.contents import Contents
from lastgood.sources.finder import EXTENSIONS, Finder, Found
from lastgood.sources.import_statements import Imports, imports_of
from lastgood.sources.resolution import Resolved

__all__ = ["Pinned", "PinnedModule", "Pinner"]


class PinnedModule(Struct, frozen=True):
    """A module under one of its names. ``path`` is its file as Python would name it, ``file`` the canonical path of that."""

    name: str
    path: Path
    file: Path
    is_package: bool
    digest: str


@dataclasses.dataclass(frozen=True, slots=True)
class Pinned:
    """One reading of the sources.

    ``roots`` are the local directories of ``python_import_path``. ``modules`` are sorted by name and path; a module that can be
    imported under several names is listed under each. ``namespaces`` maps each namespace package to its directories.
    ``elsewhere`` are the top-level names of modules that import statements lead to and that are not local.

    ``stubs`` are the ``.pyi`` files beside them, each under the name of its module.

    ``helpers`` are the pinned files outside of the named modules' files and roots, sorted. ``candidates`` are the paths whose
    appearance would change the target of an import statement, except for standard library modules. ``sources`` are the bytes
    of every pinned file, ``digests`` theirs; ``unreadable`` are files that could not be read. All these paths are canonical.

    ``imports`` are, by the name of each module, the names of the local modules that its import statements lead to.
    """

    roots: tuple[Path, ...]
    modules: tuple[PinnedModule, ...]
    namespaces: Mapping[str, tuple[Path, ...]]
    elsewhere: tuple[str, ...]
    helpers: tuple[Path, ...]
    candidates: tuple[Path, ...]
    sources: Mapping[Path, bytes]
    digests: Mapping[Path, str]
    unreadable: Mapping[Path, OSError]
    imports: Mapping[str, AbstractSet[str]] = dataclasses.field(default_factory=dict, repr=False)
    stubs: tuple[PinnedModule, ...] = ()
    _by_name: dict[str, PinnedModule] = dataclasses.field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for module in self.modules:
            self._by_name.setdefault(module.name, module)

    def find(self, name: str) -> PinnedModule | None:
        """Return the pinned module of that name; None if there is none, or if it is a namespace package."""
        return self._by_name.get(name)

    def read(self, file: Path) -> bytes:
        """Return the bytes of a pinned file, by its canonical path. Raise the :class:`OSError` with which reading it failed."""
        if file in self.unreadable:
            raise self.unreadable[file]
        if file not in self.sources:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
        return self.sources[file]

    def objects(self) -> Iterable[tuple[str, bytes]]:
        """Return digest and bytes of every module."""
        return ((each.digest, self.sources[each.file]) for each in self.modules)

    def ways(self) -> set[Path]:
        """Return the paths of pinned modules and namespace packages as far as a symbolic link may be on the way."""
        linked = (each.path for each in (*self.modules, *self.stubs) if each.path != each.file)
        return {*linked, *(path for paths in self.namespaces.values() for path in paths)}

    def has_same_files(self, other: Pinned) -> bool:
        """Return whether the files of both are the same by construction, apart from their contents."""
        return self.helpers is other.helpers and self.candidates is other.candidates

    def changed_since(self, other: Pinned | None) -> Iterable[PinnedModule]:
        """Return the modules, and stubs, that are not those of ``other``: all, unless both were made by :meth:`with_files`."""
        own = (*self.modules, *self.stubs)
        if other is None or not self.has_same_files(other):
            return own
        return itertools.compress(own, map(operator.is_not, own, (*other.modules, *other.stubs)))

    def with_files(self, changed: Mapping[Path, tuple[str, bytes]]) -> Pinned:
        """Return this reading with other contents, digest and bytes, of some files. All else is the same object."""

        if not changed:
            return self
        former = {self.digests[file] for file in changed}  # a digest is looked up in a tenth of the time of a path

        def renewed(modules: tuple[PinnedModule, ...]) -> tuple[PinnedModule, ...]:
            return tuple(
                [
                    replace(each, digest=changed[each.file][0])
                    if each.digest in former and each.file in changed
                    else each
                    for each in modules
                ]
            )

        return dataclasses.replace(
            self,
            modules=renewed(self.modules),
            stubs=renewed(self.stubs),
            sources={**self.sources, **{file: data for file, (_, data) in changed.items()}},
            digests={**self.digests, **{file: digest for file, (digest, _) in changed.items()}},
        )

    def manifest(self) -> Manifest:
        """Return the manifest for the worker."""
        manifest = Manifest()
        manifest.roots = [str(root) for root in self.roots]
        manifest.modules = [(each.is_package, each.digest, each.name, str(each.path)) for each in self.modules]
        manifest.namespaces = {name: [str(path) for path in paths] for name, paths in self.namespaces.items()}
        manifest.elsewhere = list(self.elsewhere)
        return manifest


class Pinner:
    """Reads sources, and remembers the imports of each module from one reading to the next. Not thread-safe.

    ``imports_of`` finds the import statements in a source, here or in another process. ``note(name, file)`` is called for each
    module before it is read.
    """

    def __init__(
        self,
        contents: Contents,
        imports_of: Callable[[bytes], Imports] = imports_of,
        note: Callable[[str, Path], object] = lambda _name, _file: None,
    ) -> None:
        self._contents = contents
        self._imports_of = imports_of
        self._note = note
        # No Memo: these are exactly the digests of the last readings.
        self._known: dict[str, Imports] = {}
        self._asked: set[str] = set()
        self._last: _Last | None = None

    def pin(self, config: Config, modules: Mapping[str, Resolved], finder: Finder) -> Pinned:
        """Read ``modules``, as :func:`.resolution.resolve_modules` returns them for ``config``, and what they import.

        ``finder`` searches as the worker would. A file that cannot be read or parsed is not an error here.
        """
        output = self._contents.files.real_path(config.place)
        last = self._last
        if last is not None and last.modules is modules and last.finder is finder and last.output == output:
            pinned = self._renewed(last)
            if pinned is not None:
                self._asked.update(pinned.digests.values())
                self._last = replace(last, pinned=pinned)
                return pinned
        wrappers = _Wrappers(output, modules.values())
        reading = _Reading(self._contents, finder, self._imports_in, wrappers, self._note)
        for module in modules.values():
            reading.pin_named(module)
        reading.follow()
        self._asked |= reading.imports.keys()
        pinned = reading.result(modules.values())
        self._last = _Last(modules, finder, output, pinned, reading.mentions)
        return pinned

    def _renewed(self, last: _Last) -> Pinned | None:
        """Bring the last reading up to date with the files that have changed; None if more may be different."""
        pinned, contents = last.pinned, self._contents
        if pinned.unreadable:
            return None
        contents.keep(pinned.digests.values())
        try:
            # A cycle begins with a look. What that has found need not be asked of the disk again; what has changed since
            # then is found by the next look.
            read = {file: contents.read(file) for file in contents.differing(pinned.digests)}
        except OSError:
            return None
        changed = {file: found for file, found in read.items() if found[0] != pinned.digests[file]}
        for file, (digest, data) in changed.items():
            before = self._imports_in(pinned.digests[file], pinned.sources[file])
            mentions = last.mentions.get(file, {})
            if self._imports_in(digest, data) != before or any(
                (name.encode() in data) != was_there for name, was_there in mentions.items()
            ):
                return None
        return pinned.with_files(changed)

    def forget_others(self) -> None:
        """Forget the imports of all sources that were not read since the last call. This is the app, which should not grow."""
        self._known = {digest: found for digest, found in self._known.items() if digest in self._asked}
        self._asked.clear()

    def _imports_in(self, digest: str, data: bytes) -> Imports:
        known = self._known.get(digest)
        if known is None:
            known = self._known[digest] = self._imports_of(data)
        return known


class _Last(Struct, frozen=True):
    """The last reading, and what it was made of. ``mentions``: by file, the names that were looked for in its bytes."""

    modules: Mapping[str, Resolved]
    finder: Finder
    output: Path
    pinned: Pinned
    mentions: Mapping[Path, Mapping[str, bool]]


class _Wrappers:
    """The files in the output directory, which are not sources, except those of named modules there."""

    def __init__(self, output: Path, named: Iterable[Resolved]) -> None:
        self._inside = f"{output}{os.sep}"
        files = {str(module.file) for module in named if module.file is not None}
        roots = {f"{root}{os.sep}" for module in named for root in module.roots}
        self._named = tuple(path for path in files | roots if path.startswith(self._inside))

    def __contains__(self, path: object) -> bool:
        text = str(path)
        return text.startswith(self._inside) and not text.startswith(self._named)


# --- one reading --------------------------------------------------------------------------------------------------


class _Reading:
    """The state of one reading. ``_todo`` is the queue of pinned modules whose imports are to be followed."""

    def __init__(
        self,
        contents: Contents,
        finder: Finder,
        imports_in: Callable[[str, bytes], Imports],
        wrappers: _Wrappers,
        note: Callable[[str, Path], object],
    ) -> None:
        self._contents = contents
        self._note = note
        self._imports_in = imports_in
        self._finder = finder
        self._wrappers = wrappers
        self.imports: dict[str, Imports] = {}
        self._modules: dict[tuple[str, str], PinnedModule] = {}
        self._stubs: dict[str, PinnedModule] = {}
        self._todo: list[PinnedModule] = []
        self._targets: dict[str, set[str]] = {}  # of the import statements in each module
        self._reached: dict[str, Found | None] = {}
        self._namespaces: dict[str, tuple[str, ...]] = {}
        self._elsewhere: set[str] = set()
        self._candidates: set[str] = set()
        self._sources: dict[Path, tuple[str, bytes]] = {}  # digest and bytes
        self._unreadable: dict[Path, OSError] = {}
        self.mentions: dict[Path, dict[str, bool]] = {}

    # Pinning modules.

    def pin_named(self, module: Resolved) -> None:
        """Pin a named module with its tree, even if it is not local, and its local parent packages."""
        name, finder = module.name, self._finder
        self._reach(name)
        found = finder.find(name)
        if found is None:
            return
        if found.file is not None:
            self._pin(name, found.file, is_package=found.search is not None)
        if found.search is None:
            return
        directories = finder.directories(name)
        if found.is_namespace:
            self._namespaces[name] = found.search
        if not (found.is_namespace and directories):
            directories += found.search
        for directory in dict.fromkeys(directories):
            self._pin_tree(name, directory)

    def _pin_tree(self, name: str, top: str) -> None:
        finder = self._finder
        seen: set[str] = set()
        left = [(name, top)]
        while left:
            package, directory = left.pop()
            real = finder.real_directory(directory)
            if real in seen:
                continue
            seen.add(real)
            listing = finder.listing(directory)
            for entry, kind in listing.items():
                stem, dot, suffix = entry.partition(".")
                if dot and suffix == "py" and kind in ("file", "link"):
                    # Python prefers an extension module, which may have been compiled from this source.
                    if not any(stem + extension in listing for extension in EXTENSIONS):
                        inner = package if stem == "__init__" else f"{package}.{stem}"
                        self._pin(inner, f"{directory}/{entry}", is_package=stem == "__init__")
                elif (
                    not dot
                    and entry not in ("__pycache__", "site-packages", "dist-packages")
                    and (kind == "directory" or (kind == "link" and finder.has_directory(directory, entry)))
                ):
                    left.append((f"{package}.{entry}", f"{directory}/{entry}"))

    def _pin(self, name: str, path: str, *, is_package: bool) -> None:
        if (name, path) in self._modules:
            return
        file = self._finder.real_file(path)
        self._note(name, file)
        digest = self._read(file)
        if digest is not None:
            module = PinnedModule(name, self._finder.path_of(path), file, is_package, digest)
            self._modules[name, path] = module
            self._todo.append(module)
            self._pin_stub(module)

    def _pin_stub(self, module: PinnedModule) -> None:
        """Pin the stub of a module. What only the stub imports is pinned too: types may come from there."""
        path = self._finder.stub(module.name, str(module.path))
        if path is None:
            self._candidates.add(str(module.file.with_suffix(".pyi")))
            return
        file = self._finder.real_file(path)
        digest = self._read(file)
        if module.name in self._stubs or file in self._wrappers:
            return
        stub = PinnedModule(module.name, self._finder.path_of(path), file, module.is_package, digest or "")
        self._stubs[module.name] = stub
        self._todo += [] if digest is None else [stub]

    def _read(self, file: Path) -> str | None:
        """Read ``file`` once; return the digest of its bytes, None if it is unreadable or a generated file."""
        if file in self._sources:
            return self._sources[file][0]
        if file in self._unreadable or file in self._wrappers:
            return None
        try:
            digest, data = self._sources[file] = self._contents.read(file)
        except OSError as error:
            self._unreadable[file] = error
            return None
        if digest not in self.imports:
            self.imports[digest] = self._imports_in(digest, data)
        return digest

    # Following import statements.

    def follow(self) -> None:
        """Pin the targets of the import statements in all pinned modules."""
        while self._todo:
            module = self._todo.pop()
            targets = self._targets.setdefault(module.name, set())
            package = module.name if module.is_package else module.name.rpartition(".")[0]
            for level, target, names in self.imports[module.digest].statements:
                base = _absolute(package, level, target)
                if base:
                    self._follow(base, names, targets)

    def _follow(self, base: str, names: tuple[str, ...], targets: set[str]) -> None:
        found = self._reach(base)
        if found is not None:
            targets.add(base)
        if not names or found is None or found.search is None:
            return
        for name in names:
            if name == "*":
                for exported in self._exports(found):
                    self._reach_in(base, found, exported, targets)
            else:
                self._reach_in(base, found, name, targets)

    def _reach_in(self, package: str, found: Found, name: str, targets: set[str]) -> None:
        """Follow ``from package import name``, where ``name`` may be a submodule."""
        inner = f"{package}.{name}"
        if self._finder.find(inner) is not None:
            targets.add(inner)
            self._reach(inner)
        elif not self._is_mentioned(name, found):
            self._note_candidates(inner, None)  # the package does not mention it, so it would be a submodule

    def _is_mentioned(self, name: str, package: Found) -> bool:
        is_there = name.encode() in self._source(package)[1]
        if package.file is not None:
            self.mentions.setdefault(self._finder.real_file(package.file), {})[name] = is_there
        return is_there

    def _exports(self, package: Found) -> tuple[str, ...]:
        digest, _ = self._source(package)
        return self.imports[digest].exports if digest else ()

    def _source(self, package: Found) -> tuple[str, bytes]:
        known = None if package.file is None else self._sources.get(self._finder.real_file(package.file))
        return ("", b"") if known is None else known

    def _reach(self, name: str) -> Found | None:
        """Pin the local modules that ``import name`` imports; return the module ``name``, None if it is not local."""
        if name in self._reached:
            return self._reached[name]
        self._reached[name] = None
        parent = name.rpartition(".")[0]
        if parent and self._reach(parent) is None:
            return None
        found = self._finder.find(name)
        if found is None:
            self._note_candidates(name, None)
            return None
        directories = found.search if found.is_namespace and found.search is not None else (found.where,)
        is_hidden = not parent and name in self._finder.builtin_modules
        if is_hidden or not any(map(self._finder.is_local, directories)):
            if not parent:
                self._elsewhere.add(name)
            if name not in sys.stdlib_module_names:
                self._note_candidates(name, None)
            return None
        if found.file is not None:
            self._pin(name, found.file, is_package=found.search is not None)
        elif found.is_namespace and found.search is not None:
            self._namespaces[name] = found.search
        self._note_candidates(name, found)
        self._reached[name] = found
        return found

    def _note_candidates(self, name: str, found: Found | None) -> None:
        """Record the paths that would take precedence over ``found`` if they appeared."""
        tail = name.rpartition(".")[2]
        for entry in self._finder.entries(name):
            if not self._finder.is_local(entry):
                continue
            here = found is not None and not found.is_namespace and found.where == entry
            is_package = here and found is not None and found.search is not None
            real = self._finder.real_directory(entry)
            if not here:
                self._candidates.add(f"{real}/{tail}.py")
            if not is_package:
                inner = f"{entry}/{tail}"
                linked = self._finder.listing(entry).get(tail) == "link"
                self._candidates.add(
                    f"{self._finder.real_directory(inner) if linked else f'{real}/{tail}'}/__init__.py"
                )
            if here:
                return

    # The result.

    def result(self, named: Iterable[Resolved]) -> Pinned:
        self._find_namespaces()
        own = tuple(f"{root}{os.sep}" for module in named for root in module.roots)
        files = {module.file for module in named}
        helpers = (file for file in self._sources if file not in files and not str(file).startswith(own))
        outside = (path for path in self._candidates if not path.startswith(own) and path not in self._wrappers)
        candidates = map(self._finder.path_of, outside)
        return Pinned(
            roots=tuple(map(Path, self._finder.roots)),
            modules=tuple(self._modules[key] for key in sorted(self._modules)),
            namespaces={name: tuple(map(Path, paths)) for name, paths in sorted(self._namespaces.items())},
            elsewhere=tuple(sorted(self._elsewhere)),
            helpers=tuple(sorted(helpers)),
            candidates=tuple(sorted(path for path in candidates if path not in self._sources)),
            sources={file: data for file, (_, data) in self._sources.items()},
            digests={file: digest for file, (digest, _) in self._sources.items()},
            unreadable=self._unreadable,
            imports=self._targets,
            stubs=tuple(self._stubs[name] for name in sorted(self._stubs)),
        )

    def _find_namespaces(self) -> None:
        """Record parent packages without ``__init__`` as namespace packages."""
        seen: set[str] = set()
        for name, _ in self._modules:
            package = name.rpartition(".")[0]
            while package and package not in seen:
                seen.add(package)
                found = self._finder.find(package)
                if found is not None and found.is_namespace and found.search is not None:
                    self._namespaces[package] = found.search
                package = package.rpartition(".")[0]


def _absolute(package: str, level: int, target: str) -> str:
    """Return the absolute name of an import's module; "" if it is beyond the top-level package."""
    if not level:
        return target
    parts = package.split(".") if package else []
    if level > len(parts):
        return ""
    base = ".".join(parts[: len(parts) - level + 1])
    return f"{base}.{target}" if target else base
