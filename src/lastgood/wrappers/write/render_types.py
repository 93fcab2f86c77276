"""Rendering of classes that are declared by their fields."""

from __future__ import annotations

import keyword

from lastgood.wrappers.ir import ANY, Class, Data, Field, Form, Ref, Type, mentioned, plain
from lastgood.wrappers.types.defaults import takes
from lastgood.wrappers.write.spelling import Names, listed

__all__ = ["class_statement", "holds_data"]

_INDENT = "    "
_ROOTS = {
    Form.NAMED_TUPLE: Ref("typing", "NamedTuple"),
    Form.TYPED_DICT: Ref("typing", "TypedDict"),
}
# Which of these errors mypy reports depends on what is overridden, and on its version.
_OVERRIDES = dict.fromkeys(Form, "  # type: ignore[assignment, unused-ignore]")
_OVERRIDES[Form.TYPED_DICT] = "  # type: ignore[assignment, misc, unused-ignore]"
_ITEMS = {
    "Counter": 1,
    "OrderedDict": 2,
    "defaultdict": 2,
    "deque": 1,
    "dict": 2,
    "frozenset": 1,
    "list": 1,
    "set": 1,
}


def holds_data(member: Class) -> bool:
    """Return whether the class, or a class nested in it, is declared by its fields."""
    return member.data is not None or any(holds_data(inner) for inner in member.members if isinstance(inner, Class))


def class_statement(member: Class, indent: str, names: Names) -> tuple[list[str], list[str]]:
    """Return the lines of a class head and of its fields. A head that does not end with ``:`` is a complete statement."""
    data = member.data
    if data is None:
        return [f"{indent}class {member.name}:"], []
    if data.form is Form.TYPED_DICT and any(_is_no_name(field.name) for field in data.fields):
        return _by_call(member.name, data, indent, names), []
    inside = str(member.declared.name) if member.declared is not None else member.name
    bases = [_base(base, data, names, inside.rpartition(".")[0]) for base in data.bases]
    if not bases and data.form in _ROOTS:
        bases = [names.use(_ROOTS[data.form])]
    if data.parameters:
        bases.append(names.spell(Type(Ref("typing", "Generic"), tuple(map(Type, data.parameters)))))
    head = []
    if data.form is Form.DATACLASS and data.options is not None:
        options = [names.express(option, inside) for option in data.options]
        decorator = f"{indent}@{names.use(Ref('dataclasses', 'dataclass'))}"
        head = listed(f"{decorator}(", options, ")", indent) if options else [decorator]
    elif data.options:
        bases += [names.express(option, inside) for option in data.options]
    if bases:
        head += listed(f"{indent}class {member.name}(", bases, "):", indent)
    else:
        head.append(f"{indent}class {member.name}:")
    inner = indent + _INDENT
    fields = [inner + _field(field, data.form, inside, names) for field in data.fields]
    if not fields and not member.doc and not member.members:
        fields = [f"{inner}pass"]
    return head, fields


def _base(base: Type, data: Data, names: Names, around: str) -> str:
    """Return a base of a class in the body of the class ``around``."""
    if not data.quotes_bases or not base.args:
        return names.spell(base, around)
    return f"{names.spell(Type(base.head), around)}[{', '.join(map(names.quoted, base.args))}]"


def _is_no_name(name: str) -> bool:
    return not name.isidentifier() or keyword.iskeyword(name)


def _by_call(name: str, data: Data, indent: str, names: Names) -> list[str]:
    """Return a typed dict in call syntax, for keys that are no identifiers."""
    pairs = [f"{field.name!r}: {_type(field, data.form, names)!r}".replace("'", '"') for field in data.fields]
    return listed(f'{indent}{name} = {names.use(_ROOTS[Form.TYPED_DICT])}("{name}", {{', pairs, "})", indent)


def _type(field: Field, form: Form, names: Names) -> str:
    may_lack = form is Form.TYPED_DICT and not field.required
    return names.spell(Type(Ref("typing", "NotRequired"), (field.type,)) if may_lack else field.type)


def _factory(field: Field, inside: str, names: Names) -> str:
    """Return a field's default factory. For an empty ``list``, pyright needs the type of its items."""
    assert field.factory is not None
    made = field.factory[0]
    text = names.express(field.factory, inside)
    arity = _ITEMS.get(made.name, 0) if isinstance(made, Ref) else 0
    if not arity:
        return text
    type_ = plain(field.type)
    options = type_.args if type_.head == "|" else (type_,)
    items = next((each.args for each in options if len(each.args) == arity and takes(each, Type(made))), ())
    if not items or any(True for item in items for _ in mentioned(item)):
        items = (ANY,) * arity  # the class may not be defined yet
    return f"{text}[{', '.join(map(names.spell, items))}]"


def _field(field: Field, form: Form, inside: str, names: Names) -> str:
    value = None if field.default is None else names.express(field.default, inside)
    if field.factory is not None or field.options:
        given = [] if value is None else [f"default={value}"]
        given += [] if field.factory is None else [f"default_factory={_factory(field, inside, names)}"]
        value = f"{names.use(Ref('dataclasses', 'field'))}({', '.join([*given, *field.options])})"
    declared = field.name if form is Form.ENUM else f"{field.name}: {_type(field, form, names)}"
    return declared + ("" if value is None else f" = {value}") + (_OVERRIDES[form] if field.overrides else "")
