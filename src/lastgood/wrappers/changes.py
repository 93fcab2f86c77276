"""API changes between two generations, found by comparing their IRs. Pure.

A change is *breaking* if an existing call, or the use of its result, may fail. In doubt, a change is breaking:

- Removed names always, added names never.
- A function: a parameter was removed, renamed, changed its kind, or became required; a required parameter was added; the
  positional parameters no longer begin with the old ones; ``*args`` or ``**kwargs`` was removed; a parameter's type does not
  certainly accept every value of the old type; the return type is not certainly a subtype of the old one; it has become a
  stream, or is none any more. Names of
  positional-only and variadic parameters do not count, nor do the values of defaults. Each old overload needs a new match.
- A type: its form, bases or options changed; a field was removed, changed its type, or lost its default; the order of fields
  changed; a required field was added; any field was added to a named tuple; a key of a typed dict became required or
  optional; a member of an enum was removed or changed its value; it is another object in an app that has imported it
  (:mod:`lastgood.wrappers.layouts`).
- A constant: the type of its value changed.

The names of type variables do not count.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Literal

from msgspec.structs import replace

from lastgood.watch_events import ApiChange
from lastgood.wrappers.ir import (
    Class,
    Constant,
    Data,
    Declared,
    Default,
    Expression,
    Field,
    Form,
    Function,
    Kind,
    Module,
    Parameter,
    Ref,
    Signature,
    Type,
    Variable,
    plain,
    stream_of,
    substituted,
    variables,
)
from lastgood.wrappers.layouts import replaced
from lastgood.wrappers.types.annotations import admits, literal_of

__all__ = ["accepts", "compare", "fields_text", "signature_text"]

_Item = Function | Class | Constant | Declared
_SOURCE_DEFAULT = (Ref("lastgood.runtime", "SOURCE_DEFAULT"),)
_VARIADIC = (Kind.VAR_POSITIONAL, Kind.VAR_KEYWORD)
_BY_POSITION = (Kind.POSITIONAL_ONLY, Kind.POSITIONAL_OR_KEYWORD)


def compare(before: Mapping[str, Module], after: Mapping[str, Module]) -> tuple[ApiChange, ...]:
    """Return every change from the modules ``before`` to ``after``, sorted by module, then in source order.

    Unchanged modules may be left out of both, unless a class of theirs derives from one that is another object now: see
    :func:`lastgood.wrappers.layouts.replaced`.
    """
    others = replaced(before, after)
    changes: list[ApiChange] = []
    for name in sorted({*before, *after}):
        old = dict(_offered(before[name])) if name in before else {}
        new = dict(_offered(after[name])) if name in after else {}
        for path in {**old, **new}:
            changes += _change(name, path, old.get(path), new.get(path), others)
    return tuple(changes)


def _offered(module: Module) -> Iterator[tuple[str, _Item]]:
    """Yield what a module offers to callers, by name: functions, static and class methods, types with fields, constants."""
    yield from _members(module.members, "")
    yield from sorted(module.exports.items())


def _members(members: Iterable[Function | Class | Constant], around: str) -> Iterator[tuple[str, _Item]]:
    for member in members:
        path = around + member.name
        if not isinstance(member, Class):
            yield path, member
            continue
        if member.data is not None:
            yield path, member
        yield from _members(member.members, f"{path}.")


def _change(
    module: str, name: str, old: _Item | None, new: _Item | None, others: Container[Declared]
) -> Iterator[ApiChange]:
    if old is not None and new is not None and _what(old) == _what(new):
        before, after = _item_text(old), _item_text(new)
        breaking = _breaks(old, new) or (isinstance(old, Class) and old.declared in others)
        if breaking or before != after:
            yield ApiChange("altered", _what(new), module, name, before, after, breaking)
        return
    if old is not None:
        yield ApiChange("removed", _what(old), module, name, _item_text(old), None, True)
    if new is not None:
        yield ApiChange("added", _what(new), module, name, None, _item_text(new), False)


def _what(item: _Item) -> Literal["function", "type", "constant"]:
    match item:
        case Function():
            return "function"
        case Constant():
            return "constant"
        case Class() | Declared():
            return "type"


def _item_text(item: _Item) -> str:
    match item:
        case Function():
            return "; ".join(signature_text(_as_declared(item, each)) for each in item.overloads or (item.signature,))
        case Constant():
            return item.value
        case Class():
            return "" if item.data is None else fields_text(item.data)
        case Declared():
            return _name(item)


def _as_declared(function: Function, signature: Signature) -> Signature:
    if not function.streams:
        return signature
    return Signature(signature.parameters, stream_of(signature.returns, is_async=False))


def _breaks(old: _Item, new: _Item) -> bool:
    match old, new:
        case Function(), Function():
            offers = new.overloads or (new.signature,)
            needs = old.overloads or (old.signature,)
            if old.streams != new.streams:
                return True
            return not all(any(_takes_over(offer, need) for offer in offers) for need in needs)
        case Constant(), Constant():
            return _type_of_constant(old) is not _type_of_constant(new)
        case Class(data=Data() as before), Class(data=Data() as after):
            return _data_breaks(before, after)
    return old != new


def _type_of_constant(constant: Constant) -> object:
    value = literal_of(constant.value)
    return value and type(value[0])


# --- functions


def _takes_over(new: Signature, old: Signature) -> bool:
    """Return whether every valid call of ``old`` is valid for ``new``, with a result that can be used in the same way."""
    new, old = _with_numbers(new), _with_numbers(old)
    if not accepts(old.returns, new.returns):
        return False
    before = [p for p in old.parameters if p.kind in _BY_POSITION]
    after = [p for p in new.parameters if p.kind in _BY_POSITION]
    named = {p.name: p for p in new.parameters if p.kind is Kind.KEYWORD_ONLY}
    rest = {p.kind: p for p in new.parameters if p.kind in _VARIADIC}
    pairs: list[tuple[Parameter, Parameter | None]] = [
        (p, after[place] if place < len(after) else None) for place, p in enumerate(before)
    ]
    pairs += [(p, named.pop(p.name, None)) for p in old.parameters if p.kind is Kind.KEYWORD_ONLY]
    pairs += [(p, rest.get(p.kind)) for p in old.parameters if p.kind in _VARIADIC]
    if not all(other is not None and _stands_for(other, p) for p, other in pairs):
        return False
    more = [*after[len(before) :], *named.values()]
    if after[len(before) :] and any(p.kind is Kind.VAR_POSITIONAL for p in old.parameters):
        return False  # arguments that were part of *args would now go to the new parameters
    return all(p.default is not Default.REQUIRED for p in more)


def _takes_anything(type_: Type) -> bool:
    return isinstance(type_.head, Variable) and not type_.head.bound and not type_.head.constraints


def _with_numbers(signature: Signature) -> Signature:
    """Return ``signature`` with its type variables named by their order: their own names, and where they are made, do not count."""
    types = (*(parameter.type for parameter in signature.parameters), signature.returns)
    numbers = _numbers(each for type_ in types for each in variables(type_))
    parameters = (replace(each, type=substituted(each.type, numbers)) for each in signature.parameters)
    return Signature(tuple(parameters), substituted(signature.returns, numbers))


def _numbers(found: Iterable[Variable]) -> dict[Variable, Type]:
    return {
        variable: Type(replace(variable, module="", name=str(number)))
        for number, variable in enumerate(dict.fromkeys(found))
    }


def _stands_for(new: Parameter, old: Parameter) -> bool:
    if new.kind is not old.kind or not (_takes_anything(new.type) or accepts(new.type, old.type)):
        return False
    if new.kind in _VARIADIC:
        return True
    is_renamed = new.name != old.name and new.kind is not Kind.POSITIONAL_ONLY
    return not is_renamed and (new.default is not Default.REQUIRED or old.default is Default.REQUIRED)


_ANYTHING = ("Any", "object")
_READ_ONLY = {
    "Container": ("Collection", "Sequence", "Set", "Mapping", "MutableSequence", "MutableSet", "MutableMapping"),
    "Iterable": (
        "Collection",
        "Reversible",
        "Sequence",
        "Set",
        "Mapping",
        "MutableSequence",
        "MutableSet",
        "MutableMapping",
    ),
    "Reversible": ("Sequence", "Mapping", "MutableSequence", "MutableMapping"),
    "Collection": ("Sequence", "Set", "Mapping", "MutableSequence", "MutableSet", "MutableMapping"),
    "Sequence": ("MutableSequence",),
    "Set": ("MutableSet",),
    "Mapping": ("MutableMapping",),
    "frozenset": (),
}
"""Covariant types (``Sequence[float]`` accepts ``list[int]``), each with the abstract types that are subtypes of it."""
_CONCRETE = {
    "list": ("MutableSequence", *(name for name, below in _READ_ONLY.items() if "MutableSequence" in below)),
    "dict": ("MutableMapping", *(name for name, below in _READ_ONLY.items() if "MutableMapping" in below)),
    "set": ("MutableSet", *(name for name, below in _READ_ONLY.items() if "MutableSet" in below)),
    "frozenset": tuple(name for name, below in _READ_ONLY.items() if "Set" in below),
}
_CONCRETE |= {
    "OrderedDict": ("dict", *_CONCRETE["dict"]),
    "defaultdict": ("dict", *_CONCRETE["dict"]),
    "deque": _CONCRETE["list"],
}
_BELOW = {
    "complex": ("float", "int", "bool"),
    "float": ("int", "bool"),
    "int": ("bool",),
    "PurePath": ("Path", "PurePosixPath", "PureWindowsPath"),
    "tzinfo": ("timezone", "ZoneInfo"),
}
"""Types without parameters, each with its subtypes."""


def accepts(wide: Type, narrow: Type) -> bool:
    """Return whether every value of type ``narrow`` is certainly a value of type ``wide``."""
    wide, narrow = plain(wide), plain(narrow)
    if wide == narrow:
        return True
    if narrow.head == "|":
        return all(accepts(wide, part) for part in narrow.args)
    if wide.head == "|":
        return any(accepts(part, narrow) for part in wide.args)
    if not isinstance(wide.head, Ref):
        return False
    if wide.head.name in _ANYTHING:
        return True
    if not isinstance(narrow.head, Ref):
        return False
    name, other = wide.head.name, narrow.head.name
    if other == "Literal":
        return all(_takes_literal(wide, part) for part in narrow.args)
    if other in _BELOW.get(name, ()):
        return True
    if name == "tuple" == other:
        return _accepts_tuple(wide.args, narrow.args)
    is_wider = other in _READ_ONLY.get(name, ()) or name in _CONCRETE.get(other, ())
    if not is_wider and (name != other or name not in _READ_ONLY):
        return False
    if name not in _READ_ONLY or (name == "Mapping" and wide.args[:1] != narrow.args[:1]):
        return wide.args == narrow.args  # mutable containers are invariant
    return len(wide.args) <= len(narrow.args) and all(map(accepts, wide.args, narrow.args))


def _takes_literal(wide: Type, text: Type) -> bool:
    assert isinstance(text.head, str), "the text of a literal"
    if isinstance(wide.head, Ref) and wide.head.name == "Literal":
        return text in wide.args
    value = literal_of(text.head)
    return value is not None and admits(wide, value[0])


def _accepts_tuple(wide: tuple[Type, ...], narrow: tuple[Type, ...]) -> bool:
    if wide[-1:] != (Type("..."),):
        return len(wide) == len(narrow) and all(map(accepts, wide, narrow))
    items = () if narrow == (Type("()"),) else narrow[:1] if narrow[-1:] == (Type("..."),) else narrow
    return all(accepts(wide[0], item) for item in items)


# --- types


def _data_breaks(old: Data, new: Data) -> bool:
    old, new = _data_with_numbers(old), _data_with_numbers(new)
    if (old.form, old.bases, old.options, old.parameters) != (new.form, new.bases, new.options, new.parameters):
        return True
    fields = {field.name: field for field in new.fields}
    if any(field.name not in fields or _field_breaks(old.form, field, fields[field.name]) for field in old.fields):
        return True
    if old.form in (Form.DATACLASS, Form.NAMED_TUPLE):
        before, after = ([field.name for field in each.fields if _is_ordered(each, field)] for each in (old, new))
        if after[: len(before)] != before:
            return True
    known = {field.name for field in old.fields}
    return any(_must_be_known(old.form, field) for field in new.fields if field.name not in known)


def _data_with_numbers(data: Data) -> Data:
    """Return ``data`` with its type parameters named by their order, as :func:`_with_numbers` does."""
    if not data.parameters:
        return data
    numbers = _numbers(data.parameters)
    return replace(
        data,
        bases=tuple(substituted(base, numbers) for base in data.bases),
        fields=tuple(replace(field, type=substituted(field.type, numbers)) for field in data.fields),
        parameters=tuple(type_.head for type_ in numbers.values() if isinstance(type_.head, Variable)),
    )


def _is_ordered(data: Data, field: Field) -> bool:
    return "kw_only=True" not in field.options and ("kw_only=True",) not in (data.options or ())


def _field_breaks(form: Form, old: Field, new: Field) -> bool:
    if form is Form.ENUM:
        return old.default != new.default
    had_default, has_default = (field.default is not None or field.factory is not None for field in (old, new))
    same = (old.type, old.required, old.options) == (new.type, new.required, new.options)
    return not same or (had_default and not has_default)


def _must_be_known(form: Form, field: Field) -> bool:
    match form:
        case Form.ENUM | Form.EXCEPTION:
            return False
        case Form.NAMED_TUPLE:
            return True  # code that unpacks the tuple depends on its length
        case Form.TYPED_DICT:
            return field.required
        case Form.DATACLASS:
            return field.default is None and field.factory is None and "init=False" not in field.options


# --- text


def signature_text(signature: Signature) -> str:
    """Return a signature as :class:`inspect.Signature` prints it, with ``...`` for a default that only the source knows.

    >>> signature_text(Signature((Parameter("sku", Kind.KEYWORD_ONLY, Type(Ref("builtins", "str"))),), Type("None")))
    '(*, sku: str) -> None'
    """
    parts: list[str] = []
    last: Kind | None = None
    for parameter in signature.parameters:
        kind = parameter.kind
        if last is Kind.POSITIONAL_ONLY is not kind:
            parts.append("/")
        if kind is Kind.KEYWORD_ONLY and last not in (Kind.KEYWORD_ONLY, Kind.VAR_POSITIONAL):
            parts.append("*")
        stars = {Kind.VAR_POSITIONAL: "*", Kind.VAR_KEYWORD: "**"}.get(kind, "")
        parts.append(f"{stars}{parameter.name}: {_type_text(parameter.type)}{_default_text(parameter.default)}")
        last = kind
    if last is Kind.POSITIONAL_ONLY:
        parts.append("/")
    return f"({', '.join(parts)}) -> {_type_text(signature.returns)}"


def _default_text(default: str | Expression | Default) -> str:
    match default:
        case Default.REQUIRED:
            return ""
        case Default.LEFT:
            return " = ..."
        case str():
            return f" = {default}"
    return f" = {_expression(default)}"


def fields_text(data: Data) -> str:
    """Return one line with a type's form, bases, fields and options."""
    bases = f"({', '.join(map(_type_text, data.bases))})" if data.bases else ""
    parameters = f"[{', '.join(each.name for each in data.parameters)}]" if data.parameters else ""
    fields = ", ".join(_field_text(data.form, field) for field in data.fields)
    options = ", ".join(map(_expression, data.options or ()))
    return f"{data.form.value}{parameters}{bases} ({fields})" + (f" [{options}]" if options else "")


def _field_text(form: Form, field: Field) -> str:
    if form is Form.ENUM:
        return f"{field.name} = {_expression(field.default or ())}"
    type_ = _type_text(field.type) if field.required else f"NotRequired[{_type_text(field.type)}]"
    default = "" if field.default is None else f" = {_expression(field.default)}"
    default = " = ..." if field.default == _SOURCE_DEFAULT else default
    default = default if field.factory is None else f" = {_expression(field.factory)}()"
    options = f" [{', '.join(field.options)}]" if field.options else ""
    return f"{field.name}: {type_}{default}{options}"


def _expression(expression: Expression) -> str:
    return "".join(part if isinstance(part, str) else _name(part) for part in expression)


def _type_text(type_: Type) -> str:
    if type_.head == "|":
        return " | ".join(map(_type_text, type_.args))
    head = type_.head if isinstance(type_.head, str) else _name(type_.head)
    return f"{head}[{', '.join(map(_type_text, type_.args))}]" if type_.args else head


def _name(name: Ref | Declared | Variable) -> str:
    return (
        name.name
        if isinstance(name, Variable) or name.module in ("builtins", "typing")
        else f"{name.module}.{name.name}"
    )
