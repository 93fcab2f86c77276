"""Which file of the output imports which, so that whichever is imported first, every class is there when it is needed.

Modules that import each other in a circle import each other as modules, at their ends: names in annotations are looked up
later. What a class statement itself needs, its bases and defaults, is imported at the top all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from lastgood.wrappers.declaring import needed, used
from lastgood.wrappers.ir import Class, Declared, Function, Module, mentioned

__all__ = ["Circle", "Imports", "imports_between"]

_Graph = Mapping[str, AbstractSet[str]]


class Circle(Exception):
    """``modules`` need each other's classes for their own class statements, so that none of them can be imported first."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        super().__init__(modules)
        self.modules = modules


@dataclass(frozen=True, slots=True)
class Imports:
    """``late`` are the modules to be imported at the end, ``exports`` the names to be imported for others to find them."""

    late: frozenset[str]
    exports: Mapping[str, Declared]


def imports_between(modules: Mapping[str, Module]) -> dict[str, Imports]:
    """How each module imports the others. Raises :class:`Circle`."""
    wanted = _closed({name: {each.module for each in _wanted(module)} for name, module in modules.items()})
    needed = _closed({name: {each.module for each in _needed(module.members)} for name, module in modules.items()})
    circle = tuple(name for name in modules if name in needed[name])
    if circle:
        raise Circle(circle)
    imports = {}
    for name, module in modules.items():
        late = {other for other in wanted[name] if name in wanted.get(other, ())}
        late -= {each.module for each in _needed(module.members)}
        exports = {
            alias: each
            for alias, each in module.exports.items()
            if each.module not in late or name not in needed[each.module]
        }
        imports[name] = Imports(frozenset(late), exports)
    return imports


def _closed(graph: _Graph) -> dict[str, set[str]]:
    """What each module leads to in the end, packages included: importing a module runs those around it first."""
    full = {
        name: {
            module
            for other in others - {name}
            for module in (other, *(package for package in _around(other) if package not in (name, *_around(name))))
        }
        for name, others in graph.items()
    }
    return {name: _reach(full, name) for name in graph}


def _wanted(module: Module) -> Iterator[Declared]:
    yield from module.exports.values()
    yield from _mentioned(module.members)


def _mentioned(members: object) -> Iterator[Declared]:
    assert isinstance(members, tuple)
    for member in members:
        if isinstance(member, Class):
            yield from used(member)
            yield from _mentioned(member.members)
        elif isinstance(member, Function):
            for signature in (member.signature, *member.overloads):
                for type_ in (*(parameter.type for parameter in signature.parameters), signature.returns):
                    yield from mentioned(type_)


def _needed(members: object) -> Iterator[Declared]:
    assert isinstance(members, tuple)
    for member in members:
        if isinstance(member, Class):
            if member.data is not None:
                yield from needed(member.data)
            yield from _needed(member.members)


def _around(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts))]


def _reach(graph: _Graph, start: str) -> set[str]:
    seen: set[str] = set()
    left = [start]
    while left:
        for other in graph.get(left.pop(), ()):
            if other not in seen:
                seen.add(other)
                left.append(other)
    return seen
