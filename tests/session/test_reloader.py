"""lastgood.session.reloader: one live bridge, replaced when told, under trio and asyncio alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from flavours import CANCELLED, Flavour, Task
from lastgood.errors import BridgeError, Disposed, NoRuntimeBridge
from lastgood.runtime import clear_runtime_bridge, get_runtime_bridge, set_runtime_bridge
from lastgood.session import reloader as reloader_module
from lastgood.session.reloader import create_bridge_reloader
from reloaded_bridges import Bridge, Factory

pytestmark = pytest.mark.usefixtures("cleared_registry")


def test_current_is_the_factorys_own_object(flavour: Flavour) -> None:
    async def main() -> None:
        factory = Factory()
        async with await create_bridge_reloader(factory) as reloader:
            (first,) = factory.made
            assert reloader.current is first
            assert reloader.handle.bridge is first
            assert get_runtime_bridge().bridge is first
            assert first.log == ["init"]
        assert first.log == ["init", "dispose", "disposed"]
        with pytest.raises(NoRuntimeBridge):
            get_runtime_bridge()

    flavour.run(main)


def test_a_plain_factory_and_a_bridge_without_init_do(flavour: Flavour) -> None:
    class Plain:
        async def call(self, *_args: Any, **_kwargs: Any) -> str:
            return "plain"

        async def dispose(self) -> None: ...

    async def main() -> None:
        async with await create_bridge_reloader(lambda: Plain()) as reloader:
            assert isinstance(await reloader.reload(), Plain)
            assert await get_runtime_bridge().call("m", "f") == "plain"

    flavour.run(main)


def test_reload_gives_the_new_bridge_and_the_old_one_is_gone_by_then(flavour: Flavour) -> None:
    async def main() -> None:
        factory = Factory()
        async with await create_bridge_reloader(factory) as reloader:
            handle = get_runtime_bridge()
            assert await handle.call("m", "f") == 1
            new = await reloader.reload()
            first, second = factory.made
            assert new is second is reloader.current
            assert first.disposed
            assert second.log == ["init"]
            assert await handle.call("m", "f") == 2

    flavour.run(main)


def test_the_old_bridge_is_live_until_the_swap(flavour: Flavour) -> None:
    async def main() -> None:
        factory = Factory()
        async with await create_bridge_reloader(factory) as reloader, flavour.tasks() as start:
            gate = flavour.event()

            async def slow_init(bridge: Bridge) -> None:
                bridge.on_init = gate.wait

            factory.script = slow_init
            reload = start(reloader.reload)
            await flavour.settle()
            assert reloader.current is factory.made[0]
            assert await reloader.handle.call("m", "f") == 1
            gate.set()
            assert await reload.result() is factory.made[1] is reloader.current

    flavour.run(main)


# --- failures ---------------------------------------------------------------------------------------------------

BOOM = OSError("the factory's own")


async def boom(*_: object) -> None:
    raise BOOM


def boom_at_once(*_: object) -> None:
    raise BOOM


async def boom_in_init(bridge: Bridge) -> None:
    bridge.on_init = boom


@pytest.mark.parametrize("script", [boom, boom_at_once, boom_in_init], ids=["async factory", "factory", "init"])
def test_a_failed_reload_leaves_the_old_one_live(flavour: Flavour, script: Callable[[Bridge], Any]) -> None:
    async def main() -> None:
        factory = Factory()
        async with await create_bridge_reloader(factory) as reloader:
            factory.script = script
            with pytest.raises(OSError, match="the factory's own") as caught:
                await reloader.reload()
            assert caught.value is BOOM
            assert caught.value.__context__ is None
            first, second = factory.made
            assert reloader.current is first
            assert not first.disposed
            assert second.disposed == (script is boom_in_init)
            assert await get_runtime_bridge().call("m", "f") == 1
            factory.script = lambda _: None
            assert (await reloader.reload()).number == 3

    flavour.run(main)


@pytest.mark.parametrize("script", [boom, boom_in_init], ids=["factory", "init"])
def test_a_failed_start_publishes_nothing(flavour: Flavour, script: Callable[[Bridge], Any]) -> None:
    async def main() -> None:
        factory = Factory()
        factory.script = script
        with pytest.raises(OSError, match="the factory's own") as caught:
            await create_bridge_reloader(factory)
        assert caught.value is BOOM
        assert factory.made[0].disposed == (script is boom_in_init)
        set_runtime_bridge(Bridge())
        clear_runtime_bridge()
        factory.script = lambda _: None
        await (await create_bridge_reloader(factory)).dispose()

    flavour.run(main)


def test_a_factory_that_gives_no_new_bridge_is_told(flavour: Flavour) -> None:
    async def main() -> None:
        with pytest.raises(BridgeError, match="create_bridge returned None; expected a new bridge"):
            await create_bridge_reloader(lambda: None)  # type: ignore[arg-type, return-value]  # what is tried
        only = Bridge()
        async with await create_bridge_reloader(lambda: only) as reloader:
            with pytest.raises(BridgeError, match="create_bridge returned the live bridge"):
                await reloader.reload()
            assert reloader.current is only
            assert not only.disposed

    flavour.run(main)


@pytest.mark.parametrize("where", ["factory", "init"])
def test_a_cancelled_reload_leaves_the_old_one_live(flavour: Flavour, where: str) -> None:
    async def main() -> None:
        factory = Factory()
        async with await create_bridge_reloader(factory) as reloader, flavour.tasks() as start:
            never, let_go = flavour.event(), flavour.event()

            async def hang(bridge: Bridge) -> None:
                bridge.on_init, bridge.on_dispose = never.wait, let_go.wait
                if where == "factory":
                    await never.wait()

            factory.script = hang
            reload = start(reloader.reload)
            await flavour.settle()
            reload.cancel()
            await flavour.settle()
            let_go.set()
            assert await reload.result() == CANCELLED
            first, second = factory.made
            assert reloader.current is first
            assert second.disposed == (where == "init"), "to its end, though its task is cancelled"
            factory.script = lambda _: None
            assert (await reloader.reload()).number == 3

    flavour.run(main)


# --- the old bridge's end -------------------------------------------------------------------------------------


def test_a_call_in_flight_keeps_the_old_bridge_until_it_returns(flavour: Flavour) -> None:
    async def main() -> None:
        factory = Factory()
        async with await create_bridge_reloader(factory) as reloader, flavour.tasks() as start:
            gate = flavour.event()
            (first,) = factory.made
            first.on_call = gate.wait
            call = start(lambda: get_runtime_bridge().call("m", "f"))
            await flavour.settle()
            await reloader.reload()
            assert not first.disposed
            gate.set()
            assert await call.result() == 1
            assert first.disposed

    flavour.run(main)


@pytest.mark.parametrize("in_flight", [False, True], ids=["idle", "call in flight"])
def test_a_dispose_that_fails_is_logged_and_hits_nobody(
    flavour: Flavour, in_flight: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        factory = Factory()
        async with await create_bridge_reloader(factory) as reloader, flavour.tasks() as start:
            gate = flavour.event()
            (first,) = factory.made
            first.on_dispose, first.on_call = boom, gate.wait
            calls: list[Task] = [start(lambda: reloader.handle.call("m", "f"))] if in_flight else []
            await flavour.settle()
            assert (await reloader.reload()).number == 2
            gate.set()
            for call in calls:
                assert await call.result() == 1

    flavour.run(main)
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[1] is BOOM


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), GeneratorExit()], ids=repr)
def test_an_end_that_exits_is_logged_and_the_old_bridge_is_disposed(
    flavour: Flavour, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    async def leave(*_: object) -> None:
        raise error

    def leave_at_once(*_: object) -> None:
        raise error

    class Leaving(Bridge):
        idle = leave
        live = leave_at_once

    factory = Factory()

    async def create() -> Bridge:
        factory.made.append(Leaving(len(factory.made) + 1))
        factory.made[-1].on_dispose = leave
        return factory.made[-1]

    async def main() -> None:
        async with await create_bridge_reloader(create) as reloader:
            assert (await reloader.reload()).number == 2
            assert factory.made[0].log[-1] == "dispose"

    flavour.run(main)
    assert factory.made[1].log[-1] == "dispose"
    for said in ("live() of the live bridge raised", "Waiting for idle() of", "Disposing of"):
        assert said in caplog.text


def test_an_idle_that_hangs_is_given_up_before_dispose(
    flavour: Flavour, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloader_module, "DISPOSE_TIMEOUT", 0.001)

    class Busy(Bridge):
        async def idle(self) -> None:
            await flavour.event().wait()

    async def main() -> None:
        first = Busy()
        async with await create_bridge_reloader(lambda: Busy() if first.log else first) as reloader:
            await reloader.reload()
            assert first.disposed

    flavour.run(main)
    assert "Waiting for idle() of" in caplog.text


def test_a_dispose_that_hangs_is_given_up(
    flavour: Flavour, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloader_module, "DISPOSE_TIMEOUT", 0.001)

    async def main() -> None:
        factory = Factory()
        async with await create_bridge_reloader(factory) as reloader:
            factory.made[0].on_dispose = flavour.event().wait
            assert (await reloader.reload()).number == 2

    flavour.run(main)
    assert "was given up" in caplog.text


# --- taking turns --------------------------------------------------------------------------------------------


def test_reloads_take_turns(flavour: Flavour) -> None:
    async def main() -> None:
        factory = Factory()
        async with await create_bridge_reloader(factory) as reloader, flavour.tasks() as start:
            gate = flavour.event()
            factory.script = lambda _: gate.wait()
            reloads = [start(reloader.reload) for _ in range(3)]
            await flavour.settle()
            assert len(factory.made) == 2, "one at a time"
            gate.set()
            assert sorted([(await reload.result()).number for reload in reloads]) == [2, 3, 4]
            assert [bridge.disposed for bridge in factory.made] == [True, True, True, False]

    flavour.run(main)


def test_a_failure_is_told_to_its_own_caller_alone(flavour: Flavour) -> None:
    async def main() -> None:
        factory = Factory()
        async with await create_bridge_reloader(factory) as reloader, flavour.tasks() as start:
            gate = flavour.event()

            async def fail_once(bridge: Bridge) -> None:
                await gate.wait()
                if bridge.number == 2:
                    raise BOOM

            factory.script = fail_once
            first = start(reloader.reload)
            await flavour.settle()
            second = start(reloader.reload)
            await flavour.settle()
            gate.set()
            with pytest.raises(OSError, match="the factory's own"):
                await first.result()
            assert (await second.result()).number == 3

    flavour.run(main)


@pytest.mark.parametrize("what", ["reload", "dispose"])
@pytest.mark.parametrize("where", ["factory", "init"])
def test_from_inside_the_factory_it_raises_instead_of_hanging(flavour: Flavour, what: str, where: str) -> None:
    async def main() -> None:
        factory = Factory()
        async with await create_bridge_reloader(factory) as reloader:

            async def reenter(bridge: Bridge) -> None:
                if where == "factory":
                    await getattr(reloader, what)()
                else:
                    bridge.on_init = getattr(reloader, what)

            factory.script = reenter
            with pytest.raises(BridgeError, match=rf"{what}\(\) was called from inside create_bridge"):
                await reloader.reload()
            assert reloader.current.number == 1

    flavour.run(main)


def test_a_task_that_a_factory_leaves_behind_may_reload(flavour: Flavour) -> None:
    async def main() -> None:
        factory = Factory()
        async with await create_bridge_reloader(factory) as reloader, flavour.tasks() as start:
            gate = flavour.event()
            left: list[Task] = []

            async def later() -> Bridge:
                await gate.wait()
                return await reloader.reload()

            factory.script = lambda _: left.append(start(later))
            await reloader.reload()
            next_gate = flavour.event()
            factory.script = lambda _: next_gate.wait()
            reload = start(reloader.reload)
            await flavour.settle()
            gate.set()
            await flavour.settle()
            next_gate.set()
            assert (await reload.result()).number == 3
            assert (await left[0].result()).number == 4, "it waited for its turn"

    flavour.run(main)


# --- the end --------------------------------------------------------------------------------------------------


def test_after_dispose_everything_says_so(flavour: Flavour) -> None:
    async def main() -> None:
        factory = Factory()
        reloader = await create_bridge_reloader(factory)
        await reloader.dispose()
        await reloader.dispose()
        assert factory.made[0].log == ["init", "dispose", "disposed"]
        with pytest.raises(Disposed):
            _ = reloader.current
        with pytest.raises(Disposed):
            await reloader.reload()
        with pytest.raises(Disposed):
            await reloader.handle.call("m", "f")
        assert len(factory.made) == 1

    flavour.run(main)


def test_dispose_lets_a_call_in_flight_return(flavour: Flavour) -> None:
    async def main() -> None:
        factory = Factory()
        reloader = await create_bridge_reloader(factory)
        async with flavour.tasks() as start:
            gate = flavour.event()
            (first,) = factory.made
            first.on_call = gate.wait
            call = start(lambda: reloader.handle.call("m", "f"))
            await flavour.settle()
            await reloader.dispose()
            assert not first.disposed
            gate.set()
            assert await call.result() == 1
            assert first.disposed

    flavour.run(main)


@pytest.mark.parametrize("where", ["factory", "init"])
def test_dispose_during_a_reload_wins(flavour: Flavour, where: str) -> None:
    async def main() -> None:
        factory = Factory()
        reloader = await create_bridge_reloader(factory)
        async with flavour.tasks() as start:
            gate = flavour.event()

            async def wait(bridge: Bridge) -> None:
                bridge.on_init = gate.wait
                if where == "factory":
                    await gate.wait()

            factory.script = wait
            reload = start(reloader.reload)
            await flavour.settle()
            waiting = start(reloader.reload)
            await flavour.settle()
            await reloader.dispose()
            gate.set()
            for task in (reload, waiting):
                with pytest.raises(Disposed):
                    await task.result()
            first, second = factory.made
            assert first.disposed
            assert second.disposed
            with pytest.raises(NoRuntimeBridge):
                get_runtime_bridge()

    flavour.run(main)


# --- the registry ---------------------------------------------------------------------------------------------


def test_a_second_one_fails_before_its_factory_is_called(flavour: Flavour) -> None:
    async def main() -> None:
        async with await create_bridge_reloader(Factory()) as reloader:
            second = Factory()
            with pytest.raises(BridgeError, match="a bridge reloader is already"):
                await create_bridge_reloader(second)
            assert second.made == []
            assert get_runtime_bridge().bridge is reloader.current
            async with await create_bridge_reloader(second, set_as_global=False) as other:
                await other.reload()
                assert other.handle.bridge is second.made[1]
                assert get_runtime_bridge().bridge is reloader.current
            assert get_runtime_bridge().bridge is reloader.current

    flavour.run(main)


def test_a_bridge_set_by_hand_stays(flavour: Flavour) -> None:
    async def main() -> None:
        async with await create_bridge_reloader(Factory()) as reloader:
            mine = Bridge()
            set_runtime_bridge(mine)
            await reloader.reload()
            assert get_runtime_bridge().bridge is mine
        assert get_runtime_bridge().bridge is mine
        assert mine.log == []

    flavour.run(main)


def test_it_belongs_to_its_loop(flavour: Flavour) -> None:
    async def main() -> None:
        async with await create_bridge_reloader(Factory()) as reloader:
            with pytest.raises(BridgeError, match=r"reload\(\) was called from another event loop"):
                await flavour.in_thread(lambda: flavour.run(reloader.reload))

    flavour.run(main)


def test_without_a_loop_it_says_so() -> None:
    with pytest.raises(BridgeError, match="neither runs here"):
        create_bridge_reloader(Factory()).send(None)
