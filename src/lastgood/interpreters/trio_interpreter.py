"""The interpreter for real use, under trio: files, the system's file notification, and the user's functions.

Blocking work runs in threads with a limiter of their own. No decisions are made here: the planner decides what a failure means,
when to retry and what to undo.
"""

from __future__ import annotations

import inspect
import itertools
import logging
import time
from collections.abc import Callable, Collection, Iterator
from collections.abc import Set as AbstractSet
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import TypeVar, assert_never

import trio

from lastgood import effects
from lastgood.calls.registry import Slot, publish, unpublish
from lastgood.children.limits import advice, explain, in_thread, is_about_a_limit
from lastgood.config import Config
from lastgood.errors import AlreadyWatched
from lastgood.interpreters import staging
from lastgood.interpreters.adoption import AdoptedFiles, stage_adopted
from lastgood.interpreters.bounded_stage import BoundedStage
from lastgood.interpreters.comparison import Comparison
from lastgood.interpreters.cycle_files import CycleFiles
from lastgood.interpreters.early_start import EarlyStart
from lastgood.interpreters.hooks import Beginning, Hooks, Interrupted, is_async
from lastgood.interpreters.live_bridges import LiveBridges, since
from lastgood.interpreters.other_sessions import OtherSessions
from lastgood.interpreters.project import Project
from lastgood.interpreters.staging import StageResult, advance, stage, stage_undo, take_recovered
from lastgood.interpreters.watching import Note, Notifier
from lastgood.planner import State, events
from lastgood.planner.news import News
from lastgood.planner.watch_set import Snapshot, WatchSet
from lastgood.sources.snapshots import Linked, Reader
from lastgood.store.generations import DamagedGeneration
from lastgood.watch_events import PollingStarted

__all__ = ["Beginning", "Hooks", "Interrupted", "TrioInterpreter"]

logger = logging.getLogger(__name__)

_PAUSE = 1.0
"""Seconds before a look that has met a limit of the system is repeated."""

T = TypeVar("T")

_in_action: ContextVar[object] = ContextVar("in_action", default=None)
"""A marker of the action that the running code is part of, to refuse calls by which a cycle would wait for itself."""


class TrioInterpreter:
    """The interpreter of one session. ``report(event)`` passes an event to the planner; ``nursery`` holds all tasks."""

    def __init__(
        self,
        project: Project,
        hooks: Hooks,
        slot: Slot,
        nursery: trio.Nursery,
        report: Callable[[events.Event], None],
        tickets: Iterator[int] = itertools.count(1 << 32),  # noqa: B008 - no two sessions share a planner
    ) -> None:
        self._project = project
        self._hooks = hooks
        self._slot = slot
        self._to_publish = hooks.set_as_global
        self._nursery = nursery
        self._report = report
        self._limiter = trio.CapacityLimiter(4)
        self._bounded = BoundedStage()
        self._notifier = Notifier(nursery, self._on_hint, self._start_polling)
        self._reader = Reader(project.contents)
        self._reading = trio.Lock()
        self._armed: WatchSet | None = None
        self._woken = trio.Event()
        self._look = 0  # the number of the last look that was asked for
        self._is_due = False  # everything is to be read
        self._named: set[str] = set()  # what the system has named since the last reading
        self._looked = 0  # the number of the last look that was reported
        self._seconds = 0.0  # its duration
        self._observing = trio.CancelScope()
        self._out_of: Exception | None = None  # the error of the last look, if it met a limit of the system
        self._timers: dict[str, trio.CancelScope] = {}
        self._action: object = None
        self._is_staging = False
        self._work: CycleFiles | None = None
        self._early = EarlyStart(hooks.begin, project, nursery)
        self._warnings: tuple[str, ...] = ()  # of its stage
        self.others = OtherSessions(project, report, tickets, generates=hooks.generate is not None)
        self._is_elected = False  # what is to be watched is not known yet
        self._bridges = LiveBridges(hooks.create_bridge, hooks.probe, slot, nursery, report, project.manifests.end)

    # --- actions

    async def perform(self, action: effects.Action) -> events.Event:
        """Perform ``action`` and return its outcome. On cancellation raises ``Cancelled``; :meth:`failed` makes the event then."""
        self._action = object()
        token = _in_action.set(self._action)
        started = trio.current_time()
        try:
            return await self._do(action, started)
        finally:
            _in_action.reset(token)
            self._action = None

    def is_in_action(self) -> bool:
        """Return whether the calling code is part of the running action."""
        return self._action is not None and _in_action.get() is self._action

    async def _do(self, action: effects.Action, started: float) -> events.Event:
        match action:
            case effects.Stage():
                return await self._stage(action, started)
            case effects.Promote() | effects.Warm() | effects.Swap():
                try:
                    return await self._advance(action, started)
                except Exception as error:
                    return self.failed(action, error, started)
            case effects.Dispose():
                return await self._bridges.dispose(action, started)
            case effects.Restart():
                return await self._bridges.restart(action, self._project.manifests.give(action.bridge), started)
            case effects.Watch():
                await self._commit_watch(action.timeout)
                return events.Watched(action, since(started))
            case effects.Rollback():
                try:
                    await self._roll_back(action)
                except trio.Cancelled:
                    raise
                except BaseException as error:  # SystemExit and the like, raised by a user's dispose()
                    return events.RollbackFailed(action, error)
                return events.RolledBack(action)
            case effects.Release():
                await self._release(action)
                return events.Released()
            case _:
                assert_never(action)

    def failed(
        self, action: effects.Action, error: BaseException, started: float
    ) -> events.Failed | events.RestartFailed:
        """Return the event of a failed ``action``, which began at ``started`` by trio's clock."""
        explain(error)
        if isinstance(action, effects.Restart):
            cause = None if isinstance(error, Interrupted) else error
            return events.RestartFailed(action, since(started), cause, time.time())
        assert isinstance(action, effects.Stage | effects.Promote | effects.Warm | effects.Swap)
        if self._work is None:
            return events.Failed(action, since(started), error, time.time())
        work = self._work
        read = work.read, work.used, work.only_waited
        return events.Failed(action, since(started), error, time.time(), *read, displaced=work.has_lost_its_lock)

    def stop_stage(self) -> None:
        """Stop the blocking part of a stage if one runs, because its result is not needed any more."""
        if self._is_staging:
            self._project.stop()

    async def _stage(self, action: effects.Stage, started: float) -> events.Event:
        work = self._work = self._files_of(action)
        self._is_staging = True
        try:
            if self._to_publish:
                publish(self._slot)
                self._to_publish = False
            staged = await self._bounded.run(partial(self._staged, action, work), work, action.timeout)
            self._warnings = staged.warnings
            return staged.event(action, work, since(started))
        except AlreadyWatched as error:
            return await self._follow_instead(action, work, error, started)
        except DamagedGeneration as error:
            if action.adopts is None or (news := await self.others.newer(action.adopts)) is None:
                return self.failed(action, error, started)
            return events.Failed(action, since(started), error, time.time(), work.read, work.used, leader=news)
        except Exception as error:
            return self.failed(action, error, started)
        finally:
            self._is_staging = False

    def _files_of(self, action: effects.Stage) -> CycleFiles:
        if action.adopts is None:
            return CycleFiles(self._project, action.cycle)
        assert self.others.follower is not None
        return AdoptedFiles(self._project, action.cycle, self.others.follower, action.adopts)

    async def _staged(self, action: effects.Stage, work: CycleFiles) -> StageResult:
        if isinstance(work, AdoptedFiles):
            recipe = stage_adopted(work)
        elif action.undo:
            assert self._armed is not None
            recipe = stage_undo(work, self._armed)
        else:
            recipe = stage(work, self._armed, custom=self._hooks.generate is not None)
        answer: object = None
        while True:
            try:
                step = await self._bounded.step(work, advance, recipe, answer)
            finally:
                if (notice := take_recovered(work)) is not None:
                    self._report(notice)
            match step:
                case StageResult():
                    return step
                case staging.Arm(watch):
                    if self._armed is None:
                        self._early.run_ahead()
                    answer = await self._arm(watch)
                case staging.Generate(config, directory):
                    answer = await self._generate(work, config, directory)
                case _:
                    answer = await self._bounded.answer(step, self._project.note)

    async def _generate(self, work: CycleFiles, config: Config, directory: Path) -> object:
        generate = self._hooks.generate
        assert generate is not None
        self._project.note("generate()")
        made: object
        if is_async(generate):
            made = generate(config, directory)
        else:  # in a tuple, because trio does not let a thread return a coroutine
            (made,) = await self._bounded.step(work, lambda: (generate(config, directory),))
        return await made if inspect.isawaitable(made) else made

    async def _advance(self, action: effects.Promote | effects.Warm | effects.Swap, started: float) -> events.Event:
        work = self._work
        assert work is not None
        match action:
            case effects.Promote():
                await self._in_thread(work.promote)
                touched = tuple(Path(name) for name in work.promotion.touched)
                return events.Promoted(action, since(started), work.written, touched, work.promotion.warnings)
            case effects.Warm():
                assert work.config is not None
                comparison = await self._warm(action, work, compares=not isinstance(work, AdoptedFiles))
                warnings = await self._compare(work, comparison, action.describe_timeout)
                if work.refresh is not None:
                    await self._in_thread(work.refresh.prepare)
                warmth, traits = self._bridges.warmth(action.cycle), self._bridges.traits(action.cycle)
                return events.Warmed(action, since(started), warnings, *warmth, *traits)
            case effects.Swap():
                if work.refresh is not None:
                    work.refresh.prepare()
                await self._in_thread(work.begin_commit)
                # commit() makes one system call, and what follows cannot fail. No checkpoint may lie between them.
                work.commit()
                assert work.config is not None
                self._bridges.swap(action.cycle, work.config, None if work.refresh is None else work.refresh.apply)
                if work.refresh is not None:
                    work.refresh.catch_up()
                return events.Swapped(action, since(started), time.time())
            case _:
                assert_never(action)

    async def _warm(self, action: effects.Warm, work: CycleFiles, *, compares: bool) -> Comparison | None:
        """Get the next bridge ready, and meanwhile prepare the comparison of the wrappers with it, if it ``compares`` them."""
        prepared: Comparison | None = None
        raised: BaseException | None = None

        @trio.lowlevel.enable_ki_protection
        async def prepare() -> None:
            nonlocal prepared
            try:
                prepared = await self._in_thread(Comparison, work, self._warnings)
            except Exception:
                logger.debug("the wrappers cannot be compared with the worker", exc_info=True)

        assert work.config is not None
        async with trio.open_nursery() as nursery:
            if compares:
                nursery.start_soon(prepare)
            try:
                await self._bridges.warm(action.cycle, work.config, action.timeout, work.edited)
            except trio.Cancelled:
                raise
            except BaseException as error:  # raised again below, outside of the nursery, so that no group wraps it
                raised = error
        await self._early.end()
        if raised is not None:
            raise raised
        return prepared

    async def _compare(self, work: CycleFiles, comparison: Comparison | None, timeout: float) -> tuple[str, ...]:
        """Compare the wrappers with the worker of the next bridge; return warnings. It never fails."""
        if comparison is None or not self._bridges.can_describe(work.cycle):
            return ()
        try:
            if not comparison.functions and not comparison.modules:
                return comparison.warnings()
            try:
                found = await self._bridges.describe(work.cycle, comparison.functions, comparison.modules, timeout)
            except TimeoutError:  # it would take as long the next time
                return comparison.warnings()
            return () if found is None else await self._in_thread(comparison.warnings, found)
        except Exception:
            logger.debug("the wrappers could not be compared with the worker", exc_info=True)
            return ()

    def tell_bridge(self, state: State) -> None:
        """Tell the live bridge what there is to tell in ``state``."""
        self._bridges.tell(state.generation, stale=state.staleness is not None)

    def report_late(self) -> None:
        """Report what is still to be reported of the bridges. Call it before any other event."""
        self._bridges.report_late()

    def in_flight(self, cycle: int) -> int:
        """Return the number of calls and streams in flight on the bridge of ``cycle``. Any thread may call this."""
        return self._bridges.in_flight(cycle)

    def give_up(self, why: str) -> None:
        """Cut off all calls now, and stop waiting for the thread of a stage. ``why`` is as in ``LiveBridges.cut_off_all``."""
        self._bounded.give_up()
        self._bridges.cut_off_all(why)

    async def _roll_back(self, action: effects.Rollback) -> None:
        work = self._work
        assert work is not None
        match action.effect:
            case effects.Stage():
                await self._early.end()
                async with self._bounded.lock:
                    await self._in_thread(work.discard)
                if work.only_waited:
                    self._nursery.start_soon(self._report_return)
                self._work = None
            case effects.Promote():
                await self._in_thread(work.restore)
            case effects.Warm(cycle):
                await self._bridges.discard(cycle, action.timeout)

    @trio.lowlevel.enable_ki_protection
    async def _report_return(self) -> None:
        await self._bounded.thread_returned()
        self._report(events.StageReturned())

    async def _release(self, action: effects.Release) -> None:
        await self._early.end()
        await self._bridges.drained()
        self._observing.cancel()
        self.others.end()
        await self._notifier.arm(WatchSet(()))
        if not await self._bounded.returned(action.timeout):
            logger.warning("%s: a thread that works on this has not returned; it is left running", self._project.at[0])
        self._project.stop_priming()
        async with self._bounded.lock:
            await self._in_thread(self.others.leave)
            await self._in_thread(self._project.release)

    async def _in_thread(self, work: Callable[..., T], *args: object) -> T:
        return await in_thread(work, *args, limiter=self._limiter)

    @trio.lowlevel.enable_ki_protection
    async def _pin(self, cycle: int) -> None:
        await self._store_late(cycle)
        self._report(events.Pinned(cycle))

    async def _store_late(self, cycle: int) -> None:
        """Store modules that the bridge of ``cycle`` imported dynamically. On failure its next worker reads them from disk."""
        async with self._bounded.lock:
            late = self._bridges.loaded_late(cycle)
            if not late:
                return
            try:
                manifest = await self._in_thread(self._project.store_late, cycle, late)
            except Exception:
                logger.exception(
                    "modules imported late could not be stored; a restarted worker will read them from disk"
                )
                return
            self._bridges.kept(cycle, late)
            if manifest is not None:
                self._project.use_late(cycle, manifest)

    @trio.lowlevel.enable_ki_protection
    async def _prime_extractor(self) -> None:
        """Start the extractor, which the first stage did not need, so that the next edit does not wait for that."""
        if self._project.unprimed is not None:
            self._project.extractor.start()
            await self._in_thread(self._project.prime_extractor)

    # --- watching

    async def _arm(self, watch: WatchSet) -> Snapshot:
        """Watch ``watch`` in addition, then read it, in this order, so that no change after the reading is missed."""
        async with self._reading:
            self._armed, last = watch.union(self._armed), self._reader.last
            self._is_elected = False
            note = partial(self._project.note, "watched paths")
            return await self._watch_and_read(self._armed, lambda armed: self._reader.extend(armed, last), note)

    async def _watch_and_read(
        self, watch: WatchSet, read: Callable[[WatchSet], Snapshot], note: Note = lambda _: None
    ) -> Snapshot:
        """Watch ``watch``, then ``read`` it; again for as long as this finds links that lead to what was not watched before."""
        while True:
            linked = self._reader.linked
            places = watch, self.others.linked(linked)
            if is_armed := self._notifier.has_armed(*places):
                found, is_armed = await self._bounded.read(self._read_where_armed, read, watch)
            else:
                await self._notifier.arm(*places, note)
                found, is_armed = await self._bounded.read(read, watch), True
            if is_armed and self._reader.linked == linked:
                return found

    def _read_where_armed(self, read: Callable[[WatchSet], Snapshot], watch: WatchSet) -> tuple[Snapshot, bool]:
        """``read``, and return also whether what is watched for ``watch`` is what has to be, by the listings of that reading."""
        return read(watch), self._notifier.still_placed(self._project.contents.listed)

    async def _commit_watch(self, timeout: float) -> None:
        work, self._work = self._work, None
        assert work is not None
        watch = work.watch.with_paths(self._project.asked_for)

        async def arm() -> None:
            if self.others.follower is not None:
                return
            async with self._reading:
                self._armed = watch
                places = watch, self.others.linked(self._reader.linked)
                try:
                    if not self._notifier.has_armed(*places):
                        await self._notifier.arm(*places)
                except (OSError, MemoryError) as error:
                    if not is_about_a_limit(error):
                        raise
                    self._read_all()  # that arms it

        def settle() -> None:
            try:
                work.settle(time.time())
            except Exception:
                logger.exception("the cycle's temporary files could not be removed; the next start removes them")

        if not await self._bounded.settle(arm, settle, timeout):
            logger.error(
                "what is left to do after a swap was not done within %g s (stage_timeout); it goes on", timeout
            )

    @trio.lowlevel.enable_ki_protection
    async def observe(self) -> None:
        """Read the armed paths after each Look, and report to the planner. Runs until the release.

        Before that, and without one, read files that the system has named, if no more than these can have changed.
        A follower reads its leader's news instead. A leader also takes the requests of its followers, and of commands.
        """
        with self._observing:
            while True:
                await self._woken.wait()
                self._woken = trio.Event()
                (is_due, self._is_due), (named, self._named) = (self._is_due, False), (self._named, set())
                if self.others.follower is not None:
                    self._is_elected |= await self.others.hear()
                    continue
                try:
                    async with self._reading:
                        if self._armed is None and not self._is_elected:
                            continue
                        if self._armed is None:
                            self._report(events.Observed({}, self._look))
                        elif named:
                            await self._glance(self._armed, named)
                        if is_due and self._armed is not None:
                            await self._read(self._armed)
                        await self.others.take()
                except (OSError, MemoryError, RuntimeError) as error:
                    if not is_about_a_limit(error):
                        raise
                    await self._wait_for_room(error)
                    continue
                self._out_of = None

    async def _glance(self, armed: WatchSet, named: AbstractSet[str]) -> None:
        found = await self._bounded.read(self._reader.glance, armed, named)
        if found is None:
            self._report(events.Hinted())
        elif found:
            self._report(events.Observed(found, self._looked, self._seconds))

    async def _read(self, armed: WatchSet) -> None:
        number, started = self._look, trio.current_time()
        found = await self._watch_and_read(armed, self._reader.read)
        self._looked, self._seconds = number, since(started)
        self._report(events.Observed(found, self._looked, self._seconds))

    def _read_all(self) -> None:
        """Have everything read, as soon as no other reading is under way."""
        self._is_due = True
        self._woken.set()

    async def _wait_for_room(self, error: Exception) -> None:
        """Wait a moment, before another look, because of a limit of the system, of which the first error is logged."""
        if self._out_of is None:
            logger.warning("the watched files cannot be read for now: %s. %s", error, advice(error))
        self._out_of = error
        await trio.sleep(_PAUSE)
        self._read_all()

    def _on_hint(self, named: Collection[str] | None) -> None:
        if named is None:
            self._report(events.Hinted())
        else:
            self._named.update(named)
            self._woken.set()

    def _start_polling(self, reason: str) -> None:
        self._report(events.Noticed(PollingStarted(reason)))

    async def find_leader(self) -> tuple[News | None, tuple[int, int]]:
        """Follow the session that leads; see :meth:`OtherSessions.find_leader`."""
        self._early.begin()
        news, numbered = await self.others.find_leader()
        if news is not None:
            await self._listen()
        return news, numbered

    async def _follow_instead(
        self, action: effects.Stage, work: CycleFiles, error: AlreadyWatched, started: float
    ) -> events.Event:
        """Follow the session that has claimed the output directory meanwhile; if it cannot be followed, the stage has failed."""
        try:
            news = await self.others.follow(work, error)
        except Exception as other:
            return self.failed(action, other, started)
        await self._listen()
        return events.Failed(action, since(started), error, time.time(), work.read, work.used, leader=news)

    async def _listen(self) -> None:
        """Have the leader's news noticed at once, in place of the sources."""
        async with self._reading:
            self._armed = None
            try:
                await self._notifier.arm(WatchSet(()), self.others.linked(Linked()))
            except (OSError, MemoryError) as error:  # the news are read from time to time as well
                logger.debug("the directory of the leader's news cannot be watched: %s", error)

    # --- commands

    def carry_out(self, command: effects.Command) -> None:
        """Carry out ``command`` at once."""
        match command:
            case effects.Look(number):
                self._look = number
                self._read_all()
            case effects.SetTimer(timer, seconds):
                self._stop_timer(timer)
                scope = self._timers[timer] = trio.CancelScope()
                self._nursery.start_soon(self._run_timer, timer, seconds, scope)
            case effects.StopTimer(timer):
                self._stop_timer(timer)
            case effects.Pin(bridge):
                self._nursery.start_soon(self._pin, bridge)
            case effects.Prepare():
                self._bridges.prepare(command)
                self._nursery.start_soon(self._prime_extractor)
            case effects.Ask() | effects.Beat():
                self._nursery.start_soon(self.others.carry_out, command)
            case effects.Arm() if self.others.follower is not None:
                self._nursery.start_soon(self.others.carry_out, command)
            case effects.Arm(paths):
                if self._armed is not None:  # else the first stage watches them, among all else
                    self._armed = self._armed.with_paths(paths)
                self._read_all()
            case effects.Unpublish():
                self._slot.close()
                unpublish(self._slot)
            case effects.Refuse(error):
                self._bridges.refuse(error)
            case effects.CutOff(bridge, why):
                self._bridges.cut_off(bridge, why)
            case _:
                raise AssertionError(f"{command} is carried out by the session")

    @trio.lowlevel.enable_ki_protection
    async def _run_timer(self, timer: str, seconds: float, scope: trio.CancelScope) -> None:
        with scope:
            await trio.sleep(seconds)
            # A timer that was replaced just as it elapsed must not report.
            if self._timers.get(timer) is scope:
                del self._timers[timer]
                self._report(events.TimerElapsed(timer))

    def _stop_timer(self, timer: str) -> None:
        scope = self._timers.pop(timer, None)
        if scope is not None:
            scope.cancel()
