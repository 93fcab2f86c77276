"""The command, run in a project."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lastgood.cli.commands import main
from real_project import RealProject

if TYPE_CHECKING:  # not before the environment is that of the tests, which running.py takes over
    from command_line import Run
    from running import Ran, Running


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RealProject:
    """A project that is the working directory."""
    project = RealProject(tmp_path / "project")
    monkeypatch.chdir(project.root)
    return project


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process."""
    from running import Ran

    def run(*args: str) -> Ran:
        with pytest.raises(SystemExit) as caught:
            copy_context().run(main, args, prog_name="lastgood")  # what it sets there ends with it
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert isinstance(caught.value.code, int)
        return Ran(caught.value.code, out, err)

    return run


@pytest.fixture
def watch(project: RealProject) -> Iterator[Callable[..., Running]]:
    """Start the command in a process."""
    from running import Running

    started: list[Running] = []

    def start(*args: str) -> Running:
        started.append(Running(sys.executable, "-m", "lastgood", "watch", *args, cwd=project.root))
        return started[-1]

    yield start
    for each in started:
        each.stop()
