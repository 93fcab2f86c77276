"""Handles and leases: which bridge a call goes to, how long it is held, and how calls are cut off."""

from __future__ import annotations

import asyncio

import pytest
import trio

from flavours import CANCELLED, Flavour
from lastgood.calls import leases
from lastgood.calls.registry import Slot
from lastgood.errors import BridgeError, Disposed, NoRuntimeBridge
from scripted_bridges import Named, Scripted, slot_with

# --- leases -----------------------------------------------------------------------------------------------------


def test_a_call_in_flight_stays_on_its_bridge_and_holds_it(flavour: Flavour) -> None:
    async def main() -> None:
        gate = flavour.event()
        slot, old = slot_with(Scripted(gate.wait))
        idle: list[str] = []
        async with flavour.tasks() as start:
            calls = [start(lambda: slot.handle.call("m", "f")) for _ in range(2)]
            await flavour.settle()
            assert old.count == 2
            assert slot.swap(Named("new")) is old
            assert old.on_idle(lambda: idle.append("idle")) is None
            assert (await slot.handle.call("m", "f"))[0] == "new"
            assert idle == []
            gate.set()
            for call in calls:
                await call.result()
            assert idle == ["idle"]
            assert old.count == 0

    flavour.run(main)


def test_of_several_calls_only_the_end_of_the_last_is_told(flavour: Flavour) -> None:
    async def main() -> None:
        gates = [flavour.event() for _ in range(3)]
        waiting = iter(gates)
        slot, old = slot_with(Scripted(lambda: next(waiting).wait()))
        idle: list[int] = []
        async with flavour.tasks() as start:
            calls = []
            for _ in gates:
                calls.append(start(lambda: slot.handle.call("m", "f")))
                await flavour.settle()
            slot.swap(Named("new"))
            old.on_idle(lambda: idle.append(old.count))
            for left, (gate, call) in enumerate(zip(gates, calls, strict=True), 1):
                gate.set()
                await call.result()
                assert (old.count, idle) == (3 - left, [0] if left == 3 else [])

    flavour.run(main)


def test_an_idle_bridge_is_told_so_at_once(flavour: Flavour) -> None:
    async def main() -> None:
        _, live = slot_with(Named("idle"))
        told: list[str] = []

        async def tell() -> None:
            told.append("awaited")

        assert live.on_idle(lambda: told.append("called")) is None
        pending = live.on_idle(tell)
        assert told == ["called"]
        assert pending is not None
        await pending
        assert told == ["called", "awaited"]

    flavour.run(main)


def test_what_a_call_raises_comes_as_it_is_and_ends_the_lease(flavour: Flavour) -> None:
    error = ValueError("the user's own")

    async def fail() -> None:
        raise error

    async def main() -> None:
        slot, live = slot_with(Scripted(fail))
        with pytest.raises(ValueError, match="the user's own") as caught:
            await slot.handle.call("m", "f")
        assert caught.value is error
        assert (error.__context__, error.__cause__) == (None, None)
        assert live.count == 0

    flavour.run(main)


def test_a_cancelled_call_ends_its_lease(flavour: Flavour) -> None:
    async def main() -> None:
        slot, live = slot_with(Scripted(flavour.event().wait))
        async with flavour.tasks() as start:
            call = start(lambda: slot.handle.call("m", "f"))
            await flavour.settle()
            call.cancel()
            assert await call.result() == CANCELLED
            assert live.count == 0

    flavour.run(main)


def test_the_task_that_ends_the_last_lease_waits_for_what_is_to_follow(flavour: Flavour) -> None:
    async def main() -> None:
        gate, following = flavour.event(), flavour.event()
        slot, live = slot_with(Scripted(gate.wait))
        async with flavour.tasks() as start:
            call = start(lambda: slot.handle.call("m", "f"))
            await flavour.settle()
            log: list[str] = []

            async def follow() -> None:
                log.append("begun")
                await following.wait()
                log.append("ended")

            live.on_idle(follow)
            call.cancel()
            await flavour.settle()
            assert log == ["begun"]
            call.cancel()
            await flavour.settle()
            assert not call.done()
            following.set()
            assert await call.result() == CANCELLED
            assert log == ["begun", "ended"], "neither cancellation reached it"

    flavour.run(main)


def test_a_cancellation_that_comes_while_it_waits_is_kept_for_later(flavour: Flavour) -> None:
    async def main() -> None:
        gate, following = flavour.event(), flavour.event()
        slot, live = slot_with(Scripted(gate.wait))

        async def call_and_go_on() -> str:
            await slot.handle.call("m", "f")
            await flavour.settle()
            return "went on"

        async def follow() -> None:
            await following.wait()

        async with flavour.tasks() as start:
            call = start(call_and_go_on)
            await flavour.settle()
            live.on_idle(follow)
            gate.set()
            await flavour.settle()
            call.cancel()
            await flavour.settle()
            following.set()
            assert await call.result() == CANCELLED

    flavour.run(main)


def test_what_follows_the_last_lease_never_hits_the_caller(flavour: Flavour, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        gate = flavour.event()
        slot, live = slot_with(Scripted(gate.wait))

        async def fail() -> None:
            raise RuntimeError("in the follower")

        told: list[str] = []
        async with flavour.tasks() as start:
            call = start(lambda: slot.handle.call("m", "f"))
            await flavour.settle()
            live.on_idle(fail)
            live.on_idle(lambda: told.append("next"))
            gate.set()
            await call.result()
        assert told == ["next"]

    flavour.run(main)
    assert [record.exc_info[1].args for record in caplog.records if record.exc_info and record.exc_info[1]] == [
        ("in the follower",)
    ]


def test_what_never_ends_after_the_last_lease_is_given_up(
    flavour: Flavour, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leases, "DISPOSE_TIMEOUT", 0.001)

    async def main() -> None:
        gate, never = flavour.event(), flavour.event()
        slot, live = slot_with(Scripted(gate.wait))

        async def follow() -> None:
            await never.wait()

        async with flavour.tasks() as start:
            call = start(lambda: slot.handle.call("m", "f"))
            await flavour.settle()
            live.on_idle(follow)
            gate.set()
            await call.result()

    flavour.run(main)
    assert "abandoned" in caplog.text


def test_after_close_calls_raise_disposed_and_those_in_flight_go_on(flavour: Flavour) -> None:
    async def main() -> None:
        gate = flavour.event()
        slot, live = slot_with(Scripted(gate.wait), owner="the session of a.toml")
        async with flavour.tasks() as start:
            call = start(lambda: slot.handle.call("m", "f"))
            await flavour.settle()
            assert slot.close() is live
            with pytest.raises(Disposed, match=r"the session of a\.toml is over"):
                await slot.handle.call("m", "f")
            with pytest.raises(Disposed):
                _ = slot.handle.bridge
            assert slot.close() is None
            gate.set()
            await call.result()

    flavour.run(main)


def test_before_the_first_swap_there_is_no_bridge(flavour: Flavour) -> None:
    async def main() -> None:
        slot = Slot("a test")
        with pytest.raises(NoRuntimeBridge):
            await slot.handle.call("m", "f")
        with pytest.raises(NoRuntimeBridge):
            _ = slot.handle.bridge

    flavour.run(main)


# --- cutting off ------------------------------------------------------------------------------------------------


def test_cutting_off_ends_each_call_in_flight_with_an_error_of_its_own(flavour: Flavour) -> None:
    async def main() -> None:
        slot, old = slot_with(Scripted(flavour.event().wait))
        async with flavour.tasks() as start:
            calls = [start(lambda: slot.handle.call("m", "f")) for _ in range(2)]
            await flavour.settle()
            slot.swap(Named("new"))
            old.cut_off(lambda: BridgeError("drained too long"))
            errors = []
            for call in calls:
                with pytest.raises(BridgeError, match="drained too long") as caught:
                    await call.result()
                assert caught.value.__context__ is None
                errors.append(caught.value)
            assert errors[0] is not errors[1]
            assert old.count == 0
            assert (await slot.handle.call("m", "f"))[0] == "new"

    flavour.run(main)


@pytest.mark.parametrize("first", ["user", "cut"])
def test_the_callers_own_cancellation_is_never_taken_for_a_cut(flavour: Flavour, first: str) -> None:
    async def main() -> None:
        slot, live = slot_with(Scripted(flavour.event().wait))
        async with flavour.tasks() as start:
            call = start(lambda: slot.handle.call("m", "f"))
            await flavour.settle()
            if first == "user":
                call.cancel()
            live.cut_off(BridgeError)
            call.cancel()
            assert await call.result() == CANCELLED

    flavour.run(main)


def test_a_call_that_outlives_the_cut_keeps_its_answer(flavour: Flavour) -> None:
    """Its task goes on uncancelled afterwards."""

    async def main() -> None:
        never = flavour.event()

        async def stubborn() -> str:
            try:
                await never.wait()
            except asyncio.CancelledError:
                return "answer"
            raise AssertionError

        async def shielded() -> str:
            with trio.CancelScope(shield=True):
                await gate.wait()
            return "answer"

        gate = flavour.event()
        slot, live = slot_with(Scripted(stubborn if flavour.name == "asyncio" else shielded))

        async def call_and_go_on() -> str:
            answer: str = await slot.handle.call("m", "f")
            await flavour.settle()
            return answer

        async with flavour.tasks() as start:
            call = start(call_and_go_on)
            await flavour.settle()
            live.cut_off(BridgeError)
            await flavour.settle()
            gate.set()
            assert await call.result() == "answer"

    flavour.run(main)


def test_what_a_call_raises_while_being_cut_comes_as_it_is(flavour: Flavour) -> None:
    async def main() -> None:
        async def fail() -> None:
            try:
                await flavour.event().wait()
            finally:
                raise TimeoutError("the bridge's own")

        slot, live = slot_with(Scripted(fail))
        async with flavour.tasks() as start:
            call = start(lambda: slot.handle.call("m", "f"))
            await flavour.settle()
            live.cut_off(BridgeError)
            with pytest.raises(TimeoutError, match="the bridge's own"):
                await call.result()

    flavour.run(main)


def test_cutting_off_an_idle_bridge_does_nothing() -> None:
    _, live = slot_with(Named("idle"))
    live.cut_off(BridgeError)
    assert live.count == 0
