"""Serving in a session, under trio and under asyncio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.request import urlopen

import pytest
import trio

import lastgood
from flavours import Flavour
from lastgood.serve.binding import bind, release
from serving import APP, Client, version

pytest.importorskip("uvicorn", reason="it serves")

CONFIG = '[modules.main]\n[output]\ndir = "generated"\n[runtime.process]\nspare = false\n'


def test_a_session_serves_and_a_broken_edit_changes_nothing(tmp_path: Path, flavour: Flavour) -> None:
    (tmp_path / "main.py").write_text(APP)
    (tmp_path / "lastgood.toml").write_text(CONFIG)
    sockets = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/"
    told: list[lastgood.WatchEvent] = []

    def create(config: lastgood.Config) -> lastgood.ServerBridge:
        options = {"log_level": "critical", "access_log": False}
        return lastgood.ServerBridge.from_config(config, "main:app", socket=sockets, options=options, probe="/")

    def ask() -> str:
        with urlopen(url) as answer:
            return str(answer.read().decode())

    async def main() -> None:
        program = lastgood.watch(tmp_path / "lastgood.toml", create_bridge=create, on_event=told.append)
        async with program as session:
            assert await flavour.in_thread(ask) == "1"
            (tmp_path / "main.py").write_text("def broken(:\n")
            assert not await session.settle()
            assert await flavour.in_thread(ask) == "1"
            (tmp_path / "main.py").write_text(version(2))
            assert await session.settle()
            await changes(lambda: flavour.in_thread(ask), "2")
            assert await flavour.in_thread(ask) == "2"

    async def changes(asked: Callable[[], Awaitable[str]], to: str) -> None:
        while await asked() != to:
            pass

    try:
        flavour.run(main)
    finally:
        release(sockets)
    assert [event.type for event in told if event.type.startswith("reload-e")] == ["reload-error"]


async def test_a_broken_module_that_only_a_request_imports_does_not_go_live(tmp_path: Path) -> None:
    text = APP.replace(
        'if path == "/fails":',
        'if path == "/late":\n        import late\n        text = late.TEXT\n    if path == "/fails":',
    )
    (tmp_path / "main.py").write_text(text)
    (tmp_path / "late.py").write_text("TEXT = b'old'\n")
    (tmp_path / "lastgood.toml").write_text(CONFIG)
    sockets = bind("127.0.0.1", 0)

    def create(config: lastgood.Config) -> lastgood.ServerBridge:
        options = {"log_level": "critical", "access_log": False}
        return lastgood.ServerBridge.from_config(config, "main:app", socket=sockets, options=options)

    try:
        program = lastgood.watch(tmp_path / "lastgood.toml", create_bridge=create, on_event=lambda _: None)
        async with program as session:
            (tmp_path / "late.py").write_text("TEXT = (\n")
            assert not await session.settle()
            assert isinstance(session.status.error, lastgood.RemoteError)
            assert session.status.error.type_name == "SyntaxError"
            client = Client(await trio.open_tcp_stream(*sockets[0].getsockname()))
            assert await client.get("/late") == "1 old"
            while client.headers["lastgood"] != "generation=1; stale":
                await client.get()
            await client.aclose()
    finally:
        release(sockets)


async def test_without_overlap_idle_connections_wait_for_the_next_worker(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(APP)
    (tmp_path / "lastgood.toml").write_text(f"{CONFIG}overlap = false\n")
    sockets = bind("127.0.0.1", 0)

    def create(config: lastgood.Config) -> lastgood.ServerBridge:
        options = {"log_level": "critical", "access_log": False}
        return lastgood.ServerBridge.from_config(config, "main:app", socket=sockets, options=options)

    clients: list[Client] = []
    try:
        program = lastgood.watch(tmp_path / "lastgood.toml", create_bridge=create, on_event=lambda _: None)
        async with program as session:
            clients += [Client(await trio.open_tcp_stream(*sockets[0].getsockname())) for _ in range(100)]
            assert {await client.get() for client in clients} == {"1"}
            (tmp_path / "main.py").write_text(version(2))
            assert await session.settle()
            assert {await client.get() for client in clients} == {"2"}
    finally:
        for client in clients:
            await client.aclose()
        release(sockets)


async def test_a_module_that_a_request_imports_late_is_watched(tmp_path: Path) -> None:
    text = APP.replace(
        'if path == "/fails":', 'if path == "/late":\n        text = str(late()).encode()\n    if path == "/fails":'
    )
    text += "\n\ndef late():\n    import importlib\n    return importlib.import_module('pl' + 'ugin').VALUE\n"
    (tmp_path / "main.py").write_text(text)
    (tmp_path / "plugin.py").write_text("VALUE = 'old'\n")
    (tmp_path / "lastgood.toml").write_text(CONFIG)
    sockets = bind("127.0.0.1", 0)

    def create(config: lastgood.Config) -> lastgood.ServerBridge:
        options = {"log_level": "critical", "access_log": False}
        return lastgood.ServerBridge.from_config(config, "main:app", socket=sockets, options=options)

    client = Client(await trio.open_tcp_stream(*sockets[0].getsockname()))
    try:
        program = lastgood.watch(tmp_path / "lastgood.toml", create_bridge=create, on_event=lambda _: None)
        async with program as session:
            events = session.events()
            assert await client.get("/late") == "1 old"
            async for event in events:
                if isinstance(event, lastgood.ModuleLoadedLate):
                    break
            (tmp_path / "plugin.py").write_text("VALUE = 'new'\n")
            assert await session.settle()
            while await client.get("/late") != "1 new":
                pass
    finally:
        await client.aclose()
        release(sockets)
