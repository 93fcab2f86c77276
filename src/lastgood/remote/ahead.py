"""Hosts that are started ahead, for the next bridge: it need not wait for a connection, or for a place in a cluster."""

from __future__ import annotations

from collections.abc import Hashable

import trio
from msgspec import Struct, field

from lastgood.remote.link import Link

__all__ = ["AheadHost", "take_ahead"]


class AheadHost(Struct, eq=False):
    """A host without a worker. ``ahead`` says for which bridges it is."""

    ahead: Hashable
    link: Link
    token: trio.lowlevel.TrioToken = field(default_factory=trio.lowlevel.current_trio_token)
    was_taken: bool = False

    def is_usable(self) -> bool:
        """Return whether the host lives, as far as is known."""
        return not self.link.exited.is_set()

    def is_waiting(self) -> bool:
        """Return whether it was neither taken nor ended."""
        return self in _waiting

    def wait(self) -> None:
        """Make it available."""
        _waiting.append(self)

    async def end(self) -> None:
        """End the host, unless a bridge has taken it over."""
        if self in _waiting:
            _waiting.remove(self)
        if not self.was_taken:
            await self.link.end()


_waiting: list[AheadHost] = []


def take_ahead(ahead: Hashable) -> Link | None:
    """Take over a host that waits for a bridge of the same ``ahead`` on this event loop; None if there is none."""
    for host in list(_waiting):
        if host.ahead == ahead and host.token is trio.lowlevel.current_trio_token() and host.is_usable():
            _waiting.remove(host)
            host.was_taken = True
            return host.link
    return None
