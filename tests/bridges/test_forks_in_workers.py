"""Processes that a function forks in a worker: each ends with that function, and says nothing to the app."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lastgood.bridges.process import ProcessBridge
from process_bridges import running

FORKING = '''
import atexit, os, sys, threading, warnings

warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, from Python 3.12 on
WORKER = os.getpid()
atexit.register(lambda: print("the exit handler ran", flush=True))

def forked(how):
    """What the child has ended with; in the child, it does as it is told."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print("in the child", flush=True)
    if how == "exits":
        sys.exit(3)
    if how == "says why":
        sys.exit("the reason")
    if how == "raises":
        raise ValueError("of the child")
    return "what nobody gets"

def plain(how):
    return forked(how)

async def on_loop(how):
    return forked(how)

def items(how):
    yield "first"
    yield forked(how)

async def async_items(how):
    yield "first"
    yield forked(how)

def ends(how):
    """A stream whose child ends it, instead of making an item."""
    pid = os.fork()
    if pid:
        yield os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

async def ends_on_loop(how):
    pid = os.fork()
    if pid:
        yield os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def in_a_grandchild(path):
    """The status of a grandchild that writes to files that its parent has opened."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    opened = [os.open(path, os.O_WRONLY | os.O_APPEND) for _ in range(20)]  # these take the numbers of the closed pipes
    pid = os.fork()
    if pid:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    for descriptor in opened:
        os.write(descriptor, b"x")
    os._exit(0)

def double(x):
    return x * 2

def in_pools():
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        one = pool.map(double, [1, 2])
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        return one, list(pool.map(double, [3, 4]))

def stays(fifo):
    """Leave a child that holds the FIFO open for as long as it lives."""
    if os.fork() == 0:
        os.open(fifo, os.O_WRONLY)
        threading.Event().wait()
    return "left"
'''
# How the child leaves the function, with what status, and what it prints.
LEAVE = {
    "returns": (0, ""),
    "exits": (3, ""),
    "says why": (1, "the reason\n"),
    "raises": (1, "ValueError: of the child\n"),
}

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here"),
    pytest.mark.usefixtures("nothing_is_left"),
]


@pytest.fixture
def forking(source: Path) -> Path:
    (source / "forking.py").write_text(FORKING)
    return source


async def items_of(bridge: ProcessBridge, function: str, how: str) -> list[Any]:
    return [item async for item in bridge.stream("forking", function, [how], {})]


@pytest.mark.parametrize("how", LEAVE)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("threads", [1, 3])
async def test_a_child_ends_with_the_function_it_was_forked_in(
    forking: Path, threads: int, backend: str, how: str, capfd: pytest.CaptureFixture[str]
) -> None:
    status, said = LEAVE[how]
    async with running(forking, modules=["forking"], threads=threads, async_backend=backend) as bridge:
        for function in ("plain", "on_loop"):
            assert await bridge.call("forking", function, [how], {}) == status
        for function in ("items", "async_items"):
            assert await items_of(bridge, function, how) == ["first", status]
    told = capfd.readouterr().err
    assert told.count("in the child\n") == 4
    assert told.count(said) >= 4
    assert told.count("the exit handler ran") == 1, "it is the worker's"
    assert "serving.py" not in told
    assert "asyncs.py" not in told


async def test_one_that_ends_a_stream_ends_there(forking: Path) -> None:
    async with running(forking, modules=["forking"]) as bridge:
        assert await items_of(bridge, "ends", "") == [0]
        assert await items_of(bridge, "ends_on_loop", "") == [0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sys.exit(4)", "4"),
        ("raise ValueError('of the child')", "1"),
        ("pass", "0"),
        ("os._exit(5)", "5"),
    ],
)
async def test_one_that_is_forked_at_import_ends_with_the_imports(source: Path, text: str, says: str) -> None:
    (source / "early.py").write_text(
        f"import os, sys\npid = os.fork()\nif not pid:\n    {text}\n"
        "else:\n    STATUS = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])\n"
        "def status():\n    return STATUS\n"
    )
    async with running(source, modules=["early"]) as bridge:
        assert str(await bridge.call("early", "status", [], {})) == says


async def test_files_that_a_child_has_opened_are_its_childrens(forking: Path, tmp_path: Path) -> None:
    written = tmp_path / "written"
    written.touch()
    async with running(forking, modules=["forking"]) as bridge:
        assert await bridge.call("forking", "in_a_grandchild", [str(written)], {}) == 0
    assert written.read_bytes() == b"x" * 20


async def test_pools_of_forked_processes(forking: Path) -> None:
    async with running(forking, modules=["forking"]) as bridge:
        assert await bridge.call("forking", "in_pools", [], {}) == ([2, 4], [6, 8])


async def test_one_that_stays_ends_with_its_worker(forking: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    async with running(forking, modules=["forking"]) as bridge:
        assert await bridge.call("forking", "stays", [str(fifo)], {}) == "left"
    os.set_blocking(reading, True)
    assert os.read(reading, 1) == b"", "nobody holds it open any more"
    os.close(reading)
