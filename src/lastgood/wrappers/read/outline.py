"""The outline of a module: every binding of a name in each scope (functions, classes, imports, assignments), in source order.

griffe keeps one object per name. A name may be bound several times, in the branches of an ``if`` or as overloads, so this
module records every binding, with its statement, while griffe visits the tree.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import griffe

from lastgood.sources.parsing import ModuleSource, statements
from lastgood.wrappers.read.conditions import holds

__all__ = ["Binding", "Outline", "documentation", "outline", "type_parameters"]

Item = griffe.Function | griffe.Class | griffe.Attribute | griffe.Alias | griffe.TypeAlias
Names = Mapping[str, list["Binding"]]


@dataclass(frozen=True, slots=True)
class Binding:
    """A statement that binds a name.

    ``conditional``: it is inside an ``if``, a ``try`` or the like, and may not run. ``type_only``: it is inside
    ``if TYPE_CHECKING``, so the name does not exist when the module runs.
    """

    item: Item
    node: Any
    conditional: bool
    type_only: bool

    @property
    def is_overload(self) -> bool:
        return self._is_decorated({"typing.overload", "typing_extensions.overload"})

    @property
    def is_context_manager(self) -> bool:
        """True for a function that returns a context manager."""
        return self._is_decorated({"contextlib.contextmanager", "contextlib.asynccontextmanager"})

    def _is_decorated(self, paths: AbstractSet[str]) -> bool:
        return isinstance(self.item, griffe.Function) and any(d.callable_path in paths for d in self.item.decorators)


@dataclass(frozen=True, slots=True)
class Outline:
    """The outline of one module.

    ``stars`` are the modules from which it imports ``*``, ``variables`` the names that it assigns to anywhere. ``exports`` is
    its ``__all__`` (None: it has none), in which ``"a.b.__all__"`` stands for the exports of ``a.b``. ``exports_are_known`` is
    False if the ``__all__`` is not fully known without running the module.
    """

    source: ModuleSource
    doc: str | None
    exports: tuple[str, ...] | None
    exports_are_known: bool
    stars: tuple[str, ...]
    variables: frozenset[str]
    scopes: Mapping[ast.AST | None, Names]
    deleted: frozenset[tuple[ast.AST | None, str]] = frozenset()
    """Names that a ``del`` has removed by the end of their scope, with that scope."""

    def names(self, owner: ast.AST | None = None) -> Names:
        """Return the bindings in the class statement ``owner`` (None: in the module), by name, in source order."""
        return self.scopes.get(owner, {})


def outline(source: ModuleSource, tree: ast.Module) -> Outline:
    """Outline ``source``, given its ``tree`` with absolute imports (see :func:`lastgood.sources.parsing.read`)."""
    ledger = _Ledger()
    path = source.path or Path(*source.name.split("."), "__init__.py")
    visitor = _Visitor(source.name, path, "", griffe.Extensions(ledger))
    visitor.ledger = ledger
    with griffe.logger.disable():  # it warns about annotations that it cannot read; they are read elsewhere
        visitor.visit(tree)
    module = visitor.current.module
    exports = None
    export_statements = list(_exports(tree))
    if module.exports is not None:
        exports = tuple(name if isinstance(name, str) else name.canonical_path for name in module.exports)
        exports += tuple(name for each in export_statements for name in _added(each.value))
    # If __all__ is assigned twice, for example in the branches of an if, its value is not known.
    exports_are_known = (
        all(_is_plain(each.value) for each in export_statements)
        and sum(not each.adds for each in export_statements) <= 1
    )
    return Outline(
        source=source,
        doc=module.docstring.value if module.docstring else None,
        exports=exports,
        exports_are_known=exports_are_known,
        stars=tuple(ledger.stars),
        variables=frozenset(_variables(tree)),
        scopes=ledger.scopes,
        deleted=frozenset(ledger.deleted),
    )


def documentation(item: Item) -> str | None:
    """Return the docstring of a function or class; None if it has none, or an empty one."""
    return (item.docstring.value or None) if item.docstring else None


def type_parameters(node: Any) -> frozenset[str]:
    """Return the names of the type parameters (:pep:`695`) of ``node`` and of the statements around it."""
    names: set[str] = set()
    while node is not None:
        names.update(parameter.name for parameter in getattr(node, "type_params", ()))
        node = getattr(node, "parent", None)
    return frozenset(names)


class _Visitor(griffe.Visitor):
    """A griffe visitor that skips expressions: names bound inside an expression cannot be called from outside."""

    ledger: _Ledger

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.Delete):
            self.ledger.delete(node)
        elif not isinstance(node, ast.expr):
            super().visit(node)

    def handle_attribute(self, node: ast.Assign | ast.AnnAssign, annotation: str | griffe.Expr | None = None) -> None:
        """Record what an assignment binds.

        griffe's own method looks for a docstring after each assignment, which is not needed here. It searches all statements of
        the scope for it, so its time grows with the square of the number of assignments.
        """
        scope = self.current
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if not names or not isinstance(scope, griffe.Module | griffe.Class):
            return
        value = griffe.safe_get_expression(node.value, parent=scope, parse_strings=False)
        for name in names:
            attribute = griffe.Attribute(
                name, value=value, annotation=annotation, lineno=node.lineno, endlineno=node.end_lineno
            )
            scope.set_member(name, attribute)
            if name == "__all__" and isinstance(scope, griffe.Module):
                scope.exports = list(griffe.safe_get__all__(node, scope))
            self.extensions.call("on_instance", node=node, obj=attribute, agent=self)


class _Ledger(griffe.Extension):
    """A griffe extension that records every binding."""

    def __init__(self) -> None:
        super().__init__()
        self.scopes: dict[ast.AST | None, dict[str, list[Binding]]] = {}
        self.stars: list[str] = []
        self.deleted: set[tuple[ast.AST | None, str]] = set()

    def on_instance(self, *, node: Any, obj: Any, agent: Any, **kwargs: Any) -> None:  # noqa: ARG002 (griffe's signature)
        if not isinstance(obj, griffe.Module):
            self._note(node, obj)

    def on_alias_instance(self, *, node: Any, alias: griffe.Alias, agent: Any, **kwargs: Any) -> None:  # noqa: ARG002 (griffe's signature)
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            self.stars.append(alias.target_path)
        else:
            self._note(node, alias)

    def delete(self, node: Any) -> None:
        """Record a ``del`` statement."""
        scope, conditional, _ = _place(node)
        if not conditional and isinstance(scope, ast.Module | ast.ClassDef):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            self.deleted.update((scope if isinstance(scope, ast.ClassDef) else None, name) for name in names)

    def _note(self, node: Any, item: Item) -> None:
        owner, conditional, type_only = _place(node)
        if isinstance(owner, ast.Module | ast.ClassDef):
            scope = None if isinstance(owner, ast.Module) else owner
            bindings = self.scopes.setdefault(scope, {}).setdefault(item.name, [])
            if (scope, item.name) in self.deleted:
                self.deleted.remove((scope, item.name))
                bindings.clear()
            bindings.append(Binding(item, node, conditional, type_only))


def _place(node: Any) -> tuple[ast.AST | None, bool, bool]:
    """Return the scope of the statement ``node``, and whether it is conditional and type-only (see :class:`Binding`).

    The scope is None if the statement neither runs nor is read by type checkers.
    """
    conditional = type_only = False
    child, owner = node, node.parent
    while not isinstance(owner, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        runs = _runs(child, owner, type_checking=False)
        if runs is False:
            type_only = True
            if _runs(child, owner, type_checking=True) is False:
                return None, conditional, type_only
        conditional |= runs is not True
        child, owner = owner, owner.parent
    return owner, conditional, type_only


def _runs(child: Any, owner: Any, *, type_checking: bool) -> bool | None:
    """Return whether ``child`` runs whenever ``owner``, the statement around it, runs; None if that is unknown."""
    if not isinstance(owner, ast.If):
        return None
    held = holds(owner.test, type_checking=type_checking)
    is_else = bool(owner.orelse) and child.lineno >= owner.orelse[0].lineno
    return None if held is None else held is not is_else


@dataclass(frozen=True, slots=True)
class _ExportStatement:
    """An expression that is assigned to ``__all__``, or, if ``adds``, added to it."""

    value: ast.expr
    adds: bool


def _exports(tree: ast.Module) -> Iterator[_ExportStatement]:
    for node in statements(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                yield _ExportStatement(value, adds=False)
            case ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.expr() as value):
                yield _ExportStatement(value, adds=False)
            case ast.AugAssign(target=ast.Name(id="__all__"), value=value):
                yield _ExportStatement(value, adds=True)
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="__all__"))) as value):
                yield _ExportStatement(value, adds=True)


def _added(value: ast.expr) -> Iterator[str]:
    """Yield the names in ``__all__.append("name")`` and ``__all__.extend(["name"])``, which griffe does not read."""
    match value:
        case ast.Call(func=ast.Attribute(attr="append"), args=[ast.Constant(value=str(name))], keywords=[]):
            yield name
        case ast.Call(
            func=ast.Attribute(attr="extend"), args=[ast.List(elts=parts) | ast.Tuple(elts=parts)], keywords=[]
        ):
            yield from (part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str))


def _variables(tree: ast.Module) -> Iterator[str]:
    """Yield the names that are assigned to, also in tuples and as loop variables."""
    for node in statements(tree):
        match node:
            case ast.Assign(targets=targets):
                pass
            case ast.AnnAssign(target=target) | ast.AugAssign(target=target) | ast.For(target=target):
                targets = [target]
            case _:
                continue
        yield from (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))


def _is_plain(value: ast.expr) -> bool:
    """Return whether griffe or :func:`_added` can read ``value``: lists of names, their sums, and other modules' ``__all__``."""
    match value:
        case ast.Constant(value=str()):
            return True
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return all(_is_plain(part) for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _is_plain(left) and _is_plain(right)
        case ast.Starred(value=inner):
            return _is_plain(inner)
        case ast.Attribute(attr="__all__"):
            return True
        case ast.Call(func=ast.Attribute(attr="append"), args=[ast.Constant(value=str())], keywords=[]):
            return True
        case ast.Call(
            func=ast.Attribute(attr="extend"), args=[ast.List(elts=parts) | ast.Tuple(elts=parts)], keywords=[]
        ):
            return all(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in parts)
    return False
