"""The link to a host: its messages over a place, the pipes of the worker's channel, and heartbeats.

It passes on what comes: answers to the channel (:mod:`.link_channel`), log records and output by pipes, as from a worker that runs
here.
"""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import trio

from lastgood.children.descriptors import pipe
from lastgood.children.forks import FORKS
from lastgood.children.limits import in_thread
from lastgood.children.output import Output
from lastgood.errors import BridgeError
from lastgood.remote.host import messages
from lastgood.remote.place import Place, host_program
from lastgood.remote.shipment import Address, Shipment

__all__ = ["PARTITION", "Link", "lost_place"]

logger = logging.getLogger(__name__)

PARTITION = 30.0
"""Seconds without a message after which a host takes its app for gone."""

_MAX_PENDING = 1 << 20  # bytes of requests in a message
_LARGE = 1 << 20  # objects from this size on are not compressed: most of them are already
_CHECKS = 8  # how often silence is looked for, within ``lost_after``
_MAX_OUTPUT = 1 << 20  # bytes of output that wait for the app's stderr
_MAX_GREETING = 1 << 20
_REMOVE = 5.0  # seconds for a place to be removed


def lost_place(text: str) -> BridgeError:
    """Return an error that a place is to blame for."""
    error = BridgeError(text)
    error.blame = "place"
    return error


class Link:
    """The link to the host at ``place``, which :meth:`open` starts. ``on_lost`` is called with it if it is gone or silent.

    ``exited``: the worker's exit was reported, or the place is lost; ``status`` is the worker's exit status, ``lost`` says how
    the place was lost, as the end of a sentence, empty if it was not.
    """

    def __init__(self, place: Place, heartbeat: float, lost_after: float, on_lost: Callable[[Link], object]) -> None:
        self.place = place
        self.home = ""
        self.status: int | None = None
        self.lost = ""
        self.exited = trio.Event()
        self.worker_pid: int | None = None
        self._heartbeat = heartbeat
        self._lost_after = lost_after
        self.on_lost = on_lost
        self._inbox = messages.Inbox()
        self._greeting: bytearray | None = bytearray()  # what comes before the host's own bytes
        self._sending = trio.Lock()
        self._blocked = trio.CancelScope()  # cancelled when the place is lost
        self._nursery: trio.Nursery | None = None
        self._opened = trio.Event()
        self._ended = trio.Event()
        self._answer: Any = None
        self._answered = trio.Event()
        self._heard = trio.current_time()
        self._is_delivering = False
        self._is_ending = False
        self._sent = 0
        self._take_answers: Callable[[bytes], object] = bytes
        self._flush: Callable[[], object] = bool
        self._pending: list[bytes] = []  # for the worker's requests
        self._pending_size = 0
        self._has_pending = trio.Event()
        self._logs = -1  # the end of the pipe that is written to; -1: closed
        self._out: Output | None = None
        self._unshown = bytearray()
        FORKS.add(self)

    @property
    def sent(self) -> int:
        """The bytes that were sent so far."""
        return self._sent

    def is_quiet(self) -> bool:
        """Return whether nothing has come for two heartbeats: it may be frozen."""
        return trio.current_time() - self._heard > 2 * self._heartbeat

    # The host.

    async def open(self) -> None:
        """Start the host. Raises :class:`BridgeError`, with blame ``"place"``."""
        await self.place.start()
        trio.lowlevel.spawn_system_task(self._run, name="lastgood's link to a host")
        await self._opened.wait()
        settings = {"beat": self._heartbeat, "silence": PARTITION}
        await self._send_raw(host_program())
        hello = await self._ask(messages.OPEN, json.dumps(settings).encode())
        self.home = hello["home"]

    async def ship(self, shipment: Shipment) -> tuple[Address, dict[str, str]]:
        """Send what the host lacks of a shipment. Return its address there, and the paths that LACKS has."""
        address = await in_thread(shipment.addressed, self.home)
        answer = await self._ask(messages.SHIP, address.message)
        for digest in answer["objects"]:
            body = await in_thread(_object, shipment, digest)
            await self.send(messages.OBJECT, body)
        return address, answer

    async def _ask(self, kind: int, body: bytes) -> Any:
        """Send a message, and return its answer. Raises :class:`BridgeError` if it is REFUSED, or if the place is lost."""
        self._answered = trio.Event()
        if not self._ended.is_set():
            await self.send(kind, body)
            await self._answered.wait()
        if self.lost:
            raise lost_place(f"The worker's place is lost: {self.lost}.")
        if isinstance(self._answer, messages.Problem):
            raise lost_place(f"{self.place}: {self._answer}")
        return self._answer

    async def send(self, kind: int, body: bytes) -> None:
        """Send a message."""
        await self._send_raw(messages.HEADER.pack(kind, len(body)) + body)

    async def _send_raw(self, data: bytes) -> None:
        async with self._sending:
            if self.lost:
                return
            self._sent += len(data)
            with trio.CancelScope() as self._blocked:
                await self.place.send(data)

    # The worker.

    def start_worker(self, settings: dict[str, Any], out: Output) -> int:
        """Have the host start the worker; ``settings`` is the body of START. Return the app's end of the pipe for its log records.

        Its output is written to ``out``, which has to be finished after :meth:`end`.
        """
        logs, self._logs = pipe()
        self._out = out
        for descriptor in (self._logs, out.write_end):
            os.set_blocking(descriptor, False)
        if self._nursery is not None:
            self._nursery.start_soon(self._forward, settings)
        else:
            self._close_logs()
        return logs

    def connect(self, take: Callable[[bytes], object], flush: Callable[[], object]) -> None:
        """Have ``take`` called with what the worker answers, and ``flush`` when :meth:`put` may take more."""
        self._take_answers, self._flush = take, flush

    def put(self, data: Sequence[bytes | memoryview]) -> int:
        """Take what is for the worker's requests; return how many bytes of it. What is for a worker that is gone is dropped."""
        if self.exited.is_set():
            return sum(map(len, data))
        room = _MAX_PENDING - self._pending_size
        taken = 0
        for each in data:
            piece = each[: max(room - taken, 0)]
            if piece:
                self._pending.append(bytes(piece))
                taken += len(piece)
        self._pending_size += taken
        self._has_pending.set()
        return taken

    async def _forward(self, settings: dict[str, Any]) -> None:
        await self.send(messages.START, json.dumps(settings).encode())
        while True:
            if not self._pending:
                self._has_pending = trio.Event()
                await self._has_pending.wait()
            pending, self._pending, self._pending_size = b"".join(self._pending), [], 0
            self._flush()
            await self.send(messages.REQUESTS, pending)

    def tell(self, kind: int, value: Any) -> None:
        """Send a message without waiting for that, unless the place is lost."""
        if self._nursery is not None:
            self._nursery.start_soon(self.send, kind, json.dumps(value).encode())

    async def end(self, patience: float = 0, grace: float = 0) -> None:
        """End the worker, then the host and its place. If cancelled, at once."""
        self._is_ending = True
        try:
            if self._nursery is not None and self.home and not self.lost:
                self.tell(messages.END, {"patience": patience, "grace": grace})
                with trio.move_on_after(patience + 2 * grace + _REMOVE):
                    await self.exited.wait()
                    await self._ended.wait()
        finally:
            with trio.CancelScope(shield=True):
                await self._remove()

    async def _remove(self) -> None:
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
        with trio.move_on_after(_REMOVE):
            await self.place.remove()
        self.exited.set()
        self._close_logs()

    # What comes.

    async def _run(self) -> None:
        reason = "it was removed"
        try:
            async with trio.open_nursery() as self._nursery:
                self._opened.set()
                self._nursery.start_soon(self._beat)
                self._nursery.start_soon(self._watch, self._nursery)
                reason = await self._listen()
                self._nursery.cancel_scope.cancel()
        finally:
            self._nursery = None
            self._lose(reason)
            self._answered.set()
            self._ended.set()

    async def _listen(self) -> str:
        """Take what comes until the host is gone; return why it is."""
        try:
            return await self.place.gone(self._receive)
        except messages.Problem as problem:
            return str(problem)
        except Exception as error:  # of a place of the user's
            logger.exception("gone() of %s raised; the place counts as lost", self.place)
            return f"{type(error).__name__}: {error}"

    async def _beat(self) -> None:
        while True:
            await trio.sleep(self._heartbeat)
            await self.send(messages.BEAT, b"")

    async def _watch(self, nursery: trio.Nursery) -> None:
        """Notice that the host is silent. Time before its first message, or in which this loop stood still, does not count."""
        self._heard = trio.current_time()
        step = self._lost_after / _CHECKS
        while True:
            before = trio.current_time()
            await trio.sleep(step)
            now = trio.current_time()
            self._heard += max(now - before - 2 * step, 0)
            if self._is_delivering or not self.home:
                self._heard = now
            if now - self._heard >= self._lost_after - step:
                self._lose(f"it has been silent for {self._lost_after:g} s")
                nursery.cancel_scope.cancel()

    def _lose(self, reason: str) -> None:
        if self.exited.is_set():
            return
        self.lost = f"{self.place}: {reason.rstrip('.')}"
        self._blocked.cancel()
        self._end_worker(None)
        if not self._is_ending:
            self.on_lost(self)

    async def _receive(self, chunk: bytes) -> None:
        self._heard = trio.current_time()
        self._is_delivering = True
        try:
            for kind, body in self._messages(chunk):
                await self._take(kind, body)
        except ValueError as error:
            raise messages.Problem(f"it has sent what no host sends: {error}") from None
        finally:
            self._is_delivering = False
            self._heard = trio.current_time()

    def _messages(self, chunk: bytes) -> list[tuple[int, bytes]]:
        """Return the messages that a chunk completes. What a shell prints as it starts comes before the host's greeting."""
        if self._greeting is None:
            return self._inbox.feed(chunk)
        self._greeting += chunk
        _, found, rest = self._greeting.partition(messages.GREETING)
        if not found:
            if len(self._greeting) > _MAX_GREETING:
                raise messages.Problem("it prints without end, and starts no host")
            return []
        self._greeting = None
        return self._inbox.feed(bytes(rest))

    async def _take(self, kind: int, body: bytes) -> None:
        if kind == messages.ANSWERS:
            self._take_answers(body)
        elif kind == messages.LOGS:
            await self._deliver(body)
        elif kind == messages.OUTPUT:
            self._show(body)
        elif kind == messages.STARTED:
            self.worker_pid = json.loads(body)["pid"]
        elif kind == messages.EXIT:
            self._end_worker(json.loads(body)["status"])
        elif kind == messages.REFUSED:
            self._refuse(json.loads(body)["problem"])
        elif kind in (messages.HELLO, messages.LACKS):
            self._answer = json.loads(body) if kind == messages.HELLO else messages.unpacked(body)
            self._answered.set()

    def _refuse(self, problem: str) -> None:
        if self._answered.is_set():  # nobody asks: it is about START, or about an object
            self._lose(problem)
        self._answer = messages.Problem(problem)
        self._answered.set()

    async def _deliver(self, records: bytes) -> None:
        rest = memoryview(records)
        while rest and self._logs >= 0:
            try:
                rest = rest[os.write(self._logs, rest) :]
            except BlockingIOError:
                try:
                    await trio.lowlevel.wait_writable(self._logs)
                except trio.ClosedResourceError:
                    return
            except BrokenPipeError:
                return

    def _show(self, data: bytes) -> None:
        """Write to the app's stderr. What does not fit waits; beyond a limit, it is dropped, so that answers are not held up."""
        waited = bool(self._unshown)
        self._unshown += data
        self._write_output()
        if len(self._unshown) > _MAX_OUTPUT:
            self._unshown[:] = b"\n[output of the worker was dropped: nobody reads it here]\n"
        if self._unshown and not waited and self._nursery is not None:
            self._nursery.start_soon(self._show_rest)

    def _write_output(self) -> None:
        if self._out is None or self._out.write_end < 0:
            self._unshown.clear()
            return
        try:
            del self._unshown[: os.write(self._out.write_end, self._unshown)]
        except BlockingIOError:
            return

    async def _show_rest(self) -> None:
        while self._unshown and self._out is not None and self._out.write_end >= 0:
            await trio.lowlevel.wait_writable(self._out.write_end)
            self._write_output()

    def _end_worker(self, status: int | None) -> None:
        """Note the exit of the worker: its pipes end."""
        self.status = status
        self._write_output()
        self.exited.set()
        self._close_logs()

    def _close_logs(self) -> None:
        if self._logs >= 0:
            descriptor, self._logs = self._logs, -1
            trio.lowlevel.notify_closing(descriptor)
            os.close(descriptor)

    def leave_to_parent(self) -> list[int]:
        """See :class:`~lastgood.children.forks.Owner`."""
        return [self._logs]


def _object(shipment: Shipment, digest: str) -> bytes:
    data = shipment.read(digest)
    return digest.encode() + zlib.compress(data, 0 if len(data) >= _LARGE else 6)
