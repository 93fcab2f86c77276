"""Types that wrappers declare: what of a source's classes, where, and what is said of the rest."""

from __future__ import annotations

import pytest

from lastgood.config import Style
from lastgood.sources.parsing import is_stub
from lastgood.wrappers import ModuleSource, Wrapped, wrap_modules
from wrapping import load, source, text_of, told, wrap

HEAD = """
from __future__ import annotations
import attr, attrs, collections, enum, msgspec, pydantic, typing, typing as t
import dataclasses as dc
from dataclasses import dataclass, field, InitVar, KW_ONLY
from datetime import timedelta
from decimal import Decimal
from enum import Enum, Flag, IntEnum, IntFlag, StrEnum, auto
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final, Generic, NamedTuple, NotRequired, Required, TypedDict, TypeVar
T = TypeVar("T")
LIMIT = 7
"""


def declared(text: str, *local: ModuleSource, of: str = "C") -> str:
    """The statement that declares ``of``, which a function uses."""
    body = text_of(wrap(f"{HEAD}\n{text}\ndef f(x: {of}): ...", *local))
    lines = body.split("\n")
    names = (f"class {of}:", f"class {of}(", f"{of} = ")
    start = next(place for place, line in enumerate(lines) if line.startswith(names))
    start -= lines[start - 1].startswith("@")
    end = next(
        place
        for place in range(start + 1, len(lines))
        if lines[place] and not lines[place].startswith((" ", "class", "}", ")"))
    )
    return "\n".join(lines[start:end]).strip()


def warnings(text: str, *local: ModuleSource, of: str = "C") -> tuple[str, ...]:
    wrapped = wrap(f"{HEAD}\n{text}\ndef f(x: {of}): ...", *local)
    assert wrapped.failures == ()
    return told(wrapped)


def block(text: str) -> str:
    return text.strip("\n")


DECLARATIONS = [
    pytest.param(
        "@dataclass\nclass C:\n  a: int\n  b: str = 'x'",
        '@dataclass\nclass C:\n    a: int\n    b: str = "x"',
        id="plain",
    ),
    pytest.param(
        "@dc.dataclass(frozen=True, order=True, slots=True, kw_only=True, eq=True)\nclass C:\n  'Doc.'\n  a: int",
        '@dataclass(eq=True, frozen=True, kw_only=True, order=True, slots=True)\nclass C:\n    """Doc."""\n\n    a: int',
        id="options",
    ),
    pytest.param("@dataclass\nclass C:\n  'Doc.'", '@dataclass\nclass C:\n    """Doc."""', id="no-fields"),
    pytest.param("@dataclass\nclass C: pass", "@dataclass\nclass C:\n    pass", id="nothing"),
    pytest.param(
        "@dataclass\nclass C:\n  a: list[int] = field(default_factory=list)\n  b: dict = field(default_factory=dict, repr=False)\n"
        "  c: set[int] = field(default_factory=lambda: {1, 2})\n"
        "  d: int = field(default=3, kw_only=True)\n  e: int = field(init=False)",
        block("""
@dataclass
class C:
    a: list[int] = field(default_factory=list[int])
    b: dict[Any, Any] = field(default_factory=dict[Any, Any], repr=False)
    c: set[int] = field(default_factory=lambda: {1, 2})
    d: int = field(default=3, kw_only=True)
    e: int = field(init=False, repr=False, compare=False)"""),
        id="field-calls",
    ),
    pytest.param(
        "from collections import *\nfrom fractions import Fraction\nfrom pathlib import *\n@dataclass\nclass C:\n"
        "  a: deque[int] = field(default_factory=deque)\n  b: Counter[str] = field(default_factory=Counter)\n"
        "  c: dict[str, int] = field(default_factory=OrderedDict)\n  d: PurePath = PurePosixPath('a')\n"
        "  e: Fraction = Fraction(1, 3)\n  f: complex = 1",
        block("""
@dataclass
class C:
    a: deque[int] = field(default_factory=deque[int])
    b: Counter[str] = field(default_factory=Counter[str])
    c: dict[str, int] = field(default_factory=OrderedDict[str, int])
    d: PurePath = PurePosixPath("a")
    e: Fraction = Fraction(1, 3)
    f: complex = 1"""),
        id="defaults-of-the-standard-library",
    ),
    pytest.param(
        "@dataclass\nclass C:\n  K: ClassVar[int] = 1\n  n = 2\n"
        "  a: Final[int] = LIMIT\n  _: KW_ONLY\n  b: Decimal = Decimal('1.5')\n"
        "  c: timedelta = timedelta(seconds=3)\n  d: HTTPStatus = HTTPStatus.OK\n  e: int = None",
        block("""
@dataclass
class C:
    a: int = 7
    b: Decimal = field(default=Decimal("1.5"), kw_only=True)
    c: timedelta = field(default=timedelta(seconds=3), kw_only=True)
    d: HTTPStatus = field(default=HTTPStatus.OK, kw_only=True)
    e: int | None = field(default=None, kw_only=True)"""),
        id="defaults",
    ),
    pytest.param(
        "class R(Flag):\n  A = 1\n  B = 2\n@dataclass\nclass C:\n  r: R = R.A | R.B",
        "@dataclass\nclass C:\n    r: R = R.A | R.B",
        id="flags",
    ),
    pytest.param(
        "@dataclass\nclass C(Generic[T]):\n  next: C[T] | None = None\n  all: t.List['C'] = field(default_factory=list)",
        "@dataclass\nclass C(Generic[T]):\n    next: C[T] | None = None\n    all: list[C[Any]] = field(default_factory=list[Any])",
        id="recursive",
    ),
    pytest.param(
        "@dataclass\nclass C:\n  class Kind(Enum):\n    A = 1\n  kind: Kind = Kind.A",
        block("""
@dataclass
class C:
    class Kind(Enum):
        A = 1

    kind: C.Kind = Kind.A"""),
        id="nested",
    ),
    pytest.param(
        "@dataclass\nclass C:\n  a: int\n  @staticmethod\n  def make(n: int = 1) -> C: ...\n  @classmethod\n  def _x(cls): ...",
        block("""
@dataclass
class C:
    a: int

    @staticmethod
    @remote("pricing", "C.make")
    async def make(n: int = 1) -> C: ..."""),
        id="static-methods",
    ),
    pytest.param(
        "class C(Enum):\n  'Doc.'\n  A = 1\n  B = 'x'\n  D = A\n  _ignore_ = ['q']\n  def m(self): ...\n  E: int = 4",
        'class C(Enum):\n    """Doc."""\n\n    A = 1\n    B = "x"\n    D = A\n    E = 4',
        id="enum",
    ),
    pytest.param("class C(str, enum.Enum):\n  A = 'a'", 'class C(str, Enum):\n    A = "a"', id="mixin"),
    pytest.param("class C(StrEnum):\n  A = auto()", "class C(StrEnum):\n    A = auto()", id="str-enum"),
    pytest.param(
        "class C(Flag, boundary=enum.KEEP):\n  A = auto()\n  B = 1 << 3\n  AB = A | B",
        "class C(Flag, boundary=KEEP):\n    A = auto()\n    B = 1 << 3\n    AB = A | B",
        id="flag",
    ),
    pytest.param(
        "class Base(str, Enum):\n  def m(self): ...\nclass C(Base):\n  A = 'a'",
        'class C(Base):\n    A = "a"',
        id="base-enum",
    ),
    pytest.param("C = Enum('C', 'A B')", "class C(Enum):\n    A = auto()\n    B = auto()", id="enum-by-call"),
    pytest.param("C = IntEnum('C', {'A': 3})", "class C(IntEnum):\n    A = 3", id="enum-of-pairs"),
    pytest.param(
        "class C(NamedTuple):\n  'Doc.'\n  x: int\n  y: C | None = None",
        'class C(NamedTuple):\n    """Doc."""\n\n    x: int\n    y: C | None = None',
        id="named-tuple",
    ),
    pytest.param(
        "C = collections.namedtuple('C', 'x, y', defaults=[1])",
        "class C(NamedTuple):\n    x: Any\n    y: Any = 1",
        id="namedtuple",
    ),
    pytest.param(
        "class C(collections.namedtuple('C', ['x'])):\n  'Doc.'",
        'class C(NamedTuple):\n    """Doc."""\n\n    x: Any',
        id="of-a-call",
    ),
    pytest.param("C = NamedTuple('C', [('x', int)])", "class C(NamedTuple):\n    x: int", id="named-tuple-by-call"),
    pytest.param(
        "class C(TypedDict):\n  a: int\n  b: NotRequired[str]\n  c: Annotated[NotRequired[str], 1]",
        "class C(TypedDict):\n    a: int\n    b: NotRequired[str]\n    c: NotRequired[str]",
        id="typed-dict",
    ),
    pytest.param(
        "class C(TypedDict, total=False):\n  a: Required[int]\n  b: C",
        "class C(TypedDict):\n    a: int\n    b: NotRequired[C]",
        id="not-total",
    ),
    pytest.param(
        "C = TypedDict('C', {'a-b': int, 'class': 'C'}, total=False)",
        'C = TypedDict("C", {"a-b": "NotRequired[int]", "class": "NotRequired[C]"})',
        id="keys-that-are-no-names",
    ),
    pytest.param(
        "@attrs.define\nclass C:\n  a: int\n"
        "  b: list[int] = attrs.field(factory=list, kw_only=True)\n  c: int = attrs.field(default=2)\n"
        "  d: list[int] = attrs.Factory(list)",
        block("""
@dataclass
class C:
    a: int
    b: list[int] = field(default_factory=list[int], kw_only=True)
    c: int = 2
    d: list[int] = field(default_factory=list[int])"""),
        id="attrs",
    ),
    pytest.param(
        "@attr.s(frozen=True)\nclass C:\n  a = attr.ib(type=int)\n  b = attr.ib(default=1)\n  c: int = 3",
        "@dataclass(frozen=True)\nclass C:\n    a: int\n    b: Any = 1",
        id="attr-ib",
    ),
    pytest.param(
        "class C(msgspec.Struct, frozen=True, kw_only=True, tag='x'):\n  a: int\n  b: list[int] = []\n"
        "  c: dict[str, int] = msgspec.field(default_factory=dict)",
        block("""
@dataclass(frozen=True, kw_only=True)
class C:
    a: int
    b: list[int] = field(default_factory=list[int])
    c: dict[str, int] = field(default_factory=dict[str, int])"""),
        id="msgspec",
    ),
    pytest.param(
        "@dataclass\nclass C:\n  a: InitVar[int]\n  b: 'InitVar[str]' = 'x'\n  c: InitVar = None\n  d: int = field(init=False)",
        block("""
@dataclass
class C:
    a: int = field(repr=False, compare=False)
    b: str = field(default="x", repr=False, compare=False)
    c: Any = field(default=None, repr=False, compare=False)
    d: int = field(init=False, repr=False, compare=False)"""),
        id="init-var",
    ),
    pytest.param(
        "@dataclass(init=False)\nclass C:\n  a: int = 1\n  b: str = field(compare=False)\n  def __init__(self, *, b, a=1): ...",
        "@dataclass(kw_only=True)\nclass C:\n    a: int = 1\n    b: str = field(compare=False)",
        id="constructor-of-its-own",
    ),
    pytest.param(
        "@dataclass(slots=True)\nclass C:\n  a: int\n  def __post_init__(self): ...",
        "@dataclass(slots=True, weakref_slot=True)\nclass C:\n    a: int",
        id="slots-and-more",
    ),
    pytest.param(
        "class C(pydantic.BaseModel):\n  model_config = {}\n"
        "  a: int = pydantic.Field(..., gt=1)\n  b: str = pydantic.Field('x', alias='bee')\n"
        "  c: list[int] = [1]\n  _d: int = 3",
        block("""
@dataclass(kw_only=True)
class C:
    a: int
    b: str = "x"
    c: list[int] = field(default_factory=lambda: [1])"""),
        id="pydantic",
    ),
]


def wrap_declarations(*others: ModuleSource, style: Style = "async", annotated: tuple[str, ...] = ()) -> Wrapped:
    """Each of them in a module of its own, used in a function's signature."""
    cases = [
        source(f"case{number}", f"{HEAD}\n{case.values[0]}\ndef f(x: C, y: list[C]) -> dict[str, C | None]: ...")
        for number, case in enumerate(DECLARATIONS)
    ]
    named = [each for each in (*cases, *others) if not is_stub(each.name)]
    found = {each.name: each for each in others}
    return wrap_modules(named, find=found.get, style=style, local=found, annotated=annotated)


@pytest.mark.parametrize(("text", "expected"), DECLARATIONS)
def test_what_is_declared(text: str, expected: str) -> None:
    assert declared(text) == expected


def test_fields_named_like_their_types_keep_them() -> None:
    text = (
        "import datetime as dt\n@dataclass\nclass C:\n  date: dt.date | None = None\n"
        "  list: t.List[dt.date] = field(default_factory=t.List)"
    )
    body = text_of(wrap(f"{HEAD}\n{text}\ndef f(x: C) -> dt.date: ..."))
    assert "    date: _date | None = None\n" in body
    assert "from datetime import date as _date\n" in body
    assert "-> _date:" in body


BASES = """
@dataclass
class Base:
  a: int
  b: int = 1
@dataclass
class C(Base):
  c: int = 2
@dataclass
class _Plain: pass
class Sub(C):
  'Only a name.'
"""


def test_bases_are_declared_before_what_derives_from_them() -> None:
    body = text_of(wrap(f"{HEAD}\n{BASES}\ndef f(x: Sub): ..."))
    assert body.index("class Base:") < body.index("class C(Base):") < body.index("class Sub(C):")
    assert "_Plain" not in body
    assert '\n\n\nclass Sub(C):\n    """Only a name."""\n' in body


def test_a_base_of_enums_is_declared_too() -> None:
    text = "class Base(str, Enum): pass\nclass Other(Enum): pass\nclass C(Base, Other):\n  A = 'a'\nclass D(int, Other):\n  B = 1"
    body = text_of(wrap(f"{HEAD}\n{text}\ndef f(x: C) -> D: ..."))
    assert "class Base(str, Enum):\n    pass\n" in body
    assert "class Other(Enum):\n    pass\n" in body
    assert 'class C(Base, Other):\n    A = "a"\n' in body
    assert "class D(int, Other):\n    B = 1\n" in body
    assert load(body, lambda *_: None)["D"].B == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("@dataclass\nclass C:\n  if X:\n    a: int", "what it is made of depends on a condition"),
        ("from elsewhere import Base\n@dataclass\nclass C(Base):\n  a: int", "its base Base is not known"),
        ("@dataclass\nclass C(dict):\n  a: int", "its base dict is not known"),
        ("class C(Enum):\n  A = object()", "the value of its member A is no literal"),
        ("class C(Enum):\n  A, B = 1, 2", "its members (A, B) are unpacked from a value"),
        ("class C(Enum):\n  A = 1\n  def __new__(cls, v): ...", "its __new__ makes its values"),
        ("class C(Enum):\n  if X:\n    A = 1", "what it is made of depends on a condition"),
        ("C = Enum('C', names())", "its fields are only known at run time"),
        ("C = collections.namedtuple('C', 'x class', rename=True)", "its fields are renamed"),
        ("C = NamedTuple('C', fields())", "its fields are only known at run time"),
        (
            "from elsewhere import Base\n@dataclass\nclass B(Base): pass\n@dataclass\nclass C(B): pass",
            "its base B cannot be declared, since",
        ),
        ("@dataclass\nclass B: pass\nclass C(B, Enum):\n  A = 1", "it derives from Enum"),
        ("if t.TYPE_CHECKING:\n  class C(TypedDict): pass", "it exists only for type checkers"),
    ],
)
def test_what_only_running_it_would_tell_is_any_and_says_so(text: str, reason: str) -> None:
    told = [
        warning
        for warning in warnings(text)
        if warning.startswith("pricing.f: the annotation of parameter 'x', C, became Any.")
    ]
    assert len(told) == 1
    assert reason in told[0]


def test_a_default_that_only_the_source_can_tell_is_left_to_it() -> None:
    text = (
        "@dataclass\nclass C:\n  a: int = now()\n  b: int = 2\n  c: list[int] = field(default_factory=now, repr=False)\n"
        "  d: int = field(init=False, default=now())\n@dataclass\nclass D(C):\n  e: int = 5\n"
        "class N(NamedTuple):\n  a: int\n  b: int = now()\n  c: int = 1\n"
    )
    body = text_of(wrap(f"{HEAD}\n{text}\ndef f(x: D, n: N): ..."))
    assert (
        "    a: int = SOURCE_DEFAULT\n    b: int = 2\n    c: list[int] = field(default=SOURCE_DEFAULT, repr=False)\n"
        "    d: int = field(init=False, repr=False, compare=False)\n"
    ) in body
    assert "class D(C):\n    e: int = 5\n" in body
    assert "class N(NamedTuple):\n    a: int\n    b: int = SOURCE_DEFAULT\n    c: int = 1\n" in body
    assert "from lastgood.runtime import SOURCE_DEFAULT, remote\n" in body
    assert warnings(text, of="D") == ()


def test_what_a_field_is_that_cannot_be_told_is_any() -> None:
    text = (
        "class Desk: pass\n@dataclass\nclass C:\n  a: Desk\n  b: list[Desk] = field(default_factory=list)\n  c: str = 3"
    )
    assert "    a: Any\n    b: list[Any] = field(default_factory=list[Any])\n    c: Any = 3" in declared(text)
    assert warnings(text) == (
        "pricing.C.a: the annotation of the field, Desk, became Any. It is a plain class.",
        ("pricing.C.b: the annotation of the field, list[Desk], became Any in part. Desk is a plain class."),
        "pricing.C.c: its default is of another type than it is annotated with, so that it became Any.",
    )


@pytest.mark.parametrize(
    ("head", "init", "told"),
    [
        ("class C(B):", "(self, text: str)", "(text) and not its fields (a)"),
        ("@dataclass\nclass C(B):\n  b: int", "(self, a, *, c)", "(a, c) and not its fields (a, b)"),
        ("@dataclass\nclass C(B):\n  b: int", "(self, a)", "(a) and not its fields (a, b)"),
        ("class C(B):", "(self, a, c=1)", None),
        ("@dataclass\nclass C(B):\n  b: int", "(self, b, a)", None),
        ("@dataclass(init=False)\nclass C(B):", "(self, text)", "(text) and not its fields (a)"),
    ],
)
def test_an_init_that_takes_something_else_than_the_fields_is_told_of(head: str, init: str, told: str | None) -> None:
    text = f"@dataclass\nclass B:\n  a: int\n{head}\n  def __init__{init}: ...\n"
    expected = (
        ""
        if told is None
        else (
            f"pricing.C: its __init__ takes {told}, by which the app makes an instance: the source can return one, "
            "and take it back, but take no other."
        )
    )
    assert "".join(warnings(text)) == expected


def test_what_needs_an_instance_is_left_out_and_told_of() -> None:
    text = "@dataclass\nclass C:\n  a: int\n  def total(self): ...\n  @property\n  def half(self): ...\n  def _own(self): ..."
    assert warnings(text) == (
        "pricing.C: it is declared by its fields. Left out: what needs an instance in the worker (total, half).",
    )


def test_a_class_that_a_call_in_a_class_makes_is_declared_there() -> None:
    text = (
        "import enum\nfrom collections import namedtuple\nclass Shop:\n  Pt = namedtuple('Pt', 'x y')\n"
        "  Kind = enum.Enum('Kind', 'A')\n  @staticmethod\n  def at(kind: Kind) -> list[Pt]: ...\n"
        "def f(a: Shop.Pt, b: Shop.Kind): ..."
    )
    wrapped = wrap(text)
    for line in (
        "at(kind: Shop.Kind) -> list[Shop.Pt]",
        "    class Pt(NamedTuple):\n        x: Any\n        y: Any\n",
        "    class Kind(Enum):\n        A = auto()\n",
        "f(a: Shop.Pt, b: Shop.Kind)",
    ):
        assert line in text_of(wrapped)
    assert wrapped.warnings == ()


def test_a_root_model_of_pydantic_takes_its_value_by_position() -> None:
    text = (
        "from pydantic import RootModel\nfrom typing import Generic, TypeVar\nT = TypeVar('T')\n"
        "class Tags(RootModel[list[int]]): pass\nclass More(Tags): pass\nclass Named(RootModel):\n  root: dict[str, Tags] = {}\n"
        "class Box(RootModel[T], Generic[T]): pass\n"
    )
    wrapped = wrap(text)
    for line in (
        "@dataclass\nclass Tags:\n    root: list[int]\n",
        "@dataclass\nclass More(Tags):\n    pass\n",
        "@dataclass\nclass Named:\n    root: dict[str, Tags] = field(default_factory=dict[Any, Any])\n",
        "@dataclass\nclass Box(Generic[T]):\n    root: T\n",
    ):
        assert line in text_of(wrapped)
    assert wrapped.warnings == ()


def test_validators_of_pydantic_are_not_offered() -> None:
    text = (
        "import pydantic\nfrom pydantic import field_validator\nclass C(pydantic.BaseModel):\n  a: int\n"
        "  @field_validator('a')\n  @classmethod\n  def check(cls, value: int) -> int: ...\n"
        "  @classmethod\n  @pydantic.model_validator(mode='before')\n  def whole(cls, value): ...\n"
        "  @classmethod\n  def free(cls) -> int: ...\n"
    )
    assert [name for name in ("check", "whole", "free") if f"def {name}" in declared(text)] == ["free"]
    assert warnings(text) == (
        "pricing.C: it is declared by its fields. Left out: what needs an instance in the worker (check, whole).",
    )


# Where.


MODELS = source(
    "shop.models",
    """
import enum
from dataclasses import dataclass
class Side(enum.Enum):
    BUY = 1
@dataclass
class _Quote:
    side: Side
    @staticmethod
    def parse(text: str) -> "_Quote": ...
Alias = list[_Quote]
class Unused(enum.Enum):
    A = 1
""",
)
SHOP = source(
    "shop", "from .models import Side, _Quote, Alias\ndef f(x: Alias) -> dict[str, _Quote]: ...", is_package=True
)


def test_what_no_wrapped_module_defines_is_declared_where_that_one_would_be() -> None:
    wrapped = wrap_modules([SHOP], find={"shop.models": MODELS}.get)
    assert list(wrapped.files) == ["__init__.py", "shop/__init__.py", "shop/models.py"]
    models = text_of(wrapped, "shop/models.py")
    assert '"""The types that shop.models defines."""' in models
    assert '__all__ = ["Side"]' in models
    assert "class _Quote:\n    side: Side\n" in models
    assert "class Unused" not in models
    assert "parse" not in models
    shop = text_of(wrapped, "shop/__init__.py")
    assert "from .models import Side, _Quote\n" in shop
    assert '__all__ = ["Side", "f"]' in shop
    assert '@remote("shop", "f")\nasync def f(x: list[_Quote]) -> dict[str, _Quote]: ...' in shop


def test_what_a_wrapped_module_defines_is_declared_in_its_wrapper() -> None:
    wrapped = wrap_modules([SHOP, MODELS], find=lambda _: None)
    models = text_of(wrapped, "shop/models.py")
    assert '"""Calls shop.models through the live bridge."""' in models
    assert "class _Quote:\n    side: Side\n" in models
    other = source("elsewhere.deep.user", "import shop.models as m\ndef g(x: m.Side) -> m.Side: ...")
    wrapped = wrap_modules([SHOP, MODELS, other])
    assert "from ...shop.models import Side\n" in text_of(wrapped, "elsewhere/deep/user.py")
    assert text_of(wrapped, "shop/models.py") == models


def test_a_class_that_is_re_exported_is_one_class_with_its_methods() -> None:
    impl = source(
        "impl",
        "from dataclasses import dataclass\n@dataclass\nclass Desk:\n  n: int\n  @staticmethod\n  def open() -> 'Desk': ...",
    )
    body = wrap("from impl import Desk as Desk\n__all__ = ['Desk']", impl)
    assert "from .impl import Desk\n" in text_of(body)
    assert '__all__ = ["Desk"]' in text_of(body)
    declaration = text_of(body, "impl.py")
    assert '    @remote("pricing", "Desk.open")\n    async def open() -> Desk: ...\n' in declaration


def test_a_name_that_is_taken_is_imported_under_another_one() -> None:
    impl = source("impl", "import enum\nclass side(enum.Enum):\n  A = 1")
    body = text_of(wrap("import impl\ndef side(x: impl.side) -> impl.side: ...", impl))
    assert "from .impl import side as _side\n" in body
    assert "async def side(x: _side) -> _side:" in body


def test_types_of_the_standard_library_are_imported_from_it() -> None:
    body = text_of(wrap("import http, urllib.parse as p\ndef f(x: p.ParseResult) -> http.HTTPStatus: ..."))
    assert "from http import HTTPStatus\n" in body
    assert "from urllib.parse import ParseResult\n" in body


def test_new_types_are_what_they_are_made_of() -> None:
    body = text_of(wrap("import typing\nUserId = typing.NewType('UserId', int)\ndef f(x: UserId) -> list[UserId]: ..."))
    assert "async def f(x: int) -> list[int]:" in body


def test_what_makes_types_may_come_by_star() -> None:
    text = """
from dataclasses import *
from typing import *
UserId = NewType("UserId", int)
limit: Final = 3
@dataclass
class Order:
    sku: str
    parts: list[int] = field(default_factory=list)
    kinds: ClassVar[int] = 1
def f(x: UserId, order: Order) -> Dict[str, UserId]: ...
"""
    body = text_of(wrap(text))
    assert "async def f(x: int, order: Order) -> dict[str, int]:" in body
    assert "limit: Final = 3" in body
    assert "parts: list[int] = field(default_factory=list" in body
    assert "kinds" not in body


def test_members_in_a_literal_are_of_their_enum() -> None:
    body = text_of(wrap("import enum, typing\nclass C(enum.Enum):\n  A = 1\ndef f(x: typing.Literal[C.A]): ..."))
    assert "async def f(x: C) -> Any:" in body


def test_types_that_need_each_other_before_they_are_there_are_a_failure() -> None:
    a = source(
        "a",
        "import b\nfrom dataclasses import dataclass\n@dataclass\nclass A(b.B): pass\n@dataclass\nclass X: pass\ndef f(x: A): ...",
    )
    b = source(
        "b",
        "import a\nfrom dataclasses import dataclass\n@dataclass\nclass B: pass\n@dataclass\nclass Y(a.X): pass\ndef f(x: Y): ...",
    )
    wrapped = wrap_modules([a, b])
    assert [failure.module for failure in wrapped.failures] == ["a", "b"]
    assert "need types of b" in str(wrapped.failures[0])


def test_a_class_that_derives_from_itself_is_nothing() -> None:
    assert warnings("class C(D, Enum): pass\nclass D(C): pass")[0].startswith(
        "pricing.f: the annotation of parameter 'x', C,"
    )


def test_what_a_module_offers_is_declared_though_no_signature_names_it() -> None:
    text = f"{HEAD}\n@dataclass\nclass Quote: pass\nclass Side(Enum):\n  BUY = 1\n@dataclass\nclass _Own: pass"
    body = text_of(wrap(text))
    assert "class Quote:" in body
    assert "class Side(Enum):" in body
    assert "_Own" not in body
    assert '"Quote", "Side"]' in body


def test_a_class_around_a_type_is_offered_as_its_source_offers_it() -> None:
    text = f"{HEAD}\nclass Shop:\n  @dataclass\n  class Quote: pass\nclass _Own:\n  @dataclass\n  class Quote: pass\n"
    text += "def f(x: Shop.Quote, y: _Own.Quote): ..."
    assert '"Shop", ' in text_of(wrap(text))
    assert '"_Own"' not in text_of(wrap(text))
    assert '"Shop"' not in text_of(wrap(f'{text}\n__all__ = ["f"]'))
