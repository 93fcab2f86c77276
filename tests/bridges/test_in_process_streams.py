"""Streams of the bridge without a worker: the items of a worker's, made when they are asked for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Literal

import pytest

from flavours import Flavour
from imported import forgotten
from lastgood import BridgeError, InProcessBridge, RemoteError
from lastgood.calls.registry import Slot
from process_bridges import DEADLINE

SERVICE = """
import contextvars

var = contextvars.ContextVar("var", default=0)
closed = []

def was_closed():
    return closed

def count(end):
    try:
        yield from range(end)
    finally:
        closed.append("count")

async def count_async(end):
    try:
        for number in range(end):
            yield number
    finally:
        closed.append("count_async")

async def given(kind):
    return {"list": [0, 1], "agen": count_async(2), "none": None}[kind]

def failing():
    yield 0
    raise ValueError("mine")

async def failing_async():
    yield 0
    raise ValueError("mine")

def uncrossable():
    yield 0
    yield [object()]

def shared():
    kept = []
    while True:
        kept.append(1)
        yield kept

def contexts(end):
    for _ in range(end):
        var.set(var.get() + 1)
        yield var.get()

async def contexts_async(end):
    for _ in range(end):
        var.set(var.get() + 1)
        yield var.get()

async def get_var():
    return var.get()

async def tasks_of_asyncio():
    import asyncio
    task = asyncio.current_task()
    try:
        async with asyncio.timeout(60), asyncio.TaskGroup():
            while asyncio.current_task() is task:
                yield "same"
                await asyncio.sleep(0)
    finally:
        closed.append("same" if asyncio.current_task() is task else "another")

async def tasks_of_trio():
    import trio
    task = trio.lowlevel.current_task()
    try:
        async with trio.open_nursery():
            with trio.move_on_after(60):
                while trio.lowlevel.current_task() is task:
                    yield "same"
                    await trio.lowlevel.checkpoint()
    finally:
        closed.append("same" if trio.lowlevel.current_task() is task else "another")

async def interrupted_in_asyncio():
    import asyncio, signal
    try:
        yield 0
        signal.raise_signal(signal.SIGINT)
        await asyncio.Event().wait()
    finally:
        closed.append("interrupted")

async def interrupted_in_trio():
    import os, signal, trio
    try:
        yield 0
        os.kill(os.getpid(), signal.SIGINT)
        await trio.sleep_forever()
    finally:
        closed.append("interrupted")
"""


@pytest.fixture(params=[False, True], ids=["shared", "fresh"])
def bridge(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[InProcessBridge]:
    (tmp_path / "svc.py").write_text(SERVICE)
    bridge = InProcessBridge(import_path=[tmp_path], modules=["svc"], fresh=request.param)
    with forgotten(tmp_path):
        bridge.start()
        yield bridge
        bridge.stop()


def test_items_and_their_end(flavour: Flavour, bridge: InProcessBridge) -> None:
    async def main() -> None:
        for function in ("count", "count_async"):
            assert [item async for item in bridge.stream("svc", function, [3])] == [0, 1, 2]
        for kind in ("list", "agen"):
            assert [item async for item in bridge.stream("svc", "given", [kind])] == [0, 1]
        with pytest.raises(BridgeError, match="returned an object of type NoneType, which is none"):
            await anext(bridge.stream("svc", "given", ["none"]))

    flavour.run(main)


@pytest.mark.parametrize("function", ["failing", "failing_async"])
def test_what_it_raises_comes_after_the_items(flavour: Flavour, bridge: InProcessBridge, function: str) -> None:
    async def main() -> None:
        stream = bridge.stream("svc", function)
        assert await anext(stream) == 0
        with pytest.raises(RemoteError, match="mine") as caught:
            await anext(stream)
        assert caught.value.type_name == "ValueError"

    flavour.run(main)
    if function == "failing":
        items = bridge.stream_blocking("svc", function)
        assert next(items) == 0
        with pytest.raises(RemoteError, match="mine"):
            next(items)


def test_items_cross_as_from_a_worker(bridge: InProcessBridge) -> None:
    items = bridge.stream_blocking("svc", "uncrossable")
    assert next(items) == 0
    with pytest.raises(BridgeError, match=r"^item 2\[0\]: object of type object cannot cross from the worker"):
        next(items)
    items = bridge.stream_blocking("svc", "shared")
    assert [next(items), next(items)] == [[1], [1, 1]]
    items.close()


def test_closing_it_closes_the_generator(flavour: Flavour, bridge: InProcessBridge) -> None:
    async def main() -> None:
        for function in ("count", "count_async"):
            stream = bridge.stream("svc", function, [3])
            await anext(stream)
            await stream.aclose()
        assert await bridge.call("svc", "was_closed", [], {}) == ["count", "count_async"]

    flavour.run(main)
    items = bridge.stream_blocking("svc", "count", [3])
    next(items)
    items.close()
    assert bridge.call_blocking("svc", "was_closed", [], {}) == ["count", "count_async", "count"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_plain_code_has_a_loop_for_an_async_generator(
    bridge: InProcessBridge, backend: Literal["asyncio", "trio"]
) -> None:
    bridge._backend = backend
    assert list(bridge.stream_blocking("svc", "count_async", [3])) == [0, 1, 2]
    assert list(bridge.stream_blocking("svc", "given", ["list"])) == [0, 1]
    assert list(bridge.stream_blocking("svc", "given", ["agen"])) == [0, 1]
    items = bridge.stream_blocking("svc", "failing_async")
    assert next(items) == 0
    with pytest.raises(RemoteError, match="mine"):
        next(items)
    bridge.stream_blocking("svc", "count_async", [3]).close()
    items = bridge.stream_blocking("svc", "count_async", [3])
    next(items)
    items.close()
    assert bridge.call_blocking("svc", "was_closed", [], {}) == ["count_async"] * 3

    async def on_a_loop() -> None:
        with pytest.raises(BridgeError, match="plain code cannot take its items on the asyncio loop"):
            next(bridge.stream_blocking("svc", "count_async", [3]))

    asyncio.run(on_a_loop())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_items_of_plain_code_are_made_in_one_task(
    bridge: InProcessBridge, backend: Literal["asyncio", "trio"]
) -> None:
    bridge._backend = backend
    items = bridge.stream_blocking("svc", f"tasks_of_{backend}")
    assert [next(items), next(items)] == ["same", "same"]
    items.close()
    assert bridge.call_blocking("svc", "was_closed", [], {}) == ["same"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_last_reference_may_go_on_a_loop(bridge: InProcessBridge, backend: Literal["asyncio", "trio"]) -> None:
    bridge._backend = backend
    kept = [bridge.stream_blocking("svc", "count_async", [3])]
    next(kept[0])

    async def on_a_loop() -> None:
        kept.clear()
        assert await bridge.call("svc", "was_closed", [], {}) == ["count_async"]

    asyncio.run(on_a_loop())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_ctrl_c_closes_the_generator(bridge: InProcessBridge, backend: Literal["asyncio", "trio"]) -> None:
    bridge._backend = backend
    items = bridge.stream_blocking("svc", f"interrupted_in_{backend}")
    assert next(items) == 0
    with pytest.raises(KeyboardInterrupt):
        next(items)
    assert bridge.call_blocking("svc", "was_closed", [], {}) == ["interrupted"]


def test_a_stream_keeps_one_context(flavour: Flavour, bridge: InProcessBridge) -> None:
    mine: ContextVar[int] = ContextVar("mine")

    async def main() -> None:
        mine.set(1)
        for function in ("contexts", "contexts_async"):
            streams = [bridge.stream("svc", function, [3]) for _ in range(2)]
            for number in (1, 2, 3):
                assert [await anext(stream) for stream in streams] == [number, number]
                assert await bridge.call("svc", "get_var", [], {}) == 0
            for stream in streams:
                await stream.aclose()

    flavour.run(main)


def test_through_a_handle(flavour: Flavour, bridge: InProcessBridge) -> None:
    async def main() -> None:
        slot = Slot("a test", bound=False)
        slot.swap(bridge)
        assert slot.live is not None
        for function in ("count", "count_async"):
            assert [item async for item in slot.handle.stream("svc", function, [3])] == [0, 1, 2]
            async for _item in slot.handle.stream("svc", function, [3]):
                break
            while slot.live.count:
                await flavour.settle()
        assert list(slot.handle.stream_blocking("svc", "count", [3])) == [0, 1, 2]
        for _item in slot.handle.stream_blocking("svc", "count", [3]):
            break
        assert slot.live.count == 0

    flavour.run(main)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_one_that_is_open_at_the_end_of_the_program_is_closed(tmp_path: Path, backend: str) -> None:
    (tmp_path / "svc.py").write_text(
        "async def leaving():\n    try:\n        yield 1\n    finally:\n        print('closed', flush=True)\n"
    )
    program = (
        "from lastgood import InProcessBridge\n"
        f"bridge = InProcessBridge(import_path=[{str(tmp_path)!r}], modules=['svc'])\n"
        f"bridge._backend = {backend!r}\n"
        "bridge.start()\n"
        "items = bridge.stream_blocking('svc', 'leaving')\n"
        "print(next(items))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert (ended.stdout.split(), ended.stderr, ended.returncode) == (["1", "closed"], "", 0)
