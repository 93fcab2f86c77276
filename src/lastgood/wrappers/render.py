"""Intermediate representation -> the text of a wrapper: typed, formatted, and the same on every run and machine.

Whatever the user's names are, they keep their meaning: a name of lastgood or of the standard library that one of them would
hide is imported under another one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from lastgood.config import Style
from lastgood.wrappers.annotations import Literal, literal
from lastgood.wrappers.docstrings import docstring
from lastgood.wrappers.doubtful import is_doubtful
from lastgood.wrappers.import_graph import Imports
from lastgood.wrappers.ir import (
    ANY,
    NONE,
    Class,
    Constant,
    Declared,
    Default,
    Function,
    Kind,
    Module,
    Parameter,
    Ref,
    Signature,
    Type,
    union,
)
from lastgood.wrappers.layout import Annotated, Brackets, Shape, assign, define, lay_out
from lastgood.wrappers.render_types import class_statement, holds_data
from lastgood.wrappers.spelling import Names, free

__all__ = ["render", "render_package"]

_BRIDGE = Ref("lastgood.runtime", "get_runtime_bridge")
_OBJECT = Type(Ref("builtins", "object"))
_DICT = Type(Ref("builtins", "dict"), (Type(Ref("builtins", "str")), ANY))
_TUPLE = Type(Ref("builtins", "tuple"), (ANY, Type("...")))
_STRS = Type(Ref("builtins", "list"), (Type(Ref("builtins", "str")),))
_NAMED = (Kind.POSITIONAL_OR_KEYWORD, Kind.KEYWORD_ONLY)
_INDENT = "    "


def render(
    module: Module,
    imports: Imports | None = None,
    *,
    is_package: bool = False,
    style: Style = "async",
    doubtful: AbstractSet[Declared] = frozenset(),
) -> str:
    """The body of the wrapper of ``module``, without its header. ``is_package``: it is the ``__init__`` of one.

    ``doubtful`` are the declared types whose values have to be told apart (see lastgood.doubts).
    """
    imports = imports or Imports(frozenset(), module.exports)
    names = Names(module, imports, is_package=is_package, is_async=style == "async", doubtful=doubtful)
    types: list[str] = []
    definitions: list[str] = []
    constants: list[str] = []
    for member in module.members:
        if isinstance(member, Constant):
            constants += _constant(member, names)
        else:
            is_type = isinstance(member, Class) and holds_data(member)
            (types if is_type else definitions).extend(["", "", *_member(member, "", names)])
    exports = sorted({member.name for member in module.members} - module.hidden | {*imports.exports})
    listing = Brackets("[", [_quoted(name) for name in exports], "]")
    declared = "" if exports else f": {names.spell(_STRS)}"
    lines = docstring(module.doc or f"Calls {module.name} through the live bridge.", "")
    lines += [
        "",
        *names.remarks(),
        "from __future__ import annotations" + (" as _annotations" if "annotations" in names.taken else ""),
    ]
    listed = ["", *lay_out(listing, "", before=f"__all__{declared} = ")]
    if names.unset:
        constants += [""] if constants else []
        constants += [f"# Stands for an argument that is not given: {module.name} has its own default for it."]
        constants += [f"{names.unset}: {names.spell(ANY)} = ..."]
    if names.returns:
        gap = ["", ""] if types else [""] if constants else []
        constants_after = [
            *gap,
            "# What a call gives is checked, and brought into the type that its source declares.",
            *names.returns,
        ]
    else:
        constants_after = []
    head = [*listed, *([""] if constants else []), *constants, *types]
    body = [*head, *([""] if constants_after and not types and not constants else []), *constants_after, *definitions]
    return "\n".join([*lines, *names.imports(), *body, *names.late_imports()]) + "\n"


def _constant(constant: Constant, names: Names) -> list[str]:
    value = literal(ast.parse(constant.value, mode="eval").body)
    type_ = Type(Ref("typing", "Final"))
    if value is not None and _is_long(value[0]):
        type_ = Type(type_.head, (_type_of(value[0]),))
    return assign(Annotated(constant.name, names.shape(type_), constant.value), "")


_MOST_INFERRED = 256
_MOST_KINDS = 8


def _is_long(value: Literal) -> bool:
    """Whether it has a tuple of which pyright does not find out the type."""
    return isinstance(value, tuple) and (len(value) > _MOST_INFERRED or any(map(_is_long, value)))


def _type_of(value: Literal) -> Type:
    if not isinstance(value, tuple):
        return NONE if value is None else Type(Ref("builtins", type(value).__name__))
    kinds = dict.fromkeys(map(_type_of, value))
    if len(value) <= _MOST_KINDS:
        return Type(Ref("builtins", "tuple"), tuple(map(_type_of, value)) or (Type("()"),))
    return Type(Ref("builtins", "tuple"), (union(*kinds) if len(kinds) <= _MOST_KINDS else ANY, Type("...")))


def render_package(name: str) -> str:
    """The body of an ``__init__`` that is there for the wrappers beneath it alone; ``name`` is ``""`` at the top."""
    return (
        f'"""Wrappers of what lies in {name}."""\n'
        if name
        else '"""Wrappers: each calls its source through the live bridge."""\n'
    )


def _member(member: Function | Class, indent: str, names: Names) -> Iterator[str]:
    if isinstance(member, Class):
        yield from _class(member, indent, names)
        return
    decorators = [f"{indent}@{names.use(Ref('builtins', 'staticmethod'))}"] if indent else []
    for overload in member.overloads:
        yield f"{indent}@{names.use(Ref('typing', 'overload'))}"
        yield from decorators
        yield from _head(member.name, overload, indent, names, is_overload=True)
        yield from [""] if indent else ["", ""]
    signature = member.signature
    if member.overloads:
        # Type checkers show the overloads alone; the implementation only has to take, and to give, whatever they do.
        parameters = tuple(Parameter(p.name, p.kind, ANY, p.default) for p in signature.parameters)
        given = [overload.returns for overload in member.overloads]
        signature = Signature(parameters, ANY if ANY in given else union(*given))
    yield from decorators
    yield from _head(member.name, signature, indent, names, is_overload=False)
    inner = indent + _INDENT
    if member.doc:
        yield from docstring(member.doc, inner)
    yield from _call(member, signature, inner, names)


def _class(member: Class, indent: str, names: Names) -> Iterator[str]:
    inner = indent + _INDENT
    head, fields = class_statement(member, indent, names)
    yield from head
    parts: list[list[str]] = [docstring(member.doc, inner)] if member.doc and head[-1].endswith(":") else []
    children = [list(_member(child, inner, names)) for child in member.members]
    nested = [isinstance(child, Class) for child in member.members]
    parts += [lines for lines, is_class in zip(children, nested, strict=True) if is_class and member.data]
    parts += [fields] if fields else []
    parts += [lines for lines, is_class in zip(children, nested, strict=True) if not (is_class and member.data)]
    for place, lines in enumerate(parts):
        yield from [""] if place else []
        yield from lines


def _head(name: str, signature: Signature, indent: str, names: Names, is_overload: bool) -> list[str]:
    parts: list[Shape] = []
    kinds = [parameter.kind for parameter in signature.parameters]
    for place, parameter in enumerate(signature.parameters):
        before = kinds[:place]
        if parameter.kind is Kind.KEYWORD_ONLY and not {Kind.VAR_POSITIONAL, Kind.KEYWORD_ONLY} & set(before):
            parts.append("*")
        stars = {Kind.VAR_POSITIONAL: "*", Kind.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        default = parameter.default
        if default is Default.LEFT:
            default = "..." if is_overload else names.use_unset()
        given = default if isinstance(default, str) else None
        parts.append(Annotated(f"{stars}{parameter.name}", names.shape(parameter.type), given))
        if parameter.kind is Kind.POSITIONAL_ONLY and kinds[place + 1 : place + 2] != [Kind.POSITIONAL_ONLY]:
            parts.append("/")
    if indent and kinds and signature.parameters[0].name in ("cls", "self"):
        names.pyright.add("reportSelfClsParameterName")
    start = f"{'async ' if names.is_async else ''}def {name}"
    return define(start, parts, names.shape(signature.returns), indent, ": ..." if is_overload else ":")


def _call(function: Function, signature: Signature, indent: str, names: Names) -> list[str]:
    """The body: the arguments as the source is to get them, the call, and the result in its type."""
    own = {parameter.name for parameter in signature.parameters}
    lines, args, kwargs = _arguments(signature.parameters, indent, names)
    bridge = names.use(_BRIDGE)
    awaits, method = ("await ", "call") if names.is_async else ("", "call_blocking")
    returns = signature.returns
    check = "" if returns in (ANY, _OBJECT) else names.check(function, returns)
    handle = f"{bridge}()"
    if is_doubtful(returns, names.doubtful):
        through = Brackets(f"{check}.through(", [handle], ")", hugs=True)
        handle = free("bridge", own)
        lines += lay_out(through, indent, before=f"{handle} = ")
    call = Brackets(
        f"{awaits}{handle}.{method}(",
        [_quoted(function.module), _quoted(function.path), args, kwargs],
        ")",
        hugs=True,
    )
    if returns == ANY:
        return [*lines, *lay_out(call, indent, before="return ")]
    result = free("result", own)
    if returns == _OBJECT:
        lines += lay_out(call, indent, before=f"{result}: {names.spell(returns)} = ")
        return [*lines, f"{indent}return {result}"]
    lines += lay_out(call, indent, before=f"{result} = ")
    return [*lines, f"{indent}{'' if returns == NONE else 'return '}{check}({result})"]


def _arguments(
    parameters: Sequence[Parameter], indent: str, names: Names
) -> tuple[list[str], str | Brackets, str | Brackets]:
    """Statements that gather the arguments, and the expressions for the positional and the named ones.

    Arguments go by position up to the first whose default is left to the source. From there on one may be missing, so
    that those with a name go by name. Those without one cannot be given unless the ones before them are.
    """
    own = {parameter.name for parameter in parameters}
    positional = [p for p in parameters if p.kind in (Kind.POSITIONAL_ONLY, Kind.POSITIONAL_OR_KEYWORD)]
    first_left = next((place for place, p in enumerate(positional) if p.default is Default.LEFT), len(positional))
    sure, unsure = positional[:first_left], positional[first_left:]
    rest = next((p.name for p in parameters if p.kind is Kind.VAR_POSITIONAL), None)
    extra = next((p.name for p in parameters if p.kind is Kind.VAR_KEYWORD), None)
    keyword_only = [p for p in parameters if p.kind is Kind.KEYWORD_ONLY]
    by_name = [p for p in unsure if p.kind is Kind.POSITIONAL_OR_KEYWORD]
    always_by_name = [p for p in (by_name if rest is None else []) + keyword_only if p.default is not Default.LEFT]

    args = _positional([p.name for p in sure] + ([f"*{rest}"] if rest is not None and not unsure else []))
    kwargs = _mapping(always_by_name, extra)
    lines: list[str] = []
    named, given = free("named", own), free("positional", own)
    if any(p not in always_by_name for p in by_name + keyword_only):
        lines += lay_out(kwargs, indent, before=f"{named}: {names.spell(_DICT)} = ")
        kwargs = named
    if unsure and (rest is not None or unsure[0].kind is Kind.POSITIONAL_ONLY):
        lines += lay_out(args, indent, before=f"{given}: {names.spell(_TUPLE)} = ")
        args = given
    block = indent
    if rest is not None and unsure:
        everything = Brackets("(", [*(p.name for p in unsure), f"*{rest}"], ")")
        block = indent + _INDENT
        lines += [f"{indent}if {rest}:", *lay_out(everything, block, before=f"{given} += "), f"{indent}else:"]
    lines += _given_in_order([p for p in unsure if p.kind is Kind.POSITIONAL_ONLY], given, block, names)
    lines += _given_by_name([p for p in by_name if p not in always_by_name], named, block, names)
    lines += _given_by_name([p for p in keyword_only if p not in always_by_name], named, indent, names)
    return lines, args, kwargs


def _positional(items: list[str]) -> str | Brackets:
    alone = len(items) == 1 and items[0].startswith("*")
    return items[0][1:] if alone else Brackets("(", items, ")")


def _mapping(parameters: Sequence[Parameter], extra: str | None) -> str | Brackets:
    if extra is not None and not parameters:
        return extra
    items = [f"{_quoted(p.name)}: {p.name}" for p in parameters]
    return Brackets("{", items + ([f"**{extra}"] if extra is not None else []), "}")


def _given_by_name(parameters: Sequence[Parameter], named: str, indent: str, names: Names) -> Iterator[str]:
    """Statements that put into the dict ``named`` each of the parameters that is given."""
    for parameter in parameters:
        put = f"{named}[{_quoted(parameter.name)}] = {parameter.name}"
        if parameter.default is Default.LEFT:
            yield f"{indent}if {parameter.name} is not {names.use_unset()}:"
            yield f"{indent}{_INDENT}{put}"
        else:
            yield f"{indent}{put}"


def _given_in_order(parameters: Sequence[Parameter], given: str, indent: str, names: Names) -> Iterator[str]:
    """Statements that append to the tuple ``given`` the positional-only parameters that are given.

    One that follows a parameter that may be missing goes with it: without the one before, it cannot have been given.
    """
    groups: list[list[str]] = []
    for parameter in parameters:
        if parameter.default is Default.LEFT:
            groups.append([])
        groups[-1].append(parameter.name)
    for group in groups:
        yield f"{indent}if {group[0]} is not {names.use_unset()}:"
        yield from lay_out(Brackets("(", group, ")"), indent + _INDENT, before=f"{given} += ")


def _quoted(text: str) -> str:
    return f'"{text}"'
