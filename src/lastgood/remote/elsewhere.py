"""A worker elsewhere, as the bridge sees it: like one that runs here, over a link."""

from __future__ import annotations

import math
import tokenize
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import trio

from lastgood.bridges.channel import Channel
from lastgood.bridges.pending import PendingAnswer
from lastgood.bridges.remote import RemoteWorker
from lastgood.bridges.start import WORKER_MARK, StartedWorker
from lastgood.bridges.worker import frames
from lastgood.bridges.worker.values.known import Known
from lastgood.children.output import Output
from lastgood.errors import Blame
from lastgood.remote.host import messages
from lastgood.remote.link import Link
from lastgood.remote.link_channel import LinkChannel
from lastgood.remote.shipment import Address

__all__ = ["PlacedWorker"]


class _Process:
    """The process of a worker elsewhere. See :class:`~lastgood.bridges.start.WorkerProcess`."""

    pidfd = -1

    def __init__(self, link: Link, out: Output) -> None:
        self._link = link
        self.out = out
        self.gone = False

    @property
    def pid(self) -> int:
        """The process id there; 0 before it is known."""
        return self._link.worker_pid or 0

    @property
    def status(self) -> int | None:
        """The exit status; None if it is not known."""
        return self._link.status

    @property
    def death(self) -> str:
        """How it was lost with its place; empty if it was not."""
        return f"with its place ({self._link.lost})" if self._link.lost else ""

    @property
    def blame(self) -> Blame | None:
        """The place's, if that was lost."""
        return "place" if self._link.lost else None

    def has_exited(self) -> bool:
        """Return whether its exit was reported, or its place is lost."""
        return self._link.exited.is_set()

    def is_stopped(self) -> bool:
        """Return False: whether it is stopped is not known here."""
        return False

    def signal(self, number: int) -> None:
        """Send a signal to its process group."""
        self._link.tell(messages.SIGNAL, [int(number)])

    async def exited(self, within: float = math.inf) -> bool:
        """Wait at most ``within`` seconds for its exit; return whether it has exited."""
        with trio.move_on_after(within):
            await self._link.exited.wait()
        return self.has_exited()

    async def end(self, grace: float, *, patience: float = 0) -> bool:
        """End it, its host and its place. If cancelled, at once."""
        try:
            await self._link.end(patience, grace)
        finally:
            self.gone = True
            self.out.finish()
        return True


class PlacedWorker(RemoteWorker):
    """A worker on the other side of ``link``, to which ``address`` was shipped.

    ``settings`` is the body of START; the other arguments are those of :class:`RemoteWorker`.
    """

    def __init__(
        self,
        link: Link,
        address: Address,
        settings: Mapping[str, Any],
        *,
        threads: int,
        timeout: float,
        grace: float,
        on_loaded: Callable[[RemoteWorker, bytes], object],
        is_spare: bool = False,
    ) -> None:
        self.link = link
        self.address = address
        super().__init__(
            partial(_start, link, dict(settings), held=is_spare),
            threads=threads,
            timeout=timeout,
            grace=grace,
            on_loaded=on_loaded,
            is_spare=is_spare,
        )
        trio.lowlevel.spawn_system_task(self.died, name="lastgood's watch of a worker elsewhere")

    def _make_channel(self, started: StartedWorker, **options: Any) -> Channel:  # noqa: ARG002 - it has no pipes
        return LinkChannel(self.link, **options)

    def here(self, path: str) -> str:
        """See :class:`RemoteWorker`."""
        return self.address.here(path)

    def there(self, path: str) -> str:
        """See :class:`RemoteWorker`."""
        return self.address.there(path)

    def read(self, answer: PendingAnswer, known: Known | None = None) -> Any:
        """See :class:`RemoteWorker`."""
        value = super().read(answer, known)
        return self.localised(value) if answer.kind == frames.RAISED else value

    def localised(self, raised: Any) -> Any:
        """See :class:`RemoteWorker`."""
        if isinstance(raised, str):
            return self.address.text_here(raised)
        if isinstance(raised, list):
            return [self.localised(each) for each in raised]
        if isinstance(raised, dict):
            made = {self.localised(key): self.localised(each) for key, each in raised.items()}
            if isinstance(sources := made.get("sources"), dict):
                # There, no file has the pinned lines. Here, most have.
                made["sources"] = {file: text for file, text in sources.items() if not _has_text(file, text)}
            return made
        return raised


def _has_text(file: Any, text: Any) -> bool:
    try:
        with tokenize.open(file) as opened:
            return bool(opened.read().rstrip("\n") == str(text).rstrip("\n"))
    except (OSError, TypeError, ValueError, SyntaxError):
        return False


def _start(link: Link, settings: dict[str, Any], *, held: bool) -> StartedWorker:
    out = Output(forward=True, mark=WORKER_MARK.get(), held=held)
    try:
        logs = link.start_worker(settings, out)
    except BaseException:
        out.finish()
        raise
    return StartedWorker(_Process(link, out), -1, -1, logs, (-1, -1))
