"""Values cross both ways between the app's codec (on msgspec) and the worker's (in plain Python)."""

from __future__ import annotations

import datetime as dt
import math
import re
import tracemalloc
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from functools import partial
from io import BytesIO
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.bridges.process import VALUES as APP
from lastgood.bridges.worker.performing import VALUES as WORKER
from lastgood.bridges.worker.values import standard, values
from lastgood.bridges.worker.values.values import DecodeError, EncodeError, Values

DIRECTIONS = pytest.mark.parametrize(
    ("sender", "receiver"), [pytest.param(APP, WORKER, id="to-worker"), pytest.param(WORKER, APP, id="from-worker")]
)


class Colour(Enum):
    RED = "red"
    PAIR = (1, 2)


class Unset(Enum):
    NOTHING = object()


class Level(IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: float


@dataclass(frozen=True)
class Price:
    amount: Decimal
    tags: tuple[str, ...] = ()


class Name(str):
    __slots__ = ()


class Moment(dt.datetime):
    """What pandas' Timestamp is: a datetime that holds more."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = dt.datetime.__hash__


def same(left: Any, right: Any) -> bool:
    """Equal, of equal types, at every depth; nan is nan."""
    if type(left) is not type(right):
        return False
    match left:
        case float():
            return (left == right and math.copysign(1, left) == math.copysign(1, right)) or (
                left != left and right != right
            )
        case complex():
            return same(left.real, right.real) and same(left.imag, right.imag)
        case list() | tuple() | deque():
            sizes = [(len(each), getattr(each, "maxlen", None)) for each in (left, right)]
            return sizes[0] == sizes[1] and all(map(same, left, right))
        case dict():
            factories = [getattr(each, "default_factory", None) for each in (left, right)]
            return (
                len(left) == len(right)
                and factories[0] is factories[1]
                and all(map(same, left, right))
                and all(map(same, left.values(), right.values()))
            )
        case dt.datetime() | dt.time():
            zones = left.tzinfo, right.tzinfo
            return (
                left == right
                and left.fold == right.fold
                and type(zones[0]) is type(zones[1])
                and str(zones[0]) == str(zones[1])
            )
        case Decimal() | range() | PureWindowsPath():
            return str(left) == str(right)
    return bool(left == right)


ZONES = st.sampled_from(
    [
        None,
        dt.UTC,
        dt.timezone(dt.timedelta(hours=5, minutes=30)),
        dt.timezone(dt.timedelta(seconds=-1), "odd"),
        ZoneInfo("Europe/Berlin"),
        ZoneInfo("UTC"),
    ]
)
FIXED_ZONES = st.sampled_from([None, dt.UTC, dt.timezone(dt.timedelta(hours=-3), "there")])
TEXTS = st.text() | st.text(st.characters(categories=["Cs", "Ll"]), max_size=5)
KEYS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | TEXTS
    | st.binary()
    | st.uuids()
    | st.dates()
    | st.tuples(st.integers(), TEXTS)
    | st.frozensets(st.integers(), max_size=3)
    | st.complex_numbers(allow_nan=False)
    | st.fractions()
    | st.builds(range, st.integers(), st.integers(), st.integers(min_value=1))
    | st.ip_addresses()
    | st.sampled_from([re.compile("(?i)ä|b", re.VERBOSE), re.compile(b"\\w", re.ASCII)])
    | st.sampled_from([ZoneInfo("Europe/Berlin"), dt.UTC, dt.timezone(dt.timedelta(hours=1), "one")])
    | st.sampled_from([PurePosixPath("a/b"), PureWindowsPath("c:/A"), PureWindowsPath("\udcff")])
)
LEAVES = (
    KEYS
    | st.floats()
    | st.integers(min_value=-(10**40), max_value=10**40)
    | st.datetimes(timezones=ZONES)
    | st.times(timezones=FIXED_ZONES)
    | st.timedeltas()
    | st.decimals()
    | st.builds(Path, st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
    | st.sets(KEYS, max_size=4)
    | st.complex_numbers()
    | st.binary().map(bytearray)
    | st.lists(KEYS, max_size=4).map(Counter)
    | st.lists(st.floats(), min_size=64, max_size=66)
    | st.lists(st.integers(min_value=-(2**65), max_value=2**65), min_size=64, max_size=66)
)
FACTORIES = (list, set, dict, int, float, str, bool, tuple, bytes, complex)
NESTED = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.builds(deque, st.lists(inner, max_size=4), st.none() | st.integers(min_value=4, max_value=9))
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4).map(OrderedDict)
        | st.builds(defaultdict, st.sampled_from([None, *FACTORIES]), st.dictionaries(KEYS, inner, max_size=4))
    ),
    max_leaves=12,
)


@DIRECTIONS
@given(value=NESTED)
def test_values_arrive_as_they_were(sender: Values, receiver: Values, value: Any) -> None:
    assert same(receiver.loads(sender.dumps(value)), value)


def Own(kind: Any) -> Any:  # noqa: N802  # it is a class
    return type("Own", (kind,), {"__slots__": ()})


Legacy = namedtuple("Legacy", "a b")  # noqa: PYI024 - the other kind of named tuple
IDENTIFIER = uuid4()


@DIRECTIONS
@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        pytest.param(Colour.RED, "red", id="enum"),
        pytest.param(Colour.PAIR, (1, 2), id="enum-of-tuple"),
        pytest.param(Level.HIGH, 3, id="int-enum"),
        pytest.param({Level.HIGH: Colour.RED}, {3: "red"}, id="enum-as-key"),
        pytest.param({Colour.PAIR: 1}, {(1, 2): 1}, id="enum-of-tuple-as-key"),
        pytest.param(Point(1, 2.0), (1, 2.0), id="named-tuple"),
        pytest.param(Legacy("x", [Point(1, 2.0)]), ("x", [(1, 2.0)]), id="named-tuple-nested"),
        pytest.param({Point(1, 2.0)}, {(1, 2.0)}, id="named-tuple-in-set"),
        pytest.param(Price(Decimal("1.50")), {"amount": Decimal("1.50"), "tags": ()}, id="dataclass"),
        pytest.param([Price(Decimal(1), ("a",))], [{"amount": Decimal(1), "tags": ("a",)}], id="dataclass-nested"),
        pytest.param(Name("n"), "n", id="str-subclass"),
        pytest.param(Own(dict)(b=1, a=2), {"b": 1, "a": 2}, id="dict-subclass"),
        pytest.param(Own(OrderedDict)(b=1, a=2), OrderedDict(b=1, a=2), id="ordered-dict-subclass"),
        pytest.param(Own(Counter)("aab"), Counter("aab"), id="counter-subclass"),
        pytest.param(Own(defaultdict)(int, a=1), defaultdict(int, a=1), id="defaultdict-subclass"),
        pytest.param(Own(deque)("ab", 3), deque("ab", 3), id="deque-subclass"),
        pytest.param(Own(bytearray)(b"ab"), bytearray(b"ab"), id="bytearray-subclass"),
        pytest.param(Own(complex)(1, -0.0), complex(1, -0.0), id="complex-subclass"),
        pytest.param(Own(Fraction)(1, 3), Fraction(1, 3), id="fraction-subclass"),
        pytest.param(Own(PurePosixPath)("a/b"), PurePosixPath("a/b"), id="pure-path-subclass"),
        pytest.param(Own(type(Path()))("a/b"), Path("a/b"), id="path-subclass"),
        pytest.param(Own(ZoneInfo)("Europe/Berlin"), ZoneInfo("Europe/Berlin"), id="zone-subclass"),
        pytest.param(re.compile(Name("n")), re.compile("n"), id="pattern-of-str-subclass"),
        pytest.param(range(True, Level.HIGH), range(1, 3), id="range-of-others"),
        pytest.param(IDENTIFIER, IDENTIFIER, id="uuid"),
        pytest.param(2**64, 2**64, id="one-bit-too-many"),
        pytest.param(-(2**63) - 1, -(2**63) - 1, id="one-too-low"),
        pytest.param([2**200] * 70, [2**200] * 70, id="many-large-ints"),
        pytest.param([1] * 64 + [True], [1] * 64 + [True], id="bool-among-ints"),
        pytest.param("\ud800", "\ud800", id="lone-surrogate"),
        pytest.param({"\udcff": {"\udcff": 1}}, {"\udcff": {"\udcff": 1}}, id="lone-surrogate-as-key"),
        pytest.param(Path("a\udcff"), Path("a\udcff"), id="undecodable-path"),
        pytest.param({None: 1, 1.5: 2, b"k": 3, True: 4}, {None: 1, 1.5: 2, b"k": 3, True: 4}, id="plain-keys"),
        pytest.param(dt.datetime(2025, 10, 26, 2, 30, fold=1), dt.datetime(2025, 10, 26, 2, 30, fold=1), id="fold"),
    ],
)
def test_what_has_no_form_of_its_own_arrives_as_plain_data(
    sender: Values, receiver: Values, value: Any, arrives: Any
) -> None:
    assert same(receiver.loads(sender.dumps(value)), arrives)


def test_a_time_zone_without_a_key_arrives_as_its_offset() -> None:
    class Local(dt.tzinfo):
        def utcoffset(self, _: dt.datetime | None) -> dt.timedelta:
            return dt.timedelta(hours=2)

        def dst(self, _: dt.datetime | None) -> None:
            return None

        def tzname(self, _: dt.datetime | None) -> str:
            return "LOCAL"

    arrived = WORKER.loads(APP.dumps(dt.datetime(2025, 6, 1, 12, tzinfo=Local())))
    assert arrived.utcoffset() == dt.timedelta(hours=2)
    assert arrived.tzname() == "LOCAL"


@pytest.mark.parametrize(
    "value", [ZoneInfo("Europe/Berlin"), dt.datetime(2025, 6, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))]
)
def test_a_zone_that_the_other_side_does_not_know_is_named(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = APP.dumps([value])

    def unknown(key: str) -> ZoneInfo:
        raise LookupError(key)

    monkeypatch.setattr("zoneinfo.ZoneInfo", unknown)
    with pytest.raises(DecodeError, match=r"^this side's Python knows no time zone 'Europe/Berlin'"):
        WORKER.loads(packed)


@pytest.mark.parametrize(
    ("value", "broken", "text"),
    [
        (re.compile("a*+b?"), b"a*++b", r"cannot compile the pattern 'a\*\+\+b': multiple repeat"),
        (IPv4Address("1.2.3.4"), b"1.2.3.x", r"makes no IPv4Address of '1\.2\.3\.x'"),
    ],
    ids=["pattern", "address"],
)
def test_a_value_that_the_other_sides_python_does_not_know_is_named(value: Any, broken: bytes, text: str) -> None:
    known = broken.replace(b"x", b"4").replace(b"++b", b"+b?")
    packed = APP.dumps(value)
    assert known in packed
    with pytest.raises(DecodeError, match=f"^this side's Python {text}"):
        WORKER.loads(packed.replace(known, broken))


class Odd:
    pass


def cyclic() -> list[Any]:
    loop: list[Any] = []
    loop.append({"again": (loop,)})
    return loop


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


class Hashed(bytearray):
    def __hash__(self) -> int:  # type: ignore[override]  # meant: its base has none
        return 1


HERE = Odd.__module__
KEYLESS = ZoneInfo.from_file(BytesIO(b"TZif1" + bytes(15 + 4 * 4) + b"\0\0\0\1\0\0\0\4" + bytes(6) + b"UTC\0"))


@pytest.mark.parametrize("sender", [APP, WORKER], ids=["app", "worker"])
@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(Odd(), f"it: object of type {HERE}.Odd cannot cross", id="object"),
        pytest.param({"prices": [0, 1, 2, Odd()]}, f'it["prices"][3]: object of type {HERE}.Odd cannot', id="nested"),
        pytest.param((1, {(1, 2): {3: ...}}), "it[1][(1, 2)][3]: object of type ellipsis cannot", id="by-tuple-key"),
        pytest.param(
            {10**5000: Odd()}, f"it[an object of type int]: object of type {HERE}.Odd cannot", id="by-giant-key"
        ),
        pytest.param({Odd: 1}, "it (a key): object of type type cannot", id="as-key"),
        pytest.param({"s": {Odd}}, 'it["s"] (an element): object of type type cannot', id="in-set"),
        pytest.param([Price(amount=...)], "it[0].amount: object of type ellipsis", id="field"),  # type: ignore[arg-type]  # meant
        pytest.param(deque([0, Odd()]), f"it[1]: object of type {HERE}.Odd cannot cross", id="in-deque"),
        pytest.param(OrderedDict(a=Odd()), f'it["a"]: object of type {HERE}.Odd cannot cross', id="in-ordered-dict"),
        pytest.param(Counter([Odd]), "it (a key): object of type type cannot", id="in-counter"),
        pytest.param(
            [defaultdict(Odd)], f"it[0]: a defaultdict whose factory is {HERE}.Odd cannot cross", id="factory"
        ),
        pytest.param(defaultdict(lambda: 1), f"it: a defaultdict whose factory is {HERE}.<lambda>", id="lambda"),
        pytest.param(defaultdict(partial(int)), "factory is an object of type functools.partial", id="partial"),
        pytest.param(KEYLESS, "has no key", id="zone-without-key"),
        pytest.param(dt.datetime(2025, 1, 1, tzinfo=KEYLESS), "has no key", id="datetime-in-zone-without-key"),
        pytest.param(memoryview(b"ab"), "it: object of type memoryview cannot", id="memoryview"),
        pytest.param({Hashed(b"ab")}, "it would arrive as a bytearray", id="unhashable-base"),
        pytest.param(Unset.NOTHING, "it.value: object of type object", id="enum-value"),
        pytest.param(iter([]), "it: object of type list_iterator cannot", id="iterator"),
        pytest.param(Moment(2025, 1, 1), f"it: object of type {HERE}.Moment cannot", id="more-than-a-datetime"),
        pytest.param({Price(Decimal(1)): 1}, "it would arrive as a dict", id="dataclass-as-key"),
        pytest.param(cyclic(), "contains itself, or is nested more than 100 deep", id="cycle"),
        pytest.param(nested(10_000), f"it{'[0]' * 15}...{'[0]' * 5}: it contains itself", id="long-path"),
        pytest.param(nested(10_000), "contains itself, or is nested more than 100 deep", id="deep"),
    ],
)
def test_what_cannot_cross_is_named_with_its_place(sender: Values, value: Any, text: str) -> None:
    with pytest.raises(EncodeError) as caught:
        sender.dumps(value)
    assert text in caught.value.text("it")


@DIRECTIONS
def test_the_deepest_value_crosses(sender: Values, receiver: Values) -> None:
    value: Any = ()
    for _ in range(values.MAX_DEPTH):
        value = (value,)
    assert receiver.loads(sender.dumps(value)) == value


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({Colour.RED: 1, "red": 2}, "two keys of a dict became equal"),
        ({"a": [{(Colour.RED,): 1, ("red",): 2}]}, "two keys of a dict became equal"),
        ({Colour.RED, "red"}, "two elements of a set became equal"),
        (frozenset((Colour.RED, "red")), "two elements of a set became equal"),
    ],
    ids=["keys", "keys, further in", "set", "frozenset"],
)
@DIRECTIONS
def test_what_became_equal_is_not_lost_silently(sender: Values, receiver: Values, value: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        receiver.loads(sender.dumps(value))
    assert type(caught.value) is DecodeError or receiver is WORKER


@pytest.mark.parametrize("receiver", [APP, WORKER], ids=["app", "worker"])
@given(garbage=st.binary(max_size=60))
def test_garbage_is_a_value_error(receiver: Values, garbage: bytes) -> None:
    with suppress(ValueError):
        receiver.loads(garbage)


@pytest.mark.parametrize("receiver", [APP, WORKER], ids=["app", "worker"])
@given(code=st.integers(min_value=0, max_value=34), payload=st.binary(max_size=20) | LEAVES.map(APP.dumps))
def test_garbage_in_an_extension_is_a_value_error(receiver: Values, code: int, payload: bytes) -> None:
    with suppress(ValueError):
        receiver.loads(bytes((0xC7, len(payload) % 256, code)) + payload)


@pytest.mark.parametrize("receiver", [APP, WORKER], ids=["app", "worker"])
@pytest.mark.parametrize(("code", "payload"), [(standard.BYTEARRAY, 1 << 50), (standard.FRACTION, ["1e999999999"])])
def test_a_few_bytes_ask_for_no_memory(receiver: Values, code: int, payload: object) -> None:
    packed = APP.dumps(payload)
    with pytest.raises(ValueError, match=r"\w"):
        receiver.loads(bytes((0xC7, len(packed), code)) + packed)


@pytest.mark.parametrize("receiver", [APP, WORKER], ids=["app", "worker"])
@pytest.mark.parametrize("code", range(1, 35))
def test_a_range_is_not_gone_through(receiver: Values, code: int) -> None:
    long = range(1 << 16)
    for payload in (long, [long], [None, long], [long, None], [None, long, None], [None, [long]], [[None, long]]):
        packed = APP.dumps(payload)
        extension = bytes((0xC8, *len(packed).to_bytes(2, "big"), code)) + packed
        with suppress(ValueError):
            receiver.loads(extension)  # what it needs for the first time is imported, and not counted
        tracemalloc.start()
        with suppress(ValueError):
            receiver.loads(extension)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100_000, payload


@pytest.mark.parametrize("receiver", [APP, WORKER], ids=["app", "worker"])
@pytest.mark.parametrize("bomb", [b"\x91" * 100_000, b"\xc9\x00\xff\xff\xff\x01" * 50_000], ids=["lists", "tuples"])
def test_a_nesting_bomb_is_a_value_error(receiver: Values, bomb: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        receiver.loads(bomb)


def test_a_uuid_is_not_confused_with_bytes() -> None:
    assert WORKER.loads(APP.dumps(UUID(int=5))) == UUID(int=5)
