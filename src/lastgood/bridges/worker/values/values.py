"""Values as they are transferred between an app and its worker. Both sides import this file; nothing is ever pickled.

To send, :meth:`Values.dumps` encodes a value as msgpack types, with extensions for all others. To receive, :meth:`Values.loads`
decodes the extensions. These types are preserved: None, bool, int of any size, float, str (including lone surrogates), bytes,
list, tuple, set, frozenset, dict with any of these as keys, datetime, date, time, timedelta, Decimal, UUID, Path, and those of
standard.py (complex, Fraction, deque, ...). Other types arrive as their plain data:

    enum member           its value                     dataclass instance    a dict of its fields
    named tuple           a tuple
    subclass of one above the base type; a subclass of datetime, date, time or timedelta only if it equals that base

Instances of attrs, msgspec and pydantic classes count as dataclass instances. In a message that says which classes its values
are of, these arrive as instances of the receiver's classes of the same names (instances.py).

A datetime's time zone that is neither a ``timezone`` nor a ``ZoneInfo`` is sent as its offset at that moment. Where both sides
have the library, numpy arrays (arrays.py) and tables of pandas and Arrow (tables.py, arrow.py) are supported as well. Anything
else raises :class:`EncodeError`, which says what the object is and where it is in the value.
"""

from __future__ import annotations

from _operator import countOf
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from struct import Struct

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from .instances import Decoder, Encoder
    from .known import Known

__all__ = [
    "MAX_DEPTH",
    "PLAIN",
    "DecodeError",
    "EncodeError",
    "Values",
    "class_name",
    "key_text",
    "listed",
    "paired",
    "path_text",
]

MAX_DEPTH = 100
"""The maximum nesting of values: both sides recurse, and neither knows how much stack the other has left."""

TUPLE, SET, FROZENSET, DICT, INT, TEXT, FLOATS, INTS = range(1, 9)
# 9 to 15 are the codes of rich.py, 20 and above those of standard.py.
RECORD, MEMBER, NAMED = range(16, 19)
"""An instance with fields, an enum member, a named tuple (instances.py)."""
CLASSED = 19
"""A whole message with such: the length of the table of their classes, the table, and the value."""
LENGTH = Struct(">I")

_WHAT_CAN_CROSS = (
    "None, bool, int, float, complex, str, bytes, bytearray, list, tuple, range, set, frozenset, dict, deque, OrderedDict, "
    "Counter, defaultdict, datetime, date, time, timedelta, timezone, ZoneInfo, Decimal, Fraction, UUID, Path, PurePath, "
    "re.Pattern, the addresses of ipaddress, enums, dataclasses and named tuples"
)
_NUMBERS = frozenset((float, int))
PLAIN = frozenset((type(None), bool, int, float, str, bytes))
"""Types whose values contain no other values."""
_ALWAYS_PACKABLE = frozenset(
    (type(None), bool, float, bytes)
)  # msgpack can always encode these; an int or str it may not
_MANY = 64
"""The length from which a list of floats or of ints is sent as their bytes, which is five times faster in plain Python."""

_rich: ModuleType | None = None


def _load_rich() -> ModuleType:
    """Import rich.py at the first value that needs it: without it, a worker starts 10 ms faster."""
    global _rich
    if _rich is None:
        from . import rich

        _rich = rich
    return _rich


class EncodeError(TypeError):
    """A value that cannot be sent. ``problem`` describes it; ``path`` locates it, outermost first, as (kind, key) pairs."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path: list[tuple[str, Any]] = []

    def at(self, how: str, key: Any = None) -> EncodeError:
        """Add an outer step to the path, and return the error itself."""
        self.path.insert(0, (how, key))
        return self

    def text(self, root: str, *, skip: int = 0) -> str:
        """Return position and problem: ``result["x"][3]: object of type ...``. ``root`` covers the first ``skip`` steps."""
        return f"{root}{path_text(self.path[skip:])}: {self.problem}"


class DecodeError(ValueError):
    """Valid data that cannot be decoded here: this side lacks a library or some knowledge, or part of the value would be lost.

    ``path`` locates it, if that is known, as in an :class:`EncodeError`.
    """

    path: Sequence[tuple[str, Any]] = ()


def key_text(key: Any) -> str:
    """Return a key as text for an error, shortened if it is long."""
    try:
        text = f'"{key}"' if type(key) is str else repr(key)
    except Exception:  # an int with too many digits, or an exception of the user's own code
        text = f"an object of type {class_name(type(key))}"
    return text if len(text) <= 60 else text[:57] + "..."


_STEPS: dict[str, Callable[[Any], str]] = {
    "item": lambda key: f"[{key}]",
    "key": lambda key: f"[{key_text(key)}]",
    "field": lambda key: f".{key}",
    "a key": lambda _: " (a key)",
    "an element": lambda _: " (an element)",
}


_MOST_STEPS = 20


def path_text(path: Sequence[tuple[str, Any]]) -> str:
    """Return the path to a part of a value as text: ``["x"][3].sku``. The middle of a very long one is left out."""
    steps = [_STEPS[how](key) for how, key in path]
    if len(steps) > _MOST_STEPS:
        steps[_MOST_STEPS - 5 : -5] = ["..."]
    return "".join(steps)


def class_name(kind: type) -> str:
    """Return the name of a class for an error, with its module unless it is builtin."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


class Classed:
    """A message that says which classes its values are of: the table of these, and the packed value."""

    __slots__ = ("packed", "table")

    def __init__(self, table: Sequence[Any], packed: Any) -> None:
        self.table = table
        self.packed = packed


class Values:
    """The codec, on top of a msgpack library: ``pack(value)``, ``unpacker(decode)(data)`` and its extension type ``ext``.

    ``towards`` completes the error text "object of type x cannot cross ...".
    """

    def __init__(
        self,
        pack: Callable[[Any], bytes],
        unpacker: Callable[[Callable[[int, Any], Any]], Callable[[Any], Any]],
        ext: Callable[[int, bytes], Any],
        *,
        towards: str,
    ) -> None:
        self._pack = pack
        self._unpacker = unpacker
        self._unpack = unpacker(self._decode)
        self._ext = ext
        self._towards = towards
        self._encoder: Encoder | None = None
        self._decoder: Decoder | None = None

    def dumps(self, value: Any, known: Known | None = None, *, lenient: bool = False) -> bytes:
        """Pack ``value``. Raise :class:`EncodeError`.

        With ``known``, the message says which of these classes its values are of. A value of another class is an error, or its
        plain data if ``lenient``.
        """
        if known is None or type(value) in PLAIN:
            return self._dumps(value)
        from .instances import Encoder

        own = self._copy()
        own._encoder = encoder = Encoder(known, lenient=lenient)
        return encoder.message(self, own._dumps(value))

    def _dumps(self, value: Any) -> bytes:
        try:
            try:
                return self._pack(value if type(value) in PLAIN else self._encode(value, 0, PLAIN))
            except (OverflowError, UnicodeEncodeError):
                # It contains a large int or a lone surrogate: rare, so it is only searched for now.
                return self._pack(self._encode(value, 0, _ALWAYS_PACKABLE))
        except RecursionError:
            raise self._too_deep() from None

    def _copy(self) -> Values:
        own: Any = object.__new__(type(self))  # for one message, since other threads use this codec at the same time
        vars(own).update(vars(self))
        copied: Values = own
        return copied

    def loads(self, data: Any, known: Known | None = None) -> Any:
        """Unpack what the other side packed, with instances of the ``known`` classes.

        Raise :class:`DecodeError`, and ValueError for invalid data.
        """
        try:
            value = self._unpack(data)
            return value if type(value) is not Classed else self._loads_classed(value, known)
        except ValueError:
            raise
        except Exception as error:  # any exception of a constructor, for invalid data
            raise ValueError(f"{type(error).__name__}: {error}") from error

    def _loads_classed(self, message: Classed, known: Known | None) -> Any:
        from .instances import Decoder, located

        if known is None:
            raise ValueError("the classes of values were not asked for")
        own = self._copy()
        own._decoder = decoder = Decoder(known, message.table)
        own._unpack = self._unpacker(own._decode)
        value = own._unpack(message.packed)
        for problem in decoder.problems[:1]:
            error = DecodeError(problem.text)
            error.path = located(value, problem) or []
            raise error
        return value

    # Encoding. ``plain``: the types that msgpack takes as they are.

    def _encode(self, value: Any, depth: int, plain: frozenset[type]) -> Any:
        kind = type(value)
        if kind in plain:
            return value
        if depth > MAX_DEPTH:
            raise self._too_deep()
        if kind is list:
            return self._encode_list(value, depth, plain)
        if kind is dict:
            return self._encode_dict(value, depth, plain)
        if kind is tuple:
            return self._ext(TUPLE, self._pack(self._encode_list(list(value), depth, plain)))
        if kind is set or kind is frozenset:
            return self._ext(SET if kind is set else FROZENSET, self._pack(self._encode_elements(value, depth, plain)))
        if kind is int:
            if -(1 << 63) <= value < 1 << 64:
                return value
            return self._ext(INT, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))
        if kind is str:
            try:
                value.encode()
            except UnicodeEncodeError:
                return self._ext(TEXT, value.encode("utf-8", "surrogatepass"))
            return value
        return self._encode_rich(value, depth, plain)

    def _encode_list(self, value: list[Any], depth: int, plain: frozenset[type]) -> Any:
        if len(value) >= _MANY and type(value[0]) in _NUMBERS:
            numbers = self._encode_numbers(value, type(value[0]))
            if numbers is not None:
                return numbers
        if plain.issuperset(map(type, value)):
            return value
        encoded = []
        for index, item in enumerate(value):
            try:
                encoded.append(self._encode(item, depth + 1, plain))
            except EncodeError as error:
                raise error.at("item", index) from None
        return encoded

    def _encode_numbers(self, value: list[Any], kind: type) -> Any | None:
        """Return the bytes of the numbers as an extension; None unless all are of this type and fit into 64 bits."""
        if countOf(map(type, value), kind) != len(value):
            return None
        if kind is float:
            return self._ext_numbers(FLOATS, Struct(f"{len(value)}d").pack(*value))
        try:
            return self._ext_numbers(INTS, array("q", value).tobytes())
        except OverflowError:
            return None

    def _ext_numbers(self, code: int, data: bytes) -> Any:
        return self._ext(code, data)

    def _encode_dict(self, value: dict[Any, Any], depth: int, plain: frozenset[type]) -> Any:
        plain_keys = set(map(type, value)) <= plain
        if plain_keys and set(map(type, value.values())) <= plain:
            return value
        encoded = self._encode_pairs(value.items(), depth, plain)
        if plain_keys:
            return paired(encoded)
        return self._ext(DICT, self._pack(encoded))

    def _encode_pairs(self, pairs: Iterable[tuple[Any, Any]], depth: int, plain: frozenset[type]) -> list[Any]:
        """Return the encoded keys and values of a dict, alternating."""
        encoded = []
        for key, item in pairs:
            try:
                encoded.append(self._encode_key(key, depth + 1, plain))
            except EncodeError as error:
                raise error.at("a key") from None
            try:
                encoded.append(self._encode(item, depth + 1, plain))
            except EncodeError as error:
                raise error.at("key", key) from None
        return encoded

    def _encode_elements(self, value: Iterable[Any], depth: int, plain: frozenset[type]) -> list[Any]:
        try:
            return [self._encode_key(element, depth + 1, plain) for element in value]
        except EncodeError as error:
            raise error.at("an element") from None

    def _encode_key(self, value: Any, depth: int, plain: frozenset[type]) -> Any:
        """Encode a value that must arrive as a hashable one."""
        if type(value) in plain:
            return value
        if depth > MAX_DEPTH:
            raise self._too_deep()
        rich = _load_rich()
        if self._encoder is not None and (made := self._encoder.encode(self, value, depth, plain)) is not None:
            return made
        if isinstance(value, rich.Enum):
            return self._encode_key(value.value, depth + 1, plain)
        if isinstance(value, tuple):
            return self._ext(TUPLE, self._pack([self._encode_key(item, depth + 1, plain) for item in value]))
        is_record = rich.field_names(type(value)) is not None
        if is_record or isinstance(value, rich.UNHASHABLE):
            arrives = "dict" if is_record else class_name(_standard_base(type(value)))
            raise EncodeError(
                f"object of type {class_name(type(value))} cannot cross {self._towards} here: "
                f"it would arrive as a {arrives}, which can be neither a key nor an element of a set."
            )
        return self._encode(value, depth, plain)

    def _encode_rich(self, value: Any, depth: int, plain: frozenset[type]) -> Any:
        rich = _load_rich()
        encoder = rich.ENCODERS.get(type(value))
        if encoder is not None:
            code, payload = encoder(value)
            return self._ext(code, self._pack(payload))
        if self._encoder is not None and (made := self._encoder.encode(self, value, depth, plain)) is not None:
            return made
        return self._encode_plain(value, depth, plain)

    def _encode_plain(self, value: Any, depth: int, plain: frozenset[type]) -> Any:
        rich = _load_rich()
        if isinstance(value, rich.Enum):
            return self._encode_member(value, depth, plain)
        names = rich.field_names(type(value))
        if names is not None:
            return self._encode_fields(value, names, depth, plain)
        from . import standard

        encoded = standard.encode(self, value, depth, plain)
        if encoded is not None:
            return encoded
        base = rich.base(value)
        if base is value:
            raise EncodeError(
                f"object of type {class_name(type(value))} cannot cross {self._towards}. What can: {_WHAT_CAN_CROSS}."
            )
        return self._encode(base, depth, plain)

    def _encode_member(self, value: Any, depth: int, plain: frozenset[type]) -> Any:
        try:
            return self._encode(value.value, depth + 1, plain)
        except EncodeError as error:
            raise error.at("field", "value") from None

    def _encode_fields(self, value: Any, names: Sequence[str], depth: int, plain: frozenset[type]) -> Mapping[str, Any]:
        encoded = {}
        for name in names:
            try:
                encoded[name] = self._encode(getattr(value, name), depth + 1, plain)
            except EncodeError as error:
                raise error.at("field", name) from None
        return encoded

    def _too_deep(self) -> EncodeError:
        return EncodeError(
            f"it contains itself, or is nested more than {MAX_DEPTH} deep, and cannot cross {self._towards}."
        )

    # Decoding.

    def _decode(self, code: int, data: Any) -> Any:
        if code in (FLOATS, INTS):
            numbers = array("d" if code == FLOATS else "q")
            numbers.frombytes(data)
            return numbers.tolist()
        if code == INT:
            return int.from_bytes(data, "little", signed=True)
        if code == TEXT:
            return bytes(data).decode("utf-8", "surrogatepass")
        if code == CLASSED:
            length = LENGTH.unpack_from(data)[0] + LENGTH.size
            return Classed(self._unpack(data[LENGTH.size : length]), data[length:])
        payload = self._unpack(data)
        if code == TUPLE:
            return tuple(listed(payload))
        if code in (SET, FROZENSET):
            elements = _hashed(set if code == SET else frozenset, listed(payload))
            return _check_size(elements, len(payload), "elements of a set")
        if code == DICT:
            return paired(payload)
        if code in (RECORD, MEMBER, NAMED) and self._decoder is not None:
            return self._decoder.decode(self, code, payload)
        rich = _load_rich()
        if code in rich.DECODERS:
            return rich.DECODERS[code](payload)
        from . import standard

        return standard.decode(code, payload)


def listed(parts: Any) -> list[Any]:
    """Return ``parts`` if it is a list; raise ValueError if not. A range, of a few bytes, would have any number of parts."""
    if type(parts) is not list:
        raise ValueError(f"the parts of a value are in a list, and this is of type {class_name(type(parts))}")
    return parts


def paired(flat: list[Any]) -> dict[Any, Any]:
    """Return the dict of alternating keys and values. Raise :class:`DecodeError` if two keys are equal."""
    listed(flat)
    found: dict[Any, Any] = _hashed(dict, zip(flat[::2], flat[1::2]))
    _check_size(found, len(flat) / 2, "keys of a dict")
    return found


def _hashed(kind: Any, items: Iterable[Any]) -> Any:
    try:
        return kind(items)
    except TypeError as error:
        raise DecodeError(f"{error}, so that it can be neither a key nor an element of a set on this side") from None


def _standard_base(kind: type) -> type:
    return next(each for each in kind.__mro__ if each.__module__ in ("builtins", "collections"))


def _check_size(collection: Any, size: float, what: str) -> Any:
    if len(collection) != size:
        raise DecodeError(
            f"two {what} became equal on the way: enum members and subclasses arrive as the plain data in them"
        )
    return collection
