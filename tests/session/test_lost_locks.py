"""A session whose lock on the output directory was removed: at most one session promotes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lastgood import WatchProgram
from lastgood.errors import AlreadyWatched, PromotionError
from lastgood.interpreters.cycle_files import CycleFiles
from lastgood.store.disk import Disk
from lastgood.store.output_directory import OutputDirectory
from real_project import MORE, QUOTE, RealProject, Told


@pytest.fixture
def home(project: RealProject) -> Path:
    return project.root / ".lastgood" / "generated"


@pytest.mark.parametrize("lost", ["lock", "."])
async def test_another_session_takes_it_and_the_first_promotes_no_more(
    lost: str, home: Path, project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    async with start() as session:
        await told.success()
        live, before = session.bridge, project.tree()
        (home / lost).unlink() if lost == "lock" else shutil.rmtree(home.parent)
        other = OutputDirectory.claim(Disk(), project.output, 4711)
        project.save("pricing.py", MORE)
        failure = await told.failure()
        assert isinstance(failure.error, AlreadyWatched)
        assert failure.error.pid == 4711
        assert session.status.stale
        assert (session.bridge, project.tree()) == (live, before)
        assert (home / "pid").read_text() == "4711\n", "it is the other's"
        other.release()
        assert await session.reload_now()
        assert b"def more" in project.tree()["pricing.py"]
        assert not session.status.stale


async def test_one_that_closes_leaves_the_other_session_its_own(
    home: Path, project: RealProject, start: Callable[..., WatchProgram]
) -> None:
    async with start():
        (home / "lock").unlink()
        other = OutputDirectory.claim(Disk(), project.output, 4711)
    assert (home / "pid").read_text() == "4711\n"
    other.release()


async def test_a_lock_that_is_lost_in_mid_cycle_is_an_error_and_the_next_cycle_takes_it_anew(
    home: Path,
    project: RealProject,
    start: Callable[..., WatchProgram],
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep = CycleFiles.keep

    def lose(work: CycleFiles) -> None:
        keep(work)
        (home / "lock").unlink()

    async with start() as session:
        await told.success()
        before = project.tree()
        with monkeypatch.context() as patch:
            patch.setattr(CycleFiles, "keep", lose)
            project.save("pricing.py", MORE)
            failure = await told.failure()
        assert isinstance(failure.error, PromotionError)
        assert "the lock was removed while this cycle ran" in str(failure.error)
        assert project.tree() == before
        project.save("pricing.py", QUOTE.replace("sku", "code"))
        await told.success()
        assert not session.status.stale
