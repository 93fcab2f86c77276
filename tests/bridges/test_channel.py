"""The client's side of the wire, against a worker that is played by the test: step by step, without a process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from held_up import hold_up
from lastgood.bridges import channel as channel_module
from lastgood.bridges.channel import Channel
from lastgood.bridges.pending import PendingAnswer
from lastgood.bridges.worker import frames
from lastgood.bridges.worker.frames import APART, BEGAN, CALL, FORGET, FORGOTTEN, HEADER, LOADED, READ, RESULT, Inbox
from lastgood.errors import BridgeError


class Wire:
    """A channel and, for the test, the worker's ends of its pipes."""

    def __init__(self, **options: Any) -> None:
        self.requests, client_out = os.pipe()
        client_in, self.answers = os.pipe()
        os.set_blocking(self.requests, False)
        self.inbox = Inbox()
        self.garbage: list[str] = []
        self.ends = 0
        self.over: list[int] = []
        self.channel = Channel(
            client_out,
            client_in,
            -1,
            on_end=self._end,
            on_garbage=self._on_garbage,
            on_over=self.over.append,
            **options,
        )
        self.answered: list[tuple[str, bytes]] = []
        self.late: dict[str, float] = {}

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
        if answer.kind is None:
            self.late[name] = trio.current_time()
        else:
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


@pytest.mark.parametrize(("kind", "told"), [(RESULT, [(READ, 1, 0)]), (FORGOTTEN, [])], ids=["result", "forgotten"])
async def test_a_late_answer_is_dropped_and_what_was_lent_with_it_given_back(
    wire: Wire, kind: int, told: list[tuple[int, int, int]]
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.call, "a")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert wire.channel.busy()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.call, "b")
        await wait_all_tasks_blocked()
        assert wire.received() == [(CALL, 1, 0), (FORGET, 1, 0), (CALL, 2, 0)]
        wire.answer(1, kind=kind)
        wire.answer(2)
    assert wire.answered == [("b", b"2")]
    assert wire.received() == told
    assert wire.over == [1, 2]
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
        assert wire.over == [2], "what was lent with it is free again"
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


@pytest.mark.parametrize(
    ("kind", "number", "size", "told"),
    [
        (RESULT, 7, 1, "an answer to call 7, which is not open"),
        (APART, 7, 0, "a notice of call 7, which is not open"),
        (99, 1, 1000, "a frame of the unknown kind 99"),
        (LOADED, 0, 1 << 21, "a frame of kind 32 and 2097152 bytes, none of which has more than 1048576"),
    ],
    ids=["answer", "word", "kind", "report"],
)
async def test_what_can_be_no_frame_is_garbage_before_its_body_comes(
    wire: Wire, kind: int, number: int, size: int, told: str
) -> None:
    os.write(wire.answers, HEADER.pack(size, kind, number))
    with pytest.raises(BridgeError, match="garbage"):
        await wire.call("a")
    assert wire.garbage == [told]


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


async def test_after_a_failure_nothing_is_sent_and_the_first_one_stays(wire: Wire) -> None:
    wire.channel.fail(lambda: BridgeError("first"))
    wire.channel.fail(lambda: BridgeError("second"))
    wire.channel.pin(b"a module")
    wire.channel.send_read(1)
    with pytest.raises(BridgeError, match="first"):
        wire.channel.submit(CALL, b"")
    assert wire.received() == []
    wire.channel.close()
    wire.channel.pin(b"a module")  # its descriptor may be somebody else's by now
    wire.channel.send_read(1)


async def test_calls_in_flight_and_their_size_are_bounded(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "MAX_OPEN", 2)
    monkeypatch.setattr(frames, "MAX_BODY", 10)
    with pytest.raises(BridgeError, match="The arguments take 11 bytes; no more than 10 can cross"):
        wire.channel.submit(CALL, bytes(11))
    for _ in range(2):
        assert isinstance(wire.channel.submit(CALL, b""), PendingAnswer)
    with pytest.raises(BridgeError, match="2 calls are in flight already"):
        wire.channel.submit(CALL, b"")


async def test_forgotten_calls_that_go_on_count_too(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "MAX_OPEN", 2)
    for name in "ab":
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.call, name)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    with pytest.raises(BridgeError, match="cancelled ones that still run among them"):
        wire.channel.submit(CALL, b"")


async def test_what_waits_to_be_sent_is_bounded(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "MAX_UNSENT", 100)
    wire.channel.submit(CALL, bytes(5_000_000))
    with pytest.raises(BridgeError, match="bytes wait already for the worker to take them; no more than 100 can"):
        wire.channel.submit(CALL, b"")


# Time.


Clock = trio.testing.MockClock
"""Virtual: seconds pass when nothing else happens."""


@pytest.fixture
async def timed() -> AsyncIterator[Wire]:
    made = Wire(threads=2, timeout=5)
    yield made
    made.close()


async def test_a_calls_time_counts_from_when_it_begins(timed: Wire, autojump_clock: Clock) -> None:
    start = autojump_clock.current_time()
    async with trio.open_nursery() as nursery:
        for name in "abcde":  # two run at once
            nursery.start_soon(timed.call, name)
            await wait_all_tasks_blocked()
        await trio.sleep(2)
        timed.answer(1)
    assert timed.answered == [("a", b"1")]
    assert {name: at - start for name, at in timed.late.items()} == {"b": 5, "c": 7, "d": 10, "e": 12}


async def test_one_that_runs_apart_holds_up_no_other(timed: Wire, autojump_clock: Clock) -> None:
    start = autojump_clock.current_time()
    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(timed.call, name)
            await wait_all_tasks_blocked()
        await trio.sleep(1)
        os.write(timed.answers, 2 * HEADER.pack(0, APART, 1))
    assert {name: at - start for name, at in timed.late.items()} == {"a": 5, "b": 5, "c": 6}


async def test_while_a_stream_is_open_time_counts_from_where_the_worker_says(
    timed: Wire, autojump_clock: Clock
) -> None:
    start = autojump_clock.current_time()
    timed.channel.streams[9] = PendingAnswer(9)
    async with trio.open_nursery() as nursery:
        for name in "ab":
            nursery.start_soon(timed.call, name)
            await wait_all_tasks_blocked()
        await trio.sleep(3)
        os.write(timed.answers, HEADER.pack(0, BEGAN, 1))
    assert {name: at - start for name, at in timed.late.items()} == {"a": 3 + 5, "b": 2 * 5}


async def test_those_that_are_cancelled_while_they_wait_never_begin(timed: Wire, autojump_clock: Clock) -> None:
    start = autojump_clock.current_time()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for name in "ab":
                nursery.start_soon(timed.call, name)
                await wait_all_tasks_blocked()
            async with trio.open_nursery() as inner:
                for _ in range(2):  # as many as run at once
                    inner.start_soon(timed.call, "never")
                await wait_all_tasks_blocked()
                inner.cancel_scope.cancel()
            nursery.start_soon(timed.call, "c")
    assert {name: at - start for name, at in timed.late.items()} == {"a": 5, "b": 5, "c": 10}


async def test_an_answer_that_is_there_does_not_become_late(timed: Wire, autojump_clock: Clock) -> None:
    del autojump_clock
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timed.call, "late")
        await wait_all_tasks_blocked()
        answer = timed.channel.submit(CALL, b"")
        timed.answer(answer.number)
        await trio.sleep(10)
    assert (answer.kind, answer.late) == (RESULT, False)
    assert list(timed.late) == ["late"]


async def test_time_goes_on_after_nothing_was_due_for_long(timed: Wire, autojump_clock: Clock) -> None:
    for name in "ab":
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timed.call, name)
            await wait_all_tasks_blocked()
            timed.answer(1 if name == "a" else 2)
        await trio.sleep(100)
    start = autojump_clock.current_time()
    await timed.call("late")
    assert timed.late == {"late": start + 5}


async def test_whoever_is_answered_is_not_kept_until_its_time_would_be_over(timed: Wire) -> None:
    timed.channel.adopt(threads=2, timeout=1e6, on_loaded=lambda _body: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timed.call, "long")  # it is answered last, and holds up none
        await wait_all_tasks_blocked()
        for number in range(2, 102):
            nursery.start_soon(timed.call, str(number))
            await wait_all_tasks_blocked()
            timed.answer(number)
            await wait_all_tasks_blocked()
        timed.answer(1)
    assert len(timed.answered) == 101
    assert not timed.channel._due


# The app does not run for a while. Trio shuffles what it does in one turn, so some of these are tried several times.

IN_ANY_ORDER = range(20)


async def call_held_up(wire: Wire, clock: Clock, seconds: float, *names: str, arrived: bytes = b"") -> None:
    """Make calls, and let so much time pass in which ``arrived`` comes and the app does nothing."""
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(wire.call, name)
            await wait_all_tasks_blocked()
        await hold_up(partial(os.write, wire.answers, arrived), partial(clock.jump, seconds))


def answers(*numbers: int) -> bytes:
    return b"".join(HEADER.pack(1, RESULT, number) + b"!" for number in numbers)


@pytest.fixture(params=["epoll", "tasks"])
async def held_up(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Wire]:
    if request.param == "tasks":
        monkeypatch.delattr("select.epoll")
    made = Wire(threads=2, timeout=5)
    yield made
    made.close()


async def test_a_call_whose_answer_has_come_is_not_late(held_up: Wire, autojump_clock: Clock) -> None:
    for turn in IN_ANY_ORDER:
        await call_held_up(held_up, autojump_clock, 100, "led", "parked", arrived=answers(2 * turn + 2, 2 * turn + 1))
    assert not held_up.late
    assert len(held_up.answered) == 2 * len(IN_ANY_ORDER)
    assert not held_up.channel.busy()


async def test_one_behind_another_long_answer_is_not_late_either(held_up: Wire, autojump_clock: Clock) -> None:
    for turn in IN_ANY_ORDER:
        large = HEADER.pack(50_000, RESULT, 2 * turn + 1) + bytes(50_000)
        await call_held_up(held_up, autojump_clock, 100, "a", "b", arrived=large + answers(2 * turn + 2))
    assert not held_up.late
    assert len(held_up.answered) == 2 * len(IN_ANY_ORDER)


async def test_a_call_has_as_long_again_as_the_look_was_late_and_never_more_than_its_time(
    timed: Wire, autojump_clock: Clock
) -> None:
    start = autojump_clock.current_time()
    await call_held_up(timed, autojump_clock, 7, "stopped for 2 s")
    await call_held_up(timed, autojump_clock, 100, "stopped for 95 s")
    ended = [at - start for at in timed.late.values()]
    assert ended == [7 + 2, 9 + 100 + 5]


async def test_what_is_answered_in_that_time_is_not_late(timed: Wire, autojump_clock: Clock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timed.call, "a")
        await wait_all_tasks_blocked()
        autojump_clock.jump(7)
        await trio.sleep(1)
        timed.answer(1)
    assert timed.answered == [("a", b"1")]


async def test_one_that_begins_in_that_time_has_its_own(timed: Wire, autojump_clock: Clock) -> None:
    start = autojump_clock.current_time()
    async with trio.open_nursery() as nursery:
        for name in "abc":  # two run at once
            nursery.start_soon(timed.call, name)
            await wait_all_tasks_blocked()
        timed.answer(1)
        autojump_clock.jump(9)
    assert timed.answered == [("a", b"1")]
    assert {name: at - start for name, at in timed.late.items()} == {"b": 13, "c": 14}


async def test_an_answer_that_is_on_its_way_is_waited_for_once_more(timed: Wire, autojump_clock: Clock) -> None:
    start = autojump_clock.current_time()
    async with trio.open_nursery() as nursery:
        for name in "ab":
            nursery.start_soon(timed.call, name)
            await wait_all_tasks_blocked()
        await trio.sleep(4.5)
        os.write(timed.answers, HEADER.pack(10, RESULT, 1) + b"half")
        await trio.sleep(3)
        os.write(timed.answers, b"rest..")
    assert timed.answered == [("a", b"halfrest..")]
    assert {name: at - start for name, at in timed.late.items()} == {"b": 5}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timed.call, "never whole")
        await wait_all_tasks_blocked()
        start = autojump_clock.current_time()
        os.write(timed.answers, HEADER.pack(10, RESULT, 3) + b"half")
    assert timed.late["never whole"] - start == 10


async def test_a_worker_that_has_gone_meanwhile_is_no_timeout(held_up: Wire, autojump_clock: Clock) -> None:
    async with trio.open_nursery() as nursery:
        for name in "ab":
            nursery.start_soon(expect_end, held_up, name)
            await wait_all_tasks_blocked()
        await hold_up(partial(os.close, held_up.answers), partial(autojump_clock.jump, 100))
    assert held_up.ends == 1
    held_up.answers = os.dup(held_up.requests)  # for close()


async def expect_end(wire: Wire, name: str) -> None:
    with pytest.raises(BridgeError, match="ended"):
        await wire.call(name)


async def test_what_can_be_no_answer_is_no_timeout_either(held_up: Wire, autojump_clock: Clock) -> None:
    async def expect_garbage(name: str) -> None:
        with pytest.raises(BridgeError, match="garbage"):
            await held_up.call(name)

    async with trio.open_nursery() as nursery:
        for name in "ab":
            nursery.start_soon(expect_garbage, name)
            await wait_all_tasks_blocked()
        await hold_up(partial(os.write, held_up.answers, answers(7)), partial(autojump_clock.jump, 100))
    assert len(held_up.garbage) == 1


async def test_a_deadline_of_the_callers_own_passes_with_the_answer(held_up: Wire, autojump_clock: Clock) -> None:
    async def within(seconds: float, name: str) -> None:
        with trio.move_on_after(seconds):
            await held_up.call(name)

    for turn in IN_ANY_ORDER:
        async with trio.open_nursery() as nursery:
            for name in ("led", "parked"):
                nursery.start_soon(within, 3, name)
                await wait_all_tasks_blocked()
            os.write(held_up.answers, answers(2 * turn + 1, 2 * turn + 2))
            autojump_clock.jump(4)
    assert len(held_up.answered) == 2 * len(IN_ANY_ORDER)
    assert not held_up.channel.busy()


async def test_without_an_answer_a_cancelled_caller_goes_at_once(held_up: Wire, autojump_clock: Clock) -> None:
    start = autojump_clock.current_time()
    with trio.move_on_after(3):
        await call_held_up(held_up, autojump_clock, 0, "led", "parked")
    assert autojump_clock.current_time() == start + 3
    assert held_up.received()[-2:] in ([(FORGET, 1, 0), (FORGET, 2, 0)], [(FORGET, 2, 0), (FORGET, 1, 0)])
