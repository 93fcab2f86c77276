"""A live bridge that breaks down comes back from its own generation, or takes that with it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from lastgood.bridges.late import LATE_IMPORT_LISTENER, LoadedLate
from lastgood.bridges.process import ProcessBridge
from lastgood.config import Config
from lastgood.effects import Prepare
from lastgood.errors import BridgeError, GenerationError, Undone, WorkerDied
from lastgood.planner import brake, phases
from lastgood.session.session import Session
from lastgood.session.watch import WatchProgram, watch
from lastgood.store.disk import Disk
from lastgood.store.file_system import digest_of
from lastgood.store.generations import GenerationStore
from lastgood.watch_events import BridgeLost, BridgeRestored, GenerationUndone, ModuleLoadedLate, WatchPaths
from real_project import BROKEN, DEADLINE, QUOTE, FakeFactory, RealProject, Told

PRICING = """\
import importlib

def quote() -> int:
    return 1

def late(name: str) -> str:
    return importlib.import_module(name).NAME
"""


@pytest.fixture
def real(project: RealProject, told: Told) -> Callable[..., WatchProgram]:
    """A session with real workers, and none of them on probation."""
    project.save("pricing.py", PRICING)
    configure(project)
    return lambda **options: watch(project.config_file, on_event=told, debounce=0.01, **options)


def configure(project: RealProject, probation: float = 0, more: str = "") -> None:
    text = f'[modules.pricing]\n[output]\ndir = "generated"\n[runtime.process]\nprobation = {probation}\n{more}'
    project.save("lastgood.toml", text)


def kill_worker(session: Session, by: signal.Signals = signal.SIGKILL) -> int:
    pid: int = session.bridge.pid
    os.kill(pid, by)
    return pid


async def test_a_worker_that_dies_is_started_again_at_its_own_generation(
    project: RealProject, told: Told, real: Callable[..., WatchProgram]
) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            await told.success()
            project.save("pricing.py", BROKEN)
            failure = await told.failure()
            assert isinstance(failure.error, GenerationError)
            before = kill_worker(session)
            lost = await told.next(BridgeLost)
            assert lost.generation == 1
            assert isinstance(lost.error, WorkerDied)
            assert lost.error.status == -signal.SIGKILL
            assert await told.next(BridgeRestored) == BridgeRestored(1)
            assert session.bridge.pid != before
            assert await session.handle.call("pricing", "quote") == 1
            assert session.generation == 1
            assert session.status.error is failure.error


async def test_until_a_worker_is_back_calls_and_the_status_say_how_it_died(
    told: Told, real: Callable[..., WatchProgram]
) -> None:
    seen: list[BaseException | None] = []
    with trio.fail_after(DEADLINE):
        async with real() as session:
            kill_worker(session)
            with pytest.raises(WorkerDied):
                await session.handle.call("pricing", "quote")
            await told.next(BridgeLost)
            seen.append(session.status.error)
            await told.next(BridgeRestored)
            seen.append(session.status.error)
    assert isinstance(seen[0], WorkerDied)
    assert seen[1] is None


async def test_a_pool_that_lost_a_worker_is_replaced_and_the_calls_of_the_others_end_in_peace(
    project: RealProject, told: Told, real: Callable[..., WatchProgram], tmp_path: Path
) -> None:
    project.save("pricing.py", PRICING + "def hold(path: str) -> str:\n    return open(path).read()\n")
    configure(project, more="pool = 2\n")
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    held: list[str] = []
    with trio.fail_after(DEADLINE):
        async with real() as session, trio.open_nursery() as nursery:

            async def hold() -> None:
                held.append(await session.handle.call("pricing", "hold", [str(fifo)]))

            nursery.start_soon(hold)
            # Opening it waits for the worker that reads it.
            writing = await trio.to_thread.run_sync(lambda: fifo.open("w"))
            idle = session.bridge._least_busy().pid
            os.kill(idle, signal.SIGKILL)
            await told.next(BridgeRestored)
            writing.write("done")
            writing.close()
    assert held == ["done"]


async def test_a_worker_that_dies_on_probation_brings_the_generation_before_back(
    project: RealProject, told: Told, real: Callable[..., WatchProgram]
) -> None:
    configure(project, probation=1000)
    with trio.fail_after(DEADLINE):
        async with real() as session:
            await told.success()
            good = project.tree()
            project.save("pricing.py", PRICING.replace("quote()", "quote(sku: str = '')").replace("1", "2"))
            await told.success()
            assert project.tree() != good
            kill_worker(session, signal.SIGSEGV)
            assert (await told.next(BridgeLost)).blame == "code"
            undone = await told.next(GenerationUndone)
            assert undone.generation == 2
            assert isinstance(undone.reason, WorkerDied)
            assert (await told.success()).generation == 3
            assert project.tree() == good
            assert await session.handle.call("pricing", "quote") == 1
            assert session.status.stale
            assert isinstance(session.status.error, Undone)
            project.save("pricing.py", PRICING.replace("return 1", "return 3"))
            await told.success()
            assert not session.status.stale


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
async def test_a_worker_that_is_killed_from_outside_on_probation_undoes_nothing(
    by: signal.Signals, project: RealProject, told: Told, real: Callable[..., WatchProgram]
) -> None:
    configure(project, probation=1000)
    with trio.fail_after(DEADLINE):
        async with real() as session:
            project.save("pricing.py", PRICING.replace("return 1", "return 2"))
            assert (await told.success()).generation == 1
            assert (await told.success()).generation == 2
            kill_worker(session, by)
            lost = await told.next(BridgeLost)
            assert (lost.blame, lost.restart_in) == ("place", 0)
            await told.next(BridgeRestored)
            assert await session.handle.call("pricing", "quote") == 2
            assert not session.status.stale


async def test_an_undo_brings_wrappers_and_worker_back_though_the_sources_are_broken(
    project: RealProject, told: Told, real: Callable[..., WatchProgram]
) -> None:
    with trio.fail_after(DEADLINE):
        async with real() as session:
            await told.success()
            good = project.tree()
            project.save(
                "pricing.py", PRICING.replace("quote()", "quote(sku: str = '')").replace("return 1", "return 2")
            )
            await told.success()
            project.save("pricing.py", BROKEN)
            await told.failure()
            assert await session.undo()
            assert project.tree() == good
            assert await session.handle.call("pricing", "quote") == 1
            assert isinstance(session.status.error, Undone)


async def test_a_later_session_can_go_back_to_what_an_earlier_one_left(
    project: RealProject, real: Callable[..., WatchProgram]
) -> None:
    with trio.fail_after(DEADLINE):
        async with real():
            good = project.tree()
        project.save("pricing.py", PRICING.replace("quote()", "quote(sku: str = '')").replace("return 1", "return 2"))
        async with real() as session:
            assert await session.undo()
            assert await session.handle.call("pricing", "quote") == 1
            assert project.tree() == good


async def test_a_module_that_is_imported_late_is_told_and_watched(
    project: RealProject, told: Told, real: Callable[..., WatchProgram]
) -> None:
    plugin = project.save("plugin.py", "NAME = 'one'\n")
    with trio.fail_after(DEADLINE):
        async with real() as session:
            await told.success()
            assert await session.handle.call("pricing", "late", ["plugin"]) == "one"
            assert await told.next(ModuleLoadedLate) == ModuleLoadedLate("plugin", plugin)
            assert plugin in (await told.next(WatchPaths)).paths
            project.save("plugin.py", "NAME = 'two'\n")
            assert (await told.success()).changed == (plugin,)
            assert await session.handle.call("pricing", "late", ["plugin"]) == "two"


async def test_what_is_told_and_watched_of_a_module_that_is_imported_late_is_its_resolved_path(
    project: RealProject, told: Told, real: Callable[..., WatchProgram]
) -> None:
    plugin = project.save("plugin.py", "NAME = 'one'\n")
    plugin.with_name("alias.py").symlink_to(plugin)
    with trio.fail_after(DEADLINE):
        async with real() as session:
            await told.success()
            assert await session.handle.call("pricing", "late", ["alias"]) == "one"
            assert await told.next(ModuleLoadedLate) == ModuleLoadedLate("alias", plugin)
            assert plugin in (await told.next(WatchPaths)).paths
            project.save("plugin.py", "NAME = 'two'\n")
            assert (await told.success()).changed == (plugin,)
            assert await session.handle.call("pricing", "late", ["alias"]) == "two"


async def test_a_module_that_is_imported_late_while_a_worker_warms_is_watched_with_the_rest(
    project: RealProject, told: Told, real: Callable[..., WatchProgram]
) -> None:
    plugin = project.save("plugin.py", "NAME = 'one'\n")
    project.save("pricing.py", PRICING + "NAME = late('plugin')\n")
    with trio.fail_after(DEADLINE):
        async with real():
            assert plugin in (await told.next(WatchPaths)).paths
            project.save("plugin.py", "NAME = 'two'\n")
            await told.success()


async def late(session: Session) -> str:
    name: str = await session.handle.call("pricing", "late", ["plugin"])
    return name


async def break_the_sources(project: RealProject, told: Told) -> None:
    """No cycle can succeed from here on, and the plugin on disk is another one."""
    await told.success()
    project.save("pricing.py", BROKEN)
    await told.failure()
    project.save("plugin.py", "NAME = 'two'\n")
    await told.failure()


async def test_a_worker_that_is_started_again_imports_late_what_the_one_before_did(
    project: RealProject, told: Told, real: Callable[..., WatchProgram]
) -> None:
    project.save("plugin.py", "NAME = 'one'\n")
    with trio.fail_after(DEADLINE):
        async with real() as session:
            assert await late(session) == "one"
            await break_the_sources(project, told)
            for _ in range(2):
                kill_worker(session)
                await told.next(BridgeRestored)
                assert await late(session) == "one"
            notices = [event for event in told.events if isinstance(event, ModuleLoadedLate)]
            assert len(notices) == 1, "it is known, and watched"


async def test_what_a_worker_imports_late_and_dies_of_is_what_the_next_one_imports(
    project: RealProject, told: Told, real: Callable[..., WatchProgram], tmp_path: Path
) -> None:
    """It is lost in the very moment; and the plugin says which of its bytes were run."""
    log = tmp_path / "log"
    plugin = "import os\nopen({log!r}, 'a').write({mark!r})\nif {mark!r} == '1': os._exit(3)\nNAME = {mark!r}\n"
    project.save("plugin.py", plugin.format(log=str(log), mark="1"))
    with trio.fail_after(DEADLINE):
        async with real() as session:
            with pytest.raises(WorkerDied):
                await late(session)
            project.save("pricing.py", BROKEN)
            await told.next(BridgeRestored)
            project.save("plugin.py", plugin.format(log=str(log), mark="2"))
            with pytest.raises(WorkerDied):
                await late(session)
    assert log.read_text() == "11"


async def test_each_worker_of_a_pool_that_is_started_again_imports_the_same(
    project: RealProject, told: Told, real: Callable[..., WatchProgram], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(project, more="pool = 2\n")
    project.save("plugin.py", "NAME = 'one'\n")
    with trio.fail_after(DEADLINE):
        async with real() as session:
            assert await late(session) == "one"
            await break_the_sources(project, told)
            kill_worker(session)
            await told.next(BridgeRestored)
            for worker in session.bridge._workers:
                monkeypatch.setattr(session.bridge, "_least_busy", lambda worker=worker: worker)
                assert await late(session) == "one"


@pytest.mark.parametrize("how", ["undo()", "a loss on probation"])
async def test_going_back_brings_what_was_imported_late_back_and_watches_it(
    how: str, project: RealProject, told: Told, real: Callable[..., WatchProgram]
) -> None:
    configure(project, probation=1000)
    plugin = project.save("plugin.py", "NAME = 'one'\n")
    with trio.fail_after(DEADLINE):
        async with real() as session:
            await told.success()
            assert await late(session) == "one"
            project.save("plugin.py", "NAME = 'two'\n")
            await told.success()  # the worker of this generation has not imported it
            if how == "undo()":
                assert await session.undo()
            else:
                kill_worker(session, signal.SIGSEGV)
            assert plugin in (await told.next(WatchPaths)).paths
            await told.success()
            assert await late(session) == "one"
            assert isinstance(session.status.error, Undone)
            project.save("plugin.py", "NAME = 'three'\n")
            assert (await told.success()).changed == (plugin,)
            assert await late(session) == "three"


async def test_a_later_session_brings_what_was_imported_late_back(
    project: RealProject, real: Callable[..., WatchProgram]
) -> None:
    project.save("plugin.py", "NAME = 'one'\n")
    with trio.fail_after(DEADLINE):
        async with real() as session:
            assert await late(session) == "one"
        project.save("plugin.py", "NAME = 'two'\n")
        project.save("pricing.py", PRICING.replace("return 1", "return 2"))
        async with real() as session:
            assert await late(session) == "two"
            assert await session.undo()
            assert await late(session) == "one"
            assert await session.reload_now()
            assert await late(session) == "two"


async def test_a_bridge_around_the_default_one_needs_to_pass_on_nothing_of_it(
    project: RealProject, told: Told, real: Callable[..., WatchProgram]
) -> None:
    class Around:
        def __init__(self, inner: ProcessBridge) -> None:
            self.init, self.call, self.dispose = inner.init, inner.call, inner.dispose

    plugin = project.save("plugin.py", "NAME = 'one'\n")
    with trio.fail_after(DEADLINE):
        async with real(create_bridge=lambda config: Around(ProcessBridge.from_config(config))) as session:
            assert await late(session) == "one"
            assert await told.next(ModuleLoadedLate) == ModuleLoadedLate("plugin", plugin)
            project.save("plugin.py", "NAME = 'two'\n")
            assert (await told.success()).changed == (plugin,)
            assert await late(session) == "two"
            assert await session.undo()
            assert await late(session) == "one"


# --- with bridges of one's own


async def test_what_was_imported_late_just_before_a_close_is_kept(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    plugin, listeners = project.save("plugin.py", "NAME = 'one'\n"), []
    factory.call("create", lambda: listeners.append(LATE_IMPORT_LISTENER.get()))
    with trio.fail_after(DEADLINE):
        async with start() as session:
            (listener,) = listeners
            assert listener is not None
            await trio.testing.wait_all_tasks_blocked()
            source = plugin.read_bytes()
            listener(LoadedLate("plugin", plugin, digest_of(source), source))
            await session.close()  # nothing else runs in between
    pinned = factory.configs[0].pinned
    assert pinned is not None
    store = GenerationStore(Disk(), pinned.parents[2])
    assert store.open(store.path(store.history()[-1])).late == {"plugin": plugin}


async def test_a_bridge_of_ones_own_that_says_it_is_lost_is_made_once_more(
    start: Callable[..., WatchProgram], factory: FakeFactory, told: Told
) -> None:
    with trio.fail_after(DEADLINE):
        async with start() as session:
            first = factory.latest
            first.breakdown.set()
            await told.next(BridgeRestored)
            assert session.bridge is factory.latest is not first
            assert factory.latest.log == ["init", "probe"]
            assert factory.configs[0] == factory.configs[1]
    assert all(bridge.disposed for bridge in factory.bridges)


async def test_at_most_two_that_broke_down_drain_and_the_oldest_is_cut_off(
    start: Callable[..., WatchProgram], factory: FakeFactory, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brake, "RESTART_WAITS", (0.0,) * 5)
    ended: list[str] = []

    async def call(session: Session, name: str) -> None:
        try:
            await session.handle.call("pricing", "wait")
            ended.append(name)
        except BridgeError as error:
            ended.append(f"{name} {error}")

    with trio.fail_after(DEADLINE):
        async with start() as session, trio.open_nursery() as nursery:
            for name in "abc":
                live = session.bridge
                nursery.start_soon(call, session, name)
                await live.in_flight.wait()
                live.breakdown.set()
                await told.next(BridgeRestored)
            while not ended:
                await trio.lowlevel.checkpoint()
            assert ended == [
                "a The call was cut off: it was still in flight when two later bridges had been replaced as well."
            ]
            for bridge in factory.bridges:
                bridge.answer.set()
    assert sorted(ended)[1:] == ["b", "c"]
    assert all(bridge.disposed for bridge in factory.bridges)


async def test_a_lost_bridge_that_does_not_get_ready_is_disposed_and_tried_again(
    start: Callable[..., WatchProgram], factory: FakeFactory, told: Told
) -> None:
    error = LookupError("not ready")
    with trio.fail_after(DEADLINE):
        async with start():
            factory.fail("probe", error)
            factory.latest.breakdown.set()
            await told.next(BridgeLost)
            assert (await told.next(BridgeLost)).error is error
            await told.next(BridgeRestored)
    assert len(factory.bridges) == 3
    assert all(bridge.disposed for bridge in factory.bridges)


async def test_a_close_ends_a_restart(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory
) -> None:
    with trio.fail_after(DEADLINE):
        async with start() as session:
            pause = factory.pause("init")
            factory.latest.breakdown.set()
            await pause.reached.wait()
            await session.close()
    assert len(factory.bridges) == 2
    assert all(bridge.disposed for bridge in factory.bridges)
    assert project.leftovers() == []


async def test_an_edit_ends_a_restart_that_hangs(
    project: RealProject, start: Callable[..., WatchProgram], factory: FakeFactory, told: Told
) -> None:
    with trio.fail_after(DEADLINE):
        async with start() as session:
            await told.success()
            pause = factory.pause("init")
            factory.latest.breakdown.set()
            await pause.reached.wait()
            project.save("pricing.py", QUOTE.replace("1.0", "2.0"))
            await told.success()
            assert session.generation == 2
            assert session.bridge is factory.latest


class Preparing:
    """Notes what its session had told when it was asked to prepare for the next one; ``error``: and raises it."""

    def __init__(self, told: Told, error: Exception | None = None) -> None:
        self.told = told
        self.error = error
        self.breakdown = trio.Event()
        self.prepared = trio.Event()
        self.asked: list[str] = []

    async def call(self, *_: object) -> int:
        return 1

    async def dispose(self) -> None: ...

    async def lost(self) -> BaseException:
        await self.breakdown.wait()
        return WorkerDied(1, "")

    async def prepare_spare(self) -> None:
        self.asked.append(self.told.events[-1].type)
        self.prepared.set()
        if self.error is not None:
            raise self.error


async def test_a_bridge_is_asked_to_prepare_for_the_next_when_nothing_is_under_way(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    made: list[Preparing] = []

    def create(_: Config) -> Preparing:
        made.append(Preparing(told))
        return made[-1]

    with trio.fail_after(DEADLINE):
        async with start(create_bridge=create, probe=None) as session:
            await made[0].prepared.wait()
            made[0].breakdown.set()
            await told.next(BridgeRestored)
            await made[1].prepared.wait()
            made[1].prepared = trio.Event()
            project.save("pricing.py", BROKEN)
            await told.failure()
            await made[1].prepared.wait()
            assert session.bridge is made[1]
    assert [bridge.asked for bridge in made] == [
        ["reload-success"],
        ["notice-bridge-restored", "reload-error"],
    ]


async def test_a_bridge_is_asked_again_since_what_it_has_prepared_grows_old(
    start: Callable[..., WatchProgram], told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phases, "Prepare", partial(Prepare, every=0.0))
    bridge = Preparing(told)
    with trio.fail_after(DEADLINE):
        async with start(create_bridge=lambda _: bridge, probe=None):
            for _ in range(3):
                await bridge.prepared.wait()
                bridge.prepared = trio.Event()


async def test_a_bridge_that_cannot_prepare_is_live_all_the_same(
    start: Callable[..., WatchProgram], told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    bridge = Preparing(told, LookupError("mine"))
    with trio.fail_after(DEADLINE):
        async with start(create_bridge=lambda _: bridge, probe=None) as session:
            await bridge.prepared.wait()
            assert await session.handle.call("m", "f") == 1
    assert "prepare_spare() of the live bridge raised" in caplog.text


@pytest.mark.parametrize("error", [LookupError("mine"), SystemExit(3), asyncio.CancelledError()], ids=repr)
async def test_a_bridge_whose_lost_raises_is_only_not_guarded(
    start: Callable[..., WatchProgram], caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    class Careless:
        async def call(self, *_: object) -> int:
            return 1

        async def dispose(self) -> None: ...

        async def lost(self) -> BaseException:
            raise error

    def create(_: Config) -> Careless:
        return Careless()

    async with start(create_bridge=create, probe=None) as session:
        await session.reload_now()
        assert await session.handle.call("m", "f") == 1
    assert "lost() of the live bridge raised" in caplog.text
