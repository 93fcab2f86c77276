"""An ASGI application that is served, generation after generation, as a session does it, and clients of it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
import wsproto
from wsproto.events import AcceptConnection, Request, TextMessage

from lastgood.config import Config, ModuleConfig, OutputConfig, ProcessConfig, RuntimeConfig
from lastgood.serve.binding import bind, release
from lastgood.serve.bridge import ServerBridge
from staged_project import StagedProject

APP = """
import asyncio, os

VERSION = 1
log = []

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            await send({"type": "websocket.send", "text": f"{VERSION} {message['text']}"})
    path, text = scope["path"], b""
    while True:
        message = await receive()
        text += message.get("body", b"")
        if not message.get("more_body"):
            break
    if path == "/fails":
        raise ValueError("on purpose")
    headers = []
    if path == "/hold":
        while not os.path.exists(scope["query_string"].decode()):
            await asyncio.sleep(0.005)
    body = f"{VERSION}".encode() + (b" " + text if text else b"")
    if path == "/large":
        body = b"%d" % VERSION * 4_000_000
    if path == "/pid":
        body = str(os.getpid()).encode()
    if path != "/stream":
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if path == "/stream":
        number = 0
        while True:
            await send({"type": "http.response.body", "body": b"%d.%d;" % (VERSION, number), "more_body": True})
            number += 1
            await asyncio.sleep(0.01)
    await send({"type": "http.response.body", "body": body})
"""


class Incomplete(Exception):
    """The connection has ended in the midst of a response, or before it."""


class Client:
    """One connection, whose requests are never tried again."""

    def __init__(self, stream: trio.abc.HalfCloseableStream | trio.SSLStream[trio.SocketStream]) -> None:
        self.stream: Any = stream
        self.received = b""
        self.headers: dict[str, str] = {}

    async def send(self, path: str = "/", *, body: bytes = b"", version: str = "1.1", more: str = "") -> None:
        method = "POST" if body else "GET"
        head = f"{method} {path} HTTP/{version}\r\nhost: test\r\n{more}"
        head += f"content-length: {len(body)}\r\n" if body else ""
        await self.stream.send_all(f"{head}\r\n".encode() + body)

    async def get(self, path: str = "/", **request: Any) -> str:
        await self.send(path, **request)
        return await self.answer()

    async def head(self) -> int:
        """Return the status of a response, whose headers are then in ``headers``."""
        while b"\r\n\r\n" not in self.received:
            await self._more()
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(first.split()[1])

    async def answer(self) -> str:
        status = await self.head()
        body = await self.exactly(int(self.headers["content-length"]))
        return body.decode() if status == 200 else f"{status} {body.decode()}"

    async def exactly(self, size: int) -> bytes:
        while len(self.received) < size:
            await self._more()
        body, self.received = self.received[:size], self.received[size:]
        return body

    async def chunk(self) -> bytes:
        """Return the next chunk of a body; empty at its proper end."""
        while b"\r\n" not in self.received:
            await self._more()
        size, _, self.received = self.received.partition(b"\r\n")
        return (await self.exactly(int(size, 16) + 2))[:-2]

    async def _more(self) -> None:
        try:
            chunk = await self.stream.receive_some(1 << 16)
        except trio.BrokenResourceError as error:
            raise Incomplete(f"{error.__cause__}") from error
        if not chunk:
            raise Incomplete(f"after {self.received[-200:]!r}")
        self.received += chunk

    async def ended(self) -> bool:
        """Wait for the end of the connection; return whether it was an orderly one."""
        try:
            while chunk := await self.stream.receive_some(1 << 16):
                self.received += chunk
        except trio.BrokenResourceError:
            return False
        return True

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self.stream)


class WebSocket:
    """A web socket on a connection."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._connection = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)

    async def open(self) -> None:
        await self._send(Request(host="localhost", target="/"))
        assert isinstance(await self.event(), AcceptConnection)

    async def _send(self, event: wsproto.events.Event) -> None:
        await self._client.stream.send_all(self._connection.send(event))

    async def send(self, text: str) -> None:
        await self._send(TextMessage(data=text))

    async def ask(self, text: str) -> str:
        await self.send(text)
        event = await self.event()
        assert isinstance(event, TextMessage)
        return str(event.data)

    async def event(self) -> wsproto.events.Event:
        while True:
            for event in self._connection.events():
                return event
            chunk = await self._client.stream.receive_some(1 << 16)
            self._connection.receive_data(chunk or None)


@dataclass
class Served:
    """A project of which generation after generation is served."""

    top: Path
    nursery: trio.Nursery
    options: Mapping[str, Any] = field(default_factory=dict)
    drain: float = 60.0
    process: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    sockets: list[socket.socket] = field(default_factory=lambda: bind("127.0.0.1", 0))
    app: str = "main:app"
    context: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        self.project = StagedProject(self.top, modules=(self.app.partition(":")[0],))
        self.generation = 0
        self.bridge: ServerBridge | None = None
        self.clients: list[Client] = []
        self._gone: dict[ServerBridge, trio.Event] = {}

    @property
    def port(self) -> int:
        port: int = self.sockets[0].getsockname()[1]
        return port

    def create(self, text: str | None = None) -> ServerBridge:
        """Create a bridge of a new generation, whose main module has this text."""
        if text is not None:
            self.project.write({"main.py": text})
        self.project.stage()
        config = Config(
            path=self.top / "lastgood.toml",
            python_import_path=self.project.import_path,
            modules={name: ModuleConfig() for name in self.project.modules},
            output=OutputConfig(dir=self.top / "generated"),
            runtime=RuntimeConfig(process=ProcessConfig(**{"grace": 20.0, "spare": False, **self.process})),
            pinned=self.project.manifest,
        )
        arguments = {"socket": self.sockets, "drain": self.drain, "options": self.options, **self.arguments}
        return ServerBridge.from_config(config, self.app, **arguments)

    async def reload(self, text: str | None = None) -> ServerBridge:
        """Replace the live generation, as a session does."""
        bridge = self.create(text)
        await bridge.init()
        self.generation += 1
        bridge.tell(self.generation, False)
        bridge.live()
        earlier, self.bridge = self.bridge, bridge
        if earlier is not None:
            self.nursery.start_soon(self.retire, earlier)
            await self.answers()
        return bridge

    async def begun(self) -> None:
        """Wait until the worker has taken what was sent so far: it has answered a request that came later."""
        for _ in range(3):
            await self.get()

    async def answers(self) -> None:
        """Wait until the live generation answers, after which no other does."""
        client = await self.connect()
        while client.headers.get("lastgood") != f"generation={self.generation}":
            if client.headers.get("connection") == "close":
                await client.aclose()
                client = await self.connect()
            await client.send()
            await client.answer()
        await client.aclose()

    async def retire(self, bridge: ServerBridge) -> None:
        await bridge.idle()
        await bridge.dispose()
        self._gone.setdefault(bridge, trio.Event()).set()

    async def gone(self, bridge: ServerBridge | None) -> None:
        """Wait until a generation that was replaced has ended."""
        assert bridge is not None
        await self._gone.setdefault(bridge, trio.Event()).wait()

    async def connect(self) -> Client:
        name, stream = self.sockets[0].getsockname(), None  # type: Any, Any
        if isinstance(name, str):
            stream = await trio.open_unix_socket(name)
        else:
            stream = await trio.open_tcp_stream(*name)
        if self.context is not None:
            stream = trio.SSLStream(stream, self.context, server_hostname="localhost", https_compatible=True)
        self.clients.append(Client(stream))
        return self.clients[-1]

    async def get(self, path: str = "/", **request: Any) -> str:
        """Return the answer to a request on a connection of its own."""
        client = await self.connect()
        try:
            return await client.get(path, **request)
        finally:
            await client.aclose()


@asynccontextmanager
async def serving(top: Path, text: str = APP, **options: Any) -> AsyncIterator[Served]:
    """Serve an application; end everything in the end."""
    async with trio.open_nursery() as nursery:
        served = Served(top, nursery, **options)
        try:
            await served.reload(text)
            yield served
        finally:
            with trio.CancelScope(shield=True):
                for client in served.clients:
                    await client.aclose()
                if served.bridge is not None:
                    await served.retire(served.bridge)
            release(served.sockets)


def version(number: int, text: str = APP) -> str:
    """Return the source of another version."""
    return text.replace("VERSION = 1", f"VERSION = {number}")
