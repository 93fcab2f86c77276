"""``wait_for_first``: a start that fails is told, and waits for the edit that mends it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import trio

from lastgood.errors import GenerationError, NothingToUndo
from lastgood.session.session import Session
from lastgood.session.watch import WatchProgram
from real_project import BROKEN, DEADLINE, QUOTE, FakeFactory, RealProject, Told

Start = Callable[..., WatchProgram]


async def waiting(program: WatchProgram, sessions: list[Session]) -> None:
    async with program as session:
        sessions.append(session)
        await session.wait_closed()


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        ({"pricing.py": BROKEN}, {"pricing.py": QUOTE}),
        ({"lastgood.toml": "[modules"}, {}),
        ({"lastgood.toml": '[modules.missing]\n[output]\ndir = "generated"\n'}, {"missing.py": QUOTE}),
    ],
    ids=["source", "config", "missing module"],
)
async def test_an_edit_mends_it(
    broken: dict[str, str], mended: dict[str, str], project: RealProject, start: Start, told: Told
) -> None:
    good = {name: (project.root / name).read_text() for name in broken if (project.root / name).exists()}
    for name, text in broken.items():
        project.save(name, text)
    sessions: list[Session] = []
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiting, start(wait_for_first=True), sessions)
            failure = await told.failure()
            assert (failure.live_generation, sessions) == (None, [])
            for name, text in (mended or good).items():
                project.save(name, text)
            await told.success()
            await trio.testing.wait_all_tasks_blocked()
            (session,) = sessions
            assert (session.generation, session.status.stale) == (1, False)
            await session.close()


async def test_a_factory_that_raises_is_asked_again_after_an_edit(
    project: RealProject, start: Start, told: Told, factory: FakeFactory
) -> None:
    factory.fail("create", LookupError("not yet"))
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiting, start(wait_for_first=True), [])
            assert (await told.failure()).effect == "warm"
            assert project.tree() == {}, "the output directory is as it was"
            project.save("pricing.py", f"{QUOTE}\n")
            await told.success()
            nursery.cancel_scope.cancel()


async def test_it_is_logged_while_it_waits(
    project: RealProject, start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.save("pricing.py", BROKEN)
    logged = trio.Event()
    monkeypatch.setattr(logging.getLogger("lastgood.session"), "filters", [lambda _: not logged.set()])
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiting, start(wait_for_first=True, on_event=None), [])
            await logged.wait()
            nursery.cancel_scope.cancel()
    (record,) = caplog.records
    where = f"{project.root / 'pricing.py'}:1: pricing: invalid syntax"
    assert record.getMessage().startswith(f"start failed, nothing is live yet, and an edit is waited for: {where}")


async def test_a_cancelled_start_leaves_nothing(project: RealProject, start: Start, told: Told) -> None:
    project.save("pricing.py", BROKEN)
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiting, start(wait_for_first=True), [])
            await told.failure()
            nursery.cancel_scope.cancel()
    project.save("pricing.py", QUOTE)
    async with start() as session:
        assert session.generation == 1


async def test_without_it_the_error_is_raised(project: RealProject, start: Start) -> None:
    project.save("pricing.py", BROKEN)
    with pytest.raises(GenerationError):
        async with start():
            pass


def test_a_plain_start_waits_too(project: RealProject, start: Start) -> None:
    project.save("pricing.py", BROKEN)

    def mend(event: object) -> None:
        if type(event).__name__ == "ReloadError":
            project.save("pricing.py", QUOTE)

    with start(wait_for_first=True, on_event=mend) as session:
        assert session.generation == 1


def test_there_is_nothing_to_undo_yet(project: RealProject) -> None:
    assert str(NothingToUndo(project.output)).endswith("there is nothing to go back to.")
