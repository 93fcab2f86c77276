"""Ways into a session: the config that is found, the wrong ways and what is printed of them, and what is logged."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import trio

from lastgood.calls import registry as runtime
from lastgood.errors import BridgeError, ConfigError, GenerationError, NoRuntimeBridge, WatchError
from lastgood.session.session import Session
from lastgood.session.watch import WatchProgram, watch
from real_project import BROKEN, QUOTE, FakeFactory, RealProject
from running import run
from session_bridges import Bridges

# --- no argument ------------------------------------------------------------------------------------------------


@pytest.fixture
def inside(project: RealProject, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory below the project's, which is the working directory."""
    directory = project.root / "deep" / "down"
    directory.mkdir(parents=True)
    monkeypatch.chdir(directory)
    return directory


@pytest.mark.usefixtures("inside")
async def test_without_a_config_file_the_nearest_one_is_taken(project: RealProject) -> None:
    factory = FakeFactory()
    async with watch(create_bridge=factory.create_bridge):
        assert factory.configs[0].output.dir == project.output
    project.save("pyproject.toml", '[tool.lastgood]\n[tool.lastgood.modules]\n[tool.lastgood.output]\ndir = "other"\n')
    project.remove("lastgood.toml")
    async with watch(None, create_bridge=factory.create_bridge):
        assert factory.configs[1].output.dir == project.root / "other"


async def test_it_is_looked_for_when_the_program_runs_from_where_watch_was_called(
    project: RealProject, inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factory = FakeFactory()
    project.remove("lastgood.toml")
    program = watch(create_bridge=factory.create_bridge)
    print(program.plan())
    monkeypatch.chdir("/")
    with pytest.raises(ConfigError) as caught:
        async with program:
            pytest.fail("it started")
    assert f"in {inside} or a directory above it" in str(caught.value)
    assert 'make one with "lastgood init"' in str(caught.value)
    project.configure("pricing")
    async with program:
        assert factory.configs[0].output.dir == project.output


def test_one_program_without_a_config_file_starts_in_a_thread_too(
    project: RealProject, inside: Path, bridges: Bridges
) -> None:
    with watch(create_bridge=bridges.create) as session:
        assert session.config_file == project.config_file
    project.remove("lastgood.toml")
    with pytest.raises(ConfigError, match=str(inside)):
        watch(create_bridge=bridges.create).start()


# --- wrong ways in ----------------------------------------------------------------------------------------------


def text_of(call: Callable[[], object], error: type[BaseException]) -> str:
    """What is printed of it: text and notes."""
    with pytest.raises(error) as caught:
        call()
    return "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])


def test_who_runs_the_program_instead_of_calling_it_is_told_how(project: RealProject) -> None:
    program: Any = watch(project.config_file)
    wrong = text_of(lambda: asyncio.run(program), (ValueError, TypeError))  # type: ignore[arg-type]  # by Python's version
    assert "asyncio.run(program())" in wrong or "`await watch(...)()`" in wrong

    async def awaiting() -> None:
        await program

    assert "called, not awaited: `await watch(...)()`, or `async with watch(...)`" in text_of(
        lambda: trio.run(awaiting), TypeError
    )
    assert repr(program).startswith(f"<lastgood.watch() of {project.config_file}. Run it by `trio.run(program)`")


def test_on_no_loop_that_is_known_async_with_names_the_plain_one(project: RealProject) -> None:
    entering: Coroutine[Any, Any, Session] = watch(project.config_file).__aenter__()
    assert "In other code, use `with watch(...)`" in text_of(lambda: entering.send(None), WatchError)


def test_with_no_bridge_set_a_note_says_how_to_set_one() -> None:
    for call in (runtime.get_runtime_bridge, lambda: runtime._published_handle.call_blocking("pricing", "quote")):
        text, note = text_of(call, NoRuntimeBridge).split("\n")
        assert text == str(NoRuntimeBridge())
        for way in ("with lastgood.watch()", "lastgood.watch().start()", "async with", "set_runtime_bridge(bridge)"):
            assert way in note


def test_a_call_before_the_first_cycle_is_done_says_so(project: RealProject) -> None:
    said: list[str] = []

    def create(_: object) -> None:
        said.append(text_of(runtime.get_runtime_bridge, NoRuntimeBridge))
        raise LookupError

    program = watch(project.config_file, create_bridge=create)
    with pytest.raises(LookupError), program:
        pytest.fail("it started")
    text, note = said[0].split("\n")
    assert text == str(NoRuntimeBridge())
    assert f"Nothing can be called yet: the session of {project.config_file} is starting" in note


async def test_a_call_from_elsewhere_names_the_session_that_takes_it(start: Callable[..., WatchProgram]) -> None:
    async with start() as session:
        for elsewhere in (
            lambda: session.handle.call_blocking("pricing", "quote"),
            lambda: asyncio.run(session.handle.call("pricing", "quote")),
        ):
            said = await trio.to_thread.run_sync(text_of, elsewhere, BridgeError)
            assert "but its bridge lives on the trio loop of thread 'MainThread'" in said
            assert "`with watch(...)`, `watch(...).start()` or `watch(...).in_thread()`" in said


def test_where_the_session_takes_calls_the_advice_is_another(project: RealProject, bridges: Bridges) -> None:
    with watch(project.config_file, create_bridge=bridges.create) as session:
        call: Any = session.handle.call("pricing", "quote")
        said = text_of(lambda: call.send(None), BridgeError)
    assert "came from no event loop" in said
    assert "in plain code use `handle.call_blocking(...)`, or sync wrappers" in said


@pytest.mark.parametrize("method", ["reload_now", "undo", "close", "wait_closed"])
async def test_a_method_on_another_loop_says_where_it_belongs(method: str, start: Callable[..., WatchProgram]) -> None:
    async with start() as session:

        async def call() -> None:
            await getattr(session, method)()

        for run_it in (lambda: asyncio.run(call()), lambda: trio.run(call)):
            said = await trio.to_thread.run_sync(text_of, run_it, WatchError)
            assert said.startswith(f"{method}() belongs to the trio loop that the session runs on")
            assert "`with watch(...)` or `watch(...).start()`: its methods are for every thread" in said
        said = await trio.to_thread.run_sync(text_of, session.events, WatchError)
        assert said.startswith("events() belongs to")


# --- the log ----------------------------------------------------------------------------------------------------


def records(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[tuple[str, str]]:
    return [(each.levelname, each.getMessage()) for each in caplog.records if each.levelno >= level]


async def test_without_on_event_a_failed_cycle_is_one_error_with_file_line_and_reason(
    project: RealProject, start: Callable[..., WatchProgram], caplog: pytest.LogCaptureFixture
) -> None:
    async with start(on_event=None) as session:
        project.save("pricing.py", BROKEN)
        await session.reload_now()
    ((level, text),) = records(caplog, logging.WARNING)
    assert level == "ERROR"
    assert text.startswith(f"reload failed, generation 1 stays live: {project.root / 'pricing.py'}:1: pricing: ")
    assert {each.name for each in caplog.records} == {"lastgood.session"}


async def test_what_a_hook_raised_is_logged_with_its_traceback(
    start: Callable[..., WatchProgram], factory: FakeFactory, caplog: pytest.LogCaptureFixture
) -> None:
    error = LookupError("mine")
    async with start(on_event=None) as session:
        factory.fail("create", error)
        assert not await session.reload_now()
        factory.fail("dispose", error)
        assert await session.reload_now()
    failed, undisposed = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert failed.getMessage().startswith("reload failed, generation 1 stays live: ")
    assert "LookupError: mine" in failed.getMessage()
    assert undisposed.levelname == "WARNING"
    assert "the bridge of generation 1 was not disposed" in undisposed.getMessage()
    for record in (failed, undisposed):
        assert record.exc_info is not None
        assert record.exc_info[1] is error


async def test_losses_are_warnings_and_successes_info(
    start: Callable[..., WatchProgram], factory: FakeFactory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lastgood.session")
    async with start(on_event=None) as session:
        events = session.events()
        factory.latest.breakdown.set()
        async for event in events:
            if event.type == "notice-bridge-restored":
                break
    (live, lost, restored) = records(caplog)
    assert live[0] == restored[0] == "INFO"
    assert live[1].startswith("live: generation 1 (cycle 1): wrote ")
    assert lost[0] == "WARNING"
    assert lost[1].startswith("the bridge of generation 1 broke down: The worker process exited with status 1.")
    assert restored[1] == "the bridge of generation 1 is back"


async def test_a_start_that_fails_raises_and_is_not_logged(
    project: RealProject, start: Callable[..., WatchProgram], caplog: pytest.LogCaptureFixture
) -> None:
    project.save("pricing.py", BROKEN)
    with pytest.raises(GenerationError):
        async with start(on_event=None):
            pytest.fail("it started")
    assert records(caplog, logging.WARNING) == []


async def test_with_on_event_nothing_of_it_is_logged(
    project: RealProject, start: Callable[..., WatchProgram], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "lastgood")
    async with start() as session:
        project.save("pricing.py", BROKEN)
        assert not await session.reload_now()
    assert caplog.records == []


SCRIPT = """
import lastgood

with lastgood.watch() as session:
    with open("pricing.py", "w") as file:
        file.write("def quote(:\\n")
    print(session.reload_now())
"""


def test_a_program_that_has_set_nothing_up_sees_it_on_stderr(project: RealProject) -> None:
    ran = run([sys.executable, "-c", SCRIPT], project.root)
    assert (ran.status, ran.out) == (0, "False\n")
    (line,) = ran.err.splitlines()
    assert line.startswith(f"reload failed, generation 1 stays live: {project.root / 'pricing.py'}:1: pricing: ")
    assert os.path.getsize(project.root / "pricing.py") < len(QUOTE)
