"""Sessions whose workers run where a real ``ssh`` leads, and in a process beside it: what may happen to them there."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from lastgood.config import Config
from lastgood.errors import BridgeError, WorkerDied
from lastgood.remote import BOOTSTRAP, CommandPlace, RemoteBridge, SshBridge
from lastgood.session.watch import watch
from lastgood.watch_events import BridgeLost, BridgeRestored, GenerationUndone, ModuleLoadedLate
from marked_processes import all_ended, marked, running_with
from page_blocks import BLOCKS, project_of
from process_bridges import interpreter
from real_project import BROKEN, DEADLINE, RealProject, Told
from running import Running, run
from ssh_server import SshServer, can_serve, ssh_server

SERVICE = """\
import os

VERSION = 1

def version():
    return VERSION

def host():
    return os.getppid()

def sees(path):
    return os.path.exists(path)

def hang():
    import time
    time.sleep(1000)

def load(name):
    import importlib
    return importlib.import_module(name).NAME

def start(*command):
    import subprocess
    return subprocess.Popen(command).pid

async def tokens(number):
    for each in range(number):
        yield each
"""


def version(number: int) -> str:
    return SERVICE.replace("VERSION = 1", f"VERSION = {number}")


class Side:
    """The other side: how a bridge to it is made, and what runs there."""

    def __init__(
        self, name: str, directory: Path, create: Callable[..., RemoteBridge], server: SshServer | None
    ) -> None:
        self.name = name
        self.directory = directory
        self.create = create
        self.server = server

    def is_empty(self) -> bool:
        for pid in running_with(self.directory):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)  # what was frozen ends when it goes on
        return all_ended(self.directory)


@pytest.fixture(params=["process", "ssh"])
def side(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Side]:
    there = tmp_path / "there"
    if request.param == "process":
        env = {**os.environ, "XDG_CACHE_HOME": str(there), **marked(there)}

        def place() -> CommandPlace:
            return CommandPlace([sys.executable, "-c", BOOTSTRAP], env=env, name="a place here")

        def bridge(config: Config, **options: Any) -> RemoteBridge:
            return RemoteBridge(config, place, ahead="here", **options)

        yield Side("process", there, bridge, None)
        return
    if not can_serve():
        pytest.skip("there is no sshd on this machine: apt-get install openssh-server")
    with ssh_server(there, [tmp_path / "project"]) as server:
        monkeypatch.setenv("PATH", f"{server.commands}:{os.environ['PATH']}")

        def ssh_bridge(config: Config, **options: Any) -> RemoteBridge:
            return SshBridge.from_config(config, server.host, python=server.python, **options)

        yield Side("ssh", there, ssh_bridge, server)


@pytest.fixture
def project(tmp_path: Path) -> RealProject:
    (tmp_path / "project").mkdir()
    project = RealProject(tmp_path / "project", {"src/svc.py": SERVICE})
    configure(project)
    return project


def configure(project: RealProject, process: str = "") -> None:
    project.configure("svc", head='python_import_path = ["src"]')
    text = project.config_file.read_text()
    project.save("lastgood.toml", f"{text}[runtime.process]\nprobation = 1000\n{process}\n")


async def test_it_runs_there_from_what_was_shipped(project: RealProject, side: Side, told: Told) -> None:
    with trio.fail_after(DEADLINE):
        async with watch(project.config_file, create_bridge=side.create, on_event=told, debounce=0.01) as session:
            assert await session.handle.call("svc", "version") == 1
            if side.server is not None and side.server.hides:
                assert not await session.handle.call("svc", "sees", [str(project.root / "src" / "svc.py")])
            assert [item async for item in session.bridge.stream("svc", "tokens", [500])] == list(range(500))
            await told.success()
            project.save("src/svc.py", version(2))
            assert (await told.success()).warm == "fresh"
            assert await session.handle.call("svc", "version") == 2
            project.save("src/svc.py", BROKEN)
            await told.failure()
            assert await session.handle.call("svc", "version") == 2
            project.save("src/svc.py", version(3) + "raise OSError('at import')\n")
            await told.failure()
            assert await session.handle.call("svc", "version") == 2
            project.save("src/svc.py", version(4))
            await told.success()
            assert await session.handle.call("svc", "version") == 4
            assert await session.undo()
            assert await session.handle.call("svc", "version") == 2
    assert side.is_empty()


@pytest.mark.torture  # under load, a host that is not frozen may be late by more than lost_after
async def test_whatever_is_killed_or_frozen_there_comes_back_and_nothing_is_undone_for_it(
    project: RealProject, side: Side, told: Told
) -> None:
    def create(config: Config) -> RemoteBridge:
        return side.create(config, heartbeat=0.1, lost_after=1.0)

    async def hang() -> None:
        with pytest.raises(WorkerDied) as died:
            await session.handle.call("svc", "hang")
        assert died.value.blame == "place"

    with trio.fail_after(2 * DEADLINE):
        async with watch(project.config_file, create_bridge=create, on_event=told, debounce=0.01) as session:
            await told.success()
            project.save("src/svc.py", version(2))
            await told.success()
            for victim in ("worker", "host", "frozen"):
                host = await session.handle.call("svc", "host")
                pid, number = {
                    "worker": (session.bridge.pids[0], signal.SIGKILL),
                    "host": (host, signal.SIGKILL),
                    "frozen": (host, signal.SIGSTOP),
                }[victim]
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(hang)
                    os.kill(pid, number)
                assert (await told.next(BridgeLost)).blame == "place"
                assert await told.next(BridgeRestored) == BridgeRestored(2)
                assert await session.handle.call("svc", "version") == 2
            assert session.generation == 2
    assert not [event for event in told.events if isinstance(event, GenerationUndone)]
    assert side.is_empty()


async def test_a_module_that_is_loaded_late_is_pinned_then(project: RealProject, side: Side, told: Told) -> None:
    project.save("src/plugins/first.py", "NAME = 'first'\n")

    def create(config: Config) -> RemoteBridge:
        return side.create(config, files=["src/plugins/*.py"])

    with trio.fail_after(2 * DEADLINE):
        async with watch(project.config_file, create_bridge=create, on_event=told, debounce=0.01) as session:
            await told.success()
            assert await session.handle.call("svc", "load", ["plugins.first"]) == "first"
            late = await told.next(ModuleLoadedLate)
            assert late.path == project.root / "src" / "plugins" / "first.py"
            os.kill(session.bridge.pids[0], signal.SIGKILL)
            await told.next(BridgeRestored)
            assert await session.handle.call("svc", "load", ["plugins.first"]) == "first"
            project.save("src/plugins/first.py", "NAME = 'edited'\n")
            await told.success()
            assert await session.handle.call("svc", "load", ["plugins.first"]) == "edited"


APP = """\
import os, sys
import trio
import lastgood
os.environ["PATH"] = sys.argv[4]
from lastgood.remote import BOOTSTRAP, CommandPlace, RemoteBridge, SshBridge

def create(config):
    if sys.argv[1] == "ssh":
        return SshBridge.from_config(config, sys.argv[2], python=sys.argv[3])
    env = {**os.environ, "XDG_CACHE_HOME": sys.argv[2], "LASTGOOD_TESTED_IN": sys.argv[2]}
    return RemoteBridge(config, lambda: CommandPlace([sys.executable, "-c", BOOTSTRAP], env=env), ahead="here")

async def main():
    async with lastgood.watch(create_bridge=create) as session:
        await session.handle.call("svc", "start", ["sleep", "1000"])
        print("ready", flush=True)
        await session.handle.call("svc", "hang")

trio.run(main)
"""


@pytest.mark.parametrize("by", ["kill", "interrupt"])
def test_an_app_that_ends_leaves_nothing_there(
    project: RealProject, side: Side, processes: list[Running], by: str
) -> None:
    project.save("app.py", APP)
    arguments = [side.name, str(side.directory), ""]
    if side.server is not None:
        arguments = [side.name, side.server.host, side.server.python]
    app = Running(sys.executable, "app.py", *arguments, os.environ["PATH"], cwd=project.root)
    processes.append(app)
    app.line("ready")
    assert len(running_with(side.directory)) >= 3
    app.send(signal.SIGKILL if by == "kill" else signal.SIGINT)
    app.ended()
    assert side.is_empty()


@pytest.mark.parametrize("side", ["ssh"], indirect=True)
def test_the_program_of_the_page_runs(project: RealProject, side: Side) -> None:
    page = "docs/how-to/ssh.md"
    (program, _) = [block.text for block in BLOCKS if block.page == page and block.language == "python"]
    project = project_of(page, project.root, "async")
    project.save("app.py", program)
    ran = run([sys.executable, "app.py"], project.root, deadline=2 * DEADLINE)
    assert (ran.status, ran.out, ran.err) == (0, "5.0\n", "")
    assert side.is_empty()


@pytest.mark.parametrize("side", ["ssh"], indirect=True)
@pytest.mark.parametrize("problem", ["unknown", "refused", "key", "python", "old"])
async def test_what_does_not_work_is_explained(project: RealProject, side: Side, problem: str) -> None:
    server = side.server
    assert server is not None
    host, python, expected = server.host, server.python, ""
    if problem == "unknown":
        config = server.directory / "ssh_config"
        config.write_text(config.read_text().replace("127.0.0.1", "no.such.host.invalid"))
        expected = r"ssh elsewhere: the host is unknown \(ssh: Could not resolve hostname"
    elif problem == "refused":
        (server.directory / "key.pub").write_text("")
        expected = "authentication was refused"
    elif problem == "key":
        config = server.directory / "ssh_config"
        config.write_text(config.read_text().replace("accept-new", "yes"))
        expected = "its host key is not known"
    elif problem == "python":
        python, expected = "python9", "there is no python9 there, so set python="
    elif problem == "old":
        old = interpreter("3.8")
        if old is None:
            pytest.skip("there is no old Python on this machine")
        python, expected = str(old), r"lastgood needs Python 3\.9 or newer there, and"
    with pytest.raises(BridgeError, match=expected) as failed:
        async with watch(
            project.config_file, create_bridge=lambda config: SshBridge.from_config(config, host, python=python)
        ):
            pass
    assert failed.value.blame == "place"


# --- long runs


@pytest.mark.torture
async def test_twenty_reloads_under_eight_callers_fail_no_call(project: RealProject, side: Side, told: Told) -> None:
    seen: list[int] = []
    items: list[int] = []

    async def call() -> None:
        while True:
            seen.append(await session.handle.call("svc", "version"))

    async def stream() -> None:
        while True:
            items.append(len([item async for item in session.bridge.stream("svc", "tokens", [20])]))

    async with watch(project.config_file, create_bridge=side.create, on_event=told, debounce=0.01) as session:
        await told.success()
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(call)
            for number in range(2, 22):
                if number % 5 == 0:
                    project.save("src/svc.py", BROKEN)
                    await told.failure()
                project.save("src/svc.py", version(number))
                await told.success()
                assert await session.handle.call("svc", "version") == number
            nursery.cancel_scope.cancel()
    assert sorted(set(seen)) == list(range(1, 22))
    assert side.is_empty()


@pytest.mark.torture
async def test_callers_know_within_two_seconds_and_are_served_again_within_five(
    project: RealProject, side: Side, told: Told
) -> None:
    lost_after = 5.0

    async def hang() -> None:
        with pytest.raises(WorkerDied):
            await session.handle.call("svc", "hang")
        known.append(time.monotonic())

    async def serves() -> None:
        while True:
            try:
                assert await session.handle.call("svc", "version") == 1
            except BridgeError:
                await trio.sleep(0.01)
            else:
                return

    for victim in ("worker", "host", "frozen") * 3:
        async with watch(project.config_file, create_bridge=side.create, on_event=told, debounce=0.01) as session:
            await told.success()
            known: list[float] = []
            host = await session.handle.call("svc", "host")
            worker = session.bridge.pids[0]
            more = lost_after if victim == "frozen" else 0
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hang)
                await trio.sleep(0.2)
                begun = time.monotonic()
                os.kill(worker if victim == "worker" else host, signal.SIGSTOP if more else signal.SIGKILL)
            assert known[0] - begun < 2 + more, victim
            await serves()
            assert time.monotonic() - begun < 5 + more, victim
    assert not [event for event in told.events if isinstance(event, GenerationUndone)]
    assert side.is_empty()
