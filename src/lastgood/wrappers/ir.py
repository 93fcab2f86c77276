"""The intermediate representation (IR) of a wrapper, independent of reading and writing: frozen, comparable, hashable values.

It is stored with each generation, and in the cache, as :func:`packed` bytes. Bytes of another :data:`FORMAT` are ignored.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from enum import Enum
from typing import TypeVar

import msgspec
from msgspec.structs import replace

__all__ = [
    "ANNOTATED",
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
    "Variable",
    "erased",
    "mentioned",
    "metadata_of",
    "packed",
    "plain",
    "stream_of",
    "substituted",
    "union",
    "unpacked",
    "variables",
]

FORMAT = 6
"""The version of the bytes of :func:`packed`. Increment it with every change of a class here."""


class _Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The base class. There are many such trees, and they have no reference cycles, so the garbage collector skips them."""


class Ref(_Part, frozen=True, tag=0):
    """A name of the standard library or of lastgood. The file that uses it decides how to import and spell it."""

    module: str
    name: str


class Declared(_Part, frozen=True, tag=1):
    """A type that wrappers declare: ``name`` in the wrapper of ``module``. Dots in ``name`` pass through classes."""

    module: str
    name: str


class Variable(_Part, frozen=True, tag=2):
    """A type variable, declared in each wrapper that uses it. ``module`` is where the source makes it.

    ``default`` is what it stands for where nothing is given (:pep:`696`); wrappers do not declare that. ``is_rebound``: it takes
    the place of a class's type variable in a static method, where not every type checker binds that one.
    """

    module: str
    name: str
    bound: Type | None = None
    constraints: tuple[Type, ...] = ()
    default: Type | None = None
    is_covariant: bool = False
    is_rebound: bool = False


Expression = tuple[str | Ref | Declared, ...]
"""Source text in parts. The file that contains it decides how the names in it are spelt."""


class Type(_Part, frozen=True):
    """An annotation as a tree: ``list[int]`` is ``Type(Ref("builtins", "list"), (Type(Ref("builtins", "int")),))``.

    A ``head`` that is a string is literal text (``None``, ``...``, ``()``, a literal value), except ``|``, which makes a union
    of the ``args``, and ``=``, which makes an expression of them: the metadata of an ``Annotated`` type.
    """

    head: Ref | Declared | Variable | str
    args: tuple[Type, ...] = ()


ANY = Type(Ref("typing", "Any"))
ANNOTATED = Ref("typing", "Annotated")
NONE = Type("None")


def metadata_of(expression: Expression) -> Type:
    """Return ``expression`` as the metadata of an ``Annotated`` type."""
    return Type("=", tuple(map(Type, expression)))


def plain(type_: Type) -> Type:
    """Return ``type_`` without the metadata around it."""
    while type_.head == ANNOTATED:
        type_ = type_.args[0]
    return type_


def union(*options: Type) -> Type:
    """Return the union of ``options``, flattened and without duplicates, in their order."""
    flat = dict.fromkeys(part for option in options for part in (option.args if option.head == "|" else (option,)))
    return next(iter(flat)) if len(flat) == 1 else Type("|", tuple(flat))


def stream_of(item: Type, *, is_async: bool) -> Type:
    """Return the type of a stream whose items are of the type ``item``."""
    return Type(Ref("collections.abc", "AsyncIterator" if is_async else "Iterator"), (item,))


def mentioned(type_: Type) -> Iterator[Declared]:
    """Yield every declared type in ``type_``, in order, also in the bounds of type variables."""
    if isinstance(type_.head, Declared):
        yield type_.head
    elif isinstance(type_.head, Variable):
        for part in (type_.head.bound, *type_.head.constraints):
            yield from () if part is None else mentioned(part)
    for part in type_.args:
        yield from mentioned(part)


def variables(type_: Type) -> Iterator[Variable]:
    """Yield every type variable in ``type_``, in order, each as often as it occurs."""
    if isinstance(type_.head, Variable):
        yield type_.head
    for part in type_.args:
        yield from variables(part)


def substituted(type_: Type, given: Mapping[Variable, Type]) -> Type:
    """Return ``type_`` with these types in place of type variables."""
    if isinstance(type_.head, Variable):
        return given.get(type_.head, type_)
    args = tuple(substituted(part, given) for part in type_.args)
    if args == type_.args:
        return type_
    return union(*args) if type_.head == "|" else Type(type_.head, args)


def erased(type_: Type, keep: Container[Variable] = ()) -> Type:
    """Return ``type_`` with what they stand for in place of all type variables but those in ``keep``.

    That is the bound, the union of the constraints, the default, or else ``Any``. For a parameter of a declared class, which may
    have the same constraints, a union will not do.
    """
    if isinstance(type_.head, Variable):
        return type_ if type_.head in keep else _stands_for(type_.head)
    if not any(True for _ in variables(type_)):
        return type_
    args = [erased(part, keep) for part in type_.args]
    if isinstance(type_.head, Declared):
        parts = zip(args, type_.args, strict=True)
        args = [ANY if isinstance(before.head, Variable) and part.head == "|" else part for part, before in parts]
    return union(*args) if type_.head == "|" else Type(type_.head, tuple(args))


def _stands_for(variable: Variable) -> Type:
    if variable.constraints:
        return union(*variable.constraints)
    return variable.bound or variable.default or ANY


class Kind(Enum):
    """The kind of a parameter, named as :mod:`inspect` describes it."""

    POSITIONAL_ONLY = "positional-only"
    POSITIONAL_OR_KEYWORD = "positional or keyword"
    VAR_POSITIONAL = "variadic positional"
    KEYWORD_ONLY = "keyword-only"
    VAR_KEYWORD = "variadic keyword"


class Default(Enum):
    """A stand-in for the text of a default. ``LEFT``: left to the source; an omitted argument is not sent."""

    REQUIRED = 0
    LEFT = 1


class Parameter(_Part, frozen=True):
    """A parameter. ``default`` is the text of an immutable literal, an expression, or the reason why there is neither."""

    name: str
    kind: Kind
    type: Type = ANY
    default: str | Expression | Default = Default.REQUIRED


class Signature(_Part, frozen=True):
    """The parameters of a function, in order, and its return type."""

    parameters: tuple[Parameter, ...]
    returns: Type = ANY


class Function(_Part, frozen=True, tag=0):
    """A function, or the static or class method of a :class:`Class` (without its ``cls``).

    Calls go to ``path`` (dots pass through classes) in ``module``. ``overrides`` is True if a base has a method of this name with
    another signature. Type checkers reject some of these: class methods, which may differ by ``Self``, are static here. If it
    ``streams``, its result is a stream, and what its signatures return is the type of the items.
    """

    name: str
    signature: Signature
    module: str
    path: str
    doc: str | None = None
    overloads: tuple[Signature, ...] = ()
    overrides: bool = False
    streams: bool = False


class Form(Enum):
    """The form in which a wrapper declares a class by its fields, or an exception by its bases and attributes."""

    DATACLASS = "dataclass"
    ENUM = "enum"
    NAMED_TUPLE = "named tuple"
    TYPED_DICT = "typed dict"
    EXCEPTION = "exception"


class Field(_Part, frozen=True):
    """A field of a class, or a member of an enum.

    ``default`` is the field's default or the member's value, ``factory`` its default factory; None if there is none.
    ``options`` are further arguments of ``dataclasses.field()``. ``required`` is False for an optional key of a typed dict.
    ``overrides`` is True if a base has a member of this name with another type, as in the source. Type checkers reject that.
    """

    name: str
    type: Type = ANY
    default: Expression | None = None
    factory: Expression | None = None
    options: tuple[str, ...] = ()
    required: bool = True
    overrides: bool = False


class Data(_Part, frozen=True):
    """The fields of a class, and how they are declared.

    ``options`` are the arguments of a dataclass's decorator (None: it has no decorator), or the class keywords of an enum.
    ``parameters`` are the type variables for which types can be given, ``quotes_bases`` whether classes among the arguments of
    its bases need not exist yet.
    """

    form: Form
    bases: tuple[Type, ...] = ()
    fields: tuple[Field, ...] = ()
    options: tuple[Expression, ...] | None = ()
    parameters: tuple[Variable, ...] = ()
    quotes_bases: bool = False


class Class(_Part, frozen=True, tag=1):
    """A class with what it offers without an instance, and with ``data`` also the fields of its instances.

    ``declared`` is its name as a type, if it can be declared by its fields.
    """

    name: str
    members: tuple[Function | Class, ...]
    doc: str | None = None
    declared: Declared | None = None
    data: Data | None = None


class Constant(_Part, frozen=True, tag=2):
    """A name bound to an immutable literal, whose text is ``value``."""

    name: str
    value: str


class Module(_Part, frozen=True):
    """A module. ``name`` is the dotted name of its source.

    ``exports`` are the types that it exports, by the names under which it does so. ``hidden`` are the names of members that are
    declared in its wrapper but not exported. ``around`` are the classes that it exports with others in them.
    """

    name: str
    members: tuple[Function | Class | Constant, ...]
    doc: str | None = None
    exports: Mapping[str, Declared] = {}
    hidden: frozenset[str] = frozenset()
    around: frozenset[str] = frozenset()


_ENCODER = msgspec.msgpack.Encoder(order="deterministic")
_DECODER = msgspec.msgpack.Decoder(Module)


def packed(module: Module) -> bytes:
    """Encode ``module``; equal modules give equal bytes. Raises :class:`RecursionError` for types nested too deeply."""
    try:
        return _ENCODER.encode(module)
    except UnicodeEncodeError:  # surrogates in a docstring, the only text that is kept verbatim
        return _ENCODER.encode(_with_escaped_doc(module))


_Part_ = TypeVar("_Part_", Module, Function | Class | Constant)


def _with_escaped_doc(item: _Part_) -> _Part_:
    if isinstance(item, Constant):
        return item
    doc = None if item.doc is None else item.doc.encode("unicode_escape").decode()
    if isinstance(item, Function):
        return replace(item, doc=doc)
    return replace(item, doc=doc, members=tuple(map(_with_escaped_doc, item.members)))


def unpacked(data: bytes) -> Module:
    """Decode the bytes of :func:`packed`. Raises :class:`msgspec.MsgspecError` for any other bytes."""
    return _DECODER.decode(data)
