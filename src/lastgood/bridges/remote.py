"""One worker as the app sees it: its process, the channel to it, and its end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import trio

from lastgood.bridges.channel import Channel
from lastgood.bridges.logs import LEVELS, WorkerLogs
from lastgood.bridges.pending import PendingAnswer
from lastgood.bridges.start import StartedWorker, WorkerProcess
from lastgood.bridges.worker import frames
from lastgood.bridges.worker.values.arena import Arena
from lastgood.bridges.worker.values.arrays import Carrier
from lastgood.bridges.worker.values.known import Known
from lastgood.bridges.worker.values.values import PLAIN, DecodeError
from lastgood.calls.classes import Declared
from lastgood.children.child import KILL_WAIT
from lastgood.children.forks import FORKS
from lastgood.errors import Blame, BridgeError, WorkerDied

__all__ = ["PACK", "RemoteWorker", "unpacker"]

PACK = msgspec.msgpack.Encoder().encode

_EXIT_WAIT = 1.0  # seconds from the end of a worker's answers to its exit


def unpacker(decode: Callable[[int, Any], Any]) -> Callable[[Any], Any]:
    """Return a function that decodes msgpack, with ``decode`` for its extensions."""
    return msgspec.msgpack.Decoder(ext_hook=decode).decode


class RemoteWorker:
    """A worker process, which ``start()`` starts, on creation.

    ``is_spare``: it runs ahead (worker/ahead.py), and its output and log records are held back until it is taken over.
    ``threads`` calls run at once in it, and each may take ``timeout`` seconds. When the worker has died, its child processes
    get ``grace`` seconds to exit. The owner sets ``ready`` once the worker has imported its modules. ``on_loaded`` is called
    with this object and the body of a LOADED frame. Raises what ``start()`` raises.
    """

    @trio.lowlevel.enable_ki_protection
    def __init__(
        self,
        start: Callable[[], StartedWorker],
        *,
        threads: int,
        timeout: float,
        grace: float,
        on_loaded: Callable[[RemoteWorker, bytes], object],
        is_spare: bool = False,
    ) -> None:
        self.ready = False
        self._grace = grace
        self._reaping = trio.Lock()
        with FORKS.starting:
            self._own(start(), on_loaded, threads, timeout)
            FORKS.add(self)
        if not is_spare:
            self.logs.start()

    def _own(
        self,
        started: StartedWorker,
        on_loaded: Callable[[RemoteWorker, bytes], object],
        threads: int,
        timeout: float,
    ) -> None:
        self._child = started.child
        outgoing, incoming = map(Arena, started.arenas)
        self.codec = Carrier(
            PACK,
            unpacker,
            msgspec.msgpack.Ext,
            towards="to the worker",
            outgoing=outgoing,
            incoming=incoming,
        )
        self._lent: dict[int, list[int]] = {}
        self.levels: Mapping[str, int] = {}
        """The levels of the app's loggers that the worker knows."""
        self.logs = WorkerLogs(started.logs, on_garbage=self.fail_with)
        self.channel = self._make_channel(
            started,
            on_end=self._reap,
            on_garbage=self.fail_with,
            on_loaded=partial(on_loaded, self),
            on_over=self._reclaim,
            on_logged=self.logs.catch_up,
            on_taken=self.show,
            threads=threads,
            timeout=timeout,
        )

    def _make_channel(self, started: StartedWorker, **options: Any) -> Channel:
        """Return the channel to the worker; ``options`` are those of :class:`Channel`."""
        return Channel(started.requests, started.answers, started.child.pidfd, **options)

    def leave_to_parent(self) -> list[int]:
        """See :class:`.Owner`."""
        return [
            *self.channel.descriptors(),
            self.logs.descriptor,
            self.codec.outgoing.leave(),
            self.codec.incoming.leave(),
        ]

    def show(self) -> None:
        """Show what it has printed and logged, and what comes."""
        self._child.out.release()
        self.logs.start()

    def has_exited(self) -> bool:
        """Return whether its process has ended, even if that was not handled yet."""
        return self._child.has_exited()

    def was_killed(self) -> bool:
        """Return whether a signal has ended its process."""
        return (self._child.status or 0) < 0

    def is_stopped(self) -> bool:
        """Return whether its process is stopped by a signal."""
        return self._child.is_stopped()

    @property
    def pid(self) -> int | None:
        """The process id; None once the process has ended."""
        return None if self._child.gone else self._child.pid

    def here(self, path: str) -> str:
        """Return the path in the app of a file that the worker names."""
        return path

    def there(self, path: str) -> str:
        """Return the path in the worker of a local file of the app."""
        return path

    def submit(
        self,
        target: bytes,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        known: Known | None = None,
        *,
        kind: int = frames.CALL,
    ) -> PendingAnswer:
        """Send a call. With ``known``, the classes that the app knows, its answer says which classes its values are of.

        ``kind`` is that of the frame, CALL or STREAM.

        Raises :class:`.values.EncodeError`, and the errors of :meth:`.Channel.submit`.
        """
        if LEVELS.MARK not in LEVELS.cache:
            LEVELS.renew()
        if self.levels is not LEVELS.current:
            self.levels = LEVELS.current
            self.channel.set_levels(PACK(self.levels))
        blocks: list[int] = []
        puts = self.codec.outgoing.puts
        try:
            packed = self._pack(args, kwargs, known)
            body = frames.TARGET_LENGTH.pack(len(target)) + target + packed
            if self.codec.outgoing.puts != puts:
                blocks = self.codec.outgoing.lent()
            answer = self.channel.submit(kind, body, target)
        except BaseException:
            self.codec.outgoing.reclaim(blocks or self.codec.outgoing.lent())
            raise
        if blocks:
            self._lent[answer.number] = blocks
        return answer

    def _pack(self, args: Sequence[Any], kwargs: Mapping[str, Any], known: Known | None) -> bytes:
        call: tuple[Any, ...] = (list(args), dict(kwargs)) if known is None else (list(args), dict(kwargs), True)
        if PLAIN.issuperset(map(type, args)) and PLAIN.issuperset(map(type, kwargs.values())):
            try:
                return PACK(call)  # the same bytes as by the codec, at half the cost of a small call
            except (OverflowError, UnicodeEncodeError):
                pass  # a large int or a lone surrogate
        return self.codec.dumps(list(call), Declared() if known is None else known, lenient=known is None)

    def read(self, answer: PendingAnswer, known: Known | None = None) -> Any:
        """Decode the value in an answer, with instances of the ``known`` classes.

        Raise ValueError for invalid data, :class:`DecodeError` if this side lacks a library or does not know a class.
        """
        if not answer.body:
            return None
        reads = self.codec.incoming.reads
        try:
            value = self.codec.loads(answer.body, known)
        except DecodeError:
            self.channel.send_read(answer.number)
            raise
        if self.codec.incoming.reads != reads:
            self.channel.send_read(answer.number)
        return value

    def read_item(self, kind: int | None, body: bytes, known: Known | None = None) -> Any:
        """Decode the value in a record of a stream. Raises as :meth:`read` does; the caller sends READ."""
        value = self.codec.loads(body, known) if body else None
        return self.localised(value) if kind == frames.RAISED else value

    def localised(self, raised: Any) -> Any:
        """Return the description of an exception with the paths that its files have in the app."""
        return raised

    def _reclaim(self, number: int) -> None:
        if self._lent and number in self._lent:
            self.codec.outgoing.reclaim(self._lent.pop(number))

    def fail_with(self, problem: str) -> BridgeError:
        """Kill the worker, which sent invalid data, and return the error that all calls raise from now on."""
        failure = BridgeError(f"The worker sent invalid data and was killed: {problem}.")
        self._child.signal(signal.SIGKILL)
        self.channel.fail(lambda: BridgeError(*failure.args))
        return failure

    async def end(self, grace: float) -> None:
        """End the worker and all it started. Every call in flight raises :class:`BridgeError`.

        Closing the requests asks the worker to exit. After ``grace`` seconds it gets SIGTERM, after as many again SIGKILL; a
        busy worker gets SIGTERM at once. Its child processes get SIGTERM once it has exited. If cancelled, send SIGKILL
        immediately. Raises :class:`BridgeError` if the process still exists five seconds after SIGKILL.
        """
        self.channel.drain()  # without a waiting caller, the end of a forgotten call has not been read yet
        patience = 0 if self.channel.busy() else grace
        self.channel.fail(lambda: BridgeError("The bridge was disposed while the call was in flight."))
        self.channel.close()
        self.codec.incoming.close()
        self.codec.outgoing.close()
        try:
            exited = await self._child.end(grace, patience=patience)
        finally:
            self.logs.close()
        if not exited:
            raise BridgeError(f"The worker process {self._child.pid} still exists {KILL_WAIT:g} s after SIGKILL.")

    async def died(self) -> BridgeError:
        """Wait until its process has ended, and return the error that calls raise from then on."""
        await self._child.exited()
        await self._reap()
        return self.channel.failure()

    async def _reap(self) -> None:
        """On EOF or exit: reap the worker, kill its process group, then fail open calls.

        The group is killed first because the session then starts another worker, which may need a port that the group holds.
        """
        async with self._reaping:
            if self.channel.failed():
                return
            child, doing = self._child, "" if self.ready else "before it was ready"
            exited = await child.exited(_EXIT_WAIT)
            self.channel.drain()
            self.logs.catch_up()
            try:
                await child.end(self._grace if exited else 0)
            finally:
                blame: Blame | None = child.blame if exited else "code"  # it closed the pipe, and was then killed here
                self.channel.fail(lambda: _death(child, doing, blame))


def _death(child: WorkerProcess, doing: str, blame: Blame | None) -> WorkerDied:
    """Return the error of a worker that has ended while ``doing`` something."""
    how = child.death or ("with a status that is not known" if child.status is None else "")
    return WorkerDied(child.status, child.out.tail(), doing=f"{how} {doing}".strip(), blame=blame)
