"""Reading the code of installed modules ahead of their import, while a worker waits for a generation (ahead.py).

Nothing of it is run. A module's code is kept if its ``.pyc`` file is valid, and is used when the module is imported, if neither
that file nor the source has changed since.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from importlib.machinery import SourceFileLoader
from importlib.util import MAGIC_NUMBER, cache_from_source
from types import CodeType

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ReadAhead"]

_HEAD = 16  # bytes: magic number, flags, mtime and size of the source
_get_code = SourceFileLoader.get_code


class ReadAhead:
    """Code by the path of its source."""

    def __init__(self) -> None:
        self._codes: dict[str, tuple[Any, bytes]] = {}

    def read(self, sources: Iterable[str], until: Callable[[], bool]) -> None:
        """Read the code of these sources, one by one, until ``until()`` is true."""
        for source in sources:
            if until():
                return
            try:
                states = _states(source)
                with open(cache_from_source(source), "rb") as file:
                    data = file.read()
            except (OSError, ValueError, NotImplementedError):
                continue
            if _is_valid(data, states[0]):
                self._codes[source] = states, data
