"""The worker: reads calls, runs them one after the other, answers.

Threads, and what each does:

- The *reader* takes frames from the app and puts calls into a queue. It never runs the user's code, so it hears at once
  that nobody waits for a call any more, or that the app has gone.
- The *main thread* imports the modules and runs the calls. It has the *turn*.
- When the call that is running is forgotten (it timed out, or its caller was cancelled), nobody knows when it will end,
  so the turn goes to a *substitute* thread. When the main thread gets free again, it asks for the turn back, and gets it
  between two calls. Calls that somebody waits for thus run one at a time.
- ``async def`` functions run together on the event loop of asyncs.py.

Threads cannot be ended from outside, so forgotten calls that go on are counted; past MAX_FORGOTTEN calls are refused until
one of them ends.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from functools import partial
from queue import Empty, SimpleQueue
from types import CoroutineType

from . import frames, packing
from .calling import Callables, Refused
from .values import Uncarriable, Values

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from .asyncs import Loops

__all__ = ["MAX_FORGOTTEN", "pack_raised", "pack_result", "run"]

MAX_FORGOTTEN = 32
_READ = 1 << 16
_LARGE_READ = 1 << 20
_EXIT_GRACE = 1.0

VALUES = Values(packing.pack, packing.unpacker, packing.Ext, towards="from the worker")


class _Turn:
    """A thread's right to take calls from the queue, and the call that it runs (None: none)."""

    __slots__ = ("over", "running")

    def __init__(self) -> None:
        self.running: int | None = None
        self.over = False


class Worker:
    """The calls of one worker. ``answers`` is the descriptor to write to."""

    def __init__(self, answers: int) -> None:
        self._answers = answers
        self._pid = os.getpid()
        self._writing = threading.Lock()
        self._lock = threading.Lock()  # guards everything below
        self._calls: SimpleQueue[tuple[int, bytes] | None] = SimpleQueue()
        self._turn: _Turn | None = _Turn()  # None: every thread we may have is in a forgotten call
        self._open: set[int] = set()  # came, and not answered yet
        self._forgotten: set[int] = set()  # of those: nobody waits for them
        self._adrift = 0  # threads in a forgotten call
        self._main_waits = False  # the main thread is free, and a substitute has the turn
        self._main_gate = threading.Semaphore(0)
        self._callables = Callables({}, {})
        self._loops: Loops | None = None
        self._closing = False

    # The main thread.

    def prepare(self, number: int, setup: bytes) -> bool:
        """Import the modules, answer, and tell whether all is well."""
        from .importing import install
        from .manifest import Damaged

        told = VALUES.loads(setup)
        try:
            install(told["import_path"], told["pinned"], self._report)
        except Damaged as damaged:
            self._answer(number, *_refused(f"The pinned generation cannot be run. {damaged}"))
            return False
        modules = {}
        try:
            for name in told["modules"]:
                __import__(name)
                modules[name] = sys.modules[name]
        except BaseException as error:
            self._answer(number, *pack_raised(error))
            return False
        self._callables = Callables(modules, told["modules"])
        self._answer(number, frames.RESULT, VALUES.dumps(list(sys.version_info[:3])))
        return True

    def serve(self) -> None:
        """Run calls until the app has gone."""
        turn = self._turn
        while turn is not None and not self._closing:
            self._take_calls(turn)
            turn = self._await_turn()

    def _await_turn(self) -> _Turn | None:
        with self._lock:
            if self._closing:
                return None
            if self._turn is None:
                self._turn = _Turn()
                return self._turn
            self._main_waits = True
        self._calls.put((0, b""))  # wakes a substitute that has nothing to do
        self._main_gate.acquire()
        return self._turn

    # Whichever thread has the turn.

    def _substitute(self, turn: _Turn | None) -> None:
        while turn is not None:
            self._take_calls(turn)
            with self._lock:
                turn = None
                if self._turn is None and not self._closing:  # all the others are in forgotten calls
                    turn = self._turn = _Turn()

    def _take_calls(self, turn: _Turn) -> None:
        """Run calls until the turn is over, or the app has gone."""
        while not turn.over:
            call = self._calls.get()
            if call is None:
                with self._lock:
                    self._closing = True
                    self._offer_turn(turn)
                return
            number, body = call
            if number:
                self._run(turn, number, body)
            if self._main_waits:
                with self._lock:
                    self._offer_turn(turn)

    def _offer_turn(self, turn: _Turn) -> None:
        if self._main_waits and not turn.over:
            turn.over = True
            self._pass_to_main()

    def _pass_to_main(self) -> None:
        self._main_waits = False
        self._turn = _Turn()
        self._main_gate.release()

    def _run(self, turn: _Turn, number: int, body: bytes) -> None:
        with self._lock:
            turn.running = number
            wanted = number not in self._forgotten
        outcome = self._perform(number, body) if wanted else (frames.FORGOTTEN, b"")
        with self._lock:
            turn.running = None
            if turn.over:
                self._adrift -= 1
        if outcome is not None:
            self._answer(number, *outcome)

    def _perform(self, number: int, body: bytes) -> tuple[int, bytes] | None:
        """The answer to a call; None if it will come from an event loop."""
        try:
            (length,) = frames.TARGET_LENGTH.unpack_from(body)
            end = frames.TARGET_LENGTH.size + length
            tagged = VALUES.last_tagged
            args, kwargs = VALUES.loads(body[end:])
        except (ValueError, TypeError, frames.StructError) as error:
            return _refused(f"The worker cannot read the arguments of the call: {error}.")
        try:
            function = self._callables.find(body[end - length : end])
            if VALUES.last_tagged is not tagged:
                from .arguments import typed

                args, kwargs = typed(function, args, kwargs)
            result = function(*args, **kwargs)
        except Refused as refused:
            return _refused(str(refused))
        except BaseException as error:  # also SystemExit: a call may not end the worker
            return pack_raised(error)
        if type(result) is CoroutineType:
            return self._start(number, result)
        return pack_result(result)

    def _start(self, number: int, coroutine: CoroutineType[Any, Any, Any]) -> tuple[int, bytes] | None:
        if self._loops is None:
            from .asyncs import Loops

            self._loops = Loops(self._answer)
        if not self._loops.start(number, coroutine):
            return _refused(f"The worker is busy with {MAX_FORGOTTEN} event loops that are stuck in forgotten calls.")
        with self._lock:
            forgotten = number in self._forgotten
        if forgotten:
            self._loops.cancel(number)
        return None

    # Any thread.

    def _answer(self, number: int, kind: int, body: bytes) -> None:
        with self._lock:
            self._open.discard(number)
            if number in self._forgotten:
                self._forgotten.discard(number)
                kind, body = frames.FORGOTTEN, b""
        if len(body) > frames.MAX_BODY:
            kind, body = _refused(f"The result takes {len(body)} bytes; no more than {frames.MAX_BODY} can cross.")
        self._send(kind, number, body)

    def _report(self, name: str, path: str, digest: str) -> None:
        if os.getpid() == self._pid:  # a forked child has no app
            self._send(frames.LOADED, 0, VALUES.dumps([name, path, digest]))

    def _send(self, kind: int, number: int, body: bytes) -> None:
        frame = frames.HEADER.pack(len(body), kind, number) + body
        with self._writing:
            try:
                sent = os.write(self._answers, frame)
                if sent < len(frame):
                    rest = memoryview(frame)[sent:]
                    while rest:
                        rest = rest[os.write(self._answers, rest) :]
            except OSError:
                pass  # the app has gone; the reader notices

    # The reader.

    def read(self, requests: int) -> NoReturn:
        """Take frames until the app has gone; then see to it that this process goes too."""
        inbox, size = frames.Inbox(), _READ
        try:
            while chunk := os.read(requests, size):
                size = _LARGE_READ if len(chunk) == size else _READ
                for kind, number, body in inbox.feed(chunk):
                    if kind == frames.CALL:
                        self._enqueue(number, body)
                    elif kind == frames.FORGET:
                        self._forget(number)
        except (OSError, frames.FrameError) as error:
            print(f"lastgood's worker cannot read from its app: {error}", file=sys.stderr)
        self._calls.put(None)
        time.sleep(_EXIT_GRACE)
        os._exit(1)

    def _enqueue(self, number: int, body: bytes) -> None:
        with self._lock:
            self._open.add(number)
            saturated = self._turn is None
        if saturated:
            self._refuse_busy(number)
        else:
            self._calls.put((number, body))

    def _forget(self, number: int) -> None:
        """Nobody waits for this call any more. What it still does must hold up no other."""
        with self._lock:
            if number not in self._open:
                return  # its answer is on the way already
            self._forgotten.add(number)
            turn = self._turn
            running = turn is not None and turn.running == number
            if running:
                assert turn is not None
                turn.over = True
                self._adrift += 1
                self._turn = None
                if self._main_waits:
                    self._pass_to_main()
                elif self._adrift < MAX_FORGOTTEN:
                    self._turn = _Turn()
                    threading.Thread(
                        target=self._substitute, args=(self._turn,), name="lastgood-substitute", daemon=True
                    ).start()
            saturated = self._turn is None
        if not running and self._loops is not None:
            self._loops.cancel(number)
        while saturated:
            try:
                call = self._calls.get_nowait()
            except Empty:
                break
            if call is not None and call[0]:
                self._refuse_busy(call[0])

    def _refuse_busy(self, number: int) -> None:
        self._answer(
            number,
            *_refused(
                f"The worker is busy with {MAX_FORGOTTEN} calls that timed out or were cancelled and still run. "
                "Dispose the bridge, or wait for them to end."
            ),
        )


def pack_result(result: Any) -> tuple[int, bytes]:
    """The answer of a function that returned ``result``."""
    try:
        return frames.RESULT, VALUES.dumps(result)
    except Uncarriable as error:
        return _refused(error.text("result"))
    except Exception as error:  # a property of the user's that raises while its value is read
        return pack_raised(error)


def pack_raised(error: BaseException) -> tuple[int, bytes]:
    """The answer of a function that raised ``error``."""
    from .failures import describe

    return frames.RAISED, VALUES.dumps(describe(error))


def _refused(text: str) -> tuple[int, bytes]:
    return frames.REFUSED, VALUES.dumps(text)


def run(requests: int, answers: int, parent: int) -> None:
    """Be a worker on these two descriptors until the app, process ``parent``, has gone."""
    _die_with(parent)
    for descriptor in (requests, answers):
        os.set_inheritable(descriptor, False)
        os.register_at_fork(after_in_child=partial(os.close, descriptor))
    header = _read_exactly(requests, frames.HEADER.size)
    length, kind, number = frames.HEADER.unpack(header)
    if kind != frames.SETUP or length > frames.MAX_BODY:
        sys.exit("lastgood's worker was started by something that is not its app.")
    setup = _read_exactly(requests, length)
    worker = Worker(answers)
    threading.Thread(target=worker.read, args=(requests,), name="lastgood-reader", daemon=True).start()
    if worker.prepare(number, setup):
        worker.serve()


def _read_exactly(descriptor: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = os.read(descriptor, size - len(data))
        if not chunk:
            sys.exit(0)  # the app has gone already
        data += chunk
    return bytes(data)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends, however it ends (Linux)."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig, sigkill = 1, 9
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, sigkill, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it died before we could ask
