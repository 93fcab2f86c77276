"""Several sessions on one project, for real: in one process, and in several, of which one is killed, stopped, or cleaned away."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from lastgood import WatchProgram
from lastgood.errors import LeaderFailed
from lastgood.watch_events import LeaderChanged, ReloadError
from real_project import BROKEN, DEADLINE, MORE, QUOTE, FakeFactory, RealProject, Told
from running import Running

# --- in one process


@pytest.fixture
def second() -> Told:
    return Told()


@pytest.fixture
def follow(start: Callable[..., WatchProgram], second: Told) -> Callable[..., WatchProgram]:
    """A program of a second session, whose bridges are its own."""
    return lambda **more: start(
        create_bridge=FakeFactory().create_bridge, probe=None, set_as_global=False, on_event=second, **more
    )


async def test_a_second_session_takes_over_what_the_first_one_makes(
    project: RealProject, start: Callable[..., WatchProgram], follow: Callable[..., WatchProgram], second: Told
) -> None:
    async with start() as first, follow() as other:
        assert (first.role, other.role, other.generation) == ("leader", "follower", 1)
        project.save("pricing.py", MORE)
        while (success := await second.success()).generation < 2:
            pass
        assert [path.name for path in success.changed] == ["pricing.py"]
        assert [path.name for path in success.written] == ["__init__.py", "pricing.py"]
        project.save("pricing.py", BROKEN)
        failure = await second.next(ReloadError)
        assert isinstance(failure.error, LeaderFailed)
        assert other.status.stale


async def test_an_interpreter_that_has_two_names_is_one(
    start: Callable[..., WatchProgram],
    follow: Callable[..., WatchProgram],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As bin/python, by which an app is run, and bin/python3, which the first line of bin/lastgood names."""
    async with start():
        (tmp_path / "python3").symlink_to(sys.executable)
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
        async with follow() as other:
            assert other.role == "follower"


async def test_it_asks_the_first_one_to_reload_to_undo_and_to_settle(
    project: RealProject, start: Callable[..., WatchProgram], follow: Callable[..., WatchProgram]
) -> None:
    async with start() as first, follow() as other:
        assert await other.reload_now()
        assert (first.generation, other.generation) == (2, 2)
        project.save("pricing.py", MORE)
        assert await other.settle()
        assert other.generation == 3
        assert await other.undo()
        assert (first.status.stale, other.status.stale, other.generation) == (True, True, 4)
        project.save("pricing.py", BROKEN)
        assert not await other.settle()
        assert not await other.reload_now()


async def test_when_the_first_one_ends_it_leads(
    project: RealProject, start: Callable[..., WatchProgram], follow: Callable[..., WatchProgram], second: Told
) -> None:
    async with start() as first, follow() as other:
        await first.close()
        while (await second.next(LeaderChanged)).role != "leader":
            pass
        assert (await second.success()).generation == 2
        project.save("pricing.py", MORE)
        assert (await second.success()).generation == 3
        assert b"def more" in project.tree()["pricing.py"]
        assert other.role == "leader"


async def test_what_it_wants_to_have_watched_is_watched_by_the_first(
    project: RealProject, start: Callable[..., WatchProgram], follow: Callable[..., WatchProgram], second: Told
) -> None:
    data = project.save("data.txt", "1")
    async with start() as first, follow(extra_watch_paths=[data]):
        await second.success()
        while data not in first._driver.state.asked_for:
            await trio.testing.wait_all_tasks_blocked(0.001)
        while first._driver.state.attempted.get(data) is None:
            await trio.testing.wait_all_tasks_blocked(0.001)
        project.save("data.txt", "2")
        assert (await second.success()).changed == (data,)


async def test_one_that_closes_leaves_nothing(
    project: RealProject, start: Callable[..., WatchProgram], follow: Callable[..., WatchProgram]
) -> None:
    async with start() as first:
        async with follow():
            pass
        assert list((project.root / ".lastgood" / "generated" / "followers").iterdir()) == []
        assert await first.reload_now()


# --- in several

APP = """
import queue, sys, lastgood

told = queue.SimpleQueue()

with lastgood.watch(on_event=told.put, warm_timeout=20.0) as session:
    from generated import pricing
    print("started", session.role, flush=True)
    while True:
        match told.get():
            case lastgood.ReloadSuccess(generation=generation):
                print("live", generation, pricing.quote("a"), flush=True)
            case lastgood.LeaderChanged(role, _, responding):
                print("led", role, responding, flush=True)
"""


@pytest.fixture
def app(tmp_path: Path) -> RealProject:
    project = RealProject(tmp_path)
    project.save("lastgood.toml", '[modules.pricing]\n[output]\ndir = "generated"\nstyle = "sync"\n')
    project.save("app.py", APP)
    return project


@contextmanager
def apps(project: RealProject, count: int) -> Iterator[list[Running]]:
    """Programs that have started one after another, of which the first leads."""
    with ExitStack() as stack:
        running = []
        for _ in range(count):
            running.append(Running(sys.executable, "app.py", cwd=project.root, deadline=4 * DEADLINE))
            stack.callback(running[-1].stop)
            running[-1].line("started leader" if len(running) == 1 else "started follower")
        yield running


def test_an_edit_is_live_in_every_process(app: RealProject) -> None:
    with apps(app, 3) as running:
        app.save("pricing.py", QUOTE.replace("1.0", "2.0"))
        for each in running:
            assert each.line("live 2").endswith("2.0")


def test_the_process_that_leads_is_killed_and_no_edit_is_lost(app: RealProject) -> None:
    with apps(app, 3) as running:
        running[0].send(signal.SIGKILL)
        app.save("pricing.py", QUOTE.replace("1.0", "2.0"))
        for each in running[1:]:
            each.line(" 2.0")  # of the new leader's first cycle, or of one that the edit has caused
        app.save("pricing.py", QUOTE.replace("1.0", "3.0"))
        for each in running[1:]:
            each.line(" 3.0")


def test_the_process_that_leads_is_stopped_and_goes_on(app: RealProject) -> None:
    with apps(app, 2) as (first, second):
        first.send(signal.SIGSTOP)
        second.line("led follower False")
        first.send(signal.SIGCONT)
        second.line("led follower True")
        app.save("pricing.py", QUOTE.replace("1.0", "2.0"))
        assert second.line("live 2").endswith("2.0")
