"""Streams of a :class:`~lastgood.testing.World`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from lastgood.errors import BridgeError
from lastgood.interpreters.memory import ScriptedBridge

__all__ = ["ScriptedStream"]


class ScriptedStream:
    """A stream on the bridge that is live when its first item is taken, with the items that a test gives it.

    It is in flight from its first item to its end, as a call is. It ends early when it is closed, and when the last reference to
    it is gone. Taking an item raises :class:`~lastgood.BridgeError` once the stream was cut off, and what its bridge was lost by,
    such as :class:`~lastgood.WorkerDied`. ``error`` is raised after the last item.
    """

    def __init__(
        self,
        bridge: Callable[[], ScriptedBridge],
        end: Callable[[ScriptedBridge], object],
        items: Iterable[Any],
        error: BaseException | None,
    ) -> None:
        self._begin = bridge
        self._end = end
        self._items = deque(items)
        self._error = error
        self._is_over = False
        self._lost_by: BaseException | None = None
        self.bridge: ScriptedBridge | None = None
        """The bridge that it runs on; None before the first item."""

    def __iter__(self) -> ScriptedStream:
        return self

    def __next__(self) -> Any:
        """Return the next item."""
        if self._is_over:
            raise StopIteration
        if self.bridge is None:
            self._is_over = True
            self.bridge = self._begin()
            self._is_over = False
        if self._lost_by is not None:
            self._is_over = True
            raise self._lost_by
        if self.bridge.cut_off:
            self._is_over = True
            raise BridgeError("The bridge was disposed while the stream was open.")
        if self._items:
            return self._items.popleft()
        self.close()
        if self._error is not None:
            raise self._error
        raise StopIteration

    def close(self) -> None:
        """End the stream. May be called again."""
        bridge = self.bridge
        is_open = bridge is not None and self.holds(bridge)
        self._is_over = True
        if is_open and bridge is not None:
            self._end(bridge)

    def __del__(self) -> None:
        self.close()

    def lose(self, error: BaseException) -> None:
        """End the stream as its bridge breaks down: the next request of an item raises ``error``."""
        self._lost_by = error

    def holds(self, bridge: ScriptedBridge) -> bool:
        """Return whether it is in flight on ``bridge``."""
        return self.bridge is bridge and not (self._is_over or bridge.cut_off or self._lost_by is not None)
