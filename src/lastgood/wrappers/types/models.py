"""Recognition of the classes that a wrapper can declare by their fields.

These are dataclasses (also those of attrs, msgspec and pydantic), enums, named tuples and typed dicts; and exceptions, which
are declared by their bases (see :mod:`lastgood.wrappers.types.exceptions`). A class whose fields
are only known by running it is refused, with a warning: its values stay plain data.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import TypeGuard

from msgspec import Struct, field

from lastgood.wrappers.ir import Declared, Form, Ref
from lastgood.wrappers.read.lineage import inherited
from lastgood.wrappers.read.project import Located, Project
from lastgood.wrappers.read.scope import ENUMS, NAMED_TUPLES, NAMEDTUPLE, TYPED_DICTS, Place, Scope
from lastgood.wrappers.types.annotations import Undeclarable, dotted_name, unquoted
from lastgood.wrappers.types.constants import constant, followed, standard_value
from lastgood.wrappers.types.exceptions import attributes, base_of
from lastgood.wrappers.types.known import known

__all__ = ["Family", "Model", "Models", "RawField", "called", "head_of", "is_sum"]


class Family(Enum):
    """The library, or kind of class, whose rules a class follows."""

    DATACLASS = Form.DATACLASS
    ATTRS = "attrs"
    MSGSPEC = "msgspec"
    PYDANTIC = "pydantic"
    ENUM = Form.ENUM
    NAMED_TUPLE = Form.NAMED_TUPLE
    TYPED_DICT = Form.TYPED_DICT
    EXCEPTION = Form.EXCEPTION

    @property
    def form(self) -> Form:
        """The form in which a wrapper declares it."""
        return self.value if isinstance(self.value, Form) else Form.DATACLASS


_DECORATORS = {
    "dataclasses.dataclass": Family.DATACLASS,
    "pydantic.dataclasses.dataclass": Family.DATACLASS,
    **{f"attrs.{name}": Family.ATTRS for name in ("define", "frozen", "mutable")},
    **{f"attr.{name}": Family.ATTRS for name in ("attrs", "dataclass", "define", "frozen", "mutable", "s")},
}
_BASES = {
    **dict.fromkeys(ENUMS, Family.ENUM),
    **dict.fromkeys(NAMED_TUPLES, Family.NAMED_TUPLE),
    **dict.fromkeys(TYPED_DICTS, Family.TYPED_DICT),
    "msgspec.Struct": Family.MSGSPEC,
    "pydantic.BaseModel": Family.PYDANTIC,
    "pydantic.main.BaseModel": Family.PYDANTIC,
    "pydantic.RootModel": Family.PYDANTIC,
    "pydantic.root_model.RootModel": Family.PYDANTIC,
}
_ROOT_MODELS = frozenset(("pydantic.RootModel", "pydantic.root_model.RootModel"))
"""Models whose instances are one value: their constructor takes it by position."""

_FIELD_MAKERS = frozenset(("attr.attrib", "attr.field", "attr.ib", "attrs.field"))
_WITHOUT_FIELDS = frozenset(
    (
        "abc.ABC",
        "builtins.object",
        "typing.Generic",
        "typing.Protocol",
        "typing_extensions.Generic",
        "typing_extensions.Protocol",
    )
)
_MIXINS = frozenset(
    (
        *(f"builtins.{name}" for name in ("bytes", "complex", "float", "int", "str")),
        *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta")),
        *("decimal.Decimal", "fractions.Fraction"),
    )
)
"""Types that the members of an enum may be of."""
_DEPENDS = "what it is made of depends on a condition"


class RawField(Struct, frozen=True):
    """A field as its class states it. ``annotation`` and ``value`` are None if it has none.

    ``init_only``: it is an ``InitVar``, an argument of the constructor; ``annotation`` is the type inside.
    """

    name: str
    annotation: ast.expr | None = None
    value: ast.expr | None = None
    kw_only: bool = False
    required: bool = True
    init_only: bool = False


class Model(Struct, frozen=True, eq=False):
    """A class that can be declared by its fields.

    ``bases`` are its bases that are models, too; ``refs`` the standard bases of an enum and of its bases, or of an exception.
    ``keywords`` are the arguments of its decorator, or the keywords of its class statement. ``decorated`` is False for an
    undecorated class that derives from a dataclass.
    """

    place: Place
    family: Family
    bases: tuple[Model, ...] = ()
    refs: tuple[Ref, ...] = ()
    raws: tuple[RawField, ...] = ()
    keywords: Mapping[str, ast.expr] = field(default_factory=dict)
    path: str = ""
    decorated: bool = True

    @property
    def declared(self) -> Declared:
        return self.place.declared

    @property
    def is_root_model(self) -> bool:
        return self.family is Family.PYDANTIC and self.path in _ROOT_MODELS

    def flag(self, name: str) -> bool | None:
        """Return the value of keyword ``name`` if it is a literal bool, else None."""
        match self.keywords.get(name):
            case ast.Constant(value=bool(value)):
                return value
        return None


class Models:
    """The models of all classes that have been asked for; each is read once."""

    def __init__(self) -> None:
        self._judged: dict[Declared, Model | Undeclarable | None] = {}
        self.unknown_above: dict[Declared, str] = {}
        """The first class above a class that is no model, or this itself, of which a base is not known; ``""``: there is none."""

    def judge(self, project: Project, place: Place) -> Declared | Undeclarable | None:
        """Return how the class at ``place`` is declared; see :class:`Project`."""
        found = self.of(project, place)
        return found.declared if isinstance(found, Model) else found

    def of(self, project: Project, place: Place) -> Model | Undeclarable | None:
        """Return the model of the class at ``place``, or why it cannot be declared; None for an ordinary class."""
        key = place.declared
        if key not in self._judged:
            self._judged[key] = None  # stops the recursion at a class that derives from itself
            self._judged[key] = _ModelReader(self, project, place).read()
        return self._judged[key]

    def __getitem__(self, declared: Declared) -> Model:
        found = self._judged[declared]
        assert isinstance(found, Model), "only such are declared"
        return found


class _Problem(Exception):
    """A class with fields cannot be declared. The text is a clause that says why."""


class _ModelReader:
    def __init__(self, models: Models, project: Project, place: Place) -> None:
        self.models = models
        self.project = project
        self.place = place
        self.scope = Scope(project, place.outline, place.owner)

    def read(self) -> Model | Undeclarable | None:
        parts = [*self.place.declared.module.split("."), *self.place.name.split(".")]
        try:
            node = self.place.binding.node
            found = self.class_(node) if isinstance(node, ast.ClassDef) else self.made(node.value)
            if found is not None and any(part.startswith("__") for part in parts):
                raise _Problem("its name is private")
            if found is not None and self.place.binding.at.type_only:
                raise _Problem("it exists only for type checkers")
        except _Problem as problem:
            return Undeclarable(str(problem))
        return found

    # A class statement.

    def class_(self, node: ast.ClassDef) -> Model | None:
        family, keywords, path = None, {word.arg: word.value for word in node.keywords if word.arg}, ""
        for decorator in node.decorator_list:
            function, arguments = called(decorator)
            found = self.scope.lookup(dotted_name(function))
            if isinstance(found, str) and found in _DECORATORS:
                family, path = _DECORATORS[found], found
                keywords = {word.arg: word.value for word in arguments if word.arg}
        decorated = family is not None
        bases: list[Model] = []
        refs: list[Ref] = []
        unknown_bases: list[str] = []
        raws: list[RawField] = []
        is_exception = False
        for base in node.bases:
            of_base = self.base(base, bases, refs, raws, unknown_bases)
            is_exception |= of_base is Family.EXCEPTION
            family = family or of_base
        if is_exception:  # whatever else it is
            above = tuple(base for base in bases if base.family is Family.EXCEPTION)
            stated = tuple(RawField(*each) for each in attributes(node))
            return Model(self.place, Family.EXCEPTION, above, tuple(dict.fromkeys(refs)), stated)
        if family is None:
            return None
        if unknown_bases:
            raise _Problem(f"its base {unknown_bases[0]} is not known")
        if any(base.family.form is not family.form for base in bases):
            raise _Problem("its bases are of several kinds")
        if any(base.family is Family.ENUM and base.raws for base in bases):
            raise _Problem("it derives from an enum that has members")
        if family.form is not Form.ENUM and refs:
            raise _Problem(f"it derives from {refs[0].name}")
        decorated |= family not in (Family.DATACLASS, Family.ATTRS)
        if family is Family.PYDANTIC:
            path = next((each.path for each in bases if each.is_root_model), self.root_model(node))
        if not decorated:
            keywords = {}
        elif family.form in (Form.DATACLASS, Form.TYPED_DICT):
            raws = [*raws, *self.fields(node, family, keywords, path)]
        elif family is Family.ENUM:
            raws = list(self.members(node))
        elif not bases and not raws:
            raws = list(self.annotated(node))
        return Model(self.place, family, tuple(bases), tuple(refs), tuple(raws), keywords, path, decorated)

    def base(
        self, node: ast.expr, bases: list[Model], refs: list[Ref], raws: list[RawField], unknown_bases: list[str]
    ) -> Family | None:
        """Record one base. Return the family that it puts the class in, or None."""
        if isinstance(node, ast.Call):  # class Point(namedtuple("Point", "x y")):
            made = self.made(node)
            raws += () if made is None else made.raws
            unknown_bases += [ast.unparse(node)] if made is None else []
            return None if made is None else made.family
        found = self.scope.base(node, self.place.binding)
        node, given = (node.value, node.slice) if isinstance(node, ast.Subscript) else (node, None)
        if isinstance(found, Place):
            model = self.models.of(self.project, found)
            if isinstance(model, Undeclarable):
                raise _Problem(f"its base {ast.unparse(node)} cannot be declared, since {model.reason}")
            if model is None:
                unknown_bases += filter(None, [self.plain_base(found)])
                return None
            refs += [ref for ref in model.refs if ref not in refs]
            bases.append(model)
            return model.family
        if isinstance(found, str) and found in _BASES:
            if found in ENUMS:
                refs.append(Ref("enum", ENUMS[found]))
            if found in _ROOT_MODELS and given is not None:
                raws.append(RawField("root", given))
            return _BASES[found]
        if (exception := base_of(found if isinstance(found, str) else dotted_name(node))) is not None:
            refs.append(Ref("builtins", exception))
            return Family.EXCEPTION
        if isinstance(found, str) and found in _MIXINS:
            refs.append(known(found))
        elif found not in _WITHOUT_FIELDS:
            unknown_bases.append(ast.unparse(node))
        return None

    def root_model(self, node: ast.ClassDef) -> str:
        """Return the path of the base that makes a class a model of one value; ``""`` if there is none."""
        return next(
            (path for path in map(self.scope.base, node.bases) if isinstance(path, str) and path in _ROOT_MODELS), ""
        )

    def plain_base(self, place: Place) -> str:
        """Return what is unknown above a base that is no model: it may add methods, but neither it nor its own bases fields."""
        known = self.models.unknown_above
        if place.declared not in known:
            known[place.declared] = place.name  # it may derive from itself
            node = place.binding.node
            bases = node.bases if isinstance(node, ast.ClassDef) else ()
            unknown = (self.unknown_in(place, base) for base in bases)
            known[place.declared] = next(filter(None, unknown), "")
        return known[place.declared]

    def unknown_in(self, place: Place, base: ast.expr) -> str:
        found = Scope(self.project, place.outline, place.owner).base(base, place.binding)
        if isinstance(found, Place) and self.models.of(self.project, found) is None:
            return self.plain_base(found)
        return "" if found in _WITHOUT_FIELDS else place.name

    # Fields.

    def fields(
        self, node: ast.ClassDef, family: Family, keywords: Mapping[str, ast.expr], path: str
    ) -> Iterator[RawField]:
        if family is Family.ATTRS:
            annotated_only = not path.endswith((".s", ".attrs"))
            match keywords.get("auto_attribs"):
                case ast.Constant(value=bool(value)):
                    annotated_only = value
            makers = [raw for raw in self.attributes(node) if raw.annotation is None]
            if not annotated_only or (makers and "auto_attribs" not in keywords):
                yield from (raw for raw in self.attributes(node) if self.makes_field(raw.value))
                return
        total = not (isinstance(keywords.get("total"), ast.Constant) and keywords["total"].value is False)  # type: ignore[attr-defined] # mypy does not narrow a subscript
        for raw in self.annotated(node):
            if family is Family.PYDANTIC and raw.name.startswith("_"):
                continue  # a private attribute
            yield (
                RawField(raw.name, raw.annotation, raw.value, raw.kw_only, total)
                if family is Family.TYPED_DICT
                else raw
            )

    def annotated(self, node: ast.ClassDef) -> Iterator[RawField]:
        """Yield the fields declared by annotations."""
        scope = Scope(self.project, self.place.outline, node, in_fields=True)
        kw_only = False
        for statement in node.body:
            match statement:
                case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
                    head = head_of(annotation, scope)
                    if head == "dataclasses.KW_ONLY":
                        kw_only = True
                    elif head == "dataclasses.InitVar":
                        inner = unquoted(annotation)
                        type_ = inner.slice if isinstance(inner, ast.Subscript) else None
                        yield RawField(name, type_, value, kw_only, init_only=True)
                    elif head not in ("typing.ClassVar", "typing_extensions.ClassVar"):
                        yield RawField(name, annotation, value, kw_only)
                case ast.If() | ast.Try() | ast.For() | ast.While() | ast.With():
                    if any(isinstance(inner, ast.AnnAssign) for inner in ast.walk(statement)):
                        raise _Problem(_DEPENDS)

    def attributes(self, node: ast.ClassDef) -> Iterator[RawField]:
        """Yield the possible fields of an attrs class: annotated names, and names assigned an ``attr.ib()``."""
        for statement in node.body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if self.makes_field(value):
                    _, arguments = called(value)
                    yield RawField(name, next((word.value for word in arguments if word.arg == "type"), None), value)
                case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
                    if head_of(annotation, self.scope) != "typing.ClassVar":
                        yield RawField(name, annotation, value)

    def makes_field(self, value: ast.expr | None) -> bool:
        return isinstance(value, ast.Call) and self.scope.lookup(dotted_name(value.func)) in _FIELD_MAKERS

    # Members of an enum.

    def members(self, node: ast.ClassDef) -> Iterator[RawField]:
        names: set[str] = set()
        automatic = self.automatic_value()
        for statement in node.body:
            targets: list[ast.expr]
            match statement:
                case ast.Assign(value=value):
                    targets = statement.targets
                case ast.AnnAssign(value=ast.expr() as value):
                    targets = [statement.target]
                case ast.If() | ast.Try() | ast.For() | ast.While() | ast.With():
                    raise _Problem(_DEPENDS)
                case _:
                    continue
            for target in targets:
                if not isinstance(target, ast.Name):
                    raise _Problem(f"its members {ast.unparse(target)} are unpacked from a value")
                if not _is_member(target.id, value):
                    continue
                if self.makes(value, "enum.nonmember"):
                    continue
                if self.makes(value, "enum.member") and value.args:
                    value = value.args[0]
                if self.makes(value, "enum.auto") and not value.args:
                    value_of_auto = None if automatic is None else automatic(target.id)
                    yield RawField(target.id, value=value if value_of_auto is None else ast.Constant(value_of_auto))
                else:
                    self.check_value(target.id, value, names)
                    yield RawField(target.id, value=value)
                names.add(target.id)

    def automatic_value(self) -> Callable[[str], str] | None:
        """Return what gives the value of an ``auto()`` by the name of its member; None if that is left to :mod:`enum`."""
        methods = inherited(self.project, self.place)
        if "__new__" in methods:
            raise _Problem("its __new__ makes its values")
        found = methods.get("_generate_next_value_")
        if found is None:
            return None
        made = found.bindings[-1].node if isinstance(found, Located) else None
        match made:
            case ast.FunctionDef(
                args=ast.arguments(args=[parameter, *_]), body=[*_, ast.Return(value=ast.expr() as text)]
            ):
                is_simple = len(made.body) == 1 or (len(made.body) == 2 and ast.get_docstring(made) is not None)
                if is_simple and _text(text, parameter.arg, "x") is not None:
                    return lambda name: _text(text, parameter.arg, name) or ""
        raise _Problem("its _generate_next_value_ makes its values")

    def makes(self, value: ast.expr, path: str) -> TypeGuard[ast.Call]:
        """Return whether the value of a member is a call of ``path``."""
        scope = Scope(self.project, self.place.outline, self.place.owner)
        return isinstance(value, ast.Call) and scope.lookup(dotted_name(value.func)) == path

    def check_value(self, name: str, value: ast.expr, names: set[str]) -> None:
        """Refuse the enum if the value of a member is not known from the text."""
        inside = Scope(self.project, self.place.outline, self.place.binding.node)
        standard = standard_value(*followed(value, inside))
        is_known = standard is not None and standard[0][-1] != "()"  # whose type mypy could not tell, of a frozenset()
        if constant(value, inside) is None and not is_known and not is_sum(value, names):
            raise _Problem(f"the value of its member {name} is no literal")

    # Calls that make a class.

    def made(self, call: ast.Call) -> Model | None:
        """Return the model of a class created by a call such as ``namedtuple("Point", "x y")``; None for other calls."""
        maker = self.scope.lookup(dotted_name(call.func))
        words = {word.arg: word.value for word in call.keywords if word.arg}
        if len(call.args) > 2 or any(isinstance(argument, ast.Starred) for argument in call.args):
            raise _Problem("its fields are only known at run time")
        given = call.args[1] if len(call.args) == 2 else next(iter(words.values()), None)
        if maker in NAMED_TUPLES:
            return Model(self.place, Family.NAMED_TUPLE, raws=tuple(_pairs(given)))
        if maker == NAMEDTUPLE:
            return Model(self.place, Family.NAMED_TUPLE, raws=_named(given, words, self.scope))
        if maker in TYPED_DICTS and isinstance(given, ast.Dict):
            match words.get("total"):
                case ast.Constant(value=False):
                    total = False
                case _:
                    total = True
            pairs = _pairs(given)
            return Model(
                self.place,
                Family.TYPED_DICT,
                raws=tuple(RawField(raw.name, raw.annotation, required=total) for raw in pairs),
            )
        if maker in ENUMS and isinstance(maker, str):
            mixin = words.pop("type", None)
            kind = None if mixin is None else self.scope.lookup(dotted_name(mixin))
            is_known = mixin is None or (isinstance(kind, str) and kind in _MIXINS)
            if set(words) - {"names", "module", "qualname", "start"} or not is_known:
                raise _Problem("its members are only known at run time")
            return Model(
                self.place,
                Family.ENUM,
                refs=(*((known(kind),) if isinstance(kind, str) else ()), Ref("enum", ENUMS[maker])),
                raws=tuple(_numbered(given, words.get("start"), self.scope)),
            )
        return None


def called(node: ast.expr) -> tuple[ast.expr, list[ast.keyword]]:
    """Return the function of a call and its keyword arguments. A node that is no call is returned itself."""
    return (node.func, node.keywords) if isinstance(node, ast.Call) else (node, [])


def head_of(annotation: ast.expr, scope: Scope) -> str:
    """Return the full path of an annotation's outermost name: ``"typing.ClassVar"`` of ``ClassVar[int]``; ``""`` if unknown."""
    node = unquoted(annotation)
    found = scope.lookup(dotted_name(node.value if isinstance(node, ast.Subscript) else node))
    return found if isinstance(found, str) else ""


_CHANGES = frozenset(("capitalize", "casefold", "lower", "removeprefix", "removesuffix", "replace", "title", "upper"))


def _text(node: ast.expr, parameter: str, name: str) -> str | None:
    """Return the value of ``name.lower()`` or the like, where ``parameter`` is ``name``; None if it is anything else."""
    match node:
        case ast.Name(id=found) if found == parameter:
            return name
        case ast.Call(func=ast.Attribute(value=inner, attr=change), args=arguments, keywords=[]) if change in _CHANGES:
            text = _text(inner, parameter, name)
            given = [each.value for each in arguments if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            if text is not None and len(given) == len(arguments) == (
                2 if change == "replace" else change[:6] == "remove"
            ):
                changed: str = getattr(text, change)(*given)
                return changed
    return None


def _is_member(name: str, value: ast.expr) -> bool:
    if name.startswith("__") or (name.startswith("_") and name.endswith("_")):
        return False
    return not isinstance(value, ast.Lambda)


_OPERATORS = ast.Add | ast.BitAnd | ast.BitOr | ast.BitXor | ast.LShift | ast.Mult | ast.RShift | ast.Sub


def is_sum(value: ast.expr, names: set[str]) -> bool:
    """Return whether ``value`` combines only small ints and earlier members, as the values of flags do."""
    match value:
        case ast.Name(id=name):
            return name in names
        case ast.Constant(value=int(number)):
            return number.bit_length() <= 64
        case ast.BinOp(left=left, op=op, right=right):
            return isinstance(op, _OPERATORS) and is_sum(left, names) and is_sum(right, names)
        case ast.UnaryOp(op=ast.Invert() | ast.USub(), operand=operand):
            return is_sum(operand, names)
    return False


def _pairs(given: ast.expr | None) -> Iterator[RawField]:
    """Yield the fields of ``[("x", int), ...]`` or ``{"x": int, ...}``."""
    match given:
        case ast.List(elts=items) | ast.Tuple(elts=items):
            for item in items:
                match item:
                    case ast.Tuple(elts=[ast.Constant(value=str(name)), annotation]):
                        yield RawField(name, annotation)
                    case _:
                        raise _Problem("its fields are only known at run time")
        case ast.Dict(keys=keys, values=values):
            for key, annotation in zip(keys, values, strict=True):
                if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
                    raise _Problem("its fields are only known at run time")
                yield RawField(key.value, annotation)
        case _:
            raise _Problem("its fields are only known at run time")


def _words(given: ast.expr | None, scope: Scope) -> list[str]:
    """Return the names in ``"x y"``, ``"x, y"`` or ``["x", "y"]``."""
    if given is not None:
        given, scope = followed(given, scope)
    value = None if given is None else constant(_as_tuple(given), scope)
    match value:
        case (str(text),):
            return text.replace(",", " ").split()
        case (tuple(names),) if all(isinstance(name, str) for name in names):
            return [str(name) for name in names]
    raise _Problem("its fields are only known at run time")


def _as_tuple(node: ast.expr) -> ast.expr:
    return ast.Tuple(node.elts) if isinstance(node, ast.List) else node


def _named(given: ast.expr | None, words: Mapping[str, ast.expr], scope: Scope) -> tuple[RawField, ...]:
    names = _words(given, scope)
    if "rename" in words or any(name.startswith("_") or not name.isidentifier() for name in names):
        raise _Problem("its fields are renamed")
    defaults: list[ast.expr] = []
    match words.get("defaults"):
        case None | ast.Constant(value=None):
            pass
        case ast.List(elts=defaults) | ast.Tuple(elts=defaults):
            pass
        case _:
            raise _Problem("its defaults are only known at run time")
    values = [None] * (len(names) - len(defaults)) + defaults
    return tuple(RawField(name, value=value) for name, value in zip(names, values, strict=False))


def _numbered(given: ast.expr | None, start: ast.expr | None, scope: Scope) -> Iterator[RawField]:
    """Yield the members of ``Enum("Colour", "RED GREEN")``, in any of the notations that :mod:`enum` accepts."""
    if given is not None:
        given, scope = followed(given, scope)
    first = None if start is None else constant(start, scope)
    number = first[0] if first is not None and isinstance(first[0], int) else None
    if start is not None and number is None:
        raise _Problem("its first value is only known at run time")
    match given:
        case ast.List(elts=[ast.Tuple(), *_]) | ast.Tuple(elts=[ast.Tuple(), *_]) | ast.Dict():
            for raw in _pairs(given):
                if raw.annotation is None or constant(raw.annotation, scope) is None:
                    raise _Problem(f"the value of its member {raw.name} is no literal")
                yield RawField(raw.name, value=raw.annotation)
        case _:
            for place, name in enumerate(_words(given, scope)):
                yield RawField(name, value=None if number is None else ast.Constant(number + place))
