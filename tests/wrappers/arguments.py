"""Values of annotated types, made by hypothesis; the same ones in a wrapper's types; and what two values have in common that are
the same in both.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import enum
import importlib
import types
import typing
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

__all__ = ["as_declared", "plain", "values"]

_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    Any: st.none() | st.integers(-9, 9) | st.text(max_size=3),
    bool: st.booleans(),
    bytes: st.binary(max_size=12),
    datetime.date: st.dates(),
    datetime.datetime: st.datetimes(),
    datetime.timedelta: st.timedeltas(),
    Decimal: st.decimals(allow_nan=False),
    float: st.floats(),
    Fraction: st.fractions(0, 1).map(float),
    int: st.integers(-20, 300) | st.integers(-(2**40), 2**40),
    Path: st.sampled_from([Path("pylock.toml"), Path("a/pylock.b.toml"), Path("/x")]),
    str: st.text(max_size=12) | st.text("aB1 .-_%<&'\"\n", max_size=12),
    types.NoneType: st.none(),
}
_LISTS = (list, collections.abc.Iterable, collections.abc.Sequence, collections.abc.Collection)
_SETS = (set, collections.abc.Set, collections.abc.MutableSet)
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of the type ``hint``, which has to be one whose values cross to a worker."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, typing.NewType):
        return values(hint.__supertype__)
    if isinstance(hint, typing.TypeVar):
        return values(hint.__bound__ or Any)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([values(each) for each in inside if _crosses(each)])
    if origin is typing.Literal:
        return st.sampled_from(inside)
    if origin is typing.Annotated:
        return values(inside[0])
    if origin in _LISTS:
        return st.lists(values(inside[0]), max_size=4)
    if origin in _SETS:
        return st.sets(values(inside[0]), max_size=4)
    if origin in _DICTS:
        return st.dictionaries(values(inside[0]), values(inside[1]), max_size=3)
    if origin is tuple and inside[-1] is ...:
        return st.lists(values(inside[0]), max_size=4).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values, inside))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return st.sampled_from(hint)
    fields = typing.get_type_hints(hint, include_extras=True)
    return st.builds(hint, **{name: values(each) for name, each in fields.items()})


def _crosses(hint: Any) -> bool:
    """Not so objects that one process holds (and what stands for bytes)."""
    is_class = isinstance(hint, type) and hint not in _PLAIN and typing.get_origin(hint) is None
    return not is_class or issubclass(hint, enum.Enum | tuple) or dataclasses.is_dataclass(hint)


def as_declared(value: Any, wrappers: str) -> Any:
    """``value`` with instances of the sources' classes made ones of what the package ``wrappers`` declares, by their fields."""
    kind = type(value)
    if isinstance(value, list | tuple | set) and not hasattr(value, "_fields"):
        return kind(as_declared(each, wrappers) for each in value)
    if isinstance(value, dict):
        return {as_declared(key, wrappers): as_declared(each, wrappers) for key, each in value.items()}
    if not (isinstance(value, enum.Enum | tuple) or dataclasses.is_dataclass(value)):
        return value
    declared: Any = importlib.import_module(f"{wrappers}.{kind.__module__}")
    for name in kind.__qualname__.split("."):
        declared = getattr(declared, name)
    if isinstance(value, enum.Enum):
        return declared[value.name]
    return declared(**{name: as_declared(each, wrappers) for name, each in _fields(value)})


def plain(value: Any, *, typed: bool) -> Any:
    """What ``value`` says, comparable: with the names of its classes if ``typed``, else as a call without a type gives it."""

    def inner(each: Any) -> Any:
        return plain(each, typed=typed)

    if isinstance(value, enum.Enum):
        return (type(value).__qualname__, value.name) if typed else inner(value.value)
    if dataclasses.is_dataclass(value) or hasattr(value, "_fields"):
        fields = {name: inner(each) for name, each in _fields(value)}
        if typed:
            return type(value).__qualname__, fields
        return ("tuple", [*fields.values()]) if isinstance(value, tuple) else [*fields.items()]
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list | tuple):
        return type(value).__name__, [inner(each) for each in value]
    if isinstance(value, set | frozenset):
        return {inner(each) for each in value}
    if isinstance(value, dict):
        return [(inner(key), inner(each)) for key, each in value.items()]
    return type(value).__name__, value


def _fields(value: Any) -> list[tuple[str, Any]]:
    names = [field.name for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else value._fields
    return [(name, getattr(value, name)) for name in names]
