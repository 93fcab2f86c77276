"""Other generators in a session, and from the command: staged, promoted, rolled back and watched as wrappers are."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

import running
from command_line import Run
from lastgood.config import Config
from lastgood.errors import ConfigError, GenerationError, UnmanagedFile
from lastgood.session.watch import WatchProgram
from lastgood.testing import World
from lastgood.watch_events import ReloadSuccess
from lastgood.wrappers import Generated
from real_project import BROKEN, DEADLINE, FakeFactory, RealProject, Told
from running import Running

MAKE = """
import pathlib

def words(config, stage_dir):
    for source in sorted((config.path.parent / "words").glob("*.txt")):
        (stage_dir / f"{source.stem}.py").write_text(f"WORD = {source.read_text()!r}\\n")
"""
COPY = "import pathlib, sys; pathlib.Path(sys.argv[2], sys.argv[3]).write_bytes(pathlib.Path(sys.argv[1]).read_bytes())"
COMMAND = f"""command = ["{{python}}", "-c", "{COPY}", "{{source}}", "{{stage}}", "{{name}}.txt"]"""


@pytest.fixture
def project(tmp_path: Path) -> RealProject:
    made = RealProject(tmp_path)
    made.save("make.py", MAKE)
    made.save("words/a.txt", "alpha")
    return made


def configure(project: RealProject, *tables: str, modules: str = "[modules.pricing]") -> None:
    generators = "".join(f"[[generators]]\n{table}\n" for table in tables)
    project.save("lastgood.toml", f'{modules}\n[output]\ndir = "generated"\n{generators}')


FUNCTION = 'use = "make:words"\nwatch = ["words"]'
COPIES = f'{COMMAND}\nsources = ["words/*.txt"]\ninto = "copies"'


# --- in a session -------------------------------------------------------------------------------------------------


async def test_what_generators_make_is_promoted_beside_the_wrappers(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    configure(project, FUNCTION, COPIES)
    with trio.fail_after(DEADLINE):
        async with start():
            success = await told.success()
    names = ("__init__.py", "a.py", "copies/a.txt", "pricing.py")
    assert tuple(map(str, success.written)) == tuple(map(str, success.touched)) == names
    assert project.tree()["a.py"] == b"WORD = 'alpha'\n"
    assert project.leftovers() == []


async def test_their_inputs_and_their_own_modules_are_watched(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    configure(project, FUNCTION, COPIES, modules="[modules]")
    with trio.fail_after(DEADLINE):
        async with start():
            await told.success()
            assert {project.root / "words", project.root / "make.py"} <= set(told.watched)
            project.save("words/b.txt", "beta")
            assert list(map(str, (await told.success()).touched)) == ["b.py", "copies/b.txt"]
            project.save("make.py", MAKE.replace("WORD", "TEXT"))
            assert list(map(str, (await told.success()).touched)) == ["a.py", "b.py"]
            project.remove("words/a.txt")
            assert list(map(str, (await told.success()).touched)) == ["a.py", "copies/a.txt"]
    assert sorted(project.tree()) == ["b.py", "copies/b.txt"]


async def test_when_one_fails_everything_stays_and_every_failure_is_told(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory, told: Told
) -> None:
    configure(project, FUNCTION, COPIES)
    with trio.fail_after(DEADLINE):
        async with start() as session:
            before = project.exact_tree()
            project.save("pricing.py", BROKEN)
            project.save("make.py", "raise LookupError('mine')\n")
            while not isinstance(error := session.status.error, GenerationError) or len(error.failures) < 2:
                await told.end()
            assert [failure.module for failure in error.failures] == ["pricing", "make:words"]
            assert project.exact_tree() == before
            assert not factory.latest.disposed
            project.save("make.py", MAKE)
            project.save("pricing.py", "def quote() -> int: ...\n")
            while session.status.stale:
                await told.end()


async def test_a_later_failure_takes_their_files_back(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    configure(project, FUNCTION)
    async with start() as session:
        before = project.exact_tree()
        project.save("words/b.txt", "beta")
        project.save("words/a.txt", "other")
        factory.fail("init", LookupError("mine"))
        assert not await session.reload_now()
        assert project.exact_tree() == before
        assert await session.reload_now()
        assert sorted(project.tree()) == ["__init__.py", "a.py", "b.py", "pricing.py"]
        assert await session.undo()
        assert project.exact_tree().keys() == before.keys()
        assert project.tree()["a.py"] == b"WORD = 'alpha'\n"


async def test_files_of_others_are_not_overwritten_and_edits_by_hand_are_kept_aside(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    configure(project, FUNCTION, modules="[modules]")
    mine = project.save("generated/a.py", "mine = 1\n")
    with pytest.raises(UnmanagedFile):
        async with start():
            pytest.fail("it started")
    mine.unlink()
    async with start() as session:
        project.save("generated/a.py", "mine = 2\n")
        assert await session.reload_now()
    assert project.tree() == {"a.py": b"WORD = 'alpha'\n", "a.py.edited": b"mine = 2\n"}
    (success,) = [event for event in told.events if isinstance(event, ReloadSuccess) and event.cycle == 2]
    assert success.warnings == ("a.py had been edited by hand; it was kept as a.py.edited.",)


async def test_the_built_in_wrappers_can_be_left_out(project: RealProject, start: Callable[..., WatchProgram]) -> None:
    configure(project, f"{FUNCTION}\nbuiltin = false")
    async with start():
        assert sorted(project.tree()) == ["a.py"]


async def test_a_generate_of_the_apps_own_takes_the_place_of_the_built_in_one_alone(
    project: RealProject, start: Callable[..., WatchProgram]
) -> None:
    def generate(_: Config, stage: Path) -> Generated:
        (stage / "own.py").write_text("")
        return Generated(("own.py",))

    configure(project, FUNCTION)
    async with start(generate=generate):
        assert sorted(project.tree()) == ["a.py", "own.py"]


async def test_a_close_ends_a_generator_that_runs(project: RealProject, start: Callable[..., WatchProgram]) -> None:
    hang = "import os, time; open('pid.new', 'w').write(str(os.getpid())); os.rename('pid.new', 'pid'); time.sleep(100)"
    configure(project, FUNCTION)
    with trio.fail_after(DEADLINE):
        async with start() as session:
            before = project.exact_tree()
            configure(project, f'command = ["{{python}}", "-c", "{hang}"]')
            while not (project.root / "pid").exists():
                await trio.to_thread.run_sync(os.sched_yield)
            await session.close()
            with pytest.raises(ProcessLookupError):
                os.kill(int((project.root / "pid").read_text()), 0)
    assert project.exact_tree() == before
    assert project.leftovers() == []


async def test_a_function_whose_module_is_missing_is_watched_for(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    (project.root / "make.py").rename(project.root / "make.txt")
    configure(project, FUNCTION)
    with pytest.raises(ConfigError, match=r'field "generator.use": Module "make" could not be resolved'):
        async with start():
            pytest.fail("it started")
    project.save("make.py", MAKE)
    with trio.fail_after(DEADLINE):
        async with start():
            project.remove("make.py")
            while not isinstance((await told.failure()).error, ConfigError):
                pass
            project.save("make.py", MAKE)
            await told.success()


# --- from the command --------------------------------------------------------------------------------------------


def test_generate_plan_and_check_run_them(project: RealProject, run: Run) -> None:
    configure(project, FUNCTION)
    config = str(project.config_file)
    planned = run("plan", config)
    assert planned.status == 0
    assert "generated/a.py" in planned.out
    assert not project.output.exists()
    assert not (project.root / ".lastgood").exists(), "a plan touches nothing"
    assert run("generate", config).status == 0
    assert project.tree()["a.py"] == b"WORD = 'alpha'\n"
    assert run("generate", "--check", config).status == 0
    project.save("words/a.txt", "other")
    checked = run("generate", "--check", config)
    assert checked.status == 3
    assert "+WORD = 'other'" in checked.out


def test_a_failure_of_one_is_told_and_changes_nothing(project: RealProject, run: Run) -> None:
    configure(project, FUNCTION)
    config = str(project.config_file)
    run("generate", config)
    before = project.exact_tree()
    project.save("make.py", "def words(config, stage_dir):\n    raise LookupError('mine')\n")
    for arguments in (("generate",), ("plan",), ("generate", "--check")):
        ran = run(*arguments, config)
        assert ran.status == 1
        assert "LookupError: mine" in ran.err
    assert project.exact_tree() == before
    assert project.leftovers() == []


def test_ctrl_c_ends_a_generator_and_leaves_everything_as_it_was(project: RealProject) -> None:
    hang = "import pathlib, time; pathlib.Path('begun').touch(); time.sleep(100)"
    configure(project, f'command = ["{{python}}", "-c", "{hang}"]')
    ran = Running(sys.executable, "-m", "lastgood", "generate", cwd=project.root)
    try:
        while not (project.root / "begun").exists():
            os.sched_yield()
        ended = ran.interrupt()
    finally:
        ran.stop()
    assert (ended.status, ended.err) == (130, "Stopped.\n")
    assert project.tree() == {}
    assert project.leftovers() == []


def test_what_a_kill_during_a_generator_leaves_is_removed_by_the_next_run(
    project: RealProject, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(temporary))
    hang = "import pathlib, time; pathlib.Path('begun').touch(); time.sleep(100)"
    configure(project, f'command = ["{{python}}", "-c", "{hang}"]')
    ran = Running(sys.executable, "-m", "lastgood", "generate", cwd=project.root)
    try:
        while not (project.root / "begun").exists():
            os.sched_yield()
    finally:
        ran.stop()
    assert len(list(temporary.iterdir())) == 1
    configure(project, COPIES)
    assert running.run((sys.executable, "-m", "lastgood", "generate"), project.root).status == 0
    assert list(temporary.iterdir()) == []


def test_a_plan_tells_of_two_that_make_one_file(project: RealProject, run: Run) -> None:
    project.save("words/pricing.txt", "clash")
    configure(project, FUNCTION)
    planned = run("plan", str(project.config_file))
    assert planned.status == 1
    assert "it has made pricing.py, and so has another generator" in planned.err


# --- in memory ---------------------------------------------------------------------------------------------------


def test_a_world_in_memory_says_that_it_runs_none() -> None:
    world = World({"lastgood.toml": '[modules]\n[output]\ndir = "g"\n[generator]\ncommand = ["protoc"]\n'})
    with pytest.raises(GenerationError, match="protoc: a world in memory runs no programs"):
        world.start()
