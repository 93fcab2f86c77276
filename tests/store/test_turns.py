"""Processes take turns to change files in one output directory, whatever has become of the lock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lastgood.errors import PromotionError
from lastgood.store import output_directory
from lastgood.store.disk import Disk
from lastgood.store.file_system import FileSystem
from lastgood.store.memory_files import MemoryFiles
from lastgood.store.output_directory import OutputDirectory
from running import ENVIRONMENT

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


def test_a_directory_that_cannot_be_locked_keeps_nobody_out(tmp_path: Path) -> None:
    claim = Disk().take_turn(tmp_path / "missing")
    assert claim is not None
    claim.release()


def test_another_process_is_waited_for(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path],
        env=ENVIRONMENT,
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
    assert subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout == "free\n"
