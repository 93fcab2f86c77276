"""lastgood.interpreters.kept_wrappers: a start at which nothing is new takes over what the last good generation has."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from lastgood.config import load_config
from lastgood.interpreters import kept_wrappers
from lastgood.interpreters.once import Once, generate_once, preview
from lastgood.interpreters.project import Project
from lastgood.session.watch import WatchProgram
from lastgood.sources.resolution import worker_interpreter
from lastgood.store.disk import Disk
from lastgood.wrappers.process.extractor_process import ExtractorProcess
from real_project import BROKEN, DEADLINE, QUOTE, RealProject, Told

pytestmark = pytest.mark.apart

STUB = "def quote(sku: int) -> float: ...\n"
SOURCE = "from prices import PRICES\n\n\ndef quote(sku):\n    return PRICES[sku]\n"


@pytest.fixture
def project(tmp_path: Path) -> RealProject:
    project = RealProject(
        tmp_path / "project", {"pricing.py": SOURCE, "pricing.pyi": STUB, "prices.py": "PRICES = {}\n"}
    )
    made(project)
    return project


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes each start of an extractor process."""
    noted: list[str] = []
    start = ExtractorProcess.start

    def noting(extractor: ExtractorProcess) -> None:
        noted.append("started")
        start(extractor)

    monkeypatch.setattr(ExtractorProcess, "start", noting)
    return noted


def project_of(project: RealProject) -> Project:
    extractor = ExtractorProcess()
    return Project(Disk(), project.config_file, (), load_config, worker_interpreter, os.getpid(), extractor)


def made(project: RealProject) -> Once:
    return generate_once(project_of(project))


def test_nothing_is_read_where_nothing_is_new(project: RealProject, starts: list[str]) -> None:
    before = project.tree()
    again = made(project)
    checked = preview(project_of(project))
    assert (again.operations, checked.operations, starts) == ((), (), [])
    assert project.tree() == before


def test_warnings_are_given_again(project: RealProject, starts: list[str]) -> None:
    project.save("pricing.py", "def quote(sku: Unknown) -> int: ...\n")
    (project.root / "pricing.pyi").unlink()
    first = made(project)
    assert first.warnings
    assert (made(project).warnings, len(starts)) == (first.warnings, 1)


def edited(path: str, text: str) -> Callable[[RealProject, pytest.MonkeyPatch], object]:
    return lambda project, _: project.save(path, text)


def configured(project: RealProject, _: pytest.MonkeyPatch) -> None:
    project.save("lastgood.toml", f"{project.config_file.read_text()}style = 'sync'\n")


def by_another_version(_: RealProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_wrappers, "version_digest", lambda: "another")


def with_a_damaged_object(project: RealProject, _: pytest.MonkeyPatch) -> None:
    (wrapper,) = (
        path
        for path in project.root.glob(".lastgood/*/generations/objects/*")
        if path.read_bytes() == (project.output / "pricing.py").read_bytes()
    )
    wrapper.write_bytes(wrapper.read_bytes() + b"import antigravity\n")


def without_the_user_s_key(_: RealProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", os.environ["XDG_STATE_HOME"] + "-other")


@pytest.mark.parametrize(
    "change",
    [
        edited("pricing.py", f"{SOURCE}\n\ndef more() -> None: ...\n"),
        edited("pricing.pyi", f"{STUB}def more() -> None: ...\n"),
        edited("prices.py", "PRICES = {1: 1.0}\n"),
        edited("pricing/__init__.py", QUOTE),
        configured,
        by_another_version,
        with_a_damaged_object,
        without_the_user_s_key,
    ],
    ids=["source", "stub", "helper", "another module", "config", "version", "damaged", "another user"],
)
def test_what_is_new_is_read(
    change: Callable[[RealProject, pytest.MonkeyPatch], object],
    project: RealProject,
    starts: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change(project, monkeypatch)
    made(project)
    assert starts == ["started"]
    after = project.tree()
    (project.root / ".lastgood").rename(project.root / "elsewhere")
    made(project)
    assert project.tree() == after, "what is made without any generation is the same"


def test_a_broken_source_is_read_each_time(project: RealProject) -> None:
    project.save("pricing.py", BROKEN)
    for _ in range(2):
        with pytest.raises(Exception, match="Generation failed for 1 module"):
            made(project)


async def test_a_session_reads_in_the_background_what_it_did_not_need(
    project: RealProject, start: Callable[..., WatchProgram], told: Told, starts: list[str]
) -> None:
    with trio.fail_after(DEADLINE):
        async with start() as session:
            await told.success()
            await trio.testing.wait_all_tasks_blocked()
            assert session._project.extractor.has_started
            project.save("pricing.pyi", STUB.replace("int", "str"))
            (change,) = (await told.success()).changes
            assert "str" in str(change)
    assert starts == ["started"]
