"""Connections on their way from a worker that has stopped to the one that is live: a pair of sockets that all workers have.

A message has the connection, and what was read from it and not answered, which is small as a rule; a lot of it is in a file.
Messages wait in the kernel until a live worker takes them, and outlive whoever has sent them.
"""

from __future__ import annotations

import os
import socket
import tempfile
from array import array
from functools import cached_property

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Mailbox"]

_SMALL = 16 << 10  # bytes in a message
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_AT_ONCE = 16  # connections that one worker takes before it looks after others


class Mailbox:
    """``taking`` and ``sending`` are the descriptors of both ends, which stay open until the process ends.

    ``has_reader``: another worker takes what is sent, so that there will be room. Else one begins only when this one has gone.
    """

    def __init__(self, taking: int, sending: int, *, has_reader: bool) -> None:
        self.descriptor = taking
        self.has_reader = has_reader
        self._sender = sending

    @cached_property
    def _taking(self) -> socket.socket:
        return socket.socket(fileno=self.descriptor)

    @cached_property
    def _sending(self) -> socket.socket:
        return socket.socket(fileno=self._sender)

    def send(self, connection: int, rest: bytes) -> bool:
        """Send a connection, by its descriptor; return False if there is no room for it now."""
        descriptors = [connection]
        file = -1
        try:
            if len(rest) > _SMALL:
                with tempfile.TemporaryFile(buffering=0) as storage:
                    storage.write(rest)
                    file = os.dup(storage.fileno())
                descriptors.append(file)
                rest = b""
            rights = socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors).tobytes()
            self._sending.sendmsg([b"+", rest], [rights], socket.MSG_DONTWAIT)
        except OSError:  # full, or too many descriptors are on their way
            return False
        finally:
            if file >= 0:
                os.close(file)
        return True

    def take(self, receive: Callable[[socket.socket, bytes], object]) -> None:
        """Call ``receive`` for each connection that waits, of a few at most, with what was read from it already."""
        room = socket.CMSG_SPACE(2 * array("i").itemsize)
        for _ in range(_AT_ONCE):
            try:
                message, ancillary, _, _ = self._taking.recvmsg(1 + _SMALL, room, socket.MSG_DONTWAIT | _CLOSE_ON_EXEC)
            except OSError:  # another worker was faster
                return
            descriptors = [each for _, _, data in ancillary for each in _unpack(data)]
            if not descriptors:
                return
            for each in descriptors:
                os.set_inheritable(each, False)
            rest = message[1:]
            if len(descriptors) > 1:
                with open(descriptors[1], "rb") as storage:
                    storage.seek(0)
                    rest = storage.read()
            receive(socket.socket(fileno=descriptors[0]), rest)


def _unpack(data: bytes) -> list[int]:
    numbers = array("i")
    numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
    return list(numbers)
