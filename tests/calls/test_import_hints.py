"""A program whose ``sys.path`` does not lead to its wrappers is told what to do, and else nothing changes for it."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lastgood.calls.import_hints import expect_imports
from real_project import RealProject
from running import Ran, run

HERE = object()

APP = """
import importlib.util
import lastgood

with lastgood.{start}():
    assert importlib.util.find_spec("generated") is None
    from generated import pricing
"""


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Path]:
    expect_imports(HERE, [str(tmp_path / "made")])
    yield tmp_path / "made"
    expect_imports(HERE, ())


def hints(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert {(record.name, record.levelno) for record in caplog.records} <= {("lastgood.session", logging.WARNING)}
    return [record.getMessage() for record in caplog.records]


def test_it_is_given_once_and_the_import_fails_as_ever(output: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert importlib.util.find_spec("made") is None
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match=r"^No module named 'made'$"):
            importlib.import_module("made.pricing")
    around = output.parent
    said = (
        f"'made' cannot be imported: the wrappers are in {output}, but {around} is not on sys.path, which begins with "
    )
    assert hints(caplog) == [f"{said}{sys.path[0]!r}. Set PYTHONPATH={around}."]


def test_other_imports_have_none(
    output: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert importlib.util.find_spec("made_up") is None
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("lastgood.made")
    monkeypatch.setattr(sys, "path", [*sys.path, str(output.parent)])
    assert importlib.util.find_spec("made") is None, "there are no wrappers yet"
    assert hints(caplog) == []


def test_inside_a_package_it_is_about_the_topmost_one(output: Path, caplog: pytest.LogCaptureFixture) -> None:
    (output.parent / "__init__.py").touch()
    assert importlib.util.find_spec(output.parent.name) is None
    assert f"Set PYTHONPATH={output.parent.parent}." in hints(caplog)[0]


def test_nothing_is_left_of_it(output: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = len(sys.meta_path)
    expect_imports(other := object(), [str(output)])
    expect_imports(HERE, ())
    assert len(sys.meta_path) == before
    expect_imports(other, ())
    expect_imports(other, ())
    assert len(sys.meta_path) == before - 1
    assert importlib.util.find_spec("made") is None
    assert hints(caplog) == []


@pytest.mark.parametrize(("start", "first"), [("watch", "sub"), ("direct", "src")])
def test_a_program_in_a_directory_of_its_own_is_told_how_to_run_it(tmp_path: Path, start: str, first: str) -> None:
    project = RealProject(
        tmp_path, {"sub/app.py": APP.format(start=start), "sub/__init__.py": "", "src/pricing.py": ""}
    )
    project.configure("pricing", head='python_import_path = ["src"]')
    assert run([sys.executable, "-m", "lastgood", "generate"], project.root).status == 0

    def app(*arguments: str) -> Ran:
        return run([sys.executable, *arguments], project.root)

    ran = app("sub/app.py")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith(
        f"'generated' cannot be imported: the wrappers are in {project.output}, but {project.root} is not on sys.path, "
        f"which begins with '{project.root}/{first}'. "
        f"Run `python -m sub.app` in {project.root}, or set PYTHONPATH={project.root}.\n"
    )
    assert ran.err.endswith("ModuleNotFoundError: No module named 'generated'\n")
    project.save("sub/app.py", APP.format(start=start).replace("is None", "is not None"))
    assert app("-m", "sub.app") == Ran(0, "", "")
