"""A blank worker: started before there is anything for it to import, and taken over by the first bridge or ended."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from imitated import needs_stops
from lastgood.bridges import blank as blanks
from lastgood.bridges.blank import Blank
from lastgood.bridges.process import ProcessBridge
from lastgood.children.guardian import GUARDIAN
from lastgood.config import ProcessConfig
from lastgood.errors import GenerationError
from lastgood.session.watch import WatchProgram, watch
from lastgood.watch_events import ReloadSuccess, WatchEvent
from process_bridges import until
from real_project import BROKEN, RealProject

MODULE = "import os\n\ndef pid() -> int:\n    return os.getpid()\n"


@pytest.fixture(autouse=True)
def none_is_left() -> Iterator[None]:
    yield
    assert blanks._waiting == []


@pytest.fixture
async def blank() -> AsyncIterator[Blank]:
    blank = Blank(ProcessConfig())
    yield blank
    await blank.end()
    assert blank.worker.pid is None


@pytest.fixture
def bridge(tmp_path: Path) -> Callable[..., ProcessBridge]:
    (tmp_path / "service.py").write_text(MODULE)
    return lambda **settings: ProcessBridge(import_path=[tmp_path], modules=["service"], **settings)


async def pid_of(bridge: ProcessBridge) -> int:
    await bridge.init()
    try:
        found: int = await bridge.call("service", "pid", (), {})
    finally:
        await bridge.dispose()
    return found


async def test_a_bridge_takes_it_and_the_next_one_has_its_own(
    blank: Blank, bridge: Callable[..., ProcessBridge]
) -> None:
    pid = blank.worker.pid
    assert await pid_of(bridge(timeout=5, threads=2)) == pid
    assert await pid_of(bridge()) != pid


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing else ends it with a killed app")
async def test_the_guardian_is_started_when_it_may_start_processes(
    blank: Blank, bridge: Callable[..., ProcessBridge]
) -> None:
    pids = [GUARDIAN.pid]
    taking = bridge()
    await taking.init()
    assert taking.pids == (blank.worker.pid,)
    pids.append(GUARDIAN.pid)
    await taking.dispose()
    assert pids[0] is None
    assert pids[1] is not None


@pytest.mark.parametrize(
    "settings", [{"env": {"COLOUR": "red"}}, {"cwd": "/"}, {"grace": 0.5}], ids=["environment", "directory", "grace"]
)
async def test_one_that_was_started_otherwise_is_left(
    settings: dict[str, object], blank: Blank, bridge: Callable[..., ProcessBridge]
) -> None:
    assert await pid_of(bridge(**settings)) != blank.worker.pid
    assert blank.worker.pid is not None


async def test_one_of_another_environment_of_the_app_is_left(
    blank: Blank, bridge: Callable[..., ProcessBridge], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLOUR", "red")
    assert await pid_of(bridge()) != blank.worker.pid


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=needs_stops())])
async def test_one_that_has_ended_or_is_stopped_is_left(
    how: signal.Signals, blank: Blank, bridge: Callable[..., ProcessBridge]
) -> None:
    pid = blank.worker.pid
    assert pid is not None
    os.kill(pid, how)
    await until(lambda: blank.worker.has_exited() or blank.worker.is_stopped())
    assert await pid_of(bridge()) != pid


async def test_what_it_has_printed_is_shown_when_it_is_taken(
    bridge: Callable[..., ProcessBridge], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('hello')\n")
    blank = Blank(ProcessConfig(env={"PYTHONPATH": str(tmp_path)}))
    assert await pid_of(bridge(env={"PYTHONPATH": str(tmp_path)})) > 0
    await blank.end()
    assert capfd.readouterr().err.count("hello") == 1


# --- in a session


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """The process ids of the blank workers that are made."""
    pids: list[int | None] = []
    init = Blank.__init__

    def noting(blank: Blank, process: ProcessConfig) -> None:
        init(blank, process)
        pids.append(blank.worker.pid)

    monkeypatch.setattr(Blank, "__init__", noting)
    return pids


async def test_the_first_generation_runs_in_one_and_no_other_does(project: RealProject, made: list[int | None]) -> None:
    project.save("pricing.py", MODULE)
    async with watch(project.config_file) as session:
        assert await session.handle.call("pricing", "pid", (), {}) == made[0]
        project.save("pricing.py", f"{MODULE}\n")
        assert await session.reload_now()
        assert len(made) == 1


async def test_where_the_first_stage_fails_it_is_ended(project: RealProject, made: list[int | None]) -> None:
    project.save("pricing.py", BROKEN)
    with pytest.raises(GenerationError):
        await watch(project.config_file).__aenter__()
    (pid,) = made
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_factory_of_the_users_own_has_none(start: Callable[..., WatchProgram], made: list[int | None]) -> None:
    async with start():
        assert made == []


# --- after an earlier session


async def first_event(project: RealProject) -> ReloadSuccess:
    told: list[WatchEvent] = []
    async with watch(project.config_file, on_event=told.append) as session:
        await session.settle()
    (event,) = (each for each in told if isinstance(each, ReloadSuccess))
    return event


def begin_when(is_ready: Callable[[], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold up the first bridge until ``is_ready()``."""
    init = ProcessBridge.init

    async def held(bridge: ProcessBridge) -> None:
        await until(is_ready)
        await init(bridge)

    monkeypatch.setattr(ProcessBridge, "init", held)


async def test_it_has_run_the_program_of_the_last_good_generation_ahead(
    project: RealProject, made: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.save("pricing.py", MODULE)
    assert (await first_event(project)).warm == "fresh"
    async with watch(project.config_file) as session:
        assert session.generation == 1
        assert await session.handle.call("pricing", "pid", (), {}) == made[-1]
    begin_when(lambda: blanks._waiting == [], monkeypatch)  # the blank has become a spare
    assert (await first_event(project)).warm == "spare"


async def test_what_was_edited_between_two_sessions_is_what_runs(project: RealProject) -> None:
    project.save("pricing.py", "NAME = 'old'\n\ndef name() -> str:\n    return NAME\n")
    await first_event(project)
    project.save("pricing.py", "NAME = 'new'\n\ndef name() -> str:\n    return NAME\n")
    async with watch(project.config_file) as session:
        assert await session.handle.call("pricing", "name", (), {}) == "new"


async def test_a_program_that_reaches_outside_does_so_once(project: RealProject, tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    project.save("pricing.py", f"with open({str(noted)!r}, 'a') as file:\n    file.write('x')\n")
    await first_event(project)
    await first_event(project)
    assert noted.read_text() == "xx"


async def test_a_variable_that_is_set_before_it_runs_ahead_is_seen(
    project: RealProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.save("pricing.py", "import os\n\ndef colour() -> str | None:\n    return os.environ.get('COLOUR')\n")
    await first_event(project)
    find = blanks._last

    def set_and_find(*args: Any) -> Any:
        monkeypatch.setenv("COLOUR", "red")
        return find(*args)

    monkeypatch.setattr(blanks, "_last", set_and_find)
    async with watch(project.config_file) as session:
        assert await session.handle.call("pricing", "colour", (), {}) == "red"


async def test_without_spares_it_stays_blank(project: RealProject, made: list[int | None]) -> None:
    project.save("lastgood.toml", '[modules.pricing]\n[output]\ndir = "generated"\n[runtime.process]\nspare = false\n')
    await first_event(project)
    event = await first_event(project)
    assert (event.warm, event.why_fresh) == ("fresh", "spare = false")
    assert len(made) == 2


async def test_a_generation_that_is_damaged_is_not_run(project: RealProject) -> None:
    project.save("pricing.py", MODULE)
    await first_event(project)
    (manifest,) = project.root.glob(".lastgood/*/generations/manifests/*")
    manifest.write_bytes(b"no manifest")
    assert (await first_event(project)).warm == "fresh"


async def test_a_module_that_hangs_this_time_and_has_changed_holds_nothing_up(
    project: RealProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo = tmp_path / "fifo"
    project.save("pricing.py", f"{MODULE}\nif os.path.exists({str(fifo)!r}):\n    open({str(fifo)!r}).read()\n")
    project.configure("pricing", "shop")
    newest = project.save("shop.py", MODULE)  # where the worker would wait, after the other module
    await first_event(project)
    os.mkfifo(fifo)
    ends: list[int] = []

    def hangs() -> bool:
        """Open the FIFO, as soon as the worker reads it."""
        try:
            ends.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    begin_when(hangs, monkeypatch)
    project.save("pricing.py", MODULE)
    os.utime(newest, (newest.stat().st_atime + 10, newest.stat().st_mtime + 10))
    event = await first_event(project)
    assert event.warm == "fresh"
    assert event.why_fresh == f"{project.root / 'pricing.py'} has changed, and the spare had run it"
    os.close(ends[0])
