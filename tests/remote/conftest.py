"""A staged generation, and a place for it that is a process on this machine."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
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


@pytest.fixture
def nothing_is_left() -> Iterator[None]:
    """Every test leaves as many descriptors as it found, no thread of ours, and no process."""
    gc.collect()
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("lastgood")]
    assert len(os.listdir("/proc/self/fd")) <= len(before)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
