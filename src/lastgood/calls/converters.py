"""Converters to declared types: those of values without parts, and the selection among several types.

:mod:`lastgood.calls.results` makes the converters of values that have parts.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any, NamedTuple

__all__ = [
    "Convert",
    "Converter",
    "Mismatch",
    "best_fit",
    "converter_of_enum",
    "converter_of_instances",
    "converter_of_literal",
    "converter_of_plain",
    "is_namesake",
    "mismatch_of",
    "type_text",
    "unchanged",
]

Convert = Callable[[Any], Any]


class Mismatch(Exception):
    """A value does not have its declared type. ``path`` leads to the value, innermost step first."""

    def __init__(self, expected: str, came: str) -> None:
        super().__init__(expected, came)
        self.expected = expected
        self.came = came
        self.path: list[str] = []

    def at(self, step: str) -> Mismatch:
        """Add a step to the path, and return the mismatch."""
        self.path.append(step)
        return self


class Converter(NamedTuple):
    """A converter to one declared type. ``convert`` returns the converted value, or raises :class:`Mismatch`.

    Values whose type is in ``certain`` need no conversion. ``keys`` are the keys of a dict that represents this type exactly;
    None if it is not represented by a dict.
    """

    convert: Convert
    certain: frozenset[type] = frozenset()
    keys: frozenset[str] | None = None


def mismatch_of(expected: Any, value: Any) -> Mismatch:
    """Return the mismatch of a value that has not the type ``expected``.

    Two classes of one name are told apart by their modules.
    """
    kind = type(value)
    is_union = typing.get_origin(expected) in (types.UnionType, typing.Union)
    options = typing.get_args(expected) if is_union else (expected,)
    namesakes = [each for each in options if isinstance(each, type) and type_text(each) == type_text(kind)]
    if not namesakes or kind in namesakes:
        return Mismatch(type_text(expected), type_text(kind))
    texts = (f"{each.__module__}.{type_text(each)}" if each in namesakes else type_text(each) for each in options)
    return Mismatch(" | ".join(texts), f"{kind.__module__}.{type_text(kind)}")


def type_text(declared: Any) -> str:
    """Return a type as text, as users write it."""
    if declared is None or declared is types.NoneType:
        return "None"
    if declared is ...:
        return "..."
    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if origin is typing.Annotated:
        return type_text(arguments[0])
    if origin in (types.UnionType, typing.Union):
        return " | ".join(map(type_text, arguments))
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if origin is not None:
        return f"{type_text(origin)}[{', '.join(map(type_text, arguments)) or '()'}]"
    name = getattr(declared, "__qualname__", None) or getattr(declared, "__name__", None)
    return str(name or declared)


def unchanged(value: Any) -> Any:
    """Return the value: the converter to types that are not checked."""
    return value


def is_namesake(value: Any, declared: type) -> bool:
    """Return whether ``value`` is an instance of the source's own class: a bridge may run the source in the app's process."""
    return type(value).__qualname__ == declared.__qualname__


def converter_of_plain(declared: Any, certain: AbstractSet[type]) -> Convert:
    """Return the converter to a type without parts, whose values have one of the types ``certain``."""
    kinds = tuple(certain)

    def convert(value: Any) -> Any:
        if type(value) in certain or isinstance(value, kinds):
            return value
        raise mismatch_of(declared, value)

    return convert


def converter_of_instances(kind: Any, declared: Any = None) -> Convert:
    """Return the check that a value is an instance of ``kind``; a mismatch names ``declared``, if given."""

    def convert(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        raise mismatch_of(kind if declared is None else declared, value)

    return convert


def converter_of_literal(declared: Any, values: tuple[Any, ...]) -> Convert:
    """Return the check that a value is one of those of a ``Literal``, by type and value."""
    exact = {(type(value), value) for value in values}

    def convert(value: Any) -> Any:
        try:
            if (type(value), value) in exact:
                return value
        except TypeError:  # unhashable
            pass
        raise Mismatch(
            type_text(declared), repr(value) if isinstance(value, int | str | bytes) else type_text(type(value))
        )

    return convert


def converter_of_enum(declared: type[Enum]) -> Convert:
    """Return the converter to the members of an enum, from their values."""
    kinds = {type(member.value) for member in declared}
    exact = {(type(member.value), member.value): member for member in declared.__members__.values()}

    def convert(value: Any) -> Any:
        if isinstance(value, declared):
            return value
        if isinstance(value, Enum) and is_namesake(value, declared):
            value = value.value
        try:
            return exact[type(value), value]
        except (KeyError, TypeError):
            pass
        if type(value) not in kinds:
            raise mismatch_of(declared, value)
        try:
            return declared(value)  # flags in combination
        except (ValueError, KeyError, TypeError):
            raise Mismatch(declared.__qualname__, repr(value)) from None

    return convert


def best_fit(options: list[Converter], value: Any, declared: Any) -> Any:
    """Return ``value`` converted to the option that fits best; an option that it already is comes first.

    Raises :class:`Mismatch` if no option fits, or several fit equally well.
    """
    found: list[tuple[int, Any]] = []
    failures: list[Mismatch] = []
    for distance, option in _best_first(options, value):
        try:
            made = option.convert(value)
        except Mismatch as mismatch:
            failures.append(mismatch)
            continue
        if made is value:
            return value
        found.append((distance, made))
    nearest = [made for distance, made in found if distance == found[0][0]]
    kinds = dict.fromkeys(type_text(type(made)) for made in nearest)
    if len(kinds) > 1:
        raise Mismatch(type_text(declared), f"{type_text(type(value))} that would do for {' and '.join(kinds)} alike")
    if nearest:
        return nearest[0]
    inner = [failure for failure in failures if failure.path]
    raise inner[0] if len(inner) == 1 else mismatch_of(declared, value)


def _best_first(options: list[Converter], value: Any) -> list[tuple[int, Converter]]:
    """Return the options with their distance from ``value``, nearest first. For a dict that is the number of differing keys."""
    if type(value) is not dict:
        return [(0, option) for option in options]
    keys = value.keys()
    distances = [len(keys) if each.keys is None else len(keys ^ each.keys) for each in options]
    return sorted(zip(distances, options, strict=True), key=lambda each: each[0])
