"""Streams of a ProcessBridge that are left early: by a close, a cancellation, the last reference, or the end of the worker."""

from __future__ import annotations

import fcntl
import gc
import termios
from array import array
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from lastgood.bridges import streams
from lastgood.bridges.process import ProcessBridge
from lastgood.errors import BridgeError, RemoteError
from process_bridges import DEADLINE, HOLD, Gate, running, until
from stream_service import STREAMS, closed, items_of, open_stream

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


@pytest.mark.parametrize("function", ["count", "count_async"])
async def test_leaving_early_closes_the_generator(bridge: ProcessBridge, function: str) -> None:
    async for item in open_stream(bridge, function, 10**9, "left by break"):
        if item == 10:
            break
    await closed(bridge, "left by break")

    stream = open_stream(bridge, function, 10**9, "closed")
    await anext(stream)
    await stream.aclose()
    assert (await bridge.call("svc", "marks", [], {}))[1] == ["left by break", "closed"]
    assert await items_of(stream) == []

    ring: list[Any] = [open_stream(bridge, function, 10**9, "garbage")]
    ring.append(ring)
    await anext(ring[0])
    del ring
    gc.collect()
    await closed(bridge, "garbage")


async def test_its_finally_block_may_await_whatever_it_did_when_it_was_closed(bridge: ProcessBridge) -> None:
    for number in range(100):
        stream = open_stream(bridge, "slow_to_close", number)
        for _ in range(number + 1):
            await anext(stream)
        await stream.aclose()
    assert (await bridge.call("svc", "marks", [], {}))[1] == list(range(100))


async def test_a_task_group_around_a_yield_is_left_in_silence(bridge: ProcessBridge) -> None:
    for number in range(20):
        stream = open_stream(bridge, "in_a_group", number)
        for _ in range(number + 1):
            await anext(stream)
        await stream.aclose()
    assert (await bridge.call("svc", "marks", [], {}))[1] == list(range(20))


async def test_a_cancelled_request_closes_it(bridge: ProcessBridge) -> None:
    stream = open_stream(bridge, "waiting")
    assert await anext(stream) == 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(anext, stream)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert await items_of(stream) == []
    await closed(bridge, "waiting")


BEGINS_SLOWLY = (
    """
import gc, sys

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "asyncio":  # the worker needs it once it has called the function, and before it can cancel anything
            sys.meta_path.remove(self)
            hold(GATE)

sys.meta_path.insert(0, Slow())

async def never():
    import asyncio
    await asyncio.Event().wait()
    yield 1

def left():
    gc.collect()
    return sum(type(each).__name__ == "async_generator" for each in gc.get_objects())
"""
    + HOLD
)


def unread(descriptor: int) -> int:
    """The bytes that lie in a pipe."""
    waiting = array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, waiting)
    return waiting[0]


async def test_one_that_is_cancelled_while_it_begins_is_closed(source: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    (source / "svc.py").write_text(BEGINS_SLOWLY + f"GATE = {gate.path!r}\n")
    async with running(source) as bridge:
        stream = open_stream(bridge, "never")
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(anext, stream)
                await gate.reached()
                scope.cancel()
        await until(lambda: unread(bridge._workers[0].channel._requests) == 0)
        gate.open()
        with trio.fail_after(DEADLINE):
            while await bridge.call("svc", "left", [], {}):
                await trio.lowlevel.checkpoint()


async def test_a_plain_one_that_is_cancelled_in_a_step_harms_no_call(bridge: ProcessBridge, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    stream = open_stream(bridge, "held", gate.path)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(anext, stream)
            await gate.reached()
            scope.cancel()
    assert await bridge.call("svc", "give", [1], {}) == 1
    gate.open()  # the item was interrupted, or comes now: a signal just before a wait does not end it
    await closed(bridge, "held")


async def test_closing_an_async_one_interrupts_the_item_that_is_made_ahead(bridge: ProcessBridge) -> None:
    stream = open_stream(bridge, "waiting")
    await anext(stream)
    await stream.aclose()
    assert (await bridge.call("svc", "marks", [], {}))[1] == ["waiting"]
    stream = open_stream(bridge, "stubborn")
    await anext(stream)
    await stream.aclose()


async def test_closing_a_plain_one_interrupts_an_item_that_does_not_come(
    bridge: ProcessBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_PATIENCE", 0.0)
    stream = open_stream(bridge, "hang")
    await anext(stream)
    await stream.aclose()
    assert await bridge.call("svc", "give", [1], {}) == 1


@pytest.mark.parametrize("function", ["bad_end", "bad_end_async"])
async def test_what_it_raises_while_it_is_closed_is_raised_by_aclose(bridge: ProcessBridge, function: str) -> None:
    stream = open_stream(bridge, function)
    await anext(stream)
    with pytest.raises(RemoteError, match="while it was closed"):
        await stream.aclose()
    await stream.aclose()


@pytest.mark.parametrize("function", ["held_and_failing", "held_and_failing_async"])
async def test_what_it_raises_ahead_of_who_leaves_is_not_raised_by_aclose(
    source: Path, tmp_path: Path, function: str
) -> None:
    async with running(source, threads=2) as bridge:
        gate = Gate(tmp_path)
        stream = open_stream(bridge, function, gate.path)
        await anext(stream)
        await gate.reached()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.aclose)
            await trio.testing.wait_all_tasks_blocked()
            assert await bridge.call("svc", "give", [1], {}) == 1  # the worker reads in order: it knows of aclose()
            gate.open()


@pytest.mark.parametrize("function", ["leaving", "leaving_async"])
async def test_the_end_of_the_worker_closes_it(source: Path, tmp_path: Path, function: str) -> None:
    async with running(source, grace=DEADLINE) as bridge:
        stream = open_stream(bridge, function, str(tmp_path / "left"))
        await anext(stream)
    assert (tmp_path / "left").read_text() == "left"
    with pytest.raises(BridgeError, match="disposed"):
        await anext(stream)
