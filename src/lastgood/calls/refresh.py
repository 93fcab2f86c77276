"""Wrappers that the app has imported are brought up to date in place, with the swap.

:meth:`Refresh.prepare` executes the new texts in namespaces that nobody sees (:mod:`lastgood.calls.namespaces`), during the
warm-up; :meth:`Refresh.apply` assigns what came of it, right after the swap. In between, the app has the wrappers of the live
generation, and a cycle that is undone has nothing to restore here. Only what lastgood's own generator wrote is touched.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from lastgood.calls.classes import supersede
from lastgood.calls.namespaces import NAME, Namespace, bound, placing, record, remove
from lastgood.errors import BridgeError
from lastgood.store.header import has_header

__all__ = ["Refresh", "forget", "imported_from", "load"]

logger = logging.getLogger(__name__)

_applying = threading.Lock()


def _after_fork() -> None:
    """Replace the lock in a forked child: the thread that held it does not exist there."""
    global _applying
    _applying = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def load(module: ModuleType, text: bytes, execute: Callable[[ModuleType], None], is_live: Callable[[], bool]) -> bool:
    """Import or reload ``module``, whose live text is ``text``; ``execute`` is the ordinary way to do that.

    Return ``is_live()``: if it is false, another generation has gone live meanwhile, and a wrapper has to be loaded once more.
    """
    if not has_header(text):
        execute(module)
        return True
    if module in bound:
        preparation = _Preparation({module.__name__: _Wrapper(module, text)}, None)
        preparation.run()
        preparation.apply(is_reload=True)
        return is_live()
    with placing(module):
        execute(module)
    if not is_live():
        return False
    record(module, text)
    return True


def forget(outputs: Collection[str]) -> None:
    """Forget what the wrappers in these directories have bound: from now on, they are reloaded as other modules are."""
    for module in _bound_in(outputs):
        del bound[module]


def imported_from(outputs: Collection[str]) -> list[str]:
    """Return the names of the modules that the app has imported from these directories."""
    # A package whose __init__ offers nothing has nothing that could be out of date.
    found = [each for each in _bound_in(outputs) if any(not name.startswith("__") for name in bound[each].names)]
    return sorted(each.__name__ for each in found if sys.modules.get(each.__name__) is each)


def _bound_in(outputs: Collection[str]) -> list[ModuleType]:
    directories = tuple(os.path.join(output, "") for output in outputs)
    return [module for module in list(bound) if os.path.realpath(module.__file__ or "").startswith(directories)]


class Refresh:
    """The refresh of the wrappers in ``output`` that the app has imported, for one cycle.

    ``texts``: the files of the new generation by relative path; ``former``: the previous text of each file that differs from it
    or is removed.
    """

    def __init__(self, output: Path, texts: Mapping[str, bytes], former: Mapping[str, bytes]) -> None:
        self._output = output
        self._texts = texts
        self._former = former
        self._by_name: dict[str, list[str]] = {}
        for path in {**texts, **former}:
            self._by_name.setdefault(path.rpartition("/")[2], []).append(path)
        self._prepared: _Preparation | None = None

    def prepare(self) -> None:
        """Make the new namespaces. Raises :class:`BridgeError`, which names the wrapper.

        Call it once more before :meth:`apply`: it does nothing unless another wrapper was imported since.
        """
        self._prepared = self._with_all_imported()

    def apply(self) -> None:
        """Assign the new namespaces. Cannot fail."""
        assert self._prepared is not None, "prepare() comes first"
        self._prepared.apply()

    def catch_up(self) -> None:
        """Bring up to date what another thread has imported just before the swap. Cannot fail."""
        try:
            late = self._with_all_imported()
        except BridgeError:
            logger.exception("a wrapper that was imported during the swap stays as it was until it is reloaded")
            return
        if late is not self._prepared:
            late.apply()

    def _with_all_imported(self) -> _Preparation:
        wrappers = self._imported()
        prepared = self._prepared
        if prepared is None or prepared.modules != {each.module for each in wrappers.values()}:
            prepared = _Preparation(wrappers, _Tree(self._output, self._texts))
            prepared.run()
        return prepared

    def _imported(self) -> dict[str, _Wrapper]:
        """Return the wrappers that are imported, by module name. What they had bound is recorded if it was not."""
        is_output: dict[str, bool] = {}
        status = _status(self._output)
        found: dict[str, _Wrapper] = {}
        for name, module in list(sys.modules.items()):
            if type(module) is not ModuleType:
                continue
            file = vars(module).get("__file__")
            if not isinstance(file, str) or vars(module).get("__name__") != name:
                continue
            for path in self._by_name.get(os.path.basename(file), ()):
                if not file.endswith(f"{os.sep}{path}"):
                    continue
                directory = file.removesuffix(f"{os.sep}{path}")
                if directory not in is_output:
                    is_output[directory] = _is_output(directory, self._output, status)
                text = self._texts.get(path)
                if is_output[directory] and _is_known(module, self._former.get(path, text or b"")):
                    found[name] = _Wrapper(module, text if text is not None and has_header(text) else None)
        return found


# --- the modules


@dataclass(slots=True)
class _Wrapper:
    """A wrapper module and its new text; None: it is removed. ``is_new``: nobody has imported it yet."""

    module: ModuleType
    text: bytes | None
    is_new: bool = False


class _Tree:
    """The wrapper files of a new generation."""

    def __init__(self, output: Path, texts: Mapping[str, bytes]) -> None:
        self._output = output
        self._texts = texts

    def find(self, name: str, near: ModuleType) -> _Wrapper | None:
        """Make the module ``name``, which a new text of the module ``near`` imports; None if it is none of these wrappers."""
        root, directory = _root(near, self._output)
        if name != root and not name.startswith(f"{root}."):
            return None
        stem = name.removeprefix(root).removeprefix(".").replace(".", "/")
        for path in (f"{stem}/__init__.py".removeprefix("/"), f"{stem}.py"):
            text = self._texts.get(path)
            if text is not None and has_header(text):
                place = os.path.join(directory, path)
                inside = [os.path.dirname(place)] if path.endswith("__init__.py") else None
                spec = importlib.util.spec_from_file_location(
                    name, place, loader=SourceFileLoader(name, place), submodule_search_locations=inside
                )
                assert spec is not None
                return _Wrapper(importlib.util.module_from_spec(spec), text, is_new=True)
        return None


def _root(module: ModuleType, output: Path) -> tuple[str, str]:
    """Return the name of the package that ``output`` is for this module, and its directory as the module spells it."""
    assert module.__file__ is not None
    name, directory = module.__name__, os.path.dirname(module.__file__)
    if not hasattr(module, "__path__"):
        name = name.rpartition(".")[0]
    while os.path.realpath(directory) != str(output):
        name, directory = name.rpartition(".")[0], os.path.dirname(directory)
    return name, directory


def _is_output(directory: str, output: Path, status: os.stat_result | None) -> bool:
    """Return whether ``directory`` leads to ``output``, whose status is given."""
    # An app has hundreds of packages, and to resolve a path takes as many system calls as it has parts.
    found = _status(directory)
    is_same = status is not None and found is not None and os.path.samestat(found, status)
    return is_same and os.path.realpath(directory) == str(output)


def _status(path: str | Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _is_known(module: ModuleType, text: bytes) -> bool:
    """Return whether ``module`` is a wrapper; record what ``text``, from which it was imported, has bound."""
    if module in bound:
        return True
    if not has_header(text) or getattr(module.__spec__, "_initializing", False):
        return False
    try:
        record(module, text)
    except (SyntaxError, ValueError):  # the file was damaged since; it was replaced
        return False
    return True


class _Preparation:
    """The execution of new texts in namespaces that nobody sees. ``tree``: where modules are that are not imported yet."""

    def __init__(self, wrappers: Mapping[str, _Wrapper], tree: _Tree | None) -> None:
        self.modules = {each.module for each in wrappers.values()}
        self._wrappers = dict(wrappers)
        self._tree = tree
        self._namespaces: dict[str, Namespace] = {}
        self._executed: list[Namespace] = []  # in the order in which that ended
        self._standing: dict[int, Any] = {}  # what stays, by the id of what stands for it in the new namespaces
        self._removed = [each.module for each in wrappers.values() if each.text is None]

    def run(self) -> None:
        """Execute each text that differs, and those that import from it. Raises :class:`BridgeError`."""
        for name in sorted(self._outdated()):
            self.namespace(name)

    def _outdated(self) -> set[str]:
        if self._tree is None:
            return set(self._wrappers)
        present = {name: each for name, each in self._wrappers.items() if each.text is not None}
        outdated = {name for name, each in present.items() if bound[each.module].text != each.text}
        imports = {name: set(_imports_of(each.module, each.text or b"")) for name, each in present.items()}
        grown = True
        while grown:
            more = {name for name, needed in imports.items() if not needed.isdisjoint(outdated)} - outdated
            grown = bool(more)
            outdated |= more
        self._wrappers = {name: present[name] for name in outdated}
        return outdated

    def namespace(self, name: str, near: ModuleType | None = None) -> ModuleType | None:
        """Return the new namespace of the module ``name``, executed if that was not begun; None if it has none."""
        if name in self._namespaces:
            return self._namespaces[name].stand_in
        wrapper = self._wrappers.get(name)
        if wrapper is None and near is not None and self._tree is not None and name not in sys.modules:
            parent = name.rpartition(".")[0]
            if parent:
                self.namespace(parent, near)
            wrapper = self._tree.find(name, near)
        if wrapper is None:
            return None
        assert wrapper.text is not None
        new = self._namespaces[name] = Namespace(
            wrapper.module, wrapper.text, self.imported, self._standing, is_new=wrapper.is_new
        )
        try:
            new.execute()
        except BridgeError:
            raise
        except Exception as error:
            raise BridgeError(
                f"The new wrapper {wrapper.module.__file__} cannot be executed in the app, which has imported it: "
                f"{type(error).__name__}: {error}."
            ) from error
        self._executed.append(new)
        return new.stand_in

    def imported(
        self, name: str, space: Mapping[str, Any] | None = None, _: object = None, names: Any = (), level: int = 0
    ) -> Any:
        """Import for a wrapper's new text: other wrappers with their new namespaces. Called as ``__import__`` is."""
        if not level or space is None:
            return builtins.__import__(name, space, None, names, level)
        package = importlib.util.resolve_name("." * level + name, space["__package__"])
        near = self._namespaces[space[NAME]].module
        found = self.namespace(package, near) or importlib.import_module(package)
        candidates = [each for each in names or () if isinstance(vars(found).get(each, found), ModuleType)]
        submodules = {each: self.namespace(f"{package}.{each}", near) for each in candidates}
        if not any(submodules.values()):
            return found
        view = ModuleType(package)
        vars(view).update({**vars(found), **{name: each for name, each in submodules.items() if each is not None}})
        return view

    def apply(self, *, is_reload: bool = False) -> None:
        """Assign the new namespaces. ``is_reload``: also the names that the app has assigned itself."""
        stand_ins = {id(each.stand_in): each.module for each in self._namespaces.values()}
        with _applying:
            changed = [*(each.module for each in self._executed), *self._removed]
            supersede((module, bound[module].names) for module in changed if module in bound)
            for new in self._executed:
                new.rebuild()
            for new in self._executed:
                new.apply(stand_ins, is_reload=is_reload)
            for module in self._removed:
                for function in bound[module].functions.values():
                    remove(function)
                bound[module] = replace(bound[module], text=None)


_IMPORT = re.compile(rb"^from (\.+)([\w.]*) import ([^\n(]*)", re.MULTILINE)


def _imports_of(module: ModuleType, text: bytes) -> Iterator[str]:
    """Yield the full names of the wrappers that ``text``, the text of ``module``, imports from."""
    for dots, name, names in _IMPORT.findall(text):
        package = importlib.util.resolve_name(dots.decode() + name.decode(), module.__package__)
        yield package
        yield from (f"{package}.{each.split()[0].decode()}" for each in names.split(b",") if each.strip())
