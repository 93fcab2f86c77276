"""Imports of wrappers in the app: they give the live generation's text at any moment.

From the first change of a promotion until its commit, or until it has been undone, the output directory holds what may never
become live, and a module keeps the text that it was imported with. Meanwhile a finder in ``sys.meta_path`` finds the modules
that were there before the promotion, with the text that they had. It stays for as long as a session has a live generation:
an import that is under way when a promotion begins may have found or read an old file or a new one, so that finder and loader
start again if a promotion has begun or ended since they started.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import FileFinder, ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, MappingProxyType, ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["Before", "LiveImports"]

Before = Mapping[str, bytes | bool | None]
"""What stood at a path of the output directory: a file's text, a directory (True), or nothing (None). Others are unchanged."""


class LiveImports:
    """The output directories of one session."""

    def __init__(self) -> None:
        self._mine: frozenset[str] = frozenset()

    def hold(self, output: Path, before: Before) -> None:
        """Import from ``output`` what was there ``before``; paths relative to it. To be called before the first change."""
        with _finder.writing:  # bytecode that is written by now is removed with its source
            self._set(output, {os.path.join(output, name): what for name, what in before.items()})

    def free(self, output: Path) -> None:
        """Import from ``output`` what is there, if that was held back."""
        if str(output) in self._mine:
            self._set(output, {})

    def follow(self, output: Path) -> None:
        """``output`` is that of the live generation, and the only one from now on: import what is there."""
        self._set(output, {}, gone=self._mine)

    def close(self) -> None:
        """Leave no trace: the session is over."""
        if self._mine:
            _finder.change(gone=self._mine)
            self._mine = frozenset()

    def _set(self, output: Path, before: Before, gone: frozenset[str] = frozenset()) -> None:
        _finder.change({str(output): before}, gone)
        self._mine = self._mine - gone | {str(output)}


class _Finder(MetaPathFinder):
    """The finder of this process. ``outputs``: what stood in each output directory, by absolute paths, while it is held.

    ``turn`` is counted up after each change of ``outputs``, and before the files that it is about are changed.
    """

    def __init__(self) -> None:
        self.outputs: Mapping[str, Before] = {}
        self.turn = 0
        self.writing = threading.Lock()  # held while bytecode is written
        self._changing = threading.Lock()
        self._real: dict[str, str] = {}

    def change(self, outputs: Mapping[str, Before] = MappingProxyType({}), gone: Collection[str] = ()) -> None:
        """Begin the next turn: with these ``outputs``, and without those that are ``gone``."""
        with self._changing:
            others = {output: before for output, before in self.outputs.items() if output not in gone}
            self.outputs = {**others, **outputs}
            self._real = {}
            self.turn += 1
            finders = [finder for finder in sys.meta_path if finder is not self]
            if bool(self.outputs) is (len(finders) == len(sys.meta_path)):
                # Not in place: an import in another thread may be on its way through the list.
                sys.meta_path = [self, *finders] if self.outputs else finders
        # Their listings are as old as the directory's time, which stands still for some milliseconds.
        for finder in list(sys.path_importer_cache.values()):
            if isinstance(finder, FileFinder):
                finder.invalidate_caches()

    def forget(self) -> None:
        """Drop everything in a forked process: it has no session, and none of the threads that hold a lock."""
        self.writing, self._changing = threading.Lock(), threading.Lock()
        if self.outputs:
            self.change(gone=self.outputs)

    def held(self, path: str) -> Before | None:
        """The output directory around ``path``, which has no links in it, as it was; None if there is none."""
        around = [output for output in self.outputs if path == output or path.startswith(output + os.sep)]
        return self.outputs.get(max(around, key=len)) if around else None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        """Find a module of an output directory. None for any other, and for one that everybody finds alike."""
        while True:
            turn = self.turn
            try:
                spec = self._find(fullname, path, target)
            except ModuleNotFoundError:
                if turn == self.turn:
                    raise
            else:
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
            spec = _touched(fullname, entry, place, before) if before else None
            is_touched |= spec is not None
            if spec is None:
                spec = PathFinder.find_spec(fullname, [entry], target)
            if spec is None:
                continue
            if spec.loader is not None:
                if before is not None and type(spec.loader) is SourceFileLoader:
                    spec.loader = _Loader(spec.loader.name, spec.loader.path)
                return spec if before is not None or is_touched else None
            portions += spec.submodule_search_locations or ()
        if not is_touched:
            return None
        if not portions:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = portions
        return spec

    def real(self, entry: str, tail: str) -> str:
        """The directory of the package ``tail`` in ``entry`` of a path, links resolved, as far as it exists."""
        real = self._real.get(entry)
        if real is None:
            real = os.path.realpath(entry or os.curdir)
            if os.path.isabs(entry):
                self._real[entry] = real
        place = os.path.join(real, tail)
        return os.path.realpath(place) if os.path.islink(place) else place


def _touched(fullname: str, entry: str, place: str, before: Before) -> ModuleSpec | None:
    """The module as it was before the promotion; None if that does not touch it. If it was not there, it has no location."""
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
    loader = _Loader(fullname, location)
    return spec_from_file_location(fullname, location, loader=loader, submodule_search_locations=inside)


def _was_there(path: str, before: Before) -> bool:
    return before[path] is not None if path in before else os.path.exists(path)


class _Loader(SourceFileLoader):
    """The loader of a module in an output directory: it reads the text that is live when the code is made."""

    _turn = -1

    def get_code(self, fullname: str) -> CodeType | None:
        """See :class:`importlib.abc.InspectLoader`."""
        while True:
            turn = self._turn = _finder.turn
            try:
                held = self._held()  # its bytecode is gone, or another text's
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
        """Write bytecode, unless a promotion has begun since the source was read: it removes what is out of date."""
        with _finder.writing:
            if self._turn == _finder.turn:
                super().set_data(path, data, _mode=_mode)

    def _held(self) -> bytes | None:
        path = os.path.join(os.path.realpath(os.path.dirname(self.path)), os.path.basename(self.path))
        before = _finder.held(path) or {}
        if path not in before:
            return None
        text = before[path]
        if not isinstance(text, bytes):  # it was found while an earlier generation was live
            raise ModuleNotFoundError(f"No module named {self.name!r}", name=self.name)
        return text


_finder = _Finder()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_finder.forget)
