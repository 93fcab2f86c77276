"""What the modules offer, and the types that it takes -> what each file of the output holds (contract §10).

A type is declared once: in the wrapper of the module that defines it, or in a module of the output that stands where that one
would. Static and class methods of a declared class stand in its declaration; who re-exports it imports it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from lastgood.wrappers.declaring import Declaring, used
from lastgood.wrappers.extract import Extract
from lastgood.wrappers.ir import Class, Constant, Declared, Function, Module, Signature, mentioned
from lastgood.wrappers.models import Models

__all__ = ["assemble", "types_of"]


def types_of(extracts: Iterable[Extract], declaring: Declaring) -> dict[Declared, Class]:
    """Every type to be declared: what signatures mention, and what those mention in turn. Sorted."""
    found: dict[Declared, Class] = {}
    left = [type_ for extract in extracts for type_ in _in_signatures(extract.module.members)]
    while left:
        declared = left.pop()
        if declared not in found:
            found[declared] = declaring.declare(declared)
            left += used(found[declared])
    return dict(sorted(found.items(), key=lambda item: (item[0].module, item[0].name)))


def _in_signatures(members: Iterable[Function | Class | Constant]) -> Iterator[Declared]:
    for member in members:
        if isinstance(member, Class):
            yield from _in_signatures(member.members)
        elif isinstance(member, Function):
            for signature in (member.signature, *member.overloads):
                yield from _types(signature)


def _types(signature: Signature) -> Iterator[Declared]:
    for type_ in (*(parameter.type for parameter in signature.parameters), signature.returns):
        yield from mentioned(type_)


@dataclass(slots=True)
class _Node:
    """A class in the making. ``line`` is where its source stands."""

    class_: Class
    line: int = 0
    inner: dict[str, _Node] = field(default_factory=dict)

    def made(self) -> Class:
        functions = [member for member in self.class_.members if isinstance(member, Function)]
        classes = [node.made() for node in sorted(self.inner.values(), key=lambda node: node.line)]
        return replace(self.class_, members=(*classes, *functions) if self.class_.data else (*functions, *classes))


def assemble(extracts: Iterable[Extract], types: Mapping[Declared, Class], models: Models) -> dict[str, Module]:
    """The modules of the output, by name."""
    modules = {extract.module.name: extract.module for extract in extracts}
    trees: dict[str, dict[str, _Node]] = {name: {} for name in modules}
    moved: dict[Declared, Class] = {}
    for name, module in modules.items():
        for member in module.members:
            if not isinstance(member, Class):
                continue
            if (
                member.declared is None
                or member.declared not in types
                or member.declared == Declared(name, member.name)
            ):
                trees[name][member.name] = _node(member, Declared(name, ""))
            else:
                moved.setdefault(member.declared, member)
    for declared, class_ in types.items():
        _place(trees.setdefault(declared.module, {}), declared, class_, models)
    for declared, member in moved.items():
        node = _find(trees[declared.module], declared.name)
        if not any(isinstance(each, Function) for each in node.class_.members):
            node.class_ = replace(node.class_, members=member.members)
    return {name: _module(name, modules.get(name), trees[name], types) for name in sorted(trees)}


def _node(class_: Class, at: Declared) -> _Node:
    path = Declared(at.module, f"{at.name}.{class_.name}" if at.name else class_.name)
    inner = {member.name: _node(member, path) for member in class_.members if isinstance(member, Class)}
    return _Node(class_, inner=inner)


def _place(tree: dict[str, _Node], declared: Declared, class_: Class, models: Models) -> None:
    """Put the declaration ``class_`` where it belongs in ``tree``, in classes that are there for it alone if need be."""
    line = models[declared].place.binding.node.lineno
    *around, name = declared.name.split(".")
    for outer in around:
        node = tree.setdefault(outer, _Node(Class(outer, ())))
        node.line = node.line or line
        tree = node.inner
    if name in tree:
        there = tree[name].class_
        tree[name].class_ = replace(there, doc=class_.doc, data=class_.data)
    else:
        tree[name] = _Node(class_)
    tree[name].line = line


def _find(tree: dict[str, _Node], path: str) -> _Node:
    head, _, rest = path.partition(".")
    return _find(tree[head].inner, rest) if rest else tree[head]


def _module(name: str, module: Module | None, tree: Mapping[str, _Node], types: Mapping[Declared, Class]) -> Module:
    """The module with its types first, in the order of their source; the rest stays in the order that it has."""
    first = sorted((node for node in tree.values() if node.line), key=lambda node: node.line)
    typed = {node.class_.name for node in first}
    if module is None:
        members = tuple(node.made() for node in first)
        hidden = frozenset(member.name for member in members if member.name.startswith("_"))
        return Module(name, members, f"The types that {name} defines.", hidden=hidden)
    rest: list[Function | Class | Constant] = []
    for member in module.members:
        if not isinstance(member, Class):
            rest.append(member)
        elif member.name in tree and member.name not in typed:
            rest.append(tree[member.name].made())
    exports = {
        alias: declared
        for alias, declared in module.exports.items()
        if declared in types and declared != Declared(name, alias)
    }
    hidden = frozenset(name for name in typed if name not in _offered(module))
    return Module(name, (*(node.made() for node in first), *rest), module.doc, exports, hidden)


def _offered(module: Module) -> set[str]:
    """The names that a source exports: its types (by the names that they have there) and what was extracted of it."""
    own = {name for name, declared in module.exports.items() if declared == Declared(module.name, name)}
    return own | {member.name for member in module.members}
