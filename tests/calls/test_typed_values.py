"""Values keep their types on the way to a worker and back, through wrappers, with real workers."""

from __future__ import annotations

import importlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio

from generating import generated, importable, running
from lastgood import BridgeError, ReturnTypeError, watch
from real_project import RealProject

MODELS = '''
from __future__ import annotations

import enum
from collections import namedtuple
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple, NotRequired, TypedDict


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


class Rights(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Point(NamedTuple):
    x: int
    y: int = 0


Pair = namedtuple("Pair", "left right")


@dataclass(frozen=True)
class Key:
    sku: str
    side: Side = Side.BUY


@dataclass
class Quote:
    """A price for something."""

    key: Key
    price: Decimal
    tags: list[str] = field(default_factory=list)
    rights: Rights = Rights.READ
    parent: Quote | None = None
    total: Decimal = field(init=False)

    def __post_init__(self) -> None:
        if self.price < 0:
            raise ValueError("a price is not negative")
        self.total = self.price * 2


class Options(TypedDict):
    side: Side
    limits: NotRequired[list[Point]]
'''

PRICING = """
from __future__ import annotations

import enum
import functools
from decimal import Decimal
from collections.abc import Mapping, Sequence
from typing import Any

from models import Key, Options, Pair, Point, Quote, Rights, Side


def same(value: Quote) -> Quote:
    assert type(value) is Quote and type(value.key) is Key and type(value.key.side) is Side, value
    return value

def kinds(*values: Quote | Side | Point | None, **more: Sequence[Quote]) -> list[str]:
    return [type(value).__name__ for value in values] + [type(each).__name__ for value in more.values() for each in value]

def plain(value, other: Any = None) -> list[str]:
    return [type(value).__name__, type(other).__name__]

def by_key(quotes: dict[Key, Quote]) -> dict[Side, list[Quote]]:
    return {key.side: [quote] for key, quote in quotes.items()}

def keys(values: set[Key]) -> frozenset[Key]:
    assert all(type(value) is Key for value in values)
    return frozenset(values)

def options(value: Options) -> Options:
    assert isinstance(value["side"], Side) and isinstance(value["limits"][0], Point)
    return value

def pair(value: Pair, *, rights: Rights = Rights.READ) -> tuple[Pair, Rights]:
    assert isinstance(value, Pair) and isinstance(rights, Rights)
    return value, rights

@functools.lru_cache
def cached(side: Side) -> Side:
    assert isinstance(side, Side)
    return side

async def later(points: Mapping[str, Point]) -> list[Point]:
    assert all(isinstance(point, Point) for point in points.values())
    return list(points.values())

def wrong() -> list[Quote]:
    quote = Quote(Key("a"), Decimal(1))
    quote.price = "1"
    return [quote]

class Desk:
    class State(enum.Enum):
        OPEN = 1

    @staticmethod
    def quote(side: Side, state: State) -> Quote:
        assert isinstance(side, Side) and isinstance(state, Desk.State)
        return Quote(Key("desk", side), Decimal(3))

    @classmethod
    def side(cls, quote: Quote) -> Side:
        return quote.key.side
"""


async def test_values_keep_their_types_both_ways(tmp_path: Path) -> None:
    made = generated(tmp_path, {"models.py": MODELS, "pricing.py": PRICING}, "pricing")
    async with running(made):
        pricing: Any = made.load("pricing")
        models: Any = made.load("models")
        quote = models.Quote(
            models.Key("a", models.Side.SELL), Decimal(5), ["x"], models.Rights.READ | models.Rights.WRITE
        )
        quote.parent = models.Quote(models.Key("b"), Decimal(6))
        back = await pricing.same(quote)
        assert type(back) is models.Quote
        assert (back.key, back.tags, back.rights) == (quote.key, quote.tags, quote.rights)
        assert back.parent.key == models.Key("b")
        assert (back.total, back.parent.total) == (10, 12)
        assert await pricing.same(back) == back

        point = models.Point(1, 2)
        assert await pricing.kinds(quote, models.Side.BUY, point, None, more=[quote]) == [
            *("Quote", "Side", "Point", "NoneType", "Quote")
        ]
        assert await pricing.plain(quote, models.Side.BUY) == ["Quote", "Side"]
        assert await pricing.plain([point], point) == ["list", "Point"]
        assert await pricing.by_key({quote.key: back}) == {models.Side.SELL: [back]}
        assert await pricing.keys({models.Key("a"), quote.key}) == frozenset((models.Key("a"), quote.key))
        assert await pricing.options({"side": models.Side.BUY, "limits": [point]}) == {
            "side": models.Side.BUY,
            "limits": [point],
        }
        assert await pricing.pair(models.Pair(1, "b"), rights=models.Rights.WRITE) == (
            models.Pair(1, "b"),
            models.Rights.WRITE,
        )
        assert await pricing.cached(models.Side.SELL) is models.Side.SELL
        assert await pricing.later({"a": point}) == [point]
        assert await pricing.Desk.side(back) is models.Side.SELL
        desk = await pricing.Desk.quote(models.Side.BUY, pricing.Desk.State.OPEN)
        assert desk.key == models.Key("desk")

        with pytest.raises(ReturnTypeError) as wrong:
            await pricing.wrong()
        assert "pricing.wrong is annotated `-> list[Quote]`" in str(wrong.value)
        assert "result[0].price: expected Decimal, got str" in str(wrong.value)
        with pytest.raises(
            BridgeError, match=r"^argument value\.parent: Quote cannot be made .*: ValueError: a price is"
        ):
            quote.parent.price = Decimal(-1)
            await pricing.same(quote)


async def test_an_edit_that_makes_a_return_wrong_is_told_at_the_call(tmp_path: Path) -> None:
    project = RealProject(tmp_path, {"pricing.py": "def quote(sku: str) -> list[int]:\n    return [len(sku)]\n"})
    with trio.fail_after(60):
        async with watch(project.config_file) as session:
            with importable(tmp_path, "generated"):
                pricing: Any = importlib.import_module("generated.pricing")
                assert await pricing.quote("abc") == [3]
                project.save("pricing.py", "def quote(sku: str) -> list[int]:\n    return [1, sku]\n")
                assert await session.reload_now()
                with pytest.raises(ReturnTypeError) as caught:
                    await pricing.quote("abc")
    assert (caught.value.call, caught.value.declared) == ("pricing.quote", "list[int]")
    assert (caught.value.where, caught.value.expected, caught.value.came) == ("result[1]", "int", "str")


async def test_a_result_of_another_type_is_an_error_a_warning_or_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    project = RealProject(tmp_path, {"pricing.py": "def quote() -> list[int]:\n    return [1, 'x']\n"})
    written = project.config_file.read_text()
    with trio.fail_after(60):
        async with watch(project.config_file) as session:
            with importable(tmp_path, "generated"):
                pricing: Any = importlib.import_module("generated.pricing")
                for checks in ("error", "warn", "off"):
                    caplog.clear()
                    project.config_file.write_text(f'{written}check_results = "{checks}"\n')
                    assert await session.reload_now()
                    if checks == "error":
                        with pytest.raises(ReturnTypeError):
                            await pricing.quote()
                        continue
                    assert await pricing.quote() == [1, "x"]
                    told = [record.getMessage() for record in caplog.records if record.name == "lastgood.calls.results"]
                    assert [text.partition(",")[0] for text in told] == (
                        ["pricing.quote is annotated `-> list[int]`"] if checks == "warn" else []
                    )


CIRCLE = {
    "shapes/__init__.py": """
from __future__ import annotations
import enum
from dataclasses import dataclass, field
from .round import circle

class Colour(enum.Enum):
    RED = "red"

@dataclass
class Shape:
    colour: Colour = Colour.RED
    inner: list[Shape | circle.Circle] = field(default_factory=list)

def same(shape: Shape) -> Shape:
    assert isinstance(shape, Shape) and isinstance(shape.colour, Colour)
    return shape
""",
    "shapes/round/__init__.py": "",
    "shapes/round/base.py": """
from dataclasses import dataclass

@dataclass
class Base:
    size: int = 1
""",
    "shapes/round/circle.py": """
from __future__ import annotations
import typing
from dataclasses import dataclass
from . import base
if typing.TYPE_CHECKING:
    from .. import Shape

@dataclass
class Circle(base.Base):
    twin: Circle | None = None
    around: "Shape | None" = None

def twin(circle: Circle) -> Circle:
    assert type(circle) is Circle
    return Circle(circle.size + 1, circle)
""",
}


@pytest.mark.parametrize("first", ["shapes", "shapes.round.circle", "shapes.round.base"])
async def test_types_that_mention_each_other_across_modules_can_be_imported_in_any_order(
    tmp_path: Path, first: str
) -> None:
    made = generated(tmp_path, CIRCLE, "shapes", "shapes.round.circle")
    assert made.warnings == ()
    async with running(made):
        made.load(first)
        shapes: Any = made.load("shapes")
        circle: Any = made.load("shapes.round.circle")
        one = circle.Circle(3, around=None)
        assert await circle.twin(one) == circle.Circle(4, one)
        shape = shapes.Shape(shapes.Colour.RED, [circle.Circle(5), shapes.Shape()])
        assert await shapes.same(shape) == shape
