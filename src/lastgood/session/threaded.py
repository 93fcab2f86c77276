"""A session on a trio loop of its own, in a background thread: ``with watch(...)``, and ``async with`` under asyncio.

For plain and threaded code, for notebooks, and for apps on asyncio: wrappers called from any of these cross to the session's
loop (:mod:`lastgood.calls.portal`). What a :class:`ThreadedSession` does blocks, and is safe from any thread but the session's
own, where it would wait for itself and is an error instead. :class:`BesideAsyncio` waits for the same thread without holding up
the app's loop.
"""

from __future__ import annotations

import atexit
import contextvars
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from lastgood.calls import loops
from lastgood.calls.portal import LoopClosed, Portal
from lastgood.errors import Disposed, Forked, WatchError
from lastgood.runtime import Handle
from lastgood.session.event_stream import Backlog, tell_event
from lastgood.session.session import Session, Status, WatchProgram
from lastgood.watch_events import WatchEvent

if TYPE_CHECKING:
    import asyncio
    from typing import Self

__all__ = ["BesideAsyncio", "InThread", "ThreadedSession"]

T = TypeVar("T")

_LAST_WORDS = 5.0
"""Seconds for what others wait for to come to its end, once the session is over."""

_BEGINS = 1.0
"""Seconds that a new thread may take to make its first step, when Ctrl-C came while it was started."""


class InThread:
    """A program to be entered by ``with``, or by ``__enter__()`` alone: then ``session.close()`` ends it."""

    def __init__(self, program: WatchProgram) -> None:
        self._program = program
        self._session: ThreadedSession | None = None

    @property
    def running(self) -> bool:
        """Whether its session has started and is not closed."""
        return self._session is not None and not self._session.closed

    def __enter__(self) -> ThreadedSession:
        """Start the thread and run the first cycle. Raises what made it fail, as itself; the thread is gone then."""
        if self.running:
            raise WatchError("This program is running in a thread already; call watch() again for a second session.")
        session = ThreadedSession(self._program)
        session._start()
        self._session = session
        return session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the session. Raises :class:`WatchError` if watching had died, unless the block raises something itself."""
        assert self._session is not None, "__enter__() comes first"
        self._session._finish()
        if error is None and self._session._failure is not None:
            raise self._session._failure


class ThreadedSession:
    """The face of a session that runs in a thread. Made by :class:`InThread`; any thread may use it, and several at once.

    ``on_event``, ``create_bridge`` and ``probe`` run in the session's thread. ``news()`` is called there when it has started, when
    watching has died, and when it is over.
    """

    def __init__(self, program: WatchProgram, news: Callable[[], object] = bool) -> None:
        self._program = program
        self._news = news
        self._session: Session | None = None
        self._portal: Portal | None = None
        self._scope = trio.CancelScope()
        self._unwanted = False
        self._failure: BaseException | None = None
        self._begun = threading.Event()
        self._ready = threading.Event()
        self._over = threading.Event()
        self._pid = os.getpid()
        # A daemon, since a notebook may end without closing: atexit closes then, which would come too late for another.
        self._thread = threading.Thread(
            target=self._run, name=f"lastgood-session-{program.config_file or program.directory}", daemon=True
        )

    # --- what a user sees

    @property
    def handle(self) -> Handle:
        """A handle to whatever bridge is live: ``await handle.call(...)`` on any loop, ``handle.call_blocking(...)`` on none."""
        return self._live_session.handle

    @property
    def bridge(self) -> Any:
        """The live bridge: the factory's own object, which belongs to the session's loop. Raises :class:`Disposed`."""
        return self._live_session.bridge

    @property
    def generation(self) -> int:
        """The number of the live generation; after ``close()``, of the last one."""
        return self._live_session.generation

    @property
    def status(self) -> Status:
        """Whether what is live is what is on disk."""
        return self._live_session.status

    @property
    def config_file(self) -> Path:
        """The config file, absolute."""
        return self._live_session._project.config_file

    @property
    def closed(self) -> bool:
        """Whether it is over, and its thread gone or about to go. A process that was forked from its own has no session."""
        return self._was_left or self._over.is_set()

    def reload_now(self) -> bool:
        """Whether a cycle that started after this call succeeded. See :meth:`Session.reload_now`."""
        return self._cross("reload_now", self._live_session.reload_now)

    def undo(self) -> bool:
        """Bring the good generation before the live one back. See :meth:`Session.undo`."""
        return self._cross("undo", self._live_session.undo)

    def events(self) -> Iterator[WatchEvent]:
        """The events from now on, each as it comes; it ends with the session. Bounded: one that falls behind is told so."""
        session, events = self._live_session, _Events(self)

        async def listen() -> None:
            session.listen(events)

        try:
            self._cross("events", listen)
        except Disposed:
            events.end()
        return events

    def close(self) -> None:
        """End the session. When it returns, watchers, threads and worker processes are gone. More than once is fine.

        Raises :class:`WatchError` on the session's own loop, and inside of ``generate``, where it would wait for itself.
        """
        if self._was_left:
            return
        with suppress(Disposed):
            self._cross("close", self._live_session.close)
        self._finish()

    def wait_closed(self) -> None:
        """Return when the session is closed, by whomever."""
        if self._was_left:
            return
        self._refuse_here("wait_closed")
        self._over.wait()

    # --- the caller's side

    @property
    def _live_session(self) -> Session:
        assert self._session is not None, "made by InThread alone, which starts it"
        return self._session

    @property
    def _was_left(self) -> bool:
        """Whether this is a process that was forked from the session's: the thread did not come along."""
        return os.getpid() != self._pid

    def _refuse_here(self, method: str) -> None:
        if self._was_left:
            raise Forked("the session", self._pid)
        if self._portal is not None and self._portal.is_here():
            raise WatchError(
                f"{method}() blocks, and was called on the session's own loop (by on_event, create_bridge or probe, say): "
                "it would wait for itself. Call it in another thread."
            )

    def _cross(self, method: str, function: Callable[[], Awaitable[T]]) -> T:
        self._refuse_here(method)
        assert self._portal is not None
        try:
            return self._portal.cross_blocking(function)
        except LoopClosed:
            raise Disposed("The session is closed.") from None

    def _start(self) -> None:
        try:
            self._thread.start()
            self._ready.wait()
        except BaseException:  # Ctrl-C
            if self._begun.wait(_BEGINS):
                self._finish()
            raise
        if self._session is None:
            self._thread.join()
            assert self._failure is not None, "only who waits for the start can end it"
            raise self._failure
        atexit.register(self._finish)

    def _finish(self) -> None:
        """Have it end, and wait for that. Ctrl-C ends the calls that are waited for, and is raised afterwards."""
        if self._was_left:
            return
        self._stop()
        interrupt: KeyboardInterrupt | None = None
        while not self._over.is_set():
            try:
                self._over.wait()
            except KeyboardInterrupt as error:
                interrupt = error
                self._hurry()
        self._thread.join()
        atexit.unregister(self._finish)
        if interrupt is not None:
            raise interrupt

    def _stop(self) -> None:
        """Have it end."""
        self._unwanted = True
        self._send(self._scope.cancel)

    def _hurry(self, what: str = "Ctrl-C") -> None:
        """End the calls that are waited for."""
        if self._session is not None:
            self._send(partial(self._session.hurry, what))

    def _send(self, function: Callable[[], object]) -> None:
        if self._portal is not None and not self.closed:
            self._portal.send(function)

    # --- the thread's side

    def _run(self) -> None:
        self._begun.set()
        try:
            trio.run(self._main)
        except BaseException as error:  # raised again in the thread that waits
            self._failure = error
        finally:
            self._over.set()
            self._ready.set()
            self._news()

    async def _main(self) -> None:
        self._portal = self._program._portal = Portal()
        if self._unwanted:  # by somebody who did not find the portal yet
            self._scope.cancel()
        with self._scope:
            async with self._program as session:
                self._session = session
                self._ready.set()
                self._news()
                try:
                    await session.wait_closed()
                finally:
                    self._news()
        await self._portal.emptied(_LAST_WORDS)


class _Events:
    """One ``events()`` iterator, for threads."""

    def __init__(self, session: ThreadedSession) -> None:
        self._session = session
        self._backlog = Backlog()
        self._news = threading.Condition()
        self._ended = False

    def put(self, event: WatchEvent) -> None:
        with self._news:
            self._backlog.put(event)
            self._news.notify()

    def end(self) -> None:
        with self._news:
            self._ended = True
            self._news.notify_all()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> WatchEvent:
        self._session._refuse_here("next")
        with self._news:
            while (event := self._backlog.take()) is None:
                if self._ended:
                    raise StopIteration
                self._news.wait()
        return event


class BesideAsyncio:
    """``async with watch(...)`` under asyncio: the session runs in a thread, and nothing of it holds up the app's loop."""

    def __init__(self, program: WatchProgram) -> None:
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._app = loops.AsyncioLoop(self._loop)
        self._body = self._app.guard()
        on_event = None if program.on_event is None else _OnLoop(self._loop, program.on_event)
        self._thread = ThreadedSession(replace(program, on_event=on_event), self._news)

    async def __aenter__(self) -> Session:
        """Start the thread and run the first cycle. Raises what made it fail, as itself; the thread is gone then."""
        import asyncio

        thread = self._thread
        thread._thread.start()
        atexit.register(thread._finish)  # an app may end without leaving the block, as when its loop is closed
        try:
            while not thread._ready.is_set():
                await self._next()
        except asyncio.CancelledError:
            await self._end()
            raise
        except BaseException:  # the app's task was thrown away, and nothing can be awaited here
            thread._stop()
            raise
        if thread._session is None or thread._session._died is not None:
            cancelled = await self._end()
            assert thread._failure is not None, "only a cancellation can end it otherwise"
            raise thread._failure if cancelled is None else cancelled
        self._body.__enter__()
        return thread._session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Close the session. Raises :class:`WatchError` if watching had died, unless the body raises something itself."""
        if self._thread._was_left:
            loops.end_forked(error)
        if not self._app.is_here():  # the body was thrown away, and nothing can be awaited, or imported, here
            self._thread._stop()
            return False
        import asyncio

        cut = self._body.__exit__(kind, error, traceback)
        cancelled = await self._end()
        if cancelled is not None and (cut or not isinstance(error, asyncio.CancelledError)):
            raise cancelled
        if self._thread._failure is not None and (error is None or cut):
            raise self._thread._failure
        return False

    async def _end(self) -> BaseException | None:
        """Have the session end, and wait for that whoever cancels: it ends the calls that are waited for. Returns the cancel."""
        import asyncio

        self._thread._stop()
        cancelled: BaseException | None = None
        while not self._thread.closed:
            try:
                await self._next()
            except asyncio.CancelledError as error:
                cancelled = error
                self._thread._hurry("a cancellation")
        self._thread._finish()  # it is over: the thread is making its last step
        return cancelled

    async def _next(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    def _news(self) -> None:
        with suppress(RuntimeError):  # the app's loop was closed
            self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        self._changed.set()
        session = self._thread._session
        if session is not None and session._died is not None:
            self._body.cancel()


class _OnLoop:
    """``on_event`` of an asyncio app: called on its loop, in order. One that falls behind loses the oldest, and is told so."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_event: Callable[[WatchEvent], object]) -> None:
        self._loop = loop
        self._on_event = on_event
        self._context = contextvars.copy_context()
        self._backlog = Backlog()

    def __call__(self, event: WatchEvent) -> None:
        if self._backlog.put(event):
            with suppress(RuntimeError):  # the app's loop was closed
                self._loop.call_soon_threadsafe(self._deliver, context=self._context)

    def _deliver(self) -> None:
        try:
            while (event := self._backlog.take()) is not None:
                tell_event(self._on_event, event, passing=(KeyboardInterrupt,))  # which is asyncio's
        finally:
            if self._backlog:
                self._loop.call_soon_threadsafe(self._deliver, context=self._context)
