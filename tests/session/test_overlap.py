"""With ``overlap = false`` the live bridge goes before the next one is created, and calls wait."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
import trio.testing

from lastgood.config import Config
from lastgood.errors import BridgeError, Disposed
from lastgood.session.session import Session
from lastgood.session.watch import WatchProgram, watch
from lastgood.watch_events import BridgeLost, BridgeRestored, ReloadError, ReloadSuccess
from real_project import BROKEN, DEADLINE, MORE, FakeBridge, FakeFactory, RealProject, Told, in_virtual_time, quote

ALONE = "[runtime.process]\noverlap = false\nprobation = 0\n"


def configure(project: RealProject, more: str = "") -> None:
    project.save("lastgood.toml", f'[modules.pricing]\n[output]\ndir = "generated"\nstyle = "async"\n{ALONE}{more}')


@pytest.fixture
def begin(project: RealProject, told: Told, factory: FakeFactory) -> Callable[..., WatchProgram]:
    configure(project)
    return lambda **options: watch(
        project.config_file,
        create_bridge=factory.create_bridge,
        probe=factory.probe,
        on_event=told,
        debounce=0.01,
        **options,
    )


def starts_alone(factory: FakeFactory) -> None:
    """From now on each bridge is created when all before are disposed."""
    create = factory.create_bridge

    async def checked(config: Config) -> FakeBridge:
        assert all(bridge.disposed for bridge in factory.bridges)
        return await create(config)

    factory.create_bridge = checked  # type: ignore[method-assign]  # a session asks for it once it begins


class Caller:
    """Calls beside the test; ``answers`` in the order in which they came."""

    def __init__(self, session: Session, nursery: trio.Nursery) -> None:
        self.answers: list[Any] = []
        self.answered = trio.Event()
        self._session = session
        self._nursery = nursery

    def call(self, function: str = "quote") -> None:
        async def called() -> None:
            try:
                self.answers.append(await self._session.handle.call("pricing", function))
            except (BridgeError, Disposed) as error:
                self.answers.append(error)
            self.answered.set()

        self._nursery.start_soon(called)


async def test_calls_in_flight_end_then_the_next_bridge_is_created_and_new_calls_go_to_it(
    begin: Callable[..., WatchProgram], factory: FakeFactory, project: RealProject, told: Told
) -> None:
    starts_alone(factory)
    with trio.fail_after(DEADLINE):
        async with begin() as session, trio.open_nursery() as nursery:
            caller, first = Caller(session, nursery), factory.latest
            caller.call("wait")
            await first.in_flight.wait()
            disposing = factory.pause("dispose")
            project.save("pricing.py", MORE)
            await wait_until(lambda: session._slot._gate is not None)
            for _ in range(3):
                caller.call()
            await trio.testing.wait_all_tasks_blocked()
            assert (caller.answers, first.disposed, len(factory.bridges)) == ([], False, 1)
            first.answer.set()
            await disposing.reached.wait()
            assert caller.answers == [1]
            creating = factory.pause("create")
            disposing.go()
            await creating.reached.wait()
            assert caller.answers == [1]
            creating.go()
            await told.success()
            await told.success()
        assert caller.answers == [1, 2, 2, 2]
        assert factory.bridges[0].calls == [("pricing", "wait", (), {})]


async def wait_until(condition: Callable[[], bool]) -> None:
    """Until a step of another task, which tells nobody, is done."""
    while not condition():
        await trio.testing.wait_all_tasks_blocked(0.001)


@pytest.mark.parametrize("point", ["create", "init", "probe"])
async def test_if_the_next_bridge_fails_the_former_generation_answers_those_who_wait(
    point: str, begin: Callable[..., WatchProgram], factory: FakeFactory, project: RealProject, told: Told
) -> None:
    starts_alone(factory)
    with trio.fail_after(DEADLINE):
        async with begin() as session, trio.open_nursery() as nursery:
            caller, before = Caller(session, nursery), project.tree()
            mine = LookupError("mine")

            def fail() -> None:
                caller.call()
                if point == "create":
                    raise mine
                factory.fail(point, mine)

            factory.call("create", fail)
            project.save("pricing.py", MORE)
            await told.success()
            failure = await told.failure()
            assert (failure.error, failure.effect) == (mine, "warm")
            await trio.testing.wait_all_tasks_blocked()
            assert caller.answers == [len(factory.bridges)]
            assert await session.handle.call("pricing", "quote") == len(factory.bridges)
            assert (session.generation, session.status.stale) == (1, True)
            assert project.tree() == before
            assert factory.configs[-1].pinned == factory.configs[0].pinned
            assert [bridge.disposed for bridge in factory.bridges[:-1]] == [True] * (len(factory.bridges) - 1)
            project.save("pricing.py", quote(2))
            await told.success()
        assert all(bridge.disposed for bridge in factory.bridges)


async def test_a_broken_edit_that_is_not_even_staged_leaves_the_live_bridge(
    begin: Callable[..., WatchProgram], factory: FakeFactory, project: RealProject, told: Told
) -> None:
    with trio.fail_after(DEADLINE):
        async with begin() as session:
            project.save("pricing.py", BROKEN)
            await told.success()
            await told.failure()
            assert len(factory.bridges) == 1
            assert not factory.latest.disposed
            assert await session.handle.call("pricing", "quote") == 1


async def test_if_the_former_generation_fails_too_calls_raise_until_it_is_back(
    begin: Callable[..., WatchProgram],
    factory: FakeFactory,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = trio.Event()
    with trio.fail_after(DEADLINE):
        async with begin() as session, trio.open_nursery() as nursery:
            caller = Caller(session, nursery)
            gone = OSError("no fork")
            tries: list[int] = []

            async def refuse(point: str) -> None:
                if point == "create":
                    tries.append(1)
                    if len(tries) == 2:
                        caller.call()
                        await trio.testing.wait_all_tasks_blocked()
                    if len(tries) == 3:
                        await held.wait()
                        return
                    raise gone
                await trio.lowlevel.checkpoint()

            monkeypatch.setattr(factory, "pass_by", refuse)
            assert not await session.reload_now()
            lost = await told.next(BridgeLost)
            assert (lost.error, lost.generation, lost.restart_in) == (gone, 1, 0.0)
            await trio.testing.wait_all_tasks_blocked()
            [error] = caller.answers
            assert isinstance(error, BridgeError)
            assert "made way for the next (overlap = false)" in str(error)
            assert "no fork" in str(error)
            assert error.__cause__ is gone
            with pytest.raises(BridgeError, match="no fork"):
                await session.handle.call("pricing", "quote")
            held.set()
            await told.next(BridgeRestored)
            assert await session.handle.call("pricing", "quote") == 2


def test_a_call_that_does_not_end_is_cut_off_after_the_drain(
    begin: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    async def main() -> None:
        async with begin(drain_timeout=7) as session, trio.open_nursery() as nursery:
            caller = Caller(session, nursery)
            caller.call("wait")
            await factory.latest.in_flight.wait()
            nursery.start_soon(session.reload_now)
            # Between these two no thread works, during which any amount of virtual time may pass.
            await wait_until(lambda: session._slot._gate is not None)
            began = trio.current_time()
            await caller.answered.wait()
            assert 7 <= trio.current_time() - began < 8
            [error] = caller.answers
            assert "was cut off: it had not ended 7 s after" in str(error)

    in_virtual_time(main)


@pytest.mark.parametrize("point", ["drain", "dispose", "create", "restore"])
def test_a_close_wins_and_those_who_wait_are_told(
    point: str, begin: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    answers: list[bool] = []
    caller: list[Caller] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery, begin(drain_timeout=math.inf) as session:
            caller.append(Caller(session, nursery))

            async def reload() -> None:
                answers.append(await session.reload_now())

            if point == "drain":
                caller[0].call("wait")
                await factory.latest.in_flight.wait()
            elif point != "restore":
                factory.hang(point)
            else:
                factory.call("init", lambda: factory.hang("create"))
                factory.fail("probe", LookupError("mine"))
            nursery.start_soon(reload)
            await wait_until(lambda: session._slot._gate is not None)
            await trio.testing.wait_all_tasks_blocked(0.001)
            caller[0].call()
            await trio.testing.wait_all_tasks_blocked()
            await session.close()
            with pytest.raises(Disposed):
                await session.handle.call("pricing", "quote")

    in_virtual_time(main)
    assert answers == [False]
    assert isinstance(caller[0].answers[0], Disposed)
    assert all(bridge.disposed for bridge in factory.bridges)


async def test_a_factory_that_gives_the_bridge_that_made_way_is_told_so(
    project: RealProject, told: Told, factory: FakeFactory
) -> None:
    configure(project)

    async def create(config: Config) -> FakeBridge:
        return factory.latest if factory.bridges else await factory.create_bridge(config)

    with trio.fail_after(DEADLINE):
        async with watch(project.config_file, create_bridge=create, on_event=told) as session:
            assert not await session.reload_now()
            assert "bridge of an earlier cycle" in str((await told.next(ReloadError)).error)


# --- real workers, of which only one can have a lock

LOCKS = """\
import fcntl, pathlib
_file = open(pathlib.Path(__file__).with_name("only-one.lock"), "w")
fcntl.flock(_file, fcntl.LOCK_EX | fcntl.LOCK_NB)

def version() -> int:
    return {version}

def count():
    yield {version}
    yield {version}
"""


def locks(version: int, more: str = "") -> str:
    return LOCKS.replace("{version}", str(version)) + more


@pytest.fixture
def real(project: RealProject, told: Told) -> Callable[..., WatchProgram]:
    project.save("pricing.py", locks(0))
    configure(project, "timeout = 20.0\n")
    return lambda **options: watch(project.config_file, on_event=told, debounce=0.01, **options)


async def test_with_an_overlap_the_second_worker_does_not_get_the_lock(project: RealProject, told: Told) -> None:
    """Otherwise the tests below would show nothing."""
    project.save("pricing.py", locks(0))
    project.save("lastgood.toml", '[modules.pricing]\n[output]\ndir = "generated"\n')
    with trio.fail_after(DEADLINE):
        async with watch(project.config_file, on_event=told) as session:
            assert not await session.reload_now()


async def test_ten_reloads_succeed_and_no_call_fails(
    project: RealProject, told: Told, real: Callable[..., WatchProgram]
) -> None:
    versions: list[int] = []
    with trio.fail_after(2 * DEADLINE):
        async with real() as session, trio.open_nursery() as nursery:

            async def call() -> None:
                while True:
                    versions.append(await session.handle.call("pricing", "version"))

            await told.success()
            for _ in range(3):
                nursery.start_soon(call)
            for version in range(1, 11):
                project.save("pricing.py", locks(version))
                await told.success()
                assert await session.handle.call("pricing", "version") == version
            nursery.cancel_scope.cancel()
    assert versions == sorted(versions)
    assert not [event for event in told.events if isinstance(event, ReloadError | BridgeLost)]


async def test_a_broken_edit_leaves_the_old_generation_answering(
    project: RealProject, told: Told, real: Callable[..., WatchProgram]
) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            await told.success()
            project.save("pricing.py", locks(1, "raise LookupError('no')\n"))
            async with trio.open_nursery() as nursery:
                caller = Caller(session, nursery)
                await wait_until(lambda: session._slot._gate is not None)
                caller.call("version")
                assert (await told.failure()).effect == "warm"
                assert await session.handle.call("pricing", "version") == 0
            assert caller.answers == [0]
            project.save("pricing.py", locks(2))
            await told.success()
            assert await session.handle.call("pricing", "version") == 2
            pids = session.bridge.pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_worker_that_dies_comes_back_alone(told: Told, real: Callable[..., WatchProgram]) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            await told.success()
            os.kill(session.bridge.pid, 9)
            await told.next(BridgeRestored)
            assert await session.handle.call("pricing", "version") == 0


async def test_an_undo_and_a_change_of_the_config_are_cycles_like_any_other(
    project: RealProject, told: Told, real: Callable[..., WatchProgram]
) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            project.save("pricing.py", locks(1))
            await told.success()
            await told.success()
            assert await session.undo()
            assert await session.handle.call("pricing", "version") == 0
            project.save("pricing.py", quote(1))
            project.save("lastgood.toml", '[modules.pricing]\n[output]\ndir = "generated"\n')
            while not isinstance(await told.end(), ReloadSuccess) or session.bridge is None:
                pass
            assert await session.reload_now()


async def test_streams_wait_as_well(project: RealProject, told: Told, real: Callable[..., WatchProgram]) -> None:
    items: list[int] = []
    with trio.fail_after(DEADLINE):
        async with real() as session, trio.open_nursery() as nursery:

            async def read() -> None:
                stream: AsyncIterator[int] = session.handle.stream("pricing", "count")
                items.extend([item async for item in stream])

            await told.success()
            project.save("pricing.py", locks(1))
            await wait_until(lambda: session._slot._gate is not None)
            nursery.start_soon(read)
            await told.success()
    assert items == [1, 1]
