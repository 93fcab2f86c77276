"""Places: how a host is started on the other side, and how bytes get there and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

__all__ = ["BOOTSTRAP", "Place"]

BOOTSTRAP = ""
"""The program that a place starts, as ``python -c BOOTSTRAP``, with pipes as its stdin and stdout.

It is one line that every Python and every shell can read, within single quotes. With a Python that is too old it prints why on
stderr and exits with status 1. The first bytes of :meth:`Place.send` are the rest of the program.
"""


class Place(Protocol):
    """A place for one worker: it starts the host there, and passes on bytes to its stdin and from its stdout.

    All four methods are awaited on the trio event loop of the bridge. A place is used once: :meth:`start` first, then
    :meth:`gone` once, in a task of its own, and :meth:`send` by one task at a time; :meth:`remove` in the end, in any case, also
    if :meth:`start` has failed or was cancelled. Its ``str()`` names it in messages, such as ``ssh gpu1``.
    """

    async def start(self) -> None:
        """Start ``python -c BOOTSTRAP`` with pipes. Raise :class:`~lastgood.BridgeError`, with blame ``"place"``, if that fails.

        It need not wait until the program runs. Cancelled if the bridge is given up meanwhile.
        """
        ...

    async def send(self, data: bytes) -> None:
        """Pass ``data`` to the host, and return when more can be taken. What is sent to a host that is gone is dropped."""
        ...

    async def gone(self, received: Callable[[bytes], Awaitable[None]]) -> str:
        """Await ``received(chunk)`` for each chunk of what the host writes, in order. Return when the host is gone, and say why.

        The reason is a clause for the person at the terminal: ``"ssh ended with status 255: Connection refused"``. While
        ``received`` waits, do not read more, so that a slow app holds the other side up rather than filling memory.
        """
        ...

    async def remove(self) -> None:
        """End the host, whatever its state, and release what the place has. May be called again. It must not hang for long.

        The host ends its worker and all that this has started when its stdin is at the end.
        """
        ...
