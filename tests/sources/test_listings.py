"""lastgood.sources.listings: answers of the disk, each asked for once, and whether they still hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from lastgood.sources.listings import Listings
from lastgood.store.disk import Disk


class Counting(Disk):
    """The disk. Counts the operations."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def scan(self, directory: str) -> dict[str, str]:
        self.asked["scan"] += 1
        return super().scan(directory)

    def is_dir(self, path: Path) -> bool:
        self.asked["is_dir"] += 1
        return super().is_dir(path)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    for name in ("a", "b", "a/deep"):
        (tmp_path / name).mkdir()
    (tmp_path / "a/x.py").touch()
    (tmp_path / "link").symlink_to("a")
    return tmp_path


def test_what_is_not_in_a_listing_costs_no_system_call(top: Path) -> None:
    disk = Counting()
    listings = Listings(disk)
    assert set(listings.names(f"{top}")) == {"a", "b", "link"}
    for number in range(100):
        assert listings.names(f"{top}/no{number}/deeper") == {}
        assert not listings.is_directory(f"{top}/no{number}")
        assert listings.is_absent(f"{top}/no{number}/deeper/still.py")
    assert listings.hold()
    assert disk.asked == {"scan": 2}


def test_an_empty_listing_proves_nothing_since_the_directory_may_be_unreadable(top: Path) -> None:
    listings = Listings(Disk())
    assert listings.names(f"{top}/b") == {}
    assert not listings.is_absent(f"{top}/b/x.py")


def swing(top: Path) -> None:
    (top / "link").unlink()
    (top / "link").symlink_to("b")


def make_directory_of_file(top: Path) -> None:
    (top / "a/x.py").unlink()
    (top / "a/x.py").mkdir()


def make_anew(top: Path) -> None:
    (top / "b").rename(top / "c")
    (top / "b").mkdir()


CHANGES: dict[str, Callable[[Path], object]] = {
    "a new name": lambda top: (top / "a/y.py").touch(),
    "a name that goes": lambda top: (top / "a/x.py").unlink(),
    "another kind": make_directory_of_file,
    "a link that leads elsewhere": swing,
    "a file behind a link that goes": lambda top: (top / "b/file").unlink(),
    "a directory of the same name": make_anew,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_they_hold_until_an_answer_would_be_another_one(change: Callable[[Path], object], top: Path) -> None:
    (top / "b/file").touch()
    listings = Listings(Disk())
    listings.names(f"{top}/a")
    listings.directory(f"{top}/b")
    assert listings.real_path(f"{top}/link") == f"{top}/a"
    assert listings.is_file(f"{top}/b/file")
    assert listings.is_directory(f"{top}/a/deep")
    assert listings.hold()
    change(top)
    assert not listings.hold()
