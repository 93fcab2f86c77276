"""What a worker prints and logs, as ``lastgood watch`` shows it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from real_project import DEADLINE, QUOTE, RealProject
from running import Running, program_environment

NOISY = f"""
import logging, sys

print("at import")
print("two\\nlines", file=sys.stderr)
logging.getLogger("shop.pricing").warning("no price for %s", "a")
logging.getLogger("shop.pricing").info("not shown")
{QUOTE}
"""


def test_watch_marks_what_the_worker_prints_and_logs(project: RealProject) -> None:
    project.save("pricing.py", NOISY)
    watching = Running(sys.executable, "-m", "lastgood", "watch", cwd=project.root)
    watching.line("live ")
    lines = set(watching.interrupt().err.splitlines())
    watching.stop()
    assert lines == {
        "worker | at import",
        "worker | two",
        "worker | lines",
        "worker | WARNING shop.pricing: no price for a",
        "Stopped.",
    }


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        ({"TERM": "xterm"}, "\x1b[2mworker |\x1b[0m at import"),
        ({"TERM": "xterm", "NO_COLOR": "1"}, "worker | at import"),
    ],
    ids=["colours", "none wanted"],
)
def test_on_a_terminal_the_mark_is_dim(project: RealProject, variables: dict[str, str], shown: str) -> None:
    project.save("pricing.py", NOISY)
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in program_environment().items() if name != "NO_COLOR"}
    watching = subprocess.Popen(
        [sys.executable, "-m", "lastgood", "watch"],
        cwd=project.root,
        env=environment | variables,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    told = b""
    while b"at import" not in told:
        told += os.read(ours, 4096)
    watching.terminate()
    watching.wait(DEADLINE)
    os.close(ours)
    assert shown in told.decode()
