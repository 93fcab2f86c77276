"""A plain loop that prints, with its edits, and Ctrl-C; then it is started again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from diary import Diary
from real_project import DEADLINE, RealProject
from running import Ran, Running

pytestmark = pytest.mark.torture

CONFIG = """
[modules.pricing]

[output]
dir = "generated"
style = "sync"
"""
LOOP = """
import os

import lastgood

with lastgood.watch() as session:
    from generated import pricing

    while True:
        state = "STALE" if session.status.stale else "live"
        print(f"{os.getpid()}, {pricing.worker()}: {state} {pricing.price(3)}")
"""
PRICING = """
import os

def worker() -> int:
    return os.getpid()

def price(quantity: int) -> float:
    return 2.5 * quantity
"""


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() != b""


def worker_of(line: str) -> int:
    return int(line.partition(":")[0].partition(", ")[2])


def ctrl_c(program: Running, worker: int) -> Ran:
    ran = program.interrupt()
    assert ran.status == -2, "it died of SIGINT, which a shell shows as 130"
    assert ran.err.rstrip().endswith("KeyboardInterrupt"), ran.err
    frames = [line for line in ran.err.splitlines() if line.lstrip().startswith("File ")]
    assert len(frames) >= 1, ran.err
    assert "loop.py" in frames[0], ran.err
    assert not alive(worker)
    return ran


def test_a_plain_loop_with_ctrl_c(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    diary = Diary("A plain loop with Ctrl-C, from an empty directory", capsys)
    project = RealProject(tmp_path, {"pricing.py": PRICING, "loop.py": LOOP})
    project.save("lastgood.toml", CONFIG)
    program = Running(sys.executable, "loop.py", cwd=tmp_path, deadline=DEADLINE * 4)
    try:
        with diary.step("python loop.py, the first line"):
            worker = worker_of(program.line("live 7.5"))
        diary.first_success()
        with diary.step("a good edit"):
            project.save("pricing.py", PRICING.replace("2.5", "3.5"))
            program.line("live 10.5")  # the swap may have come between the two calls of this line
            assert worker_of(program.line("live 10.5")) != worker
        with diary.step("a broken edit: the last good generation goes on, and stderr says why"):
            project.save("pricing.py", PRICING.replace("def price(", "def price"))
            program.line("STALE 10.5")
        with diary.step("the edit that mends it"):
            project.save("pricing.py", PRICING.replace("2.5", "4.5"))
            program.line("live 13.5")
            worker = worker_of(program.line("live 13.5"))
        with diary.step("Ctrl-C"):
            ran = ctrl_c(program, worker)
            assert "pricing.py:7" in ran.err
    finally:
        program.stop()
    assert project.leftovers() == []
    wrappers = project.exact_tree()
    assert "pricing.py" in wrappers
    program = Running(sys.executable, "loop.py", cwd=tmp_path, deadline=DEADLINE * 4)
    try:
        with diary.step("python loop.py again, from the cache"):
            worker = worker_of(program.line("live 13.5"))
            assert project.exact_tree() == wrappers
        with diary.step("Ctrl-C again"):
            ctrl_c(program, worker)
    finally:
        program.stop()
    assert project.exact_tree() == wrappers
