"""However a source is written, its wrapper is bounded in size and cost, or it is an error of that module alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from lastgood.wrappers import generate, wrap_modules
from lastgood.wrappers.read import project, scope
from lastgood.wrappers.types import annotations as reading
from wrapping import source, text_of, wrap


def doubling(aliases: int, text: str = "dict[{0}, {0}]") -> str:
    """Aliases that each stand for twice as much as the one before, and one function for each."""
    made = ["A0 = int", *(f"A{number} = {text.format(f'A{number - 1}')}" for number in range(1, aliases))]
    return "\n".join([*made, *(f"def f{number}(x: A{number}) -> A{number}: ..." for number in range(aliases))])


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows by one for each type that is read."""
    counted: list[None] = []
    read = reading._Reader.read

    def counting(self: Any, *args: Any) -> Any:
        counted.append(None)
        return read(self, *args)

    monkeypatch.setattr(reading._Reader, "read", counting)
    return counted


@pytest.mark.parametrize(
    "text",
    [
        "dict[{0}, {0}]",
        "tuple[{0}, {0}]",
        "list[{0}] | set[{0}] | {0}",
        "'dict[{0}, {0}]'",
        "Union[list[{0}], set[{0}], {0}]",
        "dict[{0}, list[Unknown | {0}]]",
        "Page[{0}, {0}]",
    ],
)
def test_aliases_that_double_cost_what_is_written(text: str, reads: list[None]) -> None:
    start = (
        "from dataclasses import dataclass\nfrom typing import Generic, TypeAlias, TypeVar, Union\n"
        "K = TypeVar('K')\nV = TypeVar('V')\n"
        "@dataclass\nclass Page(Generic[K, V]):\n  key: K\n  value: V\n"
    )
    whole = start + doubling(40, text).replace(" = '", ": TypeAlias = '")
    assert len(text_of(wrap(whole))) < 60_000
    assert len(reads) < 15_000


def test_many_uses_of_a_large_alias_cost_a_read_each(reads: list[None]) -> None:
    uses = "\n".join(f"def g{number}(x: A7, y: A7) -> A7: ..." for number in range(100))
    wrap(f"{doubling(8)}\n{uses}")
    assert len(reads) < 2_000


@pytest.mark.parametrize(
    "order", ["A = list[B]\nB = dict[str, 'A'] | int\n", "B = dict[str, 'A'] | int\nA = list[B]\n"]
)
def test_aliases_in_a_circle_mean_the_same_whichever_is_read_first(order: str) -> None:
    first = text_of(wrap(f"{order}def f(x: A, y: B): ...\n"))
    then = text_of(wrap(f"{order}def g(y: B): ...\ndef f(x: A, y: B): ...\n"))
    head = "async def f(x: list[dict[str, Any] | int], y: dict[str, list[Any]] | int) -> Any: ..."
    assert head in first
    assert head in then


def test_a_wrapper_that_is_too_large_is_an_error_of_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "LARGEST", 2_000)
    pipeline = generate.Pipeline()
    sources = [source("good", "def f(): ..."), source("large", f"TABLE = ({'1234567,' * 400})")]
    for _ in range(2):  # and again where nothing has changed
        wrapped = pipeline.wrap(sources, lambda _: None, changed=set())
        (failure,) = wrapped.failures
        assert (failure.module, failure.line) == ("large", None)
        assert failure.message.startswith("its wrapper would be of 0.0 MB, of at most 0.002 MB. Move what is data")
        assert "good.py" in wrapped.files
        assert "large.py" not in wrapped.files


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("a0 = 1", "a{0} = a{1}"),
        ("def a0(): ...", "a{0} = a{1}"),
        ("def a0(): ...", "a{0} = a{1} if x else a{1}"),
        ("def a0(): ...", "a{0} = partial(a{1}, a{1})"),
        ("def r(f, g):\n  if x: return f\n  return g\na0 = len", "a{0} = r(a{1}, a{1})"),
        ("def a0(): return len", "def a{0}(): return a{1}() or a{1}()"),
        ("a0 = int", "a{0} = list[a{1}]"),
        ("class a0: ...", "a{0} = a{1}"),
    ],
)
def test_names_of_names_are_followed_a_number_of_steps(first: str, then: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[None] = []
    settle = project.settle

    def counting(*args: Any, **kwargs: Any) -> Any:
        looked_up.append(None)
        return settle(*args, **kwargs)

    monkeypatch.setattr(project, "settle", counting)
    lines = [then.format(number, number - 1) for number in range(1, 150)]
    wrapped = wrap("\n".join(["from functools import partial", first, *lines, "b = a149"]))
    assert wrapped.failures == ()
    assert len(looked_up) < 150 * 500


@pytest.mark.parametrize("head", ["", "@dataclass\n"])
def test_a_chain_of_classes_costs_what_each_of_them_offers(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[None] = []
    lookup = scope.Scope.lookup

    def counting(self: Any, dotted: str) -> Any:
        looked_up.append(None)
        return lookup(self, dotted)

    monkeypatch.setattr(scope.Scope, "lookup", counting)

    def count(classes: int) -> int:
        looked_up.clear()
        lines = ["from dataclasses import dataclass"]
        for number in range(classes):
            base = f"(C{number - 1})" if number else ""
            lines.append(
                f"{head}class C{number}{base}:\n  a{number}: int\n  @staticmethod\n  def f{number}(x: C0) -> C0: ..."
            )
        assert f"C{classes - 1}.f0" in text_of(wrap("\n".join(lines)))
        return len(looked_up)

    # Each class offers the methods of all before it: twice as many classes, four times as many methods.
    assert count(24) < 5 * count(12)


@pytest.fixture
def usual_recursion_limit() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.usefixtures("usual_recursion_limit")
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("def f(): ...\nx = 1\ny = a" + ".b" * 1_100, 3),
        pytest.param(
            "K = 1\ndef f(\n  a=1,\n  b=" + "[" * 80 + "c" + ".d" * 1_100 + "]" * 80 + "): ...",
            4,
            marks=pytest.mark.skipif(
                sys.version_info >= (3, 12), reason="with Python 3.12 and newer it is not nested too deeply"
            ),
        ),
    ],
)
def test_what_is_nested_too_deeply_is_an_error_of_its_module_and_line(text: str, line: int) -> None:
    wrapped = wrap_modules([source("good", "def f(): ..."), source("deep", text)])
    (failure,) = wrapped.failures
    assert (failure.module, failure.line) == ("deep", line)
    assert "nested too deeply" in failure.message
    assert len(failure.message) < 100
    assert "good.py" in wrapped.files
