"""A real worker, what every test of one leaves behind, and a project of which a generation is staged."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from lastgood.bridges.process import ProcessBridge
from process_bridges import DEADLINE, SERVICE
from staged_project import SOURCES, StagedProject


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


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "src"
    directory.mkdir()
    (directory / "svc.py").write_text(SERVICE)
    return directory


@pytest.fixture
async def bridge(source: Path) -> AsyncIterator[ProcessBridge]:
    bridge = ProcessBridge(import_path=[source], modules=["svc"], timeout=DEADLINE)
    await bridge.init()
    yield bridge
    await bridge.dispose()


@pytest.fixture
def staged(tmp_path: Path) -> StagedProject:
    made = StagedProject(tmp_path)
    made.write(SOURCES)
    made.stage()
    return made
