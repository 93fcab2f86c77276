"""What watching costs: a package of 20,000 directories with a file in each, beside a small one.

``python benchmarks/watching.py [DIRECTORIES]``. Prints, for each size: the floor, which is a bare walk of the tree by
``os.scandir`` and a bare start of the system's notification on it; how long a session takes to start, from a save to its
``Change``, and for another reading with a reload; the processor time of idle seconds, also where files are polled; by how much
a task of the app that comes round every millisecond was late while it computed nothing itself.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import trio
from watchfiles._rust_notify import RustNotify

from lastgood import watch
from lastgood.session.session import Session

IDLE_SECONDS = 10.0
SAVES = 7

CONFIG = 'python_import_path = ["src"]\n[modules.big]\n[output]\ndir = "generated"\n[watch]\n'
POLLED = 'poll = true\ninclude = ["data.txt"]\n'


class Bridge:
    """Carries nothing."""

    async def call(self, module: str, function: str, args: object, kwargs: object) -> None:
        """Unused."""

    async def dispose(self) -> None:
        """Nothing to let go of."""


class Lateness:
    """A task of the app's loop that comes round every millisecond. ``worst``: by how many seconds it was late, at most."""

    def __init__(self) -> None:
        self.worst = 0.0

    def reset(self) -> float:
        """Return the worst so far, and begin anew."""
        worst, self.worst = self.worst, 0.0
        return worst

    async def run(self) -> None:
        """Come round until cancelled."""
        while True:
            due = time.perf_counter() + 0.001
            await trio.sleep(0.001)
            self.worst = max(self.worst, time.perf_counter() - due)


def build(top: Path, directories: int) -> None:
    """A package whose subpackages lie in two levels."""
    package = top / "src" / "big"
    package.mkdir(parents=True)
    for name in ("__init__.py", "other.py"):
        save(package / name, "def answer() -> int:\n    return 42\n")
    (top / "lastgood.toml").write_text(CONFIG)
    for number in range(directories):
        directory = package / f"d{number // 100}" / f"e{number % 100}"
        directory.mkdir(parents=True)
        (directory / "data.txt").write_text(f"{number}\n")


def save(path: Path, text: str) -> None:
    """Save as editors do, by a rename."""
    fresh = path.with_name(f".{path.name}.swp")
    fresh.write_text(text)
    fresh.replace(path)


def walk(directory: str) -> None:
    """List the tree, and do nothing with it."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                walk(entry.path)


def floors(top: Path) -> tuple[float, float]:
    """Seconds for a walk of the tree, and for that and the system's notification."""
    started = time.perf_counter()
    walk(str(top / "src"))
    walked = time.perf_counter() - started
    notify = RustNotify([str(top / "src" / "big")], False, False, 300, True, False)
    both = time.perf_counter() - started
    notify.close()
    return walked, both


async def measure(top: Path, directories: int) -> None:
    """One session, from its start to some edits."""
    floors(top)  # what the disk has to fetch once is nobody's cost
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    late = Lateness()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(late.run)
        await trio.sleep(1)
        control = late.reset()
        walked, both = (statistics.median(each) for each in zip(*(floors(top) for _ in range(3)), strict=True))
        await trio.sleep(0.1)
        late.reset()
        computing, started = time.process_time(), time.perf_counter()
        async with watch(top / "lastgood.toml", create_bridge=lambda _config: Bridge(), set_as_global=False) as session:
            start, start_cpu = time.perf_counter() - started, time.process_time() - computing
            late_start = late.reset()
            await trio.sleep(3)  # what was written just now is read again for two seconds
            late.reset()
            saves, reload = await edit(top, session)
            late_saves = late.reset()
            closing = time.perf_counter()
        closing = time.perf_counter() - closing
        nursery.cancel_scope.cancel()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(
        f"{directories:>6} directories: walk {walked * 1e3:.0f} ms, with notification {both * 1e3:.0f} ms\n"
        f"       start {start * 1e3:.0f} ms ({start / both:.1f}x; processor {start_cpu * 1e3:.0f} ms), "
        f"save -> change {saves * 1e3:.1f} ms ({saves / walked:.1f}x the walk), reload_now() {reload * 1e3:.0f} ms, "
        f"close {closing * 1e3:.0f} ms, memory +{memory / 1024:.0f} MiB\n"
        f"       the loop was late by {late_start * 1e3:.0f} ms at the start, {late_saves * 1e3:.0f} ms after saves, "
        f"{control * 1e3:.0f} ms before"
    )


async def edit(top: Path, session: Session) -> tuple[float, float]:
    """Return the seconds from a save to its ``Change``, the median of some, and those of a ``reload_now()``."""
    saves = []
    stream = session.events()
    for number in range(SAVES):
        saved = time.perf_counter()
        # Two in turn: one file that changes again and again at this pace looks like one that the reloads themselves write.
        save(top / "src/big" / ("__init__.py", "other.py")[number % 2], f"def answer() -> int:\n    return {number}\n")
        async for event in stream:
            if event.type == "change":
                saves.append(time.perf_counter() - saved)
            if event.type == "reload-success":
                break
        await trio.sleep(1)  # the looks after a hint are over
    reload = time.perf_counter()
    await session.reload_now()
    return statistics.median(saves), time.perf_counter() - reload


async def idle(top: Path, text: str) -> None:
    """Print the processor time of idle seconds, with ``text`` in the config."""
    (top / "lastgood.toml").write_text(CONFIG + text)
    async with watch(top / "lastgood.toml", create_bridge=lambda _config: Bridge(), set_as_global=False):
        await trio.sleep(5)  # the looks at what is new are over
        cpu = time.process_time()
        await trio.sleep(IDLE_SECONDS)
        share = (time.process_time() - cpu) / IDLE_SECONDS
    print(f"       idle, {'polled, its files included' if text else 'notified'}: {share * 100:.2f} % of a core")


def main() -> None:
    """Small, then big."""
    big = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    for directories in (100, big):
        top = Path(tempfile.mkdtemp(dir=Path.cwd()))
        try:
            build(top, directories)
            trio.run(measure, top, directories)
            for text in ("", POLLED):
                trio.run(idle, top, text)
        finally:
            shutil.rmtree(top)


if __name__ == "__main__":
    main()
