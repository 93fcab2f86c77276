"""The pinned sources of a generation: finding them, and running modules from their bytes.

- *The finder* comes before Python's own path finder. It knows the pinned files by the directory and the name under which
  Python would look for them, so search paths keep their meaning (``__path__``, ``sys.path``, ``pkgutil.extend_path``).
- *The loader* gives a module the pinned bytes under the path of the user's file. ``__file__``, ``inspect``, ``linecache``
  and ``pickle`` see the user's paths; data files beside the module and directory listings come from the disk.

A local module that is not pinned was imported dynamically. It is read from the disk once, reported before it runs, and pinned
from then on. If another worker of the bridge has reported it and the report arrived in time, its bytes are used instead.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from importlib._bootstrap import _call_with_frames_removed  # type: ignore[attr-defined]  # typeshed leaves it out
from importlib.machinery import FileFinder, FrozenImporter, ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType, TracebackType

from .codes import Codes
from .contexts import CONTEXTS
from .hidden import hidden_by, import_own
from .manifest import Damaged, Manifest, digest_of, read_object
from .merges import explain
from .notes import add_note
from .parts import Parts, make_parts

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from .ahead import Ahead

__all__ = [
    "CODES",
    "INHERITED",
    "PinnedLoader",
    "Pins",
    "SourceLoader",
    "Sources",
    "after_loading",
    "place_before_path_finder",
]

INHERITED = "LASTGOOD_PINNED"
"""The environment variable that passes the worker's manifest to its child processes.

It is not in ``os.environ`` of the worker: a copy of that would show the generation that a spare ran before it took another over.
"""
CODES = "LASTGOOD_CODES"
"""The environment variable that passes the directory of cached code to child processes; unset if there is none."""
_INIT = "__init__.py"
_NOT_IMPORTED = (
    "{} is imported when a function runs, which would fail then. If it is meant for another Python, start lastgood again: what is "
    "broken from the start does not count."
)


def place_before_path_finder() -> int:
    """Return a finder's index in ``sys.meta_path``: after built-in and frozen modules, which come before local ones."""
    return sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)


class SourceLoader(SourceFileLoader):
    """Compiles from the source's bytes and ignores ``__pycache__``."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code

    def exec_module(self, module: ModuleType) -> None:
        before = CONTEXTS.before_import()
        super().exec_module(module)
        CONTEXTS.after_import(before)


class Pins:
    """The pinned sources of a generation, whose manifest has the path ``manifest``, and how its modules are found.

    The other arguments are those of :func:`install`. Raises :class:`.manifest.Damaged`.
    """

    def __init__(
        self,
        manifest: str,
        bare: Collection[str] = (),
        report: Callable[[str, str, bytes], None] | None = None,
        codes: str | None = None,
        loaded: Mapping[str, str | None] | None = None,
    ) -> None:
        pinned = Manifest.load(manifest)
        self.home = os.path.dirname(os.path.dirname(manifest))
        self.roots = pinned.roots
        self.sources = Sources(pinned, manifest, report, codes)
        self._codes = codes
        self._bare = bare
        self._finder = _PinnedFinder(self.sources, pinned)
        self._mapped = _mapped(pinned)
        if loaded is None:
            if self.sources.hidden:
                import_own()
            loaded = {name: module.__file__ for name, module in sys.modules.items() if hasattr(module, "__file__")}
        self._loaded = loaded  # the modules, and their files, that were loaded before any of the user's
        # Those that the worker has loaded for itself under the names of local modules, so that these could not be imported.
        self._shadowing = {name for _, _, name, path in pinned.modules if loaded.get(name, path) != path}.difference(
            bare
        )

    def install(self) -> None:
        """Find modules as this generation does, here and in child processes."""
        before = place_before_path_finder()
        if self._mapped:
            sys.meta_path.insert(before + 1, _MappedFinder(self._finder, self._mapped))
        sys.meta_path.insert(before, self._finder)
        _show_pinned_lines(self.sources)
        for name in list(sys.modules):
            if name.partition(".")[0] in self._shadowing:
                del sys.modules[name]
        self._pass_on()

    def _pass_on(self) -> None:
        os.putenv(INHERITED, self.sources.manifest)
        if self._codes is not None:
            os.putenv(CODES, self._codes)

    # Running ahead, see ahead.py.

    def observe(self, ahead: Ahead) -> None:
        """Tell ``ahead`` of all that is run, read and looked up."""
        self.sources.ahead = ahead
        self._finder.lookups = {}
        ahead.begin(self)

    def of_generation(self, manifest: str) -> Pins:
        """Return the sources of another generation, in the same process. Raises :class:`.manifest.Damaged`."""
        return Pins(manifest, self._bare, codes=self._codes, loaded=self._loaded)

    def difference(self, other: Pins) -> str | None:
        """Return what was looked up and has another result in the generation of ``other``; None if there is nothing."""
        if (self.home, self.roots) != (other.home, other.roots):
            return "the directories of local modules have changed"
        if self._mapped != other._mapped:
            return "the editable installs have changed"
        if self._shadowing != other._shadowing:
            return "a local module has the name of one that the worker needs"
        for (name, search, is_top), was in (self._finder.lookups or {}).items():
            found = other._finder.lookup(name, search, is_top=is_top)
            if found != was and not (False in (found, was) and self.sources.was_late(found or was)):
                return f"another module is found for {name}"
        if self.sources.hidden != other.sources.hidden:
            return "a local module has the name of one of the standard library"
        return None

    def looked_up(self) -> set[str]:
        """Return the last names of the modules that were looked up."""
        return {name.rpartition(".")[2] for name, _, _ in self._finder.lookups or ()}

    def digest(self, path: str) -> str | None:
        """Return the digest of the local module at ``path``, which may be one that is not pinned; None if there is none."""
        try:
            return self.sources.digest(path) or digest_of(_read_file(path))
        except OSError:
            return None

    def adopt(self, other: Pins) -> None:
        """Go on with the generation of ``other``, from which there is no :meth:`difference`."""
        self.sources.adopt(other.sources)
        self._finder.adopt(other._finder)
        self._pass_on()
        for finder in sys.path_importer_cache.values():
            if type(finder) is FileFinder:
                finder.invalidate_caches()  # a listing may be older than its time stamp tells


class Sources:
    """The bytes of local modules by the path of the user's file. Each is read once and then stays the same."""

    def __init__(
        self,
        pinned: Manifest,
        manifest: str,
        report: Callable[[str, str, bytes], None] | None = None,
        codes: str | None = None,
    ) -> None:
        self.manifest = manifest
        self.ahead: Ahead | None = None
        self._report = report
        self._digests = {path: digest for _, digest, _, path in pinned.modules}
        self.hidden = hidden_by(pinned)
        """The local modules that hide one of the standard library, see hidden.py."""
        self.uncompiled: set[str] = set()
        """The paths of the modules whose import was a SyntaxError."""
        self._codes = Codes(codes)
        self._read: dict[str, bytes] = {}
        self._places: dict[str, dict[str, str]] = {}
        for path in self._digests:
            self._place(path)

    def _place(self, path: str) -> None:
        directory, name = os.path.split(path)
        is_package = name == _INIT
        if is_package:
            directory, tail = os.path.split(directory)
        else:
            tail = name[: -len(".py")]
        places = self._places.setdefault(tail, {})
        if is_package or directory not in places:  # a package takes precedence over a module of the same name
            places[directory] = path

    def find(self, tail: str, search: Iterable[str]) -> str | None:
        """Return the pinned file of a module whose last name is ``tail``, from the first directory of ``search`` with one."""
        places = self._places.get(tail)
        if places is not None:
            for entry in search:
                if isinstance(entry, str) and (path := places.get(entry) or places.get(os.path.abspath(entry))):
                    return path
        return None

    def read(self, name: str, path: str) -> bytes:
        """Return the bytes of module ``name`` at ``path``. Raise :class:`ImportError` if pinned bytes are damaged."""
        data = self.source(name, path)
        if self.ahead is not None:
            self.ahead.saw(path, self.digest(path) or digest_of(data))
        return data

    def source(self, name: str, path: str) -> bytes:
        """Return what :meth:`read` does, for the worker's own use."""
        data = self._read.get(path)
        if data is None:
            digest = self._digests.get(path)
            fresh = _read_file(path) if digest is None else self._read_pinned(name, path, digest)
            data = self._read.setdefault(path, fresh)  # another thread or worker may have been faster
            if digest is None and data is fresh:
                self._place(path)
                if self._report is not None:
                    self._report(name, path, data)
        return data

    def pin(self, path: str, data: bytes) -> None:
        """Use these bytes for ``path``, unless others were read for it already."""
        self._read.setdefault(path, data)
        self._place(path)

    def _read_pinned(self, name: str, path: str, digest: str) -> bytes:
        try:
            return read_object(self.manifest, digest)
        except Damaged as damaged:
            # If the user's file still has the pinned content, it can be used instead.
            try:
                data = _read_file(path)
            except OSError:
                data = b""
            if digest_of(data) == digest:
                return data
            raise ImportError(
                f"The pinned source of {name} is damaged, and {path} has changed since it was pinned. {damaged} "
                "The next reload pins it again.",
                name=name,
                path=path,
            ) from None

    def digest(self, path: str) -> str | None:
        """Return the digest of the module at ``path``; None if it is neither pinned nor was read."""
        digest = self._digests.get(path)
        return digest_of(self._read[path]) if digest is None and path in self._read else digest

    def parts(self, name: str, path: str) -> Parts:
        """Return the code of the module at ``path``, which is cached if it is pinned. Raises what compiling it raises."""
        digest = self._digests.get(path)
        parts = None if digest is None else self._codes.get(digest, path)
        if parts is None:
            parts = make_parts(self.source(name, path), path)
            if digest is not None:
                self._codes.keep(digest, path, parts)
        return parts

    def why_broken(self, name: str, path: str, before: str) -> Exception | None:
        """Return why the pinned module at ``path``, which nothing has imported yet, does not compile.

        None if it does, if the version with the digest ``before`` did not either, or if an import has met that error.
        """
        if path in self.uncompiled:
            return None
        try:
            self.parts(name, path)
        except (SyntaxError, ValueError) as error:
            if before and not self._did_compile(path, before):
                return None
            if isinstance(error, SyntaxError):
                explain(error, path, "".join(self.lines(path) or []))
            error.__traceback__ = None
            add_note(error, _NOT_IMPORTED.format(name))
            return error
        except ImportError:  # its bytes are damaged; who imports it is told
            pass
        return None

    def _did_compile(self, path: str, digest: str) -> bool:
        try:
            make_parts(read_object(self.manifest, digest), path)
        except (SyntaxError, ValueError):
            return False
        except Damaged:  # it is not kept here
            pass
        return True

    def was_late(self, path: object) -> bool:
        """Return whether the file at ``path`` was read, but is not pinned."""
        return path in self._read and path not in self._digests

    def adopt(self, other: Sources) -> None:
        """Have the pinned bytes of ``other`` from now on. What was read and is not pinned stays."""
        pinned = self._digests.keys() | other._digests.keys()
        late = {path: data for path, data in self._read.items() if path not in pinned}
        self.manifest, self.ahead = other.manifest, None
        self._digests, self._places, self._read = other._digests, other._places, {**late, **other._read}
        for path in late:
            self._place(path)

    def paths(self) -> list[str]:
        """Return the paths of the files whose bytes have been read."""
        return list(self._read)

    def lines(self, path: str) -> list[str] | None:
        """Return the source lines of ``path``; None if it is not pinned."""
        if path not in self._digests and path not in self._read:
            return None
        from importlib.util import decode_source

        try:
            text = decode_source(self.read(os.path.basename(path), path))
        except (ImportError, SyntaxError, UnicodeDecodeError):
            return []
        lines = text.split("\n")
        if not lines[-1]:
            lines.pop()
        return [line + "\n" for line in lines]


def _read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


class PinnedLoader(SourceLoader):
    """Loads a module from the bytes that ``sources`` has for its path."""

    def __init__(self, sources: Sources, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self._sources = sources

    def get_data(self, path: str) -> bytes:
        """Return the pinned bytes for the module itself; read any other file, such as data beside it, from the disk."""
        return self._sources.read(self.name, path) if path == self.path else super().get_data(path)

    def exec_module(self, module: ModuleType) -> None:
        """Run the two parts of the module. A SyntaxError shows the line that was run, and names merge markers."""
        before = CONTEXTS.before_import()
        sources, path = self._sources, self.path
        ahead = sources.ahead
        try:
            parts = ahead.quietly(sources.parts, self.name, path) if ahead else sources.parts(self.name, path)
        except SyntaxError as error:
            sources.uncompiled.add(path)
            explain(error, path, "".join(sources.lines(path) or []))
            _raise(error.with_traceback(None))
        running = None if ahead is None else ahead.enter(path, sources.digest(path) or "", parts)
        try:
            if parts.header is not None:
                _call_with_frames_removed(exec, parts.header, module.__dict__)
            rest = parts.rest if ahead is None or running is None else ahead.between(running)
            _call_with_frames_removed(exec, rest, module.__dict__)
        finally:
            if ahead is not None and running is not None:
                ahead.leave(running)
        CONTEXTS.after_import(before)


def _raise(error: SyntaxError) -> NoReturn:
    raise error


# Python leaves the frames of loaders out of tracebacks, if their code is of importlib's file, and the last has this name.
_IMPORTLIB = SourceFileLoader.exec_module.__code__.co_filename
_raise.__code__ = _raise.__code__.replace(co_filename=_IMPORTLIB, co_name=_call_with_frames_removed.__name__)
for _loader in (SourceLoader, PinnedLoader):
    _loader.exec_module.__code__ = _loader.exec_module.__code__.replace(co_filename=_IMPORTLIB)


class _Directories(list[str]):
    """The ``__path__`` of a pinned namespace package."""

    def __repr__(self) -> str:
        return f"_NamespacePath({list(self)!r})"  # importlib.resources recognises a namespace path by this text


class _PinnedFinder:
    """A meta path finder for pinned modules. Any other module is left to the path finder, which searches the disk."""

    def __init__(self, sources: Sources, pinned: Manifest) -> None:
        self._sources = sources
        self._namespaces = pinned.namespaces
        self._elsewhere = frozenset(pinned.elsewhere)
        self._roots = frozenset(pinned.roots)
        self.lookups: dict[tuple[str, tuple[Any, ...], bool], str | tuple[str, ...] | bool] | None = None
        """The lookups and their results, while a worker runs ahead."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,  # noqa: ARG002 - required by the protocol
    ) -> ModuleSpec | None:
        """See :class:`importlib.abc.MetaPathFinder`."""
        search = tuple(sys.path if path is None else path)
        found = self.lookup(fullname, search, is_top=path is None)
        if self.lookups is not None:
            self.lookups[fullname, search, path is None] = found
        if isinstance(found, str):
            return self.spec(fullname, found)
        if isinstance(found, tuple):
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = _Directories(found)
            return spec
        if found:
            # A local file of that name must have appeared after staging, otherwise it would be pinned: ignore it.
            others = [entry for entry in sys.path if os.path.abspath(entry) not in self._roots]
            elsewhere = PathFinder.find_spec(fullname, others)
            if elsewhere is not None and fullname == "linecache":
                after_loading(elsewhere, partial(_patch_linecache, self._sources))
            return elsewhere
        return None

    def lookup(self, fullname: str, search: tuple[Any, ...], *, is_top: bool) -> str | tuple[str, ...] | bool:
        """Return the file of a pinned module, the directories of a pinned namespace package, or whether it is no local one."""
        file = self._sources.find(fullname.rpartition(".")[2], search)
        if file is not None:
            return file
        if fullname in self._namespaces:
            return tuple(self._namespaces[fullname])
        return is_top and (fullname in self._elsewhere or fullname == "linecache")

    def adopt(self, other: _PinnedFinder) -> None:
        """Find the modules of another generation from now on."""
        self._namespaces, self._elsewhere, self._roots = other._namespaces, other._elsewhere, other._roots
        self.lookups = None

    def spec(self, fullname: str, file: str) -> ModuleSpec:
        """Return the spec of module ``fullname`` in the pinned ``file``."""
        directory, name = os.path.split(file)
        loader = PinnedLoader(self._sources, fullname, file)
        spec = ModuleSpec(fullname, loader, origin=file, is_package=name == _INIT)
        spec.has_location = True
        if name == _INIT:
            spec.submodule_search_locations = [directory]
        return spec


class _MappedFinder:
    """A meta path finder for pinned modules that setuptools' editable installs map to a file or directory of any name.

    It comes after the path finder, as the finders of these installs do.
    """

    def __init__(self, finder: _PinnedFinder, files: Mapping[str, str]) -> None:
        self._finder = finder
        self._files = files

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 - the protocol's
        target: ModuleType | None = None,  # noqa: ARG002 - likewise
    ) -> ModuleSpec | None:
        """See :class:`importlib.abc.MetaPathFinder`."""
        file = self._files.get(fullname)
        return None if file is None else self._finder.spec(fullname, file)


def _mapped(pinned: Manifest) -> Mapping[str, str]:
    """Return the names and files of the pinned modules that setuptools' editable installs map."""
    finders = [str(getattr(finder, "__module__", "")) for finder in sys.meta_path]
    editables = [vars(sys.modules[name]) for name in finders if name.startswith("__editable__") and name in sys.modules]
    names = {name for each in editables for name in each.get("MAPPING", ())}
    if not names:
        return {}
    modules = [(name, path) for _, _, name, path in reversed(pinned.modules)]
    return {name: path for name, path in modules if name in names or name.rpartition(".")[0] in names}


# --- source lines in tracebacks


def _show_pinned_lines(sources: Sources) -> None:
    """Make :mod:`linecache`, and with it traceback, inspect, logging and pdb, show the pinned lines.

    linecache prefers the file on disk over a loader's source, so its function is patched.
    """
    # Otherwise patch it when it is imported, through the finder; a frozen linecache (Python 3.15) bypasses the finder.
    if "linecache" in sys.modules or FrozenImporter.find_spec("linecache") is not None:
        import linecache

        _patch_linecache(sources, linecache)
    if sys.version_info < (3, 13):
        sys.excepthook = _print_exception
        threading.excepthook = _print_uncaught


def _patch_linecache(sources: Sources, linecache: Any) -> None:
    from_disk = linecache.updatecache

    def updatecache(filename: str, module_globals: dict[str, Any] | None = None) -> list[str]:
        lines = sources.lines(filename)
        if lines is None:
            return from_disk(filename, module_globals)  # type: ignore[no-any-return]  # linecache is untyped there
        # The entry has no mtime (None), so it is never compared with the disk.
        linecache.cache[filename] = (sum(map(len, lines)), None, lines, filename)
        return lines

    linecache.updatecache = updatecache


def after_loading(spec: ModuleSpec, call: Callable[[ModuleType], None]) -> None:
    """Have ``call`` called with the module of this spec when it was loaded."""
    loader = spec.loader
    if loader is None:
        return
    load = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        load(module)
        call(module)

    loader.exec_module = exec_module  # type: ignore[method-assign]  # patched for this instance only


def _print_exception(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
    """Replace sys.excepthook, which is written in C before Python 3.13 and reads the lines from the disk."""
    import traceback

    traceback.print_exception(kind, value, trace)


def _print_uncaught(args: threading.ExceptHookArgs) -> None:
    """Replace threading.excepthook, which is written in C before Python 3.13 as well."""
    import traceback

    if args.exc_type is not SystemExit and sys.stderr is not None:
        name = threading.get_ident() if args.thread is None else args.thread.name
        text = "".join(traceback.format_exception(args.exc_type, args.exc_value, args.exc_traceback))
        print(f"Exception in thread {name}:\n{text}", end="", file=sys.stderr, flush=True)
