"""Memory through which large arrays cross: one process copies into it, the other copies out. Both sides read this file.

An arena is a memfd that the app made for one worker and one direction, in blocks. The writer says who reads what: it lends a
block out with a call or an answer, and has it back when the answer is there, or when the app says that it has read it. The
pages of blocks stay, for new ones cost ten times the copying; beyond KEPT bytes they are given back.

The memfd cannot shrink (it is sealed), so whatever the other side does, reading it ends in bytes or in a ValueError.
"""

from __future__ import annotations

import mmap
import os
import threading

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LIMIT", "Arena", "make_arena"]

LIMIT = 1 << 30
"""Bytes that an arena may have."""

KEPT = 1 << 28
_ROUND = 1 << 20
_MAPPED = 64
_F_ADD_SEALS, _F_SEAL_SEAL, _F_SEAL_SHRINK = 1033, 1, 2


def make_arena() -> int:
    """The descriptor of a new arena; -1 where the system has no such thing."""
    try:
        import fcntl

        descriptor = os.memfd_create("lastgood-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        fcntl.fcntl(descriptor, _F_ADD_SEALS, _F_SEAL_SEAL | _F_SEAL_SHRINK)
    except (ImportError, AttributeError, OSError):
        return -1
    return descriptor


class Arena:
    """One side's view of an arena. ``descriptor`` -1: there is none, and nothing can be put there."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = 0
        self._maps: dict[int, mmap.mmap] = {}
        self._blocks: dict[int, int] = {}  # offset -> size, of all
        self._free: dict[int, int] = {}  # likewise, of those that are not lent
        self._dry: set[int] = set()  # of the free ones: without pages
        self._lock = threading.Lock()  # guards what is above
        self._lent = threading.local()
        self.puts = 0
        self.reads = 0

    # The writer.

    def put(self, data: Any) -> int | None:
        """Copy ``data``, bytes or the like, into a block, and lend it. Its offset; None if there is no room."""
        lent = self.lend(len(data))
        if lent is None:
            return None
        offset, memory = lent
        memory[: len(data)] = data
        return offset

    def lend(self, size: int) -> tuple[int, mmap.mmap] | None:
        """Lend a block of ``size`` bytes or more, to be written at once: its offset and memory. None if there is no room."""
        with self._lock:
            offset = self._take(size)
            if offset is None:
                return None
            memory = self._map(offset, self._blocks[offset])
            self.puts += 1
        self._lent.__dict__.setdefault("blocks", []).append(offset)
        return offset, memory

    def lent(self) -> list[int]:
        """The blocks that this thread has lent since it asked last."""
        lent: list[int] = self._lent.__dict__.pop("blocks", [])
        return lent

    def reclaim(self, offsets: list[int]) -> None:
        """These blocks have been read, or never will be."""
        with self._lock:
            for offset in offsets:
                if offset in self._blocks:  # else it was closed since
                    self._free[offset] = self._blocks[offset]
            wet = sum(size for offset, size in self._free.items() if offset not in self._dry)
            for offset, size in self._free.items():
                if wet > KEPT and offset not in self._dry:
                    self._map(offset, size).madvise(mmap.MADV_REMOVE)
                    self._dry.add(offset)
                    wet -= size

    def _take(self, size: int) -> int | None:
        fitting = [(has, offset) for offset, has in self._free.items() if size <= has <= 2 * size + _ROUND]
        if fitting:
            offset = min(fitting)[1]
            del self._free[offset]
            self._dry.discard(offset)
            return offset
        rounded = -(-size // _ROUND) * _ROUND
        if self._descriptor < 0 or self._size + rounded > LIMIT:
            return None
        try:
            os.ftruncate(self._descriptor, self._size + rounded)
        except OSError:
            return None
        offset, self._size = self._size, self._size + rounded
        self._blocks[offset] = rounded
        return offset

    # The reader.

    def view(self, offset: int, size: int) -> mmap.mmap:
        """The memory at ``offset``, of at least ``size`` bytes: to be copied at once. Raises ValueError if there is none."""
        if self._descriptor < 0 or type(offset) is not int or type(size) is not int:
            raise ValueError("there is no such memory")
        if offset < 0 or offset % _ROUND or not 0 < size <= os.fstat(self._descriptor).st_size - offset:
            raise ValueError(f"the arena has no {size} bytes at {offset}")
        with self._lock:
            self.reads += 1
            return self._map(offset, size)

    # Both.

    def _map(self, offset: int, size: int) -> mmap.mmap:
        found = self._maps.get(offset)
        if found is None or len(found) < size:
            if len(self._maps) >= _MAPPED:
                del self._maps[next(iter(self._maps))]
            found = self._maps[offset] = mmap.mmap(self._descriptor, size, offset=offset)
        return found

    def close(self) -> None:
        """Let go of it."""
        self._maps.clear()
        self._blocks.clear()
        self._free.clear()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
