"""Spare workers: when there is one, when it is taken or ended, and when a fresh worker starts instead."""

from __future__ import annotations

import inspect
import logging
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from imitated import needs_stops
from lastgood.bridges.process import ProcessBridge
from lastgood.bridges.remote import RemoteWorker
from lastgood.bridges.spare import Spare, take_spare
from lastgood.bridges.worker.ahead import MAX_AGE
from lastgood.config import load_config
from lastgood.session.session import Session
from lastgood.session.watch import WatchProgram, watch
from lastgood.watch_events import BridgeRestored
from real_project import DEADLINE, RealProject, Told

PRICING = """\
import os
import slow

def quote() -> int:
    return slow.FACTOR

def pid() -> int:
    return os.getpid()
"""
# Notes who imports it.
SLOW = """\
import os
with open(os.environ["IMPORTS"], "a") as log:
    log.write(f"{os.getpid()}\\n")
FACTOR = 2
"""


@pytest.fixture
def imports(project: RealProject) -> Path:
    """Where the installed package notes the processes that import it."""
    return project.root / "imports.txt"


@pytest.fixture
def real(project: RealProject, told: Told, imports: Path) -> Callable[..., WatchProgram]:
    """A session with spares whose workers have a package installed; ``more`` stands under [runtime.process]."""
    project.save("pricing.py", PRICING)
    project.save("site-packages/slow/__init__.py", SLOW)

    def start(more: str = "") -> WatchProgram:
        installed = project.root / "site-packages"
        project.save(
            "lastgood.toml",
            f'[modules.pricing]\n[output]\ndir = "generated"\n[runtime.process]\nprobation = 0\n{more}\n'
            f'[runtime.process.env]\nPYTHONPATH = "{installed}"\nIMPORTS = "{imports}"\n',
        )
        return watch(project.config_file, on_event=told, debounce=0.01)

    return start


async def spare_of(session: Session) -> Spare:
    """The spare that the live bridge has had made, once it waits for the next generation."""
    for _ in range(2):  # the session's own call comes between the two
        await session.bridge.prepare_spare()
    spare: Spare = session.bridge._spares[0]
    return spare


async def stop(pid: int) -> None:
    """Stop a process, as Ctrl-Z does, and wait until it has stopped."""
    os.kill(pid, signal.SIGSTOP)
    stopped = partial(os.waitid, os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
    await trio.to_thread.run_sync(stopped)


def assert_gone(pid: int) -> None:
    """The process has ended, and has been reaped."""
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def imported_by(imports: Path) -> list[int]:
    return [int(line) for line in imports.read_text().split()]


async def reload(session: Session, project: RealProject) -> int:
    """A reload, after an edit; gives the process of the next worker."""
    project.save("pricing.py", PRICING + f"# {session.generation}\n")
    assert await session.reload_now()
    pid: int = await session.handle.call("pricing", "pid")
    return pid


async def test_the_next_bridge_takes_the_spare(
    project: RealProject, imports: Path, real: Callable[..., WatchProgram], told: Told
) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            first = await told.success()
            assert (first.warm, first.why_fresh) == ("fresh", "there was no spare")
            workers = [session.bridge.pid]
            for _ in range(3):
                spare = await spare_of(session)
                workers.append(await reload(session, project))
                assert workers[-1] == spare.worker.pid
                assert await session.handle.call("pricing", "quote") == 2
                success = await told.success()
                assert (success.warm, success.why_fresh) == ("spare", None)
            await spare_of(session)
    assert imported_by(imports)[:4] == workers, "each process imports it once"


@pytest.mark.parametrize("how", ["killed", pytest.param("stopped", marks=needs_stops())])
async def test_a_spare_that_has_ended_is_not_taken(
    how: str, project: RealProject, real: Callable[..., WatchProgram], told: Told
) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            await told.success()
            spare = await spare_of(session)
            pid = spare.worker.pid
            assert pid is not None
            if how == "stopped":
                await stop(pid)
            else:
                os.kill(pid, signal.SIGKILL)
                while not spare.worker.has_exited():
                    await trio.to_thread.run_sync(os.sched_yield)
            assert await reload(session, project) != pid
            assert await session.handle.call("pricing", "quote") == 2
            assert (await told.success()).why_fresh == "the spare had ended, or was stopped by a signal"


async def test_a_spare_that_dies_when_it_is_taken_gives_way_to_a_fresh_worker(
    project: RealProject, real: Callable[..., WatchProgram], monkeypatch: pytest.MonkeyPatch
) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            spare = await spare_of(session)
            pid = spare.worker.pid
            assert pid is not None
            monkeypatch.setattr(RemoteWorker, "has_exited", lambda _: False)
            os.kill(pid, signal.SIGKILL)
            assert await reload(session, project) != pid
            assert session.bridge.pids == (session.bridge.pid,)


async def test_the_end_of_a_spare_that_was_taken_on_its_way_is_no_warning(
    project: RealProject,
    real: Callable[..., WatchProgram],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hold, started, start_spare = project.root / "hold", trio.Event(), ProcessBridge.start_spare

    def start_one_that_hangs(*args: Any) -> object:
        hold.touch()
        started.set()
        return start_spare(*args)

    program = real()
    project.save(
        "site-packages/slow/__init__.py",
        f"import os, signal\nif os.path.exists({str(hold)!r}):\n    signal.pause()\nFACTOR = 2\n",
    )
    monkeypatch.setattr(ProcessBridge, "start_spare", start_one_that_hangs)
    with trio.fail_after(DEADLINE):
        async with program as session:
            await started.wait()
            spare: Spare = session.bridge._spares[0]
            assert await take_spare(spare.context, spare.manifest) is spare
            await spare.worker.end(0)
            monkeypatch.setattr(ProcessBridge, "start_spare", start_spare)
            hold.unlink()
            await session.bridge.prepare_spare()  # after that of the session
            assert session.bridge._spares != [spare]
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == []


@needs_stops()
async def test_a_stopped_spare_is_passed_over_and_gone_before_the_next_generation_is_live(
    project: RealProject, real: Callable[..., WatchProgram]
) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            spare = await spare_of(session)
            pid = spare.worker.pid
            assert pid is not None
            await stop(pid)
            await reload(session, project)
            assert_gone(pid)


@needs_stops()
async def test_a_spare_that_is_stopped_when_it_is_taken_gives_way_to_a_fresh_worker(
    project: RealProject, real: Callable[..., WatchProgram], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[RemoteWorker] = []

    def only_later(worker: RemoteWorker) -> bool:
        asked.append(worker)
        return len(asked) > 1

    with trio.fail_after(DEADLINE):
        async with real() as session:
            spare = await spare_of(session)
            pid = spare.worker.pid
            assert pid is not None
            await stop(pid)
            monkeypatch.setattr(RemoteWorker, "is_stopped", only_later)
            assert await reload(session, project) != pid
            assert session.bridge.pids == (session.bridge.pid,)
            assert_gone(pid)


@needs_stops()
async def test_of_a_pool_only_the_stopped_spare_is_passed_over(
    project: RealProject, real: Callable[..., WatchProgram]
) -> None:
    with trio.fail_after(DEADLINE):
        async with real("pool = 2") as session:
            await spare_of(session)
            stopped, good = (spare.worker.pid for spare in session.bridge._spares)
            assert stopped is not None
            await stop(stopped)
            await reload(session, project)
            assert good in session.bridge.pids
            assert stopped not in session.bridge.pids
            assert_gone(stopped)


@needs_stops()
async def test_a_spare_that_was_stopped_for_a_while_is_taken(
    project: RealProject, real: Callable[..., WatchProgram]
) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            spare = await spare_of(session)
            pid = spare.worker.pid
            assert pid is not None
            await stop(pid)
            os.kill(pid, signal.SIGCONT)
            assert await reload(session, project) == pid


@needs_stops()
async def test_a_stopped_spare_is_replaced_when_the_next_cycle_is_over(
    project: RealProject, real: Callable[..., WatchProgram], told: Told
) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            await told.success()
            spare = await spare_of(session)
            pid = spare.worker.pid
            assert pid is not None
            await stop(pid)
            project.save("pricing.py", "def quote(:\n")
            await told.failure()
            while spare.worker.pid is not None:
                await trio.to_thread.run_sync(os.sched_yield)
            assert_gone(pid)
            assert (await spare_of(session)).worker.pid != pid


async def test_a_spare_that_is_old_is_replaced(real: Callable[..., WatchProgram]) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            old = await spare_of(session)
            assert (await spare_of(session)) is old
            old.started -= MAX_AGE / 2 + 1
            assert (await spare_of(session)) is not old
            assert old.worker.pid is None


async def test_a_spare_waits_where_the_last_edit_was(
    project: RealProject, real: Callable[..., WatchProgram], told: Told
) -> None:
    service = PRICING.replace("slow", "helper")
    project.save("pricing.py", service)
    project.save("helper.py", "FACTOR = 1\n")
    with trio.fail_after(DEADLINE):
        async with real() as session:
            await told.success()
            for name, text, warm in (
                ("pricing.py", f"{service}# 1\n", "spare"),
                ("helper.py", "FACTOR = 2\n", "fresh"),
                ("helper.py", "FACTOR = 3\n", "spare"),
                ("pricing.py", f"{service}# 2\n", "spare"),
            ):
                await spare_of(session)
                project.save(name, text)
                success = await told.success()
                assert (name, success.warm) == (name, warm)


async def test_an_undo_takes_the_spare_too(project: RealProject, real: Callable[..., WatchProgram], told: Told) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            await told.success()
            await reload(session, project)
            spare = await spare_of(session)
            assert await session.undo()
            assert session.bridge.pid == spare.worker.pid


async def test_a_cycle_that_fails_has_another_spare_made(
    project: RealProject, real: Callable[..., WatchProgram], told: Told
) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            await told.success()
            spare = await spare_of(session)
            project.save("pricing.py", PRICING + "1 / 0\n")
            await told.failure()
            assert not spare.is_waiting()
            again = await spare_of(session)
            project.save("pricing.py", PRICING)
            await told.success()
            assert session.bridge.pid == again.worker.pid


async def test_a_spare_that_died_is_replaced_when_the_next_cycle_is_over(
    project: RealProject, real: Callable[..., WatchProgram], told: Told
) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            await told.success()
            spare = await spare_of(session)
            assert spare.worker.pid is not None
            os.kill(spare.worker.pid, signal.SIGKILL)
            while not spare.worker.has_exited():
                await trio.to_thread.run_sync(os.sched_yield)
            project.save("pricing.py", "def quote(:\n")
            await told.failure()
            while spare.is_waiting():
                await trio.to_thread.run_sync(os.sched_yield)
            assert (await spare_of(session)).worker.pid is not None


async def test_a_lost_worker_is_replaced_by_its_spare(real: Callable[..., WatchProgram], told: Told) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            spare = await spare_of(session)
            os.kill(session.bridge.pid, signal.SIGKILL)
            await told.next(BridgeRestored)
            assert session.bridge.pid == spare.worker.pid


async def test_a_pool_has_as_many(project: RealProject, real: Callable[..., WatchProgram]) -> None:
    with trio.fail_after(DEADLINE):
        async with real("pool = 2") as session:
            await spare_of(session)
            spares = {spare.worker.pid for spare in session.bridge._spares}
            assert len(spares) == 2
            await reload(session, project)
            assert {*session.bridge.pids} == spares


def test_it_is_on_unless_it_is_turned_off(project: RealProject) -> None:
    assert load_config(project.config_file).runtime.process.spare
    assert inspect.signature(ProcessBridge).parameters["spare"].default is True


@pytest.mark.parametrize("setting", ["spare = false", "overlap = false"])
async def test_without_it_none_is_made(
    setting: str, project: RealProject, real: Callable[..., WatchProgram], told: Told
) -> None:
    with trio.fail_after(DEADLINE):
        async with real(setting) as session:
            await told.success()
            await reload(session, project)
            await session.bridge.prepare_spare()
            assert session.bridge._spares == []
            success = await told.success()
            assert (success.warm, success.why_fresh) == ("fresh", setting)


async def test_close_ends_it(real: Callable[..., WatchProgram]) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            spare = await spare_of(session)
            pid = spare.worker.pid
            assert pid is not None
        assert spare.worker.pid is None
        assert_gone(pid)


@needs_stops()
async def test_close_ends_a_stopped_one(real: Callable[..., WatchProgram]) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            spare = await spare_of(session)
            pid = spare.worker.pid
            assert pid is not None
            await stop(pid)
        assert_gone(pid)
