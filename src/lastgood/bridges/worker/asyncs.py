"""Calls of ``async def`` functions: they run together on an event loop of asyncio or trio, in its own thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial

from . import frames
from .contexts import CONTEXTS
from .performing import pack_raised, pack_refused
from .serving import MAX_FORGOTTEN

TYPE_CHECKING = False  # typing's own costs a starting worker 9 ms
if TYPE_CHECKING:
    import asyncio
    from typing import Any

    Outcome = tuple[int, bytes]
    Finish = Callable[[Outcome], None]
    Pack = Callable[[Any], Outcome]

__all__ = ["Loops"]

_RESPONSE = 0.2  # seconds within which a loop must run a callback
_FORGOTTEN = frames.FORGOTTEN, b""
_ENDED = "The event loop of the worker has ended while the call ran."


class _LoopThread:
    """An event loop and its thread. ``call_soon`` schedules a function on it; ``spawn`` and ``cancel`` must run on it.

    ``on_end`` is called with this object when the loop has ended, which only a user's function can bring about.

    ``spawn`` starts a task in ``context``, so the coroutine sees the context variables that a plain function set before.
    """

    def __init__(self, name: str, on_end: Callable[[_LoopThread], None]) -> None:
        self.ended = False
        self._on_end = on_end
        self.cancelled: set[int] = set()  # calls that were cancelled and have not ended
        self._turned = threading.Event()  # set by the loop in answer to the last responds()
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        threading.Thread(target=CONTEXTS.run, args=(self._start,), name=name, daemon=True).start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def _start(self) -> None:
        try:
            self._run()
        except BaseException as error:
            if self._ready.is_set():
                raise
            self._failure = error  # for example too many open files
            self._ready.set()
        finally:
            self.ended = True
            self._on_end(self)

    def _run(self) -> None:
        raise NotImplementedError

    def call_soon(self, function: Callable[..., None], *args: Any) -> None:
        raise NotImplementedError

    def spawn(
        self, number: int, context: Context, coroutine: Coroutine[Any, Any, Any], pack: Pack, finish: Finish
    ) -> None:
        raise NotImplementedError

    def cancel(self, number: int) -> None:
        raise NotImplementedError

    def post(self, function: Callable[..., None], *args: Any) -> bool:
        """Do as ``call_soon`` does. Return False if the loop has ended, and will not run ``function``."""
        if self.ended:
            return False
        try:
            self.call_soon(function, *args)
        except RuntimeError:
            self.ended = True
            return False
        return True  # even if it has ended since: what it did not run is answered in Loops._ended

    def responds(self) -> bool:
        """Return whether the loop still runs callbacks, rather than being blocked by a forgotten call."""
        self._turned = threading.Event()
        return self.post(self._turned.set) and self._turned.wait(_RESPONSE)

    def has_recovered(self) -> bool:
        """Return whether the loop, which did not respond in time, has done so since, and still does."""
        return self._turned.is_set() and self.responds()


class _Asyncio(_LoopThread):
    def __init__(self, on_end: Callable[[_LoopThread], None]) -> None:
        self._tasks: dict[int, asyncio.Task[Outcome]] = {}
        super().__init__("lastgood-asyncio", on_end)

    def _run(self) -> None:
        import asyncio

        self._loop = asyncio.new_event_loop()
        self._ready.set()
        while not self._loop.is_closed():
            # A user's stop() ends it, and so does a task that exits; the other calls still have to be answered.
            with suppress(SystemExit, KeyboardInterrupt):
                self._loop.run_forever()

    def call_soon(self, function: Callable[..., None], *args: Any) -> None:
        self._loop.call_soon_threadsafe(function, *args)

    def spawn(
        self, number: int, context: Context, coroutine: Coroutine[Any, Any, Any], pack: Pack, finish: Finish
    ) -> None:
        CONTEXTS.enter_thread()
        task = self._tasks[number] = context.run(self._loop.create_task, _outcome(coroutine, pack))
        task.add_done_callback(partial(self._end, number, coroutine, finish))

    def _end(
        self, number: int, coroutine: Coroutine[Any, Any, Any], finish: Finish, task: asyncio.Task[Outcome]
    ) -> None:
        coroutine.close()  # it may have been cancelled before its first step
        del self._tasks[number]
        finish(_FORGOTTEN if task.cancelled() else task.result())

    def cancel(self, number: int) -> None:
        if number in self._tasks:
            self._tasks[number].cancel()


class _Trio(_LoopThread):
    def __init__(self, on_end: Callable[[_LoopThread], None]) -> None:
        self._scopes: dict[int, Any] = {}
        super().__init__("lastgood-trio", on_end)

    def _run(self) -> None:
        import trio

        async def live() -> None:
            self._token = trio.lowlevel.current_trio_token()
            async with trio.open_nursery() as self._nursery:
                self._ready.set()
                await trio.sleep_forever()

        trio.run(live)

    def call_soon(self, function: Callable[..., None], *args: Any) -> None:
        self._token.run_sync_soon(function, *args)

    def spawn(
        self, number: int, context: Context, coroutine: Coroutine[Any, Any, Any], pack: Pack, finish: Finish
    ) -> None:
        from trio import CancelScope

        CONTEXTS.enter_thread()
        self._scopes[number] = CancelScope()
        context.run(self._nursery.start_soon, self._perform, number, coroutine, pack, finish)

    async def _perform(self, number: int, coroutine: Coroutine[Any, Any, Any], pack: Pack, finish: Finish) -> None:
        from trio import Cancelled

        outcome = _FORGOTTEN  # the outcome if the scope is cancelled
        try:
            with self._scopes[number]:
                outcome = pack(await coroutine)
        except Cancelled:  # by a scope around this one, so that the loop is about to end
            self.ended = True
            outcome = pack_refused(_ENDED)
        except BaseException as error:  # including SystemExit, which would end the loop: every call must be answered
            outcome = pack_raised(error)
        del self._scopes[number]
        finish(outcome)

    def cancel(self, number: int) -> None:
        if number in self._scopes:
            self._scopes[number].cancel()


_BACKENDS: dict[str, Callable[[Callable[[_LoopThread], None]], _LoopThread]] = {"asyncio": _Asyncio, "trio": _Trio}


class Loops:
    """The event loop for new calls, and earlier ones that forgotten calls blocked: these are used again once they respond."""

    def __init__(self, backend: str, answer: Callable[[int, int, bytes], None]) -> None:
        self._make = _BACKENDS[backend]
        self._answer = answer
        self._choosing = threading.Lock()
        self._lock = threading.Lock()
        self._loops: dict[int, _LoopThread] = {}  # open calls and the loops they run on
        self._current: _LoopThread | None = None
        self._blocked: list[_LoopThread] = []  # did not respond when they were last asked

    def start(self, number: int, coroutine: Coroutine[Any, Any, Any], pack: Pack) -> bool:
        """Run ``coroutine`` in a copy of the current context; answer call ``number`` with ``pack`` of its result.

        Return False if too many loops are blocked. Raises what prevents a loop from being started.
        """
        context = copy_context()
        while True:
            with self._choosing:
                current = self._usable()
            if current is None:
                coroutine.close()
                return False
            with self._lock:
                self._loops[number] = current
            finish = partial(self._finish, current, number)
            if current.post(current.spawn, number, context, coroutine, pack, finish):
                return True
            with self._lock:
                if self._loops.pop(number, None) is None:
                    return True  # it was answered when the loop ended

    def _usable(self) -> _LoopThread | None:
        current = self._current
        if current is not None and current.cancelled and not current.ended and not current.responds():
            self._blocked.append(current)
            current = None
        if current is not None and current.ended:
            current = None
        self._blocked = [loop for loop in self._blocked if not loop.ended]
        if current is None:
            current = self._recovered()
        if current is None and len(self._blocked) < MAX_FORGOTTEN:
            current = self._make(self._ended)
        self._current = current
        return current

    def _recovered(self) -> _LoopThread | None:
        """Take a loop that is blocked no more; what the user's functions have bound to it can be used again."""
        for loop in self._blocked:
            if loop.has_recovered():
                self._blocked.remove(loop)
                return loop
        return None

    def cancel(self, number: int, unless: Callable[[], bool] = bool) -> None:
        """Cancel call ``number`` if it runs on a loop, unless ``unless`` says there that it need not be."""
        with self._lock:
            loop = self._loops.get(number)
            if (
                loop is None or number in loop.cancelled
            ):  # once: another would end what the function does about the first
                return
            loop.cancelled.add(number)
        loop.post(self._cancel, loop, number, unless)

    # On the loop's thread.

    def _cancel(self, loop: _LoopThread, number: int, unless: Callable[[], bool]) -> None:
        if not unless():
            loop.cancel(number)

    def _finish(self, loop: _LoopThread, number: int, outcome: Outcome) -> None:
        with self._lock:
            loop.cancelled.discard(number)
            if self._loops.pop(number, None) is None:
                return  # it was answered when the loop ended
        self._answer(number, *outcome)

    def _ended(self, loop: _LoopThread) -> None:
        with self._lock:
            left = [number for number, each in self._loops.items() if each is loop]
            for number in left:
                del self._loops[number]
        for number in left:
            self._answer(number, *pack_refused(_ENDED))


async def _outcome(coroutine: Coroutine[Any, Any, Any], pack: Pack) -> Outcome:
    try:
        return pack(await coroutine)
    except BaseException as error:  # including SystemExit and CancelledError
        return pack_raised(error)
