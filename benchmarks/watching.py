"""What watching costs: a package of 20,000 directories with a file in each, beside a small one.

``python benchmarks/watching.py [DIRECTORIES]``. Prints, for each size: how long it takes to arm and to read for the first time,
how long a later reading takes, the processor time of ten idle seconds, the memory, and save -> change.
"""

from __future__ import annotations

import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import trio

from lastgood import watch

IDLE_SECONDS = 10.0

CONFIG = 'python_import_path = ["src"]\n[modules.big]\n[output]\ndir = "generated"\n'


class Bridge:
    """Carries nothing."""

    async def call(self, module: str, function: str, args: object, kwargs: object) -> None:
        """Unused."""

    async def dispose(self) -> None:
        """Nothing to let go of."""


def build(top: Path, directories: int) -> None:
    """A package whose subpackages lie in two levels."""
    package = top / "src" / "big"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("def answer() -> int:\n    return 42\n")
    (top / "lastgood.toml").write_text(CONFIG)
    for number in range(directories):
        directory = package / f"d{number // 100}" / f"e{number % 100}"
        directory.mkdir(parents=True)
        (directory / "data.txt").write_text(f"{number}\n")


async def measure(top: Path, directories: int) -> None:
    """One session, from its start to one edit."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    async with watch(top / "lastgood.toml", create_bridge=lambda _config: Bridge(), set_as_global=False) as session:
        start = time.perf_counter() - started
        await trio.sleep(3)  # what was written just now is read again for two seconds
        cpu = time.process_time()
        await trio.sleep(IDLE_SECONDS)
        idle = (time.process_time() - cpu) / IDLE_SECONDS
        saves = []
        stream = session.events()
        for number in range(5):
            saved = time.perf_counter()
            (top / "src/big/__init__.py").write_text(f"def answer() -> int:\n    return {number}\n")
            async for event in stream:
                if event.type == "change":
                    saves.append(time.perf_counter() - saved)
                if event.type == "reload-success":
                    break
        reload = time.perf_counter()
        await session.reload_now()
        reload = time.perf_counter() - reload
        closing = time.perf_counter()
    closing = time.perf_counter() - closing
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(
        f"{directories:>6} directories: start {start * 1e3:7.0f} ms, idle {idle * 100:5.2f} % of a core, "
        f"save -> change {sorted(saves)[2] * 1e3:6.1f} ms, reload_now() {reload * 1e3:6.0f} ms, "
        f"close {closing * 1e3:5.0f} ms, memory +{memory / 1024:.0f} MiB"
    )


def main() -> None:
    """Small, then big."""
    big = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    for directories in (10, big):
        top = Path(tempfile.mkdtemp(dir=Path.cwd()))
        try:
            build(top, directories)
            trio.run(measure, top, directories)
        finally:
            shutil.rmtree(top)


if __name__ == "__main__":
    main()
