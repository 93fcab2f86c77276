"""Web sockets live on in the generation that accepted them, and are closed with 1012 at the end of its drain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from wsproto.events import CloseConnection

from serving import WebSocket, serving, version

pytest.importorskip("uvloop", reason="one of the event loops that are tried")
pytest.importorskip("websockets", reason="one of the implementations that are tried")

QUIET = {"log_level": "critical", "access_log": False}
ALL = [
    pytest.param({**QUIET, "loop": loop, "ws": ws, "http": http}, id=f"{loop}-{http}-{ws}", marks=marks)
    for loop, http, ws, marks in (
        ("asyncio", "h11", "wsproto", ()),
        ("uvloop", "httptools", "websockets-sansio", ()),
        ("uvloop", "httptools", "websockets", ()),
        ("asyncio", "h11", "websockets-sansio", pytest.mark.torture),
        ("asyncio", "h11", "websockets", pytest.mark.torture),
        ("uvloop", "httptools", "wsproto", pytest.mark.torture),
    )
]


@pytest.fixture(params=ALL)
def options(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    chosen: Mapping[str, Any] = request.param
    return chosen


async def test_a_web_socket_is_closed_with_1012_at_the_end_of_the_drain(
    tmp_path: Path, options: Mapping[str, Any]
) -> None:
    async with serving(tmp_path, options=options) as served:
        first = served.bridge
        assert first is not None
        first._drain = 0.3
        socket, other = WebSocket(await served.connect()), WebSocket(await served.connect())
        await socket.open()
        assert await socket.ask("a") == "1 a"
        await served.reload(version(2))
        assert await socket.ask("b") == "1 b"
        await other.open()
        assert await other.ask("c") == "2 c"
        event = await socket.event()
        assert isinstance(event, CloseConnection)
        assert event.code == 1012
        await served.gone(first)
        assert await other.ask("d") == "2 d"


async def test_a_connection_that_was_handed_over_can_become_a_web_socket(tmp_path: Path) -> None:
    async with serving(tmp_path, options=QUIET) as served:
        client = await served.connect()
        assert await client.get() == "1"
        await served.reload(version(2))
        socket = WebSocket(client)
        await socket.open()
        assert await socket.ask("a") == "2 a"
