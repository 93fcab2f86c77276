"""Line breaking in the style of ruff and Black, so that these formatters leave wrappers unchanged."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["WIDTH", "Annotated", "Brackets", "Operands", "Shape", "assign", "define", "lay_out"]

WIDTH = 88  # the default of ruff and Black
_INDENT = "    "


@dataclass(frozen=True, slots=True)
class Brackets:
    """``items`` between ``open`` and ``close``, separated by commas.

    ``hugs``: when broken, all items may share one line, as arguments do and list items do not. ``is_bare``: a single item
    has no trailing comma, as in a subscript.
    """

    open: str
    items: Sequence[Shape]
    close: str
    hugs: bool = False
    is_bare: bool = False

    def __str__(self) -> str:
        comma = "," if len(self.items) == 1 and self.open == "(" and not (self.hugs or self.is_bare) else ""
        return f"{self.open}{', '.join(map(str, self.items))}{comma}{self.close}"


@dataclass(frozen=True, slots=True)
class Operands:
    """``items`` with the operator ``|`` between them."""

    items: Sequence[Shape]

    def __str__(self) -> str:
        return " | ".join(map(str, self.items))


@dataclass(frozen=True, slots=True)
class Annotated:
    """A parameter, or a variable: ``name: type = value``, the value as source text."""

    name: str
    type: Shape
    value: str | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.type}" + ("" if self.value is None else f" = {self.value}")


@dataclass(frozen=True, slots=True)
class _Prefixed:
    """An item with an inseparable prefix: a key, a keyword, or ``lambda``."""

    prefix: str
    item: Shape

    def __str__(self) -> str:
        return f"{self.prefix}{self.item}"


Shape = str | Brackets | Operands | Annotated | _Prefixed


def lay_out(item: Shape, indent: str, before: str = "", after: str = "") -> list[str]:
    """Return the lines of ``before + item + after``. Text that does not fit is broken at brackets and operators."""
    line = f"{indent}{before}{item}{after}"
    if len(line) <= WIDTH:
        return [line]
    match item:
        case Brackets(items=items) if items:
            return _brackets(item, indent, before, after)
        case Operands(items=items):
            ends = len(items) - 1
            signs = [before, *["| "] * ends]
            return [
                line
                for place, (sign, each) in enumerate(zip(signs, items, strict=True))
                for line in lay_out(each, indent, sign, after if place == ends else "")
            ]
        case Annotated():
            return _annotated(item, indent, before, after, parenthesizes=False)
        case _Prefixed(prefix=prefix, item=inner):
            return lay_out(inner, indent, before + prefix, after)
    return [line]


def assign(item: Shape, indent: str, before: str = "", after: str = "") -> list[str]:
    """Lay out a whole value or annotation, as :func:`lay_out` does, with parentheses around it if necessary.

    A string is the text of an expression; an :class:`Annotated` is a whole statement.
    """
    line = f"{indent}{before}{item}{after}"
    if len(line) <= WIDTH:
        return [line]
    if isinstance(item, Annotated):
        return _annotated(item, indent, before, after, parenthesizes=True)
    item = _parsed(item) if isinstance(item, str) else item
    if isinstance(item, Operands) or (isinstance(item, str) and len(indent + _INDENT + item) <= WIDTH):
        return _brackets(Brackets("(", [item], ")", is_bare=True), indent, before, after)
    return lay_out(item, indent, before, after)


def define(start: str, parameters: Sequence[Shape], returns: Shape, indent: str, end: str = ":") -> list[str]:
    """Return the lines of a function head, ``start(parameters) -> returns:``."""
    line = f"{indent}{start}({', '.join(map(str, parameters))}) -> {returns}{end}"
    if len(line) <= WIDTH:
        return [line]
    if not parameters:
        if isinstance(returns, str):
            return [f"{indent}{start}() -> (", f"{indent}{_INDENT}{returns}", f"{indent}){end}"]
        return assign(returns, indent, f"{start}() -> ", end)
    head = _brackets(Brackets("(", parameters, ")", hugs=True), indent, start, "")[:-1]
    return [*head, *(lay_out if isinstance(returns, str) else assign)(returns, indent, ") -> ", end)]


def _parsed(text: str) -> Shape:
    return _shape(ast.parse(text, mode="eval").body, text.encode())


def _shape(node: ast.expr, line: bytes) -> Shape:
    def part(inner: ast.expr) -> Shape:
        return _shape(inner, line)

    whole = line[node.col_offset : node.end_col_offset].decode()
    match node:
        case ast.Tuple(elts=items):
            return Brackets("(", [part(each) for each in items], ")")
        case ast.List(elts=items) | ast.Set(elts=items):
            return Brackets(whole[0], [part(each) for each in items], whole[-1])
        case ast.Dict(keys=keys, values=values):
            pairs = zip(keys, values, strict=True)
            return Brackets("{", [_Prefixed(f"{part(k)}: ", part(v)) for k, v in pairs if k is not None], "}")
        case ast.Call(func=func, args=arguments, keywords=words) if arguments or words:
            named = [_Prefixed(f"{word.arg}=", part(word.value)) for word in words]
            return Brackets(f"{part(func)}(", [*(part(each) for each in arguments), *named], ")", hugs=True)
        case ast.Subscript(value=value, slice=inner):
            listed = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return Brackets(f"{part(value)}[", [part(each) for each in listed], "]", is_bare=True)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            first = part(left)
            return Operands([*(first.items if isinstance(first, Operands) else [first]), part(right)])
        case ast.Lambda(body=body):
            return _Prefixed("lambda: ", part(body))
    return whole


def _brackets(item: Brackets, indent: str, before: str, after: str) -> list[str]:
    inner = indent + _INDENT
    shared = inner + ", ".join(map(str, item.items))
    if item.hugs and len(item.items) > 1 and len(shared) <= WIDTH:
        lines = [shared]
    else:
        comma = "" if item.is_bare and len(item.items) == 1 else ","
        lines = [line for part in item.items for line in lay_out(part, inner, after=comma)]
    return [f"{indent}{before}{item.open}", *lines, f"{indent}{item.close}{after}"]


def _annotated(item: Annotated, indent: str, before: str, after: str, *, parenthesizes: bool) -> list[str]:
    """Lay out ``name: type = value``. The type is broken unless it fits in a line with the start of the value."""
    put = assign if parenthesizes else lay_out
    start = f"{before}{item.name}: "
    if item.value is None:
        return put(item.type, indent, start, after)
    value = _parsed(item.value)
    whole = f"{start}{item.type} = "
    opening = _opening(value, after, parenthesizes)
    room = WIDTH - len(indent + whole)
    if parenthesizes and len(opening) > room >= 1 and isinstance(value, Brackets):
        return _brackets(Brackets("(", [value], ")", is_bare=True), indent, whole, after)
    if isinstance(item.type, str) or len(opening) <= room:
        return put(value, indent, whole, after)
    *lines, last = put(item.type, indent, start, f" = {opening}")
    return [*lines, *put(value, indent, last.removeprefix(indent).removesuffix(opening), after)]


def _opening(value: Shape, after: str, parenthesizes: bool) -> str:
    """Return the part of ``value`` before its first possible line break."""
    match value:
        case Brackets(open=opening, items=items):
            return opening if items else f"{value}{after}"
        case _Prefixed(prefix=prefix, item=item):
            return prefix + _opening(item, after, parenthesizes)
    return "(" if parenthesizes else f"{value}{after}"
