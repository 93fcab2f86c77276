"""Ambiguous result types: a dict returned for ``Cat | Dog`` may fit either class.

A union is ambiguous if two of its members can have the same kind of plain data and one of the two contains a class.
A dataclass is ambiguous if other dataclasses derive from it, and where it is a key of a dict or an element of a set, which its
plain data, a dict, cannot be. If any part of a declared type is ambiguous, the bridge is asked to send the class of each value
along with it.
"""

from __future__ import annotations

import types
import typing
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from enum import Enum
from itertools import combinations
from typing import Any

from lastgood.bridges.worker.values.values import Typed
from lastgood.calls.hints import hints_of, origin_of

__all__ = ["UNIONS", "ambiguous_classes", "class_of", "derived_from", "is_declared", "is_named_tuple_type"]

UNIONS = (types.UnionType, typing.Union)
_NUMBERS = frozenset((int, float, bool))
_ANY = frozenset[type]()  # the plain data may have any type


def ambiguous_classes(declared: Any) -> tuple[type, ...]:
    """Return the enums, dataclasses and named tuples in ``declared``, at any depth; none if no part of it is ambiguous."""
    survey = _Survey()
    survey.visit(declared)
    # @dataclass(slots=True) creates a second class of the same name. The original comes first, the final one replaces it.
    named = {(each.__module__, each.__qualname__): each for each in survey.classes}
    return tuple(named.values()) if survey.is_ambiguous else ()


def derived_from(declared: Any) -> Iterator[type]:
    """Yield the dataclasses that derive from ``declared``, at any depth, in no particular order."""
    subclasses: list[type] = type.__subclasses__(declared)
    for derived in subclasses:
        if is_dataclass(derived):
            yield derived
        yield from derived_from(derived)


def is_declared(kind: type) -> bool:
    """Return whether ``kind`` declares the types of its fields or members."""
    return is_dataclass(kind) or typing.is_typeddict(kind) or hasattr(kind, "_fields") or issubclass(kind, Enum)


def class_of(value: Typed, classes: Sequence[type]) -> type | None:
    """Return the class of ``value`` among the requested ``classes``; None if it is none of them."""
    place = value.place
    return classes[place] if place is not None and 0 <= place < len(classes) else None


class _Survey:
    def __init__(self) -> None:
        self.classes: dict[Any, None] = {}
        self.is_ambiguous = False
        self._seen: set[Any] = set()

    def visit(self, declared: Any) -> None:
        if typing.get_origin(declared) is typing.Literal:
            return
        origin, arguments = typing.get_origin(declared), typing.get_args(declared)
        if arguments:
            if origin in UNIONS:
                self.is_ambiguous |= _is_ambiguous(arguments)
            if _may_hash(origin) and not self.is_ambiguous:
                hashed = _Survey()
                hashed.visit(arguments[0])
                self.is_ambiguous = any(map(is_dataclass, hashed.classes))
            for argument in arguments:
                self.visit(argument)
        kind = origin_of(declared)
        if isinstance(kind, type) and declared not in self._seen:
            self._seen.add(declared)
            self._visit_class(declared, kind)

    def _visit_class(self, declared: Any, kind: Any) -> None:
        if is_dataclass(kind):
            for derived in derived_from(kind):
                self.is_ambiguous = True
                self.visit(derived)
        if _is_class(kind):
            self.classes[kind] = None
        if is_dataclass(kind) or is_named_tuple_type(kind) or typing.is_typeddict(kind):
            for hint in hints_of(declared).values():
                self.visit(hint)


def _may_hash(origin: Any) -> bool:
    """Return whether values of this generic type may be sets, or dicts by the first argument."""
    return isinstance(origin, type) and (issubclass(set, origin) or issubclass(origin, Mapping | frozenset))


def _is_ambiguous(options: tuple[Any, ...]) -> bool:
    if Any in options or object in options:
        return False  # every value is accepted unconverted
    kinds = [(_kinds(option), _has_class(option)) for option in options]
    return any(
        (one_has or other_has) and (not one or not other or not one.isdisjoint(other))
        for (one, one_has), (other, other_has) in combinations(kinds, 2)
    )


def _kinds(declared: Any) -> frozenset[type]:
    """Return the types that the plain data of ``declared`` can have. An empty set means any type."""
    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if origin is typing.Literal:
        return frozenset(map(type, arguments))
    if isinstance(origin, type):
        if origin in (list, tuple, set, frozenset, dict, deque):
            return frozenset((origin,))
        return frozenset((dict,)) if issubclass(origin, Mapping) else _ANY
    if declared is None:
        return frozenset((types.NoneType,))
    if not isinstance(declared, type):
        return _ANY
    if issubclass(declared, Enum):
        # A member's value can have any type.
        values = frozenset(type(member.value) for member in declared)
        return values if values <= {*_NUMBERS, str, bytes, types.NoneType} else _ANY
    if is_dataclass(declared) or typing.is_typeddict(declared):
        return frozenset((dict,))
    if is_named_tuple_type(declared):
        return frozenset((tuple,))
    if declared is complex:
        return _NUMBERS | {complex}
    return _NUMBERS if declared is float else frozenset((declared,))


def _has_class(declared: Any) -> bool:
    if typing.get_origin(declared) is typing.Literal:
        return False
    kind = origin_of(declared)
    return _is_class(kind) or typing.is_typeddict(kind) or any(map(_has_class, typing.get_args(declared)))


def _is_class(declared: Any) -> bool:
    """Return whether ``declared`` is a class whose instances the bridge sends as plain data."""
    return isinstance(declared, type) and (
        issubclass(declared, Enum) or is_dataclass(declared) or is_named_tuple_type(declared)
    )


def is_named_tuple_type(declared: Any) -> bool:
    """Return whether ``declared`` is a class of named tuples."""
    return isinstance(declared, type) and issubclass(declared, tuple) and hasattr(declared, "_fields")
