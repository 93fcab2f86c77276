"""pyarrow's tables, record batches, chunked arrays and arrays, transferred in Arrow's IPC stream format.

Large values are written directly into the arena. Types, metadata and nulls are preserved; all columns of a table arrive with
the same chunking. An extension type that the other side has not registered arrives as its storage type.

Received data is copied first and then validated, since Arrow's reader trusts lengths and offsets. Streams that would expand
when read, or run code, are refused.
"""

from __future__ import annotations

import sys
from struct import Struct

from .arrays import ARROW, LARGE, import_needed
from .values import EncodeError

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .arrays import Carrier

__all__ = ["decode", "encode"]

_KINDS = ("Table", "RecordBatch", "ChunkedArray", "Array")
_I32, _U32, _U16 = Struct("<i"), Struct("<I"), Struct("<H")

_GROWS = b"ARROW:experimental_compression"
"""Arrow 0.17's marker of compressed batches, which later versions still read."""

_RUNS_CODE = b"arrow.py_extension_type"
"""An extension type that pyarrow before 14.0.1 unpickles as soon as it reads the schema (CVE-2023-47248)."""


def encode(carrier: Carrier, value: Any) -> Any:
    """Encode ``value`` as an extension; None if it is of no type in _KINDS. Raise :class:`.values.EncodeError`."""
    pyarrow = sys.modules["pyarrow"]
    kind = next((kind for kind in _KINDS if isinstance(value, getattr(pyarrow, kind))), None)
    if kind is None:
        return None
    try:
        return carrier._ext(
            ARROW, carrier._pack([kind, *_write_stream(carrier, pyarrow, *_batches(pyarrow, kind, value))])
        )
    except pyarrow.ArrowException as error:
        raise EncodeError(f"Arrow cannot write it, so it cannot cross {carrier._towards}: {error}") from None


def _batches(pyarrow: Any, kind: str, value: Any) -> tuple[Any, list[Any]]:
    """Return the schema and batches of a value."""
    if kind == "RecordBatch":
        return value.schema, [value]
    if kind == "Table":
        if not value.num_columns and value.num_rows:  # without columns, no chunk would carry the number of rows
            struct = pyarrow.array([{}] * value.num_rows, pyarrow.struct([]))
            return value.schema, [pyarrow.RecordBatch.from_struct_array(struct)]
        return value.schema, value.to_batches()
    schema = pyarrow.schema([pyarrow.field("", value.type)])
    chunks = [value] if kind == "Array" else value.chunks
    return schema, [pyarrow.RecordBatch.from_arrays([chunk], schema=schema) for chunk in chunks]


def _write_stream(carrier: Carrier, pyarrow: Any, schema: Any, batches: list[Any]) -> tuple[int | None, Any]:
    """Write the stream into the arena and return its offset and size; for a small one, return None and its bytes."""
    measure = pyarrow.MockOutputStream()
    _write_to(pyarrow, measure, schema, batches)
    size = measure.size()
    lent = carrier.outgoing.lend(size) if size >= LARGE else None
    if lent is not None:
        offset, memory = lent
        _write_to(pyarrow, pyarrow.FixedSizeBufferWriter(pyarrow.py_buffer(memory)), schema, batches)
        return offset, size
    sink = pyarrow.BufferOutputStream()
    _write_to(pyarrow, sink, schema, batches)
    return None, sink.getvalue().to_pybytes()


def _write_to(pyarrow: Any, sink: Any, schema: Any, batches: Iterable[Any]) -> None:
    # Ignore options set by environment variables: a compressed stream would be refused.
    options = pyarrow.ipc.IpcWriteOptions(compression=None)
    with pyarrow.ipc.new_stream(sink, schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)


def decode(carrier: Carrier, data: Any) -> Any:
    """Decode what :func:`encode` made. Raise ValueError for invalid data, :class:`.values.DecodeError` without pyarrow."""
    pyarrow = import_needed("pyarrow", "a table")
    kind, offset, source = carrier._unpack(data)
    size = len(source) if offset is None else source
    memory = source if offset is None else carrier.incoming.view(offset, size)
    buffer = pyarrow.allocate_buffer(size)
    memoryview(buffer).cast("B")[:] = memoryview(memory)[:size]
    _check_stream(pyarrow, buffer)
    with pyarrow.ipc.open_stream(buffer) as reader:
        schema, batches = reader.schema, list(reader)
    for batch in batches:
        batch.validate(full=True)
    return _whole(pyarrow, kind, schema, batches)


def _whole(pyarrow: Any, kind: str, schema: Any, batches: list[Any]) -> Any:
    if kind == "Table":
        return pyarrow.Table.from_batches(batches, schema)
    if kind == "RecordBatch" and len(batches) == 1:
        return batches[0]
    if kind == "ChunkedArray" and len(schema) == 1:
        return pyarrow.chunked_array([batch.column(0) for batch in batches], schema.field(0).type)
    if kind == "Array" and len(schema) == len(batches) == 1:
        return batches[0].column(0)
    raise ValueError(f"{len(batches)} batches of {len(schema)} columns are no {kind}")


def _check_stream(pyarrow: Any, buffer: Any) -> None:
    """Raise ValueError if reading the buffer would take more memory than its own size, or run code."""
    messages = pyarrow.ipc.MessageReader.open_stream(pyarrow.BufferReader(buffer))
    while True:
        try:
            message = messages.read_next_message()
        except StopIteration:
            return
        head = message.metadata.to_pybytes()
        if message.type == "schema":
            if _RUNS_CODE in head:
                raise ValueError("a type of Arrow's that would be unpickled")
        elif _GROWS in head or _is_compressed(head, message.type == "dictionary"):
            raise ValueError("a compressed stream of Arrow's")


def _is_compressed(head: bytes, is_dictionary: bool) -> bool:
    """Return whether the message with this metadata has a compressed batch.

    The metadata is a flatbuffer, which pyarrow does not expose. The numbers are the field positions in Arrow's Message.fbs.
    """
    place = _follow(head, _field_position(head, _U32.unpack_from(head)[0], 2))  # Message.header
    if is_dictionary:
        place = _follow(head, _field_position(head, place, 1))  # DictionaryBatch.data
    return _field_position(head, place, 3) is not None  # RecordBatch.compression


def _field_position(head: bytes, table: int, number: int) -> int | None:
    """Return the position of a field of a flatbuffer table; None if the field is absent."""
    fields = table - int(_I32.unpack_from(head, table)[0])
    slot = 4 + 2 * number
    if slot >= _U16.unpack_from(head, fields)[0]:
        return None
    distance = int(_U16.unpack_from(head, fields + slot)[0])
    return table + distance if distance else None


def _follow(head: bytes, place: int | None) -> int:
    if place is None:
        raise ValueError("a message of Arrow's without a batch")
    return place + int(_U32.unpack_from(head, place)[0])
