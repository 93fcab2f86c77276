"""What a stub, the ``.pyi`` of a module, says of what its source does not annotate."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from lastgood.sources.parsing import stub_of
from lastgood.wrappers import ModuleSource, Wrapped, wrap_modules
from lastgood.wrappers.generate import Pipeline
from wrapping import load, source, text_of


def stub(name: str, text: str) -> ModuleSource:
    return ModuleSource(stub_of(name), Path("/project", f"{name.replace('.', '/')}.pyi"), text.encode(), False)


def wrapped(text: str, stub_text: str, **others: str) -> Wrapped:
    found = [stub("pricing", stub_text)]
    for name, each in others.items():
        found.append(stub(name.removesuffix("_pyi"), each) if name.endswith("_pyi") else source(name, each))
    by_name = {each.name: each for each in found}
    return wrap_modules([source("pricing", text)], find=by_name.get, local=by_name)


def signature(text: str, stub_text: str, **others: str) -> str:
    space = load(text_of(wrapped(text, stub_text, **others)), lambda *_: None)
    return str(inspect.signature(space["f"])).replace("'", "")


@pytest.mark.parametrize(
    ("text", "stub_text", "expected"),
    [
        ("def f(a, b=1): ...", "def f(a: int, b: str = ...) -> bytes: ...", "(a: int, b: str = Ellipsis) -> bytes"),
        ("def f(a: int, b): ...", "def f(a: str, b: str) -> None: ...", "(a: int, b: str) -> None"),
        ("def f(a) -> int: ...", "def f(a: str) -> bytes: ...", "(a: str) -> int"),
        ("async def f(a): ...", "async def f(a: int) -> int: ...", "(a: int) -> int"),
        ("def f(*a, **b): ...", "def f(*a: int, **b: str) -> None: ...", "(*a: int, **b: str) -> None"),
        ("def f(a): ...", "def f(__a: int) -> int: ...", "(a: int) -> int"),
        (
            "def f(a): ...",
            "from typing import Optional as O\ndef f(a: O[int]) -> O[str]: ...",
            "(a: int | None) -> str | None",
        ),
        ("def f(a): ...", "A = dict[str, int]\ndef f(a: A) -> A: ...", "(a: dict[str, int]) -> dict[str, int]"),
        (
            "def f(a): ...",
            "import sys\nif sys.version_info >= (3, 8):\n    def f(a: int) -> int: ...",
            "(a: int) -> int",
        ),
        ("def f(a): ...", "def g(a: int) -> int: ...", "(a: Any) -> Any"),
        ("def f(a): ...", "f: int", "(a: Any) -> Any"),
    ],
)
def test_types_come_from_the_stub_where_the_source_has_none(text: str, stub_text: str, expected: str) -> None:
    assert signature(text, stub_text) == expected


@pytest.mark.parametrize(
    ("text", "stub_text", "expected", "difference"),
    [
        ("def f(a): ...", "def f(b: int) -> int: ...", "(a: Any) -> int", "has no b in the source; lacks a"),
        ("def f(a, b): ...", "def f(a: int) -> int: ...", "(a: int, b: Any) -> int", "lacks b"),
        ("def f(a): ...", "def f(*, a: int) -> int: ...", "(a: int) -> int", "takes a in another way"),
        ("def f(*args): ...", "def f(a: int) -> int: ...", "(*args: Any) -> int", ""),
        ("def f(a): ...", "def f(a: int, /) -> int: ...", "(a: int) -> int", ""),
    ],
)
def test_the_parameters_are_those_of_the_source(text: str, stub_text: str, expected: str, difference: str) -> None:
    made = wrapped(text, stub_text)
    assert signature(text, stub_text) == expected
    said = f"pricing.f: line 1 of its stub {difference}. The parameters of the source count."
    assert made.warnings == ((said,) if difference else ())


def test_classes_that_a_stub_names_are_those_of_the_source() -> None:
    text = "from dataclasses import dataclass\n@dataclass\nclass Quote:\n    sku: str\ndef f(a): ..."
    made = text_of(wrapped(text, "class Quote:\n    sku: str\ndef f(a: Quote) -> list[Quote]: ..."))
    assert "async def f(a: Quote) -> list[Quote]: ..." in made
    assert "@dataclass\nclass Quote:\n    sku: str" in made


def test_names_are_followed_into_other_modules_and_their_stubs() -> None:
    stub_text = "from shop import Colour, Names\ndef f(a: Colour) -> Names: ..."
    shop = "from enum import Enum\nclass Colour(Enum):\n    RED = 1"
    made = text_of(wrapped("def f(a): ...", stub_text, shop=shop, shop_pyi="Names = list[str]"))
    assert "def f(a: Colour) -> list[str]" in made


def test_a_class_that_only_the_stub_has_is_none() -> None:
    stub_text = "from typing import TypedDict\nclass Row(TypedDict):\n    x: int\ndef f(a: Row) -> int: ..."
    assert signature("def f(a): ...", stub_text) == "(a: Any) -> int"
    assert wrapped("def f(a): ...", stub_text).warnings == (
        "pricing.f: the annotation of parameter 'a', Row, became Any. It is a name that stands for no known type.",
    )


def test_methods_are_found_in_their_class() -> None:
    made = text_of(
        wrapped(
            "class Desk:\n    @staticmethod\n    def open(a): ...\n    @classmethod\n    def load(cls, a): ...",
            "class Desk:\n    @staticmethod\n    def open(a: int) -> int: ...\n"
            "    @classmethod\n    def load(cls, a: str) -> str: ...",
        )
    )
    assert "def open(a: int) -> int" in made
    assert "def load(a: str) -> str" in made


def test_the_name_of_the_first_parameter_of_a_class_method_is_no_difference() -> None:
    text = "class Desk:\n    @classmethod\n    def load(kls, {}): ..."
    stub_text = "class Desk:\n    @classmethod\n    def load(cls, a: str) -> str: ..."
    made = wrapped(text.format("a"), stub_text)
    assert "def load(a: str) -> str" in text_of(made)
    assert made.warnings == ()
    (warning,) = wrapped(text.format("b"), stub_text).warnings
    assert "has no a in the source; lacks b." in warning


def test_a_function_of_a_module_without_a_stub_is_in_that_of_the_module_that_offers_it() -> None:
    text = "import functools\nfrom impl import f as f, g as other, Desk as Desk\npart = functools.partial(f, 1)"
    impl = "def f(a, b): ...\ndef g(a): ...\nclass Desk:\n    @staticmethod\n    def open(a): ..."
    stub_text = (
        "def f(a: int, b: str) -> int: ...\ndef other(a: bytes) -> bytes: ...\ndef part(b: str) -> int: ...\n"
        "class Desk:\n    @staticmethod\n    def open(a: int) -> str: ..."
    )
    wrapped_ = wrapped(text + "\n__all__ = ['f', 'other', 'Desk', 'part']", stub_text, impl=impl)
    made = text_of(wrapped_)
    assert "def f(a: int, b: str) -> int" in made
    assert "def other(a: bytes) -> bytes" in made
    assert "def open(a: int) -> str" in made
    assert "def part(b: str) -> int" in made
    assert wrapped_.warnings == ()
    own = text_of(
        wrapped("from impl import f as f", "def f(a: int): ...", impl="def f(a): ...", impl_pyi="def f(a: str): ...")
    )
    assert "def f(a: str)" in own


def test_overloads_come_from_the_stub() -> None:
    stub_text = (
        "from typing import overload\n@overload\ndef f(a: int) -> int: ...\n@overload\ndef f(a: str) -> str: ..."
    )
    made = text_of(wrapped("def f(a): ...", stub_text))
    assert "@overload\nasync def f(a: int) -> int: ..." in made
    assert "async def f(a: Any) -> int | str: ..." in made
    made = text_of(wrapped("def f(b): ...", stub_text))  # others than the source takes
    assert "overload" not in made


def test_a_stream_by_its_stub() -> None:
    made = text_of(
        wrapped("def f(a):\n    yield 1", "from typing import Iterator\ndef f(a: int) -> Iterator[int]: ...")
    )
    assert "def f(a: int) -> AsyncIterator[int]" in made


def test_fields_without_a_type_in_the_source() -> None:
    text = (
        "from collections import namedtuple\nPoint = namedtuple('Point', 'x y')\n"
        "class Refused(Exception):\n    def __init__(self, code):\n        self.code = code\n"
        "def f(a) -> Point: ..."
    )
    stub_text = (
        "from typing import NamedTuple\nclass Point(NamedTuple):\n    x: int\n    y: float\n"
        "class Refused(Exception):\n    code: int"
    )
    made = text_of(wrapped(text, stub_text))
    assert "x: int\n    y: float" in made
    assert "code: int" in made


def test_a_broken_stub_is_a_failure_that_names_it() -> None:
    (failure,) = wrapped("def f(a): ...", "def f(a: int) -> int: ...\ndef g(").failures
    assert (failure.module, failure.file, failure.line) == ("pricing", Path("/project/pricing.pyi"), 2)


def test_an_edit_of_the_stub_alone_changes_the_wrapper() -> None:
    pipeline = Pipeline()
    found = {each.name: each for each in (source("pricing", "def f(a): ..."), stub("pricing", "def f(a: int): ..."))}
    named = [found["pricing"]]
    assert "a: int" in text_of(pipeline.wrap(named, found.get, local=found))
    found[stub_of("pricing")] = stub("pricing", "def f(a: str): ...")
    assert "a: str" in text_of(pipeline.wrap(named, found.get, "async", {stub_of("pricing")}, found))
    del found[stub_of("pricing")]
    assert "a: Any" in text_of(pipeline.wrap(named, found.get, "async", {stub_of("pricing")}, found))
