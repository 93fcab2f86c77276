"""The classes that the app knows: those that wrappers declare, and those of the standard library and of installed packages.

A wrapper says by its ``__source__`` which module of the sources it stands for, so that ``Quote`` in the wrapper
``generated.pricing`` and ``Quote`` in the source ``pricing`` are found under one name.
"""

from __future__ import annotations

import importlib
import logging
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from types import ModuleType
from typing import Any

from lastgood.bridges.worker.values.known import Known, find_in

__all__ = ["Declared", "source_of", "supersede"]

logger = logging.getLogger(__name__)

_INSTALLED = tuple({sysconfig.get_path(name) for name in ("purelib", "platlib")})


def source_of(kind: type) -> tuple[str, str] | None:
    """Return module and qualified name of the source's class that ``kind`` declares; None if no wrapper declares it."""
    source = getattr(sys.modules.get(kind.__module__), "__dict__", {}).get("__source__")
    return (source, kind.__qualname__) if isinstance(source, str) else None


def _shared(module: str, name: str) -> type | None:
    """Return a class of the standard library or of an installed package; None if this is none, or not imported."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        try:
            return find_in(importlib.import_module(module), name)
        except ImportError:
            return None
    loaded = sys.modules.get(module)
    file = getattr(loaded, "__file__", None)
    return find_in(loaded, name) if isinstance(file, str) and file.startswith(_INSTALLED) else None


@lru_cache(maxsize=1024)
def _names_of(kind: type) -> tuple[bool, tuple[tuple[str, str], ...]]:
    from lastgood.bridges.worker.values.instances import named_by  # with the first value that needs it

    return named_by(_name_of, kind)


def _name_of(kind: type) -> tuple[str, str] | None:
    declared = source_of(kind)
    if declared is not None:
        return declared
    return (kind.__module__, kind.__qualname__) if _shared(kind.__module__, kind.__qualname__) is kind else None


class _Generation:
    """The declarations of one generation. ``classes`` and ``members`` have those that later generations have changed."""

    def __init__(self) -> None:
        self.classes: dict[tuple[str, str], type] = {}
        self.members: dict[type, Mapping[str, Any]] = {}
        self.next: _Generation | None = None


_live = _Generation()


def supersede(changed: Iterable[tuple[ModuleType, Mapping[str, Any]]]) -> None:
    """Begin another generation, just before the names of these wrapper modules change.

    Calls that are in flight get results of the classes that were declared when they began.
    """
    global _live
    former = _live
    for module, names in changed:
        for kind in _classes_in(module, names):
            former.classes[module.__name__, kind.__qualname__] = kind
            if issubclass(kind, Enum):
                former.members[kind] = dict(kind.__members__)
    former.next = _live = _Generation()
    _names_of.cache_clear()


def _classes_in(module: ModuleType, names: Mapping[str, Any]) -> Iterator[type]:
    for value in names.values():
        if isinstance(value, type) and value.__module__ == module.__name__:
            yield value
            yield from _classes_in(module, vars(value))


class Declared(Known):
    """The classes that the app knows at present, and goes on to know when a later generation goes live.

    ``wrapper`` are the globals of the wrapper that calls: the other wrappers lie beside it. Without it, no class of a wrapper is
    found by its name.
    """

    __slots__ = ("_generation", "_wrapper")

    def __init__(self, wrapper: Mapping[str, Any] | None = None) -> None:
        self._wrapper = wrapper
        self._generation = _live

    def is_current(self) -> bool:
        """Return whether no later generation has gone live."""
        return self._generation is _live

    def names(self, kind: type) -> tuple[bool, Sequence[tuple[str, str]]]:
        return _names_of(kind)

    def find(self, module: str, name: str) -> type | None:
        own = self._wrapper
        if own is None:
            return _shared(module, name)
        source, wrapper = own.get("__source__"), own["__name__"]
        beside = module
        if isinstance(source, str) and f".{wrapper}".endswith(f".{source}"):
            beside = f"{wrapper.removesuffix(source)}{module}"
        generation: _Generation | None = self._generation
        while generation is not None:
            if (beside, name) in generation.classes:
                return generation.classes[beside, name]
            generation = generation.next
        space = own if beside == wrapper else vars(_imported(beside) or ModuleType(beside))
        found = _find_in(space, name) if space.get("__source__") == module else None
        return found or _shared(module, name) or _only_one(own, name)

    def members(self, kind: Any) -> Mapping[str, Any]:
        generation: _Generation | None = self._generation
        while generation is not None:
            if kind in generation.members:
                return generation.members[kind]
            generation = generation.next
        found: Mapping[str, Any] = kind.__members__
        return found

    def unknown(self, text: str, names: Sequence[Sequence[str]]) -> str:
        name = ".".join(names[0]) if names else text
        return (
            f"its class {name} is not known in the app, since no wrapper declares it. Name it in an annotation of what returns "
            "it, import it in the app if it belongs to an installed package, or return plain data such as a dict"
        )

    def takes_base(self, text: str, base: type) -> None:
        if text not in _told:
            _told.add(text)
            logger.warning(
                "instances of %s cross as %s, its nearest base that a wrapper declares: fields that only the former has are lost. "
                "A class is declared if it stands at the top of a module, or in a class there",
                text,
                base.__qualname__,
            )


def _find_in(space: Mapping[str, Any], name: str) -> type | None:
    first, _, rest = name.partition(".")
    found = space.get(first)
    return find_in(found, rest) if rest else found if isinstance(found, type) else None


def _only_one(space: Mapping[str, Any], name: str) -> type | None:
    """Return the class of this name that a wrapper uses, if there is one: its source may be known by another module's name."""
    found = {
        each for each in space.values() if isinstance(each, type) and each.__qualname__ == name and source_of(each)
    }
    return found.pop() if len(found) == 1 else None


_told: set[str] = set()


def _imported(name: str) -> ModuleType | None:
    found = sys.modules.get(name)
    if found is not None:
        return found
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
