"""Calls and answers over a link. No pipe is read here: the link passes on what comes, so that no caller has to lead the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import trio

from lastgood.bridges.channel import Channel
from lastgood.bridges.pending import PendingAnswer
from lastgood.bridges.readiness import Readiness
from lastgood.remote.link import Link

__all__ = ["LinkChannel"]


class _Fed:
    """Readiness of a channel that is fed by its link, which writes what it can take by itself."""

    descriptor = -1

    async def wait(self) -> None:
        """Nobody leads."""
        await trio.sleep_forever()

    def want_write(self, wanted: bool) -> None:
        """See :class:`.Readiness`."""

    def exited(self) -> bool:
        """Return False: the worker's end is watched elsewhere."""
        return False

    def wake(self) -> None:
        """See :class:`.Readiness`."""

    def close(self) -> None:
        """See :class:`.Readiness`."""


class LinkChannel(Channel):
    """A channel whose frames go over ``link``. ``on_end`` is not used: the worker's owner watches its end."""

    def __init__(self, link: Link, **options: Any) -> None:
        self._link = link
        super().__init__(-1, -1, -1, **options)
        link.connect(self.take, self.flush)

    def _prepare(self, pidfd: int) -> Readiness:  # noqa: ARG002 - there are no descriptors
        return _Fed()

    @trio.lowlevel.enable_ki_protection
    def take(self, data: bytes) -> None:
        """Take bytes that the worker has written."""
        if not self._closed:
            self._take(data)

    @trio.lowlevel.enable_ki_protection
    def flush(self) -> None:
        """Send what has waited until the link can take more."""
        if self._unsent:
            self._flush()

    async def wait(self, answer: PendingAnswer) -> None:
        """See :class:`Channel`."""
        try:
            while answer.kind is None and not answer.late:
                if self._failure is not None:
                    raise self._failure()
                await self._park(answer)
        finally:
            if answer.kind is None:
                self._forget(answer)

    @trio.lowlevel.enable_ki_protection
    def drain(self) -> None:
        """Do nothing: what has come was taken at once."""

    @trio.lowlevel.enable_ki_protection
    def close(self) -> None:
        """See :class:`Channel`."""
        self._closed = True
        if self._timekeeper is not None:
            self._timekeeper.cancel()

    def descriptors(self) -> Iterable[int]:
        """Return none: they are the link's."""
        return ()

    def _try_write(self, *data: bytes | memoryview) -> int:
        return self._link.put(data)

    def _catch_up(self) -> bool:
        return self._failure is None
