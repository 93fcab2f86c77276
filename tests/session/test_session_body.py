"""The three ways to run a session, what its body raises, and when watching dies."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable

import pytest
import trio
import trio.testing

from lastgood.errors import Disposed, WatchError
from lastgood.interpreters.trio_interpreter import TrioInterpreter
from lastgood.session.watch import WatchProgram
from lastgood.sources.snapshots import Reader
from lastgood.watch_events import PollingStarted
from real_project import (
    BROKEN,
    DEADLINE,
    MORE,
    QUOTE,
    FakeFactory,
    RealProject,
    Told,
    assert_another_starts,
    assert_nothing_is_left,
    raises_async,
)

# --- the three ways to run it -------------------------------------------------------------------------------------


def test_trio_run_of_it_watches_until_close(start: Callable[..., WatchProgram], factory: FakeFactory) -> None:
    program = start()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(program)
            with trio.fail_after(DEADLINE):
                while program.session is None:
                    await trio.testing.wait_all_tasks_blocked()
            assert program.session.generation == 1
            await program.session.close()

    trio.run(main)
    assert factory.latest.disposed


async def test_what_was_live_last_is_still_told_after_the_end(
    project: RealProject, start: Callable[..., WatchProgram]
) -> None:
    async with start() as session:
        assert await session.reload_now()
        project.save("pricing.py", BROKEN)
        assert not await session.reload_now()
    assert (session.generation, session.status.generation, session.status.stale) == (2, 2, True)
    with pytest.raises(Disposed):
        _ = session.bridge


def test_trio_run_of_it_watches_until_ctrl_c(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    def interrupt(event: object) -> None:
        if type(event).__name__ == "ReloadSuccess":
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        trio.run(start(on_event=interrupt))
    assert factory.latest.disposed
    assert_nothing_is_left(project)


async def test_it_watches_until_cancelled(start: Callable[..., WatchProgram], factory: FakeFactory, told: Told) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(start())
        await told.success()
        nursery.cancel_scope.cancel()
    assert factory.latest.disposed


async def test_a_program_runs_once_at_a_time_and_then_again(start: Callable[..., WatchProgram]) -> None:
    program = start()
    for _ in range(2):
        async with program as session:
            assert program.session is session
            with pytest.raises(WatchError, match="running already"):
                await program()
        assert program.session is None


# --- what the body raises -----------------------------------------------------------------------------------------

ERRORS = [
    ValueError("mine"),
    ExceptionGroup("mine", [ValueError(1), TypeError(2)]),
    ExceptionGroup("one", [ValueError(1)]),
    BaseExceptionGroup("base", [KeyboardInterrupt()]),
    StopIteration(3),
    StopAsyncIteration(3),
    RuntimeError("mine"),
    WatchError("mine"),
    SystemExit(3),
    KeyboardInterrupt("mine"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_what_the_body_raises_leaves_as_the_same_object(
    error: BaseException, project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    with pytest.raises(type(error)) as caught:
        async with start():
            raise error
    assert caught.value is error
    assert (error.__cause__, error.__context__) == (None, None)
    assert factory.latest.disposed
    assert_nothing_is_left(project)


async def test_a_timeout_around_it_stays_the_callers_own(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    with trio.CancelScope() as scope:
        async with start():
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert factory.latest.disposed
    assert_nothing_is_left(project)


async def test_a_cancel_within_the_body_ends_there(start: Callable[..., WatchProgram]) -> None:
    async with start() as session:
        with trio.move_on_after(0) as scope:
            await trio.sleep_forever()
        assert scope.cancelled_caught
        assert await session.reload_now()


async def test_the_bodys_nursery_may_hold_the_session(start: Callable[..., WatchProgram], told: Told) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery, start() as session:
            nursery.start_soon(session.reload_now)
            await told.success()
            await told.success()
            raise ValueError("mine")
    assert [type(error) for error in caught.value.exceptions] == [ValueError]


async def test_a_cancel_that_comes_before_the_start_touches_nothing(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory, told: Told
) -> None:
    # Which of the two tasks trio runs first is left to chance: twenty tries see both orders.
    for _ in range(20):
        with trio.CancelScope() as scope:
            scope.cancel()
            async with start():
                pytest.fail("it ran")
        assert scope.cancelled_caught
    assert (factory.bridges, told.events) == ([], [])
    assert not project.output.exists()


@pytest.mark.parametrize("point", ["create", "init", "probe"])
async def test_a_cancel_during_the_start_undoes_it(
    point: str, project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory, told: Told
) -> None:
    pause = factory.pause(point)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(start())
        await pause.reached.wait()
        assert project.tree()
        nursery.cancel_scope.cancel()
    assert not project.output.exists()
    assert all(bridge.disposed for bridge in factory.bridges)
    assert [event.type for event in told.events] == ["reload-start"]
    await assert_another_starts(project)


# --- watching dies ----------------------------------------------------------------------------------------------


async def test_if_watching_dies_the_body_is_cancelled_and_a_watch_error_raised(
    project: RealProject,
    start: Callable[..., WatchProgram],
    factory: FakeFactory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = RuntimeError("the reader is broken")

    def read(*_: object) -> None:
        raise broken

    with pytest.raises(WatchError, match="Watching stopped: the reader is broken") as caught:
        async with start():
            monkeypatch.setattr(Reader, "read", read)
            project.save("pricing.py", QUOTE + "\n")
            with trio.fail_after(DEADLINE):
                await trio.sleep_forever()
    assert caught.value.__cause__ is broken
    assert factory.latest.disposed
    assert_nothing_is_left(project)
    assert [record.getMessage() for record in caplog.records] == ["the watcher failed"]


async def test_if_watching_dies_what_the_body_raises_itself_still_leaves(
    project: RealProject, start: Callable[..., WatchProgram], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        async with start():
            monkeypatch.setattr(Reader, "read", lambda *_: 1 / 0)
            project.save("pricing.py", QUOTE + "\n")
            try:
                await trio.sleep_forever()
            finally:
                raise mine
    assert caught.value is mine


async def test_if_watching_dies_during_the_start_it_is_a_watch_error_too(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Reader.read

    def break_watching() -> None:
        monkeypatch.setattr(Reader, "read", lambda *_: 1 / 0)
        project.save("pricing.py", QUOTE + "\n")

    async def init_until_dead() -> None:
        break_watching()
        await trio.sleep_forever()

    factory.call("init", init_until_dead)
    with pytest.raises(WatchError) as caught:
        async with start():
            pytest.fail("it started")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert factory.latest.disposed
    assert not project.output.exists()
    monkeypatch.setattr(Reader, "read", read)
    await assert_another_starts(project)


def test_whatever_else_breaks_in_the_machine_is_a_watch_error_too(
    project: RealProject, start: Callable[..., WatchProgram], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = RuntimeError("the timer is broken")
    cancelled: list[bool] = []

    async def main() -> None:
        async with start():
            monkeypatch.setattr(TrioInterpreter, "_run_timer", raises_async(broken))
            project.save("pricing.py", QUOTE + "\n")
            try:
                await trio.sleep_forever()
            finally:
                cancelled.append(True)

    with pytest.raises(WatchError, match="Watching stopped") as caught:
        trio.run(main)
    assert caught.value.__cause__ is not None
    assert "the timer is broken" in "".join(traceback.format_exception(caught.value))
    assert cancelled == [True]
    assert_nothing_is_left(project)


class BrokenNotify:
    """A notifier of the system that breaks down, at its start or later."""

    def __init__(self, *_: object) -> None: ...

    def watch(self, *_: object) -> str:
        raise RuntimeError("no more events")

    def close(self) -> None: ...


class NoNotify:
    def __init__(self, *_: object) -> None:
        raise OSError("OS file watch limit reached.")


@pytest.mark.parametrize(
    ("notify", "reason"),
    [(BrokenNotify, "no more events"), (NoNotify, "fs.inotify.max_user_watches")],
    ids=["later", "at the start"],
)
def test_if_only_the_systems_notifier_gives_out_files_are_polled_and_the_user_is_told(
    notify: type,
    reason: str,
    project: RealProject,
    start: Callable[..., WatchProgram],
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        async with start():
            await told.success()
            project.save("pricing.py", MORE)
            await told.success()

    monkeypatch.setattr("lastgood.interpreters.watching.RustNotify", notify)
    trio.run(main)
    notices = [event for event in told.events if isinstance(event, PollingStarted)]
    assert len(notices) == 1
    assert reason in notices[0].reason
