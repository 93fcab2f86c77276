"""Edits under load: no request of a client that never tries again fails, no answer is older than one that was given before."""

from __future__ import annotations

import gc
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import trio
from wsproto.events import CloseConnection, TextMessage

import lastgood
from lastgood.serve.binding import bind, release
from serving import APP, Client, Incomplete, Served, WebSocket, serving, version

pytest.importorskip("uvicorn", reason="it serves")
pytestmark = pytest.mark.torture

CONFIG = """
[modules.main]
[output]
dir = "generated"
[watch]
debounce = 0.02
[runtime.process]
pool = {pool}
"""
QUIET = {"log_level": "critical", "access_log": False}
KEPT_ALIVE = 8
EDITS = 60
BROKEN = 5  # every fifth edit
KILLS = 4  # of a worker within a minute; after one more, a session waits for an edit


@dataclass
class Load:
    """What clients have seen."""

    port: int
    newest: int = 0
    answers: int = 0
    failed: list[str] = field(default_factory=list)
    stale: list[tuple[int, int]] = field(default_factory=list)
    streams: int = 0
    sockets: int = 0
    changed: trio.Event = field(default_factory=trio.Event)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Client]:
        client = Client(await trio.open_tcp_stream("127.0.0.1", self.port))
        try:
            yield client
        finally:
            await client.aclose()

    def answered(self, number: int, newest: int) -> None:
        self.answers += 1
        if number < newest:
            self.stale.append((number, newest))
        if number > self.newest:
            self.newest = number
            self.changed.set()
            self.changed = trio.Event()

    async def ask(self, client: Client, path: str = "/", **request: Any) -> None:
        newest = self.newest
        try:
            self.answered(int((await client.get(path, **request)).split()[0]), newest)
        except (Incomplete, trio.BrokenResourceError, OSError, ValueError) as error:
            self.failed.append(f"{path}: {type(error).__name__}: {error}")
            raise

    async def keep_asking(self, number: int) -> None:
        """One connection, kept alive for good."""
        pauses = random.Random(number)
        async with self.connected() as client:
            while True:
                await self.ask(client, body=b"x" * pauses.choice((0, 0, 5, 70_000)))
                await trio.sleep(pauses.choice((0, 0, 0.001, 0.02, 0.2)))

    async def keep_connecting(self) -> None:
        while True:
            async with self.connected() as client:
                await self.ask(client)
            await trio.sleep(0.002)

    async def keep_streaming(self) -> None:
        """A stream of events, opened again whenever it is cut; it must not look complete."""
        while True:
            async with self.connected() as client:
                try:
                    await client.send("/stream")
                    await client.head()
                    while await client.chunk():
                        pass
                    self.failed.append("a stream looked complete")
                except Incomplete:
                    self.streams += 1

    async def keep_talking(self) -> None:
        """A web socket, opened again whenever it is closed, which is with 1012."""
        while True:
            async with self.connected() as client:
                socket = WebSocket(client)
                newest = self.newest
                await socket.open()
                while True:
                    await socket.send("hello")
                    event = await socket.event()
                    if isinstance(event, CloseConnection):
                        break
                    assert isinstance(event, TextMessage)
                    self.answered(int(event.data.split()[0]), newest)
                    await trio.sleep(0.05)
                if event.code != 1012:
                    self.failed.append(f"a web socket was closed with {event.code}")
                self.sockets += 1

    async def slow(self, path: str) -> None:
        async with self.connected() as client:
            await self.ask(client, path)


@dataclass
class Run:
    """A session that serves, under load."""

    top: Path
    load: Load
    session: lastgood.Session
    events: AsyncIterator[Any]
    took: list[float] = field(default_factory=list)
    warm: list[str] = field(default_factory=list)

    async def edit(self, number: int, text: str = APP) -> None:
        began = time.perf_counter()
        (self.top / "main.py").write_text(version(number, text))
        while self.load.newest < number:
            await self.load.changed.wait()
        self.took.append(time.perf_counter() - began)
        self.warm.append((await self.outcome()).warm)

    async def break_it(self) -> None:
        (self.top / "main.py").write_text("def broken(:\n")
        await self.outcome()

    async def outcome(self) -> Any:
        async for event in self.events:
            if event.type in ("reload-success", "reload-error"):
                return event
        raise AssertionError


@asynccontextmanager
async def under_load(
    top: Path, options: Mapping[str, Any], pool: int = 1, drain: float = 10.0, text: str = APP
) -> AsyncIterator[Run]:
    (top / "main.py").write_text(text)
    (top / "lastgood.toml").write_text(CONFIG.format(pool=pool))
    sockets = bind("127.0.0.1", 0)
    load = Load(sockets[0].getsockname()[1])

    def create(config: lastgood.Config) -> lastgood.ServerBridge:
        return lastgood.ServerBridge.from_config(config, "main:app", socket=sockets, options=options, drain=drain)

    try:
        program = lastgood.watch(top / "lastgood.toml", create_bridge=create, on_event=lambda _: None)
        async with program as session, trio.open_nursery() as nursery:
            for number in range(KEPT_ALIVE):
                nursery.start_soon(load.keep_asking, number)
            nursery.start_soon(load.keep_connecting)
            nursery.start_soon(load.keep_streaming)
            nursery.start_soon(load.keep_talking)
            yield Run(top, load, session, session.events())
            nursery.cancel_scope.cancel()
    finally:
        release(sockets)


@pytest.mark.parametrize("pool", [1, 3])
@pytest.mark.parametrize(("loop", "http"), [("asyncio", "h11"), ("uvloop", "httptools")])
async def test_nothing_fails_and_nothing_is_stale(tmp_path: Path, loop: str, http: str, pool: int) -> None:
    options = {**QUIET, "loop": loop, "http": http}
    async with under_load(tmp_path, options, pool) as run, trio.open_nursery() as slow:
        await trio.sleep(1)
        for number in range(2, EDITS + 2):
            go = tmp_path / f"go{number}"
            slow.start_soon(run.load.slow, f"/hold?{go}")
            if number % BROKEN == 0:
                await run.break_it()
                await trio.sleep(0.1)
            await run.edit(number)
            await trio.sleep(random.Random(number).choice((0, 0.05, 0.5)))
            go.touch()
    load = run.load
    print(
        f"\n{loop} {http} pool {pool}: {load.answers} answers, {len(load.failed)} failed, {len(load.stale)} stale, save → new "
        f"{1000 * statistics.median(run.took):.0f} / {1000 * max(run.took):.0f} ms, {run.warm.count('spare')} of "
        f"{len(run.warm)} warm, {load.streams} streams cut, {load.sockets} web sockets closed"
    )
    assert load.failed == []
    assert load.stale == []


async def test_edits_without_pause_are_never_stale(tmp_path: Path) -> None:
    """Where the machine makes five swaps in a row that an edit has met, main.py starts no further cycle by itself for a while."""
    async with under_load(tmp_path, QUIET) as run:
        for number in range(2, 42):
            (tmp_path / "main.py").write_text(version(number))
            await trio.sleep(0.03)
        if not await run.session.settle():
            assert isinstance(run.session.status.error, lastgood.RunawayError)
            assert await run.session.reload_now()
        while run.load.newest < 41:
            await run.load.changed.wait()
    assert (run.load.failed, run.load.stale) == ([], [])


async def test_connections_for_one_request_each_never_fail(tmp_path: Path) -> None:
    """Those that a worker has accepted just before it stops are handed over, too."""
    answered = 0

    async def ask(served: Served) -> None:
        nonlocal answered
        while True:
            client = await served.connect()
            assert await client.get() in {str(number) for number in range(1, 32)}
            await client.aclose()
            answered += 1

    async with serving(tmp_path, options=QUIET) as served, trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(ask, served)
        for number in range(2, 32):
            await served.reload(version(number))
        nursery.cancel_scope.cancel()
    print(f"\n{answered} connections over 30 swaps")


def resources(pid: int) -> tuple[int, int]:
    """Return the descriptors that a process has open, and its resident memory in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return len(os.listdir(f"/proc/{pid}/fd")), int(status.partition("VmRSS:")[2].split()[0])


async def test_memory_and_descriptors_stay_level(tmp_path: Path) -> None:
    async with under_load(tmp_path, QUIET, drain=0.5) as run:
        number = 1

        async def edits(count: int) -> tuple[int, int]:
            nonlocal number
            for _ in range(count):
                number += 1
                await run.edit(number)
            await trio.sleep(3)
            gc.collect()
            return resources(os.getpid())

        await edits(30)
        descriptors, memory = await edits(5)
        later_descriptors, later_memory = await edits(60)
        in_worker = [resources(pid) for pid in run.session.bridge.pids]
        bridges = sum(isinstance(each, lastgood.ServerBridge) for each in gc.get_objects())
    print(
        f"\n{descriptors} → {later_descriptors} descriptors, {memory} → {later_memory} KiB, in the worker {in_worker}"
    )
    assert (run.load.failed, bridges) == ([], 1)
    assert later_descriptors <= descriptors + 5
    assert later_memory < memory * 1.25  # the clients are in this process, too


async def test_a_worker_that_is_killed_is_replaced_and_no_new_connection_fails(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(APP)
    (tmp_path / "lastgood.toml").write_text(CONFIG.format(pool=1))
    sockets = bind("127.0.0.1", 0)
    load = Load(sockets[0].getsockname()[1])
    killed = 0

    def create(config: lastgood.Config) -> lastgood.ServerBridge:
        return lastgood.ServerBridge.from_config(config, "main:app", socket=sockets, options=QUIET)

    try:
        program = lastgood.watch(tmp_path / "lastgood.toml", create_bridge=create, on_event=lambda _: None)
        async with program as session:
            events = session.events()
            for _ in range(KILLS):
                (pid,) = session.bridge.pids
                os.kill(pid, signal.SIGKILL)
                with trio.fail_after(30):
                    await load.slow("/")  # it waits in the kernel until the next worker accepts
                killed += 1
                async for event in events:
                    if event.type == "notice-bridge-restored":
                        break
    finally:
        release(sockets)
    assert (killed, load.failed, load.stale) == (KILLS, [], [])


WHOLE = """
import os, sys, trio
import lastgood
from lastgood.serve.binding import bind

async def main():
    sockets = bind("127.0.0.1", int(sys.argv[1]))
    def create(config):
        return lastgood.ServerBridge.from_config(config, "main:app", socket=sockets)
    async with lastgood.watch("lastgood.toml", create_bridge=create, on_event=lambda _: None) as session:
        print(sockets[0].getsockname()[1], *session.bridge.pids, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""
FORKING = APP.replace(
    "log = []",
    """import multiprocessing, time
def stay():
    time.sleep(60)
context = multiprocessing.get_context("fork")
if not multiprocessing.parent_process():
    children = [context.Process(target=stay) for _ in range(2)]
""",
).replace(
    'if path == "/fails":',
    """if path == "/fork":
        for child in children:
            child.start()
        text = " ".join(str(child.pid) for child in children).encode()
    if path == "/fails":""",
)


def is_listened_on(port: int) -> bool:
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(fields[3] == "0A" and fields[1].endswith(f":{port:04X}") for fields in lines)


def test_the_next_start_binds_at_once_after_everything_was_killed(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(FORKING)
    (tmp_path / "lastgood.toml").write_text(CONFIG.format(pool=1))
    (tmp_path / "whole.py").write_text(WHOLE)
    port = "0"
    for _ in range(3):
        program = [sys.executable, "whole.py", port]
        process = subprocess.Popen(program, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        port, worker = process.stdout.readline().split()
        with urlopen(f"http://127.0.0.1:{port}/fork") as answer:
            children = [int(pid) for pid in answer.read().split()[1:]]
        for pid in (process.pid, int(worker)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        while is_listened_on(int(port)):  # until all that was killed is gone, and the children have begun
            time.sleep(0.001)
        release(bind("127.0.0.1", int(port)))  # it is free although the children live
        for pid in children:
            os.kill(pid, signal.SIGKILL)
