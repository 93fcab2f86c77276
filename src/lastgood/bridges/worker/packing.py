"""msgpack in plain Python, for an interpreter in which nothing is installed.

Only what crosses the pipe: None, bool, int (64 bits), float, str, bytes, list, dict and extensions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from struct import Struct

from .frames import StructError

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Ext", "PackError", "pack", "unpack", "unpacker"]

_F64, _I64, _U64 = Struct(">d"), Struct(">q"), Struct(">Q")
_U8, _U16, _U32 = Struct(">B"), Struct(">H"), Struct(">I")
_NUMBERS = {
    0xCA: Struct(">f"),
    0xCB: _F64,
    0xCC: _U8,
    0xCD: _U16,
    0xCE: _U32,
    0xCF: _U64,
    0xD0: Struct(">b"),
    0xD1: Struct(">h"),
    0xD2: Struct(">i"),
    0xD3: _I64,
}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_FIXED_EXTENSIONS = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
# How long each sized kind is told: tag -> (the length's format, what follows).
_SIZED = {
    0xC4: (_U8, "bytes"),
    0xC5: (_U16, "bytes"),
    0xC6: (_U32, "bytes"),
    0xC7: (_U8, "extension"),
    0xC8: (_U16, "extension"),
    0xC9: (_U32, "extension"),
    0xD9: (_U8, "text"),
    0xDA: (_U16, "text"),
    0xDB: (_U32, "text"),
    0xDC: (_U16, "list"),
    0xDD: (_U32, "list"),
    0xDE: (_U16, "dict"),
    0xDF: (_U32, "dict"),
}


class PackError(ValueError):
    """The bytes are not msgpack."""


class Ext:
    """An extension: a code from 0 to 127, and bytes that only the code's reader understands."""

    __slots__ = ("code", "data")

    def __init__(self, code: int, data: bytes) -> None:
        self.code = code
        self.data = data


def pack(value: Any) -> bytes:
    """Pack ``value``.

    Raises OverflowError at an int of more than 64 bits, UnicodeEncodeError at a lone surrogate, TypeError at any type
    not named above; subclasses count as other types.
    """
    out = bytearray()
    _write(out, value)
    return bytes(out)


def _write(out: bytearray, value: Any) -> None:
    kind = type(value)
    if kind is str:
        data = value.encode()
        size = len(data)
        if size < 32:
            out.append(0xA0 | size)
        else:
            _write_size(out, size, (0xD9, 0xDA, 0xDB))
        out += data
    elif kind is int:
        _write_int(out, value)
    elif kind is float:
        out.append(0xCB)
        out += _F64.pack(value)
    elif value is None:
        out.append(0xC0)
    elif kind is bool:
        out.append(0xC3 if value else 0xC2)
    elif kind is list:
        size = len(value)
        if size < 16:
            out.append(0x90 | size)
        else:
            _write_size(out, size, (None, 0xDC, 0xDD))
        for item in value:
            _write(out, item)
    elif kind is dict:
        size = len(value)
        if size < 16:
            out.append(0x80 | size)
        else:
            _write_size(out, size, (None, 0xDE, 0xDF))
        for key, item in value.items():
            _write(out, key)
            _write(out, item)
    elif kind is bytes:
        _write_size(out, len(value), (0xC4, 0xC5, 0xC6))
        out += value
    elif kind is Ext:
        _write_size(out, len(value.data), (0xC7, 0xC8, 0xC9))
        out.append(value.code)
        out += value.data
    else:
        raise TypeError(f"msgpack has no {kind.__name__}")


def _write_int(out: bytearray, value: int) -> None:
    if 0 <= value < 128:
        out.append(value)
    elif -32 <= value < 0:
        out.append(value & 0xFF)
    elif -(1 << 63) <= value < 1 << 63:
        out.append(0xD3)
        out += _I64.pack(value)
    elif 0 <= value < 1 << 64:
        out.append(0xCF)
        out += _U64.pack(value)
    else:
        raise OverflowError("an int of more than 64 bits")


def _write_size(out: bytearray, size: int, tags: tuple[int | None, int, int]) -> None:
    small, medium, large = tags
    if small is not None and size < 1 << 8:
        out.append(small)
        out.append(size)
    elif size < 1 << 16:
        out.append(medium)
        out += _U16.pack(size)
    elif size < 1 << 32:
        out.append(large)
        out += _U32.pack(size)
    else:
        raise OverflowError("more than msgpack can count")


def unpack(data: bytes, lift: Callable[[int, bytes], Any]) -> Any:
    """Unpack one value; ``lift(code, bytes)`` gives the value of each extension. Raises :class:`PackError`."""
    try:
        value, end = _Reader(data, lift).read(0)
    except PackError:
        raise
    except (IndexError, StructError):
        raise PackError("the bytes end too early") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise PackError(f"{type(error).__name__}: {error}") from error
    if end != len(data):
        raise PackError(f"{len(data) - end} bytes are left over")
    return value


def unpacker(lift: Callable[[int, bytes], Any]) -> Callable[[bytes], Any]:
    """:func:`unpack` with its ``lift`` given."""
    return partial(unpack, lift=lift)


class _Reader:
    __slots__ = ("_data", "_lift")

    def __init__(self, data: bytes, lift: Callable[[int, bytes], Any]) -> None:
        self._data = data
        self._lift = lift

    def read(self, at: int) -> tuple[Any, int]:
        """The value at ``at``, and where the next one begins."""
        tag = self._data[at]
        at += 1
        if tag < 0x80:
            return tag, at
        if tag < 0x90:
            return self._dict(tag & 0x0F, at)
        if tag < 0xA0:
            return self._list(tag & 0x0F, at)
        if tag < 0xC0:
            return self._text(tag & 0x1F, at)
        if tag >= 0xE0:
            return tag - 0x100, at
        number = _NUMBERS.get(tag)
        if number is not None:
            return number.unpack_from(self._data, at)[0], at + number.size
        if tag in _CONSTANTS:
            return _CONSTANTS[tag], at
        if tag in _FIXED_EXTENSIONS:
            return self._extension(_FIXED_EXTENSIONS[tag], at)
        if tag not in _SIZED:
            raise PackError(f"no value begins with {tag:#x}")
        length, follows = _SIZED[tag]
        size = length.unpack_from(self._data, at)[0]
        value: tuple[Any, int] = getattr(self, "_" + follows)(size, at + length.size)
        return value

    def _take(self, size: int, at: int) -> tuple[bytes, int]:
        end = at + size
        if end > len(self._data):
            raise PackError("the bytes end too early")
        return self._data[at:end], end

    _bytes = _take

    def _text(self, size: int, at: int) -> tuple[str, int]:
        data, end = self._take(size, at)
        return data.decode(), end

    def _list(self, size: int, at: int) -> tuple[list[Any], int]:
        items = []
        read = self.read
        for _ in range(size):
            item, at = read(at)
            items.append(item)
        return items, at

    def _dict(self, size: int, at: int) -> tuple[dict[Any, Any], int]:
        items = {}
        read = self.read
        for _ in range(size):
            key, at = read(at)
            items[key], at = read(at)
        return items, at

    def _extension(self, size: int, at: int) -> tuple[Any, int]:
        code = self._data[at]
        if code > 127:
            raise PackError(f"extension codes end at 127, and this is {code}")
        data, end = self._take(size, at + 1)
        return self._lift(code, data), end
