"""The declared types of which plain data may leave in doubt what they are, as far as declarations tell (see lastgood.doubts)."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping

from lastgood.wrappers.ir import NONE, Class, Declared, Form, Function, Ref, Type, mentioned

__all__ = ["doubtful_among", "is_doubtful", "returned"]

_CERTAIN = ("builtins", "collections.abc", "datetime", "decimal", "pathlib", "typing")
"""Modules whose types are no classes that come as the plain data in them."""


def doubtful_among(classes: Mapping[Declared, Class]) -> frozenset[Declared]:
    """Those of these declarations that are in doubt: for a union in them, or since others derive from them."""
    declared_data = {declared: class_.data for declared, class_ in classes.items() if class_.data is not None}
    bases = {
        base
        for data in declared_data.values()
        if data.form is Form.DATACLASS
        for base in data.bases
        if isinstance(base, Declared)
    }
    doubtful: set[Declared] = set()
    leads: dict[Declared, set[Declared]] = {}  # from a type to those that have its fields, or fields of it
    for declared, data in declared_data.items():
        for field in data.fields:
            if is_doubtful(field.type, bases):
                doubtful.add(declared)
            for other in mentioned(field.type):
                leads.setdefault(other, set()).add(declared)
        for base in data.bases:
            if isinstance(base, Declared):
                leads.setdefault(base, set()).add(declared)
    left = list(doubtful)
    while left:
        fresh = leads.get(left.pop(), set()) - doubtful
        doubtful |= fresh
        left += fresh
    return frozenset(doubtful | bases)


def is_doubtful(type_: Type, doubtful: Container[Declared]) -> bool:
    """Whether a value of ``type_`` may have to be told apart, ``doubtful`` being the declared types that may."""
    if isinstance(type_.head, Declared) and type_.head in doubtful:
        return True
    if (
        type_.head == "|"
        and len([each for each in type_.args if each != NONE]) > 1
        and any(map(_has_class, type_.args))
    ):
        return True
    return any(is_doubtful(each, doubtful) for each in type_.args)


def _has_class(type_: Type) -> bool:
    head = type_.head
    own = isinstance(head, Declared) or (isinstance(head, Ref) and head.module not in _CERTAIN)
    return own or any(map(_has_class, type_.args))


def returned(members: Iterable[object]) -> Iterator[Declared]:
    """Every declared type that the result of one of these functions, or of those in these classes, may have."""
    for member in members:
        if isinstance(member, Class):
            yield from returned(member.members)
        elif isinstance(member, Function):
            for signature in (member.signature, *member.overloads):
                yield from mentioned(signature.returns)
