"""A staged generation, and a place for it that is a process on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from places import Elsewhere
from staged_project import SOURCES, StagedProject


@pytest.fixture
def staged(tmp_path: Path) -> StagedProject:
    made = StagedProject(tmp_path / "project")
    made.write(SOURCES)
    made.stage()
    return made


@pytest.fixture
def elsewhere(tmp_path: Path) -> Elsewhere:
    return Elsewhere(tmp_path / "there")
