"""Defaults of fields, as source text that evaluates to an equal value in a wrapper.

The functions return None for a value that is only known by running the source.
"""

from __future__ import annotations

import ast

from lastgood.wrappers.ir import Declared, Expression, Form, Ref, Type, Variable, plain
from lastgood.wrappers.read.scope import Scope
from lastgood.wrappers.types.annotations import admits, dotted_name, literal, literal_of, literal_text
from lastgood.wrappers.types.constants import constant, followed, standard_value
from lastgood.wrappers.types.models import Models

__all__ = ["Value", "default_value", "factory_value", "fresh", "takes"]

Value = tuple[Expression, Type]
"""The text of a value, and its type. The type of a literal is a ``Literal`` with its text."""

_LITERAL = Ref("typing", "Literal")
_EMPTY = frozenset(
    (
        *("builtins.bytearray", "builtins.bytes", "builtins.complex", "builtins.dict", "builtins.float"),
        *("builtins.frozenset", "builtins.int", "builtins.list", "builtins.set", "builtins.str"),
        *("collections.Counter", "collections.OrderedDict", "collections.defaultdict", "collections.deque"),
    )
)
_ABOVE_LIST = ("Collection", "Container", "Iterable", "MutableSequence", "Reversible", "Sequence", "Sized")
_ABOVE_DICT = ("Collection", "Container", "Iterable", "Mapping", "MutableMapping", "Reversible", "Sized")
_ABOVE = {
    "Counter": ("dict", *_ABOVE_DICT),
    "OrderedDict": ("dict", *_ABOVE_DICT),
    "Path": ("PathLike", "PurePath"),
    "PurePath": ("PathLike",),
    "PurePosixPath": ("PathLike", "PurePath"),
    "PureWindowsPath": ("PathLike", "PurePath"),
    "ZoneInfo": ("tzinfo",),
    "defaultdict": ("dict", *_ABOVE_DICT),
    "deque": _ABOVE_LIST,
    "dict": _ABOVE_DICT,
    "float": ("complex",),
    "frozenset": ("Collection", "Container", "Hashable", "Iterable", "Set", "Sized"),
    "int": ("complex", "float"),
    "list": _ABOVE_LIST,
    "set": ("Collection", "Container", "Iterable", "MutableSet", "Set", "Sized"),
    "str": ("Collection", "Container", "Iterable", "Reversible", "Sequence", "Sized"),
}


def default_value(node: ast.expr, scope: Scope, models: Models) -> Value | None:
    """Return the value of ``node``: a literal, a constant, an enum member, or a standard value built from literals."""
    value = constant(node, scope)
    if value is not None:
        text = literal_text(value[0])
        return (text,), Type(_LITERAL, (Type(text),))
    found = _member_of_enum(node, scope, models)
    if found is not None:
        return found
    standard = standard_value(node, scope)
    if standard is not None:
        return standard[0], Type(standard[1])
    behind, where = followed(node, scope)
    if behind is not node:
        return default_value(behind, where, models)
    match node:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):  # flags
            sides = default_value(left, scope, models), default_value(right, scope, models)
            if sides[0] is not None and sides[1] is not None and isinstance(sides[0][1].head, Declared):
                same = sides[0][1] == sides[1][1]
                return ((*sides[0][0], " | ", *sides[1][0]), sides[0][1]) if same else None
    return None


def _member_of_enum(node: ast.expr, scope: Scope, models: Models) -> Value | None:
    if not isinstance(node, ast.Attribute):
        return None
    enum = scope.resolve(dotted_name(node.value))
    if isinstance(enum, Declared) and models[enum].family.form is Form.ENUM:
        there = any(raw.name == node.attr for raw in models[enum].raws)
        return ((enum, f".{node.attr}"), Type(enum)) if there else None
    return None


def factory_value(node: ast.expr, scope: Scope, models: Models) -> Value | None:
    """Return the factory in ``default_factory=node``: a built-in type, a dataclass, or a lambda that returns a display."""
    match node:
        case ast.Lambda(args=ast.arguments(posonlyargs=[], args=[], vararg=None, kwonlyargs=[], kwarg=None), body=body):
            return fresh(body)
        case ast.Name() | ast.Attribute():
            found = scope.resolve(dotted_name(node))
            if isinstance(found, Declared) and models[found].family.form is Form.DATACLASS:
                return (found,), Type(found)
            path = scope.lookup(dotted_name(node))
            if isinstance(path, str) and path in _EMPTY:
                ref = Ref(*path.rsplit(".", 1))
                return (ref,), Type(ref)
    return None


def fresh(node: ast.expr) -> Value | None:
    """Return a factory for a list, dict or set display of literals."""
    name = {ast.List: "list", ast.Dict: "dict", ast.Set: "set"}.get(type(node))
    if name is None:
        return None
    text = _display(node)
    ref = Ref("builtins", name)
    if text in ("[]", "{}"):
        return (ref,), Type(ref)
    return None if text is None else ((f"lambda: {text}",), Type(ref))


def _display(node: ast.expr) -> str | None:
    value = literal(node)
    if value is not None:
        return literal_text(value[0])
    match node:
        case ast.List(elts=parts) | ast.Set(elts=parts):
            inside = [_display(part) for part in parts]
            open_, close = "[]" if isinstance(node, ast.List) else "{}"
        case ast.Dict(keys=keys, values=values) if None not in keys:
            pairs = [
                (_display(key), _display(value)) for key, value in zip(keys, values, strict=True) if key is not None
            ]
            inside = [None if key is None or value is None else f"{key}: {value}" for key, value in pairs]
            open_, close = "{", "}"
        case _:
            return None
    return None if None in inside else open_ + ", ".join(part for part in inside if part is not None) + close


def takes(type_: Type, given: Type) -> bool:
    """Return whether a type checker certainly accepts a value of type ``given`` for a field of ``type_``."""
    type_ = plain(type_)
    if given.head == _LITERAL:
        text = given.args[0].head
        assert isinstance(text, str), "the text of a literal"
        value = literal_of(text)
        return value is not None and admits(type_, value[0])
    head = type_.head
    if head == given.head:
        return True
    if isinstance(head, str):
        return head == "|" and any(takes(part, given) for part in type_.args)
    if isinstance(head, Declared | Variable):
        return False
    if head.name in ("Any", "object"):
        return True
    return isinstance(given.head, Ref) and head.name in _ABOVE.get(given.head.name, ())
