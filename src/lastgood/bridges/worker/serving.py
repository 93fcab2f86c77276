"""The worker: read calls from the app, run them one after the other, send the answers.

Threads and their tasks:

- The *main thread* imports the modules, reads calls and runs them. Handing each call over from a reader thread would double
  the cost of a call.
- The *watcher* checks every two milliseconds whether the main thread is still in the same call. If so, the watcher takes over
  reading, so that a cancelled call or the end of the app is noticed at once. It passes the next call to the main thread and
  gives reading back with it. While nothing happens, it sleeps.
- A thread may run calls while it has a *run slot*. The number of slots is ``threads`` (default 1). With more than one, the
  watcher always reads, and *helper* threads have the other slots.
- When a running call is forgotten (it timed out, or its caller was cancelled), it is interrupted (interrupts.py), and its
  thread loses its slot to a *substitute* thread, since it may not heed that. Once the main thread is free again, it gets a slot
  back, between two calls of a substitute.
- ``async def`` functions run together on the event loop of asyncs.py.
- A *stream* takes a turn among the calls for each item (streams.py). While one is open, the watcher reads: the app's requests
  for items must not wait for the main thread.

Whatever thread or loop a call runs in, it begins with a copy of the context that the imports left (contexts.py).

Forgotten calls that run on all the same are counted. At MAX_FORGOTTEN of them, new calls are refused until one of them ends.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from types import CoroutineType

from . import frames
from .ahead import Ahead
from .calling import Callables, Refused
from .contexts import CONTEXTS
from .interrupts import SHIELD, Interrupted, RunSlot
from .local_modules import LocalModules
from .logs import LogPipe
from .performing import VALUES, import_modules, pack_raised, pack_refused, pack_result, run_call, run_question
from .server import Server, missing_backend, pack_unstarted
from .values.codec import CODEC, Lending

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from .asyncs import Loops
    from .streams import Stream, Streams

__all__ = ["MAX_FORGOTTEN", "Worker"]

MAX_FORGOTTEN = 32
_READ = 1 << 12
_LARGE_READ = 1 << 20
_MIN_GRACE = 1.0  # seconds; with grace = 0 the app kills the worker at once
_CHECK_INTERVAL = 0.002  # seconds between two checks of the watcher
_IDLE_CHECKS = 25
_PATIENCE = 0.05  # seconds for an interrupted call to end before others go on elsewhere: only the main thread's waits can be ended
_WARM_UP_CALLS = 200  # after this many calls, an idle moment is also used for CODEC.decide()

_FORGOTTEN = frames.FORGOTTEN, b""


class _Opening(bytes):
    """The body of a STREAM frame, which is that of a CALL."""


class _Question(bytes):
    """The body of an INTERFACE frame."""


class Worker:
    """The calls of one worker: read from the descriptor ``requests``, answered on ``answers``."""

    def __init__(self, requests: int, answers: int, logs: LogPipe | None = None) -> None:
        self._requests = requests
        self._answers = answers
        self._logs = logs or LogPipe()
        self._inbox = frames.Inbox()
        self._read_size = _READ
        self._writing = threading.Lock()
        # Calls by their numbers. Number 0 is a stream that waits for a turn, or wakes a thread.
        self._calls: SimpleQueue[tuple[int, bytes | Stream] | None] = SimpleQueue()
        self._callables = Callables({}, {})
        self._loops: Loops | None = None
        self._streams: Streams | None = None
        self._threads = 1
        self._grace = _MIN_GRACE
        self._backend = "asyncio"
        self._own = frozenset(sys.modules)  # the modules of a worker before it imports the user's
        self._ahead: Ahead | None = None
        self._server: Server | None = None
        self._modules = LocalModules(self._send)
        self._calls_begun = 0  # counts calls; the watcher compares
        self._alarm = threading.Semaphore(0)
        self._lock = threading.Lock()  # guards everything below
        self._dormant = False  # the watcher waits for the alarm
        self._main_reads = False
        self._main_idles = False  # the main thread waits for a call that the watcher reads
        self._main_waits = False  # the main thread waits for a slot
        self._main_gate = threading.Semaphore(0)
        self._main_is_back = threading.Event()  # set when the main thread begins to wait for a slot
        self._main_slot: RunSlot | None = None
        self._slots = 0  # slots in use, at most ``threads``; 0: every thread is in a forgotten call
        self._runs: dict[int, RunSlot] = {}
        self._open: set[int] = set()  # received, not yet answered
        self._forgotten: set[int] = set()  # those of the open calls that nobody waits for
        self._lent: dict[int, list[int]] = {}  # call number -> arena blocks of its answer, until the app has read it
        self._stuck = 0  # threads in a forgotten call
        self._closing = False

    # The main thread.

    def prepare(self, number: int, setup: bytes, bare: Collection[str] = ()) -> bool:
        """Import the modules and send the answer; return whether that succeeded."""
        from .importing import loaded_elsewhere

        ahead = self._ahead
        settings = VALUES.loads(setup)
        self._threads, self._backend = settings["threads"], settings["async_backend"]
        self._grace = max(settings["grace"], _MIN_GRACE)
        self._logs.adopt(settings["log_levels"])
        missing = missing_backend(self._backend)
        if missing is not None:
            self._answer(number, *pack_refused(missing))
            return False
        try:
            self._server = Server(settings["server"]) if "server" in settings else None
            self._modules.install(settings, bare, ahead)
        except Exception as error:
            self._answer(number, *pack_unstarted(error, {}))
            return False
        try:
            if self._server is not None:
                self._server.configure()
            modules = import_modules(settings["modules"])
            raised = None
        except BaseException as error:
            raised = error
        if ahead is not None:
            ahead.finish(raised)
            number, settings = ahead.number, ahead.setup
        if raised is None:
            self._logs.imports_are_done()
            CONTEXTS.keep()
            CODEC.check_loaded()
            raised = self._modules.broken_edit(settings.get("edited", ()))
        if raised is None and self._server is not None:
            raised = self._server.begin()
        if raised is not None:
            self._answer(number, *pack_unstarted(raised, self._modules.hidden()))
            return False
        self._callables = Callables(modules, settings["modules"])
        loaded = loaded_elsewhere(self._own) if settings["pinned"] else []
        self._answer(number, frames.RESULT, VALUES.dumps(loaded))
        return True

    def run_ahead(self, number: int, setup: bytes) -> None:
        """Have :meth:`prepare` run ahead of a SETUP. ``number`` and ``setup``: those of an AHEAD frame."""
        settings = VALUES.loads(setup)
        self._ahead = Ahead(
            settings["focus"],
            settings["later"],
            waits=lambda where: self._answer(number, frames.RESULT, VALUES.dumps(where)),
            taken=self._note_taken,
            refused=lambda offer, why: self._answer(offer, frames.UNFIT, VALUES.dumps(why)),
        )
        self._modules.hold()
        self._logs.hold()

    def _note_taken(self, number: int) -> None:
        self._send(frames.TAKEN, number, b"")
        self._modules.release()
        self._logs.release()

    def serve(self) -> None:
        """Run calls, or a server, until the app has gone."""
        if self._server is not None:
            self._server.run()
            return
        with self._lock:
            self._main_slot = self._new_slot()
            for _ in range(self._threads - 1):
                self._start_thread("lastgood-helper")
        while self._main_slot is not None and not self._closing:
            self._take_calls(self._main_slot, is_main=True)
            self._main_slot = self._await_slot()
        if self._streams is not None:
            self._streams.close_all(self._grace)

    def _await_slot(self) -> RunSlot | None:
        with self._lock:
            if self._closing:
                return None
            if self._slots < self._threads:
                return self._new_slot()
            self._main_waits = True
            self._main_is_back.set()
        self._calls.put((0, b""))  # wakes a substitute that has nothing to do
        self._main_gate.acquire()
        return self._main_slot

    def _read_or_wait(self) -> tuple[int, bytes | Stream] | None:
        """Return the next call for the main thread, which reads it itself if it may; None when the app has gone."""
        calls = self._calls
        while calls.empty():
            with self._lock:
                if not self._main_reads:
                    self._main_idles = True
                    break
            received = self._read()
            if received is None:
                return None
            if len(received) == 1:
                return received[0]
            self._enqueue(received)
        return calls.get()

    # The thread that has the slot.

    def _new_slot(self) -> RunSlot:
        self._slots += 1
        return RunSlot(self._lock)

    def _start_thread(self, name: str, patience: float = 0) -> None:
        work = self._substitute, self._new_slot(), patience
        threading.Thread(target=CONTEXTS.run, args=work, name=name, daemon=True).start()

    def _substitute(self, slot: RunSlot | None, patience: float) -> None:
        if patience:
            self._main_is_back.wait(patience)
        while slot is not None:
            self._take_calls(slot, is_main=False)
            with self._lock:
                # Are others still in forgotten calls?
                slot = self._new_slot() if self._slots < self._threads and not self._closing else None

    def _take_calls(self, slot: RunSlot, *, is_main: bool) -> None:
        """Run calls until the slot is taken away or the app has gone."""
        take = self._read_or_wait if is_main else self._calls.get
        SHIELD.bind(slot)
        while not slot.revoked:
            if self._main_waits and not is_main:
                with self._lock:
                    self._offer_slot(slot)
                continue
            call = take()
            if call is None:
                self._close(slot)
                return
            number, body = call
            if number:
                self._run(slot, number, body)  # type: ignore[arg-type]  # a call has bytes
            elif body:
                self._take_turn(slot, body)  # type: ignore[arg-type]  # it is a stream

    def _close(self, slot: RunSlot) -> None:
        """End this thread's loop, and wake the others so that they end too: the app has gone."""
        self._calls.put(None)  # for the next thread that has a slot
        with self._lock:
            self._closing = True
            self._offer_slot(slot)
        self._alarm.release()

    def _offer_slot(self, slot: RunSlot) -> None:
        if self._main_waits and not slot.revoked:
            slot.revoked = True
            self._slots -= 1
            self._pass_to_main()

    def _pass_to_main(self) -> None:
        self._main_waits = False
        self._main_slot = self._new_slot()
        self._main_gate.release()

    def _run(self, slot: RunSlot, number: int, body: bytes) -> None:
        try:
            with self._lock:
                slot.running = number
                self._runs[number] = slot
                wanted = slot.exposed = number not in self._forgotten
                self._calls_begun += 1
                if self._dormant:
                    self._dormant = False
                    self._alarm.release()
            if wanted and self._streams is not None and self._streams.any_open():
                with SHIELD:
                    self._send(frames.BEGAN, number, b"")
            outcome = CONTEXTS.fresh().run(self._perform, slot, number, body) if wanted else _FORGOTTEN
        except Interrupted:  # before the function began, or after it ended
            outcome = _FORGOTTEN
        with self._lock:
            slot.running = None
            del self._runs[number]
            if slot.revoked:
                self._stuck -= 1
            if outcome is not None:
                outcome = self._settle(number, outcome)
        if outcome is not None:
            self._send(outcome[0], number, outcome[1])

    def _perform(self, slot: RunSlot, number: int, body: bytes) -> tuple[int, bytes] | None:
        """Run a call and return its answer; None if the answer will come from an event loop."""
        try:
            try:
                run = run_call if type(body) is not _Question else run_question
                result, requested = run(self._callables, body)
            finally:
                slot.cover()
        except Refused as refused:
            return pack_refused(str(refused))
        except BaseException as error:  # including SystemExit: a call must not end the worker
            return pack_raised(error)
        if type(body) is _Opening:
            return self._open_stream(number, result, requested)
        if type(result) is CoroutineType:
            return self._start(number, result, partial(pack_result, requested=requested))
        return pack_result(result, requested)

    def _start(
        self, number: int, coroutine: Coroutine[Any, Any, Any], pack: Callable[[Any], tuple[int, bytes]]
    ) -> tuple[int, bytes] | None:
        self._send(frames.APART, number, b"")  # must be sent before the call's answer
        return self._start_apart(number, coroutine, pack)

    def _start_apart(
        self, number: int, coroutine: Coroutine[Any, Any, Any], pack: Callable[[Any], tuple[int, bytes]]
    ) -> tuple[int, bytes] | None:
        try:
            with self._lock:
                if self._loops is None:
                    from .asyncs import Loops

                    self._loops = Loops(self._backend, self._finish_on_loop)
            started = self._loops.start(number, coroutine, pack)
        except Exception as error:
            coroutine.close()
            return pack_refused(f"The worker cannot start an event loop: {error}.")
        if not started:
            return pack_refused(
                f"The worker is busy with {MAX_FORGOTTEN} event loops that are stuck in forgotten calls."
            )
        if number in self._forgotten:  # since before it could be cancelled
            self._loops.cancel(number)
        return None

    # Streams.

    def _open_stream(self, number: int, result: Any, requested: Sequence[Any]) -> tuple[int, bytes] | None:
        """Begin a stream over ``result``. Return an answer if there will be no items."""
        streams = self._make_streams()
        answer = streams.begin(number, result, requested, self._backend, self._send, self._start_apart)
        with self._lock:
            self._main_reads = self._main_reads and not streams.any_open()
        self._alarm.release()  # the watcher reads from now on, while the stream is open
        return answer

    def _make_streams(self) -> Streams:
        from .streams import Streams

        with self._lock:
            if self._streams is None:
                self._streams = Streams(self._answer, self._enqueue_stream, self._cancel, self._forgotten.__contains__)
            return self._streams

    def _enqueue_stream(self, stream: Stream) -> None:
        self._calls.put((0, stream))

    def _cancel(self, number: int, unless: Callable[[], bool] = bool) -> None:
        if self._loops is not None:
            self._loops.cancel(number, unless)

    def _take_turn(self, slot: RunSlot, stream: Stream) -> None:
        """Have a stream make items in this thread, until others wait for it."""
        streams = self._make_streams()
        with self._lock:
            slot.running = stream.number
            stream.slot = slot
            self._calls_begun += 1
        streams.advance(
            stream, slot, lambda: slot.revoked or self._main_waits or self._closing or not self._calls.empty()
        )
        with self._lock:
            slot.running = stream.slot = None
            if slot.revoked:
                self._stuck -= 1
        streams.rest(stream)

    def _finish_on_loop(self, number: int, kind: int, body: bytes) -> None:
        if self._streams is None or not self._streams.finished(number, (kind, body)):
            self._answer(number, kind, body)

    def _forget_stream(self, request: int) -> Stream | None:
        """Close the stream of this request; return it, or None if it is not one's."""
        stream = None if self._streams is None else self._streams.forget(request)
        if stream is not None:
            self._answer(request, *_FORGOTTEN)
        return stream

    # Any thread.

    def _answer(self, number: int, kind: int, body: bytes) -> None:
        with self._lock:
            kind, body = self._settle(number, (kind, body))
        self._send(kind, number, body)

    def _settle(self, number: int, outcome: tuple[int, bytes]) -> tuple[int, bytes]:
        """Close the call and return the answer to send: ``outcome``, or a replacement if it is unwanted or too large."""
        self._open.discard(number)
        if type(outcome[1]) is Lending:
            self._lent[number] = outcome[1].blocks
        if self._forgotten and number in self._forgotten:
            self._forgotten.discard(number)
            self._reclaim(number)
            return _FORGOTTEN
        if len(outcome[1]) > frames.MAX_BODY:
            self._reclaim(number)
            return pack_refused(f"The result takes {len(outcome[1])} bytes; no more than {frames.MAX_BODY} can cross.")
        return outcome

    def _reclaim(self, number: int) -> None:
        blocks = self._lent.pop(number, None)
        if blocks:
            CODEC.outgoing.reclaim(blocks)

    def _send(self, kind: int, number: int, body: bytes) -> None:
        head = frames.HEADER.pack(len(body), kind, number)
        with self._writing:
            if self._logs.unannounced:
                head = self._logs.announcement() + head
            try:
                if len(body) < _READ:
                    self._write(head + body)
                else:  # two writes rather than copying a large body to prepend 13 bytes
                    self._write(head)
                    self._write(body)
            except OSError:
                pass  # the app has gone; the reading thread notices

    def _write(self, data: bytes) -> None:
        sent = os.write(self._answers, data)
        if sent < len(data):
            rest = memoryview(data)[sent:]
            while rest:
                rest = rest[os.write(self._answers, rest) :]

    # The thread that reads.

    def _read(self) -> list[tuple[int, bytes]] | None:
        """Read and handle the next frames; return the calls among them, None when the app has gone."""
        received = []
        try:
            chunk = os.read(self._requests, self._read_size)
            self._read_size = _LARGE_READ if len(chunk) >= _READ else _READ
            for kind, number, body in self._inbox.feed(chunk):
                if kind == frames.CALL:
                    self._open.add(number)
                    received.append((number, body))
                elif kind == frames.FORGET:
                    self._forget(number)
                elif kind == frames.SETUP and self._ahead is not None:
                    self._ahead.offer(number, body)
                elif kind == frames.READ:
                    self._reclaim(number)
                elif kind == frames.PIN:
                    self._modules.pin(body)
                elif kind == frames.LEVELS:
                    self._logs.set_levels(body)
                elif kind == frames.SERVE and self._server is not None:
                    if number:
                        self._open_request(number)
                    self._server.command(body, partial(self._answer, number, frames.RESULT, b"") if number else bool)
                elif kind == frames.STREAM:
                    self._open_request(number)
                    received.append((number, _Opening(body)))
                elif kind == frames.INTERFACE:
                    self._open.add(number)
                    received.append((number, _Question(body)))
                elif kind in (frames.TAKE, frames.CLOSE):
                    self._open_request(number)
                    self._make_streams().request(kind, number, body)
        except (OSError, frames.FrameError, frames.StructError) as error:
            print(f"lastgood's worker cannot read from its app: {error}", file=sys.stderr)
            return None
        return received if chunk else None

    def _open_request(self, number: int) -> None:
        if number in self._open:
            raise frames.FrameError(f"a second request with the number {number}")
        self._open.add(number)

    def _enqueue(self, received: list[tuple[int, bytes]]) -> None:
        with self._lock:
            saturated = self._slots == 0 and self._stuck > 0
            if not saturated:
                if self._main_idles:
                    # Give reading back to the main thread only with these calls: a reader must have seen all earlier frames.
                    self._main_idles = False
                    self._main_reads = self._threads == 1 and (self._streams is None or not self._streams.any_open())
                for call in received:
                    self._calls.put(call)
        if saturated:
            for number, _ in received:
                self._refuse_busy(number)

    def _forget(self, number: int) -> None:
        """Interrupt or cancel a call that nobody waits for any more, and let no other call wait for it."""
        with self._lock:
            if number not in self._open:
                return  # its answer was sent already
            self._forgotten.add(number)
        stream = self._forget_stream(number)
        with self._lock:
            slot = self._runs.get(number) if stream is None else stream.slot
            if slot is not None and not slot.revoked:
                slot.revoked = True
                slot.interrupt()
                self._slots -= 1
                self._stuck += 1
                if self._main_waits:
                    self._pass_to_main()
                elif self._stuck < MAX_FORGOTTEN:
                    self._main_is_back.clear()
                    self._start_thread("lastgood-substitute", _PATIENCE if slot is self._main_slot else 0)
            saturated = self._slots == 0
        if stream is None:  # else it has been cancelled
            self._cancel(number)
        streams = []
        while saturated:
            try:
                call = self._calls.get_nowait()
            except Empty:
                break
            if call is not None and call[0]:
                self._refuse_busy(call[0])
            elif call is not None and call[1]:
                streams.append(call)
        for waiting in streams:  # a thread that comes back goes on with them
            self._calls.put(waiting)

    def _refuse_busy(self, number: int) -> None:
        self._answer(
            number,
            *pack_refused(
                f"The worker is busy with {MAX_FORGOTTEN} calls that timed out or were cancelled and still run. "
                "Dispose the bridge, or wait for them to end."
            ),
        )

    # The watcher.

    def watch(self) -> NoReturn:
        """Read while the main thread imports or runs a long call. When the app has gone, make sure that this process exits."""
        while not self._closing:
            if self._main_reads:
                self._watch_the_main_thread()
            else:
                received = self._read()
                if received is None:
                    break
                if received:
                    self._enqueue(received)
        if self._ahead is not None and self._ahead.active:
            os._exit(0)  # without exit handlers: nobody knows what it has run
        if self._server is not None:
            self._server.end()
        self._calls.put(None)
        # Twice the app's own grace (before SIGTERM, before SIGKILL), for when the app is no longer there to send them.
        time.sleep(2 * self._grace)
        os._exit(1)

    def _watch_the_main_thread(self) -> None:
        seen, idle = self._calls_begun, 0
        while not self._closing:
            if idle == _IDLE_CHECKS:
                if self._calls_begun > _WARM_UP_CALLS:
                    CODEC.decide()
                with self._lock:
                    self._dormant = not self._main_runs()
                if self._dormant:
                    self._alarm.acquire()
                idle = 0
            self._alarm.acquire(timeout=_CHECK_INTERVAL)
            if not self._main_reads:
                return
            if self._calls_begun != seen:
                seen, idle = self._calls_begun, 0
            elif not self._main_runs():
                idle += 1
            else:
                with self._lock:
                    if self._calls_begun == seen and self._main_runs():
                        self._main_reads = False
                        return

    def _main_runs(self) -> bool:
        return self._main_slot is not None and self._main_slot.running is not None
