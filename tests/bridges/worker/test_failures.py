"""Exceptions as texts."""

from __future__ import annotations

import pytest

from lastgood.bridges.worker.failures import describe
from lastgood.bridges.worker.performing import VALUES

DUMPS = VALUES.dumps


class Custom(Exception):
    pass


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class Leaving(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


def raised(error: BaseException) -> BaseException:
    try:
        try:
            raise LookupError("first")
        except LookupError as first:
            raise error from first
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "name", "message"),
    [
        (ValueError("bad"), "ValueError", "bad"),
        (KeyError("k"), "KeyError", "'k'"),
        (Custom(), f"{__name__}.Custom", ""),
        (SystemExit(2), "SystemExit", "2"),
        (Mute(), f"{__name__}.Mute", "<its text could not be made: RuntimeError>"),
        (Leaving(), f"{__name__}.Leaving", "<its text could not be made: SystemExit>"),
    ],
    ids=["builtin", "key", "own", "exit", "mute", "leaving"],
)
def test_names_and_messages(error: BaseException, name: str, message: str) -> None:
    assert describe(raised(error), DUMPS)[:2] == [name, message]


def test_the_traceback_has_the_cause_and_the_lines() -> None:
    text = describe(raised(ValueError("bad")), DUMPS)[2]
    assert "LookupError: first" in text
    assert "direct cause" in text
    assert "raise error from first" in text
    assert text.rstrip().endswith("ValueError: bad")


def test_groups_are_told_whole() -> None:
    text = describe(ExceptionGroup("several", [ValueError("one"), Custom("two")]), DUMPS)[2]
    assert "ValueError: one" in text
    assert "Custom: two" in text


def test_giant_texts_are_cut_in_the_middle() -> None:
    message = describe(ValueError("a" * 500_000 + "end"), DUMPS)[1]
    assert len(message) < 101_000
    assert message.endswith("end")
    assert "characters left out" in message
