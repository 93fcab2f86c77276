"""The parameters of functions: what a definition states, and what a wrapper says of each."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from lastgood.wrappers.ir import NONE, Declared, Default, Kind, Parameter, Signature, Type, union
from lastgood.wrappers.read.scope import Scope
from lastgood.wrappers.types.annotations import literal
from lastgood.wrappers.types.defaults import default_value, takes
from lastgood.wrappers.types.models import Models

__all__ = ["Entry", "entries_of", "fits", "mangled", "parameter", "still_to_give"]

_VARIADIC = (Kind.VAR_POSITIONAL, Kind.VAR_KEYWORD)
Entry = tuple[ast.arg, Kind, ast.expr | None]
"""A parameter with its kind and default."""


def parameter(
    name: str, kind: Kind, type_: Type, default: ast.expr | None, at: Scope, models: Models, module: str
) -> Parameter:
    """Return a parameter, with its default if that is known from the text, and fits the annotation.

    A member of an enum is a default only if ``module``, whose wrapper has the function, defines it: a wrapper may import other
    ones at its end.
    """
    if default is None:
        return Parameter(name, kind, type_)
    found = default_value(default, at, models)
    if found is None:
        # Query(max_length=5) of a package in [output] annotated is no value, but tells a framework of one.
        made = at.metadata(default) if isinstance(default, ast.Call) else None
        return Parameter(name, kind, type_, Default.LEFT if made is None else made)
    text, given = found
    if text == ("None",) and not takes(type_, given):
        type_ = union(type_, NONE)  # implicit Optional: "x: int = None" used to mean "x: int | None = None"
    enums = {part.module for part in text if isinstance(part, Declared)}
    is_here = at.owner is None and enums <= {module} == {at.module}
    # A default that may not fit its annotation is left to the source: type checkers would reject it.
    if not takes(type_, given) or (enums and not is_here):
        return Parameter(name, kind, type_, Default.LEFT)
    return Parameter(name, kind, type_, text[0] if len(text) == 1 and isinstance(text[0], str) else text)


def entries_of(arguments: ast.arguments) -> Iterator[Entry]:
    """Yield each parameter with its kind and default, in order."""
    positional = [(each, Kind.POSITIONAL_ONLY) for each in arguments.posonlyargs]
    positional += [(each, Kind.POSITIONAL_OR_KEYWORD) for each in arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
    for (each, kind), default in zip(positional, defaults, strict=True):
        yield each, kind, default
    if arguments.vararg is not None:
        yield arguments.vararg, Kind.VAR_POSITIONAL, None
    for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield each, Kind.KEYWORD_ONLY, default
    if arguments.kwarg is not None:
        yield arguments.kwarg, Kind.VAR_KEYWORD, None


def mangled(name: str, owner: ast.ClassDef | None) -> str:
    """Return a parameter's name after name mangling: inside a class, Python renames ``__x``."""
    around = "" if owner is None else owner.name.lstrip("_")
    return f"_{around}{name}" if around and name.startswith("__") and not name.endswith("__") else name


def still_to_give(entries: Sequence[Entry], count: int, words: Sequence[ast.keyword]) -> Iterator[Entry]:
    """Yield the parameters that are left when the first ``count`` are given by position and ``words`` by keyword.

    A parameter that is given by keyword can still be given, by keyword alone, and so can those after it.
    """
    # A name there is one of another scope, which is not known here.
    given = {word.arg: word.value if literal(word.value) else ast.Constant(...) for word in words}
    by_keyword = False
    for argument, kind, default in entries:
        is_positional = kind in (Kind.POSITIONAL_ONLY, Kind.POSITIONAL_OR_KEYWORD)
        if is_positional and count:
            count -= 1
            continue
        by_keyword |= kind is Kind.POSITIONAL_OR_KEYWORD and argument.arg in given
        if kind is Kind.VAR_POSITIONAL and by_keyword:
            continue
        kind = Kind.KEYWORD_ONLY if is_positional and by_keyword else kind
        yield argument, kind, given.get(argument.arg, default) if kind is not Kind.POSITIONAL_ONLY else default


def fits(overload: Signature, implementation: Signature) -> bool:
    """Return whether the implementation accepts, by name and kind, every parameter of the overload."""
    declared = {parameter.name: parameter for parameter in implementation.parameters}
    for parameter in overload.parameters:
        other = declared.pop(parameter.name, None)
        if other is None or other.kind is not parameter.kind:
            return False
        if parameter.default is not Default.REQUIRED and other.default is Default.REQUIRED:
            return False
    in_order = [p.name for p in implementation.parameters if p.name in {q.name for q in overload.parameters}]
    return in_order == [p.name for p in overload.parameters] and all(
        left.default is not Default.REQUIRED or left.kind in _VARIADIC for left in declared.values()
    )
