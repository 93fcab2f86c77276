"""The metadata of ``Annotated`` types that wrappers keep: those of the packages in ``[output] annotated``.

Kept are literals, names of these packages, and calls of such names with arguments of this kind: ``Field(gt=0, examples=["a"])``.
"""

from __future__ import annotations

import ast
from collections.abc import Collection

from lastgood.wrappers.ir import Expression, Ref
from lastgood.wrappers.read.scope import Scope
from lastgood.wrappers.types.annotations import dotted_name
from lastgood.wrappers.types.defaults import default_value
from lastgood.wrappers.types.models import Models

__all__ = ["kept_metadata"]

_BRACKETS = {ast.List: "[]", ast.Set: "{}", ast.Tuple: "()"}


def kept_metadata(node: ast.expr, scope: Scope, models: Models, packages: Collection[str]) -> Expression | None:
    """Return ``node`` as a wrapper has it; None if it names anything but what ``packages`` have."""
    found = _part(node, scope, models, frozenset(packages))
    return None if found is None else tuple(found)


def _part(node: ast.expr, scope: Scope, models: Models, packages: frozenset[str]) -> list[str | Ref] | None:
    known = default_value(node, scope, models)
    if known is not None and all(isinstance(part, str | Ref) for part in known[0]):
        return [part for part in known[0] if isinstance(part, str | Ref)]
    match node:
        case ast.Name() | ast.Attribute():
            path = scope.lookup(dotted_name(node))
            if isinstance(path, str) and path.partition(".")[0] in packages and "." in path:
                return [Ref(*path.rsplit(".", 1))]
        case ast.UnaryOp(op=ast.USub(), operand=operand):  # -math.inf
            inside = _part(operand, scope, models, packages)
            return None if inside is None else ["-", *inside]
        case ast.Call(func=func, args=arguments, keywords=words):
            called = _part(func, scope, models, packages)
            given = [("", each) for each in arguments] + [(f"{word.arg}=", word.value) for word in words]
            inside = _listed(given, scope, models, packages)
            if called is not None and inside is not None and all(word.arg for word in words):
                return [*called, "(", *inside, ")"]
        case ast.List(elts=parts) | ast.Set(elts=parts) | ast.Tuple(elts=parts) if parts or not isinstance(
            node, ast.Set
        ):
            inside = _listed([("", each) for each in parts], scope, models, packages)
            brackets = _BRACKETS[type(node)]
            start, end = brackets[0], brackets[1]
            comma = "," if len(parts) == 1 and isinstance(node, ast.Tuple) else ""
            return None if inside is None else [start, *inside, comma + end]
        case ast.Dict(keys=keys, values=values):
            pairs: list[tuple[str, ast.expr]] = []
            for key, value in zip(keys, values, strict=True):
                text = None if key is None else _part(key, scope, models, packages)
                if text is None or not all(isinstance(part, str) for part in text):
                    return None
                pairs.append((f"{''.join(map(str, text))}: ", value))
            inside = _listed(pairs, scope, models, packages)
            return None if inside is None else ["{", *inside, "}"]
    return None


def _listed(
    given: list[tuple[str, ast.expr]], scope: Scope, models: Models, packages: frozenset[str]
) -> list[str | Ref] | None:
    found: list[str | Ref] = []
    for place, (start, node) in enumerate(given):
        part = _part(node, scope, models, packages)
        if part is None:
            return None
        found += [", "] if place else []
        found += [start, *part]
    return found
