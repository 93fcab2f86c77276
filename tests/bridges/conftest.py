"""A real worker, what every test of one leaves behind, and a project of which a generation is staged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lastgood.bridges.process import ProcessBridge
from process_bridges import DEADLINE, SERVICE
from staged_project import SOURCES, StagedProject


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
