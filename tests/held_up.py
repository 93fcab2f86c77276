"""An app that does not run for a while: it is stopped (Ctrl-Z, then fg), or something blocks its event loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio


async def hold_up(*meanwhile: Callable[[], object]) -> None:
    """Call ``meanwhile`` in the moment when the loop has looked for what came, and not yet at the clock.

    So what comes meanwhile is seen after the deadlines that pass, as it can be when a process goes on.
    """
    trio.lowlevel.add_instrument(_HeldUp(meanwhile))
    await trio.lowlevel.checkpoint()


class _HeldUp(trio.abc.Instrument):
    def __init__(self, meanwhile: Iterable[Callable[[], object]]) -> None:
        self._meanwhile = meanwhile

    def after_io_wait(self, timeout: float) -> None:
        del timeout
        trio.lowlevel.remove_instrument(self)
        for each in self._meanwhile:
            each()
