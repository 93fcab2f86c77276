"""The trio interpreter, action by action and signal by signal: what it does, and what it says came of it."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from lastgood import effects
from lastgood.calls import registry as runtime
from lastgood.calls.registry import Slot
from lastgood.config import Config, load_config
from lastgood.errors import BridgeError, ConfigError, Disposed, GenerationError, NoRuntimeBridge, UnwatchableModule
from lastgood.interpreters.project import Project
from lastgood.interpreters.trio_interpreter import Hooks, Interrupted, TrioInterpreter
from lastgood.planner import events
from lastgood.sources.finder import Interpreter
from lastgood.store.disk import Disk
from lastgood.watch_events import Recovered
from real_project import BROKEN, DEADLINE, QUOTE, FakeFactory, RealProject, in_virtual_time

STAGE, PROMOTE, WARM, SWAP, WATCH = (
    effects.Stage(1),
    effects.Promote(1),
    effects.Warm(1, DEADLINE),
    effects.Swap(1),
    effects.Watch(1),
)
CYCLE = (STAGE, PROMOTE, WARM, SWAP, WATCH)


class Workshop:
    """An interpreter on real files, and what it told."""

    def __init__(self, project: RealProject, factory: FakeFactory, nursery: trio.Nursery) -> None:
        self.told: list[events.Event] = []
        self.slot = Slot("the test")
        self._more = trio.Event()
        self.files = Project(
            Disk(), project.config_file, (), load_config, lambda _: Interpreter((), ("sys",)), os.getpid()
        )
        hooks = Hooks(factory.create_bridge, None, factory.probe)
        self.interpreter = TrioInterpreter(self.files, hooks, self.slot, nursery, self._tell)

    def _tell(self, event: events.Event) -> None:
        self.told.append(event)
        self._more.set()

    async def perform(self, *actions: effects.Action) -> Any:
        """Do them, and give the outcome of the last."""
        for action in actions:
            outcome = await self.interpreter.perform(action)
        return outcome

    async def next(self) -> Any:
        """The next thing it tells of itself, besides hints."""
        with trio.fail_after(DEADLINE):
            while True:
                while not self.told:
                    self._more = trio.Event()
                    await self._more.wait()
                if not isinstance(told := self.told.pop(0), events.Hinted):
                    return told


@pytest.fixture
async def workshop(project: RealProject, factory: FakeFactory, nursery: trio.Nursery) -> AsyncIterator[Workshop]:
    workshop = Workshop(project, factory, nursery)
    yield workshop
    workshop.files.release()


# --- actions ------------------------------------------------------------------------------------------------------


async def test_a_stage_tells_what_is_to_be_watched_and_what_it_read(workshop: Workshop, project: RealProject) -> None:
    staged = await workshop.perform(STAGE)
    config, pricing = project.config_file, project.root / "pricing.py"
    assert isinstance(staged, events.Staged)
    assert staged.effect == STAGE
    assert staged.watch.paths == (config, pricing)
    assert set(staged.read) == set(staged.watch.roots)
    assert set(staged.read[pricing]) == {pricing}
    assert not project.output.exists()


async def test_a_promotion_tells_what_stands_and_what_it_touched(workshop: Workshop, project: RealProject) -> None:
    promoted = await workshop.perform(STAGE, PROMOTE)
    assert isinstance(promoted, events.Promoted)
    assert promoted.written == promoted.touched == (Path("__init__.py"), Path("pricing.py"))
    assert sorted(project.tree()) == ["__init__.py", "pricing.py"]
    assert "journal.json" in project.leftovers()


async def test_warming_creates_inits_and_probes_in_this_order(workshop: Workshop, factory: FakeFactory) -> None:
    assert isinstance(await workshop.perform(STAGE, PROMOTE, WARM), events.Warmed)
    assert factory.latest.log == ["init", "probe"]
    assert workshop.slot.live is None


async def test_a_swap_publishes_and_commits_the_files(
    workshop: Workshop, project: RealProject, factory: FakeFactory
) -> None:
    assert isinstance(await workshop.perform(STAGE, PROMOTE, WARM, SWAP), events.Swapped)
    assert workshop.slot.handle.bridge is factory.latest
    assert "journal.json" not in project.leftovers()
    assert isinstance(await workshop.perform(WATCH), events.Watched)
    assert project.leftovers() == ["pid"]


async def test_a_bridge_with_no_lease_is_disposed_at_once(workshop: Workshop, factory: FakeFactory) -> None:
    gone = await workshop.perform(*CYCLE, effects.Dispose(1, DEADLINE))
    assert isinstance(gone, events.Disposed)
    assert gone.bridge == 1
    assert factory.latest.log[-1] == "dispose"


async def test_a_bridge_with_a_lease_is_disposed_when_that_ends(
    workshop: Workshop, factory: FakeFactory, nursery: trio.Nursery
) -> None:
    await workshop.perform(*CYCLE)
    nursery.start_soon(workshop.slot.handle.call, "pricing", "wait")
    await factory.latest.in_flight.wait()
    assert isinstance(await workshop.perform(effects.Dispose(1, DEADLINE)), events.Draining)
    assert not factory.latest.disposed
    factory.latest.answer.set()
    assert isinstance(await workshop.next(), events.Disposed)


async def test_cut_off_ends_the_leases_of_a_draining_bridge(workshop: Workshop, factory: FakeFactory) -> None:
    await workshop.perform(*CYCLE)
    async with trio.open_nursery() as nursery:

        async def call() -> None:
            with pytest.raises(BridgeError, match=r"^The call was cut off by a test\.$"):
                await workshop.slot.handle.call("pricing", "wait")

        nursery.start_soon(call)
        await factory.latest.in_flight.wait()
        await workshop.perform(effects.Dispose(1, DEADLINE))
        workshop.interpreter.carry_out(effects.CutOff(1, "was cut off by a test"))
        workshop.interpreter.carry_out(effects.CutOff(7, "was cut off by a test"))  # gone already: nothing to do
    assert isinstance(await workshop.next(), events.Disposed)


async def test_release_waits_for_what_drains_and_lets_go_of_everything(
    workshop: Workshop, project: RealProject, factory: FakeFactory
) -> None:
    await workshop.perform(*CYCLE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(workshop.slot.handle.call, "pricing", "wait")
        await factory.latest.in_flight.wait()
        await workshop.perform(effects.Dispose(1, DEADLINE))
        released: list[Any] = []

        async def release() -> None:
            released.append(await workshop.perform(effects.Release()))

        nursery.start_soon(release)
        await trio.testing.wait_all_tasks_blocked()
        assert released == []
        factory.latest.answer.set()
    assert [type(each) for each in released] == [events.Released]
    assert project.leftovers() == []
    assert workshop.files.claimed == {}


# --- failures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda project: project.save("pricing.py", BROKEN), GenerationError),
        (lambda project: project.remove("pricing.py"), UnwatchableModule),
        (lambda project: project.remove("lastgood.toml"), ConfigError),
    ],
    ids=["broken", "missing", "no config"],
)
async def test_a_stage_that_fails_tells_what_it_read_all_the_same(
    spoil: Callable[[RealProject], None], error: type[Exception], workshop: Workshop, project: RealProject
) -> None:
    spoil(project)
    failed = await workshop.perform(STAGE)
    assert isinstance(failed, events.Failed)
    assert failed.effect == STAGE
    assert type(failed.error) is error
    assert project.config_file in failed.read
    assert isinstance(await workshop.perform(effects.Rollback(STAGE, 1)), events.RolledBack)
    assert project.leftovers() == []


@pytest.mark.parametrize("point", ["create", "init", "probe"])
async def test_a_warming_that_fails_is_undone_with_all_before_it(
    point: str, workshop: Workshop, project: RealProject, factory: FakeFactory
) -> None:
    factory.fail(point, error := LookupError("mine"))
    failed = await workshop.perform(STAGE, PROMOTE, WARM)
    assert isinstance(failed, events.Failed)
    assert failed.error is error
    for action in (WARM, PROMOTE, STAGE):
        assert isinstance(await workshop.perform(effects.Rollback(action, 1)), events.RolledBack)
    assert [bridge.log[-1] for bridge in factory.bridges] == ["dispose"] * len(factory.bridges)
    assert not project.output.exists()
    assert project.leftovers() == []


async def test_an_undoing_that_fails_says_so(
    workshop: Workshop, factory: FakeFactory, caplog: pytest.LogCaptureFixture
) -> None:
    await workshop.perform(STAGE, PROMOTE, WARM)
    factory.fail("dispose", error := LookupError("mine"))
    failed = await workshop.perform(effects.Rollback(WARM, DEADLINE))
    assert isinstance(failed, events.RollbackFailed)
    assert failed.error is error
    assert caplog.records == [], "it is an event, and logged as one"


async def test_a_deed_can_be_cancelled(workshop: Workshop, factory: FakeFactory) -> None:
    pause = factory.pause("init")
    await workshop.perform(STAGE, PROMOTE)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(workshop.perform, WARM)
            await pause.reached.wait()
            assert not workshop.interpreter.is_in_action()  # this code is no part of it
            scope.cancel()
    assert isinstance(await workshop.perform(effects.Rollback(WARM, DEADLINE)), events.RolledBack)
    assert factory.latest.disposed


async def test_a_restart_that_was_interrupted_is_no_loss(workshop: Workshop) -> None:
    for error, told in ((Interrupted(), None), (mine := LookupError("mine"), mine)):
        failed = workshop.interpreter.failed(effects.Restart(1, DEADLINE), error, trio.current_time())
        assert isinstance(failed, events.RestartFailed)
        assert failed.error is told


async def test_what_a_kill_left_is_told(workshop: Workshop, project: RealProject) -> None:
    await workshop.perform(STAGE, PROMOTE)
    claimed = workshop.files.claimed.popitem()[1]
    claimed.lock.release()  # as the system does for a dead process; journal and backups stay
    failed = await workshop.perform(effects.Stage(2))
    assert isinstance(failed, events.Staged)
    notice = (await workshop.next()).notice
    assert notice == Recovered(project.output, (Path("__init__.py"), Path("pricing.py")))
    assert not project.output.exists()


async def test_what_is_newly_watched_is_resolved_again_after_it_was_armed_and_read(
    workshop: Workshop, project: RealProject
) -> None:
    """An edit between the two would be noticed by nobody."""
    loaded: list[Config] = []

    def load_and_edit(path: Path, read: Callable[[Path], bytes]) -> Config:
        loaded.append(load_config(path, read))
        if len(loaded) == 1:
            project.configure("pricing", "shop")
        return loaded[-1]

    project.save("shop.py", QUOTE)
    workshop.files.load = load_and_edit
    staged = await workshop.perform(STAGE)
    assert isinstance(staged, events.Staged)
    assert staged.watch.paths == (project.config_file, project.root / "pricing.py", project.root / "shop.py")


# --- watching and signals -----------------------------------------------------------------------------------------


@asynccontextmanager
async def observing(workshop: Workshop) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(workshop.interpreter.observe)
        yield
        nursery.cancel_scope.cancel()


async def test_a_look_is_answered_by_a_reading_that_began_after_it(workshop: Workshop, project: RealProject) -> None:
    await workshop.perform(*CYCLE)
    async with observing(workshop):
        before = await trio.to_thread.run_sync(project.save, "pricing.py", QUOTE + "\n")
        workshop.interpreter.carry_out(effects.Look(1))
        while (observed := await workshop.next()).look != 1:
            pass
        digest = observed.files[before][before]
        project.save("pricing.py", QUOTE)
        workshop.interpreter.carry_out(effects.Look(2))
        while (observed := await workshop.next()).look != 2:
            pass
        assert observed.files[before][before] != digest


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all files are read")
async def test_a_file_that_the_system_names_is_read_without_a_look(workshop: Workshop, project: RealProject) -> None:
    await workshop.perform(*CYCLE)
    async with observing(workshop):
        edited = await trio.to_thread.run_sync(project.save, "pricing.py", QUOTE + "\n")
        observed = await workshop.next()
        assert {*observed.files} == {edited}
        assert observed.look == 0
    assert events.Hinted() not in workshop.told


async def test_what_may_be_more_than_an_edit_of_a_file_is_hinted_at(workshop: Workshop, project: RealProject) -> None:
    await workshop.perform(*CYCLE)
    async with observing(workshop):
        await trio.to_thread.run_sync((project.root / "pricing").mkdir)
        with trio.fail_after(DEADLINE):
            while events.Hinted() not in workshop.told:
                await trio.testing.wait_all_tasks_blocked()


def test_timers_elapse_are_replaced_and_stopped(project: RealProject, factory: FakeFactory) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            workshop = Workshop(project, factory, nursery)
            interpreter, began = workshop.interpreter, trio.current_time()
            interpreter.carry_out(effects.SetTimer("debounce", 5))
            interpreter.carry_out(effects.SetTimer("max-wait", 3))
            interpreter.carry_out(effects.SetTimer("debounce", 9))
            interpreter.carry_out(effects.SetTimer("never", 1))
            interpreter.carry_out(effects.StopTimer("never"))
            interpreter.carry_out(effects.StopTimer("unheard of"))
            await trio.sleep(20)
            assert workshop.told == [events.TimerElapsed("max-wait"), events.TimerElapsed("debounce")]
            assert trio.current_time() - began >= 20

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_drain_lasts_until_it_is_cut_off_and_a_dispose_gets_its_timeout(
    project: RealProject, factory: FakeFactory
) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            workshop = Workshop(project, factory, nursery)
            await workshop.perform(*CYCLE)

            async def call() -> None:
                with pytest.raises(BridgeError, match="it took too long"):
                    await workshop.slot.handle.call("pricing", "wait")

            nursery.start_soon(call)
            await factory.latest.in_flight.wait()
            factory.hang("dispose")
            began = trio.current_time()
            await workshop.perform(effects.Dispose(1, 5, dispose_timeout=4))
            await trio.sleep(30)
            workshop.interpreter.carry_out(effects.CutOff(1, "was cut off: it took too long"))
            failed = await workshop.next()
            assert isinstance(failed, events.DisposeFailed)
            assert "did not end within 4 s and was given up" in str(failed.error)
            assert 34 <= trio.current_time() - began < 35
            await workshop.perform(effects.Release())

    in_virtual_time(main)


async def test_unpublish_takes_the_bridge_out_of_the_registry(workshop: Workshop) -> None:
    runtime.publish(workshop.slot)
    await workshop.perform(*CYCLE)
    assert runtime.get_runtime_bridge().bridge is workshop.slot.handle.bridge
    workshop.interpreter.carry_out(effects.Unpublish())
    with pytest.raises(NoRuntimeBridge):
        runtime.get_runtime_bridge()
    with pytest.raises(Disposed):
        await workshop.slot.handle.call("pricing", "quote")
