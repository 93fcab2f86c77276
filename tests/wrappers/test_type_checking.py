"""Every generated file passes mypy strict and pyright strict, is formatted, and says nothing that a type checker would refuse
to a caller."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lastgood.config import Style
from lastgood.sources.parsing import stub_of
from lastgood.wrappers import ModuleSource
from wrappers.types.test_types import wrap_declarations
from wrapping import source

EVERYTHING = '''
"""What a wrapper can hold."""
import datetime as dt
import typing as t
from decimal import Decimal

def quote(symbol: str, /, depth: int = 1, *, strict=False, when: t.Optional[dt.datetime] = None) -> Decimal:
    """Quote a symbol.

    At some length.
    """

def tidy(names: list[str], by: t.Callable[..., int] = len, *more: str, limit: float = LEFT, **rest: int) -> None: ...
def positional(first: int = LEFT, second: int = 2, third: int = LEFT, /, fourth: int = LEFT) -> list: ...
def one_long_parameter(the_only_parameter: t.Dict[str, t.Tuple[Decimal, Decimal]] = LEFT) -> t.Any: ...
async def implicit(x: int = None, y: t.Sequence[int] = ()) -> dict: ...
def untyped(a, b=LEFT, *args, **kwargs): ...
def list(list: list[int]) -> list[int]: ...

@t.overload
def pick(x: int) -> int: ...
@t.overload
def pick(x: str, *, strict: bool = ...) -> str: ...
def pick(x, *, strict=False): ...

class Desk:
    """A desk."""

    @staticmethod
    def open(name: str) -> int: ...
    @t.overload
    @classmethod
    def load(cls, path: str) -> str: ...
    @t.overload
    @classmethod
    def load(cls, path: bytes) -> bytes: ...
    @classmethod
    def load(cls, path): ...
    class Drawer:
        @staticmethod
        def find(Any: t.Any, get_runtime_bridge: int) -> t.Mapping[str, t.Any]: ...
'''


SHAPES = """
from __future__ import annotations
import enum
import circle
from dataclasses import dataclass, field
from typing import Literal
class Colour(str, enum.Enum):
    RED = "red"
@dataclass
class Shape:
    colour: Colour = Colour.RED
    others: dict[str, Shape | circle.Circle] = field(default_factory=dict)
    def area(self) -> float: ...
async def biggest(shapes: list[Shape | circle.Circle], *, only: Literal["x"] | None = None) -> Shape | circle.Circle | None: ...
def count(shapes: tuple[Shape, ...] = ()) -> dict[Colour, int]: ...
def nothing() -> None: ...
def anything() -> object: ...
"""
CIRCLE = """
from __future__ import annotations
from dataclasses import dataclass
import shapes
@dataclass
class Circle(shapes.Shape):
    radius: float = 1.0
    twin: Circle | None = None
def unit(colour: shapes.Colour) -> Circle: ...
"""
# What type checkers would refuse, or cannot make out by themselves, if it stood in a wrapper as it stands here.
ODD = f'''
""".. note::

    An indented block behind the first line.
"""
from __future__ import annotations
import enum
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypedDict
import shapes
from hidden import _Drawer, _OnlyElsewhere

TABLE = {tuple((number, number + 1) for number in range(300))}
MIXED = {tuple([1, "a", None, 2.5, b"x", True, (), (1,), ("a", 2), -3] * 30)}
QUOTES = 'a "b" and \\'c\\', don\\'t'

class Place(NamedTuple):
    index: int
    count: str = ""
class Name(str, enum.Enum):
    title = "x"
    OTHER = "y"
class Number(enum.IntEnum):
    real = 1
    value = 2
@dataclass(eq=True, frozen=True, kw_only=True, match_args=False, order=True, repr=False, slots=True, unsafe_hash=True)
class Base:
    amount: int = 0
    names: list[str] | None = field(default_factory=list)
    more: Mapping[str, Sequence[Base]] = field(default_factory=dict, repr=False, compare=False, hash=False)
    anything: Any = field(default_factory=set)
    ids: Set[int] = field(default_factory=frozenset)
@dataclass(frozen=True)
class Derived(Base):
    amount: str = field(default="a rather long text that makes the line break", repr=False)
    names: None = None
class Options(TypedDict):
    size: int | str
class MoreOptions(Options):
    size: int
    kind_of_the_thing: Literal["one of the first", "one of the others", "one of neither", "the one that is left"] | Place | None

def odd(place: Place, name: Name, number: Number, derived: Derived, options: MoreOptions) -> tuple[Place, Derived] | None:
    """First line.

        Indented.
    """
def every(kinds: Literal["one of the first", "one of the others", "one of neither"] | Sequence[Place] | None = None) -> dict[
    Literal["one of the first", "one of the others", "one of neither", "the one that is left"], tuple[Place, ...]
]: ...
def hidden(drawer: _Drawer, inner: _Drawer._Inner, other: _OnlyElsewhere) -> None: ...
class Desk:
    @staticmethod
    def open(self: int, cls: int) -> int: ...
'''
HIDDEN = """
from dataclasses import dataclass
@dataclass
class _Drawer:
    size: int
    @dataclass
    class _Inner:
        size: int
@dataclass
class _OnlyElsewhere:
    size: int
"""
GENERIC = """
from __future__ import annotations
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
import enum, logging, math, os, re, socket
from pathlib import Path
from typing import IO, Any, AnyStr, Generic, NamedTuple, Self, TypedDict, TypeVar, Unpack
from shapes import Shape
from hidden import _Drawer
T = TypeVar("T")
Key = TypeVar("Key", int, str)
Any_ = TypeVar("Any_", covariant=True)
Of = TypeVar("Of", bound="Node")
Hidden = TypeVar("Hidden", bound=_Drawer)
Lists = dict[str, list[T]]
@dataclass
class Node:
    shape: Shape | None = None
    parent: Self | None = None
    around: list[Self] = field(default_factory=list)
    @classmethod
    def made(cls, like: Self | None = None) -> Self: ...
    @classmethod
    def many(cls, *likes: Self) -> list[Self]: ...
@dataclass
class Leaf(Node):
    size: int = 0
@dataclass
class Page(Generic[T]):
    items: list[T] = field(default_factory=list)
    first: T | None = None
    next: Page[T] | None = None
    by_name: Lists[T] = field(default_factory=dict)
    @classmethod
    def of(cls, items: list[T]) -> Self: ...
    @classmethod
    def empty(cls) -> Self: ...
@dataclass
class NodePage(Page[Node]):
    total: int = 0
@dataclass
class Quoted(Page["list[Last]"]):
    pass
@dataclass
class Two(Page[Of], Generic[Of, Key]):
    key: Key | None = None
@dataclass(frozen=True)
class Fixed(Generic[Any_]):
    items: Sequence[Any_]
@dataclass
class Last:
    pages: list[Two[Leaf, int]]
    fixed: Fixed[int]
class Pair(NamedTuple, Generic[T]):
    left: T
    right: T
    same: Pair[T] | None = None
class Row(TypedDict, Generic[T]):
    cell: T
class Wide(Row[list[Of]], Generic[T, Of], total=False):
    more: T
def first(items: Iterable[T], default: T = LEFT, other: T | None = None) -> T: ...
def once(x: T, y: list[T], z: Of, *names: list[Key], **hidden: Hidden) -> None: ...
def twice(x: Mapping[Key, Of], y: Key, z: list[Hidden], a: list[Hidden]) -> dict[Key, Two[Of, Key]]: ...
def alone() -> tuple[Key, Page[Key], Page[T]]: ...
def lists(x: Lists[T], y: Lists) -> Lists[T]: ...
def text(x: AnyStr, y: AnyStr) -> AnyStr: ...
def rows(x: Wide[int, Leaf], y: Pair[T], z: Quoted) -> Pair[Row[T]]: ...
def used(x: NodePage, y: Last) -> Two: ...
def given(level: int = logging.INFO, to: Path | str = Path("x"), family: socket.AddressFamily = socket.AF_INET) -> None: ...
def constants(x: int = 60 * 60, flags: re.RegexFlag = re.IGNORECASE, colour: _Own = _Own.A, wide: float = math.inf) -> None: ...
class _Own(enum.Enum):
    A = 1
def keywords(path: str | os.PathLike[str], to: IO[str] | None = None, **options: Unpack[Row[int]]) -> os.PathLike[str]: ...
"""
METADATA = """
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated
from annotated_types import Ge
from pydantic import Field, PositiveInt
Size = Annotated[int, Field(gt=0, description="the size")]
@dataclass
class Sized_:
    size: Size = 3
    names: Annotated[list[str], Field(max_length=2)] | None = None
def sized(
    x: Size, y: PositiveInt = 1, *, z: Annotated[float | None, Ge(0), "text"] = None
) -> Annotated[list[Sized_], Field(title="t")]: ...
def items(*sizes: Size) -> Iterator[Annotated[int, Ge(1)]]: yield 1
"""
BARE = """
def total(items, start=0): ...
def picked(x): ...
class Till:
    @staticmethod
    def opened(x): ...
"""
BARE_STUB = """
from typing import Iterable, Optional, TypeVar, overload
from shapes import Shape
T = TypeVar("T")
def total(items: Iterable[int], start: Optional[int] = ...) -> int: ...
@overload
def picked(x: Shape) -> Shape: ...
@overload
def picked(x: str) -> list[str]: ...
class Till:
    @staticmethod
    def opened(x: T) -> T: ...
"""
DECORATED = """
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Concatenate, ParamSpec, TypeVar
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=int)
def given(function: Callable[P, R]) -> Callable[Concatenate[str, int, P], R]: ...
def taken(function: Callable[Concatenate[Any, P], R]) -> Callable[P, R]: ...
def listed(function: Callable[P, Iterator[R]]) -> Callable[P, list[R | None]]: ...
def named(function: Callable[[R], T]) -> Callable[[list[R], T], Iterator[R]]: ...
def limited(function):
    def inner(*args, limit: int = 3, **kwargs):
        return function(*args, **kwargs)
    return inner
def changed(function):
    def inner(*args, **kwargs):
        return str(function(*args, **kwargs))
    return inner
@given
def first(argument1: int, *more: T, b: str = "x") -> list[T]: ...
@taken
def second(session: object, a: T, /, b: T, **rest: int) -> T: ...
@listed
@limited
def third(a: R, b: dict[str, R], limit: int = 1) -> Iterator[R]:
    yield a
@named
def fourth(a: str) -> int: ...
@unknown
def fifth(a: R, /, b: int = 1, *c: R, d: str = "x", **e: R) -> R: ...
class Desk:
    @classmethod
    @changed
    async def open(cls, a: int) -> int: ...
    @staticmethod
    @limited
    def shut(*, limit: str, a: T) -> T: ...
"""
CALLER = """
from contextlib import aclosing
from typing import Any, cast
from decimal import Decimal
from generated import bare, circle, decorated, generic, metadata, pricing, shapes
async def main() -> None:
    price: Decimal = await pricing.quote('a', depth=2)
    number: int = await pricing.pick(1)
    text: str = await pricing.pick('a', strict=True)
    data: bytes = await pricing.Desk.load(b'a')
    await pricing.quote(symbol='a')  # type: ignore[call-arg]
    await pricing.pick(1.5)  # type: ignore[call-overload]
    biggest = await shapes.biggest([circle.Circle(shapes.Colour.RED, {}, 2.0), shapes.Shape()], only="x")
    if biggest is not None:
        colour: str = biggest.colour
    unit: circle.Circle = await circle.unit(shapes.Colour.RED)
    await circle.unit("red")  # type: ignore[arg-type]
    circle.Circle(radius="1")  # type: ignore[arg-type]
    page: generic.Page[int] = await generic.Page.of([1])
    await generic.Page.of(1)  # type: ignore[arg-type]
    nodes: list[generic.Node] = (await generic.NodePage.of([generic.Leaf()])).items
    leaf: generic.Leaf = await generic.Leaf.made()
    leaves: list[generic.Leaf] = await generic.Leaf.many()
    item: int = await generic.first(page.items)
    wrong: str = await generic.first(page.items)  # type: ignore[arg-type]
    wide: generic.Wide[int, generic.Leaf] = {"cell": [leaf], "more": 1}
    pair: generic.Pair[generic.Row[bytes]] = await generic.rows(wide, generic.Pair(b"", b""), generic.Quoted())
    total: int = await bare.total([1])
    shape: shapes.Shape = await bare.picked(shapes.Shape())
    texts: list[str] = await bare.picked("a")
    await bare.total("a")  # type: ignore[arg-type]
    first: metadata.Sized_ = (await metadata.sized(1))[0]
    await metadata.sized("1")  # type: ignore[arg-type]
    numbers: list[int] = await decorated.first("a", 1, 2, 3)
    await decorated.first(1, 1, 2)  # type: ignore[arg-type]
    several: list[str | None] = await decorated.third("a", {"b": "c"}, limit=2)
    words = decorated.fourth(["a"], 1)
    async with aclosing(cast(Any, words)):
        async for word in words:
            text = word
    async for each in decorated.fourth(["a"], 1):
        each.upper()
    anything = await decorated.fifth(object(), unknown=1)
    await decorated.Desk.open(1)
def plain_main() -> None:
    import plain.circle
    import plain.pricing
    price: Decimal = plain.pricing.quote('a', depth=2)
    text: str = plain.pricing.pick('a', strict=True)
    plain.pricing.pick(1.5)  # type: ignore[call-overload]
    unit: plain.circle.Circle = plain.circle.unit(plain.circle.Circle().colour)
"""
STUBS = {
    "__init__.pyi": "",
    "declarations.pyi": """
from collections.abc import Callable
from typing import Any, TypeVar
F = TypeVar("F", bound=Callable[..., Any])
def remote(module: str, function: str, *, stream: bool = False) -> Callable[[F], F]: ...
""",
}


def written(directory: Path) -> list[str]:
    """Writes wrappers of all that is above into packages in ``directory``, whose names it gives, and who calls them."""
    texts = {
        "pricing": EVERYTHING,
        "shapes": SHAPES,
        "circle": CIRCLE,
        "odd": ODD,
        "hidden": HIDDEN,
        "generic": GENERIC,
        "metadata": METADATA,
        "bare": BARE,
        "decorated": DECORATED,
    }
    own = [source(name, text) for name, text in texts.items()]
    own.append(ModuleSource(stub_of("bare"), Path("/project/bare.pyi"), BARE_STUB.encode(), False))
    files: dict[str, str] = {}
    styles: dict[str, Style] = {"generated": "async", "plain": "sync"}
    for package, style in styles.items():
        wrapped = wrap_declarations(*own, style=style, annotated=("annotated_types", "pydantic"))
        assert wrapped.failures == ()
        files |= {f"{package}/{name}": data.decode() for name, data in wrapped.files.items()}
    files |= {f"lastgood/{name}": text for name, text in STUBS.items()} | {"caller.py": CALLER}
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return list(styles)


def test_wrappers_pass_mypy_strict_and_are_formatted(tmp_path: Path) -> None:
    packages = written(tmp_path)
    options = ["--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}", "--no-error-summary"]
    mypy = [sys.executable, "-m", "mypy", *options, *packages, "caller.py"]
    checked = subprocess.run(mypy, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (checked.stdout, checked.stderr, checked.returncode) == ("", "", 0)
    ruff = [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", *packages]
    formatted = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (formatted.stdout, formatted.returncode) == ("", 0)
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "I", "--diff", *packages]
    sorted_by_ruff = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (sorted_by_ruff.stdout, sorted_by_ruff.returncode) == ("", 0)


@pytest.mark.peers
def test_wrappers_pass_pyright_strict(tmp_path: Path) -> None:
    pytest.importorskip("pyright", reason="pyright is in the extra 'peers'")
    packages = written(tmp_path)
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict", "include": packages}))
    pyright = [sys.executable, "-m", "pyright", "--project", str(tmp_path), "--pythonpath", sys.executable]
    checked = subprocess.run(pyright, capture_output=True, text=True, check=False)
    assert (checked.stdout.strip(), checked.returncode) == ("0 errors, 0 warnings, 0 informations", 0)
