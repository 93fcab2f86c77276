"""A stage has ``stage_timeout`` seconds: an error that names what it was at, the last good generation, and the next edit is tried.

The tests say themselves when the time is over, and only the last ones look at a clock.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from lastgood.config import Config, ProcessConfig, load_config
from lastgood.errors import ConfigError, GenerationError
from lastgood.interpreters import bounded_stage
from lastgood.interpreters.bounded_stage import BoundedStage
from lastgood.interpreters.cycle_files import CycleFiles, Project
from lastgood.interpreters.once import generate_once, preview
from lastgood.session.session import Session, WatchProgram
from lastgood.sources.finder import Interpreter
from lastgood.sources.resolution import worker_interpreter
from lastgood.store.disk import Disk
from lastgood.store.generations import GenerationStore
from lastgood.store.promotion import OutputDirectory
from lastgood.watch_events import ReloadStart
from lastgood.wrappers import Generated
from lastgood.wrappers.process import extractor_process
from real_project import DEADLINE, QUOTE, RealProject, Told

MORE = QUOTE + "def more() -> None: ...\n"


class Time:
    """The time of a stage is over when the test says so."""

    def __init__(self) -> None:
        self._over = trio.Event()

    async def call_after(self, _seconds: float, call: Callable[[], object]) -> None:
        await self._over.wait()
        self._over = trio.Event()
        call()

    def is_over(self) -> None:
        self._over.set()


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(bounded_stage, "_call_after", time.call_after)
    return time


class Gate:
    """Blocks threads while it is shut. ``reached``: one waits there."""

    def __init__(self) -> None:
        self.is_shut = False
        self.visits = 0
        self._open = threading.Event()
        self._reached = threading.Event()

    def pass_by(self) -> None:
        self.visits += 1
        if self.is_shut:
            self._reached.set()
            assert self._open.wait(DEADLINE)

    async def reached(self) -> None:
        assert await trio.to_thread.run_sync(self._reached.wait, DEADLINE)
        self._reached.clear()

    def open(self) -> None:
        self.is_shut = False
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


class Notes:
    """What stages were at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._names: list[str] = []
        self._more = threading.Condition()
        note = Project.note

        def noted(project: Project, name: str, file: Path | None = None) -> None:
            note(project, name, file)
            with self._more:
                self._names.append(name)
                self._more.notify()

        monkeypatch.setattr(Project, "note", noted)

    def clear(self) -> None:
        self._names.clear()

    async def last_is(self, name: str) -> None:
        def wait() -> bool:
            with self._more:
                return self._more.wait_for(lambda: self._names[-1:] == [name], DEADLINE)

        assert await trio.to_thread.run_sync(wait)


class Fifo:
    """Where a process tells that it has come to a point: it opens the file for writing."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.hang = f"open({str(path)!r}, 'w').close(); import signal; signal.pause()"

    async def reached(self) -> None:
        with trio.fail_after(DEADLINE):
            await trio.Path(self.path).read_text()


@pytest.fixture
def fifo(tmp_path_factory: pytest.TempPathFactory) -> Fifo:
    return Fifo(tmp_path_factory.mktemp("fifo") / "reached")


@asynccontextmanager
async def reloading(session: Session) -> AsyncIterator[list[bool]]:
    """A ``reload_now()`` besides; its answer is there at the end."""
    answers: list[bool] = []

    async def reload() -> None:
        answers.append(await session.reload_now())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reload)
        yield answers


async def failure(told: Told) -> tuple[str, Path | None, str]:
    failed = await told.failure()
    assert failed.effect == "stage"
    assert isinstance(failed.error, GenerationError)
    [each] = failed.error.failures
    return each.module, each.file, each.message


LATE = (
    "the stage was not done within 60 s (stage_timeout); it was abandoned while working on this. "
    "Simplify it, or raise stage_timeout."
)
WAITED = (
    "an earlier stage is still working on this; the next one has waited for it for 60 s (stage_timeout). "
    "Simplify it, or raise stage_timeout."
)


# --- generate -----------------------------------------------------------------------------------------------------


def generating(gate: Gate) -> Callable[[Config, Path], Generated]:
    def generate(_: Config, stage: Path) -> Generated:
        gate.pass_by()
        (stage / "pricing.py").write_text(f"# {gate.visits}\n")
        return Generated(("pricing.py",))

    return generate


async def test_a_plain_generate_that_hangs_is_an_error_and_is_not_started_again_before_it_is_back(
    project: RealProject, start: Callable[..., WatchProgram], told: Told, gate: Gate, time: Time
) -> None:
    async with start(generate=generating(gate)) as session:
        await told.success()
        before, gate.is_shut = project.exact_tree(), True
        async with reloading(session) as answers:
            await gate.reached()
            time.is_over()
        assert answers == [False]
        assert await failure(told) == ("generate()", None, LATE)
        assert session.status.stale
        assert session.generation == 1
        async with reloading(session) as answers:
            await trio.testing.wait_all_tasks_blocked(0.01)
            time.is_over()
        assert await failure(told) == ("generate()", None, WAITED)
        assert gate.visits == 2, "it was not called once more"
        assert project.exact_tree() == before
        gate.open()
        assert await session.reload_now()
        assert project.tree() == {"pricing.py": b"# 3\n"}
    assert project.leftovers() == []


async def test_the_next_edit_waits_for_a_generate_that_comes_back_in_time(
    project: RealProject, start: Callable[..., WatchProgram], told: Told, gate: Gate, time: Time
) -> None:
    async with start(generate=generating(gate)) as session:
        await told.success()
        gate.is_shut = True
        async with reloading(session):
            await gate.reached()
            time.is_over()
        await told.failure()
        project.save("pricing.py", MORE)
        await trio.testing.wait_all_tasks_blocked(0.01)
        gate.open()
        await told.success()
        assert project.tree() == {"pricing.py": b"# 3\n"}
    assert project.leftovers() == [], "nor what the one given up had still written"


async def test_the_edit_that_a_stage_could_not_try_is_tried_when_generate_is_back(
    project: RealProject, start: Callable[..., WatchProgram], told: Told, gate: Gate, time: Time
) -> None:
    async with start(generate=generating(gate)):
        await told.success()
        gate.is_shut = True
        project.save("pricing.py", MORE)
        await gate.reached()
        time.is_over()
        assert await failure(told) == ("generate()", None, LATE)
        project.save("pricing.py", MORE + MORE)
        await told.next(ReloadStart)
        await trio.testing.wait_all_tasks_blocked(0.01)
        time.is_over()
        assert await failure(told) == ("generate()", None, WAITED)
        assert gate.visits == 2
        gate.open()
        success = await told.success()
        assert (success.manual, success.changed) == (False, (project.root / "pricing.py",))
        assert gate.visits == 3


async def test_an_async_generate_that_hangs_is_cancelled(
    project: RealProject, start: Callable[..., WatchProgram], told: Told, time: Time
) -> None:
    hangs, reached, cancelled = False, trio.Event(), []

    async def generate(_: Config, stage: Path) -> Generated:
        await trio.Path(stage / "pricing.py").write_text("")
        if hangs:
            reached.set()
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                cancelled.append(True)
                raise
        return Generated(("pricing.py",))

    async with start(generate=generate) as session:
        await told.success()
        hangs = True
        async with reloading(session):
            await reached.wait()
            time.is_over()
        assert await failure(told) == ("generate()", None, LATE)
        assert cancelled == [True]
        hangs = False
        project.save("pricing.py", MORE)
        await told.success()


async def test_close_waits_for_a_generate_that_hangs(
    start: Callable[..., WatchProgram], told: Told, gate: Gate, time: Time
) -> None:
    async with start(generate=generating(gate)) as session, trio.open_nursery() as nursery:
        await told.success()
        gate.is_shut = True
        async with reloading(session):
            await gate.reached()
            time.is_over()
        closed = trio.Event()

        async def close() -> None:
            await session.close()
            closed.set()

        nursery.start_soon(close)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not closed.is_set()
        gate.open()
        with trio.fail_after(DEADLINE):
            await closed.wait()


@pytest.mark.parametrize("when", ["in the stage", "after it was given up"])
async def test_a_second_ctrl_c_leaves_a_generate_that_hangs_behind(
    when: str, start: Callable[..., WatchProgram], told: Told, gate: Gate, time: Time
) -> None:
    async with start(generate=generating(gate)) as session, trio.open_nursery() as nursery:
        await told.success()
        gate.is_shut = True
        nursery.start_soon(session.reload_now)
        await gate.reached()
        if when == "after it was given up":
            time.is_over()
            await told.failure()
        nursery.start_soon(session.close)
        await trio.testing.wait_all_tasks_blocked(0.01)
        session.close_at_once()
        with trio.fail_after(DEADLINE):
            await session.wait_closed()
        assert gate.is_shut


async def test_a_close_after_the_time_of_a_stage_waits_as_long_again(
    start: Callable[..., WatchProgram], told: Told, gate: Gate, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    async with start(generate=generating(gate)) as session, trio.open_nursery() as nursery:
        await told.success()
        gate.is_shut = True
        async with reloading(session):
            await gate.reached()
            time.is_over()
        await told.failure()
        nursery.start_soon(session.close)
        await trio.testing.wait_all_tasks_blocked(0.01)
        time.is_over()
        with trio.fail_after(DEADLINE):
            await session.wait_closed()
    assert caplog.messages == ["generate(): a thread that works on this has not returned; it is left running"]


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
    project.configure("pricing", "shop", "stock")
    for name in ("shop.py", "stock.py"):
        project.save(name, QUOTE)
    async with start() as session:
        await told.success()
        slow_shop.is_shut = True
        project.save("pricing.py", MORE)
        await slow_shop.reached()
        time.is_over()
        assert await failure(told) == ("shop", project.root / "shop.py", LATE)
        slow_shop.open()
        project.save("pricing.py", QUOTE)
        await told.success()
        assert session.generation == 2


async def test_close_does_not_wait_for_a_look_at_what_is_watched_that_hangs(
    project: RealProject,
    start: Callable[..., WatchProgram],
    told: Told,
    gate: Gate,
    time: Time,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digest = Disk.digest

    def slow(self: Disk, path: Path) -> str:
        gate.pass_by()
        return digest(self, path)

    async with start() as session, trio.open_nursery() as nursery:
        await told.success()
        gate.is_shut = True
        monkeypatch.setattr(Disk, "digest", slow)
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
    project.save("shop.py", QUOTE)

    def fresh() -> Project:
        return Project(Disk(), project.config_file, (), load_config, worker_interpreter, os.getpid())

    slow_shop.is_shut = True
    late = pytest.raises(GenerationError, match=r"shop \(.*shop\.py\): the stage was not done within 7 s")
    with monkeypatch.context() as patched, late as caught:
        patched.setattr(bounded_stage, "_call_after", call_when_reached)
        do(fresh(), timeout=7.0)
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


# --- processes ----------------------------------------------------------------------------------------------------


@pytest.mark.apart
async def test_a_stopped_extractor_is_an_error_and_is_replaced(
    project: RealProject,
    start: Callable[..., WatchProgram],
    told: Told,
    time: Time,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes = Notes(monkeypatch)
    async with start() as session:
        await told.success()
        extractor = session._project.extractor
        assert isinstance(extractor, extractor_process.ExtractorProcess)
        stopped = extractor._process
        assert stopped is not None
        stopped.send_signal(signal.SIGSTOP)
        notes.clear()
        project.save("pricing.py", MORE)
        await notes.last_is("pricing")  # and now it asks the extractor
        time.is_over()
        assert (await failure(told))[:2] == ("pricing", project.root / "pricing.py")
        assert session.status.stale
        project.save("pricing.py", QUOTE)
        await told.success()
        assert stopped.returncode == -signal.SIGKILL


@pytest.mark.apart
async def test_an_extractor_that_hangs_names_the_module_it_is_at(
    project: RealProject,
    start: Callable[..., WatchProgram],
    time: Time,
    fifo: Fifo,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notes = Notes(monkeypatch)
    head, main = extractor_process._PROGRAM.rsplit("\n", 1)
    hang = (
        "import lastgood.wrappers.generate as generate\nextract = generate.extract\n"
        f"def hang(project, at):\n    if at.source.name == 'shop': {fifo.hang}\n    return extract(project, at)\n"
        "generate.extract = hang"
    )
    project.configure("pricing", "shop", "stock")
    for name in ("shop.py", "stock.py"):
        project.save(name, QUOTE)
    with monkeypatch.context() as patched:
        patched.setattr(extractor_process, "_PROGRAM", f"{head}\n{hang}\n{main}")
        async with trio.open_nursery() as nursery:

            async def end_time() -> None:
                await fifo.reached()
                await notes.last_is("shop")  # it has said so before
                time.is_over()

            nursery.start_soon(end_time)
            with pytest.raises(GenerationError, match=r"shop \(.*shop\.py\): the stage was not done within 60 s"):
                async with start():
                    pytest.fail("it started")
    async with start() as session:
        assert session.generation == 1


@pytest.mark.parametrize("last", ["signal.pause()", "os.kill(os.getpid(), signal.SIGSTOP)"], ids=["hanging", "stopped"])
async def test_a_generator_that_does_not_end_is_named(
    last: str, project: RealProject, start: Callable[..., WatchProgram], told: Told, time: Time, fifo: Fifo
) -> None:
    project.configure("pricing")
    table = f'[generator]\ncommand = ["{sys.executable}", "-m", "tool"]\nwatch = ["tool.py"]\n'
    project.save("lastgood.toml", f"{project.config_file.read_text()}{table}")
    project.save("tool.py", "")
    async with start():
        await told.success()
        project.save("tool.py", f"import os, signal\nopen({str(fifo.path)!r}, 'w').close()\n{last}\n")
        await fifo.reached()
        time.is_over()
        assert await failure(told) == ("tool", None, LATE)
        project.save("tool.py", "")
        await told.success()


async def test_a_wrapper_that_hangs_when_it_is_imported_is_named(
    project: RealProject, start: Callable[..., WatchProgram], told: Told, time: Time, fifo: Fifo
) -> None:
    texts = {"a.py": "X = 1\n", "b.py": "def f(): ...\n", "c.py": "def f(): ...\n"}

    def generate(_: Config, stage: Path) -> Generated:
        for name, text in texts.items():
            (stage / name).write_text(text)
        return Generated(tuple(texts))

    async with start(generate=generate):
        await told.success()
        texts["b.py"] = f"def f(): ...\n{fifo.hang}"
        project.save("pricing.py", MORE)
        await fifo.reached()
        time.is_over()
        assert await failure(told) == ("b", None, LATE)
        texts["b.py"] = ""
        project.save("pricing.py", QUOTE)
        await told.success()


def test_ctrl_c_ends_a_command_whose_extractor_hangs(project: RealProject, fifo: Fifo) -> None:
    command = (
        "from lastgood.wrappers.process import extractor_process; from lastgood.cli.commands import main\n"
        f"extractor_process._PROGRAM = {fifo.hang!r}\nmain(['generate', {str(project.config_file)!r}])"
    )
    with subprocess.Popen([sys.executable, "-c", command], stderr=subprocess.PIPE) as generate:
        try:
            fifo.path.read_text()  # the process has opened it
            generate.send_signal(signal.SIGINT)
            _, err = generate.communicate(timeout=DEADLINE)
        finally:
            generate.kill()
    assert (generate.returncode, err) == (130, b"Stopped.\n")
    assert not project.output.exists()
    assert project.leftovers() == []


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
