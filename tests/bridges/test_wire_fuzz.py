"""Both ends of the wire against bytes that nobody meant: random ones, and good ones with a few changed.

Whatever comes, a call gets an answer or a :class:`BridgeError`, and nothing else is raised.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lastgood.bridges.channel import Channel
from lastgood.bridges.pending import PendingAnswer
from lastgood.bridges.process import VALUES, ProcessBridge
from lastgood.bridges.remote import PACK, unpacker
from lastgood.bridges.streams import WorkerStream
from lastgood.bridges.worker import frames, interrupts, serving
from lastgood.bridges.worker.calling import Callables
from lastgood.bridges.worker.frames import HEADER
from lastgood.bridges.worker.values import arrays
from lastgood.bridges.worker.values.arena import Arena, make_arena
from lastgood.bridges.worker.values.arrays import Carrier
from lastgood.errors import BridgeError

ANSWERS = [
    frames.RESULT,
    frames.RAISED,
    frames.REFUSED,
    frames.FORGOTTEN,
    frames.LOADED,
    frames.APART,
    frames.BEGAN,
    frames.ITEMS,
]
ANSWERS_WITH_ARRAYS: list[list[Any]] = [
    ["<f8", [2, 1], False, None, bytes(16)],
    ["<f8", [2**62, 4], False, None, bytes(0)],
    ["<i2", [5], True, 0, 10],
    ["O", [1], False, None, bytes(8)],
    ["U0", [10**9], False, None, b""],
    [[8, [["a", "O", 0]]], [1], False, None, bytes(8)],
    [["<i4", [2]], [1], False, None, bytes(8)],
]


INCOMING = Arena(make_arena())


def carrier(outgoing: Arena, incoming: Arena) -> Carrier:
    return Carrier(PACK, unpacker, msgspec.msgpack.Ext, towards="nowhere", outgoing=outgoing, incoming=incoming)


def call_body(name: str, *args: Any, **kwargs: Any) -> bytes:
    target = f"svc\0{name}".encode()
    return frames.TARGET_LENGTH.pack(len(target)) + target + VALUES.dumps([list(args), kwargs])


def array(*head: Any) -> bytes:
    return PACK(msgspec.msgpack.Ext(arrays.ARRAY, PACK(head)))


BODIES = [
    *(array(*head) for head in ANSWERS_WITH_ARRAYS),
    *map(
        VALUES.dumps,
        (None, 1, [1, "x", {"k": (1, 2)}], {1.5, b"x"}, 2**80, [0.5] * 70, ["a", "b", "c"], "why not"),
    ),
    *map(
        VALUES.dumps,
        (
            ["a", "/p/b.py", b"c"],
            ["a", "b.py", b"c"],
            ["a", "/p/b\0.py", b"c"],
            ["/b.py", b"c"],
            ["a", "/p/b.py", 10**12],
        ),
    ),
    *(
        b"".join(frames.RECORD.pack(kind, len(body)) + body for kind, body in records)
        for records in (
            [(frames.RESULT, b"\x01")],
            [(frames.RESULT, b"\x01"), (frames.RESULT, b"\xc1"), (frames.ENDED, b"")],
            [(frames.RAISED, b"\x93\xa1a\xa1b\xa1c")],
            [(frames.REFUSED, b"\xa1a"), (frames.RESULT, b"\x01")],
        )
    ),
]


def frame(kind: int, number: int, body: bytes) -> bytes:
    return HEADER.pack(len(body), kind, number) + body


@st.composite
def mutated(draw: st.DrawFn, streams: st.SearchStrategy[bytes]) -> bytes:
    """A stream with some of its bytes changed, left out or put in."""
    data = bytearray(draw(streams))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(data)


def streams_of(kinds: list[int], bodies: list[bytes]) -> st.SearchStrategy[bytes]:
    one = st.builds(frame, st.sampled_from(kinds), st.integers(0, 5), st.sampled_from(bodies) | st.binary(max_size=20))
    good = st.lists(one, max_size=8).map(b"".join)
    return st.binary(max_size=200) | mutated(good)


async def play(stream: bytes, cuts: list[int]) -> list[Any]:
    """What three calls come to, when this is all that the worker sends."""
    requests, client_out = os.pipe()
    client_in, answers = os.pipe()
    outcomes: list[Any] = []

    async def end() -> None:
        channel.fail(lambda: BridgeError("ended"))

    def garbage(problem: str) -> None:
        channel.fail(lambda: BridgeError(problem))

    bridge = ProcessBridge(import_path=["/p"])
    channel = Channel(
        client_out,
        client_in,
        -1,
        on_end=end,
        on_garbage=garbage,
        on_loaded=partial(bridge._note_loaded, BROKEN),
        timeout=60,
        threads=2,
    )

    async def call() -> None:
        try:
            answer = channel.submit(frames.CALL, b"")
            await channel.wait(answer)
            outcomes.append(bridge._result(BROKEN, answer))
        except BridgeError as error:
            outcomes.append(error)

    async def take() -> None:
        broken: Any = _Broken(channel)

        def begin(*_call: Any) -> Any:
            return broken, channel.submit(frames.STREAM, b"")

        stream = WorkerStream(begin, lambda _what: None, "svc", "f", [], {})
        try:
            outcomes.append([item async for item in stream])
        except BridgeError as error:
            outcomes.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(call)
        nursery.start_soon(take)
        for cut in cuts:
            await trio.testing.wait_all_tasks_blocked()
            os.write(answers, stream[:cut])
            stream = stream[cut:]
        os.write(answers, stream)
        os.close(answers)
    channel.close()
    os.close(requests)
    return outcomes


class _Broken:
    """A worker that sends invalid data, for a test of the app's side."""

    def __init__(self, channel: Channel | None = None) -> None:
        self.channel = channel
        self.codec = carrier(Arena(-1), INCOMING)

    def read(self, answer: PendingAnswer) -> Any:
        return self.codec.loads(answer.body)

    def read_item(self, body: bytes) -> Any:
        return self.codec.loads(body) if body else None

    def fail_with(self, problem: str) -> BridgeError:
        return BridgeError(problem)


BROKEN: Any = _Broken()


def fuzz(max_examples: int) -> Callable[[Any], Any]:
    return settings(max_examples=max_examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])


AMOUNTS = [
    pytest.param(60, id="few"),
    pytest.param(20_000, id="many", marks=pytest.mark.torture),
]


@pytest.mark.parametrize("amount", AMOUNTS)
def test_the_app_survives_whatever_a_worker_sends(amount: int) -> None:
    @fuzz(amount)
    @given(streams_of(ANSWERS, BODIES), st.lists(st.integers(1, 30), max_size=3))
    def run(stream: bytes, cuts: list[int]) -> None:
        outcomes = trio.run(partial(play, stream, cuts))
        assert len(outcomes) == 3

    run()


@pytest.mark.parametrize("head", ANSWERS_WITH_ARRAYS, ids=str)
def test_arrays_that_are_none(head: list[Any]) -> None:
    pytest.importorskip("numpy")
    codec = carrier(Arena(-1), INCOMING)
    if head[0] == "<f8" and head[1] == [2, 1]:
        assert codec.loads(array(*head)).tolist() == [[0.0], [0.0]]
    else:
        with pytest.raises(ValueError, match=r"array|arena|memory"):
            codec.loads(array(*head))


REQUESTS = [
    *(frames.CALL, frames.FORGET, frames.SETUP, frames.PIN, frames.LEVELS),
    *(frames.STREAM, frames.TAKE, frames.CLOSE),
]


def echo(*args: Any, **kwargs: Any) -> list[Any]:
    return [args, kwargs]


CALL_BODIES = [call_body(name, *args) for name in ("echo", "os.x", "") for args in ([], [1, {"k": (2,)}])]


STREAM_BODIES = [frames.STREAM_NUMBER.pack(number) for number in (0, 1, 2)]


LEVELS_BODIES = [*map(VALUES.dumps, ({"": 30}, {"a": "b"}, []))]


PIN_BODIES = [*map(VALUES.dumps, (["/b.py", b"c"], ["/b.py", 10**12], [b"/b.py", b"c"]))]


def serve(stream: bytes) -> list[tuple[int, int, bytes]]:
    """What a worker answers to all of this, in this very process."""
    requests, app_out = os.pipe()
    app_in, answers = os.pipe()
    os.set_blocking(app_in, False)
    worker = serving.Worker(requests, answers)
    worker._callables = Callables({"svc": __import__("sys").modules[__name__]}, {})
    os.write(app_out, stream)
    os.close(app_out)
    turn = interrupts.RunSlot(worker._lock)
    while (came := worker._read()) is not None:
        for number, body in came:
            worker._run(turn, number, body)
        while not worker._calls.empty() and (waiting := worker._calls.get()) is not None:
            worker._take_turn(turn, waiting[1])  # type: ignore[arg-type]  # only streams are put there
    try:
        sent = os.read(app_in, 1 << 20)
    except BlockingIOError:
        sent = b""
    for descriptor in (requests, app_in, answers):
        os.close(descriptor)
    return frames.Inbox().feed(sent)


@pytest.mark.parametrize("amount", AMOUNTS)
def test_a_worker_survives_whatever_comes(amount: int) -> None:
    @fuzz(amount)
    @given(streams_of(REQUESTS, [*CALL_BODIES, *PIN_BODIES, *LEVELS_BODIES, *STREAM_BODIES]))
    def run(stream: bytes) -> None:
        assert {kind for kind, _, _ in serve(stream)} <= {*frames.ANSWERS, frames.BEGAN}

    run()


def test_two_streams_of_one_number_are_no_requests_of_an_app(capfd: pytest.CaptureFixture[str]) -> None:
    assert serve(2 * frame(frames.STREAM, 3, call_body("echo"))) == []
    assert "a second request with the number 3" in capfd.readouterr().err


def test_an_untouched_call_is_answered() -> None:
    ((kind, number, body),) = serve(frame(frames.CALL, 3, call_body("echo", 1, k=2)))
    assert (kind, number, VALUES.loads(body)) == (frames.RESULT, 3, [(1,), {"k": 2}])
