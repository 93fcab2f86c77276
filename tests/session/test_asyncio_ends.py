"""How ``async with watch()`` ends under asyncio and uvloop: errors, cancellation, and the end of the process."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

from flavours import DEADLINE
from lastgood.config import Config
from lastgood.errors import BridgeError, WatchError
from lastgood.session.session import Session
from lastgood.session.watch import WatchProgram, watch
from lastgood.sources.snapshots import Reader
from lastgood.watch_events import ReloadSuccess, WatchEvent
from process_bridges import is_alive
from real_project import QUOTE, RealProject
from running import program_environment
from session_bridges import Bridge, Bridges, Run, session_threads

pytestmark = pytest.mark.usefixtures("no_session_is_left")


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


# --- the end of the process --------------------------------------------------------------------------------------

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
        env=program_environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert ran.stderr.strip().splitlines()[-1:] == ([ended] if ended else []), ran.stderr
    assert ran.returncode == (-signal.SIGINT if ended else 0)
    assert not is_alive(int(ran.stdout))
