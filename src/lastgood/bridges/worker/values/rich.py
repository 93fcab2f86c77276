"""Values that need an import: dates and times, Decimal, UUID, Path, enums, dataclasses. See values.py."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from dataclasses import fields
from dataclasses import is_dataclass as _is_dataclass_or_type
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from pathlib import Path, PurePath
from uuid import UUID

from .values import DecodeError

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "DECODERS",
    "ENCODERS",
    "MEMBER",
    "NAMED",
    "RECORD",
    "TYPED",
    "Enum",
    "base",
    "field_names",
    "is_named_tuple",
]

DATETIME, DATE, TIME, TIMEDELTA, DECIMAL, UUID_, PATH = range(9, 16)
RECORD, MEMBER, NAMED = range(16, 19)
"""Codes of tagged values (see arguments.py): an instance with fields, an enum member, a named tuple."""
TYPED = 19
"""The code of a value in a result that is an instance of one of the classes that the caller has named."""


@lru_cache(maxsize=1024)
def field_names(kind: type) -> tuple[str, ...] | None:
    """Return the field names of a dataclass, or of an attrs, msgspec or pydantic class; None for any other class.

    The class is recognised by attributes that these libraries set, so none of them is imported.
    """
    if _is_dataclass_or_type(kind):
        return tuple(field.name for field in fields(kind))
    attributes = getattr(kind, "__attrs_attrs__", None)
    if isinstance(attributes, tuple):
        return tuple(attribute.name for attribute in attributes)
    named = getattr(kind, "__struct_fields__", None)
    if isinstance(named, tuple):
        return named
    for name in ("__pydantic_fields__", "__fields__"):  # pydantic 2 and 1
        mapped = getattr(kind, name, None)
        if isinstance(mapped, dict):
            return tuple(mapped)
    return None


def is_named_tuple(kind: type) -> bool:
    """Return whether ``kind`` is a named tuple class."""
    return issubclass(kind, tuple) and isinstance(getattr(kind, "_fields", None), tuple)


def _pack_delta(delta: dt.timedelta | None) -> list[int] | None:
    return None if delta is None else [delta.days, delta.seconds, delta.microseconds]


def _pack_zone(value: dt.datetime | dt.time) -> list[Any] | None:
    """Return [key, offset, name] of a time zone; None if there is no time zone."""
    zone = value.tzinfo
    if zone is None:
        return None
    if type(zone) is dt.timezone:
        # The constructor's arguments show whether the time zone was given a name or has a default one.
        arguments: Any = zone.__reduce__()[1]
        return [None, _pack_delta(arguments[0]), arguments[1] if len(arguments) > 1 else None]
    key = getattr(zone, "key", None)
    return [key if type(key) is str else None, _pack_delta(value.utcoffset()), value.tzname()]


def _unpack_zone(packed: list[Any] | None) -> dt.tzinfo | None:
    if packed is None:
        return None
    key, offset, name = packed
    if key is not None:
        try:
            from zoneinfo import ZoneInfo

            return ZoneInfo(key)
        except (LookupError, ValueError, OSError):
            name = key
    if offset is None:
        raise DecodeError(f"the time zone {name!r} is not known on this side")
    delta = dt.timedelta(*offset)
    return dt.timezone(delta) if name is None else dt.timezone(delta, name)


def _unpack_datetime(packed: list[Any]) -> dt.datetime:
    text, fold, zone = packed
    return dt.datetime.fromisoformat(text).replace(tzinfo=_unpack_zone(zone), fold=fold)


def _unpack_time(packed: list[Any]) -> dt.time:
    text, fold, zone = packed
    return dt.time.fromisoformat(text).replace(tzinfo=_unpack_zone(zone), fold=fold)


def _pack_path(value: PurePath) -> tuple[int, Any]:
    return PATH, os.fsencode(value)


ENCODERS: dict[type, Callable[[Any], tuple[int, Any]]] = {
    dt.datetime: lambda value: (DATETIME, [value.replace(tzinfo=None).isoformat(), value.fold, _pack_zone(value)]),
    dt.date: lambda value: (DATE, value.isoformat()),
    dt.time: lambda value: (TIME, [value.replace(tzinfo=None).isoformat(), value.fold, _pack_zone(value)]),
    dt.timedelta: lambda value: (TIMEDELTA, _pack_delta(value)),
    Decimal: lambda value: (DECIMAL, str(value)),
    UUID: lambda value: (UUID_, value.bytes),
    type(Path()): _pack_path,
    type(PurePath()): _pack_path,
}

DECODERS: dict[int, Callable[[Any], Any]] = {
    DATETIME: _unpack_datetime,
    DATE: dt.date.fromisoformat,
    TIME: _unpack_time,
    TIMEDELTA: lambda packed: dt.timedelta(*packed),
    DECIMAL: Decimal,
    UUID_: lambda packed: UUID(bytes=packed),
    PATH: lambda packed: Path(os.fsdecode(packed)),
}


def base(value: Any) -> Any:
    """Return an instance of a subclass as its base type (a buffer as bytes), or ``value`` itself if there is no such base."""
    if isinstance(value, int):
        return int.__pos__(value)
    if isinstance(value, float):
        return float.__pos__(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (bytes, bytearray)):
        return b"".join((value,))
    if isinstance(value, memoryview):
        return value.tobytes()
    kinds: tuple[Any, ...] = (tuple, list, dict, set, frozenset, Decimal)
    for kind in kinds:
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, UUID):
        return UUID(int=value.int)
    if isinstance(value, type(PurePath())):
        return Path(os.fspath(value))
    return _plain_moment(value)


def _plain_moment(value: Any) -> Any:
    """Return a subclass instance as its datetime base type, unless it holds more than that (nanoseconds, "no time")."""
    try:
        if isinstance(value, dt.datetime):
            plain: Any = dt.datetime.combine(
                dt.date(value.year, value.month, value.day),
                dt.time(value.hour, value.minute, value.second, value.microsecond, value.tzinfo, fold=value.fold),
            )
        elif isinstance(value, dt.date):
            plain = dt.date(value.year, value.month, value.day)
        elif isinstance(value, dt.time):
            plain = dt.time(value.hour, value.minute, value.second, value.microsecond, value.tzinfo, fold=value.fold)
        elif isinstance(value, dt.timedelta):
            plain = dt.timedelta(value.days, value.seconds, value.microseconds)
        else:
            return value
        return plain if plain == value else value
    except (TypeError, ValueError, OverflowError):
        return value
