"""The worker's codec of calls: values, arrays in the arenas, and the best msgpack that its interpreter has."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from . import packing
from .arena import Arena
from .arrays import Carrier

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["CODEC", "Codec", "Lending"]

_LARGE = 1 << 16  # bytes, from which on it is worth importing a faster msgpack: 20 to 40 ms, once


class Lending(bytes):
    """A body with which blocks of the arena are lent."""

    blocks: list[int]


class Codec:
    """The codec of calls: with a msgpack in C if there is one, as soon as that is loaded anyway, or a large value crosses."""

    def __init__(self) -> None:
        self.incoming, self.outgoing = Arena(-1), Arena(-1)
        self._use(packing.pack, packing.unpacker, packing.Ext)
        self._decided = self._fast = False

    def _use(self, *msgpack: Any) -> None:
        self.values = Carrier(*msgpack, towards="from the worker", outgoing=self.outgoing, incoming=self.incoming)

    def open(self, incoming: int, outgoing: int) -> None:
        """Have the arenas of these descriptors."""
        self.incoming, self.outgoing = Arena(incoming), Arena(outgoing)
        self._use(packing.pack, packing.unpacker, packing.Ext)

    def look(self) -> None:
        """See whether the user's modules have loaded it."""
        if any(name in sys.modules for name in packing.FASTER):
            self.decide()

    def decide(self) -> None:
        """Find the best there is."""
        if not self._decided:
            self._decided = True
            faster = packing.find_faster()
            if faster is not None:
                self._use(*faster)
                self._fast = True

    def loads(self, body: bytes, start: int) -> Any:
        """Unpack the value that begins at ``start``. Raises ValueError."""
        if len(body) < _LARGE:
            return self.values.loads(body[start:])
        self.decide()
        return self.values.loads(memoryview(body)[start:] if self._fast else body[start:])

    def dumps(self, value: Any, places: Mapping[type, int] | None = None) -> bytes:
        """Pack ``value``, told by ``places`` as :meth:`.Values.dumps_typed` has it.

        Raises :class:`.values.EncodeError`, and whatever the user's own code does.
        """
        puts = self.outgoing.puts
        try:
            body = self.values.dumps(value) if places is None else self.values.dumps_typed(value, places)
        except BaseException:
            self.outgoing.reclaim(self.outgoing.lent())
            raise
        if self.outgoing.puts != puts and (blocks := self.outgoing.lent()):
            body = Lending(body)
            body.blocks = blocks
        if len(body) >= _LARGE:
            self.decide()
        return body


CODEC = Codec()
