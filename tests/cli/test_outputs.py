"""What the commands print for programs, for workflows and for nobody, and several configs in one command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command_line import Run, two_generations
from real_project import BROKEN, QUOTE, RealProject
from running import Ran, Running


@pytest.fixture
def second(project: RealProject) -> Path:
    """Another project beside the first."""
    return RealProject(project.root / "second").config_file


def lines_of(text: str) -> list[str]:
    return text.splitlines()


# --- several configs


def test_several_configs_are_done_one_after_another(run: Run, project: RealProject, second: Path) -> None:
    ran = run("generate", "lastgood.toml", str(second))
    assert (ran.status, ran.err) == (0, "")
    assert [line for line in lines_of(ran.out) if line.endswith(":")] == ["lastgood.toml:", "second/lastgood.toml:"]
    assert (project.output / "pricing.py").exists()
    assert (second.parent / "generated/pricing.py").exists()


def test_one_that_fails_does_not_stop_the_next(run: Run, project: RealProject, second: Path) -> None:
    project.save("pricing.py", BROKEN)
    ran = run("generate", "lastgood.toml", str(second))
    assert ran.status == 1
    assert "Generation failed for 1 module(s)" in ran.err
    assert (second.parent / "generated/pricing.py").exists()


def test_the_worst_status_counts(run: Run, project: RealProject, second: Path) -> None:
    run("generate")
    assert run("generate", "--check", "lastgood.toml", str(second)).status == 3
    project.save("pricing.py", BROKEN)
    assert run("generate", "--check", "lastgood.toml", str(second)).status == 1


def test_a_config_is_named_by_an_option_too(run: Run, project: RealProject, second: Path) -> None:
    assert run("generate", "--config", str(second)).status == 0
    assert not project.output.exists()
    assert "generated" in run("plan", "--config", str(second)).out
    twice = run("plan", "--config", str(second), "lastgood.toml")
    assert (twice.status, "CONFIG was given twice" in twice.err) == (2, True)


# --- for programs


def told(run: Run, *args: str, status: int = 0) -> Any:
    ran = run(*args)
    assert (ran.status, ran.err) == (status, "")
    return json.loads(ran.out)


def test_generate_as_json(run: Run, project: RealProject) -> None:
    (made,) = told(run, "generate", "--format", "json")
    assert made == {
        "config": str(project.config_file),
        "output": str(project.output),
        "written": ["__init__.py", "pricing.py"],
        "removed": [],
        "unchanged": [],
        "recovered": [],
        "warnings": [],
    }
    project.save("pricing.py", BROKEN)
    (failed,) = told(run, "generate", "--json", status=1)
    assert failed["error"]["type"] == "GenerationError"
    (problem,) = failed["error"]["problems"]
    assert (problem["file"], problem["line"]) == (str(project.root / "pricing.py"), 1)


def test_check_as_json(run: Run, project: RealProject) -> None:
    (checked,) = told(run, "generate", "--check", "--json", status=3)
    assert (checked["up_to_date"], checked["written"]) == (False, ["__init__.py", "pricing.py"])
    assert "+async def quote(sku: str) -> float: ..." in checked["diff"]
    run("generate")
    (checked,) = told(run, "generate", "--check", "--json")
    assert (checked["up_to_date"], checked["diff"]) == (True, "")
    (project.root / "lastgood.toml").write_text("[modules")
    (checked,) = told(run, "generate", "--check", "--json", status=1)
    assert (checked["up_to_date"], checked["error"]["problems"][0]["line"]) == (False, 1)


def test_the_other_commands_as_json(run: Run, project: RealProject, tmp_path: Path) -> None:
    planned = told(run, "plan", "--json")
    assert planned["operations"][-1] == f"write    {project.output / 'pricing.py'}"
    assert planned["actions"] == ["stage", "promote", "warm", "swap", "watch"]
    assert told(run, "history", "--json") == []
    two_generations(project)
    newest, oldest = told(run, "history", "--json")
    assert (newest["last"], newest["changed"], oldest["last"]) == (True, [str(project.root / "pricing.py")], False)
    assert told(run, "undo", "--json") == {"session": None, "written": ["pricing.py"], "removed": []}
    begun = told(run, "init", "--json", str(tmp_path / "new"))
    assert str(tmp_path / "new" / "lastgood.toml") in begun["written"]


# --- for workflows of GitHub


def test_failures_are_annotations_at_their_lines(run: Run, project: RealProject) -> None:
    project.save("pricing.py", "x = 1\ndef quote(:\n")
    ran = run("generate", "--format", "github")
    assert (ran.status, ran.err) == (1, "")
    (line,) = lines_of(ran.out)
    assert line.startswith("::error file=pricing.py,line=2,title=lastgood::pricing: invalid syntax")


def test_warnings_and_what_is_out_of_date_are_annotations(run: Run, project: RealProject) -> None:
    project.save("pricing.py", "def quote(sku: Unknown) -> int: ...\n")
    ran = run("generate", "--check", "--format", "github")
    assert ran.status == 3
    assert "::error file=generated/pricing.py,title=lastgood::is out of date: run" in ran.out
    (warning,) = [line for line in lines_of(ran.out) if line.startswith("::warning ")]
    assert warning.startswith("::warning file=pricing.py,title=lastgood::pricing.quote: the annotation")


def test_a_mistake_in_the_config_is_one(run: Run, project: RealProject) -> None:
    project.config_file.write_text("[modules\n")
    (line,) = lines_of(run("generate", "--format", "github").out)
    assert line.startswith("::error file=lastgood.toml,line=1,title=lastgood::")


def test_an_annotation_is_one_line_whatever_is_in_it(run: Run, project: RealProject) -> None:
    project.configure("a%b,c")
    (line,) = lines_of(run("generate", "--format", "github").out)
    assert "a%25b,c" in line


# --- for nobody


def test_quiet_commands_print_errors_alone(run: Run, project: RealProject) -> None:
    project.save("pricing.py", "def quote(sku: Unknown) -> int: ...\n")
    for args in (["generate"], ["plan"], ["history"], ["generate", "--check"]):
        assert run(*args, "--quiet") == Ran(0, "", ""), args
    warned = run("generate", "--quiet", "--fail-on-warn")
    assert (warned.status, warned.out, "Warning: " in warned.err) == (2, "", True)
    project.save("pricing.py", QUOTE)
    assert run("generate", "--check", "--quiet") == Ran(3, "", "1 file is out of date: run lastgood generate.\n")
    project.save("pricing.py", BROKEN)
    failed = run("generate", "--quiet")
    assert (failed.status, failed.out, failed.err.startswith("Error: ")) == (1, "", True)


def test_a_quiet_watch_prints_what_goes_wrong(project: RealProject, watch: Callable[..., Running]) -> None:
    project.save("pricing.py", BROKEN)
    running = watch("--quiet", "--wait")
    assert "nothing is live yet, it waits for an edit" in running.out.readline()


def test_sigterm_ends_a_watch_with_143(project: RealProject, watch: Callable[..., Running]) -> None:
    running = watch()
    running.line("generation 1")
    assert running.terminate().status == 143
    assert not list(project.root.glob(".lastgood/*/journal*"))
