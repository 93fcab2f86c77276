"""``watch()`` and its ``Session`` (contract §2): event -> plan -> effects -> events. Nothing is decided here.

What is where: the *body* is the user's code inside ``async with``, in the user's task. The *machine* is one task with a
nursery of its own in which everything else runs; it is shielded from the user's cancel scopes and from Ctrl-C, because it has
to undo and to let go in order when one of these comes. The body asks it to end, and waits until it is gone.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import logging
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, assert_never

import trio

from lastgood import runtime
from lastgood.bridges import Bridge
from lastgood.config import Config, load_config
from lastgood.crossing import Entrance
from lastgood.effects import (
    Answer,
    Arm,
    CutOff,
    Deed,
    Emit,
    Interrupt,
    Look,
    Pin,
    Plan,
    Prepare,
    SetTimer,
    Signal,
    StopTimer,
    Unpublish,
)
from lastgood.errors import Disposed, WatchError
from lastgood.interpreters.course import Course
from lastgood.interpreters.cycle_files import Project
from lastgood.interpreters.file_system import Disk
from lastgood.interpreters.live_imports import LiveImports
from lastgood.interpreters.trio_interpreter import Hooks, Interrupted, TrioInterpreter
from lastgood.planner import Settings, State, plan_of_cycle
from lastgood.planner.events import CloseRequested, Event, ReloadRequested, Started, UndoRequested
from lastgood.planner.states import Closed
from lastgood.resolution import worker_sys_path
from lastgood.watch_events import EventsMissed, WatchEvent
from lastgood.wrappers.extractor_process import ExtractorProcess

if TYPE_CHECKING:
    from lastgood.threaded import InThread

__all__ = ["Backlog", "Listener", "Session", "Status", "WatchProgram", "watch"]

logger = logging.getLogger(__name__)

EVENTS_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Status:
    """Whether what is live is what is on disk.

    ``stale``: it is not, because the last cycle failed, a generation was undone, or the live bridge is lost; ``since``:
    seconds since the epoch at which that began (the first of a row of failures); ``error``: why, the last failure's.
    """

    generation: int
    stale: bool
    since: float | None
    error: BaseException | None

    @classmethod
    def of(cls, state: State) -> Status:
        """What there is to say of ``state``."""
        trouble = state.trouble
        if trouble is None:
            return cls(state.generation, False, None, None)
        return cls(state.generation, True, trouble.since, trouble.error)


def watch(
    config_file: str | os.PathLike[str],
    *,
    create_bridge: Callable[[Config], Any] | None = None,
    generate: Callable[[Config, Path], Any] | None = None,
    probe: Callable[[Any], Any] | None = None,
    extra_watch_paths: Iterable[str | os.PathLike[str]] = (),
    debounce: float = 0.1,
    max_wait: float = 2.0,
    warm_timeout: float = 60.0,
    drain_timeout: float = 10.0,
    on_event: Callable[[WatchEvent], object] | None = None,
    set_as_global: bool = True,
) -> WatchProgram:
    """Keep wrappers and one live bridge in step with the sources that ``config_file`` names (contract §2).

    Nothing is touched until the program runs. ``create_bridge(config)`` makes a bridge (left out: a
    :class:`~lastgood.ProcessBridge`), ``generate(config, stage_dir)`` writes wrappers and gives a
    :class:`~lastgood.Generated` (left out: the built-in generator; a plain one runs in a thread), ``probe(bridge)`` raises if
    the bridge is not ready. ``extra_watch_paths`` are files or directories that are watched besides.

    Seconds: an edit waits ``debounce`` for others, all of them no longer than ``max_wait``; a bridge has ``warm_timeout`` to
    get ready; calls on a bridge that was replaced have ``drain_timeout`` to end.

    ``on_event(event)`` is called for each event; it must be plain, and what it raises is logged. With ``set_as_global`` the
    bridge is what :func:`lastgood.runtime.get_runtime_bridge` gives.

    Raises :class:`TypeError` and :class:`ValueError` for arguments that cannot be meant.
    """
    for name, function in (
        ("create_bridge", create_bridge),
        ("generate", generate),
        ("probe", probe),
        ("on_event", on_event),
    ):
        if function is not None and not callable(function):
            raise TypeError(f"watch(): {name} must be callable, not {type(function).__name__}.")
    if inspect.iscoroutinefunction(on_event):
        raise TypeError("watch(): on_event must be a plain function. To await something, use session.events().")
    if isinstance(extra_watch_paths, str | os.PathLike):
        raise TypeError("watch(): extra_watch_paths must be a list of paths, not a single one.")
    for name, seconds, least in (
        ("debounce", debounce, 0.0),
        ("max_wait", max_wait, 0.0),
        ("warm_timeout", warm_timeout, None),
        ("drain_timeout", drain_timeout, 0.0),
    ):
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise TypeError(f"watch(): {name} must be a number of seconds, not {type(seconds).__name__}.")
        if not seconds >= 0 or (least is None and seconds == 0):
            raise ValueError(
                f"watch(): {name} must be {'more than' if least is None else 'at least'} 0 s, not {seconds}."
            )
    return WatchProgram(
        config_file=Path(os.path.abspath(config_file)),
        extra_watch_paths=tuple(Path(os.path.abspath(path)) for path in extra_watch_paths),
        settings=Settings(float(debounce), float(max_wait), float(warm_timeout), float(drain_timeout)),
        hooks=Hooks(_default_bridge if create_bridge is None else create_bridge, generate, probe, set_as_global),
        on_event=on_event,
    )


def _default_bridge(config: Config) -> Bridge:
    from lastgood.bridges.process import ProcessBridge

    return ProcessBridge.from_config(config)


@dataclass(slots=True)
class WatchProgram:
    """What :func:`watch` gives: to be run by ``trio.run``, entered by ``async with``, or planned by :meth:`plan`."""

    config_file: Path
    extra_watch_paths: tuple[Path, ...]
    settings: Settings
    hooks: Hooks
    on_event: Callable[[WatchEvent], object] | None
    session: Session | None = field(default=None, init=False)
    """The session, while one runs."""
    _entered: AbstractAsyncContextManager[Session] | None = field(default=None, init=False)
    _entrance: Entrance | None = field(default=None, init=False)
    """Brings calls from other loops and threads to the session's, if it is to take them."""

    def plan(self) -> Plan:
        """The plan of the first cycle; it prints. Nothing is touched."""
        return plan_of_cycle(self.settings, 1, None)

    def in_thread(self) -> InThread:
        """To run the session on a trio loop of its own in a background thread: ``with watch(...).in_thread() as session:``.

        Its methods block; wrappers may be called from any thread and event loop, asyncio's among them.
        """
        from lastgood.threaded import InThread

        return InThread(replace(self))

    async def __call__(self) -> None:
        """Watch until cancelled, Ctrl-C, or the session's ``close()``."""
        async with self as session:
            await session.wait_closed()

    async def __aenter__(self) -> Session:
        """Run the first cycle. Raises what made it fail, as itself."""
        if self._entered is not None:
            raise WatchError("This watch() program is running already; call watch() again for a second session.")
        self._entered = _running(self)
        try:
            self.session = await self._entered.__aenter__()
        except BaseException:
            self._entered = None
            raise
        return self.session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Close the session, if it is not closed."""
        entered, self._entered, self.session = self._entered, None, None
        assert entered is not None
        return await entered.__aexit__(kind, error, traceback)


@asynccontextmanager
@trio.lowlevel.enable_ki_protection  # Ctrl-C comes while it waits, never between two of its steps; the body is not protected
async def _running(program: WatchProgram) -> AsyncIterator[Session]:
    session = Session(program)
    raised: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session._machine)
            try:
                await session._start()
                with session._body:
                    yield session
            except BaseException as error:  # raised again below, outside of the nursery, as the same object
                raised = error
            await session._shut_down()
    except BaseExceptionGroup:
        # Nothing but a Ctrl-C in the nursery's last moment can come this way.
        session._interrupted = True
    try:
        if session._interrupted and not isinstance(raised, KeyboardInterrupt):
            raise KeyboardInterrupt from raised
        if session._died is not None and (raised is None or session._body.cancelled_caught):
            raise WatchError(f"Watching stopped: {session._died}") from session._died
        if raised is not None:
            raise raised
    finally:
        del raised


class Session:
    """One run of a :class:`WatchProgram` (contract §2). Made by it, never by hand; for the trio loop it runs on."""

    def __init__(self, program: WatchProgram) -> None:
        self._course = Course(State(program.settings), self._follow)
        self._on_event = program.on_event
        self._slot = runtime.Slot(f"the session of {program.config_file}", program._entrance)
        self._project = Project(
            Disk(),
            program.config_file,
            program.extra_watch_paths,
            load_config,
            worker_sys_path,
            os.getpid(),
            ExtractorProcess(),
            LiveImports(),
        )
        self._hooks = program.hooks
        self._interpreter: TrioInterpreter | None = None
        self._token = trio.lowlevel.current_trio_token()
        self._more = trio.Event()
        self._deed = trio.CancelScope()
        self._tickets = itertools.count()
        self._waiting: dict[int, _Waiter] = {}
        self._streams: set[Listener] = set()
        self._ready = trio.Event()
        self._gone = trio.Event()
        self._body = trio.CancelScope()
        self._died: BaseException | None = None
        self._interrupted = False

    # --- what a user sees

    @property
    def bridge(self) -> Any:
        """The live bridge: the factory's own object. Raises :class:`Disposed` after ``close()``."""
        self._check_open()
        live = self._slot.live
        return None if live is None else live.bridge

    @property
    def handle(self) -> runtime.Handle:
        """A handle to whatever bridge is live, whether it is published or not."""
        return self._slot.handle

    @property
    def generation(self) -> int:
        """The number of the live generation; after ``close()``, of the last one."""
        return self._course.state.generation

    @property
    def status(self) -> Status:
        """Whether what is live is what is on disk."""
        return Status.of(self._course.state)

    def events(self) -> AsyncIterator[WatchEvent]:
        """The events from now on. It ends with the session. One that falls behind loses the oldest, and is told how many."""
        stream = _EventStream(self._streams)
        self.listen(stream)
        return stream

    def listen(self, listener: Listener) -> None:
        """Tell ``listener`` of the events from now on, and of the end. To be called on the session's loop."""
        if self._ended:
            listener.end()
        else:
            self._streams.add(listener)

    async def reload_now(self) -> bool:
        """Whether a cycle that started after this call succeeded. Callers that wait together share one.

        False also when the session was closed meanwhile. Raises :class:`Disposed` if it is closed already, and
        :class:`WatchError` inside of ``create_bridge``, ``generate`` or ``probe``, where it would wait for itself.
        """
        return await self._request("reload_now", ReloadRequested)

    async def undo(self) -> bool:
        """Bring the good generation before the live one back, wrappers and bridge, in a cycle like any other.

        Whether it succeeded; if not, a ``reload-error`` says why (:class:`NothingToUndo`, say), and nothing has changed. If so,
        the status is stale, by :class:`Undone`, until an edit or ``reload_now()``. Once more goes back further. Raises as
        :meth:`reload_now` does.
        """
        return await self._request("undo", UndoRequested)

    async def _request(self, method: str, request: Callable[[int], ReloadRequested | UndoRequested]) -> bool:
        self._check_open()
        self._check_place(method)
        ticket = next(self._tickets)
        waiter = self._waiting[ticket] = _Waiter()
        self._tell(request(ticket))
        try:
            await waiter.answered.wait()
        finally:
            self._waiting.pop(ticket, None)
        return waiter.succeeded

    async def close(self) -> None:
        """End the session. When it returns, watchers, threads and worker processes are gone. More than once is fine.

        Raises :class:`WatchError` inside of ``create_bridge``, ``generate`` or ``probe``, where it would wait for itself.
        """
        self._check_place("close")
        self._tell(CloseRequested())
        await self._gone.wait()

    async def wait_closed(self) -> None:
        """Return when the session is closed."""
        await self._gone.wait()

    def hurry(self) -> None:
        """Have a close that waits for calls in flight end them now. To be called on the session's loop."""
        if self._interpreter is not None:
            self._interpreter.cut_off_all("was cut off by Ctrl-C")

    @property
    def _ended(self) -> bool:
        return self._course.state.ending or isinstance(self._course.state.phase, Closed)

    def _check_open(self) -> None:
        if self._ended:
            raise Disposed("The session is closed.")

    def _check_place(self, method: str) -> None:
        if trio.lowlevel.current_trio_token() is not self._token:
            raise WatchError(f"{method}() belongs to the trio loop that the session runs on.")
        if self._interpreter is not None and self._interpreter.is_in_deed():
            raise WatchError(
                f"{method}() was called from create_bridge, generate or probe: it would wait for the cycle it is part of."
            )

    # --- the body's side

    async def _start(self) -> None:
        await self._ready.wait()
        ticket = next(self._tickets)
        waiter = self._waiting[ticket] = _Waiter()
        self._tell(Started(ticket))
        await waiter.answered.wait()
        if not waiter.succeeded:
            await self._gone.wait()
            if self._interrupted:
                raise KeyboardInterrupt
            trouble = self._course.state.trouble
            if trouble is not None:
                raise trouble.error
            raise WatchError("The session ended before it had started.") from self._died

    async def _shut_down(self) -> None:
        """Close, and wait until nothing is left, whatever comes; another Ctrl-C ends the calls that are waited for."""
        while not self._gone.is_set():
            try:
                with trio.CancelScope(shield=True):
                    # The body may be over before the machine has made its first step.
                    await self._ready.wait()
                    self._tell(CloseRequested())
                    await self._gone.wait()
            except KeyboardInterrupt:
                self._interrupted = True
                self.hurry()

    # --- the machine

    @trio.lowlevel.enable_ki_protection
    async def _machine(self) -> None:
        try:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as nursery:
                    self._interpreter = TrioInterpreter(self._project, self._hooks, self._slot, nursery, self._tell)
                    nursery.start_soon(self._watch_over, self._interpreter.observe)
                    self._ready.set()
                    await self._watch_over(functools.partial(self._work, self._interpreter))
                    nursery.cancel_scope.cancel()
        except Exception as error:  # of a task that the interpreter keeps in the nursery
            self._perish(error)
        finally:
            # All of this is done already, unless a part of the machine died.
            self._slot.close()
            runtime.unpublish(self._slot)
            self._project.release()
            for stream in tuple(self._streams):
                stream.end()
            for waiter in self._waiting.values():
                waiter.answered.set()
            self._ready.set()
            self._gone.set()

    @trio.lowlevel.enable_ki_protection
    async def _watch_over(self, part: Callable[[], Any]) -> None:
        """Run a part of the machine. If it dies, watching has died: the body is cancelled, and everything let go."""
        try:
            await part()
        except Exception as error:
            self._perish(error)
            self._tell(CloseRequested())

    def _perish(self, error: Exception) -> None:
        logger.error("watching died", exc_info=error)
        self._died = error
        self._body.cancel()

    async def _work(self, interpreter: TrioInterpreter) -> None:
        while not isinstance(self._course.state.phase, Closed):
            deed = self._course.take()
            if deed is None:
                self._more = trio.Event()
                await self._more.wait()
            else:
                self._course.finish(await self._do(interpreter, deed))

    async def _do(self, interpreter: TrioInterpreter, deed: Deed) -> Event:
        started = trio.current_time()
        try:
            with trio.CancelScope() as self._deed:
                if self._course.interrupted:
                    self._deed.cancel()
                return await interpreter.perform(deed)
        except trio.Cancelled:
            raise
        except BaseException as error:  # SystemExit and the like out of a user's factory fail a cycle, too
            if isinstance(error, KeyboardInterrupt):
                self._interrupted = True
                self._body.cancel()
                self._tell(CloseRequested())
            return interpreter.failed(deed, error, started)
        return interpreter.failed(deed, Interrupted(), started)

    @trio.lowlevel.enable_ki_protection  # also called from the body's task: half an answer would be none
    def _tell(self, event: Event) -> None:
        self._course.tell(event)
        self._more.set()

    def _follow(self, signal: Signal) -> None:
        match signal:
            case Emit(event):
                self._emit(event)
            case Answer(tickets, succeeded):
                for ticket in tickets:
                    waiter = self._waiting.get(ticket)
                    if waiter is not None:
                        waiter.succeeded = succeeded
                        waiter.answered.set()
            case Interrupt():
                assert self._interpreter is not None
                self._deed.cancel()
                self._interpreter.hurry()
            case SetTimer() | StopTimer() | Arm() | Look() | Pin() | Prepare() | Unpublish() | CutOff():
                assert self._interpreter is not None
                self._interpreter.carry_out(signal)
            case _:
                assert_never(signal)

    def _emit(self, event: WatchEvent) -> None:
        for stream in self._streams:
            stream.put(event)
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except BaseException:  # whatever it raises, even SystemExit, must not break a reload (contract §3)
            logger.exception("on_event raised for %s", event.type)


class _Waiter:
    """A caller of ``reload_now()``."""

    __slots__ = ("answered", "succeeded")

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.succeeded = False


class Listener(Protocol):
    """Who is told of events, on the session's loop. Neither may raise or wait."""

    def put(self, event: WatchEvent) -> None: ...

    def end(self) -> None:
        """No more will come."""
        ...


class Backlog:
    """Events that a listener has not taken yet. Bounded: the oldest give way, and their number is told in their place."""

    def __init__(self) -> None:
        self._kept: deque[WatchEvent] = deque()
        self._missed = 0

    def put(self, event: WatchEvent) -> None:
        if len(self._kept) == EVENTS_KEPT:
            self._kept.popleft()
            self._missed += 1
        self._kept.append(event)

    def take(self) -> WatchEvent | None:
        if self._missed:
            missed, self._missed = self._missed, 0
            return EventsMissed(missed)
        return self._kept.popleft() if self._kept else None

    def clear(self) -> None:
        self._kept.clear()
        self._missed = 0


class _EventStream:
    """One ``events()`` iterator, until the session ends or it is closed."""

    def __init__(self, streams: set[Listener]) -> None:
        self._streams = streams
        self._backlog = Backlog()
        self._ended = False
        self._news = trio.Event()

    def put(self, event: WatchEvent) -> None:
        self._backlog.put(event)
        self._news.set()

    def end(self) -> None:
        self._ended = True
        self._streams.discard(self)
        self._news.set()

    async def aclose(self) -> None:
        """Take no further part."""
        self._backlog.clear()
        self.end()
        await trio.lowlevel.checkpoint()

    def __aiter__(self) -> _EventStream:
        return self

    async def __anext__(self) -> WatchEvent:
        await trio.lowlevel.checkpoint()
        while (event := self._backlog.take()) is None:
            if self._ended:
                raise StopAsyncIteration
            if self._news.is_set():  # another task may wait for it as well
                self._news = trio.Event()
            await self._news.wait()
        return event
