"""``watch(...).in_thread()``: the session beside plain code, with and without ``in_thread()``, Ctrl-C, and real workers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import trio

from flavours import DEADLINE, Flavour
from generating import importable
from lastgood.errors import BridgeError, Disposed, GenerationError, WatchError
from lastgood.runtime import get_runtime_bridge
from lastgood.session.threaded import ThreadedSession
from lastgood.session.watch import WatchProgram, watch
from lastgood.sources.snapshots import Reader
from lastgood.watch_events import ReloadError, ReloadStart, ReloadSuccess, WatchEvent
from real_project import BROKEN, QUOTE, RealProject
from running import program_environment
from session_bridges import Bridge, Bridges, in_flight

pytestmark = pytest.mark.usefixtures("no_session_is_left")


@contextmanager
def beside(function: Callable[[], object]) -> Iterator[list[Any]]:
    """``function`` in a thread beside the block: the list gets what it gave or raised, once the block is left."""
    came: list[Any] = []

    def run() -> None:
        try:
            came.append(function())
        except BaseException as error:
            came.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield came
    finally:
        thread.join(DEADLINE)
        assert not thread.is_alive()


# --- plain code -------------------------------------------------------------------------------------------------


def test_a_block_has_a_session_whose_methods_block(program: WatchProgram, bridges: Bridges) -> None:
    with program.in_thread() as session:
        assert (session.generation, session.status.stale) == (1, False)
        assert session.bridge is bridges.made[0]
        assert session.handle.call_blocking("pricing", "f", (1,), {"x": 2}) == (1, "pricing.f", (1,), {"x": 2})
        assert get_runtime_bridge().call_blocking("pricing", "f")[0] == 1
        assert session.reload_now()
        assert session.generation == 2
        assert session.undo() is False, "the config has not changed, so there is no generation before"
        assert get_runtime_bridge().call_blocking("pricing", "f")[0] == 2
    assert [bridge.disposed for bridge in bridges.made] == [True] * len(bridges.made)
    assert session.closed
    with pytest.raises(Disposed):
        session.reload_now()
    with pytest.raises(Disposed):
        session.handle.call_blocking("pricing", "f")


def test_what_the_start_raises_is_raised_as_itself(project: RealProject, bridges: Bridges) -> None:
    error = LookupError("mine")

    def refuse(_: object) -> None:
        raise error

    with (
        pytest.raises(LookupError) as caught,
        watch(project.config_file, create_bridge=bridges.create, probe=refuse).in_thread(),
    ):
        pytest.fail("it started")
    assert caught.value is error
    assert bridges.made[0].disposed
    assert project.tree() == {}


def test_what_the_block_raises_leaves_as_the_same_object(program: WatchProgram, bridges: Bridges) -> None:
    error = LookupError("mine")
    with pytest.raises(LookupError) as caught, program.in_thread():
        raise error
    assert caught.value is error
    assert bridges.made[0].disposed


def test_a_notebook_enters_in_one_cell_and_closes_in_another(program: WatchProgram, bridges: Bridges) -> None:
    running = program.in_thread()
    session = running.__enter__()
    with pytest.raises(WatchError, match="running in a thread already"):
        running.__enter__()
    assert session.handle.call_blocking("pricing", "f")[0] == 1
    session.close()
    session.close()
    session.wait_closed()
    assert bridges.made[0].disposed
    again = running.__enter__()
    assert again.handle.call_blocking("pricing", "f")[0] == 2
    running.__exit__(None, None, None)


def test_threads_call_and_reload_at_once(program: WatchProgram, bridges: Bridges) -> None:
    with program.in_thread() as session, ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(session.handle.call_blocking, "pricing", "f", (number,)) for number in range(200)]
        reloads = [pool.submit(session.reload_now) for _ in range(4)]
        assert [call.result(DEADLINE)[2] for call in calls] == [(number,) for number in range(200)]
        assert all(reload.result(DEADLINE) for reload in reloads)
        assert {name for bridge in bridges.made for name in bridge.threads} == {session._thread.name}


def test_events_come_to_a_thread_until_the_end(program: WatchProgram, project: RealProject) -> None:
    with program.in_thread() as session:
        seen: list[WatchEvent] = []
        events = session.events()
        with beside(lambda: seen.extend(events)):
            project.save("pricing.py", QUOTE.replace("1.0", "2.0"))
            for event in session.events():
                if isinstance(event, ReloadSuccess | ReloadError):
                    break
            session.close()
        assert isinstance(event, ReloadSuccess)
        assert event in seen
        assert ReloadStart(2, False, event.changed) in seen
        assert list(session.events()) == []


def test_a_close_in_mid_cycle_wins(project: RealProject, bridges: Bridges) -> None:
    reached = threading.Event()

    async def probe(bridge: Bridge) -> None:
        if bridge.number == 2:
            reached.set()
            await trio.sleep_forever()

    with watch(project.config_file, create_bridge=bridges.create, probe=probe).in_thread() as session:
        with beside(session.reload_now) as came:
            assert reached.wait(DEADLINE)
            session.close()
        assert came == [False]
    assert [bridge.disposed for bridge in bridges.made] == [True, True]


def test_calls_in_flight_are_cut_off_when_the_drain_is_over(project: RealProject, bridges: Bridges) -> None:
    program = watch(project.config_file, create_bridge=bridges.create, drain_timeout=0)
    with program.in_thread() as session, beside(lambda: session.handle.call_blocking("pricing", "wait")) as came:
        in_flight(bridges.made[0])
        session.close()
    assert type(came[0]) is BridgeError
    assert bridges.made[0].ended == ["cancelled"]


def test_when_watching_dies_the_block_is_told_at_its_end(
    program: WatchProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WatchError, match="Watching stopped: no more"), program.in_thread() as session:

        def die(*_: object) -> None:
            raise RuntimeError("no more")

        monkeypatch.setattr(Reader, "read", die)
        assert not session.reload_now()
        session.wait_closed()


# --- without in_thread() ----------------------------------------------------------------------------------------


def test_a_plain_with_is_the_same(program: WatchProgram, bridges: Bridges) -> None:
    with program as session:
        assert isinstance(session, ThreadedSession)
        assert get_runtime_bridge().call_blocking("pricing", "f")[0] == 1
        assert session.reload_now()
        with pytest.raises(WatchError, match="running already"):
            program.start()
    assert all(bridge.disposed for bridge in bridges.made)
    error = LookupError("mine")
    with pytest.raises(LookupError) as caught, program:
        raise error
    assert caught.value is error


def test_started_where_no_block_fits_it_runs_until_closed(program: WatchProgram, project: RealProject) -> None:
    session = program.start()
    assert session.config_file == project.config_file
    with pytest.raises(WatchError, match="running already"):
        program.start()
    with pytest.raises(WatchError, match="running already"):
        trio.run(program)
    session.close()
    again = program.start()
    assert again.generation == 1
    again.close()


def test_a_start_that_fails_may_be_tried_again(project: RealProject, bridges: Bridges) -> None:
    program = watch(project.config_file, create_bridge=bridges.create)
    project.save("pricing.py", BROKEN)
    with pytest.raises(GenerationError):
        program.start()
    project.save("pricing.py", QUOTE)
    program.start().close()


def test_a_plain_with_dies_as_watching_does(program: WatchProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> None:
        raise RuntimeError("no more")

    with pytest.raises(WatchError, match="Watching stopped: no more"), program as session:
        monkeypatch.setattr(Reader, "read", die)
        session.reload_now()
        session.wait_closed()


def test_on_a_running_loop_of_asyncio_it_works_as_a_notebook_needs_it(program: WatchProgram) -> None:
    async def cell() -> None:
        session = program.start()
        assert session.handle.call_blocking("pricing", "f")[0] == 1
        assert (await session.handle.call("pricing", "f"))[0] == 1
        session.close()
        with program:
            assert (await get_runtime_bridge().call("pricing", "f"))[0] == 2

    asyncio.run(cell())


def test_in_a_task_of_trio_it_is_an_error_that_names_async_with(program: WatchProgram) -> None:
    async def main() -> None:
        for enter in (program.start, program.__enter__):
            with pytest.raises(
                WatchError, match=r"would block the trio loop .* `async with watch\(\.\.\.\) as session:`"
            ):
                enter()
        session = await trio.to_thread.run_sync(program.start)
        await trio.to_thread.run_sync(session.close)

    trio.run(main)


# --- Ctrl-C -----------------------------------------------------------------------------------------------------


def interrupt_main() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def test_ctrl_c_in_a_blocking_call_ends_call_and_session(program: WatchProgram, bridges: Bridges) -> None:
    def interrupt() -> None:
        in_flight(bridges.made[0])
        interrupt_main()

    with pytest.raises(KeyboardInterrupt), program.in_thread() as session, beside(interrupt):
        session.handle.call_blocking("pricing", "wait")
    assert bridges.made[0].ended == ["cancelled"]
    assert bridges.made[0].disposed


def test_ctrl_c_during_the_start_undoes_it(project: RealProject, bridges: Bridges) -> None:
    warming = threading.Event()

    async def probe(_: Bridge) -> None:
        warming.set()
        await trio.sleep_forever()

    def interrupt() -> None:
        assert warming.wait(DEADLINE)
        interrupt_main()

    running = watch(project.config_file, create_bridge=bridges.create, probe=probe).in_thread()
    with beside(interrupt), pytest.raises(KeyboardInterrupt):
        running.__enter__()
    assert bridges.made[0].disposed
    assert project.tree() == {}


def test_ctrl_c_during_the_last_drain_ends_it_and_is_not_lost(program: WatchProgram, bridges: Bridges) -> None:
    running = program.in_thread()
    session = running.__enter__()

    def interrupt() -> None:
        while not session.closed:
            try:
                session.handle.call_blocking("pricing", "f")
            except Disposed:
                interrupt_main()  # the drain has begun
                return

    with beside(lambda: session.handle.call_blocking("pricing", "wait")) as came:
        in_flight(bridges.made[0])
        with beside(interrupt), pytest.raises(KeyboardInterrupt):
            running.__exit__(None, None, None)
    assert type(came[0]) is BridgeError
    assert bridges.made[0].disposed


# --- for real ---------------------------------------------------------------------------------------------------


def configure(project: RealProject, package: str, style: str) -> None:
    project.save("lastgood.toml", f'[modules.pricing]\n[output]\ndir = "{package}"\nstyle = "{style}"\n')


def test_plain_wrappers_reach_a_real_worker_and_live_through_an_edit(project: RealProject) -> None:
    configure(project, "plain_wrappers", "sync")
    with importable(project.root, "plain_wrappers"), watch(project.config_file, debounce=0.01).in_thread() as session:
        from plain_wrappers import pricing  # type: ignore[import-not-found]  # generated by now

        assert pricing.quote("apple") == 1.0
        events = session.events()
        project.save("pricing.py", QUOTE.replace("1.0", "2.5"))
        assert any(isinstance(event, ReloadSuccess) for event in events)
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(pricing.quote, ["apple"] * 20)) == [2.5] * 20


def test_async_wrappers_reach_a_real_worker_from_any_loop(project: RealProject, flavour: Flavour) -> None:
    configure(project, "async_wrappers", "async")
    with importable(project.root, "async_wrappers"), watch(project.config_file).in_thread():
        from async_wrappers import pricing  # type: ignore[import-not-found]  # generated by now

        async def main() -> None:
            assert await pricing.quote("apple") == 1.0

        flavour.run(main)


PROGRAM = """
import sys
from lastgood import watch
session = watch().start()
sys.path.insert(0, ".")
from generated import pricing
print(pricing.pid(), flush=True)
"""


def test_who_ends_without_closing_leaves_nothing(project: RealProject) -> None:
    configure(project, "generated", "sync")
    project.save("pricing.py", "import os\ndef pid() -> int:\n    return os.getpid()\n")
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=project.root,
        env=program_environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    with pytest.raises(ProcessLookupError):
        os.kill(int(ran.stdout), 0)
