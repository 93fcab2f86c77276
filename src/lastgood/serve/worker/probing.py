"""The probe: one request to the new generation, over a connection that nobody else has."""

from __future__ import annotations

import asyncio
import socket

from .errors import ServeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

__all__ = ["ask"]

_FIRST_FAILURE = 500
_WAIT = 0.2  # seconds


async def ask(
    settings: dict[str, Any], config: Any, make_protocol: Callable[[], Any], tasks: Collection[asyncio.Task[Any]]
) -> None:
    """Ask for the path of the probe; ``tasks`` are those of requests. An answer below 500 is good.

    Else raises what the application has raised, or :class:`ServeError`.
    """
    path = settings["probe"]
    application = config.loaded_app
    raised: list[BaseException] = []

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        try:
            await application(scope, receive, send)
        except BaseException as error:
            raised.append(error)
            raise

    def quietly() -> Any:
        protocol = make_protocol()
        protocol.access_log = False
        if hasattr(protocol, "logger"):
            import logging

            protocol.logger = logging.getLogger("uvicorn.error.probe")
            protocol.logger.disabled = True  # what it would log is raised
        return protocol

    ours, theirs = socket.socketpair()
    config.loaded_app = watched
    try:
        ours.setblocking(False)
        theirs.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(quietly, theirs)
        config.loaded_app = application
        request = f"GET {path} HTTP/1.1\r\nhost: localhost\r\nuser-agent: lastgood-probe\r\nconnection: close\r\n\r\n"
        await loop.sock_sendall(ours, request.encode())
        status, head = await _status(loop, ours)
        if status is not None and status < _FIRST_FAILURE:
            return
        if tasks:  # the application may raise after it has answered
            await asyncio.wait(tasks, timeout=_WAIT)
    finally:
        config.loaded_app = application
        ours.close()
    if raised:
        if hasattr(raised[0], "add_note"):
            raised[0].add_note(f"It was raised for the probe, GET {path}.")
        raise raised[0]
    raise ServeError(
        f"The probe GET {path} of {settings['app']} was answered with {head or 'nothing'}; a generation is good if that is "
        "below 500."
    )


async def _status(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> tuple[int | None, str]:
    """Return the status of the answer, and the rest of its first line; None if there is none."""
    received = b""
    while b"\r\n" not in received:
        chunk = await loop.sock_recv(connection, 1 << 16)
        if not chunk:
            return None, ""
        received += chunk
    _, _, rest = received.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    code = rest[:3]
    return (int(code) if code.isdecimal() else None), rest.strip()
