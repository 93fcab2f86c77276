"""What a promotion costs: 1,000 changed files of 1.5 KB, journaled and durable, beside the same writes with neither.

``python benchmarks/promotion.py [FILES]``. Prints medians of several rounds, and ratios; the machine's noise cancels in those.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lastgood.store.disk import Disk
from lastgood.store.file_system import digest_of
from lastgood.store.header import with_header
from lastgood.store.output_directory import OutputDirectory
from lastgood.store.promotion import Promoting
from lastgood.store.trees import make_directories, staged_place

ROUNDS = 7


def texts(count: int, mark: int) -> dict[str, bytes]:
    """``count`` wrappers in ten directories, which differ from one ``mark`` to the next."""
    body = "\n".join(f"# {mark} {'x' * 70}" for _ in range(19))
    return {f"d{number % 10}/m{number}.py": with_header(f"m{number}", body) for number in range(count)}


def fill(stage: Path, files: dict[str, bytes]) -> None:
    """Write a stage; its cost is in neither measurement."""
    for name, data in files.items():
        make_directories(Disk(), (stage / name).parent)
        (stage / name).write_bytes(data)


def plain(top: Path, count: int, mark: int) -> float:
    """The floor: read what is there, rename each staged file over its old one; no journal, no backup, no flush."""
    stage, output = top / f"stage{mark}", top / "plain"
    files = texts(count, mark)
    fill(stage, files)
    started = time.perf_counter()
    for name in files:
        target = output / name
        os.makedirs(target.parent, exist_ok=True)
        if not target.exists() or target.read_bytes() != (stage / name).read_bytes():
            os.replace(stage / name, target)
    return time.perf_counter() - started


def fsynced(top: Path, count: int, mark: int) -> float:
    """What is usually done to be safe: write, fsync and rename each file by itself."""
    output = top / "fsynced"
    files = texts(count, mark)
    fill(output, {} if output.exists() else files)
    started = time.perf_counter()
    for name, data in files.items():
        fresh = output / f"{name}.new"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT, 0o666)
        os.write(descriptor, data)
        os.fsync(descriptor)
        os.close(descriptor)
        os.replace(fresh, output / name)
    return time.perf_counter() - started


def journaled(top: Path, count: int, mark: int) -> float:
    """A promotion as a cycle does it, up to and with the commit."""
    output = OutputDirectory.claim(Disk(), top / "journaled", os.getpid())
    stage = output.home / f"stage-{mark}"
    files = texts(count, mark)
    fill(stage, {str(staged_place(Path(), name)): data for name, data in files.items()})
    started = time.perf_counter()
    promoting = Promoting(output, stage, {name: digest_of(data) for name, data in files.items()})
    promoting.apply()
    promoting.commit()
    took = time.perf_counter() - started
    promoting.sweep()
    output.release()
    assert len(promoting.promotion.touched) == count
    return took


def main() -> None:
    """Measure the three in turn, in one run."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    ways: dict[str, Callable[[Path, int, int], float]] = {"plain": plain, "fsynced": fsynced, "journaled": journaled}
    took: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        for mark in range(ROUNDS):
            for name, way in ways.items():
                os.sync()
                took[name].append(way(Path(directory), count, mark))
    floor = statistics.median(took["plain"][1:])
    for name, times in took.items():
        median = statistics.median(times[1:])
        print(f"{name:<10} {median * 1e3:8.1f} ms   {median / floor:5.2f} x plain")


if __name__ == "__main__":
    main()
