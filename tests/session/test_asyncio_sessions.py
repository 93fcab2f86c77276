"""``async with watch()`` under asyncio and uvloop: the session runs in a thread, its methods and ``on_event`` on the app's loop."""

from __future__ import annotations

import asyncio
import importlib
import threading
from typing import Any

import pytest
import trio
import trio.lowlevel

from flavours import DEADLINE
from generating import importable
from lastgood.calls import registry as runtime
from lastgood.config import Config
from lastgood.errors import ConfigError, Disposed, WatchError
from lastgood.session.session import Session
from lastgood.session.watch import WatchProgram, watch
from lastgood.watch_events import EventsMissed, ReloadError, ReloadStart, ReloadSuccess, WatchEvent
from real_project import BROKEN, QUOTE, RealProject
from session_bridges import Bridge, Bridges, Run, session_threads

pytestmark = pytest.mark.usefixtures("no_session_is_left")


# --- the session's face -----------------------------------------------------------------------------------------


def test_its_methods_are_awaited_on_the_apps_loop(program: WatchProgram, bridges: Bridges, run: Run) -> None:
    async def main() -> None:
        async with program as session:
            assert isinstance(session, Session)
            assert program.session is session
            assert session.generation == 1
            assert not session.status.stale
            assert session.bridge is bridges.made[0]
            assert (await runtime.get_runtime_bridge().call("pricing", "f", (1,), {"x": 2}))[1:] == (
                "pricing.f",
                (1,),
                {"x": 2},
            )
            assert await session.reload_now()
            assert session.generation == 2
            assert await session.undo() is False, "the config has not changed, so there is no generation before"
            call = session.handle.call_blocking
            assert (await asyncio.to_thread(call, "pricing", "f"))[1] == "pricing.f"
            assert {name for bridge in bridges.made for name in bridge.threads} == set(session_threads())
        assert session_threads() == [], "gone when the block is left"
        with pytest.raises(Disposed):
            await session.reload_now()
        with pytest.raises(Disposed):
            await session.handle.call("pricing", "f")
        await session.close()
        await session.wait_closed()
        assert [event async for event in session.events()] == []

    run(main)
    assert [bridge.disposed for bridge in bridges.made] == [True] * len(bridges.made)


def test_on_event_is_called_on_the_apps_loop_in_order_and_before_the_answer(
    project: RealProject, bridges: Bridges, run: Run
) -> None:
    told: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def on_event(event: WatchEvent) -> None:
            assert asyncio.get_running_loop() is loop
            told.append(event.type)
            raise SystemExit("it is logged, and breaks nothing")

        async with watch(project.config_file, create_bridge=bridges.create, on_event=on_event) as session:
            assert told == ["reload-start", "watch-paths", "reload-success"]
            for _ in range(3):
                assert await session.reload_now()
                assert told[-2:] == ["reload-start", "reload-success"]

    run(main)


def test_a_start_that_fails_tells_on_event_first(project: RealProject, bridges: Bridges, run: Run) -> None:
    error = LookupError("mine")
    told: list[WatchEvent] = []

    def refuse(_: object) -> None:
        raise error

    async def main() -> None:
        program = watch(project.config_file, create_bridge=bridges.create, probe=refuse, on_event=told.append)
        with pytest.raises(LookupError) as caught:
            async with program:
                pytest.fail("it started")
        assert caught.value is error
        assert isinstance(told[-1], ReloadError)
        assert told[-1].error is error

    run(main)
    assert bridges.made[0].disposed
    assert project.tree() == {}


def test_an_app_whose_loop_is_held_up_is_told_how_many_events_it_missed(
    project: RealProject, bridges: Bridges, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.setattr("lastgood.session.event_stream.EVENTS_KEPT", 3)
    told: list[WatchEvent] = []

    async def main() -> None:
        async with watch(project.config_file, create_bridge=bridges.create, on_event=told.append) as session:
            told.clear()
            thread = threading.Thread(target=lambda: [trio.run(session.reload_now) for _ in range(4)])
            thread.start()
            thread.join(DEADLINE)  # holds the loop up
            assert told == []
            await asyncio.sleep(0)
            assert [event.type for event in told[1:]] == ["reload-success", "reload-start", "reload-success"]
            assert told[0] == EventsMissed(5)

    run(main)


def test_events_are_iterated_on_the_apps_loop_until_the_end(
    program: WatchProgram, project: RealProject, run: Run
) -> None:
    async def main() -> None:
        async with program as session:
            events, others = session.events(), session.events()
            project.save("pricing.py", QUOTE.replace("1.0", "2.0"))
            async for event in events:
                if isinstance(event, ReloadSuccess | ReloadError):
                    break
            assert isinstance(event, ReloadSuccess)
            await session.close()
            seen = [event async for event in others]
            assert ReloadStart(2, False, event.changed) in seen
            assert event in seen

    run(main)


def test_a_reader_of_events_that_is_cancelled_loses_none(program: WatchProgram, run: Run) -> None:
    async def main() -> None:
        async with program as session:
            events = session.events()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await anext(events)
            assert await session.reload_now()
            assert [type(await anext(events)) for _ in range(2)] == [ReloadStart, ReloadSuccess]
            await events.aclose()  # type: ignore[attr-defined]  # an iterator need not have it
            with pytest.raises(StopAsyncIteration):
                await anext(events)

    run(main)


def test_hooks_run_in_the_sessions_thread_async_ones_on_its_trio_loop(
    project: RealProject, bridges: Bridges, run: Run
) -> None:
    where: list[str] = []

    def create(config: Config) -> Bridge:
        where.append(threading.current_thread().name)
        return bridges.create(config)

    async def probe(_: Bridge) -> None:
        await trio.lowlevel.checkpoint()
        where.append(threading.current_thread().name)

    async def main() -> None:
        async with watch(project.config_file, create_bridge=create, probe=probe):
            assert where == session_threads() * 2

    run(main)


def test_called_from_its_own_hooks_it_is_an_error_and_no_deadlock(
    project: RealProject, bridges: Bridges, run: Run
) -> None:
    sessions: list[Session] = []

    async def probe(_: Bridge) -> None:
        for session in sessions:
            await session.reload_now()

    async def main() -> None:
        async with watch(project.config_file, create_bridge=bridges.create, probe=probe) as session:
            sessions.append(session)
            assert not await session.reload_now()
            assert isinstance(session.status.error, WatchError)
            assert "it would wait for the cycle it is part of" in str(session.status.error)

    run(main)


# --- the rest of the way in -------------------------------------------------------------------------------------


def test_one_program_runs_once_at_a_time_and_again_later(program: WatchProgram, bridges: Bridges, run: Run) -> None:
    async def main() -> None:
        async with program:
            with pytest.raises(WatchError, match="running already"):
                async with program:
                    pytest.fail("it started")
            with pytest.raises(WatchError, match="running already"):
                program.start()
        async with program as session:
            assert session.bridge is bridges.made[1]

    run(main)


def test_a_config_that_is_not_there_is_the_starts_error(project: RealProject, run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="does not exist"):
            async with watch(project.root / "nowhere.toml"):
                pytest.fail("it started")

    run(main)


def test_wrappers_are_awaited_or_called_in_threads(project: RealProject, run: Run) -> None:
    for style in ("async", "sync"):
        package = f"asyncio_{style}_wrappers"
        project.save("lastgood.toml", f'[modules.pricing]\n[output]\ndir = "{package}"\nstyle = "{style}"\n')

        async def main(package: str = package, style: str = style) -> None:
            async with watch(project.config_file, debounce=0.01) as session:
                pricing = importlib.import_module(f"{package}.pricing")

                async def quote() -> float:
                    result: float = await (
                        pricing.quote("apple") if style == "async" else asyncio.to_thread(pricing.quote, "apple")
                    )
                    return result

                assert await quote() == 1.0
                events = session.events()
                project.save("pricing.py", QUOTE.replace("1.0", "2.5"))
                assert await succeeded(events)
                assert await quote() == 2.5
                project.save("pricing.py", BROKEN)
                assert not await succeeded(events)
                assert await quote() == 2.5
                project.save("pricing.py", QUOTE)
                assert await succeeded(events)
                assert await asyncio.gather(*(quote() for _ in range(20))) == [1.0] * 20

        with importable(project.root, package):
            run(main)


async def succeeded(events: Any) -> bool:
    async for event in events:
        if isinstance(event, ReloadSuccess | ReloadError):
            return isinstance(event, ReloadSuccess)
    raise AssertionError("the session ended")
