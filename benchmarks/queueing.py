"""What a long call does to short ones that are made beside it, by kind of function and by ``threads``.

    python benchmarks/queueing.py [INTERPRETER OF THE WORKER]

Eight callers make calls of a millisecond, one after the other, while one call of two seconds runs. "short, alone" is the median
of the short calls before it. "slowest short" is how long one of them waited beside it, and "short beside" is how many ended
within the two seconds. ``sleep`` waits as a database or a network does, ``compute`` keeps the interpreter busy.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time

import trio

from lastgood.bridges.process import ProcessBridge

CALLERS = 8
LONG = 2.0  # seconds
THREADS = 1, 2, 4, 16
LONGS = "sleep", "compute", "async_sleep", "async_compute"
SHORTS = "sleep", "async_sleep"

SERVICE = """
import asyncio
import time

def sleep(seconds):
    time.sleep(seconds)

def compute(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass

async def async_sleep(seconds):
    await asyncio.sleep(seconds)

async def async_compute(seconds):
    compute(seconds)
"""


async def play(bridge: ProcessBridge, long: str, short: str) -> tuple[float, float, int]:
    """Return the median of short calls alone, the slowest beside a long one (seconds), and how many ended beside it."""
    taken: list[tuple[float, float]] = []

    async def call_on() -> None:
        while True:
            begun = time.perf_counter()
            await bridge.call("service", short, [0.001], {})
            taken.append((begun, time.perf_counter()))

    async with trio.open_nursery() as nursery:
        for _ in range(CALLERS):
            nursery.start_soon(call_on)
        await trio.sleep(0.5)
        alone = statistics.median(end - begun for begun, end in taken)
        made = time.perf_counter()
        await bridge.call("service", long, [LONG], {})
        over = time.perf_counter()
        await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    beside = [(begun, end) for begun, end in taken if end > made]
    return alone, max(end - begun for begun, end in beside), sum(end < over for _, end in beside)


async def main(python: str | None) -> None:
    """Print a row for each combination."""
    print("threads  long           short        short, alone  slowest short  short beside")
    with tempfile.TemporaryDirectory() as directory:
        await trio.Path(directory, "service.py").write_text(SERVICE)
        for threads in THREADS:
            bridge = ProcessBridge(python, import_path=[directory], modules=["service"], threads=threads)
            await bridge.init()
            for long in LONGS:
                for short in SHORTS:
                    alone, slowest, ended = await play(bridge, long, short)
                    print(
                        f"{threads:7}  {long:13}  {short:11}  {alone * 1e3:9.1f} ms  {slowest * 1e3:10.1f} ms  {ended:12}"
                    )
            await bridge.dispose()


if __name__ == "__main__":
    trio.run(main, *(sys.argv[1:] or [None]))
