"""What a terminal shows of an error: the lines of the source around it, and the user's frames of a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len

from lastgood.errors import BridgeError, ConfigError, GenerationError, ModuleFailure, RemoteError
from lastgood.session.code_frames import code_frame
from lastgood.session.error_texts import error_details

SOURCE = "import stock\n\n\ndef quote(sku):\n    total = 1\n    return (total\n\nLIMIT = 3\n"


def frame(source: str, line: int, column: int | None, width: int = 80) -> list[str]:
    return [each.plain for each in code_frame(source, line, column, width)]


def details(error: BaseException, base: Path, width: int | None = None, *, verbose: bool = False) -> list[str]:
    return [each.plain for each in error_details(error, base, width, verbose=verbose)]


# --- lines of the source


def test_the_line_of_an_error_is_marked_among_those_around_it_with_a_caret_at_its_column() -> None:
    assert frame(SOURCE, 6, 12) == [
        "  4 | def quote(sku):",
        "  5 |     total = 1",
        "> 6 |     return (total",
        "    |            ^",
    ]
    assert frame(SOURCE, 1, None) == ["> 1 | import stock"]
    assert frame("x\n" * 98 + "a b\ny\n", 99, 3) == [
        "   97 | x",
        "   98 | x",
        ">  99 | a b",
        "      |   ^",
        "  100 | y",
    ]


@pytest.mark.parametrize(
    ("line", "column", "shown", "caret"),
    [
        ("\tx = \t1 +", 9, "    x =     1 +", "              ^"),
        ("名 = (1", 5, "名 = (1", "     ^"),
        ("e\u0301 = (1", 6, "e\u0301 = (1", "    ^"),
        ("x = '\x1b[31m", 5, "x = '\\x1b[31m", "    ^"),
        ("a\x0cb (", 5, "a\\x0cb (", "       ^"),
        ("x = (", 99, "x = (", "     ^"),
    ],
    ids=["tabs", "wide", "combining", "an escape", "a form feed", "beyond its end"],
)
def test_the_caret_stands_below_its_character(line: str, column: int, shown: str, caret: str) -> None:
    assert frame(line, 1, column) == [f"> 1 | {shown}", f"    | {caret}"]


@pytest.mark.parametrize("character", ["x", "名", "\t", "\x1b"])
@pytest.mark.parametrize("column", [1, 30, 200, 399, 400])
def test_a_long_line_is_cut_around_the_caret(character: str, column: int) -> None:
    line = character * (column - 1) + "!" + character * (400 - column)
    *_, code, caret = frame(f"short\n{line}", 2, column, 60)
    assert cell_len(code) <= 60
    assert cell_len(code[: code.index("!")]) == caret.index("^")
    assert code.endswith("...") or column > 390
    assert code.startswith("> 2 | ...") or column < 60


def test_lines_around_a_long_one_are_cut_likewise() -> None:
    first, second, _ = frame(f"{'a' * 99}b\n{'c' * 99}!", 2, 100, 40)
    assert (first, second) == (f"  1 | ...{'a' * 30}b", f"> 2 | ...{'c' * 30}!")
    assert frame(f"short\n{'c' * 99}!", 2, 100, 40)[0] == "  1 | ..."


@pytest.mark.parametrize("line", [0, 4, 99])
def test_a_line_that_is_not_there_has_no_frame(line: int) -> None:
    assert frame("a\nb\nc", line, 1) == []


# --- errors


def test_each_broken_module_is_shown_with_its_lines(tmp_path: Path) -> None:
    (tmp_path / "pricing.py").write_text(SOURCE)
    (tmp_path / "stock.py").write_text("x = 1\nx y\n")
    failures = (
        ModuleFailure("pricing", tmp_path / "pricing.py", 6, "'(' was never closed", 12),
        ModuleFailure("stock", tmp_path / "stock.py", 2, "invalid syntax"),
        ModuleFailure("gone", tmp_path / "gone.py", 2, "no such file"),
    )
    error = GenerationError(failures)
    error.add_note("try again")
    assert details(error, tmp_path) == [
        "Generation failed for 3 module(s):",
        "  pricing (pricing.py:6): '(' was never closed",
        "      4 | def quote(sku):",
        "      5 |     total = 1",
        "    > 6 |     return (total",
        "        |            ^",
        "  stock (stock.py:2): invalid syntax",
        "      1 | x = 1",
        "    > 2 | x y",
        "  gone (gone.py:2): no such file",
        "try again",
    ]


def test_a_mistake_in_the_config_is_shown_with_its_line(tmp_path: Path) -> None:
    config = tmp_path / "lastgood.toml"
    config.write_text("[modules\n")
    assert details(ConfigError("is not valid TOML.", file=config, line=1), tmp_path) == [
        "lastgood.toml:1: is not valid TOML.",
        "    > 1 | [modules",
    ]


def in_a_directory(path: Path) -> None:
    path.mkdir()


def in_no_encoding(path: Path) -> None:
    path.write_bytes(b"# coding: klingon\n\xff\n")


def too_large(path: Path) -> None:
    path.write_bytes(b"x = 1\n" * 1_000_000)


@pytest.mark.parametrize("make", [in_a_directory, in_no_encoding, too_large])
def test_a_source_that_cannot_be_shown_is_left_out(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "a.py")
    told = details(GenerationError((ModuleFailure("a", tmp_path / "a.py", 1, "no"),)), tmp_path)
    assert told == ["Generation failed for 1 module(s):", "  a (a.py:1): no"]


LONG = "    " + "value + " * 30 + "1 / 0"
REMOTE = f"""\
Traceback (most recent call last):
  File "/project/pricing.py", line 3, in <module>
    import stock
  File "/venv/lib/python3.12/site-packages/pydantic/main.py", line 9, in parse
    inner()
    ~~~~~^^
  File "/usr/lib/python3.12/json/decoder.py", line 8, in decode
    raise
  File "/project/stock.py", line 8, in <module>
{LONG}
{" " * len(LONG[:-5])}~~^~~
  File "<frozen runpy>", line 1, in run
ZeroDivisionError: division by zero
  by "/project"
"""


def test_a_traceback_has_the_users_frames_and_the_number_of_the_others() -> None:
    error = RemoteError("ZeroDivisionError", "division by zero", REMOTE)
    error.add_note("a note")
    told = details(error, Path("/project"), 60)
    assert [line for line in told if "value" not in line and "^" not in line] == [
        "Traceback (most recent call last):",
        '  File "pricing.py", line 3, in <module>',
        "    import stock",
        "  ... 2 frames in pydantic, json",
        '  File "stock.py", line 8, in <module>',
        "  ... 1 frame in Python",
        "ZeroDivisionError: division by zero",
        '  by "/project"',
        "a note",
    ]
    code, marks = [line for line in told if "value" in line or "^" in line]
    assert code.endswith("value + 1 / 0")
    assert (len(code), marks.index("^")) == (60, code.index("/"))


def test_a_verbose_traceback_is_whole() -> None:
    told = details(RemoteError("ZeroDivisionError", "division by zero", REMOTE), Path("/project"), verbose=True)
    assert '  File "/usr/lib/python3.12/json/decoder.py", line 8, in decode' in told
    assert not [line for line in told if "frames in" in line]


def test_causes_and_groups_keep_their_form() -> None:
    text = (
        "  + Exception Group Traceback (most recent call last):\n"
        '  |   File "/project/a.py", line 1, in <module>\n  |     go()\n'
        "  | ExceptionGroup: two (1 sub-exception)\n"
        "  +-+---------------- 1 ----------------\n"
        "    | Traceback (most recent call last):\n"
        '    |   File "/usr/lib/python3.12/json/decoder.py", line 8, in decode\n    |     raise\n'
        "    | KeyError: 1\n"
        "    +------------------------------------\n"
    )
    assert details(RemoteError("ExceptionGroup", "two", text), Path("/project")) == [
        "  + Exception Group Traceback (most recent call last):",
        '  |   File "a.py", line 1, in <module>',
        "  |     go()",
        "  | ExceptionGroup: two (1 sub-exception)",
        "  +-+---------------- 1 ----------------",
        "    | Traceback (most recent call last):",
        "  ... 1 frame in json",
        "    | KeyError: 1",
        "    +------------------------------------",
    ]


def test_what_a_function_of_the_users_raised_here_has_its_frames() -> None:
    def factory() -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError) as caught:
        factory()
    told = details(caught.value, Path(__file__).parent)
    assert told[0] == "Traceback (most recent call last):"
    assert told[-2:] == ['    raise LookupError("mine")', "LookupError: mine"]
    assert details(LookupError("mine"), Path()) == ["LookupError: mine"]


def test_what_would_act_on_a_terminal_is_escaped() -> None:
    told = details(BridgeError("\x1b]0;title\x07 \u202eabc\r"), Path("/project"))
    assert told == ["\\x1b]0;title\\x07 \\u202eabc"]


def test_an_exception_of_a_chain_that_comes_again_is_shown_once() -> None:
    part = 'Traceback (most recent call last):\n  File "/project/views.py", line 1, in <module>\n    1 / 0\nZeroDivisionError: no\n'
    again = "\nDuring handling of the above exception, another exception occurred:\n\n"
    last = 'Traceback (most recent call last):\n  File "/project/urls.py", line 2, in <module>\n    import views\nKeyError: 1\n'
    error = RemoteError("KeyError", "1", f"{part}{again}{part}{again}{last}")
    told = details(error, Path("/project"))
    assert [line for line in told if line.strip()] == [
        "Traceback (most recent call last):",
        '  File "views.py", line 1, in <module>',
        "    1 / 0",
        "ZeroDivisionError: no",
        "During handling of the above exception, another exception occurred:",
        "Traceback (most recent call last):",
        '  File "urls.py", line 2, in <module>',
        "    import views",
        "KeyError: 1",
    ]
    assert sum("ZeroDivisionError" in line for line in details(error, Path("/project"), verbose=True)) == 2
