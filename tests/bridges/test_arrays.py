"""numpy's arrays to a real worker and back: through the arena where they are large, and always as they were."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from imitated import not_on_darwin
from lastgood.bridges import channel as channel_module
from lastgood.bridges.process import ProcessBridge
from lastgood.bridges.worker.values import arena as arena_module
from lastgood.errors import BridgeError, DecodeError, EncodeError
from process_bridges import HOLD
from real_project import DEADLINE

np = pytest.importorskip("numpy")

needs_an_arena = not_on_darwin("it has no memory that is shared by a sealed descriptor: arrays cross in the frames")

SERVICE = (
    """
import sys

import numpy as np

kept = []

def give(value):
    return value

def keep(value):
    kept.append(value)
    return len(kept)

def total():
    return sum(float(each.sum()) for each in kept)

def change(value):
    value[:] = 7
    return value

def make(size):
    return np.ones(size)

def hold_array(path):
    hold(path)
    return np.ones(1_000_000)

def odd():
    return np.array([object()])

def half_odd(size):
    return [np.ones(size), object()]

def crowded(size):
    sys.modules["_lastgood_worker.frames"].MAX_BODY = 1000
    return [np.ones(size), "x" * 1001]
"""
    + HOLD
)

ONES = 500_000
BLOCK = 4 << 20
"""The bytes of a block that so many take."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "svc.py").write_text(SERVICE)
    return tmp_path


def free(bridge: ProcessBridge) -> bool:
    """Whether every block of the app's arena is had back."""
    arena = bridge._workers[0].codec.outgoing
    return arena._free.keys() == arena._blocks.keys()


def lent_by_the_worker(bridge: ProcessBridge) -> int:
    """The bytes that the worker's arena has come to: those of one block, if each is had back before the next result."""
    return os.fstat(bridge._workers[0].codec.incoming._descriptor).st_size


ARRAYS: list[Any] = [
    np.arange(10),
    np.arange(12.0).reshape(3, 4),
    np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
    np.arange(20)[::2],
    np.array(5),
    np.empty((0, 3)),
    np.array(["a", "bcd"]),
    np.array([b"x"]),
    np.array([True, False]),
    np.array([1, 2], dtype=">i2"),
    np.array(["2024-01-01", "NaT"], dtype="M8[s]"),
    np.array([1 + 2j]),
    np.array([(1, b"x", [0.5, 1])], dtype=[("a", "i4"), ("b", "S2"), ("c", "f8", (2,))]),
    np.array([((1, "2024-01-01"), 2)], dtype=[("in", [("x", "i1"), ("y", "M8[D]")]), ("z", ">u2")]),
    np.ones((2, 3), dtype=[(("a title", "a"), "i1"), ("b", "f8")]),
    np.ones(3, dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    np.ones(3, dtype={"names": ["a", "b"], "formats": ["i4", "f4"], "offsets": [12, 4], "itemsize": 24}),
    np.array([b"raw!"], dtype="V4"),
    np.ones(300_000, dtype=[("a", "i4"), ("b", "f8")]),
    np.arange(1_000_000, dtype="f4").reshape(1000, 1000),
    np.asfortranarray(np.arange(600_000.0).reshape(300, 2000)),
    np.arange(2_000_000)[::2],
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
async def test_an_array_arrives_as_it_was(bridge: ProcessBridge, array: Any) -> None:
    for _ in range(2):
        came, beside = await bridge.call("svc", "give", [[array, "beside"]], {})
        assert beside == "beside"
        assert type(came) is np.ndarray
        assert (came.dtype, came.shape) == (array.dtype, array.shape)
        assert np.array_equal(came, array, equal_nan=array.dtype.kind in "fcM")
        assert came.flags.writeable
        if array.flags.f_contiguous:
            assert came.flags.f_contiguous
    assert free(bridge)


@pytest.mark.parametrize(
    ("scalar", "came"), [(np.int64(3), 3), (np.float32(0.5), 0.5), (np.bool_(True), True), (np.str_("x"), "x")], ids=str
)
async def test_a_scalar_arrives_as_the_value_that_it_is(bridge: ProcessBridge, scalar: Any, came: Any) -> None:
    assert repr(await bridge.call("svc", "give", [[scalar]], {})) == repr([came])


@needs_an_arena
async def test_lists_of_many_numbers_go_the_same_way_each_as_long_as_it_was(bridge: ProcessBridge) -> None:
    puts = bridge._workers[0].codec.outgoing.puts
    for count in (400_000, 200_000, 300_000):  # a block that is used again is longer than what is put there
        for numbers in ([0.5 * each for each in range(count)], [*range(-count, 0)]):
            assert await bridge.call("svc", "give", [numbers], {}) == numbers
    assert bridge._workers[0].codec.outgoing.puts == puts + 6
    assert free(bridge)


async def test_what_was_received_is_the_receivers_own(bridge: ProcessBridge) -> None:
    ones = np.ones(500_000)
    assert (await bridge.call("svc", "change", [ones], {})).max() == 7
    assert ones.max() == 1
    first = await bridge.call("svc", "make", [500_000], {})
    await bridge.call("svc", "give", [np.zeros(500_000)], {})
    assert first.min() == 1
    for _ in range(3):
        await bridge.call("svc", "keep", [ones], {})
    assert await bridge.call("svc", "total", [], {}) == 1_500_000


@needs_an_arena
async def test_blocks_are_used_again(bridge: ProcessBridge) -> None:
    for _ in range(20):
        await bridge.call("svc", "give", [np.ones(500_000)], {})
    worker = bridge._workers[0]
    assert worker.codec.outgoing._size <= 5 << 20
    assert os.fstat(worker.codec.incoming._descriptor).st_size <= 9 << 20


@needs_an_arena
async def test_a_call_that_is_forgotten_gives_its_blocks_back(bridge: ProcessBridge, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.call, "svc", "hold_array", [str(tmp_path / "gate")], {})
            end = await trio.to_thread.run_sync(os.open, tmp_path / "gate", os.O_WRONLY)
            nursery.start_soon(bridge.call, "svc", "give", [np.ones(500_000)], {})
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    os.close(end)
    for _ in range(20):
        await bridge.call("svc", "make", [500_000], {})
    assert free(bridge)
    assert os.fstat(bridge._workers[0].codec.incoming._descriptor).st_size <= 14 << 20


@needs_an_arena
async def test_a_result_that_nobody_waits_for_any_more_gives_its_blocks_back(
    bridge: ProcessBridge, tmp_path: Path
) -> None:
    for number in range(3):
        gate = tmp_path / f"gate{number}"
        os.mkfifo(gate)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.call, "svc", "hold_array", [str(gate)], {})
            end = await trio.to_thread.run_sync(os.open, gate, os.O_WRONLY)
            nursery.cancel_scope.cancel()
        await bridge.call("svc", "give", [1], {})  # the worker has heard by then that nobody waits
        os.close(end)
        with trio.fail_after(DEADLINE):
            while bridge._workers[0].channel.busy():
                await bridge.call("svc", "give", [1], {})
    assert lent_by_the_worker(bridge) == 2 * BLOCK


@needs_an_arena
@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("half_odd", r"result\[1\]: object of type object cannot cross"),
        ("crowded", "The result takes .* bytes; no more"),
    ],
)
async def test_a_result_that_cannot_cross_gives_its_blocks_back(
    bridge: ProcessBridge, function: str, told: str
) -> None:
    for _ in range(3):
        with pytest.raises(BridgeError, match=told):
            await bridge.call("svc", function, [ONES], {})
    assert lent_by_the_worker(bridge) == BLOCK


@needs_an_arena
async def test_a_call_that_is_refused_gives_its_blocks_back(
    bridge: ProcessBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "MAX_OPEN", 0)
    with pytest.raises(BridgeError, match="calls are in flight already"):
        await bridge.call("svc", "give", [np.ones(ONES)], {})
    assert bridge._workers[0].codec.outgoing.puts == 1
    assert free(bridge)


async def test_without_room_they_cross_in_the_frame(bridge: ProcessBridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arena_module, "LIMIT", 0)
    assert (await bridge.call("svc", "give", [np.ones(500_000)], {})).sum() == 500_000


async def test_arrays_of_objects_are_named(bridge: ProcessBridge) -> None:
    with pytest.raises(EncodeError, match="argument 1: an array of dtype object cannot cross to the worker"):
        await bridge.call("svc", "give", [np.array([None])], {})
    with pytest.raises(EncodeError, match=r"argument 1: an array of dtype \[\('a', 'O'\)\] cannot cross to the worker"):
        await bridge.call("svc", "give", [np.array([(None,)], dtype=[("a", "O")])], {})
    with pytest.raises(BridgeError, match=r"argument 1\[1\]: object of type object"):
        await bridge.call("svc", "give", [[np.ones(500_000), object()]], {})
    with pytest.raises(BridgeError, match="result: an array of dtype object cannot cross from the worker"):
        await bridge.call("svc", "odd", [], {})
    assert free(bridge)


async def test_a_worker_without_numpy_says_so(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)  # noqa: ASYNC221 - no more than a start
    (tmp_path / "bare.py").write_text("def give(value): return value\n")
    bridge = ProcessBridge(virtual_env=tmp_path / "venv", import_path=[tmp_path], modules=["bare"])
    await bridge.init()
    with pytest.raises(
        BridgeError,
        match=r"cannot read the arguments of the call: received an array of numpy, but numpy is not installed here",
    ):
        await bridge.call("bare", "give", [np.ones(3)], {})
    assert await bridge.call("bare", "give", [1], {}) == 1
    await bridge.dispose()


@needs_an_arena
async def test_an_app_without_numpy_says_so_and_the_worker_lives(
    bridge: ProcessBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    for size in (3, *[ONES] * 3):
        with pytest.raises(
            DecodeError, match="The result cannot be read: received an array of numpy, but numpy is not installed here"
        ):
            await bridge.call("svc", "make", [size], {})
    assert await bridge.call("svc", "give", [1], {}) == 1
    assert lent_by_the_worker(bridge) == BLOCK
