"""What ends the processes that workers started, when the app is killed: with real processes, and real kills."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from lastgood.bridges.process import ProcessBridge
from lastgood.children import guard
from lastgood.children.guardian import GUARDIAN, Guardian
from process_bridges import is_alive, until
from real_project import DEADLINE

STARTER = """
import subprocess

def start(*command):
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    process.stdout.readline()  # it runs
    return process.pid
"""

APP = """
import os, sys, trio
from lastgood.children.guardian import GUARDIAN
from lastgood.bridges.process import ProcessBridge

async def main():
    bridge = ProcessBridge(import_path=[sys.argv[1]], modules=["starter"])
    await bridge.init()
    started = await bridge.call("starter", "start", ["sh", "-c", sys.argv[2]], {})
    {before}
    print(bridge.pid, started, GUARDIAN.pid, flush=True)
    await trio.sleep_forever()

trio.run(main)
"""

SLEEPER = "echo; exec sleep 1000"


pytestmark = pytest.mark.usefixtures("nothing_is_left")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "starter.py").write_text(STARTER)
    return tmp_path


@pytest.mark.parametrize(
    ("script", "before"),
    [
        (SLEEPER, "pass"),
        ("trap '' TERM; echo; while :; do sleep 1000; done", "pass"),
        (SLEEPER, "os.fork() or os.execlp('sleep', 'sleep', '1000')"),
        (SLEEPER, "os.fork() or trio.run(trio.sleep_forever)"),
    ],
    ids=["sleeps", "ignores SIGTERM", "the app started another program", "the app was forked"],
)
async def test_kill_9_of_the_app_ends_what_its_worker_started(source: Path, script: str, before: str) -> None:
    with subprocess.Popen(  # noqa: ASYNC220 - it takes no time
        [sys.executable, "-c", APP.replace("{before}", before), source, script],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as app:
        assert app.stdout is not None
        pids = [int(pid) for pid in (await trio.to_thread.run_sync(app.stdout.readline)).split()]
        assert [is_alive(pid) for pid in pids] == [True] * 3
        app.kill()
        for pid in pids:  # the worker, what it started, and the guardian itself
            await until(lambda pid=pid: not is_alive(pid))  # type: ignore[misc]  # mypy cannot infer this lambda
        os.killpg(app.pid, signal.SIGKILL)  # what the app itself started is not the guardian's


async def test_there_is_one_for_all_workers_and_it_goes_with_the_last(source: Path) -> None:
    bridges = [ProcessBridge(import_path=[source], modules=["starter"]) for _ in range(2)]
    for bridge in bridges:
        await bridge.init()
    pid = GUARDIAN.pid
    await bridges[0].dispose()
    assert pid is not None
    assert GUARDIAN.pid == pid
    assert is_alive(pid)
    await bridges[1].dispose()
    assert not is_alive(pid)


async def test_it_holds_nothing_of_the_apps(source: Path) -> None:
    unrelated = os.open("/", os.O_RDONLY)
    os.set_inheritable(unrelated, True)
    bridge = ProcessBridge(import_path=[source], modules=["starter"])
    await bridge.init()
    links = f"/proc/{GUARDIAN.pid}/fd"
    held = {name: os.readlink(f"{links}/{name}") for name in os.listdir(links)}
    held = {name: to for name, to in held.items() if "pidfd" not in to}
    assert held.pop("0").startswith("pipe:")
    assert held == {"1": "/dev/null", "2": "/dev/null"}
    assert os.readlink(f"/proc/{GUARDIAN.pid}/cwd") == "/"
    await bridge.dispose()
    os.close(unrelated)


def test_one_that_was_killed_is_replaced() -> None:
    guardian = Guardian()
    guardian.add(2**22)  # no process has so high a number
    first = guardian.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    exit_of_first = guard.open_exit(first)
    assert select.select([exit_of_first], [], [], DEADLINE)[0]
    os.close(exit_of_first)
    guardian.add(2**22 + 1)
    assert guardian.pid not in (None, first)
    guardian.remove(2**22)
    guardian.remove(2**22 + 1)
    assert guardian.pid is None


def test_a_group_that_has_no_children_yet_needs_none() -> None:
    guardian = Guardian()
    guardian.begin()
    guardian.add(2**22, at_once=False)
    pids = [guardian.pid]
    for _ in range(2):
        guardian.begin()
        pids.append(guardian.pid)
    guardian.add(2**22 + 1, at_once=False)
    pids.append(guardian.pid)
    guardian.remove(2**22)
    guardian.remove(2**22 + 1)
    pids.append(guardian.pid)
    assert pids[0] is None
    assert pids[1] is not None
    assert pids[2:] == [pids[1], pids[1], None]


def test_without_an_interpreter_there_is_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    guardian = Guardian()
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    guardian.add(2**22)
    assert guardian.pid is None
    assert "The guardian cannot be started" in caplog.text
    monkeypatch.setattr(sys, "executable", "")
    guardian.add(2**22 + 1)
    guardian.remove(2**22)
    guardian.remove(2**22 + 1)
    assert guardian.pid is None


def test_an_app_that_is_gone_before_the_guardian_begins_is_heard_all_the_same() -> None:
    nobody = 1 << 30  # no process has this number
    reading, writing = os.pipe()
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as started:
        os.write(writing, f"+{started.pid}\n".encode())
        # The pipe stays open: a process that the app forked may hold it.
        subprocess.run(
            [sys.executable, "-I", "-S", guard.__file__, str(nobody), "0.5"],
            stdin=reading,
            timeout=DEADLINE,
            check=True,
        )
        assert started.wait(DEADLINE) == -signal.SIGTERM
    os.close(reading)
    os.close(writing)
