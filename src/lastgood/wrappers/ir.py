"""What a wrapper is made of, independent of how it was read and how it is written: frozen values, comparable, hashable.

They are kept with a generation, and in the cache, as :func:`packed`; what has another :data:`FORMAT` is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import TypeVar

import msgspec
from msgspec.structs import replace

__all__ = [
    "ANY",
    "FORMAT",
    "NONE",
    "Class",
    "Constant",
    "Data",
    "Declared",
    "Default",
    "Expression",
    "Field",
    "Form",
    "Function",
    "Kind",
    "Module",
    "Parameter",
    "Ref",
    "Signature",
    "Type",
    "mentioned",
    "packed",
    "union",
    "unpacked",
]

FORMAT = 2
"""Of what :func:`packed` gives. To be raised with every change of a class here."""


class _Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What everything here is: trees, of which there are many, and in which the garbage collector finds no circles."""


class Ref(_Part, frozen=True, tag=0):
    """A name of the standard library or of lastgood. The file that uses it decides how it is imported and spelt."""

    module: str
    name: str


class Declared(_Part, frozen=True, tag=1):
    """A type that the wrappers declare: ``name`` (dots pass through classes) in the wrapper of ``module``."""

    module: str
    name: str


Expression = tuple[str | Ref | Declared, ...]
"""Source text in parts: the names in it are spelt by the file that holds it."""


class Type(_Part, frozen=True):
    """An annotation as a tree: ``list[int]`` is ``Type(Ref("builtins", "list"), (Type(Ref("builtins", "int")),))``.

    A ``head`` that is text stands for itself (``None``, ``...``, ``()``, a literal value), but for ``|``, which joins
    its ``args``.
    """

    head: Ref | Declared | str
    args: tuple[Type, ...] = ()


ANY = Type(Ref("typing", "Any"))
NONE = Type("None")


def union(*options: Type) -> Type:
    """The union of ``options``, flat and without repetition, in their order."""
    flat = dict.fromkeys(part for option in options for part in (option.args if option.head == "|" else (option,)))
    return next(iter(flat)) if len(flat) == 1 else Type("|", tuple(flat))


def mentioned(type_: Type) -> Iterator[Declared]:
    """Every declared type in ``type_``, in order."""
    if isinstance(type_.head, Declared):
        yield type_.head
    for part in type_.args:
        yield from mentioned(part)


class Kind(Enum):
    """A parameter's kind, by the words that :mod:`inspect` and griffe share."""

    POSITIONAL_ONLY = "positional-only"
    POSITIONAL_OR_KEYWORD = "positional or keyword"
    VAR_POSITIONAL = "variadic positional"
    KEYWORD_ONLY = "keyword-only"
    VAR_KEYWORD = "variadic keyword"


class Default(Enum):
    """What stands in for a default's text. ``LEFT``: left to the source, so the argument is not sent when not given."""

    REQUIRED = 0
    LEFT = 1


class Parameter(_Part, frozen=True):
    """``default`` is the text of an immutable literal, or why there is none."""

    name: str
    kind: Kind
    type: Type = ANY
    default: str | Default = Default.REQUIRED


class Signature(_Part, frozen=True):
    """The parameters of a function, in their order, and what it returns."""

    parameters: tuple[Parameter, ...]
    returns: Type = ANY


class Function(_Part, frozen=True, tag=0):
    """A function, or the static or class method of a :class:`Class` (without its ``cls``).

    Calls go to ``path`` (dots pass through classes) in ``module``.
    """

    name: str
    signature: Signature
    module: str
    path: str
    doc: str | None = None
    overloads: tuple[Signature, ...] = ()


class Form(Enum):
    """What a class that is declared by its fields becomes in a wrapper."""

    DATACLASS = "dataclass"
    ENUM = "enum"
    NAMED_TUPLE = "named tuple"
    TYPED_DICT = "typed dict"


class Field(_Part, frozen=True):
    """A field, or the member of an enum.

    ``default`` is its default, or the member's value; ``factory`` what makes the default; None: there is none. ``options``
    are further arguments of ``dataclasses.field()``. ``required`` is false for a key that a typed dict may lack.
    ``overrides``: a base has something of another type by this name, as its source has it, which type checkers refuse.
    """

    name: str
    type: Type = ANY
    default: Expression | None = None
    factory: Expression | None = None
    options: tuple[str, ...] = ()
    required: bool = True
    overrides: bool = False


class Data(_Part, frozen=True):
    """What makes a class one of values. ``options`` are the arguments of its decorator (dataclass; None: it has none itself),
    or those beside its bases (enum)."""

    form: Form
    bases: tuple[Ref | Declared, ...] = ()
    fields: tuple[Field, ...] = ()
    options: tuple[Expression, ...] | None = ()


class Class(_Part, frozen=True, tag=1):
    """A class, for what it offers without an instance, and with ``data`` for the values that its instances hold.

    ``declared`` names it if it could have ``data``.
    """

    name: str
    members: tuple[Function | Class, ...]
    doc: str | None = None
    declared: Declared | None = None
    data: Data | None = None


class Constant(_Part, frozen=True, tag=2):
    """A name that stands for an immutable literal, whose text is ``value``."""

    name: str
    value: str


class Module(_Part, frozen=True):
    """``name`` is the dotted name of the source.

    ``exports`` are the types that it offers as its own, by the names that it has for them, ``hidden`` the members that it does
    not offer.
    """

    name: str
    members: tuple[Function | Class | Constant, ...]
    doc: str | None = None
    exports: Mapping[str, Declared] = {}
    hidden: frozenset[str] = frozenset()


_ENCODER = msgspec.msgpack.Encoder(order="deterministic")
_DECODER = msgspec.msgpack.Decoder(Module)


def packed(module: Module) -> bytes:
    """``module`` as bytes, equal ones for equal modules. Raises :class:`RecursionError` for types nested too deeply."""
    try:
        return _ENCODER.encode(module)
    except UnicodeEncodeError:  # surrogates in a docstring, the one text that is kept as the user has it
        return _ENCODER.encode(_escaped(module))


_Part_ = TypeVar("_Part_", Module, Function | Class | Constant)


def _escaped(item: _Part_) -> _Part_:
    if isinstance(item, Constant):
        return item
    doc = None if item.doc is None else item.doc.encode("unicode_escape").decode()
    if isinstance(item, Function):
        return replace(item, doc=doc)
    return replace(item, doc=doc, members=tuple(map(_escaped, item.members)))


def unpacked(data: bytes) -> Module:
    """What :func:`packed` was given. Raises :class:`msgspec.MsgspecError` for bytes that are none of its."""
    return _DECODER.decode(data)
