"""A project without wrappers whose bridge is a server: sessions under trio and asyncio, its generation, what it watches."""

from __future__ import annotations

import asyncio
import dataclasses
import http.client
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import socket
from typing import Any

import msgspec
import pytest
import trio

import lastgood
from lastgood.config import Config, ModuleConfig
from lastgood.errors import BridgeError
from lastgood.serve.binding import bind, release

APP = """
VERSION = 1

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % VERSION})
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save(tmp_path, 1)
    return tmp_path


@pytest.fixture
def sockets() -> Iterator[list[socket]]:
    bound = bind("127.0.0.1", 0)
    yield bound
    release(bound)


@pytest.fixture
def create_bridge(sockets: list[socket]) -> Callable[[Config], lastgood.ServerBridge]:
    return lambda config: lastgood.ServerBridge.from_config(config, "main:app", socket=sockets, probe="/")


def save(here: Path, version: object) -> None:
    fresh = here / ".main.py.swp"
    fresh.write_text(APP.replace("VERSION = 1", f"VERSION = {version}"))
    fresh.replace(here / "main.py")


def changed(sockets: list[socket], body: str) -> str | None:
    """Ask until the body is another one than ``body``: the earlier generation answers what reaches it before it has stopped."""
    while (found := get(sockets))[0] == body:
        pass
    assert found[0] > body
    return found[1]


def get(sockets: list[socket], path: str = "/") -> tuple[str, str | None]:
    host, port = sockets[0].getsockname()
    connection = http.client.HTTPConnection(host, port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.read().decode(), answer.getheader("lastgood")
    finally:
        connection.close()


async def test_under_trio(here: Path, sockets: list[socket], create_bridge: Any) -> None:
    async def asked() -> tuple[str, str | None]:
        return await trio.to_thread.run_sync(get, sockets)

    async with lastgood.watch(modules=["main"], output=False, create_bridge=create_bridge) as session:
        assert await asked() == ("1", "generation=1")
        save(here, 2)
        assert await session.settle()
        assert await trio.to_thread.run_sync(changed, sockets, "1") == "generation=2"
        save(here, "1 / 0")
        assert not await session.settle()
        body, header = await asked()
        assert body == "2"
        assert str(header).startswith("generation=2")
        with pytest.raises(BridgeError, match="takes no calls"):
            await session.handle.call("main", "app", (), {})
        assert await session.undo()
        while (found := await asked())[0] == "2":
            pass
        assert found == ("1", "generation=3; stale")


def test_under_asyncio(here: Path, sockets: list[socket], create_bridge: Any) -> None:
    async def main() -> None:
        async with lastgood.watch(modules=["main"], output=False, create_bridge=create_bridge) as session:
            assert await asyncio.to_thread(get, sockets) == ("1", "generation=1")
            save(here, 2)
            assert await session.settle()
            assert await asyncio.to_thread(changed, sockets, "1") == "generation=2"

    asyncio.run(main())


async def test_without_overlap_requests_wait_for_the_next_one(
    here: Path, sockets: list[socket], create_bridge: Any
) -> None:
    (here / "lastgood.toml").write_text("[modules.main]\n[output]\ndir = false\n[runtime.process]\noverlap = false\n")
    async with lastgood.watch(create_bridge=create_bridge) as session:
        answers = []

        async def ask() -> None:
            answers.append(await trio.to_thread.run_sync(get, sockets))

        async with trio.open_nursery() as nursery:
            save(here, 2)
            for _ in range(5):
                nursery.start_soon(ask)
            assert await session.settle()
        assert {body for body, _ in answers} <= {"1", "2"}
        assert await trio.to_thread.run_sync(get, sockets) == ("2", "generation=2")


async def test_other_files_of_the_program_count_as_far_as_they_are_included(here: Path, sockets: list[socket]) -> None:
    (here / "templates").mkdir()
    (here / "templates" / "page.html").write_text("one")
    (here / "notes.txt").write_text("one")
    (here / "unused.py").write_text("ONE = 1\n")
    save(here, "int(open('templates/page.html').read() == 'two')")
    (here / "lastgood.toml").write_text('[serve]\napp = "main:app"\n[watch]\ninclude = ["templates/**"]\n')
    served = dataclasses.replace(
        lastgood.watch(
            create_bridge=lambda config: lastgood.ServerBridge.from_config(config, "main:app", socket=sockets)
        ),
        adapt=lambda config: msgspec.structs.replace(config, modules={"main": ModuleConfig()}),
    )
    async with served as session:
        assert (await trio.to_thread.run_sync(get, sockets))[0] == "0"
        (here / "notes.txt").write_text("two")
        (here / "unused.py").write_text("TWO = 2\n")
        assert await session.settle()
        assert session.generation == 1
        (here / "templates" / "page.html").write_text("two")
        assert await session.settle()
        assert await trio.to_thread.run_sync(changed, sockets, "0") == "generation=2"


async def test_more_than_two_replaced_generations_may_answer(
    here: Path, sockets: list[socket], create_bridge: Any
) -> None:
    holds = "pathlib.Path(f'begun-{VERSION}').touch()\n        while not pathlib.Path('go').exists():\n"
    holds += "            await asyncio.sleep(0.001)"
    text = APP.replace("    await send", f"    if scope['path'] == '/hold':\n        {holds}\n    await send", 1)
    answers: list[str] = []

    def save_version(number: int) -> None:
        fresh = here / ".main.py.swp"
        fresh.write_text("import asyncio, pathlib\n" + text.replace("VERSION = 1", f"VERSION = {number}"))
        fresh.replace(here / "main.py")

    async def ask() -> None:
        answers.append((await trio.to_thread.run_sync(get, sockets, "/hold"))[0])

    save_version(1)
    async with lastgood.watch(modules=["main"], output=False, create_bridge=create_bridge) as session:
        async with trio.open_nursery() as nursery:
            for number in range(1, 5):
                while (await trio.to_thread.run_sync(get, sockets))[0] != str(number):
                    pass
                nursery.start_soon(ask)
                while not (here / f"begun-{number}").exists():
                    await trio.lowlevel.checkpoint()
                save_version(number + 1)
                assert await session.settle()
            (here / "go").touch()
        assert sorted(answers) == ["1", "2", "3", "4"]
