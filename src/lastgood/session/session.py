"""``watch()`` and its ``Session``: event -> plan -> effects -> events. Nothing is decided here.

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
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, assert_never

import trio

from lastgood.bridges import Bridge
from lastgood.calls import loops
from lastgood.calls import registry as runtime
from lastgood.calls.live_imports import LiveImports
from lastgood.calls.portal import LoopClosed, Portal
from lastgood.config import Config, find_config, load_config
from lastgood.effects import (
    Action,
    Answer,
    Arm,
    Command,
    CutOff,
    Emit,
    Interrupt,
    Look,
    Pin,
    Plan,
    Prepare,
    SetTimer,
    StopTimer,
    Unpublish,
)
from lastgood.errors import Disposed, WatchError
from lastgood.interpreters.cycle_files import Project
from lastgood.interpreters.driver import Driver
from lastgood.interpreters.trio_interpreter import Hooks, Interrupted, TrioInterpreter
from lastgood.planner import Settings, State, plan_of_cycle
from lastgood.planner.events import CloseRequested, Event, ReloadRequested, Started, UndoRequested
from lastgood.planner.states import Closed, Status
from lastgood.session.event_lines import EventLog
from lastgood.session.event_stream import EventStream, Listener, tell_event
from lastgood.sources.resolution import worker_sys_path
from lastgood.store.file_system import Disk
from lastgood.watch_events import WatchEvent
from lastgood.wrappers.process.extractor_process import ExtractorProcess

if TYPE_CHECKING:
    from lastgood.session.threaded import InThread, ThreadedSession

__all__ = ["Session", "Status", "WatchProgram", "watch"]

logger = logging.getLogger("lastgood.session")

T = TypeVar("T")


def watch(
    config_file: str | os.PathLike[str] | None = None,
    *,
    create_bridge: Callable[[Config], Any] | None = None,
    generate: Callable[[Config, Path], Any] | None = None,
    probe: Callable[[Any], Any] | None = None,
    extra_watch_paths: Iterable[str | os.PathLike[str]] = (),
    debounce: float = 0.1,
    max_wait: float = 2.0,
    warm_timeout: float = 60.0,
    drain_timeout: float = 10.0,
    stage_timeout: float | None = None,
    on_event: Callable[[WatchEvent], object] | None = None,
    set_as_global: bool = True,
) -> WatchProgram:
    """Keep wrappers and one live bridge in step with the sources that ``config_file`` names.

    Without ``config_file``, the nearest ``lastgood.toml``, or ``pyproject.toml`` with a ``[tool.lastgood]`` table, is taken, from
    the present working directory upwards. Nothing is touched, or looked for, until the program runs.
    ``create_bridge(config)`` makes a bridge (left out: a :class:`~lastgood.ProcessBridge`), ``generate(config, stage_dir)``
    writes wrappers and gives a :class:`~lastgood.Generated` (left out: the built-in generator; a plain one runs in a thread),
    ``probe(bridge)`` raises if the bridge is not ready. ``extra_watch_paths`` are files or directories that are watched besides.

    Seconds: an edit waits ``debounce`` for others, all of them no longer than ``max_wait``; a bridge has ``warm_timeout`` to
    get ready; calls on a bridge that was replaced have ``drain_timeout`` to end; ``stage_timeout`` (None: 60) is what resolving
    the config and generating the wrappers may take, ``math.inf``: any time.

    ``on_event(event)`` is called for each event; it must be plain, and what it raises is logged. Without it, events are logged
    under ``lastgood.session``. With ``set_as_global`` the bridge is what :func:`lastgood.runtime.get_runtime_bridge` gives.

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
    if stage_timeout is None:
        stage_timeout = Settings().stage_timeout
    for name, seconds, least in (
        ("debounce", debounce, 0.0),
        ("max_wait", max_wait, 0.0),
        ("warm_timeout", warm_timeout, None),
        ("drain_timeout", drain_timeout, 0.0),
        ("stage_timeout", stage_timeout, None),
    ):
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise TypeError(f"watch(): {name} must be a number of seconds, not {type(seconds).__name__}.")
        if not seconds >= 0 or (least is None and seconds == 0):
            raise ValueError(
                f"watch(): {name} must be {'more than' if least is None else 'at least'} 0 s, not {seconds}."
            )
    return WatchProgram(
        config_file=None if config_file is None else Path(os.path.abspath(config_file)),
        directory=Path(os.path.abspath("." if config_file is None else os.path.dirname(config_file))),
        extra_watch_paths=tuple(Path(os.path.abspath(path)) for path in extra_watch_paths),
        settings=Settings(*map(float, (debounce, max_wait, warm_timeout, drain_timeout, stage_timeout))),
        hooks=Hooks(_default_bridge if create_bridge is None else create_bridge, generate, probe, set_as_global),
        on_event=on_event,
    )


def _default_bridge(config: Config) -> Bridge:
    from lastgood.bridges.process import ProcessBridge

    return ProcessBridge.from_config(config)


@dataclass(slots=True, eq=False, repr=False)
class WatchProgram:
    """What :func:`watch` gives: to be called by ``trio.run``, entered by ``async with`` or ``with``, or planned by :meth:`plan`."""

    config_file: Path | None
    """None: the nearest one is taken, from ``directory`` upwards."""
    directory: Path
    extra_watch_paths: tuple[Path, ...]
    settings: Settings
    hooks: Hooks
    on_event: Callable[[WatchEvent], object] | None
    session: Session | None = field(default=None, init=False)
    """The session, while one runs that was entered by ``async with``."""
    _entered: AbstractAsyncContextManager[Session] | None = field(default=None, init=False)
    _threaded: InThread | None = field(default=None, init=False)
    _portal: Portal | None = field(default=None, init=False)
    """Brings calls from other loops and threads to the session's, if it is to take them."""

    def __repr__(self) -> str:
        return (
            f"<lastgood.watch() of {self.config_file or self.directory}. Run it by `trio.run(program)` or "
            "`asyncio.run(program())`; in an app, by `async with program as session:`, `with`, or `program.start()`>"
        )

    def plan(self) -> Plan:
        """The plan of the first cycle; it prints. Nothing is touched."""
        return plan_of_cycle(self.settings, 1, None)

    # --- trio, asyncio

    async def __call__(self) -> None:
        """Watch until cancelled, Ctrl-C, or the session's ``close()``."""
        async with self as session:
            await session.wait_closed()

    def __await__(self) -> NoReturn:
        raise TypeError("A watch() program is called, not awaited: `await watch(...)()`, or `async with watch(...)`.")

    async def __aenter__(self) -> Session:
        """Run the first cycle. Raises what made it fail, as itself. Under asyncio the session runs in a background thread."""
        self._check_free()
        match loops.current():
            case None:
                raise WatchError(
                    "`async with watch(...)` needs a loop of trio or asyncio. In other code, use `with watch(...)`."
                )
            case loops.TrioLoop():
                self._entered = _running(self)
            case _:
                from lastgood.session.threaded import BesideAsyncio

                self._entered = BesideAsyncio(self)
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

    def _check_free(self) -> None:
        if self._entered is not None or (self._threaded is not None and self._threaded.running):
            raise WatchError("This watch() program is running already; call watch() again for a second session.")

    # --- plain code

    def start(self) -> ThreadedSession:
        """Run the first cycle in a background thread, and wait for it. Raises what made it fail, as itself.

        The session's methods block; wrappers may be called from any thread and event loop. It ends by its ``close()``, or with
        the process. It is what ``with`` enters. Raises :class:`WatchError` in a task of trio, whose loop it would hold up.
        """
        self._check_free()
        if isinstance(loops.current(), loops.TrioLoop):
            raise WatchError(
                "Starting a session by `with` or start() would hold up the trio loop that runs here. "
                "Use `async with watch(...) as session:`."
            )
        self._threaded = self.in_thread()
        return self._threaded.__enter__()

    __enter__ = start

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the session. Raises :class:`WatchError` if watching had died, unless the block raises something itself."""
        assert self._threaded is not None, "__enter__() comes first"
        self._threaded.__exit__(kind, error, traceback)

    def in_thread(self) -> InThread:
        """The same for a program that several sessions are made of: ``with watch(...).in_thread() as session:``."""
        from lastgood.session.threaded import InThread

        return InThread(replace(self))


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
            if session._was_left:
                loops.end_forked(raised)
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
    """One run of a :class:`WatchProgram`. Made by it, never by hand.

    For the trio loop it runs on; one that runs in a thread beside an asyncio app is for any loop.
    """

    def __init__(self, program: WatchProgram) -> None:
        config_file = find_config(program.directory) if program.config_file is None else program.config_file
        self._driver = Driver(State(program.settings), self._follow)
        self._on_event = EventLog(logger) if program.on_event is None else program.on_event
        self._portal = program._portal
        self._slot = runtime.Slot(f"the session of {config_file}", program._portal)
        self._project = Project(
            Disk(),
            config_file,
            program.extra_watch_paths,
            load_config,
            worker_sys_path,
            os.getpid(),
            ExtractorProcess(),
            LiveImports(),
        )
        self._hooks = program.hooks
        self._interpreter: TrioInterpreter | None = None
        self._home = loops.TrioLoop()
        self._more = trio.Event()
        self._action = trio.CancelScope()
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
        return self._driver.state.generation

    @property
    def status(self) -> Status:
        """Whether what is live is what is on disk."""
        return Status.of(self._driver.state)

    def events(self) -> AsyncIterator[WatchEvent]:
        """The events from now on. It ends with the session. One that falls behind loses the oldest, and is told how many."""
        stream = EventStream(functools.partial(self._at_home, "events"), self._streams.discard)
        if self._is_home("events"):
            self.listen(stream)
        else:
            assert self._portal is not None
            self._portal.send(functools.partial(self.listen, stream))
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
        :class:`WatchError` on another loop than the session's, and in ``create_bridge``, ``generate`` or ``probe``: a deadlock.
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
        async def answered() -> bool:
            self._check_open()
            self._check_action(method)
            ticket = next(self._tickets)
            waiter = self._waiting[ticket] = _Waiter()
            self._tell(request(ticket))
            try:
                await waiter.answered.wait()
            finally:
                self._waiting.pop(ticket, None)
            return waiter.succeeded

        self._check_open()
        try:
            return await self._at_home(method, answered)
        except LoopClosed:
            raise Disposed("The session is closed.") from None

    async def close(self) -> None:
        """End the session. When it returns, watchers and worker processes are gone. More than once is fine.

        Raises :class:`WatchError` as :meth:`reload_now` does.
        """

        async def gone() -> None:
            self._check_action("close")
            self._tell(CloseRequested())
            await self._gone.wait()

        if self._was_left:
            return
        with suppress(LoopClosed):
            await self._at_home("close", gone)

    async def wait_closed(self) -> None:
        """Return when the session is closed."""
        if self._was_left:
            return
        with suppress(LoopClosed):
            await self._at_home("wait_closed", self._gone.wait)

    def hurry(self, what: str = "Ctrl-C") -> None:
        """Close, and wait no more for calls in flight and the thread of a stage, because of ``what``.

        To be called on the session's loop.
        """
        if self._interpreter is not None:
            self._tell(CloseRequested())
            self._interpreter.give_up(f"was cut off by {what}")

    @property
    def _was_left(self) -> bool:
        """Whether this is a process that was forked from the session's, and has none."""
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

    async def _at_home(self, method: str, function: Callable[[], Awaitable[T]]) -> T:
        """Run ``function`` on the session's loop, for a caller on any that it is for. Raises :class:`LoopClosed`."""
        if self._is_home(method):
            return await function()
        assert self._portal is not None
        return await self._portal.cross(function)

    def _is_home(self, method: str) -> bool:
        """Whether the caller is on the session's loop; raises :class:`WatchError` if it should be and is not."""
        self._slot.check_process()
        if self._home.is_here():
            return True
        if self._portal is not None:
            return False
        raise WatchError(
            f"{method}() belongs to the trio loop that the session runs on, and was called from {loops.here()}. "
            "Call it there, or start the session by `with watch(...)` or `watch(...).start()`: its methods are for every thread."
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
            staleness = self._driver.state.staleness
            if staleness is not None:
                raise staleness.error
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
        while not isinstance(self._driver.state.phase, Closed):
            action = self._driver.take()
            if action is None:
                self._more = trio.Event()
                await self._more.wait()
            else:
                self._driver.finish(await self._do(interpreter, action))

    async def _do(self, interpreter: TrioInterpreter, action: Action) -> Event:
        started = trio.current_time()
        try:
            with trio.CancelScope() as self._action:
                if self._driver.interrupted:
                    self._action.cancel()
                return await interpreter.perform(action)
        except trio.Cancelled:
            raise
        except BaseException as error:  # SystemExit and the like out of a user's factory fail a cycle, too
            if isinstance(error, KeyboardInterrupt):
                self._interrupted = True
                self._body.cancel()
                self._tell(CloseRequested())
            return interpreter.failed(action, error, started)
        return interpreter.failed(action, Interrupted(), started)

    @trio.lowlevel.enable_ki_protection  # also called from the body's task: half an answer would be none
    def _tell(self, event: Event) -> None:
        self._driver.tell(event)
        self._more.set()

    def _follow(self, command: Command) -> None:
        match command:
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
                self._action.cancel()
                self._interpreter.hurry()
            case SetTimer() | StopTimer() | Arm() | Look() | Pin() | Prepare() | Unpublish() | CutOff():
                assert self._interpreter is not None
                self._interpreter.carry_out(command)
            case _:
                assert_never(command)

    def _emit(self, event: WatchEvent) -> None:
        for stream in self._streams:
            stream.put(event)
        tell_event(self._on_event, event)


class _Waiter:
    """A caller of ``reload_now()``."""

    __slots__ = ("answered", "succeeded")

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.succeeded = False
