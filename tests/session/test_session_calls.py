"""Calls and workers of a session when a cycle fails and when the session closes."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

from lastgood.bridges.process import ProcessBridge
from lastgood.errors import BridgeError
from lastgood.session.watch import WatchProgram, watch
from real_project import BROKEN, DEADLINE, FakeBridge, FakeFactory, RealProject, in_virtual_time


async def test_a_call_in_flight_outlives_a_failed_cycle(
    start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    answers: list[object] = []
    async with start() as session, trio.open_nursery() as nursery:

        async def call() -> None:
            answers.append(await session.handle.call("pricing", "wait"))

        first = factory.latest
        nursery.start_soon(call)
        await first.in_flight.wait()
        for point in ("create", "init", "probe"):
            factory.fail(point, LookupError("mine"))
            assert not await session.reload_now()
        assert (answers, first.disposed) == ([], False)
        first.answer.set()
    assert answers == [1]


async def test_the_status_has_the_calls_in_flight_by_generation(
    start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    """Those of a replaced generation too, as long as there are any."""

    async def call(number: int) -> None:
        for _ in range(number):
            nursery.start_soon(session.handle.call, "pricing", "wait")
        await factory.latest.in_flight.wait()
        await trio.testing.wait_all_tasks_blocked()

    async with start() as session, trio.open_nursery() as nursery:
        assert session.status.calls == {}
        await call(1)
        factory.fail("init", LookupError("mine"))
        assert not await session.reload_now()
        assert session.status.calls == {1: 1}
        assert await session.reload_now()
        assert session.status.calls == {1: 1}
        await call(2)
        assert session.status.calls == {1: 1, 2: 2}
        factory.bridges[0].answer.set()
        await trio.testing.wait_all_tasks_blocked()
        assert session.status.calls == {2: 2}
        factory.latest.answer.set()
    assert session.status.calls == {}


def test_a_call_that_outlasts_the_drain_timeout_of_a_close_is_a_bridge_error(
    start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    took: list[float] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery, start(drain_timeout=7) as session:

            async def call() -> None:
                with pytest.raises(BridgeError):
                    await session.handle.call("pricing", "wait")
                took.append(trio.current_time() - began)

            nursery.start_soon(call)
            await factory.latest.in_flight.wait()
            began = trio.current_time()
            await session.close()

    in_virtual_time(main)
    assert 7 <= took[0] < 8
    assert factory.latest.disposed


def test_a_close_cuts_off_after_ten_seconds_what_may_drain_for_ever_otherwise(
    start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    cut_off: list[tuple[float, str]] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery, start(drain_timeout=math.inf) as session:

            async def call() -> None:
                with pytest.raises(BridgeError) as caught:
                    await session.handle.call("pricing", "wait")
                cut_off.append((trio.current_time() - began, str(caught.value)))

            nursery.start_soon(call)
            await factory.latest.in_flight.wait()
            assert await session.reload_now()
            nursery.start_soon(call)
            await factory.latest.in_flight.wait()
            await trio.sleep(30)
            assert cut_off == []
            began = trio.current_time()
            await session.close()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))
    assert [10 <= seconds < 11 for seconds, _ in cut_off] == [True, True]
    assert all("it had not ended 10 s after" in text for _, text in cut_off)
    assert all(bridge.disposed for bridge in factory.bridges)


def test_a_dispose_that_hangs_is_given_up_also_where_calls_may_drain_for_ever(
    start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    async def main() -> None:
        async with start(drain_timeout=math.inf) as session:
            factory.hang("dispose")
            assert await session.reload_now()
            factory.hang("dispose")

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))


async def test_a_plain_create_bridge_and_a_plain_probe_run_on_the_sessions_loop(
    start: Callable[..., WatchProgram],
) -> None:
    where: list[tuple[int, object]] = []

    def note() -> None:
        where.append((threading.get_ident(), trio.lowlevel.current_trio_token()))

    async def nothing(_: str) -> None: ...

    def create_bridge(_: object) -> FakeBridge:
        note()
        return FakeBridge(1, nothing)

    async with start(create_bridge=create_bridge, probe=lambda _: note()):
        pass
    assert where == [(threading.get_ident(), trio.lowlevel.current_trio_token())] * 2


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_of_the_default_bridge_no_worker_is_left_after_a_swap_a_failure_and_close(project: RealProject) -> None:
    source = "import os\ndef pid() -> int:\n    return os.getpid()\n"
    project.save("pricing.py", source)
    pids: list[Any] = []

    def refuse(_: object) -> None:
        if len(pids) == 2:
            raise LookupError("not ready")

    with trio.fail_after(DEADLINE):
        async with watch(project.config_file, probe=refuse) as session:
            assert type(session.bridge) is ProcessBridge
            pids.append(await session.handle.call("pricing", "pid"))
            assert await session.reload_now()
            pids.append(await session.handle.call("pricing", "pid"))
            assert lives(pids[1])  # the first one has been told to exit
            assert not await session.reload_now()
            project.save("pricing.py", BROKEN)
            assert not await session.reload_now()
            assert await session.handle.call("pricing", "pid") == pids[1]
            await session.close()
            assert [lives(pid) for pid in pids] == [False, False]
