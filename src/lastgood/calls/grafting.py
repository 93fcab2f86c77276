"""Classes of wrappers that have changed, and stay the same object: what was declared anew is grafted onto the class that exists.

That works where the layout of instances stays the same: for enums, dataclasses, named tuples that grow at the end, typed dicts,
exceptions and plain classes, but not for flags and classes with slots. Instances of the earlier declaration stay what they are:
of the fields that a dataclass has gained they have the defaults, and those without a default they lack.
"""

from __future__ import annotations

import dataclasses
import enum
import reprlib
import typing
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import MISSING
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

from lastgood.bridges.worker.values.making import forget_classes

__all__ = ["can_graft", "graft", "pairs"]

_OWN = frozenset(("__dict__", "__weakref__", "__module__", "__qualname__"))
"""Attributes that belong to a class object, rather than to its declaration."""


def can_graft(old: Any, new: Any, bases: tuple[type, ...]) -> bool:
    """Return whether :func:`graft` is possible; ``bases`` are those that the class is to have."""
    if type(old) is not type(new) or issubclass(old, enum.Flag):
        return False
    layouts = [
        (each.__basicsize__, each.__itemsize__, each.__dictoffset__, each.__weakrefoffset__) for each in (old, new)
    ]
    if layouts[0] != layouts[1] or not _has_bases(old, bases):
        return False
    if issubclass(old, enum.Enum):
        has_members = all(isinstance(vars(new).get(name), new) for name in new.__members__)
        return has_members and bool(old._member_type_ is new._member_type_)
    if _is_named_tuple(old) and _is_named_tuple(new):
        # Instances of the earlier declaration have their items by position.
        return bool(new._fields[: len(old._fields)] == old._fields)
    return typing.is_typeddict(old) or not any("__slots__" in vars(each) for each in (old, new))


def _has_bases(old: Any, bases: tuple[type, ...]) -> bool:
    """Return whether ``old`` has these bases, or can be given them."""
    if old.__bases__ == bases:
        return True
    if type(old) is not type:
        return False
    stand_in: Any = None
    try:
        stand_in = type("_", old.__bases__, {})
        if issubclass(old, BaseException):
            _derive(stand_in, old)
        stand_in.__bases__ = bases
    except TypeError:
        return False
    return True


def _derive(stand_in: type, kind: type) -> None:
    """Derive from ``stand_in`` what derives from ``kind``: errors of the worker are made of several classes each.

    They stay alive as long as ``stand_in`` does, since a class refers to its subclasses weakly.
    """
    derived: Any = [(kind, stand_in)]
    stand_in.derived = derived  # type: ignore[attr-defined]  # to keep them
    for each, other in derived:  # grows
        for below in type.__subclasses__(each):
            bases = tuple(other if base is each else base for base in below.__bases__)
            derived.append((below, type("_", bases, {})))


def _is_named_tuple(kind: type) -> bool:
    return issubclass(kind, tuple) and "_fields" in vars(kind)


def pairs(old: Any, new: Any, standing: dict[int, type] | None = None) -> Iterator[tuple[Any, Any]]:
    """Yield, for each part of ``new`` that :func:`graft` replaces by one of ``old``, the two: members and nested classes too.

    ``standing`` has the classes so far by what stands for them, since a nested class may derive from one before it.
    """
    standing = {} if standing is None else standing
    standing[id(new)] = old
    yield new, old
    if issubclass(old, enum.Enum):
        for name, member in new.__members__.items():
            before = old.__members__.get(name)
            if before is not None and _is_same_member(before, member):
                yield member, before
    for name, inner in vars(new).items():
        if (before := _nested(old, new, name, standing)) is not None:
            yield from pairs(before, inner, standing)


def _is_same_member(before: enum.Enum, member: enum.Enum) -> bool:
    return (type(before.value), before.value) == (type(member.value), member.value) and before.name == member.name


def _nested(old: type, new: type, name: str, standing: Mapping[int, type]) -> Any:
    """Return the class nested in ``old`` under ``name`` that the one in ``new`` can be grafted onto."""
    before, inner = vars(old).get(name), vars(new).get(name)
    if (
        not (isinstance(before, type) and isinstance(inner, type))
        or not _is_part(before, old)
        or not _is_part(inner, new)
    ):
        return None
    return before if can_graft(before, inner, _bases(inner, standing)) else None


def _bases(kind: type, standing: Mapping[int, type]) -> tuple[type, ...]:
    return tuple(standing.get(id(base), base) for base in kind.__bases__)


def _is_part(inner: type, outer: type) -> bool:
    return inner.__qualname__ == f"{outer.__qualname__}.{inner.__name__}" and inner.__module__ == outer.__module__


def graft(old: Any, new: Any) -> None:
    """Give ``old`` all that ``new`` declares. :func:`can_graft` has returned True."""
    _graft(old, new, {id(part): before for part, before in pairs(old, new)})
    forget_classes()


def _graft(old: Any, new: Any, parts: Mapping[int, Any]) -> None:
    gained = _gained(old, new)
    bases = _bases(new, parts)
    if old.__bases__ != bases:
        old.__bases__ = bases
    made = {name: value for name, value in vars(new).items() if name not in _OWN}
    if issubclass(old, enum.Enum):
        made = _with_members_of(old, made, parts)
    for name, value in made.items():
        if isinstance(value, type) and id(value) in parts:
            _graft(parts[id(value)], value, parts)
            continue
        if isinstance(value, type) and _is_part(value, new) and (bases := _bases(value, parts)) != value.__bases__:
            with suppress(TypeError):  # it goes on to derive from what is gone
                value.__bases__ = bases
        _point_at(value, new, old)
        type.__setattr__(old, name, value)
    for name in vars(old).keys() - made.keys() - _OWN:
        type.__delattr__(old, name)
    if gained:
        _note_gained(old, gained)
    if _is_named_tuple(old):
        type.__setattr__(old, "__repr__", _repr_of_items)


# Instances of an earlier declaration.


def _repr_of_items(self: Any) -> str:
    """Show a named tuple, which may have fewer items than its class has fields."""
    shown = zip(self._fields, self, strict=False)
    return f"{type(self).__name__}({', '.join(f'{name}={item!r}' for name, item in shown)})"


_fields_gained: WeakKeyDictionary[type, AbstractSet[str]] = WeakKeyDictionary()
"""The fields that instances of a dataclass may lack, since it has gained them without a plain default."""


def _gained(old: Any, new: Any) -> AbstractSet[str]:
    """Return the fields without a plain default that ``old`` gains, or has gained earlier."""
    before = getattr(old, "__dataclass_fields__", None)
    if before is None or not dataclasses.is_dataclass(new):
        return frozenset()
    fields = {each.name for each in dataclasses.fields(new) if each.default is MISSING}
    return {name for name in fields if name not in before or name in _fields_gained.get(old, ())}


def _note_gained(kind: Any, names: AbstractSet[str]) -> None:
    _fields_gained[kind] = names
    for each in dataclasses.fields(kind):
        if each.name in names and each.default_factory is not MISSING and each.name not in vars(kind):
            type.__setattr__(kind, each.name, _MadeLate(each.name, each.default_factory))
    own = vars(kind)
    for name, method in (("__repr__", _repr), ("__eq__", _eq), ("__hash__", _hash)):
        if isinstance(own.get(name), FunctionType):
            type.__setattr__(kind, name, method)


class _MadeLate:
    """The default of a field, made for an instance that is older than the field when it is first asked for."""

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        self._name = name
        self._make = make

    def __get__(self, instance: Any, kind: type) -> Any:
        if instance is None:
            raise AttributeError(f"type object {kind.__name__!r} has no attribute {self._name!r}")
        return vars(instance).setdefault(self._name, self._make())


@reprlib.recursive_repr()
def _repr(self: Any) -> str:
    shown = (each.name for each in dataclasses.fields(self) if each.repr and hasattr(self, each.name))
    return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"


def _eq(self: Any, other: Any) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    names = [each.name for each in dataclasses.fields(self) if each.compare]
    return [getattr(self, name, MISSING) for name in names] == [getattr(other, name, MISSING) for name in names]


def _hash(self: Any) -> int:
    fields = (each for each in dataclasses.fields(self) if (each.compare if each.hash is None else each.hash))
    return hash(tuple(getattr(self, each.name, MISSING) for each in fields))


def _with_members_of(old: Any, made: Mapping[str, Any], parts: Mapping[int, Any]) -> dict[str, Any]:
    """Return the attributes of the new enum class with the members that exist already, and the others made members of ``old``."""

    def member(value: Any) -> Any:
        if id(value) in parts:
            return parts[id(value)]
        if isinstance(value, enum.Enum) and type(value).__qualname__ == old.__qualname__ and type(value) is not old:
            value.__class__ = old
            vars(value)["__objclass__"] = old
        return value

    def members(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: member(item) for key, item in value.items()}
        return member(value)

    return {name: members(value) for name, value in made.items()}


def _point_at(value: Any, new: type, old: type) -> None:
    """Let a function that a class decorator has made for ``new`` mean ``old``."""
    for cell in (value.__closure__ or ()) if isinstance(value, FunctionType) else ():
        try:
            if cell.cell_contents is new:
                cell.cell_contents = old
        except ValueError:  # an empty cell
            continue
