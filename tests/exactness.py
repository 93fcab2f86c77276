"""Comparing values by class and content, at every depth. Sources of tests import it in a worker, so it needs nothing else."""

from __future__ import annotations

import datetime as dt
import math
from collections import deque
from dataclasses import fields, is_dataclass
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv6Interface
from pathlib import PurePath
from typing import Any

__all__ = ["difference"]


def difference(left: Any, right: Any) -> str:
    """Describe the first difference; "" if the two are of one class and equal at every depth."""
    if type(left) is not type(right):
        return f"{_class(left)} {left!r} is no {_class(right)}"
    parts, others = _parts(left), _parts(right)
    if parts is None or others is None:
        return "" if _is_same(left, right) else f"{left!r} is not {right!r}"
    if len(parts) != len(others):
        return f"{left!r} has not as many parts as {right!r}"
    return next(filter(None, map(difference, parts, others)), "")


def _class(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _parts(value: Any) -> list[Any] | None:
    """Return what a value consists of; None of one that is compared as a whole."""
    match value:
        case complex():
            return [value.real, value.imag]
        case Fraction():
            return [value.numerator, value.denominator]
        case range():
            return [value.start, value.stop, value.step]
        case list() | tuple():
            return list(value)
        case deque():
            return [value.maxlen, *value]
        case set() | frozenset():
            return sorted(value, key=repr)
        case dict():
            factory = getattr(value, "default_factory", None)
            return [repr(factory), *value, *value.values()]
        case dt.datetime() | dt.time():
            return [value.replace(tzinfo=None).isoformat(), value.fold, value.tzinfo]
    if is_dataclass(value):
        return [getattr(value, field.name) for field in fields(value)]
    return None


def _is_same(left: Any, right: Any) -> bool:
    match left:
        case float():
            return (left == right and math.copysign(1, left) == math.copysign(1, right)) or (
                left != left and right != right
            )
        case Decimal() | PurePath() | IPv6Interface():
            return str(left) == str(right)
        case dt.tzinfo():
            return repr(left) == repr(right)
    if type(left).__module__ == "numpy":
        return bool(left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes())
    return bool(left == right)
