"""Lines on a terminal: within its width, and in colours only where these are wanted."""

from __future__ import annotations

import io
import os
import pty
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO

import pytest
from rich.cells import cell_len
from rich.text import Text

from lastgood.session.console import hanging, make_console, width_of
from lastgood.session.event_lines import EventLines
from lastgood.watch_events import ApiChange, ReloadSuccess

COLOURS = ("NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in COLOURS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def terminal() -> Iterator[IO[str]]:
    """A terminal of 80 columns."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    file = os.fdopen(theirs, "w")
    resize(file, 80)
    yield file
    file.close()
    os.close(ours)


def resize(terminal: IO[str], columns: int) -> None:
    import fcntl
    import struct
    import termios

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


# --- colours


@pytest.mark.parametrize(
    ("variables", "is_terminal", "colors", "expected"),
    [
        ({}, True, True, True),
        ({}, False, True, False),
        ({}, True, False, False),
        ({"NO_COLOR": "1"}, True, True, False),
        ({"NO_COLOR": ""}, True, True, True),
        ({"TERM": "dumb"}, True, True, False),
        ({"FORCE_COLOR": "1"}, False, True, True),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True, True, True),
        ({"FORCE_COLOR": "0"}, False, True, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, True, False),
        ({"FORCE_COLOR": "1"}, True, False, False),
    ],
)
def test_who_wants_colours_gets_them(
    variables: dict[str, str],
    is_terminal: bool,
    colors: bool,
    expected: bool,
    terminal: IO[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    console = make_console(terminal if is_terminal else io.StringIO(), colors=colors)
    with console.capture() as captured:
        console.print(Text.assemble(("a", "bold reverse red"), ("b", "dim")))
    assert ("\x1b[" in captured.get()) is expected
    assert captured.get() == ("\x1b[1;7;31ma\x1b[0m\x1b[2mb\x1b[0m\n" if expected else "ab\n")


# --- widths


def test_the_width_is_that_of_the_terminal_at_this_moment(terminal: IO[str], monkeypatch: pytest.MonkeyPatch) -> None:
    console = make_console(terminal)
    assert width_of(console) == 80
    resize(terminal, 132)
    assert width_of(console) == 132
    monkeypatch.setenv("COLUMNS", "40")
    assert width_of(console) == 40
    monkeypatch.setenv("COLUMNS", "none")
    assert width_of(console) == 132


def test_what_is_no_terminal_has_no_width(terminal: IO[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert width_of(make_console(io.StringIO())) is None
    resize(terminal, 0)
    assert width_of(make_console(terminal)) is None
    closed = make_console(terminal)
    terminal.close()
    assert width_of(closed) is None


HEAD = Text("12:00:00  live      ")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("short", ["12:00:00  live      short"]),
        (
            "one two three four five six seven eight nine ten",
            ["12:00:00  live      one two three four five six", "                    seven eight nine ten"],
        ),
        ("a\n  b", ["12:00:00  live      a", "                      b"]),
        ("x" * 50, [f"12:00:00  live      {'x' * 30}", f"                    {'x' * 20}"]),
        ("名" * 20, [f"12:00:00  live      {'名' * 15}", f"                    {'名' * 5}"]),
        ("a\tb", ["12:00:00  live      a       b"]),
        ("", ["12:00:00  live"]),
    ],
)
def test_lines_hang_below_their_text(text: str, lines: list[str]) -> None:
    assert [line.plain for line in hanging(HEAD, Text(text), 50)] == lines


@pytest.mark.parametrize("width", [None, 30])
def test_without_a_width_or_in_too_small_a_one_no_line_is_broken(width: int | None) -> None:
    assert [line.plain for line in hanging(HEAD, Text("word " * 30), width)] == [f"{HEAD.plain}{'word ' * 30}".rstrip()]


def test_an_indented_line_keeps_its_indentation() -> None:
    first, second = hanging(Text("  "), Text(f"    {'word ' * 12}"), 50)
    assert (first.plain[:7], second.plain[:7]) == ("      w", "      w")


def test_what_is_printed_for_an_event_is_within_the_width_whatever_it_is(terminal: IO[str]) -> None:
    changes = tuple(
        ApiChange("altered", "function", "m", name, f"({name}: str) -> float", f"({name}: int) -> float", breaking=True)
        for name in ("f", "long_name" * 5, "x" * 150, "名前" * 30)
    )
    paths = tuple(Path(f"/project/{name}.py") for name in ("a", "b" * 100, "名前" * 20))
    event = ReloadSuccess(4, False, paths, 3, paths, paths, ("w " * 99,), {"stage": 0.2}, changes)
    console = make_console(terminal)
    for columns in (44, 60, 80, 200):
        resize(terminal, columns)
        lines = EventLines(now=lambda: datetime(2026, 1, 2, 12)).lines(event, console)
        assert max(cell_len(line.plain) for line in lines) <= columns
        assert "".join(line.plain.strip() for line in lines).count("w") >= 99
