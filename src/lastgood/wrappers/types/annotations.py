"""Reading of annotations as types on which a caller of the worker can rely.

Kept are types whose values are sent to the worker by value, and abstract types of such values. Names are resolved in their
scope. Any other part of an annotation becomes ``Any``, with a warning: a declared type is never wrong.
"""

from __future__ import annotations

import ast
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from lastgood.wrappers.ir import (
    ANNOTATED,
    ANY,
    NONE,
    Declared,
    Expression,
    Ref,
    Type,
    Variable,
    erased,
    metadata_of,
    plain,
    substituted,
    union,
    variables,
)
from lastgood.wrappers.types.installed import ALIASES, MAKERS
from lastgood.wrappers.types.known import FORMS, KNOWN, STAYS, VARIADIC
from lastgood.wrappers.types.staying import LeftOut, NotKept
from lastgood.wrappers.write.characters import quoted

__all__ = [
    "ANY_STR",
    "Literal",
    "Namespace",
    "Undeclarable",
    "admits",
    "dotted_name",
    "literal",
    "literal_of",
    "literal_text",
    "read_annotation",
    "read_returns",
    "read_variable",
    "unquoted",
]

Literal = None | bool | int | float | str | bytes | tuple["Literal", ...]

_MAX_EXPANDED = 1000
"""Maximum number of types to which the aliases in one annotation may expand."""
_ARGUMENTS = "a type with arguments that do not fit"
_STAYING = Type("")
"""A mark for a type whose values stay where they are. Unions are without it; else it is Any."""
_BOOL = Type(Ref("builtins", "bool"))
ANY_STR = Variable("typing", "AnyStr", None, (Type(Ref("builtins", "str")), Type(Ref("builtins", "bytes"))))


class Undeclarable(Struct, frozen=True):
    """A class with fields that cannot be declared. ``reason`` is a clause that says why."""

    reason: str


class Namespace(Protocol):
    """The scope in which the names of an annotation are resolved."""

    @property
    def module(self) -> str:
        """The name of the module in which it is."""
        ...

    def resolve(self, dotted: str) -> str | Declared | Undeclarable | tuple[Namespace, ast.AST] | None:
        """Resolve a dotted name.

        Return a known type's full path; a type that wrappers declare, or why they cannot; the scope and value of a type alias
        or type variable (its ``type`` statement, or its place in a list of type parameters); or None for anything else.
        """
        ...

    @property
    def aliases(self) -> dict[tuple[str, ast.AST], tuple[Type, tuple[str, ...], int]]:
        """The meaning of each alias that was read: the type, the parts that became ``Any``, and how many types it takes."""
        ...

    def circles(self) -> int:
        """Return how many names have been left unresolved so far since they lie inside of what they stand for."""
        ...

    def parameters(self, declared: Declared) -> tuple[Variable, ...]:
        """Return the type parameters of a class that wrappers declare."""
        ...

    def kind(self, dotted: str) -> str:
        """Return what a dotted name is that resolves to None, as a noun with its article."""
        ...

    def metadata(self, node: ast.expr) -> Expression | None:
        """Return metadata of an ``Annotated`` type as wrappers keep it; None if they do not."""
        ...

    @property
    def keeps_metadata(self) -> bool:
        """True if wrappers keep any metadata."""
        ...


_Found = str | Declared | Undeclarable | tuple[Namespace, ast.AST] | None
_MOST_NAMES = 20
"""Maximum number of other names of a type that are followed."""


def read_annotation(node: ast.expr | None, names: Namespace, this: Type | None = None) -> tuple[Type, tuple[str, ...]]:
    """Return the type of the annotation ``node`` (None: no annotation), and of each part that became ``Any`` a clause.

    It says what the part is: ``"Desk is a plain class"``. ``this`` is the type for which ``Self`` stands. Type variables are left
    in the type.
    """
    if node is None:
        return ANY, ()
    reader = _Reader(this)
    try:
        return reader.read(node, names), tuple(dict.fromkeys(reader.unknown))
    except _TooLarge:
        return ANY, (f"{ast.unparse(node)} is an alias that stands for more than {_MAX_EXPANDED} types",)


def read_returns(node: ast.expr | None, names: Namespace, this: Type | None = None) -> tuple[Type, tuple[str, ...]]:
    """Read a return annotation, as :func:`read_annotation` does. ``NoReturn`` and ``Never`` are read as ``None``."""
    dotted = dotted_name(unquoted(node)) if node is not None else None
    form = names.resolve(dotted) if dotted else None
    if isinstance(form, str) and KNOWN[form][0].name in ("Never", "NoReturn"):
        return NONE, ()
    return read_annotation(node, names, this)


def read_variable(node: ast.AST, names: Namespace) -> Variable | None:
    """Return the type variable that ``node`` makes: a call of ``TypeVar``, or a type parameter (:pep:`695`); else None."""
    if isinstance(node, ast.Call):
        if _form(node.func, names) != "TypeVar":
            return None
        match node.args:
            case [ast.Constant(value=str(name)), *limits]:
                words = {word.arg: word.value for word in node.keywords}
                return _variable(name, names, limits, words)
        return None
    if type(node).__name__ != "TypeVar":  # ast.TypeVar is new in 3.12
        return None
    parameter: Any = node
    bound, default = parameter.bound, getattr(parameter, "default_value", None)
    limits = bound.elts if isinstance(bound, ast.Tuple) else []
    return _variable(parameter.name, names, limits, {"bound": None if limits else bound, "default": default})


def _variable(
    name: str, names: Namespace, limits: Sequence[ast.expr], words: Mapping[str | None, ast.expr | None]
) -> Variable:
    bound, default = words.get("bound"), words.get("default")
    covariant = words.get("covariant")
    return Variable(
        names.module,
        name,
        None if bound is None else erased(read_annotation(bound, names)[0]),
        tuple(erased(read_annotation(each, names)[0]) for each in limits),
        None if default is None else read_annotation(default, names)[0],
        isinstance(covariant, ast.Constant) and covariant.value is True,
    )


class _TooLarge(Exception):
    """The aliases in an annotation expand to too many types: each can double the one before."""


class _Reader:
    def __init__(self, this: Type | None = None) -> None:
        self.unknown: list[str] = []
        self._this = this
        self._aliases = 0  # depth of aliases being expanded
        self._expanded = 0

    def read(self, node: ast.expr, names: Namespace) -> Type:
        found = self._read(node, names)
        if found != _STAYING:
            return found
        whole = unquoted(node)
        head = dotted_name(whole.value if isinstance(whole, ast.Subscript) else whole)
        return self._any(whole, names.kind(head) if head else "a union of what cannot cross")

    def _read(self, node: ast.expr, names: Namespace) -> Type:
        if self._aliases:
            self._count(1)
        node = unquoted(node)
        match node:
            case ast.Constant(value=None):
                return NONE
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return self._union((left, right), names)
            case ast.Name() | ast.Attribute():
                return self._bare(node, names)
            case ast.Call(func=func):  # constr(min_length=1)
                made = names.resolve(dotted_name(func))
                if not isinstance(made, str) or made not in MAKERS:
                    return self._any(node, "an expression")
                self.unknown += [NotKept(ast.unparse(node))] if names.keeps_metadata else []
                return Type(KNOWN[made][0])
            case ast.Subscript(value=value, slice=inside):
                arguments = inside.elts if isinstance(inside, ast.Tuple) else [inside]
                found = _generic(names.resolve(dotted_name(value)))
                if isinstance(found, str):
                    return self._subscript(node, *KNOWN[found], arguments, names)
                if isinstance(found, Declared | Undeclarable):
                    return self._declared(node, found, arguments, names)
                if isinstance(found, tuple):
                    return self._alias(node, *found, [self.read(argument, names) for argument in arguments])
                return self._any(node, names.kind(dotted_name(value)))
        return self._any(node, "an expression")

    def _union(self, options: Sequence[ast.expr], names: Namespace) -> Type:
        """Read a union, without the options of which no value can cross; if there are only such, it is one itself."""
        read = {node: self._read(node, names) for node in options}
        crossing = [type_ for type_ in read.values() if type_ != _STAYING]
        if crossing:
            self.unknown += (LeftOut(ast.unparse(unquoted(node))) for node in read if read[node] == _STAYING)
        return union(*crossing) if crossing else _STAYING

    def _annotated(self, node: ast.expr, metadata: Sequence[ast.expr], names: Namespace) -> Type:
        type_ = self._read(node, names)
        if not names.keeps_metadata or type_ == _STAYING:
            return type_
        kept = [(each, names.metadata(each)) for each in metadata]
        self.unknown += (NotKept(ast.unparse(each)) for each, found in kept if found is None)
        texts = tuple(metadata_of(found) for _, found in kept if found is not None)
        return Type(ANNOTATED, (type_, *texts)) if texts else type_

    def _bare(self, node: ast.expr, names: Namespace) -> Type:
        found = names.resolve(dotted_name(node))
        if isinstance(found, tuple):
            place, value = found
            variable = read_variable(value, place)
            return self._alias(node, place, value, []) if variable is None else Type(variable)
        if isinstance(found, Declared | Undeclarable):
            return self._declared(node, found, [], names)
        if found is None:
            return self._any(node, names.kind(dotted_name(node)))
        ref, arity = KNOWN[found]
        if found in ALIASES and (name := names.metadata(node)) is not None:
            return Type(ANNOTATED, (Type(ref), metadata_of(("=", *name))))
        if ref.name == "Self" and self._this is not None:
            return self._this
        if ref.name == "AnyStr":
            return Type(ANY_STR)
        if arity == FORMS:
            return self._any(node, "a plain class" if ref.name == "Self" else "a special form that means nothing here")
        if arity == STAYS:
            return _STAYING
        if arity == VARIADIC:
            return Type(ref, (ANY, Type("...")))
        return Type(ref, (ANY,) * arity)

    def _alias(self, node: ast.expr, place: Namespace, value: ast.AST, given: list[Type]) -> Type:
        """Read a type alias. ``given`` are the types given for its parameters."""
        value, declared = _aliased(place, value)
        # A quoted alias is a string, to Python and to type checkers. A call creates a ParamSpec or the like.
        if not isinstance(value, ast.Name | ast.Attribute | ast.Subscript | ast.BinOp) or None in declared:
            return self._any(node, "an assigned value or a ParamSpec, which is not followed")
        type_ = self._value(value, place)
        own = tuple(variable for variable in declared if variable is not None) or tuple(dict.fromkeys(variables(type_)))
        if len(given) > len(own):
            return self._any(node, _ARGUMENTS)
        if given:
            self._count(sum(_size(given[own.index(each)]) for each in variables(type_) if each in own[: len(given)]))
        return substituted(type_, _filled(own, given))

    def _value(self, value: ast.expr, place: Namespace) -> Type:
        """Return the type for which an alias stands. It is read once, and counts each time as often as it is expanded."""
        known = place.aliases.get((place.module, value))
        if known is not None:
            type_, unknown, size = known
            self.unknown += unknown
            self._count(size)
            return type_
        circles, told, expanded = place.circles(), len(self.unknown), self._expanded
        self._aliases += 1
        try:
            type_ = self._read(value, place)
        except _TooLarge:
            if self._aliases == 1 and not expanded:
                place.aliases[place.module, value] = ANY, (), _MAX_EXPANDED + 1
            raise
        self._aliases -= 1
        if place.circles() == circles:  # else it is another type where it is read from outside of the circle
            unknown = tuple(dict.fromkeys(self.unknown[told:]))
            place.aliases[place.module, value] = type_, unknown, self._expanded - expanded
        return type_

    def _count(self, more: int) -> None:
        self._expanded += more
        if self._expanded > _MAX_EXPANDED:
            raise _TooLarge

    def _subscript(
        self, node: ast.Subscript, ref: Ref, arity: int, arguments: list[ast.expr], names: Namespace
    ) -> Type:
        match ref.name:
            case _ if arity == STAYS:
                return _STAYING
            case "Optional" if len(arguments) == 1:
                return self._union((arguments[0], ast.Constant(None)), names)
            case "Union" if arguments:
                return self._union(arguments, names)
            case "Annotated" if arguments:
                is_known = len(arguments) > 1 or not names.keeps_metadata  # LowerCase[str] is not
                self.unknown += [] if is_known else [NotKept(ast.unparse(node.value))]
                return self._annotated(arguments[0], arguments[1:], names)
            case "TypeGuard" | "TypeIs" if len(arguments) == 1:
                return _BOOL
            case "Literal" if arguments:
                return self._literal(node, ref, arguments, names)
            case "Unpack" if len(arguments) == 1:
                inner = self.read(arguments[0], names)  # of **kwargs: the keys of a typed dict
                return Type(ref, (inner,)) if isinstance(inner.head, Declared) else self._any(node, _ARGUMENTS)
            case "tuple":
                return self._tuple(ref, arguments, names)
            case _ if arity == len(arguments) > 0:
                return Type(ref, tuple(self.read(argument, names) for argument in arguments))
        return self._any(node, _ARGUMENTS)

    def _tuple(self, ref: Ref, arguments: list[ast.expr], names: Namespace) -> Type:
        match arguments:
            case [] | [ast.Tuple(elts=[])]:
                return Type(ref, (Type("()"),))
            case [item, ast.Constant(value=value)] if value is ...:
                return Type(ref, (self.read(item, names), Type("...")))
            case _ if any(map(_is_unpacked, arguments)):
                self._any(arguments[0], "an unpacked type parameter")
                return Type(ref, (ANY, Type("...")))
        return Type(ref, tuple(self.read(argument, names) for argument in arguments))

    def _literal(self, node: ast.expr, ref: Ref, arguments: list[ast.expr], names: Namespace) -> Type:
        """Read a ``Literal``. A member of an enum in it becomes the enum."""
        texts: list[Type] = []
        enums: list[Type] = []
        for argument in arguments:
            value = literal(argument)
            inner = self._tried(argument, names) if value is None else ANY
            enum = names.resolve(dotted_name(argument).rpartition(".")[0])
            if value is not None and _fits_literal(value[0]):
                texts.append(Type(literal_text(value[0])))
            elif inner.head == ref:
                texts += inner.args  # Literal[Literal["a"], "b"]
            elif isinstance(enum, Declared):
                enums.append(Type(enum))
            else:
                return self._any(node, "a literal of values that are no literals")
        return union(*([Type(ref, tuple(dict.fromkeys(texts)))] if texts else []), *enums)

    def _tried(self, node: ast.expr, names: Namespace) -> Type:
        """Read an annotation without recording its unknown parts."""
        unknown, self.unknown = self.unknown, []
        type_ = self.read(node, names)
        self.unknown = unknown
        return type_

    def _declared(
        self, node: ast.expr, found: Declared | Undeclarable, arguments: list[ast.expr], names: Namespace
    ) -> Type:
        if isinstance(found, Undeclarable):
            return self._any(node, f"a class that cannot be declared, since {found.reason}")
        parameters = names.parameters(found)
        if not parameters:  # it is not generic, or in a way that is not followed
            return Type(found)
        if len(arguments) > len(parameters):
            return self._any(node, _ARGUMENTS)
        given = [self.read(argument, names) for argument in arguments]
        filled = _filled(parameters, given)
        return Type(found, tuple(filled[each] for each in parameters))

    def _any(self, node: ast.expr, kind: str) -> Type:
        self.unknown.append(f"{ast.unparse(node)} is {kind}")
        return ANY


def _generic(found: _Found) -> _Found:
    """Follow other names of a type, such as ``Mapping = abc.Mapping``, which can be given the arguments of the type."""
    other, left = found, _MOST_NAMES
    while isinstance(other, tuple) and isinstance(other[1], ast.Name | ast.Attribute) and left:
        other, left = other[0].resolve(dotted_name(other[1])), left - 1
    return other if isinstance(other, str | Declared | Undeclarable) else found


def _aliased(place: Namespace, value: ast.AST) -> tuple[ast.AST, list[Variable | None]]:
    """Return the type for which an alias stands, and the type parameters that it lists; None for one that is no TypeVar."""
    statement: Any = value
    if type(value).__name__ == "TypeAlias":  # ast.TypeAlias is new in 3.12
        return statement.value, [read_variable(each, place) for each in statement.type_params]
    match value:
        case ast.Call(args=[_, inner], keywords=words) if _form(value.func, place) == "TypeAliasType":
            listed = next((word.value for word in words if word.arg == "type_params"), ast.Tuple([]))
            found = [place.resolve(dotted_name(each)) for each in getattr(listed, "elts", ())]
            return inner, [read_variable(each[1], each[0]) if isinstance(each, tuple) else None for each in found]
    return value, []


def _form(node: ast.expr, names: Namespace) -> str:
    """Return the name of the special form or known type that ``node`` names; ``""`` if it names something else."""
    found = names.resolve(dotted_name(node))
    return KNOWN[found][0].name if isinstance(found, str) else ""


def _filled(parameters: Sequence[Variable], given: Sequence[Type]) -> dict[Variable, Type]:
    """Return what each of ``parameters`` stands for: what is given, its default, or ``Any``."""
    filled: dict[Variable, Type] = {}
    for place, each in enumerate(parameters):
        default = ANY if each.default is None else erased(substituted(each.default, filled))
        filled[each] = given[place] if place < len(given) else default
    return filled


def _size(type_: Type) -> int:
    return 1 + sum(map(_size, type_.args))


def unquoted(node: ast.expr) -> ast.expr:
    """Parse a quoted annotation; return any other node unchanged."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _parsed(node.value) or node
    return node


@functools.lru_cache(1024)
def _parsed(text: str) -> ast.expr | None:
    """Parse an annotation, the same node for the same text; None if it is none."""
    try:
        # In parentheses, as type checkers parse it, so that it may begin with a space or span several lines.
        return ast.parse(f"({text})", mode="eval").body
    except (SyntaxError, ValueError):
        return None


def dotted_name(node: ast.expr) -> str:
    """Return ``a.b.c`` as text; ``""``, which resolves to nothing, if ``node`` is no dotted name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def _is_unpacked(argument: ast.expr) -> bool:
    """Return whether ``argument`` is ``*Ts``, or ``Unpack[Ts]`` as before Python 3.11."""
    return isinstance(argument, ast.Starred) or (
        isinstance(argument, ast.Subscript) and dotted_name(argument.value).rpartition(".")[2] == "Unpack"
    )


def _fits_literal(value: Literal) -> bool:
    return not isinstance(value, float | tuple)


def literal(node: ast.expr) -> tuple[Literal] | None:
    """Return the value of an immutable literal in a tuple of one; None if ``node`` is anything else."""
    match node:
        case ast.Constant(value=None | bool() | float() | str() | bytes()):
            return (node.value,)  # type: ignore[return-value] # mypy does not narrow by the pattern
        case ast.Constant(value=int(number)) if number.bit_length() <= 256:  # longer ones may have no decimal text
            return (number,)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=ast.Constant(value=int() | float() as number)) if (
            type(number) is not bool
        ):
            return None if literal(node.operand) is None else (-number if isinstance(sign, ast.USub) else number,)
        case ast.Tuple(elts=parts):
            boxes = [literal(part) for part in parts]
            return None if None in boxes else (tuple(box[0] for box in boxes if box is not None),)
    return None


def literal_of(text: str) -> tuple[Literal] | None:
    """Return the value of the literal with this source text, as :func:`literal` does."""
    return literal(ast.parse(text, mode="eval").body)


def literal_text(value: Literal) -> str:
    """Return ``value`` as source text. Strings are in double quotes, unless single quotes need fewer escapes."""
    if isinstance(value, tuple):
        return f"({', '.join(map(literal_text, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, float) and math.isinf(value):
        return "1e999" if value > 0 else "-1e999"
    if not isinstance(value, str | bytes):
        return repr(value)
    text = quoted(value) if isinstance(value, str) else repr(value).removeprefix("b")
    plain = text[1:-1].replace(f"\\{text[0]}", text[0])
    quote = "'" if plain.count('"') > plain.count("'") else '"'
    inside = plain.replace(quote, f"\\{quote}")
    return f"{'b' if isinstance(value, bytes) else ''}{quote}{inside}{quote}"


_ABOVE_STR = ("Collection", "Container", "Iterable", "Reversible", "Sequence")
_ABOVE_ALL = ("Any", "object", "Hashable")


def admits(type_: Type, value: Literal) -> bool:
    """Return whether a type checker certainly accepts ``value`` for ``type_``."""
    type_ = plain(type_)
    head = type_.head
    if isinstance(head, Declared | Variable):
        return False
    if isinstance(head, str):
        return value is None if head == "None" else head == "|" and any(admits(part, value) for part in type_.args)
    name = head.name
    if name in _ABOVE_ALL:
        return True
    if name == "Literal":
        return Type(literal_text(value)) in type_.args
    match value:
        case bool():
            return name in ("bool", "int", "float", "complex", "SupportsInt", "SupportsFloat", "SupportsIndex")
        case int():
            return name in ("int", "float", "complex", "SupportsInt", "SupportsFloat", "SupportsIndex")
        case float():
            return name in ("float", "complex", "SupportsInt", "SupportsFloat")
        case str():
            return name == "str" or (name in _ABOVE_STR and admits(type_.args[0], value)) or name == "Sized"
        case bytes():
            return name == "bytes" or (name in _ABOVE_STR and admits(type_.args[0], 0)) or name == "Sized"
        case tuple():
            return _admits_tuple(name, type_.args, value)
    return False


def _admits_tuple(name: str, args: tuple[Type, ...], value: tuple[Any, ...]) -> bool:
    if name in _ABOVE_STR or (name == "tuple" and args[-1] == Type("...")):
        return all(admits(args[0], item) for item in value)
    if name == "tuple":
        items = () if args == (Type("()"),) else args
        return len(items) == len(value) and all(map(admits, items, value))
    return name == "Sized"
