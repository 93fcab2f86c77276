"""A notebook: from an empty directory to the first call, then an edit, a broken one, and the one that mends it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from diary import Diary
from marked_processes import all_ended, running_with
from notebook_kernel import kernel
from real_project import RealProject
from running import run

pytestmark = pytest.mark.torture


def test_a_day_in_a_notebook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    diary = Diary("A notebook, from an empty directory", capsys)
    with diary.step("lastgood init"):
        assert run([sys.executable, "-m", "lastgood", "init"], tmp_path).status == 0
    text = (tmp_path / "greetings.py").read_text()
    project = RealProject(tmp_path, {"lastgood.toml": (tmp_path / "lastgood.toml").read_text(), "greetings.py": text})
    with kernel(tmp_path) as book:
        with diary.step("%load_ext lastgood, %lastgood"):
            book.good("%load_ext lastgood")
            assert "generation 1 is live" in book.good("%lastgood").out
        with diary.step("the first call"):
            book.good("from generated.greetings import greet")
            assert book.value("await greet('Ada')") == "'Hello, Ada.'"
        diary.first_success()
        with diary.step("an edit is live in the next cell, under the name that was imported before it"):
            edited = text.replace("Hello", "Good morning")
            project.save("greetings.py", edited)
            assert book.value("await greet('Ada', loudly=True)") == "'GOOD MORNING, ADA.'"
        with diary.step("one more, with another parameter"):
            edited = edited.replace("*, loudly", "title: str = 'Ms.', *, loudly").replace("{name}.", "{title} {name}.")
            project.save("greetings.py", edited)
            assert book.value("await greet('Ada')") == "'Good morning, Ms. Ada.'"
        with diary.step("a broken edit: each cell says STALE, and runs the last good generation"):
            project.save("greetings.py", edited.replace("def greet(", "def greet("[:-1]))
            for _ in range(2):
                cell = book.good("await greet('Ada')")
                assert cell.err.startswith("STALE: generation 3 is live: greetings.py:4: greetings: ")
                assert cell.result == "'Good morning, Ms. Ada.'"
        with diary.step("the edit that mends it, and raises"):
            project.save(
                "greetings.py",
                edited.replace("    text =", "    if not name:\n        raise ValueError('who?')\n    text ="),
            )
            cell = book.run("await greet('')")
            assert (cell.raised, cell.err) == ("ValueError", "")
            assert "raise ValueError('who?')" in cell.traceback
            assert "lastgood/" not in cell.traceback
            assert book.value("await greet('Ada')") == "'Good morning, Ms. Ada.'"
        with diary.step("a restart of the kernel, and the same cells again"):
            book.restart()
            before = project.exact_tree()
            book.good("%load_ext lastgood\n%lastgood\nfrom generated.greetings import greet")
            assert book.value("await greet('Ada')") == "'Good morning, Ms. Ada.'"
            assert project.exact_tree() == before
        with diary.step("the end leaves no process"):
            book.shut_down(now=False)
            assert all_ended(tmp_path), running_with(tmp_path)
