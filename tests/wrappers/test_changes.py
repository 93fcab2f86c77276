"""lastgood.wrappers.changes: what callers see differently from one generation to the next, and what of it is breaking."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from typing import Any

import pytest

from lastgood.watch_events import ApiChange
from lastgood.wrappers import wrap_modules
from lastgood.wrappers.changes import compare
from lastgood.wrappers.ir import Module, packed, unpacked
from wrapping import source

HEAD = """\
from collections import OrderedDict, deque
from collections.abc import *
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePath
from typing import *
from typing import NamedTuple, TypedDict, overload
"""


def modules(text: str) -> dict[str, Module]:
    wrapped = wrap_modules([source("a", HEAD + text)])
    assert wrapped.failures == ()
    return {name: unpacked(data) for name, data in wrapped.modules.items()}


def changes(before: str, after: str) -> list[ApiChange]:
    return list(compare(modules(before), modules(after)))


def function(parameters: str, returns: str = "None") -> str:
    return f"def f({parameters}) -> {returns}: ...\n"


# --- what is told


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ("", "def f(): ...", ("added", "function", "f", None, "() -> Any", False)),
        ("def f(): ...", "", ("removed", "function", "f", "() -> Any", None, True)),
        (
            "def f(a: int): ...",
            "def f(a: int, b=1): ...",
            ("altered", "function", "f", "(a: int) -> Any", "(a: int, b: Any = 1) -> Any", False),
        ),
        (
            "class C:\n  @staticmethod\n  def f(): ...\n  @classmethod\n  def g(cls): ...",
            "class C:\n  @staticmethod\n  def f(): ...",
            ("removed", "function", "C.g", "() -> Any", None, True),
        ),
        ("N = 1", "N = 2", ("altered", "constant", "N", "1", "2", False)),
        ("N = 1", "N = '1'", ("altered", "constant", "N", "1", '"1"', True)),
        ("N = 1", "", ("removed", "constant", "N", "1", None, True)),
        (
            "@dataclass\nclass C:\n  x: int\ndef f(c: C): ...",
            "@dataclass\nclass C:\n  x: int\n  y: list[int] = field(default_factory=list)\ndef f(c: C): ...",
            ("altered", "type", "C", "dataclass (x: int)", "dataclass (x: int, y: list[int] = list())", False),
        ),
        (
            "class E(Enum):\n  A = 1\n  B = 2\ndef f(e: E): ...",
            "class E(Enum):\n  A = 1\ndef f(e: E): ...",
            ("altered", "type", "E", "enum(enum.Enum) (A = 1, B = 2)", "enum(enum.Enum) (A = 1)", True),
        ),
        (
            "@overload\ndef f(a: int) -> int: ...\n@overload\ndef f(a: str) -> str: ...\ndef f(a): ...",
            "@overload\ndef f(a: int) -> int: ...\n@overload\ndef f(a: bytes) -> str: ...\ndef f(a): ...",
            (
                "altered",
                "function",
                "f",
                "(a: int) -> int; (a: str) -> str",
                "(a: int) -> int; (a: bytes) -> str",
                True,
            ),
        ),
    ],
    ids=lambda value: "-".join(map(str, value[:3])) if isinstance(value, tuple) else "",
)
def test_what_is_told(before: str, after: str, change: tuple[Any, ...]) -> None:
    kind, what, name, old, new, breaking = change
    assert changes(before, after) == [ApiChange(kind, what, "a", name, old, new, breaking)]


def test_one_name_that_becomes_another_kind_of_thing_is_removed_and_added() -> None:
    assert [
        (each.kind, each.what) for each in changes("f = 1\ndef f(): ...", "class f:\n  @staticmethod\n  def g(): ...")
    ] == [
        ("removed", "function"),
        ("added", "function"),
    ]


def test_of_what_did_not_change_nothing_is_told_and_documentation_does_not_count() -> None:
    text = "N = 1\n@dataclass\nclass C:\n  x: int\ndef f(c: C, *a: int, k: str = 'x') -> C: ...\n"
    assert changes(text, text) == []
    assert changes("def f():\n  'one'", "def f():\n  'two'") == []


def test_a_type_that_is_exported_elsewhere_is_told_there_too() -> None:
    models = source("models", "from dataclasses import dataclass\n@dataclass\nclass C:\n  x: int\n")
    texts = ["from models import C as C\ndef f(c: C): ...", "import models\ndef f(c: models.C): ..."]
    before, after = (wrap_modules([source("a", text), models]).modules for text in texts)
    told = compare(*({name: unpacked(data) for name, data in each.items()} for each in (before, after)))
    assert [(each.kind, each.module, each.name, each.old) for each in told] == [("removed", "a", "C", "models.C")]


def test_modules_that_came_and_went_are_told_name_by_name() -> None:
    before, after = modules("def f(): ...\ndef g(): ..."), {"b": modules("def h(): ...")["a"]}
    told = compare(before, after)
    assert [(each.kind, each.module, each.name) for each in told] == [
        ("removed", "a", "f"),
        ("removed", "a", "g"),
        ("added", "b", "h"),
    ]


# --- signatures as text


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        "a: int, /",
        "a: int, /, b: str = 'x'",
        "*, k: bool = False",
        "a: int, *rest: str, k: None = None, **more: float",
        "a: 'list[int]', b: dict[str, tuple[int, ...]] = ...",
    ],
)
def test_a_signature_reads_as_inspect_prints_it(parameters: str) -> None:
    text = function(parameters).replace("'list[int]'", "list[int]")
    space: dict[str, Any] = {}
    exec(compile(text, "a.py", "exec", dont_inherit=True), space)
    printed = str(inspect.signature(space["f"])).replace("Ellipsis", "...").replace("'x'", '"x"')
    (change,) = changes("", function(parameters).replace("= ...", "= object()"))
    assert change.new == printed


def test_types_of_modules_are_written_with_them_and_those_of_typing_without() -> None:
    text = "import datetime, decimal\ndef f(a: datetime.date, b: Optional[Sequence[decimal.Decimal]]) -> Any: ..."
    (change,) = changes("", text)
    assert change.new == "(a: datetime.date, b: collections.abc.Sequence[decimal.Decimal] | None) -> Any"


# --- what is breaking

VARIABLES = "T = TypeVar('T')\nU = TypeVar('U')\nOf = TypeVar('Of', bound=int)\n"
SAFE = [
    ("a more general parameter", function("a: int"), function("a: float")),
    ("a complex parameter", function("a: float"), function("a: complex")),
    ("any mapping parameter", function("a: OrderedDict[str, int]"), function("a: dict[str, int]")),
    ("any sequence parameter", function("a: deque[int]"), function("a: Sequence[int]")),
    ("any path parameter", function("a: Path"), function("a: PurePath")),
    ("a union with more in it", function("a: int"), function("a: int | str")),
    ("an abstract container for a concrete one", function("a: list[int]"), function("a: Sequence[float]")),
    ("a mapping for a dict", function("a: dict[str, int]"), function("a: Mapping[str, int]")),
    ("a longer literal", function("a: Literal['x']"), function("a: Literal['x', 'y']")),
    ("a str for a literal", function("a: Literal['x']"), function("a: str")),
    ("anything", function("a: int"), function("a")),
    ("tuples of any length", function("a: tuple[int, int]"), function("a: tuple[int, ...]")),
    ("a more special result", function("", "float"), function("", "int")),
    ("a result that is never None", function("", "int | None"), function("", "int")),
    ("a result that is annotated now", "def f(): ...", function("", "int")),
    ("a default", function("a: int"), function("a: int = 1")),
    ("another default", function("a: int = 1"), function("a: int = 2")),
    ("one more with a default", function("a: int"), function("a: int, b: int = 1")),
    ("one more by name with a default", function("a: int"), function("a: int, *, b: int = 1")),
    ("*args and **kwargs", function(""), function("*args: int, **kwargs: int")),
    ("another name for *args", function("*a: int"), function("*b: int")),
    ("another name of a positional-only one", function("a: int, /"), function("b: int, /")),
    (
        "another name of a type variable",
        VARIABLES + function("a: list[T], b: U", "dict[T, U]"),
        VARIABLES + function("a: list[U], b: T", "dict[U, T]"),
    ),
    ("a type variable for anything", function("a, b", "Any"), VARIABLES + function("a: T, b: T", "T")),
    ("another order of named ones", function("*, a: int, b: int"), function("*, b: int, a: int")),
]
BREAKING = [
    ("it vanished", function("a: int, b: int"), function("a: int")),
    ("it was renamed", function("a: int"), function("b: int")),
    ("it has to be given", function("a: int = 1"), function("a: int")),
    ("one more has to be given", function("a: int"), function("a: int, b: int")),
    ("one more has to be given by name", function(""), function("*, k: int")),
    ("positional-only now", function("a: int"), function("a: int, /")),
    ("by name only now", function("a: int"), function("*, a: int")),
    ("another order", function("a: int, b: int"), function("b: int, a: int")),
    ("one in between", function("a: int, c: int = 1"), function("a: int, b: int = 1, c: int = 1")),
    ("one before *args", function("*rest: int"), function("a: int = 1, *rest: int")),
    ("no *args", function("*rest: int"), function("")),
    ("no **kwargs", function("**more: int"), function("")),
    ("a narrower parameter", function("a: float"), function("a: int")),
    ("a parameter that is annotated now", "def f(a): ...", function("a: int")),
    ("another type", function("a: int"), function("a: str")),
    ("a list of something wider", function("a: list[int]"), function("a: list[float]")),
    ("fewer literals", function("a: Literal['x', 'y']"), function("a: Literal['x']")),
    ("a concrete container", function("a: Sequence[int]"), function("a: list[int]")),
    ("other keys", function("a: Mapping[str, int]"), function("a: Mapping[int, int]")),
    ("a wider result", function("", "int"), function("", "int | None")),
    ("a result of any kind", function("", "int"), "def f(): ..."),
    (
        "another type variable",
        VARIABLES + function("a: T, b: U", "tuple[T, U]"),
        VARIABLES + function("a: T, b: U", "tuple[U, T]"),
    ),
    (
        "a type variable with a bound",
        VARIABLES + function("a: T", "list[T]"),
        VARIABLES + function("a: Of", "list[Of]"),
    ),
    ("shorter tuples", function("", "tuple[int, int]"), function("", "tuple[int, ...]")),
]


@pytest.mark.parametrize(
    ("before", "after", "breaking"),
    [(*texts, False) for _, *texts in SAFE] + [(*texts, True) for _, *texts in BREAKING],
    ids=[f"safe: {name}" for name, *_ in SAFE] + [f"breaking: {name}" for name, *_ in BREAKING],
)
def test_what_of_a_signature_is_breaking(before: str, after: str, breaking: bool) -> None:
    assert [each.breaking for each in changes(before, after)] in ([breaking], [] if not breaking else [True])


def dataclass(fields: str, options: str = "") -> str:
    lines = "".join(f"  {field}\n" for field in fields.split("; ")) or "  pass\n"
    return f"@dataclass{options}\nclass C:\n{lines}def f(c: C): ...\n"


GENERIC = VARIABLES + "@dataclass\nclass C(Generic[{}]):\n  x: {}\n"
FLAG = "from enum import Flag\nclass C(Flag):\n  {}\ndef f(c: C): ...\n"


def typed_dict(fields: str) -> str:
    return "class C(TypedDict):\n" + "".join(f"  {field}\n" for field in fields.split("; ")) + "def f(c: C): ...\n"


def named_tuple(fields: str) -> str:
    return typed_dict(fields).replace("TypedDict", "NamedTuple")


@pytest.mark.parametrize(
    ("before", "after", "breaking"),
    [
        (dataclass("x: int"), dataclass("x: int; y: int = 1"), False),
        (dataclass("x: int", "(slots=True)"), dataclass("x: int; y: int = 1", "(slots=True)"), True),
        (FLAG.format("A = 1"), FLAG.format("A = 1; B = 2"), True),
        (dataclass("x: int"), dataclass("x: int; y: int"), True),
        (dataclass("x: int; y: int"), dataclass("x: int"), True),
        (dataclass("x: int; y: int"), dataclass("y: int; x: int"), True),
        (dataclass("x: int; y: int", "(kw_only=True)"), dataclass("y: int; x: int", "(kw_only=True)"), False),
        (dataclass("x: int"), dataclass("x: int = 1"), False),
        (dataclass("x: int = 1"), dataclass("x: int"), True),
        (dataclass("x: int"), dataclass("x: float"), True),
        (dataclass("x: int"), dataclass("x: int", "(frozen=True)"), True),
        (dataclass("x: int"), named_tuple("x: int"), True),
        (named_tuple("x: int"), named_tuple("x: int; y: int = 1"), True),
        (typed_dict("x: int"), typed_dict("x: int; y: int"), True),
        (typed_dict("x: int"), typed_dict("x: int; y: NotRequired[int]"), False),
        (typed_dict("x: int"), typed_dict("x: NotRequired[int]"), True),
        (typed_dict("x: int; y: int"), typed_dict("y: int; x: int"), False),
        (GENERIC.format("T", "T"), GENERIC.format("U", "U"), False),
        (GENERIC.format("T", "T"), GENERIC.format("T", "int"), True),
        (GENERIC.format("T", "T"), GENERIC.format("T, U", "T"), True),
        ("class C(Enum):\n  A = 1\ndef f(c: C): ...", "class C(Enum):\n  A = 1\n  B = 2\ndef f(c: C): ...", False),
        ("class C(Enum):\n  A = 1\ndef f(c: C): ...", "class C(Enum):\n  A = 2\ndef f(c: C): ...", True),
    ],
)  # fmt: skip
def test_what_of_a_type_is_breaking(before: str, after: str, breaking: bool) -> None:
    (change,) = changes(before, after)
    assert (change.what, change.breaking) == ("type", breaking)


def test_the_reverse_of_a_comparison_has_the_reverse_changes() -> None:
    old, new = modules("def f(a: int): ...\ndef g(): ..."), modules("def f(a: float): ...\ndef h(): ...")
    back = {(each.kind, each.name, each.old, each.new) for each in compare(new, old)}
    reverse = {"added": "removed", "removed": "added", "altered": "altered"}
    assert back == {(reverse[each.kind], each.name, each.new, each.old) for each in compare(old, new)}


# --- IRs as bytes


def test_an_ir_comes_back_as_it_was_packed_and_equal_ones_are_equal_bytes() -> None:
    text = "N = (1, 'x')\n@dataclass\nclass C:\n  'It.'\n  x: int = 0\ndef f(c: C, *a: int, k=print) -> C | None: ..."
    (module,) = modules(text).values()
    assert unpacked(packed(module)) == module
    assert packed(module) == packed(modules(text)["a"])


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="no such docstring can be compiled")
def test_a_docstring_that_no_encoding_takes_does_not_keep_an_ir_from_being_packed() -> None:
    wrapped = wrap_modules([source("a", "class C:\n  @staticmethod\n  def f():\n    '\\ud800'\nN = 1")])
    assert wrapped.failures == ()
    assert b"ud800" in wrapped.modules["a"]


def test_a_change_is_plain_data() -> None:
    (change,) = changes("", "N = 1")
    assert change.to_dict() == dataclasses.asdict(change)
