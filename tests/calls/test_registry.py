"""lastgood.runtime: the registry, handles and leases, under trio and asyncio alike (contract §2)."""

from __future__ import annotations

import asyncio
import functools
import logging
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import trio

from flavours import CANCELLED, FLAVOURS, Event, Flavour
from lastgood.calls import registry as runtime
from lastgood.calls.registry import (
    Leased,
    Slot,
    clear_runtime_bridge,
    get_runtime_bridge,
    publish,
    set_runtime_bridge,
    unpublish,
)
from lastgood.errors import BridgeError, Disposed, NoRuntimeBridge


@pytest.fixture(autouse=True)
def nothing_is_published() -> Iterator[None]:
    clear_runtime_bridge()
    yield
    clear_runtime_bridge()


@pytest.fixture(params=FLAVOURS, ids=lambda flavour: flavour.name)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    chosen: Flavour = request.param
    return chosen


class Named:
    """A bridge that answers each call with its own name and what it was called with."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def call(self, module: str, function: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return self.name, f"{module}.{function}", tuple(args), dict(kwargs)

    async def dispose(self) -> None: ...


class Scripted(Named):
    """A bridge whose calls do what they are told."""

    def __init__(self, script: Callable[[], Awaitable[Any]]) -> None:
        super().__init__("scripted")
        self.script = script

    async def call(self, *_args: Any, **_kwargs: Any) -> Any:
        return await self.script()


def slot_with(bridge: Named, owner: str = "a test") -> tuple[Slot, Leased]:
    slot = Slot(owner)
    assert slot.swap(bridge) is None
    assert slot.live is not None
    return slot, slot.live


# --- the registry ---------------------------------------------------------------------------------------------


def test_with_none_set_there_is_no_handle() -> None:
    with pytest.raises(NoRuntimeBridge) as caught:
        get_runtime_bridge()
    assert str(caught.value) == "No runtime bridge configured"


def test_a_handle_reaches_what_is_set_at_the_moment_of_the_call(flavour: Flavour) -> None:
    async def main() -> None:
        first, second = Named("first"), Named("second")
        set_runtime_bridge(first)
        handle = get_runtime_bridge()
        assert handle.bridge is first
        assert await handle.call("m", "f", (1,), {"x": 2}) == ("first", "m.f", (1,), {"x": 2})
        set_runtime_bridge(second)
        assert handle.bridge is second
        assert await handle.call("m", "f") == ("second", "m.f", (), {})
        clear_runtime_bridge()
        with pytest.raises(NoRuntimeBridge):
            await handle.call("m", "f")
        with pytest.raises(NoRuntimeBridge):
            _ = handle.bridge

    flavour.run(main)


def test_none_is_no_bridge() -> None:
    with pytest.raises(BridgeError, match=r"clear_runtime_bridge\(\)"):
        set_runtime_bridge(None)  # type: ignore[arg-type]  # what is tried


def test_a_published_slot_is_what_the_handle_reaches(flavour: Flavour) -> None:
    async def main() -> None:
        slot = Slot("a test")
        publish(slot)
        with pytest.raises(NoRuntimeBridge):
            get_runtime_bridge()
        slot.swap(Named("first"))
        handle = get_runtime_bridge()
        slot.swap(Named("second"))
        assert (await handle.call("m", "f"))[0] == "second"
        unpublish(slot)
        with pytest.raises(NoRuntimeBridge):
            await handle.call("m", "f")
        assert (await slot.handle.call("m", "f"))[0] == "second", "a slot's own handle needs no publishing"

    flavour.run(main)


def test_only_one_is_published_and_the_error_says_which() -> None:
    publish(Slot("the session of a.toml"))
    with pytest.raises(BridgeError, match=r"the session of a\.toml is already: a bridge reloader has") as caught:
        publish(Slot("a bridge reloader"))
    assert "set_as_global=False" in str(caught.value)


def test_a_bridge_set_by_hand_is_in_the_way_too() -> None:
    set_runtime_bridge(Named("by hand"))
    with pytest.raises(BridgeError, match=r"a bridge set by set_runtime_bridge\(\) is already"):
        publish(Slot("a bridge reloader"))


def test_an_owner_withdraws_only_what_is_still_its_own() -> None:
    slot, _ = slot_with(Named("session's"))
    publish(slot)
    publish(slot)
    by_hand = Named("by hand")
    set_runtime_bridge(by_hand)
    slot.swap(Named("session's next"))
    assert get_runtime_bridge().bridge is by_hand
    unpublish(slot)
    assert get_runtime_bridge().bridge is by_hand


def test_nothing_is_loaded_for_it() -> None:
    heavy = ("trio", "asyncio", "watchfiles", "griffe", "msgspec")
    code = "import sys, lastgood.runtime, lastgood.session.reloader; print(*sorted(sys.modules.keys() & set(sys.argv[1:])))"
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == []


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
    monkeypatch.setattr(runtime, "DISPOSE_TIMEOUT", 0.001)

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


# --- threads and loops -----------------------------------------------------------------------------------------


class ThreadSafe(Scripted):
    thread_safe = True


@pytest.mark.parametrize("foreign", FLAVOURS, ids=lambda foreign: f"from {foreign.name}")
def test_a_call_from_another_thread_is_an_error_that_says_so(flavour: Flavour, foreign: Flavour) -> None:
    async def main() -> None:
        slot, live = slot_with(Named("home"), owner="a bridge reloader")

        def elsewhere() -> Any:
            return foreign.run(lambda: slot.handle.call("m", "f"))

        with pytest.raises(BridgeError, match="A call through a bridge reloader came from the") as caught:
            await flavour.in_thread(elsewhere)
        assert f"came from the {foreign.name} loop of thread " in str(caught.value)
        assert f"lives on the {flavour.name} loop of thread 'MainThread'" in str(caught.value)
        assert live.count == 0

    flavour.run(main)


def test_a_call_from_a_later_loop_of_the_same_thread_is_one_too(flavour: Flavour) -> None:
    async def swap() -> Slot:
        return slot_with(Named("home"))[0]

    slot = flavour.run(swap)
    with pytest.raises(BridgeError, match="lives on"):
        flavour.run(lambda: slot.handle.call("m", "f"))
    with pytest.raises(BridgeError, match="from no event loop, in thread 'MainThread'"):
        slot.handle.call("m", "f").send(None)


def test_a_bridge_that_allows_it_is_called_from_anywhere(flavour: Flavour) -> None:
    async def main() -> None:
        async def answer() -> str:
            return threading.current_thread().name

        slot, _ = slot_with(ThreadSafe(answer))
        for foreign in FLAVOURS:
            elsewhere = functools.partial(foreign.run, lambda: slot.handle.call("m", "f"))
            name = await flavour.in_thread(elsewhere)
            assert name != threading.current_thread().name

    flavour.run(main)


def test_no_swap_comes_between_choosing_a_bridge_and_the_lease_on_it() -> None:
    """Else its end would be told to whoever waits for that, and a call would begin after it."""
    swap_came = threading.Event()  # it is done, or waits for the lease
    told = threading.Event()

    class Contended:
        """The slot's lock, which tells when somebody has to wait for it."""

        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __enter__(self) -> None:
            if not self.lock.acquire(blocking=False):
                swap_came.set()
                self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()

    seen: list[str] = []

    class Old(Named):
        @property
        def thread_safe(self) -> bool:
            """Asked after it was chosen and before there is a lease."""
            swapper.start()
            assert swap_came.wait(30)
            return True

        async def call(self, *_: Any) -> None:
            swapper.join(30)
            seen.append("called")

    def swap() -> None:
        old = slot.swap(Named("new"))
        assert old is not None
        swap_came.set()
        old.on_idle(follow)

    def follow() -> None:
        seen.append("idle")
        told.set()

    slot = Slot("a test")
    slot._lock = Contended()  # type: ignore[assignment]  # as much of a lock as is used
    swapper = threading.Thread(target=swap)

    async def at_home() -> None:
        slot.swap(Old("old"))
        await trio.to_thread.run_sync(lambda: asyncio.run(slot.handle.call("m", "f")))
        assert await trio.to_thread.run_sync(lambda: told.wait(30))

    trio.run(at_home)
    assert seen == ["called", "idle"]


@pytest.mark.parametrize("foreign", FLAVOURS, ids=lambda foreign: f"from {foreign.name}")
def test_what_follows_a_foreign_call_runs_at_home(flavour: Flavour, foreign: Flavour) -> None:
    async def main() -> None:
        begun, gate = threading.Event(), threading.Event()

        async def blocking() -> None:
            begun.set()
            assert gate.wait(30)

        slot, live = slot_with(ThreadSafe(blocking))
        told: Event = flavour.event()
        where: list[str] = []

        async def follow() -> None:
            where.append(threading.current_thread().name)
            told.set()

        async with flavour.tasks() as start:
            call = start(lambda: flavour.in_thread(lambda: foreign.run(lambda: slot.handle.call("m", "f"))))
            assert await flavour.in_thread(lambda: begun.wait(30))
            assert live.count == 1
            live.on_idle(follow)
            gate.set()
            await told.wait()
            await call.result()
        assert where == [threading.current_thread().name]

    flavour.run(main)


@pytest.mark.parametrize("foreign", FLAVOURS, ids=lambda foreign: f"from {foreign.name}")
def test_a_foreign_call_is_cut_off_where_it_runs(flavour: Flavour, foreign: Flavour) -> None:
    async def main() -> None:
        begun = threading.Event()

        async def waiting() -> None:
            begun.set()
            await foreign.event().wait()

        slot, live = slot_with(ThreadSafe(waiting))
        async with flavour.tasks() as start:
            call = start(lambda: flavour.in_thread(lambda: foreign.run(lambda: slot.handle.call("m", "f"))))
            assert await flavour.in_thread(lambda: begun.wait(30))
            live.cut_off(lambda: BridgeError("cut off"))
            with pytest.raises(BridgeError, match="cut off"):
                await call.result()

    flavour.run(main)


def test_a_bridge_set_by_hand_outside_of_loops_is_bound_to_none() -> None:
    set_runtime_bridge(Named("by hand"))
    handle = get_runtime_bridge()
    for flavour in FLAVOURS:
        assert flavour.run(lambda: handle.call("m", "f"))[0] == "by hand"
    with pytest.raises(StopIteration) as caught:
        handle.call("m", "f").send(None)
    assert caught.value.value[0] == "by hand"


def test_leases_end_on_no_loop_at_all(caplog: pytest.LogCaptureFixture) -> None:
    class Pause:
        def __await__(self) -> Any:
            yield "paused"

    async def pause() -> None:
        await Pause()

    slot, live = slot_with(Scripted(pause))
    call = slot.handle.call("m", "f")
    assert call.send(None) == "paused"
    told: list[str] = []
    live.on_idle(lambda: told.append("idle"))
    live.cut_off(BridgeError)
    with pytest.raises(StopIteration):
        call.send(None)
    assert told == ["idle"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
