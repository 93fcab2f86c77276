"""The codec of calls: values, arrays in the arenas, and the fastest msgpack that the interpreter has."""

from __future__ import annotations

import sys

from . import packing
from .arena import Arena
from .arrays import Carrier

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

    from .known import Known

__all__ = ["CODEC", "Codec", "Lending"]

_LARGE = 1 << 16  # bytes; importing a faster msgpack takes 20 to 40 ms once, which pays off from this size


class Lending(bytes):
    """The body of an answer for which ``blocks`` of the arena are lent to the app."""

    blocks: list[int]


class Codec:
    """The codec of calls. It switches to a msgpack in C once one is imported anyway, or once a large value is transferred.

    ``towards`` is that of :class:`.values.Values`.
    """

    def __init__(self, towards: str) -> None:
        self._towards = towards
        self.incoming, self.outgoing = Arena(-1), Arena(-1)
        self._use(packing.pack, packing.unpacker, packing.Ext)
        self._decided = self._fast = False

    def _use(self, *msgpack: Any) -> None:
        self.values = Carrier(*msgpack, towards=self._towards, outgoing=self.outgoing, incoming=self.incoming)

    def open(self, incoming: int, outgoing: int) -> None:
        """Use the arenas of these descriptors."""
        self.incoming, self.outgoing = Arena(incoming), Arena(outgoing)
        self._use(packing.pack, packing.unpacker, packing.Ext)

    def check_loaded(self) -> None:
        """Switch to a faster msgpack if the user's modules have imported one."""
        if any(name in sys.modules for name in packing.FASTER):
            self.decide()

    def decide(self) -> None:
        """Switch to the fastest msgpack that can be imported; only the first call does anything."""
        if not self._decided:
            self._decided = True
            faster = packing.find_faster()
            if faster is not None:
                self._use(*faster)
                self._fast = True

    def loads(self, body: bytes, start: int, known: Known | None = None) -> Any:
        """Unpack the value that begins at ``start``, as :meth:`.Values.loads` does."""
        if len(body) < _LARGE:
            return self.values.loads(body[start:], known)
        self.decide()
        return self.values.loads(memoryview(body)[start:] if self._fast else body[start:], known)

    def dumps(self, value: Any, known: Known | None = None, *, lenient: bool = False) -> bytes:
        """Pack ``value``, as :meth:`.Values.dumps` does. Raises any exception of the user's own code, too."""
        puts = self.outgoing.puts
        try:
            body = self.values.dumps(value, known, lenient=lenient)
        except BaseException:
            self.outgoing.reclaim(self.outgoing.lent())
            raise
        if self.outgoing.puts != puts and (blocks := self.outgoing.lent()):
            body = Lending(body)
            body.blocks = blocks
        if len(body) >= _LARGE:
            self.decide()
        return body


CODEC = Codec("from the worker")
"""The worker's own."""
