"""Assembly of a wrapper: the API of a module, and the types declared in it -> the content of its file.

A type is declared once, in the wrapper of the module that defines it. If that module is not wrapped itself, its wrapper has
only types. The declaration of a class contains its static and class methods; modules that re-export the class import it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from lastgood.wrappers.ir import Class, Constant, Declared, Function, Module, Signature, mentioned
from lastgood.wrappers.types.declaring import Declaration

__all__ = ["assemble", "in_signatures", "is_moved", "relevant_types"]


def in_signatures(members: Iterable[Function | Class | Constant]) -> Iterator[Declared]:
    """Yield every declared type that a signature mentions."""
    for member in members:
        if isinstance(member, Class):
            yield from in_signatures(member.members)
        elif isinstance(member, Function):
            for signature in (member.signature, *member.overloads):
                yield from _types(signature)


def _types(signature: Signature) -> Iterator[Declared]:
    for parameter in signature.parameters:
        if isinstance(parameter.default, tuple):
            yield from (part for part in parameter.default if isinstance(part, Declared))
    for type_ in (*(parameter.type for parameter in signature.parameters), signature.returns):
        yield from mentioned(type_)


def relevant_types(module: Module) -> frozenset[Declared]:
    """Return the types for which the result of :func:`assemble` depends on whether they are declared."""
    classes = (member.declared for member in module.members if isinstance(member, Class))
    return frozenset((*module.exports.values(), *(declared for declared in classes if declared is not None)))


def is_moved(member: Function | Class | Constant, at: str, types: Container[Declared]) -> bool:
    """Return whether ``member`` of the module ``at`` is a class whose declaration is elsewhere."""
    return (
        isinstance(member, Class)
        and member.declared is not None
        and member.declared in types
        and member.declared != Declared(at, member.name)
    )


class _Node(Struct):
    """A class under construction. ``line`` is the line of its definition in the source."""

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
    """Assemble the module ``name`` of the output. ``offered`` is the API of its source; None if it is not wrapped itself.

    ``moved_here`` has the classes declared here as other modules offer them; ``types`` are all declared types.
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
    """Insert ``declaration`` into ``tree``, creating the classes around it if necessary."""
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
    """Return the module with its types first, in source order; the order of the other members is kept."""
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
    hidden = frozenset(name for name in typed if name not in _exported_names(module))
    return Module(name, (*(node.made() for node in first), *rest), module.doc, exports, hidden)


def _exported_names(module: Module) -> set[str]:
    """Return the names that a source exports: the types that it defines, the classes around them, and the extracted members."""
    own = {name for name, declared in module.exports.items() if declared == Declared(module.name, name)}
    return own | module.around | {member.name for member in module.members}
