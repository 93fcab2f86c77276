"""A bridge that does work of its own is told when it is live, and may end what it has begun when it is replaced."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from lastgood.config import Config
from lastgood.errors import BridgeError
from lastgood.session.reloader import create_bridge_reloader
from lastgood.session.watch import WatchProgram
from lastgood.watch_events import BridgeRestored, ReloadError
from real_project import FakeBridge, FakeFactory, RealProject, Told, in_virtual_time


class BusyBridge(FakeBridge):
    """What it has begun is done when ``done`` is set."""

    def __init__(self, number: int, pause: Callable[[str], Any]) -> None:
        super().__init__(number, pause)
        self.done = trio.Event()
        self.gone = trio.Event()

    def live(self) -> None:
        self.log.append("live")

    async def idle(self) -> None:
        self.log.append("idle")
        try:
            await self.done.wait()
        except trio.Cancelled:
            self.log.append("idle was cancelled")
            raise

    async def dispose(self) -> None:
        await super().dispose()
        self.gone.set()


@pytest.fixture
def factory() -> FakeFactory:
    factory = FakeFactory()

    async def create_bridge(config: Config) -> FakeBridge:
        factory.configs.append(config)
        await factory.pass_by("create")
        factory.bridges.append(BusyBridge(len(factory.bridges) + 1, factory.pass_by))
        return factory.latest

    factory.create_bridge = create_bridge  # type: ignore[method-assign]  # a session asks for it once it begins
    return factory


def busy(factory: FakeFactory, number: int) -> BusyBridge:
    bridge = factory.bridges[number]
    assert isinstance(bridge, BusyBridge)
    return bridge


async def test_a_bridge_is_told_that_it_is_live(start: Callable[..., WatchProgram], factory: FakeFactory) -> None:
    async with start() as session:
        assert busy(factory, 0).log == ["init", "probe", "live"]
        factory.fail("probe", RuntimeError("not ready"))
        assert not await session.reload_now()
        assert busy(factory, 1).log == ["init", "probe", "dispose"]
        busy(factory, 0).done.set()


async def test_what_a_replaced_bridge_has_begun_holds_up_neither_this_cycle_nor_the_next(
    start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    async with start(drain_timeout=math.inf) as session:
        assert await session.reload_now()
        assert await session.reload_now()
        assert [bridge.disposed for bridge in factory.bridges] == [False, False, False]
        busy(factory, 0).done.set()
        await busy(factory, 0).gone.wait()
        assert busy(factory, 0).log == ["init", "probe", "live", "idle", "dispose"]
        assert not busy(factory, 1).disposed
        for bridge in factory.bridges:
            assert isinstance(bridge, BusyBridge)
            bridge.done.set()


async def test_calls_in_flight_and_what_the_bridge_has_begun_are_both_waited_for(
    start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    async with start(drain_timeout=math.inf) as session, trio.open_nursery() as nursery:
        first = busy(factory, 0)
        nursery.start_soon(session.handle.call, "pricing", "wait", (), {})
        await first.in_flight.wait()
        assert await session.reload_now()
        first.done.set()
        await trio.testing.wait_all_tasks_blocked()
        assert not first.disposed
        first.answer.set()
        await first.gone.wait()
        busy(factory, 1).done.set()


def test_what_takes_longer_than_drain_timeout_is_cancelled(
    start: Callable[..., WatchProgram], factory: FakeFactory, told: Told
) -> None:
    async def main() -> float:
        async with start(drain_timeout=7) as session:
            began = trio.current_time()
            assert await session.reload_now()
            await busy(factory, 0).gone.wait()
            took = trio.current_time() - began
            busy(factory, 1).done.set()
            return took

    assert in_virtual_time(main) >= 7
    assert busy(factory, 0).log == ["init", "probe", "live", "idle", "idle was cancelled", "dispose"]
    assert not any(isinstance(event, ReloadError) for event in told.events)


def test_a_close_waits_for_the_last_bridge_within_drain_timeout(
    start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    async def main() -> float:
        async with start(drain_timeout=7):
            began = trio.current_time()
        return trio.current_time() - began

    assert in_virtual_time(main) >= 7
    assert busy(factory, 0).log == ["init", "probe", "live", "idle", "idle was cancelled", "dispose"]


async def test_of_a_lost_bridge_nothing_is_waited_for_and_the_next_one_is_live(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    project.save("lastgood.toml", '[modules.pricing]\n[output]\ndir = "generated"\n[runtime.process]\nprobation = 0\n')
    async with start() as session:
        stream = session.events()
        busy(factory, 0).breakdown.set()
        async for event in stream:
            if isinstance(event, BridgeRestored):
                break
        await busy(factory, 0).gone.wait()
        assert busy(factory, 0).log == ["init", "probe", "live", "dispose"]
        assert busy(factory, 1).log == ["init", "probe", "live"]
        busy(factory, 1).done.set()


@pytest.mark.parametrize("method", ["live", "idle"])
async def test_an_error_of_either_is_logged_and_does_no_harm(
    method: str,
    start: Callable[..., WatchProgram],
    factory: FakeFactory,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(BusyBridge, method, fail)
    with caplog.at_level(logging.ERROR, "lastgood"):
        async with start() as session:
            busy(factory, 0).done.set()
            assert await session.reload_now()
            await busy(factory, 0).gone.wait()
            busy(factory, 1).done.set()
    assert f"{method}() of" in caplog.text
    caplog.clear()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
async def test_an_idle_that_raises_what_is_no_exception_is_logged_too(
    error: type[BaseException],
    start: Callable[..., WatchProgram],
    factory: FakeFactory,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(BusyBridge, "idle", fail)
    async with start() as session:
        assert await session.reload_now()
        await busy(factory, 0).gone.wait()
    assert "idle() of a replaced bridge raised" in caplog.text
    assert busy(factory, 1).disposed


@pytest.mark.parametrize("method", ["idle", "lost", "prepare_spare"])
def test_a_task_that_fails_when_its_method_is_cancelled_is_logged(
    method: str,
    start: Callable[..., WatchProgram],
    factory: FakeFactory,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def clean_up() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise RuntimeError("no")

    async def run(_: object) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(clean_up)
            await trio.sleep_forever()

    async def main() -> None:
        async with start(drain_timeout=7) as session:
            await trio.sleep(1)
            assert await session.reload_now()
            await busy(factory, 0).gone.wait()

    monkeypatch.setattr(BusyBridge, method, run, raising=False)
    in_virtual_time(main)
    assert f"{method}() of" in caplog.text
    assert busy(factory, 1).disposed


@pytest.mark.usefixtures("factory")
async def test_a_live_that_is_async_is_refused_before_it_is_live(
    start: Callable[..., WatchProgram], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def live(_: object) -> None: ...

    monkeypatch.setattr(BusyBridge, "live", live)
    with pytest.raises(BridgeError, match=r"BusyBridge, whose live\(\) is async.*make it a plain method"):
        async with start():
            pass


@pytest.mark.parametrize("method", ["live", "tell"])
async def test_a_method_of_the_swap_that_exits_is_logged(
    method: str,
    start: Callable[..., WatchProgram],
    factory: FakeFactory,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def leave(*_: object) -> None:
        raise SystemExit(3)

    monkeypatch.setattr(BusyBridge, method, leave, raising=False)
    async with start() as session:
        busy(factory, 0).done.set()
        assert await session.reload_now()
        assert session.generation == 2
        busy(factory, 1).done.set()
    assert f"{method}() of the live bridge raised" in caplog.text


async def test_a_reloader_tells_and_asks_its_bridges_too() -> None:
    made: list[BusyBridge] = []

    async def pause(_: str) -> None: ...

    def create() -> BusyBridge:
        made.append(BusyBridge(len(made) + 1, pause))
        made[-1].done.set()
        return made[-1]

    async with await create_bridge_reloader(create) as reloader:
        await reloader.reload()
        assert made[0].log == ["init", "live", "idle", "dispose"]
        assert made[1].log == ["init", "live"]


async def test_the_live_bridge_is_told_its_generation_and_whether_it_is_stale(
    start: Callable[..., WatchProgram], factory: FakeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, int, bool]] = []

    def tell(bridge: FakeBridge, generation: int, stale: bool) -> None:
        told.append((bridge.log[-1], generation, stale))

    monkeypatch.setattr(BusyBridge, "tell", tell, raising=False)
    async with start() as session:
        assert told == [("probe", 1, False)]
        factory.fail("probe", RuntimeError("not ready"))
        assert not await session.reload_now()
        assert told[1:] == [("live", 1, True)]
        assert await session.reload_now()
        assert told[2:] == [("probe", 2, False)]
        for bridge in factory.bridges:
            assert isinstance(bridge, BusyBridge)
            bridge.done.set()
