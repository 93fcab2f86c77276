"""``Self``, generic classes and type variables in wrappers: they are what they stand for."""

from __future__ import annotations

import ast
import sys

import pytest

from lastgood.wrappers import Wrapped
from wrapping import source, text_of, told, wrap

HEAD = """
from __future__ import annotations
import typing, typing_extensions
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, AnyStr, Concatenate, Generic, NamedTuple, ParamSpec, Protocol, Self, TypedDict, TypeVar, TypeVarTuple
T = TypeVar("T")
U = typing.TypeVar("U")
Key = TypeVar("Key", int, str)
Of = typing_extensions.TypeVar("Of", bound="Base")
Late = typing_extensions.TypeVar("Late", default=int)
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")
Lists = dict[str, list[T]]
Both = tuple[T, U]
@dataclass
class Base:
    x: int
@dataclass
class Page(Generic[T]):
    items: list[T]
@dataclass
class Two(Generic[U, Key]):
    left: U
    right: Key
@dataclass
class Later(Generic[T, Late]):
    one: T
    two: Late
"""
RUN = "@dataclass\nclass Run(Generic[P, T]):\n  given: T\n"
needs_312 = pytest.mark.skipif(sys.version_info < (3, 12), reason="this Python cannot read the source")
needs_313 = pytest.mark.skipif(sys.version_info < (3, 13), reason="this Python cannot read the source")


def wrapped(text: str) -> Wrapped:
    made = wrap(f"{HEAD}\n{text}")
    ast.parse(text_of(made), feature_version=(3, 11))
    return made


def declared(text: str, of: str = "C") -> str:
    """The class ``of`` in the wrapper, on one line, without its methods' decorators."""
    tree = ast.parse(text_of(wrapped(f"{text}\ndef use(x: {of}): ...")))
    found = next(each for each in tree.body if isinstance(each, ast.ClassDef) and each.name == of)
    found.decorator_list = []
    lines = [line.strip() for line in ast.unparse(found).splitlines()]
    return " ".join(line for line in lines if line and not line.startswith("@"))


def signature(text: str) -> str:
    """The signature of ``f`` in the wrapper, on one line."""
    tree = ast.parse(text_of(wrapped(text)))
    found = next(each for each in tree.body if isinstance(each, ast.AsyncFunctionDef) and each.name == "f")
    return ast.unparse(found).removeprefix("@remote('pricing', 'f')\nasync def f").removesuffix(":\n    ...")


def made_variables(text: str) -> list[str]:
    return [line for line in text_of(wrapped(text)).splitlines() if " = TypeVar(" in line]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@dataclass\nclass C(Generic[T]):\n  a: T\n  b: list[C[T]]", "class C(Generic[T]): a: T b: list[C[T]]"),
        ("@dataclass\nclass C(Generic[U, T]):\n  a: C | None", "class C(Generic[U, T]): a: C[Any, Any] | None"),
        ("@dataclass\nclass C:\n  a: Page[Base]\n  b: Page", "class C: a: Page[Base] b: Page[Any]"),
        ("@dataclass\nclass C(Page[Base]):\n  a: int", "class C(Page[Base]): a: int"),
        ("@dataclass\nclass C(Page): pass", "class C(Page[Any]): pass"),
        ("@dataclass\nclass C(Page['Base']): pass", "class C(Page['Base']): pass"),
        ("@dataclass\nclass C(Page['list[Base]']): pass", "class C(Page['list[Base]']): pass"),
        ("@dataclass\nclass C(Page[list[T]]):\n  a: T", "class C(Page[list[T]], Generic[T]): a: T"),
        ("@dataclass\nclass C(Page[T], Generic[U, T]): pass", "class C(Page[T], Generic[U, T]): pass"),
        ("@dataclass\nclass C(Two[T, int], Protocol[T]): pass", "class C(Two[T, int], Generic[T]): pass"),
        ("class Has(Protocol[T]): ...\n@dataclass\nclass C(Has[T]):\n  a: T", "class C(Generic[T]): a: T"),
        ("class C(NamedTuple, Generic[T]):\n  a: T\n  b: Self", "class C(NamedTuple, Generic[T]): a: T b: C[T]"),
        ("class C(TypedDict, Generic[T]):\n  a: T", "class C(TypedDict, Generic[T]): a: T"),
        (
            "class D(TypedDict, Generic[T]):\n  a: T\nclass C(D[T], Generic[T], total=False):\n  b: T",
            "class C(D[T], Generic[T]): b: NotRequired[T]",
        ),
        ("import msgspec\nclass C(msgspec.Struct, Generic[T]):\n  a: T", "class C(Generic[T]): a: T"),
        ("import pydantic\nclass C(pydantic.BaseModel, Generic[T]):\n  a: T", "class C(Generic[T]): a: T"),
        ("import attrs\n@attrs.define\nclass C(Generic[T]):\n  a: T", "class C(Generic[T]): a: T"),
        ("@dataclass\nclass C:\n  a: Self | None\n  b: list[Self]", "class C: a: Self | None b: list[Self]"),
        ("@dataclass\nclass C(Generic[T]):\n  a: U", "class C(Generic[T]): a: Any"),
        ("@dataclass\nclass C:\n  a: Later[str]\n  b: Later", "class C: a: Later[str, int] b: Later[Any, int]"),
        (f"{RUN}@dataclass\nclass C:\n  a: Run[[int], str]\n  b: Page[int, str]", "class C: a: Run b: Any"),
        (
            "@dataclass\nclass C:\n  a: Lists[int]\n  b: Lists",
            "class C: a: dict[str, list[int]] b: dict[str, list[Any]]",
        ),
        ("@dataclass\nclass C(Page[int]):\n  items: list[int]", "class C(Page[int]): items: list[int]"),
        pytest.param(
            "@dataclass\nclass C[T, A: Base](Page[T]):\n  a: A",
            "class C(Page[T], Generic[T, A]): a: A",
            marks=needs_312,
        ),
        pytest.param("class C[T](TypedDict):\n  a: T", "class C(TypedDict, Generic[T]): a: T", marks=needs_312),
        pytest.param(
            "@dataclass\nclass D[T, U = list[T]]:\n  a: T\n  b: U\n@dataclass\nclass C:\n  a: D[str]\n  b: D[str, int]",
            "class C: a: D[str, list[str]] b: D[str, int]",
            marks=needs_313,
        ),
    ],
)
def test_generic_classes(text: str, expected: str) -> None:
    assert declared(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(x: list[T]) -> T: ...", "(x: list[T]) -> T"),
        ("def f(x: T, y: T | None = None) -> None: ...", "(x: T, y: T | None=None) -> None"),
        ("def f(x: Page[T]) -> list[Page[T]]: ...", "(x: Page[T]) -> list[Page[T]]"),
        ("def f(x: dict[Key, Of]) -> tuple[Key, Of]: ...", "(x: dict[Key, Of]) -> tuple[Key, Of]"),
        # A type variable that occurs once, or in the result alone, says nothing but its bound.
        ("def f(x: T) -> int: ...", "(x: Any) -> int"),
        ("def f(x: list[T]) -> list[U]: ...", "(x: list[Any]) -> list[Any]"),
        ("def f(x: Of) -> Key: ...", "(x: Base) -> int | str"),
        ("def f() -> Page[Key]: ...", "() -> Page[Any]"),
        ("def f(x: list[Of]) -> list[Of | None]: ...", "(x: list[Of]) -> list[Of | None]"),
        ("def f(x: list[Of]) -> int: ...", "(x: list[Of]) -> int"),
        ("def f(x: T = None, y: T = 3) -> T: ...", "(x: T | None=None, y: T=...) -> T"),
        ("def f(x: AnyStr, y: AnyStr) -> AnyStr: ...", "(x: AnyStr, y: AnyStr) -> AnyStr"),
        # Aliases.
        ("def f(x: Lists[T]) -> T: ...", "(x: dict[str, list[T]]) -> T"),
        (
            "def f(x: Both[int, str], y: Both[int]) -> Lists: ...",
            "(x: tuple[int, str], y: tuple[int, Any]) -> dict[str, list[Any]]",
        ),
        ("def f(x: Both[U, T]) -> dict[T, U]: ...", "(x: tuple[U, T]) -> dict[T, U]"),
        (
            "Own = typing.TypeAliasType('Own', tuple[U, T], type_params=(T, U))\ndef f(x: Own[int, str]): ...",
            "(x: tuple[str, int]) -> Any",
        ),
        ("def f(x: Lists[int, str]) -> int: ...", "(x: Any) -> int"),
        # What stays as it is.
        (
            "def f(x: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...",
            "(x: Any, *args: Any, **kwargs: Any) -> Any",
        ),
        (
            "def f(x: Callable[Concatenate[int, P], int], *y: *Ts) -> tuple[*Ts]: ...",
            "(x: Any, *y: Any) -> tuple[Any, ...]",
        ),
        (
            "def f(x: Iterable[T], y: Collection[T]) -> Sequence[T]: ...",
            "(x: Iterable[T], y: Collection[T]) -> Sequence[T]",
        ),
        ("def f(x: Iterable[Base], y: Iterator[int]) -> None: ...", "(x: Iterable[Base], y: Any) -> None"),
        pytest.param("def f[A: Base](x: list[A], y: A) -> A: ...", "(x: list[A], y: A) -> A", marks=needs_312),
        pytest.param("def f[A: (int, str)](x: A) -> list[A]: ...", "(x: A) -> list[A]", marks=needs_312),
        pytest.param(
            "def f[**P, *Ts](x: Callable[P, int], y: tuple[*Ts]): ...",
            "(x: Any, y: tuple[Any, ...]) -> Any",
            marks=needs_312,
        ),
        pytest.param(
            "type Own[A, B] = dict[B, A]\ndef f(x: Own[int, str]) -> Own: ...",
            "(x: dict[str, int]) -> dict[Any, Any]",
            marks=needs_312,
        ),
    ],
)
def test_type_variables_in_functions(text: str, expected: str) -> None:
    assert signature(text) == expected


def test_what_a_type_variable_says_is_no_warning_and_what_is_not_followed_is_one() -> None:
    assert told(wrapped("def f(x: list[T], y: Of, z: Page[Key]) -> U: ...")) == ()
    assert told(wrapped("def f(x: Callable[P, int]) -> None: ...")) == (
        "pricing.f: the annotation of parameter 'x', Callable[P, int], became Any. It is a function.",
    )
    assert told(wrapped(f"{RUN}def f(x: Run[[int], str]) -> None: ...")) == (
        "pricing.Run.given: the annotation of the field, T, became Any. It is a type variable that nothing binds.",
    )


def test_any_str_is_a_type_parameter() -> None:
    text = "@dataclass\nclass Text(Generic[AnyStr]):\n  given: AnyStr\ndef f(x: Text[str]) -> Text[bytes]: ..."
    assert told(wrapped(text)) == ()
    assert declared(text, "Text") == "class Text(Generic[AnyStr]): given: AnyStr"
    assert signature(text) == "(x: Text[str]) -> Text[bytes]"


def test_type_variables_are_made_once_and_not_exported() -> None:
    text = "def f(x: T, y: T) -> Key: ...\ndef g(x: list[Of], y: T, z: Key) -> dict[T, Key]: ..."
    body = text_of(wrapped(text))
    assert made_variables(text) == [
        'Key = TypeVar("Key", int, str)',
        'Late = TypeVar("Late")',  # a default would need 3.13
        'Of = TypeVar("Of", bound="Base")',
        'T = TypeVar("T")',
        'U = TypeVar("U")',
    ]
    assert '__all__ = ["Base", "Later", "Page", "Two", "f", "g"]' in body


def test_type_variables_clash_with_no_name_of_the_users() -> None:
    text = "def T() -> int: ...\nA = TypeVar('A', covariant=True)\ndef f(Any: list[A], TypeVar: A) -> A: ..."
    assert signature(text) == "(Any: list[A], TypeVar: A) -> A"
    body = text_of(wrapped(text.replace("f(Any: list[A], TypeVar: A) -> A", "f(A: list[A], TypeVar: A) -> A")))
    assert '\n_A = _TypeVar("_A", covariant=True)\n' in body
    assert "from typing import TypeVar as _TypeVar\n" in body


def test_type_variables_of_one_name_from_two_modules() -> None:
    other = source("other", "from typing import TypeVar\nT = TypeVar('T', bound=int)")
    made = wrap(f"{HEAD}\nimport other\ndef f(x: list[T], y: list[other.T]) -> tuple[T, other.T]: ...", other)
    assert '\n_T = TypeVar("_T", bound=int)\n' in text_of(made)
    assert "async def f(x: list[T], y: list[_T]) -> tuple[T, _T]: ..." in text_of(made)


def test_a_class_that_is_bound_by_itself() -> None:
    text = "N = TypeVar('N', bound='Node[Any]')\n@dataclass\nclass Node(Generic[N]):\n  next: N\ndef f(x: Node[N]) -> N: ..."
    assert signature(text) == "(x: Node[N]) -> N"


METHODS = """
@dataclass
class C:
    x: int
    @classmethod
    def made(cls, like: "Self | None" = None) -> Self: ...
    @classmethod
    def many(cls) -> list[typing_extensions.Self]: ...
    @staticmethod
    def plain(x: int) -> "C": ...
@dataclass
class D(C):
    y: int
    @classmethod
    def many(cls) -> list[Self]: ...
class Desk:
    @classmethod
    def open(cls, x: int) -> Self: ...
"""
IGNORED = "  # type: ignore[override, unused-ignore]"


def test_self_is_the_class_that_the_method_is_called_on() -> None:
    made = wrapped(METHODS)
    body = text_of(made)
    assert "async def made(like: C | None = None) -> C: ...\n" in body
    assert "async def many() -> list[C]: ...\n" in body
    assert f"async def made(like: D | None = None) -> D: ...{IGNORED}\n" in body
    assert f"async def many() -> list[D]: ...{IGNORED}\n" in body
    assert body.count("async def plain(x: int) -> C: ...\n") == 2
    assert told(made) == ("pricing.Desk.open: the annotation of the result, Self, became Any. It is a plain class.",)


GENERIC_METHODS = """
@dataclass
class C(Generic[T]):
    item: T
    @classmethod
    def of(cls, item: T) -> Self: ...
    @classmethod
    def empty(cls) -> Self: ...
@dataclass
class D(C[Base]): pass
@dataclass
class E(C[list[U]], Generic[U]): pass
@dataclass
class F(C[list[T]], Generic[T]): pass
"""


def test_the_type_variables_of_a_class_in_its_methods() -> None:
    body = text_of(wrapped(GENERIC_METHODS))
    assert "class C(Generic[T]):\n    item: T\n" in body
    assert "async def of(item: _T) -> C[_T]: ...\n" in body  # each call binds it
    assert "async def empty() -> C[Any]: ...\n" in body
    assert f"async def of(item: Base) -> D: ...{IGNORED}\n" in body
    assert f"async def of(item: list[_U]) -> E[_U]: ...{IGNORED}\n" in body
    assert f"async def of(item: list[_T]) -> F[_T]: ...{IGNORED}\n" in body


def test_a_class_in_a_base_is_inherited() -> None:
    inner = "  @dataclass\n  class Inner(Generic[T]):\n    x: T\n    @classmethod\n    def of(cls, x: T) -> Self: ...\n"
    body = text_of(
        wrapped(f"@dataclass\nclass C:\n{inner}@dataclass\nclass D(C):\n  y: int\ndef f(d: D) -> C.Inner[int]: ...")
    )
    assert body.count("class Inner") == 1
    assert "async def of(x: _T) -> C.Inner[_T]: ..." in body
