"""Sessions on a trio loop of their own in a background thread: ``with watch(...)``, and ``async with`` under asyncio.

They serve plain and threaded code, notebooks, and asyncio apps: calls of wrappers from any of these are sent to the session's
loop (:mod:`lastgood.calls.portal`). The methods of a :class:`ThreadedSession` block. They are safe in any thread except the
session's own, where they would deadlock and raise an error instead. :class:`BesideAsyncio` waits for such a thread without
blocking the app's loop. See docs/how-to/threads.md.
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
from lastgood.children.descriptors import occupy_standard
from lastgood.children.limits import explain
from lastgood.errors import Disposed, Forked, WatchError
from lastgood.runtime import Handle
from lastgood.session.event_stream import Backlog, deliver_event
from lastgood.session.session import Session, Status
from lastgood.session.watch import WatchProgram
from lastgood.watch_events import Role, WatchEvent

if TYPE_CHECKING:
    import asyncio
    from typing import Self

__all__ = ["BesideAsyncio", "InThread", "ThreadedSession"]

T = TypeVar("T")

_PORTAL_GRACE = 5.0
"""Seconds that calls through the portal have to end after the session has ended."""

_START_GRACE = 1.0
"""Seconds to wait for the first step of a new thread if Ctrl-C came while it was started."""


class InThread:
    """A context manager that runs a program in a thread.

    After ``__enter__()`` without ``with``, ``session.close()`` ends the session.
    """

    def __init__(self, program: WatchProgram) -> None:
        self._program = program
        self._session: ThreadedSession | None = None

    @property
    def running(self) -> bool:
        """True if its session has started and is not closed."""
        return self._session is not None and not self._session.closed

    def __enter__(self) -> ThreadedSession:
        """Start the thread and run the first cycle. If the cycle fails, ends the thread and raises the cycle's error."""
        if self.running:
            raise WatchError("This program is running in a thread already; call watch() again for a second session.")
        session = ThreadedSession(self._program)
        session._start()
        self._session = session
        return session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the session. Raises :class:`WatchError` if the watcher has failed, unless the block itself raised."""
        assert self._session is not None, "__enter__() comes first"
        self._session._finish()
        if error is None and self._session._failure is not None:
            raise self._session._failure


class ThreadedSession:
    """A session that runs in a thread, for use from any thread, and from several at once. :class:`InThread` creates it.

    ``on_event``, ``create_bridge`` and ``probe`` run in the session's thread. ``on_change()`` is called there when the session
    has started, when the watcher has failed, and when the session has ended.
    """

    def __init__(self, program: WatchProgram, on_change: Callable[[], object] = bool) -> None:
        self._program = program
        self._on_change = on_change
        self._session: Session | None = None
        self._portal: Portal | None = None
        self._scope = trio.CancelScope()
        self._stop_requested = False
        self._failure: BaseException | None = None
        self._began = threading.Event()
        self._ready = threading.Event()
        self._ended = threading.Event()
        self._pid = os.getpid()
        # A daemon thread, because a notebook may end without closing the session. Python would wait for a non-daemon thread
        # before it runs the atexit function that closes the session.
        self._thread = threading.Thread(
            target=self._run, name=f"lastgood-session-{program.config_file or program.directory}", daemon=True
        )

    def __repr__(self) -> str:
        """Return a sentence for a person."""
        return "<lastgood session: closed>" if self.closed or self._session is None else repr(self._session)

    # --- public interface

    @property
    def handle(self) -> Handle:
        """A handle to the live bridge: ``await handle.call(...)`` on any loop, ``handle.call_blocking(...)`` elsewhere."""
        return self._live_session.handle

    @property
    def bridge(self) -> Any:
        """The live bridge, as the factory returned it. It belongs to the session's loop. Raises :class:`Disposed`."""
        return self._live_session.bridge

    @property
    def role(self) -> Role:
        """``"leader"``, or ``"follower"`` if another session on the project generates and promotes."""
        return self._live_session.role

    @property
    def generation(self) -> int:
        """The number of the live generation; after ``close()``, that of the last one."""
        return self._live_session.generation

    @property
    def status(self) -> Status:
        """The live generation, whether it is up to date with the files on disk, and the calls in flight by generation."""
        return self._live_session.status

    @property
    def config_file(self) -> Path:
        """The config file, absolute."""
        return self._live_session._project.config_file

    @property
    def closed(self) -> bool:
        """True if the session has ended and its thread has ended or is about to; always true in a forked process."""
        return self._is_forked or self._ended.is_set()

    def reload_now(self) -> bool:
        """Run a cycle that starts after this call, and return whether it succeeded. See :meth:`Session.reload_now`."""
        return self._cross("reload_now", self._live_session.reload_now)

    def settle(self, timeout: float | None = None) -> bool:
        """Wait until what is on disk now has been attempted; return whether it is live. See :meth:`Session.settle`."""
        return self._cross("settle", partial(self._live_session.settle, timeout))

    def undo(self) -> bool:
        """Restore the good generation before the live one; return whether that succeeded. See :meth:`Session.undo`."""
        return self._cross("undo", self._live_session.undo)

    def events(self) -> Iterator[WatchEvent]:
        """Iterate over the events from now on, until the session ends.

        A reader that falls behind loses the oldest events, and gets an ``EventsMissed`` with their number.
        """
        session, events = self._live_session, _Events(self)

        async def listen() -> None:
            session.listen(events)

        try:
            self._cross("events", listen)
        except Disposed:
            events.end()
        return events

    def close(self) -> None:
        """End the session. When it returns, watchers, threads and worker processes have ended. It may be called repeatedly.

        Raises :class:`WatchError` on the session's own loop and inside ``generate``, where it would deadlock.
        """
        if self._is_forked:
            return
        with suppress(Disposed):
            self._cross("close", self._live_session.close)
        self._finish()

    def wait_closed(self) -> None:
        """Wait until the session is closed."""
        if self._is_forked:
            return
        self._check_thread("wait_closed")
        self._ended.wait()

    # --- called by other threads

    @property
    def _live_session(self) -> Session:
        assert self._session is not None, "only InThread creates it, and starts it"
        return self._session

    @property
    def _is_forked(self) -> bool:
        """True if this process was forked from the session's process, where the thread stayed."""
        return os.getpid() != self._pid

    def _check_thread(self, method: str) -> None:
        if self._is_forked:
            raise Forked("the session", self._pid)
        if self._portal is not None and self._portal.is_here():
            raise WatchError(
                f"{method}() blocks, and was called on the session's own loop (by on_event, create_bridge or probe, say): "
                "it would wait for itself. Call it in another thread."
            )

    def _cross(self, method: str, function: Callable[[], Awaitable[T]]) -> T:
        self._check_thread(method)
        assert self._portal is not None
        try:
            return self._portal.cross_blocking(function)
        except LoopClosed:
            raise Disposed("The session is closed.") from None

    def _start_thread(self) -> None:
        """Start the thread. Raise :class:`RuntimeError`, which names the limit, if the system starts no more."""
        try:
            self._thread.start()
        except RuntimeError as error:
            explain(error)
            raise

    def _start(self) -> None:
        self._start_thread()
        try:
            self._ready.wait()
        except BaseException:  # Ctrl-C
            if self._began.wait(_START_GRACE):
                self._finish()
            raise
        if self._session is None:
            self._thread.join()
            assert self._failure is not None, "only the caller that waits for the start could have ended it"
            raise self._failure
        atexit.register(self._finish)

    def _finish(self) -> None:
        """End the session and wait for its end. Ctrl-C cuts off calls in flight; it is raised afterwards."""
        if self._is_forked:
            return
        self._request_stop()
        interrupt: KeyboardInterrupt | None = None
        while not self._ended.is_set():
            try:
                self._ended.wait()
            except KeyboardInterrupt as error:
                interrupt = error
                self._close_at_once()
        self._thread.join()
        atexit.unregister(self._finish)
        if interrupt is not None:
            raise interrupt

    def _request_stop(self) -> None:
        """Ask the session to end."""
        self._stop_requested = True
        self._send(self._scope.cancel)

    def _close_at_once(self, what: str = "Ctrl-C") -> None:
        """Cut off calls in flight, so that the session ends at once."""
        if self._session is not None:
            self._send(partial(self._session.close_at_once, what))

    def _send(self, function: Callable[[], object]) -> None:
        if self._portal is not None and not self.closed:
            self._portal.send(function)

    # --- in the session's thread

    def _run(self) -> None:
        self._began.set()
        try:
            occupy_standard()
            trio.run(self._main)
        except BaseException as error:  # raised again in the waiting thread
            self._failure = error
        finally:
            self._ended.set()
            self._ready.set()
            self._on_change()

    async def _main(self) -> None:
        self._portal = self._program._portal = Portal()
        if self._stop_requested:  # the request came before there was a portal
            self._scope.cancel()
        with self._scope:
            async with self._program as session:
                self._session = session
                self._ready.set()
                self._on_change()
                try:
                    await session.wait_closed()
                finally:
                    self._on_change()
        await self._portal.emptied(_PORTAL_GRACE)


class _Events:
    """An ``events()`` iterator for threads."""

    def __init__(self, session: ThreadedSession) -> None:
        self._session = session
        self._backlog = Backlog()
        self._changed = threading.Condition()
        self._ended = False

    def put(self, event: WatchEvent) -> None:
        with self._changed:
            self._backlog.put(event)
            self._changed.notify()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> WatchEvent:
        self._session._check_thread("next")
        with self._changed:
            while (event := self._backlog.take()) is None:
                if self._ended:
                    raise StopIteration
                self._changed.wait()
        return event


class BesideAsyncio:
    """``async with watch(...)`` under asyncio: the session runs in a thread, so that it never blocks the app's loop."""

    def __init__(self, program: WatchProgram) -> None:
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._app = loops.AsyncioLoop(self._loop)
        self._body = self._app.guard()
        on_event = None if program.on_event is None else _LoopCallback(self._loop, program.on_event)
        self._thread = ThreadedSession(replace(program, on_event=on_event), self._notify_loop)

    async def __aenter__(self) -> Session:
        """Start the thread and run the first cycle. If the cycle fails, ends the thread and raises the cycle's error."""
        import asyncio

        thread = self._thread
        thread._start_thread()
        atexit.register(thread._finish)  # an app may end without leaving the block, for example when its loop is closed
        try:
            while not thread._ready.is_set():
                await self._wait_for_change()
        except asyncio.CancelledError:
            await self._end()
            raise
        except BaseException:  # GeneratorExit: the app's task was destroyed, and nothing can be awaited
            thread._request_stop()
            raise
        if thread._session is None or thread._session._watch_failure is not None:
            cancelled = await self._end()
            assert thread._failure is not None, "without a failure, only a cancellation ends it"
            raise thread._failure if cancelled is None else cancelled
        self._body.__enter__()
        return thread._session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Close the session. Raises :class:`WatchError` if the watcher has failed, unless the body itself raised."""
        if self._thread._is_forked:
            loops.end_forked_task(error)
        if (
            not self._app.is_here()
        ):  # the body was destroyed by the garbage collector: nothing can be awaited or imported
            self._thread._request_stop()
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
        """End the session and wait for its end. A cancellation cuts off calls in flight; return the cancellation, if any."""
        import asyncio

        self._thread._request_stop()
        cancelled: BaseException | None = None
        while not self._thread.closed:
            try:
                await self._wait_for_change()
            except asyncio.CancelledError as error:
                cancelled = error
                self._thread._close_at_once("a cancellation")
        self._thread._finish()  # this does not block: the thread is taking its last step
        return cancelled

    async def _wait_for_change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    def _notify_loop(self) -> None:
        with suppress(RuntimeError):  # the app's loop was closed
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._changed.set()
        session = self._thread._session
        if session is not None and session._watch_failure is not None:
            self._body.cancel()


class _LoopCallback:
    """The ``on_event`` of an asyncio app, called on the app's loop, in order.

    If it falls behind, the oldest events are dropped, and it gets an ``EventsMissed`` with their number.
    """

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
                deliver_event(self._on_event, event, let_through=(KeyboardInterrupt,))  # Ctrl-C is handled by asyncio
        finally:
            if self._backlog:
                self._loop.call_soon_threadsafe(self._deliver, context=self._context)
