"""Which functions are streams, and what their wrappers declare."""

from __future__ import annotations

import pytest

from lastgood.config import Style
from wrapping import source, text_of, told, wrap

DECORATORS = """
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ParamSpec, TypeVar
P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
def as_list(f: Callable[P, Iterator[T]]) -> Callable[P, list[int]]: ...
def same(f: F) -> F: ...
def unsaid(f): ...
def doubled(f: Callable[P, Iterator[T]]) -> Callable[P, AsyncIterator[str]]: ...
def limited(most: int) -> Callable[[Callable[P, Iterator[T]]], Callable[P, tuple[int, ...]]]: ...
Made = Callable[..., dict[str, int]]
def as_dict(f: Any) -> Made: ...
"""


def declared(text: str, style: Style = "async") -> list[str]:
    """The declarations of the functions in the wrapper, with their decorators."""
    wrapped = wrap(text, source("decorators", DECORATORS), style=style)
    lines = text_of(wrapped).splitlines()
    return [line.strip() for line in lines if line.lstrip().startswith(("def ", "async def ", "@remote"))]


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("def f(n: int):\n  yield 1", "Any"),
        ("def f(n: int):\n  return (yield from x)", "Any"),
        ("async def f(n: int):\n  if x:\n    yield", "Any"),
        ("import typing\ndef f(n: int) -> typing.Iterator[int]: ...", "int"),
        ("from typing import *\ndef f(n: int) -> Iterator: ...", "Any"),
        ("from collections.abc import AsyncGenerator as A\nasync def f(n: int) -> 'A[int, None]':\n  yield 1", "int"),
        ("from collections.abc import AsyncIterable\ndef f(n: int) -> AsyncIterable[str]: ...", "str"),
        ("from collections.abc import AsyncIterator\nasync def f(n: int) -> AsyncIterator[str]: ...", "str"),
        ("from typing import Generator\ndef f(n: int) -> Generator[list[int], str, bool]: ...", "list[int]"),
        ("from typing import Iterable\ndef f(n: int) -> Iterable[int]:\n  yield 1", "int"),
        ("from typing import Iterator\nTokens = Iterator[str]\ndef f(n: int) -> Tokens: ...", "str"),
        ("from decorators import same\n@same\ndef f(n: int):\n  yield 1", "Any"),
        ("import decorators\n@decorators.doubled\ndef f(n: int):\n  yield 1", "str"),
        ("import functools\n@functools.lru_cache\ndef f(n: int):\n  yield 1", "Any"),
    ],
)
def test_a_stream(text: str, item: str) -> None:
    head = '@remote("pricing", "f", stream=True)'
    assert declared(text) == [head, f"def f(n: int) -> AsyncIterator[{item}]: ..."]
    assert declared(text, "sync") == [head, f"def f(n: int) -> Iterator[{item}]: ..."]


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("from typing import Iterable\ndef f() -> Iterable[int]: ...", "Iterable[int]"),
        ("def f() -> list[int]:\n  def g():\n    yield 1\n  return list(g())", "list[int]"),
        ("def f() -> int:\n  return sum((yield_ for yield_ in ()))", "int"),
        ("from decorators import as_list\n@as_list\ndef f():\n  yield 1", "list[int]"),
        ("from decorators import as_list as a, doubled\n@a\n@doubled\ndef f():\n  yield 1", "list[int]"),
        ("from decorators import limited\n@limited(3)\ndef f():\n  yield 1", "tuple[int, ...]"),
        ("import decorators as d\n@d.as_dict\ndef f():\n  yield 1", "dict[str, int]"),
    ],
)
def test_a_plain_call(text: str, result: str) -> None:
    assert declared(text) == ['@remote("pricing", "f")', f"async def f() -> {result}: ..."]


def test_static_and_class_methods_and_overloads() -> None:
    text = (
        "from typing import Iterator, overload\n"
        "class Desk:\n"
        "  @staticmethod\n"
        "  def asked(n: int) -> Iterator[int]: ...\n"
        "  @classmethod\n"
        "  async def given(cls, n: int):\n"
        "    yield n\n"
        "@overload\n"
        "def f(x: int) -> Iterator[int]: ...\n"
        "@overload\n"
        "def f(x: str) -> Iterator[str]: ...\n"
        "def f(x):\n"
        "  yield x\n"
    )
    assert declared(text) == [
        '@remote("pricing", "Desk.asked", stream=True)',
        "def asked(n: int) -> AsyncIterator[int]: ...",
        '@remote("pricing", "Desk.given", stream=True)',
        "def given(n: int) -> AsyncIterator[Any]: ...",
        "def f(x: int) -> AsyncIterator[int]: ...",
        "def f(x: str) -> AsyncIterator[str]: ...",
        '@remote("pricing", "f", stream=True)',
        "def f(x: Any) -> AsyncIterator[int | str]: ...",
    ]


def test_an_item_that_cannot_cross_is_told_of() -> None:
    wrapped = wrap("from typing import Iterator\nclass Own: ...\ndef f() -> Iterator[list[Own]]:\n  yield []\n")
    assert "pricing.f: the annotation of the result, Iterator[list[Own]], became Any in part." in told(wrapped)[0]
    wrapped = wrap("def f() -> int:\n  yield 1\n")
    assert wrapped.warnings == (
        "pricing.f: the annotation of the result, int, became Any. It is a type that is no iterator.",
    )


def test_one_that_is_a_stream_under_a_condition_alone_says_so() -> None:
    wrapped = wrap("import sys\nif sys.argv:\n  def f():\n    yield 1\nelse:\n  def f():\n    return 1\n")
    assert "it is defined with different signatures at lines 3, 6" in wrapped.warnings[0]
