"""numpy arrays, transferred where both sides have numpy: small ones in the frame, large ones through an arena.

An array arrives as a writable array that owns its memory, with the same dtype and shape, and with the same memory order if that
is C or Fortran. numpy scalars arrive as Python values. Structured arrays keep the layout of their fields; object arrays cannot
be transferred. For tables of pandas and pyarrow, see tables.py and arrow.py.
"""

from __future__ import annotations

import math
import sys
from importlib import import_module

from .arena import Arena
from .values import DecodeError, EncodeError, Values

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ARROW", "LARGE", "PANDAS", "Carrier", "import_needed"]

LARGE = 1 << 20
"""The size in bytes from which an array goes through the arena."""

ARRAY = 100  # extension code of arrays; far from those of values.py and rich.py
NUMBERS = 101  # a list of numbers whose bytes are in the arena
PANDAS, ARROW = 102, 103  # extension codes of tables.py and arrow.py
_KINDS = "biufcmMSUV"


def import_needed(library: str, what: str) -> Any:
    """Import the library that decoding ``what`` requires. Raise :class:`.values.DecodeError` if it is missing."""
    try:
        return import_module(library)
    except ImportError:
        raise DecodeError(f"received {what} of {library}, but {library} is not installed here") from None


class Carrier(Values):
    """The codec of one worker's calls: :class:`Values` plus arrays. It writes to ``outgoing`` and reads from ``incoming``."""

    def __init__(self, *args: Any, towards: str, outgoing: Arena, incoming: Arena) -> None:
        super().__init__(*args, towards=towards)
        self.outgoing = outgoing
        self.incoming = incoming

    def _encode_rich(self, value: Any, depth: int, plain: frozenset[type]) -> Any:
        numpy = sys.modules.get("numpy")  # if it is not imported, the value is no array
        if numpy is not None:
            if isinstance(value, numpy.generic) and not isinstance(value.item(), numpy.generic):
                return self._encode(value.item(), depth, plain)
            if type(value) is numpy.ndarray:
                return self._encode_array(numpy, value)
        if "pandas" in sys.modules or "pyarrow" in sys.modules:
            from . import tables

            encoded = tables.encode(self, value, depth, plain)
            if encoded is not None:
                return encoded
        return super()._encode_rich(value, depth, plain)

    def _encode_array(self, numpy: Any, value: Any) -> Any:
        if not _is_plain(value.dtype):
            raise EncodeError(
                f"an array of dtype {value.dtype} cannot cross {self._towards}, only one of plain values."
            )
        turned = value.flags.f_contiguous and not value.flags.c_contiguous
        whole = numpy.ascontiguousarray(value.T if turned else value)
        data = whole.reshape(-1).view(numpy.uint8).data if whole.size else b""
        offset = self.outgoing.put(data) if len(data) >= LARGE else None
        source = bytes(data) if offset is None else len(data)
        head = [_described(value.dtype), list(value.shape), turned, offset, source]
        return self._ext(ARRAY, self._pack(head))

    def _ext_numbers(self, code: int, data: bytes) -> Any:
        offset = self.outgoing.put(data) if len(data) >= LARGE else None
        if offset is None:
            return super()._ext_numbers(code, data)
        return self._ext(NUMBERS, self._pack([code, offset, len(data)]))

    def _decode(self, code: int, data: Any) -> Any:
        if code == NUMBERS:
            kind, offset, size = self._unpack(data)
            return super()._decode(kind, memoryview(self.incoming.view(offset, size))[:size])
        if code in (PANDAS, ARROW):
            from . import arrow, tables

            return (tables if code == PANDAS else arrow).decode(self, data)
        if code != ARRAY:
            return super()._decode(code, data)
        dtype, shape, turned, offset, source = self._unpack(data)
        numpy = import_needed("numpy", "an array")
        kind = numpy.dtype(_dtype_argument(dtype))
        if not _is_plain(kind) or not all(type(each) is int and each >= 0 for each in shape):
            raise ValueError(f"an array of dtype {dtype} and shape {shape}")
        size = math.prod(shape) * kind.itemsize
        if size != (source if type(source) is int else len(source)):
            raise ValueError("an array whose size is not that of its shape")
        memory = source if offset is None else self.incoming.view(offset, source)
        array = numpy.frombuffer(memory, kind, math.prod(shape)).copy() if size else numpy.empty(0, kind)
        return array.reshape(shape[::-1]).T if turned else array.reshape(shape)


def _is_plain(dtype: Any) -> bool:
    """Return whether an array of this dtype consists of its bytes alone."""
    return dtype.kind in _KINDS and dtype.itemsize > 0 and not dtype.hasobject


def _described(dtype: Any) -> Any:
    """Describe a dtype as plain data: its string; [dtype, shape] for a subarray; [itemsize, fields] for a structured dtype."""
    if dtype.subdtype is not None:
        return [_described(dtype.subdtype[0]), list(dtype.subdtype[1])]
    if dtype.names is None:
        return dtype.str
    fields = []
    for name in dtype.names:
        kind, offset, *title = dtype.fields[name]
        fields.append([name, _described(kind), offset, *map(str, title)])
    return [dtype.itemsize, fields]


def _dtype_argument(described: Any) -> Any:
    """Return the argument of ``numpy.dtype`` for a description. Raise ValueError or TypeError if it is invalid."""
    if type(described) is str:
        return described
    first, second = described
    if type(first) is not int:
        return _dtype_argument(first), tuple(second)
    return {
        "names": [str(name) for name, *_ in second],
        "formats": [_dtype_argument(kind) for _, kind, *_ in second],
        "offsets": [offset for _, _, offset, *_ in second],
        "titles": [title[0] if title else None for _, _, _, *title in second],
        "itemsize": first,
    }
