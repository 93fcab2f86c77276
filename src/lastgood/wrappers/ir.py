"""What a wrapper is made of, independent of how it was read and how it is written: frozen values, comparable, hashable."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = [
    "ANY",
    "NONE",
    "Class",
    "Default",
    "Function",
    "Kind",
    "Module",
    "Parameter",
    "Ref",
    "Signature",
    "Type",
    "union",
]


@dataclass(frozen=True, slots=True)
class Ref:
    """A name of the standard library or of lastgood. The file that uses it decides how it is imported and spelt."""

    module: str
    name: str


@dataclass(frozen=True, slots=True)
class Type:
    """An annotation as a tree: ``list[int]`` is ``Type(Ref("builtins", "list"), (Type(Ref("builtins", "int")),))``.

    A ``head`` that is text stands for itself (``None``, ``...``, ``()``, a literal value), but for ``|``, which joins
    its ``args``.
    """

    head: Ref | str
    args: tuple[Type, ...] = ()


ANY = Type(Ref("typing", "Any"))
NONE = Type("None")


def union(*options: Type) -> Type:
    """The union of ``options``, flat and without repetition, in their order."""
    flat = dict.fromkeys(part for option in options for part in (option.args if option.head == "|" else (option,)))
    return next(iter(flat)) if len(flat) == 1 else Type("|", tuple(flat))


class Kind(Enum):
    """A parameter's kind, by the words that :mod:`inspect` and griffe share."""

    POSITIONAL_ONLY = "positional-only"
    POSITIONAL_OR_KEYWORD = "positional or keyword"
    VAR_POSITIONAL = "variadic positional"
    KEYWORD_ONLY = "keyword-only"
    VAR_KEYWORD = "variadic keyword"


class Default(Enum):
    """What stands in for a default's text. ``LEFT``: left to the source, so the argument is not sent when not given."""

    REQUIRED = "required"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Parameter:
    """``default`` is the text of an immutable literal, or why there is none."""

    name: str
    kind: Kind
    type: Type = ANY
    default: str | Default = Default.REQUIRED


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters of a function, in their order, and what it returns."""

    parameters: tuple[Parameter, ...]
    returns: Type = ANY


@dataclass(frozen=True, slots=True)
class Function:
    """A function, or the static or class method of a :class:`Class` (without its ``cls``)."""

    name: str
    signature: Signature
    doc: str | None = None
    overloads: tuple[Signature, ...] = ()


@dataclass(frozen=True, slots=True)
class Class:
    """A class, for what it offers without an instance."""

    name: str
    members: tuple[Function | Class, ...]
    doc: str | None = None


@dataclass(frozen=True, slots=True)
class Module:
    """``name`` is the dotted name that calls are sent to."""

    name: str
    members: tuple[Function | Class, ...]
    doc: str | None = None
