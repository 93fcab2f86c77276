"""msgpack in plain Python, for an interpreter without installed packages, and a function that finds a faster library.

It supports only the types that are sent: None, bool, int (64 bits), float, str, bytes, list, dict and extensions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from struct import Struct

from ..frames import StructError

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["FASTER", "Ext", "PackError", "find_faster", "pack", "unpack", "unpacker"]

FASTER = ("msgspec", "msgpack")
"""Modules with a msgpack in C, the fastest first."""

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


class PackError(ValueError):
    """The bytes are not msgpack."""


class Ext:
    """An extension: a code from 0 to 127, and bytes whose meaning depends on the code."""

    __slots__ = ("code", "data")

    def __init__(self, code: int, data: bytes) -> None:
        self.code = code
        self.data = data


def pack(value: Any) -> bytes:
    """Pack ``value``.

    Raises OverflowError for an int of more than 64 bits, UnicodeEncodeError for a lone surrogate, TypeError for any type
    not named above, including subclasses.
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


def unpack(data: bytes, decode: Callable[[int, bytes], Any]) -> Any:
    """Unpack one value; ``decode(code, bytes)`` returns the value of an extension.

    Raises :class:`PackError` for invalid msgpack, and any other ValueError that ``decode`` raises.
    """
    try:
        value, end = _read(data, 0, decode)
    except PackError:
        raise
    except (IndexError, StructError):
        raise PackError("the bytes end too early") from None
    except (TypeError, UnicodeDecodeError, RecursionError) as error:
        raise PackError(f"{type(error).__name__}: {error}") from error
    if end != len(data):
        raise PackError(f"{len(data) - end} bytes are left over")
    return value


def unpacker(decode: Callable[[int, bytes], Any]) -> Callable[[bytes], Any]:
    """Return :func:`unpack` with ``decode`` bound."""
    return partial(unpack, decode=decode)


def find_faster() -> tuple[Callable[..., bytes], Callable[..., Callable[[bytes], Any]], Callable[..., Any]] | None:
    """Import the first of :data:`FASTER` that is installed; return its ``pack``, ``unpacker`` and ``Ext``, or None."""
    try:
        from msgspec import msgpack as by_msgspec

        return by_msgspec.Encoder().encode, lambda decode: by_msgspec.Decoder(ext_hook=decode).decode, by_msgspec.Ext
    except ImportError:
        pass
    try:
        import msgpack  # type: ignore[import-not-found,import-untyped,unused-ignore]  # as the interpreter has it

        return (
            partial(msgpack.packb, use_bin_type=True, strict_types=True),
            lambda decode: partial(msgpack.unpackb, raw=False, strict_map_key=False, ext_hook=decode),
            msgpack.ExtType,
        )
    except ImportError:
        return None


def _read(data: bytes, at: int, decode: Callable[[int, bytes], Any]) -> tuple[Any, int]:
    """Return the value at ``at``, and the position after it."""
    tag = data[at]
    at += 1
    if tag < 0x80:
        return tag, at
    if tag < 0x90:
        return _read_dict(data, tag & 0x0F, at, decode)
    if tag < 0xA0:
        return _read_list(data, tag & 0x0F, at, decode)
    if tag < 0xC0:
        return _read_text(data, tag & 0x1F, at, decode)
    if tag >= 0xE0:
        return tag - 0x100, at
    number = _NUMBERS.get(tag)
    if number is not None:
        return number.unpack_from(data, at)[0], at + number.size
    if tag in _CONSTANTS:
        return _CONSTANTS[tag], at
    if tag in _FIXED_EXTENSIONS:
        return _read_extension(data, _FIXED_EXTENSIONS[tag], at, decode)
    if tag not in _SIZED:
        raise PackError(f"no value begins with {tag:#x}")
    length, read = _SIZED[tag]
    return read(data, length.unpack_from(data, at)[0], at + length.size, decode)


def _read_bytes(data: bytes, size: int, at: int, _decode: object = None) -> tuple[bytes, int]:
    end = at + size
    if end > len(data):
        raise PackError("the bytes end too early")
    return data[at:end], end


def _read_text(data: bytes, size: int, at: int, _decode: object) -> tuple[str, int]:
    text, end = _read_bytes(data, size, at)
    return text.decode(), end


def _read_list(data: bytes, size: int, at: int, decode: Callable[[int, bytes], Any]) -> tuple[list[Any], int]:
    items = []
    for _ in range(size):
        item, at = _read(data, at, decode)
        items.append(item)
    return items, at


def _read_dict(data: bytes, size: int, at: int, decode: Callable[[int, bytes], Any]) -> tuple[dict[Any, Any], int]:
    items = {}
    for _ in range(size):
        key, at = _read(data, at, decode)
        items[key], at = _read(data, at, decode)
    return items, at


def _read_extension(data: bytes, size: int, at: int, decode: Callable[[int, bytes], Any]) -> tuple[Any, int]:
    code = data[at]
    if code > 127:
        raise PackError(f"extension codes end at 127, and this is {code}")
    payload, end = _read_bytes(data, size, at + 1)
    return decode(code, payload), end


# Types with an explicit size: tag -> (format of the size, function that reads the content).
_SIZED: dict[int, tuple[Struct, Callable[..., tuple[Any, int]]]] = {
    0xC4: (_U8, _read_bytes),
    0xC5: (_U16, _read_bytes),
    0xC6: (_U32, _read_bytes),
    0xC7: (_U8, _read_extension),
    0xC8: (_U16, _read_extension),
    0xC9: (_U32, _read_extension),
    0xD9: (_U8, _read_text),
    0xDA: (_U16, _read_text),
    0xDB: (_U32, _read_text),
    0xDC: (_U16, _read_list),
    0xDD: (_U32, _read_list),
    0xDE: (_U16, _read_dict),
    0xDF: (_U32, _read_dict),
}
