"""``reload_now()``: from several tasks, during a cycle, with an edit, from within a hook."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from lastgood.config import Config
from lastgood.errors import WatchError
from lastgood.session.session import Session
from lastgood.session.watch import WatchProgram
from lastgood.watch_events import Change
from lastgood.wrappers import Generated
from real_project import DEADLINE, MINE, MORE, FakeFactory, RealProject, Told


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
