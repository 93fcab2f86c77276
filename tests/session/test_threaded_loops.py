"""``watch(...).in_thread()`` and event loops: calls from asyncio and other trio loops, and where it would wait for itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

from flavours import CANCELLED, Flavour
from lastgood.config import Config
from lastgood.errors import BridgeError, Disposed, NoRuntimeBridge, WatchError
from lastgood.runtime import clear_runtime_bridge, get_runtime_bridge, set_runtime_bridge
from lastgood.session.threaded import ThreadedSession
from lastgood.session.watch import WatchProgram, watch
from lastgood.watch_events import ReloadStart, WatchEvent
from lastgood.wrappers import Generated
from real_project import FakeFactory, RealProject
from session_bridges import Bridge, Bridges, in_flight

pytestmark = pytest.mark.usefixtures("no_session_is_left")


# --- where it would wait for itself -----------------------------------------------------------------------------


def test_on_the_sessions_own_loop_it_is_an_error_and_no_deadlock(project: RealProject, bridges: Bridges) -> None:
    errors: list[BaseException] = []
    sessions: list[ThreadedSession] = []

    def attempt(call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            errors.append(error)

    def on_event(event: WatchEvent) -> None:
        if sessions and isinstance(event, ReloadStart):
            session = sessions[0]
            for call in (session.reload_now, session.undo, session.close, session.events, session.wait_closed):
                attempt(call)
            attempt(lambda: session.handle.call_blocking("pricing", "f"))

    with watch(project.config_file, create_bridge=bridges.create, on_event=on_event).in_thread() as session:
        sessions.append(session)
        assert session.reload_now()
    assert [type(error) for error in errors] == [WatchError] * 5 + [BridgeError]
    assert "close() blocks, and was called on the session's own loop" in str(errors[2])
    assert "The call of pricing.f blocks" in str(errors[5])


def test_a_blocking_call_before_anything_is_live_is_an_error_on_its_loop(project: RealProject) -> None:
    def create(_: Config) -> Bridge:
        get_runtime_bridge().call_blocking("pricing", "f")
        raise AssertionError

    with (
        pytest.raises(NoRuntimeBridge),
        watch(project.config_file, create_bridge=create).in_thread(),
    ):
        pytest.fail("it started")


def test_a_plain_generate_cannot_wait_for_its_own_cycle(project: RealProject, bridges: Bridges) -> None:
    sessions: list[ThreadedSession] = []

    def generate(_: Config, __: object) -> Generated:
        for session in sessions:
            session.close()
        return Generated(())

    program = watch(project.config_file, create_bridge=bridges.create, generate=generate)
    with program.in_thread() as session:
        sessions.append(session)
        assert not session.reload_now()
        assert isinstance(session.status.error, WatchError)
        assert "it would wait for the cycle it is part of" in str(session.status.error)


def test_an_ordinary_session_refuses_threads_and_blocking(project: RealProject) -> None:
    async def main() -> None:
        async with watch(project.config_file, create_bridge=FakeFactory().create_bridge) as session:
            call = session.handle.call_blocking
            with pytest.raises(BridgeError, match="it would wait for itself"):
                call("pricing", "f")
            with pytest.raises(BridgeError, match=r"came from no event loop.*in_thread\(\)"):
                await trio.to_thread.run_sync(call, "pricing", "f")

    trio.run(main)


def test_a_bridge_that_lives_on_no_loop_answers_at_once_or_not_at_all(program: WatchProgram) -> None:
    class Fake:
        async def call(self, *call: Any) -> Any:
            if call[1] == "wait":
                await trio.lowlevel.cancel_shielded_checkpoint()
            return call

        async def dispose(self) -> None: ...

    set_runtime_bridge(Fake())
    assert get_runtime_bridge().call_blocking("pricing", "f", (1,)) == ("pricing", "f", (1,), {})
    with pytest.raises(BridgeError, match="no event loop to wait on"):
        get_runtime_bridge().call_blocking("pricing", "wait")
    with pytest.raises(BridgeError, match="set_runtime_bridge"), program.in_thread():
        pytest.fail("it started")
    clear_runtime_bridge()


# --- other loops ------------------------------------------------------------------------------------------------


def test_calls_cross_from_another_loop_without_holding_it_up(
    program: WatchProgram, bridges: Bridges, flavour: Flavour
) -> None:
    with program.in_thread() as session:
        bridge = bridges.made[0]

        async def main() -> None:
            handle = get_runtime_bridge()
            async with flavour.tasks() as start:
                calls = [start(lambda: handle.call("pricing", "wait", (1,))) for _ in range(2)]
                for _ in calls:
                    await flavour.in_thread(lambda: in_flight(bridge))
                assert (await handle.call("pricing", "f"))[1] == "pricing.f"
                assert not any(call.done() for call in calls)
                bridge.answer()
                assert [(await call.result())[1] for call in calls] == ["pricing.wait"] * 2

        flavour.run(main)
        assert bridge.threads == {session._thread.name}


def test_a_bridge_that_allows_calls_from_any_thread_is_called_right_there(
    project: RealProject, flavour: Flavour
) -> None:
    class Anywhere:
        thread_safe = True

        async def call(self, *_: object) -> str:
            return threading.current_thread().name

        async def dispose(self) -> None: ...

    with watch(project.config_file, create_bridge=lambda _: Anywhere(), debounce=0.01).in_thread() as session:
        here = threading.current_thread().name
        assert flavour.run(lambda: session.handle.call("pricing", "f")) == here
        assert session.handle.call_blocking("pricing", "f") == session._thread.name, (
            "plain code has no loop to run it on"
        )


def test_cancelling_the_caller_cancels_the_call(program: WatchProgram, bridges: Bridges, flavour: Flavour) -> None:
    with program.in_thread() as session:

        async def main() -> None:
            async with flavour.tasks() as start:
                call = start(lambda: session.handle.call("pricing", "wait"))
                await flavour.in_thread(lambda: in_flight(bridges.made[0]))
                call.cancel()
                assert await call.result() == CANCELLED
            assert bridges.made[0].ended == ["cancelled"]

        flavour.run(main)
        live = session._live_session._slot.live
        assert live is not None
        assert live.count == 0


def test_a_call_from_elsewhere_holds_its_bridge_across_a_swap(
    program: WatchProgram, bridges: Bridges, flavour: Flavour
) -> None:
    with program.in_thread() as session:

        async def main() -> None:
            async with flavour.tasks() as start:
                call = start(lambda: session.handle.call("pricing", "wait"))
                await flavour.in_thread(lambda: in_flight(bridges.made[0]))
                assert await flavour.in_thread(session.reload_now)
                assert not bridges.made[0].disposed
                assert (await session.handle.call("pricing", "f"))[0] == 2
                bridges.made[0].answer()
                assert (await call.result())[0] == 1

        flavour.run(main)
    assert bridges.made[0].disposed


def test_a_call_from_elsewhere_is_cut_off_by_a_close(project: RealProject, bridges: Bridges, flavour: Flavour) -> None:
    program = watch(project.config_file, create_bridge=bridges.create, drain_timeout=0)
    with program.in_thread() as session:

        async def main() -> None:
            async with flavour.tasks() as start:
                call = start(lambda: session.handle.call("pricing", "wait"))
                await flavour.in_thread(lambda: in_flight(bridges.made[0]))
                await flavour.in_thread(session.close)
                with pytest.raises(BridgeError, match="was cut off"):
                    await call.result()
            with pytest.raises(Disposed):
                await session.handle.call("pricing", "f")

        flavour.run(main)


def test_a_blocking_call_may_come_from_another_running_loop(program: WatchProgram, flavour: Flavour) -> None:
    with program.in_thread() as session:

        async def main() -> None:
            assert session.handle.call_blocking("pricing", "f")[0] == 1, "as a notebook's cell does"

        flavour.run(main)


def test_an_app_inside_of_a_loop_enters_and_closes_in_a_thread(program: WatchProgram, flavour: Flavour) -> None:
    async def main() -> None:
        session = await flavour.in_thread(program.in_thread().__enter__)
        assert (await get_runtime_bridge().call("pricing", "f"))[0] == 1
        await flavour.in_thread(session.close)

    flavour.run(main)
