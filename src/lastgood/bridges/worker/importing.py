"""Importing local modules in the worker: always from source, and for a pinned generation from the pinned bytes.

Python validates a ``.pyc`` by the size and mtime (in whole seconds) of its source, so after an edit of the same size within
the same second the old code would run. Therefore no ``.pyc`` of a local module is read or written: the module is compiled
from its bytes, and for pinned bytes the code is cached by their digest (``codes``). Installed modules keep using ``.pyc`` files.

With a manifest, two more objects take part in an import:

- *The finder* comes before Python's own path finder. It knows the pinned files by the directory and the name under which
  Python would look for them, so search paths keep their meaning (``__path__``, ``sys.path``, ``pkgutil.extend_path``).
- *The loader* gives a module the pinned bytes under the path of the user's file. ``__file__``, ``inspect``, ``linecache``
  and ``pickle`` see the user's paths; data files beside the module and directory listings come from the disk.

A local module that is not pinned was imported dynamically. It is read from the disk once, reported before it runs, and pinned
from then on. If another worker of the bridge has reported it and the report arrived in time, its bytes are used instead.

A child process made by multiprocessing has the same pins. A forked child has everything. A child that starts afresh ("spawn",
"forkserver") runs ``main.py`` first, which calls :func:`install_inherited`; it reads from the disk again only what its worker had
imported late. Other programs that user code starts import from the disk, as they would without lastgood.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    FrozenImporter,
    ModuleSpec,
    PathFinder,
    SourceFileLoader,
)
from types import CodeType, ModuleType, TracebackType

from .codes import Codes
from .contexts import CONTEXTS
from .manifest import Damaged, Manifest, digest_of, read_object

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "CODES",
    "INHERITED",
    "PinnedLoader",
    "Sources",
    "after_loading",
    "install",
    "install_inherited",
    "installed_directories",
    "is_local",
    "local_roots",
    "place_before_path_finder",
]

INHERITED = "LASTGOOD_PINNED"
"""The environment variable that passes the worker's manifest to its child processes."""
CODES = "LASTGOOD_CODES"
"""The environment variable that passes the directory of cached code to child processes; unset if there is none."""

_INSTALLED = frozenset(("site-packages", "dist-packages"))
_INIT = "__init__.py"


# --- local modules; the app uses the same functions when it pins


def local_roots(import_path: Iterable[str], installed: Sequence[str]) -> list[str]:
    """Return the entries of ``import_path`` outside ``installed``, the interpreter's directories of installed modules."""
    own = [os.path.realpath(each) for each in installed]
    return [root for root in import_path if not any(_is_under(os.path.realpath(root), each) for each in own)]


def is_local(path: str, roots: Iterable[str], installed: Sequence[str]) -> bool:
    """Return whether the directory ``path`` belongs to the user's sources: under a root, but not installed there."""
    for root in roots:
        if _is_under(path, root):
            if any(_is_under(path, each) and not _is_under(root, each) for each in installed):
                return False
            return not _INSTALLED.intersection(path[len(root) :].split(os.sep))
    return False


def _is_under(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip(os.sep) + os.sep)


def installed_directories() -> list[str]:
    """Return the directories of what is installed in this interpreter, the standard library among them."""
    own = [os.path.dirname(os.path.abspath(os.__file__))]
    return own + [entry for entry in sys.path if _INSTALLED.intersection(entry.split(os.sep))]


# --- imports from source


class _SourceLoader(SourceFileLoader):
    """Compiles from the source's bytes and ignores ``__pycache__``."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code

    def exec_module(self, module: ModuleType) -> None:
        before = CONTEXTS.before_import()
        super().exec_module(module)
        CONTEXTS.after_import(before)


def install(
    import_path: Sequence[str],
    manifest: str | None = None,
    report: Callable[[str, str, bytes], None] | None = None,
    bare: Collection[str] = (),
    codes: str | None = None,
) -> Sources | None:
    """Put ``import_path`` first on ``sys.path``, and import local modules there from source.

    ``manifest`` is the path of a pinned generation's manifest; the :class:`Sources` are returned in that case. For each local
    module that is not in the manifest, ``report(name, path, source)`` is called on the importing thread. ``bare`` are the names
    of the modules that an interpreter loads by itself: these are not replaced by local modules of the same name. ``codes`` is
    the directory of cached code. Raises :class:`.manifest.Damaged`.
    """
    entries = [os.path.abspath(entry) for entry in import_path]
    installed = installed_directories()
    sources: Sources | None = None
    make_loader: Callable[[str, str], SourceFileLoader]
    os.environ.pop(CODES, None)
    if manifest is None:
        os.environ.pop(INHERITED, None)
        make_loader, roots = _SourceLoader, local_roots(entries, installed)
    else:
        pinned = Manifest.load(manifest)
        sources = Sources(pinned, manifest, report, codes)
        make_loader, roots = partial(PinnedLoader, sources), pinned.roots
        finder = _PinnedFinder(sources, pinned)
        before = place_before_path_finder()
        if mapped := _mapped(pinned):
            sys.meta_path.insert(before + 1, _MappedFinder(finder, mapped))
        sys.meta_path.insert(before, finder)
        _show_pinned_lines(sources)
        _unload_shadowing(pinned, bare)
        os.environ[INHERITED] = manifest
        if codes is not None:
            os.environ[CODES] = codes
    find_in = FileFinder.path_hook((ExtensionFileLoader, EXTENSION_SUFFIXES), (make_loader, SOURCE_SUFFIXES))  # type: ignore[arg-type]  # it is only called

    def is_ours(directory: str) -> bool:
        return is_local(os.path.abspath(directory), roots, installed)

    def hook(path: str) -> Any:
        if not is_ours(path):
            raise ImportError(f"{path} is not local")
        return find_in(path)

    _patch_other_loaders(is_ours, sources)
    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.clear()
    sys.path[:0] = entries
    return sources


def _patch_other_loaders(is_ours: Callable[[str], bool], sources: Sources | None) -> None:
    """Make loaders that user code creates (``spec_from_file_location``) skip ``.pyc`` files and use the pinned bytes."""
    path_stats, get_data = SourceFileLoader.path_stats, SourceFileLoader.get_data

    def no_stats(self: SourceFileLoader, path: str) -> Any:
        if is_ours(os.path.dirname(path)):
            raise OSError(f"no .pyc is wanted of {path}")
        return path_stats(self, path)

    def pinned_data(self: SourceFileLoader, path: str) -> bytes:
        if sources is not None and path == self.path and is_ours(os.path.dirname(path)):
            return sources.read(self.name, os.path.abspath(path))
        return get_data(self, path)

    SourceFileLoader.path_stats = no_stats  # type: ignore[method-assign]  # patched for every loader
    SourceFileLoader.get_data = pinned_data  # type: ignore[method-assign,assignment]  # patched for every loader


def preload(names: Iterable[str]) -> None:
    """Import installed modules before local ones can be imported. Ignore failures; a later import will raise them."""
    for name in names:
        try:
            __import__(name)
        except BaseException:
            continue


def loaded_elsewhere(bare: Collection[str]) -> list[tuple[str, str]]:
    """Return name and path of each loaded module that is an installed one, except the ``bare`` ones."""
    installed = installed_directories()
    loaded = []
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if name in bare or spec is None or spec.name != name or not spec.has_location or not spec.origin:
            continue
        if any(_is_under(spec.origin, directory) for directory in installed):
            loaded.append((name, spec.origin))
    return loaded


def install_inherited(bare: Collection[str]) -> None:
    """Use the worker's pins in a fresh child of it, which has the worker's ``sys.path`` already."""
    manifest = os.environ.get(INHERITED)
    if manifest is not None:
        install((), manifest, bare=bare, codes=os.environ.get(CODES))


def _unload_shadowing(pinned: Manifest, bare: Collection[str]) -> None:
    """Unload modules that the worker has loaded for itself under the names of local modules, so that these can be imported."""
    taken = {name for _, _, name, path in pinned.modules if getattr(sys.modules.get(name), "__file__", path) != path}
    for name in list(sys.modules):
        top = name.partition(".")[0]
        if top in taken and top not in bare:
            del sys.modules[name]


def place_before_path_finder() -> int:
    """Return a finder's index in ``sys.meta_path``: after built-in and frozen modules, which come before local ones."""
    return sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)


# --- imports from pinned bytes


class Sources:
    """The bytes of local modules by the path of the user's file. Each is read once and then stays the same."""

    def __init__(
        self,
        pinned: Manifest,
        manifest: str,
        report: Callable[[str, str, bytes], None] | None = None,
        codes: str | None = None,
    ) -> None:
        self._manifest = manifest
        self._report = report
        self._digests = {path: digest for _, digest, _, path in pinned.modules}
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
            return read_object(self._manifest, digest)
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

    def code(self, path: str, compiled: Callable[[], CodeType]) -> CodeType:
        """Return the code of the module at ``path``: the cached one, else call ``compiled`` and cache its result."""
        digest = self._digests.get(path)
        code = None if digest is None else self._codes.get(digest, path)
        if code is None:
            code = compiled()
            if digest is not None:
                self._codes.keep(digest, path, code)
        return code

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


class PinnedLoader(_SourceLoader):
    """Loads a module from the bytes that ``sources`` has for its path."""

    def __init__(self, sources: Sources, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self._sources = sources

    def get_data(self, path: str) -> bytes:
        """Return the pinned bytes for the module itself; read any other file, such as data beside it, from the disk."""
        return self._sources.read(self.name, path) if path == self.path else super().get_data(path)

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of the pinned bytes. In a SyntaxError, replace the line that Python has read from the disk."""
        try:
            return self._sources.code(self.path, partial(super().get_code, fullname))
        except SyntaxError as error:
            lines = self._sources.lines(self.path)
            if error.filename == self.path and lines and error.lineno and error.lineno <= len(lines):
                error.text = lines[error.lineno - 1]
            raise


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

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,  # noqa: ARG002 - required by the protocol
    ) -> ModuleSpec | None:
        """See :class:`importlib.abc.MetaPathFinder`."""
        file = self._sources.find(fullname.rpartition(".")[2], sys.path if path is None else path)
        if file is not None:
            return self.spec(fullname, file)
        if fullname in self._namespaces:
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = _Directories(self._namespaces[fullname])
            return spec
        if path is None and (fullname in self._elsewhere or fullname == "linecache"):
            # A local file of that name must have appeared after staging, otherwise it would be pinned: ignore it.
            others = [entry for entry in sys.path if os.path.abspath(entry) not in self._roots]
            found = PathFinder.find_spec(fullname, others)
            if found is not None and fullname == "linecache":
                after_loading(found, partial(_patch_linecache, self._sources))
            return found
        return None

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
