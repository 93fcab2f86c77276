"""The statements that declare a class by its fields."""

from __future__ import annotations

import keyword

from lastgood.wrappers.ir import Class, Data, Field, Form, Ref
from lastgood.wrappers.layout import Brackets, lay_out
from lastgood.wrappers.spelling import Names

__all__ = ["class_statement", "holds_data"]

_INDENT = "    "
_ROOTS = {
    Form.NAMED_TUPLE: Ref("typing", "NamedTuple"),
    Form.TYPED_DICT: Ref("typing", "TypedDict"),
}


def holds_data(member: Class) -> bool:
    """Whether the class, or one in it, is declared by its fields."""
    return member.data is not None or any(holds_data(inner) for inner in member.members if isinstance(inner, Class))


def class_statement(member: Class, indent: str, names: Names) -> tuple[list[str], list[str]]:
    """The lines of the head of a class, which end with ``:`` unless they are all there is to it, and those of its fields."""
    data = member.data
    if data is None:
        return [f"{indent}class {member.name}:"], []
    if data.form is Form.TYPED_DICT and any(_is_no_name(field.name) for field in data.fields):
        return _by_call(member.name, data, indent, names), []
    bases = [names.use(base) if isinstance(base, Ref) else names.declared(base) for base in data.bases]
    if not bases and data.form in _ROOTS:
        bases = [names.use(_ROOTS[data.form])]
    head = []
    inside = str(member.declared.name) if member.declared is not None else member.name
    if data.form is Form.DATACLASS and data.options is not None:
        options = [names.express(option, inside) for option in data.options]
        decorator = f"{indent}@{names.use(Ref('dataclasses', 'dataclass'))}"
        head = [decorator + (f"({', '.join(options)})" if options else "")]
    elif data.options:
        bases += [names.express(option, inside) for option in data.options]
    listed = f"({', '.join(bases)})" if bases else ""
    head.append(f"{indent}class {member.name}{listed}:")
    inner = indent + _INDENT
    fields = [line for field in data.fields for line in _field(field, data.form, inner, inside, names)]
    if not fields and not member.doc and not member.members:
        fields = [f"{inner}pass"]
    return head, fields


def _is_no_name(name: str) -> bool:
    return not name.isidentifier() or keyword.iskeyword(name)


def _by_call(name: str, data: Data, indent: str, names: Names) -> list[str]:
    """A typed dict with keys that are no names."""
    pairs = [f"{field.name!r}: {_type(field, data.form, names)!r}".replace("'", '"') for field in data.fields]
    root = names.use(_ROOTS[Form.TYPED_DICT])
    return lay_out(
        Brackets(f"{root}(", [f'"{name}"', Brackets("{", pairs, "}")], ")", hugs=True), indent, before=f"{name} = "
    )


def _type(field: Field, form: Form, names: Names) -> str:
    spelt = names.spell(field.type)
    return (
        f"{names.use(Ref('typing', 'NotRequired'))}[{spelt}]"
        if form is Form.TYPED_DICT and not field.required
        else spelt
    )


def _field(field: Field, form: Form, indent: str, inside: str, names: Names) -> list[str]:
    default = None if field.default is None else names.express(field.default, inside)
    if form is Form.ENUM:
        return [f"{indent}{field.name} = {default}"]
    start = f"{field.name}: {_type(field, form, names)}"
    if field.factory is None and not field.options:
        return [f"{indent}{start}{'' if default is None else f' = {default}'}"]
    given = [] if default is None else [f"default={default}"]
    given += [] if field.factory is None else [f"default_factory={names.express(field.factory, inside)}"]
    call = Brackets(f"{names.use(Ref('dataclasses', 'field'))}(", [*given, *field.options], ")", hugs=True)
    return lay_out(call, indent, before=f"{start} = ")
