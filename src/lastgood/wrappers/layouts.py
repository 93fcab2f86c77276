"""Prediction of which classes an update in place makes anew, by the layouts of their instances. Pure.

What it predicts is done by :mod:`lastgood.calls.namespaces` and :mod:`lastgood.calls.grafting`. A class whose declaration has
changed, or that of a class which its own statement mentions, is executed again. It then stays the same object, unless its
layout is fixed (flags, and classes with slots), or has changed: an exception gets a base that adds to the layout, as
:class:`OSError` does.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import TypeAlias

from msgspec.structs import replace

from lastgood.wrappers.ir import Class, Data, Declared, Form, Module, Ref, mentioned

__all__ = ["replaced"]

_Classes: TypeAlias = Mapping[Declared, Data]
_Statements: TypeAlias = Mapping[Declared, Class]
_Member: TypeAlias = tuple[Declared, str]

_FLAGS = (Ref("enum", "Flag"), Ref("enum", "IntFlag"))


def replaced(before: Mapping[str, Module], after: Mapping[str, Module]) -> frozenset[Declared]:
    """Return the classes that are other objects in an app that has imported them before.

    A class that has gone does not count, nor what the modules left out derive from one.
    """
    old, new = (dict(chain.from_iterable(map(_statements, each.values()))) for each in (before, after))
    old_classes, new_classes = (dict(chain.from_iterable(map(_declared_in, each.values()))) for each in (old, new))
    stay = old.keys() & new.keys()
    executed = {name for name in stay if old[name] != new[name]}
    while True:
        changed = {*executed, *chain.from_iterable(_members_made_anew(each, old, new) for each in executed)}
        more = {name for name in stay - executed if not changed.isdisjoint(_needs(new[name]))}
        if not more:
            break
        executed |= more
    return frozenset(chain.from_iterable(_replaced_in(old[name], old_classes, new_classes) for name in executed))


def _statements(module: Module) -> Iterator[tuple[Declared, Class]]:
    """Yield the class statements at the top of a module, by their names. Their docstrings do not count."""
    for member in module.members:
        if isinstance(member, Class):
            yield Declared(module.name, member.name), replace(member, doc=None)


def _declared_in(statement: Class) -> Iterator[tuple[Declared, Data]]:
    if statement.declared is not None and statement.data is not None:
        yield statement.declared, statement.data
    for member in statement.members:
        if isinstance(member, Class):
            yield from _declared_in(member)


def _needs(statement: Class) -> Iterator[Declared | _Member]:
    """Yield what a statement evaluates when it is executed, for its bases and defaults: statements, and members of enums."""
    for _, data in _declared_in(statement):
        for declared in chain.from_iterable(map(mentioned, data.bases)):
            yield _around(declared)
        for field in data.fields:
            for expression in (field.default or (), field.factory or ()):
                for part, following in zip(expression, (*expression[1:], ""), strict=False):
                    if isinstance(part, Declared):
                        is_member = isinstance(following, str) and following.startswith(".")
                        yield (part, str(following)[1:]) if is_member else _around(part)


def _around(declared: Declared) -> Declared:
    return Declared(declared.module, declared.name.partition(".")[0])


def _members_made_anew(name: Declared, old: _Statements, new: _Statements) -> Iterator[_Member]:
    """Yield the members of the enums in a statement that do not stay the same objects when it is executed."""
    before = dict(_declared_in(old[name]))
    for declared, data in _declared_in(new[name]):
        if data.form is Form.ENUM:
            stay = () if declared not in before or _is_fixed(data) else before[declared].fields
            yield from ((declared, field.name) for field in data.fields if field not in stay)


def _replaced_in(statement: Class, old: _Classes, new: _Classes) -> Iterator[Declared]:
    name = statement.declared
    if name is not None and name in new and name in old:
        data, after = old[name], new[name]
        layouts = [_layout(name, each) for each in (old, new)]
        if data.form is not after.form or _is_fixed(data) or _is_fixed(after) or layouts[0] != layouts[1]:
            yield from (each for each, _ in _declared_in(statement) if each in new)
            return
    for member in statement.members:
        if isinstance(member, Class):
            yield from _replaced_in(member, old, new)


def _is_fixed(data: Data) -> bool:
    return ("slots=True",) in (data.options or ()) or any(base.head in _FLAGS for base in data.bases)


def _layout(name: Declared, classes: _Classes, below: frozenset[Declared] = frozenset()) -> object:
    """Return what stands for the layout of a class: equal layouts are equal."""
    data = classes.get(name)
    if data is None or name in below:
        return name
    bases = [each.head for each in data.bases if isinstance(each.head, Ref | Declared)]
    inherited = [
        _layout(base, classes, below | {name}) if isinstance(base, Declared) else _builtin_layout(base)
        for base in bases
    ]
    if data.form is Form.EXCEPTION and all(isinstance(each, type) for each in inherited):
        return max(inherited, key=lambda each: len(each.__mro__), default=None)  # type: ignore[attr-defined]  # just checked
    slots = {field.name for field in data.fields} if _is_fixed(data) else None
    return data.form, bool(bases), slots, inherited


def _builtin_layout(base: Ref) -> type | None:
    """Return the nearest class of a builtin exception's bases, itself included, that has added to the layout."""
    kind = getattr(builtins, base.name, None)
    if base.module != "builtins" or not isinstance(kind, type) or not issubclass(kind, BaseException):
        return None
    while kind.__base__ is not None and kind.__base__.__basicsize__ == kind.__basicsize__:
        kind = kind.__base__
    return kind
