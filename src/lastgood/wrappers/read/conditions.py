"""Static evaluation of ``if`` conditions whose result is the same in every Python version that a worker may run."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from lastgood.wrappers.types.annotations import dotted_name

__all__ = ["holds"]

_Version = tuple[int, int, int]

# A worker runs on Python 3.9 or newer. Unreleased versions stand for all future ones.
_PYTHONS: tuple[_Version, ...] = tuple((3, minor, micro) for minor in range(9, 60) for micro in range(40))
_ORDER: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def holds(test: ast.expr, *, type_checking: bool) -> bool | None:
    """Return whether ``test`` is true; None if that is unknown.

    ``type_checking`` asks for its value to type checkers, instead of its value when the module runs.
    """
    match test:
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return type_checking
        case ast.Constant(value=value):
            return bool(value) or type_checking  # "if False" is an older form of "if TYPE_CHECKING"
        case ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant(value="__main__")]):
            return False  # the module is imported
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            found = holds(operand, type_checking=type_checking)
            return None if found is None else not found
        case ast.BoolOp(op=op, values=values):
            parts = [holds(value, type_checking=type_checking) for value in values]
            decides = isinstance(op, ast.Or)  # one true operand decides an "or", one false operand an "and"
            return decides if decides in parts else None if None in parts else not decides
        case ast.Compare(left=left, ops=[order], comparators=[right]) if type(order) in _ORDER:
            return _compared(left, _ORDER[type(order)], right)
    return None


def _compared(left: ast.expr, order: Callable[[Any, Any], bool], right: ast.expr) -> bool | None:
    """Return the result of a comparison with the Python version; None if it differs between versions."""
    of_version = _of_version(left)
    match right:
        case ast.Constant(value=int(number)):
            other: Any = number
        case ast.Tuple(elts=parts):
            other = tuple(part.value if isinstance(part, ast.Constant) else None for part in parts)
        case _:
            return None
    if of_version is None:
        return None
    try:
        found = {order(of_version(python), other) for python in _PYTHONS}
    except (TypeError, IndexError):
        return None
    return found.pop() if len(found) == 1 else None


def _of_version(node: ast.expr) -> Callable[[_Version], Any] | None:
    """Return a function from a Python version to the value of ``node``; None if ``node`` is not part of the version."""
    match node:
        case ast.Subscript(value=value, slice=ast.Constant(value=int(place))) if _is_version_info(value):
            return lambda python: python[place]
        case ast.Subscript(value=value, slice=ast.Slice(None, ast.Constant(value=int(end)), None)) if _is_version_info(
            value
        ):
            return lambda python: python[:end]
        case ast.Attribute(value=value, attr="major" | "minor" | "micro" as part) if _is_version_info(value):
            return lambda python: python[("major", "minor", "micro").index(part)]
        case _ if _is_version_info(node):
            return lambda python: (*python, "final", 0)
    return None


def _is_version_info(node: ast.expr) -> bool:
    return dotted_name(node) in ("sys.version_info", "version_info")
