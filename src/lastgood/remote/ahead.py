"""Workers that are started ahead, for the next bridge: it need not wait for a connection, or for a place in a cluster."""

from __future__ import annotations

from collections.abc import Hashable

import trio
from msgspec import Struct, field

from lastgood.remote.elsewhere import PlacedWorker

__all__ = ["AheadWorker", "take_ahead"]


class AheadWorker(Struct, eq=False):
    """A worker that has done nothing yet. ``key`` is all that its start depends on.

    Its owner makes it available by :meth:`wait` before it has a ``worker``, and sets ``started`` when it has one, or when that
    has failed.
    """

    key: Hashable
    worker: PlacedWorker | None = None
    started: trio.Event = field(default_factory=trio.Event)
    token: trio.lowlevel.TrioToken = field(default_factory=trio.lowlevel.current_trio_token)

    def is_waiting(self) -> bool:
        """Return whether it was neither taken nor ended."""
        return self in _waiting

    def is_usable(self) -> bool:
        """Return whether it lives, as far as is known, or is being started."""
        return self.worker is None or not (self.worker.has_exited() or self.worker.link.is_quiet())

    def wait(self) -> None:
        """Make it available."""
        _waiting.append(self)

    async def end(self) -> None:
        """End it, unless it was taken over."""
        if self in _waiting:
            _waiting.remove(self)
            if self.worker is not None:
                await self.worker.end(0)


_waiting: list[AheadWorker] = []


async def take_ahead(key: Hashable) -> PlacedWorker | None:
    """Take over a worker with this ``key`` that lives and waits on this event loop; None if there is none.

    One that is being started is waited for: there may be no room for another, and it will be ready first. One that has exited, or
    is silent, is ended, since its place may be the last one.
    """
    token = trio.lowlevel.current_trio_token()
    for ahead in [each for each in _waiting if each.key == key and each.token is token]:
        await ahead.started.wait()
        if ahead.worker is None or not ahead.is_waiting():
            continue
        if ahead.is_usable():
            _waiting.remove(ahead)
            return ahead.worker
        with trio.CancelScope() as at_once:
            at_once.cancel()  # it would not answer
            await ahead.end()
    return None
