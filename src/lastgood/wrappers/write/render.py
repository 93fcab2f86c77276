"""Rendering: IR -> the text of a wrapper, typed, and the same on every run and machine.

The user's names are never shadowed: a name of lastgood or the standard library that collides with one is imported under an
alias. Formatters leave the text alone (see :mod:`lastgood.store.header`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lastgood.config import Style
from lastgood.wrappers.ir import (
    ANY,
    NONE,
    Class,
    Constant,
    Default,
    Expression,
    Function,
    Kind,
    Module,
    Parameter,
    Ref,
    Signature,
    Type,
    erased,
    stream_of,
    union,
)
from lastgood.wrappers.types.annotations import Literal, literal_of, literal_text
from lastgood.wrappers.write.docstrings import docstring
from lastgood.wrappers.write.import_graph import WrapperImports
from lastgood.wrappers.write.render_types import class_statement, holds_data
from lastgood.wrappers.write.spelling import Names, listed

__all__ = ["render", "render_package"]

_STRS = Type(Ref("builtins", "list"), (Type(Ref("builtins", "str")),))
_INDENT = "    "
_OVERRIDES = "  # type: ignore[override, unused-ignore]"


def render(
    module: Module,
    imports: WrapperImports | None = None,
    *,
    is_package: bool = False,
    style: Style = "async",
    beside: Sequence[str] = (),
) -> str:
    """Return the text of the wrapper of ``module``, without its header.

    ``is_package``: it is an ``__init__`` file. ``beside`` are those of its functions that have the name of a module in it.
    """
    imports = imports or WrapperImports(frozenset(), module.exports)
    names = Names(module, imports, is_package=is_package, is_async=style == "async")
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
    first = names.imports_beside(beside)
    variables = names.variables()
    declared = "" if exports else f": {names.spell(_STRS)}"
    listing = listed(f"__all__{declared} = [", [_quoted(name) for name in exports], "]")
    lines = docstring(module.doc or f"Calls {module.name} through the live bridge.", "")
    lines += [
        "",
        *names.remarks(),
        "from __future__ import annotations" + (" as _annotations" if "annotations" in names.taken else ""),
    ]
    blocks = [line for block in (variables, constants) if block for line in ("", *block)]
    body = ["", f"__source__ = {_quoted(module.name)}", *listing, *blocks, *types, *first, *definitions]
    return "\n".join([*lines, *names.imports(), *body, *names.late_imports()]) + "\n"


def _constant(constant: Constant, names: Names) -> list[str]:
    found = literal_of(constant.value)
    value = None if found is None else found[0]
    type_ = Type(Ref("typing", "Final"))
    if _is_long(value):
        type_ = Type(type_.head, (_type_of(value),))
    start = f"{constant.name}: {names.spell(type_)} = "
    if isinstance(value, tuple) and len(value) > 1:
        return listed(f"{start}(", [literal_text(each) for each in value], ")")
    return [f"{start}{constant.value}"]


_MAX_INFERRED = 256
_MAX_KINDS = 8


def _is_long(value: Literal) -> bool:
    """Return whether ``value`` contains a tuple that is too long for pyright to infer its type."""
    return isinstance(value, tuple) and (len(value) > _MAX_INFERRED or any(map(_is_long, value)))


def _type_of(value: Literal) -> Type:
    if not isinstance(value, tuple):
        return NONE if value is None else Type(Ref("builtins", type(value).__name__))
    kinds = dict.fromkeys(map(_type_of, value))
    if len(value) <= _MAX_KINDS:
        return Type(Ref("builtins", "tuple"), tuple(map(_type_of, value)) or (Type("()"),))
    return Type(Ref("builtins", "tuple"), (union(*kinds) if len(kinds) <= _MAX_KINDS else ANY, Type("...")))


def render_package(name: str) -> str:
    """Return the text of an ``__init__`` file for a package that has no wrapper; ``name`` is ``""`` for the output directory."""
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
        yield from _head(member, overload, indent, names, ": ...")
        yield from [""] if indent else ["", ""]
    signature = member.signature
    if member.overloads:
        # Type checkers show only the overloads. The implementation has to accept and return whatever they do.
        parameters = tuple(Parameter(p.name, p.kind, ANY, p.default) for p in signature.parameters)
        given = [erased(overload.returns) for overload in member.overloads]
        signature = Signature(parameters, ANY if ANY in given else union(*given))
    yield from decorators
    stream = ", stream=True" if member.streams else ""
    yield f"{indent}@{names.remote()}({_quoted(member.module)}, {_quoted(member.path)}{stream})"
    if member.doc:
        inner = indent + _INDENT
        yield from _head(member, signature, indent, names, ":")
        yield from [*docstring(member.doc, inner), f"{inner}..."]
    else:
        yield from _head(member, signature, indent, names, ": ...")


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


def _head(member: Function, signature: Signature, indent: str, names: Names, end: str) -> list[str]:
    is_async = names.is_async and not member.streams
    returns = stream_of(signature.returns, is_async=names.is_async) if member.streams else signature.returns
    parts: list[str] = []
    kinds = [parameter.kind for parameter in signature.parameters]
    for place, parameter in enumerate(signature.parameters):
        before = kinds[:place]
        if parameter.kind is Kind.KEYWORD_ONLY and not {Kind.VAR_POSITIONAL, Kind.KEYWORD_ONLY} & set(before):
            parts.append("*")
        stars = {Kind.VAR_POSITIONAL: "*", Kind.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        given = _given(parameter.default, names)
        parts.append(f"{stars}{parameter.name}: {names.spell(parameter.type)}{given}")
        if parameter.kind is Kind.POSITIONAL_ONLY and kinds[place + 1 : place + 2] != [Kind.POSITIONAL_ONLY]:
            parts.append("/")
    if indent and kinds and signature.parameters[0].name in ("cls", "self"):
        names.pyright.add("reportSelfClsParameterName")
    start = f"{indent}{'async ' if is_async else ''}def {member.name}("
    first, *rest = listed(start, parts, f") -> {names.spell(returns)}{end}", indent)
    return [first + (_OVERRIDES if member.overrides else ""), *rest]


def _given(default: str | Expression | Default, names: Names) -> str:
    match default:
        case Default.REQUIRED:
            return ""
        case Default.LEFT:
            return " = ..."
        case str(text):
            return f" = {text}"
    return f" = {names.express(default, '')}"


def _quoted(text: str) -> str:
    return f'"{text}"'
