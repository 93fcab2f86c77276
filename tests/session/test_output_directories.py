"""A config whose output directory changes: the new one is filled before the swap, the former emptied after it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from generating import importable
from lastgood import ReloadError
from lastgood.errors import BridgeError
from lastgood.interpreters.cycle_files import CycleFiles
from lastgood.runtime import clear_runtime_bridge, set_runtime_bridge
from lastgood.session.watch import WatchProgram, watch
from lastgood.store.disk import Disk
from real_project import QUOTE, FakeFactory, RealProject, Told

Start = Callable[..., WatchProgram]


async def test_the_former_directory_loses_what_is_ours_and_keeps_the_rest(
    project: RealProject, told: Told, start: Start
) -> None:
    async with start():
        await told.success()
        (project.output / "notes.txt").write_text("mine\n")
        project.configure("pricing", output="wrappers")
        await told.success()
        assert sorted(path.name for path in (project.root / "wrappers").iterdir()) == ["__init__.py", "pricing.py"]
        assert [path.name for path in project.output.iterdir()] == ["notes.txt"]


async def test_a_module_that_was_imported_from_the_former_directory_is_told(
    project: RealProject, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    with importable(project.root, "generated"):
        async with start() as session:
            wrapper = importlib.import_module("generated.pricing")
            project.configure("pricing", output="wrappers")
            assert await session.reload_now()
            assert await session.reload_now()
            assert vars(wrapper)["quote"]
    (record,) = [each for each in caplog.records if each.levelname == "WARNING"]
    assert record.getMessage() == (
        "generated.pricing was imported from the former output directory and stays as it is: "
        f"import it from {project.root}/wrappers instead."
    )


async def test_a_swap_that_fails_leaves_the_former_directory_alone(
    project: RealProject, factory: FakeFactory, told: Told, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Disk.unlink

    def no_commit(self: Disk, path: Path) -> None:
        if path.name == "journal.json":
            monkeypatch.undo()
            raise OSError(5, "Input/output error", str(path))
        unlink(self, path)

    async with start() as session:
        await told.success()
        before, first = project.exact_tree(), session.bridge
        monkeypatch.setattr(Disk, "unlink", no_commit)
        project.configure("pricing", output="wrappers")
        failure = await told.failure()
        assert isinstance(failure, ReloadError)
        assert failure.effect == "swap"
        assert project.exact_tree() == before
        assert not (project.root / "wrappers").exists()
        assert session.bridge is first
        assert factory.latest.disposed


async def test_what_is_left_in_the_former_directory_is_no_failure(
    project: RealProject, told: Told, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unlink = Disk.unlink
    former = project.output / "pricing.py"

    def busy(self: Disk, path: Path) -> None:
        if path == former:
            raise OSError(16, "Device or resource busy", str(path))
        unlink(self, path)

    async with start() as session:
        await told.success()
        monkeypatch.setattr(Disk, "unlink", busy)
        project.configure("pricing", output="wrappers")
        await told.success()
        assert not session.status.stale
        assert former.exists()
    assert "could not be removed" in caplog.text


async def test_no_time_to_drain_still_lets_a_bridge_dispose(told: Told, start: Start, factory: FakeFactory) -> None:
    async with start(drain_timeout=0) as session:
        await told.success()
        assert await session.reload_now()
        assert factory.bridges[0].disposed
    assert not [event for event in told.events if event.type.startswith("notice")]


async def test_a_publishing_conflict_is_a_start_that_fails(start: Start, told: Told, factory: FakeFactory) -> None:
    set_runtime_bridge(await FakeFactory().create_bridge(None))  # type: ignore[arg-type]  # this factory does not look at it
    try:
        with pytest.raises(BridgeError, match="set_as_global=False"):
            async with start():
                pass
    finally:
        clear_runtime_bridge()
    assert [event.type for event in told.events] == ["reload-start", "reload-error"]
    assert factory.bridges == []


async def move_and_be_killed(project: RealProject, told: Told, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The output directory changes, and after the commit nothing more is done."""
    async with start():
        await told.success()
        (project.output / "notes.txt").write_text("mine\n")
        monkeypatch.setattr(CycleFiles, "settle", lambda _self, _now: None)
        project.configure("pricing", output="wrappers")
        await told.success()
    monkeypatch.undo()
    assert sorted(project.tree()) == ["__init__.py", "notes.txt", "pricing.py"]


async def test_a_former_directory_that_a_kill_left_full_is_emptied_by_the_next_start(
    project: RealProject, told: Told, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    await move_and_be_killed(project, told, start, monkeypatch)
    for _ in range(2):
        async with start():
            assert sorted(project.tree()) == ["notes.txt"]
            assert (project.root / "wrappers" / "pricing.py").exists()
    assert project.leftovers() == []


async def test_a_former_directory_that_another_took_up_since_is_left_alone(
    project: RealProject, told: Told, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    await move_and_be_killed(project, told, start, monkeypatch)
    project.save("another/stock.py", QUOTE)
    project.save("another/lastgood.toml", '[modules.stock]\n[output]\ndir = "../generated"\n')
    async with watch(project.root / "another" / "lastgood.toml", create_bridge=FakeFactory().create_bridge):
        pass
    theirs = project.exact_tree()
    assert "stock.py" in theirs
    async with start():
        assert project.exact_tree() == theirs
