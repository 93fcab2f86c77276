"""What a function gives: a plain result, or a stream of items.

A function is a stream if it yields, or if it is annotated to return an iterator. A decorator that says what it makes of a function
decides instead: what ``@as_list``, annotated to return ``Callable[..., list[T]]``, makes of a generator is a plain call.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

from lastgood.wrappers.ir import ANY, Type
from lastgood.wrappers.read.outline import Binding
from lastgood.wrappers.read.project import Located
from lastgood.wrappers.read.scope import Scope
from lastgood.wrappers.types.annotations import dotted_name, read_annotation, unquoted

__all__ = ["Result", "item_of", "result_of"]

_MODULES = ("collections.abc", "typing", "typing_extensions")
_STREAMS = frozenset(("Iterator", "Generator", "AsyncIterator", "AsyncGenerator", "AsyncIterable"))
_MAX_ALIASES = 20


@dataclass(frozen=True, slots=True)
class Result:
    """What a function gives: its annotation, to be read in ``scope``. ``streams``: it is a stream."""

    annotation: ast.expr | None
    scope: Scope
    streams: bool


def result_of(binding: Binding, scope: Scope, annotation: ast.expr | None, at: Scope) -> Result:
    """Return what calls of a function give, once its decorators are applied.

    ``scope`` is the function's, and ``annotation`` that of its result, which is to be read in the scope ``at``.
    """
    node = binding.node
    result = Result(annotation, at, _yields(node) or _is_stream(annotation, at))
    if not result.streams:
        return result
    for decorator in reversed(node.decorator_list):
        made = _result_of_decorated(decorator, scope)
        if made is not None:
            result = made
    return result


def item_of(result: Result, this: Type | None = None) -> tuple[Type, tuple[str, ...]]:
    """Return the type of a stream's items, and a clause for each part that became Any. ``this`` is what ``Self`` is."""
    if result.annotation is None:
        return ANY, ()
    annotation, scope = _unaliased(result.annotation, result.scope)
    name = _abstract(annotation, scope)
    if name not in _STREAMS and name != "Iterable":
        return ANY, (f"{ast.unparse(result.annotation)} is a type without items",)
    if not isinstance(annotation, ast.Subscript):
        return ANY, ()
    inside = annotation.slice
    return read_annotation(inside.elts[0] if isinstance(inside, ast.Tuple) and inside.elts else inside, scope, this)


def _is_stream(annotation: ast.expr | None, scope: Scope) -> bool:
    return annotation is not None and _abstract(*_unaliased(annotation, scope)) in _STREAMS


def _abstract(annotation: ast.expr, scope: Scope) -> str:
    """Return the name of the abstract type that an annotation is of, such as ``"Iterator"``; else ``""``."""
    head = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    found = scope.lookup(dotted_name(head))
    module, _, name = found.rpartition(".") if isinstance(found, str) else ("", "", "")
    return name if module in _MODULES else ""


def _unaliased(annotation: ast.expr, scope: Scope) -> tuple[ast.expr, Scope]:
    """Follow aliases: ``Tokens = Iterator[str]``."""
    annotation = unquoted(annotation)
    for _ in range(_MAX_ALIASES):
        found = scope.lookup(dotted_name(annotation))
        if not (isinstance(found, tuple) and isinstance(found[1], ast.expr)):
            break
        scope, annotation = found[0], unquoted(found[1])
    return annotation, scope


def _result_of_decorated(decorator: ast.expr, scope: Scope) -> Result | None:
    """Return what a decorator makes of a function's result; None if it does not say so, or leaves it as it is."""
    is_factory = isinstance(decorator, ast.Call)
    found = _located(dotted_name(decorator.func if isinstance(decorator, ast.Call) else decorator), scope)
    if found is None:
        return None
    binding = found.bindings[-1]
    inner = Scope(scope.project, found.outline, binding.at.owner, binding.type_parameters)
    annotation: ast.expr | None = binding.node.returns
    for _ in range(2 if is_factory else 1):
        annotation = None if annotation is None else _called(*_unaliased(annotation, inner))
    return None if annotation is None else Result(annotation, inner, _is_stream(annotation, inner))


def _called(annotation: ast.expr, scope: Scope) -> ast.expr | None:
    """Return what a callable of this annotation returns."""
    match annotation:
        case ast.Subscript(slice=ast.Tuple(elts=[_, result])) if _abstract(annotation, scope) == "Callable":
            return result
    return None


def _located(dotted: str, scope: Scope) -> Located | None:
    """Return the function of a local module that a decorator's name stands for."""
    head, _, rest = dotted.partition(".")
    bindings = scope.at.names().get(head)
    if not bindings:
        return None
    path = (bindings[-1].target or f"{scope.at.source.name}.{head}") + (f".{rest}" if rest else "")
    module, _, name = path.rpartition(".")
    origin = scope.project.outline(module) if module else None
    found = None if origin is None else scope.project.locate(origin, name)
    return found if isinstance(found, Located) and not found.is_class else None


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
