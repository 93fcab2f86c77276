"""What a call gave becomes what is declared, or is refused."""

from __future__ import annotations

import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag, IntEnum, auto
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Generic, Literal, NamedTuple, NotRequired, SupportsInt, TypedDict, TypeVar

import pytest

from lastgood.calls.results import Returns
from lastgood.errors import BridgeError, ReturnTypeError
from lastgood.runtime import clear_runtime_bridge, remote, set_runtime_bridge


class Side(Enum):
    BUY = "buy"
    SELL = "sell"


class Rights(Flag):
    READ = auto()
    WRITE = auto()


class Level(IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: float = 0.0


@dataclass(frozen=True)
class Key:
    sku: str


@dataclass
class Quote:
    price: Decimal
    side: Side = Side.BUY
    date: date | None = None
    parent: Quote | None = None
    total: int = field(init=False)


@dataclass
class Cat:
    name: str


@dataclass
class Dog:
    name: str
    breed: str = ""


@dataclass(slots=True)
class Lion(Cat):
    mane: float


class Options(TypedDict):
    side: Side
    points: NotRequired[list[Point]]


def returns(declared: Any) -> Any:
    return Returns[declared]("pricing.quote")


QUOTE = {"price": Decimal(1), "side": "sell", "date": None, "parent": None, "total": 3}
ONE = Quote(Decimal(1), Side.SELL)
ONE.total = 3


@pytest.mark.parametrize(
    ("declared", "given", "expected"),
    [
        (Side, "buy", Side.BUY),
        (Rights, 3, Rights.READ | Rights.WRITE),
        (Level, 3, Level.HIGH),
        (Point, (1, 2.0), Point(1, 2.0)),
        (Key, {"sku": "a"}, Key("a")),
        (Quote, QUOTE, ONE),
        (Quote | None, QUOTE, ONE),
        (list[Side], ["buy", "sell"], [Side.BUY, Side.SELL]),
        (tuple[Side, ...], ("buy",), (Side.BUY,)),
        (tuple[int, Side], (1, "buy"), (1, Side.BUY)),
        (set[Side], {"buy"}, {Side.BUY}),
        (frozenset[Point], frozenset([(1, 0.5)]), frozenset([Point(1, 0.5)])),
        (dict[Side, list[Point]], {"buy": [(1, 2)]}, {Side.BUY: [Point(1, 2)]}),
        (dict[str, Side], {"a": "buy"}, {"a": Side.BUY}),
        (Sequence[Side], ["buy"], [Side.BUY]),
        (Iterable[Side], ("buy",), (Side.BUY,)),
        (Mapping[str, Side], {"a": "buy"}, {"a": Side.BUY}),
        (deque[Side], deque(["buy"], 3), deque([Side.BUY], 3)),
        (Sequence[Side], deque(["buy"], 3), deque([Side.BUY], 3)),
        (OrderedDict[str, Side], OrderedDict(a="buy"), OrderedDict(a=Side.BUY)),
        (dict[str, Side], OrderedDict(a="buy"), OrderedDict(a=Side.BUY)),
        (Counter[Side], Counter({"buy": 2}), Counter({Side.BUY: 2})),
        (defaultdict[str, list[Side]], defaultdict(list, a=["buy"]), defaultdict(list, a=[Side.BUY])),
        (Mapping[str, Side], defaultdict(None, a="buy"), defaultdict(None, a=Side.BUY)),
        (Options, {"side": "buy", "points": [(1, 2)]}, {"side": Side.BUY, "points": [Point(1, 2)]}),
        (Cat | Dog, {"name": "x"}, Cat("x")),
        (Dog | Cat, {"name": "x"}, Cat("x")),
        (Cat | Dog, {"name": "x", "breed": "y"}, Dog("x", "y")),
        (int | Side, "sell", Side.SELL),
        (Cat, {"name": "x", "mane": 1.0}, Lion("x", 1.0)),
    ],
)
def test_plain_data_become_what_is_declared(declared: Any, given: Any, expected: Any) -> None:
    made = returns(declared)(given)
    assert made == expected
    assert type(made) is type(expected)
    assert repr(made) == repr(expected)  # with the maxlen and the factory


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        (int, 3),
        (int, True),
        (int, Level.HIGH),
        (float, 3),
        (float, 1.5),
        (str, "x"),
        (bytes, b"x"),
        (None, None),
        (Any, object()),
        (object, object()),
        (date, datetime(2024, 1, 1)),
        (Side, Side.BUY),
        (Quote, Quote(Decimal(1))),
        (Point, Point(1)),
        (list[Quote], [Quote(Decimal(1))]),
        (list[Any], [object()]),
        (list[int | str], [1, "x"]),
        (dict[str, Quote], {"a": Quote(Decimal(1))}),
        (dict[str, Any], {"a": object()}),
        (tuple[()], ()),
        (tuple[int, Side], (1, Side.BUY)),
        (Options, {"side": Side.BUY}),
        (Sequence[str], "abc"),
        (Iterable[int], range(3)),
        (SupportsInt, 3),
        (complex, 1j),
        (complex, 3),
        (deque[Any], deque([object()])),
        (dict[str, int], Counter("aab")),
        (tzinfo, timezone.utc),  # noqa: UP017  # its class
        (re.Pattern[str], re.compile("a")),
        (re.Pattern[Any] | str, re.compile(b"a")),
        (PurePath, Path("a")),
        (Side | str, "buy"),
        ((Literal["a", 1] | None), "a"),
        (Any | None, 3),
    ],
)
def test_what_is_right_already_stays(declared: Any, value: Any) -> None:
    assert returns(declared)(value) is value


@pytest.mark.parametrize(
    ("declared", "value", "told"),
    [
        (int, "x", "annotated `-> int`, but its result does not match: result: expected int, got str."),
        (int, 1.0, "result: expected int, got float."),
        (bool, 1, "result: expected bool, got int."),
        (None, 3, "annotated `-> None`, but its result does not match: result: expected None, got int."),
        (str, b"x", "result: expected str, got bytes."),
        (Decimal, "1", "result: expected Decimal, got str."),
        (list[int], (1,), "result: expected list[int], got tuple."),
        (list[int], [1, 2, "x"], "result[2]: expected int, got str."),
        (
            list[Quote],
            [QUOTE, QUOTE | {"price": "1"}],
            "annotated `-> list[Quote]`, but its result does not match: result[1].price: expected Decimal, got str.",
        ),
        (Quote, QUOTE | {"parent": QUOTE | {"side": "no"}}, "result.parent.side: expected Side, got 'no'."),
        (Quote, {"side": "buy"}, 'result: expected Quote, got dict without "price".'),
        (Quote, [1], "result: expected Quote, got list."),
        (Side, 1, "result: expected Side, got int."),
        (complex, "1j", "result: expected complex, got str."),
        (float, 1j, "result: expected float, got complex."),
        (deque[int], [1], "result: expected deque[int], got list."),
        (deque[int], deque([1, "x"]), "result[1]: expected int, got str."),
        (OrderedDict[str, int], {"a": 1}, "result: expected OrderedDict[str, int], got dict."),
        (Counter[str], Counter([1]), "result (a key): expected str, got int."),
        (Counter[str], Counter({"a": "x"}), 'result["a"]: expected int, got str.'),
        (defaultdict[str, int], defaultdict(str, a="x"), 'result["a"]: expected int, got str.'),
        (re.Pattern[str], re.compile(b"a"), "result.pattern: expected str, got bytes."),
        (re.Pattern[str], "a", "result: expected Pattern[str], got str."),
        (Path, PurePosixPath("a"), "result: expected Path, got PurePosixPath."),
        (Level, True, "result: expected Level, got bool."),
        (Level, 3.0, "result: expected Level, got float."),
        (Point, (1,), "result: expected Point, got tuple of 1."),
        (Point, (1, "x"), "result.y: expected float, got str."),
        (tuple[int, str], (1, 2), "result[1]: expected str, got int."),
        (tuple[int, ...], (1, "x"), "result[1]: expected int, got str."),
        (set[int], {"x"}, "result (an element): expected int, got str."),
        (dict[int, str], {"a": "b"}, "result (a key): expected int, got str."),
        (dict[str, int], {"a": "b"}, 'result["a"]: expected int, got str.'),
        (dict[str, list[int]], {"a": [None]}, 'result["a"][0]: expected int, got None.'),
        (Options, {"points": []}, 'result: expected Options, got dict without "side".'),
        (Options, {"side": "buy", "points": [(1, None)]}, 'result["points"][0].y: expected float, got None.'),
        (Sequence[int], {1}, "result: expected Sequence[int], got set."),
        (Sequence[int], ["x"], "result[0]: expected int, got str."),
        (Mapping[str, int], {"a": "b"}, 'result["a"]: expected int, got str.'),
        (
            int | None,
            "x",
            "annotated `-> int | None`, but its result does not match: result: expected int | None, got str.",
        ),
        (Quote | None, QUOTE | {"price": 1}, "result.price: expected Decimal, got int."),
        (Literal["a", 1], "b", "result: expected Literal['a', 1], got 'b'."),
        (Literal[1], True, "result: expected Literal[1], got True."),
        (Literal["a"], [], "result: expected Literal['a'], got list."),
    ],
)
def test_what_is_wrong_is_refused_with_where_and_what(declared: Any, value: Any, told: str) -> None:
    with pytest.raises(ReturnTypeError) as caught:
        returns(declared)(value)
    assert told in str(caught.value)
    assert str(caught.value).startswith("pricing.quote is annotated `-> ")
    assert isinstance(caught.value, BridgeError)
    assert caught.value.call == "pricing.quote"


def test_what_a_dict_lacks_has_its_default_or_is_not_set() -> None:
    made = returns(Quote)({"price": Decimal(1)})
    assert made.side is Side.BUY
    assert not hasattr(made, "total")


def test_a_field_that_came_later_is_left_out() -> None:
    assert returns(Key)({"sku": "a", "new": 1}) == Key("a")
    assert returns(Cat | Dog)({"name": "x", "breed": "y", "new": 1}) == Dog("x", "y")


def test_names_that_are_not_there_yet_are_looked_up_at_the_first_call() -> None:
    class Bridge:
        async def call(self, *_: object) -> list[str]:
            return ["buy"]

        async def dispose(self) -> None: ...

    wrapper: dict[str, Any] = {"remote": remote}
    exec('from __future__ import annotations\n@remote("m", "f")\ndef late() -> list[Late]: ...', wrapper)
    wrapper["Late"] = Side
    set_runtime_bridge(Bridge())
    try:
        assert wrapper["late"]() == [Side.BUY]
    finally:
        clear_runtime_bridge()


def test_instances_of_the_sources_own_classes_are_taken_by_their_fields() -> None:
    def own() -> tuple[type, type]:
        @dataclass
        class Key:
            sku: str

        class Side(Enum):
            BUY = "buy"

        Key.__qualname__, Side.__qualname__ = "Key", "Side"
        return Key, Side

    key, side = own()
    assert returns(Key)(key("a")) == Key("a")
    assert returns(Side)(side("buy")) is Side.BUY
    with pytest.raises(ReturnTypeError, match="expected Key, got Cat"):
        returns(Key)(Cat("a"))


Item = TypeVar("Item")
OfCats = TypeVar("OfCats", bound=Cat)


@dataclass
class Page(Generic[Item]):
    items: list[Item]
    next: Page[Item] | None = None


@dataclass
class CatPage(Page[Cat]):
    total: int = 0


def test_a_parametrised_class_has_the_types_of_its_arguments() -> None:
    value = {"items": [{"name": "Tom"}], "next": {"items": [], "next": None}}
    assert Returns[Page[Cat]]("f")(value) == Page([Cat("Tom")], Page([]))
    assert Returns[list[CatPage]]("f")([{**value, "total": 1}]) == [CatPage([Cat("Tom")], Page([]), 1)]
    with pytest.raises(ReturnTypeError, match=re.escape("result.next.items[0]")):
        Returns[Page[int]]("f")({"items": [], "next": {"items": ["1"]}})


def test_a_type_variable_says_nothing_but_its_bound() -> None:
    variable: Any = Item
    bounded: Any = OfCats
    assert Returns[variable]("f")("anything") == "anything"
    assert Returns[list[bounded]]("f")([{"name": "Tom"}]) == [Cat("Tom")]
    with pytest.raises(ReturnTypeError):
        Returns[bounded]("f")(1)


def test_two_classes_of_one_name_are_told_apart_by_their_modules() -> None:
    mine: Any = type("Size", (), {"__module__": "here"})
    other: Any = type("Size", (), {"__module__": "elsewhere"})()
    with pytest.raises(ReturnTypeError, match=re.escape("result[0]: expected here.Size, got elsewhere.Size")):
        Returns[list[mine]]("f")([other], is_exact=True)
    with pytest.raises(ReturnTypeError, match=re.escape("expected here.Size | int, got elsewhere.Size")):
        Returns[mine | int]("f")(other, is_exact=True)
