"""lastgood.runtime: the registry, under trio and asyncio alike, and calls from other threads and loops."""

from __future__ import annotations

import asyncio
import functools
import logging
import subprocess
import sys
import threading
from typing import Any

import pytest
import trio

from flavours import FLAVOURS, Event, Flavour
from lastgood.calls.registry import (
    Slot,
    clear_runtime_bridge,
    get_runtime_bridge,
    publish,
    set_runtime_bridge,
    unpublish,
)
from lastgood.errors import BridgeError, NoRuntimeBridge
from scripted_bridges import Named, Scripted, slot_with

pytestmark = pytest.mark.usefixtures("cleared_registry")


# --- the registry ---------------------------------------------------------------------------------------------


def test_with_none_set_there_is_no_handle() -> None:
    with pytest.raises(NoRuntimeBridge):
        get_runtime_bridge()


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
    heavy = ("trio", "asyncio", "watchfiles", "lastgood.wrappers", "msgspec")
    code = "import sys, lastgood.runtime, lastgood.session.reloader; print(*sorted(sys.modules.keys() & set(sys.argv[1:])))"
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == []


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
