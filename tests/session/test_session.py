"""A running session: its events, its cycles, what stays live when one fails, reload_now(), leases (contract §§2–5)."""

from __future__ import annotations

import logging
import shutil
import sys
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from lastgood.calls import registry as runtime
from lastgood.config import Config
from lastgood.errors import BridgeError, GenerationError, ModuleFailure, NoRuntimeBridge, WatchError
from lastgood.session.event_stream import EVENTS_KEPT
from lastgood.session.session import Session, WatchProgram
from lastgood.store.disk import Disk
from lastgood.watch_events import (
    Change,
    DisposeFailed,
    EventsMissed,
    ReloadError,
    ReloadStart,
    ReloadSuccess,
    WatchEvent,
    WatchPaths,
)
from lastgood.wrappers import Generated
from real_project import BROKEN, DEADLINE, MORE, QUOTE, FakeBridge, FakeFactory, RealProject, Told

MINE = LookupError("mine")


def in_virtual_time(main: Callable[[], Awaitable[None]]) -> None:
    """Timeouts elapse as soon as every task waits; the threshold gives real threads their moment."""
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))


# --- events -----------------------------------------------------------------------------------------------------


async def test_the_events_of_good_cycles_in_order(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    pricing, config = project.root / "pricing.py", project.config_file
    async with start():
        await told.success()
        project.save("pricing.py", MORE)
        await told.success()
        project.save("shop.py", QUOTE)
        project.configure("pricing", "shop")
        await told.success()
    assert [event for event in told.events if not isinstance(event, ReloadSuccess)] == [
        ReloadStart(1, True, ()),
        WatchPaths((config, pricing)),
        Change(pricing),
        ReloadStart(2, False, (pricing,)),
        Change(config),
        ReloadStart(3, False, (config,)),
        WatchPaths((config, pricing, project.root / "shop.py")),
    ]
    assert [event.type for event in told.events] == [
        *("reload-start", "watch-paths", "reload-success"),
        *("change", "reload-start", "reload-success"),
        *("change", "reload-start", "watch-paths", "reload-success"),
    ]


async def test_a_success_tells_what_was_written_and_what_was_touched(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    project.configure("pricing", "shop")
    project.save("shop.py", QUOTE)
    init, pricing, shop = Path("__init__.py"), Path("pricing.py"), Path("shop.py")
    async with start():
        first = await told.success()
        project.save("shop.py", MORE)
        second = await told.success()
        project.save("shop.py", MORE.replace("1.0", "2.0"))  # its wrapper stays as it is
        third = await told.success()
        project.configure("pricing")
        fourth = await told.success()
    assert (first.written, first.touched) == ((init, pricing, shop), (init, pricing, shop))
    assert (second.written, second.touched) == ((init, pricing, shop), (shop,))
    assert (third.written, third.touched) == ((init, pricing, shop), ())
    assert (fourth.written, fourth.touched) == ((init, pricing), (shop,))
    assert [each.generation for each in (first, second, third, fourth)] == [1, 2, 3, 4]
    assert sorted(project.tree()) == ["__init__.py", "pricing.py"]


async def test_a_success_times_every_effect(start: Callable[..., WatchProgram], told: Told) -> None:
    async with start() as session:
        first = await told.success()
        await session.reload_now()
        second = await told.success()
    assert list(first.timings) == ["stage", "promote", "warm", "swap", "watch"]
    assert list(second.timings) == ["stage", "promote", "warm", "swap", "dispose", "watch"]
    assert all(0 <= seconds < DEADLINE for seconds in second.timings.values())


async def test_every_path_that_led_to_a_cycle_is_told_sorted(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory, told: Told
) -> None:
    project.configure("pricing", "shop")
    project.save("shop.py", QUOTE)
    async with start() as session:
        await told.success()
        pause = factory.pause("create")
        project.save("shop.py", MORE)
        await pause.reached.wait()
        project.save("pricing.py", MORE)
        project.save("shop.py", QUOTE)
        while len(set(told.changes)) < 2 or len(told.changes) < 3:
            await told.next(Change)
        pause.go()
        first, second = await told.success(), await told.success()
        assert session.generation == 3
    assert first.changed == (project.root / "shop.py",)
    assert second.changed == (project.root / "pricing.py", project.root / "shop.py")


async def test_an_on_event_that_raises_is_logged_with_its_traceback_and_breaks_nothing(
    project: RealProject, start: Callable[..., WatchProgram], told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    def on_event(event: WatchEvent) -> None:
        told(event)
        raise SystemExit("from on_event") if isinstance(event, Change) else ValueError("from on_event")

    async with start(on_event=on_event) as session:
        project.save("pricing.py", MORE)
        await told.success()
        await told.success()
        assert session.generation == 2
    assert len(caplog.records) == len(told.events)
    for record, event in zip(caplog.records, told.events, strict=True):
        assert record.levelno == logging.ERROR
        assert record.getMessage() == f"on_event raised for {event.type}"
        assert record.exc_info is not None
        assert record.exc_info[2] is not None
    assert "raise SystemExit" in caplog.text


async def test_events_come_from_now_on_and_end_with_the_session(start: Callable[..., WatchProgram]) -> None:
    async with start() as session:
        stream = session.events()
        assert await session.reload_now()
        await session.close()
        assert [event.type async for event in stream] == ["reload-start", "reload-success"]


async def test_a_task_that_waits_for_events_is_woken_by_the_end(start: Callable[..., WatchProgram]) -> None:
    seen: list[str] = []

    async def follow(session: Session) -> None:
        seen.extend([event.type async for event in session.events()])

    async with trio.open_nursery() as nursery, start() as session:
        for _ in range(2):
            nursery.start_soon(follow, session)
        await trio.testing.wait_all_tasks_blocked()
        await session.reload_now()
    assert sorted(seen) == ["reload-start"] * 2 + ["reload-success"] * 2


async def test_two_tasks_may_share_one_stream(start: Callable[..., WatchProgram]) -> None:
    seen: list[str] = []

    async with trio.open_nursery() as nursery, start() as session:
        stream = session.events()

        async def follow() -> None:
            seen.extend([event.type async for event in stream])

        nursery.start_soon(follow)
        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        await session.reload_now()
    assert sorted(seen) == ["reload-start", "reload-success"]


async def test_one_that_falls_behind_is_told_how_many_events_it_missed(
    start: Callable[..., WatchProgram], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert EVENTS_KEPT >= 100
    monkeypatch.setattr("lastgood.session.event_stream.EVENTS_KEPT", 3)
    async with start() as session:
        slow = session.events()
        for _ in range(3):
            assert await session.reload_now()
        await session.close()
        events = [event async for event in slow]
    assert events[0] == EventsMissed(3)
    assert [event.type for event in events[1:]] == ["reload-success", "reload-start", "reload-success"]


async def test_a_stream_that_is_closed_takes_no_further_part(start: Callable[..., WatchProgram]) -> None:
    async with start() as session:
        stream = session.events()
        assert await session.reload_now()
        await stream.aclose()  # type: ignore[attr-defined]  # the iterator of an async for may be closed
        assert [event async for event in stream] == []
        assert not session._streams


# --- a cycle that fails -----------------------------------------------------------------------------------------


def break_source(project: RealProject, _: FakeFactory) -> None:
    project.save("pricing.py", BROKEN)


def break_config(project: RealProject, _: FakeFactory) -> None:
    project.save("lastgood.toml", "[")


def remove_config(project: RealProject, _: FakeFactory) -> None:
    project.remove("lastgood.toml")


def remove_source(project: RealProject, _: FakeFactory) -> None:
    project.remove("pricing.py")


def name_missing_module(project: RealProject, _: FakeFactory) -> None:
    project.configure("pricing", "missing")


def clash(project: RealProject, _: FakeFactory) -> None:
    project.save("shop.py", QUOTE)
    (project.output / "shop.py").write_text("mine = True\n")
    project.configure("pricing", "shop")


def break_at(point: str, project: RealProject, factory: FakeFactory) -> None:
    factory.fail(point, MINE)
    project.save("pricing.py", MORE)


def save_source(project: RealProject) -> None:
    project.save("pricing.py", MORE + "\n")


def save_config(project: RealProject) -> None:
    project.configure("pricing", head="# mended")


def save_missing_module(project: RealProject) -> None:
    project.save("missing.py", QUOTE)


FAILURES = [
    pytest.param(break_source, "stage", save_source, id="broken source"),
    pytest.param(break_config, "stage", save_config, id="broken config"),
    pytest.param(remove_config, "stage", save_config, id="removed config"),
    pytest.param(remove_source, "stage", save_source, id="removed source"),
    pytest.param(name_missing_module, "stage", save_missing_module, id="missing module"),
    pytest.param(clash, "promote", save_config, id="unmanaged file"),
    pytest.param(partial(break_at, "create"), "warm", save_source, id="create_bridge"),
    pytest.param(partial(break_at, "init"), "warm", save_source, id="init"),
    pytest.param(partial(break_at, "probe"), "warm", save_source, id="probe"),
]


@pytest.mark.parametrize(("spoil", "effect", "mend"), FAILURES)
async def test_after_a_failure_everything_is_as_it_was_and_the_fix_leads_to_a_cycle(
    spoil: Callable[[RealProject, FakeFactory], None],
    effect: str,
    mend: Callable[[RealProject], None],
    project: RealProject,
    start: Callable[..., WatchProgram],
    factory: FakeFactory,
    told: Told,
) -> None:
    async with start() as session:
        await told.success()
        first, before, handle = factory.latest, project.exact_tree(), session.handle
        spoil(project, factory)
        if effect == "promote":
            before = project.exact_tree()
        failed = await told.failure()
        assert (failed.effect, failed.cycle, failed.manual, failed.live_generation) == (effect, 2, False, 1)
        assert effect != "warm" or failed.error is MINE
        assert project.exact_tree() == before
        assert project.leftovers() == ["pid"]
        assert session.bridge is first
        assert runtime.get_runtime_bridge().bridge is first
        assert not first.disposed
        assert await handle.call("pricing", "quote") == first.number
        assert all(bridge.disposed for bridge in factory.bridges[1:])
        status = session.status
        assert (status.generation, status.stale, status.error) == (1, True, failed.error)

        mend(project)
        await told.success()
        assert session.generation == 2
        status = session.status
        assert (status.generation, status.stale, status.since, status.error) == (2, False, None, None)
        assert session.bridge is factory.latest
        assert first.log[-1] == "dispose"


async def test_a_fault_at_any_file_operation_of_a_promotion_leaves_the_wrappers_as_they_were(
    project: RealProject, start: Callable[..., WatchProgram], told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(28, "No space left on device")

    def failing(operation: str) -> Callable[..., Any]:
        real = getattr(Disk, operation)

        def fail(*args: object) -> Any:
            if "generations" in str(args):
                return real(*args)
            monkeypatch.undo()
            raise full

        return fail

    async with start() as session:
        await told.success()
        for number, operation in enumerate(("link", "replace", "barrier", "chmod"), 1):
            before = project.exact_tree()
            project.save("pricing.py", MORE + "#" * number + f"\ndef f{number}() -> None: ...\n")
            monkeypatch.setattr(Disk, operation, failing(operation))
            assert not await session.reload_now()
            assert (await told.failure()).effect == "promote"
            assert project.exact_tree() == before
        assert await session.reload_now()


async def test_a_swap_whose_commit_fails_is_undone_like_anything_before_it(
    project: RealProject,
    start: Callable[..., WatchProgram],
    factory: FakeFactory,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unlink = Disk.unlink

    def refuse_the_journal(self: Disk, path: Path) -> None:
        if path.name == "journal.json":
            monkeypatch.undo()
            raise OSError(5, "Input/output error", str(path))
        unlink(self, path)

    async with start() as session:
        await told.success()
        before, first = project.exact_tree(), factory.latest
        monkeypatch.setattr(Disk, "unlink", refuse_the_journal)
        project.save("pricing.py", MORE)
        assert (await told.failure()).effect == "swap"
        assert project.exact_tree() == before
        assert session.bridge is first
        assert [bridge.disposed for bridge in factory.bridges] == [False, True]
        assert await session.reload_now()


@pytest.mark.parametrize("lost", ["generated", ".lastgood"])
async def test_what_is_cleaned_away_under_a_session_is_made_again(
    lost: str, project: RealProject, start: Callable[..., WatchProgram]
) -> None:
    """As ``git clean -fdx`` does it."""
    async with start() as session:
        before = project.tree()
        shutil.rmtree(project.root / lost)
        assert await session.reload_now()
        assert project.tree() == before
        assert project.leftovers() in (["pid"], [])


async def test_stale_since_is_when_the_first_of_a_row_of_failures_was_told(
    start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    async with start() as session:
        assert session.status.since is None
        factory.fail("create", MINE)
        assert not await session.reload_now()
        since = session.status.since
        factory.fail("create", again := LookupError("again"))
        assert not await session.reload_now()
        assert session.status.since == since
        assert session.status.error is again
        assert await session.reload_now()
        assert session.status.since is None


async def test_bytes_that_failed_are_tried_again_by_an_edit_or_reload_now_alone(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    async with start() as session:
        await told.success()
        project.save("pricing.py", BROKEN)
        await told.failure()
        project.save("pricing.py", BROKEN)  # the same bytes once more
        assert not await session.reload_now()
        assert (await told.failure()).manual
        project.save("pricing.py", MORE)
        assert (await told.success()).cycle == 4


async def test_going_back_to_the_last_good_bytes_is_an_edit(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    async with start() as session:
        await told.success()
        project.save("pricing.py", BROKEN)
        await told.failure()
        project.save("pricing.py", QUOTE)
        good = await told.success()
        assert (good.touched, session.generation, session.status.stale) == ((), 2, False)


@pytest.mark.parametrize("error", [MINE, SystemExit(3), KeyError("in a group")], ids=lambda error: type(error).__name__)
async def test_a_dispose_that_raises_is_a_notice_and_the_cycle_a_success(
    error: BaseException,
    start: Callable[..., WatchProgram],
    factory: FakeFactory,
    told: Told,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with start() as session:
        factory.fail("dispose", error)
        assert await session.reload_now()
        assert session.generation == 2
        assert not session.status.stale
    notices = [event for event in told.events if isinstance(event, DisposeFailed)]
    assert [(notice.generation, notice.error) for notice in notices] == [(1, error)]
    assert caplog.records == [], "who has an on_event logs it, or does not"


@pytest.mark.parametrize("error", [MINE, SystemExit(3)], ids=lambda error: type(error).__name__)
async def test_a_half_prepared_bridge_whose_dispose_raises_too_is_told_with_both_errors(
    error: BaseException, start: Callable[..., WatchProgram], factory: FakeFactory, told: Told
) -> None:
    async with start() as session:
        factory.fail("probe", first := ValueError("the probe's"))
        factory.fail("dispose", error)
        assert not await session.reload_now()
        notice, failed = told.events[-2:]
        assert notice.to_dict()["type"] == "notice-rollback-failed"
        assert getattr(notice, "error", None) is error
        assert getattr(notice, "cause", None) is first
        assert isinstance(failed, ReloadError)
        assert failed.error is first
        assert await session.reload_now()


async def test_what_cannot_be_tidied_up_after_the_swap_is_only_logged(
    start: Callable[..., WatchProgram], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: Disk, path: Path) -> None:
        raise OSError(39, "Directory not empty", str(path))

    async with start() as session:
        monkeypatch.setattr(Disk, "rmdir", refuse)
        assert await session.reload_now()
        assert session.generation == 2
        monkeypatch.undo()
        assert await session.reload_now()
    assert "could not be removed" in caplog.text


async def test_a_factory_that_gives_the_live_bridge_again_fails_and_the_bridge_stays(
    start: Callable[..., WatchProgram], factory: FakeFactory, told: Told
) -> None:
    """It would be disposed as the old one, or as the half-prepared one."""
    only: list[FakeBridge] = []

    async def cached(config: Config) -> FakeBridge:
        if not only:
            only.append(await factory.create_bridge(config))
        return only[0]

    async with start(create_bridge=cached) as session:
        await told.success()
        assert not await session.reload_now()
        assert "the bridge of an earlier cycle" in str((await told.failure()).error)
        assert session.bridge is only[0]
        assert not only[0].disposed
        assert await session.handle.call("pricing", "quote") == 1
    assert only[0].log.count("dispose") == 1


async def test_a_bridge_that_comes_too_late_is_given_up_and_the_old_one_stays(
    start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    async def main() -> None:
        async with start(warm_timeout=5) as session:
            first = session.bridge
            factory.hang("init")
            assert not await session.reload_now()
            assert "not ready within 5 s (warm_timeout)" in str(session.status.error)
            assert session.bridge is first
            assert [bridge.disposed for bridge in factory.bridges] == [False, True]

    await trio.to_thread.run_sync(in_virtual_time, main)


# --- reload_now -------------------------------------------------------------------------------------------------


async def test_callers_that_wait_together_share_a_cycle(start: Callable[..., WatchProgram], told: Told) -> None:
    answers: list[bool] = []
    async with start() as session:

        async def reload() -> None:
            answers.append(await session.reload_now())

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(reload)
    assert answers == [True] * 3
    assert told.cycles == [("reload-start", 1), ("reload-success", 1), ("reload-start", 2), ("reload-success", 2)]


async def test_a_call_during_a_cycle_is_answered_by_one_that_starts_after_it(
    start: Callable[..., WatchProgram], factory: FakeFactory, told: Told
) -> None:
    """Two calls, of which the first one's cycle fails."""
    answers: list[tuple[str, bool]] = []
    async with start() as session:

        async def reload(who: str) -> None:
            answers.append((who, await session.reload_now()))

        async with trio.open_nursery() as nursery:
            pause = factory.pause("create")
            nursery.start_soon(reload, "first")
            await pause.reached.wait()
            nursery.start_soon(reload, "second")
            nursery.start_soon(reload, "third")
            await trio.testing.wait_all_tasks_blocked()
            factory.fail("init", MINE)
            pause.go()
    assert answers[0] == ("first", False)
    assert sorted(answers[1:]) == [("second", True), ("third", True)]
    assert told.cycles[2:] == [("reload-start", 2), ("reload-error", 2), ("reload-start", 3), ("reload-success", 3)]


async def test_it_takes_along_an_edit_that_nobody_has_noticed_yet(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    async with start(debounce=3600, max_wait=3600) as session:
        await told.success()
        project.save("pricing.py", MORE)
        assert await session.reload_now()
        good = await told.success()
        assert (good.manual, good.changed) == (True, (project.root / "pricing.py",))
        assert b"more" in project.tree()["pricing.py"]


class DeafNotifier:
    """A notifier of the system that hears of nothing."""

    def __init__(self, *_: object) -> None: ...

    def watch(self, _debounce: int, _step: int, _timeout: int, stop: threading.Event) -> str:
        stop.wait(DEADLINE)
        return "stop"

    def close(self) -> None: ...


async def test_an_edit_that_only_reload_now_has_found_is_told_as_manual(
    project: RealProject, start: Callable[..., WatchProgram], told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lastgood.interpreters.watching.RustNotify", DeafNotifier)
    async with start() as session:
        await told.success()
        path = project.save("pricing.py", MORE)
        assert await session.reload_now()
        good = await told.success()
    assert [event for event in told.events if isinstance(event, Change)] == [Change(path, manual=True)]
    assert (good.manual, good.changed) == (True, (path,))


async def test_a_caller_that_is_cancelled_takes_nothing_with_it(
    start: Callable[..., WatchProgram], factory: FakeFactory, told: Told
) -> None:
    async with start() as session:
        await told.success()
        pause = factory.pause("create")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.reload_now)
            await pause.reached.wait()
            nursery.cancel_scope.cancel()
        pause.go()
        assert (await told.success()).cycle == 2


@pytest.mark.parametrize("method", ["reload_now", "close"])
@pytest.mark.parametrize("point", ["create", "init", "probe", "generate", "generate plain", "a task of create"])
async def test_from_inside_a_factory_it_raises_instead_of_deadlocking(
    point: str,
    method: str,
    start: Callable[..., WatchProgram],
    factory: FakeFactory,
    told: Told,
) -> None:
    sessions: list[Session] = []

    async def wait_for_myself() -> None:
        if sessions:
            await getattr(sessions.pop(), method)()

    async def in_a_task() -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait_for_myself)
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def generate(_: Config, stage: Path) -> Generated:
        await trio.to_thread.run_sync((stage / "pricing.py").write_text, "")
        await factory.pass_by("generate")
        return Generated(("pricing.py",))

    def generate_plain(_: Config, stage: Path) -> Generated:
        (stage / "pricing.py").write_text("")
        trio.from_thread.run(wait_for_myself)
        return Generated(("pricing.py",))

    async with start(generate=generate_plain if point == "generate plain" else generate) as session:
        await told.success()
        sessions.append(session)
        factory.call(
            "create" if point == "a task of create" else point, in_a_task if "task" in point else wait_for_myself
        )
        with trio.fail_after(DEADLINE):
            assert not await session.reload_now()
        failed = await told.failure()
        assert isinstance(failed.error, WatchError)
        assert str(failed.error).startswith(f"{method}() was called from create_bridge, generate or probe")
        sessions.clear()
        assert await session.reload_now()


async def test_a_task_that_a_factory_left_behind_may_reload_later(
    start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    answers: list[bool] = []
    go = trio.Event()
    async with trio.open_nursery() as nursery:
        program = start()

        async def later() -> None:
            await go.wait()
            assert program.session is not None
            answers.append(await program.session.reload_now())
            nursery.cancel_scope.cancel()

        factory.call("create", lambda: nursery.start_soon(later))
        async with program:
            go.set()
            await trio.Event().wait()
    assert answers == [True]


async def test_from_another_loop_it_says_so(start: Callable[..., WatchProgram]) -> None:
    async with start() as session:

        def elsewhere() -> None:
            for method in (session.reload_now, session.close):
                with pytest.raises(WatchError, match="belongs to the trio loop that the session runs on"):
                    trio.run(method)

        await trio.to_thread.run_sync(elsewhere)
        assert await session.reload_now()


# --- the hooks --------------------------------------------------------------------------------------------------


async def test_create_bridge_gets_the_config_of_its_cycle(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    async with start() as session:
        project.save("shop.py", QUOTE)
        project.configure("pricing", "shop")
        assert await session.reload_now()
    assert [list(config.modules) for config in factory.configs] == [["pricing"], ["pricing", "shop"]]
    assert factory.configs[1].output.dir == project.output


async def test_hooks_may_be_plain(start: Callable[..., WatchProgram]) -> None:
    class Plain:
        log: list[str] = []  # noqa: RUF012  # one bridge is all there is

        def init(self) -> None:
            self.log.append("init")

        async def call(self, *_: object) -> str:
            return "plain"

        async def dispose(self) -> None:
            self.log.append("dispose")

    bridge = Plain()
    async with start(create_bridge=lambda _: bridge, probe=lambda probed: probed.log.append("probe")) as session:
        assert session.bridge is bridge
        assert await session.handle.call("pricing", "quote") == "plain"
    assert bridge.log == ["init", "probe", "dispose"]


async def test_a_bridge_needs_no_init(start: Callable[..., WatchProgram]) -> None:
    class Bare:
        async def call(self, *_: object) -> str:
            return "bare"

        async def dispose(self) -> None: ...

    async with start(create_bridge=lambda _: Bare(), probe=None) as session:
        assert await session.handle.call("pricing", "quote") == "bare"


def write(stage: Path) -> Generated:
    (stage / "deep").mkdir()
    (stage / "deep" / "own.py").write_text("own = True\n")
    (stage / "not-listed.py").write_text("")
    return Generated(("deep/own.py",), ("mind the gap",))


class Generators:
    """The shapes that a generator may have; ``threads`` in which they ran."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def plain(self, _: Config, stage: Path) -> Generated:
        self.threads.append(threading.get_ident())
        return write(stage)

    async def awaited(self, config: Config, stage: Path) -> Generated:
        await trio.lowlevel.checkpoint()
        return self.plain(config, stage)

    async def __call__(self, config: Config, stage: Path) -> Generated:
        return await self.awaited(config, stage)

    def gives_awaitable(self, config: Config, stage: Path) -> Awaitable[Generated]:
        return self.awaited(config, stage)


@pytest.mark.parametrize(
    ("shape", "in_thread"),
    [("plain", True), ("awaited", False), ("__self__", False), ("gives_awaitable", False)],
    ids=["plain", "async", "async __call__", "plain that gives an awaitable"],
)
async def test_a_generator_writes_what_is_promoted(
    shape: str, in_thread: bool, project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    generators = Generators()
    generate = generators if shape == "__self__" else getattr(generators, shape)
    async with start(generate=generate):
        good = await told.success()
    assert (generators.threads[0] != threading.get_ident()) == in_thread
    assert good.written == (Path("deep/own.py"),)
    assert good.warnings == ("mind the gap",)
    assert project.tree() == {"deep/own.py": b"own = True\n"}


async def test_the_failures_of_a_generator_make_one_generation_error(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    failures: list[ModuleFailure] = []

    def generate(_: Config, stage: Path) -> Generated:
        (stage / "pricing.py").write_text(f"# {len(failures)}\n")
        return Generated(("pricing.py",), (), tuple(failures))

    async with start(generate=generate) as session:
        await told.success()
        failures += [ModuleFailure("pricing", Path("/p.py"), 3, "boom"), ModuleFailure("shop", None, None, "gone")]
        assert not await session.reload_now()
        error = (await told.failure()).error
        assert isinstance(error, GenerationError)
        assert str(error) == "Generation failed for 2 module(s):\n  pricing (/p.py:3): boom\n  shop: gone"
        assert project.tree() == {"pricing.py": b"# 0\n"}


# --- bridges and leases -----------------------------------------------------------------------------------------


async def test_a_handle_taken_before_a_swap_reaches_the_new_bridge_after_it(
    start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    async with start() as session:
        mine, published = session.handle, runtime.get_runtime_bridge()
        assert session.bridge is factory.latest
        assert (await mine.call("pricing", "quote"), await published.call("pricing", "quote")) == (1, 1)
        assert await session.reload_now()
        assert (await mine.call("pricing", "quote"), await published.call("pricing", "quote")) == (2, 2)
        assert mine.bridge is published.bridge is session.bridge is factory.latest
        assert factory.bridges[0].disposed


async def test_a_session_that_is_not_published_has_its_handle_all_the_same(start: Callable[..., WatchProgram]) -> None:
    async with start(set_as_global=False) as session:
        with pytest.raises(NoRuntimeBridge, match=r"^No runtime bridge configured\n"):
            runtime.get_runtime_bridge()
        assert await session.handle.call("pricing", "quote") == 1


async def test_a_wrapper_imported_before_a_swap_reaches_the_new_bridge_after_it(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(project.root)
    async with start() as session:
        wrapper: Any = import_module("generated.pricing")
        try:
            assert await wrapper.quote("a") == 1
            assert await session.reload_now()
            assert await wrapper.quote("b") == 2
        finally:
            for name in ("generated", "generated.pricing"):
                sys.modules.pop(name)
    assert [bridge.calls for bridge in factory.bridges] == [
        [("pricing", "quote", ("a",), {})],
        [("pricing", "quote", ("b",), {})],
    ]


async def test_a_call_in_flight_keeps_the_old_bridge_until_it_returns(start: Callable[..., WatchProgram]) -> None:
    answers: list[int] = []
    async with start(drain_timeout=DEADLINE) as session:
        first = session.bridge

        async def call() -> None:
            answers.append(await session.handle.call("pricing", "wait"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await first.in_flight.wait()
            assert await session.reload_now()
            assert session.bridge is not first
            assert not first.disposed
            assert await session.handle.call("pricing", "quote") == 2
            first.answer.set()
        assert answers == [1]
        await trio.testing.wait_all_tasks_blocked()
        assert first.disposed


def test_a_call_that_does_not_end_is_cut_off_after_drain_timeout(
    start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    async def main() -> None:
        async with start(drain_timeout=7) as session, trio.open_nursery() as nursery:
            began = trio.current_time()

            async def call() -> None:
                with pytest.raises(BridgeError, match="it had not ended 7 s after its bridge was replaced"):
                    await session.handle.call("pricing", "wait")
                assert trio.current_time() - began >= 7
                nursery.cancel_scope.cancel()

            nursery.start_soon(call)
            await factory.latest.in_flight.wait()
            assert await session.reload_now()
            await trio.sleep_forever()

    in_virtual_time(main)
    assert all(bridge.disposed for bridge in factory.bridges)


async def test_at_most_two_bridges_drain_and_the_oldest_is_cut_off(
    start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    cut: list[str] = []
    async with start(drain_timeout=3600) as session:

        async def call() -> None:
            try:
                await session.handle.call("pricing", "wait")
            except BridgeError as error:
                cut.append(str(error))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(call)
                await factory.latest.in_flight.wait()
                assert await session.reload_now()
            await trio.testing.wait_all_tasks_blocked()
            assert [bridge.disposed for bridge in factory.bridges] == [True, False, False, False]
            assert len(cut) == 1
            assert "two later bridges" in cut[0]
            for bridge in factory.bridges:
                bridge.answer.set()
    assert len(cut) == 1


async def test_a_call_from_another_thread_is_an_error_that_says_so(
    start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    async with start() as session:

        def elsewhere() -> None:
            with pytest.raises(BridgeError, match="Call it from there"):
                trio.run(session.handle.call, "pricing", "quote")

        await trio.to_thread.run_sync(elsewhere)
        factory.latest.thread_safe = True  # type: ignore[attr-defined]  # a bridge may say so
        call = partial(session.handle.call, "pricing", "quote")
        assert await trio.to_thread.run_sync(lambda: trio.run(call)) == 1
