"""Copies of replaced files that may have been edited are kept for thirty days."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood.store.file_system import digest_of
from lastgood.store.header import with_header
from lastgood.store.memory_files import MemoryFiles
from lastgood.store.output_directory import OutputDirectory
from lastgood.store.promotion import Promoting
from lastgood.store.trees import make_directories, remove_tree, staged_place

OUTPUT = Path("/p/generated")
DAY = 24 * 60 * 60
NEW = with_header("pricing", "new")


class Clone:
    """A project in memory whose committed wrapper is promoted over as in a fresh clone, at a time in days."""

    def __init__(self) -> None:
        self.days = 0.0
        self.files = MemoryFiles(lambda: self.days * DAY)

    def replace(self, old: bytes) -> None:
        """Check out ``old`` without the manifest, and promote another text over it."""
        self.files.put(OUTPUT / "pricing.py", old)
        output = OutputDirectory.claim(self.files, OUTPUT, 1)
        remove_tree(self.files, output.home / "manifest.json")
        stage = output.home / "stage-1"
        make_directories(self.files, stage)
        self.files.write(staged_place(stage, "pricing.py"), NEW)
        promoting = Promoting(output, stage, {"pricing.py": digest_of(NEW)})
        promoting.apply()
        promoting.commit()
        output.release()

    def kept(self) -> list[bytes]:
        """The copies that are there after the next start."""
        OutputDirectory.claim(self.files, OUTPUT, 1).release()
        return sorted(file.data for path, file in self.files.names.items() if "kept" in path.parts)


def wrapper(text: str) -> bytes:
    return with_header("pricing", text)


@pytest.fixture
def clone() -> Clone:
    return Clone()


def test_each_content_is_kept_for_thirty_days(clone: Clone) -> None:
    clone.replace(wrapper("a"))
    clone.days = 10
    clone.replace(wrapper("b"))
    clone.days = 30
    assert clone.kept() == [wrapper("a"), wrapper("b")]
    clone.days = 30.1
    assert clone.kept() == [wrapper("b")]
    clone.days = 41
    assert clone.kept() == []


def test_the_days_count_from_the_last_time_that_it_was_replaced(clone: Clone) -> None:
    clone.replace(wrapper("a"))
    clone.days = 29
    clone.replace(wrapper("a"))
    clone.days = 58
    assert clone.kept() == [wrapper("a")]
    clone.days = 60
    assert clone.kept() == []
