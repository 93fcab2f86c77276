"""The bytes that cross between an app and a real worker, both ways, are those of ``records/wire/`` (``recording.py``)."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Interface
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import trio

from declaring import declaring
from imitated import not_on_darwin
from lastgood.bridges.process import VALUES, ProcessBridge
from lastgood.bridges.worker import frames
from lastgood.bridges.worker.frames import HEADER, TARGET_LENGTH, Inbox
from lastgood.calls.classes import Declared
from lastgood.errors import BridgeError
from real_project import DEADLINE
from recording import compare_with_record

SERVICE = """
import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

class Pair(NamedTuple):
    left: int
    right: str

class Colour(Enum):
    RED = "red"

@dataclass
class Point:
    x: int
    y: int = 0

def give(*args, **kwargs):
    return [*args, kwargs] if kwargs or len(args) != 1 else args[0]

def take(point: Point, colour: Colour = Colour.RED):
    return point.x, point.y, colour is Colour.RED

def points():
    return {"all": [Point(1), Point(2, 3)], "colour": Colour.RED}

def fail():
    raise LookupError("no such thing")

def odd():
    return [object()]

async def wait(value):
    await asyncio.sleep(0)
    return value

def hold(path):
    with open(path) as gate:
        return gate.read()
"""


STREAMS = """
import itertools

def nothing():
    pass

def one():
    yield 1

async def one_async():
    yield 1

def endless():
    return itertools.count()
"""
TYPES = """
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

class Colour(Enum):
    RED = "red"

@dataclass
class Point:
    x: int
    y: int = 0

class Pair(NamedTuple):
    left: int
    right: str
"""


Call = Callable[[ProcessBridge], Awaitable[object]]


def call(function: str, *args: Any, **kwargs: Any) -> Call:
    return lambda bridge: bridge.call("svc", function, args, kwargs)


def fails(script: Call) -> Call:
    async def expect(bridge: ProcessBridge) -> None:
        with pytest.raises(BridgeError):
            await script(bridge)

    return expect


def by_wrapper(function: str, *texts: str) -> Call:
    """A call as a wrapper makes it. The arguments are texts, of instances of the classes that it declares."""

    async def script(bridge: ProcessBridge) -> None:
        wrapper = vars(sys.modules["generated.svc"])
        await bridge.call_exact("svc", function, [eval(text, wrapper) for text in texts], {}, Declared(wrapper))

    return script


PLAIN: list[Any] = [
    None,
    True,
    False,
    0,
    127,
    128,
    -1,
    -33,
    2**31,
    -(2**63),
    2**64 - 1,
    0.5,
    "",
    "x",
    "é" * 40,
    b"",
    b"bytes",
    [],
    {},
]
CONVERSATIONS: dict[str, Sequence[Call]] = {
    "plain": [*(call("give", value) for value in PLAIN), call("give"), call("give", 1, "two", three=3, four=[4])],
    "containers": [
        call("give", (1, (2,))),
        call("give", {1}),
        call("give", frozenset((1,))),
        call("give", {(1, 2): "by tuple", None: 1, 2.5: {b"k": [1, [2, [3]]]}}),
        call("give", [2**70, -(2**64)]),
        call("give", "\ud800"),
        call("give", [0.5 * number for number in range(64)]),
        call("give", list(range(-2, 62))),
    ],
    "rich": [
        call("give", datetime(2024, 2, 29, 12, 30, 1, 5)),
        call("give", datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)),
        call("give", [date(2024, 2, 29), time(1, 2, 3, tzinfo=UTC), timedelta(days=-1, microseconds=1)]),
        call("give", [Decimal("1.50"), UUID(int=5), Path("a/b")]),
        call("give", bytearray(b"array")),
    ],
    "standard": [
        call("give", [1j, Fraction(1, 3), range(1, 9, 2), bytearray(b"b")]),
        call("give", [ZoneInfo("Europe/Berlin"), UTC, timezone(timedelta(hours=1), "one")]),
        call("give", [IPv4Address("1.2.3.4"), IPv6Interface("fe80::1%eth0/64")]),
        call("give", [PurePosixPath("a"), PureWindowsPath("c:/a"), re.compile("(?i)a"), re.compile(b"b", re.DOTALL)]),
        call("give", [deque([1], 2), OrderedDict(b=1), Counter("a"), defaultdict(list, c=[1]), defaultdict(None)]),
    ],
    "own types": [
        call("points"),
        by_wrapper("take", "Point(1, 2)", "Colour.RED"),
        by_wrapper("give", "[Colour.RED, Pair(1, 'two'), Pair(2, 'three')]"),
        by_wrapper("points"),
    ],
    "failures": [
        fails(call("fail")),
        fails(call("odd")),
        fails(call("missing")),
        fails(lambda bridge: bridge.call("other", "give", [], {})),
        fails(call("give", object())),  # nothing is sent
    ],
    "beside": [call("wait", 1), fails(call("wait", object())), call("give", "next")],
}


class Tap:
    """``os``, as the channel has it, and every byte that crosses through it."""

    def __init__(self) -> None:
        self.sent, self.received = bytearray(), bytearray()

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, descriptor: int, data: bytes) -> int:
        count = os.write(descriptor, data)
        self.sent += data[:count]
        return count

    def writev(self, descriptor: int, parts: Sequence[bytes]) -> int:
        count = os.writev(descriptor, parts)
        self.sent += b"".join(parts)[:count]
        return count

    def read(self, descriptor: int, size: int) -> bytes:
        data = os.read(descriptor, size)
        self.received += data
        return data


KINDS = {
    getattr(frames, name): name for name in frames.__all__ if name.isupper() and type(getattr(frames, name)) is int
}
del KINDS[frames.MAX_BODY]


def told(kind: int, body: bytes) -> str:
    """The body as it is, but for what differs from place to place and from one Python to another."""
    if kind == frames.SETUP:
        setup = VALUES.loads(body)
        assert isinstance(setup.pop("import_path"), list)
        assert isinstance(setup.pop("log_levels")[""], int)
        return f"import_path and {setup}"
    if kind == frames.RAISED:
        name, message, traceback, details, others = VALUES.loads(body)
        assert "Traceback" in traceback
        assert (others, details["left_out"]) == ([], {})
        return f"{[name, message]} and a traceback"
    return repr(body)


def record_of(tap: Tap) -> str:
    """The frames of each call, the app's first: calls are independent, so their order among each other may differ."""
    of: dict[int, list[str]] = defaultdict(list)
    for direction, stream in (("->", tap.sent), ("<-", tap.received)):
        inbox = Inbox()
        for kind, number, body in inbox.feed(bytes(stream)):
            of[number].append(f"{number} {direction} {KINDS[kind]} {told(kind, body)}\n")
        assert not inbox.rest
    return "".join(line for number in sorted(of) for line in of[number])


@pytest.fixture
def tap(monkeypatch: pytest.MonkeyPatch) -> Tap:
    tap = Tap()
    monkeypatch.setattr("lastgood.bridges.channel.os", tap)
    return tap


def bridge_to(service: Path, text: str = SERVICE) -> ProcessBridge:
    (service / "svc.py").write_text(text)
    return ProcessBridge(import_path=[service], modules=["svc"], timeout=DEADLINE, spare=False)


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_the_bytes_of_calls_and_answers_are_those_of_the_record(name: str, tmp_path: Path, tap: Tap) -> None:
    bridge = bridge_to(tmp_path)
    await bridge.init()
    with declaring("svc", TYPES):
        for step in CONVERSATIONS[name]:
            await step(bridge)
    await bridge.dispose()
    compare_with_record(f"wire/{name.replace(' ', '-')}", record_of(tap))


async def test_the_bytes_of_a_call_that_is_forgotten(tmp_path: Path, tap: Tap) -> None:
    bridge = bridge_to(tmp_path)
    await bridge.init()
    os.mkfifo(tmp_path / "gate")
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.call, "svc", "hold", [str(tmp_path / "gate")], {})
            end = await trio.to_thread.run_sync(os.open, tmp_path / "gate", os.O_WRONLY)
            nursery.cancel_scope.cancel()
        assert await bridge.call("svc", "give", [1], {}) == 1
        os.close(end)
        while KINDS[frames.FORGOTTEN] not in record_of(tap):
            await bridge.call("svc", "give", [1], {})
    await bridge.dispose()
    told_of_it = [line.split()[1:3] for line in record_of(tap).splitlines() if line.startswith("2 ")]
    assert told_of_it == [["->", "CALL"], ["->", "FORGET"], ["<-", "FORGOTTEN"]]


async def test_the_bytes_of_streams(tmp_path: Path, tap: Tap) -> None:
    bridge = bridge_to(tmp_path, STREAMS)
    await bridge.init()
    for function in ("one", "one_async"):
        async for _item in bridge.stream("svc", function, [], {}):
            await bridge.call("svc", "nothing", [], {})  # what is made ahead is made before it is called
    stream = bridge.stream("svc", "endless", [], {})
    await anext(stream)
    await stream.aclose()
    with pytest.raises(BridgeError):
        await anext(bridge.stream("svc", "nothing", [], {}))
    await bridge.dispose()
    compare_with_record("wire/streams", record_of(tap))


@not_on_darwin("it has no memory that is shared by a sealed descriptor: arrays cross in the frames")
async def test_the_bytes_of_large_arrays(tmp_path: Path, tap: Tap) -> None:
    np = pytest.importorskip("numpy")
    bridge = bridge_to(tmp_path, "import numpy as np\ndef give(value): return value\n")
    await bridge.init()
    await bridge.call("svc", "give", [np.arange(6, dtype="<i4").reshape(2, 3)], {})
    for _ in range(2):
        came = await bridge.call("svc", "give", [[np.ones(200_000), np.zeros((2, 100_000), order="F")]], {})
        assert came[0].sum() == 200_000
    await bridge.dispose()
    lines = [
        line for line in record_of(tap).splitlines(keepends=True) if not line.startswith("1 ")
    ]  # numpy's own modules
    compare_with_record("wire/arrays", "".join(lines))


def test_the_layout_of_a_frame() -> None:
    assert HEADER.pack(3, frames.CALL, 7) == b"\x03\x00\x00\x00\x02\x07\x00\x00\x00\x00\x00\x00\x00"
    assert TARGET_LENGTH.pack(258) == b"\x02\x01"
    assert KINDS == {
        1: "SETUP",
        2: "CALL",
        3: "FORGET",
        4: "READ",
        5: "AHEAD",
        6: "PIN",
        7: "INTERFACE",
        8: "LEVELS",
        9: "SERVE",
        16: "RESULT",
        17: "RAISED",
        18: "REFUSED",
        19: "FORGOTTEN",
        20: "UNFIT",
        32: "LOADED",
        33: "APART",
        34: "LOG",
        35: "LOGGED",
        36: "BEGAN",
        37: "TAKEN",
        40: "STREAM",
        41: "TAKE",
        42: "CLOSE",
        48: "ITEMS",
        49: "ENDED",
    }
