"""What a module offers, and the types that are declared there -> what its file of the output holds (contract §10).

A type is declared once: in the wrapper of the module that defines it, or in a module of the output that stands where that one
would. Static and class methods of a declared class stand in its declaration; who re-exports it imports it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from lastgood.wrappers.ir import Class, Constant, Declared, Function, Module, Signature, mentioned
from lastgood.wrappers.types.declaring import Declaration

__all__ = ["assemble", "in_signatures", "is_moved", "questioned"]


def in_signatures(members: Iterable[Function | Class | Constant]) -> Iterator[Declared]:
    """Every declared type that a signature mentions."""
    for member in members:
        if isinstance(member, Class):
            yield from in_signatures(member.members)
        elif isinstance(member, Function):
            for signature in (member.signature, *member.overloads):
                yield from _types(signature)


def _types(signature: Signature) -> Iterator[Declared]:
    for type_ in (*(parameter.type for parameter in signature.parameters), signature.returns):
        yield from mentioned(type_)


def questioned(module: Module) -> frozenset[Declared]:
    """The types of which it matters to :func:`assemble`, besides those that it is given, whether they are declared."""
    classes = (member.declared for member in module.members if isinstance(member, Class))
    return frozenset((*module.exports.values(), *(declared for declared in classes if declared is not None)))


def is_moved(member: Function | Class | Constant, at: str, types: Container[Declared]) -> bool:
    """Whether the module ``at`` leaves what ``member`` offers to its declaration elsewhere."""
    return (
        isinstance(member, Class)
        and member.declared is not None
        and member.declared in types
        and member.declared != Declared(at, member.name)
    )


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


def assemble(
    name: str,
    offered: Module | None,
    declared_here: Sequence[tuple[Declared, Declaration]],
    moved_here: Mapping[Declared, Class],
    types: Container[Declared],
) -> Module:
    """The module ``name`` of the output. ``offered`` is what its source offers (None: it is not wrapped itself).

    ``moved_here`` is what others offer of the classes that are declared here; ``types`` are all that are declared anywhere.
    """
    tree: dict[str, _Node] = {}
    for member in () if offered is None else offered.members:
        if isinstance(member, Class) and not is_moved(member, name, types):
            tree[member.name] = _node(member, Declared(name, ""))
    for declared, declaration in declared_here:
        _place(tree, declared, declaration)
    for declared, member in moved_here.items():
        node = _find(tree, declared.name)
        if not any(isinstance(each, Function) for each in node.class_.members):
            node.class_ = replace(node.class_, members=member.members)
    return _module(name, offered, tree, types)


def _node(class_: Class, at: Declared) -> _Node:
    path = Declared(at.module, f"{at.name}.{class_.name}" if at.name else class_.name)
    inner = {member.name: _node(member, path) for member in class_.members if isinstance(member, Class)}
    return _Node(class_, inner=inner)


def _place(tree: dict[str, _Node], declared: Declared, declaration: Declaration) -> None:
    """Put ``declaration`` where it belongs in ``tree``, in classes that are there for it alone if need be."""
    class_, line = declaration.class_, declaration.line
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


def _module(name: str, module: Module | None, tree: Mapping[str, _Node], types: Container[Declared]) -> Module:
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
