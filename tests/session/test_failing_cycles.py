"""When a cycle of a session fails, what was live stays live, and nothing else changes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from lastgood.calls import registry as runtime
from lastgood.config import Config
from lastgood.session.watch import WatchProgram
from lastgood.store.disk import Disk
from lastgood.watch_events import DisposeFailed, ReloadError
from real_project import BROKEN, MINE, MORE, QUOTE, FakeBridge, FakeFactory, RealProject, Told, in_virtual_time


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
            if "generations" in str(args) or "/leader/" in str(args):
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
