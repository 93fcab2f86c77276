"""A fault and a kill at every single system call of a promotion, on real files."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem

from lastgood.errors import AlreadyWatched, PromotionError
from lastgood.store import disk
from lastgood.store.disk import Disk
from lastgood.store.trees import remove_tree
from output_trees import (
    COMMITTED,
    NEW,
    Killed,
    bytecode,
    claim,
    files_of,
    forget_kept,
    home,
    kept,
    leftovers,
    project,
    put_bytecode,
    staged,
    tree,
)

TOUCHED = ("changed.py", "removed.py", "emptied/deep/mod.py", "edited.py", "cloned.py")


Fault = Callable[[], BaseException]
CALLS = frozenset(("open", "write", "close", "fsync", "replace", "link", "unlink", "mkdir", "rmdir", "chmod", "utime"))
LOOKS = frozenset(("stat", "lstat", "listdir", "scandir"))


class FaultyOs:
    """:mod:`os` as :mod:`lastgood.store.disk` sees it: one call in it raises. Once killed, all that follow do."""

    def __init__(self, system: ModuleType) -> None:
        self._system = system
        self.names: list[str] = []
        self.at = 0
        self.fault: Fault = Killed
        self.acts = False
        self.refused = ""

    def arm(self, at: int, fault: Fault, *, acts: bool = False) -> None:
        """From here on calls count, and the one of this number raises."""
        self.names = []
        self.at, self.fault, self.acts = at, fault, acts

    def rest(self) -> int:
        """From here on everything goes well. How many calls there have been."""
        self.at = 0
        return len(self.names)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._system, name)
        if name == "fsync":
            found = _flushed
        return self.counted(name, found) if name in CALLS | LOOKS else found

    def counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **more: Any) -> Any:
            if name == self.refused:
                raise OSError(errno.EPERM, os.strerror(errno.EPERM))
            if self.at:
                self.names.append(name)
            reached = len(self.names)
            if not self.at or reached < self.at or (reached > self.at and self.fault is not Killed):
                return call(*args, **more)
            # A file that is made and not opened there is not, and what stays open would only be lost.
            if (self.acts and reached == self.at and name not in ("open", "read", "scandir")) or name == "close":
                call(*args, **more)
            raise self.fault()

        return counted


def _flushed(_descriptor: int) -> None:
    """What it would wait for makes no difference here."""


class Unlocked:
    """A lock that nobody else wants."""

    def release(self) -> None:
        """Nothing is held."""


def unlocked(_disk: Disk, path: Path, **_: object) -> Unlocked:
    """Of a process that was killed the system takes the locks; here the killed one lives on."""
    path.touch()
    return Unlocked()


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> FaultyOs:
    """Every system call of :class:`Disk`."""
    monkeypatch.setattr(Disk, "lock", unlocked)
    faulty = FaultyOs(os)
    monkeypatch.setattr(disk, "os", faulty)
    monkeypatch.setattr(disk, "open", faulty.counted("read", open), raising=False)
    return faulty


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Path]:
    """A new place for each run."""
    return (tmp_path / f"run{number}" / "generated" for number in itertools.count())


def failing(number: int) -> Fault:
    return lambda: OSError(number, os.strerror(number))


CODES = pytest.mark.parametrize(
    "number",
    [pytest.param(errno.EIO, id="EIO"), pytest.param(errno.EACCES, id="EACCES", marks=pytest.mark.torture)],
)
MOMENTS = pytest.mark.parametrize("acts", [False, True], ids=["before it acts", "after it acted"])
AFTER = {*NEW, "notes.txt", "edited.py.edited"}


@MOMENTS
@CODES
def test_a_fault_at_every_system_call_is_undone_byte_for_byte(
    system: FaultyOs, paths: Iterator[Path], number: int, acts: bool
) -> None:
    path = next(paths)
    before = project(path)
    undone = 0
    for at in itertools.count(1):
        put_bytecode(path)
        forget_kept(path)
        output = claim(path)
        promoting = staged(output, NEW)
        system.arm(at, failing(number), acts=acts)
        try:
            promoting.apply()
            promoting.commit()
        except (OSError, PromotionError):
            system.rest()
            promoting.undo()
            assert tree(path) == before, (at, system.names[-1])
            assert leftovers(path) == ["stage-1"], (at, system.names[-1])
            output.release()
            undone += 1
            continue
        # A fault need not stop it: a link can be a copy, and what is none of ours need not be read.
        reached = system.rest()
        assert {*NEW} <= files_of(tree(path)), (at, system.names[at - 1])
        assert kept(path) == [COMMITTED], (at, system.names[at - 1])
        assert not bytecode(path) & {*NEW} & {*TOUCHED}, (at, system.names[at - 1])
        if reached < at:
            break
        path = next(paths)
        before = project(path)
    assert undone > 100


@CODES
def test_a_fault_at_every_system_call_of_an_undoing_is_told_and_made_good_later(
    system: FaultyOs, paths: Iterator[Path], number: int
) -> None:
    path = next(paths)
    before = project(path)
    told = 0
    for at in itertools.count(1):
        output = claim(path)
        promoting = staged(output, NEW)
        promoting.apply()
        put_bytecode(path)
        system.arm(at, failing(number))
        try:
            promoting.undo()
        except OSError:
            told += 1
            system.rest()
            output.recover()
        reached = system.rest()
        assert tree(path) == before, (at, system.names[-1])
        assert not bytecode(path) & {*TOUCHED}, (at, system.names[-1])
        output.release()
        if reached < at:
            break
    assert told > 50


@pytest.mark.parametrize("refused", ["", "link"], ids=["hard links", "copies"])
def test_a_kill_at_every_system_call_comes_back_to_the_old_until_the_commit(
    system: FaultyOs, paths: Iterator[Path], refused: str
) -> None:
    path = next(paths)
    before = project(path)
    system.refused = refused
    for at in itertools.count(1):
        forget_kept(path)
        promoting = staged(claim(path), NEW)
        system.arm(at, Killed)
        with suppress(Killed):
            promoting.apply()
            promoting.commit()
        if system.rest() < at:
            break
        put_bytecode(path)  # what was imported in the meantime
        output = claim(path, pid=2)
        assert tree(path) == before, (at, system.names[-1])
        assert leftovers(path) == []
        assert not output.recovered or not bytecode(path) & {*TOUCHED}, (at, system.names[-1])
        output.release()
    assert at > 100
    claim(path, pid=2).release()
    assert files_of(tree(path)) == AFTER
    assert kept(path) == [COMMITTED]
    assert leftovers(path) == []


def test_a_kill_at_every_system_call_of_a_recovery_comes_back_all_the_same(
    system: FaultyOs, paths: Iterator[Path]
) -> None:
    path = next(paths)
    before = project(path)
    for at in itertools.count(1):
        staged(claim(path), NEW).apply()
        system.arm(at, Killed)
        with suppress(Killed):
            claim(path, pid=2).release()
        reached = system.rest()
        if reached >= at:
            put_bytecode(path)
            output = claim(path, pid=3)
            assert not output.recovered or not bytecode(path) & {*TOUCHED}, (at, system.names[-1])
            output.release()
        assert tree(path) == before, (at, system.names[-1])
        assert leftovers(path) == []
        if reached < at:
            break
    assert at > 50


def test_a_claim_that_is_killed_at_every_system_call_can_be_made_again(system: FaultyOs, paths: Iterator[Path]) -> None:
    for at in itertools.count(1):
        path = next(paths)
        path.parent.mkdir()
        system.arm(at, Killed)
        with suppress(Killed):
            claim(path).release()
        reached = system.rest()
        claim(path, pid=2).release()
        assert [each.name for each in home(path).iterdir()] == ["lock"]
        around = path.parent / ".lastgood"
        assert (around / ".gitignore").read_bytes() == b"*\n", (at, system.names[-1])
        assert [each.name for each in around.iterdir() if each.is_file()] == [".gitignore"]
        if reached < at:
            break
    assert at > 10


def test_a_disk_that_is_really_full_changes_nothing(fs: FakeFilesystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Disk, "lock", unlocked)
    path = Path("/run/generated")
    before = project(path)
    output = claim(path)
    fs.set_disk_usage(10**6)
    for room in itertools.count(0, 100):
        promoting = staged(output, NEW)
        Path("/ballast").write_bytes(b"x" * (fs.get_disk_usage("/")[2] - room))
        refused = False
        try:
            promoting.apply()
        except PromotionError as error:
            refused = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENOSPC
        Path("/ballast").unlink()
        if not refused:
            break
        promoting.undo()
        assert tree(path) == before
        assert leftovers(path) == ["stage-1"]
        remove_tree(Disk(), promoting.stage)
    assert room > 500
    promoting.commit()
    assert files_of(tree(path)) == AFTER


def test_what_a_kill_left_is_recovered_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run" / "generated"
    before = project(path)
    killed = claim(path, pid=9)
    staged(killed, NEW).apply()
    killed.lock.release()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Disk, "write", full)
        output = claim(path)
    assert output.recovered
    assert tree(path) == before
    with pytest.raises(AlreadyWatched) as caught:
        claim(path)
    assert caught.value.pid is None
    output.release()


def test_without_hard_links_copies_do_as_well(system: FaultyOs, paths: Iterator[Path]) -> None:
    path = next(paths)
    before = project(path)
    output = claim(path)
    system.arm(0, Killed)
    system.refused = "link"
    promoting = staged(output, NEW)
    promoting.apply()
    promoting.undo()
    assert tree(path) == before
    remove_tree(Disk(), promoting.stage)
    promoting = staged(output, NEW)
    promoting.apply()
    promoting.commit()
    assert files_of(tree(path)) == AFTER


def test_without_hard_links_a_copy_that_fails_leaves_no_part_of_it(system: FaultyOs, paths: Iterator[Path]) -> None:
    path = next(paths)
    before = project(path)
    output = claim(path)
    system.refused = "link"
    for at in itertools.count(1):
        promoting = staged(output, NEW)
        system.arm(at, failing(errno.ENOSPC), acts=True)
        with suppress(PromotionError):
            promoting.apply()
        reached = system.rest()
        promoting.undo()
        assert tree(path) == before, (at, system.names[-1])
        assert leftovers(path) == ["stage-1"], (at, system.names[-1])
        remove_tree(Disk(), promoting.stage)
        if reached < at:
            break
    assert at > 100
