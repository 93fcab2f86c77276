"""The events of a session: which, in which order, and to whom."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from lastgood.session.event_stream import EVENTS_KEPT
from lastgood.session.session import Session
from lastgood.session.watch import WatchProgram
from lastgood.watch_events import Change, EventsMissed, ReloadStart, ReloadSuccess, WatchEvent, WatchPaths
from real_project import DEADLINE, MORE, QUOTE, FakeFactory, RealProject, Told


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
