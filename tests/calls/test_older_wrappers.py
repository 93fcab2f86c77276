"""A wrapper that was imported before an edit does what the same call of the edited source does."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from generating import importable
from lastgood import watch
from lastgood.config import Style
from real_project import RealProject
from wrapping import load, run, text_of, wrap

Call = Callable[[Any], Any]


def source(text: str) -> SimpleNamespace:
    space: dict[str, Any] = {}
    exec(compile(text, "source", "exec", dont_inherit=True), space)
    return SimpleNamespace(**space)


class Reached(Exception):
    """What a source raises of its own accord."""


def older(first: str, second: str, style: Style = "async") -> tuple[Any, Any]:
    """The wrapper of the ``first`` version, which reaches the ``second``, and the latter itself."""
    edited = source(second)

    def answer(_module: str, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        function: Any = functools.reduce(getattr, path.split("."), edited)
        return function(*args, **kwargs)

    return SimpleNamespace(**load(text_of(wrap(first, style=style)), answer)), edited


def outcome(call: Call, module: Any) -> Any:
    """What the call gives, or the text of its TypeError."""
    try:
        result = call(module)
        return run(result) if inspect.iscoroutine(result) else result
    except TypeError as error:
        return str(error)


PRICE = "def price(amount, percent=5): return {'amount': amount, 'percent': percent}"
DIVIDE = "def divide(dividend, divisor): return dividend / divisor"
EDITS = [
    pytest.param(PRICE, PRICE.replace("=5", "=7"), lambda m: m.price(200), id="default-changed"),
    pytest.param(PRICE, PRICE.replace("=5", "=[]"), lambda m: m.price(200), id="default-no-literal-now"),
    pytest.param(PRICE.replace("=5", "=[]"), PRICE, lambda m: m.price(200), id="default-a-literal-now"),
    pytest.param(PRICE, PRICE.replace("=5", ""), lambda m: m.price(200), id="default-taken-away"),
    pytest.param(
        PRICE,
        "def price(amount, currency='EUR', percent=5): return locals()",
        lambda m: m.price(200, percent=10),
        id="parameter-in-between",
    ),
    pytest.param(
        PRICE,
        "def price(amount, currency='EUR', percent=5): return locals()",
        lambda m: m.price(200, 10),
        id="parameter-in-between-by-position",
    ),
    pytest.param(
        DIVIDE,
        "def divide(divisor, dividend): return dividend / divisor",
        lambda m: m.divide(dividend=10, divisor=2),
        id="reordered",
    ),
    pytest.param(
        PRICE, PRICE.replace("percent", "tax"), lambda m: m.price(200, percent=10), id="renamed-given-by-keyword"
    ),
    pytest.param(PRICE, PRICE.replace("percent", "tax"), lambda m: m.price(200, 10), id="renamed-given-by-position"),
    pytest.param(PRICE, "def price(amount): return amount", lambda m: m.price(200, 10), id="removed"),
    pytest.param(
        PRICE, "def price(amount, percent, tax): return 1", lambda m: m.price(200, 10), id="another-is-required"
    ),
    pytest.param(
        PRICE, "def price(amount, /, percent=5): return 1", lambda m: m.price(amount=200), id="positional-only-now"
    ),
    pytest.param(
        "def price(amount, /, percent=5): return 1", PRICE, lambda m: m.price(amount=200), id="positional-only-no-more"
    ),
    pytest.param(PRICE, "def price(amount, *, percent=5): return 1", lambda m: m.price(200, 10), id="keyword-only-now"),
    pytest.param(
        "def price(amount, *, percent=5): return 1", PRICE, lambda m: m.price(200, 10), id="keyword-only-no-more"
    ),
    pytest.param(PRICE, "def price(*args, **kwargs): return locals()", lambda m: m.price(1, percent=2), id="all-taken"),
    pytest.param(PRICE, "def price(*amounts, percent=1): return locals()", lambda m: m.price(1, 2, 3), id="more-taken"),
    pytest.param("def price(*args, **kwargs): return 1", PRICE, lambda m: m.price(1, tax=2), id="no-longer-all-taken"),
    pytest.param(
        "from typing import overload\n@overload\ndef price(x: int) -> int: ...\n@overload\ndef price(x: str) -> str: ...\n"
        "def price(x=1): return x",
        "def price(y=1, x=2): return y + x",
        lambda m: m.price(x=3),
        id="overloads",
    ),
    pytest.param(
        "class Desk:\n  @staticmethod\n  def open(name, fee=1): return name, fee",
        "class Desk:\n  @staticmethod\n  def open(fee=2, name='x'): return name, fee",
        lambda m: m.Desk.open(name="a"),
        id="static-method",
    ),
    pytest.param(
        "class Desk:\n  @classmethod\n  def open(cls, name, fee=1): return name, fee",
        "class Desk:\n  @staticmethod\n  def open(fee=2, name='x'): return name, fee",
        lambda m: m.Desk.open(name="a"),
        id="class-method-is-static-now",
    ),
    pytest.param(
        "class Desk:\n  @classmethod\n  def open(cls, self=1, **cls_): return self",
        "class Desk:\n  @classmethod\n  def open(cls, **more): return more",
        lambda m: m.Desk.open(self=2, module=3, function=4, args=5, kwargs=6),
        id="any-keyword",
    ),
    pytest.param(PRICE, PRICE.replace("=5", "=7"), lambda m: functools.partial(m.price, amount=1)(), id="partial"),
]


@pytest.mark.parametrize("style", ["async", "sync"])
@pytest.mark.parametrize(("first", "second", "call"), EDITS)
def test_it_sends_what_was_given_and_nothing_else(first: str, second: str, call: Call, style: Style) -> None:
    wrapper, edited = older(first, second, style)
    assert outcome(call, wrapper) == outcome(call, edited)


def test_what_a_source_raises_of_its_own_accord_is_not_taken_for_a_wrong_call() -> None:
    wrapper, edited = older("def f(x): ...", "def f(x): raise error")
    edited.f.__globals__["error"] = Reached()
    with pytest.raises(Reached):
        run(wrapper.f(1))


def test_it_still_looks_like_its_own_source() -> None:
    wrapper, _ = older('def price(a: int, *, b: str = "x") -> int:\n  "Doc."', PRICE)
    assert str(inspect.signature(wrapper.price, eval_str=True)) == "(a: int, *, b: str = 'x') -> int"
    assert (wrapper.price.__name__, wrapper.price.__doc__, wrapper.price.__module__) == ("price", "Doc.", "generated")


@st.composite
def signatures(draw: st.DrawFn) -> str:
    """Any signature of up to five of the same few parameters, in any order, of any kinds, with and without defaults."""
    names = draw(st.lists(st.sampled_from("abcde"), max_size=5, unique=True))
    first_default, positional_only, by_position = (draw(st.integers(0, 5)) for _ in range(3))
    value = draw(st.sampled_from(["1", "2", "[]"]))
    shown = [f"{name}={value}" if place >= first_default else name for place, name in enumerate(names)]
    rest = draw(st.sampled_from(["", "*rest"]))
    named = shown[by_position:]
    parts = shown[:by_position]
    if 0 < positional_only <= len(parts):
        parts.insert(positional_only, "/")
    parts += [rest] if rest else ["*"] if named else []
    parts += named + (["**more"] if draw(st.booleans()) else [])
    return f"({', '.join(parts)})"


@settings(max_examples=200, deadline=None)
@given(
    signatures(),
    signatures(),
    st.lists(st.integers(0, 9), max_size=4),
    st.dictionaries(st.sampled_from("abcdex"), st.integers(0, 9), max_size=4),
)
def test_any_call_after_any_edit_is_the_edited_sources_own(
    before: str, after: str, args: list[int], kwargs: dict[str, int]
) -> None:
    wrapper, edited = older(f"def f{before}: ...", f"def f{after}: return locals()")
    assert outcome(lambda m: m.f(*args, **kwargs), wrapper) == outcome(lambda m: m.f(*args, **kwargs), edited)


SHOP = """
from dataclasses import dataclass
@dataclass
class Item:
    sku: str
def price(amount: int, percent: int = 5) -> int: return amount - amount * percent // 100
def kinds(item: Item, other: Item | None = None) -> list[str]: return [type(item).__name__, type(other).__name__]
class Desk:
    @classmethod
    def open(cls, name: str, fee: int = 1) -> str: return f"{name} {fee}"
"""
EDITED = """
from dataclasses import dataclass
@dataclass
class Item:
    sku: str
def price(amount: int, currency: str = "EUR", percent: int = 10) -> int: return amount - amount * percent // 100
def kinds(count: int = 1, *, other: Item | None = None, item: Item) -> list[str]: return [type(item).__name__, type(other).__name__]
class Desk:
    @classmethod
    def open(cls, fee: int = 2, name: str = "nobody") -> str: return f"{name} {fee}"
"""


async def test_names_taken_before_an_edit_do_what_the_live_source_does(tmp_path: Path) -> None:
    project = RealProject(tmp_path, {"shop.py": SHOP})
    project.configure("shop")
    with trio.fail_after(60), importable(project.root, "generated"):
        async with watch(project.config_file, debounce=0.01) as session:
            from generated.shop import Desk, Item, kinds, price  # type: ignore[import-not-found]  # made by the session

            half = functools.partial(price, percent=50)
            assert await price(200) == 190
            assert await kinds(Item("a"), Item("b")) == ["Item", "Item"]
            project.save("shop.py", EDITED)
            assert await session.reload_now()
            assert await price(200) == 180
            assert await price(200, percent=20) == 160
            assert await half(200) == 100
            assert await Desk.open(name="me") == "me 2"
            assert await kinds(item=Item("a")) == ["Item", "NoneType"]
            assert await kinds(3, other=Item("a"), item=Item("b")) == ["Item", "Item"]
            with pytest.raises(TypeError, match=r"unexpected keyword argument 'tax'"):
                await price(200, tax=1)
            with pytest.raises(TypeError, match=r"missing 1 required keyword-only argument: 'item'"):
                await kinds(3)
