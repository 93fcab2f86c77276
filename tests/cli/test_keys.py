"""The keys of ``lastgood watch`` on a terminal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator

import pytest

from real_project import BROKEN, QUOTE, RealProject
from terminals import Terminal

WATCH = (sys.executable, "-m", "lastgood", "watch")


@pytest.fixture
def terminal(project: RealProject) -> Iterator[Callable[..., Terminal]]:
    """Start a program on a terminal."""
    started: list[Terminal] = []

    def start(*command: str) -> Terminal:
        started.append(Terminal(*command, cwd=project.root))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def test_r_reloads_and_q_ends(project: RealProject, terminal: Callable[..., Terminal]) -> None:
    watching = terminal(*WATCH)
    assert "r reloads, q ends it." in watching.wait("watches for")
    watching.wait("generation 1 in")
    assert not watching.is_cooked()
    watching.press("r")
    assert "asked for" in watching.wait("generation 2 in")
    watching.press("x\x1b[A")  # neither this key nor an arrow does anything
    project.save("pricing.py", BROKEN)
    watching.wait("STALE")
    watching.press("R\n")
    watching.wait("asked for; cycle 4 at stage")
    watching.press("q")
    assert "asked" not in watching.wait("[ended with 0, the terminal is as it was]")
    assert project.leftovers() == []


def test_r_tries_a_start_again_that_waits(project: RealProject, terminal: Callable[..., Terminal]) -> None:
    project.save("pricing.py", f"import os\nif not os.path.exists({str(project.root / 'there')!r}): 1 / 0\n{QUOTE}")
    watching = terminal(*WATCH, "--wait")
    watching.wait("nothing is live yet, it waits for an edit")
    (project.root / "there").touch()  # which is no edit
    watching.press("r")
    watching.wait("generation 1 in")
    watching.press("q")
    watching.wait("[ended with 0, the terminal is as it was]")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["sigterm", "ctrl-c"])
def test_a_signal_leaves_the_terminal_as_it_was(
    terminal: Callable[..., Terminal], number: signal.Signals, status: int
) -> None:
    watching = terminal(*WATCH)
    watching.wait("generation 1 in")
    watching.kill(number)
    watching.wait(f"[ended with {status}, the terminal is as it was]")


def test_a_failed_start_leaves_the_terminal_as_it_was(project: RealProject, terminal: Callable[..., Terminal]) -> None:
    project.save("pricing.py", BROKEN)
    assert "Error: Generation failed" in terminal(*WATCH).wait("[ended with 1, the terminal is as it was]")


def test_ctrl_z_stops_it_and_it_goes_on_in_the_foreground(
    project: RealProject, terminal: Callable[..., Terminal]
) -> None:
    watching = terminal(*WATCH)
    watching.wait("generation 1 in")
    for generation in (2, 3):
        watching.press("\x1a")
        watching.wait(f"[stopped by {signal.SIGTSTP.value}, the terminal is as it was]")
        project.save("pricing.py", f"{QUOTE}# {generation}\n")
        watching.press("fg\n")
        watching.wait(f"generation {generation} in")
        assert not watching.is_cooked()
    watching.press("r")
    watching.wait("generation 4 in")
    watching.press("\x03")
    watching.wait("[ended with 130, the terminal is as it was]")


IN_THE_BACKGROUND = f"""
import signal, subprocess, sys
signal.signal(signal.SIGHUP, lambda *_: sys.exit())  # so that it leaves nothing where the test fails
watching = subprocess.Popen({WATCH!r}, process_group=0)
try:
    sys.stdin.readline()
finally:
    watching.terminate()
    print("[ended with", watching.wait(), end="]\\n", flush=True)
"""


def test_in_the_background_it_leaves_the_terminal_alone(
    project: RealProject, terminal: Callable[..., Terminal]
) -> None:
    watching = terminal(sys.executable, "-c", IN_THE_BACKGROUND)
    watching.wait("generation 1 in")
    assert watching.is_cooked()
    project.save("pricing.py", f"{QUOTE}# 2\n")
    watching.wait("generation 2 in")
    watching.press("q\n")  # for the other program
    watching.wait("[ended with 143]")


@pytest.mark.parametrize(
    "command", [(*WATCH, "--json"), ("/bin/sh", "-c", f"{' '.join(WATCH)} | cat")], ids=["json", "pipe"]
)
def test_for_a_program_there_are_no_keys(terminal: Callable[..., Terminal], command: tuple[str, ...]) -> None:
    watching = terminal(*command)
    watching.wait("generation")
    assert watching.is_cooked()
    assert "q ends it" not in watching.shown
    watching.press("\x03")
    watching.wait("[ended with")
