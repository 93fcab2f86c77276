"""Directories in the system's temporary directory: what a killed process leaves there, the next one removes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lastgood.store.temporary import make_temporary_directory, sweep, temporary_directory

MAKE_AND_DIE = """
import os
from lastgood.store.temporary import make_temporary_directory
directory = make_temporary_directory()
(directory / "made.py").touch()
print(directory.name, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def left_by_a_killed_process() -> str:
    ran = subprocess.run([sys.executable, "-c", MAKE_AND_DIE], stdout=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == -9
    return ran.stdout.strip()


def test_a_directory_is_gone_at_the_end_and_private_until_then(temporary: Path) -> None:
    with temporary_directory() as directory:
        assert directory.parent == temporary
        assert directory.stat().st_mode & 0o777 == 0o700
        (directory / "file").touch()
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next_that_makes_one(temporary: Path) -> None:
    first = left_by_a_killed_process()
    assert (temporary / first / "made.py").exists()
    second = left_by_a_killed_process()
    assert [each.name for each in temporary.iterdir()] == [second]


def test_what_is_in_use_or_somebody_elses_stays(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = left_by_a_killed_process()
    mine = make_temporary_directory()
    (temporary / "elsewhere").mkdir()
    (temporary / f"{left}-link").symlink_to(temporary / "elsewhere")
    (temporary / f"{left}-file").touch()
    (temporary / left.replace("lastgood-", "lastgood-1")).mkdir()  # of a container, whose pids mean nothing here
    (temporary / "lastgood-demo").mkdir()
    before = {each.name for each in temporary.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        sweep()
    assert {each.name for each in temporary.iterdir()} == before
    sweep()
    assert {each.name for each in temporary.iterdir()} == before - {left}
    assert mine.exists()


def test_without_namespaces_the_pid_alone_counts(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stat(path: str) -> os.stat_result:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "stat", stat)
    made = make_temporary_directory()
    assert (made.parent, made.name.rpartition("-")[0]) == (temporary, f"lastgood-0-{os.getpid()}")


def test_a_temporary_directory_that_cannot_be_listed_is_left_alone(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "gone"))
    sweep()
