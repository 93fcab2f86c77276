"""Finding the worker's classes for the names under which wrappers declare them.

A wrapper's class has the name of its source class; its module is the source's module name below the output's package. The
worker does not know that package, so it uses the longest suffix of the module name under which it finds such a class. Classes
are compared by identity, so a class that was re-exported or created by a call is found under any of its names.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["class_indexes"]


def class_indexes(names: Iterable[tuple[str, str]]) -> dict[type, int]:
    """Return each class found for these (module, qualified name) pairs, with the index of its pair."""
    places: dict[type, int] = {}
    for place, (module, name) in enumerate(names):
        found = _find_class(module, name)
        if found is not None:
            places.setdefault(found, place)
    return places


def _find_class(module: str, name: str) -> type | None:
    while module:
        found: Any = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, "__dict__", {}).get(part)  # runs no code of the user's
        if isinstance(found, type):
            return found
        module = module.partition(".")[2]
    return None
