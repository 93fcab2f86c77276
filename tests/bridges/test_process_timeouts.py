"""Calls of a ProcessBridge that take too long, are cancelled, or are forgotten."""

from __future__ import annotations

import fcntl
import os
import select
import termios
from array import array
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from held_up import hold_up
from lastgood.bridges.process import ProcessBridge
from lastgood.bridges.worker import frames
from lastgood.errors import BridgeError, CallTimeout
from process_bridges import DEADLINE, Gate, forget_a_call, running

pytestmark = pytest.mark.usefixtures("nothing_is_left")


async def test_a_call_past_its_timeout(source: Path, tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    gate = Gate(tmp_path)
    assert autojump_clock.rate == 0  # five seconds of this clock pass as soon as nothing else happens
    bridge = ProcessBridge(import_path=[source], modules=["svc"], timeout=5)
    await bridge.init()
    with pytest.raises(CallTimeout) as late:
        await bridge.call("svc", "hold", [gate.path], {})
    assert (late.value.call, late.value.timeout) == ("svc.hold", 5)
    await bridge.dispose()


def await_answers(descriptor: int, number: int) -> None:
    """Block until so many small answers lie in the pipe."""
    size = number * (frames.HEADER.size + 1)
    waiting = array("i", [0])
    while waiting[0] < size:
        assert select.select([descriptor], [], [], DEADLINE)[0]
        fcntl.ioctl(descriptor, termios.FIONREAD, waiting)


@pytest.mark.parametrize(("function", "each"), [("hold", 2), ("hold_loop", 1)])
@pytest.mark.parametrize("pool", [1, 2])
async def test_a_call_whose_answer_has_come_is_not_late(
    function: str, each: int, pool: int, source: Path, tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    """The app was stopped (Ctrl-Z), or its loop was blocked: it looks when the time has long been over."""
    gates = [Gate(tmp_path, str(number)) for number in range(each * pool)]
    bridge = ProcessBridge(import_path=[source], modules=["svc"], timeout=5, pool=pool, threads=2)
    await bridge.init()
    results: list[str] = []

    async def caller(gate: Gate) -> None:
        results.append(await bridge.call("svc", function, [gate.path], {}))

    def meanwhile() -> None:
        for gate in gates:
            gate.open()
        for worker in bridge._workers:
            await_answers(worker.channel._answers, each)
        mock_clock.jump(1000)

    async with trio.open_nursery() as nursery:
        for gate in gates:
            nursery.start_soon(caller, gate)
            await gate.reached()
        await trio.testing.wait_all_tasks_blocked()
        await hold_up(meanwhile)
    assert results == [""] * each * pool
    await bridge.dispose()


async def test_waiting_behind_others_is_no_part_of_a_calls_time(
    source: Path, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    gate = Gate(tmp_path)
    bridge = ProcessBridge(import_path=[source], modules=["svc"], timeout=5)
    await bridge.init()
    ended: list[tuple[str, float]] = []

    async def caller(name: str, *args: Any) -> None:
        with suppress(CallTimeout):
            await bridge.call("svc", name, args, {})
        ended.append((name, trio.current_time()))

    async with trio.open_nursery() as nursery:
        start = autojump_clock.current_time()
        nursery.start_soon(caller, "hold", gate.path)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(caller, "hold", str(tmp_path / "never"))
        await trio.testing.wait_all_tasks_blocked()
        os.mkfifo(tmp_path / "never")
    assert ended == [("hold", start + 5), ("hold", start + 10)]
    await bridge.dispose()


async def test_a_forgotten_call_that_goes_on_harms_no_other(bridge: ProcessBridge, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    await forget_a_call(bridge, gate)
    assert await bridge.call("svc", "give", [1], {}) == 1
    assert await bridge.call("svc", "thread", [], {}) == "lastgood-substitute"
    gate.open()
    while await bridge.call("svc", "thread", [], {}) != "MainThread":
        pass
    assert await bridge.call("svc", "give", [2], {}) == 2


async def test_what_a_forgotten_call_would_begin_on_the_loop_is_cancelled(
    bridge: ProcessBridge, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    await forget_a_call(bridge, gate, "hold_forever")
    assert await bridge.call("svc", "noted", [], {}) == []  # it has heard by then that nobody waits
    gate.open()
    while bridge._workers[0].channel.busy():
        await bridge.call("svc", "give", [1], {})
    assert await bridge.call("svc", "noted", [], {}) in ([], ["cancelled"])  # begun or not
    assert await bridge.call("svc", "meet", [1], {}) == 1


async def test_calls_that_wait_behind_a_forgotten_one_go_on(bridge: ProcessBridge, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    results: list[int] = []

    async def behind(number: int) -> None:
        results.append(await bridge.call("svc", "give", [number], {}))

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as inner:
                inner.start_soon(bridge.call, "svc", "hold", [gate.path], {})
                await gate.reached()
                for number in range(3):
                    nursery.start_soon(behind, number)
                await trio.testing.wait_all_tasks_blocked()
                assert results == []
                scope.cancel()
    assert sorted(results) == [0, 1, 2]
    gate.open()


async def test_a_call_that_was_cancelled_before_its_turn_never_runs(bridge: ProcessBridge, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bridge.call, "svc", "hold", [gate.path], {})
        await gate.reached()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as inner:
                inner.start_soon(bridge.call, "svc", "note", ["never"], {})
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        gate.open()
    assert await bridge.call("svc", "noted", [], {}) == []


async def test_a_call_in_a_cancelled_scope_is_not_even_sent(bridge: ProcessBridge) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await bridge.call("svc", "note", ["never"], {})
    assert await bridge.call("svc", "noted", [], {}) == []


async def test_cancelling_in_the_middle_of_a_frame_leaves_the_stream_whole(
    bridge: ProcessBridge,
) -> None:
    blob = bytes(8_000_000)
    for _ in range(3):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bridge.call, "svc", "give", [blob], {})
                nursery.start_soon(bridge.call, "svc", "give", [blob], {})
                for _ in range(3):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        assert await bridge.call("svc", "give", ["fine"], {}) == "fine"


async def test_too_many_forgotten_calls_are_an_error_until_one_ends(bridge: ProcessBridge, tmp_path: Path) -> None:
    gates = [Gate(tmp_path, f"gate{number}") for number in range(32)]
    for gate in gates:
        await forget_a_call(bridge, gate)
    for _ in range(2):
        with pytest.raises(BridgeError, match="busy with 32 calls that timed out or were cancelled and still run"):
            await bridge.call("svc", "give", [1], {})
    gates[20].open()
    while True:
        try:
            assert await bridge.call("svc", "give", [1], {}) == 1
            break
        except BridgeError:
            pass
    for gate in gates[:20] + gates[21:]:
        gate.open()


async def test_a_cancelled_async_function_is_cancelled_in_the_worker(bridge: ProcessBridge, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    await forget_a_call(bridge, gate, "linger")
    gate.open()
    while await bridge.call("svc", "noted", [], {}) != ["cancelled"]:
        pass


async def test_an_event_loop_that_a_forgotten_call_blocks_is_replaced(bridge: ProcessBridge, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    await forget_a_call(bridge, gate, "hold_loop")
    assert await bridge.call("svc", "meet", [1], {}) == 1
    gate.open()


async def test_an_event_loop_that_cannot_be_started_is_an_error_until_it_can_be(
    bridge: ProcessBridge, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    await forget_a_call(bridge, gate, "hold_loop")
    await bridge.call("svc", "allow_more_files", [False], {})
    for _ in range(2):
        with pytest.raises(BridgeError, match=r"The worker cannot start an event loop: .*Too many open files"):
            await bridge.call("svc", "loop", [], {})
    await bridge.call("svc", "allow_more_files", [True], {})
    assert await bridge.call("svc", "meet", [1], {}) == 1
    gate.open()


@pytest.mark.parametrize("how", ["stop", "exit"])
async def test_an_event_loop_that_a_function_ends_goes_on(bridge: ProcessBridge, how: str) -> None:
    loop = await bridge.call("svc", "loop", [], {})
    await bridge.call("svc", "stop_loop", [how], {})
    assert await bridge.call("svc", "loop", [], {}) == loop


async def test_an_event_loop_that_is_blocked_no_more_is_used_again(bridge: ProcessBridge, tmp_path: Path) -> None:
    gates = [Gate(tmp_path, f"gate{number}") for number in range(3)]
    await bridge.call("svc", "allow_blocked_loops", [2], {})
    first = await bridge.call("svc", "loop", [], {})
    await forget_a_call(bridge, gates[0], "hold_loop")
    second = await bridge.call("svc", "loop", [], {})
    await forget_a_call(bridge, gates[1], "hold_loop")

    async def loop_of_next_call() -> object:
        while True:
            with suppress(BridgeError):  # refused until a loop has recovered
                return await bridge.call("svc", "loop", [], {})

    for _ in range(2):
        with pytest.raises(BridgeError, match="event loops that are stuck in forgotten calls"):
            await bridge.call("svc", "loop", [], {})
    gates[0].open()
    assert await loop_of_next_call() == first
    await forget_a_call(bridge, gates[2], "hold_loop")
    gates[1].open()
    assert await loop_of_next_call() == second
    gates[2].open()


ENDING = """
import trio

waiting = []

async def end_the_loop():
    async def crash():
        raise ValueError("a crash")
    while not waiting:
        await trio.lowlevel.checkpoint()
    waiting.clear()
    trio.lowlevel.spawn_system_task(crash)
    await trio.sleep_forever()

async def wait():
    waiting.append(1)
    await trio.sleep_forever()

async def give(value):
    return value
"""


async def test_a_trio_loop_that_a_function_ends_is_replaced(source: Path) -> None:
    (source / "svc.py").write_text(ENDING)
    async with running(source, async_backend="trio") as bridge:
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                for function in ("wait", "end_the_loop"):
                    nursery.start_soon(fails, bridge, function)
            assert await bridge.call("svc", "give", [1], {}) == 1


async def fails(bridge: ProcessBridge, function: str) -> None:
    with pytest.raises(BridgeError, match="The event loop of the worker has ended while the call ran"):
        await bridge.call("svc", function, [], {})
