"""Modules of its own for one bridge in this process, so that a bridge that is made after an edit runs the edited sources.

Own are the modules under the bridge's import path, in as far as they are Python sources that are not installed; everything else
is shared with the process. No ``.pyc`` of them is read or written. Three things keep them apart from those of other bridges,
and from modules of the same names that the app has imported:

- *Import statements* in their code call an ``__import__`` of their own, which Python finds in the ``__builtins__`` of a module.
- *The view*: while a function of the bridge runs, or its modules are imported, ``sys.modules`` has its own modules under their
  names. Whatever looks a module up by its name, such as ``pickle``, ``dataclasses`` or ``importlib.import_module``, finds them.
- *The finder* in ``sys.meta_path`` finds their sources while the view is shown.

The process has one ``sys.modules``. While functions of two such bridges run at the same time in two threads, it has the modules
of the one that was called last; import statements are exact even then. A module that a function imports late is read at that
moment.

The app uses this, not the worker. It stands beside the worker's other files because it loads modules by their loader, and because
tracebacks of sources leave out what stands here.
"""

from __future__ import annotations

import builtins
import linecache
import os
import sys
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    BuiltinImporter,
    ExtensionFileLoader,
    FileFinder,
    FrozenImporter,
    ModuleSpec,
    PathFinder,
)
from types import CoroutineType, ModuleType, coroutine

from .importing import installed_directories, is_local, local_roots
from .manifest import Manifest
from .pinned import PinnedLoader, Sources, place_before_path_finder

TYPE_CHECKING = False  # as in the worker's other files
if TYPE_CHECKING:
    from typing import Any

__all__ = ["FreshModules"]

_SHARED = ("__main__", "lastgood")


class FreshModules:
    """The modules of one bridge. ``import_path``: where they are looked for first; if empty, ``sys.path`` alone.

    ``pinned`` is the path of a pinned generation's manifest, whose bytes they have. Without one, a file is read when it is
    imported first. Raises :class:`.manifest.Damaged`.
    """

    def __init__(self, import_path: Sequence[str], pinned: os.PathLike[str] | None = None) -> None:
        self._installed = installed_directories()
        self._roots = local_roots(map(os.path.abspath, import_path or sys.path), self._installed)
        manifest = None if pinned is None else os.path.abspath(pinned)
        self.sources = Sources(Manifest() if manifest is None else Manifest.load(manifest), manifest or "")
        self._find_in = FileFinder.path_hook(
            (ExtensionFileLoader, EXTENSION_SUFFIXES),
            (partial(_FreshLoader, self), SOURCE_SUFFIXES),  # type: ignore[arg-type]  # it is only called
        )
        # A copy: what the app adds to its builtins later is not seen.
        self.builtins = {**vars(builtins), "__import__": self._import}
        self._tops: dict[str, bool] = {}
        self._names: set[str] = set()
        self._modules: dict[str, ModuleType] = {}
        self._outside: dict[str, ModuleType] = {}
        self._lines: dict[str, Any] = {}

    @contextmanager
    def view(self, *, importing: bool = False) -> Iterator[None]:
        """Have ``sys.modules`` show these modules, while functions of theirs run or modules are imported."""
        _VIEWS.enter(self, importing=importing)
        try:
            yield
        finally:
            _VIEWS.leave(self, importing=importing)

    @contextmanager
    def importing(self, names: Iterable[str]) -> Iterator[None]:
        """Have ``sys.modules`` show these modules, while ``names`` are imported for the first time."""
        for name in names:
            self._is_own(name)
        with self.view(importing=True):
            yield
        self.show_lines()

    @coroutine
    def steps(self, of: CoroutineType[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Await a coroutine, and show the view in each of its steps."""
        step, value = of.send, None
        while True:
            try:
                with self.view():
                    awaited = step(value)
            except StopIteration as stop:
                return stop.value
            try:
                step, value = of.send, (yield awaited)
            except BaseException as error:  # also a cancellation, and the end of the task
                step, value = of.throw, error

    def show_lines(self) -> None:
        """Have tracebacks show the lines of these modules, rather than of files that were edited since."""
        for path in self.sources.paths():
            if path not in self._lines and (lines := self.sources.lines(path)) is not None:
                self._lines[path] = (
                    sum(map(len, lines)),
                    None,
                    lines,
                    path,
                )  # without a time, it is not compared with the disk
        linecache.cache.update(self._lines)

    def hide_lines(self) -> None:
        """Have tracebacks read the files again, unless another bridge shows its lines."""
        for path, entry in self._lines.items():
            if linecache.cache.get(path) is entry:
                del linecache.cache[path]

    # Imports.

    def _import(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Import as ``__import__`` does, for code of these modules."""
        level = args[3] if len(args) > 3 else kwargs.get("level", 0)
        if not level and not self._is_own(name):
            return builtins.__import__(name, *args, **kwargs)
        with self.view(importing=True):
            return builtins.__import__(name, *args, **kwargs)

    def _is_own(self, name: str) -> bool:
        top = name.partition(".")[0]
        known = self._tops.get(top)
        if known is None:
            known = self._tops[top] = self._has_source(top)
        return known

    def _has_source(self, top: str) -> bool:
        if top in _SHARED or BuiltinImporter.find_spec(top) is not None or FrozenImporter.find_spec(top) is not None:
            return False
        spec = self._find(top, self._roots)
        if spec is None or isinstance(spec.loader, ExtensionFileLoader):
            return False
        # A directory without __init__.py comes after every module of that name, wherever it is.
        return spec.loader is not None or getattr(PathFinder.find_spec(top), "loader", None) is None

    def find_spec(self, name: str, path: Sequence[str] | None) -> ModuleSpec | None:
        """Find one of these modules; None if ``name`` is none of them."""
        if not self._is_own(name):
            return None
        spec = self._find(name, self._roots if path is None else path)
        if spec is not None:
            self._names.add(name)
        return spec

    def _find(self, name: str, path: Iterable[str]) -> ModuleSpec | None:
        portions: list[str] = []
        for entry in path:
            try:
                spec = self._find_in(entry).find_spec(name) if is_local(entry, self._roots, self._installed) else None
            except ImportError:  # it is no directory
                continue
            if spec is not None and spec.loader is not None:
                return spec
            if spec is not None:
                portions += spec.submodule_search_locations or ()
        if not portions:
            return None
        namespace = ModuleSpec(name, None, is_package=True)
        namespace.submodule_search_locations = portions
        return namespace

    # The view. Called with the lock of _VIEWS.

    def show(self) -> None:
        """Put these modules into ``sys.modules``, in place of others of their names."""
        self._outside = {name: sys.modules.pop(name) for name in self._names if name in sys.modules}
        sys.modules.update(self._modules)

    def hide_namesakes(self) -> None:
        """Take modules of the app out of ``sys.modules`` whose names could be found among these modules."""
        for name in [*sys.modules]:
            if self._tops.get(name.partition(".")[0]) and name not in self._names:
                self._outside[name] = sys.modules.pop(name)

    def hide(self) -> None:
        """Undo :meth:`show` and :meth:`hide_namesakes`."""
        self._modules = {name: sys.modules.pop(name) for name in [*self._names] if name in sys.modules}
        sys.modules.update(self._outside)
        self._outside = {}


class _FreshLoader(PinnedLoader):
    """The loader of one of these modules: its import statements are those of the bridge."""

    def __init__(self, modules: FreshModules, fullname: str, path: str) -> None:
        super().__init__(modules.sources, fullname, path)
        self._builtins = modules.builtins

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = self._builtins
        super().exec_module(module)


class _Views:
    """Which bridge's modules ``sys.modules`` shows, and the finder for these.

    The view of a bridge is shown from its first import or call until its last one ends. Of several, the last one to begin is
    shown; but imports of one bridge are never disturbed, and wait for those of another.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._entered: list[FreshModules] = []
        self._importing: list[tuple[FreshModules, int]] = []
        self._shown: FreshModules | None = None

    def enter(self, modules: FreshModules, *, importing: bool) -> None:
        """Show ``modules``, once no other bridge imports if ``importing``."""
        me = threading.get_ident()
        with self._changed:
            if importing:
                self._changed.wait_for(lambda: all(each is modules or at == me for each, at in self._importing))
                self._importing.append((modules, me))
            self._entered.append(modules)
            self._update()
            if importing:
                modules.hide_namesakes()

    def leave(self, modules: FreshModules, *, importing: bool) -> None:
        """Show what was entered before ``modules``, and is not left yet."""
        with self._changed:
            if importing:
                self._importing.remove((modules, threading.get_ident()))
                self._changed.notify_all()
            last = len(self._entered) - 1 - self._entered[::-1].index(modules)
            del self._entered[last]
            self._update()

    def _update(self) -> None:
        wanted = self._importing[-1][0] if self._importing else self._entered[-1] if self._entered else None
        if wanted is self._shown:
            return
        if self._shown is not None:
            self._shown.hide()
        else:
            sys.meta_path.insert(place_before_path_finder(), self)
        if wanted is not None:
            wanted.show()
        else:
            sys.meta_path.remove(self)
        self._shown = wanted

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,  # noqa: ARG002 - required by the protocol
    ) -> ModuleSpec | None:
        """See :class:`importlib.abc.MetaPathFinder`."""
        shown = self._shown
        return None if shown is None else shown.find_spec(fullname, path)


_VIEWS = _Views()
