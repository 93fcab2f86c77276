"""Which classes of the worker's a caller means, who knows them by the names that wrappers declare them under.

A class of a wrapper has the name of its source, and its module that of the source's below the package of the output: the worker
knows nothing of that package, so it looks for the longest end of the module's name that it has such a class in. It is the class
itself that counts, not what it is called: one that was re-exported, or made by a call, is found under any of its names.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["places_of"]


def places_of(names: Iterable[tuple[str, str]]) -> dict[type, int]:
    """The classes of these (module, qualified name), those that are there, with the place that each has among them."""
    places: dict[type, int] = {}
    for place, (module, name) in enumerate(names):
        found = _find(module, name)
        if found is not None:
            places.setdefault(found, place)
    return places


def _find(module: str, name: str) -> type | None:
    while module:
        found: Any = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, "__dict__", {}).get(part)  # runs no code of the user's
        if isinstance(found, type):
            return found
        module = module.partition(".")[2]
    return None
