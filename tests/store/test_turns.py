"""Processes take turns to change files in one output directory, whatever has become of the lock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lastgood.config import decode_config
from lastgood.errors import PromotionError
from lastgood.interpreters.cycle_files import CycleFiles
from lastgood.interpreters.project import Project
from lastgood.interpreters.staging import StageResult, advance, stage
from lastgood.sources.finder import Interpreter
from lastgood.store import output_directory
from lastgood.store.disk import Disk
from lastgood.store.file_system import FileSystem
from lastgood.store.memory_files import MemoryFiles
from lastgood.store.output_directory import OutputDirectory
from running import program_environment

TOP = Path("/p")
HOLD = """
import sys
from pathlib import Path
from lastgood.store.disk import Disk

claim = Disk().take_turn(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.readline()
claim.release()
print("released", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(params=["disk", "memory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> FileSystem:
    if request.param == "disk":
        return Disk()
    memory = MemoryFiles()
    memory.put(tmp_path / "lastgood.toml", b"")
    return memory


def test_two_promotions_take_turns(files: FileSystem, tmp_path: Path) -> None:
    first = files.take_turn(tmp_path)
    assert first is not None
    assert files.take_turn(tmp_path) is None
    first.release()
    second = files.take_turn(tmp_path)
    assert second is not None
    second.release()
    second.release()


def test_a_promotion_waits_for_another_and_gives_up(
    files: FileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_directory, "_TURN", 0.02)
    output = OutputDirectory.claim(files, tmp_path / "generated", 1)
    other = files.take_turn(tmp_path)
    assert other is not None
    with (
        pytest.raises(PromotionError, match=r"another process has been changing files there for 0\.02 s"),
        output.turn(),
    ):
        pytest.fail("it has a turn")
    other.release()
    with output.turn():
        assert files.take_turn(tmp_path) is None
    output.release()


def work_of(files: MemoryFiles, cycle: int, pid: int) -> CycleFiles:
    """A cycle of a session of its own, whose wrappers are staged and kept."""
    project = Project(
        files,
        TOP / "lastgood.toml",
        (),
        lambda path, read: decode_config(read(path), path),
        lambda _: Interpreter(),
        pid,
    )
    work = CycleFiles(project, cycle)
    assert isinstance(advance(stage(work, None, watches=False), None), StageResult)
    return work


def test_what_was_promoted_before_the_lock_was_removed_is_not_committed_and_not_undone() -> None:
    """Whoever has taken the lock has undone it already, and promotes in its own right, in a cycle of the same number."""
    files = MemoryFiles()
    files.put(TOP / "pricing.py", b"def quote() -> float: ...\n")
    files.put(TOP / "lastgood.toml", b'[modules.pricing]\n[output]\ndir = "generated"\n')
    first = work_of(files, 1, 1)
    first.promote()
    files.unlink(TOP / ".lastgood/generated/lock")
    files.put(TOP / "pricing.py", b"def quote() -> str: ...\n")
    second = work_of(files, 1, 2)
    second.promote()
    new = files.read(TOP / "generated/pricing.py")
    with pytest.raises(PromotionError, match="the lock was removed while this cycle ran"):
        first.begin_commit()
    first.restore()
    first.discard()
    second.begin_commit()
    second.commit()
    second.settle(0.0)
    assert files.read(TOP / "generated/pricing.py") == new
    assert b"str" in new
    assert [name for name in files.children(second.home) if name.startswith(("journal", "backup", "stage"))] == []


def test_a_directory_that_cannot_be_locked_keeps_nobody_out(tmp_path: Path) -> None:
    claim = Disk().take_turn(tmp_path / "missing")
    assert claim is not None
    claim.release()


def test_another_process_is_waited_for(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path],
        env=program_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert Disk().take_turn(tmp_path) is None
        print(file=holder.stdin, flush=True)
        assert holder.stdout.readline() == "released\n"
        mine = Disk().take_turn(tmp_path)
        assert mine is not None
        mine.release()
        holder.kill()


FORK = """
import os, sys
from pathlib import Path
from lastgood.store.disk import Disk

turn = Disk().take_turn(Path(sys.argv[1]))
begun, end = os.pipe(), os.pipe()
if os.fork() == 0:
    os.close(end[1])
    os.write(begun[1], b"x")
    os.read(end[0], 1)
    os._exit(0)
os.read(begun[0], 1)
turn.release()
print("free" if Disk().take_turn(Path(sys.argv[1])) else "taken")
"""


def test_a_forked_child_does_not_prolong_a_turn(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORK, str(tmp_path)]
    assert (
        subprocess.run(command, env=program_environment(), capture_output=True, text=True, check=True).stdout
        == "free\n"
    )
