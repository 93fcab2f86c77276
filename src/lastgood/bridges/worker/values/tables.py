"""pandas' DataFrame, Series and Index, transferred where both sides have pandas; their data are sent as arrays.

Values, dtypes, labels, names and ``flags`` are preserved. So are ``attrs``, if they contain only supported values, and an index's
frequency, if both sides know it by its name. pandas' NA and NaT are supported in any position. The supported dtypes:

    numbers, bool, datetime64, timedelta64    through arrays.py, columns of the same dtype as one array
    object                                    as a list of values, each by the rules of values.py
    string, and the str of pandas 3           as UTF-8; where pyarrow is missing, it arrives with Python storage; where
                                              pandas has no such str (before 2.3), as objects
    category, nullable numbers and bool, datetime64 with a time zone, period, interval
    pyarrow's                                 through arrow.py

Any other dtype (sparse, and those of other libraries) raises :class:`.values.EncodeError` with the column and its dtype. Instances
of subclasses arrive as DataFrame, Series or Index. A time zone is sent as its key, or as its fixed offset.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Callable
from contextlib import suppress

from . import arrow
from .arrays import PANDAS, import_needed
from .values import DecodeError, EncodeError, listed

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

    from .arrays import Carrier

__all__ = ["decode", "encode"]

_PLAIN_KINDS = "biufcmM"


def encode(carrier: Carrier, value: Any, depth: int, plain: frozenset[type]) -> Any:
    """Encode a value of pandas or pyarrow as an extension; None for other values. Raise :class:`.values.EncodeError`."""
    library = _library(type(value))
    if library == "pyarrow":
        return arrow.encode(carrier, value)
    if library != "pandas":
        return None
    payload = _PandasEncoder(carrier, depth, plain).anything(value)
    return None if payload is None else carrier._ext(PANDAS, carrier._pack(payload))


def _library(kind: type) -> str | None:
    for base in kind.__mro__:
        root = str(base.__module__).partition(".")[0]
        if root in ("pandas", "pyarrow"):
            return root
    return None


def decode(carrier: Carrier, data: Any) -> Any:
    """Decode a pandas value. Raise ValueError for invalid data, :class:`.values.DecodeError` without pandas."""
    pandas = import_needed("pandas", "a table")
    kind, *payload = listed(carrier._unpack(data))
    return _PandasDecoder(pandas, import_needed("numpy", "an array")).anything(kind, payload)


class _PandasEncoder:
    """Encodes values of pandas, each as a list whose first item is its kind."""

    def __init__(self, carrier: Carrier, depth: int, plain: frozenset[type]) -> None:
        self._pandas: Any = sys.modules["pandas"]
        self._numpy: Any = sys.modules["numpy"]
        self._carrier = carrier
        self._depth = depth + 1
        self._plain = plain

    def anything(self, value: Any) -> list[Any] | None:
        pandas = self._pandas
        if value is pandas.NA:
            return ["NA"]
        if value is pandas.NaT:
            return ["NaT"]
        if isinstance(value, pandas.DataFrame):
            return self._frame(value)
        if isinstance(value, pandas.Series):
            name = self._name(value.name)
            return ["Series", self._column(value), self._axis(value, "index"), name, *self._attributes(value)]
        if isinstance(value, pandas.Index):
            return self._index(value)
        return None

    def _frame(self, frame: Any) -> list[Any]:
        dtypes, blocks = list(frame.dtypes), []
        of_dtype: dict[str, list[int]] = {}
        for place, dtype in enumerate(dtypes):
            if self._is_plain(dtype):
                of_dtype.setdefault(dtype.str, []).append(place)
            else:
                try:
                    blocks.append([[place], self._column(frame.iloc[:, place])])
                except EncodeError as error:
                    raise error.at("key", frame.columns[place]) from None
        for places in of_dtype.values():
            # Use a slice for consecutive columns, which avoids a copy.
            consecutive = places[-1] - places[0] == len(places) - 1
            chosen = frame.iloc[:, slice(places[0], places[-1] + 1) if consecutive else places]
            blocks.append([places, ["plain", self._array(chosen.to_numpy())]])
        index, columns = self._axis(frame, "index"), self._axis(frame, "columns")
        return ["DataFrame", blocks, index, columns, *self._attributes(frame)]

    def _attributes(self, value: Any) -> list[Any]:
        try:
            attrs = self._carrier._encode(dict(value.attrs), self._depth, self._plain)
        except EncodeError as error:
            raise error.at("field", "attrs") from None
        return [attrs, value.flags.allows_duplicate_labels]

    def _axis(self, value: Any, name: str) -> list[Any]:
        try:
            return self._index(getattr(value, name))
        except EncodeError as error:
            raise error.at("field", name) from None

    def _name(self, name: Any) -> Any:
        try:
            return self._carrier._encode_key(name, self._depth, self._plain)
        except EncodeError as error:
            raise error.at("field", "name") from None

    def _index(self, index: Any) -> list[Any]:
        pandas = self._pandas
        if isinstance(index, pandas.RangeIndex):
            return ["RangeIndex", index.start, index.stop, index.step, self._name(index.name)]
        if isinstance(index, pandas.MultiIndex):
            levels = [self._index(level) for level in index.levels]
            codes = [self._array(self._numpy.asarray(code)) for code in index.codes]
            return ["MultiIndex", levels, codes, [self._name(name) for name in index.names]]
        regular = isinstance(index, (pandas.DatetimeIndex, pandas.TimedeltaIndex)) and index.freq is not None
        return ["Index", self._column(index), self._name(index.name), self._freq(index.freq) if regular else None]

    def _freq(self, freq: Any) -> str | None:
        """Return the frequency's name; None if the name does not describe it fully, as with custom holidays."""
        name: str = freq.freqstr
        try:
            return name if self._pandas.tseries.frequencies.to_offset(name) == freq else None
        except (ValueError, Warning):
            return None

    def _is_plain(self, dtype: Any) -> bool:
        return isinstance(dtype, self._numpy.dtype) and dtype.kind in _PLAIN_KINDS

    def _array(self, array: Any) -> Any:
        return self._carrier._encode_array(self._numpy, array)

    def _column(self, column: Any) -> list[Any]:
        """Encode the values of a Series or an Index."""
        pandas = self._pandas
        dtype, values = column.dtype, column.array
        if self._is_plain(dtype):
            return ["plain", self._array(column.to_numpy())]
        if isinstance(dtype, self._numpy.dtype) and dtype.kind == "O":
            return ["objects", self._carrier._encode(list(column.to_numpy()), self._depth, self._plain)]
        if isinstance(dtype, pandas.StringDtype):
            return self._strings(dtype, values)
        if isinstance(dtype, pandas.CategoricalDtype):
            codes = self._array(self._numpy.asarray(values.codes))
            return ["categories", codes, self._index(dtype.categories), bool(dtype.ordered)]
        if isinstance(dtype, pandas.DatetimeTZDtype):
            unzoned = self._numpy.asarray(values, dtype=f"M8[{dtype.unit}]")
            return ["zoned", self._array(unzoned), self._zone(dtype.tz)]
        if isinstance(values, (pandas.arrays.IntegerArray, pandas.arrays.FloatingArray, pandas.arrays.BooleanArray)):
            data = values.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
            return ["masked", self._array(data), self._array(values.isna())]
        if isinstance(dtype, pandas.PeriodDtype):
            return ["periods", self._array(values.asi8), str(dtype)[len("period[") : -1]]
        if isinstance(dtype, pandas.IntervalDtype):
            return ["intervals", self._index(values.left), self._index(values.right), values.closed]
        if hasattr(pandas, "ArrowDtype") and isinstance(dtype, pandas.ArrowDtype):
            return ["arrow", arrow.encode(self._carrier, values.__arrow_array__())]
        raise EncodeError(
            f"values of pandas' dtype {dtype} cannot cross {self._carrier._towards}. What can: numbers, bool, strings, object, "
            "datetime64, timedelta64, category, nullable ones, period, interval and pyarrow's."
        )

    def _strings(self, dtype: Any, values: Any) -> list[Any]:
        """Encode strings: the offset of each in their concatenated UTF-8, that UTF-8, and a mask of missing ones."""
        numpy, pandas = self._numpy, self._pandas
        missing = values.isna()
        if dtype.storage == "python":
            texts = [
                b"" if gone else text.encode("utf-8", "surrogatepass")
                for text, gone in zip(values.to_numpy(dtype=object), missing)
            ]
            bounds = numpy.zeros(len(texts) + 1, "i8")
            numpy.cumsum(numpy.fromiter(map(len, texts), "i8", len(texts)), out=bounds[1:])
            data = numpy.frombuffer(b"".join(texts), "u1")
        else:
            bounds, data = _arrow_strings(numpy, values.__arrow_array__())
        storage = "python" if dtype.storage == "python" else "pyarrow"
        is_nan = dtype.na_value is not pandas.NA
        gone = self._array(missing) if missing.any() else None
        return ["strings", storage, is_nan, self._array(bounds), self._array(data), gone]

    def _zone(self, zone: Any) -> Any:
        key = getattr(zone, "key", None) or getattr(zone, "zone", None)  # of zoneinfo, or of pytz
        if type(key) is str:
            return key
        offset = zone.utcoffset(None)
        if offset is None:
            raise EncodeError(f"the time zone {zone!r} has no key, and cannot cross {self._carrier._towards}.")
        fixed = zone if type(zone) is dt.timezone else dt.timezone(offset)
        return self._carrier._encode(dt.time(tzinfo=fixed), self._depth, self._plain)


def _arrow_strings(numpy: Any, chunked: Any) -> tuple[Any, Any]:
    pyarrow: Any = sys.modules["pyarrow"]
    chunks = chunked.cast(pyarrow.large_string()).chunks
    array = pyarrow.concat_arrays(chunks) if chunks else pyarrow.array([], pyarrow.large_string())
    _, ends, data = array.buffers()
    if not len(array):
        return numpy.zeros(1, "i8"), numpy.empty(0, "u1")
    bounds = numpy.frombuffer(ends, "i8")[array.offset : array.offset + len(array) + 1]
    first, last = int(bounds[0]), int(bounds[-1])
    whole = numpy.empty(0, "u1") if data is None else numpy.frombuffer(data, "u1")
    return bounds - first, whole[first:last]


class _PandasDecoder:
    """Decodes values that :class:`_PandasEncoder` encoded. Sizes are checked before anything is created."""

    def __init__(self, pandas: Any, numpy: Any) -> None:
        self._pandas = pandas
        self._numpy = numpy

    def anything(self, kind: str, payload: list[Any]) -> Any:
        if kind == "NA":
            return self._pandas.NA
        if kind == "NaT":
            return self._pandas.NaT
        if kind == "DataFrame":
            return self._frame(*payload)
        if kind == "Series":
            return self._series(*payload)
        return self._index([kind, *payload])

    def _frame(self, blocks: list[Any], index: Any, columns: Any, attrs: Any, duplicates: bool) -> Any:
        pandas, index, columns = self._pandas, self._index(index), self._index(columns)
        places = [place for each, _ in listed(blocks) for place in listed(each)]
        if sorted(places) != list(range(len(places))) or len(columns) != len(places):
            raise ValueError("a table whose columns do not match its labels")
        if len(blocks) == 1 and len(places) > 1 and places == sorted(places):
            each, column = blocks[0]
            frame = pandas.DataFrame(self._block(each, column, len(index)), copy=False)
        elif blocks:
            series: dict[int, Any] = {}
            for each, column in blocks:
                block = self._block(each, column, len(index))
                for number, place in enumerate(each):
                    series[place] = self._new_series(block[:, number] if getattr(block, "ndim", 1) == 2 else block)
            # The copy consolidates columns of the same dtype, which makes pandas faster.
            frame = pandas.DataFrame({place: series[place] for place in range(len(places))}, copy=len(places) > 1)
        else:
            frame = pandas.DataFrame(index=index)
        frame.index, frame.columns = index, columns
        return self._with(frame, attrs, duplicates)

    def _block(self, places: list[int], column: Any, rows: int) -> Any:
        """Return a two-dimensional array with a column for each place, or the values of a single column."""
        made = self._column(column)
        if getattr(made, "shape", None) != (rows, len(places)) and (len(places) != 1 or made.shape != (rows,)):
            raise ValueError(f"a column that does not have {rows} rows")
        return made

    def _series(self, column: Any, index: Any, name: Any, attrs: Any, duplicates: bool) -> Any:
        series = self._new_series(self._column(column))
        series.index, series.name = self._index(index), name
        return self._with(series, attrs, duplicates)

    def _new_series(self, values: Any) -> Any:
        # With dtype=None, pandas would convert objects that are all strings to its string dtype.
        return self._pandas.Series(values, dtype=object if values.dtype == object else None, copy=False)

    def _with(self, made: Any, attrs: Any, duplicates: bool) -> Any:
        made.attrs = attrs
        if not duplicates:
            made.flags.allows_duplicate_labels = False
        return made

    def _index(self, payload: Any) -> Any:
        pandas, (kind, *parts) = self._pandas, listed(payload)
        if kind == "RangeIndex":
            start, stop, step, name = parts
            return pandas.RangeIndex(start, stop, step, name=name)
        if kind == "MultiIndex":
            levels, codes, names = parts
            return pandas.MultiIndex([self._index(level) for level in listed(levels)], codes, names=names)
        if kind != "Index":
            raise ValueError(f"pandas has no {kind!r} that could cross")
        column, name, freq = parts
        values = self._column(column)
        dtype = object if values.dtype == object else None
        index = pandas.Index(values, dtype=dtype, name=name, copy=False, tupleize_cols=False)
        if freq is not None:
            with suppress(ValueError, Warning):  # the name is of another pandas version; the frequency is optional
                index.freq = freq
        return index

    def _column(self, payload: Any) -> Any:
        kind, *parts = listed(payload)
        make = _COLUMNS.get(kind)
        if make is None:
            raise ValueError(f"no column is of the kind {kind!r}")
        return make(self, *parts)

    def _plain(self, array: Any) -> Any:
        return self._checked(array, _PLAIN_KINDS, None)

    def _checked(self, array: Any, kinds: str, dimensions: int | None = 1) -> Any:
        if type(array) is not self._numpy.ndarray or array.dtype.kind not in kinds:
            raise ValueError("a column without an array of a valid dtype")
        if dimensions is not None and array.ndim != dimensions:
            raise ValueError(f"an array of {array.ndim} dimensions where a column has {dimensions}")
        return array

    def _objects(self, values: list[Any]) -> Any:
        array = self._numpy.empty(len(listed(values)), object)
        for place, value in enumerate(values):  # assigned one by one, since numpy would unpack sequences
            array[place] = value
        return array

    def _strings(self, storage: str, is_nan: bool, bounds: Any, data: Any, missing: Any) -> Any:
        bounds, data = self._checked(bounds, "i"), self._checked(data, "u")
        count = len(bounds) - 1
        if bounds.dtype.str != "<i8" or data.dtype.itemsize != 1 or count < 0 or bounds[0] != 0:
            raise ValueError("strings without bounds")
        if bounds[-1] != len(data) or (bounds[1:] < bounds[:-1]).any():
            raise ValueError("strings whose bounds do not match their bytes")
        if missing is not None and self._checked(missing, "b").shape != (count,):
            raise ValueError("strings with a mask of another length")
        dtype = self._string_dtype(storage, is_nan)
        if dtype is not None and dtype.storage == "pyarrow":
            return self._new_arrow_strings(dtype, count, bounds, data, missing)
        whole, ends = data.tobytes(), bounds.tolist()
        texts = [whole[start:end].decode("utf-8", "surrogatepass") for start, end in zip(ends, ends[1:])]
        array = self._objects(texts)
        if missing is not None:
            array[missing] = self._numpy.nan if is_nan else self._pandas.NA
        return array if dtype is None else self._pandas.array(array, dtype=dtype)

    def _string_dtype(self, storage: str, is_nan: bool) -> Any:
        """Return the dtype or the nearest one available; None if pandas lacks it (before 2.3), which means objects."""
        extra = {"na_value": self._numpy.nan} if is_nan else {}
        try:
            return self._pandas.StringDtype(storage, **extra)
        except ImportError:
            return self._pandas.StringDtype("python", **extra)
        except TypeError:
            return None

    def _new_arrow_strings(self, dtype: Any, count: int, bounds: Any, data: Any, missing: Any) -> Any:
        pyarrow = import_needed("pyarrow", "a table")
        present = None if missing is None else pyarrow.array(~missing).buffers()[1]
        buffers = pyarrow.py_buffer(bounds), pyarrow.py_buffer(data), present
        array = pyarrow.LargeStringArray.from_buffers(count, *buffers)
        array.validate(full=True)
        return dtype.__from_arrow__(array)

    def _categories(self, codes: Any, categories: Any, ordered: bool) -> Any:
        return self._pandas.Categorical.from_codes(self._checked(codes, "i"), self._index(categories), ordered)

    def _zoned(self, array: Any, zone: Any) -> Any:
        index = self._pandas.DatetimeIndex(self._checked(array, "M"), copy=False).tz_localize("UTC")
        try:
            return index.tz_convert(zone.tzinfo if isinstance(zone, dt.time) else str(zone)).array
        except (LookupError, OSError, ValueError):
            raise DecodeError(f"the time zone {zone!r} is not known here") from None

    def _masked(self, data: Any, missing: Any) -> Any:
        self._checked(data, "iufb")
        if self._checked(missing, "b").shape != data.shape:
            raise ValueError("a column with a mask of another length")
        arrays = self._pandas.arrays
        kinds = {"f": arrays.FloatingArray, "b": arrays.BooleanArray}
        return kinds.get(data.dtype.kind, arrays.IntegerArray)(data, missing)

    def _periods(self, array: Any, freq: str) -> Any:
        try:
            dtype = self._pandas.PeriodDtype(freq)
        except (ValueError, Warning):
            raise DecodeError(f"periods of {freq!r} are not known to pandas here") from None
        return self._pandas.arrays.PeriodArray(self._checked(array, "i"), dtype=dtype)

    def _intervals(self, left: Any, right: Any, closed: str) -> Any:
        return self._pandas.arrays.IntervalArray.from_arrays(self._index(left), self._index(right), closed)

    def _arrow(self, values: Any) -> Any:
        return self._pandas.arrays.ArrowExtensionArray(values)


_COLUMNS: dict[str, Callable[..., Any]] = {
    "plain": _PandasDecoder._plain,
    "objects": _PandasDecoder._objects,
    "strings": _PandasDecoder._strings,
    "categories": _PandasDecoder._categories,
    "zoned": _PandasDecoder._zoned,
    "masked": _PandasDecoder._masked,
    "periods": _PandasDecoder._periods,
    "intervals": _PandasDecoder._intervals,
    "arrow": _PandasDecoder._arrow,
}
