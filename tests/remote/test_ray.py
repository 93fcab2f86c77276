"""Workers on a cluster of Ray: two nodes on this machine, which do not see the project."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import lastgood
from imported import forgotten
from lastgood.errors import BridgeError, EncodeError, RemoteError, WorkerDied
from lastgood.remote import RayBridge, ray
from lastgood.session.session import Session
from process_bridges import is_alive, until
from ray_clusters import CAN_HIDE, Cluster, cluster, parent_of
from real_project import RealProject, Told
from running import Running
from shipped import copy_of

pytestmark = [pytest.mark.ray]
if importlib.util.find_spec("ray") is None:  # it takes a second to import it only to see that it is there
    pytest.skip("there is no ray, which is in the extra 'ray'", allow_module_level=True)

KNOWN = 2.0  # seconds within which callers know of a loss
SERVING = 5.0  # seconds within which calls are answered again
PRICING = """
import logging, os, subprocess
from collections.abc import Iterator
from dataclasses import dataclass

VERSION = 1

@dataclass
class Quote:
    sku: str
    price: float

@dataclass
class Rebate(Quote):
    percent: int = 0

class NotSold(LookupError):
    pass

def version() -> int:
    return VERSION

def quote(sku: str) -> Quote:
    return Rebate(sku, 9.0, 10) if sku == "sale" else Quote(sku, 10.0)

def price(quote: Quote) -> str:
    return f"{type(quote).__name__} {quote.price}"

def fail(sku: str) -> None:
    raise NotSold(sku)

def count(n: int) -> Iterator[int]:
    for i in range(n):
        yield i

def twice(value):
    return value + value

def talk() -> None:
    print("printed there")
    logging.getLogger("pricing").warning("logged there")

def pids() -> tuple[int, int]:
    return os.getpid(), os.getppid()

def sees(path: str) -> bool:
    return os.path.exists(path)

def start() -> int:
    return subprocess.Popen(["sleep", "1000"]).pid

def hang() -> None:
    import time
    time.sleep(1000)

def unsendable():
    return open(os.devnull)
"""


@pytest.fixture(scope="module", autouse=True)
def _no_tokens() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        yield


@pytest.fixture(scope="module")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory, _no_tokens: None) -> Iterator[Cluster]:
    with cluster(hidden=tmp_path_factory.getbasetemp()) as made:
        yield made


@pytest.fixture
def two_nodes(ray_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster that has two nodes, each with room for two workers, and neither of them to be avoided."""
    monkeypatch.setattr(ray, "_AVOIDED", {})
    while len(ray_cluster.nodes) < 2:
        ray_cluster.add("--num-cpus=2")
    return ray_cluster


@pytest.fixture
def project(tmp_path: Path) -> RealProject:
    return RealProject(tmp_path, {"pricing.py": PRICING})


class Elsewhere:
    """A session whose worker runs on a cluster."""

    def __init__(self, session: Session, told: Told, project: RealProject) -> None:
        self.session = session
        self.told = told
        self.project = project

    async def call(self, function: str, *args: Any) -> Any:
        return await self.session.handle.call("pricing", function, args, {})

    async def edit(self, version: int) -> None:
        self.project.save("pricing.py", PRICING.replace("VERSION = 1", f"VERSION = {version}"))
        await self.told.success()

    async def serves(self, version: int) -> float:
        """Wait until calls are answered; return how long that took."""
        began = trio.current_time()
        with trio.fail_after(60):
            while True:
                try:
                    assert await self.call("version") == version
                    return trio.current_time() - began
                except WorkerDied:
                    await trio.sleep(0.01)

    async def is_ahead(self) -> None:
        """Wait until a worker waits for the next bridge."""
        await until(lambda: any(each.worker is not None for each in self.session.bridge._waiting))


@asynccontextmanager
async def running(project: RealProject, address: str | None, **options: Any) -> AsyncIterator[Elsewhere]:
    told = Told()
    create = partial(RayBridge.from_config, address=address, **options)
    async with lastgood.watch(project.config_file, create_bridge=create, on_event=told, debounce=0.02) as session:
        await told.success()
        yield Elsewhere(session, told, project)


async def killed(processes: Callable[[], list[int]]) -> None:
    """Wait until none of these runs."""
    await until(lambda: not any(map(is_alive, processes())))


# --- reloads


async def test_twenty_reloads_under_eight_callers_fail_no_call(two_nodes: Cluster, project: RealProject) -> None:
    answered: list[int] = []

    async def calls(live: Elsewhere) -> None:
        newest = 0
        while True:
            version = await live.call("version")
            assert version >= newest
            newest = version
            answered.append(version)
            await trio.sleep(0.005)

    async with running(project, two_nodes.address) as live, trio.open_nursery() as nursery:
        assert not (CAN_HIDE and await live.call("sees", str(project.root)))
        for _ in range(8):
            nursery.start_soon(calls, live)
        for version in range(2, 22):
            await live.edit(version)
        assert live.session.generation == 21
        assert await live.call("version") == 21
        nursery.cancel_scope.cancel()
    assert len(answered) > 20


async def test_a_broken_edit_leaves_the_old_one_live(two_nodes: Cluster, project: RealProject) -> None:
    async with running(project, two_nodes.address) as live:
        project.save("pricing.py", PRICING + "\nraise RuntimeError('at import')\n")
        failure = await live.told.failure()
        assert isinstance(failure.error, RemoteError)
        assert (failure.effect, failure.error.message) == ("warm", "at import")
        assert await live.call("version") == 1
        project.save("pricing.py", "def quote(:\n")
        assert (await live.told.failure()).effect == "stage"
        assert await live.call("version") == 1
        await live.edit(2)
        assert await live.call("version") == 2
        assert await live.session.undo()
        assert await live.call("version") == 1


async def test_what_crosses_is_as_from_a_worker_here(
    two_nodes: Cluster, project: RealProject, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    numpy = pytest.importorskip("numpy")
    async with running(project, two_nodes.address):
        with forgotten(project.root), pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(project.root))
            pricing = importlib.import_module("generated.pricing")
            rebate = await pricing.quote("sale")
            assert (type(rebate), rebate.percent) == (pricing.Rebate, 10)
            assert await pricing.price(pricing.Rebate("x", 2.0)) == "Rebate 2.0"
            with pytest.raises(pricing.NotSold, match=r"^x$") as raised:
                await pricing.fail("x")
            assert isinstance(raised.value, LookupError | RemoteError)
            assert [item async for item in pricing.count(1000)] == list(range(1000))
            stream = pricing.count(10**9)
            assert await anext(stream) == 0
            await stream.aclose()
            array = numpy.arange(1_000_000, dtype="float64")
            assert numpy.array_equal(await pricing.twice(array), 2 * array)
            await pricing.talk()
            with pytest.raises(BridgeError, match="TextIOWrapper"):
                await pricing.unsendable()
            with pytest.raises(EncodeError, match="lock"):
                await pricing.twice(threading.Lock())
    assert "printed there\n" in capfd.readouterr().err
    assert ("pricing", logging.WARNING, "logged there") in caplog.record_tuples


async def test_arrow_tables_cross(two_nodes: Cluster, project: RealProject) -> None:
    arrow = pytest.importorskip("pyarrow", reason="it is in the extra 'tables'")
    project.save("pricing.py", PRICING + "\ndef same(table):\n    return table\n")
    async with running(project, two_nodes.address) as live:
        table = arrow.table({"n": list(range(1000)), "s": ["x"] * 1000})
        assert (await live.call("same", table)).equals(table)


# --- losses


@pytest.mark.parametrize("what", ["worker", "actor", "node"])
async def test_a_loss_is_known_at_once_and_another_worker_serves(
    two_nodes: Cluster, project: RealProject, what: str
) -> None:
    async with running(project, two_nodes.address) as live:
        await live.edit(2)  # the live generation is on probation
        worker, host = await live.call("pids")
        started = await live.call("start")
        node = two_nodes.node_of(worker)
        await live.is_ahead()
        known: list[WorkerDied] = []

        async def call() -> None:
            with pytest.raises(WorkerDied) as died:
                await live.call("hang")
            known.append(died.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            await trio.sleep(0.2)
            began = trio.current_time()
            if what == "node":
                two_nodes.remove(node)
            else:
                os.kill(worker if what == "worker" else parent_of(host), signal.SIGKILL)
        assert trio.current_time() - began < KNOWN
        assert known[0].blame == "place"
        await live.serves(2)
        assert trio.current_time() - began < SERVING
        assert live.session.generation == 2
        if what == "node":
            assert two_nodes.node_of((await live.call("pids"))[0]) is not node
        await killed(lambda: [worker, host, started])
        kinds = {event.type for event in live.told.events}
        assert "notice-generation-undone" not in kinds


async def test_a_frozen_node_is_noticed_and_avoided(two_nodes: Cluster, project: RealProject) -> None:
    async with running(project, two_nodes.address, heartbeat=0.5, lost_after=3.0) as live:
        worker, _ = await live.call("pids")
        node = two_nodes.node_of(worker)
        await live.is_ahead()
        began = trio.current_time()
        node.signal(signal.SIGSTOP)
        try:
            with pytest.raises(WorkerDied, match=r"silent for 3 s") as died:
                await live.call("hang")
            assert trio.current_time() - began < 3.0 + KNOWN
            assert died.value.blame == "place"
            await live.serves(1)
            assert trio.current_time() - began < 3.0 + SERVING
            for version in (2, 3):
                await live.edit(version)
                assert two_nodes.node_of((await live.call("pids"))[0]) is not node
        finally:
            node.signal(signal.SIGCONT)
        await killed(lambda: [worker])  # it finds that its app has gone
        two_nodes.remove(node)


async def test_when_the_head_is_gone_calls_go_on(tmp_path: Path) -> None:
    project = RealProject(tmp_path, {"pricing.py": PRICING})
    with cluster() as headless:
        headless.add("--num-cpus=2")
        async with running(project, headless.address) as live:
            worker, _ = await live.call("pids")
            headless.head.kill()
            for _ in range(20):
                await trio.sleep(0.1)
                assert (await live.call("pids"))[0] == worker


async def test_when_the_program_that_talks_to_ray_is_killed_another_takes_its_place(
    two_nodes: Cluster, project: RealProject
) -> None:
    async with running(project, two_nodes.address) as live:
        worker, host = await live.call("pids")
        [program] = programs()
        os.kill(program, signal.SIGKILL)
        await live.told.next(lastgood.BridgeLost)
        await live.serves(1)
        await killed(lambda: [worker, host])
        assert live.session.generation == 1


# --- ends


async def test_nothing_is_left_after_the_session(two_nodes: Cluster, project: RealProject) -> None:
    before = actors_of(two_nodes)
    async with running(project, two_nodes.address, workers=2) as live:
        assert len(live.session.bridge.pids) == 2
        processes = [*live.session.bridge.pids, *(await live.call("pids")), await live.call("start")]
        await live.edit(2)
        processes += [*live.session.bridge.pids, *(await live.call("pids"))]
    await killed(lambda: processes)
    await until(lambda: actors_of(two_nodes) <= before and programs() == [])


def test_nothing_is_left_after_an_app_was_killed(
    two_nodes: Cluster, project: RealProject, processes: list[Running]
) -> None:
    app = f"""
        import trio, lastgood
        from lastgood.remote import RayBridge, ray
        async def main():
            create = lambda config: RayBridge.from_config(config, address={two_nodes.address!r})
            async with lastgood.watch("lastgood.toml", create_bridge=create) as session:
                print("pids", *await session.handle.call("pricing", "pids", (), {{}}), flush=True)
                await trio.sleep_forever()
        trio.run(main)
    """
    project.save("app.py", textwrap.dedent(app))
    program = Running(sys.executable, "app.py", cwd=project.root, deadline=60)
    processes.append(program)
    pids = [int(pid) for pid in program.line("pids").split()[1:]]
    pids += [parent_of(pids[1]), *children_of(program.pid)]
    os.kill(program.pid, signal.SIGKILL)
    trio.run(killed, lambda: pids)


# --- placement


async def test_two_generations_that_do_not_fit_are_an_error_that_names_the_resource(
    two_nodes: Cluster, project: RealProject
) -> None:
    node = two_nodes.add("--num-cpus=1", '--resources={"model": 1}')
    try:
        async with running(project, two_nodes.address, resources={"model": 1}) as live:
            project.save("pricing.py", PRICING.replace("VERSION = 1", "VERSION = 2"))
            failure = await live.told.failure()
            assert "no node of the cluster has CPU 1, model 1 free" in str(failure.error)
            assert "overlap = false" in str(failure.error)
            assert await live.call("version") == 1
        project.configure("pricing", head="[runtime.process]\noverlap = false")
        async with running(project, two_nodes.address, resources={"model": 1}) as live:
            await live.edit(3)
            assert await live.call("version") == 3
        with pytest.raises(BridgeError, match="no node of the cluster can take a worker that needs CPU 1, GPU 8"):
            async with running(project, two_nodes.address, num_gpus=8):
                pass
    finally:
        two_nodes.remove(node)


async def test_a_runtime_env_is_that_of_the_worker(two_nodes: Cluster, project: RealProject) -> None:
    project.save("pricing.py", PRICING + "\ndef variable(name: str) -> str | None:\n    return os.environ.get(name)\n")
    async with running(project, two_nodes.address, runtime_env={"env_vars": {"THERE": "yes"}}) as live:
        assert await live.call("variable", "THERE") == "yes"


def test_bundles_of_a_placement_group_are_used(two_nodes: Cluster, project: RealProject) -> None:
    reserve = f"""
        import ray, sys
        ray.init({two_nodes.address!r}, namespace="lastgood", log_to_driver=False)
        group = ray.util.placement_group([{{"CPU": 1}}, {{"CPU": 1}}], name="mine", strategy="STRICT_PACK")
        ray.get(group.ready())
        print("reserved", flush=True)
        sys.stdin.read()
    """

    async def use() -> None:
        async with running(project, two_nodes.address, placement_group="mine") as live:
            assert await live.call("version") == 1
            await live.edit(2)
        with pytest.raises(BridgeError, match="no placement group named 'theirs'"):
            async with running(project, two_nodes.address, placement_group="theirs"):
                pass

    command = [sys.executable, "-c", textwrap.dedent(reserve)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "reserved\n"
        trio.run(use)
        holder.stdin.close()


async def test_without_an_address_a_cluster_is_started_and_ends_with_the_session(project: RealProject) -> None:
    before = left_by_ray()
    async with running(project, None) as live:
        assert await live.call("version") == 1
        [program] = programs()
        processes = [program, *children_of(program)]
        await live.edit(2)
    await killed(lambda: processes)
    assert left_by_ray() == before  # the address that a later ray.init() of somebody else's would join


async def test_a_cluster_that_wants_a_token_says_so(project: RealProject, monkeypatch: pytest.MonkeyPatch) -> None:
    token = "0123456789abcdef" * 4
    with cluster(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token) as closed:
        closed.add("--num-cpus=2")
        with pytest.raises(BridgeError, match="RAY_AUTH_MODE=token"):
            async with running(project, closed.address):
                pass
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
        async with running(project, closed.address) as live:
            assert await live.call("version") == 1


def actors_of(nodes: Cluster) -> set[int]:
    """Return the processes of actors."""
    return {pid for node in nodes.nodes for pid in node.pids() if "HostActor" in command_of(pid)}


def programs() -> list[int]:
    """Return the processes that talk to Ray for this one."""
    return [pid for pid in children_of(os.getpid()) if "-m lastgood.remote.ray_program" in command_of(pid)]


# --- the example


def test_the_example_lives_through_edits(tmp_path: Path, processes: list[Running]) -> None:
    project = copy_of("ray", tmp_path)
    source = (project.root / "model.py").read_text()
    app = Running(sys.executable, "app.py", cwd=project.root, deadline=300)
    processes.append(app)
    app.line("generation 1 (live) on GPU 0: 10.0")
    project.save("model.py", source.replace("SCALE = 10", "SCALE = 20"))
    app.line("generation 2 (live) on GPU 0: 20.0")
    project.save("model.py", source.replace("def ", "def", 1))
    app.line("generation 2 (STALE) on GPU 0: 20.0")
    project.save("model.py", source)
    app.line("generation 3 (live) on GPU 0: 10.0")
    assert "Traceback" not in app.interrupt().err


def children_of(pid: int) -> list[int]:
    """Return the processes that descend from one."""
    found = [pid]
    for each in found:
        for tasks in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found += map(int, tasks.read_text().split())
            except OSError:
                continue
    return found[1:]


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def left_by_ray() -> str | None:
    """Return the address that Ray has noted for whoever connects without one."""
    file = Path("/tmp/ray/ray_current_cluster")
    return file.read_text() if file.exists() else None
