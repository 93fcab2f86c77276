"""An imported wrapper is of the live generation: brought up to date in place, with the swap."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio

from generating import importable
from lastgood.errors import BridgeError, FunctionRemoved
from lastgood.session.watch import WatchProgram, watch
from lastgood.watch_events import ReloadError
from real_project import BROKEN, DEADLINE, MORE, QUOTE, FakeFactory, RealProject, Told

Start = Callable[..., WatchProgram]

TWO = 'def quote(sku: str, quantity: int = 2) -> float:\n    """What it costs."""\n'
GONE = "def other() -> float: ...\n"
SHAPES = """
from dataclasses import dataclass
from enum import Enum

RATE = 1.5

class Currency(Enum):
    EUR = 1

@dataclass
class Price:
    amount: float
    currency: Currency = Currency.EUR

class Desk:
    @staticmethod
    def ask(sku: str) -> Price: ...

def quote(sku: str) -> Price: ...
"""


@pytest.fixture(autouse=True)
def _the_output_can_be_imported(project: RealProject) -> Iterator[None]:
    with importable(project.root, "generated"):
        yield


def load(name: str = "pricing") -> Any:
    return importlib.import_module(f"generated.{name}")


async def reload(session: Any, project: RealProject, text: str, path: str = "pricing.py") -> bool:
    project.save(path, text)
    done: bool = await session.reload_now()
    return done


# --- functions


async def test_a_function_that_was_taken_by_name_is_live(project: RealProject, start: Start) -> None:
    async with start() as session:
        quote = load().quote
        held = {"quote": quote, "half": functools.partial(quote, "a-1")}
        assert await reload(session, project, TWO)
        assert load().quote is quote is held["quote"] is held["half"].func
        assert str(inspect.signature(quote)) == "(sku: 'str', quantity: 'int' = 2) -> 'float'"
        assert quote.__doc__ == "What it costs."
        assert await quote("a-1") == session.generation == 2


async def test_the_result_is_of_the_new_return_type(project: RealProject, start: Start) -> None:
    async with start() as session:
        quote = load().quote
        assert await quote("a-1") == 1
        assert await reload(session, project, "def quote(sku: str) -> str: ...\n")
        with pytest.raises(BridgeError, match=r"is annotated `-> str`"):
            await quote("a-1")


async def test_a_new_function_appears_and_a_removed_one_goes(project: RealProject, start: Start) -> None:
    async with start() as session:
        wrapper = load()
        quote = wrapper.quote
        assert await reload(session, project, GONE)
        assert await wrapper.other() == 2
        assert wrapper.__all__ == ["other"]
        assert wrapper.__source__ == "pricing"
        with pytest.raises(AttributeError):
            _ = wrapper.quote
        with pytest.raises(FunctionRemoved, match=r"^pricing\.quote is gone: ") as raised:
            await quote("a-1")
        assert isinstance(raised.value, BridgeError)
        assert isinstance(raised.value, AttributeError)


async def test_a_function_that_comes_back_is_the_same(project: RealProject, start: Start) -> None:
    async with start() as session:
        quote = load().quote
        assert await reload(session, project, GONE)
        assert await reload(session, project, QUOTE)
        assert load().quote is quote
        assert await quote("a-1") == 3


async def test_a_module_that_is_removed_has_no_functions(project: RealProject, start: Start) -> None:
    project.save("stock.py", "def count() -> int: ...\n")
    project.configure("pricing", "stock")
    async with start() as session:
        count = load("stock").count
        project.configure("pricing")
        assert await session.reload_now()
        with pytest.raises(FunctionRemoved):
            await count()
        project.configure("pricing", "stock")
        assert await session.reload_now()
        assert load("stock").count is count
        assert await count() == 3


async def test_static_methods_and_decorators_of_the_app_follow(project: RealProject, start: Start) -> None:
    project.save("pricing.py", "class Desk:\n    @staticmethod\n    def ask(sku: str) -> float: ...\n")
    async with start() as session:
        ask = load().Desk.ask

        @functools.wraps(ask)
        async def logged(*args: Any) -> Any:
            return await ask(*args)

        text = "class Desk:\n    @staticmethod\n    def ask(sku: str, urgent: bool = False) -> int: ...\n"
        assert await reload(session, project, text)
        assert load().Desk.ask is ask
        assert "urgent" in inspect.signature(ask).parameters
        assert await logged("a-1") == 2


async def test_another_style_makes_other_functions(project: RealProject, start: Start) -> None:
    async with start() as session:
        quote = load().quote
        project.save("lastgood.toml", '[modules.pricing]\n[output]\ndir = "generated"\nstyle = "sync"\n')
        assert await session.reload_now()
        assert not inspect.iscoroutinefunction(load().quote)
        assert await quote("a-1") == 2


async def test_a_function_that_becomes_a_stream_is_another_one(project: RealProject, start: Start) -> None:
    stream = "def quote(sku: str):\n    yield 1.5\n"
    async with start() as session:
        quote = load().quote
        assert await reload(session, project, stream)
        taken = load().quote
        assert taken is not quote
        assert not inspect.iscoroutinefunction(taken)
        with pytest.raises(
            BridgeError,
            match=r"^pricing\.quote has become a stream of items since it was taken from its wrapper\. "
            r"Take generated\.pricing\.quote again, and read it by `async for item in quote\(\.\.\.\):`, without an `await`",
        ):
            await quote("a-1")
        never = taken("a-1")
        assert await reload(session, project, stream.replace("sku", "number"))
        assert load().quote is taken
        assert await reload(session, project, QUOTE)
        assert load().quote is quote
        assert await quote("a-1") == 4
        for read in (never.__anext__, lambda: taken("a-1")):
            with pytest.raises(
                BridgeError, match=r"is no stream of items any more .* call it by `await quote\(\.\.\.\)`"
            ):
                await read()
        assert await reload(session, project, stream)
        assert load().quote is taken


async def test_a_method_that_becomes_a_stream(project: RealProject, start: Start) -> None:
    text = "class Desk:\n    @staticmethod\n    def ask(sku: str) -> float: ...\n"
    project.save("pricing.py", text)
    async with start() as session:
        desk = load().Desk
        ask = desk.ask
        assert await reload(session, project, text.replace("...", "\n        yield 1.5"))
        assert load().Desk is desk
        assert not inspect.iscoroutinefunction(desk.ask)
        with pytest.raises(
            BridgeError, match=r"Take generated\.pricing\.Desk\.ask again, and read it by `async for item in ask"
        ):
            await ask("a-1")
        assert await reload(session, project, text)
        assert desk.ask is ask
        assert await ask("a-1") == 3


async def test_a_cycle_that_fails_leaves_a_function_that_would_have_become_a_stream(
    project: RealProject, start: Start, factory: FakeFactory
) -> None:
    async with start() as session:
        quote = load().quote
        factory.fail("probe", LookupError("mine"))
        assert not await reload(session, project, "def quote(sku: str):\n    yield 1.5\n")
        assert await reload(session, project, QUOTE + "\n")
        assert load().quote is quote
        assert await quote("a-1") == 3


# --- constants and classes


async def test_a_constant_has_its_new_value_under_the_name_of_the_module(project: RealProject, start: Start) -> None:
    project.save("pricing.py", SHAPES)
    async with start() as session:
        wrapper = load()
        copied = wrapper.RATE
        assert await reload(session, project, SHAPES.replace("1.5", "2.5"))
        assert (copied, wrapper.RATE) == (1.5, 2.5)


async def test_classes_that_have_not_changed_stay(project: RealProject, start: Start) -> None:
    project.save("pricing.py", SHAPES)
    async with start() as session:
        wrapper = load()
        before = (wrapper.Currency, wrapper.Price, wrapper.Desk, wrapper.Desk.ask)
        assert await reload(session, project, SHAPES + "def more() -> Currency: ...\n")
        assert (wrapper.Currency, wrapper.Price, wrapper.Desk, wrapper.Desk.ask) == before
        assert wrapper.more


async def test_a_class_of_another_wrapper_comes_with_it(project: RealProject, start: Start) -> None:
    project.save("stock.py", "def count() -> int: ...\n")
    project.configure("pricing", "stock")
    async with start() as session:
        stock = load("stock")
        project.save("shapes.py", "from dataclasses import dataclass\n@dataclass\nclass Item:\n    sku: str\n")
        text = "from shapes import Item\ndef count() -> int: ...\ndef item() -> Item: ...\n"
        project.configure("pricing", "stock", "shapes")
        assert await reload(session, project, text, "stock.py")
        assert stock.Item is load("shapes").Item
        assert stock.Item.__module__ == "generated.shapes"
        assert load("shapes").__file__ == str(project.output / "shapes.py")


async def test_a_wrapper_that_imports_a_changed_class_has_the_new_one(project: RealProject, start: Start) -> None:
    shapes = "from dataclasses import dataclass\n@dataclass\nclass Item:\n    sku: str\n"
    project.save("shapes.py", shapes)
    project.save("stock.py", "from shapes import Item\ndef item() -> Item: ...\n")
    project.configure("shapes", "stock")
    async with start() as session:
        stock, mine = load("stock"), load("shapes")
        assert await reload(session, project, shapes + "    count: int = 0\n", "shapes.py")
        assert stock.Item is mine.Item
        assert mine.Item("a-1").count == 0


async def test_what_the_app_has_put_there_stays(project: RealProject, start: Start) -> None:
    async with start() as session:
        wrapper = load()
        mine = wrapper.quote = object()
        wrapper.added = 1
        assert await reload(session, project, MORE)
        assert (wrapper.quote, wrapper.added) == (mine, 1)
        assert wrapper.more


# --- when


async def test_a_cycle_that_is_undone_leaves_every_wrapper(
    project: RealProject, start: Start, factory: FakeFactory
) -> None:
    async with start() as session:
        wrapper = load()
        before = dict(vars(wrapper))
        for text in (BROKEN, MORE):
            factory.fail("probe", LookupError("mine"))
            assert not await reload(session, project, text)
            assert vars(wrapper) == before
        assert await wrapper.quote("a-1") == 1


async def test_one_that_is_imported_during_a_warm_up_comes_with_the_swap(
    project: RealProject, start: Start, factory: FakeFactory
) -> None:
    async with start() as session:
        seen: list[Any] = []
        factory.call("probe", lambda: seen.extend([load(), hasattr(load(), "more")]))
        assert await reload(session, project, MORE)
        assert seen == [load(), False]
        assert load().more


async def test_an_undo_takes_them_back(project: RealProject, start: Start) -> None:
    async with start() as session:
        wrapper = load()
        quote = wrapper.quote
        assert await reload(session, project, TWO)
        assert await session.undo()
        assert wrapper.quote is quote
        assert list(inspect.signature(quote).parameters) == ["sku"]


async def test_what_was_imported_before_the_session_is_brought_up_to_date_too(
    project: RealProject, start: Start
) -> None:
    async with start():
        pass
    wrapper = load()
    quote = wrapper.quote
    project.save("pricing.py", TWO + GONE)
    async with start():
        assert wrapper.quote is quote
        assert "quantity" in inspect.signature(quote).parameters
        assert wrapper.other


async def test_what_is_imported_while_the_first_cycle_warms_up_is_brought_up_to_date_later(
    project: RealProject, start: Start, factory: FakeFactory
) -> None:
    async with start():
        pass
    project.save("pricing.py", MORE)
    factory.call("probe", load)
    async with start() as session:
        more = load().more
        assert await reload(session, project, QUOTE + "def more(count: int = 0) -> None: ...\n")
        assert load().more is more
        assert list(inspect.signature(more).parameters) == ["count"]


async def test_a_wrapper_that_the_app_cannot_execute_fails_the_warm_up(
    project: RealProject, start: Start, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as session:
        wrapper = load()
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "decimal", None)
            assert not await reload(session, project, "from decimal import Decimal\ndef quote() -> Decimal: ...\n")
        error = await told.next(ReloadError)
        assert error.effect == "warm"
        assert f"The new wrapper {wrapper.__file__} cannot be executed in the app" in str(error.error)
        assert not hasattr(wrapper, "Decimal")
        assert await wrapper.quote("a-1") == 1
        assert await session.reload_now()
        assert wrapper.Decimal


# --- beside importlib.reload and %autoreload


async def test_a_reload_beside_it_keeps_what_there_is(project: RealProject, start: Start) -> None:
    project.save("pricing.py", SHAPES)
    async with start() as session:
        wrapper = load()
        before = (wrapper.quote, wrapper.Price, wrapper.Currency, wrapper.Desk.ask)
        importlib.reload(wrapper)
        assert (wrapper.quote, wrapper.Price, wrapper.Currency, wrapper.Desk.ask) == before
        assert await reload(session, project, SHAPES.replace("sku: str)", "sku: str, n: int = 1)"))
        importlib.reload(wrapper)
        assert (wrapper.quote, wrapper.Price, wrapper.Currency, wrapper.Desk.ask) == before
        assert "n" in inspect.signature(wrapper.quote).parameters


async def test_a_tool_that_clears_the_module_before_its_reload_does_no_harm(project: RealProject, start: Start) -> None:
    project.save("pricing.py", SHAPES)
    async with start() as session:
        wrapper = load()
        before = (wrapper.quote, wrapper.Price)
        kept = {name: vars(wrapper)[name] for name in ("__name__", "__loader__", "__spec__", "__file__", "__package__")}
        vars(wrapper).clear()
        vars(wrapper).update(kept)
        importlib.reload(wrapper)
        assert (wrapper.quote, wrapper.Price) == before
        assert await reload(session, project, SHAPES + "def more() -> float: ...\n")
        assert await wrapper.more() == 2


async def test_a_module_that_is_imported_anew_has_the_same_functions(project: RealProject, start: Start) -> None:
    async with start() as session:
        quote = load().quote
        del sys.modules["generated.pricing"]
        assert load().quote is quote
        assert await reload(session, project, TWO)
        assert load().quote is quote
        assert "quantity" in inspect.signature(quote).parameters


async def test_after_a_session_a_reload_is_an_ordinary_one(project: RealProject, start: Start) -> None:
    async with start():
        wrapper = load()
    importlib.reload(wrapper)
    quote = wrapper.quote
    project.save("pricing.py", MORE)
    with trio.fail_after(DEADLINE):
        async with start():
            assert wrapper.more
            assert wrapper.quote is quote


# --- classes that change

LINES = """
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, TypedDict

class Currency(Enum):
    EUR = 1

class At(NamedTuple):
    x: int

class Options(TypedDict):
    fast: bool

@dataclass
class Price:
    amount: float
    currency: Currency = Currency.EUR

@dataclass(frozen=True)
class Line:
    price: Price

@dataclass(frozen=True)
class Total(Line):
    at: At

def total(options: Options) -> Total: ...
def prices() -> list[Price]: ...
"""
CHANGED = (
    LINES.replace("EUR = 1\n", "EUR = 1\n    GBP = 2\n")
    .replace("x: int\n", "x: int\n    y: int = 0\n")
    .replace("fast: bool\n", "fast: bool\n    safe: bool\n")
    .replace("amount: float\n", "amount: float\n    tax: float = 0.5\n")
    .replace("price: Price\n", "price: Price\n    count: int = 1\n")
    .replace("at: At\n", "at: At = At(1)\n")
)
NAMES = ("Currency", "At", "Options", "Price", "Line", "Total")


async def test_changed_classes_stay_the_same_objects(project: RealProject, start: Start) -> None:
    project.save("pricing.py", LINES)
    async with start() as session:
        wrapper = load()
        before = {name: getattr(wrapper, name) for name in NAMES}
        eur, price = wrapper.Currency.EUR, wrapper.Price(1.0)
        assert await reload(session, project, CHANGED)
        assert {name: getattr(wrapper, name) for name in NAMES} == before
        assert wrapper.Currency.EUR is eur is price.currency
        assert wrapper.Currency(2) is wrapper.Currency.GBP
        assert wrapper.Price(1.0).tax == 0.5
        assert wrapper.At(1) == (1, 0)
        assert wrapper.Options.__required_keys__ == {"fast", "safe"}
        total = wrapper.Total(price=price, count=2, at=wrapper.At(3))
        assert isinstance(total, before["Line"])
        assert isinstance(price, before["Price"])
        assert {each.__module__ for each in before.values()} == {"generated.pricing"}


async def test_classes_that_come_back_are_the_same_objects(project: RealProject, start: Start) -> None:
    project.save("pricing.py", SHAPES)
    async with start() as session:
        pricing = load()
        currency, price = pricing.Currency, pricing.Price
        for text, way_back in (
            (GONE, SHAPES),
            ("import os\n" + GONE, SHAPES.replace("EUR = 1", "EUR = 1\n    USD = 2")),
        ):
            assert await reload(session, project, text)
            assert not hasattr(pricing, "Price")
            assert await reload(session, project, way_back)
            assert (pricing.Currency, pricing.Price) == (currency, price)
        assert currency.USD is pricing.Currency["USD"]
        assert await reload(session, project, GONE)
        assert await session.undo()
        assert (pricing.Currency, pricing.Price) == (currency, price)


async def test_a_class_that_cannot_stay_is_a_new_object(project: RealProject, start: Start) -> None:
    slots = (
        "from dataclasses import dataclass\n@dataclass(slots=True)\nclass Price:\n"
        '    """What it costs."""\n    amount: float\n'
    )
    text = slots + "def price() -> Price: ...\n"
    project.save("pricing.py", text)
    async with start() as session:
        wrapper = load()
        before = wrapper.Price
        assert await reload(session, project, text.replace("What it", "What one"))
        assert wrapper.Price is before
        assert before.__doc__ == "What one costs."
        assert await reload(session, project, text.replace("float", "float\n    tax: float = 0.5"))
        assert wrapper.Price is not before
        assert wrapper.Price(1.0).tax == 0.5
        assert await reload(session, project, text.replace("float", "float\n    tax: float = 0.5") + GONE)
        assert isinstance(wrapper.Price(1.0), wrapper.Price)


async def test_a_base_in_another_wrapper_stays_too(project: RealProject, start: Start) -> None:
    shapes = "from dataclasses import dataclass\n@dataclass\nclass Item:\n    sku: str\n"
    stock = "from dataclasses import dataclass\nfrom shapes import Item\n@dataclass\nclass Box(Item):\n    n: int = 0\n"
    project.save("shapes.py", shapes)
    project.save("stock.py", stock + "def box() -> Box: ...\n")
    project.configure("shapes", "stock")
    async with start() as session:
        box, item = load("stock").Box, load("shapes").Item
        assert await reload(session, project, shapes + "    count: int = 0\n", "shapes.py")
        assert (load("stock").Box, load("shapes").Item, load("stock").Item) == (box, item, item)
        assert issubclass(box, item)
        assert [each.name for each in dataclasses.fields(box)] == ["sku", "count", "n"]


async def test_a_cycle_that_is_undone_leaves_the_classes(
    project: RealProject, start: Start, factory: FakeFactory
) -> None:
    project.save("pricing.py", LINES)
    async with start() as session:
        wrapper = load()
        factory.fail("probe", LookupError("mine"))
        assert not await reload(session, project, CHANGED)
        assert list(wrapper.Currency) == [wrapper.Currency.EUR]
        assert [each.name for each in dataclasses.fields(wrapper.Price)] == ["amount", "currency"]


# --- with a worker

KEPT = """
from dataclasses import dataclass
from typing import NamedTuple

@dataclass
class Order:
    sku: str
    count: int = 1

class At(NamedTuple):
    x: int

def show(order: Order, at: At) -> str:
    return f"{order} {at}"
"""


async def test_an_instance_of_an_earlier_declaration_goes_to_the_worker_by_its_fields(project: RealProject) -> None:
    project.save("pricing.py", KEPT)
    with trio.fail_after(DEADLINE):
        async with watch(project.config_file, debounce=1000, max_wait=1000) as session:
            wrapper = load()
            order, at, show = wrapper.Order("a-1", 2), wrapper.At(3), wrapper.show
            assert await show(order, at) == "Order(sku='a-1', count=2) At(x=3)"
            text = KEPT.replace("count: int = 1", "note: str = 'none'").replace("x: int\n", "x: int\n    y: int = 4\n")
            assert await reload(session, project, text)
            assert await show(order, at) == "Order(sku='a-1', note='none') At(x=3, y=4)"
            assert await reload(session, project, text.replace("note: str = 'none'", "note: str"))
            with pytest.raises(BridgeError, match=r"argument order: .* missing 1 required positional argument: 'note'"):
                await show(order, at)
            assert await show(wrapper.Order("b", "c"), at) == "Order(sku='b', note='c') At(x=3, y=4)"
