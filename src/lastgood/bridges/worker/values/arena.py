"""Shared memory for large arrays: one process copies data in, the other copies it out. Both sides import this file.

An arena is a memfd that the app made for one worker and one direction, divided into blocks. The writer lends a block with a
call or an answer. It gets a block of a call back with the answer, and a block of an answer when the app reports that it has
read it. Free blocks keep their memory pages, since new pages cost ten times the copying; beyond KEPT bytes pages are freed.

The memfd is sealed against shrinking. So whatever the other side does, reading returns bytes or raises ValueError.
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
"""The maximum size of an arena in bytes."""

KEPT = 1 << 28
_ROUND = 1 << 20
_MAPPED = 64
_F_ADD_SEALS, _F_SEAL_SEAL, _F_SEAL_SHRINK = 1033, 1, 2


def make_arena() -> int:
    """Return the descriptor of a new arena; -1 where the system does not support sealed memfds."""
    try:
        import fcntl

        descriptor = os.memfd_create("lastgood-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        fcntl.fcntl(descriptor, _F_ADD_SEALS, _F_SEAL_SEAL | _F_SEAL_SHRINK)
    except (ImportError, AttributeError, OSError):
        return -1
    return descriptor


class Arena:
    """One side's view of an arena. ``descriptor`` -1: there is no arena, and nothing can be put there."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = 0
        self._maps: dict[int, mmap.mmap] = {}
        self._blocks: dict[int, int] = {}  # offset -> size, of all blocks
        self._free: dict[int, int] = {}  # offset -> size, of the blocks that are not lent
        self._unbacked: set[int] = set()  # offsets of free blocks whose pages were freed
        self._lock = threading.Lock()  # guards everything above
        self._lent = threading.local()
        self.puts = 0
        self.reads = 0

    # The writer.

    def put(self, data: Any) -> int | None:
        """Copy ``data``, a bytes-like object, into a block, and lend it. Return its offset; None if there is no room."""
        lent = self.lend(len(data))
        if lent is None:
            return None
        offset, memory = lent
        memory[: len(data)] = data
        return offset

    def lend(self, size: int) -> tuple[int, mmap.mmap] | None:
        """Lend a block of ``size`` bytes or more, to be written immediately; return (offset, memory), None if there is no room."""
        with self._lock:
            offset = self._take(size)
            if offset is None:
                return None
            memory = self._map(offset, self._blocks[offset])
            self.puts += 1
        self._lent.__dict__.setdefault("blocks", []).append(offset)
        return offset, memory

    def lent(self) -> list[int]:
        """Return the offsets of the blocks that this thread has lent since its last call of this method."""
        lent: list[int] = self._lent.__dict__.pop("blocks", [])
        return lent

    def size_of(self, offsets: list[int]) -> int:
        """Return the bytes that these blocks take."""
        with self._lock:
            return sum(self._blocks.get(offset, 0) for offset in offsets)

    def reclaim(self, offsets: list[int]) -> None:
        """Take lent blocks back: they were read, or will never be."""
        with self._lock:
            for offset in offsets:
                if offset in self._blocks:  # absent after close()
                    self._free[offset] = self._blocks[offset]
            backed = sum(size for offset, size in self._free.items() if offset not in self._unbacked)
            for offset, size in self._free.items():
                if backed > KEPT and offset not in self._unbacked:
                    self._map(offset, size).madvise(mmap.MADV_REMOVE)
                    self._unbacked.add(offset)
                    backed -= size

    def _take(self, size: int) -> int | None:
        fitting = [(has, offset) for offset, has in self._free.items() if size <= has <= 2 * size + _ROUND]
        if fitting:
            offset = min(fitting)[1]
            del self._free[offset]
            self._unbacked.discard(offset)
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
        """Return the memory at ``offset``, at least ``size`` bytes, to be copied immediately. Raise ValueError if out of range."""
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

    def leave(self) -> int:
        """Drop all blocks, and return the descriptor."""
        self._maps.clear()
        self._blocks.clear()
        self._free.clear()
        return self._descriptor

    def close(self) -> None:
        """Close the descriptor and drop all blocks."""
        if self.leave() >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
