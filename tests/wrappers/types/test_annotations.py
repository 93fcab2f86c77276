from __future__ import annotations

import ast
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.wrappers import wrap_modules
from lastgood.wrappers.types.annotations import literal_text
from wrapping import source, text_of, told, wrap

HEAD = """
from __future__ import annotations
import collections.abc, datetime as dt, decimal, fractions, ipaddress, pathlib, re, typing, typing as t, uuid, zoneinfo
from collections.abc import Mapping, Sequence as Seq, Set as AbstractSet
from typing import Annotated, Any, Dict, List, Literal, NoReturn, Optional as O, Tuple, Union
from decimal import Decimal as D
if t.TYPE_CHECKING:
    from datetime import timedelta
    from elsewhere import Unknown
try:
    from typing import LiteralString
except ImportError:
    from typing_extensions import LiteralString
Price = D
Prices = dict[str, "Price"]
Loop = list["Loop"]
Declared: t.TypeAlias = int
Twice = int
Twice = str
Text = "int"
class Desk: pass
"""


def annotated(annotation: str) -> tuple[str, tuple[str, ...]]:
    wrapped = wrap(HEAD + f"def f(x: {annotation}): ...")
    head = next(line for line in text_of(wrapped).splitlines() if line.startswith(("async def f", "    x: ")))
    return head.partition("x: ")[2].removesuffix(",").removesuffix(") -> Any: ..."), told(wrapped)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("None", "None"),
        ("int", "int"),
        ("'int'", "int"),
        ("object", "object"),
        ("Any", "Any"),
        ("O[int]", "int | None"),
        ("O['int']", "int | None"),
        ("'O[int]'", "int | None"),
        ("Union[int, str, None, int]", "int | str | None"),
        ("int | Union[str, O[bytes]]", "int | str | bytes | None"),
        ("list", "list[Any]"),
        ("List", "list[Any]"),
        ("dict", "dict[Any, Any]"),
        ("Dict[str, t.List[int]]", "dict[str, list[int]]"),
        ("tuple", "tuple[Any, ...]"),
        ("Tuple[int, ...]", "tuple[int, ...]"),
        ("tuple[()]", "tuple[()]"),
        ("tuple[int, str]", "tuple[int, str]"),
        ("Seq[bytes]", "Sequence[bytes]"),
        ("typing.Sequence", "Sequence[Any]"),
        ("typing.AbstractSet[int]", "Set[int]"),
        ("AbstractSet[int]", "Set[int]"),
        ("collections.abc.Mapping[str, float]", "Mapping[str, float]"),
        ("dt.datetime | dt.date", "datetime | date"),
        ("frozenset[int]", "frozenset[int]"),
        ("t.FrozenSet[int]", "frozenset[int]"),
        ("timedelta", "timedelta"),
        ("decimal.Decimal", "Decimal"),
        ("uuid.UUID", "UUID"),
        ("pathlib.Path", "Path"),
        ("complex", "complex"),
        ("bytearray | range", "bytearray | range"),
        ("fractions.Fraction", "Fraction"),
        ("collections.deque[int]", "deque[int]"),
        ("t.Deque", "deque[Any]"),
        ("collections.OrderedDict[str, int]", "OrderedDict[str, int]"),
        ("t.OrderedDict[str, int]", "OrderedDict[str, int]"),
        ("collections.Counter[str]", "Counter[str]"),
        ("t.Counter", "Counter[Any]"),
        ("collections.defaultdict[str, list[int]]", "defaultdict[str, list[int]]"),
        ("t.DefaultDict[str, int]", "defaultdict[str, int]"),
        ("dt.tzinfo | dt.timezone", "tzinfo | timezone"),
        ("zoneinfo.ZoneInfo", "ZoneInfo"),
        ("ipaddress.IPv4Address | ipaddress.IPv6Network", "IPv4Address | IPv6Network"),
        ("pathlib.PurePath | pathlib.PurePosixPath", "PurePath | PurePosixPath"),
        ("re.Pattern[str]", "Pattern[str]"),
        ("t.Pattern", "Pattern[Any]"),
        ("Literal['a', 1, -1, None, b'x', True]", 'Literal["a", 1, -1, None, b"x", True]'),
        ("Literal[Literal['a', 1], 'b', Literal['a']]", 'Literal["a", 1, "b"]'),
        ("Annotated[int, print('never run')]", "int"),
        ("LiteralString", "str"),
        ("Price", "Decimal"),
        ("Prices", "dict[str, Decimal]"),
        ("Declared", "int"),
    ],
)
def test_a_type_whose_values_cross_is_kept(annotation: str, expected: str) -> None:
    assert annotated(annotation) == (expected, ())


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("Desk", "Any"),
        ("list[Desk]", "list[Any]"),
        ("Desk | None", "Any | None"),
        ("Unknown", "Any"),
        ("undefined", "Any"),
        ("memoryview", "Any"),
        ("array.array[int]", "Any"),
        ("type[int]", "Any"),
        ("t.Callable[[int], str]", "Any"),
        ("typing.Iterator[int]", "Any"),
        ("Twice", "Any"),
        ("Text", "Any"),
        ("Loop", "list[Any]"),
        ("list[int, str]", "Any"),
        ("int[str]", "Any"),
        ("O", "Any"),
        ("Literal[Desk.A]", "Any"),
        ("tuple[*Ts]", "tuple[Any, ...]"),
        ("t.Tuple[int, t.Unpack[Ts]]", "tuple[Any, ...]"),
        ("Literal[Literal['a'], Desk.A]", "Any"),
        ("'not a type'", "Any"),
        ("'int) + (str'", "Any"),
        ("print('never run')", "Any"),
        ("3", "Any"),
        ("NoReturn", "Any"),
    ],
)
def test_anything_else_is_any_and_told_of(annotation: str, expected: str) -> None:
    text, warnings = annotated(annotation)
    assert text == expected
    assert len(warnings) == 1
    assert warnings[0].startswith("pricing.f: the annotation of parameter 'x', ")


def test_a_warning_names_the_annotation_and_the_part_that_is_not_known() -> None:
    assert annotated("dict[str, Desk]")[1] == (
        ("pricing.f: the annotation of parameter 'x', dict[str, Desk], became Any in part. Desk is a plain class."),
    )


def test_a_long_annotation_is_cut_short() -> None:
    warning = annotated("Desk[" + ", ".join(["int"] * 100) + "]")[1][0]
    assert len(warning) < 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("class int: pass\ndef f() -> int: ...", "Any", id="module-class"),
        pytest.param("from elsewhere import int\ndef f() -> int: ...", "Any", id="import"),
        pytest.param("from local import int\ndef f() -> int: ...", "str", id="alias-of-a-local-module"),
        pytest.param("from local import *\ndef f() -> int: ...", "str", id="star"),
        pytest.param("from local import Missing\ndef f() -> Missing: ...", "Any", id="not-there"),
        pytest.param("import local\ndef f() -> local.int: ...", "str", id="attribute-of-a-local-module"),
        pytest.param("from typing import *\ndef f() -> List[int]: ...", "list[int]", id="star-of-typing"),
        pytest.param("from elsewhere import *\ndef f() -> int: ...", "int", id="star-of-an-unknown-module"),
        pytest.param("from ring import R\ndef f() -> R: ...", "Any", id="circle"),
    ],
)
def test_a_name_means_what_its_module_makes_it(text: str, expected: str) -> None:
    ring = source("ring", "from gnir import R"), source("gnir", "from ring import R")
    body = text_of(wrap(text, source("local", "int = str"), *ring))
    assert f"async def f() -> {expected}:" in body


def test_a_class_hides_the_names_of_its_module() -> None:
    text = """
class Desk:
    @staticmethod
    def list() -> dict[str, int]: ...
    @staticmethod
    def names() -> list[str]: ...
"""
    wrapped = wrap(text)
    assert "async def names() -> Any:" in text_of(wrapped)
    assert wrapped.warnings == (
        "pricing.Desk.names: the annotation of the result, list[str], became Any. It is a name that stands for no known type.",
    )


def test_a_function_that_never_returns_gives_nothing() -> None:
    text = "import typing\ndef f() -> typing.NoReturn: ...\ndef g() -> 'typing.Never': ...\n"
    assert text_of(wrap(text)).count(") -> None:") == 2


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("x=1", "x: Any = 1"),
        ("x: int = 1", "x: int = 1"),
        ("x: float = 1", "x: float = 1"),
        ("x: int = None", "x: int | None = None"),
        ("x: list[int] | None = None", "x: list[int] | None = None"),
        ("x: str = 1", "x: str = ..."),
        ("x: list[int] = ()", "x: list[int] = ..."),
        ("x: int = []", "x: int = ..."),
        ("x: tuple[int, ...] = (1, 2)", "x: tuple[int, ...] = (1, 2)"),
        ("x: tuple[int, str] = (1, 2)", "x: tuple[int, str] = ..."),
        ("x: t.Sequence[str] = ('a',)", 'x: Sequence[str] = ("a",)'),
        ("x: t.Sequence[str] = 'a'", 'x: Sequence[str] = "a"'),
        ("x: t.Literal['a', 'b'] = 'a'", 'x: Literal["a", "b"] = "a"'),
        ("x: t.Literal['a', 'b'] = 'c'", 'x: Literal["a", "b"] = ...'),
        ("x: bool = 0", "x: bool = ..."),
        ("x: object = b'a'", 'x: object = b"a"'),
    ],
)
def test_a_default_is_shown_where_its_annotation_allows_it(parameter: str, expected: str) -> None:
    assert f"({expected})" in text_of(wrap(f"import typing as t\ndef f({parameter}): ..."))


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        ("-1.5", "-1.5"),
        ("1e999", "1e999"),
        ("-1e999", "-1e999"),
        ("0xFF", "255"),
        ("'it\\'s'", '"it\'s"'),
        ("'say \"x\"'", "'say \"x\"'"),
        ("'a' 'b'", '"ab"'),
        ("'\\ud800\\n'", r'"\ud800\n"'),
        ("((), (1,), (None, True))", "((), (1,), (None, True))"),
        ("...", "..."),
        ("1j", "..."),
        ("f'{1}'", "..."),
        ("[]", "..."),
        ("(1, [])", "..."),
        ("not True", "False"),
        ("-True", "-1"),
        ("int", "..."),
        ("1 << 20", "1048576"),
        ("1 << 2000", "..."),
        ("0x1" + "0" * 5000, "..."),
    ],
)
def test_a_literal_is_shown_as_itself_and_nothing_else_is(default: str, expected: str) -> None:
    assert f"x: Any = {expected}" in text_of(wrap(f"def f(x={default}): ..."))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", '"x"'),
        ("it's", '"it' + "'" + 's"'),
        ('"', """'"'"""),
        ("'\"", r'''"'\""'''),
        ('"\'"', r"""'"\'"'"""),
        ("\\'\"", r'''"\\'\""'''),
        (b"'\xff", r"""b"'\xff" """.strip()),
        (("a", b"b", -1.5, (None,)), '("a", b"b", -1.5, (None,))'),
    ],
)
def test_a_literal_is_quoted_as_formatters_do(value: Any, text: str) -> None:
    assert literal_text(value) == text
    assert ast.literal_eval(text) == value


@given(st.text("'\"\\x\n") | st.binary().map(lambda data: data + b"'\"\\"))
def test_a_literal_comes_back(value: str | bytes) -> None:
    assert ast.literal_eval(literal_text(value)) == value


@pytest.mark.parametrize(
    ("first", "doubled"),
    [
        ("int", "dict[{0}, {0}]"),
        ("int", "t.Tuple[{0}, {0}]"),
        ("int", "t.Optional[dict[{0}, '{0}']]"),
        ("int", "t.Union[{0}, {0}]"),
        ("int", "{0} | {0}"),
        ("t.Literal['a']", "t.Literal[{0}, {0}]"),
    ],
)
def test_aliases_that_double_each_other_become_any_before_they_fill_the_disk(first: str, doubled: str) -> None:
    aliases = "".join(f"A{number} = {doubled.format(f'A{number - 1}')}\n" for number in range(1, 31))
    wrapped = wrap(f"import typing as t\nA0 = {first}\n{aliases}def f(x: A30) -> int: ...\ndef g(x: A2) -> int: ...")
    text = text_of(wrapped)
    assert "async def f(x: Any) -> int:" in text
    assert "async def g(x: Any)" not in text, "a few are what they say"
    [warning] = told(wrapped)
    assert warning.endswith("became Any. It is an alias that stands for more than 1000 types.")


def test_a_long_annotation_without_aliases_is_kept() -> None:
    text = " | ".join(f"list[{'list[' * number}int{']' * number}]" for number in range(60))
    wrapped = wrap(f"def f(x: {text}) -> int: ...")
    assert not told(wrapped)
    assert "Any" not in text_of(wrapped).partition("async def f")[2].partition("->")[0]


CAT = source("impl.cats", "from dataclasses import dataclass\n@dataclass\nclass Cat:\n  n: int\n")


@pytest.mark.parametrize("head", ["", "from __future__ import annotations\n"])
@pytest.mark.parametrize(
    ("imported", "annotation"),
    [
        ("if TYPE_CHECKING:\n  from impl.cats import Cat", "Cat"),
        ("if TYPE_CHECKING:\n  from impl.cats import Cat as C", "C"),
        ("if t.TYPE_CHECKING:\n  import impl.cats", "impl.cats.Cat"),
        ("if typing.TYPE_CHECKING:\n  import impl.cats as c", "c.Cat"),
        ("if TYPE_CHECKING:\n  from impl import cats", "cats.Cat"),
        ("if TYPE_CHECKING:\n  from impl.cats import *", "Cat"),
        ("if TYPE_CHECKING:\n  from between import Cat", "Cat"),
        ("if TYPE_CHECKING:\n  try:\n    from impl.cats import Cat\n  except ImportError:\n    pass", "Cat"),
        (
            "try:\n  from nowhere import Cat\nexcept ImportError:\n  if TYPE_CHECKING:\n    from impl.cats import Cat",
            "Cat",
        ),
        ("if TYPE_CHECKING:\n  from impl.cats import Cat\nelse:\n  Cat = Any", "Cat"),
        ("if TYPE_CHECKING:\n  from impl.cats import Cat\nelse:\n  from nowhere import Cat", "Cat"),
        ("if not TYPE_CHECKING:\n  Cat = object\nelse:\n  from impl.cats import Cat", "Cat"),
        ("if TYPE_CHECKING:\n  from impl.cats import Cat\n  Alias = Cat", "Alias"),
        ("if TYPE_CHECKING:\n  from impl.cats import Cat\nAlias: t.TypeAlias = 'Cat'", "Alias"),
        (
            "if TYPE_CHECKING:\n  from impl.cats import Cat\n  from typing_extensions import TypeAlias\n  Alias: TypeAlias = 'Cat'",
            "Alias",
        ),
        ("if False:\n  from impl.cats import Cat", "Cat"),
    ],
)
def test_a_class_that_only_type_checkers_import_is_declared(head: str, imported: str, annotation: str) -> None:
    between = source("between", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n  from impl.cats import Cat\n")
    text = (
        f"{head}import typing, typing as t\nfrom typing import TYPE_CHECKING, Any\nfrom dataclasses import dataclass\n{imported}\n"
        f"@dataclass\nclass Owner:\n  cat: '{annotation}'\n"
        f"def f(x: '{annotation}', y: 'list[{annotation}]') -> '{annotation} | Owner': ..."
    )
    wrapped = wrap(text, CAT, between)
    body = text_of(wrapped)
    assert "async def f(x: Cat, y: list[Cat]) -> Cat | Owner: ..." in body
    assert "class Owner:\n    cat: Cat\n" in body
    assert "from .impl.cats import Cat\n" in body
    assert '__all__ = ["Owner", "f"]' in body or "import *" in imported
    assert "class Cat:\n    n: int\n" in text_of(wrapped, "impl/cats.py")


def test_what_is_there_at_run_time_counts_where_a_class_is_made() -> None:
    text = (
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\nfrom dataclasses import dataclass\n"
        "if TYPE_CHECKING:\n  from impl.cats import Cat as Base\nelse:\n  Base = object\n"
        "if TYPE_CHECKING:\n  @dataclass\n  class Own: ...\nelse:\n  @dataclass\n  class Own:\n    x: int\n"
        "@dataclass\nclass Dog(Base):\n  m: int\ndef f(x: Dog) -> Own: ..."
    )
    body = text_of(wrap(text, CAT))
    assert "class Dog:\n    m: int\n" in body
    assert "class Own:\n    x: int\n" in body
    assert "async def f(x: Dog) -> Own: ..." in body


def test_a_star_import_that_does_not_bring_a_name_hides_none_that_does() -> None:
    others = (
        source("starred", "from dataclasses import dataclass\n@dataclass\nclass Cat:\n  n: int\n"),
        source("outer", "from inner import *\n"),
        source("inner", "x = 1\n"),
    )
    body = text_of(
        wrap("from starred import *\nfrom outer import *\ndef f() -> Cat: ...\ndef g() -> int: ...", *others)
    )
    assert "async def f() -> Cat:" in body
    assert "async def g() -> int:" in body


def test_another_name_of_a_generic_type_takes_its_arguments() -> None:
    text = "from compat import Mapping, Seq\nfrom collections.abc import Set as Own\nOf = Own\n"
    compat = source(
        "compat", "import collections.abc as c\nfrom typing import Mapping as M\nMapping = M\nSeq = c.Sequence\n"
    )
    wrapped = wrap(f"{text}def f(x: Mapping[str, int], y: Seq[int]) -> Of[str]: ...", compat)
    assert "async def f(x: Mapping[str, int], y: Sequence[int]) -> Set[str]:" in text_of(wrapped)
    assert told(wrapped) == ()


def test_a_submodule_that_some_import_has_bound_is_found_in_its_package() -> None:
    package = source("shop", "def f() -> 'models.Cat': ...", is_package=True)
    models = source("shop.models", "from dataclasses import dataclass\n@dataclass\nclass Cat:\n  n: int\n")
    wrapped = wrap_modules([package], find={"shop.models": models}.get)
    assert "async def f() -> Cat:" in text_of(wrapped, "shop/__init__.py")
