"""The client's side of the wire, against a worker that is played by the test: step by step, without a process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from lastgood.bridges import channel as channel_module
from lastgood.bridges.channel import Answer, Channel
from lastgood.bridges.worker import frames
from lastgood.bridges.worker.frames import CALL, FORGET, FORGOTTEN, HEADER, RESULT, Inbox
from lastgood.errors import BridgeError


class Wire:
    """A channel and, for the test, the worker's ends of its pipes."""

    def __init__(self) -> None:
        self.requests, client_out = os.pipe()
        client_in, self.answers = os.pipe()
        os.set_blocking(self.requests, False)
        self.inbox = Inbox()
        self.garbage: list[str] = []
        self.ends = 0
        self.channel = Channel(client_out, client_in, -1, on_end=self._end, on_garbage=self._on_garbage)
        self.answered: list[tuple[str, bytes]] = []

    async def _end(self) -> None:
        self.ends += 1
        self.channel.fail(lambda: BridgeError("ended"))

    def _on_garbage(self, text: str) -> None:
        self.garbage.append(text)
        self.channel.fail(lambda: BridgeError("garbage"))

    def received(self) -> list[tuple[int, int, int]]:
        """What the worker finds to read: (kind, number, size)."""
        found: list[tuple[int, int, int]] = []
        while True:
            try:
                chunk = os.read(self.requests, 1 << 20)
            except BlockingIOError:
                return found
            found += [(kind, number, len(body)) for kind, number, body in self.inbox.feed(chunk)]

    def answer(self, *numbers: int, kind: int = RESULT) -> None:
        """Answer these calls in one write, each with its number as text."""
        bodies = [(number, str(number).encode()) for number in numbers]
        os.write(self.answers, b"".join(HEADER.pack(len(body), kind, number) + body for number, body in bodies))

    async def call(self, name: str, body: bytes = b"") -> None:
        """Make a call, and note its answer under this name."""
        answer = self.channel.submit(CALL, body)
        await self.channel.wait(answer)
        self.answered.append((name, answer.body))

    def close(self) -> None:
        self.channel.fail(lambda: BridgeError("closed"))
        self.channel.close()
        os.close(self.requests)
        os.close(self.answers)


@pytest.fixture(params=["epoll", "tasks"])
async def wire(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Wire]:
    if request.param == "tasks":
        monkeypatch.delattr("select.epoll")
    made = Wire()
    yield made
    made.close()


async def test_answers_come_in_any_order_to_whom_they_belong(wire: Wire) -> None:
    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(wire.call, name)
            await wait_all_tasks_blocked()
        assert wire.received() == [(CALL, 1, 0), (CALL, 2, 0), (CALL, 3, 0)]
        wire.answer(3)
        await wait_all_tasks_blocked()
        assert wire.answered == [("c", b"3")]
        wire.answer(2, 1)
    assert sorted(wire.answered) == [("a", b"1"), ("b", b"2"), ("c", b"3")]
    assert not wire.channel.busy()


async def test_when_the_leader_leaves_another_leads(wire: Wire) -> None:
    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(wire.call, name)
            await wait_all_tasks_blocked()
        for number in (1, 2, 3):
            wire.answer(number)
            await wait_all_tasks_blocked()
    assert wire.answered == [("a", b"1"), ("b", b"2"), ("c", b"3")]


async def test_when_the_leader_is_cancelled_another_leads(wire: Wire) -> None:
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as first:
            first.start_soon(wire.call, "a")
            await wait_all_tasks_blocked()
            nursery.start_soon(wire.call, "b")
            await wait_all_tasks_blocked()
            first.cancel_scope.cancel()
        assert wire.received() == [(CALL, 1, 0), (CALL, 2, 0), (FORGET, 1, 0)]
        wire.answer(2)
    assert wire.answered == [("b", b"2")]


@pytest.mark.parametrize("kind", [RESULT, FORGOTTEN], ids=["result", "forgotten"])
async def test_a_late_answer_is_dropped(wire: Wire, kind: int) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.call, "a")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert wire.channel.busy()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.call, "b")
        await wait_all_tasks_blocked()
        wire.answer(1, kind=kind)
        wire.answer(2)
    assert wire.answered == [("b", b"2")]
    assert not wire.channel.busy()
    assert not wire.garbage


async def test_a_frame_that_does_not_fit_goes_out_piece_by_piece(wire: Wire) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.call, "large", bytes(5_000_000))
        await wait_all_tasks_blocked()
        nursery.start_soon(wire.call, "small")
        came: list[tuple[int, int, int]] = []
        while len(came) < 2:
            await wait_all_tasks_blocked()
            came += wire.received()
        assert came == [(CALL, 1, 5_000_000), (CALL, 2, 0)]
        wire.answer(1, 2)


async def test_a_leader_that_has_sent_all_of_its_own_sends_what_others_have_left(wire: Wire) -> None:
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as first:
            first.start_soon(wire.call, "large", bytes(5_000_000))
            await wait_all_tasks_blocked()
            nursery.start_soon(wire.call, "behind", bytes(5_000_000))
            await wait_all_tasks_blocked()
            while not (came := wire.received()):
                await wait_all_tasks_blocked()
            assert came == [(CALL, 1, 5_000_000)]
            wire.answer(1)
        while not (came := wire.received()):
            await wait_all_tasks_blocked()
        assert came == [(CALL, 2, 5_000_000)]
        wire.answer(2)
    assert [name for name, _ in wire.answered] == ["large", "behind"]


async def test_a_call_that_is_cancelled_before_any_of_it_was_sent_leaves_no_trace(wire: Wire) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.call, "large", bytes(5_000_000))
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as second:
            second.start_soon(wire.call, "never")
            await wait_all_tasks_blocked()
            second.cancel_scope.cancel()
        while not (came := wire.received()):
            await wait_all_tasks_blocked()
        assert came == [(CALL, 1, 5_000_000)]
        wire.answer(1)
    assert not wire.channel.busy()


async def test_a_frame_that_was_begun_is_finished_by_the_next_call(wire: Wire) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.call, "begun", bytes(5_000_000))
        await wait_all_tasks_blocked()
        nursery.start_soon(wire.call, "waiting", bytes(10))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.call, "next")
        came: list[tuple[int, int, int]] = []
        while len(came) < 3:
            await wait_all_tasks_blocked()
            came += wire.received()
        assert came == [(CALL, 1, 5_000_000), (FORGET, 1, 0), (CALL, 3, 0)]
        wire.answer(1, kind=FORGOTTEN)
        wire.answer(3)
    assert wire.answered == [("next", b"3")]


async def test_the_end_of_the_answers_fails_all(wire: Wire) -> None:
    os.dup2(wire.requests, wire.answers)  # closes it, and leaves the number taken
    for _ in range(2):
        with pytest.raises(BridgeError, match="ended"):
            await wire.call("a")
    assert wire.ends == 1


async def test_an_answer_that_nobody_asked_for_is_garbage(wire: Wire) -> None:
    wire.answer(7)
    with pytest.raises(BridgeError, match="garbage"):
        await wire.call("a")
    assert wire.garbage == ["an answer to call 7, which is not open"]


async def test_failing_reaches_the_leader_and_those_who_wait(wire: Wire) -> None:
    errors = []

    async def call(size: int) -> None:
        try:
            await wire.call("a", bytes(size))
        except BridgeError as error:
            errors.append(str(error))

    async with trio.open_nursery() as nursery:
        for size in (0, 5_000_000, 0):
            nursery.start_soon(call, size)
            await wait_all_tasks_blocked()
        wire.channel.fail(lambda: BridgeError("over"))
        wire.channel.close()
        wire.channel.close()
    assert errors == ["over"] * 3


async def test_calls_in_flight_and_their_size_are_bounded(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "MAX_OPEN", 2)
    monkeypatch.setattr(frames, "MAX_BODY", 10)
    with pytest.raises(BridgeError, match="The arguments take 11 bytes; no more than 10 can cross"):
        wire.channel.submit(CALL, bytes(11))
    for _ in range(2):
        assert isinstance(wire.channel.submit(CALL, b""), Answer)
    with pytest.raises(BridgeError, match="2 calls are in flight already"):
        wire.channel.submit(CALL, b"")
