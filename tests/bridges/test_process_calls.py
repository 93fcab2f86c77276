"""Calls of a ProcessBridge: values and functions, several at once, on every Python."""

from __future__ import annotations

import datetime as dt
import os
import py_compile
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import trio

from lastgood.bridges.process import ProcessBridge
from lastgood.config import ModuleConfig
from lastgood.errors import BridgeError, RemoteError, WorkerDied
from process_bridges import DEADLINE, Gate, forget_a_call, interpreter, is_alive, running

pytestmark = pytest.mark.usefixtures("nothing_is_left")
# --- values and functions

EVERYTHING: list[Any] = [
    None,
    True,
    2**70,
    -1.5,
    float("inf"),
    "text \ud800",
    b"bytes",
    (1, (2,)),
    {1, "a"},
    frozenset({2}),
    {(1, "k"): {None: [1.0]}},
    dt.datetime(2025, 3, 30, 2, 30, tzinfo=dt.timezone(dt.timedelta(hours=1))),
    dt.date(1, 1, 1),
    dt.time(23, 59, 59, 999999),
    dt.timedelta(-1, 5),
    Decimal("1.10"),
    UUID(int=1),
    Path("a/b"),
    [float(number) for number in range(100)],
]


async def test_values_cross_to_the_worker_and_back(bridge: ProcessBridge) -> None:
    assert await bridge.call("svc", "echo", EVERYTHING, {"key": EVERYTHING}) == [tuple(EVERYTHING), {"key": EVERYTHING}]


async def test_large_values_cross_beside_small_calls(bridge: ProcessBridge) -> None:
    blob = os.urandom(3_000_000)
    results: list[bool] = []

    async def large() -> None:
        results.append(await bridge.call("svc", "give", [blob], {}) == blob)

    async def small(number: int) -> None:
        results.append(await bridge.call("svc", "give", [number], {}) == number)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(large)
            nursery.start_soon(small, number)
    assert results == [True] * 6


async def test_a_hundred_calls_at_once_each_get_their_own_answer(bridge: ProcessBridge) -> None:
    answers = {}

    async def one(number: int) -> None:
        answers[number] = await bridge.call("svc", "give", [number], {})

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(one, number)
    assert answers == {number: number for number in range(100)}


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        (
            [0, {"prices": [0, 1, 2, object()]}],
            {},
            'argument 2["prices"][3]: object of type object cannot cross to the worker',
        ),
        ([], {"tax": [...]}, "argument tax[0]: object of type ellipsis cannot cross to the worker"),
    ],
    ids=["positional", "keyword"],
)
async def test_an_argument_that_cannot_cross_is_named(
    bridge: ProcessBridge, args: list[Any], kwargs: dict[str, Any], text: str
) -> None:
    with pytest.raises(BridgeError) as caught:
        await bridge.call("svc", "echo", args, kwargs)
    assert str(caught.value).startswith(text)


async def test_a_result_that_cannot_cross_is_named_and_harms_nothing(bridge: ProcessBridge) -> None:
    with pytest.raises(BridgeError, match=r'^result\["x"\]\[1\]: object of type object cannot cross from the worker'):
        await bridge.call("svc", "odd", ["object"], {})
    with pytest.raises(BridgeError, match="contains itself"):
        await bridge.call("svc", "odd", ["loop"], {})
    with pytest.raises(BridgeError, match=r"^result\[an object of type int\]: object of type object cannot cross"):
        await bridge.call("svc", "odd", ["giant key"], {})
    with pytest.raises(BridgeError, match=r"^The result cannot be read: two keys of a dict became equal on the way"):
        await bridge.call("svc", "odd", ["equal keys"], {})
    assert await bridge.call("svc", "give", [1], {}) == 1


@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("svc", "os.system"),
        ("os", "system"),
        ("svc", "__builtins__"),
        ("svc", "nothing"),
        ("s\ud800", "x"),
        ("svc", "x" * 70_000),
    ],
    ids=["through-a-module", "not-configured", "private", "missing", "no-text", "too-long"],
)
async def test_what_may_not_be_called_is_refused(bridge: ProcessBridge, module: str, function: str) -> None:
    with pytest.raises(BridgeError, match=r"cannot be|does not exist"):
        await bridge.call(module, function, ["echo hi"], {})


async def test_the_selection_binds_the_worker(source: Path) -> None:
    async with running(source, modules={"svc": ModuleConfig(functions=("give",), exclude=("Nothing",))}) as bridge:
        assert await bridge.call("svc", "give", [1], {}) == 1
        with pytest.raises(BridgeError, match=r"under \[modules.svc\] in the config leave it out"):
            await bridge.call("svc", "echo", [1], {})


@pytest.mark.parametrize(
    ("kind", "type_name", "message"),
    [
        ("value", "ValueError", "bad"),
        ("own", "svc.Problem", "mine"),
        ("exit", "SystemExit", "3"),
        ("interrupt", "KeyboardInterrupt", ""),
        ("generator", "GeneratorExit", ""),
        ("leaving", "svc.Leaving", "<its text could not be made: SystemExit>"),
    ],
)
async def test_an_exception_comes_as_remote_error_and_the_worker_lives_on(
    bridge: ProcessBridge, kind: str, type_name: str, message: str
) -> None:
    with pytest.raises(RemoteError) as caught:
        await bridge.call("svc", "fail", [kind], {})
    assert (caught.value.type_name, caught.value.message) == (type_name, message)
    assert "in fail" in caught.value.traceback
    assert "in inner" in caught.value.traceback
    assert caught.value.traceback.count("  File") == 2
    assert await bridge.call("svc", "give", [1], {}) == 1


async def test_a_result_that_exits_while_it_is_read_is_a_remote_error(bridge: ProcessBridge) -> None:
    with pytest.raises(RemoteError, match="SystemExit: 3"):
        await bridge.call("svc", "gone", [], {})
    assert await bridge.call("svc", "give", [1], {}) == 1


async def test_wrong_arguments_are_the_functions_own_type_error(bridge: ProcessBridge) -> None:
    with pytest.raises(TypeError, match=r"^give\(\) missing 1 required positional argument"):
        await bridge.call("svc", "give", [], {})


async def test_async_functions_run_together(bridge: ProcessBridge) -> None:
    met: list[int] = []

    async def one() -> None:
        met.append(await bridge.call("svc", "meet", [20], {}))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(one)
    assert met == [20] * 20


async def test_an_async_function_that_exits_is_a_remote_error_and_the_loop_goes_on(bridge: ProcessBridge) -> None:
    for _ in range(2):
        with pytest.raises(RemoteError, match="SystemExit"):
            await bridge.call("svc", "fail_later", [], {})


TRIO_SERVICE = """
import trio

noted, arrived, everybody = [], 0, trio.Event()

async def meet(number):
    global arrived
    arrived += 1
    if arrived == number:
        everybody.set()
    await everybody.wait()
    return number

async def fail(kind):
    await trio.lowlevel.checkpoint()
    raise {"value": ValueError, "exit": SystemExit}[kind]("bad")

async def linger(path):
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            open(path).close()
    finally:
        noted.append("cancelled")

def what_was_noted():
    return noted
"""


async def test_on_trio_where_it_is_installed(source: Path, tmp_path: Path) -> None:
    (source / "svc.py").write_text(TRIO_SERVICE)
    gate = Gate(tmp_path)
    async with running(source, async_backend="trio") as bridge:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(bridge.call, "svc", "meet", [20], {})
        for kind, error in (("value", "^bad$"), ("exit", "^SystemExit: bad")):
            with pytest.raises(RemoteError, match=error):
                await bridge.call("svc", "fail", [kind], {})
        await forget_a_call(bridge, gate, "linger")
        gate.open()
        while await bridge.call("svc", "what_was_noted", [], {}) != ["cancelled"]:
            pass
        assert await bridge.call("svc", "meet", [1], {}) == 1


async def test_where_trio_is_missing_that_is_told(source: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", source / "venv"], check=True)  # noqa: ASYNC221 - no more than a start
    bridge = ProcessBridge(virtual_env=source / "venv", import_path=[source], modules=["svc"], async_backend="trio")
    with pytest.raises(BridgeError, match=r'async_backend .* is "trio", and .*/venv/bin/python has no trio'):
        await bridge.init()


# --- several at once


async def test_threads_run_calls_at_once(source: Path, tmp_path: Path) -> None:
    gates = [Gate(tmp_path, str(number)) for number in range(3)]
    async with running(source, threads=3) as bridge, trio.open_nursery() as nursery:
        for gate in gates:  # each holds one of the three
            nursery.start_soon(bridge.call, "svc", "hold", [gate.path], {})
            await gate.reached()
        for gate in gates:
            gate.open()
        assert await bridge.call("svc", "give", [1], {}) == 1


async def test_a_thread_in_a_forgotten_call_is_replaced(source: Path, tmp_path: Path) -> None:
    gates = [Gate(tmp_path, str(number)) for number in range(4)]
    async with running(source, threads=2) as bridge:
        for gate in gates:
            await forget_a_call(bridge, gate)
        last = [Gate(tmp_path, f"last{number}") for number in range(2)]
        async with trio.open_nursery() as nursery:
            for gate in last:
                nursery.start_soon(bridge.call, "svc", "hold", [gate.path], {})
                await gate.reached()
            for gate in gates + last:
                gate.open()
        while await bridge.call("svc", "thread", [], {}) != "MainThread":
            pass


async def test_a_pool_has_workers_and_takes_the_least_busy(source: Path, tmp_path: Path) -> None:
    async with running(source, pool=3) as bridge, trio.open_nursery() as nursery:
        assert len(set(bridge.pids)) == 3
        gates = [Gate(tmp_path, str(number)) for number in range(3)]
        for gate in gates:
            nursery.start_soon(bridge.call, "svc", "hold", [gate.path], {})
            await gate.reached()
        for gate in gates:
            gate.open()
        assert await bridge.call("svc", "give", [1], {}) == 1


async def test_a_worker_of_a_pool_that_dies_takes_its_own_calls_alone(source: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    async with running(source, pool=2) as bridge:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.call, "svc", "hold", [gate.path], {})
            await gate.reached()
            with pytest.raises(WorkerDied, match="status 3"):
                await bridge.call("svc", "die", [3], {})
            gate.open()
        assert [is_alive(pid) for pid in bridge.pids] == [True]
        assert await bridge.call("svc", "give", [1], {}) == 1
        with pytest.raises(WorkerDied, match="status 4"):
            await bridge.call("svc", "die", [4], {})
        assert not bridge.pids
        with pytest.raises(WorkerDied):
            await bridge.call("svc", "give", [1], {})


async def test_a_pool_of_which_one_cannot_start_leaves_none(source: Path, tmp_path: Path) -> None:
    (source / "once.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'taken')!r})\n")
    bridge = ProcessBridge(import_path=[source], modules=["once"], pool=2)
    with trio.fail_after(DEADLINE), pytest.raises(RemoteError, match="FileExistsError"):
        await bridge.init()
    assert not bridge.pids


async def test_what_is_printed_goes_to_the_apps_stderr(source: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with (source / "svc.py").open("a") as file:
        file.write("print('at import')\nos.write(1, b'raw at import\\n')\n")
    async with running(source) as bridge:
        assert await bridge.call("svc", "chatter", [], {}) == ""
    out, err = capfd.readouterr()
    assert out == ""
    for line in ("at import", "raw at import", "printed", "complained", "raw", "from a child"):
        assert f"{line}\n" in err


async def test_an_edit_of_the_same_size_and_time_runs_as_the_new_code(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    file = source / "edited.py"
    for version in (1, 2):
        file.write_text(f"def version(): return {version}\n")
        os.utime(file, (1_700_000_000, 1_700_000_000))
        async with running(source, modules=["edited"]) as bridge:
            assert await bridge.call("edited", "version", [], {}) == version
        if version == 1:
            assert not (source / "__pycache__").exists()
            py_compile.compile(str(file))  # as another program might have done


# --- the oldest Python


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.12", "3.13"])
async def test_a_bare_interpreter_serves(source: Path, version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    async with running(source, python=python) as bridge:
        assert await bridge.call("svc", "echo", EVERYTHING, {}) == [tuple(EVERYTHING), {}]
        assert await bridge.call("svc", "meet", [1], {}) == 1
        with pytest.raises(RemoteError, match=r"^mine$") as caught:
            await bridge.call("svc", "fail", ["own"], {})
        assert caught.value.type_name == "svc.Problem"
        with pytest.raises(ValueError, match=r"^bad$") as chained:
            await bridge.call("svc", "fail", ["group"], {})
        assert isinstance(chained.value.__cause__, KeyError)
        with pytest.raises(BridgeError, match=r'result\["x"\]\[1\]'):
            await bridge.call("svc", "odd", ["object"], {})


async def test_an_interpreter_that_is_too_old_says_so() -> None:
    python = interpreter("3.8")
    if python is None:
        pytest.skip("there is no Python 3.8 here")
    with pytest.raises(WorkerDied, match=r"needs Python 3\.9 or newer; .* is Python 3\.8"):
        await ProcessBridge(python).init()
