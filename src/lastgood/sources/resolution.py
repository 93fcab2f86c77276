"""Resolve the modules of a config to their sources, and ask the worker's interpreter for its search path."""

from __future__ import annotations

import _imp
import functools
import json
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from lastgood.children.platforms import require_processes
from lastgood.config import ARGUMENTS, SERVE_ARGUMENTS, Config, ProcessConfig
from lastgood.errors import ConfigError, UnwatchableModule
from lastgood.sources.environment import (
    OLDEST_PYTHON,
    Environment,
    existing_interpreter,
    find_environment,
    too_old,
    unusable,
)
from lastgood.sources.finder import Finder, Found, Interpreter
from lastgood.store.file_system import FileSystem
from lastgood.store.temporary import temporary_directory

__all__ = ["Resolved", "check_sources", "places_of", "refused_by_worker", "resolve_modules", "worker_interpreter"]

INTERPRETER_TIMEOUT = 20.0
"""Seconds that an interpreter may take to answer."""


class Resolved(Struct, frozen=True):
    """A module and its source. Every path is canonical: absolute, with symbolic links resolved.

    ``file`` is the module's file or the package's ``__init__.py`` (None: a namespace package). ``roots`` are a package's
    directories: each of that name on ``python_import_path``, or where it was found otherwise; empty for a module file.
    ``candidates`` are the paths on ``python_import_path`` whose appearance or disappearance may change the result, including
    existing ones. Their directories are canonical, but they may be links themselves.
    """

    name: str
    file: Path | None
    roots: tuple[Path, ...]
    is_package: bool
    candidates: tuple[Path, ...]


def places_of(entry: Path, name: str) -> list[Path]:
    """Return the paths at which a module could appear below ``entry``: files and packages for it and its parents."""
    parts = name.split(".")
    stems = [entry.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1)]
    return [place for stem in stems for place in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py")]


def resolve_modules(config: Config, finder: Finder) -> Mapping[str, Resolved]:
    """Find every module under ``[modules]``, in the config's order.

    ``finder`` searches ``python_import_path``, then as the worker's interpreter would. Raises :class:`UnwatchableModule` if
    modules are missing, have no Python source, or would not be imported from it: for the first, with the others as notes.
    """
    resolved = {}
    problems = []
    for name in config.modules:
        found = finder.find(name)
        problem = _problem(config, finder, name, found)
        if problem is not None or found is None:
            problems += [] if problem is None else [problem]
            continue
        resolved[name] = Resolved(
            name=name,
            file=None if found.file is None else finder.real_file(found.file),
            roots=_roots(finder, name, found),
            is_package=found.search is not None,
            candidates=tuple(_candidates(finder, name, is_package=found.search is not None)),
        )
    if problems:
        first, *others = problems
        first.others = tuple(others)
        for other in others:
            first.add_note(str(other))
        raise first
    return resolved


def check_sources(config: Config, modules: Mapping[str, Resolved], output: Path, files: FileSystem) -> None:
    """Check that the sources of ``modules`` can be read, and that none is ``output``, the directory of the wrappers.

    A package directory without permission to read looks like an empty namespace package.
    Raises :class:`UnwatchableModule`, :class:`ConfigError`.
    """
    for name, module in modules.items():
        for root in module.roots if module.file is None else ():
            try:
                files.read(root / "__init__.py")
            except PermissionError as error:
                problem = f"its directory {root} cannot be read: {error.strerror}"
                raise UnwatchableModule(
                    name, f'Module "{name}" cannot be watched: {problem}', file=config.path
                ) from error
            except OSError:
                continue
    for name, module in modules.items():
        own = module.roots or ((module.file,) if module.file is not None else ())
        # The second condition: with wrappers in it, Python would import the output directory instead of the module.
        if output in own or output / "__init__.py" in module.candidates:
            raise ConfigError(
                f'{output} is a source: it contains the module "{name}". Wrappers need a directory of their own; '
                "it may lie inside a source.",
                file=config.path,
                field="output.dir",
            )


def _problem(config: Config, finder: Finder, name: str, found: Found | None) -> UnwatchableModule | None:
    """Return why a module, which was ``found`` or not, cannot be watched; None if it can."""
    if found is None:
        missing = UnwatchableModule(name, f'Module "{name}" could not be resolved for watching', file=config.path)
        missing.add_note(_search(config, finder, name))
        return missing
    if found.file is None and not found.is_namespace:
        problem = "is not backed by a local Python source file or package directory and cannot be watched"
        return UnwatchableModule(name, f'Module "{name}" {problem}', file=config.path)
    if (hidden := _hidden(finder, name)) is not None:
        problem = (
            f"cannot be watched: a worker would not import it from {hidden}, since its interpreter has a module of that "
            "name of its own, built in or loaded before any other. Rename yours, there and in the config."
        )
        return UnwatchableModule(name, f'{config.path}: Module "{name}" {problem}', file=config.path)
    return None


_REMEDY = "Add its directory to python_import_path"
_REMEDIES = {
    ARGUMENTS: "Add its directory to import_path",
    SERVE_ARGUMENTS: "Run this in its directory, or write python_import_path into a lastgood.toml with [serve]",
}
"""By what takes the place of a config file."""


def _search(config: Config, finder: Finder, name: str) -> str:
    """Describe where a module that is missing, or the first of its parents that is, was looked for."""
    parent = name.rpartition(".")[0]
    package = finder.find(parent) if parent else None
    if parent and package is None:
        return _search(config, finder, parent)
    if package is not None and package.search is None:
        return f'"{parent}" is not a package, but {package.file or "a module of the interpreter"}.'
    directories = [
        f"  {each}" if finder.exists(each) else f"  {each} (does not exist)" for each in finder.searched(name)
    ]
    remedy = (
        ""
        if parent
        else f"\n{_place_below(finder, name)}{_REMEDIES.get(config.path.name, _REMEDY)}, or correct the name."
    )
    return "\n".join([f'"{name}" was looked for in:', *directories]) + remedy


def _place_below(finder: Finder, name: str) -> str:
    """Return a sentence that says where a missing module is, if it is in ``src`` below an entry of the import path."""
    places = (f"{entry}/src" for entry in finder.import_path)
    found = (each for each in places if finder.exists(f"{each}/{name}") or finder.exists(f"{each}/{name}.py"))
    return next((f"It is in {each}. " for each in found), "")


def _hidden(finder: Finder, name: str) -> str | None:
    """Return the path of a module, or of its package, that a module of the interpreter hides."""
    top = name.partition(".")[0]
    found = finder.find(top)
    if found is None or not (top in finder.builtin_modules or _is_preloaded(finder, top, found)):
        return None
    return found.search[0] if found.search else found.file


def _is_preloaded(finder: Finder, top: str, found: Found) -> bool:
    """Return whether the interpreter loads another module of that name at its start. It is asked only if this process has one."""
    loaded = getattr(sys.modules.get(top), "__file__", None)
    if loaded is None or found.file is None or os.path.realpath(loaded) == str(finder.real_file(found.file)):
        return False
    return top in finder.preloaded()


def _roots(finder: Finder, name: str, found: Found) -> tuple[Path, ...]:
    if found.search is None:
        return ()
    local = finder.directories(name)
    if found.file is not None:
        local.append(os.path.dirname(found.file))
    return tuple(dict.fromkeys(Path(finder.real_directory(path)) for path in local or found.search))


def _candidates(finder: Finder, name: str, *, is_package: bool) -> Iterator[Path]:
    found: dict[str, None] = {}
    for directory in finder.import_path:
        for part in name.split("."):
            real = finder.real_directory(directory)
            found[f"{real}/{part}.py"] = None
            directory = f"{directory}/{part}"
            found[f"{finder.real_directory(directory)}/__init__.py"] = None
        if is_package:
            found[f"{real}/{part}"] = None
    return map(finder.path_of, found)


# --- the worker's interpreter --------------------------------------------------------------------------------


def worker_interpreter(process: ProcessConfig) -> Interpreter:
    """Return how a worker's interpreter searches for modules: ``sys.path``, mappings of editable installs, built-in names.

    The built-in names are those it never searches for: built-in and frozen modules, and those it loads before any other.
    ``process`` is ``[runtime.process]``. If it is this interpreter, with the same search path, it is not run. Another one is run
    once in the worker's environment, and again after its file or the environment has changed. That blocks for the start of an
    interpreter, at most :data:`INTERPRETER_TIMEOUT` seconds. Raises :class:`ConfigError` if it cannot be run.
    """
    found = find_environment(process)
    if found.own:
        frozen: Sequence[str] = getattr(_imp, "_frozen_module_names", list)()
        here = _interpreter(
            sys.path, (*sys.builtin_module_names, *frozen, *_LOADED_FIRST), _editables(), sys.version_info[:2]
        )
        return replace(here, preloaded=_preloaded_here)
    return _asked(found)


def _preloaded_here() -> Collection[str]:
    return _asked(find_environment(ProcessConfig())).builtin_modules


def _asked(found: Environment) -> Interpreter:
    executable = existing_interpreter(found)
    try:
        changed = os.stat(executable).st_mtime_ns
    except OSError as error:
        raise unusable(executable, f"it cannot be read: {error.strerror}") from error
    env = None if found.env is None else tuple(sorted(found.env.items()))
    return _ask(executable, changed, env, found.cwd)


# The entry "" is the working directory, from which workers do not import: it may have a types.py, or another that hides a module
# of the standard library.
_AS_A_WORKER = """
import sys
sys.path[:] = [entry for entry in sys.path if entry]
"""
# For "editables" see _editables(). A Python that is too old must be able to read it.
_QUESTION = """
taken = set(sys.modules).union(sys.builtin_module_names)
names = dict.fromkeys(str(getattr(finder, "__module__", "")) for finder in sys.meta_path)
import json, os
said = []
if sys.version_info >= (3, 9):
    import _imp
    path = [os.path.abspath(entry) for entry in sys.path]
    taken.update(getattr(_imp, "_frozen_module_names", list)())
    found = [vars(sys.modules[name]) for name in names if name.startswith("__editable__") and name in sys.modules]
    editables = [[each.get("MAPPING", {}), each.get("NAMESPACES", {})] for each in found]
    said = [path, sorted(taken), editables]
with open(sys.argv[1], "w") as answer:
    answer.write(json.dumps(said + [sys.version_info[:2]]))
"""
# For the app's own interpreter, which is not run. See _preloaded_here() for modules that a .pth file loads.
_LOADED_FIRST = ("encodings",)


@functools.lru_cache(maxsize=16)  # no Memo: an interpreter is no source, and must be asked again by each process
def _ask(executable: Path, _changed: int, env: tuple[tuple[str, str], ...] | None, cwd: str | None) -> Interpreter:
    environment = Environment(str(executable), None if env is None else dict(env), cwd)
    try:
        *found, (major, minor) = _answer(executable, environment, _QUESTION)
        if (major, minor) < OLDEST_PYTHON:
            raise too_old(executable, f"{major}.{minor}")
        path, taken, editables = found
        return _interpreter(path, taken, editables, (major, minor))
    except (ValueError, TypeError) as error:
        raise unusable(executable, "it did not answer as a Python interpreter does") from error


def _answer(executable: Path, found: Environment, question: str, data: bytes = b"") -> Any:
    """Run ``question``, a program, in an interpreter. Its arguments are the files for its answer and with ``data``.

    Raises :class:`ConfigError` if the interpreter cannot be run, and :class:`ValueError` if it gives no answer.
    """
    require_processes("Another interpreter")
    from lastgood.children.child import Child, exit_text  # not at the top: trio is not everywhere

    # The answer is written to a separate file, since .pth files, sitecustomize or atexit handlers may print anything.
    with temporary_directory() as directory:
        answer, asked = directory / "answer", directory / "asked"
        asked.write_bytes(data)
        try:
            child = Child([executable, "-c", _AS_A_WORKER + question, answer, asked], cwd=found.cwd, env=found.env)
        except FileNotFoundError as error:
            raise unusable(
                executable, "it is a script, and its first line names a program that is not there"
            ) from error
        except OSError as error:
            raise unusable(executable, f"{error.strerror}") from error
        try:
            if not child.has_exited(INTERPRETER_TIMEOUT):
                raise unusable(executable, f"it did not answer within {INTERPRETER_TIMEOUT:g} s")
        finally:
            child.kill()
        if child.status:  # if it is not known, the answer counts
            last_words = (child.err.tail() or child.out.tail()).strip().rpartition("\n")[2].rstrip(".")
            ended = f"it {exit_text(child)}"
            raise unusable(executable, f"{ended}: {last_words}" if last_words else ended)
        try:
            return json.loads(answer.read_bytes())
        except OSError as error:
            raise ValueError("no answer") from error


_COMPILE = """
import json, sys, warnings
warnings.simplefilter("ignore")
with open(sys.argv[2], "rb") as asked:
    data = asked.read()
try:
    compile(data, "source", "exec", dont_inherit=True)
    problem = None
except SyntaxError as error:
    problem = [error.lineno, error.msg]
with open(sys.argv[1], "w") as answer:
    answer.write(json.dumps(problem))
"""


def refused_by_worker(process: ProcessConfig, data: bytes) -> tuple[int | None, str] | None:
    """Have a worker's interpreter compile a source. Return line and message of its syntax error; None: it is valid there.

    ``process`` is ``[runtime.process]``. That blocks as :func:`worker_interpreter` does. Raises :class:`ConfigError` if the
    interpreter cannot be run, and :class:`ValueError` if it gives no answer.
    """
    found = find_environment(process)
    match _answer(existing_interpreter(found), found, _COMPILE, data):
        case None:
            return None
        case [int() | None as line, str(message)]:
            return line, message
    raise ValueError("no answer")


_Editable = tuple[Mapping[str, str], Mapping[str, Sequence[str]]]


def _editables() -> list[_Editable]:
    """Return ``MAPPING`` and ``NAMESPACES`` of each finder that setuptools has made for an editable install."""
    names = dict.fromkeys(str(getattr(finder, "__module__", "")) for finder in sys.meta_path)
    found = [vars(sys.modules[name]) for name in names if name.startswith("__editable__") and name in sys.modules]
    return [(each.get("MAPPING", {}), each.get("NAMESPACES", {})) for each in found]


def _absolute(path: Iterable[str]) -> Iterator[str]:
    """Return the entries of a ``sys.path`` as absolute paths, without those that depend on a removed working directory."""
    for entry in filter(None, path):
        with suppress(FileNotFoundError):
            yield os.path.abspath(entry)


def _interpreter(
    path: Iterable[str], taken: Iterable[str], editables: Iterable[_Editable], version: Iterable[int]
) -> Interpreter:
    mapping: dict[str, str] = {}
    namespaces: dict[str, list[str]] = {}
    for places, directories in editables:
        mapping = {**places, **mapping}  # the first finder takes precedence
        for name, portions in directories.items():
            own = portions or ([places[name]] if name in places else [])
            namespaces.setdefault(name, []).extend(own)
    entries = tuple(map(Path, _absolute(path)))
    major, minor = version
    return Interpreter(entries, tuple(taken), mapping, namespaces, version=(major, minor))
