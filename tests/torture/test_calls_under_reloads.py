"""Callers that never pause, while generations come, fail and go: no call fails, and none runs on what was never good."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import trio

from holdings import Held, at_rest_with
from lastgood.session.watch import watch
from real_project import BROKEN, DEADLINE, RealProject

SOURCE = """\
import time

def version() -> int:
    return {version}

def slow(seconds: float) -> int:
    time.sleep(seconds)
    return {version}

async def slow_async(seconds: float) -> int:
    import asyncio
    await asyncio.sleep(seconds)
    return {version}
"""
CALLERS = 8


@pytest.mark.apart
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="what a process holds is read from /proc")
@pytest.mark.parametrize("reloads", [6, pytest.param(200, marks=pytest.mark.torture)])
async def test_no_call_fails_however_often_it_is_reloaded(reloads: int, tmp_path: Path) -> None:
    project = RealProject(tmp_path, {"pricing.py": SOURCE.format(version=0)})
    project.save("lastgood.toml", project.config_file.read_text() + "[runtime.process]\nthreads = 8\n")
    die = Random(7)
    good = [0]  # what may be live by now
    live = 0  # what certainly is, or something later
    over = False
    calls = [0] * CALLERS
    called = trio.Condition()
    may_call = trio.Event()
    may_call.set()

    async def keep_calling(number: int) -> None:
        mine = Random(number)
        while not over:
            await may_call.wait()
            oldest = live
            function = mine.choice(["version", "version", "version", "slow", "slow_async"])
            # Some take longer than a cycle does.
            args = [] if function == "version" else [mine.choice([0.001, 0.02, 0.2])]
            seen = await session.handle.call("pricing", function, args)
            assert seen in good, "a generation that was never live"
            assert seen >= oldest, "an older one than was live when the call began"
            calls[number] += 1
            async with called:
                called.notify_all()

    async def everybody_has_called_since(before: list[int]) -> None:
        """At most two bridges may drain at once: calls that began two reloads ago must have ended."""
        async with called:
            while any(now == then for now, then in zip(calls, before, strict=True)):
                await called.wait()

    async def held_at_rest(most: int = 1000) -> Held:
        nonlocal may_call
        may_call = trio.Event()
        with trio.fail_after(DEADLINE):
            while session.status.calls:  # noqa: ASYNC110 - it can only be asked
                await trio.sleep(0.001)
        held = await at_rest_with(session, project, most)
        may_call.set()
        return held

    async with (
        watch(project.config_file, debounce=0.01, drain_timeout=DEADLINE) as session,
        trio.open_nursery() as nursery,
    ):
        for number in range(CALLERS):
            nursery.start_soon(keep_calling, number)
        for version in range(1, reloads + 1):
            with trio.fail_after(DEADLINE):
                fails = die.random() < 0.3
                broken = die.choice([BROKEN, SOURCE.format(version=version) + "1 / 0\n"])
                project.save("pricing.py", broken if fails else SOURCE.format(version=version))
                if not fails:
                    good.append(version)  # it may be live from now on
                assert await session.reload_now() is not fails
                live = good[-1]
                await everybody_has_called_since([*calls])
            if version == reloads // 4:
                early = await held_at_rest()
        late = await held_at_rest(early.descriptors + 2)
        over = True
    assert min(calls) >= reloads
    print(f"after {reloads // 4} reloads: {early}; after {reloads}: {late}")
    assert late.threads <= early.threads + 2  # trio keeps idle ones for a while
    assert late.kept <= early.kept + 50
    assert late.blocks - early.blocks < 20 * reloads + 1000
