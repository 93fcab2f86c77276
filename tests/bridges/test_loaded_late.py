"""What only a dynamic import reaches: a worker pins it when it is first imported, and tells of it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from lastgood.bridges import workers
from lastgood.bridges.process import LoadedLate, ProcessBridge
from lastgood.bridges.worker.manifest import digest_of
from lastgood.errors import BridgeError, WorkerDied
from process_bridges import script
from staged_project import DEADLINE, SOURCES, StagedProject, edit, run

# --- what only a dynamic import reaches

LATE = "import importlib\nmodule = importlib.import_module('dynamic')\nresult = module.VERSION"


async def test_a_module_that_is_loaded_late_is_pinned_then_and_told_of(staged: StagedProject) -> None:
    told: list[LoadedLate] = []
    async with staged.running() as bridge:
        bridge.on_loaded_late = told.append
        staged.write({"dynamic.py": "VERSION = 'first'\n"})
        assert await run(bridge, LATE) == "first"
        path = staged.src / "dynamic.py"
        assert told == [LoadedLate("dynamic", path, digest_of(b"VERSION = 'first'\n"))]
        assert bridge.loaded_late == tuple(told)
        staged.write({"dynamic.py": "VERSION = 'again'\n"})
        assert await run(bridge, "import sys\ndel sys.modules['dynamic']\n" + LATE) == "first"
        path.unlink()
        assert await run(bridge, "import sys\ndel sys.modules['dynamic']\n" + LATE) == "first"
        assert (
            await run(bridge, "import inspect, dynamic\nresult = inspect.getsource(dynamic)") == "VERSION = 'first'\n"
        )
        assert len(told) == 1


async def test_what_is_loaded_late_at_import_is_told_with_init(staged: StagedProject) -> None:
    staged.write({"helper.py": SOURCES["helper.py"] + LATE})
    staged.stage()
    async with staged.running() as bridge:
        assert [late.name for late in bridge.loaded_late] == ["dynamic"]


@pytest.mark.parametrize("mishap", [edit, Path.unlink], ids=["edited", "deleted"])
async def test_the_workers_of_a_pool_import_what_the_first_of_them_read(
    staged: StagedProject, mishap: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged.running(pool=2) as bridge:
        for worker in bridge._workers:
            monkeypatch.setattr(bridge, "_least_busy", lambda worker=worker: worker)
            assert await run(bridge, LATE) == "pinned"
            if worker is bridge._workers[0]:
                mishap(staged.src / "dynamic.py")
        assert [late.name for late in bridge.loaded_late] == ["dynamic"]


async def test_a_worker_has_told_of_a_module_before_it_runs_it(staged: StagedProject) -> None:
    fatal = b"import os\nos._exit(7)\n" + b"# much\n" * 100_000
    (staged.src / "dynamic.py").write_bytes(fatal)
    async with staged.running() as bridge:
        with pytest.raises(WorkerDied):
            await run(bridge, LATE)
        assert [late.source for late in bridge.loaded_late] == [fatal]


UNHEARD = """
import os, threading, svc
def late():
    open({fifo!r}).read()
    exec(svc.LATE, {{}})
    os._exit(7)
threading.Thread(target=late).start()
"""


async def test_what_a_worker_told_last_is_heard_though_nobody_was_listening(staged: StagedProject) -> None:
    fifo = staged.top / "go"
    os.mkfifo(fifo)
    async with staged.running() as bridge:
        await run(bridge, UNHEARD.format(fifo=str(fifo)))
        await trio.to_thread.run_sync(fifo.write_text, "go")
        await bridge.lost()
        assert [late.name for late in bridge.loaded_late] == ["dynamic"]


async def test_of_more_late_bytes_than_are_held_only_the_names_are_told(
    staged: StagedProject, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workers, "MAX_LATE_BYTES", 10)
    async with staged.running() as bridge:
        await run(bridge, LATE)
        assert [(late.name, late.source) for late in bridge.loaded_late] == [("dynamic", None)]
    assert "reads dynamic from the disk" in caplog.text


def raise_an_error(_late: LoadedLate) -> None:
    raise RuntimeError


async def test_a_listener_that_raises_harms_no_call(staged: StagedProject, caplog: pytest.LogCaptureFixture) -> None:
    async with staged.running() as bridge:
        bridge.on_loaded_late = raise_an_error
        with caplog.at_level(logging.ERROR):
            assert await run(bridge, LATE) == "pinned"
    assert "on_loaded_late raised for dynamic" in caplog.text


async def test_a_forked_child_tells_nobody(staged: StagedProject) -> None:
    mark = staged.top / "mark"
    mark.touch()
    code = """
import multiprocessing, os, svc
def child(queue):
    for _ in range(100):
        os.open(%r, os.O_WRONLY | os.O_APPEND)  # they take the numbers of the closed pipes
    scope = {}
    exec(svc.LATE, scope)
    queue.put(scope["result"])
context = multiprocessing.get_context("fork")
queue = context.SimpleQueue()
process = context.Process(target=child, args=[queue])
process.start()
result = queue.get()
process.join()
"""
    async with staged.running() as bridge:
        assert await run(bridge, code % str(mark)) == "pinned"
        assert not bridge.loaded_late
    assert not mark.read_bytes()


# --- the app's side

HOSTILE = """#!{python}
import os, struct, sys
requests, answers = map(int, sys.argv[3:5])
def read(size):
    data = b""
    while len(data) < size:
        data += os.read(requests, size - len(data))
    return data
def send(kind, number, body):
    os.write(answers, struct.pack("<IBQ", len(body), kind, number) + body)
def loaded(*fields):
    texts = (bytes([0xA0 + len(field)]) + field.encode() for field in fields)
    send(32, 0, bytes([0x90 + len(fields) + 1]) + b"".join(texts) + b"\\xc4\\x01#")
length, kind, number = struct.unpack("<IBQ", read(13))
read(length)
{misdeed}
send(16, number, b"\\xc0")
read(1)
"""


@pytest.mark.parametrize(
    ("misdeed", "told"),
    [
        ("send(32, 0, b'\\xc1')", "malformed"),
        ("send(32, 0, b'\\xc0')", "iterable"),
        ("loaded('a')", "not enough values"),
        ("send(32, 0, b'\\x93\\xa1a\\xa2/b\\x7f')", "a LOADED frame without"),
        *(
            (f"loaded('a', {path!r})", "is not the path of a local module")
            for path in ("b.py", "/", "/p", "/p/x/", "/other/b.py", "/p/../b.py", "/p/\0.py")
        ),
        ("for n in range(4): loaded('a', f'/p/{n}.py')", "a report of more than 3 modules"),
    ],
)
async def test_a_worker_that_tells_nonsense_is_killed(
    tmp_path: Path, misdeed: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "MAX_LOADED_LATE", 3)
    fake = script(tmp_path / "python", HOSTILE.format(python=sys.executable, misdeed=misdeed))
    with trio.fail_after(DEADLINE), pytest.raises(BridgeError, match=told):
        await ProcessBridge(fake, import_path=["/p"], grace=0.05).init()


async def test_what_is_told_twice_is_heard_once(tmp_path: Path) -> None:
    twice = "loaded('a', '/p/a.py'); loaded('a', '/p/a.py')"
    fake = script(tmp_path / "python", HOSTILE.format(python=sys.executable, misdeed=twice))
    heard: list[LoadedLate] = []
    bridge = ProcessBridge(fake, import_path=["/p"], grace=0.05)
    bridge.on_loaded_late = heard.append
    with trio.fail_after(DEADLINE):
        await bridge.init()
        await bridge.dispose()
    assert [each.path for each in heard] == [Path("/p/a.py")]
    assert bridge.loaded_late == tuple(heard)
