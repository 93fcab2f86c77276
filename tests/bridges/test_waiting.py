"""What the error of a late call says that it had waited behind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from lastgood.bridges.pending import PendingAnswer, waited_behind
from lastgood.bridges.process import ProcessBridge
from lastgood.bridges.streams import WorkerStream
from lastgood.errors import CallTimeout
from process_bridges import HOLD, Gate, until

pytestmark = pytest.mark.usefixtures("nothing_is_left")

SERVICE = (
    """
import asyncio, threading

async def hold_loop(path):
    return hold(path)

async def give(value):
    return value

def give_plain(value):
    return value

def items(path):
    yield 1
    yield hold(path)

async def async_items():
    yield 1
    await asyncio.Event().wait()
"""
    + HOLD
)


class Play:
    """Calls of a bridge, each of which may take five seconds, and the errors of those that were late."""

    def __init__(self, bridge: ProcessBridge) -> None:
        self.bridge = bridge
        self.channel = bridge._workers[0].channel
        self.told: list[str] = []

    async def call(self, function: str, argument: object) -> None:
        with pytest.raises(CallTimeout) as caught:
            await self.bridge.call("svc", function, [argument], {})
        self.told.append(str(caught.value))

    async def item(self, stream: WorkerStream) -> None:
        with pytest.raises(CallTimeout) as caught:
            await anext(stream)
        self.told.append(str(caught.value))

    async def until_apart(self, number: int) -> None:
        """Wait until so many calls are on the event loop."""
        await until(
            lambda: self.channel._catch_up() and sum(each.apart for each in self.channel._open.values()) == number
        )


async def later(clock: MockClock, seconds: float) -> None:
    await wait_all_tasks_blocked()
    clock.jump(seconds)
    await wait_all_tasks_blocked()


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Play]:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "svc.py").write_text(SERVICE)
    bridge = ProcessBridge(import_path=[tmp_path / "source"], modules=["svc"], timeout=5)
    await bridge.init()
    yield Play(bridge)
    await bridge.dispose()


async def test_a_call_that_was_alone_waited_behind_nothing(play: Play, tmp_path: Path, mock_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(play.call, "hold", Gate(tmp_path).path)
        await later(mock_clock, 5)
    assert play.told == ["svc.hold did not return within 5 s (runtime.process.timeout)."]


async def test_a_call_that_waited_for_a_thread_says_behind_which(
    play: Play, tmp_path: Path, mock_clock: MockClock
) -> None:
    gates = [Gate(tmp_path, name) for name in "ab"]
    async with trio.open_nursery() as nursery:
        for gate in gates:
            nursery.start_soon(play.call, "hold", gate.path)
            await later(mock_clock, 1)
        await later(mock_clock, 3)
        await later(mock_clock, 5)
    assert play.told[1] == (
        "svc.hold did not return within 5 s (runtime.process.timeout). "
        "Before that, it had waited 4 s for a thread of the worker, last behind svc.hold, which ran for 5 s."
    )


@pytest.mark.parametrize("apart", [0, 1])
async def test_an_async_call_says_what_was_on_the_event_loop_before(
    apart: int, play: Play, tmp_path: Path, mock_clock: MockClock
) -> None:
    """What was there before is late as well, at the same time or earlier, and goes on."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(play.call, "hold_loop", Gate(tmp_path).path)
        await play.until_apart(1)
        await later(mock_clock, apart)
        nursery.start_soon(play.call, "give", 1)
        await play.until_apart(2)
        await later(mock_clock, 5 - apart)
        await later(mock_clock, apart)
    assert (
        "svc.give did not return within 5 s (runtime.process.timeout). It ran on the event loop of the worker beside "
        f"svc.hold_loop, running for {5 + apart} s: a function there that blocks instead of awaiting holds up all of them."
    ) in play.told


async def test_a_call_that_waited_for_the_turn_of_a_stream_says_that_it_had_not_begun(
    play: Play, tmp_path: Path, mock_clock: MockClock
) -> None:
    gate = Gate(tmp_path)
    async with aclosing(play.bridge.stream("svc", "items", [gate.path])) as items, trio.open_nursery() as nursery:
        assert await anext(items) == 1  # it makes the next one ahead
        await gate.reached()
        nursery.start_soon(play.call, "give_plain", 1)
        await later(mock_clock, 5)
        assert not play.told  # it gets as much again, since it may have begun later
        await later(mock_clock, 5)
        assert len(play.told) == 1
        gate.open()
    assert play.told == [
        (
            "svc.give_plain did not return within 5 s (runtime.process.timeout). It had not begun: it waited behind "
            "the stream svc.items, running for 10 s (threads = 1)."
        )
    ]


async def test_an_item_of_an_async_stream_says_what_was_on_the_event_loop(
    play: Play, tmp_path: Path, mock_clock: MockClock
) -> None:
    gate = Gate(tmp_path)
    stream = play.bridge.stream("svc", "async_items")
    assert await anext(stream) == 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(play.call, "hold_loop", gate.path)
        await gate.reached()
        await play.until_apart(1)
        nursery.start_soon(play.item, stream)
        await later(mock_clock, 5)
        gate.open()
    assert (
        "svc.async_items did not yield its next item within 5 s (runtime.process.timeout). It ran on the event loop of the "
        "worker beside svc.hold_loop, running for 5 s: a function there that blocks instead of awaiting holds up all of them."
    ) in play.told


def pending(name: str, began: float, **fields: Any) -> PendingAnswer:
    answer = PendingAnswer(1, f"svc\0{name}".encode())
    answer.began = began
    for field, value in fields.items():
        setattr(answer, field, value)
    return answer


STREAM = pending("tokens", 5.0, of_stream=True)
SLOW = pending("slow", 40.0, holds_thread=True)


@pytest.mark.parametrize(
    ("answer", "others", "streams", "text"),
    [
        (pending("f", 10), [SLOW], [], ""),
        (pending("f", 10), [SLOW], [STREAM], ("It had not begun: it waited behind the stream svc.tokens, running for 95 s "
         "and 1 more (threads = 2).")),
        (pending("f", 10, has_begun=True), [SLOW], [STREAM], ""),
        (pending("f", 10), [SLOW], [pending("async_tokens", 5.0, of_stream=True, apart=True)], ""),
        (pending("f", 10, queued=1.0, behind=(b"svc\0g", 4.0)), [], [],
         "Before that, it had waited 9 s for a thread of the worker, last behind svc.g, which ran for 6 s."),
        (pending("tokens", 10, of_stream=True), [SLOW], [STREAM],
         "Its items take turns with calls, and the worker ran svc.slow, running for 60 s (threads = 2)."),
        (pending("tokens", 10, of_stream=True), [], [STREAM], ""),
        (pending("f", 10, apart=True), [SLOW], [], ""),
        (pending("f", 10, apart=True), [pending("later", 56, apart=True)], [], ""),
        (pending("f", 10, apart=True), [pending("g", 7, apart=True), pending("h", 8, apart=True)], [], ("It ran on the event "
         "loop of the worker beside svc.g, running for 93 s and 1 more: a function there that blocks instead of awaiting holds "
         "up all of them.")),
    ],
)  # fmt: skip
def test_what_it_waited_behind(
    answer: PendingAnswer, others: list[PendingAnswer], streams: list[PendingAnswer], text: str
) -> None:
    assert waited_behind(answer, [*others, answer], streams, 100.0, 2) == text
