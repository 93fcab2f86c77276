"""Promotion on real files: what a generator says it wrote, what is in the way, and bytecode."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from lastgood.errors import PromotionError, UnmanagedFile
from lastgood.store.disk import Disk
from lastgood.store.trees import staged_files
from output_trees import NEW, bytecode, claim, files_of, leftovers, project, promote, put_bytecode, staged, tree

# --- what a generator says it wrote


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("/etc/passwd", "not a path inside the stage"),
        ("../../kept.py", "not a path inside the stage"),
        ("a/../../kept.py", "not a path inside the stage"),
        ("", "not a path inside the stage"),
        (".", "not a path inside the stage"),
        ("missing.py", "no such file"),
        ("directory", "no such file"),
        ("link.py", "no such file"),
        ("through/kept.py", "symbolic link"),
        ("\udcff.py", "UTF-8"),
    ],
)
def test_files_that_a_generator_cannot_have_written_are_refused(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept.py").touch()
    stage = tmp_path / "stage"
    (stage / "directory").mkdir(parents=True)
    (stage / "link.py").symlink_to(tmp_path / "elsewhere" / "kept.py")
    (stage / "through").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PromotionError, match=problem):
        staged_files(Disk(), stage, [name])


def test_files_are_told_by_their_relative_paths_sorted(tmp_path: Path) -> None:
    for name in ("b.py", "a/c.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert [*staged_files(Disk(), tmp_path, [Path("b.py"), "./a/c.py", "b.py"])] == ["a/c.py", "b.py"]


# --- what is in the way


@pytest.mark.parametrize("what", ["a file", "a directory", "a link", "a file where a directory belongs", "unreadable"])
def test_what_is_not_ours_stays_and_is_named(tmp_path: Path, what: str) -> None:
    path = tmp_path / "generated"
    output = claim(path)
    path.mkdir()
    at = path / "shop" / "a.py" if what != "a file where a directory belongs" else path / "shop"
    at.parent.mkdir(exist_ok=True)
    match what:
        case "a directory":
            at.mkdir()
        case "a link":
            at.symlink_to(tmp_path / "elsewhere")
        case _:
            at.write_text("mine\n")
    before = {each: each.lstat() for each in path.rglob("*")}
    promoting = staged(output, {"first.py": "1", "shop/a.py": "1"})
    with pytest.raises(UnmanagedFile) as caught:
        promoting.apply()
    assert caught.value.path == at
    promoting.undo()
    assert {each: each.lstat() for each in path.rglob("*")} == before
    assert leftovers(path) == ["stage-1"]
    output.release()


def test_what_somebody_puts_there_in_the_meantime_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "generated"

    class Raced(Disk):
        def barrier(self, paths: Sequence[Path]) -> None:
            super().barrier(paths)
            (path / "a.py").parent.mkdir(exist_ok=True)
            (path / "a.py").write_text("mine\n")

    output = claim(path)
    path.mkdir()
    promoting = staged(output, {"a.py": "1"})
    output.files = Raced()
    with pytest.raises(PromotionError, match="File exists"):
        promoting.apply()
    promoting.undo()
    assert (path / "a.py").read_text() == "mine\n"
    output.release()


def test_the_same_once_more_touches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "generated"
    output = claim(path)
    promote(output, NEW)

    class Untouchable(Disk):
        def write(self, path: Path, data: bytes) -> None:
            raise AssertionError(path, data)

    promoting = staged(output, NEW)
    output.files = Untouchable()
    promoting.apply()
    promoting.commit()
    promoting.undo()
    output.files = Disk()
    output.release()
    assert files_of(tree(path)) == {*NEW}


def test_a_wrapper_that_is_replaced_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "project" / "generated"
    before = project(path)
    output = claim(path)
    promote(output, NEW)
    output.release()
    after = tree(path)
    assert {name: after[name][1] for name in ("changed.py", "edited.py", "same.py")} == {
        name: before[name][1] for name in ("changed.py", "edited.py", "same.py")
    }
    assert after["same.py"] == before["same.py"]
    assert after["edited.py.edited"] == before["edited.py"], "the very file, kept aside"


def test_a_wrapper_that_cannot_be_read_is_not_called_somebody_elses(tmp_path: Path) -> None:
    path = tmp_path / "project" / "generated"
    before = project(path)
    output = claim(path)
    promoting = staged(output, NEW)

    class Worn(Disk):
        def read(self, path: Path) -> bytes:
            if path.name == "changed.py":
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            return super().read(path)

    output.files = Worn()
    with pytest.raises(PromotionError, match="Input/output error") as caught:
        promoting.apply()
    assert not isinstance(caught.value, UnmanagedFile)
    assert caught.value.path == path / "changed.py"
    promoting.undo()
    assert tree(path) == before
    output.release()


# --- bytecode


def test_the_bytecode_of_what_is_written_or_removed_goes_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "generated"
    project(path / "x")
    path = path / "x"
    put_bytecode(path)
    output = claim(path)
    promote(output, NEW)
    output.release()
    assert bytecode(path) == {"__init__.py", "same.py"}


def test_the_bytecode_of_what_is_restored_goes(tmp_path: Path) -> None:
    path = tmp_path / "project" / "generated"
    before = project(path)
    output = claim(path)
    promoting = staged(output, NEW)
    promoting.apply()
    put_bytecode(path)  # somebody imports the new wrappers
    promoting.undo()
    output.release()
    assert tree(path) == before
    assert bytecode(path) == {"__init__.py", "same.py"}
