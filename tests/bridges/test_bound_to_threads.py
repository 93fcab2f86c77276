"""What belongs to the main thread or to an event loop, used by a call that runs in another thread: the error says why."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from lastgood.bridges.process import ProcessBridge
from lastgood.bridges.worker.threads import bound_elsewhere
from lastgood.errors import RemoteError
from process_bridges import HOLD, Gate, forget_a_call, running

SERVICE = (
    """
import asyncio, signal, sqlite3, threading

CONNECTION = sqlite3.connect(":memory:")
SHARED = sqlite3.connect(":memory:", check_same_thread=False)
LOCK = threading.Lock()
LOCAL = threading.local()
LOCAL.value = 7
LOOP = asyncio.new_event_loop()
asyncio.set_event_loop(LOOP)
FUTURE = LOOP.create_future()

class Own(threading.local):
    pass

OWN = Own()
OWN.value = 7

def connection():
    return CONNECTION.execute("select 1").fetchone()[0]

def shared():
    with LOCK:
        return SHARED.execute("select 1").fetchone()[0]

def local():
    return LOCAL.value

def own():
    return OWN.value

def loop():
    asyncio.get_event_loop()
    return 1

def handler():
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    return 1

def wrapped():
    try:
        local()
    except AttributeError as error:
        raise LookupError("mine") from error
    return 7

def mistake():
    raise ValueError("mine")

async def in_async(name):
    return globals()[name]()

async def future():
    return await FUTURE

def items(name):
    yield globals()[name]()

BARRIER = threading.Barrier(2, timeout=20)

def beside(name):
    BARRIER.wait()  # two of these run in two threads, one of which is not the main one
    return globals()[name]()
"""
    + HOLD
)

SQLITE = "Connect by sqlite3.connect(..., check_same_thread=False) and take a lock around each use, or have each thread make "
LOCAL = (
    "What a threading.local has was set in one thread alone: set it where it is missing, in each thread, not at import."
)
MAIN = "Do this at import, which is in the main thread, or in a plain function with threads = 1."
ADVICE = {
    "connection": SQLITE + "a connection of its own when it first needs one.",
    "local": LOCAL,
    "own": LOCAL,
    "loop": "Use asyncio.run() in a plain function, or make the function `async def`.",
    "handler": MAIN,
}
WHY_SUBSTITUTE = (
    "an earlier call that timed out or was cancelled still runs in the main thread, so that plain functions run in another one "
    "until it ends"
)
WHY_THREADS = "plain functions run in several threads, since `threads` under [runtime.process] is above 1"
WHY_ASYNC = "`async def` functions run on an event loop that has a thread of its own"


def note(why: str, what: str) -> str:
    return f"This call ran in another thread than the imports: {why}. {ADVICE[what]}"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    (source / "svc.py").write_text(SERVICE)
    return source


@pytest.fixture
async def bridge(source: Path) -> AsyncIterator[ProcessBridge]:
    async with running(source) as bridge:
        yield bridge


async def notes_of(bridge: ProcessBridge, function: str, *args: Any) -> list[str]:
    with pytest.raises(RemoteError) as caught:
        await bridge.call("svc", function, args, {})
    return getattr(caught.value, "__notes__", [])


@pytest.mark.parametrize("function", ["connection", "shared", "local", "own", "loop", "handler", "wrapped"])
async def test_a_plain_function_runs_where_the_imports_did(bridge: ProcessBridge, function: str) -> None:
    assert await bridge.call("svc", function, [], {}) in (1, 7)


@pytest.mark.parametrize("function", ["connection", "local", "own", "handler"])
async def test_an_async_function_does_not(bridge: ProcessBridge, function: str) -> None:
    assert await notes_of(bridge, "in_async", function) == [note(WHY_ASYNC, function)]
    assert await bridge.call("svc", function, [], {}) in (1, 7)


async def test_nor_is_its_event_loop_the_one_at_import(bridge: ProcessBridge) -> None:
    (told,) = await notes_of(bridge, "future")
    assert told.endswith(
        "Make what belongs to an event loop in the `async def` function that uses it, or at the first call of one."
    )


@pytest.mark.parametrize("function", ADVICE)
async def test_nor_do_plain_functions_while_a_call_that_was_given_up_has_the_main_thread(
    bridge: ProcessBridge, tmp_path: Path, function: str
) -> None:
    gate = Gate(tmp_path)
    await forget_a_call(bridge, gate)
    assert await notes_of(bridge, function) == [note(WHY_SUBSTITUTE, function)]
    with pytest.raises(RemoteError) as caught:
        await anext(bridge.stream("svc", "items", [function]))
    assert caught.value.__notes__ == [note(WHY_SUBSTITUTE, function)]
    gate.open()


@pytest.mark.parametrize("function", ADVICE)
async def test_nor_do_all_plain_functions_where_there_are_several_threads(source: Path, function: str) -> None:
    told: list[str] = []

    async def call(bridge: ProcessBridge) -> None:
        try:
            await bridge.call("svc", "beside", [function], {})
        except RemoteError as error:
            told.extend(error.__notes__)

    async with running(source, threads=2) as bridge, trio.open_nursery() as nursery:
        nursery.start_soon(call, bridge)
        nursery.start_soon(call, bridge)
    assert told == [note(WHY_THREADS, function)]


async def test_the_way_out_works_there(bridge: ProcessBridge) -> None:
    assert await bridge.call("svc", "in_async", ["shared"], {}) == 1


async def test_it_is_said_once_and_where_it_was_raised(bridge: ProcessBridge) -> None:
    with pytest.raises(RemoteError) as caught:
        await bridge.call("svc", "in_async", ["wrapped"], {})
    assert not hasattr(caught.value, "__notes__")
    assert caught.value.__cause__ is not None
    assert caught.value.__cause__.__notes__ == [note(WHY_ASYNC, "local")]


async def test_other_errors_have_no_such_note(bridge: ProcessBridge) -> None:
    assert await notes_of(bridge, "in_async", "mistake") == []


@pytest.mark.parametrize("name", ["MainThread", "lastgood-session-x", "my own"])
def test_other_threads_have_none(name: str) -> None:
    told: list[str | None] = []
    error = ValueError("signal only works in main thread of the main interpreter")
    thread = threading.Thread(target=lambda: told.append(bound_elsewhere(error, str(error))), name=name)
    thread.start()
    thread.join()
    assert told == [None]
