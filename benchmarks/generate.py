"""What generating wrappers costs, in projects of 10, 100 and 1,000 modules of some 200 lines: one run, ratios printed.

    python benchmarks/generate.py [MODULES ...]

Wrappers are made in a process of their own, as in every app; what is measured is what the app waits for. *Anew*: nothing is
known. *From the cache*: the process has just started, and finds everything on disk. *One edited*: all but one module is as it
was, rounds in the smallest project and in the others alternate, and a ratio is the median over the rounds. The floor is what
parsing, compiling and outlining the edited module once takes. *Longest hold* is how long the event loop of the app did not
come round meanwhile.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import trio

from lastgood.sources.parsing import read
from lastgood.wrappers import ModuleSource, Wrapped
from lastgood.wrappers.process.extractor_process import ExtractorProcess
from lastgood.wrappers.read.outline import outline

ROUNDS = 25

MODELS = b"""\
from dataclasses import dataclass

@dataclass
class Price:
    amount: float
    currency: str = "EUR"
"""

FUNCTION = '''
def function_{index}(sku: str, quantity: int = {version}, *, prices: list[Price] | None = None, note: str = "") -> dict[str, float]:
    """What function {index} of module {number} does.

    It takes a while to say.
    """
    total = 0.0
    for price in prices or ():
        total += price.amount * quantity
    return {{sku: total}}
'''


def module(number: int, version: int = 1) -> ModuleSource:
    """One module of 200 lines, of which ``version`` is a part."""
    functions = (FUNCTION.format(index=index, number=number, version=0 if index else version) for index in range(18))
    text = "from __future__ import annotations\n\nfrom shop.models import Price\n" + "".join(functions)
    name, data = f"shop.m{number}", text.encode()
    return ModuleSource(name, Path(f"/project/shop/m{number}.py"), data, False, digest=hashlib.sha256(data).hexdigest())


class Project:
    """``count`` modules, of which one is edited, and the process that wraps them."""

    def __init__(self, count: int, directory: Path) -> None:
        directory.mkdir()
        self.directory = directory
        self.extractor = ExtractorProcess()
        self.modules = [module(number) for number in range(count)]
        digest = hashlib.sha256(MODELS).hexdigest()
        models = ModuleSource("shop.models", Path("/project/shop/models.py"), MODELS, False, digest=digest)
        self.found: Mapping[str, ModuleSource] = {models.name: models}
        self.version = 1

    def wrap(self) -> tuple[float, Wrapped]:
        """Milliseconds, and what was made."""
        start = time.perf_counter()
        made = self.extractor.wrap(self.modules, self.found, "async")
        return (time.perf_counter() - start) * 1000, made

    def start(self) -> float:
        """Milliseconds to wrap everything in a process that has just been started."""
        self.extractor.end()
        self.extractor.use(self.directory, read_only=False)
        self.extractor.start()
        self.extractor.imports_of(b"import os")  # it is up
        took, made = self.wrap()
        assert not made.failures, made.failures
        return took

    def edit(self) -> float:
        """Milliseconds to wrap everything after an edit of one module."""
        self.version += 1
        self.modules[0] = module(0, self.version)
        took, made = self.wrap()
        assert f"quantity: int = {self.version}".encode() in made.files["shop/m0.py"]
        return took


def floor() -> float:
    """Milliseconds to parse, compile and outline the edited module, and no more."""
    source = module(0)
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        tree = read(source)
        assert isinstance(tree, ast.Module)
        outline(source, tree)
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


async def longest_hold(project: Project) -> float:
    """Milliseconds for which the event loop did not come round while everything was wrapped in a thread, at the most."""
    holds: list[float] = []

    async def heartbeat() -> None:
        while True:
            before = time.perf_counter()
            await trio.sleep(0.001)
            holds.append((time.perf_counter() - before - 0.001) * 1000)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(heartbeat)
        await trio.to_thread.run_sync(project.start)
        for _ in range(5):
            await trio.to_thread.run_sync(project.edit)
        nursery.cancel_scope.cancel()
    return max(holds)


def main(counts: list[int]) -> None:
    """Print the table."""
    base = floor()
    print(f"parse, compile and outline one module, the floor: {base:.1f} ms")
    print(
        f"{'modules':>8}{'anew':>12}{'from the cache':>17}{'one edited':>13}{'x floor':>9}{'x smallest':>12}{'longest hold':>15}"
    )
    with tempfile.TemporaryDirectory() as directory:
        projects = [Project(count, Path(directory, str(count))) for count in counts]
        anew = [project.start() for project in projects]
        cached = [project.start() for project in projects]
        edits: list[list[float]] = [[] for _ in projects]
        gc.collect()
        for _ in range(ROUNDS):
            for project, times in zip(projects, edits, strict=True):
                times.append(project.edit())
        for place, project in enumerate(projects):
            ratio = statistics.median(one / other for one, other in zip(edits[place], edits[0], strict=True))
            edited = statistics.median(edits[place])
            hold = trio.run(longest_hold, project)
            print(
                f"{len(project.modules):>8}{anew[place]:>9.0f} ms{cached[place]:>14.0f} ms{edited:>10.1f} ms"
                f"{edited / base:>9.2f}{ratio:>12.2f}{hold:>12.1f} ms",
                flush=True,
            )
            project.extractor.end()


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [10, 100, 1000])
