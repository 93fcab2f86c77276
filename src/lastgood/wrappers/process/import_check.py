"""The import check: every wrapper is imported before it is promoted. A failed import is a failure of its module.

The wrappers are served from memory, as a package with a private name, to the current process, which is never the app's.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import CodeType
from typing import Protocol

from lastgood.sources.memo import Answer, Memo, Problem, Query
from lastgood.store.file_system import digest_of

__all__ = ["File", "ImportCheck"]

_PACKAGE = "_lastgood_staged"
_IMPORT = Query("import", Answer[None])


class File(Protocol):
    """A wrapper: its ``path`` in the output, and its ``text``."""

    @property
    def path(self) -> str: ...

    @property
    def text(self) -> bytes: ...


class ImportCheck(MetaPathFinder):
    """A finder that imports wrappers from memory, by the names of their modules."""

    def __init__(self) -> None:
        self._files: Mapping[str, File] = {}

    def problems(
        self,
        files: Mapping[str, File],
        needs: Mapping[str, Iterable[str]],
        names: Iterable[str],
        memo: Memo,
        at: Callable[[str], object] = lambda _: None,
    ) -> dict[str, str | None]:
        """Import each of ``names``. Return why that fails, by name; None: it succeeds. ``memo`` remembers successes.

        ``files`` are all wrappers; those that are not in ``names`` are unchanged since the last call. ``needs`` has the
        wrappers that each wrapper's class statements require. ``at(name)`` is called before each import.
        """
        for name in self._files.keys() - files.keys():
            self._forget(name)
        self._files = files
        problems: dict[str, str | None] = {}
        for name in names:
            self._forget(name)
        states: dict[str, str] = {}
        sys.meta_path.insert(0, self)
        try:
            for name in names:
                answer = memo.ask(_IMPORT, (self._state(name, needs, states),), partial(self._import, name, at))
                failed = answer.failures.get(name)
                problems[name] = None if failed is None else failed.message
        finally:
            sys.meta_path.remove(self)
        return problems

    def _import(self, name: str, at: Callable[[str], object]) -> Answer[None]:
        at(name)
        try:
            importlib.import_module(_full(name))
        except Exception as error:
            paths = {file.path for file in self._files.values()}
            frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename in paths]
            where = f" at line {frames[-1].lineno} of {frames[-1].filename}" if frames else ""
            problem = (
                f"its wrapper cannot be imported: {type(error).__name__}{where}: {error}. This is a defect of lastgood. Until "
                "it is fixed, leave out the function or class by exclude, in the module's table of the config."
            )
            return Answer(None, failures={name: Problem(None, problem)})
        return Answer(None)

    def _forget(self, name: str) -> None:
        sys.modules.pop(_full(name), None)
        above, _, last = _full(name).rpartition(".")
        package = sys.modules.get(above)
        if package is not None:
            vars(package).pop(last, None)  # "from . import name" looks there first

    def _state(self, name: str, needs: Mapping[str, Iterable[str]], known: dict[str, str]) -> str:
        """Return a digest of the text of ``name`` and of the wrappers that it needs."""
        if name not in known:
            needed = [self._state(other, needs, known) for other in sorted(needs.get(name, ())) if other in self._files]
            known[name] = digest_of(" ".join((digest_of(self._files[name].text), *needed)).encode())
        return known[name]

    def find_spec(self, fullname: str, _path: object, _target: object = None, /) -> ModuleSpec | None:
        """Find the wrapper ``fullname``. A package without a file of its own is empty."""
        if fullname != _PACKAGE and not fullname.startswith(f"{_PACKAGE}."):
            return None
        name = fullname.removeprefix(_PACKAGE).removeprefix(".")
        file = self._files.get(name)
        if file is not None:
            return spec_from_loader(fullname, _Loader(file.text, file.path))
        is_package = not name or any(other.startswith(f"{name}.") for other in self._files)
        return spec_from_loader(fullname, _Loader(b"", "__init__.py")) if is_package else None


class _Loader(InspectLoader):
    def __init__(self, text: bytes, path: str) -> None:
        self._text = text
        self._path = path

    def get_source(self, _fullname: str) -> str:
        return self._text.decode()

    def get_code(self, _fullname: str) -> CodeType:
        return compile(self._text, self._path, "exec", dont_inherit=True)

    def is_package(self, _fullname: str) -> bool:
        return self._path.endswith("__init__.py")


def _full(name: str) -> str:
    return f"{_PACKAGE}.{name}" if name else _PACKAGE
