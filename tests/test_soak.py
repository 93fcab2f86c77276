"""A session that has lived through many cycles, good and bad, holds no more than one that has lived through few."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from holdings import Held, at_rest_with
from lastgood.bridges.process import ProcessBridge
from lastgood.config import Config
from lastgood.errors import ConfigError, GenerationError, RemoteError, UnmanagedFile
from lastgood.session.session import Session
from lastgood.session.watch import watch
from real_project import BROKEN, DEADLINE, QUOTE, RealProject


@dataclass
class Soaked:
    """A project under a session with real workers, and what can go wrong with it in a cycle."""

    project: RealProject
    cycle: int = 0
    fault: str = ""
    made: int = 0

    async def create_bridge(self, config: Config) -> ProcessBridge:
        if self.fault == "create":
            raise ArithmeticError(self.fault)
        self.made += 1
        process = replace(config.runtime.process, spare=True)
        return ProcessBridge.from_config(replace(config, runtime=replace(config.runtime, process=process)))

    async def probe(self, bridge: ProcessBridge) -> None:
        assert await bridge.call("pricing", "quote", ["x"], {}) == self.cycle
        if self.fault == "probe":
            raise ArithmeticError(self.fault)

    def save(self, text: str = "") -> None:
        self.project.save("pricing.py", text or QUOTE.replace("1.0", f"{self.cycle}.0"))

    # --- cycles

    async def good(self, session: Session) -> None:
        self.save()
        assert await session.reload_now()
        assert await session.handle.call("pricing", "quote", ["x"], {}) == self.cycle

    async def another_shape(self, session: Session) -> None:
        """The wrappers differ, too; one comes or goes."""
        self.save(QUOTE.replace("1.0", f"{self.cycle}.0").replace("sku", f"sku{self.cycle}"))
        self.project.save("stock.py", QUOTE)
        self.project.configure("pricing", *["stock"] * (self.cycle % 2))
        assert await session.reload_now()
        assert await session.handle.call("pricing", "quote", ["x"], {}) == self.cycle

    async def broken_source(self, session: Session) -> None:
        self.save(BROKEN + "\n" * self.cycle)
        await self.fails(session, GenerationError)

    async def broken_import(self, session: Session) -> None:
        self.save(f"raise ValueError({self.cycle})\n")
        await self.fails(session, RemoteError)

    async def broken_config(self, session: Session) -> None:
        self.project.save("lastgood.toml", f"cycle = {self.cycle}\n")
        await self.fails(session, ConfigError)
        self.project.configure("pricing")

    async def broken_factory(self, session: Session) -> None:
        await self.faulty(session, "create")

    async def broken_probe(self, session: Session) -> None:
        await self.faulty(session, "probe")

    async def somebody_in_the_way(self, session: Session) -> None:
        self.save()
        self.project.save("intruder.py", QUOTE)
        (self.project.output / "intruder.py").write_text("mine\n")
        self.project.configure("pricing", "intruder")
        await self.fails(session, UnmanagedFile)
        (self.project.output / "intruder.py").unlink()
        self.project.configure("pricing")

    async def faulty(self, session: Session, fault: str) -> None:
        self.save()
        self.fault = fault
        await self.fails(session, ArithmeticError)
        self.fault = ""

    async def fails(self, session: Session, error: type[Exception]) -> None:
        assert not await session.reload_now()
        assert type(session.status.error) is error, session.status

    def kinds(self) -> list[Callable[[Session], Awaitable[None]]]:
        bad = [self.broken_source, self.broken_import, self.broken_config, self.broken_factory, self.broken_probe]
        return [self.good, *bad[:2], self.another_shape, *bad[2:], self.somebody_in_the_way]


@pytest.mark.apart
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="what a process holds is read from /proc")
@pytest.mark.parametrize(("settled", "cycles"), [(16, 40), pytest.param(200, 1000, marks=pytest.mark.torture)])
async def test_many_cycles_hold_no_more_than_few(
    settled: int, cycles: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    request.addfinalizer(lambda: logging.disable(logging.NOTSET))
    logging.disable(logging.CRITICAL)  # pytest keeps every record
    project = RealProject(tmp_path / "project")
    soaked = Soaked(project)
    soaked.save()
    at_rest = Held.now(project)
    async with watch(
        project.config_file, create_bridge=soaked.create_bridge, probe=soaked.probe, debounce=0.01
    ) as session:
        kinds = soaked.kinds()
        for soaked.cycle in range(1, cycles + 1):
            with trio.fail_after(DEADLINE):
                await kinds[soaked.cycle % len(kinds)](session)
            if soaked.cycle == settled:
                early = await at_rest_with(session, project, most=1000)
        # A leak would be one a cycle.
        late = await at_rest_with(session, project, most=early.descriptors + 2, most_kept=early.kept)
        assert session.generation >= cycles // len(kinds) * 2
    print(f"after {settled} cycles: {early}; after {cycles}: {late}")
    assert late.temporary == early.temporary == 0
    assert late.threads <= early.threads + 2  # trio keeps idle ones for a while
    assert late.kept <= early.kept
    assert late.blocks - early.blocks < 20 * (cycles - settled) + 1000
    assert os.listdir(scratch) == []
    with trio.fail_after(DEADLINE):
        # The system's notifier has a thread of its own, which lets go of its descriptors a moment after it was told to.
        while Held.now(project).descriptors > at_rest.descriptors:
            await trio.to_thread.run_sync(os.sched_yield)
    assert Held.now(project).children == 0


def resident(pid: int) -> int:
    """Kilobytes of memory of a process."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1])


@pytest.mark.apart
@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="what a process holds is read from /proc")
async def test_two_thousand_reloads_and_a_million_calls_hold_no_more(tmp_path: Path) -> None:
    project = RealProject(tmp_path / "project")
    soaked = Soaked(project)
    soaked.save()

    async def call(session: Session, times: int) -> None:
        for _ in range(times):
            await session.handle.call("pricing", "quote", ["x"], {})

    async def calls(session: Session, times: int) -> tuple[int, int]:
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(call, session, times // 8)
        return resident(os.getpid()), resident(session.bridge.pids[0])

    held: list[Held] = []
    async with watch(project.config_file, on_event=lambda _: None) as session:
        for soaked.cycle in range(1, 2001):
            soaked.save()
            assert await session.settle()
            if soaked.cycle in (200, 2000):
                held.append(await at_rest_with(session, project, most=1000 if not held else held[0].descriptors + 2))
        early, late = held
        memory = [await calls(session, 100_000), await calls(session, 900_000)]
        assert await at_rest_with(session, project, most=late.descriptors + 2)
    print(f"after 200: {early}; after 2,000: {late}; kB of app and worker after 100,000 and 1,000,000 calls: {memory}")
    assert late.temporary <= early.temporary
    assert late.threads <= early.threads + 2
    assert late.kept <= early.kept
    assert late.blocks - early.blocks < 5 * 1800 + 1000
    assert all(after - before < 2000 for before, after in zip(*memory, strict=True))
