"""Versions of a source module, drawn by hypothesis.

A :class:`Version` is made of frozen values, and writes itself as the text of the module ``m``. Values in it are expressions,
such as ``Price(x=1, unit=Unit.ONE)``: they mean the same in the source and in its wrapper.

Every version has the functions ``give(text)``, which returns the value of an expression, ``take(value)``, which says what has
arrived, and ``every(...)``, whose signature names each class.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hypothesis import strategies as st

ENUMS = ("Enum", "IntEnum", "StrEnum", "Flag")
CLASSES = ("Unit", "At", "Options", "Price", "Line", "Cat", "Dog", "Desk.Slip")
"""All classes there are, in the order in which they are written; each uses those before it."""
PLAIN = {
    "int": ("1", "0", "-7", "1180591620717411303424"),
    "str": ("'a'", "''", "'é'"),
    "float": ("0.5", "-1e300"),
    "bool": ("True", "False"),
    "bytes": ("b'x'",),
    "None": ("None",),
}
PARAMETERS = ("a", "b", "c", "d")
FIELDS = ("x", "y", "z")
MEMBERS = ("ONE", "TWO", "MORE")
FUNCTIONS = ("f", "g", "Desk.h", "Desk.k")
CONSTANTS = ("RATE", "NAME")
HOWS = ("/", "", "*args", "*", "**")
"""The kinds of parameters, in their order: by position alone, ordinary, the others by position, by keyword alone, the others."""

HEAD = '''\
import enum
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, NamedTuple, TypedDict


def _show(value):
    """What a value is, with the class of everything in it."""
    parts = None
    if isinstance(value, dict):
        parts = [_show(each) for item in value.items() for each in item]
    elif isinstance(value, (set, frozenset)):
        parts = sorted(map(_show, value))
    elif is_dataclass(value):
        parts = [each.name + "=" + _show(getattr(value, each.name)) for each in fields(value)]
    elif isinstance(value, (list, tuple)):
        parts = map(_show, value)
    return type(value).__qualname__ + (repr(value) if parts is None else "(" + ", ".join(parts) + ")")


def give(text: str) -> Any:
    return eval(text)


def take(value):
    return _show(value)
'''


# --- versions


@dataclass(frozen=True)
class Kind:
    """A type. In ``text``, an annotation, each ``{}`` stands for one of ``of``."""

    text: str
    of: tuple[Kind, ...] = ()

    def __str__(self) -> str:
        return self.text.format(*self.of)

    def classes(self) -> set[str]:
        return {self.text} & {*CLASSES} | {name for each in self.of for name in each.classes()}


EMPTY = {"list[{}]": "[]", "set[{}]": "set()", "dict[{}, {}]": "{}"}
"""Defaults of fields whose type is mutable."""
INT, STR, ANY = Kind("int"), Kind("str"), Kind("Any")


@dataclass(frozen=True)
class Field:
    """A field of a class, or with ``how`` a parameter of a function."""

    name: str
    kind: Kind
    default: str | None = None
    how: str = ""

    def written(self) -> str:
        stars = self.how if self.how == "**" else "*" if self.how == "*args" else ""
        return f"{stars}{self.name}: {self.kind}" + ("" if self.default is None else f" = {self.default}")


@dataclass(frozen=True)
class Declared:
    """A class. ``form``: "dataclass", "NamedTuple", "TypedDict" or a class of enum."""

    name: str
    form: str
    fields: tuple[Field, ...] = ()
    members: tuple[tuple[str, str], ...] = ()
    options: frozenset[str] = frozenset()
    base: str = ""

    def written(self) -> Iterator[str]:
        tail = self.name.rpartition(".")[2]
        if self.form == "dataclass":
            yield f"@dataclass({', '.join(f'{option}=True' for option in sorted(self.options))})"
            yield f"class {tail}({self.base}):" if self.base else f"class {tail}:"
        else:
            yield f"class {tail}({f'enum.{self.form}' if self.form in ENUMS else self.form}):"
        for each in self.fields:
            yield "    " + (
                replace(each, default=_factory(each)).written() if self.form == "dataclass" else each.written()
            )
        yield from (f"    {name} = {value}" for name, value in self.members)
        if not self.fields and not self.members:
            yield "    pass"


def _factory(each: Field) -> str | None:
    factory = {"[]": "list", "set()": "set", "{}": "dict"}.get(each.default or "")
    return each.default if factory is None else f"field(default_factory={factory})"


@dataclass(frozen=True)
class Function:
    """A function. It returns ``gives``, an expression, raises it, or shows its arguments (None). ``result`` None: unannotated."""

    name: str
    parameters: tuple[Field, ...] = ()
    result: Kind | None = STR
    gives: str | None = None
    is_async: bool = False
    is_class_method: bool = False

    def written(self) -> Iterator[str]:
        words = [*self._words()]
        if "." in self.name:
            yield "@classmethod" if self.is_class_method else "@staticmethod"
            words[:0] = ["cls"] * self.is_class_method
        result = "" if self.result is None else f" -> {self.result}"
        yield f"{'async ' * self.is_async}def {self.name.rpartition('.')[2]}({', '.join(words)}){result}:"
        shown = f"_show([{', '.join(each.name for each in self.parameters)}])"
        yield (
            f"    return {shown}"
            if self.gives is None
            else f"    {'' if 'raise' in self.gives else 'return '}{self.gives}"
        )

    def _words(self) -> Iterator[str]:
        hows = [each.how for each in self.parameters]
        for place, each in enumerate(self.parameters):
            if each.how == "*" and "*args" not in hows and hows.index("*") == place:
                yield "*"
            yield each.written()
            if each.how == "/" and "/" not in hows[place + 1 :]:
                yield "/"


@dataclass(frozen=True)
class Version:
    """A version of the module ``m``."""

    classes: tuple[Declared, ...] = ()
    functions: tuple[Function, ...] = ()
    constants: tuple[tuple[str, str], ...] = ()
    is_lazy: bool = True
    """Whether annotations are text."""

    def find(self, name: str) -> Declared | None:
        return next((each for each in self.classes if each.name == name), None)

    def fields(self, declared: Declared) -> dict[str, Field]:
        """All fields of a class, those of its base included."""
        base = self.find(declared.base)
        inherited = {} if base is None else self.fields(base)
        return inherited | {each.name: each for each in declared.fields}

    def derived(self, name: str) -> list[str]:
        return [each.name for each in self.classes if each.base == name]

    def is_hashable(self, kind: Kind) -> bool:
        declared = self.find(kind.text)
        if declared is not None:
            frozen = declared.form != "dataclass" or "frozen" in declared.options
            parts = [each.kind for each in self.fields(declared).values()]
            return frozen and declared.form != "TypedDict" and all(map(self.is_hashable, parts))
        return kind.text not in ("list[{}]", "set[{}]", "dict[{}, {}]", "Any") and all(map(self.is_hashable, kind.of))

    def text(self, head: str = HEAD) -> str:
        lines = ["from __future__ import annotations"] * self.is_lazy
        lines += head.splitlines()
        lines += [f"{name} = {value}" for name, value in self.constants]
        for declared in self.classes:
            if "." not in declared.name:
                lines += declared.written()
        inner: list[Declared | Function] = [*self.classes, *self.functions]
        desk = [line for each in inner if each.name.startswith("Desk.") for line in each.written()]
        if desk:
            lines += ["class Desk:", *(f"    {line}" for line in desk)]
        for function in self.functions:
            if "." not in function.name:
                lines += function.written()
        named = ", ".join(f"{each.name.replace('.', '_').lower()}: {each.name}" for each in self.classes)
        lines += [f"def every({named}) -> None: ..."]
        return "\n".join(lines) + "\n"


# --- kinds and values


def kinds(draw: st.DrawFn, version: Version, before: str = "", *, can_be_any: bool = True) -> Kind:
    """A type made of the classes of ``version``, of those written ``before`` one if that is given."""
    usable = [each.name for each in version.classes if not before or CLASSES.index(each.name) < CLASSES.index(before)]
    leaves = st.sampled_from([*PLAIN][:4] + usable * 2).map(Kind)
    leaf = draw(leaves)
    forms = ["{}", "{}", "{}", "list[{}]", "dict[str, {}]", "{} | None", "tuple[{}, ...]", "{} | {}"]
    if version.is_hashable(leaf):
        forms += ["set[{}]", "frozenset[{}]", "dict[{}, {}]"]
    if can_be_any:
        forms += ["Any"]
    match draw(st.sampled_from(forms)):
        case "{}":
            return leaf
        case "Any":
            return ANY
        case "dict[str, {}]":
            return Kind("dict[{}, {}]", (STR, leaf))
        case "{} | None":
            return Kind("{} | {}", (leaf, Kind("None")))
        case "{} | {}":
            other = draw(leaves)
            return leaf if other == leaf else Kind("{} | {}", (leaf, other))
        case "dict[{}, {}]":
            return Kind("dict[{}, {}]", (leaf, draw(leaves)))
        case form:
            return Kind(form, (leaf,))


def values(draw: st.DrawFn, version: Version, kind: Kind, before: str = "") -> str:
    """An expression of this type, made of the classes ``before`` one if that is given."""

    def several(kind: Kind) -> list[str]:
        return [values(draw, version, kind, before) for _ in range(draw(st.integers(0, 2)))]

    match kind.text:
        case text if text in PLAIN:
            return draw(st.sampled_from(PLAIN[text]))
        case "Any":
            return values(draw, version, kinds(draw, version, before, can_be_any=False), before)
        case "list[{}]":
            return f"[{', '.join(several(kind.of[0]))}]"
        case "tuple[{}, ...]":
            return "(" + "".join(f"{each}, " for each in several(kind.of[0])) + ")"
        case "set[{}]" | "frozenset[{}]":
            return f"{kind.text.partition('[')[0]}([{', '.join(several(kind.of[0]))}])"
        case "dict[{}, {}]":
            keys, value = several(kind.of[0]), kind.of[1]
            return "{" + ", ".join(f"{key}: {values(draw, version, value, before)}" for key in keys) + "}"
        case "{} | {}":
            return values(draw, version, draw(st.sampled_from(kind.of)), before)
    declared = version.find(kind.text)
    assert declared is not None, kind
    derived = [
        name for name in version.derived(declared.name) if not before or CLASSES.index(name) < CLASSES.index(before)
    ]
    if bool(derived) and draw(st.booleans()):
        return values(draw, version, Kind(draw(st.sampled_from(derived))), before)
    return _instances(draw, version, declared, before)


def _instances(draw: st.DrawFn, version: Version, declared: Declared, before: str) -> str:
    if declared.members:
        names = draw(st.lists(st.sampled_from(declared.members), min_size=1, max_size=1 + (declared.form == "Flag")))
        return " | ".join(f"{declared.name}.{name}" for name, _ in names)
    given = [
        f"{name}={values(draw, version, each.kind, before)}"
        for name, each in version.fields(declared).items()
        if each.default is None or draw(st.booleans())
    ]
    return f"{declared.name}({', '.join(given)})"


# --- drawing a version


def members(draw: st.DrawFn, form: str, name: str) -> str:
    numbers = {"ONE": "1", "TWO": "2", "MORE": "4"}
    if form == "StrEnum":
        return repr(name.lower())
    return numbers[name] if form == "Flag" else draw(st.sampled_from([numbers[name], f"{numbers[name]}0"]))


def classes(draw: st.DrawFn, version: Version, name: str) -> Declared:
    """A class of this name, made of those of ``version`` that come before it."""
    if name == "Unit":
        form = draw(st.sampled_from(ENUMS))
        chosen = draw(st.lists(st.sampled_from(MEMBERS), min_size=1, max_size=2, unique=True))
        return Declared(name, form, members=tuple((each, members(draw, form, each)) for each in chosen))
    cat = version.find("Cat")
    if name == "Dog" and cat is not None:
        return replace(cat, name="Dog")
    form = {"At": "NamedTuple", "Options": "TypedDict"}.get(name, "dataclass")
    names = draw(st.lists(st.sampled_from(FIELDS), min_size=form != "dataclass", max_size=3, unique=True))
    made = tuple(class_fields(draw, version, name, each) for each in names)
    declared = Declared(name, form, made)
    if form == "dataclass":
        has_base = name == "Line" and version.find("Price") is not None and draw(st.booleans())
        options = draw(st.frozensets(st.sampled_from(["frozen", "slots", "kw_only"])))
        declared = replace(declared, base="Price" if has_base else "", options=options)
    return declared


def class_fields(draw: st.DrawFn, version: Version, owner: str, name: str) -> Field:
    kind = kinds(draw, version, owner)
    return Field(name, kind, defaults(draw, version, owner, kind))


def defaults(draw: st.DrawFn, version: Version, owner: str, kind: Kind) -> str | None:
    """The default of a field of the class ``owner``, or None."""
    if draw(st.booleans()):
        return None
    empty = EMPTY.get(kind.text)
    default = values(draw, version, kind, owner) if empty is None else empty
    return default if can_default(version, owner, kind, default) else None


def can_default(version: Version, owner: str, kind: Kind, default: str) -> bool:
    """Whether a field may have this default: it is not mutable, and a wrapper can declare it."""
    if owner == "Options" or (default in EMPTY.values() and owner == "At"):
        return False
    if default in EMPTY.values():
        return True
    is_instance = "set(" in default or any(re.search(rf"\b{re.escape(name)}\b", default) for name in CLASSES)
    is_member = re.fullmatch(r"Unit\.\w+( \| Unit\.\w+)*", default) is not None
    return version.is_hashable(kind) and (is_member or not is_instance)


def functions(draw: st.DrawFn, version: Version, name: str) -> Function:
    parameters = draw(st.lists(st.sampled_from(PARAMETERS), max_size=3, unique=True))
    made = tuple(parameter(draw, version, name, each) for each in parameters)
    return bodies(
        draw, version, Function(name, made, is_class_method=draw(st.booleans()), is_async=draw(st.booleans()))
    )


def parameter(draw: st.DrawFn, version: Version, function: str, name: str) -> Field:
    how = draw(st.sampled_from([*HOWS, "", ""]))
    kind = kinds(draw, version, within(function))
    default = (
        values(draw, version, kind, within(function))
        if "*a" not in how and how != "**" and draw(st.booleans())
        else None
    )
    return Field(name, kind, default, how)


def within(function: str) -> str:
    """In the body of a class, its own name is not bound yet."""
    return "Desk.Slip" if "." in function else ""


def bodies(draw: st.DrawFn, version: Version, function: Function) -> Function:
    match draw(st.sampled_from(["shows", "shows", "gives", "gives", "raises"])):
        case "shows":
            return replace(function, result=draw(st.sampled_from([STR, None])), gives=None)
        case "raises":
            error = draw(st.sampled_from(["ValueError('no')", "KeyError('a', 1)", "LookupError()"]))
            return replace(function, gives=f"raise {error}")
    result = kinds(draw, version, within(function.name))
    gives = values(draw, version, result)
    is_annotated = draw(st.integers(0, 3)) > 0
    return replace(function, result=result if is_annotated else None, gives=gives)


def constants(draw: st.DrawFn) -> str:
    return draw(st.sampled_from(["1", "2", "'a'", "None", "(1, 2)", "-0.5"]))
