"""Values of the standard library that few calls contain. See values.py, which imports this file at the first of them.

A value crosses as a code and the list of what its class is made of. No class is looked up by a name that came over the wire
except in the tables below.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import operator
import os
import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from zoneinfo import ZoneInfo

from . import rich
from .values import DecodeError, EncodeError, class_name, listed, paired

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

    from .values import Values

__all__ = ["decode", "encode"]

COMPLEX, FRACTION, RANGE, BYTEARRAY, ZONE, ADDRESS, POSIX_PATH, WINDOWS_PATH, PATTERN = range(20, 29)
DEQUE, ORDERED, COUNTER, DEFAULT = range(29, 33)

_FACTORIES = {each.__name__: each for each in (list, set, dict, int, float, str, bool, tuple, bytes, complex)}
"""Factories of a defaultdict, which cross by name."""
_ADDRESSES = {
    each.__name__: each
    for each in (
        ipaddress.IPv4Address,
        ipaddress.IPv4Interface,
        ipaddress.IPv4Network,
        ipaddress.IPv6Address,
        ipaddress.IPv6Interface,
        ipaddress.IPv6Network,
    )
}


def encode(values: Values, value: Any, depth: int, plain: frozenset[type]) -> Any:
    """Encode a value of these types, or of a subclass, as an extension; None for any other value."""
    for kind in type(value).__mro__:
        if kind is Path:
            return None  # its subclasses also derive from PurePosixPath or PureWindowsPath
        if kind in _PARTS:
            code, parts = _PARTS[kind]
            return values._ext(code, values._pack(values._encode(parts(value), depth, plain)))
        if kind in _CONTAINERS:
            code, encoder = _CONTAINERS[kind]
            return values._ext(code, values._pack(encoder(values, value, depth, plain)))
    return None


def decode(code: int, payload: Any) -> Any:
    """Return the value of an extension. Raise :class:`.values.DecodeError` if it is valid, but not known on this side."""
    if code not in _DECODERS:
        raise ValueError(f"no value has the code {code}")
    return _DECODERS[code](payload)


# Values without parts.


def _address_parts(kind: type) -> Callable[[Any], list[str]]:
    return lambda value: [kind.__name__, str(value)]


_PARTS: dict[type, tuple[int, Callable[[Any], Any]]] = {
    complex: (COMPLEX, lambda value: [value.real, value.imag]),
    Fraction: (FRACTION, lambda value: [value.numerator, value.denominator]),
    range: (RANGE, lambda value: [int(value.start), int(value.stop), int(value.step)]),  # they may be bools
    bytearray: (BYTEARRAY, bytes),
    dt.timezone: (ZONE, rich.zone_parts),
    ZoneInfo: (ZONE, rich.zone_parts),
    PurePosixPath: (POSIX_PATH, os.fsencode),
    PureWindowsPath: (WINDOWS_PATH, str),
    re.Pattern: (PATTERN, lambda value: [rich.base(value.pattern), int(value.flags)]),
    **{kind: (ADDRESS, _address_parts(kind)) for kind in _ADDRESSES.values()},
}


def _decode_address(payload: Any) -> Any:
    name, text = payload
    try:
        return _ADDRESSES[name](text)
    except ValueError as error:  # Python 3.9 rejects some that later versions accept
        raise DecodeError(f"this side's Python makes no {name} of {text!r}: {error}") from None


def _decode_pattern(payload: Any) -> Any:
    text, flags = payload
    try:
        return re.compile(text, flags)
    except re.error as error:
        raise DecodeError(f"this side's Python cannot compile the pattern {text!r}: {error}") from None


# Containers.


def _encode_deque(values: Values, value: Any, depth: int, plain: frozenset[type]) -> Any:
    return [value.maxlen, values._encode_list(list(value), depth, plain)]


def _encode_default(values: Values, value: Any, depth: int, plain: frozenset[type]) -> Any:
    factory = value.default_factory
    name = next((each for each, known in _FACTORIES.items() if known is factory), None)
    if name is None and factory is not None:
        raise EncodeError(
            f"a defaultdict whose factory is {_factory_text(factory)} cannot cross {values._towards}, only one whose factory is "
            f"{', '.join(_FACTORIES)} or None. Send dict(...) of it."
        )
    return [name, values._encode_pairs(defaultdict.items(value), depth, plain)]


def _factory_text(factory: Any) -> str:
    name = getattr(factory, "__qualname__", None)
    if type(name) is not str:
        return f"an object of type {class_name(type(factory))}"
    module = getattr(factory, "__module__", None)
    return f"{module}.{name}" if type(module) is str else name


_CONTAINERS: dict[type, tuple[int, Callable[..., Any]]] = {
    deque: (DEQUE, _encode_deque),
    OrderedDict: (ORDERED, lambda values, value, *rest: values._encode_pairs(OrderedDict.items(value), *rest)),
    Counter: (COUNTER, lambda values, value, *rest: values._encode_pairs(Counter.items(value), *rest)),
    defaultdict: (DEFAULT, _encode_default),
}


def _decode_deque(payload: Any) -> Any:
    maxlen, items = payload
    return deque(listed(items), maxlen)


def _decode_default(payload: Any) -> Any:
    name, flat = payload
    return defaultdict(None if name is None else _FACTORIES[name], paired(flat))


_DECODERS: dict[int, Callable[[Any], Any]] = {
    COMPLEX: lambda payload: complex(*listed(payload)),
    FRACTION: lambda payload: Fraction(*map(operator.index, listed(payload))),  # a text may have any exponent
    RANGE: lambda payload: range(*listed(payload)),
    BYTEARRAY: lambda payload: bytearray(memoryview(payload)),  # an int would be a size
    ZONE: rich.zone_of,
    ADDRESS: _decode_address,
    POSIX_PATH: lambda payload: PurePosixPath(os.fsdecode(payload)),
    WINDOWS_PATH: PureWindowsPath,
    PATTERN: _decode_pattern,
    DEQUE: _decode_deque,
    ORDERED: lambda payload: OrderedDict(paired(payload)),
    COUNTER: lambda payload: Counter(paired(payload)),
    DEFAULT: _decode_default,
}
