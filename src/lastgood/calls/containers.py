"""Containers that keep their class, and what else they are made with, when their items are converted."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["MAPPINGS", "SEQUENCES", "SETS", "rebuilt"]

SEQUENCES = (list, tuple, deque)
SETS = (set, frozenset)
MAPPINGS = (dict, OrderedDict, Counter, defaultdict)


def rebuilt(value: Any, items: Iterable[Any]) -> Any:
    """Return a container like ``value`` with these items, which are (key, value) pairs if it is a dict.

    An instance of another subclass becomes one of the class here that it derives from.
    """
    if isinstance(value, deque):
        return deque(items, value.maxlen)
    if isinstance(value, defaultdict):
        return defaultdict(value.default_factory, items)
    if isinstance(value, Counter):
        return Counter(dict(items))  # it would count the pairs themselves
    kinds: tuple[Any, ...] = (OrderedDict, dict, list, tuple, set, frozenset)
    return next(kind for kind in kinds if isinstance(value, kind))(items)
