"""Files that a promotion wrote, and somebody changed before it was undone: lastgood's still, and no change is lost."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lastgood.errors import PromotionError, UnmanagedFile
from lastgood.planner.promotion import Promotion
from lastgood.store.disk import Disk
from lastgood.store.file_system import FileSystem, digest_of
from lastgood.store.memory_files import MemoryFiles
from lastgood.store.output_directory import OutputDirectory
from lastgood.store.promotion import Promoting
from lastgood.store.trees import make_directories, remove_tree, staged_place


class Project:
    """An output directory on one of the file systems."""

    def __init__(self, files: FileSystem, top: Path) -> None:
        self.files = files
        self.path = top / "generated"
        make_directories(files, top)
        self.output = OutputDirectory.claim(files, self.path, 1)

    def staged(self, texts: dict[str, bytes]) -> Promoting:
        stage = self.output.home / "stage-1"
        remove_tree(self.files, stage)
        self.files.mkdir(stage)
        for name, text in texts.items():
            self.files.write(staged_place(stage, name), text)
        return Promoting(self.output, stage, {name: digest_of(text) for name, text in texts.items()})

    def promote(self, texts: dict[str, bytes]) -> Promotion:
        promoting = self.staged(texts)
        promoting.apply()
        promoting.commit()
        promoting.sweep()
        return promoting.promotion

    def save(self, name: str, text: bytes) -> None:
        remove_tree(self.files, self.path / name)
        self.files.write(self.path / name, text)

    def die(self) -> None:
        """End without undoing anything, and claim the output directory as the next session does."""
        self.output.lock.release()
        self.output = OutputDirectory.claim(self.files, self.path, 2)

    def texts(self) -> dict[str, bytes]:
        return {name: self.files.read(self.path / name) for name in self.files.children(self.path)}

    def kept(self) -> list[bytes]:
        kept = self.output.home / "kept"
        names = [(name, each) for name in self.files.children(kept) for each in self.files.children(kept / name)]
        return [self.files.read(kept / name / each) for name, each in names]


@pytest.fixture(params=["disk", "memory"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    return Project(Disk(), tmp_path) if request.param == "disk" else Project(MemoryFiles(), Path("/p"))


def undo(_project: Project, promoting: Promoting) -> None:
    promoting.undo()


def kill(project: Project, _promoting: Promoting) -> None:
    project.die()
    assert project.output.recovered == ("prices.json",)


End = Callable[[Project, Promoting], None]
ENDS = pytest.mark.parametrize("end", [undo, kill])


@ENDS
def test_the_next_promotion_replaces_it_and_keeps_it_aside(project: Project, end: End) -> None:
    promoting = project.staged({"prices.json": b"1"})
    promoting.apply()
    project.save("prices.json", b"edited")
    end(project, promoting)
    assert project.texts() == {"prices.json": b"edited"}, "undoing removes nothing that somebody has changed"
    (warning,) = project.promote({"prices.json": b"2"}).warnings
    assert "prices.json.edited" in warning
    assert project.texts() == {"prices.json": b"2", "prices.json.edited": b"edited"}


@ENDS
def test_one_that_is_not_made_any_more_goes_and_is_kept_aside(project: Project, end: End) -> None:
    project.promote({"others.json": b"1"})
    promoting = project.staged({"others.json": b"1", "prices.json": b"1"})
    promoting.apply()
    project.save("prices.json", b"edited")
    end(project, promoting)
    project.promote({"others.json": b"2"})
    assert project.texts() == {"others.json": b"2", "prices.json.edited": b"edited"}


@ENDS
def test_what_somebody_put_there_before_it_could_be_written_is_not_lastgoods(project: Project, end: End) -> None:
    project.promote({"others.json": b"1"})
    promoting = project.staged({"others.json": b"1", "prices.json": b"1"})
    with pytest.raises(PromotionError, match="File exists"):
        promoting.apply(lambda: project.save("prices.json", b"somebody's"))
    end(project, promoting)
    with pytest.raises(UnmanagedFile):
        project.promote({"prices.json": b"2"})
    assert project.texts() == {"others.json": b"1", "prices.json": b"somebody's"}


def test_on_a_full_disk_everything_else_is_undone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.promote({"others.json": b"1"})
    promoting = project.staged({"others.json": b"2", "prices.json": b"1"})
    promoting.apply()
    project.save("prices.json", b"edited")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(type(project.files), "write", full)
        promoting.undo()
    assert project.texts() == {"others.json": b"1", "prices.json": b"edited"}
    with pytest.raises(UnmanagedFile):
        project.promote({"prices.json": b"2"})


@ENDS
def test_a_file_that_is_restored_keeps_no_change_and_the_change_is_kept(
    project: Project, end: End, caplog: pytest.LogCaptureFixture
) -> None:
    project.promote({"prices.json": b"1"})
    promoting = project.staged({"prices.json": b"2"})
    promoting.apply()
    project.save("prices.json", b"edited")
    end(project, promoting)
    assert project.texts() == {"prices.json": b"1"}
    assert project.kept() == [b"edited"]
    assert "prices.json was changed before its promotion was undone" in caplog.text


@ENDS
def test_a_new_file_in_place_of_one_that_is_restored_is_kept(project: Project, end: End) -> None:
    project.promote({"prices.json": b"1"})
    promoting = project.staged({})
    promoting.apply()
    project.save("prices.json", b"somebody's")
    end(project, promoting)
    assert project.texts() == {"prices.json": b"1"}
    assert project.kept() == [b"somebody's"]


@ENDS
def test_what_nobody_has_changed_leaves_no_copy(project: Project, end: End) -> None:
    project.promote({"prices.json": b"1"})
    promoting = project.staged({"prices.json": b"2"})
    promoting.apply()
    end(project, promoting)
    assert (project.texts(), project.kept()) == ({"prices.json": b"1"}, [])
