"""lastgood.interpreters.project: the manifests of a generation that grows, on files in memory."""

from pathlib import Path

import pytest

from lastgood.config import decode_config
from lastgood.interpreters.cycle_files import CycleFiles
from lastgood.interpreters.project import Project
from lastgood.interpreters.staging import StageResult, advance, stage
from lastgood.sources.finder import Interpreter
from lastgood.store.generations import LateModule
from lastgood.store.memory_files import MemoryFiles

CONFIG = '[modules.pricing]\n[output]\ndir = "generated"\n'


@pytest.fixture
def files() -> MemoryFiles:
    files = MemoryFiles()
    files.put(Path("/p/pricing.py"), b"def quote() -> float: ...\n")
    files.put(Path("/p/lastgood.toml"), CONFIG.encode())
    return files


@pytest.fixture
def project(files: MemoryFiles) -> Project:
    return Project(
        files,
        Path("/p/lastgood.toml"),
        (),
        lambda path, read: decode_config(read(path), path),
        lambda _: Interpreter(),
        1,
    )


def live(project: Project, cycle: int) -> Path:
    """Run ``cycle`` up to its commit; return the manifest of its generation."""
    work = CycleFiles(project, cycle)
    assert isinstance(advance(stage(work, None, watches=False), None), StageResult)
    work.promote()
    work.commit()
    work.settle(0.0)
    assert work.manifest is not None
    return work.manifest


def load_late(project: Project, cycle: int, name: str) -> Path:
    manifest = project.store_late(cycle, [LateModule(name, Path(f"/p/{name}.py"), b"x = 1\n")])
    assert manifest is not None
    project.use_late(cycle, manifest)
    return manifest


def test_of_a_generation_that_grows_the_manifests_are_kept_that_a_worker_was_started_with(
    project: Project, files: MemoryFiles
) -> None:
    first = live(project, 1)
    second = load_late(project, 1, "red")
    third = load_late(project, 1, "green")
    assert project.manifests.give(1) == third, "to a worker that is restarted"
    fourth = load_late(project, 1, "blue")
    assert [files.is_file(each) for each in (first, second, third, fourth)] == [True, False, True, True]
    assert project.live_manifest == fourth


def test_what_a_replaced_bridge_loads_late_belongs_to_its_own_generation(project: Project, files: MemoryFiles) -> None:
    live(project, 1)
    files.put(Path("/p/pricing.py"), b"def quote() -> int: ...\n")
    second = live(project, 2)
    assert load_late(project, 1, "red") != second
    assert project.live_manifest == second


def test_what_a_replaced_bridge_loads_late_is_not_added_to_an_equal_generation(project: Project) -> None:
    assert live(project, 1) == live(project, 2)
    assert project.store_late(1, [LateModule("red", Path("/p/red.py"), b"x = 1\n")]) is None
