"""ProcessBridge with real workers. They wait on events, never on the clock; the deadlines only end a test that hangs."""

from __future__ import annotations

import datetime as dt
import fcntl
import gc
import os
import py_compile
import select
import signal
import subprocess
import sys
import termios
import threading
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import trio

import lastgood.bridges
from held_up import hold_up
from lastgood.bridges import child as child_module
from lastgood.bridges import remote
from lastgood.bridges.process import ProcessBridge
from lastgood.bridges.worker import frames
from lastgood.config import Config, ModuleConfig, OutputConfig, ProcessConfig, RuntimeConfig
from lastgood.errors import BridgeError, CallTimeout, ConfigError, RemoteError, WorkerDied

SERVICE = '''
import asyncio, enum, os, signal, subprocess, sys, threading

def echo(*args, **kwargs):
    return [args, kwargs]

def give(value):
    return value

def hold(path):
    """Return when whoever opens the FIFO for writing closes it again."""
    with open(path) as fifo:
        return fifo.read()

calls = []

def note(value):
    calls.append(value)

def noted():
    return calls

def thread():
    return threading.current_thread().name

class Problem(Exception):
    pass

class Leaving(Exception):
    def __str__(self):
        sys.exit(3)

class Gone(tuple):
    def __iter__(self):
        sys.exit(3)

def gone():
    return [Gone([1])]

def fail(kind):
    inner(kind)

def inner(kind):
    if kind == "group":
        raise ValueError("bad") from KeyError("cause")
    raise {"value": ValueError("bad"), "own": Problem("mine"), "exit": SystemExit(3), "interrupt": KeyboardInterrupt(),
           "generator": GeneratorExit(), "leaving": Leaving()}[kind]

def die(status):
    print("last words", file=sys.stderr)
    os._exit(status)

def die_by(number):
    os.kill(os.getpid(), number)

def chatter():
    print("printed")
    print("complained", file=sys.stderr)
    os.write(1, b"raw\\n")
    subprocess.run(["echo", "from a child"], check=True)
    return sys.stdin.read()

def stubborn():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

def part_slowly(path, told):
    """Take a last step that ends when whoever opens the FIFO for writing closes it again. No time passes in between: of what
    the worker waits, a second is over at once, and ten never."""
    import atexit, time

    def part():
        hold(path)
        with open(told, "w") as file:
            file.write("parted")

    atexit.register(part)
    time.sleep = lambda seconds: None if seconds < 2 else threading.Event().wait()

def start_sleeper(detached):
    sleeper = subprocess.Popen(["sleep", "1000"], start_new_session=detached)
    return sleeper.pid

def start(*command):
    return subprocess.Popen(command).pid

class Size(enum.Enum):
    S = 1

def odd(how):
    return {"object": {"x": [0, object()]}, "loop": calls.append(calls) or calls, "giant key": {10**5000: object()},
            "equal keys": {Size.S: 1, 1: 2}}[how]

arrived, everybody = 0, None

async def meet(number):
    """Return once that many calls are in here."""
    global arrived, everybody
    everybody = everybody or asyncio.Event()
    arrived += 1
    if arrived == number:
        everybody.set()
    await everybody.wait()
    return number

async def linger(path):
    try:
        open(path).close()
        await asyncio.Event().wait()
    finally:
        note("cancelled")

async def forever():
    try:
        await asyncio.Event().wait()
    finally:
        note("cancelled")

def hold_forever(path):
    hold(path)
    return forever()

async def hold_loop(path):
    return hold(path)

async def loop():
    return id(asyncio.get_running_loop())

def allow_blocked_loops(number):
    import _lastgood_worker.asyncs
    _lastgood_worker.asyncs.MAX_FORGOTTEN = number

async def fail_later():
    await asyncio.sleep(0)
    inner("exit")

def environment():
    names = ("serving", "frames", "values", "main", "selection")
    found = []
    for name in names:
        try:
            __import__(name)
        except ImportError:
            pass
        else:
            found.append(name)
    return [os.environ.get("PYTHONPATH"), os.getcwd(), sys.argv[1:], found]
'''

# An answer after this many seconds can only mean that there will be none.
DEADLINE = 30


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Every test leaves as many descriptors as it found, no thread of ours, and no process."""
    gc.collect()
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("lastgood")]
    assert len(os.listdir("/proc/self/fd")) <= len(before)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "src"
    directory.mkdir()
    (directory / "svc.py").write_text(SERVICE)
    return directory


@asynccontextmanager
async def running(source: Path, **options: Any) -> AsyncIterator[ProcessBridge]:
    bridge = ProcessBridge(import_path=[source], **{"modules": ["svc"], **options})
    with trio.fail_after(DEADLINE):
        await bridge.init()
        try:
            yield bridge
        finally:
            await bridge.dispose()


@pytest.fixture
async def bridge(source: Path) -> AsyncIterator[ProcessBridge]:
    bridge = ProcessBridge(import_path=[source], modules=["svc"], timeout=DEADLINE)
    await bridge.init()
    yield bridge
    await bridge.dispose()


class Gate:
    """A FIFO at which a function in the worker waits."""

    def __init__(self, directory: Path, name: str = "gate") -> None:
        self.path = str(directory / name)
        os.mkfifo(self.path)
        self._end: int | None = None

    async def reached(self) -> None:
        """Wait until the function waits at it."""
        self._end = await trio.to_thread.run_sync(os.open, self.path, os.O_WRONLY, abandon_on_cancel=True)

    def open(self) -> None:
        """Let the function go on."""
        assert self._end is not None
        os.close(self._end)


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does of itself."""
    with trio.fail_after(DEADLINE):
        while not condition():
            await trio.to_thread.run_sync(os.sched_yield)


# Starting.


async def test_constructing_does_nothing_and_is_exported_lazily() -> None:
    bridge = lastgood.ProcessBridge("/no/such/python", modules=["nothing"])
    assert isinstance(bridge, lastgood.bridges.Bridge)
    assert bridge.pid is None
    assert not bridge.thread_safe
    await bridge.dispose()


def test_from_config() -> None:
    config = Config(
        path=Path("/x/lastgood.toml"),
        python_import_path=(Path("/x/src"),),
        modules={"svc": ModuleConfig(exclude=("a",))},
        output=OutputConfig(dir=Path("/x/generated")),
        runtime=RuntimeConfig(
            process=ProcessConfig(
                python=Path("/x/python"), env={"A": "b"}, cwd=Path("/x"), timeout=7.0, threads=2, pool=3, grace=4.0
            )
        ),
    )
    made = ProcessBridge.from_config(config)
    by_hand = ProcessBridge(
        "/x/python",
        import_path=["/x/src"],
        modules=config.modules,
        env={"A": "b"},
        cwd="/x",
        timeout=7.0,
        threads=2,
        pool=3,
        grace=4.0,
    )
    assert {**vars(made), "_gone": None, "_config_file": None} == {**vars(by_hand), "_gone": None}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"timeout": 0}, ValueError),
        ({"timeout": float("nan")}, ValueError),
        ({"grace": -1}, ValueError),
        ({"threads": 0}, ValueError),
        ({"pool": 0}, ValueError),
        ({"env": {"A=B": "x"}}, ValueError),
        ({"python": "python3", "virtual_env": ".venv"}, ValueError),
        ({"modules": "svc"}, TypeError),
        ({"import_path": "src"}, TypeError),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_at_once(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        ProcessBridge(**options)


async def test_a_missing_interpreter_is_named() -> None:
    bridge = ProcessBridge("/no/such/python")
    with pytest.raises(BridgeError, match="interpreter /no/such/python cannot be started: there is no such file"):
        await bridge.init()
    with pytest.raises(BridgeError, match="was disposed"):
        await bridge.call("svc", "f", [], {})


async def test_an_interpreter_that_may_not_be_executed_is_named(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("")
    with pytest.raises(BridgeError, match="python cannot be started: it may not be executed"):
        await ProcessBridge(tmp_path / "python").init()


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


async def test_an_interpreter_that_is_none_ends_before_it_is_ready(tmp_path: Path) -> None:
    bridge = ProcessBridge(script(tmp_path / "python", "#!/bin/sh\necho no python here >&2\nexit 7\n"))
    with trio.fail_after(DEADLINE), pytest.raises(WorkerDied) as died:
        await bridge.init()
    assert (
        str(died.value)
        == "The worker process exited with status 7 before it was ready. Its last output:\nno python here"
    )
    assert bridge.pid is None


@pytest.mark.parametrize(
    ("text", "type_name", "told"),
    [
        ("def f(:\n", "SyntaxError", "svc.py"),
        ("x = 1\n\nraise ValueError('at import')\n", "ValueError", 'svc.py", line 3'),
        ("import nowhere_to_be_found\n", "ModuleNotFoundError", "nowhere_to_be_found"),
        ("raise SystemExit(5)\n", "SystemExit", "svc.py"),
    ],
    ids=["syntax", "raises", "missing-import", "exits"],
)
async def test_what_an_import_raises_comes_with_its_traceback(
    source: Path, text: str, type_name: str, told: str
) -> None:
    (source / "svc.py").write_text(text)
    bridge = ProcessBridge(import_path=[source], modules=["svc"])
    with trio.fail_after(DEADLINE), pytest.raises(RemoteError) as caught:
        await bridge.init()
    assert caught.value.type_name == type_name
    assert told in caught.value.traceback
    assert "importlib" not in caught.value.traceback
    assert "lastgood" not in caught.value.traceback.replace(str(source), "")


async def test_a_cancelled_init_leaves_nothing(source: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    (source / "svc.py").write_text(f"open({gate.path!r}).read()\n")
    bridge = ProcessBridge(import_path=[source], modules=["svc"])
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.init)
            await gate.reached()
            pid = bridge.pid
            nursery.cancel_scope.cancel()
    gate.open()
    assert pid is not None
    assert not is_alive(pid)
    assert bridge.pid is None


async def test_init_is_awaited_once(bridge: ProcessBridge) -> None:
    with pytest.raises(BridgeError, match="can be awaited once"):
        await bridge.init()


async def test_calls_before_init_and_after_dispose_say_so(source: Path) -> None:
    bridge = ProcessBridge(import_path=[source], modules=["svc"])
    with pytest.raises(BridgeError, match=r"await init\(\) before the first call"):
        await bridge.call("svc", "echo", [], {})
    await bridge.init()
    await bridge.dispose()
    with pytest.raises(BridgeError, match="was disposed"):
        await bridge.call("svc", "echo", [], {})
    with pytest.raises(BridgeError, match="can be awaited once"):
        await bridge.init()


async def test_another_thread_or_loop_is_told_so(bridge: ProcessBridge) -> None:
    async def call() -> None:
        with pytest.raises(BridgeError, match="another event loop or thread"):
            await bridge.call("svc", "echo", [], {})

    await trio.to_thread.run_sync(trio.run, call)

    def outside() -> None:
        with pytest.raises(BridgeError, match="outside of trio"):
            bridge.call("svc", "echo", [], {}).send(None)

    await trio.to_thread.run_sync(outside)


# Values and functions.

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
        ([], {"tax": [1j]}, "argument tax[0]: object of type complex cannot cross to the worker"),
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
    with pytest.raises(RemoteError, match=r"TypeError: give\(\) missing 1 required positional argument"):
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
        for kind, error in (("value", "ValueError: bad"), ("exit", "SystemExit: bad")):
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


async def test_the_worker_is_at_home_in_the_apps_surroundings(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(source))
    async with running(source) as bridge:
        assert await bridge.call("svc", "environment", [], {}) == [str(source), os.getcwd(), [], []]


async def test_the_worker_runs_where_it_is_told(source: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)  # noqa: ASYNC221 - no more than a start
    (source / "place.py").write_text(
        "import os, sys\n"
        "def place(): return [sys.prefix, os.getcwd(), os.environ['ADDED'], os.environ['PATH'].split(':')[0]]\n"
    )
    options: dict[str, Any] = {"virtual_env": tmp_path / "venv", "cwd": tmp_path, "env": {"ADDED": "$HOME"}}
    async with running(source, modules=["place"], **options) as bridge:
        assert await bridge.call("place", "place", [], {}) == [
            str(tmp_path / "venv"),
            str(tmp_path),
            "$HOME",
            str(tmp_path / "venv" / "bin"),
        ]


async def test_surroundings_that_are_not_there_are_told_before_anything_is_started(tmp_path: Path) -> None:
    bridge = ProcessBridge(cwd=tmp_path / "missing")
    with pytest.raises(BridgeError, match=r'field "runtime.process.cwd": .*missing does not exist'):
        await bridge.init()
    config = Config(
        path=tmp_path / "lastgood.toml",
        python_import_path=(),
        modules={},
        output=OutputConfig(dir=tmp_path / "generated"),
        runtime=RuntimeConfig(process=ProcessConfig(virtual_env=tmp_path)),
    )
    with pytest.raises(ConfigError, match=r'lastgood.toml: field "runtime.process.virtual_env": .* has no pyvenv.cfg'):
        await ProcessBridge.from_config(config).init()


# Several at once.


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


# Timeouts and cancelling.


async def test_a_call_past_its_timeout(source: Path, tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    gate = Gate(tmp_path)
    assert autojump_clock.rate == 0  # five seconds of this clock pass as soon as nothing else happens
    bridge = ProcessBridge(import_path=[source], modules=["svc"], timeout=5)
    await bridge.init()
    with pytest.raises(CallTimeout, match=r"^svc.hold did not return within 5 s"):
        await bridge.call("svc", "hold", [gate.path], {})
    await bridge.dispose()


def await_answers(descriptor: int, number: int) -> None:
    """Block until so many small answers lie in the pipe."""
    size = number * (frames.HEADER.size + 1)
    waiting = array("i", [0])
    while waiting[0] < size:
        assert select.select([descriptor], [], [], DEADLINE)[0]
        fcntl.ioctl(descriptor, termios.FIONREAD, waiting)


@pytest.mark.parametrize(("function", "each"), [("hold", 2), ("hold_loop", 1)])
@pytest.mark.parametrize("pool", [1, 2])
async def test_a_call_whose_answer_has_come_is_not_late(
    function: str, each: int, pool: int, source: Path, tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    """The app was stopped (Ctrl-Z), or its loop was blocked: it looks when the time has long been over."""
    gates = [Gate(tmp_path, str(number)) for number in range(each * pool)]
    bridge = ProcessBridge(import_path=[source], modules=["svc"], timeout=5, pool=pool, threads=2)
    await bridge.init()
    results: list[str] = []

    async def caller(gate: Gate) -> None:
        results.append(await bridge.call("svc", function, [gate.path], {}))

    def meanwhile() -> None:
        for gate in gates:
            gate.open()
        for worker in bridge._workers:
            await_answers(worker._child.answers, each)
        mock_clock.jump(1000)

    async with trio.open_nursery() as nursery:
        for gate in gates:
            nursery.start_soon(caller, gate)
            await gate.reached()
        await trio.testing.wait_all_tasks_blocked()
        await hold_up(meanwhile)
    assert results == [""] * each * pool
    await bridge.dispose()


async def test_waiting_behind_others_is_no_part_of_a_calls_time(
    source: Path, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    gate = Gate(tmp_path)
    bridge = ProcessBridge(import_path=[source], modules=["svc"], timeout=5)
    await bridge.init()
    ended: list[tuple[str, float]] = []

    async def caller(name: str, *args: Any) -> None:
        with suppress(CallTimeout):
            await bridge.call("svc", name, args, {})
        ended.append((name, trio.current_time()))

    async with trio.open_nursery() as nursery:
        start = autojump_clock.current_time()
        nursery.start_soon(caller, "hold", gate.path)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(caller, "hold", str(tmp_path / "never"))
        await trio.testing.wait_all_tasks_blocked()
        os.mkfifo(tmp_path / "never")
    assert ended == [("hold", start + 5), ("hold", start + 10)]
    await bridge.dispose()


async def forget_a_call(bridge: ProcessBridge, gate: Gate, function: str = "hold") -> None:
    """Leave a call that goes on."""
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.call, "svc", function, [gate.path], {})
            await gate.reached()
            scope.cancel()


async def test_a_forgotten_call_that_goes_on_harms_no_other(bridge: ProcessBridge, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    await forget_a_call(bridge, gate)
    assert await bridge.call("svc", "give", [1], {}) == 1
    assert await bridge.call("svc", "thread", [], {}) == "lastgood-substitute"
    gate.open()
    while await bridge.call("svc", "thread", [], {}) != "MainThread":
        pass
    assert await bridge.call("svc", "give", [2], {}) == 2


async def test_what_a_forgotten_call_would_begin_on_the_loop_is_cancelled(
    bridge: ProcessBridge, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    await forget_a_call(bridge, gate, "hold_forever")
    assert await bridge.call("svc", "noted", [], {}) == []  # it has heard by then that nobody waits
    gate.open()
    while bridge._workers[0].channel.busy():
        await bridge.call("svc", "give", [1], {})
    assert await bridge.call("svc", "noted", [], {}) in ([], ["cancelled"])  # begun or not
    assert await bridge.call("svc", "meet", [1], {}) == 1


async def test_calls_that_wait_behind_a_forgotten_one_go_on(bridge: ProcessBridge, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    results: list[int] = []

    async def behind(number: int) -> None:
        results.append(await bridge.call("svc", "give", [number], {}))

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as inner:
                inner.start_soon(bridge.call, "svc", "hold", [gate.path], {})
                await gate.reached()
                for number in range(3):
                    nursery.start_soon(behind, number)
                await trio.testing.wait_all_tasks_blocked()
                assert results == []
                scope.cancel()
    assert sorted(results) == [0, 1, 2]
    gate.open()


async def test_a_call_that_was_cancelled_before_its_turn_never_runs(bridge: ProcessBridge, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bridge.call, "svc", "hold", [gate.path], {})
        await gate.reached()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as inner:
                inner.start_soon(bridge.call, "svc", "note", ["never"], {})
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        gate.open()
    assert await bridge.call("svc", "noted", [], {}) == []


async def test_a_call_in_a_cancelled_scope_is_not_even_sent(bridge: ProcessBridge) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await bridge.call("svc", "note", ["never"], {})
    assert await bridge.call("svc", "noted", [], {}) == []


async def test_cancelling_in_the_middle_of_a_frame_leaves_the_stream_whole(
    bridge: ProcessBridge,
) -> None:
    blob = bytes(8_000_000)
    for _ in range(3):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bridge.call, "svc", "give", [blob], {})
                nursery.start_soon(bridge.call, "svc", "give", [blob], {})
                for _ in range(3):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        assert await bridge.call("svc", "give", ["fine"], {}) == "fine"


async def test_too_many_forgotten_calls_are_an_error_until_one_ends(bridge: ProcessBridge, tmp_path: Path) -> None:
    gates = [Gate(tmp_path, f"gate{number}") for number in range(32)]
    for gate in gates:
        await forget_a_call(bridge, gate)
    for _ in range(2):
        with pytest.raises(BridgeError, match="busy with 32 calls that timed out or were cancelled and still run"):
            await bridge.call("svc", "give", [1], {})
    gates[20].open()
    while True:
        try:
            assert await bridge.call("svc", "give", [1], {}) == 1
            break
        except BridgeError:
            pass
    for gate in gates[:20] + gates[21:]:
        gate.open()


async def test_a_cancelled_async_function_is_cancelled_in_the_worker(bridge: ProcessBridge, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    await forget_a_call(bridge, gate, "linger")
    gate.open()
    while await bridge.call("svc", "noted", [], {}) != ["cancelled"]:
        pass


async def test_an_event_loop_that_a_forgotten_call_blocks_is_replaced(bridge: ProcessBridge, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    await forget_a_call(bridge, gate, "hold_loop")
    assert await bridge.call("svc", "meet", [1], {}) == 1
    gate.open()


async def test_an_event_loop_that_is_blocked_no_more_is_used_again(bridge: ProcessBridge, tmp_path: Path) -> None:
    gates = [Gate(tmp_path, f"gate{number}") for number in range(3)]
    await bridge.call("svc", "allow_blocked_loops", [2], {})
    first = await bridge.call("svc", "loop", [], {})
    await forget_a_call(bridge, gates[0], "hold_loop")
    second = await bridge.call("svc", "loop", [], {})
    await forget_a_call(bridge, gates[1], "hold_loop")

    async def loop_of_next_call() -> object:
        while True:
            with suppress(BridgeError):  # refused until a loop has recovered
                return await bridge.call("svc", "loop", [], {})

    for _ in range(2):
        with pytest.raises(BridgeError, match="event loops that are stuck in forgotten calls"):
            await bridge.call("svc", "loop", [], {})
    gates[0].open()
    assert await loop_of_next_call() == first
    await forget_a_call(bridge, gates[2], "hold_loop")
    gates[1].open()
    assert await loop_of_next_call() == second
    gates[2].open()


# Death.


@pytest.mark.parametrize(
    ("function", "argument", "status", "text"),
    [
        ("die", 3, 3, "exited with status 3"),
        ("die_by", 9, -9, "killed by signal 9"),
        ("die_by", 11, -11, "killed by signal 11"),
    ],
    ids=["exit", "kill", "segfault"],
)
async def test_a_worker_that_dies_tells_how(
    bridge: ProcessBridge, function: str, argument: int, status: int, text: str
) -> None:
    with pytest.raises(WorkerDied, match=text) as died:
        await bridge.call("svc", function, [argument], {})
    assert died.value.status == status
    assert function != "die" or died.value.stderr.endswith("last words")
    with pytest.raises(WorkerDied, match=text):
        await bridge.call("svc", "give", [1], {})
    assert bridge.pid is None


async def test_death_reaches_every_call_in_flight(bridge: ProcessBridge, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    died: list[int | None] = []

    async def caller(function: str, *args: Any) -> None:
        try:
            await bridge.call("svc", function, args, {})
        except WorkerDied as error:
            died.append(error.status)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller, "hold", gate.path)
        await gate.reached()
        nursery.start_soon(caller, "give", 1)
        nursery.start_soon(caller, "give", bytes(5_000_000))
        await trio.testing.wait_all_tasks_blocked()
        assert bridge.pid is not None
        os.kill(bridge.pid, signal.SIGKILL)
    assert died == [-9] * 3
    gate.open()


async def test_death_between_calls_is_noticed_by_the_next(bridge: ProcessBridge) -> None:
    assert bridge.pid is not None
    os.kill(bridge.pid, signal.SIGKILL)
    with pytest.raises(WorkerDied, match="signal 9"):
        await bridge.call("svc", "give", [1], {})


async def test_death_is_noticed_while_a_forked_child_holds_the_pipes(bridge: ProcessBridge, source: Path) -> None:
    with (source / "forking.py").open("w") as file:
        file.write(
            "import os, signal\ndef fork_and_die():\n    if os.fork() == 0:\n        signal.pause()\n    os._exit(4)\n"
        )
    async with running(source, modules=["forking"]) as bridge:
        with pytest.raises(WorkerDied, match="status 4"):
            await bridge.call("forking", "fork_and_die", [], {})


@pytest.mark.parametrize("how", ["idle", "busy"])
async def test_a_killed_app_leaves_no_worker(source: Path, tmp_path: Path, how: str) -> None:
    gate = Gate(tmp_path)
    app = f"""
import trio
from lastgood.bridges.process import ProcessBridge

async def main():
    bridge = ProcessBridge(import_path=[{str(source)!r}], modules=["svc"])
    await bridge.init()
    print(bridge.pid, flush=True)
    if {how == "busy"}:
        await bridge.call("svc", "hold", [{gate.path!r}], {{}})
    await trio.sleep_forever()

trio.run(main)
"""
    with subprocess.Popen([sys.executable, "-c", app], stdout=subprocess.PIPE, text=True) as parent:  # noqa: ASYNC220 - it takes no time
        assert parent.stdout is not None
        pid = int(await trio.to_thread.run_sync(parent.stdout.readline))
        if how == "busy":
            await gate.reached()
        assert is_alive(pid)
        parent.kill()
    await until(lambda: not is_alive(pid))
    if how == "busy":
        gate.open()


async def test_ctrl_c_in_the_terminal_does_not_reach_the_worker(bridge: ProcessBridge) -> None:
    assert bridge.pid is not None
    assert os.getpgid(bridge.pid) != os.getpgrp()
    assert os.getsid(bridge.pid) != os.getsid(0)


async def test_a_worker_inherits_nothing_of_another_or_of_the_app(source: Path) -> None:
    async with running(source) as first, running(source) as second:
        pipes = [_pipes(bridge.pid) for bridge in (first, second)]
        assert not pipes[0] & pipes[1]
        for bridge in (first, second):
            own = [
                link for link in _links(bridge.pid).values() if "/libffi.so" not in link
            ]  # some hold themselves open
            assert len(own) == 7  # stdin, stdout, stderr, two pipes, two arenas


def _links(pid: int | None) -> dict[str, str]:
    """Its descriptors, and where each leads."""
    directory = f"/proc/{pid}/fd"
    return {f"{directory}/{name}": os.readlink(f"{directory}/{name}") for name in os.listdir(directory)}


def _pipes(pid: int | None) -> set[str]:
    """Its pipes and arenas, each as what no other is called."""
    links = _links(pid)
    numbered = {f"{link} {os.stat(entry).st_ino}" for entry, link in links.items() if "arena" in link}
    return numbered | {link for link in links.values() if link.startswith("pipe:")}


# Disposing.


async def test_dispose_is_idempotent_and_can_be_awaited_by_several(bridge: ProcessBridge) -> None:
    pid = bridge.pid
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bridge.dispose)
        nursery.start_soon(bridge.dispose)
    await bridge.dispose()
    assert pid is not None
    assert not is_alive(pid)
    assert bridge.pid is None


async def test_dispose_ends_calls_in_flight(bridge: ProcessBridge, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    errors: list[str] = []

    async def caller(function: str, *args: Any) -> None:
        try:
            await bridge.call("svc", function, args, {})
        except BridgeError as error:
            errors.append(str(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller, "hold", gate.path)
        await gate.reached()
        nursery.start_soon(caller, "give", 1)
        nursery.start_soon(caller, "give", bytes(5_000_000))
        await trio.testing.wait_all_tasks_blocked()
        await bridge.dispose()
    assert errors == ["The bridge was disposed while the call was in flight."] * 3
    gate.open()


async def test_an_idle_worker_has_its_grace_to_exit_by_itself(source: Path, tmp_path: Path) -> None:
    gate, told = Gate(tmp_path), tmp_path / "told"
    async with running(source, grace=5) as bridge:
        await bridge.call("svc", "part_slowly", [gate.path, str(told)], {})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.dispose)
            await gate.reached()
            gate.open()
    assert told.read_text() == "parted"


async def test_a_call_that_was_forgotten_and_is_over_costs_it_nothing(source: Path, tmp_path: Path) -> None:
    gate, held, told = Gate(tmp_path, "part"), Gate(tmp_path, "held"), tmp_path / "told"
    async with running(source, grace=5) as bridge:
        await bridge.call("svc", "part_slowly", [gate.path, str(told)], {})
        await forget_a_call(bridge, held)
        held.open()
        answers = os.dup(bridge._workers[0].channel._answers)
        with trio.fail_after(DEADLINE):
            await trio.lowlevel.wait_readable(answers)  # the worker has said that it is over, and nobody has read it
        os.close(answers)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.dispose)
            await gate.reached()
            gate.open()
    assert told.read_text() == "parted"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork in a process that has threads
async def test_a_forked_child_that_lives_does_not_hold_up_its_exit(source: Path) -> None:
    async with running(source, grace=1000) as bridge:
        child = os.fork()
        if child == 0:
            signal.pause()
        try:
            await bridge.dispose()
        finally:
            os.kill(child, signal.SIGKILL)
            await trio.to_thread.run_sync(os.waitpid, child, 0)


async def test_one_that_is_busy_has_none(source: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    async with running(source, grace=1000) as bridge:
        pid = bridge.pid
        assert pid is not None
        await forget_a_call(bridge, gate)
    assert not is_alive(pid)
    gate.open()


@pytest.mark.parametrize("state", ["stubborn", "stopped"])
async def test_a_worker_that_will_not_go_is_killed(source: Path, state: str) -> None:
    async with running(source, grace=0.05) as bridge:
        pid = bridge.pid
        assert pid is not None
        if state == "stubborn":
            await bridge.call("svc", "stubborn", [], {})
        os.kill(pid, signal.SIGSTOP)
    assert not is_alive(pid)


async def test_a_cancelled_dispose_kills_at_once(source: Path) -> None:
    bridge = ProcessBridge(import_path=[source], modules=["svc"], grace=1000)
    with trio.fail_after(DEADLINE):
        await bridge.init()
        pid = bridge.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.dispose)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert not is_alive(pid)


async def test_what_a_worker_started_goes_with_it(bridge: ProcessBridge) -> None:
    sleeper = await bridge.call("svc", "start_sleeper", [False], {})
    await bridge.dispose()
    await until(lambda: not is_alive(sleeper))


async def test_what_a_worker_started_is_asked_to_end_before_it_is_killed(bridge: ProcessBridge, tmp_path: Path) -> None:
    gate, told = Gate(tmp_path), tmp_path / "told"
    script = f"trap 'echo asked > {told}; exit' TERM; : > {gate.path}; while :; do sleep 0.01; done"
    child = await bridge.call("svc", "start", ["sh", "-c", script], {})
    await trio.to_thread.run_sync(Path(gate.path).read_bytes)
    await bridge.dispose()
    assert not is_alive(child)
    assert told.read_text() == "asked\n"


@pytest.mark.parametrize("how", ["a crash", "a crash of one that had left"])
async def test_what_a_worker_that_dies_had_started_is_asked_to_end_before_the_death_is_told(
    how: str, bridge: ProcessBridge, tmp_path: Path
) -> None:
    gate, told = Gate(tmp_path), tmp_path / "told"
    script = f"trap 'echo asked > {told}; exit' TERM; : > {gate.path}; while :; do sleep 0.01; done"
    if how == "a crash of one that had left":  # its parent is not there any more
        script = f"({script}) &"
    await bridge.call("svc", "start", ["sh", "-c", script], {})
    await trio.to_thread.run_sync(Path(gate.path).read_bytes)
    with pytest.raises(WorkerDied, match="status 3"):
        await bridge.call("svc", "die", [3], {})
    assert told.read_text() == "asked\n"


async def test_what_will_not_end_when_its_worker_has_died_is_killed(source: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    script = f"trap '' TERM; : > {gate.path}; while :; do sleep 0.01; done"
    async with running(source, grace=0.05) as bridge:
        child = await bridge.call("svc", "start", ["sh", "-c", script], {})
        await trio.to_thread.run_sync(Path(gate.path).read_bytes)
        with pytest.raises(WorkerDied, match="status 3"):
            await bridge.call("svc", "die", [3], {})
        await until(lambda: not is_alive(child))


async def test_a_grandchild_that_holds_stderr_does_not_hold_up_dispose(bridge: ProcessBridge) -> None:
    sleeper = await bridge.call("svc", "start_sleeper", [True], {})
    try:
        await bridge.dispose()
    finally:
        os.kill(sleeper, signal.SIGKILL)


async def test_without_pidfds_life_and_death_go_on(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "open_pidfd", lambda _: -1)
    async with running(source) as bridge:
        assert await bridge.call("svc", "give", [1], {}) == 1
        with pytest.raises(WorkerDied, match="status 3"):
            await bridge.call("svc", "die", [3], {})
    async with running(source) as bridge:
        pid = bridge.pid
    assert pid is not None
    assert not is_alive(pid)


# Broken workers.

FAKE = """#!{python}
import os, struct, sys
requests, answers = map(int, sys.argv[3:5])
def read(size):
    data = b""
    while len(data) < size:
        data += os.read(requests, size - len(data))
    return data
def answer(kind, number, body):
    os.write(answers, struct.pack("<IBQ", len(body), kind, number) + body)
def request():
    length, kind, number = struct.unpack("<IBQ", read(13))
    read(length)
    return number
answer(16, request(), b"\\xc0")
number = request()
{misdeed}
request()
"""


@pytest.mark.parametrize(
    ("misdeed", "told"),
    [
        (
            "os.write(answers, b'garbage, and a lot of it')",
            "a frame of 1651663207 bytes, and no frame may have more than 1073741824",
        ),
        ("answer(16, number + 1, b'')", "an answer to call 3, which is not open"),
        ("answer(99, number, b'')", "a frame of the unknown kind 99"),
        ("answer(16, number, b'\\xc1')", "malformed"),
        ("answer(16, number, b'\\xc7\\x01\\x63\\xc0')", "no value has the code 99"),
        ("answer(17, number, b'\\xc0')", "unpack"),
        ("answer(16, number, b'\\x91' * 100000)", "(?i)recursion"),
    ],
    ids=["garbage", "wrong-id", "wrong-kind", "wrong-msgpack", "wrong-extension", "wrong-exception", "bomb"],
)
async def test_a_worker_that_breaks_the_protocol_is_killed_and_the_app_unharmed(
    tmp_path: Path, misdeed: str, told: str
) -> None:
    fake = script(tmp_path / "python", FAKE.format(python=sys.executable, misdeed=misdeed))
    async with running(tmp_path, python=fake, modules=[], grace=0.05) as bridge:
        pid = bridge.pid
        for _ in range(2):
            with pytest.raises(BridgeError, match=told):
                await bridge.call("svc", "f", [], {})
        assert pid is not None
        await until(lambda: not is_alive(pid))


@pytest.mark.parametrize(
    ("misdeed", "told"),
    [
        ("while True: answer(32, 0, late())", "more than 10000"),
        ("while True: answer(16, 10**6, bytes(100))", "an answer to call 1000000, which is not open"),
        ("while True: answer(33, number + 7, b'')", "a notice of call 9, which is not open"),
    ],
    ids=["modules-loaded-late", "answers", "calls-apart"],
)
async def test_a_worker_that_floods_the_app_is_killed(tmp_path: Path, misdeed: str, told: str) -> None:
    late = (
        "count = 0\n"
        "def late():\n"
        "    global count\n"
        "    count += 1\n"
        "    return b'\\x93\\xa1a\\xad/p/' + b'%07d' % count + b'.py\\xc4\\x01c'\n"
    )
    fake = script(tmp_path / "python", FAKE.format(python=sys.executable, misdeed=late + misdeed))
    async with running(Path("/p"), python=fake, modules=[], grace=0.05) as bridge:
        pid = bridge.pid
        with pytest.raises(BridgeError, match=told):
            await bridge.call("svc", "f", [], {})
        assert pid is not None
        await until(lambda: not is_alive(pid))


@pytest.mark.parametrize(
    "misdeed",
    [
        "read(10**9)",
        "os.write(answers, struct.pack('<IBQ', 1 << 30, 16, number) + b'x'); read(10**9)",
        "while True: answer(33, number, b'')",
    ],
    ids=["silence", "a-giant-that-never-comes", "endless-word"],
)
async def test_a_worker_that_never_answers_costs_a_call_its_time_and_no_more(tmp_path: Path, misdeed: str) -> None:
    fake = script(tmp_path / "python", FAKE.format(python=sys.executable, misdeed=misdeed))
    async with running(tmp_path, python=fake, modules=[], grace=0.05, timeout=0.05) as bridge:
        for _ in range(2):
            with pytest.raises(CallTimeout):
                await bridge.call("svc", "f", [], {})


async def test_a_worker_that_floods_stderr_is_not_kept_in_memory(
    source: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (source / "flood.py").write_text(
        "import os, sys\ndef flood():\n    for _ in range(200): os.write(2, b'x' * 99_999 + b'\\n')\n    os._exit(1)\n"
    )
    async with running(source, modules=["flood"]) as bridge:
        with pytest.raises(WorkerDied) as died:
            await bridge.call("flood", "flood", [], {})
    assert len(died.value.stderr) <= 16 * 1024
    assert len(capfd.readouterr().err) == 20_000_000


async def test_no_program_that_app_or_worker_starts_inherits_the_wire(source: Path) -> None:
    (source / "starting.py").write_text(
        "import subprocess\n"
        "def open_in_a_child():\n"
        "    command = ['sh', '-c', 'ls -l /proc/$$/fd']\n"
        "    return subprocess.run(command, close_fds=False, capture_output=True, text=True).stdout\n"
    )
    async with running(source, modules=["starting"]) as bridge:
        wire = _pipes(bridge.pid)
        listed = await bridge.call("starting", "open_in_a_child", [], {})
        command = ["sh", "-c", "ls -l /proc/$$/fd"]
        listed += subprocess.run(command, close_fds=False, capture_output=True, text=True, check=True).stdout  # noqa: ASYNC221 - it takes no time
        stderr = os.readlink(f"/proc/{bridge.pid}/fd/2")
    assert len(wire) == 5  # requests, answers, what it prints, two arenas
    assert not [pipe for pipe in wire - {stderr} if pipe.partition(" ")[0] in listed]


async def test_a_worker_that_closes_its_pipes_and_stays_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_EXIT_WAIT", 0.01)
    fake = script(tmp_path / "python", FAKE.format(python=sys.executable, misdeed="os.close(answers)"))
    async with running(tmp_path, python=fake, modules=[]) as bridge:
        with pytest.raises(WorkerDied):
            await bridge.call("svc", "f", [], {})


# The oldest Python.


def _interpreter(version: str) -> Path | None:
    roots = [Path("/usr/bin"), *sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}*/bin"))]
    return next((root / f"python{version}" for root in roots if (root / f"python{version}").exists()), None)


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.12", "3.13"])
async def test_a_bare_interpreter_serves(source: Path, version: str) -> None:
    python = _interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    async with running(source, python=python) as bridge:
        assert await bridge.call("svc", "echo", EVERYTHING, {}) == [tuple(EVERYTHING), {}]
        assert await bridge.call("svc", "meet", [1], {}) == 1
        with pytest.raises(RemoteError, match=r"svc\.Problem: mine"):
            await bridge.call("svc", "fail", ["own"], {})
        with pytest.raises(BridgeError, match=r'result\["x"\]\[1\]'):
            await bridge.call("svc", "odd", ["object"], {})


async def test_an_interpreter_that_is_too_old_says_so() -> None:
    python = _interpreter("3.8")
    if python is None:
        pytest.skip("there is no Python 3.8 here")
    with pytest.raises(WorkerDied, match=r"needs Python 3\.9 or newer; .* is Python 3\.8"):
        await ProcessBridge(python).init()
