"""Whether a class lets its instances be keys and elements of sets.

A wrapper's dataclass hashes by its fields. What the source's own ``__hash__`` computes is not known there, only that there is one:
of such a class only those fields count whose values are hashable for certain.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from lastgood.wrappers.ir import Declared, Ref, Type
from lastgood.wrappers.types.models import Family, Model, Models

__all__ = ["defines_hash", "is_frozen", "is_hashable", "makes_hash"]

_HASHABLE = frozenset(
    (
        *("bool", "bytes", "complex", "float", "int", "range", "str", "Decimal", "Fraction", "UUID", "ZoneInfo"),
        *("date", "datetime", "time", "timedelta", "timezone", "Path", "PurePath", "PurePosixPath", "PureWindowsPath"),
        *("IPv4Address", "IPv4Interface", "IPv4Network", "IPv6Address", "IPv6Interface", "IPv6Network", "Literal"),
    )
)
_OF_HASHABLE = frozenset(("frozenset", "tuple"))


def is_frozen(model: Model) -> bool:
    """Return whether a class of attrs, msgspec or pydantic is declared frozen, apart from its bases."""
    return bool(model.flag("frozen")) or model.path.endswith(".frozen") or _has_frozen_config(model)


def makes_hash(model: Model, bases: Iterable[Model]) -> bool:
    """Return whether instances are hashable for another reason than that a decorator says ``frozen`` or ``eq=False``."""
    if model.flag("eq") is False:
        return False
    if model.family is Family.ATTRS and (model.flag("unsafe_hash") or model.flag("hash")):
        return True
    if model.family is Family.PYDANTIC:  # both are inherited
        bases = tuple(bases)
        return defines_hash(model, bases) or any(map(is_frozen, (model, *bases)))
    return _defines_hash(model) or _has_frozen_config(model)


def defines_hash(model: Model, bases: Iterable[Model]) -> bool:
    """Return whether a class has a ``__hash__`` of its own, rather than one that its library makes."""
    return any(map(_defines_hash, (model, *bases) if model.family is Family.PYDANTIC else (model,)))


def is_hashable(type_: Type, models: Models) -> bool:
    """Return whether all values of a type are hashable for certain."""
    head = type_.head
    if isinstance(head, Ref):
        return head.name in _HASHABLE or (
            head.name in _OF_HASHABLE and bool(type_.args) and all(is_hashable(each, models) for each in type_.args)
        )
    if isinstance(head, Declared):
        return models[head].family is Family.ENUM
    return isinstance(head, str) and all(is_hashable(each, models) for each in type_.args)


def _defines_hash(model: Model) -> bool:
    for statement in _body(model):
        match statement:
            case ast.FunctionDef(name="__hash__"):
                return True
            case ast.Assign(targets=[ast.Name(id="__hash__")], value=value):
                return not (isinstance(value, ast.Constant) and value.value is None)
    return False


def _has_frozen_config(model: Model) -> bool:
    """Return whether a pydantic class says ``frozen`` in ``model_config``, in ``class Config`` or by ``config=``."""
    configs = [model.keywords.get("config")]
    for statement in _body(model):
        match statement:
            case ast.Assign(targets=[ast.Name(id="model_config")], value=value):
                configs.append(value)
            case ast.AnnAssign(target=ast.Name(id="model_config"), value=value):
                configs.append(value)
            case ast.ClassDef(name="Config") if model.family is Family.PYDANTIC:
                configs.append(_as_call(statement))
    return any(_says_frozen(config) for config in configs)


def _as_call(config: ast.ClassDef) -> ast.expr:
    words = [
        ast.keyword(target.id, each.value)
        for each in config.body
        if isinstance(each, ast.Assign)
        for target in each.targets
        if isinstance(target, ast.Name)
    ]
    return ast.Call(ast.Name(config.name), [], words)


def _says_frozen(config: ast.expr | None) -> bool:
    match config:
        case ast.Call(keywords=words):
            return any(word.arg == "frozen" and _is_true(word.value) for word in words)
        case ast.Dict(keys=keys, values=values):
            pairs = zip(keys, values, strict=True)
            return any(
                isinstance(key, ast.Constant) and key.value == "frozen" and _is_true(value) for key, value in pairs
            )
    return False


def _is_true(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is True


def _body(model: Model) -> list[ast.stmt]:
    node = model.place.binding.node
    return node.body if isinstance(node, ast.ClassDef) else []
