"""Values that need an import: dates and times, Decimal, UUID, Path, enums, dataclasses. See values.py; for others, standard.py."""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import fields
from dataclasses import is_dataclass as _is_dataclass_or_type
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from pathlib import Path
from uuid import UUID

from .values import DecodeError, EncodeError, listed

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "DECODERS",
    "ENCODERS",
    "UNHASHABLE",
    "Enum",
    "base",
    "field_names",
    "is_named_tuple",
    "zone_of",
    "zone_parts",
]

DATETIME, DATE, TIME, TIMEDELTA, DECIMAL, UUID_, PATH = range(9, 16)

UNHASHABLE = (list, dict, set, bytearray, deque)
"""Types whose values arrive as unhashable, even those of a hashable subclass."""


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
    for name in (
        "__pydantic_fields__",
        "__fields__",
    ):  # pydantic 2 and 1; the former warns when it is asked for the latter
        mapped = next((vars(each)[name] for each in kind.__mro__ if name in vars(each)), None)
        if isinstance(mapped, dict):
            return tuple(mapped)
    return None


def is_named_tuple(kind: type) -> bool:
    """Return whether ``kind`` is a named tuple class."""
    return issubclass(kind, tuple) and isinstance(getattr(kind, "_fields", None), tuple)


def _pack_delta(delta: dt.timedelta | None) -> list[int] | None:
    return None if delta is None else [delta.days, delta.seconds, delta.microseconds]


def zone_parts(zone: dt.tzinfo) -> list[Any] | None:
    """Return [key, offset, name] of a ``timezone`` or ``ZoneInfo``; None of any other time zone."""
    if type(zone) is dt.timezone:
        # The constructor's arguments show whether the time zone was given a name or has a default one.
        arguments: Any = zone.__reduce__()[1]
        return [None, _pack_delta(arguments[0]), arguments[1] if len(arguments) > 1 else None]
    known = sys.modules.get("zoneinfo")  # if it is not imported, this is no ZoneInfo
    if known is None or not isinstance(zone, known.ZoneInfo):
        return None
    if zone.key is None:
        raise EncodeError(f"{zone!r} cannot cross: it has no key, by which the other side could find it.")
    return [zone.key, None, None]


def _zone_parts_at(moment: dt.datetime | dt.time) -> list[Any] | None:
    zone = moment.tzinfo
    return None if zone is None else zone_parts(zone) or [None, _pack_delta(moment.utcoffset()), moment.tzname()]


def zone_of(packed: list[Any] | None) -> dt.tzinfo | None:
    """Return the time zone of these parts. Raise :class:`.values.DecodeError` if it is not known here."""
    if packed is None:
        return None
    key, offset, name = packed
    if key is not None:
        try:
            from zoneinfo import ZoneInfo

            return ZoneInfo(key)
        except (ImportError, LookupError, ValueError, OSError):
            raise DecodeError(f"this side's Python knows no time zone {key!r}; the package tzdata has them") from None
    if offset is None:
        raise DecodeError(f"the time zone {name!r} has no offset at that moment")
    delta = dt.timedelta(*listed(offset))
    return dt.timezone(delta) if name is None else dt.timezone(delta, name)


def _unpack_datetime(packed: list[Any]) -> dt.datetime:
    text, fold, zone = packed
    return dt.datetime.fromisoformat(text).replace(tzinfo=zone_of(zone), fold=fold)


def _unpack_time(packed: list[Any]) -> dt.time:
    text, fold, zone = packed
    return dt.time.fromisoformat(text).replace(tzinfo=zone_of(zone), fold=fold)


ENCODERS: dict[type, Callable[[Any], tuple[int, Any]]] = {
    dt.datetime: lambda value: (DATETIME, [value.replace(tzinfo=None).isoformat(), value.fold, _zone_parts_at(value)]),
    dt.date: lambda value: (DATE, value.isoformat()),
    dt.time: lambda value: (TIME, [value.replace(tzinfo=None).isoformat(), value.fold, _zone_parts_at(value)]),
    dt.timedelta: lambda value: (TIMEDELTA, _pack_delta(value)),
    Decimal: lambda value: (DECIMAL, str(value)),
    UUID: lambda value: (UUID_, value.bytes),
    type(Path()): lambda value: (PATH, os.fsencode(value)),
}

DECODERS: dict[int, Callable[[Any], Any]] = {
    DATETIME: _unpack_datetime,
    DATE: dt.date.fromisoformat,
    TIME: _unpack_time,
    TIMEDELTA: lambda packed: dt.timedelta(*listed(packed)),
    DECIMAL: Decimal,
    UUID_: lambda packed: UUID(bytes=packed),
    PATH: lambda packed: Path(os.fsdecode(packed)),
}


def base(value: Any) -> Any:
    """Return an instance of a subclass as its base type, or ``value`` itself if there is no such base."""
    if isinstance(value, int):
        return int.__pos__(value)
    if isinstance(value, float):
        return float.__pos__(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes):
        return b"".join((value,))
    kinds: tuple[Any, ...] = (tuple, list, dict, set, frozenset, Decimal)
    for kind in kinds:
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, UUID):
        return UUID(int=value.int)
    if isinstance(value, Path):
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
