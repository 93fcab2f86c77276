"""``lastgood demo``: it passes, and it can fail."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest

from lastgood.cli.demo import run, story
from lastgood.config import load_config
from lastgood.interpreters.cycle_files import CycleFiles
from lastgood.session.console import make_console
from lastgood.session.session import Session, Status
from lastgood.sources.finder import Finder, Interpreter
from lastgood.sources.resolution import resolve_modules
from lastgood.store.disk import Disk


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_it_passes_and_leaves_nothing(temporary: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, modules = list(sys.path), set(sys.modules)
    assert run() == 0
    out, err = capfd.readouterr()
    steps = re.findall(r"^(\d)\. ", out, re.MULTILINE)
    assert steps == ["1", "2", "3", "4", "5", "6"]
    assert out.count("STALE") == 2
    assert "FAILED" not in out
    assert err == ""
    assert list(temporary.iterdir()) == []
    assert sys.path == path
    assert not [name for name in set(sys.modules) - modules if name.startswith("greenhouse")]


def never_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CycleFiles, "restore", lambda _self: None)


def never_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    status = property(lambda self: Status(self.generation, False, None, self._driver.state.stale.error))
    monkeypatch.setattr(Session, "status", status)


def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "DEADLINE", 0.0)


def no_output(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: CycleFiles) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(CycleFiles, "promote", fail)


@pytest.mark.parametrize(
    ("sabotage", "told"),
    [
        (
            never_restored,
            ["FAILED   wrappers whose bytes changed", "expected: none", "came:     ['greenhouse/climate.py']"],
        ),
        (never_stale, ["FAILED   stale", "expected: yes", "came:     no"]),
        (no_time, ["expected: an end within 0 s", "came:     none"]),
        (no_output, ["FAILED   Start:", "expected: none", "came:     OSError: no space left"]),
    ],
    ids=["files not restored", "status wrong", "too slow", "start fails"],
)
def test_it_fails_and_says_what_was_expected_and_what_came(
    sabotage: Callable[[pytest.MonkeyPatch], None],
    told: list[str],
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    sabotage(monkeypatch)
    assert run() == 1
    out = capfd.readouterr().out
    for text in told:
        assert text in out
    assert "checks hold" not in out
    assert list(temporary.iterdir()) == []


def test_a_quiet_one_that_fails_says_so(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    no_time(monkeypatch)
    console = make_console()
    console.quiet = True
    assert run(console) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert "FAILED" in err
    assert "expected: an end within 0 s" in err


def test_its_project_is_shipped_and_complete(tmp_path: Path) -> None:
    shipped = resources.files("lastgood.cli.demo") / "project"
    assert (shipped / "lastgood.toml").is_file()
    story.copy_project(tmp_path)
    config = load_config(tmp_path / "lastgood.toml")
    finder = Finder(Disk(), config.python_import_path, Interpreter())
    assert list(resolve_modules(config, finder)) == ["greenhouse.climate", "greenhouse.watering"]
    assert not list(tmp_path.rglob("__pycache__"))
