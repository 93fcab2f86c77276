"""Find the file of a module from directory listings, without importing any user code.

A module is searched in ``python_import_path``, then on the search path of the worker's interpreter, by the rules of Python's
path finder: in each directory, a package with an ``__init__`` takes precedence over a module file, and an extension module
over a source. A directory without ``__init__`` is a namespace package if nothing else of that name is found anywhere. ``a.b``
is searched in the directories of ``a``. The mappings of setuptools' editable installs come last, as their finders do.

A finder reads each directory once, so that its results are consistent. They stay valid as long as the listings do.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import MappingProxyType

from msgspec import Struct, field

from lastgood.bridges.worker.importing import is_local, local_roots
from lastgood.sources.links import Links, links_to
from lastgood.sources.listings import Listings, Names
from lastgood.store.file_system import FileSystem

__all__ = ["EXTENSIONS", "Finder", "Found", "Interpreter"]

# Includes suffixes of other interpreters, since the worker may run a different one.
EXTENSIONS = tuple(dict.fromkeys((*EXTENSION_SUFFIXES, ".so", ".pyd")))


class Interpreter(Struct, frozen=True):
    """The places where an interpreter looks for modules.

    ``builtin_modules`` are the names that it does not look for on ``sys_path``. ``mapping`` and ``namespaces`` come from the
    finders of setuptools' editable installs. ``mapping``: module name to the directory of a package, or to a module's file
    without its suffix. ``namespaces``: name of a namespace package to its directories. ``preloaded()`` returns the names of
    more modules that it does not look for, because it loads them at its start; that may run it. ``version``: of its Python.
    """

    sys_path: Sequence[Path] = ()
    builtin_modules: Collection[str] = sys.builtin_module_names
    mapping: Mapping[str, str] = field(default_factory=dict)
    namespaces: Mapping[str, Sequence[str]] = field(default_factory=dict)
    preloaded: Callable[[], Collection[str]] = tuple
    version: tuple[int, int] = sys.version_info[:2]


class Found(Struct, frozen=True):
    """A module as Python would find it. ``where`` is the directory in which it was found; "" if there is none.

    ``file`` is None for a namespace package and for a module without source (built-in, frozen, extension module, bytecode
    only). ``search`` lists the directories for submodules; None if it is not a package.
    """

    where: str
    file: str | None = None
    search: tuple[str, ...] | None = None
    is_namespace: bool = False


_BUILT_IN = Found("")


class Finder:
    """Finds modules in ``import_path``, then as ``interpreter`` would. Results are cached, for as long as ``listings`` hold.

    ``path_of`` makes paths. It may return an earlier one: to make one costs more than the system calls. ``given``: directories
    that were listed already, as for :class:`~lastgood.sources.listings.Listings`.
    """

    def __init__(
        self,
        files: FileSystem,
        import_path: Iterable[Path],
        interpreter: Interpreter,
        path_of: Callable[[str], Path] = Path,
        given: Mapping[str, Names] = MappingProxyType({}),
    ) -> None:
        self.listings = Listings(files, given)
        self.path_of = path_of
        self.import_path = tuple(map(str, import_path))
        self.builtin_modules = frozenset(interpreter.builtin_modules)
        self.preloaded = interpreter.preloaded
        self.python = interpreter.version
        self._interpreter = interpreter
        self._sys_path = tuple(map(str, interpreter.sys_path))
        # No Memo: what is found here depends on the state of directories.
        self._known: dict[str, Found | None] = {}
        self._local: dict[str, bool] = {}
        self._real: dict[str, str] = {}
        self._stubs: dict[str, Sequence[str]] = {}
        self._installed = [entry for entry in self._sys_path if self._is_installed(entry)]
        # The links are read before the directories that they lead to: so links_hold() of the listings finds any swung meanwhile.
        self._links = Links(self.listings.read_link)
        self.links_to(self.import_path)
        self.roots = tuple(local_roots(self.import_path, self._installed))

    def is_for(self, import_path: Iterable[Path], interpreter: Interpreter, given: Mapping[str, Names]) -> bool:
        """Return whether a new finder with these arguments would find the same."""
        same = self.import_path == tuple(map(str, import_path)) and self._interpreter == interpreter
        return same and self.listings.hold(given)

    # Directories.

    def listing(self, directory: str) -> Mapping[str, str]:
        """Return the names in a directory with their kinds. An unreadable directory is empty, as for Python's path finder."""
        return self.listings.names(directory)

    def has_file(self, directory: str, name: str) -> bool:
        """Return whether the entry is a regular file, following links."""
        kind = self.listing(directory).get(name)
        return kind == "file" or (kind == "link" and self.listings.is_file(f"{directory}/{name}"))

    def has_directory(self, directory: str, name: str) -> bool:
        """Return whether the entry is a directory, following links."""
        kind = self.listing(directory).get(name)
        return kind == "directory" or (kind == "link" and self.listings.is_directory(f"{directory}/{name}"))

    def real_directory(self, directory: str) -> str:
        """Resolve the symbolic links of ``directory``, as far as it exists."""
        known = self._real.get(directory)
        if known is None:
            above, _, name = directory.rpartition("/")  # quicker than os.path.split(), and there may be thousands
            beside = self.listings.listed(above)
            # If its parent was listed, this usually needs no system call: an entry that is absent is not a link.
            if name and beside is not None and beside.get(name) != "link":
                known = f"{self.real_directory(above).removesuffix('/')}/{name}"
            else:
                known = self.listings.real_path(directory)
            self._real[directory] = known
        return known

    def real_file(self, path: str) -> Path:
        """Resolve the symbolic links of a file."""
        directory, name = os.path.split(path)
        if self.listing(directory).get(name) == "link":
            return self.path_of(self.listings.real_path(path))
        return self.path_of(os.path.join(self.real_directory(directory), name))

    def links_to(self, paths: Iterable[str | Path]) -> dict[Path, str]:
        """Return the symbolic links on the way to each of ``paths``, with their texts."""
        return links_to(paths, self._links)

    def is_local(self, directory: str) -> bool:
        """Return whether ``directory`` is under ``import_path`` and does not contain installed modules."""
        known = self._local.get(directory)
        if known is None:
            known = self._local[directory] = is_local(directory, self.roots, self._installed)
        return known

    def _is_installed(self, entry: str) -> bool:
        if not {"site-packages", "dist-packages"}.isdisjoint(entry.split(os.sep)):
            return True
        return all(self.listings.is_file(f"{entry}/{name}") for name in ("os.py", "site.py"))  # the standard library

    # Modules.

    def find(self, name: str) -> Found | None:
        """Find a module by its full name; None if there is none.

        A module on ``import_path`` is found also where a built-in module hides it, so that the caller can report that.
        """
        if name not in self._known:
            self._known[name] = self._find_anew(name)
        return self._known[name]

    def entries(self, name: str) -> tuple[str, ...]:
        """Return where a module of that name is looked for, without the interpreter's own path."""
        parent = name.rpartition(".")[0]
        if not parent:
            return self.import_path
        package = self.find(parent)
        return () if package is None or package.search is None else package.search

    def searched(self, name: str) -> tuple[str, ...]:
        """Return the directories in which :meth:`find` looks for a module, in order; those on ``import_path`` may not exist."""
        if name.rpartition(".")[0]:
            return self.entries(name)
        others = filter(self.exists, self._sys_path)
        return tuple(dict.fromkeys((*self.import_path, *others)))

    def exists(self, directory: str) -> bool:
        """Return whether there is such a directory."""
        return self.listings.is_directory(directory)

    def directories(self, name: str) -> list[str]:
        """Return each directory of that name on ``import_path``."""
        inside = name.replace(".", "/")
        above, _, tail = inside.rpartition("/")
        return [
            f"{entry}/{inside}"
            for entry in self.import_path
            if self.has_directory(f"{entry}/{above}" if above else entry, tail)
        ]

    def _find_anew(self, name: str) -> Found | None:
        parent, _, tail = name.rpartition(".")
        if parent:
            package = self.find(parent)
            if package is None or package.search is None:
                return None
            return self._look_in(package.search, tail, self._portions(name, package)) or self._mapped(name)
        local = self._look_in(self.import_path, tail)
        if local is not None and not local.is_namespace:
            return local
        # Nothing, or a namespace package, over which any module of the interpreter takes precedence.
        if name in self.builtin_modules:
            return _BUILT_IN
        found = self._look_in((*self.import_path, *self._sys_path), tail, self._portions(name)) or self._mapped(name)
        # A standard library module that is in no directory is frozen or in a zip archive.
        return _BUILT_IN if (found is None or found.is_namespace) and name in sys.stdlib_module_names else found

    def _look_in(self, entries: Iterable[str], tail: str, more: Sequence[str] | None = None) -> Found | None:
        """Find ``tail`` in ``entries``. ``more``: further directories if it is a namespace package."""
        portions = []
        for entry in entries:
            if not self.listing(entry):
                continue
            is_dir = self.has_directory(entry, tail)
            directory = f"{entry}/{tail}"
            if is_dir and (found := self._look_at(entry, directory, "__init__", (directory,))):
                return found
            if found := self._look_at(entry, entry, tail, None):
                return found
            if is_dir:
                portions.append(directory)
        if not portions and more is None:
            return None
        search = tuple(dict.fromkeys((*portions, *(more or ()))))
        return Found(search[0] if search else "", search=search, is_namespace=True)

    def _look_at(self, entry: str, directory: str, stem: str, search: tuple[str, ...] | None) -> Found | None:
        """Find the module ``stem`` of any kind in ``directory``."""
        listing = self.listing(directory)
        if not listing and self.listings.is_file(f"{directory}/{stem}.py"):  # a directory without read permission
            return Found(entry, f"{directory}/{stem}.py", search)
        if any(stem + suffix in listing and self.has_file(directory, stem + suffix) for suffix in EXTENSIONS):
            return Found(entry, search=search)
        if self.has_file(directory, f"{stem}.py"):
            return Found(entry, f"{directory}/{stem}.py", search)
        return Found(entry, search=search) if self.has_file(directory, f"{stem}.pyc") else None

    def stub(self, name: str, file: str) -> str | None:
        """Return the stub of the module ``name`` in ``file``: its ``.pyi``; None if there is none.

        It lies beside the file, in a directory ``typings`` on ``import_path``, or in a package of stubs (:pep:`561`).
        """
        directory, _, base = file.rpartition("/")
        stem = base.removesuffix(".py")
        if self.has_file(directory, f"{stem}.pyi"):
            return f"{directory}/{stem}.pyi"
        top, *inner = name.split(".")
        for place in self._stub_packages(top):
            is_package = stem == "__init__" or (not inner and place.endswith("-stubs"))
            directory, _, tail = "/".join([place, *inner, *(["__init__"] if is_package else [])]).rpartition("/")
            if self.has_file(directory, f"{tail}.pyi"):
                return f"{directory}/{tail}.pyi"
        return None

    def _stub_packages(self, top: str) -> Sequence[str]:
        """Return the path, without a suffix, of each stub of the top-level module or package ``top``."""
        if top not in self._stubs:
            typings = [f"{entry}/typings/{top}" for entry in self.import_path if self.has_directory(entry, "typings")]
            packages = [
                f"{entry}/{top}-stubs"
                for entry in (*self.import_path, *self._sys_path)
                if self.has_directory(entry, f"{top}-stubs")
            ]
            self._stubs[top] = (*typings, *packages)
        return self._stubs[top]

    # Editable installs.

    def _portions(self, name: str, package: Found | None = None) -> Sequence[str] | None:
        """Return the directories that editable installs add to a namespace package; None if they add none."""
        if package is not None and not package.is_namespace:
            return None
        return self._interpreter.namespaces.get(name)

    def _mapped(self, name: str) -> Found | None:
        """Find a module that an editable install maps. There, sources take precedence over extension modules."""
        mapping = self._interpreter.mapping
        place = mapping.get(name)
        if place is None:
            parent, _, tail = name.rpartition(".")
            return self._look_in((mapping[parent],), tail) if parent in mapping else None
        directory, stem = os.path.split(place)
        if self.has_file(place, "__init__.py"):
            return Found(directory, f"{place}/__init__.py", (place,))
        if self.has_file(directory, f"{stem}.py"):
            return Found(directory, f"{directory}/{stem}.py")
        return self._look_at(directory, directory, stem, None)
