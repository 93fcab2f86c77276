"""A worker that was a spare is as a fresh one: random projects and edits, each pair compared (``spare_pairs.py``)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from spare_pairs import Pair, pairs_of, summary

STEPS = 6  # edits of a project
PARTS = 4


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


def test_two_fresh_workers_are_the_same(tmp_path: Path) -> None:
    pairs = many(tmp_path, 0, 6, spare=False, compares_all=True)
    assert different(pairs) == ""
    assert not any(pair.unstable for pair in pairs)
