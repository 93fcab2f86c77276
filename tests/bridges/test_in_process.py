"""The bridge without a worker: where a call runs, what is the caller's own, and what is imported."""

from __future__ import annotations

import asyncio
import bdb
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
import trio

import lastgood
from flavours import CANCELLED, Flavour
from imported import forgotten
from lastgood import BridgeError, InProcessBridge, ProcessBridge, RemoteError
from lastgood.config import ModuleConfig, decode_config

SERVICE = """
import asyncio, sys, threading

kept = []

def keep(value):
    kept.append(value)
    value.append("changed by the source")
    return kept

def thread():
    return threading.current_thread().name

def thread_object():
    return threading.current_thread()

async def task():
    if "trio" in sys.modules:
        import trio
        if trio.lowlevel.in_trio_run():
            return trio.lowlevel.current_task().name
    return asyncio.current_task().get_name()

def is_seen():
    return sys.modules["__main__"].VARIABLE.get()

async def is_seen_later():
    return sys.modules["__main__"].VARIABLE.get()

def wait_for_nothing():
    return asyncio.run(asyncio.sleep(0, "done"))

async def forever(event):
    import trio
    if trio.lowlevel.in_trio_run():
        await trio.sleep_forever()
    await asyncio.Event().wait()

async def forever_with_company():
    import trio
    async def fail():
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in the nursery")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail)
        await trio.sleep_forever()

async def cancelled_by_itself():
    raise asyncio.CancelledError

def fail(error):
    inner(error)

def inner(error):
    mine = "a local of the source"
    raise {"value": ValueError("bad"), "interrupt": KeyboardInterrupt(), "quit": sys.modules["bdb"].BdbQuit()}[error]

async def fail_later(error):
    inner(error)

async def nap():
    asyncio.get_running_loop()
    return "slept"

async def turn():
    await asyncio.sleep(0)

async def trio_only():
    import trio
    await trio.sleep(0)
    return "under trio"
"""

VARIABLE: ContextVar[str] = ContextVar("VARIABLE")


@pytest.fixture(autouse=True)
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sys.modules["__main__"], "VARIABLE", VARIABLE, raising=False)
    (tmp_path / "svc.py").write_text(SERVICE)
    with forgotten(tmp_path):
        yield tmp_path


@pytest.fixture
def bridge(source: Path) -> Iterator[InProcessBridge]:
    made = InProcessBridge(import_path=[source], modules=["svc"])
    made.start()
    yield made
    made.stop()


# Where a call runs.


def test_it_is_a_bridge_and_may_be_used_from_anywhere() -> None:
    made = lastgood.InProcessBridge(modules=["nothing"])
    assert isinstance(made, lastgood.bridges.Bridge)
    assert made.thread_safe


def test_a_plain_function_runs_in_the_calling_thread(bridge: InProcessBridge) -> None:
    def in_thread() -> tuple[str, str]:
        return threading.current_thread().name, bridge.call_blocking("svc", "thread", (), {})

    with ThreadPoolExecutor(4) as pool:
        for mine, its in pool.map(lambda _: in_thread(), range(20)):
            assert mine == its


def test_an_async_function_runs_in_the_calling_task(bridge: InProcessBridge, flavour: Flavour) -> None:
    async def main() -> None:
        here = trio.lowlevel.current_task().name if flavour.name == "trio" else asyncio.current_task().get_name()  # type: ignore[union-attr]  # it runs in one
        assert await bridge.call("svc", "task", (), {}) == here
        assert await bridge.call("svc", "thread", (), {}) == threading.current_thread().name

    flavour.run(main)


def test_from_plain_code_an_async_function_has_a_loop_of_its_own(bridge: InProcessBridge) -> None:
    assert bridge.call_blocking("svc", "task", (), {}).startswith("Task-")
    assert bridge.call_blocking("svc", "wait_for_nothing", (), {}) == "done"


def test_that_is_trios_where_the_config_says_so(source: Path) -> None:
    text = '[modules.svc]\n[output]\ndir = "generated"\n[runtime.process]\nasync_backend = "trio"\n'
    made = InProcessBridge.from_config(decode_config(text.encode(), source / "lastgood.toml"))
    made.start()
    assert made.call_blocking("svc", "trio_only", (), {}) == "under trio"
    made.stop()


def test_on_a_loop_a_blocking_call_of_an_async_function_says_what_to_do(
    bridge: InProcessBridge, flavour: Flavour
) -> None:
    async def main() -> None:
        assert bridge.call_blocking("svc", "thread", (), {}) == threading.current_thread().name
        with pytest.raises(BridgeError, match=rf"svc\.task is an async def function.*{flavour.name} loop.*Await it"):
            bridge.call_blocking("svc", "task", (), {})
        assert (await flavour.in_thread(lambda: bridge.call_blocking("svc", "task", (), {}))).startswith("Task-")

    flavour.run(main)


def test_a_source_that_is_written_for_another_loop_says_so(bridge: InProcessBridge) -> None:
    async def under_trio() -> None:
        for function in ("nap", "turn"):
            with pytest.raises(RemoteError) as caught:
                await bridge.call("svc", function, (), {})
            (note,) = caught.value.__notes__
            assert "which is trio's, but async_backend" in note
            assert "is written for asyncio" in note
        assert await trio.to_thread.run_sync(bridge.call_blocking, "svc", "nap", (), {}) == "slept"
        with pytest.raises(RemoteError, match="bad") as caught:
            await bridge.call("svc", "fail_later", ["value"], {})
        assert not hasattr(caught.value, "__notes__")

    trio.run(under_trio)
    assert asyncio.run(bridge.call("svc", "nap", (), {})) == "slept"


def test_a_call_sees_the_context_of_its_caller(bridge: InProcessBridge, flavour: Flavour) -> None:
    async def main() -> None:
        VARIABLE.set(flavour.name)
        for name in ("is_seen", "is_seen_later"):
            assert await bridge.call("svc", name, (), {}) == flavour.name

    flavour.run(main)
    token = VARIABLE.set("plain")
    assert [bridge.call_blocking("svc", name, (), {}) for name in ("is_seen", "is_seen_later")] == ["plain", "plain"]
    VARIABLE.reset(token)


async def test_under_trio_a_call_is_a_checkpoint(bridge: InProcessBridge) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await bridge.call("svc", "keep", [[]], {})
    assert scope.cancelled_caught
    assert sys.modules["svc"].kept == []


def test_a_forked_process_calls_as_its_parent_does(bridge: InProcessBridge) -> None:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if bridge.call_blocking("svc", "task", (), {}).startswith("Task-") else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


# Values and errors. That they are those of a worker is in test_same_as_worker.py.


def test_caller_and_source_share_nothing(bridge: InProcessBridge) -> None:
    mine = [1]
    kept = bridge.call_blocking("svc", "keep", [mine], {})
    assert mine == [1]
    assert kept == [[1, "changed by the source"]]
    kept.append("changed by the caller")
    assert sys.modules["svc"].kept == [[1, "changed by the source"]]


@pytest.mark.parametrize(
    ("function", "args"),
    [("fail", [object()]), ("nothing", []), ("thread_object", [])],
    ids=["argument", "function", "result"],
)
def test_what_a_worker_would_refuse_is_refused_with_a_note(
    bridge: InProcessBridge, function: str, args: list[Any]
) -> None:
    with pytest.raises(BridgeError, match=r"cannot cross|does not exist") as caught:
        bridge.call_blocking("svc", function, args, {})
    (note,) = caught.value.__notes__
    assert note.startswith("No worker is involved")


async def test_an_error_leads_to_the_frame_that_raised(bridge: InProcessBridge) -> None:
    for function in ("fail", "fail_later"):
        with pytest.raises(RemoteError, match=r"^bad$") as caught:
            await bridge.call("svc", function, ["value"], {})
        frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert frames[-2:] == [function, "inner"]
        last = [*traceback.walk_tb(caught.value.__traceback__)][-1][0]
        assert last.f_locals["mine"] == "a local of the source"
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


@pytest.mark.parametrize(("kind", "error"), [("interrupt", KeyboardInterrupt), ("quit", bdb.BdbQuit)])
async def test_ctrl_c_and_the_end_of_a_debugger_are_the_callers(
    bridge: InProcessBridge, kind: str, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        bridge.call_blocking("svc", "fail", [kind], {})
    with pytest.raises(error):
        await bridge.call("svc", "fail_later", [kind], {})


def test_a_cancellation_of_the_caller_ends_the_call(bridge: InProcessBridge, flavour: Flavour) -> None:
    async def main() -> None:
        async with flavour.tasks() as start:
            task = start(lambda: bridge.call("svc", "forever", [None], {}))
            await flavour.settle()
            task.cancel()
            assert await task.result() == CANCELLED

    flavour.run(main)


async def test_a_cancellation_beside_an_error_of_the_source_is_one(bridge: InProcessBridge) -> None:
    with pytest.raises(ExceptionGroup) as caught, trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.call, "svc", "forever_with_company", (), {})
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancel_called
    assert caught.group_contains(ValueError, match="in the nursery")
    assert not caught.group_contains(RemoteError)


def test_a_source_that_raises_a_cancellation_itself_has_failed(bridge: InProcessBridge) -> None:
    async def main() -> None:
        with pytest.raises(RemoteError, match=r"^asyncio\.exceptions\.CancelledError"):
            await bridge.call("svc", "cancelled_by_itself", (), {})
        async with asyncio.timeout(30):
            assert await bridge.call("svc", "thread", (), {})

    asyncio.run(main())


def test_a_call_whose_loop_is_closed_ends(bridge: InProcessBridge) -> None:
    call = bridge.call("svc", "forever", [None], {})

    async def main() -> None:
        call.send(None)

    asyncio.run(main())
    call.close()


def test_the_selection_binds(source: Path) -> None:
    made = InProcessBridge(import_path=[source], modules={"svc": ModuleConfig(functions=("thread",))})
    made.start()
    assert made.call_blocking("svc", "thread", (), {}) == threading.current_thread().name
    with pytest.raises(BridgeError, match=r"under \[modules.svc\] in the config leave it out"):
        made.call_blocking("svc", "keep", [[]], {})
    made.stop()


# Beginning and end.


@pytest.mark.parametrize("wrong", [{"modules": "svc"}, {"import_path": "src"}, {"import_path": Path("src")}], ids=repr)
@pytest.mark.parametrize("kind", [InProcessBridge, ProcessBridge])
def test_one_text_is_no_sequence(kind: Callable[..., object], wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="are sequences"):
        kind(**wrong)


async def test_calls_before_init_and_after_dispose_say_so(source: Path) -> None:
    made = InProcessBridge(import_path=[source], modules=["svc"])
    with pytest.raises(BridgeError, match=r"imported nothing yet: await init\(\)"):
        await made.call("svc", "thread", (), {})
    await made.init()
    with pytest.raises(BridgeError, match="can be awaited once"):
        await made.init()
    await made.dispose()
    await made.dispose()
    with pytest.raises(BridgeError, match="was disposed"):
        made.call_blocking("svc", "thread", (), {})


def test_directories_are_on_sys_path_for_as_long_as_a_bridge_needs_them(source: Path) -> None:
    before = [*sys.path]
    (source / "more").mkdir()
    one = InProcessBridge(import_path=[source, source / "more"])
    two = InProcessBridge(import_path=[source])
    one.start()
    two.start()
    assert sys.path == [str(source), str(source / "more"), *before]
    one.stop()
    one.stop()
    assert sys.path == [str(source), *before]
    two.stop()
    assert sys.path == before


def test_a_directory_that_the_app_has_put_there_stays(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(source)
    before = [*sys.path]
    made = InProcessBridge(import_path=[source], modules=["svc"])
    made.start()
    made.stop()
    assert sys.path == before


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(:\n", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
    ids=["raises", "syntax", "exits"],
)
def test_what_an_import_raises_comes_with_its_traceback(source: Path, text: str, told: str) -> None:
    before = [*sys.path]
    (source / "broken.py").write_text(text)
    made = InProcessBridge(import_path=[source], modules=["broken"])
    with pytest.raises(RemoteError, match=told) as caught:
        made.start()
    assert "broken.py" in caught.value.traceback
    assert "lastgood" not in caught.value.traceback
    assert sys.path == before


def test_a_module_of_that_name_from_elsewhere_is_never_called(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "svc.py").write_text("def thread(): return 'the wrong one'\n")
    one = InProcessBridge(import_path=[tmp_path], modules=["svc"])
    one.start()
    two = InProcessBridge(import_path=[other], modules=["svc"])
    with pytest.raises(
        BridgeError, match=r'Module "svc" has been imported from .*svc\.py in this process, but .*other'
    ):
        two.start()
    one.stop()


def test_nothing_is_imported_that_is_not_needed(source: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(Path(lastgood.__file__).parents[1])!r})\n"
        f"from lastgood import InProcessBridge\nmade = InProcessBridge(import_path=[{str(source)!r}], modules=['small'])\n"
        "made.start()\nassert made.call_blocking('small', 'double', [2], {}) == 4\nprint(*sys.modules)"
    )
    (source / "small.py").write_text("def double(number): return 2 * number\n")
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()).isdisjoint(
        ("trio", "asyncio", "watchfiles", "msgspec", "lastgood.wrappers.generate", "rich", "returns", "subprocess")
    )


# Leases.


def test_a_leased_bridge_that_was_replaced_is_disposed_when_a_blocking_call_ends(source: Path) -> None:
    reached: list[Callable[[], object]] = []

    disposed = trio.Event()

    class Slow(InProcessBridge):
        async def dispose(self) -> None:
            await super().dispose()
            disposed.set()

        def call_blocking(self, *call: Any) -> Any:
            reached.pop()()
            return super().call_blocking(*call)

    async def main() -> None:
        async with await lastgood.create_bridge_reloader(
            lambda: Slow(import_path=[source], modules=["svc"])
        ) as reloader:
            begun, go_on = trio.Event(), threading.Event()
            token = trio.lowlevel.current_trio_token()

            def wait() -> None:
                token.run_sync_soon(begun.set)
                go_on.wait()

            reached.append(wait)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, lambda: reloader.handle.call_blocking("svc", "thread"))
                await begun.wait()
                await reloader.reload()
                assert not disposed.is_set()
                go_on.set()
                await disposed.wait()

    trio.run(main)


@pytest.mark.parametrize("fresh", [False, True], ids=["plain", "fresh"])
@pytest.mark.parametrize("name", ["tpyo", "bundle.tpyo"])
def test_a_module_that_does_not_exist_says_where_it_was_looked_for(tmp_path: Path, name: str, fresh: bool) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "__init__.py").write_text("")
    with forgotten(tmp_path), pytest.raises(RemoteError, match="No module named") as raised:
        InProcessBridge(import_path=[tmp_path], modules=[name], fresh=fresh).start()
    (note,) = raised.value.__notes__
    assert note.startswith(
        f'"{name}" is one of the modules that may be called, and was looked for in {tmp_path}, sys.path.'
    )


def test_of_a_module_that_a_source_lacks_it_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "lacking.py").write_text("import tpyo\n")
    with forgotten(tmp_path), pytest.raises(RemoteError, match="No module named 'tpyo'") as raised:
        InProcessBridge(import_path=[tmp_path], modules=["lacking"]).start()
    assert not hasattr(raised.value, "__notes__")
