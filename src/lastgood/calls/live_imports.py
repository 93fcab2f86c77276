"""Import hook for wrappers in the app: an import always loads the text of the live generation.

During a promotion, from its first file operation until its commit or rollback, the output directory holds files that may
never become live, and an imported module keeps the text that it was imported with. In that time a finder in
``sys.meta_path`` serves the modules that existed before the promotion, with their previous text. The finder stays installed
for as long as a session has a live generation: an import that is running when a promotion begins may have read an old or a
new file, so finder and loader start again if a promotion has begun or ended since they started.
"""

from __future__ import annotations

import logging
import os
import pkgutil
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import FileFinder, ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, MappingProxyType, ModuleType
from typing import TYPE_CHECKING

from lastgood.calls import refresh
from lastgood.calls.import_hints import expect_imports

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from _typeshed.importlib import PathEntryFinderProtocol

__all__ = ["Before", "LiveImports"]

logger = logging.getLogger(__name__)

Before = Mapping[str, bytes | bool | None]
"""Previous content by path: a file's bytes, True for a directory, None for nothing. Paths not in it are unchanged."""


class LiveImports:
    """The import hook for the output directories of one session."""

    def __init__(self) -> None:
        self._mine: frozenset[str] = frozenset()

    def hold(self, output: Path, before: Before) -> None:
        """Serve imports from ``output`` as it was ``before`` (paths relative to it). Call this before the first file changes."""
        with _finder.writing:  # bytecode written until now is removed with its source
            self._set(output, {str(output / name): what for name, what in before.items()})

    def free(self, output: Path) -> None:
        """Serve imports from the files in ``output`` again, if they were held."""
        if str(output) in self._mine:
            self._set(output, {})

    def follow(self, output: Path) -> None:
        """Make ``output`` the only output directory, that of the live generation, and serve imports from its files.

        Logs a warning of each module that was imported from a former one: nothing can bring it up to date any more.
        """
        former = self._mine - {str(output)}
        self._set(output, {}, gone=self._mine)
        for name in refresh.imported_from(former):
            logger.warning(
                "%s was imported from the former output directory and stays as it is: import it from %s instead.",
                name,
                output,
            )
        refresh.forget(former)

    def close(self) -> None:
        """Remove the output directories of this session from the import hook."""
        if self._mine:
            _finder.change(gone=self._mine)
            refresh.forget(self._mine)
            self._mine = frozenset()

    def _set(self, output: Path, before: Before, gone: frozenset[str] = frozenset()) -> None:
        _finder.change({str(output): before}, gone)
        self._mine = self._mine - gone | {str(output)}


class _Finder(MetaPathFinder):
    """The finder of this process.

    ``outputs`` has the previous content of each output directory, by absolute path, while that directory is held.
    ``turn`` is incremented after each change of ``outputs``, and before the files themselves change.
    """

    def __init__(self) -> None:
        self.outputs: Mapping[str, Before] = {}
        self.turn = 0
        self.writing = threading.Lock()  # held while bytecode is written
        self._changing = threading.Lock()
        self._real: dict[str, str] = {}

    def change(self, outputs: Mapping[str, Before] = MappingProxyType({}), gone: Collection[str] = ()) -> None:
        """Add or replace ``outputs``, drop the directories in ``gone``, and begin the next turn."""
        with self._changing:
            others = {output: before for output, before in self.outputs.items() if output not in gone}
            self.outputs = {**others, **outputs}
            self._real = {}
            self.turn += 1
            finders = [finder for finder in sys.meta_path if finder is not self]
            if bool(self.outputs) is (len(finders) == len(sys.meta_path)):
                # A new list: an import in another thread may be iterating over the old one.
                sys.meta_path = [self, *finders] if self.outputs else finders
            expect_imports(self, self.outputs)
        for entry, finder in list(sys.path_importer_cache.items()):
            if isinstance(finder, _Entry) and not any(self.outputs.values()):
                sys.path_importer_cache[entry] = finder.behind
            # It caches listings by the directory's mtime, which is too coarse to show two changes within milliseconds.
            if isinstance(finder, FileFinder):
                finder.invalidate_caches()

    def is_in(self, turn: int) -> bool:
        """Return whether this turn has not ended."""
        return turn == self.turn

    def forget(self) -> None:
        """Reset everything in a forked child: it has no session, and the threads that may hold a lock do not exist there."""
        self.writing, self._changing = threading.Lock(), threading.Lock()
        if self.outputs:
            self.change(gone=self.outputs)

    def held(self, path: str) -> Before | None:
        """Return the previous content of the output directory that contains ``path``, a real path; None if none does."""
        around = [output for output in self.outputs if path == output or path.startswith(output + os.sep)]
        return self.outputs.get(max(around, key=len)) if around else None

    def is_held_back(self, fullname: str, entry: str) -> bool:
        """Return whether the module under the path entry ``entry`` did not exist before the promotion."""
        place = self.real(entry, fullname.rpartition(".")[2])
        before = self.held(place)
        spec = _previous_spec(fullname, entry, place, before) if before else None
        return spec is not None and spec.loader is None and not spec.submodule_search_locations

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        """Find a module of an output directory. Return None for any other module: the next finders are asked."""
        while True:
            turn = self.turn
            spec = self._find(fullname, path, target)
            if turn == self.turn:
                return spec

    def _find(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        tail = fullname.rpartition(".")[2]
        entries = [entry for entry in (sys.path if path is None else path) if isinstance(entry, str)]
        places = [self.real(entry, tail) for entry in entries]
        held = [self.held(place) for place in places]
        if not any(each is not None for each in held):
            return None
        portions: list[str] = []
        is_touched = False
        for entry, place, before in zip(entries, places, held, strict=True):
            spec = _previous_spec(fullname, entry, place, before) if before else None
            is_touched |= spec is not None
            if spec is None:
                spec = PathFinder.find_spec(fullname, [entry], target)
            if spec is None:
                continue
            if spec.loader is not None:
                if before is not None and type(spec.loader) is SourceFileLoader:
                    spec.loader = _LiveLoader(spec.loader.name, spec.loader.path)
                return spec if before is not None or is_touched else None
            portions += spec.submodule_search_locations or ()
        if not is_touched:
            return None
        if not portions:
            _hold_back(entries)
            return None
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = portions
        return spec

    def real(self, entry: str, tail: str) -> str:
        """Return the directory of the package ``tail`` under the path entry ``entry``, with links resolved."""
        real = self._real.get(entry)
        if real is None:
            try:
                real = os.path.realpath(entry or os.curdir)
            except FileNotFoundError:  # the working directory was removed, and this is relative to it
                real = entry
            if os.path.isabs(entry):
                self._real[entry] = real
        place = os.path.join(real, tail)
        return os.path.realpath(place) if os.path.islink(place) else place


def _previous_spec(fullname: str, entry: str, place: str, before: Before) -> ModuleSpec | None:
    """Return the module as it was before the promotion; None if the promotion leaves it unchanged.

    The spec of a module that did not exist has no location.
    """
    package, module = os.path.join(place, "__init__.py"), f"{place}.py"
    if before.keys().isdisjoint((place, package, module)):
        return None
    tail = fullname.rpartition(".")[2]
    directory = os.path.join(entry, tail)
    if _was_there(package, before):
        location, inside = os.path.join(directory, "__init__.py"), [directory]
    elif _was_there(module, before):
        location, inside = f"{directory}.py", None
    else:
        absent = ModuleSpec(fullname, None, is_package=True)
        absent.submodule_search_locations = [directory] if _was_there(place, before) else []
        return absent
    loader = _LiveLoader(fullname, location)
    return spec_from_file_location(fullname, location, loader=loader, submodule_search_locations=inside)


class _Entry(FileFinder):
    """The finder of a path entry that may have new modules: it finds none that is held back.

    The other finders in ``sys.meta_path`` that look at the disk ask it. Were they to find such a module, ``find_spec()`` of
    :class:`_Finder` could only prevent that by raising, but :func:`importlib.util.find_spec` is to return None.
    """

    def __init__(self, entry: str, behind: PathEntryFinderProtocol) -> None:
        super().__init__(entry)
        self.behind = behind
        self._entry = entry

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        """See :class:`importlib.abc.PathEntryFinder`."""
        return None if _finder.is_held_back(fullname, self._entry) else self.behind.find_spec(fullname, target)

    def invalidate_caches(self) -> None:
        """See :class:`importlib.abc.PathEntryFinder`."""
        if hasattr(self.behind, "invalidate_caches"):  # optional
            self.behind.invalidate_caches()


def _hold_back(entries: Sequence[str]) -> None:
    """Let no finder find new modules in these path entries."""
    for entry in entries:
        if not entry:
            try:
                entry = os.getcwd()
            except FileNotFoundError:  # it was removed: nothing is imported from there
                continue
        finder = pkgutil.get_importer(entry)
        if finder is not None and not isinstance(finder, _Entry):
            sys.path_importer_cache[entry] = _Entry(entry, finder)


def _was_there(path: str, before: Before) -> bool:
    return before[path] is not None if path in before else os.path.exists(path)


class _LiveLoader(SourceFileLoader):
    """The loader of a module in an output directory: it compiles the text that is live at that moment."""

    _turn = -1

    def exec_module(self, module: ModuleType) -> None:
        """See :class:`importlib.abc.Loader`. If another generation goes live meanwhile, the module is brought up to date."""
        is_loaded = False
        while not is_loaded:
            is_live = partial(_finder.is_in, _finder.turn)  # before the text is read
            is_loaded = refresh.load(module, self._live_text(), super().exec_module, is_live)

    def _live_text(self) -> bytes:
        while True:
            turn = _finder.turn
            try:
                return self.get_data(self.path)
            except Exception:
                if _finder.is_in(turn):
                    raise

    def get_code(self, fullname: str) -> CodeType | None:
        """See :class:`importlib.abc.InspectLoader`."""
        while True:
            turn = self._turn = _finder.turn
            try:
                held = self._held()  # its cached bytecode has been removed, or belongs to another text
                code = super().get_code(fullname) if held is None else self.source_to_code(held, self.path)
            except Exception:
                if turn == _finder.turn:
                    raise
            else:
                if turn == _finder.turn:
                    return code

    def get_data(self, path: str) -> bytes:
        """See :class:`importlib.abc.ResourceLoader`."""
        held = self._held() if path == self.path else None
        return super().get_data(path) if held is None else held

    def set_data(self, path: str, data: ReadableBuffer, *, _mode: int = 0o666) -> None:
        """Write bytecode, unless a promotion has begun since the source was read: its bytecode would be out of date."""
        with _finder.writing:
            if self._turn == _finder.turn:
                super().set_data(path, data, _mode=_mode)

    def _held(self) -> bytes | None:
        path = os.path.join(os.path.realpath(os.path.dirname(self.path)), os.path.basename(self.path))
        before = _finder.held(path) or {}
        if path not in before:
            return None
        text = before[path]
        if not isinstance(text, bytes):  # the module was found while an earlier generation was live
            raise ModuleNotFoundError(f"No module named {self.name!r}", name=self.name)
        return text


_finder = _Finder()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_finder.forget)
