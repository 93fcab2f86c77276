"""What a function gives: a plain result, or a stream of items.

A function is a stream if it yields, or if it is annotated to return an iterator. Its decorators may make something else of it
(see :mod:`.decorators`).
"""

from __future__ import annotations

import ast
from typing import Any

from msgspec import Struct

from lastgood.wrappers.ir import ANY, Type
from lastgood.wrappers.read.outline import Binding
from lastgood.wrappers.read.scope import Scope
from lastgood.wrappers.types.annotations import dotted_name, read_annotation, unquoted

__all__ = ["Result", "abstract", "head_in", "item_of", "result_of", "unaliased"]

_MODULES = ("collections.abc", "typing", "typing_extensions")
_STREAMS = frozenset(("Iterator", "Generator", "AsyncIterator", "AsyncGenerator", "AsyncIterable"))
_MAX_ALIASES = 20


class Result(Struct, frozen=True):
    """What a function gives: its annotation, to be read in ``scope``. ``streams``: it is a stream."""

    annotation: ast.expr | None
    scope: Scope
    streams: bool


def result_of(binding: Binding, annotation: ast.expr | None, scope: Scope) -> Result:
    """Return what calls of a function give before its decorators are applied.

    ``annotation`` is that of its result, which is to be read in ``scope``.
    """
    return Result(annotation, scope, _yields(binding.node) or _is_stream(annotation, scope))


def item_of(result: Result, this: Type | None = None) -> tuple[Type, tuple[str, ...]]:
    """Return the type of a stream's items, and a clause for each part that became Any. ``this`` is what ``Self`` is."""
    if result.annotation is None:
        return ANY, ()
    annotation, scope = unaliased(result.annotation, result.scope)
    name = abstract(annotation, scope)
    if name not in _STREAMS and name != "Iterable":
        return ANY, (f"{ast.unparse(result.annotation)} is a type that is no iterator",)
    if not isinstance(annotation, ast.Subscript):
        return ANY, ()
    inside = annotation.slice
    return read_annotation(inside.elts[0] if isinstance(inside, ast.Tuple) and inside.elts else inside, scope, this)


def _is_stream(annotation: ast.expr | None, scope: Scope) -> bool:
    return annotation is not None and abstract(*unaliased(annotation, scope)) in _STREAMS


def head_in(node: ast.expr, scope: Scope) -> str:
    """Return the full path of the outermost name of an annotation or decorator, if it is not local; else ``""``."""
    node = unquoted(node)
    head = node.value if isinstance(node, ast.Subscript) else node.func if isinstance(node, ast.Call) else node
    found = scope.lookup(dotted_name(head))
    return found if isinstance(found, str) else ""


def abstract(annotation: ast.expr, scope: Scope) -> str:
    """Return the name of the abstract type that an annotation is of, such as ``"Iterator"``; else ``""``."""
    module, _, name = head_in(annotation, scope).rpartition(".")
    return name if module in _MODULES else ""


def unaliased(annotation: ast.expr, scope: Scope) -> tuple[ast.expr, Scope]:
    """Follow aliases: ``Tokens = Iterator[str]``."""
    annotation = unquoted(annotation)
    for _ in range(_MAX_ALIASES):
        found = scope.lookup(dotted_name(annotation))
        if not (isinstance(found, tuple) and isinstance(found[1], ast.expr)):
            break
        scope, annotation = found[0], unquoted(found[1])
    return annotation, scope


def _yields(node: Any) -> bool:
    """Return whether the function itself contains a ``yield``, not counting nested functions."""
    todo: list[ast.AST] = list(node.body)
    while todo:
        inner = todo.pop()
        if isinstance(inner, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            todo += ast.iter_child_nodes(inner)
    return False
