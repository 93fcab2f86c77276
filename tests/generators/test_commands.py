"""lastgood.generators.commands: placeholders, and how often a command is run."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from lastgood.generators import commands
from lastgood.generators.commands import Run, runs

A, B = Path("/p/protos/a.proto"), Path("/p/protos/b.tar.gz")


def made(*command: str, sources: tuple[Path, ...] = (A, B)) -> list[Run]:
    return list(runs(command, sources, config=Path("/p/lastgood.toml"), stage=Path("/s"), python="/bin/python"))


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("tool",), [Run(("tool",))]),
        (("{python}", "{config}", "--out={stage}/x"), [Run(("/bin/python", "/p/lastgood.toml", "--out=/s/x"))]),
        (("t", "{source}"), [Run(("t", "protos/a.proto"), A), Run(("t", "protos/b.tar.gz"), B)]),
        (("t", "{name}{name}"), [Run(("t", "aa"), A), Run(("t", "b.tarb.tar"), B)]),
        (
            ("t", "{}", "{other}", '{"a": {stage}}', "$HOME; ls"),
            [Run(("t", "{}", "{other}", '{"a": /s}', "$HOME; ls"))],
        ),
        (("t", "{{source}}"), [Run(("t", "{protos/a.proto}"), A), Run(("t", "{protos/b.tar.gz}"), B)]),
    ],
    ids=["none", "once", "for each source", "name", "other braces and the shell mean nothing", "braces in braces"],
)
def test_what_is_run(command: tuple[str, ...], expected: list[Run]) -> None:
    assert made(*command) == expected


def test_a_placeholder_in_a_path_is_not_filled_in_again() -> None:
    odd = Path("/p/{stage}.proto")
    assert made("t", "{source}", sources=(odd,)) == [Run(("t", "{stage}.proto"), odd)]


@pytest.mark.parametrize(
    ("source", "spelt"),
    [("/p", "."), ("/p/src", "src"), ("/elsewhere/a", "/elsewhere/a"), ("/p/-rf", "./-rf"), ("/p2/a", "/p2/a")],
    ids=["the directory itself", "below it", "elsewhere", "no option", "no mere prefix"],
)
def test_how_a_source_is_spelt(source: str, spelt: str) -> None:
    (run,) = made("t", "{source}", sources=(Path(source),))
    assert run.arguments == ("t", spelt)


def test_without_a_source_there_is_nothing_to_run_for_each() -> None:
    assert made("t", "{source}", sources=()) == []
    assert made("t", sources=()) == [Run(("t",))]


def test_the_example_in_its_docstring_runs() -> None:
    assert doctest.testmod(commands).failed == 0
