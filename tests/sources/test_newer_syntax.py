from __future__ import annotations

import ast
import sys

import pytest

from lastgood.sources.newer_syntax import newer_syntax
from wrapping import text_of, wrap

PARAMETERS = "a list of type parameters"
STATEMENT = "the type statement"
F_STRING = "an f-string with quotes, backslashes, comments or new lines in its braces"
DEFAULT = "the default of a type parameter"
TEMPLATE = "a template string"
UNPACKING = "unpacking in a comprehension"
LAZY = "a lazy import"


@pytest.mark.parametrize(
    ("text", "python", "line", "what"),
    [
        ("x = 1\ntype X = int\n", (3, 12), 2, STATEMENT),
        ("type X[T] = list[T]", (3, 12), 1, STATEMENT),
        ("class C: type X = 'int'", (3, 12), 1, STATEMENT),
        ("type = 1; type.x = 2\nprint(type)\ntype X = type", (3, 12), 3, STATEMENT),
        ("def f[T](x: T) -> T: ...", (3, 12), 1, PARAMETERS),
        ("class C[T: (int, str), *Ts, **P]: ...", (3, 12), 1, PARAMETERS),
        ("class C:\n  @x\n  async def f[\n    T, # c\n  ](x): pass\n", (3, 12), 3, PARAMETERS),
        ("def f[T](): ...\ndef g[T = int](x): ...", (3, 13), 2, DEFAULT),
        ("type X[T: int = bool,] = T", (3, 13), 1, DEFAULT),
        ("""x = f"{x["a"]}" "b" """, (3, 12), 1, F_STRING),
        ("""x = f'{"\\n".join(x)}'""", (3, 12), 1, F_STRING),
        ("""x = f"{x # }\n}" """, (3, 12), 1, F_STRING),
        ("""x = f"{x:{y["a"]}>10}" """, (3, 12), 1, F_STRING),
        ("""x = F'{f'{f'{1}'!r}'=}'""", (3, 12), 1, F_STRING),
        ("""x = f"{ {"a": 1}["a"] }{{ }}\\N{EM DASH}" """, (3, 12), 1, F_STRING),
        ('''x = rf"""\\{x["""a"""]:\\d}"""''', (3, 12), 1, F_STRING),
        ("""x = t'a{x!r:>{y}}'""", (3, 14), 1, TEMPLATE),
        ("""type X = int\nx = f"{f'{t'{x["a"]}'}'}" """, (3, 14), 2, TEMPLATE),
        ("x = [*y for y in z]", (3, 15), 1, UNPACKING),
        ("x = {\n  **f(y, *z) for y in z if y}", (3, 15), 2, UNPACKING),
        ("print(*y for y in z)\ntype X = {*(a, *b) for b in c}", (3, 15), 1, UNPACKING),
        ("async def f(): return [*y async for y in z]", (3, 15), 1, UNPACKING),
        ("lazy import a.b as c, d; x = 1", (3, 15), 1, LAZY),
        ("import a\nlazy from a import (\n  b,\n  c)\n", (3, 15), 2, LAZY),
    ],
)
def test_what_a_newer_python_would_take_is_told_with_its_version(
    text: str, python: tuple[int, int], line: int, what: str
) -> None:
    failures = wrap(text).failures
    if sys.version_info >= python:
        assert failures == ()
        return
    needed, here = "{}.{}".format(*python), "{}.{}".format(*sys.version_info)
    (failure,) = failures
    assert str(failure) == (
        f"pricing (/project/pricing.py:{line}): {what} is syntax of Python {needed}, and lastgood runs on Python {here}. "
        f"Run it on Python {needed} or newer."
    )


@pytest.mark.parametrize(
    "text",
    [
        "x = 1",
        "x = (",
        "x = [*y for y in]",
        "x = [**y for y in z]",
        "x = [*y, for y in z]",
        "x = [*y if a else b for y in z]",
        "x = {**y: 1 for y in z}",
        "f(1, *y for y in z)",
        "f(**y for y in z)",
        "lazy import",
        "lazy from a import *",
        "def f():\n    lazy import a",
        "lazy lazy import a",
        "def f(:",
        "$",
        "def f[T](x: ...",
        "def f[](x): ...",
        "def f[1](x): ...",
        "def f[if](x): ...",
        "def f[*T: int](x): ...",
        "def f[T: int: str](x): ...",
        "def f[T)(x): ...",
        "class C[T]x: ...",
        "class C[T.x]: ...",
        "class C[T",
        "type X = ",
        "type X",
        "type X == int",
        "type X = int = str",
        "type X = int, str",
        "type X[T][U] = int",
        "type if = int",
        "type X[T = int = int",
        "type X = int\nprint 'x'",
        "try: pass\nexcept A, B: pass",
        """f"{x["a"}" """,
        """f"{}{x["a"]}" """,
        """f"{1 +}{x["a"]}" """,
        """f"{x["a"]!z}" """,
        """f"{x["a"]! r}" """,
        """f"{x["a"]!r!r}" """,
        """f"{x["a"]!r""",
        """f"{x["a"]\\}" """,
        """f"{x["a"]}}" """,
        """f"{x["a"]}\\N{DASH}" """,
        """f"{x["a"]}\\N{""",
        """f"{x["a"]:"a"}" """,
        """f"{x["a"]\n:\n}" """,
        """f"{x["a"]} """,
        """b"" f"{x["a"]}" """,
        """"a" t"b" """,
        'f"{' * 30 + '""' + '}"' * 30,
        f"x = f'{{'{'x' * 1_000_000}'}}'",
    ],
)
def test_nothing_is_claimed_of_what_is_not_certain(text: str) -> None:
    assert newer_syntax(text) is None


@pytest.mark.skipif(sys.version_info < (3, 12), reason="this Python cannot read the source")
def test_the_wrapper_of_a_source_for_a_newer_python_is_one_for_older_pythons_too() -> None:
    text = """
from dataclasses import dataclass
from typing import Callable, NamedTuple, TypedDict
type Money = int | list[Money]
type Pair[A, B] = tuple[A, B]
type Later = Box
def f[T: int](a: Money, b: Pair[int, str], *c: T, d=f"{'x'}") -> T: ...
async def g[**P, *Ts](call: Callable[P, int], *args: P.args, **kwargs: P.kwargs) -> tuple[*Ts]: ...
@dataclass
class Box[T]:
    item: T
class Row[T](NamedTuple):
    x: T
class Options[T](TypedDict):
    x: T
class Desk[T]:
    @classmethod
    def open[U](cls, box: Box[U], row: Row[int], options: Options[T]) -> "list[Later]": ...
"""
    body = text_of(wrap(text))
    ast.parse(body, feature_version=(3, 11))
    assert "async def f(a: int | list[Any], b: Any, *c: Any, d: Any = ...) -> Any:" in body
    assert "async def g(call: Any, *args: Any, **kwargs: Any) -> tuple[Any, ...]:" in body
    assert "async def open(box: Box, row: Row, options: Options) -> list[Box]:" in body
