"""One generation without a session: ``lastgood generate`` and ``lastgood plan``, below the command line."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from lastgood.config import load_config
from lastgood.effects import MakeDirectory, RemoveFile, ReplaceFile, SetAside, WriteFile
from lastgood.errors import AlreadyWatched, ConfigError, GenerationError, PromotionError, UnmanagedFile
from lastgood.interpreters.once import Once, generate_once, preview, undo_once
from lastgood.interpreters.project import Project
from lastgood.session.watch import watch
from lastgood.sources.resolution import worker_interpreter
from lastgood.store.disk import Disk
from lastgood.store.output_directory import OutputDirectory
from real_project import BROKEN, QUOTE, FakeFactory, RealProject


@pytest.fixture
def project(tmp_path: Path) -> RealProject:
    return RealProject(tmp_path / "project")


def project_of(project: RealProject, disk: Disk | None = None) -> Project:
    return Project(disk or Disk(), project.config_file, (), load_config, worker_interpreter, os.getpid())


def generate(project: RealProject, disk: Disk | None = None) -> Once:
    return generate_once(project_of(project, disk))


def everything(project: RealProject) -> dict[str, tuple[int, int, bytes]]:
    """Every file and directory of the project: mode, modification time, bytes."""
    paths = sorted(project.root.rglob("*"))
    stats = {path: path.lstat() for path in paths}
    return {str(p): (s.st_mode, s.st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p, s in stats.items()}


class FailingDisk(Disk):
    """A disk whose ``at``-th change fails; ``changes`` counts them."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.changes = 0

    def _change(self) -> None:
        self.changes += 1
        if self.changes == self.at:
            raise OSError("injected")

    def write(self, path: Path, data: bytes) -> None:
        self._change()
        super().write(path, data)

    def replace(self, source: Path, target: Path) -> None:
        self._change()
        super().replace(source, target)

    def link(self, source: Path, target: Path) -> None:
        self._change()
        super().link(source, target)

    def unlink(self, path: Path) -> None:
        self._change()
        super().unlink(path)

    def mkdir(self, path: Path) -> None:
        self._change()
        super().mkdir(path)

    def barrier(self, paths: Sequence[Path]) -> None:  # noqa: ARG002  # no power is lost here
        self._change()


# --- generate -----------------------------------------------------------------------------------------------


def test_a_first_generation_writes_every_wrapper(project: RealProject) -> None:
    done = generate(project)
    assert done.output == project.output
    assert (done.written, done.removed, done.unchanged) == (("__init__.py", "pricing.py"), (), ())
    assert b"async def quote" in project.tree()["pricing.py"]
    assert project.leftovers() == []


def test_what_is_right_already_is_not_touched(project: RealProject) -> None:
    generate(project)
    before = project.exact_tree()
    done = generate(project)
    assert (done.written, done.removed, done.unchanged) == ((), (), ("__init__.py", "pricing.py"))
    assert project.exact_tree() == before


def test_what_is_no_longer_named_is_removed(project: RealProject) -> None:
    generate(project)
    project.configure()
    done = generate(project)
    assert (done.written, done.removed) == ((), ("__init__.py", "pricing.py"))
    assert project.tree() == {}


def test_a_hand_edited_wrapper_is_kept_aside_with_a_warning(project: RealProject) -> None:
    generate(project)
    project.save("generated/pricing.py", "mine = 1\n")
    done = generate(project)
    assert done.warnings == ("pricing.py had been edited by hand; it was kept as pricing.py.edited.",)
    assert project.tree()["pricing.py.edited"] == b"mine = 1\n"


def test_every_broken_module_is_named_and_nothing_is_written(project: RealProject) -> None:
    project.configure("pricing", "stock")
    project.save("pricing.py", BROKEN)
    project.save("stock.py", BROKEN)
    with pytest.raises(GenerationError) as caught:
        generate(project)
    assert [failure.module for failure in caught.value.failures] == ["pricing", "stock"]
    assert not project.output.exists()
    assert project.leftovers() == []


def test_a_session_that_has_the_output_directory_is_respected(project: RealProject) -> None:
    other = OutputDirectory.claim(Disk(), project.output, 1)
    with pytest.raises(AlreadyWatched, match="process 1"):
        generate(project)
    other.release()
    assert generate(project).written


def test_a_fault_at_any_operation_leaves_the_files_as_they_were(project: RealProject) -> None:
    project.configure("pricing", "old")
    project.save("old.py", QUOTE)
    generate(project)
    project.configure("pricing", "fresh")
    project.save("fresh.py", QUOTE)
    project.save("pricing.py", QUOTE.replace("sku", "code"))
    before = project.exact_tree()
    disk = FailingDisk(at=0)
    done = None
    while done is None:
        disk = FailingDisk(disk.at + 1)
        with contextlib.suppress(OSError, PromotionError):
            done = generate(project, disk)
        assert done is not None or project.exact_tree() == before, f"after a fault at change {disk.at}"
    assert disk.at > 10
    # From the commit on a fault is told, and costs nothing.
    assert sorted(project.tree()) == ["__init__.py", "fresh.py", "pricing.py"]
    assert done.written == ("fresh.py", "pricing.py")
    assert done.warnings == (f"{project.root / '.lastgood' / 'generated'} could not be tidied up: injected.",)
    generate(project)
    assert project.leftovers() == []


def test_an_undoing_that_fails_is_noted_and_finished_by_the_next_run(project: RealProject) -> None:
    generate(project)
    before = project.tree()
    project.save("pricing.py", QUOTE.replace("sku", "code"))

    class Dying(Disk):
        """Refuses every rename from the first one over a wrapper on, as a disk does that turns read-only."""

        dead = False

        def replace(self, source: Path, target: Path) -> None:
            self.dead = self.dead or project.output in target.parents
            if self.dead:
                raise OSError("read-only")
            super().replace(source, target)

    with pytest.raises(PromotionError) as caught:
        generate(project, Dying())
    assert any("Undoing it failed as well: read-only" in note for note in caught.value.__notes__)
    project.save("pricing.py", QUOTE)
    done = generate(project)
    assert done.recovered == ("pricing.py",)
    assert project.tree() == before


# --- plan ---------------------------------------------------------------------------------------------------


def test_a_preview_names_the_operations_and_touches_nothing(project: RealProject) -> None:
    before = everything(project)
    would = preview(project_of(project))
    assert would.operations == (MakeDirectory(""), WriteFile("__init__.py"), WriteFile("pricing.py"))
    assert everything(project) == before
    assert not (project.root / ".lastgood").exists()


def test_a_preview_foresees_what_generate_then_does(project: RealProject) -> None:
    project.configure("pricing", "old")
    project.save("old.py", QUOTE)
    generate(project)
    project.configure("pricing", "fresh")
    project.save("fresh.py", QUOTE)
    project.save("generated/pricing.py", "mine = 1\n")
    before = everything(project)
    would = preview(project_of(project))
    assert everything(project) == before
    assert would.operations == (
        SetAside("pricing.py", "pricing.py.edited"),
        WriteFile("fresh.py"),
        ReplaceFile("pricing.py"),
        RemoveFile("old.py"),
    )
    assert would.unchanged == ("__init__.py",)
    done = generate(project)
    assert (done.operations, done.unchanged) == (would.operations, would.unchanged)


def test_a_preview_works_beside_a_session(project: RealProject) -> None:
    session = OutputDirectory.claim(Disk(), project.output, 4711)
    assert preview(project_of(project)).written == ("__init__.py", "pricing.py")
    session.release()


def blocked(project: RealProject) -> None:
    project.save("generated", "a file")


def unmanaged(project: RealProject) -> None:
    project.save("generated/pricing.py", "mine = 1\n")


def broken(project: RealProject) -> None:
    project.save("pricing.py", BROKEN)


def missing(project: RealProject) -> None:
    project.configure("nowhere")


@pytest.mark.parametrize(
    ("spoil", "error"),
    [(blocked, PromotionError), (unmanaged, UnmanagedFile), (broken, GenerationError), (missing, ConfigError)],
    ids=["output is a file", "unmanaged file", "broken source", "missing module"],
)
def test_a_preview_fails_as_generate_would(project: RealProject, spoil: Any, error: type[Exception]) -> None:
    spoil(project)
    with pytest.raises(error) as foreseen:
        preview(project_of(project))
    with pytest.raises(error) as happened:
        generate(project)
    assert str(foreseen.value) == str(happened.value)


# --- what is kept of it


def test_a_generation_is_kept_as_a_sessions_is(project: RealProject) -> None:
    generate(project)
    first = project.tree()
    project.save("pricing.py", QUOTE.replace("sku", "code"))
    generate(project)
    second = project.tree()
    generate(project)  # the same once more is none to go back to
    store = project_of(project).store(OutputDirectory.unclaimed(Disk(), project.output))
    assert [good.generation for good in store.history()] == [1, 1]
    undo_once(project_of(project))
    assert project.tree() == first
    assert len(store.history()) == 1
    generate(project)
    assert project.tree() == second


async def test_a_session_that_starts_later_goes_back_to_it(project: RealProject, factory: FakeFactory) -> None:
    await trio.to_thread.run_sync(generate, project)
    first = project.tree()
    project.save("pricing.py", QUOTE.replace("sku", "code"))
    async with watch(project.config_file, create_bridge=factory.create_bridge) as session:
        assert await session.undo()
        assert project.tree() == first


async def test_it_stands_between_the_generations_of_sessions(project: RealProject, factory: FakeFactory) -> None:
    async with watch(project.config_file, create_bridge=factory.create_bridge):
        first = project.tree()
    project.save("pricing.py", QUOTE.replace("sku", "code"))
    await trio.to_thread.run_sync(generate, project)
    second = project.tree()
    project.save("pricing.py", QUOTE.replace("sku", "name"))
    async with watch(project.config_file, create_bridge=factory.create_bridge) as session:
        assert await session.undo()
        assert project.tree() == second
        assert await session.undo()
        assert project.tree() == first


def test_what_failed_is_no_part_of_the_history(project: RealProject) -> None:
    generate(project)
    project.save("pricing.py", BROKEN)
    with pytest.raises(GenerationError):
        generate(project)
    store = project_of(project).store(OutputDirectory.unclaimed(Disk(), project.output))
    assert len(store.history()) == 1


def test_an_undo_that_cannot_claim_the_output_directory_names_the_path(
    project: RealProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(project)
    ignore = project.root / ".lastgood" / ".gitignore"
    ignore.unlink()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(PromotionError, match="cannot be prepared: No space left") as caught:
        undo_once(project_of(project))
    assert caught.value.path == ignore.with_name(".gitignore.new")
