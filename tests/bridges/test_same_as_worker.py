"""A call in this process gives what it gives in a worker: value, class, error and traceback, for every table of values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

import generating
from bridges.test_arrays import ARRAYS
from bridges.test_process_calls import EVERYTHING
from calls.test_told_apart import test_a_plain_call_gives_plain_data_as_ever as plain_calls
from calls.test_told_apart import test_a_result_is_of_the_class_that_it_was_of as classes
from calls.test_typed_values import test_values_keep_their_types_both_ways as types_both_ways
from imported import forgotten
from lastgood import Bridge, BridgeError, InProcessBridge, ProcessBridge, RemoteError
from lastgood.bridges.worker.values import packing
from lastgood.bridges.worker.values.codec import CODEC, Codec
from process_bridges import SERVICE

MORE = """
import enum, functools
from dataclasses import dataclass
from typing import NamedTuple

class Level(enum.IntEnum):
    HIGH = 3

class Point(NamedTuple):
    x: int
    y: float = 0.5

@dataclass
class Quote:
    sku: str
    level: Level = Level.HIGH

class Odd(Exception):
    def __init__(self, code):
        self.code = code

def give(kind):
    return {"enum": Level.HIGH, "named": Point(1), "record": Quote("a"), "nested": {Level.HIGH: [Quote("b"), (Point(2),)]},
            "text": type("Text", (str,), {})("x"), "many": [1.0] * 100, "set": {Level.HIGH}}[kind]

def take(quote: Quote, *, level: Level = Level.HIGH) -> list:
    return [type(quote).__name__, quote.sku, type(level).__name__]

def chained():
    try:
        int("x")
    except ValueError:
        raise Odd(3)

def group():
    raise ExceptionGroup("several", [ValueError(1), ExceptionGroup("inner", [Odd(2)])])

def stop():
    raise StopIteration(3)

def deep(level):
    return deep(level - 1) if level else [][0]

async def later(value):
    return value

async def fail_later():
    raise Odd("later") from KeyError("cause")

@functools.lru_cache
def cached(number):
    return [number]

class Desk:
    @staticmethod
    def quote(sku):
        return Quote(sku)

    @classmethod
    def name(cls):
        return cls.__name__

    def method(self):
        pass
"""

Call = tuple[str, str, Sequence[Any], dict[str, Any]]


def calls() -> Iterator[tuple[str, Call]]:
    for value in EVERYTHING:
        yield f"value-{type(value).__name__}", ("svc", "give", [value], {})
        yield f"nested-{type(value).__name__}", ("svc", "echo", [[value]], {"key": (value,)})
    for array in ARRAYS:
        yield f"array-{array.dtype}{array.shape}", ("svc", "give", [{"array": array}], {})
    for scalar in (np.float32(0.1), np.int64(3), np.bool_(True), np.datetime64("2024-01-01")):
        yield f"scalar-{type(scalar).__name__}", ("svc", "give", [scalar], {})
    for kind in ("value", "own", "group", "exit", "generator", "leaving"):
        yield f"fail-{kind}", ("svc", "fail", [kind], {})
    for how in ("object", "loop", "giant key", "equal keys"):
        yield f"odd-{how}", ("svc", "odd", [how], {})
    for kind in ("enum", "named", "record", "nested", "text", "many", "set"):
        yield f"give-{kind}", ("more", "give", [kind], {})
    for name in (
        "chained",
        "group",
        "stop",
        "fail_later",
        "Desk.name",
        "Desk.method",
        "Desk",
        "Level",
        "nothing",
        "_x",
        "a..b",
    ):
        yield name, ("more", name, [], {})
    yield "gone", ("svc", "gone", [], {})
    yield "deep", ("more", "deep", [20], {})
    yield "later", ("more", "later", [(1, "a")], {})
    yield "cached", ("more", "cached", [1], {})
    yield "unhashable", ("more", "cached", [[1]], {})
    yield "static", ("more", "Desk.quote", ["a"], {})
    yield "too few", ("svc", "give", [], {})
    yield "too many", ("svc", "give", [1, 2], {"x": 3})
    yield "argument", ("svc", "echo", [0, {"prices": [0, object()]}], {})
    yield "named argument", ("svc", "echo", [], {"tax": [object]})
    yield "through a module", ("svc", "os.system", ["true"], {})
    yield "another module", ("os", "system", ["true"], {})
    yield "no text", ("s\ud800", "x", [], {})
    yield "too long", ("svc", "x" * 70_000, [], {})


CALLS = dict(calls())


def described(value: Any) -> Any:
    """The value with the class of everything in it."""
    if isinstance(value, np.ndarray):
        parts = (
            [value] if value.dtype.names is None else [value[name] for name in value.dtype.names]
        )  # padding has any bytes
        data = [part.tobytes() for part in parts]
        return ("array", value.dtype, value.shape, data, value.flags.f_contiguous, value.flags.writeable)
    if isinstance(value, dict):
        return (type(value), [(described(key), described(item)) for key, item in value.items()])
    if isinstance(value, list | tuple):
        return (type(value), [described(item) for item in value])
    if isinstance(value, set | frozenset):
        return (type(value), sorted(map(repr, map(described, value))))
    return (type(value), repr(value))


async def outcome(bridge: Bridge, call: Call) -> Any:
    module, function, args, kwargs = call
    try:
        return "value", described(await bridge.call(module, function, args, kwargs))
    except RemoteError as error:
        return "raised", error.type_name, error.message, error.traceback, str(error)
    except BridgeError as error:
        return type(error), str(error)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("src")
    (directory / "svc.py").write_text(SERVICE)
    (directory / "more.py").write_text(MORE)
    with forgotten(directory):
        yield directory


@pytest.fixture(scope="module")
def in_worker(sources: Path) -> dict[str, Any]:
    """What each call gives in a worker."""

    async def run() -> dict[str, Any]:
        bridge = ProcessBridge(import_path=[sources], modules=["svc", "more"])
        await bridge.init()
        try:
            return {name: await outcome(bridge, call) for name, call in CALLS.items()}
        finally:
            await bridge.dispose()

    return trio.run(run)


@pytest.fixture(params=["plain", "fresh"])
def here(sources: Path, request: pytest.FixtureRequest) -> Iterator[InProcessBridge]:
    bridge = InProcessBridge(import_path=[sources], modules=["svc", "more"], fresh=request.param == "fresh")
    bridge.start()
    yield bridge
    bridge.stop()


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_gives_what_it_gives_in_a_worker(
    name: str, in_worker: dict[str, Any], here: InProcessBridge
) -> None:
    try:
        raise LookupError("what the app is handling at the call is none of the source's")
    except LookupError:
        assert await outcome(here, CALLS[name]) == in_worker[name]


@pytest.mark.parametrize("name", ["fail-own", "later", "gone", "odd-object", "too few", "nothing"])
def test_a_blocking_call_does_too(name: str, in_worker: dict[str, Any], here: InProcessBridge) -> None:
    class Blocking:
        async def call(self, *call: Any) -> Any:
            return here.call_blocking(*call)

        async def dispose(self) -> None: ...

    with pytest.raises(StopIteration) as stopped:
        outcome(Blocking(), CALLS[name]).send(None)
    assert stopped.value.value == in_worker[name]


async def test_with_no_msgpack_in_c_it_is_the_same(
    in_worker: dict[str, Any], here: InProcessBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "find_faster", lambda: None)
    here._codec = Codec("to the worker")
    monkeypatch.setattr(CODEC, "values", Codec("from the worker").values)
    monkeypatch.setattr(CODEC, "_fast", False)
    for name, call in CALLS.items():
        assert (name, await outcome(here, call)) == (name, in_worker[name])


@pytest.mark.parametrize("test", [types_both_ways, classes, plain_calls])
async def test_wrappers_have_the_same_types(
    test: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generating, "ProcessBridge", InProcessBridge)
    with forgotten(tmp_path):
        await test(tmp_path)
