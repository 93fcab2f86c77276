"""Sessions in which a cycle hangs, and an edit supersedes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from lastgood.config import Config
from lastgood.interpreters.trio_interpreter import TrioInterpreter
from lastgood.session.watch import WatchProgram, watch
from lastgood.watch_events import ReloadStart, Superseded
from lastgood.wrappers import Generated
from real_project import DEADLINE, FakeFactory, Pause, RealProject, Told, hold_promote, quote

HANGS = "import pathlib, signal\npathlib.Path({flag!r}).touch()\nsignal.pause()\n"


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> trio.Event:
    """Set when an action is interrupted."""
    event, stop_stage = trio.Event(), TrioInterpreter.stop_stage

    def stop(self: TrioInterpreter) -> None:
        event.set()
        stop_stage(self)

    monkeypatch.setattr(TrioInterpreter, "stop_stage", stop)
    return event


@pytest.mark.parametrize("point", ["generate", "plain generate", "promote", "create", "init", "probe"])
async def test_wherever_a_cycle_hangs_it_is_undone_and_the_next_has_its_edits(
    point: str,
    project: RealProject,
    start: Callable[..., WatchProgram],
    factory: FakeFactory,
    told: Told,
    interrupted: trio.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    holding: list[Pause] = []

    def generate_plain(config: Config, stage: Path) -> Generated:
        (stage / "pricing.py").write_text(config.path.with_name("pricing.py").read_text())
        while holding:
            holding.pop().here_in_thread()
        return Generated(("pricing.py",))

    async def generate(config: Config, stage: Path) -> Generated:
        generated = await trio.to_thread.run_sync(generate_plain, config, stage)
        await factory.pass_by("generate")
        return generated

    is_plain = point == "plain generate"
    with trio.fail_after(DEADLINE):
        async with start(generate=generate_plain if is_plain else generate, supersede_after=0) as session:
            before, live = project.exact_tree(), session.bridge
            if point == "promote":
                pause = hold_promote(monkeypatch)
            elif is_plain:
                pause = Pause()
                holding.append(pause)
            else:
                pause = factory.pause(point)
            project.save("pricing.py", quote(2))
            await pause.reached.wait()
            project.save("pricing.py", quote(3))
            await interrupted.wait()
            pause.go()  # a thread cannot be stopped, and is waited for
            superseded = await told.next(Superseded)
            assert (superseded.cycle, superseded.changed) == (2, (project.root / "pricing.py",))
            assert project.exact_tree() == before
            assert session.bridge is live
            assert not session.status.stale
            success = await told.success()
            assert (success.generation, success.changed) == (2, (project.root / "pricing.py",))
            assert project.tree()["pricing.py"].decode() == quote(3)
            assert all(bridge.disposed for bridge in factory.bridges[:-1])
            assert session.bridge is factory.latest


@pytest.mark.parametrize("cycle", [1, 2])
async def test_a_source_that_hangs_at_its_import_does_not_hold_up_its_repair(
    cycle: int, project: RealProject, told: Told
) -> None:
    imported = project.root / "imported"
    hangs = HANGS.format(flag=str(imported))

    async def repair() -> None:
        while not imported.exists():  # noqa: ASYNC110 - another process makes the file
            await trio.sleep(0.001)
        project.save("pricing.py", quote(cycle))

    if cycle == 1:
        project.save("pricing.py", hangs)
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(repair)
            async with watch(project.config_file, on_event=told, debounce=0.01, supersede_after=0) as session:
                if cycle == 2:
                    project.save("pricing.py", hangs)
                assert (await told.next(Superseded)).cycle == cycle
                while (await told.next(ReloadStart)).cycle <= cycle:
                    pass
                assert (await told.success()).generation == cycle
                assert await session.handle.call("pricing", "quote", ("x",), {}) == cycle + 0.5
