"""Operations on trees while another process works there, too."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from lastgood.store.disk import Disk
from lastgood.store.file_system import Stat
from lastgood.store.trees import make_directories, remove_tree


class Race(Disk):
    """A disk on which another process is faster: ``first(path)`` happens just before a change."""

    def __init__(self, first: Callable[[Path], object]) -> None:
        self._first = first

    def mkdir(self, path: Path) -> None:
        self._first(path)
        super().mkdir(path)

    def unlink(self, path: Path) -> None:
        self._first(path)
        super().unlink(path)

    def rmdir(self, path: Path) -> None:
        self._first(path)
        super().rmdir(path)


def tree(top: Path) -> Path:
    for name in ("a/b/c", "a/d"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).touch()
    return top / "a"


def test_directories_that_another_process_makes_at_the_same_time_are_there(tmp_path: Path) -> None:
    make_directories(Race(Path.mkdir), tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_file_that_appears_in_place_of_a_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        make_directories(Race(Path.touch), tmp_path / "a")


def test_what_another_process_removes_at_the_same_time_is_gone(tmp_path: Path) -> None:
    remove_tree(Race(lambda path: path.rmdir() if path.is_dir() else path.unlink()), tree(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_what_another_process_adds_meanwhile_is_removed_as_well(tmp_path: Path) -> None:
    late = [tmp_path / "a" / "late", tmp_path / "a" / "b" / "late"]
    remove_tree(Race(lambda path: late.pop().touch() if late and path == late[-1].parent else None), tree(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert late == []


def test_a_directory_that_is_filled_again_and_again_is_an_error(tmp_path: Path) -> None:
    top = tree(tmp_path)
    with pytest.raises(OSError, match="not empty") as caught:
        remove_tree(Race(lambda path: (path / "late").touch() if path.is_dir() else None), top)
    assert caught.value.errno == errno.ENOTEMPTY


def test_each_name_is_examined_once_and_a_directory_listed_again_when_it_is_empty(tmp_path: Path) -> None:
    examined: Counter[Path] = Counter()
    listed: Counter[Path] = Counter()

    class Counting(Disk):
        def stat(self, path: Path, *, follow: bool = False) -> Stat | None:
            examined[path] += 1
            return super().stat(path, follow=follow)

        def children(self, path: Path) -> list[str]:
            listed[path] += 1
            return super().children(path)

    top = tree(tmp_path)
    for number in range(20):
        (top / f"{number}").touch()
    names = {top, *top.rglob("*")}
    directories = {path for path in names if path.is_dir()}
    remove_tree(Counting(), top)
    assert examined == dict.fromkeys(names, 1) | dict.fromkeys(directories, 2)
    assert listed == dict.fromkeys(directories, 2)
