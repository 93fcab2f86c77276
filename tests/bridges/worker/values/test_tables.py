"""Values of pandas and of pyarrow between two codecs that share arenas: each arrives as it was, or is named."""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lastgood.bridges.remote import PACK, unpacker
from lastgood.bridges.worker.values.arena import Arena, make_arena
from lastgood.bridges.worker.values.arrays import LARGE, PANDAS, Carrier
from lastgood.bridges.worker.values.values import DecodeError, EncodeError

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
ROWS = LARGE // 8 + 1
"""So many numbers of eight bytes are large."""


def codec(outgoing: Arena, incoming: Arena) -> Carrier:
    return Carrier(PACK, unpacker, msgspec.msgpack.Ext, towards="to the worker", outgoing=outgoing, incoming=incoming)


@pytest.fixture(scope="module")
def sides() -> Iterator[tuple[Carrier, Carrier]]:
    descriptor = make_arena()
    writer, reader = Arena(descriptor), Arena(os.dup(descriptor))
    yield codec(writer, Arena(-1)), codec(Arena(-1), reader)
    writer.close()
    reader.close()


class Sides:
    def __init__(self, sides: tuple[Carrier, Carrier]) -> None:
        self.sender, self.receiver = sides

    def cross(self, value: Any) -> Any:
        try:
            return self.receiver.loads(self.sender.dumps([value]))[0]
        finally:
            self.sender.outgoing.reclaim(self.sender.outgoing.lent())


@pytest.fixture
def wire(sides: tuple[Carrier, Carrier]) -> Sides:
    return Sides(sides)


def assert_same(came: Any, sent: Any) -> None:
    """Equal in all that pandas compares: values, dtypes, labels, names, frequencies, flags; and in attrs."""
    if isinstance(sent, pd.DataFrame):
        pd.testing.assert_frame_equal(came, sent, check_exact=True, check_column_type="exact", check_index_type="exact")
    elif isinstance(sent, pd.Series):
        pd.testing.assert_series_equal(came, sent, check_exact=True, check_index_type="exact")
    else:
        pd.testing.assert_index_equal(came, sent, exact=True)
        assert getattr(came, "freq", None) == getattr(sent, "freq", None)
        return
    assert came.attrs == sent.attrs


BERLIN = pd.to_datetime(["2024-03-31 01:30", None, "1970-01-01 00:00"], utc=True).tz_convert("Europe/Berlin")
COLUMNS: dict[str, Any] = {
    "int8": np.array([1, -2, 3], "i1"),
    "uint64": np.array([2**64 - 1, 0, 1], "u8"),
    "float32": np.array([1.5, np.nan, -0.0], "f4"),
    "complex": np.array([1 + 2j, 0, np.nan]),
    "bool": np.array([True, False, True]),
    "big-endian": np.array([1, 2, 3], ">i4"),
    "datetime-s": np.array(["2024-01-01", "NaT", "9999-12-31"], "M8[s]"),
    "datetime-ns": np.array(["2024-01-01T00:00:00.000000001", "NaT", "1700"], "M8[ns]"),
    "timedelta": np.array([1, "NaT", -5], "m8[ms]"),
    "zoned": BERLIN,
    "utc": BERLIN.tz_convert("UTC"),
    "offset": BERLIN.tz_convert(dt.timezone(dt.timedelta(minutes=-90))),
    "zoneinfo": BERLIN.tz_convert(ZoneInfo("America/New_York")).as_unit("s"),
    "category": pd.Categorical(["b", None, "b"], ["c", "b"]),
    "ordered": pd.Categorical([1.5, 2, 1.5], [2, 1.5], ordered=True),
    "Int64": pd.array([1, None, 2**63 - 1], "Int64"),
    "UInt8": pd.array([1, None, 255], "UInt8"),
    "Float32": pd.array([0.5, None, 1], "Float32"),
    "boolean": pd.array([True, None, False], "boolean"),
    "string": pd.array(["a", None, "ä€😀"], pd.StringDtype("python")),
    "str": pd.Series(["", None, "x\0y"], dtype="str").array,
    "period": pd.PeriodIndex(["2024-01", None, "1900-05"], freq="M"),
    "interval": pd.arrays.IntervalArray.from_breaks([0.0, 0.5, 1.5, 9.0], closed="left"),
    "intervals-of-time": pd.arrays.IntervalArray.from_breaks(pd.date_range("2024", periods=4, tz="Asia/Tokyo")),
    "objects": pd.Series([{"k": (1, 2)}, [1, [2]], Decimal("1.10")], dtype=object).array,
    "missing": pd.Series([None, pd.NA, pd.NaT], dtype=object).array,
    "texts": pd.Series(["a", "b", "\ud800"], dtype=object).array,
    "arrays": pd.Series([np.arange(3), (), 2**70], dtype=object).array,
}
NAMED = [pytest.param(values, id=name) for name, values in COLUMNS.items()]


def same_objects(came: Any, sent: Any) -> bool:
    return repr(list(came)) == repr(list(sent))


@pytest.mark.parametrize("values", NAMED)
def test_each_dtype_arrives_in_a_series_a_frame_and_an_index(wire: Sides, values: Any) -> None:
    column = pd.Series(values, name="x", dtype=values.dtype)
    for sent in (column, column.iloc[1:], column.iloc[:0], column.iloc[::-1]):
        came = wire.cross(sent)
        assert came.dtype == sent.dtype
        if sent.dtype == object:
            assert same_objects(came, sent)
        else:
            assert_same(came, sent)
    frame = pd.DataFrame({"x": column, "y": 1, "z": column})
    came = wire.cross(frame)
    assert list(came.dtypes) == list(frame.dtypes)
    if column.dtype == object:
        assert same_objects(came["z"], column)
        return
    assert_same(came, frame)
    if column.dtype.kind != "c" and column.dtype != np.dtype(">i4"):
        index = pd.Index(values, name=("a", 1))
        assert_same(wire.cross(index), index)
        assert_same(wire.cross(frame.set_index("x")), frame.set_index("x"))


DAYS = pd.date_range("2024-01-01", periods=4, freq="D", tz="Europe/Berlin", name="day")
FRAMES: dict[str, Any] = {
    "nothing": pd.DataFrame(),
    "no columns": pd.DataFrame(index=pd.Index(["a", "b"])),
    "no rows": pd.DataFrame({"a": np.empty(0, "i4"), "b": pd.Series([], dtype="str")}),
    "no rows of one dtype": pd.DataFrame(np.empty((0, 3))),
    "one dtype": pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=["a", "b", "c"]),
    "one column": pd.DataFrame({"a": [1, 2]}),
    "pieces": pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "c": [3, 4], "d": ["x", None], "e": [2.5, np.nan]}),
    "labels twice": pd.DataFrame([[1, "x", 2.5]], columns=["a", "a", "b"], index=["r"]),
    "rows twice": pd.DataFrame({"a": [1, 2, 3]}, index=[0, 0, 1]),
    "labels of many types": pd.DataFrame([[1, 2, 3, 4]], columns=[1, "a", (1, "b"), None]),
    "times": pd.DataFrame({"a": range(4)}, index=DAYS),
    "business": pd.DataFrame({"a": range(9)}, index=pd.date_range("2024", periods=9, freq="2BQE-FEB")),
    "deltas": pd.DataFrame({"a": range(3)}, index=pd.timedelta_range("1h", periods=3, freq="90s")),
    "range": pd.DataFrame({"a": range(3)}, index=pd.RangeIndex(9, 0, -3, name="down")),
    "multi": pd.DataFrame(
        {("a", 1): [1, 2], ("b", 2): [0.5, 1]},
        index=pd.MultiIndex.from_tuples([("x", pd.Timestamp("2024")), ("y", None)], names=["left", None]),
    ),
    "names": pd.DataFrame([[1]], columns=pd.Index(["a"], name="cols"), index=pd.Index([1], name=2)),
    "one flag": pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False),
}


@pytest.mark.parametrize("frame", [pytest.param(frame, id=name) for name, frame in FRAMES.items()])
def test_each_shape_and_label_arrives(wire: Sides, frame: Any) -> None:
    assert_same(wire.cross(frame), frame)
    assert_same(wire.cross(frame.index), frame.index)
    assert_same(wire.cross(frame.columns), frame.columns)


def encode_and_read(wire: Sides, payload: list[Any]) -> Any:
    """What comes of a payload that need not be pandas' own."""
    encoded = wire.sender._encode(payload, 0, frozenset((type(None), bool, int, float, str, bytes)))
    return wire.receiver.loads(PACK(msgspec.msgpack.Ext(PANDAS, PACK(encoded))))


def test_a_frequency_that_has_no_name_or_is_none_here_is_left_out(wire: Sides) -> None:
    holidays = pd.offsets.CustomBusinessDay(holidays=["2024-01-03"])
    for freq in (holidays, pd.DateOffset(months=1)):
        sent = pd.date_range("2024-01-01", periods=4, freq=freq)
        came = wire.cross(sent)
        assert came.equals(sent)
        assert came.freq is None
    for name in ("D", "unheard of"):
        came = encode_and_read(wire, ["Index", ["plain", np.array([1, 5, 6], "M8[ns]")], None, name])
        assert (len(came), came.freq) == (3, None)


def test_attrs_arrive_and_what_cannot_cross_there_is_named(wire: Sides) -> None:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {"unit": "m", "made": dt.date(2024, 1, 2)}
    assert_same(wire.cross(frame), frame)
    frame.attrs = {"unit": object()}
    with pytest.raises(EncodeError) as caught:
        wire.cross(frame)
    assert caught.value.text("it").startswith('it[0].attrs["unit"]: object of type object cannot')


def test_a_subclass_arrives_as_what_it_derives_from(wire: Sides) -> None:
    Prices = type("Prices", (pd.DataFrame,), {})  # noqa: N806 - it is a class
    came = wire.cross(Prices({"a": [1]}))
    assert type(came) is pd.DataFrame
    assert_same(came, pd.DataFrame({"a": [1]}))


@dataclass
class Point:
    x: int


def test_in_a_column_of_objects_values_arrive_as_plain_data(wire: Sides) -> None:
    came = wire.cross(pd.Series([Point(1), np.int64(3)], dtype=object))
    assert came.tolist() == [{"x": 1}, 3]


def test_missing_values_by_themselves(wire: Sides) -> None:
    came, beside = wire.cross((pd.NA, pd.NaT))
    assert came is pd.NA
    assert beside is pd.NaT


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(
            pd.DataFrame({"a": [1], "b": pd.arrays.SparseArray([0])}),
            'it[0]["b"]: values of pandas\' dtype Sparse[int64, 0] cannot cross to the worker. What can: numbers',
            id="dtype",
        ),
        pytest.param(
            pd.DataFrame({"a": [1, 2], "b": [1, object()]}),
            'it[0]["b"][1]: object of type object cannot cross to the worker.',
            id="object",
        ),
        pytest.param(
            pd.DataFrame({"a": [1]}, index=pd.Index([object()], dtype=object)),
            "it[0].index[0]: object of type object cannot",
            id="index",
        ),
        pytest.param(pd.Series([1], name=frozenset([object()])), "it[0].name (an element): object of", id="name"),
        pytest.param(pd.Series([1]).rolling(2), "it[0]: object of type pandas", id="other"),
    ],
)
def test_what_cannot_cross_is_named_with_its_column(wire: Sides, value: Any, text: str) -> None:
    with pytest.raises(EncodeError) as caught:
        wire.cross(value)
    assert caught.value.text("it").startswith(text)


LARGE_ONES: dict[str, Any] = {
    "one dtype": (lambda: pd.DataFrame(np.arange(2.0 * ROWS).reshape(ROWS, 2)), 1),
    "pieces": (lambda: pd.DataFrame({"a": np.arange(ROWS), "b": np.ones(ROWS), "c": np.arange(ROWS)}), 2),
    "nullable": (lambda: pd.Series(range(ROWS), dtype="Int64").where(lambda s: s % 3 > 0), 1),
    "index": (lambda: pd.Series(1, index=pd.Index(np.arange(ROWS)[::-1])), 2),
    "zoned": (lambda: pd.Series(pd.date_range("2024", periods=ROWS, freq="s", tz="Asia/Tokyo")), 1),
    "strings": (lambda: pd.Series([f"number {each}" for each in range(ROWS)], dtype="str"), 2),
    "objects": (lambda: pd.Series([0.5] * ROWS, dtype=object), 1),
}


@pytest.mark.parametrize(("make", "puts"), [pytest.param(*each, id=name) for name, each in LARGE_ONES.items()])
def test_large_ones_go_through_the_arena(wire: Sides, make: Any, puts: int) -> None:
    before, sent = wire.sender.outgoing.puts, make()
    for _ in range(2):
        body = wire.sender.dumps(sent)
        assert len(body) < LARGE / 2
        came = wire.receiver.loads(body)
        wire.sender.outgoing.reclaim(wire.sender.outgoing.lent())
        assert_same(came, sent)
    assert wire.sender.outgoing.puts == before + 2 * puts


def test_what_arrived_can_be_written_and_is_nobody_elses(wire: Sides) -> None:
    first = wire.cross(pd.DataFrame(np.zeros((ROWS, 1))))
    wire.cross(pd.DataFrame(np.ones((ROWS, 1))))
    assert first[0].sum() == 0
    for frame in (first, wire.cross(FRAMES["pieces"]), wire.cross(pd.DataFrame({"a": [0, 0], "b": [0, 0]}))):
        frame.iloc[0, 0] = 7
        assert frame.iloc[0, 0] == 7


def test_without_pandas_it_is_unreadable(wire: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    body = wire.sender.dumps(pd.Series([1]))
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(DecodeError, match="received a table of pandas, but pandas is not installed here"):
        wire.receiver.loads(body)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(pd.NA)
LABELS = st.text(max_size=3) | st.integers(-5, 5) | st.tuples(st.integers(0, 3), st.text(max_size=2))


@st.composite
def frames(draw: st.DrawFn) -> Any:
    """Any columns of the table above with any labels, in any number of rows."""
    places = draw(st.lists(st.integers(0, 2), max_size=6))
    names = draw(
        st.lists(
            st.sampled_from(sorted(COLUMNS.keys() - {"objects", "missing", "texts", "arrays", "big-endian"})),
            max_size=5,
        )
    )
    made = pd.DataFrame({place: pd.Series(COLUMNS[name]) for place, name in enumerate(names)}).reindex(range(3))
    made = made.iloc[places]
    made.columns = pd.Index(draw(st.lists(LABELS, min_size=len(names), max_size=len(names))), tupleize_cols=False)
    return made


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(frames())
def test_any_frame_arrives_as_it_was(wire: Sides, frame: Any) -> None:
    assert_same(wire.cross(frame), frame)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(SCALARS | st.lists(SCALARS, max_size=3), max_size=8))
def test_any_objects_arrive_as_they_were(wire: Sides, values: list[Any]) -> None:
    assert same_objects(wire.cross(pd.Series(values, dtype=object)), values)


INDEX = ["RangeIndex", 0, 2, 1, None]
ONE = ["RangeIndex", 0, 1, 1, None]
HUGE = ["RangeIndex", 0, 2**60, 1, None]
TWO_ROWS = ["plain", np.ones((2, 1))]


def series(*column: Any, index: Any = INDEX, attrs: Any = {}) -> list[Any]:  # noqa: B006 - nobody writes to it
    return ["Series", list(column), index, None, attrs, True]


def strings(storage: str, bounds: list[int], data: bytes) -> list[Any]:
    return ["Index", ["strings", storage, True, np.array(bounds, "i8"), np.frombuffer(data, "u1"), None], None, None]


HOSTILE: dict[str, tuple[list[Any], str]] = {
    "no kind": (["Nothing"], "no 'Nothing' that could cross"),
    "no list": ([], "not enough values"),
    "too few": (["Series", ["plain", np.arange(2)]], "TypeError"),
    "no array": (series("plain", 1), "without an array"),
    "text as an array": (series("plain", np.array(["x", "y"])), "without an array"),
    "no column": (series("unknown", 1), "no column is of the kind"),
    "a huge index": (series("objects", [], index=HUGE), "Length mismatch"),
    "a huge index of a table": (
        ["DataFrame", [[[0], TWO_ROWS]], HUGE, ONE, {}, True],
        "does not have 1152921504606846976",
    ),
    "no dimensions": (["DataFrame", [[[0], ["plain", np.array(1.0)]]], INDEX, ONE, {}, True], "does not have 2 rows"),
    "a place twice": (
        ["DataFrame", [[[0], TWO_ROWS], [[0], TWO_ROWS]], INDEX, INDEX, {}, True],
        "do not match its labels",
    ),
    "labels alone": (["DataFrame", [], INDEX, HUGE, {}, True], "do not match its labels"),
    "codes beyond": (series("categories", np.array([5]), INDEX, False), "codes need to be"),
    "levels beyond": (["MultiIndex", [INDEX], [np.array([7])], [None]], "code max"),
    "a mask of one": (series("masked", np.arange(2), np.array([True])), "mask of another length"),
    "overlapping strings": (strings("python", [0, 9, 0, 9], bytes(9)), "strings whose bounds"),
    "strings beyond": (strings("pyarrow", [0, 99], bytes(9)), "strings whose bounds"),
    "strings without bounds": (strings("pyarrow", [], bytes(9)), "strings without bounds"),
    "no utf-8": (strings("python", [0, 1], b"\xff"), "can't decode"),
    "no utf-8 for arrow": (strings("pyarrow", [0, 1], b"\xff"), "UTF8|can't decode"),
    "odd attrs": (series("plain", np.arange(2), attrs=5), "TypeError"),
    "no arrow": (series("arrow", 1), "ArrowExtensionArray"),
}


@pytest.mark.parametrize(("payload", "text"), [pytest.param(*each, id=name) for name, each in HOSTILE.items()])
def test_what_no_pandas_sent_is_a_value_error(wire: Sides, payload: list[Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        encode_and_read(wire, payload)


BODIES = [*[*COLUMNS.values()][::3], FRAMES["pieces"], FRAMES["multi"], FRAMES["times"]]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_bytes_that_were_changed_are_values_or_value_errors(wire: Sides, data: st.DataObject) -> None:
    value = data.draw(st.sampled_from(BODIES))
    body = bytearray(wire.sender.dumps(value if isinstance(value, pd.DataFrame) else pd.Series(value)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    with suppress(ValueError):
        wire.receiver.loads(bytes(body))
