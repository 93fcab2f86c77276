"""From a save to the swap, beside a bare interpreter and beside a reloader that stops and starts: one run, ratios printed.

    python benchmarks/reload.py

The floor is a bare interpreter that starts and imports the edited module. The other reloader is ``watchfiles.run_process``,
from the save to the moment its new process has imported that module. Rounds of the three alternate, and times are medians:
on a shared machine read them as ratios. Ours end at the swap, when calls go to the new worker; what comes after it, letting
go of the old one, is taken off, and so is the debounce. Modules are of the standard library only, or import
pandas (numpy, where that is missing). The stall is the longest time for which the app's event loop did not come round.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import trio

from lastgood import ReloadSuccess, WatchEvent, watch

ROUNDS = 9
DEBOUNCE = 0.02
HEAVY = next((name for name in ("pandas", "numpy") if importlib.util.find_spec(name)), None)

SOURCE = """\
import json
import os
{imports}

def version() -> int:
    return {version}

with open(os.environ["BEGAN"], "a") as began:
    began.write("x")
"""


@dataclass
class Project:
    """``modules`` modules, of which ``m0`` is edited. Each import of it is noted in a file."""

    root: Path
    modules: int
    imports: str
    version: int = 0
    stalls: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        os.environ["BEGAN"] = str(self.root / "began")
        for number in range(self.modules):
            (self.root / f"m{number}.py").write_text(SOURCE.format(imports=self.imports, version=0))
        tables = "".join(f"[modules.m{number}]\n" for number in range(self.modules))
        (self.root / "lastgood.toml").write_text(f'{tables}[output]\ndir = "generated"\n')

    def save(self) -> None:
        """An edit of one module, by rename."""
        self.version += 1
        fresh = self.root / ".m0.py.swp"
        fresh.write_text(SOURCE.format(imports=self.imports, version=self.version))
        fresh.replace(self.root / "m0.py")

    def began(self) -> int:
        """How often a module was imported."""
        file = self.root / "began"
        return file.stat().st_size if file.exists() else 0


def floor(project: Project) -> float:
    """Milliseconds for a bare interpreter to start and import the edited module."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import m0"], cwd=project.root, check=True)
    return (time.perf_counter() - start) * 1000


async def reloads(project: Project, between: Callable[[], None]) -> list[float]:
    """Milliseconds from a save to the swap, without the debounce, in each round."""
    swapped: list[float] = []
    news = trio.Event()

    def on_event(event: WatchEvent) -> None:
        nonlocal news
        if isinstance(event, ReloadSuccess):
            after = event.timings.get("dispose", 0.0) + event.timings["watch"]
            swapped.append(time.perf_counter() - after)
            news.set()
            news = trio.Event()

    async def heartbeat(until: trio.Event) -> None:
        while not until.is_set():
            before = time.perf_counter()
            await trio.sleep(0.001)
            if not until.is_set():
                project.stalls.append((time.perf_counter() - before - 0.001) * 1000)

    times = []
    async with (
        watch(project.root / "lastgood.toml", on_event=on_event, debounce=DEBOUNCE) as session,
        trio.open_nursery() as nursery,
    ):
        for _ in range(ROUNDS):
            between()
            await trio.sleep(1.0)  # as between the edits of a person
            nursery.start_soon(heartbeat, news)
            start, wait = time.perf_counter(), news.wait()
            project.save()
            await wait
            times.append((swapped[-1] - start - DEBOUNCE) * 1000)
            assert await session.handle.call("m0", "version") == project.version
    return times


def idle(project_root: str, began: str) -> None:
    """What the stop-and-start reloader runs."""
    os.environ["BEGAN"] = began
    sys.path.insert(0, project_root)
    import m0  # type: ignore[import-not-found]  # the benchmark's own module, made on the fly

    while True:
        time.sleep(m0.version() * 0 + 10)


def stop_and_start(project: Project) -> list[float]:
    """Milliseconds from a save to the end of the import in the process that run_process has started anew."""
    code = (
        "import sys; sys.path[:0] = [sys.argv[3]]; import reload, watchfiles\n"
        "watchfiles.run_process(sys.argv[1], target=reload.idle, args=(sys.argv[1], sys.argv[2]), debounce=20, step=5)"
    )
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", code, str(project.root), os.environ["BEGAN"], here]
    times = []
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as reloader:
        _until(lambda: project.began() > 0)
        for _ in range(ROUNDS):
            time.sleep(1.0)
            before, start = project.began(), time.perf_counter()
            project.save()
            _until(lambda before=before: project.began() > before)  # type: ignore[misc]  # of a lambda with a default
            times.append((time.perf_counter() - start - 0.02) * 1000)
        reloader.terminate()
        threading.Timer(5, reloader.kill).start()
    return times


def _until(condition: Callable[[], bool]) -> None:
    end = time.perf_counter() + 30
    while not condition():
        if time.perf_counter() > end:
            raise TimeoutError("the reloader did not start its process")
        time.sleep(0.0005)


def main() -> None:
    """Print the table."""
    print(f"{'':34}{'ms':>9}{'x floor':>9}{'x one':>8}{'longest stall':>16}")
    kinds = [("stdlib", "import decimal, argparse")] + ([(HEAVY, f"import {HEAVY}")] if HEAVY else [])
    for kind, imports in kinds:
        one = 0.0
        for modules in (1, 10, 100) if kind == "stdlib" else (1,):
            with tempfile.TemporaryDirectory() as directory:
                project = Project(Path(directory), modules, imports)
                floors: list[float] = []
                times = trio.run(reloads, project, lambda: floors.append(floor(project)))  # noqa: B023 - run at once
                ours, bare = statistics.median(times), statistics.median(floors)
                one = one or ours
                if modules == 1:
                    print(f"{kind}: bare interpreter, import{bare:{34 - len(kind) - 25 + 9}.1f}{1:>9.1f}")
                print(
                    f"{f'{kind}: save to swap, {modules} modules':34}{ours:>9.1f}{ours / bare:>9.2f}{ours / one:>8.2f}"
                    f"{max(project.stalls):>13.1f} ms"
                )
        with tempfile.TemporaryDirectory() as directory:
            project = Project(Path(directory), 1, imports)
            theirs = statistics.median(stop_and_start(project))
            print(f"{f'{kind}: run_process, 1 module':34}{theirs:>9.1f}{theirs / bare:>9.2f}{theirs / one:>8.2f}")


if __name__ == "__main__":
    main()
