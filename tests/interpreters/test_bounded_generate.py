"""A ``generate=`` that hangs is abandoned after ``stage_timeout``, and not called again before it is back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from bounded_time import LATE, Gate, Time, failure
from lastgood.config import Config
from lastgood.session.session import Session
from lastgood.session.watch import WatchProgram
from lastgood.watch_events import ReloadStart
from lastgood.wrappers import Generated
from real_project import DEADLINE, MORE, RealProject, Told


@asynccontextmanager
async def reloading(session: Session) -> AsyncIterator[list[bool]]:
    """A ``reload_now()`` besides; its answer is there at the end."""
    answers: list[bool] = []

    async def reload() -> None:
        answers.append(await session.reload_now())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reload)
        yield answers


WAITED = (
    "an earlier stage is still working on this; the next one has waited for it for 60 s (stage_timeout). "
    "Simplify it, or raise stage_timeout."
)


def generating(gate: Gate) -> Callable[[Config, Path], Generated]:
    def generate(_: Config, stage: Path) -> Generated:
        gate.pass_by()
        (stage / "pricing.py").write_text(f"# {gate.visits}\n")
        return Generated(("pricing.py",))

    return generate


async def test_a_plain_generate_that_hangs_is_an_error_and_is_not_started_again_before_it_is_back(
    project: RealProject, start: Callable[..., WatchProgram], told: Told, gate: Gate, time: Time
) -> None:
    async with start(generate=generating(gate)) as session:
        await told.success()
        before, gate.is_shut = project.exact_tree(), True
        async with reloading(session) as answers:
            await gate.reached()
            time.is_over()
        assert answers == [False]
        assert await failure(told) == ("generate()", None, LATE)
        assert session.status.stale
        assert session.generation == 1
        async with reloading(session) as answers:
            await trio.testing.wait_all_tasks_blocked(0.01)
            time.is_over()
        assert await failure(told) == ("generate()", None, WAITED)
        assert gate.visits == 2, "it was not called once more"
        assert project.exact_tree() == before
        gate.open()
        assert await session.reload_now()
        assert project.tree() == {"pricing.py": b"# 3\n"}
    assert project.leftovers() == []


async def test_the_next_edit_waits_for_a_generate_that_comes_back_in_time(
    project: RealProject, start: Callable[..., WatchProgram], told: Told, gate: Gate, time: Time
) -> None:
    async with start(generate=generating(gate)) as session:
        await told.success()
        gate.is_shut = True
        async with reloading(session):
            await gate.reached()
            time.is_over()
        await told.failure()
        project.save("pricing.py", MORE)
        await trio.testing.wait_all_tasks_blocked(0.01)
        gate.open()
        await told.success()
        assert project.tree() == {"pricing.py": b"# 3\n"}
    assert project.leftovers() == [], "nor what the one given up had still written"


async def test_the_edit_that_a_stage_could_not_try_is_tried_when_generate_is_back(
    project: RealProject, start: Callable[..., WatchProgram], told: Told, gate: Gate, time: Time
) -> None:
    async with start(generate=generating(gate)):
        await told.success()
        gate.is_shut = True
        project.save("pricing.py", MORE)
        await gate.reached()
        time.is_over()
        assert await failure(told) == ("generate()", None, LATE)
        project.save("pricing.py", MORE + MORE)
        await told.next(ReloadStart)
        await trio.testing.wait_all_tasks_blocked(0.01)
        time.is_over()
        assert await failure(told) == ("generate()", None, WAITED)
        assert gate.visits == 2
        gate.open()
        success = await told.success()
        assert (success.manual, success.changed) == (False, (project.root / "pricing.py",))
        assert gate.visits == 3


async def test_an_async_generate_that_hangs_is_cancelled(
    project: RealProject, start: Callable[..., WatchProgram], told: Told, time: Time
) -> None:
    hangs, reached, cancelled = False, trio.Event(), []

    async def generate(_: Config, stage: Path) -> Generated:
        await trio.Path(stage / "pricing.py").write_text("")
        if hangs:
            reached.set()
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                cancelled.append(True)
                raise
        return Generated(("pricing.py",))

    async with start(generate=generate) as session:
        await told.success()
        hangs = True
        async with reloading(session):
            await reached.wait()
            time.is_over()
        assert await failure(told) == ("generate()", None, LATE)
        assert cancelled == [True]
        hangs = False
        project.save("pricing.py", MORE)
        await told.success()


async def test_close_waits_for_a_generate_that_hangs(
    start: Callable[..., WatchProgram], told: Told, gate: Gate, time: Time
) -> None:
    async with start(generate=generating(gate)) as session, trio.open_nursery() as nursery:
        await told.success()
        gate.is_shut = True
        async with reloading(session):
            await gate.reached()
            time.is_over()
        closed = trio.Event()

        async def close() -> None:
            await session.close()
            closed.set()

        nursery.start_soon(close)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not closed.is_set()
        gate.open()
        with trio.fail_after(DEADLINE):
            await closed.wait()


@pytest.mark.parametrize("when", ["in the stage", "after it was given up"])
async def test_a_second_ctrl_c_leaves_a_generate_that_hangs_behind(
    when: str, start: Callable[..., WatchProgram], told: Told, gate: Gate, time: Time
) -> None:
    async with start(generate=generating(gate)) as session, trio.open_nursery() as nursery:
        await told.success()
        gate.is_shut = True
        nursery.start_soon(session.reload_now)
        await gate.reached()
        if when == "after it was given up":
            time.is_over()
            await told.failure()
        nursery.start_soon(session.close)
        await trio.testing.wait_all_tasks_blocked(0.01)
        session.close_at_once()
        with trio.fail_after(DEADLINE):
            await session.wait_closed()
        assert gate.is_shut


async def test_a_close_after_the_time_of_a_stage_waits_as_long_again(
    start: Callable[..., WatchProgram], told: Told, gate: Gate, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    async with start(generate=generating(gate)) as session, trio.open_nursery() as nursery:
        await told.success()
        gate.is_shut = True
        async with reloading(session):
            await gate.reached()
            time.is_over()
        await told.failure()
        nursery.start_soon(session.close)
        await trio.testing.wait_all_tasks_blocked(0.01)
        time.is_over()
        with trio.fail_after(DEADLINE):
            await session.wait_closed()
    assert caplog.messages == ["generate(): a thread that works on this has not returned; it is left running"]
