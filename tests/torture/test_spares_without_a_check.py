"""Each check of a spare is taken out once, and random projects and edits show a difference.

What random projects seldom need has tests of its own (``bridges/worker/test_ahead.py``, ``bridges/test_spare_is_exact.py``):
the age of a spare, its timers, a program that raises, exit handlers of one that is not taken, and lookups of local modules that
find another one.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import lastgood.bridges.worker
from lastgood.bridges import spare, start
from spare_pairs import Pair, pairs_of

pytestmark = pytest.mark.torture

WORKER = Path(lastgood.bridges.worker.__file__).parent
PROJECTS, STEPS = 60, 9
# What is checked: the file, its text, and what stands there instead.
CHECKS = {
    "a module that was run is the same": ("ahead.py", "if other.digest(path) != digest:", "if False:"),
    "a module whose source was read is the same": (
        "ahead.py",
        "        if not self._is_busy:\n            self._ran.setdefault(path, digest)",
        "        pass",
    ),
    "a header is the same": ("ahead.py", "if not same_beginning(old, new, path, count):", "if False:"),
    "the rest is the new one": (
        "ahead.py",
        "running.parts = parts if parts.count == count else make_parts(new, path, count)",
        "pass",
    ),
    "files and directories": ("ahead.py", " or self._observed.difference(self._pins.looked_up())", ""),
    "files": ("observed.py", "if state is RACING or state_of(name) != state:", "if False:"),
    "what was asked of files": ("observed.py", "return self.questions.difference()", "return None"),
    "listings": ("observed.py", "if not is_search or not {", "if False and {"),
    "what reaches outside": ("ahead.py", "elif event in _OUTSIDE_EVENTS or", "elif False and"),
    "files that are written": ("ahead.py", "if isinstance(flags, int) and flags & _WRITING:", "if False:"),
    "the sources are those of the new generation": ("pinned.py", "        self.sources.adopt(other.sources)\n", ""),
}


def without(directory: Path, file: str, old: str, new: str) -> Path:
    """Return the main program of a copy of the worker in which this text is replaced."""
    copy = directory / "worker"
    shutil.copytree(WORKER, copy, ignore=shutil.ignore_patterns("__pycache__"))
    text = (copy / file).read_text()
    assert text.count(old) == 1, f"{file} is not as this test knows it"
    (copy / file).write_text(text.replace(old, new))
    return copy / "main.py"


def first_difference(directory: Path) -> tuple[int, Pair | None]:
    """Return the first pair that is different, and how many there were."""
    count = 0
    for seed in range(200_000, 200_000 + PROJECTS):
        for pair in pairs_of(directory / f"{seed}", seed, STEPS):
            count += pair.step >= 0
            if pair.differences:
                return count, pair
        shutil.rmtree(directory / f"{seed}")
    return count, None


@pytest.mark.parametrize("check", CHECKS)
def test_a_check_of_the_worker(check: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "_MAIN", without(tmp_path, *CHECKS[check]))
    count, found = first_difference(tmp_path)
    print(count, found)
    assert found is not None


def test_settings_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spare.RunContext, "difference", lambda _self, _other: None)
    count, found = first_difference(tmp_path)
    print(count, found)
    assert found is not None
