"""``async with watch()`` under asyncio and uvloop: the session runs in a thread, its methods and ``on_event`` on the app's loop."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import trio
import trio.lowlevel

from flavours import DEADLINE
from generating import importable
from lastgood.calls import registry as runtime
from lastgood.config import Config
from lastgood.errors import BridgeError, ConfigError, Disposed, NoRuntimeBridge, WatchError
from lastgood.session.session import Session, WatchProgram, watch
from lastgood.sources.snapshots import Reader
from lastgood.watch_events import EventsMissed, ReloadError, ReloadStart, ReloadSuccess, WatchEvent
from real_project import BROKEN, QUOTE, RealProject
from running import ENVIRONMENT
from session.test_threaded import Bridge, Bridges

Main = Callable[[], Awaitable[None]]
Run = Callable[[Main], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a function on a loop of that kind, within the deadline."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if request.param == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop

    def run(main: Main) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(DEADLINE):
                await main()

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(bounded())

    return run


@pytest.fixture
def bridges() -> Bridges:
    return Bridges()


@pytest.fixture
def program(project: RealProject, bridges: Bridges) -> WatchProgram:
    return watch(project.config_file, create_bridge=bridges.create, debounce=0.01)


@pytest.fixture(autouse=True)
def nothing_is_left(project: RealProject) -> Iterator[None]:
    yield
    assert session_threads() == []
    assert project.leftovers() == []
    with pytest.raises(NoRuntimeBridge):
        runtime.get_runtime_bridge()


def session_threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("lastgood")]


async def in_flight(bridge: Bridge) -> None:
    assert await asyncio.to_thread(bridge.in_flight.acquire, timeout=DEADLINE)


class Hanging:
    """A probe that never ends, from the ``first`` bridge on."""

    def __init__(self, first: int = 1) -> None:
        self.reached = threading.Event()
        self._first = first

    async def __call__(self, bridge: Bridge) -> None:
        if bridge.number >= self._first:
            self.reached.set()
            await trio.sleep_forever()

    async def wait(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, DEADLINE)


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
            assert all(await asyncio.gather(session.reload_now(), session.reload_now()))
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


# --- how it ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [LookupError("mine"), ExceptionGroup("ours", [ValueError()])], ids=["one", "group"])
def test_what_the_body_raises_leaves_as_the_same_object(
    program: WatchProgram, bridges: Bridges, error: Exception, run: Run
) -> None:
    async def main() -> None:
        with pytest.raises(type(error)) as caught:
            async with program:
                raise error
        assert caught.value is error
        assert bridges.made[0].disposed

    run(main)


def die(*_: object) -> None:
    raise RuntimeError("no more")


def test_when_watching_dies_the_body_is_cancelled_and_a_watch_error_raised(
    program: WatchProgram, project: RealProject, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    async def main() -> None:
        with pytest.raises(WatchError, match="Watching stopped: no more"):
            async with program:
                monkeypatch.setattr(Reader, "read", die)
                project.save("pricing.py", QUOTE + "\n")
                await asyncio.Event().wait()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)

    run(main)


def test_when_watching_dies_what_the_body_raises_itself_still_leaves(
    program: WatchProgram, project: RealProject, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    async def main() -> None:
        with pytest.raises(LookupError):
            async with program:
                monkeypatch.setattr(Reader, "read", die)
                project.save("pricing.py", QUOTE + "\n")
                try:
                    await asyncio.Event().wait()
                finally:
                    raise LookupError("mine")

    run(main)


def announced(project: RealProject, bridges: Bridges) -> tuple[WatchProgram, asyncio.Event]:
    """A program, and the event that it has started, which is set once the app's task has gone on."""
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_event(event: WatchEvent) -> None:
        if isinstance(event, ReloadSuccess):
            loop.call_later(0, wait_for_session)

    def wait_for_session() -> None:
        if program.session is None:
            loop.call_later(0, wait_for_session)
        else:
            started.set()

    program = watch(project.config_file, create_bridge=bridges.create, on_event=on_event)
    return program, started


def test_a_program_that_is_called_watches_until_cancelled(project: RealProject, bridges: Bridges, run: Run) -> None:
    async def main() -> None:
        program, started = announced(project, bridges)
        watching = asyncio.create_task(program())
        await started.wait()
        assert program.session is not None
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
        assert bridges.made[0].disposed

    run(main)


def test_a_program_that_is_called_ends_when_the_session_is_closed(
    project: RealProject, bridges: Bridges, run: Run
) -> None:
    async def main() -> None:
        program, started = announced(project, bridges)
        watching = asyncio.create_task(program())
        await started.wait()
        assert program.session is not None
        await program.session.close()
        await watching

    run(main)


def test_cancelled_during_the_start_it_undoes_it(project: RealProject, bridges: Bridges, run: Run) -> None:
    probe = Hanging()

    async def main() -> None:
        starting = asyncio.create_task(watch(project.config_file, create_bridge=bridges.create, probe=probe)())
        await probe.wait()
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert session_threads() == []
        assert bridges.made[0].disposed
        assert project.tree() == {}

    run(main)


@pytest.mark.parametrize("first", [1, 2], ids=["the start", "the body"])
def test_a_timeout_around_it_is_a_timeout(project: RealProject, bridges: Bridges, first: int, run: Run) -> None:
    probe = Hanging(first)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as timeout:

                async def expire() -> None:
                    await probe.wait()
                    timeout.reschedule(asyncio.get_running_loop().time())

                expiring = asyncio.create_task(expire())
                async with watch(project.config_file, create_bridge=bridges.create, probe=probe) as session:
                    await session.reload_now()
        await expiring

    run(main)
    assert all(bridge.disposed for bridge in bridges.made)


def test_a_cancel_during_the_exit_ends_the_calls_that_are_waited_for_and_is_not_lost(
    program: WatchProgram, bridges: Bridges, run: Run
) -> None:
    async def main() -> None:
        leaving = asyncio.Event()
        calls: list[asyncio.Task[Any]] = []

        async def app() -> None:
            async with program as session:
                calls.append(asyncio.create_task(session.handle.call("pricing", "wait")))
                await in_flight(bridges.made[0])
                leaving.set()

        task = asyncio.create_task(app())
        await leaving.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(BridgeError, match="was cut off by a cancellation"):
            await calls[0]

    run(main)


def test_a_block_may_be_left_by_another_task_than_entered_it(program: WatchProgram, run: Run) -> None:
    async def main() -> None:
        session = await asyncio.create_task(program.__aenter__())
        assert await session.reload_now()
        await asyncio.create_task(program.__aexit__(None, None, None))

    run(main)


def test_nothing_holds_the_loop_up(project: RealProject, bridges: Bridges, run: Run) -> None:
    """The start and the close wait, in their thread, until the loop has taken a step."""

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def from_loop() -> None:
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(DEADLINE)

        class Closing(Bridge):
            async def dispose(self) -> None:
                from_loop()
                await super().dispose()

        def create(_: Config) -> Bridge:
            from_loop()
            bridges.made.append(Closing(1))
            return bridges.made[-1]

        async with watch(project.config_file, create_bridge=create):
            pass

    run(main)
    assert bridges.made[0].disposed


def test_a_loop_that_is_closed_under_it_leaves_it_to_the_end_of_the_process(
    program: WatchProgram, bridges: Bridges, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_exit: list[Callable[[], object]] = []
    monkeypatch.setattr("lastgood.session.threaded.atexit.register", at_exit.append)
    loop = asyncio.new_event_loop()
    session: Session = loop.run_until_complete(program.__aenter__())
    loop.close()
    assert len(session_threads()) == 1
    assert trio.run(session.reload_now), "from another loop"
    (close,) = at_exit
    close()
    assert all(bridge.disposed for bridge in bridges.made)


def test_a_body_that_is_thrown_away_ends_its_session(program: WatchProgram, bridges: Bridges) -> None:
    loop = asyncio.new_event_loop()
    entered = asyncio.Event()

    async def app() -> None:
        async with program:
            entered.set()
            await asyncio.Event().wait()

    coroutine = app()

    async def until_entered() -> None:
        task = asyncio.ensure_future(coroutine)
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # it is meant
        await entered.wait()

    loop.run_until_complete(until_entered())
    threads = [each for each in threading.enumerate() if each.name.startswith("lastgood")]
    loop.close()
    coroutine.close()
    gc.collect()
    for thread in threads:
        thread.join(DEADLINE)
    assert bridges.made[0].disposed


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


APP = """
import asyncio, os, signal, sys, threading
import lastgood
sys.path.insert(0, ".")

def napping():
    os.close(os.open("napping", os.O_RDONLY))

async def cut_off(call):
    try:
        await call
    except lastgood.BridgeError as error:
        assert "was cut off by a cancellation" in str(error)

def interrupt_twice(session):
    # Ctrl-C now, and once leaving the block waits for the call in flight.
    os.kill(os.getpid(), signal.SIGINT)
    try:
        while True:
            session.handle.call_blocking("pricing", "pid")
    except lastgood.Disposed:
        os.kill(os.getpid(), signal.SIGINT)

async def main():
    async with lastgood.watch(drain_timeout=600) as session:
        from generated import pricing
        print(await pricing.pid(), flush=True)
        {body}

{run}
"""
PRICING = """
import asyncio, os

def pid() -> int:
    return os.getpid()

async def nap() -> None:
    open("napping", "w").close()
    await asyncio.sleep(600)
"""


CTRL_C_TWICE = """nap = asyncio.create_task(cut_off(pricing.nap()))
        await asyncio.to_thread(napping)
        threading.Thread(target=interrupt_twice, args=[session], daemon=True).start()
        await asyncio.sleep(60)"""
CLOSE_THE_LOOP = """asyncio.current_task()._log_destroy_pending = False
        asyncio.get_running_loop().stop(); await asyncio.sleep(60)"""
IN_A_CLOSED_LOOP = "loop = asyncio.new_event_loop(); task = loop.create_task(main()); loop.run_forever(); loop.close()"


@pytest.mark.parametrize(
    ("body", "run", "ended"),
    [
        ("signal.raise_signal(signal.SIGINT); await asyncio.sleep(60)", "asyncio.run(main())", "KeyboardInterrupt"),
        (CTRL_C_TWICE, "asyncio.run(main())", "KeyboardInterrupt"),
        (CTRL_C_TWICE, "uvloop.run(main())", "KeyboardInterrupt"),
        (CLOSE_THE_LOOP, IN_A_CLOSED_LOOP, ""),
        ("sys.exit(0)", "asyncio.run(main())", ""),
    ],
    ids=["Ctrl-C", "Ctrl-C twice in a call", "Ctrl-C twice in a call under uvloop", "a closed loop", "sys.exit"],
)
def test_however_a_process_ends_it_does_not_hang_and_no_worker_is_left(
    project: RealProject, body: str, run: str, ended: str
) -> None:
    if "uvloop" in run:
        pytest.importorskip("uvloop")
        run = f"import uvloop\n{run}"
    project.save("pricing.py", PRICING)
    os.mkfifo(project.root / "napping")
    program = APP.format(body=body, run=run)
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=project.root,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert ran.stderr.strip().splitlines()[-1:] == ([ended] if ended else []), ran.stderr
    assert ran.returncode == (-signal.SIGINT if ended else 0)
    assert not is_alive(int(ran.stdout))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
