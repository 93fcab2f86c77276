"""A session without an output directory: the bridge is kept in step with the sources, and there are no wrappers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lastgood import Generated, ProcessBridge
from lastgood.config import Config, load_config
from lastgood.errors import ConfigError
from lastgood.session.watch import WatchProgram, watch
from real_project import BROKEN, QUOTE, RealProject, Told

Start = Callable[..., WatchProgram]
WITHOUT = "[modules.pricing]\n[output]\ndir = false\n"


def entries(project: RealProject) -> set[str]:
    return {name for name in os.listdir(project.root) if name != "__pycache__"}


async def test_the_worker_runs_the_sources_of_the_last_good_edit(project: RealProject, told: Told) -> None:
    project.save("lastgood.toml", WITHOUT)
    before = entries(project)
    async with watch(project.root / "lastgood.toml", on_event=told, debounce=0.01) as session:
        assert isinstance(session.bridge, ProcessBridge)
        project.save("pricing.py", "def quote(): return 1\n")
        assert await session.settle()
        assert await session.bridge.call("pricing", "quote", (), {}) == 1
        project.save("pricing.py", BROKEN)
        assert not await session.settle()
        assert await session.bridge.call("pricing", "quote", (), {}) == 1
        assert entries(project) == before | {".lastgood"}


async def test_arguments_say_it_too(project: RealProject, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    program = watch(modules=["pricing"], output=False, on_event=told)
    assert [action.name for action in program.plan().actions] == ["stage", "warm", "swap", "watch"]
    assert "read the sources" in str(program.plan())
    async with program:
        assert (await told.success()).written == ()
        assert not (project.root / "generated").exists()


async def test_sessions_of_different_modules_do_not_share_a_place(
    project: RealProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    project.save("other.py", QUOTE)
    async with (
        watch(modules=["pricing"], output=False) as first,
        watch(modules=["other"], output=False, set_as_global=False) as second,
        watch(modules=["pricing"], output=False, set_as_global=False) as third,
    ):
        assert (first.role, second.role, third.role) == ("leader", "leader", "follower")


async def test_wrappers_go_with_the_output_directory(project: RealProject, told: Told, start: Start) -> None:
    async with start():
        await told.success()
        assert project.tree()
        (project.output / "notes.txt").write_text("mine\n")
        project.save("lastgood.toml", WITHOUT)
        await told.success()
        assert [path.name for path in project.output.iterdir()] == ["notes.txt"]
        project.configure("pricing")
        await told.success()
        assert set(project.tree()) >= {"pricing.py", "notes.txt"}


async def test_a_generate_of_the_users_is_refused(project: RealProject) -> None:
    def generate(config: Config, stage: Path) -> Generated:
        raise AssertionError(f"it must not be called, with {config} and {stage}")

    project.save("lastgood.toml", WITHOUT)
    with pytest.raises(ConfigError, match="is false, but watch\\(\\) was given a generate\\(\\)"):
        async with watch(project.root / "lastgood.toml", generate=generate):
            raise AssertionError("it must not start")


def test_generators_are_refused(project: RealProject) -> None:
    project.save("lastgood.toml", f'{WITHOUT}[generator]\ncommand = ["true"]\n')
    with pytest.raises(ConfigError, match="is false, but generators write into the output directory"):
        load_config(project.root / "lastgood.toml")
