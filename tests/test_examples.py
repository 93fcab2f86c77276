"""The programs in examples/ that need nothing but lastgood run, and live through a good, a broken and a mended edit."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from real_project import DEADLINE, RealProject
from running import Running, run
from shipped import EXAMPLES, copy_of


@dataclass(frozen=True)
class Story:
    """An edit of ``source`` replaces ``old`` by ``new``. Lines of the program: before it, after it, and after a broken one."""

    command: str
    source: str
    old: str
    new: str
    before: str
    after: str
    broken: str
    mended: str


STORIES = {
    "game": Story("game.py", "rules.py", 'shape: str = "o"', 'shape: str = "O"', "o", "O", "| STALE", "o"),
    "slow_model": Story("app.py", "predict.py", "= 10", "= 20", "10.0", "20.0", "not reloaded: ", "generation 3 "),
    "other_environment": Story(
        "app.py",
        "report.py",
        "(count)",
        "(count, binary=True)",
        before="3.0 MB (live, from {root}/.venv)",
        after="2.9 MiB (live, ",
        broken="2.9 MiB (STALE, ",
        mended="3.0 MB (live, ",
    ),
    "own_bridge": Story(
        "app.py",
        "pricing.py",
        "0.40",
        "0.50",
        before="1 (live): 1.2, {'pricing.quote': 1}",
        after="2 (live): 1.5, ",
        broken="2 (STALE): 1.5, ",
        mended="3 (live): 1.2, ",
    ),
}


def started(project: RealProject, processes: list[Running], *command: str) -> Running:
    """Start a program of an example; its model loads in an instant."""
    app = Running("env", "LOADING_TAKES=0", sys.executable, *command, cwd=project.root, deadline=2 * DEADLINE)
    processes.append(app)
    return app


def add_environment(project: RealProject) -> Path:
    """Make the virtual environment that an example needs, with the package that it needs."""
    environment = project.root / ".venv"
    assert run([sys.executable, "-m", "venv", "--without-pip", environment], project.root).status == 0
    (packages,) = environment.glob("lib/python*/site-packages")
    spec = importlib.util.find_spec("humanize")
    assert spec is not None
    assert spec.origin is not None
    shutil.copytree(Path(spec.origin).parent, packages / "humanize")
    return environment


@pytest.mark.parametrize("example", STORIES)
def test_a_program_lives_through_edits(example: str, tmp_path: Path, processes: list[Running]) -> None:
    story, project = STORIES[example], copy_of(example, tmp_path)
    source = (project.root / story.source).read_text()
    assert story.old in source
    if example == "other_environment":
        add_environment(project)
    app = started(project, processes, story.command)
    app.line(story.before.replace("{root}", str(project.root)))
    project.save(story.source, source.replace(story.old, story.new))
    app.line(story.after)
    project.save(story.source, source.replace("def ", "def", 1))
    app.line(story.broken)
    app.line(story.after.replace("live", "STALE"))
    project.save(story.source, source)
    app.line(story.mended)
    assert "Traceback" not in app.interrupt().err


@pytest.mark.torture
def test_the_model_is_loaded_ahead_of_the_next_edit(tmp_path: Path, processes: list[Running]) -> None:
    project = copy_of("slow_model", tmp_path)
    source = (project.root / "predict.py").read_text()
    app = started(project, processes, "app.py")
    assert app.line("generation 1 ").startswith("generation 1 (fresh)")
    for edits in range(1, 100):  # the first ones may come before the model is loaded
        project.save("predict.py", source.replace("SCALE = 10", f"SCALE = {10 + edits}"))
        if "(spare)" in app.line(f"generation {edits + 1} "):
            break
    assert app.line(".0") == f"{10 + edits}.0"


@pytest.mark.torture
def test_of_a_model_that_fills_a_gpu_there_is_one_at_a_time(tmp_path: Path, processes: list[Running]) -> None:
    project = copy_of("slow_model", tmp_path)
    app = started(project, processes, "app.py", "one_at_a_time.toml")
    app.line("10.0")
    project.save("predict.py", (project.root / "predict.py").read_text().replace("SCALE = 10", "SCALE = 20"))
    assert app.line("generation 2 ").startswith("generation 2 (fresh)")
    app.line("20.0")


def test_the_unit_tests_pass(tmp_path: Path) -> None:
    project = copy_of("unit_tests", tmp_path)
    assert run([sys.executable, "-m", "lastgood", "generate"], project.root).status == 0
    alone = ["env", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1"]
    command = [*alone, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    ran = run(command, project.root, 2 * DEADLINE)
    assert (ran.status, ran.err) == (0, "")
    assert "5 passed" in ran.out


def test_the_list_of_examples_names_each_of_them() -> None:
    listed = re.findall(r"^\| \[`(\w+)`\]\(\1\) \|", (EXAMPLES / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(each.name for each in EXAMPLES.iterdir() if each.is_dir())
