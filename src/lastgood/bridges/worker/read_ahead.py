"""Reading the code of installed modules ahead of their import, while a worker waits for a generation (ahead.py).

Nothing of it is run. A module's code is kept if its ``.pyc`` file is valid, and is used when the module is imported, if neither
that file nor the source has changed since.
"""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Callable, Iterable
from importlib._bootstrap_external import (  # type: ignore[attr-defined]  # typeshed leaves them out
    _classify_pyc,
    _compile_bytecode,
    _validate_timestamp_pyc,
    cache_from_source,
)
from importlib.machinery import SourceFileLoader
from types import CodeType

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

    States = tuple[tuple[int, int, int], ...]

__all__ = ["ReadAhead", "replaced_builtin"]

_get_code = SourceFileLoader.get_code
_stat = os.stat


class ReadAhead:
    """The code that was read, by the path of its source."""

    def __init__(self) -> None:
        self._codes: dict[str, tuple[States, CodeType]] = {}

    def install(self) -> None:
        """Have the loaders of installed modules use it, until :meth:`remove`."""

        def get_code(loader: Any, fullname: str) -> CodeType | None:
            return self._take(loader.path) or _get_code(loader, fullname)

        SourceFileLoader.get_code = get_code  # type: ignore[method-assign,assignment]  # otherwise it is inherited

    def remove(self) -> None:
        """Have the loaders do as before. May be called again."""
        if "get_code" in vars(SourceFileLoader):
            del SourceFileLoader.get_code
        self._codes.clear()

    def read(self, sources: Iterable[str], is_enough: Callable[[], bool]) -> None:
        """Read the code of those ``sources`` that are not imported yet, in their order, until ``is_enough()``."""
        imported = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
        for source in sources:
            if is_enough():
                return
            if source not in imported and source not in self._codes:
                self._read(source)

    def _read(self, source: str) -> None:
        try:
            states = _states(source)
            with open(cache_from_source(source), "rb") as file:
                data = file.read()
            details = {"name": source, "path": source}
            if _classify_pyc(data, source, details) == 0:  # by time and size of the source, not by its digest
                time, size = states[0][1] // 10**9, states[0][2]
                _validate_timestamp_pyc(data, time, size & 0xFFFFFFFF, source, details)
                self._codes[source] = states, _compile_bytecode(memoryview(data)[16:], source_path=source)
        except (OSError, ImportError, EOFError, ValueError, TypeError, NotImplementedError):
            return  # it is found out again, or is an error, when the module is imported

    def _take(self, source: str) -> CodeType | None:
        if self._codes and replaced_builtin() is not None:
            return None  # it would see that the import system does less
        states, code = self._codes.pop(source, (None, None))
        try:
            return code if code is not None and states == _states(source) else None
        except OSError:
            return None


_BUILTINS = {name: value for name, value in vars(builtins).items() if name != "input"}  # see interactive.py


def replaced_builtin() -> str | None:
    """Return the name of a builtin that the program has replaced; None if it has replaced none."""
    now = vars(builtins)
    return next((name for name, value in _BUILTINS.items() if now.get(name) is not value), None)


def _states(source: str) -> States:
    found = [_stat(path) for path in (source, cache_from_source(source))]
    return tuple((each.st_ino, each.st_mtime_ns, each.st_size) for each in found)
