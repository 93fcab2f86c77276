"""A call that nobody waits for any more is interrupted in the worker, and no other call ever is."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio

from lastgood.bridges.process import ProcessBridge
from lastgood.errors import CallTimeout
from process_bridges import Gate, forget_a_call, interpreter, running

pytestmark = pytest.mark.usefixtures("nothing_is_left")

WORKING = '''
import sys, threading, time

noted = []

def reach(path):
    open(path).close()

def sleep(path):
    note_interrupt(path, lambda: time.sleep(1000))

def wait(path):
    note_interrupt(path, threading.Event().wait)

def spin(path):
    def work():
        while True:
            pass
    note_interrupt(path, work)

def note_interrupt(path, work):
    try:
        reach(path)
        work()
    except BaseException as error:
        noted.append([isinstance(error, KeyboardInterrupt), str(type(error).__name__), threading.current_thread().name])
        raise

def stay(gone):
    """Compute, in a frame of its own: Python 3.13 takes the jump at the end of a loop for outside of the try around it."""
    while not gone.is_set():
        pass

def refuse(path, other):
    """Go on, interrupted or not, until the other FIFO is opened."""
    gone = threading.Event()
    threading.Thread(target=lambda: (reach(other), gone.set()), daemon=True).start()
    while not gone.is_set():
        try:
            reach(path)
            stay(gone)
        except BaseException as error:
            noted.append(type(error).__name__)
            path = "/dev/null"
            continue

def lose_a_signal():
    """Have the next signal come before the wait that it is to end, as one may."""
    from _lastgood_worker import interrupts
    send = interrupts.pthread_kill

    def lose(*_):
        interrupts.pthread_kill = send

    interrupts.pthread_kill = lose

def notes():
    return noted

def thread():
    return threading.current_thread().name

def count(number):
    for each in range(number):
        pass
    return number
'''


@pytest.fixture
def working(tmp_path: Path) -> Path:
    (tmp_path / "svc.py").write_text(WORKING)
    return tmp_path


async def settled(bridge: ProcessBridge) -> None:
    """Wait until nothing forgotten runs any more. On a busy machine, another thread may take the calls by then."""
    while bridge._workers[0].channel.load():
        await bridge.call("svc", "thread", [], {})


async def interrupt(bridge: ProcessBridge, gate: Gate, function: str) -> None:
    await forget_a_call(bridge, gate, function)
    gate.open()
    await settled(bridge)


@pytest.mark.parametrize("function", ["sleep", "wait", "spin"])
async def test_a_cancelled_call_raises_in_the_thread_that_runs_it(working: Path, tmp_path: Path, function: str) -> None:
    async with running(working) as bridge:
        await interrupt(bridge, Gate(tmp_path), function)
        assert await bridge.call("svc", "notes", [], {}) == [[True, "Interrupted", "MainThread"]]


@pytest.mark.parametrize("function", ["sleep", "wait"])
async def test_a_signal_that_comes_before_the_wait_begins_is_sent_again(
    working: Path, tmp_path: Path, function: str
) -> None:
    async with running(working) as bridge:
        await bridge.call("svc", "lose_a_signal", [], {})
        await interrupt(bridge, Gate(tmp_path), function)
        assert await bridge.call("svc", "notes", [], {}) == [[True, "Interrupted", "MainThread"]]


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.12", "3.13"])
async def test_so_it_does_on_other_pythons(working: Path, tmp_path: Path, version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    for function in ("sleep", "spin"):
        async with running(working, python=python) as bridge:
            await interrupt(bridge, Gate(tmp_path, function), function)
            assert await bridge.call("svc", "notes", [], {}) == [[True, "Interrupted", "MainThread"]]


async def test_a_call_past_its_timeout_is_interrupted_too(working: Path) -> None:
    noted = False
    while not noted:  # a busy machine may not even begin it in time
        async with running(working, timeout=0.3) as bridge:
            with pytest.raises(CallTimeout):
                await bridge.call("svc", "sleep", ["/dev/null"], {})
            await settled(bridge)
            noted = bool(await bridge.call("svc", "notes", [], {}))


async def test_with_several_threads_the_right_one_is_interrupted(working: Path, tmp_path: Path) -> None:
    gates = [Gate(tmp_path, str(number)) for number in range(3)]
    async with running(working, threads=3) as bridge, trio.open_nursery() as nursery:
        scopes = []
        for gate in gates:
            scope = trio.CancelScope()
            scopes.append(scope)

            async def call(gate: Gate = gate, scope: trio.CancelScope = scope) -> None:
                with scope:
                    await bridge.call("svc", "spin", [gate.path], {})

            nursery.start_soon(call)
            await gate.reached()
        for ended, scope in enumerate(scopes, 1):
            scope.cancel()
            while bridge._workers[0].channel.load() > 3 - ended:
                await bridge.call("svc", "thread", [], {})
            assert len(await bridge.call("svc", "notes", [], {})) == ended
    for gate in gates:
        gate.open()


async def test_what_does_not_heed_it_is_replaced(working: Path, tmp_path: Path) -> None:
    gate, end = Gate(tmp_path), Gate(tmp_path, "end")
    async with running(working) as bridge:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bridge.call, "svc", "refuse", [gate.path, end.path], {})
                await gate.reached()
                scope.cancel()
        while await bridge.call("svc", "notes", [], {}) != ["Interrupted"]:
            pass
        assert await bridge.call("svc", "thread", [], {}) == "lastgood-substitute"
        await end.reached()
        await settled(bridge)
        assert await bridge.call("svc", "notes", [], {}) == ["Interrupted"]
    gate.open()
    end.open()


@pytest.mark.parametrize("threads", [1, 2])
async def test_no_other_call_is_ever_interrupted(working: Path, threads: int) -> None:
    """The call may be over at any moment around its interrupt."""
    chance = random.Random(5)
    async with running(working, threads=threads) as bridge:
        await bridge.call("svc", "count", [1], {})
        for number in range(150):
            with trio.move_on_after(chance.random() * 0.006):
                await bridge.call("svc", "count", [chance.randrange(100_000)], {})
            assert await bridge.call("svc", "count", [number], {}) == number
        await settled(bridge)
