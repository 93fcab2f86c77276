"""The in-memory interpreter: files in a dict, scripted bridges, virtual time; no disk, process or clock.

It is synchronous and deterministic. Every effect consists of *operations*, one after another: each change of a file, and
``create``, ``init``, ``probe`` and ``dispose`` of a bridge. At any operation a test can inject a fault or call a function.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, assert_never

from lastgood import effects
from lastgood.config import GeneratorConfig
from lastgood.errors import AlreadyWatched, BridgeError, GenerationError, ModuleFailure
from lastgood.interpreters import staging
from lastgood.interpreters.adoption import AdoptedFiles, stage_adopted
from lastgood.interpreters.cycle_files import CycleFiles
from lastgood.interpreters.leading import Answers, Follower, Leader, find_leader, follow
from lastgood.interpreters.project import Project
from lastgood.interpreters.staging import StageResult, advance, stage, stage_undo, take_recovered
from lastgood.planner import State, events
from lastgood.planner.news import News
from lastgood.planner.watch_set import WatchSet
from lastgood.sources.snapshots import Reader
from lastgood.store.file_system import digest_of
from lastgood.store.generations import DamagedGeneration, LateModule
from lastgood.store.memory_files import MemoryFiles
from lastgood.watch_events import WatchEvent

__all__ = ["Fault", "MemoryClock", "MemoryInterpreter", "ScriptedBridge"]


T = TypeVar("T")


class MemoryClock:
    """A virtual clock, in seconds since the epoch. It moves only by :meth:`advance`, which calls the functions that are due."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now
        self._due: list[tuple[float, int, str, Callable[[], None]]] = []
        self._order = itertools.count()

    def call_later(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        """Call ``call`` in ``seconds``, unless :meth:`forget` is called with ``name`` before."""
        heapq.heappush(self._due, (self.now + seconds, next(self._order), name, call))

    def forget(self, name: str) -> None:
        """Cancel the calls that were scheduled under ``name``."""
        self._due = [due for due in self._due if due[2] != name]
        heapq.heapify(self._due)

    @property
    def next_due(self) -> float | None:
        """The seconds until the next call that was scheduled; None if there is none."""
        return max(self._due[0][0] - self.now, 0.0) if self._due else None

    def advance(self, seconds: float, stop: Callable[[], bool] = bool) -> None:
        """Let ``seconds`` pass, or fewer if ``stop()`` is true after a call."""
        until = self.now + seconds
        while self._due and self._due[0][0] <= until:
            at, _, _, call = heapq.heappop(self._due)
            self.now = max(self.now, at)
            call()
            if stop():
                return
        self.now = max(self.now, until)


@dataclass(slots=True, eq=False)
class ScriptedBridge:
    """A bridge that makes no calls, but records what happens to it.

    ``state``: "created", "ready", "lost" or "disposed"; ``leases``: the number of calls in flight; ``busy``: its ``idle()`` would
    wait; ``cut_off``: one of both was cut off; ``prepared``: it was asked to prepare resources for the next bridge; ``told``: the
    generation and the staleness that its ``tell()`` was last given; ``sources``: the text of each module by name.
    """

    cycle: int
    sources: dict[str, str]
    state: str = "created"
    leases: int = 0
    busy: bool = False
    cut_off: bool = False
    prepared: bool = False
    told: tuple[int, bool] | None = None


@dataclass(slots=True)
class Fault:
    """A fault at operation ``at`` (from 1) of the next effect named ``effect``: raise ``error``, call ``call``, or hang.

    ``stuck``: the stage hangs in a thread that cannot be ended.
    """

    effect: str
    at: int
    error: BaseException | None = None
    call: Callable[[], None] | None = None
    hang: bool = False
    stuck: bool = False


class _HangError(Exception):
    """Raised by an operation that is to hang."""


class _Interrupted(Exception):  # an outcome rather than an error
    """Raised by an action that hung until it was interrupted."""


def _unrunnable(generator: GeneratorConfig) -> ModuleFailure:
    return ModuleFailure(generator.label, None, None, "a world in memory runs no programs. Leave its generators out.")


def _warm_timeout(timeout: float) -> BridgeError:
    return BridgeError(f"The next bridge was not ready within {timeout:g} s (warm_timeout).")


@dataclass(slots=True)
class MemoryInterpreter:
    """An interpreter on ``files`` and scripted bridges. ``report(event)`` passes an event to the planner."""

    project: Project
    files: MemoryFiles
    clock: MemoryClock
    report: Callable[[events.Event], None]
    log: list[effects.Effect] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    bridges: dict[int, ScriptedBridge] = field(default_factory=dict)
    live: ScriptedBridge | None = None
    differences: tuple[str, ...] = ()
    """Scripted warnings of the comparison of the wrappers with the next bridges."""
    calls_wait: bool = False
    """The live bridge has made way, and no other is live yet."""
    refusal: BaseException | None = None
    """Why there is no bridge to call."""
    stuck: bool = False
    """The thread of an abandoned stage has not returned."""
    operations: list[tuple[str, str]] = field(default_factory=list)
    """Every operation so far, as (effect, operation)."""
    name: str = ""
    """The name of this session among those on one disk; timers and requests have it in theirs."""
    follower: Follower | None = None
    has_written: bool = False
    """Something was written for the other sessions."""
    _leader: Leader = field(init=False)
    _is_elected: bool = False
    _tickets: Iterator[int] = field(default_factory=lambda: itertools.count(1 << 32))
    _said: tuple[News, Answers] | None = None
    _effect: str = ""
    _count: int = 0
    _interrupted: bool = False
    _work: CycleFiles | None = None
    _armed: WatchSet | None = None
    _draining: set[int] = field(default_factory=set)
    _made_way: set[int] = field(default_factory=set)
    _late: dict[int, list[LateModule]] = field(default_factory=dict)
    _reader: Reader = field(init=False)

    def __post_init__(self) -> None:
        self._reader = Reader(self.project.contents)
        self._leader = Leader(self.project, generates=False)
        self.project.on_claim = lambda config: self._apart(self._leader.introduce, config)
        self.files.before = lambda operation, path: self._operation(f"{operation} {path}")

    # --- actions

    def perform(self, action: effects.Action) -> events.Event:
        """Perform ``action``, and return its outcome as an event."""
        self.log.append(action)
        self._effect = action.name
        self._count = 0
        self._interrupted = False
        try:
            return self._do(action)
        finally:
            self._effect = ""

    def _do(self, action: effects.Action) -> events.Event:
        match action:
            case effects.Stage() | effects.Promote() | effects.Warm() | effects.Swap():
                try:
                    return self._advance(action)
                except Exception as error:
                    return self.failed(action, error)
            case effects.Dispose():
                return self._dispose(action)
            case effects.Watch():
                if self.follower is None:
                    self._armed = self._cycle.watch.with_paths(self.project.asked_for)
                try:
                    self._cycle.settle(self.clock.now)
                except _HangError:
                    self._hang(action.timeout, can_end=False)
                except Exception:  # the trio interpreter logs it
                    pass
                return events.Watched(action, 0.0)
            case effects.Restart():
                return self._restart(action)
            case effects.Rollback():
                try:
                    self._roll_back(action)
                except Exception as error:
                    return events.RollbackFailed(action, error)
                return events.RolledBack(action)
            case effects.Release():
                while self._draining:
                    self.clock.advance(0.1)
                if self.follower is not None:
                    self.follower.leave()
                self.project.release()
                self._armed = None
                return events.Released()
            case _:
                assert_never(action)

    def failed(self, action: effects.Action, error: BaseException) -> events.Failed | events.RestartFailed:
        """Return the event of a failed ``action``."""
        if isinstance(action, effects.Restart):
            return events.RestartFailed(action, 0.0, None, self.clock.now)  # only an interruption leads here
        assert isinstance(action, effects.Stage | effects.Promote | effects.Warm | effects.Swap)
        if self._work is None:
            return events.Failed(action, 0.0, error, self.clock.now)
        work = self._work
        if isinstance(error, DamagedGeneration) and isinstance(work, AdoptedFiles):
            assert self.follower is not None
            newer = self._apart(self.follower.newer, work.good, 0.0)
            return events.Failed(action, 0.0, error, self.clock.now, work.read, work.used, leader=newer)
        if isinstance(error, AlreadyWatched):
            try:
                news = self._follow_instead(work, error)
            except AlreadyWatched as other:
                return events.Failed(action, 0.0, other, self.clock.now, work.read, work.used)
            return events.Failed(action, 0.0, error, self.clock.now, work.read, work.used, leader=news)
        read = work.read, work.used, work.only_waited
        return events.Failed(action, 0.0, error, self.clock.now, *read, displaced=work.has_lost_its_lock)

    def _advance(self, action: effects.Stage | effects.Promote | effects.Warm | effects.Swap) -> events.Event:
        match action:
            case effects.Stage():
                try:
                    return self._stage(action)
                except _HangError:
                    self._hang(action.timeout, can_end=not self.stuck)
                    raise self.project.timeout_error(action.timeout) from None
            case effects.Promote():
                work = self._cycle
                work.promote()
                touched = tuple(Path(name) for name in work.promotion.touched)
                return events.Promoted(action, 0.0, work.written, touched, work.promotion.warnings)
            case effects.Warm(cycle, timeout):
                bridge = ScriptedBridge(cycle, self._warm_sources())
                try:
                    self._operation("create")
                    self.bridges[cycle] = bridge
                    self._operation("init")
                    bridge.state = "ready"
                    self._operation("probe")
                except _HangError:
                    self._hang(timeout)
                    raise _warm_timeout(timeout) from None
                return events.Warmed(action, 0.0, self.differences)
            case effects.Swap(cycle):
                self._cycle.begin_commit()
                self._cycle.commit()
                self._go_live(self.bridges[cycle])
                made_way, self._made_way = self._made_way, set()
                for replaced in made_way - self._draining:
                    self.project.manifests.end(replaced)
                return events.Swapped(action, 0.0, self.clock.now)
            case _:
                assert_never(action)

    def _stage(self, action: effects.Stage) -> events.Event:
        work = self._work = self._files_of(action)
        if self.stuck:
            self._hang(action.timeout, until=lambda: not self.stuck)
            work.only_waited = self.stuck
        if work.only_waited:
            raise self.project.timeout_error(action.timeout, waited=True)
        if isinstance(work, AdoptedFiles):
            recipe = stage_adopted(work)
        elif action.undo:
            assert self._armed is not None
            recipe = stage_undo(work, self._armed)
        else:
            recipe = stage(work, self._armed)
        answer: object = None
        while True:
            try:
                step = advance(recipe, answer)
            finally:
                if (notice := take_recovered(work)) is not None:
                    self.report(notice)
            match step:
                case StageResult():
                    self._operation(
                        "generate"
                    )  # so that a stage that writes nothing new can fail at two points as well
                    return step.event(action, work, 0.0)
                case staging.Arm(watch):
                    self._armed, self._is_elected = watch.union(self._armed), False
                    answer = self._reader.read(self._armed)
                case staging.RunGenerators(config):
                    raise GenerationError(tuple(_unrunnable(generator) for generator in config.generators))
                case _:
                    raise AssertionError(f"a world has no generate(): {step}")

    def _files_of(self, action: effects.Stage) -> CycleFiles:
        if action.adopts is None:
            return CycleFiles(self.project, action.cycle)
        assert self.follower is not None
        return AdoptedFiles(self.project, action.cycle, self.follower, action.adopts)

    def _warm_sources(self) -> dict[str, str]:
        config = self._cycle.config
        assert config is not None
        assert config.pinned is not None
        return self._sources(config.pinned, config.modules)

    def _sources(self, manifest: Path, names: Iterable[str]) -> dict[str, str]:
        """Return the sources that a worker would import, by module: the pinned ones, not those on disk."""
        kept = self.project.kept(manifest)
        return {name: kept.sources[name].decode() for name in (*names, *kept.late) if name in kept.sources}

    def load_late(self, module: str, path: Path) -> None:
        """Let the live bridge import a module dynamically."""
        assert self.live is not None, "no bridge is live"
        late = LateModule(module, path, self.files.read(path))
        self.live.sources[module] = late.source.decode()
        self._late.setdefault(self.live.cycle, []).append(late)
        self.report(events.LoadedLate(self.live.cycle, (events.Late(module, path, digest_of(late.source)),)))

    def _pin(self, cycle: int) -> None:
        late, effect = self._late.pop(cycle, []), self._effect
        self._effect = ""  # its operations do not belong to the running action
        with contextlib.suppress(OSError):  # the trio interpreter logs it
            manifest = self.project.store_late(cycle, late)
            if manifest is not None:
                self.project.use_late(cycle, manifest)
        self._effect = effect
        self.report(events.Pinned(cycle))

    def _restart(self, action: effects.Restart) -> events.Event:
        broken = self.bridges[action.bridge]
        manifest = self.project.manifests.give(action.bridge)
        assert manifest is not None
        restarted = ScriptedBridge(action.bridge, self._sources(manifest, broken.sources))
        try:
            for operation in ("create", "init", "probe"):
                self._operation(operation)
        except _HangError:
            with contextlib.suppress(_Interrupted):
                self._hang(action.timeout)
            error = None if self._interrupted else _warm_timeout(action.timeout)
            return events.RestartFailed(action, 0.0, error, self.clock.now)
        except Exception as error:
            return events.RestartFailed(action, 0.0, error, self.clock.now)
        restarted.state = "ready"
        self.bridges[action.bridge] = restarted
        self._made_way.discard(action.bridge)
        self._go_live(restarted)
        broken.cycle = action.broken
        self.bridges[action.broken] = broken
        return events.Restarted(action, 0.0)

    def _go_live(self, bridge: ScriptedBridge) -> None:
        self.live, self.calls_wait, self.refusal = bridge, False, None

    def lose(self, error: BaseException, *, calls_go_on: bool) -> None:
        """Let the live bridge break down with ``error``."""
        assert self.live is not None, "there is no live bridge to lose"
        self.live.state, self.live.leases = "lost", self.live.leases if calls_go_on else 0
        self.report(events.Lost(self.live.cycle, error, self.clock.now))

    def _dispose(self, action: effects.Dispose) -> events.Event:
        bridge = self.bridges[action.bridge]
        if action.makes_way:
            self.live, self.calls_wait, self.refusal = None, True, None
            self._made_way.add(action.bridge)
        if bridge.leases or bridge.busy:
            self._draining.add(action.bridge)
            return events.Draining(action.bridge, 0.0)
        return self._dispose_now(action.bridge)

    def _dispose_now(self, cycle: int) -> events.Event:
        bridge = self.bridges[cycle]
        bridge.state = "disposed"
        if cycle not in self._made_way:
            self.project.manifests.end(cycle)
        if self.live is bridge:
            self.live = None
        try:
            self._operation("dispose")
        except _HangError:
            return events.DisposeFailed(cycle, 0.0, BridgeError("dispose() did not end in time and was given up."))
        except Exception as error:
            return events.DisposeFailed(cycle, 0.0, error)
        return events.Disposed(cycle, 0.0)

    def in_flight(self, cycle: int) -> int:
        """Return the number of calls in flight on the bridge of ``cycle``."""
        return self.bridges[cycle].leases if cycle in self.bridges else 0

    def end_leases(self, cycle: int, *, cut_off: bool = True) -> None:
        """End all calls in flight on the bridge of ``cycle``, and what else it does; if it was draining, dispose it."""
        bridge = self.bridges[cycle]
        bridge.cut_off = bridge.cut_off or (cut_off and (bridge.leases > 0 or bridge.busy))
        bridge.leases, bridge.busy = 0, False
        if cycle in self._draining:
            self._draining.discard(cycle)
            self._effect, self._count, before = "dispose", 0, (self._effect, self._count)
            outcome = self._dispose_now(cycle)
            self._effect, self._count = before
            self.report(outcome)

    def _roll_back(self, action: effects.Rollback) -> None:
        match action.effect:
            case effects.Stage():
                self._cycle.discard()
            case effects.Promote():
                self._cycle.restore()
            case effects.Warm(cycle):
                bridge = self.bridges.get(cycle)
                if bridge is not None:
                    bridge.state = "disposed"
                    self._operation("dispose")

    @property
    def _cycle(self) -> CycleFiles:
        assert self._work is not None, "a stage comes first"
        return self._work

    def _operation(self, what: str) -> None:
        """Count and record an operation, and trigger the faults that are due. Everything that can fail calls this first."""
        if not self._effect:
            return
        self._count += 1
        self.operations.append((self._effect, what))
        due = [each for each in self.faults if each.effect == self._effect and each.at == self._count]
        for fault in due:
            self.faults.remove(fault)
            if fault.call is not None:
                fault.call()
            if fault.error is not None:
                raise fault.error
            if fault.hang:
                self.stuck = fault.stuck
                raise _HangError

    def _hang(self, seconds: float, *, can_end: bool = True, until: Callable[[], bool] = bool) -> None:
        """Let ``seconds`` pass, or the time until ``until()``. Raises :class:`_Interrupted` when the action is interrupted."""
        self.clock.advance(seconds, lambda: until() or (can_end and self._interrupted))
        if self._interrupted:
            raise _Interrupted

    # --- several sessions on one disk

    def find_leader(self) -> tuple[News | None, tuple[int, int]]:
        """Follow the session that leads; see the trio interpreter."""
        self.follower, numbered = find_leader(self._leader, self.name)
        self.has_written |= self.follower is not None
        return None if self.follower is None else self.follower.news, numbered

    def _follow_instead(self, work: CycleFiles, error: AlreadyWatched) -> News | None:
        live = self.project.live
        if work.config is None or (live is not None and live.path != error.output):
            return None
        self.follower = follow(self._leader, work.config, error, self.name, wait=False)
        self._armed, self.has_written = None, True
        return self.follower.news

    def _look(self, number: int) -> None:
        if self.follower is not None:
            self._hear(self.follower)
        elif self._armed is not None or self._is_elected:
            read = {} if self._armed is None else self._reader.read(self._armed)
            asked = self._apart(self._leader.take)
            self.report(events.Observed(read, number))
            for event in self._leader.events_of(asked, self._tickets):
                self.report(event)

    def _hear(self, follower: Follower) -> None:
        event = self._apart(follower.hear, self.clock.now)
        if isinstance(event, events.Elected):
            self.follower, self._is_elected = None, True
        if event is not None:
            self.report(event)

    def note(self, event: WatchEvent) -> None:
        """Take note of what is to be told to followers."""
        self._leader.note(event)

    def answer(self, ticket: int, *, succeeded: bool) -> None:
        """Pass on the answer to a request of a follower, if ``ticket`` stands for one."""
        self._leader.answer(ticket, succeeded=succeeded)

    def tell(self, state: State) -> None:
        """Write what there is to tell in ``state`` for followers."""
        if state.following is not None or state.ending:
            return
        said = self._leader.to_tell(state)
        if said != self._said:
            self._said, self.has_written = said, True
            self._apart(self._leader.tell, *said)

    def _apart(self, do: Callable[..., T], *args: object) -> T:
        """Call ``do``, whose operations do not belong to the running action."""
        effect, self._effect = self._effect, ""
        try:
            return do(*args)
        finally:
            self._effect = effect

    def _write_apart(self, do: Callable[..., None], *args: object) -> None:
        self._apart(do, *args)
        self.has_written = True

    # --- commands

    def carry_out(self, command: effects.Command) -> None:
        """Carry out ``command`` at once."""
        match command:
            case effects.Look(number):
                self._look(number)
            case effects.SetTimer(timer, seconds):
                self.clock.forget(f"{self.name}{timer}")
                self.clock.call_later(f"{self.name}{timer}", seconds, lambda: self.report(events.TimerElapsed(timer)))
            case effects.StopTimer(timer):
                self.clock.forget(f"{self.name}{timer}")
            case effects.Ask(ticket, request):
                assert self.follower is not None
                self._write_apart(self.follower.ask, ticket, request)
            case effects.Beat():
                if not self._apart(self._leader.beat) and self.follower is None:
                    self.report(events.LockRemoved())
                self.has_written = True
            case effects.Arm(paths) if self.follower is not None:
                self._write_apart(self.follower.watch, paths)
            case effects.Pin(bridge):
                self._pin(bridge)
            case effects.Prepare(bridge):
                self.bridges[bridge].prepared = True
            case effects.Arm(paths):
                if self._armed is not None:  # else the first stage watches them, among all else
                    self._armed = self._armed.with_paths(paths)
            case effects.Interrupt():
                self._interrupted = True  # of the actions that take time here, those that hang
            case effects.Unpublish():
                self.live, self.calls_wait, self.refusal = None, False, None
            case effects.Refuse(error):
                self.calls_wait, self.refusal = False, error
            case effects.CutOff(bridge, _):
                self.end_leases(bridge)
            case _:
                raise AssertionError(f"{command} is carried out by the World")

    def return_stage(self) -> None:
        """Let the thread of an abandoned stage return."""
        self.stuck = False
        self.report(events.StageReturned())

    def hint(self) -> None:
        """Tell the planner that files may have changed, as the system's notifier does."""
        if self._armed is not None or self.follower is not None:
            self.report(events.Hinted())
