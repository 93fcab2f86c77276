"""A stage has ``stage_timeout`` seconds: an error that names what it was at, the last good generation, and the next edit is tried.

The tests say themselves when the time is over, and only the last ones look at a clock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from bounded_time import LATE, Gate, Time, failure
from lastgood.config import ProcessConfig, load_config
from lastgood.errors import ConfigError, GenerationError
from lastgood.interpreters import bounded_stage, watching
from lastgood.interpreters.bounded_stage import BoundedStage
from lastgood.interpreters.cycle_files import CycleFiles
from lastgood.interpreters.once import generate_once, preview
from lastgood.interpreters.project import Project
from lastgood.session.watch import WatchProgram
from lastgood.sources.finder import Interpreter
from lastgood.sources.listings import Listings
from lastgood.sources.resolution import worker_interpreter
from lastgood.store.disk import Disk
from lastgood.store.generations import GenerationStore
from lastgood.store.output_directory import OutputDirectory
from real_project import DEADLINE, MORE, QUOTE, RealProject, Told

# --- reading ------------------------------------------------------------------------------------------------------


@pytest.fixture
def slow_shop(monkeypatch: pytest.MonkeyPatch, gate: Gate) -> Gate:
    """Reading shop.py for a stage passes by the gate, as from a network that is gone."""
    read = Disk.read

    def slow(self: Disk, path: Path) -> bytes:
        if path.name == "shop.py" and "generated" not in path.parts:
            gate.pass_by()
        return read(self, path)

    monkeypatch.setattr(Disk, "read", slow)
    return gate


async def test_a_read_that_hangs_is_an_error_that_names_the_module(
    project: RealProject, start: Callable[..., WatchProgram], told: Told, slow_shop: Gate, time: Time
) -> None:
    for name in ("shop.py", "stock.py"):
        project.save(name, QUOTE)
    async with start() as session:
        await told.success()
        slow_shop.is_shut = True
        project.configure("pricing", "shop", "stock")  # what was watched before is read by the look
        await slow_shop.reached()
        time.is_over()
        assert await failure(told) == ("shop", project.root / "shop.py", LATE)
        slow_shop.open()
        project.save("pricing.py", MORE)
        await told.success()
        assert session.generation == 2


@pytest.mark.parametrize("hanging", ["look", "watch"])
async def test_an_arming_that_hangs_is_an_error_that_names_what_was_to_be_watched(
    project: RealProject,
    start: Callable[..., WatchProgram],
    told: Told,
    gate: Gate,
    time: Time,
    monkeypatch: pytest.MonkeyPatch,
    hanging: str,
) -> None:
    do = watching._start

    def slow(*arguments: Any) -> Any:
        if "elsewhere" in str(arguments[0]):
            gate.pass_by()
        return do(*arguments)

    class SlowListings(Listings):
        def names(self, directory: str) -> Mapping[str, str]:
            if "elsewhere" in directory:
                gate.pass_by()
            return super().names(directory)

    async with start() as session:
        await told.success()
        project.save("elsewhere/shop.py", QUOTE)
        gate.is_shut = True
        monkeypatch.setattr(watching, *(("_start", slow) if hanging == "watch" else ("Listings", SlowListings)))
        project.config_file.write_text(
            f'python_import_path = [".", "elsewhere"]\n{project.config_file.read_text()}[modules.shop]\n'
        )
        await gate.reached()
        time.is_over()
        module, file, text = await failure(told)
        assert (module, text) == ("watched paths", LATE)
        assert (file is None) is (hanging == "watch")
        assert file is None or "elsewhere" in file.parts
        gate.open()
        assert await session.reload_now()


@pytest.mark.parametrize("hanging", ["the files", "the watches"])
async def test_what_is_left_after_a_swap_is_given_up_and_the_next_stage_waits_for_its_thread(
    project: RealProject,
    start: Callable[..., WatchProgram],
    told: Told,
    gate: Gate,
    time: Time,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    hanging: str,
) -> None:
    owner, name = (CycleFiles, "settle") if hanging == "the files" else (watching.Notifier, "_places")
    do, settle = getattr(owner, name), BoundedStage.settle

    def slow(*arguments: Any) -> Any:
        gate.pass_by()
        return do(*arguments)

    async def settle_slowly(self: BoundedStage, *arguments: Any) -> bool:
        gate.is_shut = True
        monkeypatch.setattr(BoundedStage, "settle", settle)
        return await settle(self, *arguments)

    async with start() as session, trio.open_nursery() as nursery:
        await told.success()
        monkeypatch.setattr(owner, name, slow)
        monkeypatch.setattr(BoundedStage, "settle", settle_slowly)
        project.save("pricing.py", MORE)
        await gate.reached()
        assert session.generation == 2
        time.is_over()
        await told.success()
        assert "what is left to do after a swap was not done within 60 s" in caplog.text
        nursery.start_soon(session.reload_now)
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
        assert (await told.success()).generation == 3
    assert project.leftovers() == []


async def test_close_does_not_wait_for_a_look_at_what_is_watched_that_hangs(
    project: RealProject,
    start: Callable[..., WatchProgram],
    told: Told,
    gate: Gate,
    time: Time,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = Disk.read

    def slow(self: Disk, path: Path) -> bytes:
        gate.pass_by()
        return read(self, path)

    async with start() as session, trio.open_nursery() as nursery:
        await told.success()
        gate.is_shut = True
        monkeypatch.setattr(Disk, "read", slow)
        project.save("pricing.py", MORE)
        await gate.reached()
        nursery.start_soon(session.close)
        await trio.testing.wait_all_tasks_blocked(0.01)
        time.is_over()
        with trio.fail_after(DEADLINE):
            await session.wait_closed()


@pytest.mark.parametrize("do", [generate_once, preview], ids=["generate", "plan"])
def test_a_command_is_bounded_likewise(
    do: Callable[..., Any], project: RealProject, slow_shop: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def call_when_reached(_seconds: float, call: Callable[[], object]) -> None:
        await slow_shop.reached()
        call()

    project.configure("pricing", "shop")
    project.save("lastgood.toml", f"{project.config_file.read_text()}[watch]\nstage_timeout = 7\n")
    project.save("shop.py", QUOTE)

    def fresh() -> Project:
        return Project(Disk(), project.config_file, (), load_config, worker_interpreter, os.getpid())

    slow_shop.is_shut = True
    late = pytest.raises(GenerationError, match=r"shop \(.*shop\.py\): the stage was not done within 7 s")
    with monkeypatch.context() as patched, late as caught:
        patched.setattr(bounded_stage, "_call_after", call_when_reached)
        do(fresh())
    assert not hasattr(caught.value, "__notes__"), "and undone without another error"
    assert not project.output.exists()
    slow_shop.open()
    assert len(do(fresh()).written) == 3


# --- what the cycles have in common --------------------------------------------------------------------------------


def passing(monkeypatch: pytest.MonkeyPatch, gate: Gate, owner: type, name: str) -> None:
    """Every call of this method passes by the gate first."""
    method = getattr(owner, name)

    def slow(*args: Any, **kwargs: Any) -> Any:
        gate.pass_by()
        return method(*args, **kwargs)

    monkeypatch.setattr(owner, name, slow)


async def test_a_start_whose_claim_hangs_is_an_error_that_names_the_directory(
    project: RealProject,
    start: Callable[..., WatchProgram],
    gate: Gate,
    time: Time,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passing(monkeypatch, gate, OutputDirectory, "_sweep")
    gate.is_shut = True

    async def end_time() -> None:
        await gate.reached()
        time.is_over()
        await trio.testing.wait_all_tasks_blocked(0.01)  # the failed start waits for the thread
        gate.open()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_time)
        with pytest.raises(GenerationError) as caught:
            async with start():
                pytest.fail("it started")
    [failure] = caught.value.failures
    assert (failure.module, failure.file, failure.message) == ("output directory", project.output, LATE)
    assert project.leftovers() == []
    async with start() as session:
        assert session.generation == 1


async def test_a_claim_that_comes_too_late_is_released(
    project: RealProject,
    start: Callable[..., WatchProgram],
    told: Told,
    gate: Gate,
    time: Time,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with start() as session:
        await told.success()
        passing(monkeypatch, gate, OutputDirectory, "_sweep")
        gate.is_shut = True
        project.configure("pricing", output="other")
        await gate.reached()
        time.is_over()
        assert await failure(told) == ("output directory", project.root / "other", LATE)
        gate.open()
        assert session._interpreter is not None
        async with session._interpreter._bounded._thread:
            pass
        assert session._project.claimed.keys() == {project.output}
        assert project.leftovers() == ["pid"], "of the live one alone"


async def test_a_store_that_hangs_is_named_and_nobody_sweeps_it_meanwhile(
    project: RealProject,
    start: Callable[..., WatchProgram],
    told: Told,
    gate: Gate,
    time: Time,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with start() as session:
        await told.success()
        swept: list[bool] = []
        sweep = GenerationStore.sweep

        def swept_when(store: GenerationStore, in_use: Collection[Path] = ()) -> None:
            swept.append(gate.is_shut)
            sweep(store, in_use)

        monkeypatch.setattr(GenerationStore, "sweep", swept_when)
        passing(monkeypatch, gate, GenerationStore, "put")
        gate.is_shut = True
        project.save("pricing.py", MORE)
        await gate.reached()
        time.is_over()
        home = project.root / ".lastgood" / "generated"
        assert await failure(told) == ("kept generations", home, LATE)
        gate.open()
        assert await session.reload_now()
        assert swept == [False], "after the cycle that succeeded"
        assert await session.undo()


async def test_an_undo_that_hangs_is_an_error(
    project: RealProject,
    start: Callable[..., WatchProgram],
    told: Told,
    gate: Gate,
    time: Time,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with start() as session, trio.open_nursery() as nursery:
        await told.success()
        project.save("pricing.py", MORE)
        await told.success()
        passing(monkeypatch, gate, GenerationStore, "open")
        gate.is_shut = True
        nursery.start_soon(session.undo)
        await gate.reached()
        time.is_over()
        assert (await failure(told))[0] == "kept generations"
        gate.open()
        assert await session.undo()


# --- the clock ----------------------------------------------------------------------------------------------------


def work_of(project: RealProject) -> CycleFiles:
    return CycleFiles(Project(Disk(), project.config_file, (), load_config, worker_interpreter, os.getpid()), 1)


async def test_the_time_of_a_stage_is_the_machines(project: RealProject) -> None:
    work = work_of(project)
    work.project.note("pricing")
    with pytest.raises(GenerationError, match=r"pricing: .* 0\.01 s \(stage_timeout\)"):
        await BoundedStage().run(trio.sleep_forever, work, 0.01)


def test_a_virtual_clock_that_jumps_while_a_thread_works_ends_no_stage(project: RealProject, gate: Gate) -> None:
    gate.is_shut = True
    bounded, work = BoundedStage(), work_of(project)

    async def stage() -> str:
        await bounded.step(work, gate.pass_by)
        return "done"

    async def main() -> None:
        made = []

        async def run() -> None:
            made.append(await bounded.run(stage, work, 60.0))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.sleep(1000)
            gate.open()
        assert made == ["done"]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_what_a_stage_raises_comes_in_no_group(project: RealProject) -> None:
    mine = SystemExit(3)

    async def stage() -> None:
        await trio.lowlevel.checkpoint()
        raise mine

    with pytest.raises(SystemExit) as caught:
        await BoundedStage().run(stage, work_of(project), 60.0)
    assert caught.value is mine


# --- the worker's interpreter -------------------------------------------------------------------------------------


async def test_an_interpreter_that_hangs_is_asked_once_in_a_cycle(
    project: RealProject, start: Callable[..., WatchProgram], told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[ProcessConfig] = []

    def hang(process: ProcessConfig) -> Any:
        if process == ProcessConfig():  # this one, for the functions of generators
            return Interpreter((), ("sys",))
        asked.append(process)
        raise ConfigError("it did not answer", field="runtime.process.python")

    async with start() as session:
        await told.success()
        monkeypatch.setattr(session._project, "ask_interpreter", hang)
        project.configure(
            "pricing", "shop", head="runtime.process.threads = 2"
        )  # what is to be watched is new, so that the config is read twice
        error = (await told.failure()).error
        assert isinstance(error, ConfigError)
        assert error.file == project.config_file
        assert not await session.reload_now()
    assert len(asked) == 2, "once in each of two cycles"
