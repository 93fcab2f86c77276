"""Descriptors above those of the standard streams."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from running import run

PROGRAM = """
import os, sys
from lastgood.children.child import Child
from lastgood.children.descriptors import above_standard, occupy_standard, pipe
from lastgood.children.guardian import GUARDIAN

result = open(sys.argv[1], "w")
os.dup2(result.fileno(), 50)
result = open(50, "w")
for descriptor in range(3):
    os.close(descriptor)
made = [*pipe(), above_standard(os.open("/dev/null", os.O_RDONLY))]
child = Child([sys.executable, "-c", "print('hello')"])
made += [child.pidfd, *child.out.leave_to_parent(), GUARDIAN._process.stdin.fileno()]
assert child.has_exited(60)
child.kill()
print(min(each for each in made if each >= 0) > 2, child.status, child.out.text().strip(), file=result)
for descriptor in made[:3]:
    os.close(descriptor)
print([os.path.exists(f"/dev/fd/{descriptor}") for descriptor in range(3)], file=result)
occupy_standard()
occupy_standard()
print([os.path.realpath(f"/proc/self/fd/{descriptor}") for descriptor in range(3)], file=result)
"""


def test_where_the_app_has_closed_them_no_pipe_and_no_child_has_their_numbers(tmp_path: Path) -> None:
    ran = run([sys.executable, "-c", PROGRAM, str(tmp_path / "result")], tmp_path)
    assert ran.status == 0, ran.err
    lines = (tmp_path / "result").read_text().splitlines()
    assert lines == ["True 0 hello", "[False, False, False]", str([os.devnull] * 3)]


APP = """
import fcntl, os, sys
import lastgood

closed = [int(digit) for digit in sys.argv[1]]
result = os.open("result", os.O_WRONLY | os.O_CREAT)
tell = open(fcntl.fcntl(result, fcntl.F_DUPFD, 50), "w")
os.close(result)
for descriptor in closed:
    os.close(descriptor)
with lastgood.watch("lastgood.toml", on_event=lambda event: None) as session:
    for number in range(3):
        for descriptor in closed:
            if number == 1:  # as a daemon does
                null = os.open(os.devnull, os.O_RDWR)
                os.dup2(null, descriptor)
                os.close(null)
            if number == 2 and descriptor:
                os.write(descriptor, bytes(range(256)))
        with open("pricing.py", "w") as source:
            source.write(f"print('hello')\\ndef quote(sku: str) -> int:\\n    return {number}\\n")
        assert session.reload_now()
        print(session.handle.call_blocking("pricing", "quote", ["a"]), file=tell)
print("closed", file=tell)
"""


@pytest.mark.torture
@pytest.mark.parametrize("closed", ["0", "1", "2", "01", "02", "12", "012"])
def test_an_app_without_standard_streams_reloads_and_calls(closed: str, tmp_path: Path) -> None:
    (tmp_path / "lastgood.toml").write_text('[modules.pricing]\n[output]\ndir = "generated"\n')
    (tmp_path / "pricing.py").write_text("def quote(sku: str) -> int: ...\n")
    ran = run([sys.executable, "-c", APP, closed], tmp_path)
    assert (tmp_path / "result").read_text().split() == ["0", "1", "2", "closed"], ran.err
