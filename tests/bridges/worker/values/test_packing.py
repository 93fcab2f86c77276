"""msgpack in plain Python against msgspec's."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.bridges.worker.values.packing import FASTER, Ext, PackError, find_faster, pack, unpack

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text() | st.integers(0, 10), inner, max_size=20),
    max_leaves=30,
)
SIZES = [0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536]


def lift(code: int, data: bytes | memoryview) -> Any:
    return code, bytes(data)


@given(TREES)
def test_packs_what_msgspec_reads(tree: Any) -> None:
    assert msgspec.msgpack.decode(pack(tree)) == tree


@given(TREES)
def test_reads_what_msgspec_packs(tree: Any) -> None:
    assert unpack(msgspec.msgpack.encode(tree), lift) == tree


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "make",
    [str.encode, str, list, lambda text: dict.fromkeys(range(len(text)))],
    ids=["bytes", "str", "list", "dict"],
)
def test_every_size_crosses_both_ways(size: int, make: Any) -> None:
    value = make("x" * size)
    assert msgspec.msgpack.decode(pack(value)) == value
    assert unpack(msgspec.msgpack.encode(value), lift) == value


@pytest.mark.parametrize("size", [*range(18), 255, 256, 65536])
def test_extensions_of_every_size_cross_both_ways(size: int) -> None:
    data = bytes(size)
    decoded = msgspec.msgpack.decode(pack(Ext(7, data)))
    assert (decoded.code, bytes(decoded.data)) == (7, data)
    assert unpack(msgspec.msgpack.encode(msgspec.msgpack.Ext(7, data)), lift) == (7, data)


def test_a_32_bit_float_is_read() -> None:
    assert unpack(b"\xca\x3f\x80\x00\x00", lift) == 1.0


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (2**64, OverflowError),
        (-(2**63) - 1, OverflowError),
        ("\ud800", UnicodeEncodeError),
        ((1,), TypeError),
        (1j, TypeError),
    ],
    ids=["large", "low", "surrogate", "tuple", "complex"],
)
def test_what_msgpack_lacks_is_an_error(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        pack(value)


@given(st.binary(max_size=40))
def test_garbage_is_a_pack_error_and_nothing_is_read_otherwise_than_msgspec_does(data: bytes) -> None:
    try:
        value = unpack(data, lift)
    except PackError:
        return
    assert repr(value) == repr(msgspec.msgpack.decode(data, ext_hook=lift))


@pytest.mark.parametrize("name", FASTER)
def test_a_faster_one_does_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(name)
    for other in FASTER:
        if other != name:
            monkeypatch.setitem(sys.modules, other, None)
    faster = find_faster()
    assert faster is not None
    fast_pack, unpacker, ext = faster
    tree: Any = {"key": [None, True, -1, 2**63, 1.5, "text", b"bytes", {1: []}]}
    assert fast_pack(tree) == pack(tree)
    assert unpacker(lift)(pack(tree)) == tree
    assert unpacker(lift)(pack(Ext(7, b"data"))) == unpack(fast_pack(ext(7, b"data")), lift)
    with pytest.raises(OverflowError):
        fast_pack(2**64)
    with pytest.raises(UnicodeEncodeError):
        fast_pack("\ud800")


def test_where_nothing_is_installed_there_is_no_faster_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FASTER:
        monkeypatch.setitem(sys.modules, name, None)
    assert find_faster() is None
