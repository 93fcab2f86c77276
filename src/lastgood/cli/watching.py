"""``lastgood watch``: a session that shows its events, until a signal, a key or the end of its reader ends it."""

from __future__ import annotations

import errno
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import trio

from lastgood.cli.keys import follow_keys
from lastgood.errors import Disposed
from lastgood.session.watch import WatchProgram
from lastgood.watch_events import WatchEvent

__all__ = ["TERMINATED", "watch_and_show"]

TERMINATED = 143  # 128 + SIGTERM, the convention of shells
HUNG_UP = 129  # 128 + SIGHUP, which comes when the terminal is closed


def watch_and_show(
    make_program: Callable[[Callable[[WatchEvent], None]], WatchProgram],
    show: Callable[[WatchEvent], None],
    *,
    keys: int | None = None,
    beside: Callable[[], Awaitable[None]] | None = None,
    terminated: int = TERMINATED,
) -> int:
    """Run a session until Ctrl-C, SIGTERM, or until its output is closed. Return the exit status, ``terminated`` after SIGTERM.

    ``make_program(on_event)`` makes the program. ``keys``: the descriptor of a terminal, on which ``r`` reloads and ``q`` ends the
    session. ``beside`` runs as long as the session. Raises what the session raises, and :class:`BrokenPipeError`.
    """
    scope = trio.CancelScope()
    broken: list[BrokenPipeError] = []
    statuses = [0]

    def on_event(event: WatchEvent) -> None:
        # Exceptions of on_event are only logged. On a broken pipe, rich raises SystemExit.
        try:
            show(event)
        except (BrokenPipeError, SystemExit):
            broken.append(BrokenPipeError(errno.EPIPE, "the reader of the events has closed the pipe"))
            scope.cancel()

    def end(status: int) -> None:
        statuses.append(status)
        scope.cancel()

    statuses_of_signals = {signal.SIGTERM: terminated}
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # not under nohup
        statuses_of_signals[signal.SIGHUP] = HUNG_UP
    trio.run(_run, make_program(on_event), scope, _Signals(statuses_of_signals, end), keys, beside)
    if broken:
        raise broken[0]
    return statuses[-1]


async def _run(
    program: WatchProgram,
    scope: trio.CancelScope,
    signals: _Signals,
    keys: int | None,
    beside: Callable[[], Awaitable[None]] | None,
) -> None:
    raised: BaseException | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(signals.run)
        if keys is not None:
            nursery.start_soon(follow_keys, keys, _Keys(program, nursery, scope.cancel))
        if beside is not None:
            nursery.start_soon(beside)
        try:
            with scope:
                await program()
        except BaseException as error:  # raised again below, outside of the nursery, so that no group wraps it
            raised = error
        nursery.cancel_scope.cancel()
    if raised is not None:
        raise raised


class _Signals:
    """Calls ``end(status)`` at a signal, of which ``statuses`` has the exit statuses."""

    def __init__(self, statuses: Mapping[signal.Signals, int], end: Callable[[int], None]) -> None:
        self._statuses = statuses
        self._end = end

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Wait for signals until cancelled."""
        with trio.open_signal_receiver(*self._statuses) as received:
            task_status.started()
            async for each in received:
                self._end(self._statuses[signal.Signals(each)])


class _Keys:
    """What the keys do."""

    def __init__(self, program: WatchProgram, nursery: trio.Nursery, end: Callable[[], object]) -> None:
        self._program = program
        self._nursery = nursery
        self._end = end
        self._reloads = False

    def __call__(self, key: str) -> None:
        if key in "qQ":
            self._end()
        elif key in "rR" and not self._reloads:
            self._reloads = True
            self._nursery.start_soon(self._reload)

    async def _reload(self) -> None:
        session = self._program.begun
        try:
            if session is not None:
                with suppress(Disposed):
                    await session.reload_now()
        finally:
            self._reloads = False
