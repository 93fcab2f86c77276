"""What the items of a stream cost, beside one call that returns a list of them, and beside the streams of peers: one run.

    python benchmarks/streams.py
    python benchmarks/streams.py --memory     the resident memory of app and worker, at 1e5 and at 1e7 items: about ten minutes

A row is the median of several rounds, which alternate, since times on a shared machine wander. The peers, if they are installed
(pip install rpyc grpcio), iterate a generator of another process on this machine, from plain code: rpyc an item at a time and in
chunks of its buffiter(), gRPC by a call with a stream of responses, whose messages are plain bytes, without protobuf.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
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
SLOW = 20  # times fewer items for a peer that takes one trip for each
CHUNK = 256  # items that buffiter() fetches at once
READINGS = 100_000, 10_000_000

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

def listed_blobs(count):
    return [bytes({SIZE}) for _ in range(count)]

async def tokens(count):
    for number in range(count):
        await asyncio.sleep(0)
        yield "token"
"""

RPYC = f"""
import rpyc
from rpyc.utils.server import ThreadedServer

class Service(rpyc.Service):
    def exposed_numbers(self, count):
        yield from range(count)

    def exposed_blobs(self, count):
        blob = bytes({SIZE})
        for _ in range(count):
            yield blob

server = ThreadedServer(Service, port=0)
print(server.port, flush=True)
server.start()
"""

GRPC = f"""
import grpc
from concurrent.futures import ThreadPoolExecutor

def numbers(request, context):
    for number in range(int(request)):
        yield number.to_bytes(8, "little")

def blobs(request, context):
    blob = bytes({SIZE})
    for _ in range(int(request)):
        yield blob

made = dict(numbers=grpc.unary_stream_rpc_method_handler(numbers), blobs=grpc.unary_stream_rpc_method_handler(blobs))
server = grpc.server(ThreadPoolExecutor(2))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("svc", made),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
server.wait_for_termination()
"""

Run = Callable[[], Awaitable[object]]
Rows = dict[str, tuple[Run, int, int]]  # with the number of items, and the bytes of each if these count
KIB = f"items of {SIZE >> 10} KiB"


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
def serving(name: str, script: str) -> Iterator[int | None]:
    """The port of a peer's service in another process; None if the peer is not installed, which is said."""
    if importlib.util.find_spec(name) is None:
        print(f"{name} is not installed: its rows are missing.")
        yield None
        return
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


async def exhausted(items: Iterable[Any]) -> None:
    """Take all items of a blocking stream."""
    for _item in items:
        pass


@contextmanager
def rpyc_rows() -> Iterator[Rows]:
    with serving("rpyc", RPYC) as port:
        if port is None:
            yield {}
            return
        import rpyc  # type: ignore[import-not-found,unused-ignore]  # a peer, which need not be installed

        connection = rpyc.connect("localhost", port)
        peer, buffered = connection.root, rpyc.buffiter
        few = ITEMS // SLOW
        yield {
            "rpyc, an iterated generator": (lambda: exhausted(peer.numbers(few)), few, 0),
            "rpyc, buffiter()": (lambda: exhausted(buffered(peer.numbers(ITEMS), CHUNK)), ITEMS, 0),
            f"rpyc, {KIB}": (lambda: exhausted(peer.blobs(BLOBS)), BLOBS, SIZE),
        }
        connection.close()


@contextmanager
def grpc_rows() -> Iterator[Rows]:
    with serving("grpc", GRPC) as port:
        if port is None:
            yield {}
            return
        import grpc  # type: ignore[import-not-found,import-untyped,unused-ignore]  # a peer, which need not be installed

        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            numbers = channel.unary_stream("/svc/numbers")
            blobs = channel.unary_stream("/svc/blobs")
            yield {
                "gRPC, a stream of responses": (lambda: exhausted(numbers(b"%d" % ITEMS)), ITEMS, 0),
                f"gRPC, {KIB}": (lambda: exhausted(blobs(b"%d" % BLOBS)), BLOBS, SIZE),
            }


@contextmanager
def service() -> Iterator[str]:
    """A directory with the module that is called."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "svc.py").write_text(SERVICE)
        yield directory


async def measure(bridge: ProcessBridge, peers: Rows) -> None:
    """Print the rows of lastgood, and of the peers."""

    def stream(function: str, count: int) -> Run:
        return lambda: read(bridge.stream("svc", function, [count], {}))

    rows: Rows = {
        "a list of the items, by one call": (lambda: bridge.call("svc", "listed", [ITEMS], {}), ITEMS, 0),
        "a stream, plain generator": (stream("numbers", ITEMS), ITEMS, 0),
        "a stream, async generator": (stream("numbers_async", ITEMS), ITEMS, 0),
        "tokens, a turn of the loop between two": (stream("tokens", TOKENS), TOKENS, 0),
        f"a list, {KIB}": (lambda: bridge.call("svc", "listed_blobs", [BLOBS], {}), BLOBS, SIZE),
        f"a stream, {KIB}": (stream("blobs", BLOBS), BLOBS, SIZE),
        **peers,
    }
    times: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(ROUNDS):
        for name, (run, _count, _size) in rows.items():
            times[name].append(await timed(run))
    for name, (_, count, size) in rows.items():
        seconds = statistics.median(times[name])
        rate = f"{count * size / seconds / 1e6:8,.0f} MB/s" if size else ""
        print(f"{name:42} {seconds / count * 1e6:9.2f} µs/item {count / seconds:10,.0f} items/s {rate}")


async def measure_memory(bridge: ProcessBridge) -> None:
    """Print the resident memory of app and worker at some items of one stream."""
    app, worker = os.getpid(), bridge.pid or 0
    count = 0
    async for _item in bridge.stream("svc", "numbers", [READINGS[-1]], {}):
        count += 1
        if count in READINGS:
            print(f"at {count:10,} items: app {memory(app):9,} KiB, worker {memory(worker):9,} KiB", flush=True)


async def main(*, only_memory: bool) -> None:
    with service() as directory:
        bridge = ProcessBridge(import_path=[directory], modules=["svc"], timeout=600)
        await bridge.init()
        try:
            if only_memory:
                await measure_memory(bridge)
            else:
                with rpyc_rows() as of_rpyc, grpc_rows() as of_grpc:
                    await measure(bridge, of_rpyc | of_grpc)
        finally:
            await bridge.dispose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", action="store_true", help="measure memory instead of time")
    trio.run(lambda: main(only_memory=parser.parse_args().memory))
