"""Modules of its own for each bridge: what is edited runs in the next bridge, and the one before goes on as it was."""

from __future__ import annotations

import importlib
import linecache
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from declaring import declaring
from flavours import Flavour
from imported import forgotten
from lastgood import BridgeError, InProcessBridge, RemoteError, create_bridge_reloader
from lastgood.config import decode_config

MAIN = """
from __future__ import annotations

import asyncio
import dataclasses
import importlib
import json
import pickle
import sys
import typing

from parts import piece
from parts.piece import VERSION


@dataclasses.dataclass
class Quote:
    number: int
    of: typing.ClassVar[int] = 3

    def copy(self) -> Quote: ...


def version():
    return VERSION

def late():
    from parts import late
    import parts.later as later
    return late.VERSION, later.VERSION

def dynamic():
    return importlib.import_module("parts.dynamic").VERSION, importlib.import_module("main").VERSION

def pickled():
    quote = pickle.loads(pickle.dumps(Quote(VERSION)))
    assert type(quote) is Quote
    assert typing.get_type_hints(Quote.copy)["return"] is Quote
    return quote.number

def take(quote: Quote) -> Quote:
    assert type(quote) is Quote
    return quote

def shared():
    return json is sys.modules["json"]

async def step_by_step(times):
    seen = []
    for _ in range(times):
        await turn()
        seen.append((sys.modules["main"].VERSION, pickled()))
    return seen

async def turn():
    if "trio" in sys.modules:
        import trio
        if trio.lowlevel.in_trio_run():
            return await trio.lowlevel.checkpoint()
    await asyncio.sleep(0)

def fail():
    raise ValueError(VERSION)  # version 1

async def fail_later():
    fail()
"""


def save(directory: Path, version: int) -> None:
    """All sources, in that version, of the same sizes and times in every version."""
    parts = directory / "parts"
    parts.mkdir(exist_ok=True)
    files = {"main.py": MAIN.replace("version 1", f"version {version}"), "parts/__init__.py": "from . import piece\n"}
    files |= {f"parts/{name}.py": f"VERSION = {version}\n" for name in ("piece", "late", "later", "dynamic")}
    for name, text in files.items():
        (directory / name).write_text(text)
        os.utime(directory / name, (1, 1))


@pytest.fixture(autouse=True)
def sources(tmp_path: Path) -> Iterator[Path]:
    before = dict(sys.modules), [*sys.meta_path]
    save(tmp_path, 1)
    with forgotten(tmp_path):
        yield tmp_path
        assert [*sys.meta_path] == before[1]
        assert {name for name in sys.modules if name.partition(".")[0] in ("main", "parts")} <= before[0].keys()
        assert not [path for path in linecache.cache if path.startswith(str(tmp_path))]
    assert not [*tmp_path.rglob("__pycache__")]


@pytest.fixture
def make(sources: Path) -> Iterator[Callable[[], InProcessBridge]]:
    """Make a bridge on what is on disk now, and start it."""
    made: list[InProcessBridge] = []

    def one() -> InProcessBridge:
        made.append(InProcessBridge(import_path=[sources], modules=["main"], fresh=True))
        made[-1].start()
        return made[-1]

    yield one
    for each in made:
        each.stop()


def call(bridge: InProcessBridge, function: str, *args: Any) -> Any:
    return bridge.call_blocking("main", function, args, {})


def test_a_reloader_runs_what_was_edited_and_keeps_what_worked(sources: Path, flavour: Flavour) -> None:
    def create() -> InProcessBridge:
        return InProcessBridge(import_path=[sources], modules=["main"], fresh=True)

    async def main() -> None:
        async with await create_bridge_reloader(create) as reloader:
            handle = reloader.handle
            assert await handle.call("main", "version") == 1
            save(sources, 2)
            await reloader.reload()
            assert await handle.call("main", "version") == 2
            (sources / "parts" / "piece.py").write_text("VERSION = (3\n")
            with pytest.raises(RemoteError, match="was never closed"):
                await reloader.reload()
            assert await handle.call("main", "version") == 2
            assert await handle.call("main", "step_by_step", [2]) == [(2, 2), (2, 2)]
            save(sources, 4)
            await reloader.reload()
            assert await handle.call("main", "version") == 4

    flavour.run(main)


def test_two_live_side_by_side_each_with_classes_of_its_own(sources: Path, make: Callable[[], InProcessBridge]) -> None:
    one = make()
    save(sources, 2)
    two = make()
    assert one.module("main").Quote is not two.module("main").Quote
    text = "from dataclasses import dataclass\n@dataclass\nclass Quote:\n    number: int\n"
    with declaring("main", text) as wrapper:
        for bridge, version in ((one, 1), (two, 2), (one, 1)):
            assert [call(bridge, name) for name in ("version", "pickled")] == [version, version]
            assert call(bridge, "take", wrapper.Quote(5)) == {"number": 5}
            assert call(bridge, "shared")


def test_what_is_imported_late_is_of_the_bridge_too(sources: Path, make: Callable[[], InProcessBridge]) -> None:
    one = make()
    assert call(one, "late") == (1, 1)
    assert call(one, "dynamic") == (1, 1)
    save(sources, 2)
    two = make()
    for bridge, version in ((two, 2), (one, 1), (two, 2)):
        assert call(bridge, "late") == (version, version)
        assert call(bridge, "dynamic") == (version, version)


def test_coroutines_of_two_take_turns(sources: Path, make: Callable[[], InProcessBridge], flavour: Flavour) -> None:
    one = make()
    save(sources, 2)
    two = make()

    async def main() -> None:
        async with flavour.tasks() as start:
            tasks = [start(lambda bridge=bridge: bridge.call("main", "step_by_step", [5], {})) for bridge in (one, two)]  # type: ignore[misc]  # bound at once
            assert [await task.result() for task in tasks] == [[(1, 1)] * 5, [(2, 2)] * 5]

    flavour.run(main)


def test_threads_import_for_each_what_is_its_own(sources: Path, make: Callable[[], InProcessBridge]) -> None:
    one = make()
    call(one, "late")
    save(sources, 2)
    two = make()
    barrier = threading.Barrier(4)

    def work(bridge: InProcessBridge) -> list[Any]:
        barrier.wait()
        return [call(bridge, "late") for _ in range(50)]

    with ThreadPoolExecutor(4) as pool:
        seen = [*pool.map(work, (one, two, one, two))]
    assert seen == [[(1, 1)] * 50, [(2, 2)] * 50] * 2


def test_modules_that_the_app_has_imported_stay_its_own(
    sources: Path, make: Callable[[], InProcessBridge], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(sources)
    apps = importlib.import_module("main")
    piece = importlib.import_module("parts.piece")
    late = importlib.import_module("parts.late")
    save(sources, 2)
    bridge = make()
    assert call(bridge, "version") == 2
    assert call(bridge, "late") == (2, 2)
    assert call(bridge, "dynamic") == (2, 2)
    assert [sys.modules[name] for name in ("main", "parts.piece", "parts.late")] == [apps, piece, late]
    assert apps.version() == 1
    assert "parts.dynamic" not in sys.modules
    for name in [name for name in sys.modules if name.partition(".")[0] in ("main", "parts")]:
        del sys.modules[name]


async def test_tracebacks_have_the_lines_of_their_own_generation(
    sources: Path, make: Callable[[], InProcessBridge]
) -> None:
    one = make()
    save(sources, 2)
    two = make()
    (sources / "main.py").write_text("nothing\n" * 100)
    for bridge, version in ((one, 1), (two, 2), (one, 1)):
        for name in ("fail", "fail_later"):
            with pytest.raises(RemoteError) as caught:
                await bridge.call("main", name, (), {})
            assert f"raise ValueError(VERSION)  # version {version}\n" in caught.value.traceback
            assert caught.value.traceback.count("  File") == (1 if name == "fail" else 2)


def test_the_traceback_of_an_import_has_no_frames_but_the_sources_own(sources: Path, make: Callable[[], Any]) -> None:
    (sources / "parts" / "piece.py").write_text("raise LookupError('not yet')\n")
    with pytest.raises(RemoteError) as caught:
        make()
    lines = [line.strip() for line in caught.value.traceback.splitlines() if line.startswith("  File")]
    assert lines == [
        f'File "{sources}/main.py", line 12, in <module>',
        f'File "{sources}/parts/__init__.py", line 1, in <module>',
        f'File "{sources}/parts/piece.py", line 1, in <module>',
    ]


@pytest.mark.parametrize("name", ["json", "lastgood", "sys"])
def test_what_is_not_under_the_import_path_is_shared(sources: Path, name: str) -> None:
    (sources / "asks.py").write_text(f"import {name}\ndef ask(): return id({name})\n")
    bridge = InProcessBridge(import_path=[sources], modules=["asks"], fresh=True)
    bridge.start()
    assert bridge.call_blocking("asks", "ask", (), {}) == id(sys.modules[name])
    bridge.stop()


def test_a_local_module_hides_an_installed_one_but_a_mere_directory_does_not(sources: Path) -> None:
    (sources / "colorsys.py").write_text("mine = True\n")
    (sources / "json").mkdir()
    (sources / "space").mkdir()
    (sources / "space" / "inside.py").write_text("mine = True\n")
    (sources / "asks.py").write_text(
        "import colorsys, json, space.inside\ndef ask(): return colorsys.mine, space.inside.mine, hasattr(json, 'dumps')\n"
    )
    bridge = InProcessBridge(import_path=[sources], modules=["asks"], fresh=True)
    bridge.start()
    assert bridge.call_blocking("asks", "ask", (), {}) == (True, True, True)
    bridge.stop()
    assert not hasattr(importlib.import_module("colorsys"), "mine")


def test_without_an_import_path_sys_path_is_searched(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(sources)
    bridge = InProcessBridge(modules=["main"], fresh=True)
    bridge.start()
    assert call(bridge, "version") == 1
    bridge.stop()


def test_a_thread_that_an_import_waits_for_may_import_too(sources: Path) -> None:
    (sources / "pool.py").write_text(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def late():\n    from parts import late\n    return late.VERSION\n"
        "with ThreadPoolExecutor(1) as pool:\n    VERSION = pool.submit(late).result()\n"
        "def version(): return VERSION\n"
    )
    bridge = InProcessBridge(import_path=[sources], modules=["pool"], fresh=True)
    bridge.start()
    assert bridge.call_blocking("pool", "version", (), {}) == 1
    bridge.stop()


async def test_imports_of_two_bridges_are_done_one_after_the_other(
    sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sources / "slow.py").write_text(
        "import sys\nat = sys.modules['__main__'].at\nat('begin')\nfrom parts import piece\nat('end')\n"
    )
    seen: list[str] = []
    begun, go_on = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def at(step: str) -> None:
        seen.append(step)
        if len(seen) == 1:
            token.run_sync_soon(begun.set)
            go_on.wait(30)

    monkeypatch.setattr(sys.modules["__main__"], "at", at, raising=False)
    made = [InProcessBridge(import_path=[sources], modules=["slow"], fresh=True) for _ in range(2)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, made[0].start)
        await begun.wait()
        nursery.start_soon(trio.to_thread.run_sync, made[1].start)
        await trio.testing.wait_all_tasks_blocked()
        go_on.set()
    assert seen == ["begin", "end"] * 2
    assert made[0].module("slow").piece is not made[1].module("slow").piece
    for bridge in made:
        bridge.stop()


def test_a_pinned_generation_that_is_damaged_is_named(sources: Path) -> None:
    text = '[modules.main]\n[output]\ndir = "generated"\n'
    config = decode_config(text.encode(), sources / "lastgood.toml")
    (sources / "manifest").write_text("nonsense")
    with pytest.raises(BridgeError, match=r"^The pinned generation cannot be run\. .*manifest is damaged"):
        InProcessBridge.from_config(msgspec.structs.replace(config, pinned=sources / "manifest"))
