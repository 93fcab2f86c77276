"""What the items of a stream cost, beside one call that returns a list of them, and beside the streams of peers: one run.

    python benchmarks/streams.py

A row is the median of several rounds, which alternate, since times on a shared machine wander. The peer, if it is installed
(pip install rpyc), iterates a generator of another process, an item at a time. "Memory" is what a million items more add to
both processes.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio

from lastgood.bridges.process import ProcessBridge

ROUNDS = 5
ITEMS = 50_000
SIZE = 64 << 10
BLOBS = 500
TOKENS = 2_000

SERVICE = f"""
import asyncio

def numbers(count):
    yield from range(count)

async def numbers_async(count):
    for number in range(count):
        yield number

def listed(count):
    return list(range(count))

def blobs(count):
    blob = bytes({SIZE})
    for _ in range(count):
        yield blob

async def tokens(count):
    for number in range(count):
        await asyncio.sleep(0)
        yield "token"
"""

RPYC = """
import rpyc
from rpyc.utils.server import ThreadedServer

class Service(rpyc.Service):
    def exposed_numbers(self, count):
        yield from range(count)

server = ThreadedServer(Service, port=0)
print(server.port, flush=True)
server.start()
"""

Run = Callable[[], Awaitable[object]]


async def read(stream: Any) -> int:
    """Return the number of items of a stream."""
    count = 0
    async for _item in stream:
        count += 1
    return count


def memory(pid: int) -> int:
    """Return the resident memory of a process in KiB."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


async def timed(run: Run) -> float:
    start = time.perf_counter()
    await run()
    return time.perf_counter() - start


@contextmanager
def rpyc_service() -> Iterator[Any]:
    """A service of rpyc in another process; None if rpyc is not installed."""
    if importlib.util.find_spec("rpyc") is None:
        yield None
        return
    import rpyc  # type: ignore[import-not-found,unused-ignore]  # a peer, which need not be installed

    with subprocess.Popen([sys.executable, "-c", RPYC], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield rpyc.connect("localhost", int(process.stdout.readline())).root
        finally:
            process.kill()


@contextmanager
def service() -> Iterator[str]:
    """A directory with the module that is called."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "svc.py").write_text(SERVICE)
        yield directory


async def measure(bridge: ProcessBridge, peer: Any) -> None:
    """Print the rows of lastgood, and of rpyc if it is installed."""

    def stream(function: str, count: int) -> Run:
        return lambda: read(bridge.stream("svc", function, [count], {}))

    rows: dict[str, tuple[Run, int, int]] = {
        "a list of the items, by one call": (lambda: bridge.call("svc", "listed", [ITEMS], {}), ITEMS, 0),
        "a stream, plain generator": (stream("numbers", ITEMS), ITEMS, 0),
        "a stream, async generator": (stream("numbers_async", ITEMS), ITEMS, 0),
        "tokens, a turn of the loop between two": (stream("tokens", TOKENS), TOKENS, 0),
        f"a stream of {SIZE >> 10} KiB of bytes": (stream("blobs", BLOBS), BLOBS, SIZE),
    }
    if peer is not None:

        async def by_rpyc() -> None:
            for _item in peer.numbers(ITEMS // 20):
                pass

        rows["rpyc, an iterated generator"] = (by_rpyc, ITEMS // 20, 0)
    times: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(ROUNDS):
        for name, (run, _count, _size) in rows.items():
            times[name].append(await timed(run))
    for name, (_, count, size) in rows.items():
        seconds = statistics.median(times[name])
        rate = f"{count * size / seconds / 1e6:8,.0f} MB/s" if size else f"{count / seconds:10,.0f} items/s"
        print(f"{name:45} {seconds / count * 1e6:9.2f} µs/item {rate}")


async def main() -> None:
    with service() as directory, rpyc_service() as peer:
        bridge = ProcessBridge(import_path=[directory], modules=["svc"], timeout=600)
        await bridge.init()
        try:
            await measure(bridge, peer)
            pids = [os.getpid(), bridge.pid or 0]
            before = sum(map(memory, pids))
            await read(bridge.stream("svc", "numbers", [1_000_000], {}))
            print(f"{'memory of a million items more':45} {sum(map(memory, pids)) - before:9,} KiB")
        finally:
            await bridge.dispose()


if __name__ == "__main__":
    trio.run(main)
