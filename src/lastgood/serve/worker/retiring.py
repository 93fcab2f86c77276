"""Connections of a generation that has been replaced: what was begun goes on here, whatever comes next goes to the live one.

uvicorn's own protocol classes serve a connection, unmodified, until the generation is told to stop. From then on a
:class:`Retiring` stands between the transport and the protocol. It gives no byte of a further request to the protocol. When the
response is complete, it hands the connection over, with what it has read; unread bytes stay in the kernel.

A connection that is encrypted cannot be handed over, since the keys are in this process: its next response says
``Connection: close``.
"""

from __future__ import annotations

import asyncio
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .mailbox import Mailbox

__all__ = ["Arriving", "Passing", "Retiring", "cut", "is_http"]

_CLOSE = (b"connection", b"close")


def is_http(protocol: Any) -> bool:
    """Return whether this is one of uvicorn's protocols of HTTP/1.1, by httptools or h11."""
    has_parser = hasattr(protocol, "parser") and hasattr(protocol, "pipeline")
    return hasattr(protocol, "cycle") and (has_parser or hasattr(getattr(protocol, "conn", None), "trailing_data"))


class Retiring(asyncio.Protocol):
    """Stands before ``protocol``, one for which :func:`is_http`. ``mailbox`` None: the connection is closed when it is idle."""

    def __init__(self, protocol: Any, mailbox: Mailbox | None) -> None:
        self.protocol = protocol
        self.transport = protocol.transport
        self._closes = mailbox is None
        self._mailbox = None if self.transport.get_extra_info("ssl_object") is not None else mailbox
        self._rest = b""
        protocol.on_response_complete = self._completed
        for cycle in (protocol.cycle, *(each for each, _ in getattr(protocol, "pipeline", ()))):
            if cycle is not None and not cycle.response_complete:
                cycle.on_response = self._completed
        self._say_close()
        self.transport.set_protocol(self)
        self.attempt()

    # The transport's side.

    def data_received(self, data: bytes) -> None:
        if self._mailbox is not None and (self._rest or self._has_all()):
            self._rest += data
            self.transport.pause_reading()
            self.attempt()
        else:
            self.protocol.data_received(data)
            self._say_close()

    def eof_received(self) -> bool | None:
        keep: bool | None = self.protocol.eof_received()
        return keep

    def connection_lost(self, exc: Exception | None) -> None:
        vars(self.protocol).pop("on_response_complete", None)  # no reference to this object remains
        self.protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        self.protocol.resume_writing()

    # Handing over.

    def _has_all(self) -> bool:
        """Return whether the request was received to its end, and no byte of the next one."""
        protocol, cycle = self.protocol, self.protocol.cycle
        if hasattr(protocol, "parser"):
            begun = protocol.scope  # there is another one with the first byte of each request
            return begun is None or (cycle is not None and cycle.scope is begun and not cycle.more_body)
        their, idle, done = protocol.conn.their_state, _h11("IDLE"), _h11("DONE")
        return their is done or (their is idle and not protocol.conn.trailing_data[0])

    def _is_over(self) -> bool:
        cycle = self.protocol.cycle
        return (
            self._has_all()
            and not getattr(self.protocol, "pipeline", ())
            and (cycle is None or cycle.response_complete)
        )

    def _completed(self) -> None:
        protocol = self.protocol
        type(protocol).on_response_complete(protocol)
        self._say_close()
        protocol.loop.call_soon(self.attempt)

    def attempt(self) -> None:
        """Hand the connection over, or close it, if nothing of it is under way here."""
        if self.transport.is_closing() or not self._is_over():
            return
        if self._mailbox is None:
            if self._closes:
                self.protocol.shutdown()
            return
        self.transport.pause_reading()
        if self.transport.get_write_buffer_size():
            return
        if self._mailbox.send(_descriptor(self.transport), self._rest):
            self._rest = b""
            self.protocol._unset_keepalive_if_required()
            self.transport.abort()  # the connection itself stays open: the kernel has it in the message
        elif not self._mailbox.has_reader and not self._rest:
            self.protocol.shutdown()

    def _say_close(self) -> None:
        """Have the last response that is under way say that the connection ends with it, unless it can be handed over."""
        cycle = self.protocol.cycle
        if self._mailbox is None and cycle is not None and not cycle.response_complete and cycle.keep_alive:
            cycle.keep_alive = False
            if not cycle.response_started:
                cycle.default_headers = [*cycle.default_headers, _CLOSE]


def cut(protocol: Any) -> None:
    """End a connection of HTTP now. A response that is not complete looks truncated: no final chunk is sent, nor the rest."""
    cycle, transport = protocol.cycle, protocol.transport
    if cycle is not None and not cycle.response_complete:
        cycle.disconnected = True  # from now on, what the application sends is dropped
        cycle.message_event.set()
        if cycle.scope.get("http_version") == "1.0" and cycle.response_started:
            _reset(transport)  # without chunks, the end of the connection is the end of the body
    transport.abort() if transport.get_write_buffer_size() else transport.close()


def _reset(transport: Any) -> None:
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family != getattr(socket, "AF_UNIX", None):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _descriptor(transport: Any) -> int:
    descriptor: int = transport.get_extra_info("socket").fileno()
    return descriptor


def _h11(name: str) -> Any:
    import h11

    return getattr(h11, name)


class Passing(asyncio.Protocol):
    """A connection that was accepted as the generation stopped: nothing is read from it, it is handed over."""

    def __init__(self, mailbox: Mailbox, connections: set[Any], rest: bytes) -> None:
        self._mailbox = mailbox
        self._rest = rest
        self._connections = connections

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._connections.add(self)
        transport.pause_reading()
        self.attempt()

    def attempt(self) -> None:
        """Hand the connection over, if there is room."""
        if self.transport.is_closing():
            return
        if self._mailbox.send(_descriptor(self.transport), self._rest):
            self.transport.abort()
        elif not self._mailbox.has_reader:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        self._connections.discard(self)

    def cut(self) -> None:
        """Close it."""
        self.transport.abort()


class Arriving(asyncio.Protocol):
    """Begins to serve a connection, by the protocol that ``make()`` returns at that moment.

    The event loop makes a connection some steps after it was accepted, and the generation may have stopped meanwhile. ``rest`` is
    what another worker has read from it; None: it is a new one.
    """

    def __init__(self, make: Callable[[], Any], rest: bytes | None = None) -> None:
        self._make = make
        self._rest = rest

    def connection_made(self, transport: Any) -> None:
        protocol = self._make()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if self._rest is None or isinstance(protocol, Passing):
            return
        if self._rest:
            protocol.data_received(self._rest)
        elif hasattr(protocol, "timeout_keep_alive_handler"):
            # It was idle, as after a response: it may be so for as long as it might have been there.
            protocol.timeout_keep_alive_task = protocol.loop.call_later(
                protocol.timeout_keep_alive, protocol.timeout_keep_alive_handler
            )
