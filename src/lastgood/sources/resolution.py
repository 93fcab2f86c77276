"""Where the source of a module lies (contract §6). Nothing of the user's is imported to find out.

A module is looked for in ``python_import_path``, then on the path of the worker's interpreter, by the rules of Python's
own path finder: in each directory a package with an ``__init__`` goes before a module file, extension modules before
sources; a directory without ``__init__`` counts only where nothing else of that name is found anywhere; and ``a.b`` is
looked for in the directories of ``a``. The tree is seen through a small port, so that it can be one in memory.
"""

from __future__ import annotations

import _imp
import functools
import json
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Protocol

from lastgood.children.group import ProcessGroup
from lastgood.config import Config, ProcessConfig
from lastgood.errors import UnwatchableModule
from lastgood.sources.environment import existing_interpreter, find_environment, unusable

__all__ = ["DISK", "Resolved", "Tree", "places_of", "resolve_modules", "worker_sys_path"]

INTERPRETER_TIMEOUT = 20.0
"""Seconds that an interpreter may take to tell its path."""


class Tree(Protocol):
    """What resolution needs to know of a file system. Paths are absolute; links are followed; nothing raises."""

    def is_file(self, path: Path) -> bool: ...

    def is_dir(self, path: Path) -> bool: ...

    def children(self, path: Path) -> Collection[str]:
        """The names in a directory; none where there is no directory. This one alone may raise :class:`OSError`."""
        ...

    def real_path(self, path: Path) -> Path:
        """``path`` with every symbolic link in it resolved, whether it exists or not."""
        ...


@dataclass(frozen=True, slots=True)
class Resolved:
    """A module and its source. Every path is canonical: absolute, symbolic links resolved.

    ``file`` is the module's file or the package's ``__init__.py`` (None: a namespace package). ``roots`` are a
    package's directories: each of that name on ``python_import_path``, or where else it was found; empty for a module
    file. ``candidates`` are the paths on ``python_import_path`` whose appearance or disappearance may change this
    answer, what is there now among them. They lie in canonical directories, but may be links themselves.
    """

    name: str
    file: Path | None
    roots: tuple[Path, ...]
    is_package: bool
    candidates: tuple[Path, ...]


def places_of(entry: Path, name: str) -> list[Path]:
    """Where a module could appear below ``entry``: its parents' and its own file or package."""
    parts = name.split(".")
    stems = [entry.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1)]
    return [place for stem in stems for place in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py")]


class _Disk:
    """The real file system."""

    def is_file(self, path: Path) -> bool:
        return os.path.isfile(path)

    def is_dir(self, path: Path) -> bool:
        return os.path.isdir(path)

    def children(self, path: Path) -> Collection[str]:
        return os.listdir(path)

    def real_path(self, path: Path) -> Path:
        return Path(os.path.realpath(path))


DISK: Tree = _Disk()


def resolve_modules(
    config: Config,
    *,
    sys_path: Sequence[Path],
    builtin_modules: Collection[str] = sys.builtin_module_names,
    tree: Tree = DISK,
) -> Mapping[str, Resolved]:
    """Find every module under ``[modules]``, in the config's order.

    ``sys_path`` and ``builtin_modules`` are the worker's, as :func:`worker_sys_path` gives them. Raises
    :class:`UnwatchableModule` for the first module that is missing, has no Python source, or would not be imported from it.
    """
    finder = _Finder(tree, config.python_import_path, sys_path, frozenset(builtin_modules))
    resolved = {}
    for name in config.modules:
        found = finder.find(name)
        if found is None:
            problem = "could not be resolved for watching"
            raise UnwatchableModule(name, f'Module "{name}" {problem}', file=config.path)
        if not found.has_source:
            problem = "is not backed by a local Python source file or package directory and cannot be watched"
            raise UnwatchableModule(name, f'Module "{name}" {problem}', file=config.path)
        if (hidden := finder.hidden(name)) is not None:
            problem = (
                f"cannot be watched: a worker would not import it from {hidden}, since its interpreter has a module of that "
                "name of its own, built in or loaded before any other. Rename yours, there and in the config."
            )
            raise UnwatchableModule(name, f'{config.path}: Module "{name}" {problem}', file=config.path)
        resolved[name] = finder.resolved(name, found)
    return resolved


# --- one module ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Found:
    """What Python would make of a name. ``file`` is None for a namespace package and for what is built in, ``search``
    where submodules are looked for (None: it can have none), ``has_source`` false for built in, frozen, extension
    modules, and bytecode alone.
    """

    file: Path | None
    search: tuple[Path, ...] | None
    has_source: bool = True


_BUILT_IN = _Found(None, None, has_source=False)

# Any interpreter's extension modules, not just this one's: the worker may run another.
_EXTENSIONS = tuple(dict.fromkeys((*EXTENSION_SUFFIXES, ".so", ".pyd")))


class _Finder:
    def __init__(
        self, tree: Tree, import_path: Sequence[Path], sys_path: Sequence[Path], builtin_modules: frozenset[str]
    ) -> None:
        self._tree = tree
        self._import_path = tuple(import_path)
        self._sys_path = tuple(sys_path)
        self._builtin_modules = builtin_modules
        self._known: dict[str, _Found | None] = {}
        self._real: dict[str, str] = {}
        self._names: dict[Path, frozenset[str]] = {}

    def find(self, name: str) -> _Found | None:
        if name not in self._known:
            self._known[name] = self._find_anew(name)
        return self._known[name]

    def hidden(self, name: str) -> Path | None:
        """Where on ``python_import_path`` a module lies, or the package it is in, that a module of the interpreter hides."""
        top = name.partition(".")[0]
        found = self.find(top)
        if top not in self._builtin_modules or found is None or found.file is None:
            return None
        return found.file if found.search is None else found.file.parent

    def resolved(self, name: str, found: _Found) -> Resolved:
        return Resolved(
            name=name,
            file=None if found.file is None else self._tree.real_path(found.file),
            roots=self._roots(name, found),
            is_package=found.search is not None,
            candidates=tuple(self._candidates(name, is_package=found.search is not None)),
        )

    def _find_anew(self, name: str) -> _Found | None:
        parent, _, tail = name.rpartition(".")
        if parent:
            package = self.find(parent)
            return None if package is None or package.search is None else self._look_in(package.search, tail)
        local = self._look_in(self._import_path, tail)
        if local is not None and local.file is not None:
            return local
        # Nothing there, or only directories of a namespace package: any module of the interpreter's goes before these.
        if name in self._builtin_modules:
            return _BUILT_IN
        found = self._look_in((*self._import_path, *self._sys_path), tail)
        # Of the standard library, and in none of its directories: frozen, or in an archive.
        return _BUILT_IN if found is None and name in sys.stdlib_module_names else found

    def _look_in(self, entries: Iterable[Path], tail: str) -> _Found | None:
        """What Python's path finder would find for ``tail`` in ``entries``."""
        portions = []
        for entry in entries:
            names = self._children(entry)
            found = None
            if tail in names and self._tree.is_dir(directory := entry / tail):
                found = self._look_at(directory, "__init__", (directory,))
                portions.append(directory)
            found = found or self._look_at(entry, tail, None, names)
            if found is not None:
                return found
        return _Found(None, tuple(portions)) if portions else None

    def _look_at(
        self, directory: Path, stem: str, search: tuple[Path, ...] | None, names: Collection[str] | None = None
    ) -> _Found | None:
        """The module ``stem`` of any kind in ``directory``, of which ``names`` are all names there (None: not known)."""
        for suffix in (*_EXTENSIONS, ".py", ".pyc"):
            name = stem + suffix
            if (names is None or name in names) and self._tree.is_file(file := directory / name):
                return _Found(file, search, has_source=suffix == ".py")
        return None

    def _children(self, directory: Path) -> frozenset[str]:
        """The names in a directory, read once. Python's path finder takes one that it cannot read for an empty one, too."""
        known = self._names.get(directory)
        if known is None:
            try:
                known = frozenset(self._tree.children(directory))
            except OSError:
                known = frozenset()
            self._names[directory] = known
        return known

    def _roots(self, name: str, found: _Found) -> tuple[Path, ...]:
        if found.search is None:
            return ()
        local = [path for entry in self._import_path if self._tree.is_dir(path := entry.joinpath(*name.split(".")))]
        if found.file is not None:
            local.append(found.file.parent)
        return tuple(dict.fromkeys(self._tree.real_path(path) for path in local or found.search))

    def _candidates(self, name: str, *, is_package: bool) -> Iterator[Path]:
        found: dict[str, None] = {}
        for entry in self._import_path:
            directory = str(entry)
            for part in name.split("."):
                real = self._real_directory(directory)
                found[f"{real}/{part}.py"] = None
                directory = f"{directory}/{part}"
                found[f"{self._real_directory(directory)}/__init__.py"] = None
            if is_package:
                found[f"{real}/{part}"] = None
        return map(Path, found)

    def _real_directory(self, directory: str) -> str:
        """``directory`` without symbolic links, as far as it exists."""
        known = self._real.get(directory)
        if known is None:
            above, _, name = directory.rpartition("/")
            if above in self._real and name not in self._children(Path(above)):
                known = f"{self._real[above]}/{name}"  # there is nothing, and so no link
            else:
                known = str(self._tree.real_path(Path(directory)))
            self._real[directory] = known
        return known


# --- the worker's interpreter --------------------------------------------------------------------------------


def worker_sys_path(process: ProcessConfig) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Where a worker's interpreter looks for modules (its ``sys.path``), and the names of those that it never looks for there:
    built-in and frozen ones, and those that it loads before any other.

    ``process`` is ``[runtime.process]``. This interpreter, in environment that do not change where it looks, need not be
    asked. Another one is run once in the worker's own environment, and again after its file or they have changed; that
    blocks for the start of an interpreter, at most :data:`INTERPRETER_TIMEOUT` seconds. Raises :class:`ConfigError` if
    it cannot be run.
    """
    found = find_environment(process)
    if found.own:
        return _paths(sys.path), (
            *sys.builtin_module_names,
            *getattr(_imp, "_frozen_module_names", list)(),
            *_LOADED_FIRST,
        )
    executable = existing_interpreter(found)
    try:
        changed = os.stat(executable).st_mtime_ns
    except OSError as error:
        raise unusable(executable, f"it cannot be read: {error.strerror}") from error
    env = None if found.env is None else tuple(sorted(found.env.items()))
    return _ask(executable, changed, env, found.cwd)


# "" stands for the working directory, which the worker does not import from.
_QUESTION = (
    "import sys; taken = {*sys.modules, *sys.builtin_module_names}; "
    "import _imp, json, os; path = [os.path.abspath(entry) for entry in sys.path if entry]; "
    "taken.update(getattr(_imp, '_frozen_module_names', list)()); "
    "answer = open(sys.argv[1], 'w'); answer.write(json.dumps([path, sorted(taken)])); answer.close()"
)
# Of the app's own interpreter, which need not be asked. What a .pth file loads besides is not known here.
_LOADED_FIRST = ("encodings",)


@functools.lru_cache(maxsize=16)
def _ask(
    executable: Path, _changed: int, env: tuple[tuple[str, str], ...] | None, cwd: str | None
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    # The answer is in a file of its own: a .pth file, sitecustomize or atexit may print whatever it likes.
    with TemporaryDirectory(prefix="lastgood-") as directory, TemporaryFile() as printed:
        answer = Path(directory, "answer")
        try:
            group = ProcessGroup(
                [executable, "-c", _QUESTION, answer],
                printed,
                printed,
                cwd=cwd,
                env=None if env is None else dict(env),
            )
        except OSError as error:
            raise unusable(executable, f"{error.strerror}") from error
        try:
            if not group.has_exited(INTERPRETER_TIMEOUT):
                raise unusable(executable, f"it did not answer within {INTERPRETER_TIMEOUT:g} s")
        finally:
            group.end()
        if group.status != 0:
            printed.seek(0)
            last_words = printed.read().decode(errors="replace").strip().rpartition("\n")[2].rstrip(".")
            ended = f"it ended with status {group.status}"
            raise unusable(executable, f"{ended}: {last_words}" if last_words else ended)
        try:
            entries, builtin_modules = json.loads(answer.read_bytes())
        except (OSError, ValueError) as error:
            raise unusable(executable, "it did not answer as a Python interpreter does") from error
    return _paths(entries), tuple(builtin_modules)


def _paths(entries: Iterable[str]) -> tuple[Path, ...]:
    return tuple(Path(os.path.abspath(entry)) for entry in entries if entry)
