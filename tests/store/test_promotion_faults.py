"""A promotion that fails or is killed at any of its operations leaves the old tree or the new one, never else."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem

from lastgood.errors import PromotionError
from lastgood.store.disk import Disk
from lastgood.store.header import with_header
from lastgood.store.memory_files import MemoryFiles
from lastgood.store.output_directory import OutputDirectory
from lastgood.store.promotion import Promoting
from lastgood.store.trees import make_directories, staged_place
from output_trees import (
    COMMITTED,
    Killed,
    bytecode,
    claim,
    digests_of,
    files_of,
    forget_kept,
    kept,
    leftovers,
    project,
    put_bytecode,
    staged,
    tree,
)

OLD = {
    "__init__.py": "",
    "same.py": "same",
    "changed.py": "old",
    "removed.py": "goes",
    "emptied/deep/mod.py": "goes, and its directories",
    "edited.py": "generated",
    "module.py": "becomes a package",
}
NEW = {
    "__init__.py": "",
    "same.py": "same",
    "changed.py": "new",
    "edited.py": "generated anew",
    "fresh/deep/mod.py": "new, with its directories",
    "module/__init__.py": "a package now",
}


class FaultyDisk(Disk):
    """A disk whose operation ``at`` raises, before or after it has acted."""

    def __init__(self, at: int, fault: Callable[[], BaseException], *, acts: bool) -> None:
        self.at = at
        self.fault = fault
        self.acts = acts
        self.count = 0

    def _through(self, act: Callable[[], None]) -> None:
        self.count += 1
        if self.count != self.at:
            act()
            return
        if self.acts:
            act()
        raise self.fault()

    def write(self, path: Path, data: bytes) -> None:
        self._through(lambda: Disk.write(self, path, data))

    def replace(self, source: Path, target: Path) -> None:
        self._through(lambda: Disk.replace(self, source, target))

    def link(self, source: Path, target: Path) -> None:
        self._through(lambda: Disk.link(self, source, target))

    def unlink(self, path: Path) -> None:
        self._through(lambda: Disk.unlink(self, path))

    def mkdir(self, path: Path) -> None:
        self._through(lambda: Disk.mkdir(self, path))

    def rmdir(self, path: Path) -> None:
        self._through(lambda: Disk.rmdir(self, path))

    def chmod(self, path: Path, mode: int) -> None:
        self._through(lambda: Disk.chmod(self, path, mode))

    def barrier(self, paths: Sequence[Path]) -> None:
        self._through(lambda: Disk.barrier(self, paths))


def disk_full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def operations_of(top: Path) -> int:
    """How many operations a whole promotion has, up to and with the commit."""
    disk = FaultyDisk(0, disk_full, acts=False)
    path = top / "generated"
    project(path, OLD)
    put_bytecode(path)
    output = claim(path)
    output.files = disk
    promoting = staged(output, NEW)
    promoting.apply()
    promoting.commit()
    output.files = Disk()
    output.release()
    assert not bytecode(path) & {"changed.py", "removed.py"}
    return disk.count


@pytest.fixture
def tops(fs: FakeFilesystem) -> Iterator[Path]:
    """A new, empty directory for each run, in a file system that forgets."""
    del fs
    return (Path(f"/run{number}") for number in range(10_000))


@pytest.mark.parametrize("acts", [False, True], ids=["before it acts", "after it acted"])
def test_a_fault_at_every_operation_is_undone_byte_for_byte(tops: Iterator[Path], acts: bool) -> None:
    count = operations_of(next(tops))
    assert count > 25
    path = next(tops) / "generated"
    before = project(path, OLD)
    for at in range(1, count + 1):
        put_bytecode(path)
        forget_kept(path)
        output = claim(path)
        promoting = staged(output, NEW)
        output.files = FaultyDisk(at, disk_full, acts=acts)
        with pytest.raises((PromotionError, OSError), match="No space left"):
            promoting.apply()
            promoting.commit()
        committed = acts and at == count
        if committed:
            assert kept(path) == [COMMITTED]
        else:
            promoting.undo()
            assert tree(path) == before, f"operation {at} of {count}"
            assert leftovers(path) == ["stage-1"], f"operation {at} of {count}"
        output.release()


@pytest.mark.parametrize("acts", [False, True], ids=["before it acts", "after it acted"])
def test_a_kill_at_every_operation_comes_back_to_old_or_new(tops: Iterator[Path], acts: bool) -> None:
    count = operations_of(next(tops))
    outcomes = set()
    path = next(tops) / "generated"
    before = project(path, OLD)
    for at in range(1, count + 1):
        put_bytecode(path)
        forget_kept(path)
        output = claim(path)
        promoting = staged(output, NEW)
        output.files = FaultyDisk(at, Killed, acts=acts)
        with pytest.raises(Killed):
            promoting.apply()
            promoting.commit()
        output.lock.release()  # as the system does for the dead

        again = claim(path, 2)
        came_back = tree(path) == before
        outcomes.add(came_back)
        if not came_back:
            assert (acts, at) == (True, count), f"operation {at} of {count}: neither old nor new"
            assert files_of(tree(path)) == {*NEW, "notes.txt", "edited.py.edited"}
            assert kept(path) == [COMMITTED]
        assert leftovers(path) == []
        again.release()
    assert outcomes == ({True, False} if acts else {True})


def test_a_kill_during_the_recovery_of_a_kill_at_every_pair_of_operations() -> None:
    """In memory, where two thousand runs take no time."""

    def files_at(state: str) -> MemoryFiles:
        files = MemoryFiles()
        for name, text in (OLD if state == "old" else NEW).items():
            files.put(Path("/p/generated") / name, with_header(name, text))
        return files

    def snapshot(files: MemoryFiles) -> dict[Path, tuple[bytes, int, float]]:
        inside = (path for path in files.names if path.is_relative_to("/p/generated"))
        return {path: (files.names[path].data, files.names[path].mode, files.names[path].mtime) for path in inside}

    def run(files: MemoryFiles, at: int, act: Callable[[MemoryFiles], None]) -> int:
        """Do it, killed at operation ``at``; how many operations there were."""
        count = 0

        def before(_operation: str, _path: Path) -> None:
            nonlocal count
            count += 1
            if count == at:
                raise Killed

        files.before = before
        with suppress(Killed):
            act(files)
        files.before = lambda _operation, _path: None
        files._locked.clear()
        return count

    def promote(files: MemoryFiles) -> None:
        output = OutputDirectory.claim(files, Path("/p/generated"), 1)
        where = output.home / "stage-1"
        for name, text in NEW.items():
            make_directories(files, (where / name).parent)
            files.write(staged_place(where, name), with_header(name, text))
        promoting = Promoting(output, where, digests_of(NEW))
        promoting.apply()
        promoting.commit()
        promoting.sweep()

    def recover(files: MemoryFiles) -> None:
        OutputDirectory.claim(files, Path("/p/generated"), 2)

    new = files_at("old")
    old = snapshot(new)
    total = run(new, 0, promote)
    promoted = snapshot(new)
    runs = 0
    for first in range(1, total + 1):
        second = 0
        while True:
            second += 1
            files = files_at("old")
            run(files, first, promote)
            reached = run(files, second, recover)
            run(files, 0, recover)
            assert snapshot(files) in (old, promoted), f"killed at {first}, then at {second}"
            assert not any("stage-" in str(path) or "backup" in path.parts for path in files.names)
            assert not any("journal" in path.name for path in files.names)
            runs += 1
            if reached < second:
                break
    assert runs > 500


def test_a_file_of_somebody_elses_with_the_very_bytes_is_not_taken_away(tops: Iterator[Path]) -> None:
    path = next(tops) / "generated"
    project(path, OLD)
    output = claim(path)
    promoting = staged(output, {**NEW, "late.py": "late"})
    theirs = path / "late.py"

    class Race(Disk):
        def link(self, source: Path, target: Path) -> None:
            if target == theirs:
                theirs.write_bytes(source.read_bytes())
                os.utime(theirs, ns=(10**18, 10**18))
            Disk.link(self, source, target)

    output.files = Race()
    with pytest.raises(PromotionError) as caught:
        promoting.apply()
    assert caught.value.path == theirs
    promoting.undo()
    assert theirs.exists()
    output.release()
