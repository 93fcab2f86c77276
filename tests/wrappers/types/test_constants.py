"""Constants of several modules in defaults, in members of enums, and as names of a wrapper. What the text does not say is left."""

from __future__ import annotations

import logging
from datetime import timedelta
from enum import Enum
from http import HTTPStatus
from pathlib import Path

import pytest

from wrapping import load, source, text_of, wrap

LIMITS = """
from base import *
DEFAULT = 30
NAMES = ("RED", "GREEN")
_HIDDEN = BASE * 2
Most = _HIDDEN
class Sizes:
    SMALL = 1
"""
BASE = "BASE = 7\nclass Plain:\n    DEEP = BASE + 1"


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        ("limits.DEFAULT", "30"),
        ("limits.DEFAULT * 60", "1800"),
        ("D", "30"),
        ("Most", "14"),
        ("limits.BASE", "7"),
        ("limits.Sizes.SMALL", "1"),
        ("limits.Plain.DEEP", "8"),
        ("limits.missing", "..."),
        ("limits", "..."),
        ("elsewhere.X", "..."),
        ("Round", "..."),
    ],
)
def test_a_default_is_followed_through_modules(default: str, expected: str) -> None:
    text = f"import limits, elsewhere\nfrom limits import DEFAULT as D, Most\nRound = Other\nOther = Round\ndef f(x={default}): ..."
    assert f"def f(x: Any = {expected})" in text_of(wrap(text, source("limits", LIMITS), source("base", BASE)))


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("x: int = D", "x: int = 30"),
        ("x: str = D", "x: str = ..."),
        ("x: Path | str = Path('a')", 'x: Path | str = Path("a")'),
        ("x: os.PathLike[str] = Path('a')", 'x: PathLike[str] = Path("a")'),
        ("x: str = Path('a')", "x: str = ..."),
        ("x: timedelta = timedelta(seconds=D)", "x: timedelta = timedelta(seconds=30)"),
        ("x: int = logging.INFO", "x: int = INFO"),
        ("x: Colour = Colour.RED", "x: Colour = Colour.RED"),
        ("x: Other = Other.RED", "x: Other = ..."),
    ],
)
def test_a_default_has_to_fit_its_annotation(parameter: str, expected: str) -> None:
    text = (
        "import logging, os\nfrom datetime import timedelta\nfrom enum import Enum\nfrom pathlib import Path\n"
        f"from other import Other\nclass Colour(Enum):\n    RED = 1\nD = 30\ndef f({parameter}): ..."
    )
    other = source("other", "from enum import Enum\nclass Other(Enum):\n    RED = 1")
    assert f"def f({expected})" in text_of(wrap(text, other))


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ("A = _x | 1\n    B = _x << 4", {"A": 3, "B": 32}),
        ("A = limits.DEFAULT\n    B = A + 1", {"A": 30, "B": 31}),
        ("A = 'a' + 'b'\n    B = ('x', 60 * 60)", {"A": "ab", "B": ("x", 3600)}),
        ("A = 1\n    B = A\n    C = auto()", {"A": 1, "B": 1, "C": 2}),
        ("A = timedelta(days=_x)\n    B = _ROOT", {"A": timedelta(days=2), "B": Path("/")}),
        ("A = member('a')", {"A": "a"}),
        ("A = logging.INFO\n    B = HTTPStatus.OK\n    C = nonmember(3)", {"A": logging.INFO, "B": HTTPStatus.OK}),
    ],
)
def test_members_that_are_computed_from_constants(members: str, expected: dict[str, object]) -> None:
    text = (
        "import limits, logging\nfrom datetime import timedelta\nfrom enum import Enum, auto, member, nonmember\n"
        "from http import HTTPStatus\nfrom pathlib import Path\n_x = 2\n_ROOT = Path('/')\n"
        f"class E(Enum):\n    {members}\ndef f(x: E): ..."
    )
    space = load(text_of(wrap(text, source("limits", LIMITS), source("base", BASE))), lambda *_: None)
    made: type[Enum] = space["E"]
    assert {name: member.value for name, member in made.__members__.items()} == expected


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("Enum('E', limits.NAMES)", {"RED": 1, "GREEN": 2}),
        ("Enum('E', names=_names)", {"A": 1, "B": 2}),
        ("Enum('E', _pairs)", {"A": 5, "B": 14}),
        ("Enum('E', 'A B', start=5)", {"A": 5, "B": 6}),
        ("Enum('E', {'A': 1, 'B': 2}, type=str)", {"A": "1", "B": "2"}),
    ],
)
def test_members_named_by_a_constant(call: str, expected: dict[str, object]) -> None:
    text = (
        "import limits\nfrom enum import Enum\n_names = ['A', 'B']\n_pairs = [('A', 5), ('B', limits.Most)]\n"
        f"E = {call}\ndef f(x: E): ..."
    )
    space = load(text_of(wrap(text, source("limits", LIMITS), source("base", BASE))), lambda *_: None)
    made: type[Enum] = space["E"]
    assert {name: member.value for name, member in made.__members__.items()} == expected


def test_members_may_be_of_a_standard_type() -> None:
    text = "from datetime import timedelta\nfrom enum import Enum\nclass E(timedelta, Enum):\n    DAY = 1\ndef f(x: E): ..."
    assert timedelta(days=1) == load(text_of(wrap(text)), lambda *_: None)["E"].DAY


def test_an_enum_that_cannot_be_declared_does_not_cross_as_its_base() -> None:
    text = "from enum import Enum\nclass E(bytes, Enum):\n    def __new__(cls, x): ...\n    A = 1\ndef f(x: E): ..."
    assert not [each for each in wrap(text).warnings if "cross as bytes" in each]


@pytest.mark.parametrize(
    ("makes", "expected"),
    [
        ("return name", {"BIG_ONE": "BIG_ONE", "B": "b"}),
        ("'What it does.'\n        return name.lower()", {"BIG_ONE": "big_one", "B": "b"}),
        ("return name.replace('_', '-').title()", {"BIG_ONE": "Big-One", "B": "b"}),
    ],
)
@pytest.mark.parametrize("base", ["", "Base", "Mixin"])
def test_what_an_enum_makes_of_the_names_of_its_members(base: str, makes: str, expected: dict[str, object]) -> None:
    method = f"    def _generate_next_value_(name, start, count, last_values):\n        {makes}\n"
    bases = {"": "Enum", "Base": "Base", "Mixin": "Mixin, Enum"}[base]
    text = (
        f"from enum import Enum, auto\nclass Base(Enum):\n{method}class Mixin:\n{method}"
        f"class E({bases}):\n{method if not base else ''}    BIG_ONE = auto()\n    B = 'b'\ndef f(x: E): ..."
    )
    made: type[Enum] = load(text_of(wrap(text)), lambda *_: None)["E"]
    assert {name: member.value for name, member in made.__members__.items()} == expected


@pytest.mark.parametrize(
    "method",
    [
        "def _generate_next_value_(name, *rest):\n        return len(name)",
        "def _generate_next_value_(name, *rest):\n        if rest: name = 'x'\n        return name",
        "def _generate_next_value_(name, *rest):\n        return name.replace('_', rest)",
        "def __new__(cls, value):\n        return object.__new__(cls)",
    ],
)
def test_an_enum_that_makes_its_values_otherwise_is_not_declared(method: str) -> None:
    text = (
        f"from enum import Enum, auto\nclass Mixin:\n    {method}\nclass E(Mixin, Enum):\n    A = auto()\n"
        "def f(x: E): ..."
    )
    made = wrap(text)
    assert "def f(x: Any)" in text_of(made)
    assert any("makes its values" in text for text in made.warnings)


def test_a_literal_of_members_and_others() -> None:
    text = (
        "from enum import Enum\nfrom typing import Literal\nclass E(Enum):\n    A = 1\n    B = 2\n"
        "def f(x: Literal[E.A, E.B], y: Literal['a', E.A, None, 3]) -> Literal[E.A] | None: ..."
    )
    assert 'def f(x: E, y: Literal["a", None, 3] | E) -> E | None' in text_of(wrap(text))


@pytest.mark.parametrize("member", ["A = compute()", "A = [1]", "A = _later"])
def test_a_member_that_only_a_run_tells_leaves_its_enum_undeclared(member: str) -> None:
    text = f"from enum import Enum\n_later = 1\n_later += 1\nclass E(Enum):\n    {member}\ndef f(x: E): ..."
    made = wrap(text)
    assert "def f(x: Any)" in text_of(made)
    assert any("the value of its member A is no literal" in text for text in made.warnings)


def test_computed_constants_are_names_of_the_wrapper() -> None:
    made = text_of(wrap("import limits\nDAY = 24 * 60 * 60\nTWICE = limits.DEFAULT * 2", source("limits", LIMITS)))
    assert "DAY: Final = 86400" in made
    assert "TWICE: Final = 60" in made


@pytest.mark.parametrize("statements", ["BASE = 1\nfrom base import *", "from base import *\nBASE = 1"])
def test_a_name_that_a_star_may_bind_again_is_left(statements: str) -> None:
    made = text_of(wrap(f"{statements}\nOWN = 2\ndef f(x=BASE, y=OWN): ...", source("base", BASE)))
    assert "def f(x: Any = ..., y: Any = 2)" in made


def test_names_that_double_each_other_are_left() -> None:
    text = "N0 = 'x'\n" + "".join(f"N{n + 1} = N{n} + N{n}\n" for n in range(40))
    assert "def f(x: Any = ...)" in text_of(wrap(text + "def f(x=N40): ..."))
