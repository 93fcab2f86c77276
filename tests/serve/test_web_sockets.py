"""Web sockets live on in the generation that accepted them, and are closed with 1012 at the end of its drain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import wsproto
from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage

from serving import Client, serving, version

pytest.importorskip("uvloop", reason="one of the event loops that are tried")
pytest.importorskip("websockets", reason="one of the implementations that are tried")

QUIET = {"log_level": "critical", "access_log": False}
ALL = [
    pytest.param({**QUIET, "loop": loop, "ws": ws, "http": http}, id=f"{loop}-{http}-{ws}")
    for loop, http in (("asyncio", "h11"), ("uvloop", "httptools"))
    for ws in ("websockets", "websockets-sansio", "wsproto")
]


class WebSocket:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._connection = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)

    async def open(self) -> None:
        await self._send(Request(host="localhost", target="/"))
        assert isinstance(await self.event(), AcceptConnection)

    async def _send(self, event: wsproto.events.Event) -> None:
        await self._client.stream.send_all(self._connection.send(event))

    async def ask(self, text: str) -> str:
        await self._send(TextMessage(data=text))
        event = await self.event()
        assert isinstance(event, TextMessage)
        return str(event.data)

    async def event(self) -> wsproto.events.Event:
        while True:
            for event in self._connection.events():
                return event
            chunk = await self._client.stream.receive_some(1 << 16)
            self._connection.receive_data(chunk or None)


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
