"""The command, run in a project."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from real_project import RealProject

if TYPE_CHECKING:  # not before the environment is that of the tests, which running.py takes over
    from running import Running


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RealProject:
    """A project that is the working directory."""
    project = RealProject(tmp_path / "project")
    monkeypatch.chdir(project.root)
    return project


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
