"""Values of pyarrow between two codecs that share arenas: each arrives as it was, or is refused before it does harm."""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgspec
import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lastgood.bridges.remote import PACK, unpacker
from lastgood.bridges.worker.values.arena import Arena, make_arena
from lastgood.bridges.worker.values.arrays import ARROW, LARGE, Carrier
from lastgood.bridges.worker.values.values import DecodeError, EncodeError

pa = pytest.importorskip("pyarrow")


def codec(outgoing: Arena, incoming: Arena) -> Carrier:
    return Carrier(PACK, unpacker, msgspec.msgpack.Ext, towards="to the worker", outgoing=outgoing, incoming=incoming)


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    descriptor = make_arena()
    writer, reader = Arena(descriptor), Arena(os.dup(descriptor))
    yield Wire(codec(writer, Arena(-1)), codec(Arena(-1), reader))
    writer.close()
    reader.close()


class Wire:
    def __init__(self, sender: Carrier, receiver: Carrier) -> None:
        self.sender, self.receiver = sender, receiver

    def cross(self, value: Any) -> Any:
        try:
            return self.receiver.loads(self.sender.dumps([value]))[0]
        finally:
            self.sender.outgoing.reclaim(self.sender.outgoing.lent())

    def read(self, kind: str, stream: bytes) -> Any:
        return self.receiver.loads(PACK(msgspec.msgpack.Ext(ARROW, PACK([kind, None, stream]))))


ARRAYS: dict[str, Any] = {
    "int64": pa.array([1, None, 3]),
    "uint8": pa.array([1, None, 255], pa.uint8()),
    "halffloat": pa.array([numpy.float16(0.5), numpy.float16(1), None], pa.float16()),
    "bool": pa.array([True, None, False]),
    "string": pa.array(["a", None, "ä€😀"]),
    "large string": pa.array(["a", None, ""], pa.large_string()),
    "string view": pa.array(["short", None, "longer than twelve bytes"], pa.string_view()),
    "binary": pa.array([b"\0", None, b""]),
    "fixed binary": pa.array([b"ab", None, b"cd"], pa.binary(2)),
    "decimal": pa.array([Decimal("1.10"), None]),
    "date": pa.array([dt.date(2024, 1, 2), None]),
    "time": pa.array([dt.time(1, 2, 3), None]),
    "timestamp": pa.array([1, None], pa.timestamp("ns", "Europe/Berlin")),
    "duration": pa.array([1, None], pa.duration("s")),
    "nulls": pa.nulls(3),
    "list": pa.array([[1], None, [], [2, None]]),
    "fixed list": pa.array([[1, 2], None], pa.list_(pa.int8(), 2)),
    "struct": pa.array([{"a": 1, "b": [{"c": "x"}]}, None]),
    "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int32())),
    "dictionary": pa.array(["a", "b", "a", None]).dictionary_encode(),
    "union": pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["x", "y"])]),
    "runs": pa.RunEndEncodedArray.from_arrays([2, 5], ["a", "b"]),
    "empty": pa.array([], pa.string()),
    "slice": pa.array(range(100))[7:11],
}


@pytest.mark.parametrize("array", [pytest.param(array, id=name) for name, array in ARRAYS.items()])
def test_each_type_arrives_in_an_array_a_batch_and_a_table(wire: Wire, array: Any) -> None:
    came = wire.cross(array)
    assert type(came) is type(array)
    assert came.type == array.type
    assert came.equals(array)
    chunked = wire.cross(pa.chunked_array([array, array]))
    assert chunked.equals(pa.chunked_array([array, array]))
    assert chunked.num_chunks == 2
    batch = pa.record_batch({"x": array, "y": pa.array(range(len(array)))})
    assert type(wire.cross(batch)) is pa.RecordBatch
    assert wire.cross(batch).equals(batch)
    table = pa.table({"x": array, "": pa.array(range(len(array)))})
    assert wire.cross(table).equals(table)
    assert wire.cross(table.slice(1)).equals(table.slice(1))


TABLES: dict[str, Any] = {
    "nothing": pa.table({}),
    "no rows": pa.table({"a": pa.array([], pa.int8())}),
    "no chunks": pa.schema([("a", pa.int8())]).empty_table(),
    "names twice": pa.Table.from_arrays([pa.array([1]), pa.array(["x"])], ["a", "a"]),
    "metadata": pa.table({"a": [1]}).replace_schema_metadata({"k": "v"}),
    "not null": pa.table(
        {"a": [1]}, schema=pa.schema([pa.field("a", pa.int64(), nullable=False, metadata={"k": "v"})])
    ),
    "chunks of their own": pa.table({"a": pa.chunked_array([[1], [2, 3]]), "b": pa.chunked_array([["x", "y"], ["z"]])}),
    "dictionaries that differ": pa.table(
        {"a": pa.chunked_array([pa.array(["x"]).dictionary_encode(), pa.array(["y"]).dictionary_encode()])}
    ),
}


@pytest.mark.parametrize("table", [pytest.param(table, id=name) for name, table in TABLES.items()])
def test_each_shape_of_a_table_arrives(wire: Wire, table: Any) -> None:
    came = wire.cross(table)
    assert type(came) is pa.Table
    assert came.equals(table, check_metadata=True)


def test_rows_without_columns_arrive(wire: Wire) -> None:
    table = pa.table({"a": [1, 2, 3]}).select([])
    assert wire.cross(table).num_rows == table.num_rows == 3
    assert wire.cross(pa.record_batch({"a": [1, 2]}).select([])).num_rows == 2


def test_a_chunked_array_without_chunks_keeps_its_type(wire: Wire) -> None:
    came = wire.cross(pa.chunked_array([], pa.date32()))
    assert came.type == pa.date32()
    assert len(came) == 0


def test_large_ones_go_through_the_arena_and_are_nobody_elses(wire: Wire) -> None:
    puts = wire.sender.outgoing.puts
    ones, twos = (pa.table({"a": pa.array([each] * (LARGE // 8))}) for each in (1, 2))
    first = wire.cross(ones)
    assert wire.cross(twos).equals(twos)
    assert first.equals(ones)
    assert wire.sender.outgoing.puts == puts + 2
    wire.cross(ones.slice(5, 9))
    assert wire.sender.outgoing.puts == puts + 2


def test_without_room_they_cross_in_the_frame(wire: Wire) -> None:
    table = pa.table({"a": pa.array([1] * (LARGE // 8))})
    assert wire.receiver.loads(codec(Arena(-1), Arena(-1)).dumps(table)).equals(table)


def test_what_arrow_cannot_write_is_named(wire: Wire) -> None:
    inner = [pa.ListArray.from_arrays([0, 1], pa.array([each]).dictionary_encode()) for each in "xy"]
    wire.cross(pa.chunked_array(inner))  # dictionaries that differ are replaced
    with pytest.raises(EncodeError, match=r"object of type pyarrow.* cannot cross to the worker"):
        wire.cross(pa.scalar(1))


def test_without_pyarrow_it_is_unreadable(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    body = wire.sender.dumps(pa.array([1]))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DecodeError, match="received a table of pyarrow, but pyarrow is not installed here"):
        wire.receiver.loads(body)


def test_a_column_of_pyarrows_in_pandas(wire: Wire) -> None:
    pd = pytest.importorskip("pandas")
    for array in (pa.array([1, None]), pa.array([[1], None]), pa.array(["x", None]), pa.array([1, None], pa.date32())):
        frame = pd.DataFrame({"a": pd.Series(pd.arrays.ArrowExtensionArray(array)), "b": 1})
        pd.testing.assert_frame_equal(wire.cross(frame), frame)


def written(table: Any, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


ZEROS = pa.table({"a": pa.array([0] * 100_000)})
TEXTS = pa.table({"a": pa.array(["x" * 10_000]).dictionary_encode()})


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("table", [ZEROS, TEXTS], ids=["batch", "dictionary"])
def test_what_would_grow_is_refused_before_it_does(wire: Wire, codec: str, table: Any) -> None:
    if not pa.Codec.is_available(codec):
        pytest.skip(f"this pyarrow has no {codec}")
    assert wire.read("Table", written(table)).equals(table)
    stream = written(table, compression=codec)
    assert len(stream) < 5000
    with pytest.raises(ValueError, match="a compressed stream of Arrow's"):
        wire.read("Table", stream)


def test_what_would_be_unpickled_is_refused(wire: Wire) -> None:
    metadata = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": "cos\nsystem\n."}
    schema = pa.schema([pa.field("a", pa.int64(), metadata=metadata)])
    with pytest.raises(ValueError, match="would be unpickled"):
        wire.read("Table", written(pa.table({"a": [1]}, schema=schema)))


@pytest.mark.parametrize(
    ("kind", "stream"),
    [
        pytest.param("Table", b"", id="nothing"),
        pytest.param("Table", b"\xff\xff\xff\xff\xff\xff\xff\x7f", id="a huge head"),
        pytest.param("Table", written(ZEROS)[:-1000], id="cut"),
        pytest.param("Array", written(pa.table({"a": [1], "b": [2]})), id="two columns"),
        pytest.param("ChunkedArray", written(pa.table({})), id="no column"),
        pytest.param("RecordBatch", written(ZEROS.slice(0, 0)), id="no batch"),
        pytest.param("exec", written(ZEROS), id="no kind"),
    ],
)
def test_what_no_pyarrow_sent_is_a_value_error(wire: Wire, kind: str, stream: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - most are Arrow's own
        wire.read(kind, stream)


def test_offsets_that_lead_outside_are_found(wire: Wire) -> None:
    stream = bytearray(written(pa.table({"a": ["abcd", "efgh"]})))
    place = stream.index((4).to_bytes(4, "little") + (8).to_bytes(4, "little"))
    stream[place : place + 4] = (1 << 30).to_bytes(4, "little")
    with pytest.raises(ValueError, match="offset"):
        wire.read("Table", bytes(stream))


STREAMS = [written(pa.table({"a": array})) for array in ARRAYS.values()]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(STREAMS), st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=3)), min_size=1, max_size=3))
def test_bytes_that_were_changed_are_values_or_value_errors(
    wire: Wire, stream: bytes, changes: list[tuple[float, bytes]]
) -> None:
    data = bytearray(stream)
    for where, new in changes:
        at = int(where * (len(data) - len(new)))
        data[at : at + len(new)] = new
    with suppress(ValueError, ArithmeticError):  # the latter: a decimal of a scale that Python's have not, read below
        came = wire.read("Table", bytes(data))
        came.slice(0, 1000).to_pylist()  # nulls and runs may be many in few bytes
