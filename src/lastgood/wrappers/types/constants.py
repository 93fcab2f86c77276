"""Constants: the values of expressions, as far as the text of local modules says them. Nothing is run.

A name stands for its value if its scope binds it exactly once, without a condition.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from lastgood.wrappers.ir import Expression, Ref
from lastgood.wrappers.read.outline import Outline
from lastgood.wrappers.read.scope import Place, Scope
from lastgood.wrappers.types.annotations import Literal, dotted_name, literal, literal_text
from lastgood.wrappers.types.known import known

__all__ = ["constant", "followed", "standard_value"]

_MAKERS = frozenset(
    (
        *("datetime.date", "datetime.datetime", "datetime.time", "datetime.timedelta"),
        *("decimal.Decimal", "fractions.Fraction", "uuid.UUID", "zoneinfo.ZoneInfo"),
        *("ipaddress.IPv4Address", "ipaddress.IPv4Interface", "ipaddress.IPv4Network"),
        *("ipaddress.IPv6Address", "ipaddress.IPv6Interface", "ipaddress.IPv6Network"),
        *("pathlib.Path", "pathlib.PurePath", "pathlib.PurePosixPath", "pathlib.PureWindowsPath"),
        *("builtins.bytes", "builtins.complex", "builtins.float", "builtins.frozenset", "builtins.int"),
        *("builtins.range", "builtins.str", "builtins.tuple"),
    )
)
_STANDARD_ENUMS = frozenset(
    (
        *("http.HTTPMethod", "http.HTTPStatus", "plistlib.PlistFormat", "re.RegexFlag", "signal.Handlers"),
        *("signal.Sigmasks", "signal.Signals", "socket.AddressFamily", "socket.SocketKind", "ssl.TLSVersion"),
        *("ssl.VerifyFlags", "ssl.VerifyMode", "uuid.SafeUUID"),
    )
)

_LARGEST = 256
"""The maximum size of a computed number, in bits, and of a computed text or tuple."""
_STEPS = 200
"""The maximum number of expressions that one value is computed from: each name can double the one before."""

_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.LShift: operator.lshift,
    ast.Mod: operator.mod,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
    ast.RShift: operator.rshift,
    ast.Sub: operator.sub,
}
_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.Invert: operator.invert,
    ast.Not: operator.not_,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_INT, _FLOAT, _STR = Ref("builtins", "int"), Ref("builtins", "float"), Ref("builtins", "str")
_FAMILY, _KIND, _SIGNAL = Ref("socket", "AddressFamily"), Ref("socket", "SocketKind"), Ref("signal", "Signals")
# Those that each platform has. Of a flag of re, the name says which one it is.
_STANDARD: Mapping[Ref, tuple[str, ...]] = {
    _INT: (
        *(f"logging.{name}" for name in ("NOTSET", "DEBUG", "INFO", "WARNING", "WARN", "ERROR", "CRITICAL", "FATAL")),
        *("sys.maxsize", "sys.maxunicode", "subprocess.DEVNULL", "subprocess.PIPE", "subprocess.STDOUT"),
        *("os.SEEK_SET", "os.SEEK_CUR", "os.SEEK_END", "os.F_OK", "os.R_OK", "os.W_OK", "os.X_OK"),
    ),
    _FLOAT: tuple(f"math.{name}" for name in ("e", "inf", "nan", "pi", "tau")),
    _STR: (
        *("os.sep", "os.linesep", "os.pathsep", "os.curdir", "os.pardir", "os.extsep", "os.devnull"),
        *("sys.platform", "sys.byteorder", "asyncio.ALL_COMPLETED", "asyncio.FIRST_COMPLETED"),
        *(f"string.{name}" for name in ("ascii_letters", "ascii_lowercase", "ascii_uppercase", "digits", "hexdigits")),
        *(f"string.{name}" for name in ("octdigits", "printable", "punctuation", "whitespace")),
        *(f"decimal.ROUND_{name}" for name in ("CEILING", "DOWN", "FLOOR", "HALF_DOWN", "HALF_EVEN", "HALF_UP", "UP")),
    ),
    _FAMILY: ("socket.AF_INET", "socket.AF_INET6"),
    _KIND: ("socket.SOCK_DGRAM", "socket.SOCK_STREAM"),
    _SIGNAL: ("signal.SIGINT", "signal.SIGTERM"),
    Ref("re", "RegexFlag"): tuple(f"re.{name}" for name in ("ASCII", "DOTALL", "IGNORECASE", "MULTILINE", "VERBOSE")),
    Ref("uuid", "UUID"): tuple(f"uuid.NAMESPACE_{name}" for name in ("DNS", "OID", "URL", "X500")),
}
_TYPES = {path: ref for ref, paths in _STANDARD.items() for path in paths}


def standard_value(node: ast.expr, scope: Scope) -> tuple[Expression, Ref] | None:
    """Return a value of the standard library as text, and its type; None if the text does not tell it, or not everywhere.

    It is a constant, a member of an enum, or what a call such as ``timedelta(days=1)`` makes of constants.
    """
    path = scope.lookup(dotted_name(node))
    if isinstance(path, str) and path in _TYPES:
        return (Ref(*path.rsplit(".", 1)),), _TYPES[path]
    if path == "datetime.timezone.utc":
        return (Ref("datetime", "timezone"), ".utc"), Ref("datetime", "timezone")
    match node:
        case ast.Attribute(value=value, attr=member) if member.isupper():
            enum = scope.resolve(dotted_name(value))
            if isinstance(enum, str) and enum in _STANDARD_ENUMS:
                return (known(enum), f".{member}"), known(enum)
        case ast.Call(func=func, args=arguments, keywords=words):
            maker = scope.lookup(dotted_name(func))
            values = [constant(argument, scope) for argument in (*arguments, *(word.value for word in words))]
            if isinstance(maker, str) and maker in _MAKERS and None not in values and all(word.arg for word in words):
                texts = [literal_text(each[0]) for each in values if each is not None]
                names = [""] * len(arguments) + [f"{word.arg}=" for word in words]
                inside = ", ".join(map("".join, zip(names, texts, strict=True)))
                ref = Ref(*maker.rsplit(".", 1))
                return (ref, f"({inside})"), ref
    return None


def constant(node: ast.expr, scope: Scope) -> tuple[Literal] | None:
    """Return the immutable value of ``node`` in a tuple of one; None if it is only known by running the module."""
    return _Computation().value(node, scope)


def followed(node: ast.expr, scope: Scope) -> tuple[ast.expr, Scope]:
    """Return the expression for which a name stands, and its scope. Any other node is returned itself."""
    place = node, scope
    for _ in range(20):
        found = _assigned(dotted_name(place[0]), place[1])
        if found is None:
            return place
        place = found
    return node, scope  # a circle


class _Computation:
    def __init__(self) -> None:
        self._steps = 0

    def value(self, node: ast.expr, scope: Scope) -> tuple[Literal] | None:
        found = literal(node)
        self._steps += 1
        if found is not None or self._steps > _STEPS:
            return found
        match node:
            case ast.Name() | ast.Attribute():
                place = _assigned(dotted_name(node), scope)
                return None if place is None else self.value(*place)
            case ast.Tuple(elts=parts):
                return _tuple([self.value(part, scope) for part in parts])
            case ast.UnaryOp(op=sign, operand=operand):
                return _computed(_UNARY[type(sign)], [self.value(operand, scope)])
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _BINARY:
                side = self.value(left, scope)
                sides = [side, None if side is None else self.value(right, scope)]
                return _computed(_BINARY[type(sign)], sides) if _is_small(sign, sides) else None
        return None


def _tuple(parts: list[tuple[Literal] | None]) -> tuple[Literal] | None:
    return None if None in parts else (tuple(part[0] for part in parts if part is not None),)


def _computed(function: Callable[..., Any], values: list[tuple[Literal] | None]) -> tuple[Literal] | None:
    if None in values:
        return None
    try:
        found = function(*(value[0] for value in values if value is not None))
    except (TypeError, ValueError, ArithmeticError):  # the module cannot be imported
        return None
    if isinstance(found, int) and found.bit_length() > _LARGEST:
        return None
    return (found,) if isinstance(found, bool | int | float | str | bytes | tuple) else None


def _is_small(sign: ast.operator, sides: list[tuple[Literal] | None]) -> bool:
    """Return whether the result of an operation is small enough to be computed."""
    left, right = (None if side is None else side[0] for side in sides)
    if isinstance(left, str | bytes) and isinstance(sign, ast.Mod):
        return False
    if isinstance(sign, ast.Pow | ast.LShift):
        return all(isinstance(side, int | float) and abs(side) <= _LARGEST for side in (left, right))
    if isinstance(sign, ast.Mult):
        sequences = [side for side in (left, right) if isinstance(side, str | bytes | tuple)]
        numbers = [side for side in (left, right) if isinstance(side, int)]
        return not sequences or all(len(each) * number <= _LARGEST for each in sequences for number in numbers)
    return True


def _assigned(dotted: str, scope: Scope) -> tuple[ast.expr, Scope] | None:
    """Return the value that is assigned to a name, and its scope; None if that is not certain from the text."""
    head, _, rest = dotted.partition(".")
    if not head:
        return None
    at, owner = scope.at, scope.owner
    if owner is None or head not in at.names(owner):
        owner = None
    bindings = at.names(owner).get(head, [])
    if not bindings and head not in at.variables:
        return _starred(dotted, scope)
    if len(bindings) != 1 or bindings[0].at.conditional or _is_stored_again(owner, head):
        return None
    if owner is None and _may_be_starred(head, scope):
        return None
    binding = bindings[0]
    if binding.target:
        return _imported(f"{binding.target}.{rest}" if rest else binding.target, scope)
    if binding.is_class:
        return _in_class(scope.lookup(head), rest, scope)
    value = binding.node.value if binding.is_variable else None
    if rest or not isinstance(value, ast.expr):
        return None
    return value, Scope(scope.project, at, owner)


def _is_stored_again(owner: ast.ClassDef | None, name: str) -> bool:
    """Return whether a class binds a name otherwise than by the statement that is known: by a loop, ``+=`` or a tuple."""
    stored = (each for each in ast.walk(owner) if isinstance(each, ast.Name)) if owner is not None else ()
    return sum(each.id == name and isinstance(each.ctx, ast.Store) for each in stored) > 1


def _imported(path: str, scope: Scope) -> tuple[ast.expr, Scope] | None:
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        origin = scope.project.outline(".".join(parts[:cut]))
        if origin is not None:
            return _within(origin, parts[cut:], scope)
    return None


def _within(origin: Outline, parts: list[str], scope: Scope) -> tuple[ast.expr, Scope] | None:
    name = ".".join(parts)
    return ast.parse(name, mode="eval").body, Scope(scope.project, origin)


def _may_be_starred(name: str, scope: Scope) -> bool:
    """Return whether a ``*`` of a local module brings ``name``: which one is the last is not known here."""
    origins = (scope.project.outline(star) for star in scope.at.stars)
    return any(name in scope.project.exported(origin) for origin in origins if origin is not None)


def _starred(dotted: str, scope: Scope) -> tuple[ast.expr, Scope] | None:
    for star in reversed(scope.at.stars):
        origin = scope.project.outline(star)
        if origin is None:
            return None  # it may come from there
        if dotted.partition(".")[0] in scope.project.exported(origin):
            return _within(origin, [dotted], scope)
    return None


def _in_class(place: object, name: str, scope: Scope) -> tuple[ast.expr, Scope] | None:
    """Return the value of an attribute of an ordinary class, for which nothing but its text decides."""
    if not isinstance(place, Place) or not name or "." in name or scope.project.judge(place) is not None:
        return None
    node = place.binding.node
    if not isinstance(node, ast.ClassDef) or node.decorator_list or node.keywords:
        return None
    bindings = place.outline.names(node).get(name, [])
    if len(bindings) != 1 or bindings[0].at.conditional or not bindings[0].is_variable or _is_stored_again(node, name):
        return None
    value = bindings[0].node.value
    return (value, Scope(scope.project, place.outline, node)) if isinstance(value, ast.expr) else None
