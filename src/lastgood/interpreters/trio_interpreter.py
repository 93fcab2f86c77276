"""The interpreter that does it: real files, the system's notifier, the user's factories, under trio (contract §§4, 5).

Blocking work goes to threads with a limit of their own. Nothing is decided here: what a failure means, when to try again and
what to undo is the planner's.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, assert_never

import trio

from lastgood.calls.registry import Slot, publish, unpublish
from lastgood.config import Config
from lastgood.effects import (
    Action,
    Arm,
    Command,
    CutOff,
    Dispose,
    Look,
    Pin,
    Prepare,
    Promote,
    Release,
    Restart,
    Rollback,
    SetTimer,
    Stage,
    StopTimer,
    Swap,
    Unpublish,
    Warm,
    Watch,
)
from lastgood.errors import GenerationError, LastgoodError
from lastgood.generators.checking import check_staged
from lastgood.generators.running import run_generators
from lastgood.interpreters.bounded_stage import BoundedStage
from lastgood.interpreters.cycle_files import CycleFiles, Project
from lastgood.interpreters.live_bridges import LiveBridges, since
from lastgood.interpreters.watching import Notifier
from lastgood.planner.events import (
    NOBODY,
    Event,
    Failed,
    Noticed,
    Observed,
    Promoted,
    Released,
    RestartFailed,
    RollbackFailed,
    RolledBack,
    Staged,
    Swapped,
    TimerElapsed,
    UndoRequested,
    Warmed,
    Watched,
)
from lastgood.planner.watch_set import WatchSet, merge
from lastgood.sources.snapshots import Reader
from lastgood.store.promotion import OutputDirectory
from lastgood.watch_events import PollingStarted, Recovered
from lastgood.wrappers import Generated

__all__ = ["Hooks", "Interrupted", "TrioInterpreter"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_in_action: ContextVar[object] = ContextVar("in_action", default=None)
"""What marks the action that this code is part of: a factory that waits for its own cycle would wait forever."""

# Seconds. After a hint, what the system has not told yet is looked for again: watches of new directories come late.
_SECOND_LOOKS = (0.05, 0.5)
_POLL = 1.0
# In quiet times a reading may take this part of the time.
_IDLE_SHARE = 0.02
_IDLE_LOOK = 2.0


class Interrupted(Exception):  # it is an outcome, and nobody's error
    """An action was stopped because the session ends."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the user gave to ``watch()`` (contract §2). ``generate`` None: the built-in generator."""

    create_bridge: Callable[[Config], Any]
    generate: Callable[[Config, Path], Any] | None = None
    probe: Callable[[Any], Any] | None = None
    set_as_global: bool = False


class TrioInterpreter:
    """See the module. ``tell(event)`` is how the planner hears of it; ``nursery`` holds every task there is."""

    def __init__(
        self, project: Project, hooks: Hooks, slot: Slot, nursery: trio.Nursery, tell: Callable[[Event], None]
    ) -> None:
        self._project = project
        self._hooks = hooks
        self._slot = slot
        self._to_publish = hooks.set_as_global
        self._nursery = nursery
        self._tell = tell
        self._limiter = trio.CapacityLimiter(4)
        self._bounded = BoundedStage()
        self._notifier = Notifier(nursery, self._hinted, self._gave_out)
        self._reader = Reader(project.files)
        self._reading = trio.Lock()
        self._keeping = trio.Lock()  # held by who works on what is kept of generations
        self._armed: WatchSet | None = None
        self._woken = trio.Event()
        self._asked = False
        self._hints = False
        self._observing = trio.CancelScope()
        self._timers: dict[str, trio.CancelScope] = {}
        self._action: object = None
        self._stages = False
        self._checked: Mapping[str, str] = {}
        self._work: CycleFiles | None = None
        self._bridges = LiveBridges(hooks.create_bridge, hooks.probe, slot, nursery, tell, project.manifests.end)

    # --- actions

    async def perform(self, action: Action) -> Event:
        """Do ``action``; cancelled, it raises Cancelled as anything does, and :meth:`failed` says what that comes to."""
        self._action = object()
        token = _in_action.set(self._action)
        started = trio.current_time()
        try:
            return await self._do(action, started)
        finally:
            _in_action.reset(token)
            self._action = None

    def is_in_action(self) -> bool:
        """Whether the calling code is part of the action that runs."""
        return self._action is not None and _in_action.get() is self._action

    async def _do(self, action: Action, started: float) -> Event:
        match action:
            case Stage():
                return await self._stage(action, started)
            case Promote() | Warm() | Swap():
                try:
                    return await self._advance(action, started)
                except Exception as error:
                    return self.failed(action, error, started)
            case Dispose():
                await self._pin(action.bridge)  # as it was asked to; it may not have come to it
                return await self._bridges.dispose(action, started)
            case Restart():
                await self._pin(action.bridge)  # likewise
                return await self._bridges.restart(action, self._project.manifests.give(action.bridge), started)
            case Watch():
                await self._commit_watch()
                return Watched(action, since(started))
            case Rollback():
                try:
                    await self._roll_back(action)
                except trio.Cancelled:
                    raise
                except BaseException as error:  # SystemExit and the like out of a user's dispose()
                    return RollbackFailed(action, error)
                return RolledBack(action)
            case Release():
                await self._release(action)
                return Released()
            case _:
                assert_never(action)

    def failed(self, action: Action, error: BaseException, started: float) -> Failed | RestartFailed:
        """That ``action``, begun at ``started`` by trio's clock, came to nothing."""
        if isinstance(action, Restart):
            cause = None if isinstance(error, Interrupted) else error
            return RestartFailed(action, since(started), cause, time.time())
        assert isinstance(action, Stage | Promote | Warm | Swap)
        if self._work is None:
            return Failed(action, since(started), error, time.time())
        return Failed(action, since(started), error, time.time(), self._work.read, self._work.used)

    def stop_extractor(self) -> None:
        """The action that runs was interrupted: whatever its outcome, it is not wanted any more."""
        if self._stages:
            self._project.extractor.stop()

    async def _stage(self, action: Stage, started: float) -> Event:
        work = self._work = CycleFiles(self._project, action.cycle)
        self._stages = True
        try:
            if self._to_publish:
                publish(self._slot)
                self._to_publish = False
            return await self._bounded.run(partial(self._staged, action, work, started), work, action.timeout)
        except Exception as error:
            return self.failed(action, error, started)
        finally:
            self._stages = False

    async def _staged(self, action: Stage, work: CycleFiles, started: float) -> Event:
        if action.undo:
            assert self._armed is not None
            async with self._keeping:
                await self._in_thread(work.take_back, self._armed)
                changes = await self._in_thread(work.changes)
            await self._arm(work.watch, work)
            return Staged(action, since(started), work.watch, work.read, changes=changes)
        self._project.extractor.start()
        problem = await self._resolve(work)
        if work.config is not None and (problem is None or await self._in_thread(work.has_history)):
            # Also where a module is missing: what a kill has left must not wait until that is mended.
            self._tell_recovered(await self._in_thread(work.claim))
        if problem is not None:
            raise problem
        own = await self._generate(work, action.timeout)
        assert work.config is not None
        others = await self._run_generators(work)
        generated = await self._bounded.step(work, work.accept, own, others)
        await self._check(work, others)
        async with self._keeping:
            await self._in_thread(work.keep)
            previous, changes = await self._in_thread(lambda: (work.has_previous, work.changes()))
        return Staged(
            action,
            since(started),
            work.watch,
            work.read,
            tuple(generated.warnings),
            work.used,
            previous,
            work.config.runtime.process.probation,
            changes,
        )

    def _tell_recovered(self, output: OutputDirectory) -> None:
        if output.recovered:
            self._tell(Noticed(Recovered(output.path, tuple(Path(name) for name in output.recovered))))
            output.recovered = ()

    async def _resolve(self, work: CycleFiles) -> LastgoodError | None:
        """Resolve the config, with everything that the answer depends on watched, and read, before it was given.

        What is watched already was read by the look before the cycle. For what is new the answer is got once more after it
        was armed and read, or an edit in between would never be noticed. Gives what stands in the way of an answer.
        """
        if self._armed is None:
            await self._arm(self._project.always_watched, work)
        while True:
            problem: LastgoodError | None = None
            try:
                await self._bounded.step(work, work.resolve)
            except LastgoodError as error:
                problem = error
            if self._armed is not None and set(work.watch.roots) <= set(self._armed.roots):
                break
            await self._arm(work.watch, work)
        return problem

    async def _generate(self, work: CycleFiles, timeout: float) -> object:
        generate = self._hooks.generate
        if generate is None:
            return await self._bounded.step(work, work.generate)
        assert work.config is not None
        self._project.note("generate()")
        made: object
        if _is_async(generate):
            made = generate(work.config, work.workplace)
        else:  # in a tuple, because trio lets no thread return a coroutine
            call = partial(lambda config, stage: (generate(config, stage),), work.config, work.workplace)
            (made,) = await self._bounded.step(work, call)
        if not inspect.isawaitable(made):
            return made
        with trio.move_on_after(timeout) as scope:
            made = await made
        if scope.cancelled_caught:
            raise work.late(timeout)
        return made

    async def _run_generators(self, work: CycleFiles) -> Generated:
        assert work.config is not None
        if not work.config.generators:
            return Generated(())
        note = self._project.note
        return await run_generators(work.config, work.config_text, work.workplace, work.made, note)

    async def _check(self, work: CycleFiles, others: Generated) -> None:
        """Have a look at the Python files that lastgood did not make itself, unless it has seen the same ones last.

        Raises :class:`GenerationError`.
        """
        foreign = others.files if self._hooks.generate is None else work.staged.keys()
        files = {name: work.staged[name] for name in foreign}
        if files == self._checked:
            return
        assert work.output is not None
        imported = files.keys() - set(others.files)
        failures = await check_staged(
            work.workplace, work.output.path.name, imported=imported, compiled=others.files, note=self._project.note
        )
        if failures:
            raise GenerationError(failures)
        self._checked = files

    async def _advance(self, action: Promote | Warm | Swap, started: float) -> Event:
        work = self._work
        assert work is not None
        match action:
            case Promote():
                await self._in_thread(work.promote)
                touched = tuple(Path(name) for name in work.promotion.touched)
                return Promoted(action, since(started), work.written, touched, work.promotion.warnings)
            case Warm():
                assert work.config is not None
                await self._bridges.warm(action.cycle, work.config, action.timeout)
                return Warmed(action, since(started))
            case Swap():
                # One system call, and what follows it cannot fail: no checkpoint lies between the two.
                work.commit()
                assert work.config is not None
                self._bridges.swap(action.cycle, work.config)
                return Swapped(action, since(started), time.time())
            case _:
                assert_never(action)

    def give_up(self, why: str) -> None:
        """End every lease now, and wait for no thread of a stage."""
        self._bounded.give_up()
        self._bridges.cut_off_all(why)

    async def _roll_back(self, action: Rollback) -> None:
        work = self._work
        assert work is not None
        match action.effect:
            case Stage():
                async with self._keeping:
                    await self._in_thread(work.discard)
                self._work = None
            case Promote():
                await self._in_thread(work.restore)
            case Warm(cycle):
                await self._bridges.discard(cycle, action.timeout)

    async def _release(self, action: Release) -> None:
        await self._bridges.drained()
        self._observing.cancel()
        await self._notifier.arm(WatchSet(()))
        if not await self._bounded.back(action.timeout):
            logger.warning("%s: a thread that was at this has not returned, and is left behind", self._project.at[0])
        async with self._keeping:
            await self._in_thread(self._project.release)

    async def _in_thread(self, work: Callable[..., T], *args: object) -> T:
        return await trio.to_thread.run_sync(partial(work, *args), limiter=self._limiter)

    @trio.lowlevel.enable_ki_protection
    async def _pin(self, cycle: int) -> None:
        """Keep what the bridge of ``cycle`` has loaded late. What cannot be kept its next worker reads from the disk."""
        async with self._keeping:
            late = self._bridges.loaded_late(cycle)
            if not late:
                return
            try:
                manifest = await self._in_thread(self._project.keep_late, cycle, late)
            except Exception:
                logger.exception("what was loaded late could not be kept; a worker that is started again reads it anew")
                return
            self._bridges.kept(cycle, late)
            if manifest is not None:
                self._project.kept_late(cycle, manifest)

    # --- watching

    async def _arm(self, watch: WatchSet, work: CycleFiles) -> None:
        """Watch this besides what is watched, then read it: what changes after the reading is not missed."""
        async with self._reading:
            self._armed = watch.union(self._armed)
            await self._notifier.arm(self._armed)
            work.read = merge(work.read, await self._bounded.read(self._reader.read, self._armed, time.time()))

    async def _commit_watch(self) -> None:
        work = self._work
        assert work is not None
        async with self._reading:
            self._armed = work.watch
            await self._notifier.arm(work.watch)
        self._work = None
        try:
            async with self._keeping:
                await self._in_thread(work.settle, time.time())
        except Exception:
            logger.exception("what the cycle leaves could not be removed; the next start does it")

    @trio.lowlevel.enable_ki_protection
    async def observe(self) -> None:
        """Read what is armed whenever a hint, a question or the time gives reason to, and tell. Runs until released.

        With each reading a request of ``lastgood undo`` is looked for. Also when nothing happens, a reading comes after
        ``_IDLE_LOOK`` seconds, or after ``1 / _IDLE_SHARE`` times what the last one took, if that is more: so long a request
        may lie there. None is lost, since it is a file that only this removes.
        """
        later: list[float] = []
        took = 0.0
        with self._observing:
            while True:
                idle = _POLL if self._notifier.polling else max(_IDLE_LOOK, took / _IDLE_SHARE)
                due = min((*later, trio.current_time() + idle))
                with trio.move_on_at(due):
                    await self._woken.wait()
                self._woken = trio.Event()
                now = trio.current_time()
                later = [now + wait for wait in _SECOND_LOOKS] if self._hints else [at for at in later if at > now]
                asked, self._asked, self._hints = self._asked, False, False
                async with self._reading:
                    armed = self._armed
                    if armed is None:
                        continue
                    await self._notifier.arm(armed)
                    read = await self._bounded.read(self._reader.read, armed, time.time())
                    undo_asked = await self._in_thread(self._project.take_undo_request)
                took = trio.current_time() - now
                self._tell(Observed(read, asked))
                if undo_asked:
                    self._tell(UndoRequested(NOBODY))

    def _hinted(self) -> None:
        self._hints = True
        self._woken.set()

    def _gave_out(self, reason: str) -> None:
        self._tell(Noticed(PollingStarted(reason)))

    # --- commands

    def carry_out(self, command: Command) -> None:
        """Do ``command`` at once."""
        match command:
            case Look():
                self._asked = True
                self._woken.set()
            case SetTimer(timer, seconds):
                self._stop_timer(timer)
                scope = self._timers[timer] = trio.CancelScope()
                self._nursery.start_soon(self._run_timer, timer, seconds, scope)
            case StopTimer(timer):
                self._stop_timer(timer)
            case Pin(bridge):
                self._nursery.start_soon(self._pin, bridge)
            case Prepare(bridge):
                self._bridges.prepare(bridge)
            case Arm(paths):
                assert self._armed is not None
                self._armed = self._armed.with_paths(paths)
                self._woken.set()
            case Unpublish():
                self._slot.close()
                unpublish(self._slot)
            case CutOff(bridge):
                self._bridges.cut_off(
                    bridge, "was cut off: it was still in flight when two later bridges had been replaced as well"
                )
            case _:
                raise AssertionError(f"{command} is the session's own")

    @trio.lowlevel.enable_ki_protection
    async def _run_timer(self, timer: str, seconds: float, scope: trio.CancelScope) -> None:
        with scope:
            await trio.sleep(seconds)
            # One that was replaced in the moment it ran out has nothing to say.
            if self._timers.get(timer) is scope:
                del self._timers[timer]
                self._tell(TimerElapsed(timer))

    def _stop_timer(self, timer: str) -> None:
        scope = self._timers.pop(timer, None)
        if scope is not None:
            scope.cancel()


def _is_async(function: Callable[..., object]) -> bool:
    call = getattr(function, "__call__", None)  # noqa: B004  # an object with an async __call__ counts
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
