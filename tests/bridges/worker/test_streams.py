"""The streams of a worker alone: what the app asks, and the turns that threads give, in any order, without a process."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.bridges.worker import frames, streams
from lastgood.bridges.worker.performing import VALUES
from lastgood.bridges.worker.streams import Stream, Streams

WINDOW = 6
CLOSED = (frames.RESULT, b"\xc0")


class Exposure:
    def expose(self) -> None: ...
    def cover(self) -> None: ...


class Bench:
    """The open streams of a worker, the queue of their turns, and what was answered to each request."""

    def __init__(self) -> None:
        self.answers: dict[int, tuple[int, bytes]] = {}
        self.turns: deque[Stream] = deque()
        self.streams = Streams(self.answer, self.turns.append, lambda _number, _unless: None, lambda _number: False)
        self.requests = 0

    def answer(self, number: int, kind: int, body: bytes) -> None:
        assert number not in self.answers, "answered twice"
        self.answers[number] = kind, body

    def open(self, items: Any) -> int:
        self.requests += 1
        assert self.streams.begin(self.requests, items, (), "asyncio", lambda *_: None, lambda *_: None) is None
        return self.requests

    def turn(self, others_wait: Callable[[], bool] = lambda: False) -> None:
        stream = self.turns.popleft()
        self.streams.advance(stream, Exposure(), others_wait)  # type: ignore[arg-type]  # all that is used of one
        self.streams.rest(stream)

    def ask(self, kind: int, stream: int) -> int:
        self.requests += 1
        self.streams.request(kind, self.requests, frames.STREAM_NUMBER.pack(stream))
        return self.requests


@pytest.fixture(autouse=True)
def _a_small_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "WINDOW_ITEMS", WINDOW)


class App:
    """The app's side of one stream, and the model of it."""

    def __init__(self, bench: Bench, end: int, *, fails: bool) -> None:
        self.bench, self.end, self.fails = bench, end, fails
        self.made = self.taken = self.closings = 0
        self.begun = self.is_over = self.has_left = self.leaves_within = False
        self.number = self.request = bench.open(self.items())

    def items(self) -> Iterator[int]:
        self.begun = True
        try:
            for number in range(self.end):
                self.made += 1
                self.leave_within()
                assert self.made - self.taken <= WINDOW
                yield number
            self.leave_within()
            if self.fails:
                raise ValueError("no more")
        finally:
            self.closings += 1

    def read(self) -> None:
        """Read the answer, if it has come, and ask for more."""
        if self.has_left or self.is_over or self.request not in self.bench.answers:
            return
        kind, body = self.bench.answers[self.request]
        assert kind == frames.ITEMS
        for kind, packed in frames.records_of(body):
            if kind == frames.RESULT:
                assert VALUES.loads(packed) == self.taken
                self.taken += 1
            else:
                assert kind == (frames.RAISED if self.fails else frames.ENDED)
                self.is_over = True
        if not self.is_over:
            self.request = self.bench.ask(frames.TAKE, self.number)

    def leave(self) -> None:
        if self.has_left or self.is_over:
            return
        self.has_left = True
        if self.request not in self.bench.answers:
            self.bench.streams.forget(self.request)
            self.bench.answers[self.request] = frames.FORGOTTEN, b""
        self.request = self.bench.ask(frames.CLOSE, self.number)

    def leave_within(self) -> None:
        """Leave in the midst of an item, as the app does while a thread makes it."""
        if self.leaves_within:
            self.leave()

    def check(self) -> None:
        assert self.closings == self.begun
        if self.has_left:
            assert self.bench.answers[self.request] == CLOSED
        else:
            assert (self.is_over, self.taken) == (True, self.end)


STEPS = st.lists(
    st.tuples(st.sampled_from(["turn", "short turn", "read", "read", "leave", "leave within"]), st.integers(0, 2)),
    max_size=40,
)
SCRIPTS = st.lists(st.tuples(st.sampled_from((0, 1, 3, 6, 7, 40)), st.booleans()), min_size=1, max_size=3)


@given(SCRIPTS, STEPS)
def test_items_come_in_order_each_request_is_answered_once_and_nothing_is_left(
    scripts: list[tuple[int, bool]], steps: list[tuple[str, int]]
) -> None:
    bench = Bench()
    apps = [App(bench, end, fails=fails) for end, fails in scripts]
    for step, number in steps:
        app = apps[number % len(apps)]
        if step == "read":
            app.read()
        elif step == "leave":
            app.leave()
        elif step == "leave within":
            app.leaves_within = True
        elif bench.turns:
            bench.turn(lambda step=step: step == "short turn")  # type: ignore[misc]  # its default binds it
    while bench.turns or not all(app.has_left or app.is_over for app in apps):
        while bench.turns:
            bench.turn()
        for app in apps:
            app.read()
    for app in apps:
        app.check()
    assert not bench.streams.any_open()
    assert not bench.streams._requests


def test_an_answer_never_exceeds_what_a_frame_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_BODY", 1000)
    bench = Bench()
    items = [b"a", bytes(980), b"b", bytes(990), b"c"]
    stream = request = bench.open(items)
    bench.turn()
    found: list[int | str] = []
    while "end" not in found:
        _, body = bench.answers[request]
        assert len(body) <= 1000
        found += [
            len(VALUES.loads(packed)) if kind == frames.RESULT else "end" for kind, packed in frames.records_of(body)
        ]
        if "end" not in found:
            request = bench.ask(frames.TAKE, stream)
            while bench.turns:
                bench.turn()
    assert found == [1, 980, 1, 990, 1, "end"]


async def items() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("closes", [False, True], ids=["forgotten", "forgotten and closed"])
@pytest.mark.parametrize("point", ["before", "as it tells the app", "before its task starts", "after"])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_stream_that_is_forgotten_while_it_begins_is_closed_once(is_async: bool, point: str, closes: bool) -> None:
    """The app goes away at each moment of the beginning, of which the reading thread learns while another thread runs it."""
    log: list[str] = []
    answers: dict[int, tuple[int, bytes]] = {}
    turns: deque[Stream] = deque()
    forgotten: set[int] = set()
    started: list[Coroutine[Any, Any, Any]] = []

    def send(kind: int, number: int, body: bytes) -> None:
        assert (kind, number, body) == (frames.APART, 1, b"")
        assert 1 not in answers, "an answer that comes before the notice"
        leave_at("as it tells the app")

    def cancel(number: int, unless: Callable[[], bool]) -> None:
        assert number == 1
        if started and not unless():  # as the event loops do it, one that has not started is not there
            log.append("cancelled")

    def start(_number: int, coroutine: Coroutine[Any, Any, Any], _pack: object) -> None:
        leave_at("before its task starts")
        started.append(coroutine)

    def leave_at(here: str) -> None:
        if here != point:
            return
        forgotten.add(1)
        if streams_.forget(1) is not None:
            forgotten.discard(1)
            answers[1] = frames.FORGOTTEN, b""
        if closes:
            streams_.request(frames.CLOSE, 2, frames.STREAM_NUMBER.pack(1))

    streams_ = Streams(
        lambda number, *answer: answers.update({number: answer}), turns.append, cancel, forgotten.__contains__
    )
    plain = iter([1])
    leave_at("before")
    outcome = streams_.begin(1, items() if is_async else plain, (), "asyncio", send, start)
    if outcome is not None:
        answers[1] = outcome
    if not is_async and point in ("as it tells the app", "before its task starts"):
        leave_at(point)  # a plain one does neither
    leave_at("after")
    assert answers[1] == (frames.FORGOTTEN, b"")
    if is_async:
        assert log == ["cancelled"]
        started[0].close()
        assert streams_.finished(1, (frames.FORGOTTEN, b""))
    else:
        stream = turns.popleft()
        streams_.advance(stream, Exposure(), lambda: False)  # type: ignore[arg-type]  # all that is used of one
        assert list(plain) == [1], "an item that nobody waits for"
    assert not streams_.any_open()
    assert answers.get(2) == (CLOSED if closes else None)
