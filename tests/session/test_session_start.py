"""A start of a session: nothing before it runs, and one that fails leaves nothing."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import lastgood
from lastgood.calls import registry as runtime
from lastgood.config import Config
from lastgood.effects import Stage
from lastgood.errors import (
    AlreadyWatched,
    BridgeError,
    ConfigError,
    ConfigMigrationError,
    GenerationError,
    ModuleFailure,
    PromotionError,
    UnmanagedFile,
    UnwatchableModule,
)
from lastgood.session.watch import WatchProgram, watch
from lastgood.watch_events import ReloadError, ReloadStart
from lastgood.wrappers import Generated
from real_project import (
    BROKEN,
    MINE,
    MORE,
    QUOTE,
    FakeBridge,
    FakeFactory,
    RealProject,
    Told,
    assert_another_starts,
    assert_nothing_is_left,
    in_virtual_time,
    raises,
    raises_async,
)

# --- before it runs ---------------------------------------------------------------------------------------------


def test_nothing_is_touched_before_it_runs(tmp_path: Path) -> None:
    before = threading.active_count()
    program = watch(
        tmp_path / "nowhere" / "lastgood.toml", create_bridge=lambda _: pytest.fail("made"), extra_watch_paths=["x"]
    )
    program.plan()
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == before
    assert program.session is None


def test_the_plan_of_the_first_cycle_prints_before_anything_runs() -> None:
    program = watch("nowhere.toml", warm_timeout=5)
    assert str(program.plan()).splitlines() == [
        "cycle 1",
        "  1. stage    resolve the config, arm the new watches, generate every wrapper into a staging directory",
        "              undo: discard the stage",
        "  2. promote  write the wrappers that differ, remove managed ones that no longer exist",
        "              undo: restore every file as it was",
        "  3. warm     create the next bridge, init() and probe it, within 5 s",
        "              undo: dispose the half-prepared bridge",
        "  4. swap     publish the next bridge: the commit point",
        "              no undo: what comes after it can only lead to a notice",
        "  5. watch    commit the watched set",
    ]


@pytest.mark.parametrize(("given", "seconds"), [(None, 60.0), (5, 5.0), (math.inf, math.inf)])
def test_a_stage_has_a_minute_unless_it_is_said_otherwise(given: float | None, seconds: float) -> None:
    assert watch("nowhere.toml", stage_timeout=given).plan().actions[0] == Stage(1, timeout=seconds)


@pytest.mark.parametrize(("given", "known"), [(None, {}), (0, {"supersede_after": 0.0}), (5, {"supersede_after": 5.0})])
def test_what_was_given_is_kept_apart_from_what_the_config_may_say(
    given: float | None, known: dict[str, float]
) -> None:
    assert watch("nowhere.toml", supersede_after=given).given == known


class AsyncCallable:
    async def __call__(self, event: object) -> None: ...


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"create_bridge": 3}, TypeError, "create_bridge must be callable, not int"),
        ({"generate": "x"}, TypeError, "generate must be callable, not str"),
        ({"probe": 3}, TypeError, "probe must be callable"),
        ({"on_event": 3}, TypeError, "on_event must be callable"),
        ({"on_event": trio.sleep}, TypeError, "use session.events()"),
        ({"extra_watch_paths": "data"}, TypeError, "a list of paths"),
        ({"extra_watch_paths": Path("data")}, TypeError, "a list of paths"),
        ({"debounce": "1"}, TypeError, "debounce must be a number of seconds, not str"),
        ({"debounce": True}, TypeError, "not bool"),
        ({"debounce": -1}, ValueError, "debounce must be at least 0 s, not -1"),
        ({"max_wait": float("nan")}, ValueError, "max_wait must be at least 0 s"),
        ({"warm_timeout": 0}, ValueError, "warm_timeout must be more than 0 s"),
        ({"drain_timeout": -0.5}, ValueError, "drain_timeout must be at least 0 s"),
        ({"stage_timeout": 0}, ValueError, "stage_timeout must be more than 0 s"),
        ({"stage_timeout": float("nan")}, ValueError, "stage_timeout must be more than 0 s"),
        ({"supersede_after": -1}, ValueError, "supersede_after must be at least 0 s, not -1"),
        ({"supersede_after": "1"}, TypeError, "supersede_after must be a number of seconds, not str"),
        ({"stage_timeout": "1"}, TypeError, "stage_timeout must be a number of seconds, not str"),
        ({"drain_timeout": 10**400}, ValueError, "drain_timeout is too large"),
        ({"extra_watch_paths": None}, TypeError, "a list of paths, not NoneType"),
        ({"extra_watch_paths": [b"data"]}, TypeError, "a list of paths, and each must be a path, not bytes"),
        ({"on_event": partial(partial(trio.sleep), 1)}, TypeError, "use session.events()"),
        ({"on_event": AsyncCallable()}, TypeError, "use session.events()"),
        (
            {"create_bridge": lambda: None},
            TypeError,
            "create_bridge is called as create_bridge(config), but it takes ()",
        ),
        (
            {"generate": lambda _config: None},
            TypeError,
            "generate is called as generate(config, stage_dir), but it takes (_c",
        ),
        ({"probe": lambda: None}, TypeError, "probe is called as probe(bridge), but it takes ()"),
        ({"on_event": lambda: None}, TypeError, "on_event is called as on_event(event), but it takes ()"),
        ({"wait_for_first": "no"}, TypeError, "wait_for_first must be True or False, not str"),
        ({"set_as_global": None}, TypeError, "set_as_global must be True or False, not NoneType"),
        ({"config_file": 3}, TypeError, "config_file must be a path, not int"),
        ({"config_file": b"lastgood.toml"}, TypeError, "config_file must be a path, not bytes"),
        ({"modules": 3}, TypeError, "modules must be a list of module names, or a mapping, not int"),
        ({"modules": b"pricing"}, TypeError, "not bytes"),
        ({"modules": [None]}, TypeError, "not one of NoneType"),
        ({"modules": {3: {}}}, TypeError, "not one of int"),
        ({"modules": {"pricing": {"functions": {"quote"}}}}, TypeError, "texts, numbers, lists and mappings, not set"),
        ({"modules": ["pricing"], "import_path": b"src"}, TypeError, "import_path must be a list of paths, not bytes"),
        ({"modules": ["pricing"], "import_path": [3]}, TypeError, "and each must be a path, not int"),
        ({"modules": ["pricing"], "output": b"out"}, TypeError, "texts, numbers, lists and mappings, not bytes"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(
    arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as caught:
        watch(**{"config_file": None if "modules" in arguments else "lastgood.toml", **arguments})
    assert says in str(caught.value)


def test_a_relative_config_is_relative_to_where_watch_was_called(
    project: RealProject, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(project.root)
    program = watch("lastgood.toml", extra_watch_paths=["data"])
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert program.config_file == project.config_file
    assert program.extra_watch_paths == (project.root / "data",)


# --- a start that fails -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hooks", "effect"),
    [
        ({"create_bridge": raises(MINE)}, "warm"),
        ({"create_bridge": raises_async(MINE)}, "warm"),
        ({"create_bridge": raises(SystemExit(3))}, "warm"),
        ({"probe": raises(MINE)}, "warm"),
        ({"probe": raises_async(MINE)}, "warm"),
        ({"generate": raises(MINE)}, "stage"),
        ({"generate": raises_async(MINE)}, "stage"),
        ({"generate": raises(SystemExit(3))}, "stage"),
        ({"generate": raises(ExceptionGroup("mine", [MINE]))}, "stage"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
async def test_what_a_hook_raises_at_the_start_is_raised_as_the_same_object(
    hooks: dict[str, Any],
    effect: str,
    project: RealProject,
    start: Callable[..., WatchProgram],
    factory: FakeFactory,
    told: Told,
) -> None:
    with pytest.raises(BaseException) as caught:  # noqa: PT011  # the very object is asserted below
        async with start(**hooks):
            pytest.fail("it started")
    assert [event.type for event in told.events] == ["reload-start", "reload-error"]
    failed = told.events[-1]
    assert isinstance(failed, ReloadError)
    assert failed.error is caught.value
    assert (failed.effect, failed.cycle, failed.manual, failed.live_generation) == (effect, 1, True, None)
    assert caught.value.__context__ is None
    assert not project.output.exists()
    assert all(bridge.disposed for bridge in factory.bridges)
    assert_nothing_is_left(project)
    await assert_another_starts(project)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["plain", "async"])
async def test_the_bridge_whose_init_raises_is_disposed(
    asynchronous: bool, project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    init = (raises_async if asynchronous else raises)(MINE)

    async def create(config: Config) -> FakeBridge:
        bridge = await factory.create_bridge(config)
        bridge.init = init  # type: ignore[method-assign]  # it is the point
        return bridge

    with pytest.raises(LookupError) as caught:
        async with start(create_bridge=create):
            pytest.fail("it started")
    assert caught.value is MINE
    assert factory.latest.log == ["dispose"]
    await assert_another_starts(project)


@pytest.mark.parametrize("point", ["create", "init", "probe"])
def test_what_hangs_while_warming_is_given_up_after_warm_timeout(
    point: str, project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    factory.hang(point)

    async def main() -> None:
        with pytest.raises(BridgeError, match=r"not ready within 10 s \(warm_timeout\)"):
            async with start(warm_timeout=10):
                pytest.fail("it started")

    in_virtual_time(main)
    assert all(bridge.disposed for bridge in factory.bridges)
    assert not project.output.exists()
    assert_nothing_is_left(project)


def spoil_config(project: RealProject) -> None:
    project.save("lastgood.toml", "modules = [")


def spoil_field(project: RealProject) -> None:
    project.save("lastgood.toml", '[modules]\n[output]\ndir = "generated"\n[development]\n')


def spoil_source(project: RealProject) -> None:
    project.save("pricing.py", BROKEN)


def clash(project: RealProject) -> None:
    project.save("generated/pricing.py", "mine = True\n")


def file_as_output(project: RealProject) -> None:
    project.save("generated", "mine\n")


def source_as_output(project: RealProject) -> None:
    project.save("generated/__init__.py", "")
    project.configure("generated")


def module_named_as_output(project: RealProject) -> None:
    project.save("generated.py", QUOTE)  # which generated/, once it is there, would hide
    project.configure("generated")


def hidden_by_a_built_in_module(project: RealProject) -> None:
    project.save("time.py", QUOTE)
    project.configure("time")


def link_as_own_directory(project: RealProject) -> None:
    (project.root / "elsewhere").mkdir()
    (project.root / ".lastgood").symlink_to(project.root / "elsewhere")


@pytest.mark.parametrize(
    ("spoil", "error", "says"),
    [
        (lambda project: project.remove("lastgood.toml"), ConfigError, "the config file does not exist"),
        (spoil_config, ConfigError, "not valid TOML"),
        (spoil_field, ConfigMigrationError, 'Legacy config field "development" is no longer supported.'),
        (
            lambda project: project.remove("pricing.py"),
            UnwatchableModule,
            'Module "pricing" could not be resolved for watching',
        ),
        (
            lambda project: project.configure("math"),
            UnwatchableModule,
            'Module "math" is not backed by a local Python source file or package directory and cannot be watched',
        ),
        (hidden_by_a_built_in_module, UnwatchableModule, "since its interpreter has a module of that name"),
        (link_as_own_directory, ConfigError, ".lastgood is a symbolic link"),
        (spoil_source, GenerationError, "pricing ("),
        (clash, UnmanagedFile, "lastgood did not write this file"),
        (file_as_output, PromotionError, "is not a directory"),
        (source_as_output, ConfigError, "is a source"),
        (module_named_as_output, ConfigError, "is a source"),
    ],
    ids=[
        "no config",
        "broken config",
        "legacy field",
        "missing module",
        "no local source",
        "hidden by a built-in module",
        ".lastgood is a link",
        "broken source",
        "unmanaged file",
        "output is a file",
        "output is a source",
        "output would become a source",
    ],
)
async def test_a_project_that_cannot_start_raises_the_very_error_before_any_bridge_is_made(
    spoil: Callable[[RealProject], None],
    error: type[Exception],
    says: str,
    project: RealProject,
    start: Callable[..., WatchProgram],
    factory: FakeFactory,
    told: Told,
) -> None:
    spoil(project)
    before = project.exact_tree()
    with pytest.raises(error) as caught:
        async with start():
            pytest.fail("it started")
    assert type(caught.value) is error
    assert says in str(caught.value)
    assert [event.type for event in told.events] == ["reload-start", "reload-error"]
    assert factory.configs == []
    assert project.exact_tree() == before
    assert_nothing_is_left(project)


def test_trio_run_of_a_project_that_cannot_start_raises_the_very_error(
    project: RealProject, start: Callable[..., WatchProgram]
) -> None:
    project.remove("lastgood.toml")
    with pytest.raises(ConfigError, match="the config file does not exist"):
        trio.run(start())


async def test_every_broken_module_is_named(project: RealProject, start: Callable[..., WatchProgram]) -> None:
    project.configure("pricing", "shop", "tax")
    project.save("pricing.py", BROKEN)
    project.save("shop.py", QUOTE)
    project.save("tax.py", "def rate() -> float:\n    return (\n")
    with pytest.raises(GenerationError) as caught:
        async with start():
            pytest.fail("it started")
    assert [(failure.module, failure.file, failure.line) for failure in caught.value.failures] == [
        ("pricing", project.root / "pricing.py", 1),
        ("tax", project.root / "tax.py", 2),
    ]


async def test_a_start_that_fails_leaves_older_wrappers_exactly_as_they_were(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    async with start():
        pass
    before = project.exact_tree()
    project.save("pricing.py", MORE)
    factory.fail("probe", MINE)
    with pytest.raises(LookupError):
        async with start():
            pytest.fail("it started")
    assert project.exact_tree() == before


@pytest.mark.parametrize(
    ("made", "error", "says"),
    [
        (None, TypeError, "generate() returned NoneType; expected lastgood.Generated"),
        (["pricing.py"], TypeError, "generate() returned list"),
        (Generated(("missing.py",)), PromotionError, "there is no such file in the stage directory"),
        (Generated(("../outside.py",)), PromotionError, "not a path inside the stage directory"),
        (Generated(("/etc/passwd",)), PromotionError, "not a path inside the stage directory"),
        (Generated((".",)), PromotionError, "not a path inside the stage directory"),
        (
            Generated((), failures=(ModuleFailure("pricing", Path("/p.py"), 3, "boom"),)),
            GenerationError,
            "pricing (/p.py:3): boom",
        ),
        (Generated("a.py"), TypeError, "returned files that are str; expected a tuple"),  # type: ignore[arg-type]  # what is tried
        (Generated((3,)), TypeError, "files with int; expected each to be a path"),  # type: ignore[arg-type]
        (Generated((b"a.py",)), TypeError, "files with bytes"),  # type: ignore[arg-type]
        (Generated((), "careful"), TypeError, "returned warnings that are str"),  # type: ignore[arg-type]
        (Generated((), (3,)), TypeError, "warnings with int; expected each to be a text"),  # type: ignore[arg-type]
        (Generated((), (), ("boom",)), TypeError, "failures with str; expected each to be a ModuleFailure"),  # type: ignore[arg-type]
        (Generated(None), TypeError, "returned files that are NoneType"),  # type: ignore[arg-type]
    ],
    ids=["None", "a list", "missing", "outside", "absolute", "the stage itself", "failures", *"abcdefg"],
)
async def test_a_generator_that_returns_rubbish_fails_the_stage(
    made: Any, error: type[Exception], says: str, start: Callable[..., WatchProgram], told: Told
) -> None:
    with pytest.raises(error) as caught:
        async with start(generate=lambda _config, _stage: made):
            pytest.fail("it started")
    assert says in str(caught.value)
    assert isinstance(told.events[-1], ReloadError)
    assert told.events[-1].effect == "stage"


@pytest.mark.parametrize("bridge", [None, 3, object()], ids=["None", "int", "object"])
async def test_a_factory_that_returns_no_bridge_is_told_what_one_is(
    bridge: object, start: Callable[..., WatchProgram]
) -> None:
    with pytest.raises(BridgeError, match=r"create_bridge\(\) returned \w+, which has no call\(\)"):
        async with start(create_bridge=lambda _: bridge, probe=None):
            pytest.fail("it started")


async def test_a_second_session_that_cannot_follow_fails_at_once_and_names_the_pid_and_what_differs(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    async with start() as session:
        with pytest.raises(AlreadyWatched) as caught:
            async with start(set_as_global=False, generate=lambda *_: Generated(())):
                pytest.fail("it started")
        assert caught.value.pid == os.getpid()
        assert f"the session of process {os.getpid()}, which this one cannot follow: sessions that" in str(caught.value)
        assert len(factory.bridges) == 1
        assert await session.reload_now()
    await assert_another_starts(project)


async def test_a_second_session_that_would_publish_fails_at_its_start(
    start: Callable[..., WatchProgram], tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = RealProject(tmp_path_factory.mktemp("other"))
    theirs = FakeFactory()
    async with start() as session:
        with pytest.raises(BridgeError, match="Only one bridge can be published"):
            async with watch(other.config_file, create_bridge=theirs.create_bridge):
                pytest.fail("it started")
        assert theirs.configs == []
        assert not other.output.exists()
        assert runtime.get_runtime_bridge().bridge is session.bridge
        async with watch(other.config_file, create_bridge=theirs.create_bridge, set_as_global=False) as second:
            assert runtime.get_runtime_bridge().bridge is session.bridge
            assert second.handle.bridge is theirs.latest


async def test_a_session_clears_the_registry_only_of_what_is_still_its_own(start: Callable[..., WatchProgram]) -> None:
    mine = FakeBridge(7, FakeFactory().pass_by)
    async with start():
        runtime.set_runtime_bridge(mine)
    assert runtime.get_runtime_bridge().bridge is mine
    runtime.clear_runtime_bridge()


# --- its first event --------------------------------------------------------------------------------------------


async def test_a_start_event_comes_first_of_all(start: Callable[..., WatchProgram], told: Told) -> None:
    async with start():
        pass
    assert told.events[0] == ReloadStart(1, True, ())


async def test_a_session_is_shown_to_a_person(project: RealProject, start: Callable[..., WatchProgram]) -> None:
    async with start() as session:
        named = f"<lastgood session of {project.config_file}: "
        assert repr(session) == f"{named}generation 1 is live>"
        project.save("pricing.py", BROKEN)
        assert not await session.settle()
        assert repr(session).startswith(
            f"{named}generation 1 is live, and STALE because of GenerationError: Generation failed"
        )
        assert ", error=<GenerationError: Generation failed for 1 module(s): …>, calls={})" in repr(session.status)
    assert repr(session) == f"{named}closed>"


def test_so_is_one_in_a_thread(project: RealProject, start: Callable[..., WatchProgram]) -> None:
    with start() as session:
        assert repr(session) == f"<lastgood session of {project.config_file}: generation 1 is live>"
    assert repr(session) == "<lastgood session: closed>"


def test_events_are_printed_as_the_command_prints_them(
    project: RealProject, start: Callable[..., WatchProgram], capsys: pytest.CaptureFixture[str]
) -> None:
    with start(on_event=lastgood.print_events) as session:
        project.save("pricing.py", BROKEN)
        assert not session.settle()
    printed = capsys.readouterr().out
    assert "generation 1" in printed
    assert "STALE" in printed
