"""A worker that was a spare is as a fresh one: random projects and edits, each pair compared (``spare_pairs.py``)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from process_bridges import interpreter
from random_projects import HOOK, Project, Source
from spare_pairs import History, Pair, pairs_of, summary

STEPS = 9  # edits of a project
ORDINARY, MANY = 25, 250  # pairs of a part
LEAST_WARM, LEAST_WARM_OF_MANY = 0.3, 0.4
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15")


def many(directory: Path, first: int, number: int, **options: Any) -> list[Pair]:
    """Return so many pairs, of as many projects as that takes, and say how many were warm."""
    pairs: list[Pair] = []
    seed = first
    while len(pairs) < number:
        found = pairs_of(directory / f"{seed}", seed, min(STEPS, number - len(pairs)), **options)
        pairs += [pair for pair in found if pair.step >= 0]
        if not any(pair.differences for pair in found):
            shutil.rmtree(directory / f"{seed}")
        seed += 1
    print(summary(pairs))
    return pairs


def different(pairs: list[Pair]) -> str:
    return "\n".join(str(pair) for pair in pairs if pair.differences)


def check(pairs: list[Pair], least: float) -> None:
    assert different(pairs) == ""
    warm = sum(pair.warm == "spare" for pair in pairs)
    assert warm >= least * len(pairs), summary(pairs)


def test_two_fresh_workers_are_the_same(tmp_path: Path) -> None:
    pairs = many(tmp_path, 0, 6, spare=False, compares_all=True)
    assert different(pairs) == ""
    assert not any(pair.unstable for pair in pairs)


@pytest.mark.parametrize("part", range(4))
def test_a_worker_that_was_a_spare_is_as_a_fresh_one(part: int, tmp_path: Path) -> None:
    check(many(tmp_path, 1000 * part, ORDINARY), LEAST_WARM)


def test_a_late_module_that_is_edited(tmp_path: Path) -> None:
    def history() -> History:
        for number in range(4):
            project = Project("", [Source("hook", blocks=[HOOK])])
            late = f"import json\nX = {number}\n".encode()
            main = b"import importlib\nX = importlib.import_module('late').X\n"
            project.others = {"src/main.py": main, "src/late.py": late}
            yield f"edit {number}", project

    pairs = pairs_of(tmp_path / "project", 0, 0, history())
    assert different(pairs) == ""
    assert [pair.warm for pair in pairs] == ["fresh", "spare", "spare"]


@pytest.mark.torture
@pytest.mark.parametrize("part", range(8))
@pytest.mark.parametrize("version", VERSIONS)
def test_in_every_python(version: str, part: int, tmp_path: Path) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version}")
    check(many(tmp_path, 10_000 * (part + 1), MANY, python=str(python)), LEAST_WARM_OF_MANY)


@pytest.mark.torture
def test_when_edits_do_not_wait_for_the_spare(tmp_path: Path) -> None:
    assert different(many(tmp_path, 100_000, MANY, is_hasty=True)) == ""
