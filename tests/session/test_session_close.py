"""``close()``: in mid-cycle, with calls in flight, and what is left afterwards."""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from lastgood.calls import registry as runtime
from lastgood.config import Config
from lastgood.errors import AlreadyWatched, Disposed, NoRuntimeBridge
from lastgood.session.session import Session
from lastgood.session.watch import WatchProgram
from lastgood.watch_events import DisposeFailed
from lastgood.wrappers import Generated
from real_project import (
    DEADLINE,
    MINE,
    FakeBridge,
    FakeFactory,
    Pause,
    RealProject,
    Told,
    assert_nothing_is_left,
    hold_promote,
    in_virtual_time,
)

# --- close() ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["generate", "generate plain", "promote", "create", "init", "probe"])
async def test_close_in_mid_cycle_wins(
    point: str,
    project: RealProject,
    start: Callable[..., WatchProgram],
    factory: FakeFactory,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: list[bool] = []
    texts = iter(("one", "two"))

    async def generate(_: Config, stage: Path) -> Generated:
        text = next(texts)
        await trio.to_thread.run_sync((stage / "pricing.py").write_text, text)
        await factory.pass_by("generate")
        return Generated(("pricing.py",))

    def generate_plain(_: Config, stage: Path) -> Generated:
        (stage / "pricing.py").write_text(next(texts))
        if holding:
            pause.here_in_thread()
        return Generated(("pricing.py",))

    async def reload(session: Session) -> None:
        answers.append(await session.reload_now())

    holding = False
    plain = point == "generate plain"
    async with (
        trio.open_nursery() as nursery,
        start(generate=generate_plain if plain else generate) as session,
    ):
        before, events, first = project.exact_tree(), len(told.events), factory.latest
        holding = True
        pause = hold_promote(monkeypatch) if point == "promote" else Pause() if plain else factory.pause(point)
        nursery.start_soon(reload, session)
        await pause.reached.wait()
        nursery.start_soon(session.close)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(NoRuntimeBridge):
            runtime.get_runtime_bridge()
        pause.go()  # a thread cannot be stopped: close() waits for it
        await session.close()
        assert answers == [False]
        assert [event.type for event in told.events[events:]] == ["reload-start"]
        assert project.exact_tree() == before
        assert first.disposed
        assert all(bridge.disposed for bridge in factory.bridges)
        assert_nothing_is_left(project)
    assert [event.type for event in told.events[events:]] == ["reload-start"]


async def test_a_bridge_that_ends_in_the_background_holds_up_no_cycle_but_the_close(
    start: Callable[..., WatchProgram], factory: FakeFactory, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeBridge, "ends_in_background", True, raising=False)
    closed: list[bool] = []
    async with trio.open_nursery() as nursery, start() as session:
        await told.success()
        first = factory.latest
        pause = factory.pause("dispose")
        assert await session.reload_now()
        await pause.reached.wait()
        assert await session.reload_now(), "nor does it hold up the next one"
        assert first.disposed

        async def close() -> None:
            await session.close()
            closed.append(True)

        nursery.start_soon(close)
        await trio.testing.wait_all_tasks_blocked()
        assert not closed
        pause.go()
    assert closed
    assert all(bridge.log.count("dispose") == 1 for bridge in factory.bridges)


async def test_close_after_the_swap_lets_the_cycle_end_in_silence(
    start: Callable[..., WatchProgram], factory: FakeFactory, told: Told
) -> None:
    answers: list[bool] = []
    async with trio.open_nursery() as nursery, start() as session:

        async def reload() -> None:
            answers.append(await session.reload_now())

        pause = factory.pause("dispose")  # of the first bridge
        nursery.start_soon(reload)
        await pause.reached.wait()
        nursery.start_soon(session.close)
        await trio.testing.wait_all_tasks_blocked()
        pause.go()
    assert answers == [False]
    assert [event.type for event in told.events][-2:] == ["reload-success", "reload-start"]
    assert all(bridge.disposed for bridge in factory.bridges)


async def test_a_closed_session_says_so(start: Callable[..., WatchProgram], factory: FakeFactory) -> None:
    async with start() as session:
        handle = session.handle
        await session.close()
        await session.close()
        await session.wait_closed()
        with pytest.raises(Disposed):
            await session.reload_now()
        with pytest.raises(Disposed):
            _ = session.bridge
        with pytest.raises(Disposed):
            await handle.call("pricing", "quote")
        with pytest.raises(NoRuntimeBridge):
            runtime.get_runtime_bridge()
        assert [event async for event in session.events()] == []
        assert factory.latest.log.count("dispose") == 1
    with pytest.raises(Disposed):
        await session.reload_now()


async def test_reload_now_that_waits_is_told_false_by_a_close(start: Callable[..., WatchProgram]) -> None:
    answers: list[bool] = []
    async with trio.open_nursery() as nursery, start() as session:

        async def reload() -> None:
            answers.append(await session.reload_now())

        nursery.start_soon(reload)
        nursery.start_soon(reload)
        await trio.testing.wait_all_tasks_blocked(0)
        await session.close()
    assert len(answers) == 2
    assert set(answers) <= {True, False}


async def test_close_gives_calls_in_flight_the_drain_timeout(
    start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    answers: list[object] = []
    async with trio.open_nursery() as nursery, start(drain_timeout=DEADLINE) as session:

        async def call() -> None:
            answers.append(await session.handle.call("pricing", "wait"))

        nursery.start_soon(call)
        await factory.latest.in_flight.wait()
        nursery.start_soon(session.close)
        await trio.testing.wait_all_tasks_blocked()
        assert not factory.latest.disposed
        factory.latest.answer.set()
    assert answers == [1]
    assert factory.latest.disposed


def test_a_hanging_dispose_at_close_is_given_up(
    start: Callable[..., WatchProgram], factory: FakeFactory, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> float:
        async with start(drain_timeout=50) as session:
            factory.hang("dispose")
            began = trio.current_time()
            await session.close()
            return trio.current_time() - began

    caplog.set_level(logging.CRITICAL)
    took = in_virtual_time(main)
    assert 50 <= took < 60


def test_a_bridge_that_says_how_long_its_dispose_takes_has_that_time(
    start: Callable[..., WatchProgram], factory: FakeFactory, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    monkeypatch.setattr(FakeBridge, "ends_within", 70.0, raising=False)

    async def main() -> float:
        async with start(drain_timeout=0) as session:
            factory.hang("dispose")
            began = trio.current_time()
            assert await session.reload_now()
            return trio.current_time() - began

    assert 70 <= in_virtual_time(main) < 75
    assert [type(event) for event in told.events if isinstance(event, DisposeFailed)] == [DisposeFailed]


# --- nothing leaks ----------------------------------------------------------------------------------------------


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def our_threads() -> list[str]:
    """Threads that run code of ours or of the notifier: idle ones of trio's cache do not count."""
    return [thread.name for thread in threading.enumerate() if "lastgood" in thread.name or "watch" in thread.name]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors by /proc")
async def test_thirty_sessions_leave_no_task_no_thread_no_descriptor(
    project: RealProject, start: Callable[..., WatchProgram]
) -> None:
    async with start():
        pass
    tasks = trio.lowlevel.current_statistics().tasks_living
    descriptors = open_descriptors()
    for _ in range(30):
        async with start() as session:
            assert await session.reload_now()
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    gc.collect()
    with trio.fail_after(DEADLINE):
        # The notifier's thread lets go of its descriptors a moment after it was told to.
        while open_descriptors() > descriptors:
            await trio.to_thread.run_sync(os.sched_yield)
    with trio.fail_after(DEADLINE):
        while our_threads():
            await trio.to_thread.run_sync(os.sched_yield)
    assert_nothing_is_left(project)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors by /proc")
async def test_starts_that_fail_leave_no_descriptor(start: Callable[..., WatchProgram], factory: FakeFactory) -> None:
    async with start() as first:
        await first.close()
        descriptors = open_descriptors()
    async with start():
        for _ in range(10):
            with pytest.raises(AlreadyWatched):
                async with start(set_as_global=False, generate=lambda *_: Generated(())):
                    pytest.fail("it started")
    for _ in range(10):
        factory.fail("init", MINE)
        with pytest.raises(LookupError):
            async with start():
                pytest.fail("it started")
    gc.collect()
    with trio.fail_after(DEADLINE):
        while open_descriptors() > descriptors:
            await trio.to_thread.run_sync(os.sched_yield)
