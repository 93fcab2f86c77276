"""Promotion on real files: what a generator says it wrote, what is in the way, a fresh clone, and bytecode."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lastgood.errors import PromotionError, UnmanagedFile
from lastgood.planner.promotion import Promotion
from lastgood.store.disk import Disk
from lastgood.store.file_system import digest_of
from lastgood.store.header import with_header
from lastgood.store.trees import remove_tree, staged_files
from output_trees import (
    NEW,
    bytecode,
    claim,
    files_of,
    home,
    kept,
    leftovers,
    project,
    promote,
    put_bytecode,
    staged,
    tree,
)

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


# --- a fresh clone with committed wrappers


def wrapper_of(text: str) -> bytes:
    return with_header("pricing.py", text)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """An output directory with a committed wrapper, without the `.lastgood/` that wrote it."""
    path = tmp_path / "generated"
    path.mkdir()
    (path / "pricing.py").write_bytes(wrapper_of("one"))
    return path


def promoted(path: Path, texts: dict[str, str]) -> Promotion:
    output = claim(path)
    promoting = staged(output, texts)
    promoting.apply()
    promoting.commit()
    promoting.sweep()
    remove_tree(Disk(), promoting.stage)
    output.release()
    return promoting.promotion


def test_committed_wrappers_that_are_up_to_date_are_taken_over(clone: Path) -> None:
    before = tree(clone)
    assert promoted(clone, {"pricing.py": "one"}) == Promotion()
    assert tree(clone) == before
    assert promoted(clone, {"pricing.py": "two"}).warnings == (), "the manifest names it from now on"
    assert leftovers(clone) == []


def test_a_committed_wrapper_that_is_outdated_is_replaced_and_a_copy_is_kept(clone: Path) -> None:
    (warning,) = promoted(clone, {"pricing.py": "two"}).warnings
    assert warning.startswith("pricing.py may have been edited by hand")
    assert tree(clone)["pricing.py"][0] == wrapper_of("two")
    assert files_of(tree(clone)) == {"pricing.py"}
    (copy,) = home(clone).glob("kept/*/pricing.py")
    assert copy.read_bytes() == wrapper_of("one")
    assert ".lastgood/generated/kept" in warning


def test_an_outdated_wrapper_of_no_source_is_removed_and_a_copy_is_kept(clone: Path) -> None:
    assert promoted(clone, {}).touched == ("pricing.py",)
    assert (files_of(tree(clone)), kept(clone)) == (set(), [wrapper_of("one")])


def test_the_same_content_is_kept_once(clone: Path) -> None:
    for _ in range(2):
        (clone / "pricing.py").write_bytes(wrapper_of("one"))
        promoted(clone, {"pricing.py": "two"})
        remove_tree(Disk(), home(clone) / "manifest.json")
    assert kept(clone) == [wrapper_of("one")]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: b"# Copyright 2026 Somebody.\n\n" + data, id="licence"),
        pytest.param(lambda data: b"<<<<<<< HEAD\n" + data + b"=======\n" + data + b">>>>>>> theirs\n", id="merge"),
        pytest.param(lambda data: data + b"mine = 1\n", id="edit"),
    ],
)
@pytest.mark.parametrize("is_clone", [True, False], ids=["clone", "written here"])
def test_a_wrapper_that_was_changed_since_is_ours_and_what_it_was_is_kept(
    tmp_path: Path, change: Callable[[bytes], bytes], is_clone: bool
) -> None:
    path = tmp_path / "generated"
    promoted(path, {"pricing.py": "one"})
    changed = change(wrapper_of("one"))
    (path / "pricing.py").write_bytes(changed)
    if is_clone:
        remove_tree(Disk(), path.parent / ".lastgood")
    assert len(promoted(path, {"pricing.py": "one"}).warnings) == 1
    found = tree(path)
    assert found["pricing.py"][0] == wrapper_of("one")
    assert [*kept(path), *(found[name][0] for name in found if name.endswith(".edited"))] == [changed]


@pytest.mark.parametrize("is_clone", [True, False], ids=["clone", "written here"])
def test_converted_line_endings_are_no_edit(tmp_path: Path, is_clone: bool) -> None:
    path = tmp_path / "generated"
    promoted(path, {"pricing.py": "one\n"})
    (path / "pricing.py").write_bytes(wrapper_of("one\n").replace(b"\n", b"\r\n"))
    if is_clone:
        remove_tree(Disk(), path.parent / ".lastgood")
    assert promoted(path, {"pricing.py": "one\n"}).warnings == ()
    assert tree(path)["pricing.py"][0] == wrapper_of("one\n")
    assert files_of(tree(path)) == {"pricing.py"}


def test_a_copy_of_a_wrapper_that_a_tool_has_left_stays(tmp_path: Path) -> None:
    path = tmp_path / "generated"
    promoted(path, {"pricing.py": "one"})
    names = {"pricing.py.orig", "pricing.py.edited", "pricing.py~"}
    for name in names:
        (path / name).write_bytes(wrapper_of("one"))
    promoted(path, {"pricing.py": "two"})
    assert files_of(tree(path)) == {"pricing.py", *names}


@pytest.mark.parametrize("at", ["kept", "kept/{}", "kept/{}/pricing.py"])
@pytest.mark.parametrize("what", ["link", "file", "fifo"])
def test_a_copy_is_not_written_through_what_came_with_the_checkout(clone: Path, at: str, what: str) -> None:
    outside = clone.parent / "outside"
    outside.mkdir()
    (outside / "pricing.py").write_text("precious")
    before = tree(outside)
    place = home(clone) / at.format(digest_of(wrapper_of("one"))[:16])
    place.parent.mkdir(parents=True)
    match what:
        case "link":
            place.symlink_to(outside / "pricing.py" if place.suffix else outside)
        case "file":
            place.write_text("forged")
        case "fifo":
            os.mkfifo(place)
    promoted(clone, {"pricing.py": "two"})
    assert tree(outside) == before
    assert kept(clone) == [wrapper_of("one")]


@pytest.mark.parametrize("at", ["kept", "kept/{}"])
def test_a_link_that_came_with_the_checkout_is_not_followed_to_remove_old_copies(
    clone: Path, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = clone.parent / "outside"
    (outside / "inner").mkdir(parents=True)
    (outside / "inner" / "pricing.py").write_text("precious")
    before = tree(outside)
    place = home(clone) / at.format("0123456789abcdef")
    place.parent.mkdir(parents=True)
    place.symlink_to(outside)
    monkeypatch.setattr(Disk, "now", lambda _: 1e10)
    claim(clone).release()
    assert tree(outside) == before


def test_a_copy_is_on_disk_before_the_commit(clone: Path) -> None:
    safe: set[Path] = set()

    class Noting(Disk):
        def barrier(self, paths: Sequence[Path]) -> None:
            super().barrier(paths)
            safe.update(paths)

    output = claim(clone)
    promoting = staged(output, {"pricing.py": "two"})
    output.files = Noting()
    promoting.apply()
    (copy,) = home(clone).glob("kept/*/pricing.py")
    assert {copy, copy.parent, copy.parent.parent, home(clone)} <= safe
    promoting.commit()
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
