"""lastgood.wrappers.process.import_check: wrappers are imported, the new ones and those that need them, and what fails is told."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lastgood.sources.memo import Memo
from lastgood.wrappers.process.import_check import ImportCheck


@dataclass
class File:
    path: str
    text: bytes


@pytest.fixture
def trial() -> Iterator[ImportCheck]:
    trial = ImportCheck()
    yield trial
    trial.problems({}, {}, [], Memo())  # forgets the rest
    sys.modules.pop("_lastgood_staged", None)


def files(**texts: str) -> dict[str, File]:
    return {
        name.replace("__", "."): File(f"{name.replace('__', '/')}.py", text.encode()) for name, text in texts.items()
    }


def tried(trial: ImportCheck, made: dict[str, File], *names: str) -> dict[str, str | None]:
    return trial.problems(made, {}, names, Memo())


def test_wrappers_import_each_other_as_they_will_in_the_output(trial: ImportCheck) -> None:
    made = files(a__b__c="from ..d import X\nassert X == 1", a__d="X = 1", e="from .a.d import X")
    assert tried(trial, made, *made) == {"a.b.c": None, "a.d": None, "e": None}


def test_what_stands_in_the_way_is_told_with_its_place(trial: ImportCheck) -> None:
    problems = tried(trial, files(good="X = 1", bad="X = 1\nraise ValueError('boom')"), "good", "bad")
    assert problems["good"] is None
    assert problems["bad"] is not None
    assert problems["bad"].startswith("its wrapper cannot be imported: ValueError at line 2 of bad.py: boom.")


def test_a_wrapper_that_does_not_compile_is_one_that_cannot_be_imported(trial: ImportCheck) -> None:
    (problem,) = tried(trial, files(bad="def f(:"), "bad").values()
    assert problem is not None
    assert "SyntaxError" in problem


def test_another_text_is_another_module(trial: ImportCheck) -> None:
    assert tried(trial, files(a="X = 1", b="from .a import X"), "a", "b") == {"a": None, "b": None}
    problems = tried(trial, files(a="Y = 1", b="from .a import X"), "a", "b")
    assert problems["a"] is None
    assert problems["b"] is not None


def test_a_module_of_last_time_is_not_found_as_what_its_package_has(trial: ImportCheck) -> None:
    for number in (1, 2):
        made = files(a=f"X = {number}", b=f"from . import a\nassert a.X == {number}")
        assert tried(trial, made, "b", "a") == {"a": None, "b": None}


def test_one_that_is_gone_cannot_be_imported_any_more(trial: ImportCheck) -> None:
    tried(trial, files(a="X = 1", b="from .a import X"), "a", "b")
    (problem,) = tried(trial, files(b="from .a import X"), "b").values()
    assert problem is not None


def test_what_has_passed_is_not_imported_again(trial: ImportCheck) -> None:
    memo, made, needs = Memo(), files(a="X = 1", b="from .a import X"), {"b": ["a"]}
    assert trial.problems(made, needs, ["a", "b"], memo) == {"a": None, "b": None}
    trial.problems({}, {}, [], memo)
    assert ImportCheck().problems(made, needs, ["a", "b"], memo) == {"a": None, "b": None}
    assert "_lastgood_staged.b" not in sys.modules


def test_what_has_passed_is_imported_again_if_what_it_needs_is_another(trial: ImportCheck) -> None:
    memo, needs = Memo(), {"b": ["a"]}
    trial.problems(files(a="X = 1", b="from .a import X"), needs, ["a", "b"], memo)
    problems = trial.problems(files(a="Y = 1", b="from .a import X"), needs, ["a", "b"], memo)
    assert problems["b"] is not None


def test_nothing_stays_in_the_way_of_imports(trial: ImportCheck) -> None:
    before = list(sys.meta_path)
    tried(trial, files(a="raise ValueError"), "a")
    assert sys.meta_path == before
