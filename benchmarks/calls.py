"""What a call costs, beside a raw pipe and beside other ways to call a process: one run, ratios printed.

    python benchmarks/calls.py [--json FILE] [INTERPRETER OF THE WORKER]

Times on a shared machine wander, so rounds of every row alternate with rounds of the floor, and a ratio is the median over
the rounds. The floor is the least that any two processes need: thirty bytes sent through a raw pipe and as many back.
Single calls are measured on one core: only one of the two processes ever runs, and where the other core sleeps, waking it costs
more than the exchange, here and in the floor. What runs at once, or moves many bytes, has all cores.

How much slower Python is than the kernel differs from machine to machine: the second row is the same exchange with trio
waiting for the answer, below which no client under trio comes. The peers, as far as they are installed (pip install anyio
execnet rpyc trio-parallel), are called from the same trio program; rpyc and execnet block its loop meanwhile, which flatters
them.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import trio

from lastgood.bridges.process import ProcessBridge

ROUNDS = 15
CALLS = 300
AT_ONCE = 100

SERVICE = """
def echo(value):
    return value

def size(value):
    return len(value)
"""

PONG = "import os\nwhile data := os.read(0, 64): os.write(1, data)"

Run = Callable[[], Awaitable[object]]


@contextmanager
def pinging() -> Iterator[tuple[int, int]]:
    """A process that sends back what it gets: the descriptors to write to it, and to read from it."""
    with subprocess.Popen([sys.executable, "-c", PONG], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as pong:
        assert pong.stdin is not None
        assert pong.stdout is not None
        yield pong.stdin.fileno(), pong.stdout.fileno()


@contextmanager
def floor() -> Iterator[Callable[[], float]]:
    """A raw ping-pong through two pipes, with no event loop on either side: microseconds for one exchange."""
    with pinging() as (to, back):

        def exchange() -> float:
            start = time.perf_counter()
            for _ in range(CALLS):
                os.write(to, b"x" * 30)
                os.read(back, 64)
            return (time.perf_counter() - start) / CALLS * 1e6

        yield exchange


# --- the peers: each gives what makes one small call


@asynccontextmanager
async def pipe_from_trio() -> AsyncIterator[Run]:
    """The floor's ping-pong with trio to wait for the answer: the least that any client under trio needs."""
    with pinging() as (to, back):

        async def exchange() -> None:
            os.write(to, b"x" * 30)
            await trio.lowlevel.wait_readable(back)
            os.read(back, 64)

        yield exchange


@asynccontextmanager
async def rpyc_peer() -> AsyncIterator[Run]:
    """RPyC, over the pipes of a subprocess."""
    import rpyc
    from rpyc.utils.factory import connect_subproc

    serve = "import rpyc; rpyc.classic.connect_stdpipes().serve_all()"
    connection = connect_subproc([sys.executable, "-u", "-c", serve], rpyc.classic.SlaveService)
    remote = connection.modules.builtins.abs

    async def call() -> None:
        remote(1)

    yield call
    connection.close()
    connection.proc.wait()


@asynccontextmanager
async def execnet_peer() -> AsyncIterator[Run]:
    """execnet: a channel that sends back what it gets."""
    import execnet

    gateway = execnet.makegateway("popen")
    channel = gateway.remote_exec("for item in channel: channel.send(abs(item))")

    async def call() -> None:
        channel.send(1)
        channel.receive()

    yield call
    gateway.exit()


@asynccontextmanager
async def anyio_peer() -> AsyncIterator[Run]:
    """anyio.to_process."""
    from anyio import to_process

    async def call() -> None:
        await to_process.run_sync(abs, 1)

    yield call


@asynccontextmanager
async def trio_parallel_peer() -> AsyncIterator[Run]:
    """trio-parallel."""
    import trio_parallel

    async def call() -> None:
        await trio_parallel.run_sync(abs, 1)

    yield call


def _serve(connection: Connection) -> None:
    while (item := connection.recv()) is not None:
        connection.send(abs(item))


@asynccontextmanager
async def connection_peer() -> AsyncIterator[Run]:
    """multiprocessing's Connection, waited for by trio."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()

    async def call() -> None:
        ours.send(1)
        await trio.lowlevel.wait_readable(ours.fileno())
        ours.recv()

    yield call
    ours.send(None)
    process.join()


PEERS: dict[str, tuple[str, Callable[[], Any]]] = {
    "raw pipe ping-pong, waited for by trio": ("trio", pipe_from_trio),
    "rpyc": ("rpyc", rpyc_peer),
    "execnet": ("execnet", execnet_peer),
    "anyio.to_process": ("anyio", anyio_peer),
    "trio-parallel": ("trio_parallel", trio_parallel_peer),
    "multiprocessing Connection, from trio": ("multiprocessing", connection_peer),
}


# --- measuring


async def timed(run: Run, times: int = 1) -> float:
    """Microseconds for one of ``times`` runs."""
    start = time.perf_counter()
    for _ in range(times):
        await run()
    return (time.perf_counter() - start) / times * 1e6


TOLD: list[dict[str, str]] = []


def row(name: str, value: str, ratio: str = "", goal: str = "") -> None:
    """Print one line of the table."""
    TOLD.append({"name": name, "value": value, "ratio": ratio})
    print(f"{name:42} {value:>12} {ratio:>14}   {goal}", flush=True)


async def small_calls(bridge: ProcessBridge, exchange: Callable[[], float], peers: dict[str, Run]) -> None:
    """Every small call, in rounds that alternate with the floor."""

    async def echo() -> None:
        await bridge.call("service", "echo", [1], {})

    runs = {"a small call": echo} | peers
    times: dict[str, list[float]] = {name: [] for name in ("floor", *runs)}
    ratios: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        await timed(run, CALLS)
    for _ in range(ROUNDS):
        for name, run in runs.items():
            base = exchange()
            times["floor"].append(base)
            times[name].append(await timed(run, CALLS))
            ratios[name].append(times[name][-1] / base)
    row("raw pipe ping-pong (the floor)", f"{statistics.median(times['floor']):.1f} µs", "1.0 ×")
    for name in runs:
        goal = "" if name in peers else "goal: at most 5 ×, and ahead of the peers"
        row(name, f"{statistics.median(times[name]):.1f} µs", f"{statistics.median(ratios[name]):.1f} ×", goal)


async def calls_at_once(bridge: ProcessBridge) -> None:
    """Many callers of one worker."""

    async def caller() -> None:
        for _ in range(10):
            await bridge.call("service", "echo", [1], {})

    async def at_once() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(caller)

    each = statistics.median([await timed(at_once) / (AT_ONCE * 10) for _ in range(ROUNDS)])
    row(f"small calls, {AT_ONCE} at once", f"{each:.1f} µs", f"{1e6 / each:,.0f} /s", "goal: at least 80,000 /s")


async def large_calls(bridge: ProcessBridge) -> None:
    """What moves many bytes."""
    blob, floats = bytes(10_000_000), [i + 0.5 for i in range(1_000_000)]
    rows: list[tuple[str, str, Any, str]] = [
        ("10 MB of bytes, sent", "size", blob, "goal: at most 15 ms"),
        ("10 MB of bytes, sent and returned", "echo", blob, ""),
        ("1e6 floats, sent", "size", floats, ""),
        ("1e6 floats, sent and returned", "echo", floats, "goal: at most 60 ms"),
    ]
    for name, function, value, goal in rows:
        times = []
        for _ in range(9):
            gc.collect()
            start = time.perf_counter()
            await bridge.call("service", function, [value], {})
            times.append((time.perf_counter() - start) * 1e3)
        row(name, f"{statistics.median(times):.1f} ms", "", goal)


async def arrays(bridge: ProcessBridge) -> None:
    """100 MB of numpy and of pandas, beside what a copy of it costs in one process."""
    if importlib.util.find_spec("numpy") is None:
        row("100 MB of numpy", "missing", "", "numpy is not installed")
        return
    import numpy as np

    array = np.ones(12_500_000)
    others: list[tuple[str, Any]] = []
    if importlib.util.find_spec("pandas") is None:
        row("100 MB of pandas", "missing", "", "pandas is not installed")
    else:
        import pandas as pd

        frame = pd.DataFrame(array.reshape(-1, 10))
        others = [("pandas", frame), ("pandas, of two dtypes", frame.astype({0: "int64", 5: "int64"}))]
    target = np.zeros_like(array)

    async def copy() -> None:
        np.copyto(target, array)

    def calling(function: str, value: Any) -> Run:
        return lambda: bridge.call("service", function, [value], {})

    runs: dict[str, Run] = {"a copy of 100 MB": copy}
    for name, value in [("numpy", array), *others]:
        runs[f"100 MB of {name}, sent"] = calling("size", value)
        runs[f"100 MB of {name}, sent and returned"] = calling("echo", value)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        await timed(run)  # the first takes memory from the system
    for _ in range(9):
        for name, run in runs.items():
            times[name].append(await timed(run) / 1e3)
    base = times["a copy of 100 MB"]
    for name, each in times.items():
        ratio = statistics.median([one / other for one, other in zip(each, base, strict=True)])
        goal = "goal: at most 3 × the copy" if name == "100 MB of numpy, sent" else ""
        row(name, f"{statistics.median(each):.1f} ms", f"{ratio:.1f} ×", goal)


async def on_one_core(python: str | None, directory: str) -> None:
    """The small calls, and those of the peers."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})  # whatever is started from here on stays there, too
    bridge = ProcessBridge(python, import_path=[directory], modules=["service"])
    await bridge.init()
    async with AsyncExitStack() as stack:
        exchange = stack.enter_context(floor())
        peers: dict[str, Run] = {}
        for name, (module, peer) in PEERS.items():
            if importlib.util.find_spec(module) is None:
                row(name, "missing", "", f"{module} is not installed")
            else:
                peers[name] = await stack.enter_async_context(peer())
        await small_calls(bridge, exchange, peers)
    await bridge.dispose()
    os.sched_setaffinity(0, cores)


async def main(python: str | None) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory:
        await trio.Path(directory, "service.py").write_text(SERVICE)
        await on_one_core(python, directory)
        bridge = ProcessBridge(python, import_path=[directory], modules=["service"])
        started = await timed(bridge.init)
        await calls_at_once(bridge)
        await large_calls(bridge)
        await arrays(bridge)
        row("init(), to a worker that is ready", f"{started / 1e3:.1f} ms")
        row("dispose()", f"{await timed(bridge.dispose) / 1e3:.1f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", nargs="?", help="the interpreter of the worker")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the table as data")
    options = parser.parse_args()
    trio.run(main, options.python)
    if options.json:
        options.json.write_text(json.dumps({"rows": TOLD}, indent=1))
