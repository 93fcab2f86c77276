"""Streams of a ProcessBridge: what a generator in the worker yields, as it is made."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from lastgood.bridges.process import ProcessBridge
from lastgood.errors import BridgeError, CallTimeout, RemoteError, WorkerDied
from process_bridges import DEADLINE, Gate, running
from stream_service import STREAMS, items_of, open_stream

pytestmark = pytest.mark.usefixtures("nothing_is_left")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "src"
    directory.mkdir()
    (directory / "svc.py").write_text(STREAMS)
    return directory


@pytest.fixture
async def bridge(source: Path) -> AsyncIterator[ProcessBridge]:
    async with running(source, timeout=DEADLINE) as bridge:
        yield bridge


@pytest.mark.parametrize("function", ["count", "count_async", "eager", "Desk.numbers"])
@pytest.mark.parametrize("end", [0, 1, 5, 1000])
async def test_items_come_in_order_and_then_the_end(bridge: ProcessBridge, function: str, end: int) -> None:
    stream = open_stream(bridge, function, end)
    assert await items_of(stream) == list(range(end))
    assert await items_of(stream) == []
    await stream.aclose()
    assert await bridge.call("svc", "give", [1], {}) == 1


async def test_class_methods_and_what_a_function_returns(bridge: ProcessBridge) -> None:
    assert await items_of(open_stream(bridge, "Desk.names", 2)) == ["Desk 0", "Desk 1"]
    assert await items_of(open_stream(bridge, "given", "list")) == [1, 2]
    assert await items_of(open_stream(bridge, "given", "map")) == ["1", "2"]
    assert await items_of(open_stream(bridge, "given", "agen")) == [0, 1]
    assert await items_of(open_stream(bridge, "given_later", "list")) == [1, 2]
    assert await items_of(open_stream(bridge, "given_later", "agen")) == [0, 1]
    for function in ("given", "given_later"):
        with pytest.raises(BridgeError, match="returned an object of type NoneType, which is none"):
            await items_of(open_stream(bridge, function, "none"))
        with pytest.raises(BridgeError, match=r"type dict, which is none\. Make it a plain call: by handle\.call\(\)"):
            await items_of(open_stream(bridge, function, "dict"))
        with pytest.raises(ValueError, match="no items today") as caught:
            await items_of(open_stream(bridge, function, "bad"))
        assert isinstance(caught.value, RemoteError)
    with pytest.raises(BridgeError, match="Did you mean eager"):
        await items_of(open_stream(bridge, "eagre", 1))
    with pytest.raises(RemoteError, match="missing 1 required positional argument"):
        await items_of(open_stream(bridge, "count"))


async def test_nothing_is_called_before_an_item_is_asked_for(bridge: ProcessBridge) -> None:
    stream = open_stream(bridge, "count", 3)
    assert await bridge.call("svc", "marks", [], {}) == [[], []]
    await stream.aclose()
    assert await items_of(stream) == []
    assert await bridge.call("svc", "marks", [], {}) == [[], []]


@pytest.mark.parametrize("function", ["failing", "failing_async"])
async def test_what_it_raises_comes_after_the_items_before_it(bridge: ProcessBridge, function: str) -> None:
    for end in (0, 1, 300):
        stream = open_stream(bridge, function, end)
        assert [await anext(stream) for _ in range(end)] == list(range(end))
        with pytest.raises(RemoteError, match="no more") as caught:
            await anext(stream)
        assert 'svc.py", line' in caught.value.traceback
        assert await items_of(stream) == []


async def test_an_item_that_cannot_cross_is_named_after_those_before_it(bridge: ProcessBridge) -> None:
    stream = open_stream(bridge, "uncrossable")
    assert await anext(stream) == 1
    with pytest.raises(BridgeError, match=r'^item 2\["x"\]: object of type object cannot cross from the worker'):
        await anext(stream)
    assert await items_of(stream) == []
    with pytest.raises(
        BridgeError, match=r"item 1: object of type generator cannot .* A stream of streams does not cross"
    ):
        await anext(open_stream(bridge, "nested"))


@pytest.mark.parametrize("function", ["count", "count_async"])
async def test_256_items_are_made_ahead(bridge: ProcessBridge, function: str) -> None:
    stream = open_stream(bridge, function, 10_000)
    assert await anext(stream) == 0
    with trio.fail_after(DEADLINE):
        while len((await bridge.call("svc", "marks", [], {}))[0]) < 256:
            await trio.lowlevel.checkpoint()
    for _ in range(20):
        assert len((await bridge.call("svc", "marks", [], {}))[0]) == 256
    for number in range(1, 2000):
        assert await anext(stream) == number
    assert len((await bridge.call("svc", "marks", [], {}))[0]) <= 2000 + 256
    await stream.aclose()


async def test_a_mebibyte_is_made_ahead(bridge: ProcessBridge) -> None:
    stream = open_stream(bridge, "blobs", 200, 300_000)
    assert await anext(stream) == bytes(300_000)
    with trio.fail_after(DEADLINE):
        while len((await bridge.call("svc", "marks", [], {}))[0]) < 4:
            await trio.lowlevel.checkpoint()
    assert len((await bridge.call("svc", "marks", [], {}))[0]) == 4
    assert [item[0] for item in await items_of(stream)] == list(range(1, 200))


async def test_arrays_cross_and_their_memory_is_used_again(bridge: ProcessBridge) -> None:
    pytest.importorskip("numpy")
    number = 0
    async for array in open_stream(bridge, "arrays", 400):  # 1.6 GB; no more than 1 GiB can be lent
        assert array.shape == (500_000,)
        assert array[0] == array[-1] == number
        number += 1
    assert number == 400
    stream = open_stream(bridge, "arrays", 400)
    await anext(stream)
    await stream.aclose()


async def test_the_timeout_counts_from_the_request_of_an_item(source: Path) -> None:
    async with running(source, timeout=0.5) as bridge:
        stream = open_stream(bridge, "hang")
        assert await anext(stream) == 1
        with pytest.raises(CallTimeout, match=r"^svc\.hang did not yield its next item within 0\.5 s"):
            await anext(stream)
        assert await items_of(stream) == []
        assert await bridge.call("svc", "give", [1], {}) == 1


async def test_a_first_item_that_is_late_is_told_in_time(source: Path) -> None:
    async with running(source, timeout=0.5) as bridge:
        since = trio.current_time()
        with pytest.raises(CallTimeout):
            await anext(open_stream(bridge, "hang_at_once"))
        assert trio.current_time() - since < 0.9


async def test_a_worker_that_dies_is_told_after_the_items_that_came(bridge: ProcessBridge) -> None:
    stream = open_stream(bridge, "dying", 1)
    with pytest.raises(WorkerDied):
        assert await anext(stream) == 0
        await anext(stream)
    assert await items_of(stream) == []
    await stream.aclose()


async def test_a_kill_is_told_to_who_waits_and_to_who_comes_later(bridge: ProcessBridge, tmp_path: Path) -> None:
    gates = Gate(tmp_path, "first"), Gate(tmp_path, "second")
    waits, later = open_stream(bridge, "held", *[gate.path for gate in gates]), open_stream(bridge, "waiting")
    assert await anext(later) == 1
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(WorkerDied):
                assert await anext(waits) == 0
                await anext(waits)

        nursery.start_soon(read)
        await gates[0].reached()
        gates[0].open()
        await gates[1].reached()
        assert bridge.pid is not None
        os.kill(bridge.pid, signal.SIGKILL)
        gates[1].open()
    with pytest.raises(WorkerDied):
        await anext(later)


async def test_several_take_turns_in_one_thread_with_calls_between(bridge: ProcessBridge) -> None:
    streams = [open_stream(bridge, "count", 3000, str(number)) for number in range(3)]
    got: list[list[int]] = [[], [], []]
    async with trio.open_nursery() as nursery:

        async def read(number: int) -> None:
            async for item in streams[number]:
                got[number].append(item)
                if item % 100 == 0:
                    assert await bridge.call("svc", "give", [item], {}) == item

        for number in range(3):
            nursery.start_soon(read, number)
    assert got == [list(range(3000))] * 3


async def test_an_open_stream_that_nobody_reads_holds_no_thread(bridge: ProcessBridge) -> None:
    stream = open_stream(bridge, "count", 10**9)
    await anext(stream)
    for number in range(100):
        assert await bridge.call("svc", "give", [number], {}) == number
    await stream.aclose()


@pytest.mark.parametrize("threads", [2, 4])
async def test_with_several_threads(source: Path, threads: int) -> None:
    async with running(source, threads=threads) as bridge, trio.open_nursery() as nursery:

        async def read(function: str) -> None:
            assert await items_of(open_stream(bridge, function, 2000)) == list(range(2000))

        for function in ("count", "eager", "count", "count_async", "Desk.numbers"):
            nursery.start_soon(read, function)


@pytest.mark.parametrize("function", ["contexts", "contexts_async"])
async def test_a_stream_keeps_one_context_of_its_own(bridge: ProcessBridge, function: str) -> None:
    streams = [open_stream(bridge, function, 500) for _ in range(2)]
    for number in range(1, 501):
        assert [await anext(stream) for stream in streams] == [number, number]
        if number % 100 == 0:
            assert await bridge.call("svc", "get_var", [], {}) == 0
    for stream in streams:
        await stream.aclose()


async def test_a_second_consumer_is_refused_while_the_first_waits(bridge: ProcessBridge) -> None:
    stream = open_stream(bridge, "waiting")
    await anext(stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(anext, stream)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(RuntimeError, match="is being read already"):
            await anext(stream)
        with pytest.raises(RuntimeError, match="is being read already"):
            await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_two_consumers_that_take_turns_share_the_items(bridge: ProcessBridge) -> None:
    stream, lock = open_stream(bridge, "count", 1000), trio.Lock()
    got: list[int] = []

    async def consume() -> None:
        while True:
            async with lock:
                item = await anext(stream, None)
            if item is None:
                return
            got.append(item)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        nursery.start_soon(consume)
    assert sorted(got) == list(range(1000))


async def test_it_belongs_to_the_loop_of_its_bridge(bridge: ProcessBridge) -> None:
    stream = open_stream(bridge, "count", 10)
    await anext(stream)
    with pytest.raises(BridgeError, match="another event loop or thread"):
        await trio.to_thread.run_sync(trio.run, stream.__anext__)
    await stream.aclose()


async def test_trio_in_the_worker(source: Path) -> None:
    (source / "svc.py").write_text(
        "import trio\n"
        "closed = []\n"
        "def marks():\n    return [[], closed]\n"
        "async def count(end):\n"
        "    try:\n"
        "        for number in range(end):\n"
        "            await trio.lowlevel.checkpoint()\n"
        "            yield number\n"
        "        await trio.sleep_forever()\n"
        "    finally:\n"
        "        closed.append('count')\n"
    )
    async with running(source, async_backend="trio") as bridge:
        stream = open_stream(bridge, "count", 1000)
        for number in range(1000):
            assert await anext(stream) == number
        await stream.aclose()
        assert await bridge.call("svc", "marks", [], {}) == [[], ["count"]]
        stream = open_stream(bridge, "count", 10**9)
        await anext(stream)
        await stream.aclose()
        assert await bridge.call("svc", "marks", [], {}) == [[], ["count", "count"]]


async def test_a_pool(source: Path) -> None:
    async with running(source, pool=2) as bridge:
        streams = [open_stream(bridge, "count", 600) for _ in range(4)]
        for stream in streams:
            await anext(stream)
        assert sorted(len(worker.channel.streams) for worker in bridge._workers) == [2, 2]
        for stream in streams:
            assert await items_of(stream) == list(range(1, 600))
        assert [worker.channel.load() for worker in bridge._workers] == [0, 0]


@pytest.mark.parametrize("function", ["count", "count_async"])
async def test_a_plain_call_of_a_stream_says_what_to_do(bridge: ProcessBridge, function: str) -> None:
    with pytest.raises(
        BridgeError, match=r"generator cannot cross .* It is a stream: take its items by handle\.stream"
    ):
        await bridge.call("svc", function, [1], {})
