"""Streams of a :class:`~lastgood.testing.World`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from lastgood.errors import BridgeError, WorkerDied
from lastgood.interpreters.memory import ScriptedBridge

__all__ = ["ScriptedStream"]


class ScriptedStream:
    """A stream on the bridge that was live when it was opened, with the items that a test gives it.

    It is in flight from its first item to its end, as a call is. Taking an item raises :class:`~lastgood.BridgeError` once the
    stream was cut off, and :class:`~lastgood.WorkerDied` once its bridge was lost. ``error`` is raised after the last item.
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
        self.bridge: ScriptedBridge | None = None
        """The bridge that it runs on; None before the first item."""

    def __iter__(self) -> ScriptedStream:
        return self

    def __next__(self) -> Any:
        """Return the next item."""
        if self._is_over:
            raise StopIteration
        if self.bridge is None:
            self.bridge = self._begin()
        if self.bridge.state == "lost":
            self._is_over = True
            raise WorkerDied(1, "")
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
        is_open = not self._is_over and self.bridge is not None
        self._is_over = True
        if is_open and self.bridge is not None:
            self._end(self.bridge)

    def holds(self, bridge: ScriptedBridge) -> bool:
        """Return whether it is in flight on ``bridge``."""
        return self.bridge is bridge and not self._is_over
