"""Instances of classes cross between the two sides as what they are, and come back as they were."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from declaring import declaring, imported_as
from lastgood.bridges.worker.values import instances
from lastgood.bridges.worker.values.known import SOURCES
from lastgood.bridges.worker.values.values import DecodeError, EncodeError
from lastgood.calls import classes
from lastgood.calls.classes import Declared
from sides import Sides

SOURCE = """
import enum, functools
from collections import namedtuple
from dataclasses import InitVar, dataclass, field
from typing import NamedTuple

import attrs, msgspec

class Side(enum.Enum):
    BUY = 1
    SELL = 2

class Rights(enum.Flag):
    READ = 1
    WRITE = 2

class Point(NamedTuple):
    x: int
    y: int = 0

Pair = namedtuple("Twins", "left right")

class Checked(Point):
    def __new__(cls, x, y=0):
        if x < 0:
            raise ValueError("x is negative")
        return super().__new__(cls, x, y)

@dataclass(frozen=True)
class Key:
    sku: str
    side: Side = Side.BUY

@dataclass(frozen=True, slots=True)
class Special(Key):
    more: int = 0

@dataclass
class Scaled:
    size: float
    total: float = field(init=False, default=0.0)
    def __post_init__(self):
        self.size *= 2
        self.total = self.size + 1
        self.note = "made"

@dataclass
class Guarded:
    size: int
    def __post_init__(self):
        if self.size < 0:
            raise ValueError("a size is not negative")
    @functools.cached_property
    def double(self):
        return self.size * 2

@attrs.define
class Attr:
    _size: int = attrs.field(converter=lambda value: int(value) + 1)
    items: list = attrs.Factory(list)

class Struct(msgspec.Struct):
    size: int
    def __post_init__(self):
        self.size += 1

class Outer:
    class Inner(enum.Enum):
        A = "a"
    Pt = namedtuple("Pt", "x y")
    Kind = enum.Enum("Kind", "A B")

@dataclass
class Hidden:
    a: int

@dataclass(init=False)
class Filled:
    a: int

@dataclass
class By:
    factor: InitVar[int]
    plus: InitVar[int] = 1
    size: int = 1
    def __post_init__(self, factor, plus):
        self.size = self.size * factor + plus

class Celsius(namedtuple("Celsius", "degrees")):
    __slots__ = ()
    def __new__(cls, fahrenheit):
        return super().__new__(cls, fahrenheit - 32)

@dataclass
class Unread:
    factor: InitVar[int]
    size: int = 1

@dataclass
class Doubling:
    size: int
    def __init__(self, size):
        self.size = size * 2

@dataclass(init=False)
class Halving:
    size: int
    def __init__(self, size):
        self.size = size // 2

class Tripling(Guarded):
    def __init__(self, size):
        super().__init__(size * 3)

class Parsed(Guarded):
    def __init__(self, text):
        super().__init__(len(text))

@dataclass
class Late:
    name: str = "n" + str(1)
    sizes: list = field(default_factory=lambda: [1] * 2)
    size: int = 0

class Span(NamedTuple):
    low: int = int("1")
    high: int = 2

@dataclass(slots=True)
class BySlots:
    factor: InitVar[int]
    plus: InitVar[int] = 1
    size: int = 1
    def __post_init__(self, factor, plus):
        self.size = self.size * factor + plus

def local():
    @dataclass
    class Local(Scaled):
        extra: int = 5
    return Local(1.0)

def lonely():
    @dataclass
    class Lonely:
        a: int = 1
    return Lonely()
"""
WRAPPER = """
import enum
from dataclasses import dataclass, field
from typing import NamedTuple

from lastgood.runtime import SOURCE_DEFAULT

class Side(enum.Enum):
    BUY = 1
    SELL = 2
    GONE = 3

class Rights(enum.Flag):
    READ = 1
    WRITE = 2

class Point(NamedTuple):
    x: int
    y: int = 0

class Pair(NamedTuple):
    left: object
    right: object

class Checked(Point): ...

@dataclass(frozen=True)
class Key:
    sku: str
    side: Side = Side.BUY

@dataclass(frozen=True, slots=True)
class Special(Key):
    more: int = 0

@dataclass
class Scaled:
    size: float
    total: float = field(init=False, default=0.0)

@dataclass
class Guarded:
    size: int

@dataclass
class Attr:
    _size: int
    items: list = field(default_factory=list)

@dataclass
class Struct:
    size: int

class Outer:
    class Inner(enum.Enum):
        A = "a"
    class Pt(NamedTuple):
        x: object
        y: object
    class Kind(enum.Enum):
        A = 1
        B = 2

@dataclass
class Filled:
    a: int

@dataclass
class By:
    factor: int = field(repr=False, compare=False)
    plus: int = field(default=1, repr=False, compare=False)
    size: int = 1

class Celsius(NamedTuple):
    degrees: int

@dataclass
class Unread:
    factor: int = field(repr=False, compare=False)
    size: int = 1

@dataclass
class Doubling:
    size: int

@dataclass
class Halving:
    size: int

class Tripling(Guarded): ...

class Parsed(Guarded): ...

@dataclass
class Late:
    name: str = SOURCE_DEFAULT
    sizes: list = SOURCE_DEFAULT
    size: int = 0

class Span(NamedTuple):
    low: int = SOURCE_DEFAULT
    high: int = 2

@dataclass(slots=True, weakref_slot=True)
class BySlots:
    factor: int = field(repr=False, compare=False)
    plus: int = field(default=1, repr=False, compare=False)
    size: int = 1
"""


@pytest.fixture
def sides() -> Iterator[Sides]:
    classes._told.clear()
    with imported_as("shop", SOURCE) as source, declaring("shop", WRAPPER) as wrapper:
        yield Sides(source, wrapper)


@pytest.mark.parametrize(
    "text",
    [
        "Side.SELL",
        "Rights.READ | Rights.WRITE",
        "Rights(0)",
        "Point(1)",
        "Pair(1, [Side.BUY])",
        "Checked(3)",
        "Key('a', Side.SELL)",
        "Special('a', more=2)",
        "Scaled(2.0)",
        "Guarded(1)",
        "Attr(4)",
        "Struct(size=1)",
        "Outer.Inner.A",
        "Outer.Pt(1, Outer.Kind.B)",
        "Outer.Kind.A",
        "Celsius(50)",
        "Unread(3)",
        "Late('a')",
        "Doubling(2)",
        "Halving(2)",
        "Tripling(2)",
        "Parsed('abc')",
        "Span()",
    ],
)
@pytest.mark.parametrize("around", ["{}", "[{}, {}]", "({},)", "{{'k': {}}}", "Pair({}, None)"])
def test_it_is_of_the_class_of_its_name_on_either_side_and_comes_back_equal(
    sides: Sides, text: str, around: str
) -> None:
    made, came, back = sides.there_and_back(around.format(*[text] * around.count("{}")))
    assert type(back) is type(made)
    assert back == made
    assert repr(came).replace("Pair", "Twins") == repr(made)


@pytest.mark.parametrize(
    "text", ["{Side.SELL: 1}", "{Key('a'), Key('b')}", "frozenset([Point(1)])", "{(Key('a'),): 2}"]
)
def test_it_may_be_a_key_or_an_element(sides: Sides, text: str) -> None:
    made, came, back = sides.there_and_back(text)
    assert back == made
    assert came == eval(text, {**vars(sides.wrapper)})


def test_no_constructor_runs_again_when_it_is_given_back(sides: Sides) -> None:
    made, came, back = sides.there_and_back("[Scaled(2.0), Attr(1), Struct(size=1)]")
    assert [made[0].size, made[0].total, made[1]._size, made[2].size] == [4, 5, 2, 2]
    assert came[0] == sides.wrapper.Scaled(4) or came[0].total == 5
    assert back == made


def test_a_named_tuple_that_the_app_makes_is_made_by_the_sources_new(sides: Sides) -> None:
    came = sides.to_app(sides.source.Celsius(50))
    assert [sides.to_worker(each).degrees for each in (came, sides.wrapper.Celsius(50), came._replace())] == [
        18,
        18,
        18 - 32,
    ]


def test_a_constructor_of_the_classs_own_runs_for_what_the_app_makes(sides: Sides) -> None:
    wrapper = sides.wrapper
    made = sides.to_worker([wrapper.Doubling(2), wrapper.Tripling(2), wrapper.Halving(2)])
    assert [each.size for each in made] == [4, 6, 1]
    with pytest.raises(DecodeError, match=r"Parsed cannot be made of what was sent: TypeError: .*argument 'size'"):
        sides.to_worker(wrapper.Parsed(2))


def test_a_default_that_only_the_source_can_tell_is_set_by_its_constructor(sides: Sides) -> None:
    source, wrapper = sides.source, sides.wrapper
    late = wrapper.Late(size=3)
    assert repr(late) == "Late(name=SOURCE_DEFAULT, sizes=SOURCE_DEFAULT, size=3)"
    assert copy.deepcopy(late) == late == wrapper.Late(size=3)
    assert pickle.loads(pickle.dumps(late.name)) is late.name
    made = sides.to_worker([late, wrapper.Late("a", [3]), wrapper.Span(), wrapper.Span(high=5), wrapper.Span(3)])
    assert made == [source.Late(size=3), source.Late("a", [3]), source.Span(), source.Span(high=5), source.Span(3)]
    with pytest.raises(EncodeError, match="_SourceDefault cannot cross to the worker"):
        sides.to_worker([late.name])
    older = tuple.__new__(wrapper.Span, ())  # of a declaration that had no fields
    lacking = object.__new__(wrapper.Late)
    lacking.size = 3
    assert sides.to_worker([older, lacking]) == [source.Span(), source.Late(size=3)]


def test_what_nobody_has_any_more_is_not_held(sides: Sides) -> None:
    packed = sides.worker.dumps(sides.source.Celsius(50), SOURCES)
    kept = [sides.app.loads(packed, sides.known) for _ in range(10)]
    for _ in range(10 * instances._MOST_HELD):
        sides.app.loads(packed, sides.known)
    assert len(instances._held) <= instances._MOST_HELD
    assert [sides.to_worker(each).degrees for each in kept] == [18] * 10


def test_attributes_that_are_no_fields_come_along(sides: Sides) -> None:
    made = sides.source.Scaled(1.0)
    made.key = sides.source.Key("a")
    made.lock = object()  # it cannot cross, and does not make the rest fail
    made.hidden = sides.source.Hidden(3)  # the app does not know its class, and keeps it unread
    came = sides.to_app(made)
    assert (came.note, came.key) == ("made", sides.wrapper.Key("a"))
    assert not hasattr(came, "lock")
    assert not hasattr(came, "hidden")
    came.note = "changed"
    back = sides.to_worker(came)
    assert (back.note, back.key, back.hidden) == ("changed", sides.source.Key("a"), sides.source.Hidden(3))


@pytest.mark.parametrize("name", ["By", "BySlots"])
def test_an_argument_that_is_no_field_goes_to_the_constructor_alone(sides: Sides, name: str) -> None:
    made, came, back = sides.there_and_back(f"{name}(3, size=2)")
    assert back == made
    assert came.size == back.size == 7
    assert not hasattr(came, "factor")
    assert vars(back).keys() == {"size"} if name == "By" else not hasattr(back, "factor")
    declared = getattr(sides.wrapper, name)
    assert [sides.to_worker(declared(3, 0, 2)).size, sides.to_worker(declared(3)).size] == [6, 4]


def test_attributes_come_along_where_the_app_lacks_a_field(sides: Sides) -> None:
    made = sides.source.By(3, size=2)
    made.note = "made"
    came = sides.to_app(made)
    assert (came.note, sides.to_worker(came).note) == ("made", "made")


def test_what_the_app_changes_of_it_arrives_changed(sides: Sides) -> None:
    came = sides.to_app(sides.source.Scaled(1.0))
    came.size = 7
    assert sides.to_worker(came).size == 7


def test_what_the_app_makes_is_made_by_the_sources_constructor(sides: Sides) -> None:
    wrapper = sides.wrapper
    made = sides.to_worker([wrapper.Scaled(1.0), wrapper.Attr(1), wrapper.Struct(1), wrapper.Filled(3)])
    assert [made[0].size, made[0].total, made[1]._size, made[2].size, made[3].a] == [2, 3, 2, 2, 3]
    changed = wrapper.Scaled(1.0)
    changed.total = 9.0
    assert sides.to_worker(changed).total == 9


@pytest.mark.parametrize(
    ("text", "path", "problem"),
    [
        ("[Guarded(-1)]", [("item", 0)], "Guarded cannot be made of what was sent: ValueError: a size is not negative"),
        (
            "{'a': Pair(1, Checked(-1))}",
            [("key", "a"), ("field", "right")],
            "Checked cannot be made of what was sent: ValueError",
        ),
        ("Key('a', Side.GONE)", [("field", "side")], "Side has no member GONE"),
        ("Key('a', Checked(-1))", [("field", "side")], "Checked cannot be made"),
    ],
)
def test_what_cannot_be_made_is_an_error_that_says_where_it_is(
    sides: Sides, text: str, path: list[Any], problem: str
) -> None:
    with pytest.raises(DecodeError, match=f"^{problem}") as caught:
        sides.to_worker(eval(text, vars(sides.wrapper)))
    assert caught.value.path == path


def test_a_class_that_the_app_does_not_know_is_an_error_that_names_it(sides: Sides) -> None:
    with pytest.raises(
        DecodeError, match=r"its class shop\.Hidden is not known in the app, since no wrapper declares it"
    ) as caught:
        sides.to_app({"a": [sides.source.Key("a", sides.source.Hidden(1))]})
    assert caught.value.path == [("key", "a"), ("item", 0), ("field", "side")]


def test_a_class_that_a_function_has_made_is_its_nearest_base_and_told_once(
    sides: Sides, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "lastgood"):
        for _ in range(2):
            came = sides.to_app(sides.source.local())
            assert type(came) is sides.wrapper.Scaled
            assert came.size == 2
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "instances of shop.local.<locals>.Local cross as Scaled"
    ]
    with pytest.raises(EncodeError, match="was made inside a function"):
        sides.to_app(sides.source.lonely())


def test_what_the_app_derives_is_its_nearest_declared_base(sides: Sides, caplog: pytest.LogCaptureFixture) -> None:
    class Own(sides.wrapper.Key):  # type: ignore[name-defined,misc]  # a class of the module of text above
        pass

    assert sides.to_worker(Own("a")) == sides.source.Key("a")
    assert "cross as Key" in caplog.text


def test_a_look_alike_of_the_apps_own_is_an_error(sides: Sides) -> None:
    with imported_as("models", WRAPPER) as own:
        for value in (own.Key("a"), own.Side.BUY):
            with pytest.raises(EncodeError, match=r"of type models\..* no wrapper declares its class"):
                sides.to_worker([value])
        assert sides.to_worker(own.Point(1)) == (1, 0), "a named tuple is a tuple"


def test_a_plain_call_takes_it_as_plain_data(sides: Sides) -> None:
    with imported_as("models", WRAPPER) as own:
        packed = sides.app.dumps([own.Key("a"), sides.wrapper.Key("b")], Declared(), lenient=True)
    assert sides.worker.loads(packed, SOURCES) == [{"sku": "a", "side": 1}, sides.source.Key("b")]


def test_classes_of_the_standard_library_need_no_wrapper(sides: Sides) -> None:
    made, came, back = sides.there_and_back("[__import__('http').HTTPStatus.OK]")
    assert made == came == back
    assert type(came[0]) is type(made[0])


def test_an_instance_of_an_earlier_declaration_goes_by_the_names_of_its_fields(sides: Sides) -> None:
    with declaring("shop", WRAPPER.replace("    y: int = 0", "    z: int = 0").replace("sku: str", "name: str")) as old:
        with pytest.raises(DecodeError, match=r"Point cannot be made of what was sent: TypeError.*'z'"):
            sides.to_worker(old.Point(1))
        with pytest.raises(DecodeError, match=r"Key cannot be made of what was sent: TypeError.*'name'"):
            sides.to_worker(old.Key("a"))
    with declaring("shop", WRAPPER.replace("    y: int = 0", "")) as older:
        assert sides.to_worker(older.Point(1)) == sides.source.Point(1, 0)
