"""What a worker does at its exit, once its generation was replaced: it runs, and holds up no cycle."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio

from lastgood.session.session import Session
from lastgood.session.watch import watch
from process_bridges import is_alive
from real_project import DEADLINE, RealProject, Told

SOURCE = """
import os, signal
HERE = os.path.join(os.path.dirname(__file__), "exits", str(os.getpid()))
os.mkfifo(HERE)

def part(here=HERE, open=open):  # a module has no globals any more when it is finalised
    with open(here) as gate:  # waits until whoever opens it for writing closes it again
        gate.read()
    open(here + ".parted", "w").close()

def ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
"""

KINDS = {
    "atexit": "import atexit\natexit.register(part)\n",
    "a thread": (
        "import threading\nmain = threading.main_thread()\n"
        "def work():\n    main.join()\n    part()\n"
        "threading.Thread(target=work).start()\n"
    ),
    "finalisation": "class Last:\n    def __del__(self, part=part):\n        part()\nLAST = Last()\n",
}


@pytest.fixture
def exits(project: RealProject) -> Path:
    directory = project.root / "exits"
    directory.mkdir()
    return directory


def configure(project: RealProject, kind: str, grace: float) -> None:
    project.save("pricing.py", SOURCE + KINDS[kind])
    with project.config_file.open("a") as config:
        config.write(f"[runtime.process]\ngrace = {grace}\n")


async def part(exits: Path, pid: int) -> None:
    """Let a worker go that waits at its exit."""
    os.close(await trio.to_thread.run_sync(os.open, exits / str(pid), os.O_WRONLY))


def parted(exits: Path) -> list[int]:
    """Those that have come to the end of their exits."""
    return sorted(int(path.stem) for path in exits.glob("*.parted"))


async def replace(session: Session, times: int) -> list[int]:
    pids = [session.bridge.pid]
    for _ in range(times):
        assert await session.reload_now()
        pids.append(session.bridge.pid)
    return pids


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_worker_does_at_its_exit_holds_up_no_cycle_but_the_close(
    kind: str, project: RealProject, exits: Path
) -> None:
    configure(project, kind, grace=2 * DEADLINE)
    closed: list[bool] = []
    told = Told()
    with trio.fail_after(DEADLINE):
        async with watch(project.config_file, on_event=told) as session, trio.open_nursery() as nursery:
            pids = await replace(session, 3)
            assert [is_alive(pid) for pid in pids] == [True] * 4
            await part(exits, pids[1])

            async def close() -> None:
                await session.close()
                closed.append(True)

            nursery.start_soon(close)
            for pid in (pids[0], pids[2], pids[3]):
                assert not closed
                await part(exits, pid)
    assert closed
    assert [is_alive(pid) for pid in pids] == [False] * 4
    assert parted(exits) == sorted(pids)
    assert not [event for event in told.events if event.type.startswith("notice-")]


@pytest.mark.parametrize("is_stubborn", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_worker_that_does_not_come_to_its_end_is_killed_after_its_grace(
    kind: str, is_stubborn: bool, project: RealProject, exits: Path
) -> None:
    configure(project, kind, grace=0.05)
    told = Told()
    async with watch(project.config_file, on_event=told) as session:
        if is_stubborn:
            await session.handle.call("pricing", "ignore_sigterm")
        pids = await replace(session, 3)
    assert [is_alive(pid) for pid in pids] == [False] * 4
    assert not parted(exits)
    assert not [event for event in told.events if event.type.startswith("notice-")]


async def test_a_worker_that_is_stopped_is_killed_and_no_cycle_waits_for_that(
    project: RealProject, exits: Path
) -> None:
    configure(project, "atexit", grace=0.05)
    async with watch(project.config_file, on_event=lambda _: None) as session:
        pids = await replace(session, 1)
        os.kill(pids[1], signal.SIGSTOP)
        assert await session.reload_now()
    assert [is_alive(pid) for pid in pids] == [False] * 2
    assert not parted(exits)
