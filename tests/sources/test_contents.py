"""lastgood.sources.contents: a file is read once by looks and pinnings, and no change of it is missed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from lastgood.planner.watch_set import WatchSet
from lastgood.sources import contents as contents_module
from lastgood.sources.contents import Contents
from lastgood.sources.snapshots import Reader
from lastgood.store.file_system import Stat, digest_of
from lastgood.store.memory_files import MemoryFiles

TOP, FILE, DATA = Path("/p"), Path("/p/a.py"), Path("/p/a.csv")
WATCHED = WatchSet((TOP,))


class Files(MemoryFiles):
    """Files whose times are even seconds. ``time`` is the clock; ``do`` is called at the next reading of a status or a file."""

    def __init__(self) -> None:
        super().__init__(lambda: self.time)
        self.time = 1_000_000.0
        self.readings: Counter[Path] = Counter()
        self.do: Callable[[], object] | None = None
        self.put(FILE, b"1")

    def put(self, path: Path, data: bytes) -> None:
        """Save a file as a rename does."""
        super().put(path, data)
        self._stamp(path)

    def rewrite(self, path: Path, data: bytes) -> None:
        """Change the bytes in place."""
        self.names[path].data = data
        self._stamp(path)

    def _stamp(self, path: Path) -> None:
        self.names[path].mtime = self.names[path].ctime = self.time // 2 * 2

    def _interrupt(self) -> None:
        do, self.do = self.do, None
        if do is not None:
            do()

    def stat(self, path: Path, *, follow: bool = False) -> Stat | None:
        found = super().stat(path, follow=follow)
        self._interrupt()
        return found

    def read(self, path: Path) -> bytes:
        self._interrupt()
        data = super().read(path)
        self.readings[path] += 1
        self._interrupt()
        return data


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def contents(files: Files) -> Contents:
    return Contents(files)


@pytest.fixture
def look(contents: Contents) -> Callable[[], dict[Path, str]]:
    reader = Reader(contents)
    return lambda: dict(reader.read(WATCHED)[TOP])


Look = Callable[[], dict[Path, str]]


def test_a_pinning_after_a_look_reads_nothing(files: Files, contents: Contents, look: Look) -> None:
    seen = look()
    assert contents.read(FILE) == (seen[FILE], b"1")
    assert files.readings == {FILE: 1}


def test_a_look_after_a_pinning_reads_nothing_unless_the_file_was_fresh(
    files: Files, contents: Contents, look: Look
) -> None:
    contents.read(FILE)
    look()
    assert files.readings == {FILE: 2}
    files.time += 10
    look()
    look()
    assert contents.read(FILE)[1] == b"1"
    assert files.readings == {FILE: 3}


def test_a_change_that_shows_in_no_time_is_pinned_by_the_cycle_after_the_next_look(
    files: Files, contents: Contents, look: Look
) -> None:
    before = look()
    files.time += 1.5
    files.rewrite(FILE, b"2")
    assert contents.read(FILE) == (before[FILE], b"1")
    files.time += 60
    after = look()
    assert after[FILE] == digest_of(b"2")
    assert contents.read(FILE) == (after[FILE], b"2")


@pytest.mark.parametrize("save", [Files.put, Files.rewrite], ids=["rename", "in place"])
def test_a_change_after_the_look_is_pinned(
    save: Callable[[Files, Path, bytes], object], files: Files, contents: Contents, look: Look
) -> None:
    look()
    files.time += 3
    save(files, FILE, b"2")
    assert contents.read(FILE) == (digest_of(b"2"), b"2")
    assert look()[FILE] == digest_of(b"2")


def test_a_file_that_goes_and_comes_is_read_again(files: Files, contents: Contents, look: Look) -> None:
    files.time += 10
    look()
    files.unlink(FILE)
    with pytest.raises(FileNotFoundError):
        contents.read(FILE)
    assert look() == {}
    files.put(FILE, b"2")
    assert contents.read(FILE)[1] == b"2"


def test_a_file_that_could_not_be_read_is_tried_again_each_time(
    files: Files, contents: Contents, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.time += 10

    def refuse(_path: Path) -> bytes:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(files, "read", refuse)
        assert look()[FILE] == "unreadable: Input/output error"
        with pytest.raises(OSError, match="Input/output"):
            contents.read(FILE)
    assert look()[FILE] == digest_of(b"1")
    assert contents.read(FILE)[1] == b"1"
    assert files.readings == {FILE: 1}


# Memory.


def test_only_what_was_pinned_stays_in_memory(files: Files, contents: Contents, look: Look) -> None:
    other = TOP / "b.py"
    files.put(other, b"22")
    files.time += 10
    look()
    contents.read(FILE)
    contents.forget_others()
    assert contents.read(FILE)[1] == b"1"
    assert files.readings == {FILE: 1, other: 1}
    assert contents.read(other)[1] == b"22"
    assert files.readings == {FILE: 1, other: 2}
    for _ in range(2):
        contents.forget_others()
    assert contents.read(FILE)[1] == b"1"
    assert files.readings == {FILE: 2, other: 2}


def test_the_bytes_of_data_files_are_not_kept(files: Files, contents: Contents, look: Look) -> None:
    files.put(DATA, b"x" * 10)
    files.time += 10
    look()
    contents.read(DATA)
    assert files.readings == {FILE: 1, DATA: 2}


def test_what_would_take_too_much_memory_is_read_again(
    files: Files, contents: Contents, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents_module, "_MAX_KEPT", 5)
    contents.forget_others()
    files.put(FILE, b"aaa")
    files.put(DATA, b"bbb")
    files.time += 10
    for cycle in range(3):
        look()
        assert [contents.read(path)[1] for path in (FILE, DATA)] == [b"aaa", b"bbb"]
        contents.forget_others()
        assert files.readings == {FILE: 1, DATA: 2 + cycle}


# Two threads.


@pytest.mark.parametrize("seed", range(200))
def test_whatever_happens_in_the_middle_a_look_in_peace_finds_what_is_there(
    seed: int, files: Files, contents: Contents, look: Look
) -> None:
    """Edits, visible or not, looks and pinnings, also in the middle of each other as by two threads."""
    pick = random.Random(seed)
    paths = [TOP / name for name in ("a.py", "b.py", "c.csv")]
    ever: dict[Path, set[bytes]] = {path: set() for path in paths}

    def edit() -> None:
        path, data = pick.choice(paths), b"%d" % pick.randrange(10)
        ever[path].add(data)
        (files.put if pick.random() < 0.5 or path not in files.names else files.rewrite)(path, data)

    def pin() -> None:
        path = pick.choice(paths)
        if path in files.names:
            digest, data = contents.read(path)
            assert digest == digest_of(data)
            assert data in ever[path]
        if pick.random() < 0.3:
            contents.forget_others()

    ever[FILE].add(b"1")
    for _ in range(100):
        files.time += pick.choice((0.0, 0.1, 1.0, 3.0))
        files.do = pick.choice((None, edit, pin, edit))
        pick.choice((edit, pin, look, look))()
        files.do = None
        if pick.random() < 0.2:
            there = {path: files.names[path].data for path in paths if path in files.names}
            assert look() == {path: digest_of(data) for path, data in there.items()}
            pinned = {path: contents.read(path)[1] for path in there}
            assert pinned == there
