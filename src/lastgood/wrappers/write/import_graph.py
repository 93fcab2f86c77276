"""The imports between files of the output, such that every class exists when it is needed, whichever file is imported first.

Modules in an import cycle import each other as modules, at the end of the file: names in annotations are evaluated later.
The names that a class statement itself needs, its bases and defaults, are imported at the top all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet

from msgspec import Struct, field

from lastgood.sources.dependencies import components
from lastgood.wrappers.ir import Class, Declared, Function, Module, mentioned
from lastgood.wrappers.types.declaring import needed, used

__all__ = ["Edges", "ImportCycle", "WrapperImports", "imports_between"]

_Graph = Mapping[str, AbstractSet[str]]
_NONE: frozenset[str] = frozenset()


class ImportCycle(Exception):
    """A cycle of ``modules`` whose class statements need each other's classes, so that none can be imported first."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        super().__init__(modules)
        self.modules = modules


class Edges(Struct, frozen=True):
    """The edges of the import graph from one module, including the packages of its targets, which are imported first.

    ``wanted`` are the modules of everything that it mentions, ``needed`` those that its class statements need, and
    ``needed_itself`` the latter without packages. ``exports`` are the types that it exports.
    """

    wanted: frozenset[str]
    needed: frozenset[str]
    needed_itself: frozenset[str]
    exports: Mapping[str, Declared]

    @classmethod
    def of(cls, module: Module) -> Edges:
        """Return the edges of ``module``."""
        wanted = frozenset(each.module for each in _wanted(module)) - {module.name}
        needed = frozenset(each.module for each in _needed(module.members)) - {module.name}
        return cls(_with_packages(module.name, wanted), _with_packages(module.name, needed), needed, module.exports)


class WrapperImports(Struct, frozen=True):
    """The imports of one module: ``late`` are modules to import at the end of the file, ``exports`` types to re-export."""

    late: frozenset[str] = _NONE
    exports: Mapping[str, Declared] = field(default_factory=dict)


def imports_between(edges: Mapping[str, Edges]) -> dict[str, WrapperImports]:
    """Return the imports of each module with ``wanted`` edges, given the edges of all. Raises :class:`ImportCycle`."""
    needed = {name: each.needed for name, each in edges.items() if each.needed}
    in_cycles = {name for cycle in _cycles(needed) for name in cycle}
    if in_cycles:
        raise ImportCycle(tuple(name for name in edges if name in in_cycles))
    wanted = {name: each.wanted for name, each in edges.items() if each.wanted}
    together = {name: cycle for cycle in _cycles(wanted) for name in cycle}
    reached: dict[str, set[str]] = {}
    imports = {}
    for name in wanted:
        late = together.get(name, _NONE) - {name} - edges[name].needed_itself
        exports = edges[name].exports
        if late and exports:
            for other in {each.module for each in exports.values()} & late:
                reached[other] = reached.get(other) or _reach(needed, other)
            exports = {
                alias: each
                for alias, each in exports.items()
                if each.module not in late or name not in reached[each.module]
            }
        imports[name] = WrapperImports(late, exports)
    return imports


def _cycles(graph: _Graph) -> Iterator[frozenset[str]]:
    return (component for component in components(graph) if len(component) > 1)


def _with_packages(name: str, others: Iterable[str]) -> frozenset[str]:
    own = (name, *_around(name))
    return frozenset(
        module for other in others for module in (other, *(each for each in _around(other) if each not in own))
    )


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
