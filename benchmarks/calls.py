"""What a call costs: one run, ratios printed. ``python benchmarks/calls.py [INTERPRETER OF THE WORKER]``

Times on a shared machine wander, so each row is measured in rounds that alternate with the floor, and the medians of the
rounds are compared. The floor is the least that any two processes need: a byte sent through a raw pipe and one back.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable

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

def numbers():
    return [i + 0.5 for i in range(1_000_000)]
"""

PONG = "import os\nwhile data := os.read(0, 64): os.write(1, data)"


class Floor:
    """A raw ping-pong through two pipes, with no event loop on either side."""

    def __init__(self) -> None:
        self._pong = subprocess.Popen([sys.executable, "-c", PONG], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._pong.stdin is not None
        assert self._pong.stdout is not None
        self._to, self._from = self._pong.stdin.fileno(), self._pong.stdout.fileno()

    def round(self) -> float:
        """Microseconds for one exchange."""
        start = time.perf_counter()
        for _ in range(CALLS):
            os.write(self._to, b"x" * 30)
            os.read(self._from, 64)
        return (time.perf_counter() - start) / CALLS * 1e6

    def close(self) -> None:
        """End the other process."""
        self._pong.communicate()


async def timed(run: Callable[[], Awaitable[object]], times: int = 1) -> float:
    """Microseconds for one of ``times`` runs."""
    start = time.perf_counter()
    for _ in range(times):
        await run()
    return (time.perf_counter() - start) / times * 1e6


async def main(python: str | None) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory:
        await trio.Path(directory, "service.py").write_text(SERVICE)
        bridge = ProcessBridge(python, import_path=[directory], modules=["service"])
        started = await timed(bridge.init)
        floor = Floor()

        async def echo() -> None:
            await bridge.call("service", "echo", [1], {})

        async def at_once() -> None:
            async def caller() -> None:
                for _ in range(10):
                    await echo()

            async with trio.open_nursery() as nursery:
                for _ in range(AT_ONCE):
                    nursery.start_soon(caller)

        await timed(echo, CALLS)
        floors, calls, many = [], [], []
        for _ in range(ROUNDS):
            floors.append(floor.round())
            calls.append(await timed(echo, CALLS))
            many.append(await timed(at_once) / (AT_ONCE * 10))
        base = statistics.median(floors)
        print(f"{'raw pipe ping-pong (the floor)':42} {base:10.1f} µs")
        for name, times in (("small call", calls), (f"small call, {AT_ONCE} at once", many)):
            print(f"{name:42} {statistics.median(times):10.1f} µs   {statistics.median(times) / base:6.1f} × the floor")

        blob, floats = bytes(10_000_000), [i + 0.5 for i in range(1_000_000)]
        large: dict[str, Callable[[], Awaitable[object]]] = {
            "10 MB of bytes, sent": lambda: bridge.call("service", "size", [blob], {}),
            "10 MB of bytes, sent and returned": lambda: bridge.call("service", "echo", [blob], {}),
            "1e6 floats, sent": lambda: bridge.call("service", "size", [floats], {}),
            "1e6 floats, sent and returned": lambda: bridge.call("service", "echo", [floats], {}),
        }
        for name, run in large.items():
            times = [await timed(run) for _ in range(7)]
            print(f"{name:42} {statistics.median(times) / 1e3:10.1f} ms")
        print(f"{'init(), to a worker that is ready':42} {started / 1e3:10.1f} ms")
        print(f"{'dispose()':42} {await timed(bridge.dispose) / 1e3:10.1f} ms")
        floor.close()


if __name__ == "__main__":
    trio.run(main, sys.argv[1] if len(sys.argv) > 1 else None)
