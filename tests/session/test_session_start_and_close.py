"""How a session begins and ends: nothing before it runs, failures at the start, errors of the body, Ctrl-C, close()
(contract §§2, 4, 5).
"""

from __future__ import annotations

import gc
import logging
import math
import os
import signal
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from lastgood.calls import registry as runtime
from lastgood.config import Config
from lastgood.effects import Stage
from lastgood.errors import (
    AlreadyWatched,
    BridgeError,
    ConfigError,
    ConfigMigrationError,
    Disposed,
    GenerationError,
    ModuleFailure,
    NoRuntimeBridge,
    PromotionError,
    UnmanagedFile,
    UnwatchableModule,
    WatchError,
)
from lastgood.interpreters.trio_interpreter import TrioInterpreter
from lastgood.session.session import Session, WatchProgram, watch
from lastgood.sources.snapshots import Reader
from lastgood.store.disk import Disk
from lastgood.watch_events import PollingStarted, ReloadError, ReloadStart
from lastgood.wrappers import Generated
from real_project import (
    BROKEN,
    DEADLINE,
    MINE,
    QUOTE,
    FakeBridge,
    FakeFactory,
    Pause,
    RealProject,
    Told,
    in_virtual_time,
)


def assert_nothing_is_left(project: RealProject) -> None:
    assert project.leftovers() == []
    with pytest.raises(NoRuntimeBridge):
        runtime.get_runtime_bridge()


async def assert_another_starts(project: RealProject) -> None:
    """No lock, no registry entry, no journal is in the way of the next session."""
    async with watch(project.config_file, create_bridge=FakeFactory().create_bridge) as session:
        assert session.generation == 1


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
        ({"stage_timeout": "1"}, TypeError, "stage_timeout must be a number of seconds, not str"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(
    arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as caught:
        watch("lastgood.toml", **arguments)
    assert says in str(caught.value)


def test_a_relative_config_is_relative_to_where_watch_was_called(
    project: RealProject, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(project.root)
    program = watch("lastgood.toml", extra_watch_paths=["data"])
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert program.config_file == project.config_file
    assert program.extra_watch_paths == (project.root / "data",)


# --- the three ways to run it -------------------------------------------------------------------------------------


def test_trio_run_of_it_watches_until_close(start: Callable[..., WatchProgram], factory: FakeFactory) -> None:
    program = start()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(program)
            with trio.fail_after(DEADLINE):
                while program.session is None:
                    await trio.testing.wait_all_tasks_blocked()
            assert program.session.generation == 1
            await program.session.close()

    trio.run(main)
    assert factory.latest.disposed


async def test_what_was_live_last_is_still_told_after_the_end(
    project: RealProject, start: Callable[..., WatchProgram]
) -> None:
    async with start() as session:
        assert await session.reload_now()
        project.save("pricing.py", BROKEN)
        assert not await session.reload_now()
    assert (session.generation, session.status.generation, session.status.stale) == (2, 2, True)
    with pytest.raises(Disposed):
        _ = session.bridge


def test_trio_run_of_it_watches_until_ctrl_c(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    def interrupt(event: object) -> None:
        if type(event).__name__ == "ReloadSuccess":
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        trio.run(start(on_event=interrupt))
    assert factory.latest.disposed
    assert_nothing_is_left(project)


async def test_it_watches_until_cancelled(start: Callable[..., WatchProgram], factory: FakeFactory, told: Told) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(start())
        await told.success()
        nursery.cancel_scope.cancel()
    assert factory.latest.disposed


async def test_a_program_runs_once_at_a_time_and_then_again(start: Callable[..., WatchProgram]) -> None:
    program = start()
    for _ in range(2):
        async with program as session:
            assert program.session is session
            with pytest.raises(WatchError, match="running already"):
                await program()
        assert program.session is None


# --- what the body raises -----------------------------------------------------------------------------------------

ERRORS = [
    ValueError("mine"),
    ExceptionGroup("mine", [ValueError(1), TypeError(2)]),
    ExceptionGroup("one", [ValueError(1)]),
    BaseExceptionGroup("base", [KeyboardInterrupt()]),
    StopIteration(3),
    StopAsyncIteration(3),
    RuntimeError("mine"),
    WatchError("mine"),
    SystemExit(3),
    KeyboardInterrupt("mine"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_what_the_body_raises_leaves_as_the_same_object(
    error: BaseException, project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    with pytest.raises(type(error)) as caught:
        async with start():
            raise error
    assert caught.value is error
    assert (error.__cause__, error.__context__) == (None, None)
    assert factory.latest.disposed
    assert_nothing_is_left(project)


async def test_a_timeout_around_it_stays_the_callers_own(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    with trio.CancelScope() as scope:
        async with start():
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert factory.latest.disposed
    assert_nothing_is_left(project)


async def test_a_cancel_within_the_body_ends_there(start: Callable[..., WatchProgram]) -> None:
    async with start() as session:
        with trio.move_on_after(0) as scope:
            await trio.sleep_forever()
        assert scope.cancelled_caught
        assert await session.reload_now()


async def test_the_bodys_nursery_may_hold_the_session(start: Callable[..., WatchProgram], told: Told) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with trio.open_nursery() as nursery, start() as session:
            nursery.start_soon(session.reload_now)
            await told.success()
            await told.success()
            raise ValueError("mine")
    assert [type(error) for error in caught.value.exceptions] == [ValueError]


async def test_a_cancel_that_comes_before_the_start_touches_nothing(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory, told: Told
) -> None:
    # Which of the two tasks trio runs first is left to chance: twenty tries see both orders.
    for _ in range(20):
        with trio.CancelScope() as scope:
            scope.cancel()
            async with start():
                pytest.fail("it ran")
        assert scope.cancelled_caught
    assert (factory.bridges, told.events) == ([], [])
    assert not project.output.exists()


@pytest.mark.parametrize("point", ["create", "init", "probe"])
async def test_a_cancel_during_the_start_undoes_it(
    point: str, project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory, told: Told
) -> None:
    pause = factory.pause(point)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(start())
        await pause.reached.wait()
        assert project.tree()
        nursery.cancel_scope.cancel()
    assert not project.output.exists()
    assert all(bridge.disposed for bridge in factory.bridges)
    assert [event.type for event in told.events] == ["reload-start"]
    await assert_another_starts(project)


# --- Ctrl-C -----------------------------------------------------------------------------------------------------


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


async def press_and_wait() -> None:
    press_ctrl_c()
    await trio.sleep_forever()


def pressing_in_promote(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a promotion, which runs in a thread."""
    link = Disk.link

    def press_and_link(self: Disk, source: Path, target: Path) -> None:
        monkeypatch.setattr(Disk, "link", link)
        trio.from_thread.run_sync(press_ctrl_c)
        link(self, source, target)

    monkeypatch.setattr(Disk, "link", press_and_link)


@pytest.mark.parametrize("point", ["on_event", "generate", "promote", "create", "init", "probe"])
def test_ctrl_c_during_the_start_leaves_bare_and_undoes_it(
    point: str,
    project: RealProject,
    start: Callable[..., WatchProgram],
    factory: FakeFactory,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def on_event(event: Any) -> None:
        told(event)
        if point == "on_event":
            press_ctrl_c()

    async def generate(_: Config, stage: Path) -> Generated:
        await factory.pass_by("generate")
        await trio.Path(stage / "pricing.py").write_text(QUOTE)
        return Generated(("pricing.py",))

    if point == "promote":
        pressing_in_promote(monkeypatch)
    factory.call(point, press_and_wait)
    with pytest.raises(KeyboardInterrupt) as caught:
        trio.run(start(on_event=on_event, generate=generate))
    assert type(caught.value) is KeyboardInterrupt
    assert not project.output.exists()
    assert all(bridge.disposed for bridge in factory.bridges)
    assert [event.type for event in told.events] == ["reload-start"]
    assert_nothing_is_left(project)
    trio.run(assert_another_starts, project)


@pytest.mark.parametrize("point", ["body", "promote", "create", "init", "probe", "dispose"])
def test_ctrl_c_during_a_session_leaves_bare(
    point: str,
    project: RealProject,
    start: Callable[..., WatchProgram],
    factory: FakeFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        async with start() as session:
            project.save("pricing.py", QUOTE.replace("1.0", "2.0") + "def more() -> None: ...\n")
            if point == "promote":
                pressing_in_promote(monkeypatch)
            factory.call(point, press_ctrl_c if point == "dispose" else press_and_wait)
            if point == "body":
                press_ctrl_c()
            with suppress(trio.Cancelled):
                await session.reload_now()
            pytest.fail("Ctrl-C was lost")

    with pytest.raises(KeyboardInterrupt) as caught:
        trio.run(main)
    assert type(caught.value) is KeyboardInterrupt
    assert all(bridge.disposed for bridge in factory.bridges)
    assert_nothing_is_left(project)
    trio.run(assert_another_starts, project)


@pytest.mark.parametrize("hook", ["create_bridge", "probe"])
@pytest.mark.parametrize("at_start", [True, False], ids=["at the start", "later"])
def test_ctrl_c_ends_a_plain_hook_that_blocks(
    hook: str, at_start: bool, project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    blocking = [at_start]
    ended: list[str] = []

    def plain(argument: Any) -> object:
        if blocking[0]:
            try:
                press_ctrl_c()
            finally:
                ended.append(hook)
        return factory.create_bridge(argument) if hook == "create_bridge" else None

    async def main() -> None:
        async with start(**{hook: plain}) as session:
            blocking[0] = True
            await session.reload_now()
            pytest.fail("Ctrl-C was lost")

    with pytest.raises(KeyboardInterrupt) as caught:
        trio.run(main)
    assert type(caught.value) is KeyboardInterrupt
    assert ended == [hook]
    assert all(bridge.disposed for bridge in factory.bridges)
    assert_nothing_is_left(project)
    trio.run(assert_another_starts, project)


@pytest.mark.parametrize("way", ["leave", "raise", "cancel"])
def test_ctrl_c_during_the_last_drain_ends_it_and_is_not_lost(
    way: str, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    """Also when the body had left by an error, or by a cancel that ends around it."""
    failed: list[BaseException] = []

    async def call(session: Session) -> None:
        try:
            await session.handle.call("pricing", "wait")
        except BridgeError as error:
            failed.append(error)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                async with start(drain_timeout=3600) as session:
                    nursery.start_soon(call, session)
                    await factory.latest.in_flight.wait()
                    nursery.start_soon(press_when_closing, session)
                    if way == "raise":
                        raise ValueError("mine")
                    if way == "cancel":
                        scope.cancel()
                        await trio.lowlevel.checkpoint()
        pytest.fail("Ctrl-C was lost")

    async def press_when_closing(session: Session) -> None:
        with pytest.raises(Disposed):
            while session.bridge is not None:
                await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()
        # From a task of the test's it would be raised right there; so it comes as from a keyboard, while all tasks wait.
        trio.lowlevel.current_trio_token().run_sync_soon(press_ctrl_c)

    with pytest.raises(BaseExceptionGroup) as caught:  # the test's own nursery makes the group
        trio.run(main)
    assert [type(error) for error in caught.value.exceptions] == [KeyboardInterrupt]
    assert str(failed[0]) == "The call was cut off by Ctrl-C."
    assert factory.latest.disposed


def test_ctrl_c_in_the_dispose_of_a_drained_bridge_is_not_an_error_of_the_session(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    async def main() -> None:
        async with start() as session, trio.open_nursery() as nursery:
            nursery.start_soon(session.handle.call, "pricing", "wait")
            first = factory.latest
            await first.in_flight.wait()
            assert await session.reload_now()
            factory.call("dispose", press_ctrl_c)
            first.answer.set()
            await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:  # the nursery in the body makes the group
        trio.run(main)
    assert [type(error) for error in caught.value.exceptions] == [KeyboardInterrupt]
    assert all(bridge.disposed for bridge in factory.bridges)
    assert_nothing_is_left(project)


# --- watching dies ----------------------------------------------------------------------------------------------


async def test_if_watching_dies_the_body_is_cancelled_and_a_watch_error_raised(
    project: RealProject,
    start: Callable[..., WatchProgram],
    factory: FakeFactory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = RuntimeError("the reader is broken")

    def read(*_: object) -> None:
        raise broken

    with pytest.raises(WatchError, match="Watching stopped: the reader is broken") as caught:
        async with start():
            monkeypatch.setattr(Reader, "read", read)
            project.save("pricing.py", QUOTE + "\n")
            with trio.fail_after(DEADLINE):
                await trio.sleep_forever()
    assert caught.value.__cause__ is broken
    assert factory.latest.disposed
    assert_nothing_is_left(project)
    assert [record.getMessage() for record in caplog.records] == ["the watcher failed"]


async def test_if_watching_dies_what_the_body_raises_itself_still_leaves(
    project: RealProject, start: Callable[..., WatchProgram], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        async with start():
            monkeypatch.setattr(Reader, "read", lambda *_: 1 / 0)
            project.save("pricing.py", QUOTE + "\n")
            try:
                await trio.sleep_forever()
            finally:
                raise mine
    assert caught.value is mine


async def test_if_watching_dies_during_the_start_it_is_a_watch_error_too(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Reader.read

    def break_watching() -> None:
        monkeypatch.setattr(Reader, "read", lambda *_: 1 / 0)
        project.save("pricing.py", QUOTE + "\n")

    async def init_until_dead() -> None:
        break_watching()
        await trio.sleep_forever()

    factory.call("init", init_until_dead)
    with pytest.raises(WatchError) as caught:
        async with start():
            pytest.fail("it started")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert factory.latest.disposed
    assert not project.output.exists()
    monkeypatch.setattr(Reader, "read", read)
    await assert_another_starts(project)


def test_whatever_else_breaks_in_the_machine_is_a_watch_error_too(
    project: RealProject, start: Callable[..., WatchProgram], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = RuntimeError("the timer is broken")
    cancelled: list[bool] = []

    async def main() -> None:
        async with start():
            monkeypatch.setattr(TrioInterpreter, "_run_timer", raises_async(broken))
            project.save("pricing.py", QUOTE + "\n")
            try:
                await trio.sleep_forever()
            finally:
                cancelled.append(True)

    with pytest.raises(WatchError, match="Watching stopped") as caught:
        trio.run(main)
    assert caught.value.__cause__ is not None
    assert "the timer is broken" in "".join(traceback.format_exception(caught.value))
    assert cancelled == [True]
    assert_nothing_is_left(project)


class BrokenNotify:
    """A notifier of the system that breaks down, at its start or later."""

    def __init__(self, *_: object) -> None: ...

    def watch(self, *_: object) -> str:
        raise RuntimeError("no more events")

    def close(self) -> None: ...


class NoNotify:
    def __init__(self, *_: object) -> None:
        raise OSError("OS file watch limit reached.")


@pytest.mark.parametrize(
    ("notify", "reason"),
    [(BrokenNotify, "no more events"), (NoNotify, "fs.inotify.max_user_watches")],
    ids=["later", "at the start"],
)
def test_if_only_the_systems_notifier_gives_out_files_are_polled_and_the_user_is_told(
    notify: type,
    reason: str,
    project: RealProject,
    start: Callable[..., WatchProgram],
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        async with start():
            await told.success()
            project.save("pricing.py", QUOTE + "def more() -> None: ...\n")
            await told.success()

    monkeypatch.setattr("lastgood.interpreters.watching.RustNotify", notify)
    trio.run(main)
    notices = [event for event in told.events if isinstance(event, PollingStarted)]
    assert len(notices) == 1
    assert reason in notices[0].reason


# --- a start that fails -----------------------------------------------------------------------------------------


def raises(error: BaseException) -> Callable[..., Any]:
    def plain(*_: object) -> Any:
        raise error

    return plain


def raises_async(error: BaseException) -> Callable[..., Any]:
    async def awaited(*_: object) -> Any:
        await trio.lowlevel.checkpoint()
        raise error

    return awaited


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
        (spoil_source, GenerationError, "Generation failed for 1 module(s):\n  pricing ("),
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
    text = str(caught.value).splitlines()
    assert text[0] == "Generation failed for 2 module(s):"
    assert text[1].startswith(f"  pricing ({project.root / 'pricing.py'}:1): ")
    assert text[2].startswith(f"  tax ({project.root / 'tax.py'}:2): ")


async def test_a_start_that_fails_leaves_older_wrappers_exactly_as_they_were(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    async with start():
        pass
    before = project.exact_tree()
    project.save("pricing.py", QUOTE + "def more() -> None: ...\n")
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
            "Generation failed for 1 module(s):\n  pricing (/p.py:3): boom",
        ),
    ],
    ids=["None", "a list", "missing", "outside", "absolute", "the stage itself", "failures"],
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


async def test_a_second_session_on_one_output_directory_fails_at_once_and_names_the_pid(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    async with start() as session:
        with pytest.raises(AlreadyWatched) as caught:
            async with start(set_as_global=False):
                pytest.fail("it started")
        assert caught.value.pid == os.getpid()
        assert f"the session of process {os.getpid()}" in str(caught.value)
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


# --- close() ----------------------------------------------------------------------------------------------------


def hold_promote(monkeypatch: pytest.MonkeyPatch) -> Pause:
    pause, link = Pause(), Disk.link

    def held(self: Disk, source: Path, target: Path) -> None:
        monkeypatch.setattr(Disk, "link", link)
        link(self, source, target)
        pause.here_in_thread()

    monkeypatch.setattr(Disk, "link", held)
    return pause


@pytest.mark.parametrize("point", ["generate", "generate plain", "promote", "create", "init", "probe"])
async def test_close_in_mid_cycle_wins(
    point: str,
    project: RealProject,
    start: Callable[..., WatchProgram],
    factory: FakeFactory,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: list[bool] = []
    texts = iter(("one", "two"))

    async def generate(_: Config, stage: Path) -> Generated:
        text = next(texts)
        await trio.to_thread.run_sync((stage / "pricing.py").write_text, text)
        await factory.pass_by("generate")
        return Generated(("pricing.py",))

    def generate_plain(_: Config, stage: Path) -> Generated:
        (stage / "pricing.py").write_text(next(texts))
        if holding:
            pause.here_in_thread()
        return Generated(("pricing.py",))

    async def reload(session: Session) -> None:
        answers.append(await session.reload_now())

    holding = False
    plain = point == "generate plain"
    async with (
        trio.open_nursery() as nursery,
        start(generate=generate_plain if plain else generate) as session,
    ):
        before, events, first = project.exact_tree(), len(told.events), factory.latest
        holding = True
        pause = hold_promote(monkeypatch) if point == "promote" else Pause() if plain else factory.pause(point)
        nursery.start_soon(reload, session)
        await pause.reached.wait()
        nursery.start_soon(session.close)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(NoRuntimeBridge):
            runtime.get_runtime_bridge()
        pause.go()  # a thread cannot be stopped: close() waits for it
        await session.close()
        assert answers == [False]
        assert [event.type for event in told.events[events:]] == ["reload-start"]
        assert project.exact_tree() == before
        assert first.disposed
        assert all(bridge.disposed for bridge in factory.bridges)
        assert_nothing_is_left(project)
    assert [event.type for event in told.events[events:]] == ["reload-start"]


async def test_close_after_the_swap_lets_the_cycle_end_in_silence(
    start: Callable[..., WatchProgram], factory: FakeFactory, told: Told
) -> None:
    answers: list[bool] = []
    async with trio.open_nursery() as nursery, start() as session:

        async def reload() -> None:
            answers.append(await session.reload_now())

        pause = factory.pause("dispose")  # of the first bridge
        nursery.start_soon(reload)
        await pause.reached.wait()
        nursery.start_soon(session.close)
        await trio.testing.wait_all_tasks_blocked()
        pause.go()
    assert answers == [False]
    assert [event.type for event in told.events][-2:] == ["reload-success", "reload-start"]
    assert all(bridge.disposed for bridge in factory.bridges)


async def test_a_closed_session_says_so(start: Callable[..., WatchProgram], factory: FakeFactory) -> None:
    async with start() as session:
        handle = session.handle
        await session.close()
        await session.close()
        await session.wait_closed()
        with pytest.raises(Disposed):
            await session.reload_now()
        with pytest.raises(Disposed):
            _ = session.bridge
        with pytest.raises(Disposed):
            await handle.call("pricing", "quote")
        with pytest.raises(NoRuntimeBridge):
            runtime.get_runtime_bridge()
        assert [event async for event in session.events()] == []
        assert factory.latest.log.count("dispose") == 1
    with pytest.raises(Disposed):
        await session.reload_now()


async def test_reload_now_that_waits_is_told_false_by_a_close(start: Callable[..., WatchProgram]) -> None:
    answers: list[bool] = []
    async with trio.open_nursery() as nursery, start() as session:

        async def reload() -> None:
            answers.append(await session.reload_now())

        nursery.start_soon(reload)
        nursery.start_soon(reload)
        await trio.testing.wait_all_tasks_blocked(0)
        await session.close()
    assert len(answers) == 2
    assert set(answers) <= {True, False}


async def test_close_gives_calls_in_flight_the_drain_timeout(
    start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    answers: list[object] = []
    async with trio.open_nursery() as nursery, start(drain_timeout=DEADLINE) as session:

        async def call() -> None:
            answers.append(await session.handle.call("pricing", "wait"))

        nursery.start_soon(call)
        await factory.latest.in_flight.wait()
        nursery.start_soon(session.close)
        await trio.testing.wait_all_tasks_blocked()
        assert not factory.latest.disposed
        factory.latest.answer.set()
    assert answers == [1]
    assert factory.latest.disposed


def test_a_hanging_dispose_at_close_is_given_up(
    start: Callable[..., WatchProgram], factory: FakeFactory, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> float:
        async with start(drain_timeout=50) as session:
            factory.hang("dispose")
            began = trio.current_time()
            await session.close()
            return trio.current_time() - began

    caplog.set_level(logging.CRITICAL)
    took = in_virtual_time(main)
    assert 50 <= took < 60


# --- nothing leaks ----------------------------------------------------------------------------------------------


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def our_threads() -> list[str]:
    """Threads that run code of ours or of the notifier: idle ones of trio's cache do not count."""
    return [thread.name for thread in threading.enumerate() if "lastgood" in thread.name or "watch" in thread.name]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors by /proc")
async def test_thirty_sessions_leave_no_task_no_thread_no_descriptor(
    project: RealProject, start: Callable[..., WatchProgram]
) -> None:
    async with start():
        pass
    tasks = trio.lowlevel.current_statistics().tasks_living
    descriptors = open_descriptors()
    for _ in range(30):
        async with start() as session:
            assert await session.reload_now()
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    gc.collect()
    with trio.fail_after(DEADLINE):
        # The notifier's thread lets go of its descriptors a moment after it was told to.
        while open_descriptors() > descriptors:
            await trio.to_thread.run_sync(os.sched_yield)
    with trio.fail_after(DEADLINE):
        while our_threads():
            await trio.to_thread.run_sync(os.sched_yield)
    assert_nothing_is_left(project)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors by /proc")
async def test_starts_that_fail_leave_no_descriptor(start: Callable[..., WatchProgram], factory: FakeFactory) -> None:
    async with start() as first:
        await first.close()
        descriptors = open_descriptors()
    async with start():
        for _ in range(10):
            with pytest.raises(AlreadyWatched):
                async with start(set_as_global=False):
                    pytest.fail("it started")
    for _ in range(10):
        factory.fail("init", MINE)
        with pytest.raises(LookupError):
            async with start():
                pytest.fail("it started")
    gc.collect()
    with trio.fail_after(DEADLINE):
        while open_descriptors() > descriptors:
            await trio.to_thread.run_sync(os.sched_yield)


async def test_a_start_event_comes_first_of_all(start: Callable[..., WatchProgram], told: Told) -> None:
    async with start():
        pass
    assert told.events[0] == ReloadStart(1, True, ())
