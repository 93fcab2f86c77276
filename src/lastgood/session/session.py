"""The ``Session``, one run of a ``watch()`` program: events go to the planner, its effects to an interpreter. It decides nothing.

A session has two sides. The *body* is the user's code inside ``async with``, in the user's task. The *engine* is one task
with a nursery of its own, in which everything else runs. The engine is shielded from the user's cancel scopes and from
Ctrl-C, because on either it has to roll back and release resources in order. At the end the body asks the engine to close,
and waits until it has.
"""

from __future__ import annotations

import functools
import itertools
import logging
import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar, assert_never

import trio

from lastgood.calls import loops
from lastgood.calls import registry as runtime
from lastgood.calls.live_imports import LiveImports
from lastgood.calls.portal import LoopClosed
from lastgood.children.limits import NEEDED_DESCRIPTORS, free_descriptors
from lastgood.config import find_config, load_config
from lastgood.effects import (
    Action,
    Answer,
    Arm,
    Ask,
    Beat,
    Command,
    CutOff,
    Emit,
    Interrupt,
    Look,
    Pin,
    Prepare,
    Refuse,
    SetTimer,
    StopTimer,
    Unpublish,
)
from lastgood.errors import Disposed, WatchError
from lastgood.interpreters.driver import Driver
from lastgood.interpreters.project import Project
from lastgood.interpreters.trio_interpreter import Interrupted, TrioInterpreter
from lastgood.planner import State
from lastgood.planner.events import CloseRequested, Event, ReloadRequested, SettleRequested, Started, UndoRequested
from lastgood.planner.states import Closed, Status
from lastgood.session.event_lines import EventLog
from lastgood.session.event_stream import EventStream, Listener, deliver_event
from lastgood.sources.resolution import worker_interpreter
from lastgood.store.disk import Disk
from lastgood.watch_events import Role, WatchEvent
from lastgood.wrappers.process.extractor_process import ExtractorProcess

if TYPE_CHECKING:
    from lastgood.session.watch import WatchProgram

__all__ = ["Session", "Status", "running"]

logger = logging.getLogger("lastgood.session")

T = TypeVar("T")


@asynccontextmanager
@trio.lowlevel.enable_ki_protection  # Ctrl-C interrupts only where it waits, not between two steps; the body is not protected
async def running(program: WatchProgram) -> AsyncIterator[Session]:
    """Run the program: its first cycle before the block, its close after it."""
    _check_descriptors()
    session = program.begun = Session(program)
    raised: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session._run_engine)
            try:
                await session._start()
                with session._body:
                    yield session
            except BaseException as error:  # raised again below, outside of the nursery, so that no group wraps it
                raised = error
            if session._is_forked:
                loops.end_forked_task(raised)
            await session._shut_down()
    except BaseExceptionGroup:
        # The only possible cause is a Ctrl-C while the nursery was closing.
        session._interrupted = True
    try:
        if session._interrupted and not isinstance(raised, KeyboardInterrupt):
            raise KeyboardInterrupt from raised
        if session._watch_failure is not None and (raised is None or session._body.cancelled_caught):
            raise WatchError(f"Watching stopped: {session._watch_failure}") from session._watch_failure
        if raised is not None:
            raise raised
    finally:
        del raised


class Session:
    """One run of a :class:`WatchProgram`, which creates it.

    Its methods belong to the trio loop on which it runs. A session that runs in a thread beside an asyncio app can be used
    from any loop.
    """

    def __init__(self, program: WatchProgram) -> None:
        config_file = program.config_file or find_config(program.directory)
        self._waits = program.wait_for_first
        self._on_event = EventLog(logger, waits=self._waits) if program.on_event is None else program.on_event
        self._portal = program._portal
        self._slot = runtime.Slot(f"the session of {config_file}", program._portal)
        self._project = Project(
            Disk(),
            config_file,
            program.extra_watch_paths,
            load_config,
            worker_interpreter,
            os.getpid(),
            ExtractorProcess(),
            program.given,
            program.arguments,
            LiveImports(),
            program.adapt,
        )
        self._driver = Driver(State(self._project.first_settings()), self._carry_out)
        self._hooks = program.hooks
        self._interpreter: TrioInterpreter | None = None
        self._loop = loops.TrioLoop()
        self._work_waiting = trio.Event()
        self._action = trio.CancelScope()
        self._tickets = itertools.count()
        self._waiting: dict[int, _Waiter] = {}
        self._streams: set[Listener] = set()
        self._ready = trio.Event()
        self._closed = trio.Event()
        self._body = trio.CancelScope()
        self._watch_failure: BaseException | None = None
        self._interrupted = False

    def __repr__(self) -> str:
        """Return a sentence for a person."""
        named, status = f"lastgood session of {self._project.config_file}", self.status
        if self._ended:
            return f"<{named}: closed>"
        live = f"generation {status.generation} is live" if status.generation else "nothing is live yet"
        return f"<{named}: {live}, and STALE because of {status.brief}>" if status.stale else f"<{named}: {live}>"

    # --- public interface

    @property
    def bridge(self) -> Any:
        """The live bridge, as the factory returned it. Raises :class:`Disposed` after ``close()``."""
        self._check_open()
        live = self._slot.live
        return None if live is None else live.bridge

    @property
    def handle(self) -> runtime.Handle:
        """A handle whose calls go to the bridge that is live at the time of the call, published or not."""
        return self._slot.handle

    @property
    def generation(self) -> int:
        """The number of the live generation; after ``close()``, that of the last one."""
        return self._driver.state.generation

    @property
    def role(self) -> Role:
        """``"leader"``, or ``"follower"`` if another session on the project generates and promotes."""
        return self._driver.state.role

    @property
    def status(self) -> Status:
        """The live generation, whether it is up to date with the files on disk, and the calls in flight by generation."""
        return Status.of(self._driver.state, self._in_flight)

    def _in_flight(self, cycle: int) -> int:
        return 0 if self._interpreter is None else self._interpreter.in_flight(cycle)

    def events(self) -> AsyncIterator[WatchEvent]:
        """Iterate over the events from now on, until the session ends.

        A reader that falls behind loses the oldest events, and gets an ``EventsMissed`` with their number.
        """
        stream = EventStream(functools.partial(self._run_on_loop, "events"), self._streams.discard)
        if self._is_on_loop("events"):
            self.listen(stream)
        else:
            assert self._portal is not None
            self._portal.send(functools.partial(self.listen, stream))
        return stream

    def listen(self, listener: Listener) -> None:
        """Pass the events from now on to ``listener``, and tell it when the session ends. Call this on the session's loop."""
        if self._ended:
            listener.end()
        else:
            self._streams.add(listener)

    async def reload_now(self) -> bool:
        """Run a cycle that starts after this call, and return whether it succeeded. Concurrent callers share one cycle.

        Returns False if the session was closed meanwhile. Raises :class:`Disposed` if it is already closed, and
        :class:`WatchError` on a loop other than the session's, and in ``create_bridge``, ``generate`` or ``probe``, where it
        would deadlock.
        """
        return await self._request("reload_now", ReloadRequested)

    async def undo(self) -> bool:
        """Restore wrappers and bridge of the good generation before the live one, in a cycle; return whether it succeeded.

        If not, a ``reload-error`` event says why (for example :class:`NothingToUndo`), and nothing has changed. If it did, the
        status is stale with :class:`Undone` until an edit or ``reload_now()``. Another ``undo()`` goes back one generation
        more. Raises like :meth:`reload_now`.
        """
        return await self._request("undo", UndoRequested)

    async def settle(self, timeout: float | None = None) -> bool:
        """Wait until what is on disk now has been attempted; return whether it is live.

        An edit is not debounced for that. Returns False at once if these bytes have failed before, and after ``timeout`` seconds
        (None: no limit). Raises like :meth:`reload_now`.
        """
        if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float)):
            raise TypeError(f"settle(): timeout must be a number of seconds, not {type(timeout).__name__}.")
        return await self._request("settle", SettleRequested, math.inf if timeout is None else timeout)

    async def _request(
        self,
        method: str,
        request: Callable[[int], ReloadRequested | UndoRequested | SettleRequested],
        timeout: float = math.inf,
    ) -> bool:
        async def answered() -> bool:
            self._check_open()
            self._check_action(method)
            ticket = next(self._tickets)
            waiter = self._waiting[ticket] = _Waiter()
            self._report(request(ticket))
            try:
                with trio.move_on_after(timeout):
                    await waiter.answered.wait()
            finally:
                self._waiting.pop(ticket, None)
            if waiter.error is not None:
                raise waiter.error
            return waiter.succeeded

        self._check_open()
        try:
            return await self._run_on_loop(method, answered)
        except LoopClosed:
            raise Disposed("The session is closed.") from None

    async def close(self) -> None:
        """End the session. When it returns, watchers and worker processes have ended. It may be called more than once.

        Raises :class:`WatchError` like :meth:`reload_now`.
        """

        async def closed() -> None:
            self._check_action("close")
            self._report(CloseRequested())
            await self._closed.wait()

        if self._is_forked:
            return
        with suppress(LoopClosed):
            await self._run_on_loop("close", closed)

    async def wait_closed(self) -> None:
        """Wait until the session is closed."""
        if self._is_forked:
            return
        with suppress(LoopClosed):
            await self._run_on_loop("wait_closed", self._closed.wait)

    def close_at_once(self, what: str = "Ctrl-C") -> None:
        """Close without waiting for calls in flight or the thread of a stage. ``what`` is the cause, for the calls' errors.

        Call this on the session's loop.
        """
        if self._interpreter is not None:
            self._report(CloseRequested())
            self._interpreter.give_up(f"was cut off by {what}")

    @property
    def _is_forked(self) -> bool:
        """True if this process was forked from the session's process, and therefore has no session."""
        return os.getpid() != self._project.pid

    @property
    def _ended(self) -> bool:
        return self._driver.state.ending or isinstance(self._driver.state.phase, Closed)

    def _check_open(self) -> None:
        self._slot.check_process()
        if self._ended:
            raise Disposed("The session is closed.")

    def _check_action(self, method: str) -> None:
        if self._interpreter is not None and self._interpreter.is_in_action():
            raise WatchError(
                f"{method}() was called from create_bridge, generate or probe: it would wait for the cycle it is part of."
            )

    async def _run_on_loop(self, method: str, function: Callable[[], Awaitable[T]]) -> T:
        """Run ``function`` on the session's loop, from any loop that may use the session. Raises :class:`LoopClosed`."""
        if self._is_on_loop(method):
            return await function()
        assert self._portal is not None
        return await self._portal.cross(function)

    def _is_on_loop(self, method: str) -> bool:
        """Return whether the caller is on the session's loop. Raises :class:`WatchError` if it must be, but is not."""
        self._slot.check_process()
        if self._loop.is_here():
            return True
        if self._portal is not None:
            return False
        raise WatchError(
            f"{method}() belongs to the trio loop that the session runs on, and was called from {loops.here()}. "
            "Call it there, or start the session by `with watch(...)` or `watch(...).start()`: its methods are for every thread."
        )

    # --- called by the body

    async def _start(self) -> None:
        await self._ready.wait()
        assert self._interpreter is not None
        leader, numbered = await self._interpreter.find_leader()
        ticket = next(self._tickets)
        waiter = self._waiting[ticket] = _Waiter()
        self._report(Started(ticket, self._waits, leader, numbered))
        await waiter.answered.wait()
        if not waiter.succeeded:
            await self._closed.wait()
            if self._interrupted:
                raise KeyboardInterrupt
            staleness = self._driver.state.staleness
            if staleness is not None:
                raise staleness.error
            raise WatchError("The session ended before it had started.") from self._watch_failure

    async def _shut_down(self) -> None:
        """Close, and wait until everything is released, in spite of cancellation; another Ctrl-C cuts off calls in flight."""
        while not self._closed.is_set():
            try:
                with trio.CancelScope(shield=True):
                    # The body may end before the engine has taken its first step.
                    await self._ready.wait()
                    self._report(CloseRequested())
                    await self._closed.wait()
            except KeyboardInterrupt:
                self._interrupted = True
                self.close_at_once()

    # --- the engine

    @trio.lowlevel.enable_ki_protection
    async def _run_engine(self) -> None:
        try:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as nursery:
                    self._interpreter = TrioInterpreter(
                        self._project, self._hooks, self._slot, nursery, self._report, self._tickets
                    )
                    nursery.start_soon(self._supervise, self._interpreter.observe)
                    nursery.start_soon(self._supervise, self._interpreter.others.tell_news)
                    self._ready.set()
                    await self._supervise(functools.partial(self._work, self._interpreter))
                    nursery.cancel_scope.cancel()
        except Exception as error:  # raised by a task that the interpreter has started in the nursery
            self._fail_watching(error)
        finally:
            # All of this is done already, unless a part of the engine failed.
            self._slot.close()
            runtime.unpublish(self._slot)
            self._project.release()
            for stream in tuple(self._streams):
                stream.end()
            for waiter in self._waiting.values():
                waiter.answered.set()
            self._ready.set()
            self._closed.set()

    @trio.lowlevel.enable_ki_protection
    async def _supervise(self, part: Callable[[], Any]) -> None:
        """Run a part of the engine. If it fails, cancel the body and close the session."""
        try:
            await part()
        except Exception as error:
            self._fail_watching(error)
            self._report(CloseRequested())

    def _fail_watching(self, error: Exception) -> None:
        logger.error("the watcher failed", exc_info=error)
        self._watch_failure = error
        self._body.cancel()

    async def _work(self, interpreter: TrioInterpreter) -> None:
        while not isinstance(self._driver.state.phase, Closed):
            action = self._driver.take()
            if action is None:
                self._work_waiting = trio.Event()
                await self._work_waiting.wait()
            else:
                event = await self._do(interpreter, action)
                if self._is_forked:
                    await trio.sleep_forever()
                self._driver.finish(event)
                self._tell(interpreter)

    async def _do(self, interpreter: TrioInterpreter, action: Action) -> Event:
        started = trio.current_time()
        try:
            with trio.CancelScope() as self._action:
                if self._driver.interrupted:
                    self._action.cancel()
                return await interpreter.perform(action)
        except trio.Cancelled:
            raise
        except BaseException as error:  # SystemExit and the like, raised by a user's factory, make the cycle fail, too
            if isinstance(error, KeyboardInterrupt):
                self._interrupted = True
                self._body.cancel()
                self._report(CloseRequested())
            return interpreter.failed(action, error, started)
        return interpreter.failed(action, Interrupted(), started)

    @trio.lowlevel.enable_ki_protection  # also called from the body's task: Ctrl-C must not interrupt it half-way
    def _report(self, event: Event) -> None:
        if self._is_forked:
            return  # a forked child may run the loop on, with the tasks of its parent
        if self._interpreter is not None:
            self._interpreter.report_late()
        self._driver.handle(event)
        if self._interpreter is not None:
            self._tell(self._interpreter)
        self._work_waiting.set()

    def _tell(self, interpreter: TrioInterpreter) -> None:
        """Tell the live bridge and other sessions what there is to tell."""
        interpreter.tell_bridge(self._driver.state)
        interpreter.others.tell(self._driver.state)

    def _carry_out(self, command: Command) -> None:
        match command:
            case Emit(event):
                self._emit(event)
            case Answer(tickets, succeeded, error):
                for ticket in tickets:
                    self._answer(ticket, error, succeeded=succeeded)
            case Interrupt():
                assert self._interpreter is not None
                self._action.cancel()
                self._interpreter.stop_stage()
            case (
                SetTimer()
                | StopTimer()
                | Arm()
                | Ask()
                | Beat()
                | Look()
                | Pin()
                | Prepare()
                | Unpublish()
                | Refuse()
                | CutOff()
            ):
                assert self._interpreter is not None
                self._interpreter.carry_out(command)
            case _:
                assert_never(command)

    def _answer(self, ticket: int, error: BaseException | None, *, succeeded: bool) -> None:
        if self._interpreter is not None:
            self._interpreter.others.answer(ticket, succeeded=succeeded)
        waiter = self._waiting.get(ticket)
        if waiter is not None:
            waiter.succeeded, waiter.error = succeeded, error
            waiter.answered.set()

    def _emit(self, event: WatchEvent) -> None:
        if self._interpreter is not None:
            self._interpreter.tell_bridge(self._driver.state)  # the live bridge knows before the user does
            self._interpreter.others.note(event)
        for stream in self._streams:
            stream.put(event)
        deliver_event(self._on_event, event)


def _check_descriptors() -> None:
    """Raise :class:`WatchError` if this process cannot open as many files as a session may need."""
    free, limit = free_descriptors()
    if free < NEEDED_DESCRIPTORS:
        raise WatchError(
            f"This process can open {free} more files, of {limit} in all, and a session needs {NEEDED_DESCRIPTORS}. Raise the "
            "limit, in the shell that starts the app: ulimit -n 4096"
        )


class _Waiter:
    """A caller that waits for the result of a cycle."""

    __slots__ = ("answered", "error", "succeeded")

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.succeeded = False
        self.error: BaseException | None = None
