"""An in-memory world for tests of reloading, without disk, processes or sleeping.

>>> from lastgood.testing import World
>>> world = World({
...     "lastgood.toml": '[modules.pricing]\\n[output]\\ndir = "generated"\\n',
...     "pricing.py": "def quote(sku: str) -> float: ...\\n",
... })
>>> world.start()
>>> world.write("pricing.py", "def quote(sku: str, quantity: int) -> float: ...\\n")
>>> world.fail("promote", at=3, error=OSError("disk full"))
>>> world.advance(0.1)
>>> world.status.stale, world.generation
(True, 1)
>>> "quantity" in world.files["generated/pricing.py"]
False
>>> world.reload_now()
True
>>> "quantity" in world.files["generated/pricing.py"]
True
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args
from weakref import WeakSet

from lastgood.config import Config, decode_config
from lastgood.effects import Action, Answer, Command, Effect, Emit
from lastgood.errors import BridgeError, ConfigError, Disposed, WatchError, WorkerDied
from lastgood.interpreters.driver import Driver
from lastgood.interpreters.memory import Fault, MemoryClock, MemoryInterpreter, ScriptedBridge
from lastgood.interpreters.project import Project
from lastgood.planner import State
from lastgood.planner.events import CloseRequested, Event, ReloadRequested, SettleRequested, Started, UndoRequested
from lastgood.planner.states import Closed, Status, Unstarted
from lastgood.session import arguments
from lastgood.sources.finder import Interpreter
from lastgood.store.memory_files import MemoryFiles
from lastgood.testing.streams import ScriptedStream
from lastgood.watch_events import Role, WatchEvent

__all__ = ["ScriptedBridge", "ScriptedStream", "World"]

ROOT = Path("/project")

_EFFECTS = tuple(action.name for action in get_args(Action))
_CAN_HANG = ("stage", "warm", "dispose", "watch", "restart")


class World:
    """A project in memory, and a session on it. Paths are relative to the project, with ``/``.

    ``effects`` are all effects that the planner asked for, ``events`` all events that the user got, ``operations`` all single
    operations as (effect, operation), each in order. The settings are those of :func:`lastgood.watch`, in seconds of virtual
    time.

    A world ``beside`` another one is a session of another process on the same files, of which the first to start leads.
    """

    def __init__(
        self,
        files: Mapping[str, str | bytes],
        *,
        config_file: str = "lastgood.toml",
        debounce: float | None = None,
        max_wait: float | None = None,
        warm_timeout: float | None = None,
        drain_timeout: float | None = None,
        stage_timeout: float | None = None,
        supersede_after: float | None = None,
        wait_for_first: bool = False,
        beside: World | None = None,
    ) -> None:
        self.clock: MemoryClock = MemoryClock() if beside is None else beside.clock
        self._streams: WeakSet[ScriptedStream] = WeakSet()
        self._lost: tuple[ScriptedBridge, BaseException] | None = None
        self.events: list[WatchEvent] = []
        self.effects: list[Effect] = []
        self._all: list[World] = [] if beside is None else beside._all
        self._all.append(self)
        self._processes: Iterator[int] = itertools.count(1) if beside is None else beside._processes
        self._process = next(self._processes)
        self._disk: MemoryFiles = (
            MemoryFiles(lambda: self.clock.now) if beside is None else beside._disk.of_another_process()
        )
        for name, text in files.items():
            self._disk.put(ROOT / name, _bytes(text))
        given = {
            "debounce": debounce,
            "max_wait": max_wait,
            "warm_timeout": warm_timeout,
            "drain_timeout": drain_timeout,
            "stage_timeout": stage_timeout,
            "supersede_after": supersede_after,
            "idle_look": math.inf,  # here no change goes unnoticed
        }
        self._project = Project(
            self._disk,
            ROOT / config_file,
            (),
            self._load,
            lambda _: Interpreter((), ("sys", "math")),
            self._process,
            given={
                name: arguments.seconds(
                    f"World(): {name}", value, may_be_zero=name not in ("warm_timeout", "stage_timeout")
                )
                for name, value in given.items()
                if value is not None
            },
        )
        self._interpreter = MemoryInterpreter(self._project, self._disk, self.clock, self._report, self.effects)
        self._interpreter.name = "" if beside is None else f"{self._process}-"
        self._stopped: list[Event] | None = None
        self._waits = wait_for_first
        self._driver = Driver(State(self._project.first_settings()), self._carry_out)
        self._tickets = itertools.count()
        self._answers: dict[int, bool | BaseException] = {}
        self._working = False

    def __repr__(self) -> str:
        """Return a sentence for a person."""
        return f"<lastgood.testing.World: {'closed' if self.closed else self.status}>"

    # --- the session

    def start(self) -> None:
        """Run the first cycle. If it fails, raises its error, unless the world waits for its first good generation.

        Raises :class:`WatchError` if the session has started already.
        """
        if not isinstance(self._driver.state.phase, Unstarted):
            raise WatchError("The session of a World starts once: make another World.")
        ticket = next(self._tickets)
        self._report(Started(ticket, self._waits, *self._interpreter.find_leader()))
        self._run()
        staleness = self._driver.state.staleness
        if not self._answers.get(ticket, self._waits):
            raise WatchError("The session ended before it had started.") if staleness is None else staleness.error

    def reload_now(self) -> bool:
        """Do what ``Session.reload_now()`` does. Inside :meth:`at`, use :meth:`request_reload`.

        With ``overlap = false`` virtual time passes while calls in flight have their drain.
        """
        return self._answered(self.request_reload())

    def _answered(self, ticket: int) -> bool:
        self._run()
        while ticket not in self._answers:
            seconds = self.clock.next_due
            if seconds is None:
                raise WatchError("The cycle waits for calls in flight, which have no limit: end them, after a request.")
            self.advance(seconds)
        answer = self._answers[ticket]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def request_reload(self) -> int:
        """Request a reload without waiting for it; return a ticket for :meth:`answer`."""
        return self._request(ReloadRequested)

    def _request(self, request: Callable[[int], ReloadRequested | UndoRequested | SettleRequested]) -> int:
        if self._driver.state.ending:
            raise Disposed("The session is closed.")
        if isinstance(self._driver.state.phase, Unstarted):
            raise WatchError("The session has not started: call start() first.")
        ticket = next(self._tickets)
        self._report(request(ticket))
        return ticket

    def undo(self) -> bool:
        """Do what ``Session.undo()`` does. Inside :meth:`at`, use :meth:`request_undo`. Time passes as in :meth:`reload_now`."""
        return self._answered(self.request_undo())

    def request_undo(self) -> int:
        """Request an undo without waiting for it; return a ticket for :meth:`answer`."""
        return self._request(UndoRequested)

    def settle(self) -> bool:
        """Do what ``Session.settle()`` does. Inside :meth:`at`, use :meth:`request_settle`."""
        return self._answered(self.request_settle())

    def request_settle(self) -> int:
        """Request a settling without waiting for it; return a ticket for :meth:`answer`."""
        return self._request(SettleRequested)

    def answer(self, ticket: int) -> bool | BaseException | None:
        """Return the result of a request, or the error that it raises; None while there is neither."""
        return self._answers.get(ticket)

    def close(self) -> None:
        """End the session. Inside :meth:`at` this is only a request, which takes effect after the running effect."""
        self._report(CloseRequested())
        self._run()

    def kill(self) -> None:
        """End the process of this session, without its doing anything more."""
        self._all.remove(self)
        self._disk.end_process()
        self._stopped = []

    @property
    def killed(self) -> bool:
        """True if the process of this session was killed."""
        return self not in self._all

    def stop(self) -> None:
        """Stop the process of this session, as by SIGSTOP."""
        self._stopped = []

    def go_on(self) -> None:
        """Let a stopped process go on."""
        stopped, self._stopped = self._stopped, None
        for event in stopped or ():
            self._report(event)

    def clean(self) -> None:
        """Remove ``.lastgood/``, as ``git clean -fdx`` does."""
        for known in (self._disk.names, self._disk.directories):
            for path in [each for each in known if ".lastgood" in each.parts]:
                known.pop(path)
        self._hint()

    @property
    def role(self) -> Role:
        """The same as ``Session.role``."""
        return self._driver.state.role

    @property
    def status(self) -> Status:
        """The same as ``Session.status``."""
        return Status.of(self._driver.state, self._interpreter.in_flight)

    @property
    def generation(self) -> int:
        """The number of the live generation."""
        return self._driver.state.generation

    @property
    def closed(self) -> bool:
        """True if the session has ended."""
        return isinstance(self._driver.state.phase, Closed)

    # --- bridges

    @property
    def bridge(self) -> ScriptedBridge | None:
        """The live bridge; None while calls wait for one."""
        return self._interpreter.live

    @property
    def calls_wait(self) -> bool:
        """True while a call would wait: with ``overlap = false``, from when the live bridge makes way until another is live."""
        return self._interpreter.calls_wait

    @property
    def bridges(self) -> tuple[ScriptedBridge, ...]:
        """All bridges so far, in the order of their cycles."""
        return tuple(self._interpreter.bridges.values())

    def begin_call(self) -> ScriptedBridge:
        """Begin a call on the live bridge, and return the bridge. The call is in flight until :meth:`end_calls`.

        Raises :class:`Disposed` if no bridge is live, and what the live one was lost by, or could not be restarted by. While
        :attr:`calls_wait`, raises :class:`BridgeError`, because a world cannot wait.
        """
        if self.calls_wait:
            raise BridgeError("A call would wait now, until a bridge is live again.")
        if self._interpreter.refusal is not None:
            raise self._interpreter.refusal
        if self.bridge is None:
            raise Disposed("No bridge is live.")
        if self._lost is not None and self._lost[0] is self.bridge:
            raise self._lost[1]
        self.bridge.leases += 1
        return self.bridge

    def end_calls(self, bridge: ScriptedBridge) -> None:
        """Let every call in flight on ``bridge`` return. Its streams go on."""
        bridge.leases = sum(stream.holds(bridge) for stream in self._streams)
        self._end_leases(bridge)

    def begin_work(self) -> ScriptedBridge:
        """Let the live bridge begin work of its own, such as an answer of a server, and return the bridge.

        Replaced, it is busy until :meth:`end_work`: its ``idle()`` waits. Raises as :meth:`begin_call` does.
        """
        bridge = self.begin_call()
        bridge.leases, bridge.busy = bridge.leases - 1, True
        return bridge

    def end_work(self, bridge: ScriptedBridge) -> None:
        """Let the work of ``bridge`` be done."""
        bridge.busy = False
        self._end_leases(bridge)

    def open_stream(self, items: Iterable[Any] = (), error: BaseException | None = None) -> ScriptedStream:
        """Return a stream of ``items``, after which ``error`` is raised, if there is one.

        It begins with its first item, on the bridge that is live then, and is in flight there until its end.
        """
        stream = ScriptedStream(self.begin_call, self._end_stream, items, error)
        self._streams.add(stream)
        return stream

    def _end_stream(self, bridge: ScriptedBridge) -> None:
        bridge.leases = max(bridge.leases - 1, 0)
        self._end_leases(bridge)

    def _end_leases(self, bridge: ScriptedBridge) -> None:
        if not (bridge.leases or bridge.busy):
            self._interpreter.end_leases(bridge.cycle, cut_off=False)
        self._run()

    def differ(self, *warnings: str) -> None:
        """Make the comparison of the wrappers with each further bridge find these differences."""
        self._interpreter.differences = warnings

    def lose_bridge(self, error: BaseException | None = None, *, calls_go_on: bool = False) -> None:
        """Let the live bridge break down, as if its worker had died.

        This ends its calls. With ``calls_go_on`` they continue, like those in the other workers of a pool.
        """
        error = WorkerDied(1, "") if error is None else error
        if self.bridge is not None and not calls_go_on:
            self._lost = self.bridge, error
            for stream in self._streams:
                if stream.holds(self.bridge):
                    stream.lose(error)
        self._interpreter.lose(error, calls_go_on=calls_go_on)
        self._run()

    def load_late(self, module: str, path: str) -> None:
        """Let the live bridge report that it imported ``module`` dynamically from ``path``."""
        self._interpreter.load_late(module, ROOT / path)
        self._run()

    # --- files and time

    @property
    def files(self) -> dict[str, str]:
        """The text of every file of the project by its path, without those in ``.lastgood`` directories."""
        shown = (path for path in self._disk.names if path.is_relative_to(ROOT) and ".lastgood" not in path.parts)
        return {
            path.relative_to(ROOT).as_posix(): self._disk.names[path].data.decode(errors="replace")
            for path in sorted(shown)
        }

    @property
    def times(self) -> dict[str, tuple[int, float]]:
        """The mode and modification time of each of :attr:`files`."""
        return {name: (self._disk.names[ROOT / name].mode, self._disk.names[ROOT / name].mtime) for name in self.files}

    @property
    def leftovers(self) -> tuple[str, ...]:
        """Temporary files in the ``.lastgood`` directory: stages, backups and journals. There are none between two cycles."""
        names = (path for path in (*self._disk.names, *self._disk.directories) if ".lastgood" in path.parts)
        left = (path for path in names if "stage-" in str(path) or "backup" in path.parts or "journal" in path.name)
        return tuple(sorted(path.relative_to(ROOT).as_posix() for path in left))

    def write(self, path: str, text: str | bytes) -> None:
        """Save a file, like an editor; the watcher notices it."""
        self._disk.put(ROOT / path, _bytes(text))
        self._hint()

    def remove(self, path: str) -> None:
        """Delete a file; the watcher notices it. Raises :class:`FileNotFoundError` if there is none."""
        self._check_file(path)
        del self._disk.names[ROOT / path]
        self._hint()

    def _check_file(self, path: str) -> None:
        if ROOT / path not in self._disk.names:
            raise FileNotFoundError(f"There is no file {path} in this World.")

    def touch(self, path: str) -> None:
        """Change a file's modification time, but not its bytes; the watcher notices it. Raises as :meth:`remove` does."""
        self._check_file(path)
        self._disk.names[ROOT / path].mtime = self._disk.names[ROOT / path].ctime = self.clock.now
        self._hint()

    def _hint(self) -> None:
        for world in self._all:
            world._interpreter.hint()
            world._run()

    def after(self, seconds: float, call: Callable[[], object]) -> None:
        """Call ``call`` in ``seconds`` of virtual time, also while an effect hangs. Raises as :meth:`advance` does."""
        _check_seconds("after", seconds)
        self.clock.call_later("after", seconds, lambda: (call(), None)[1])

    def advance(self, seconds: float) -> None:
        """Let virtual time pass: timers elapse, cycles run. Raises :class:`ValueError` if ``seconds`` is negative."""
        _check_seconds("advance", seconds)
        self.clock.advance(seconds)
        self._run()

    # --- faults

    def fail(self, effect: str, at: int = 1, error: BaseException | None = None) -> None:
        """Make operation ``at`` (from 1) of the next effect of this name raise ``error``.

        ``effect``: "stage", "promote", "warm" (whose operations are create, init and probe), "swap", "dispose", "watch" or
        "rollback".
        """
        if error is not None and not isinstance(error, BaseException):
            raise TypeError(f"fail(): error must be an exception, such as OSError(), not {error!r}.")
        self._inject(Fault(effect, at, OSError("injected") if error is None else error))

    def hang(self, effect: str, at: int = 1, *, stuck: bool = False) -> None:
        """Make operation ``at`` (from 1) of the next "stage", "warm", "dispose" or "watch" hang.

        With ``stuck``, a stage hangs in a thread that cannot be ended: later stages wait for :meth:`return_stage`.
        """
        self._inject(Fault(effect, at, hang=True, stuck=stuck), _CAN_HANG)

    def return_stage(self) -> None:
        """Let the thread of a stage that hangs return."""
        self._interpreter.return_stage()
        self._run()

    def at(self, effect: str, at: int, call: Callable[[], object]) -> None:
        """Call ``call`` just before operation ``at`` (from 1) of the next effect of this name."""
        self._inject(Fault(effect, at, call=lambda: (call(), None)[1]))

    def _inject(self, fault: Fault, effects: Sequence[str] = _EFFECTS) -> None:
        """Script ``fault``. Raises :class:`ValueError` if it could never happen, so that no test passes by a misspelt name."""
        if fault.effect not in effects or fault.at < 1:
            raise ValueError(
                f'"{fault.effect}", at={fault.at} never comes; expected one of {", ".join(effects)}, and at from 1.'
            )
        self._interpreter.faults.append(fault)

    @property
    def operations(self) -> tuple[tuple[str, str], ...]:
        """Every operation so far, as (effect, operation)."""
        return tuple(self._interpreter.operations)

    # --- internals

    def _load(self, path: Path, read: Callable[[Path], bytes]) -> Config:
        if not self._disk.is_file(path):
            raise ConfigError("the config file does not exist.", file=path)
        return decode_config(read(path), path)

    def _report(self, event: Event) -> None:
        if self._stopped is not None:
            self._stopped.append(event)
            return
        self._driver.handle(event)
        self._run()

    def _run(self) -> None:
        """Perform actions until none is left. A nested call does nothing."""
        if self._working:
            return
        self._working = True
        try:
            while True:
                action = self._driver.take()
                if action is None:
                    return
                if self._driver.interrupted:
                    self._driver.finish(self._interpreter.failed(action, WatchError("interrupted")))
                else:
                    self._driver.finish(self._interpreter.perform(action))
                self._tell_bridge()
        finally:
            self._working = False
            self._spread()

    def _spread(self) -> None:
        """Write for the other sessions what there is to tell, and let them notice."""
        if not isinstance(self._driver.state.phase, Unstarted | Closed):
            self._interpreter.tell(self._driver.state)
        has_written, self._interpreter.has_written = self._interpreter.has_written, False
        for world in self._all if has_written else ():
            if world is not self:
                world._interpreter.hint()

    def _tell_bridge(self) -> None:
        if self.bridge is not None:
            state = self._driver.state
            self.bridge.told = state.generation, state.staleness is not None

    def _carry_out(self, command: Command) -> None:
        self.effects.append(command)
        self._tell_bridge()
        match command:
            case Emit(event):
                self._interpreter.note(event)
                self.events.append(event)
            case Answer(tickets, succeeded, error):
                for ticket in tickets:
                    self._interpreter.answer(ticket, succeeded=succeeded)
                    self._answers[ticket] = succeeded if error is None else error
            case _:
                self._interpreter.carry_out(command)


def _bytes(text: str | bytes) -> bytes:
    if not isinstance(text, str | bytes):
        raise TypeError(f"A file of a World is a text or bytes, not {type(text).__name__}.")
    return text.encode() if isinstance(text, str) else text


def _check_seconds(method: str, seconds: float) -> None:
    if not seconds >= 0:
        raise ValueError(f"{method}() takes seconds from 0, found {seconds:g}: time does not go back.")
