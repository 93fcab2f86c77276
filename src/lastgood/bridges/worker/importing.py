"""Importing local modules in the worker: always from source, and for a pinned generation from the pinned bytes.

Python validates a ``.pyc`` by the size and mtime (in whole seconds) of its source, so after an edit of the same size within
the same second the old code would run. Therefore no ``.pyc`` of a local module is read or written: the module is compiled
from its bytes, and for pinned bytes the code is cached by their digest (``codes``). Installed modules keep using ``.pyc`` files.

With a manifest, modules are found and run by pinned.py.

A child process made by multiprocessing has the same pins. A forked child has everything. A child that starts afresh ("spawn",
"forkserver") runs ``main.py`` first, which calls :func:`install_inherited`; it reads from the disk again only what its worker had
imported late. Other programs that user code starts import from the disk, as they would without lastgood.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader

from .pinned import CODES, INHERITED, PinnedLoader, Pins, SourceLoader

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

    from .ahead import Ahead
    from .pinned import Sources

__all__ = ["install", "install_inherited", "installed_directories", "is_local", "loaded_elsewhere", "local_roots"]

_INSTALLED = frozenset(("site-packages", "dist-packages"))


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


def install(
    import_path: Sequence[str],
    manifest: str | None = None,
    report: Callable[[str, str, bytes], None] | None = None,
    bare: Collection[str] = (),
    codes: str | None = None,
    ahead: Ahead | None = None,
) -> Sources | None:
    """Put ``import_path`` first on ``sys.path``, and import local modules there from source.

    ``manifest`` is the path of a pinned generation's manifest; the :class:`Sources` are returned in that case. For each local
    module that is not in the manifest, ``report(name, path, source)`` is called on the importing thread. ``bare`` are the names
    of the modules that an interpreter loads by itself: these are not replaced by local modules of the same name. ``codes`` is
    the directory of cached code. ``ahead`` is the program of a worker that runs ahead. Raises :class:`.manifest.Damaged`.
    """
    entries = [os.path.abspath(entry) for entry in import_path]
    installed = installed_directories()
    sources: Sources | None = None
    make_loader: Callable[[str, str], SourceFileLoader]
    os.environ.pop(INHERITED, None)
    os.environ.pop(CODES, None)
    if manifest is None:
        make_loader, roots = SourceLoader, local_roots(entries, installed)
    else:
        pins = Pins(manifest, bare, report, codes)
        sources, roots = pins.sources, pins.roots
        make_loader = partial(PinnedLoader, sources)
        pins.install()
        if ahead is not None:
            pins.observe(ahead)
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


def loaded_elsewhere(before: Collection[str]) -> list[str]:
    """Return the path of each loaded module that is an installed one and is not in ``before``, in the order of the imports."""
    installed = installed_directories()
    loaded = []
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if name in before or spec is None or spec.name != name or not spec.has_location or not spec.origin:
            continue
        if any(_is_under(spec.origin, directory) for directory in installed):
            loaded.append(spec.origin)
    return loaded


def install_inherited(bare: Collection[str]) -> None:
    """Use the worker's pins in a fresh child of it, which has the worker's ``sys.path`` already."""
    manifest = os.environ.get(INHERITED)
    if manifest is not None:
        install((), manifest, bare=bare, codes=os.environ.get(CODES))
