"""Models -> declarations in wrappers: fields with types and defaults, options, and warnings about what is left out."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping

import msgspec
from msgspec.structs import replace

from lastgood.wrappers.ir import (
    ANY,
    NONE,
    Class,
    Data,
    Declared,
    Expression,
    Field,
    Form,
    Ref,
    Type,
    erased,
    mentioned,
    substituted,
    union,
    variables,
)
from lastgood.wrappers.read.lineage import inherited
from lastgood.wrappers.read.outline import METHODS
from lastgood.wrappers.read.project import Project
from lastgood.wrappers.read.scope import Place, Scope, class_parameters
from lastgood.wrappers.read.stubs import field_in_stub
from lastgood.wrappers.types.annotations import dotted_name, literal, read_annotation, unquoted
from lastgood.wrappers.types.defaults import Value, default_value, factory_value, fresh, takes
from lastgood.wrappers.types.exceptions import ATTRIBUTES
from lastgood.wrappers.types.generics import bases_of, itself, quotes_bases
from lastgood.wrappers.types.hashing import defines_hash, is_frozen, is_hashable, makes_hash
from lastgood.wrappers.types.models import Family, Model, Models, RawField, called, head_of, is_sum
from lastgood.wrappers.types.warning_texts import about_annotation

__all__ = ["Declaration", "Refusal", "declare", "needed", "used"]

_FIELD_MAKERS = frozenset(
    (
        *("attr.attrib", "attr.field", "attr.ib", "attrs.field", "dataclasses.field", "msgspec.field"),
        *("pydantic.Field", "pydantic.fields.Field", "pydantic.dataclasses.Field"),
    )
)
_FACTORY_MAKERS = frozenset(("attr.Factory", "attrs.Factory"))
_CLASS_OPTIONS = ("eq", "frozen", "kw_only", "match_args", "order", "repr", "slots", "unsafe_hash")
_COMMON_OPTIONS = ("eq", "frozen", "kw_only", "order")
_FIELD_OPTIONS = ("init", "repr", "hash", "compare", "kw_only")
_FIELD_OPTIONS_OF = {
    Family.ATTRS: ("init", "repr", "hash", "eq", "kw_only"),
    Family.MSGSPEC: (),
    Family.PYDANTIC: ("init", "repr", "kw_only"),
}
_UNSET = ("repr=False", "compare=False")
_MARKERS = ("Required", "NotRequired", "ReadOnly")
_MUTABLE = (ast.List, ast.Dict, ast.Set)
_MIXED_IN = {"IntEnum": "int", "IntFlag": "int", "StrEnum": "str"}
# Attributes of values whose names fields and members may override. The set does not depend on the Python version.
_OF_NUMBERS = frozenset((*dir(int), *dir(float)))
_METHODS: Mapping[str, Iterable[str]] = {
    "Enum": ("name", "value"),
    "bytes": dir(bytes),
    "float": _OF_NUMBERS,
    "int": _OF_NUMBERS,
    "str": dir(str),
    "tuple": dir(tuple),
}


class Declaration(msgspec.Struct, frozen=True, tag=1):
    """The declaration of a class in a wrapper: ``class_``, without members, and warnings about it.

    ``line`` is the line of its definition in the source. ``ordinary`` are the classes of its fields that are not declared by
    fields themselves.
    """

    class_: Class
    warnings: tuple[str, ...]
    line: int
    ordinary: tuple[Declared, ...] = ()


class Refusal(msgspec.Struct, frozen=True, tag=2):
    """A class that cannot be declared. ``reason`` is a clause that says why."""

    reason: str


def declare(project: Project, models: Models, declared: Declared) -> Declaration | Refusal | None:
    """Declare the class ``declared``; None if that name does not lead to a class with fields any more.

    Raises :class:`RecursionError` for annotations nested too deeply.
    """
    at = project.outline(declared.module)
    if at is None:
        return None
    place = Scope(project, at).lookup(declared.name)
    if isinstance(place, tuple):
        return Refusal("its fields are only known at run time")
    if not isinstance(place, Place) or place.declared != declared:
        return Refusal("its name is bound more than once")
    judged = project.judge(place)
    if not isinstance(judged, Declared):
        return None if judged is None else Refusal(judged.reason)
    node = place.binding.node
    declarer = _Declarer(project, models, models[declared], _Bases(project, models))
    data = declarer.data()
    doc = None
    if isinstance(node, ast.ClassDef):
        declarer.warnings += [*declarer.about_constructor(), *declarer.about_methods()]
        doc = place.binding.doc
    class_ = Class(declared.name.rpartition(".")[2], (), doc, declared, data)
    return Declaration(class_, tuple(declarer.warnings), node.lineno, tuple(project.ordinary))


class _Bases:
    """The fields of the bases of a model; each base is read once."""

    def __init__(self, project: Project, models: Models) -> None:
        self._project = project
        self._models = models
        self._found: dict[Declared, Data] = {}
        self._above: dict[Declared, dict[str, Type]] = {}

    def _read(self, model: Model) -> Data:
        if model.declared not in self._found:
            self._found[model.declared] = _Declarer(self._project, self._models, model, self).data()
        return self._found[model.declared]

    def types_above(self, model: Model) -> Mapping[str, Type]:
        """Return the types of the fields in the bases of ``model``, by name."""
        if model.declared in self._above:
            return self._above[model.declared]
        types: dict[str, Type] = {}
        arguments = {base.declared: given for base, given in bases_of(model.place, self._project)}
        for base in reversed(model.bases):
            parameters = class_parameters(base.place, self._project)
            given = dict(zip(parameters, arguments.get(base.declared, ()), strict=False))
            above = {**self.types_above(base), **{field.name: field.type for field in self._read(base).fields}}
            types |= {name: substituted(type_, given) for name, type_ in above.items()}
        return self._above.setdefault(model.declared, types)


class _Declarer:
    """The declaration of one model in progress."""

    def __init__(self, project: Project, models: Models, model: Model, bases: _Bases) -> None:
        self.project = project
        self.models = models
        self.model = model
        self.parameters = class_parameters(model.place, project)
        self.warnings: list[str] = []
        node = model.place.binding.node
        self.node = node if isinstance(node, ast.ClassDef) else None
        outline = model.place.outline
        self.outer = Scope(project, outline, model.place.owner)
        owner = self.node if self.node is not None else model.place.owner
        self.scope = Scope(project, outline, owner, model.place.binding.type_parameters, in_fields=True)
        self.bases = bases
        self.defines_hash = model.flag("eq") is not False and defines_hash(model, _all_bases(model))

    def warn(self, name: str, text: str) -> None:
        declared = self.model.declared
        self.warnings.append(f"{declared.module}.{declared.name}{f'.{name}' if name else ''}: {text}")

    def data(self) -> Data:
        model, form = self.model, self.model.family.form
        if form is Form.ENUM:
            members = self.overriding(map(self.member, model.raws))
            inherited = {ref for base in model.bases for ref in base.refs}
            own = tuple(Type(ref) for ref in model.refs if ref not in inherited)
            return Data(form, (*own, *(Type(base.declared) for base in model.bases)), members, self.boundary())
        if form is Form.EXCEPTION:
            above = (*(Type(base.declared) for base in model.bases), *self.builtin_bases())
            return Data(form, above, self.overriding(map(self.attribute, model.raws)))
        options: tuple[Expression, ...] | None = ()
        raws = {raw.name: raw for raw in model.raws}.values()
        if form is Form.TYPED_DICT:
            fields = self.overriding(map(self.key, model.raws))
        elif form is Form.NAMED_TUPLE:
            fields = self.overriding(self.items(list(raws)))
        else:
            fields = self.overriding(map(self.field, raws)) if model.decorated else ()
            options = tuple(self.options()) if model.decorated else None
        arguments = {base.declared: given for base, given in bases_of(model.place, self.project)}
        bases = tuple(Type(base.declared, arguments.get(base.declared, ())) for base in model.bases)
        return Data(form, bases, fields, options, self.parameters, quotes_bases(model.place))

    def overriding(self, fields: Iterable[Field]) -> tuple[Field, ...]:
        """Mark those of ``fields`` that have another type in a base."""
        model = self.model
        if model.family.form is Form.NAMED_TUPLE:
            taken: Mapping[str, Type | None] = dict.fromkeys(_METHODS["tuple"])
        elif model.family.form is Form.ENUM:
            kinds = (_MIXED_IN.get(ref.name, ref.name) for ref in model.refs)
            taken = dict.fromkeys(name for kind in ("Enum", *kinds) for name in _METHODS.get(kind, ()))
        else:
            taken = self.bases.types_above(model)
            if model.family is Family.EXCEPTION:
                taken = {**dict.fromkeys(ATTRIBUTES), **taken}
        return tuple(
            replace(each, overrides=True) if each.name in taken and taken[each.name] != each.type else each
            for each in fields
        )

    # Enums.

    def member(self, raw: RawField) -> Field:
        value = raw.value
        if value is None or (isinstance(value, ast.Call) and self.outer.lookup(dotted_name(value.func)) == "enum.auto"):
            return Field(raw.name, default=(Ref("enum", "auto"), "()"))
        if literal(value) is None and is_sum(value, {each.name for each in self.model.raws}):
            return Field(raw.name, default=(ast.unparse(value),))
        found = default_value(value, self.scope, self.models)
        return Field(raw.name, default=found[0] if found is not None else (ast.unparse(value),))

    def boundary(self) -> tuple[Expression, ...]:
        path = self.outer.lookup(dotted_name(self.model.keywords.get("boundary", ast.Constant(None))))
        if isinstance(path, str) and path.removeprefix("enum.") in ("CONFORM", "EJECT", "KEEP", "STRICT"):
            return (("boundary=", Ref("enum", path.removeprefix("enum."))),)
        return ()

    # Types of fields.

    def type_of(self, raw: RawField, annotation: ast.expr | None) -> Type:
        scope = self.scope
        if annotation is None:
            found = field_in_stub(self.project, self.model.place, raw.name)
            if found is None:
                return ANY
            annotation, scope = found
        type_, unknown = read_annotation(annotation, scope, self.this())
        free = dict.fromkeys(each for each in variables(type_) if each not in self.parameters)
        type_, unknown = (
            erased(type_, self.parameters),
            (*unknown, *(f"{each.name} is a type variable that nothing binds" for each in free)),
        )
        for text in about_annotation("the field", annotation, type_, unknown):
            self.warn(raw.name, text)
        return type_

    def this(self) -> Type:
        """Return the type for which ``Self`` stands. Type checkers take it as it is in dataclasses."""
        if self.model.family.form is Form.DATACLASS:
            return Type(Ref("typing", "Self"))
        return itself(self.model.declared, self.model.place, self.project)

    def key(self, raw: RawField) -> Field:
        """Return a key of a typed dict, without ``Required``, ``NotRequired`` and ``ReadOnly`` around its type."""
        annotation, required = raw.annotation, raw.required
        while annotation is not None:
            annotation = unquoted(annotation)
            mark = head_of(annotation, self.scope).rpartition(".")[2]
            if not isinstance(annotation, ast.Subscript) or mark not in (*_MARKERS, "Annotated"):
                break
            required = {"Required": True, "NotRequired": False}.get(mark, required)
            inside = annotation.slice
            annotation = inside.elts[0] if mark == "Annotated" and isinstance(inside, ast.Tuple) else inside
        return Field(raw.name, self.type_of(raw, annotation), required=required)

    def items(self, raws: list[RawField]) -> tuple[Field, ...]:
        """Return the fields of a named tuple."""
        fields: list[Field] = []
        for raw in raws:
            type_ = self.type_of(raw, raw.annotation)
            found = None if raw.value is None else default_value(raw.value, self.scope, self.models)
            if raw.value is not None and found is None:
                fields.append(Field(raw.name, type_, _SOURCE_DEFAULT))
            else:
                fields.append(Field(raw.name, *self.fitting(raw, type_, found)))
        return tuple(fields)

    def fitting(self, raw: RawField, type_: Type, found: Value | None) -> tuple[Type, Expression | None]:
        """Return the type and default of a field. If they do not fit together, the type is widened."""
        if found is None:
            return type_, None
        text, given = found
        if takes(type_, given):
            return type_, text
        if text == ("None",):
            return union(type_, NONE), text
        if self.is_mixed_in(type_, given):
            return type_, text
        self.warn(raw.name, "its default is of another type than it is annotated with, so that it became Any.")
        return ANY, text

    def is_mixed_in(self, type_: Type, given: Type) -> bool:
        """Return whether ``given`` is an enum that derives from ``type_``: ``class E(str, Enum)`` for ``str``."""
        if not isinstance(given.head, Declared) or not isinstance(type_.head, Ref):
            return False
        return type_.head.name in {_MIXED_IN.get(ref.name, ref.name) for ref in self.models[given.head].refs}

    # Exceptions.

    def builtin_bases(self) -> Iterator[Type]:
        """Yield the builtin bases of an exception that no other base of it has, and Exception only if there is no other."""
        model = self.model
        inherited = {ref for base in model.bases for ref in base.refs}
        for ref in model.refs:
            if ref in inherited:  # before a class that derives from it, Python would refuse it
                continue
            if ref.name != "Exception" or (len(model.refs) == 1 and not model.bases):
                yield Type(ref, (Type(Ref("builtins", "Exception")),) if ref.name == "ExceptionGroup" else ())

    def attribute(self, raw: RawField) -> Field:
        """Return an attribute of an exception, with a default only if that is known and fits."""
        annotation = None if raw.annotation is None else unquoted(raw.annotation)
        if isinstance(annotation, ast.Subscript) and head_of(annotation, self.scope).endswith((".ClassVar", ".Final")):
            annotation = annotation.slice
        elif annotation is not None and head_of(annotation, self.scope).endswith((".ClassVar", ".Final")):
            annotation = None
        found = None if raw.value is None else default_value(raw.value, self.scope, self.models)
        if annotation is None and found is not None and isinstance(raw.value, ast.Constant):
            kind = type(raw.value.value).__name__
            return Field(raw.name, ANY if kind == "NoneType" else Type(Ref("builtins", kind)), found[0])
        type_, default = self.fitting(raw, self.type_of(raw, annotation), found)
        return Field(raw.name, type_, default)

    # Dataclasses.

    def field(self, raw: RawField) -> Field:
        annotation = None if raw.annotation is None else unquoted(raw.annotation)
        if isinstance(annotation, ast.Subscript) and head_of(annotation, self.scope) == "typing.Final":
            annotation = annotation.slice
        type_ = self.type_of(raw, annotation)
        default, factory, options, is_known = self.assigned(raw)
        if raw.kw_only and not self.all_by_name():
            options = (*(option for option in options if not option.startswith("kw_only")), "kw_only=True")
        if "init=False" in options and not (default or factory):
            # The source sets it, for example in __post_init__. An instance created in the app lacks the attribute.
            options = (*(each for each in options if not each.startswith(("repr", "compare"))), *_UNSET)
        elif raw.init_only:
            # An instance of the app keeps the argument, so that the source's constructor gets it.
            options = (*(each for each in options if each.startswith("kw_only")), *_UNSET)
        found = default or factory
        type_, text = self.fitting(raw, type_, found)
        if (
            self.defines_hash
            and not is_hashable(type_, self.models)
            and not any(each.startswith(("hash", "compare=False")) for each in options)
        ):
            options = (*options, "hash=False")
        is_left = not is_known and "init=False" not in options
        return Field(
            raw.name,
            type_,
            _SOURCE_DEFAULT if is_left else text if default else None,
            text if factory else None,
            options,
        )

    def all_by_name(self) -> bool:
        is_by_name = self.model.family is Family.PYDANTIC and not self.model.is_root_model
        return is_by_name or self.model.flag("kw_only") is True

    def assigned(self, raw: RawField) -> tuple[Value | None, Value | None, tuple[str, ...], bool]:
        """Return the default, factory and options assigned to a field, and whether they are fully known."""
        value = raw.value
        if value is None:
            return None, None, (), True
        maker = self.scope.lookup(dotted_name(value.func)) if isinstance(value, ast.Call) else None
        if (
            not isinstance(value, ast.Call)
            or not isinstance(maker, str)
            or maker not in (_FIELD_MAKERS | _FACTORY_MAKERS)
        ):
            default, factory = self.default(value)
            return default, factory, (), bool(default or factory)
        words = {word.arg: word.value for word in value.keywords if word.arg}
        given = words.get("default", value.args[0] if value.args else None)
        made_by = words.get("default_factory", words.get("factory"))
        if maker in _FACTORY_MAKERS:
            made_by, given = given, None
        elif (
            isinstance(given, ast.Call) and self.scope.lookup(dotted_name(given.func)) in _FACTORY_MAKERS and given.args
        ):
            made_by, given = given.args[0], None
        if isinstance(given, ast.Constant) and given.value is ...:
            given = None
        options = tuple(self.field_options(words))
        if made_by is not None:
            factory = factory_value(made_by, self.scope, self.models)
            return None, factory, options, factory is not None
        if given is None:
            return None, None, options, True
        default, factory = self.default(given)
        return default, factory, options, bool(default or factory)

    def default(self, value: ast.expr) -> tuple[Value | None, Value | None]:
        if isinstance(value, _MUTABLE) and self.model.family in (Family.MSGSPEC, Family.PYDANTIC):
            return None, fresh(value)  # both libraries copy it for each instance
        return default_value(value, self.scope, self.models), None

    def field_options(self, words: dict[str, ast.expr]) -> Iterator[str]:
        for name in _FIELD_OPTIONS_OF.get(self.model.family, _FIELD_OPTIONS):
            match words.get(name):
                case ast.Constant(value=bool(value)):
                    yield f"{name if name != 'eq' else 'compare'}={value}"

    def options(self) -> Iterator[Expression]:
        """Yield the arguments of ``@dataclass``."""
        model = self.model
        if model.family is Family.PYDANTIC and not model.is_root_model:
            yield ("kw_only=True",)
        frozen = self.frozen() if model.family is not Family.DATACLASS else model.flag("frozen")
        own = _CLASS_OPTIONS if model.family is Family.DATACLASS else _COMMON_OPTIONS
        only_by_name = model.family is Family.DATACLASS and model.flag("init") is False and not _is_in_order(model)
        for name in own:
            value = frozen if name == "frozen" else model.flag(name)
            if name == "kw_only" and only_by_name:
                value = True
            if value is not None and not (name == "kw_only" and model.family is Family.PYDANTIC):
                yield (f"{name}={value}",)
        if not (frozen or ("unsafe_hash" in own and model.flag("unsafe_hash"))) and makes_hash(
            model, _all_bases(model)
        ):
            yield ("unsafe_hash=True",)
        if self.needs_weak_references():
            yield ("weakref_slot=True",)

    def needs_weak_references(self) -> bool:
        """Return whether the app must be able to refer weakly to instances that have slots, and the bases do not provide that.

        It notes what the worker has made, unless the constructor does nothing but set the fields (see ``is_neutral`` in
        ``lastgood.bridges.worker.values.instances``).
        """
        models = [self.model, *_all_bases(self.model)]
        if any(each.family is not Family.DATACLASS or not each.flag("slots") for each in models):
            return False
        methods = inherited(self.project, self.model.place)
        own = {"__init__", "__new__", "__post_init__"} | (set() if self.model.flag("frozen") else {"__setattr__"})
        return (
            not own.isdisjoint(methods)
            or any(each.flag("init") is False or each.path.startswith("pydantic") for each in models)
            or any(_is_set_later(raw) for each in models for raw in each.raws)
        )

    def frozen(self) -> bool | None:
        """Return True if the class is declared frozen, else None.

        The root base decides: dataclasses cannot derive frozen from mutable classes or vice versa; other libraries can.
        """
        bases = [base for base in _all_bases(self.model) if base.decorated]
        models = [*bases[-1:]] or [self.model]
        return True if is_frozen(models[0]) else None

    # What is left out.

    def about_constructor(self) -> Iterator[str]:
        """Tell of a dataclass with an ``__init__`` that takes something else than its fields."""
        assert self.node is not None
        own = _constructor_of(self.node) if self.model.family is Family.DATACLASS else None
        if own is None:
            return
        taken, required = own
        raws = {raw.name: raw for model in (*reversed(list(_all_bases(self.model))), self.model) for raw in model.raws}
        fields = [raw.name for raw in raws.values() if not _is_set_later(raw)]
        if set(required) <= set(fields) and set(fields) <= set(taken):
            return
        declared = self.model.declared
        yield (
            f"{declared.module}.{declared.name}: its __init__ takes ({', '.join(taken)}) and not its fields "
            f"({', '.join(fields)}), by which the app makes an instance: the source can return one, and take it back, but take "
            "no other."
        )

    def about_methods(self) -> Iterator[str]:
        assert self.node is not None
        names = []
        for name, bindings in self.model.place.outline.names(self.node).items():
            last = bindings[-1]
            needs_instance = (
                last.is_property or last.is_validator or (last.is_function and last.decorators.isdisjoint(METHODS))
            )
            if needs_instance and not name.startswith("_"):
                names.append(name)
        if names:
            declared = self.model.declared
            how = "bases and attributes" if self.model.family is Family.EXCEPTION else "fields"
            yield (
                f"{declared.module}.{declared.name}: it is declared by its {how}. Left out: what needs an instance in the "
                f"worker ({', '.join(names)})."
            )


def _constructor_of(node: ast.ClassDef) -> tuple[list[str], list[str]] | None:
    """Return the names of the parameters of a class's own ``__init__``, and of those that must be given; None if it has none."""
    for statement in reversed(node.body):
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            arguments = statement.args
            by_position = [*arguments.posonlyargs, *arguments.args][1:]
            optional = len(arguments.defaults)
            required = by_position[: len(by_position) - optional]
            required += [
                each
                for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
                if default is None
            ]
            return [each.arg for each in (*by_position, *arguments.kwonlyargs)], [each.arg for each in required]
    return None


_SOURCE_DEFAULT: Expression = (Ref("lastgood.runtime", "SOURCE_DEFAULT"),)


def _is_set_later(raw: RawField) -> bool:
    """Return whether a field is ``field(init=False)``."""
    _, words = called(raw.value) if raw.value is not None else (None, [])
    return any(word.arg == "init" and isinstance(word.value, ast.Constant) and not word.value.value for word in words)


def _is_in_order(model: Model) -> bool:
    """Return whether the fields could be positional parameters in their order: none without a default follows one with it."""
    raws: dict[str, RawField] = {}
    for each in (*reversed(list(_all_bases(model))), model):
        raws |= {raw.name: raw for raw in each.raws if not (raw.kw_only or each.flag("kw_only") or _is_set_later(raw))}
    have_defaults = list(map(_has_default, raws.values()))
    return have_defaults == sorted(have_defaults)


def _has_default(raw: RawField) -> bool:
    if raw.value is None:
        return False
    function, words = called(raw.value)
    is_field = isinstance(raw.value, ast.Call) and (dotted_name(function) or "").rpartition(".")[2] == "field"
    return not is_field or any(word.arg in ("default", "default_factory") for word in words)


def _all_bases(model: Model) -> Iterator[Model]:
    for base in model.bases:
        yield base
        yield from _all_bases(base)


def needed(data: Data) -> Iterator[Declared]:
    """Yield the declared types that must exist when the class statement of ``data`` runs."""
    for base in data.bases:
        yield from mentioned(Type(base.head) if data.quotes_bases else base)
    for expression in (each for field in data.fields for each in (field.default, field.factory) if each is not None):
        yield from (part for part in expression if isinstance(part, Declared))


def used(class_: Class) -> Iterator[Declared]:
    """Yield every declared type that a declaration needs or mentions."""
    if class_.data is not None:
        yield from needed(class_.data)
        for type_ in (*class_.data.bases, *map(Type, class_.data.parameters)):
            yield from mentioned(type_)
        for field in class_.data.fields:
            yield from mentioned(field.type)
