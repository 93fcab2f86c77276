"""Workers that are started ahead, for the next bridge: it need not wait for a connection, or for a place in a cluster."""

from __future__ import annotations

from collections.abc import Hashable

import trio
from msgspec import Struct, field

from lastgood.remote.elsewhere import PlacedWorker

__all__ = ["AheadWorker", "take_ahead"]


class AheadWorker(Struct, eq=False):
    """A worker that has done nothing yet. ``key`` is all that its start depends on."""

    key: Hashable
    worker: PlacedWorker
    token: trio.lowlevel.TrioToken = field(default_factory=trio.lowlevel.current_trio_token)

    def is_waiting(self) -> bool:
        """Return whether it was neither taken nor ended."""
        return self in _waiting

    def wait(self) -> None:
        """Make it available."""
        _waiting.append(self)

    async def end(self) -> None:
        """End it, unless it was taken over."""
        if self in _waiting:
            _waiting.remove(self)
            await self.worker.end(0)


_waiting: list[AheadWorker] = []


def take_ahead(key: Hashable) -> PlacedWorker | None:
    """Take over a worker with this ``key`` that lives and waits on this event loop; None if there is none."""
    token = trio.lowlevel.current_trio_token()
    for ahead in _waiting:
        if ahead.key == key and ahead.token is token and not ahead.worker.has_exited():
            _waiting.remove(ahead)
            return ahead.worker
    return None
