"""All transitions begin here: ``plan(state, event) -> Step(state, effects)``. Every decision of a session is made by it.

Those of a cycle are in :mod:`.cycles`, :mod:`.superseding` and :mod:`.rollback`, those of bridges in :mod:`.bridges`, those of
callers that wait for the disk in :mod:`.settling`, those of several sessions on one project in :mod:`.following`.

The rules:

- A cycle starts from a *look*: a reading of all watched files that begins after the cause of the cycle. The bytes read are
  then *attempted*, and an edit is a difference from the attempted bytes. So an edit at any moment is found by a later reading
  and leads to a later cycle, and bytes that failed are not retried without a new cause. A file that changes while a cycle
  runs counts as edited even if it changes back, because the cycle may have read either version.
- A stage that only waits for the thread of an earlier one attempts no bytes. Its edits lead to a cycle when that thread returns.
- The plan of a cycle is complete before the cycle starts. Its actions are performed in order. When one fails, or a close is
  requested before the swap, everything up to and including it is undone in reverse order; a failed rollback does not stop
  the other rollbacks.
- The swap is the commit point. Later failures only lead to notices; a close after the swap lets the cycle finish silently.
- A cycle that is older than ``supersede_after`` is superseded if an edit waits: it is undone, and the next one begins with its
  edits and its callers as well. So a source that hangs while it is imported does not hold up its own repair. Undos are not
  superseded, and no cycle is after its swap. Five in a row make way for the same file, no more.
- A file that changes during the warm-ups of five good cycles in a row, each of which it alone had caused, starts no further cycle
  by itself, until another file changes, a reload is requested, or it changes after five seconds in which it did not.
- ``settle()`` is answered in the phase ``Idle``, after a look that it has caused. An edit that it waits for has no debounce.
- Cycles never overlap: no other cycle starts in the phases ``Running`` and ``RollingBack``.
- Each edit restarts the ``debounce`` timer; only the first edit starts ``max-wait``. ``reload_now()`` waits for no timer, and
  is answered by a cycle that starts after the call.
- Without ``overlap`` in its config, a cycle has the live bridge make way before its own is warmed: new calls wait, and the warm-up
  begins when no replaced bridge is left. If such a cycle comes to nothing, the live bridge is restarted before the failure is
  told, unless another cycle supersedes it; if that fails, it is lost. What fails before, at the stage, lets nothing go.
- A replaced bridge drains for ``drain_timeout`` seconds, then it is cut off. At most two drain at once, broken ones included;
  when there are more, the oldest is cut off. With an infinite ``drain_timeout``, none is cut off before the close.
- A lost live bridge is restarted from its own generation, with a longer delay each time; after too many losses within a
  minute it stays lost. A cycle takes precedence, because it replaces the bridge anyway. A new bridge that is lost on probation
  is not restarted: the previous generation is restored, unless the place where the bridge ran is to blame.
- Modules that a live bridge imported dynamically are pinned before it is restarted or disposed: what needs them is held until
  the last pin has ended, and by :meth:`.State.is_held` if it was asked for before that pin.
- Hints of the notifier may be early, late or missing. After each, all files are read at once and twice more; without any, they
  are read from time to time, in at most two percent of the time. An interpreter that knows which files alone may have changed
  reads these, and there is no hint.
- After a cycle or a restart, when nothing is about to replace the live bridge, it prepares resources for the next cycle (a
  spare worker). During a cycle they would compete with it.
- An undo is a cycle that stages the kept files of an earlier generation. It attempts no bytes on disk, so it loses no edit.
- Of several sessions on one project, one leads. The others take over each of its generations, in order, and have its failures as
  their own. They lead when it is gone: then the sources are read anew, as nobody has watched them meanwhile. A leader whose lock
  was removed begins a cycle, whose stage takes the lock anew, or finds the session to follow.
- A failed first cycle ends the session, unless its caller waits for the first good one. After a close was requested, no event is
  emitted. Calls in flight at a close are cut off in the end, even if ``drain_timeout`` is infinite.
"""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from lastgood import watch_events
from lastgood.effects import Effect, Emit, Interrupt, SetTimer, Unpublish
from lastgood.errors import RunawayError
from lastgood.planner import bridges, cycles, events, following, phases, rollback, runaways, settling, superseding
from lastgood.planner.phases import (
    Step,
    answer,
    begin_closing,
    debounce,
    drop_waiting,
    go_idle,
    idle_look,
    look,
    max_wait,
    next_undo,
    start_looking,
)
from lastgood.planner.states import (
    Closed,
    Closing,
    Idle,
    Looking,
    Restarting,
    Restoring,
    RollingBack,
    Runaway,
    Running,
    Scheduled,
    Stale,
    State,
    Unstarted,
)
from lastgood.planner.watch_set import differing, update

__all__ = ["Step", "plan"]


def plan(state: State, event: events.Event) -> Step:
    """Return the next state and the effects to perform after ``event`` in ``state``.

    Pure and total: no clock, no IO, no randomness. An event that is irrelevant in a state, such as a timer that was stopped,
    changes nothing.
    """
    step = settling.settled(following.proceeded(_transition(state, event)))
    if not state.ending:
        return step
    return Step(step.state, tuple(effect for effect in step.effects if not isinstance(effect, Emit)))


def _transition(state: State, event: events.Event) -> Step:
    match event:
        case events.Started():
            return _started(state, event)
        case events.Hinted():
            return _hinted(state)
        case events.Observed():
            return _observed(state, event)
        case events.TimerElapsed():
            return _timer_elapsed(state, event.timer)
        case events.ReloadRequested() | events.UndoRequested():
            return _requested(state, event)
        case events.LockRemoved():
            return _requested(state, events.ReloadRequested(events.NOBODY))
        case events.SettleRequested():
            return settling.requested(state, event)
        case events.CloseRequested():
            return _close_requested(state)
        case events.Staged() | events.Promoted() | events.Warmed() | events.Swapped() | events.Watched():
            return cycles.done(state, event)
        case events.Failed(leader=leader) if leader is not None:
            return following.deposed(state, event, leader)
        case events.Failed():
            return cycles.failed(state, event)
        case events.Heard():
            return following.heard(state, event)
        case events.Elected():
            return following.elected(state, event)
        case events.Followed():
            return following.followed(state, event)
        case events.StageReturned():
            return cycles.stage_returned(state)
        case events.RolledBack() | events.RollbackFailed():
            return rollback.rolled_back(state, event)
        case events.Draining():
            return bridges.bridge_drains(state, event)
        case events.Disposed() | events.DisposeFailed():
            return bridges.bridge_disposed(state, event)
        case events.Lost():
            return bridges.bridge_lost(state, event)
        case events.Restarted() | events.RestartFailed() if isinstance(state.phase, Restoring):
            return rollback.restored(state, state.phase, event)
        case events.Restarted() | events.RestartFailed():
            return bridges.bridge_restarted(state, event)
        case events.LoadedLate():
            return bridges.modules_loaded_late(state, event)
        case events.Pinned():
            return bridges.pin_ended(state, event)
        case events.Noticed():
            return _noticed(state, event)
        case events.Released():
            return Step(replace(state, phase=Closed()))
        case _:
            assert_never(event)


# --- causes of a cycle


def _started(state: State, event: events.Started) -> Step:
    match state.phase:
        case Unstarted():
            first = (event.ticket,) if event.waits else ()
            cycle, generation = event.numbered
            state = replace(
                state, tickets=(event.ticket, *state.tickets), first=first, cycle=cycle, numbered=generation
            )
            if event.leader is not None:
                return following.begin(replace(state, phase=Idle()), event.leader)
            step = cycles.begin(state)
            return Step(step.state, (*step.effects, *idle_look(state)))
        case Idle() | Scheduled() | Looking() | Running() | RollingBack() | Restoring() | Restarting():
            return Step(state)
        case Closing() | Closed():
            return Step(state, answer((event.ticket,), succeeded=False))
        case _:
            assert_never(state.phase)


def _hinted(state: State) -> Step:
    """Look now and twice more: in new directories the system reports changes with a delay. A follower looks once."""
    if isinstance(state.phase, Unstarted | Closing | Closed):
        return Step(state)
    step = look(state)
    if state.following is not None:
        return step
    return Step(step.state, (*step.effects, SetTimer(phases.SECOND_LOOK, phases.AFTER_HINT[0])))


def _noticed(state: State, event: events.Noticed) -> Step:
    if not isinstance(event.notice, watch_events.PollingStarted) or state.ending:
        return Step(state, (Emit(event.notice),))
    state = replace(state, polling=True)
    return Step(state, (Emit(event.notice), *idle_look(state)))


def _observed(state: State, event: events.Observed) -> Step:
    if state.following is not None:  # it was read before another session led
        return Step(state)
    state = following.with_asked_for(state, event)
    changed = differing(state.observed, event.files)
    new_edits = changed & differing(state.attempted, event.files)
    if isinstance(state.phase, Running | RollingBack):
        state = replace(state, disturbed=state.disturbed | changed)
    state = replace(
        state,
        observed=update(state.observed, event.files),
        seen=max(state.seen, event.look),
        reading_seconds=event.seconds,
        runaway=Runaway()
        if state.runaway.quiet and new_edits
        else runaways.with_reading(state.runaway, changed, event.look),
    )
    requested = bool(state.tickets or next_undo(state))
    manual = isinstance(state.phase, Looking) and requested
    changes = tuple(Emit(watch_events.Change(path, manual)) for path in sorted(new_edits) if state.causes or requested)
    match state.phase:
        case Idle() | Restarting() if new_edits and not state.causes:
            return Step(state, (SetTimer(phases.QUIET, runaways.QUIET),))
        case Idle() if new_edits:
            return Step(replace(state, phase=Scheduled()), (*changes, debounce(state), max_wait(state)))
        case Scheduled() if not state.causes:
            return go_idle(state).preceded_by(*phases.STOP_EDIT_TIMERS)
        case Scheduled() if new_edits:
            return Step(state, (*changes, debounce(state)))
        case Restarting() if new_edits:
            return Step(state, (*changes, debounce(state)))
        case Running(cycle) if new_edits:
            return superseding.settle_again(state, cycle).preceded_by(*changes)
        case Looking(number) if event.look >= number and not requested and runaways.is_one(state):
            return _stop_runaway(state)
        case Looking(number) if event.look >= number and (state.causes or requested):
            return cycles.begin(state).preceded_by(*changes)
        case Looking(number) if event.look >= number:
            return go_idle(state)
        case Unstarted() | Closing() | Closed():
            return Step(state)
        case Idle() | Scheduled() | Looking() | Running() | RollingBack() | Restoring() | Restarting():
            return Step(state, changes)
        case _:
            assert_never(state.phase)


def _stop_runaway(state: State) -> Step:
    """Let the files that change with each reload start no more of them."""
    assert state.live is not None, "a good cycle comes first"
    files, cycles = tuple(sorted(state.runaway.files)), state.runaway.cycles
    stopped = replace(
        state,
        runaway=replace(state.runaway, stopped=True),
        stale=Stale(RunawayError(files), state.live.since),
    )
    notice = Emit(watch_events.Runaway(files, cycles))
    return go_idle(stopped).preceded_by(notice, SetTimer(phases.QUIET, runaways.QUIET))


def _timer_elapsed(state: State, timer: str) -> Step:
    match timer:
        case phases.DEBOUNCE | phases.MAX_WAIT:
            return _edits_settled(state)
        case phases.SUPERSEDE:
            return superseding.overdue(state)
        case phases.QUIET:
            return Step(replace(state, runaway=replace(state.runaway, quiet=state.runaway.stopped)))
        case phases.RESTART:
            return bridges.restart(state)
        case phases.SECOND_LOOK | phases.LAST_LOOK | phases.IDLE_LOOK:
            return _look_again(state, timer)
        case timer if timer in following.TIMERS:
            return following.timer_elapsed(state, timer)
        case _:
            return bridges.drain_elapsed(state, timer)


def _edits_settled(state: State) -> Step:
    match state.phase:
        case Scheduled():
            return start_looking(state).preceded_by(*phases.STOP_EDIT_TIMERS)
        case Restarting():
            return bridges.interrupt_restart(state)
        case Running(cycle):
            return superseding.supersede(state, replace(cycle, edits_settled=True))
        case Unstarted() | Idle() | Looking() | RollingBack() | Restoring() | Closing() | Closed():
            return Step(state)
        case _:
            assert_never(state.phase)


def _look_again(state: State, timer: str) -> Step:
    if isinstance(state.phase, Unstarted | Closing | Closed):
        return Step(state)
    step = look(state)
    match timer:
        case phases.SECOND_LOOK:
            return Step(step.state, (*step.effects, SetTimer(phases.LAST_LOOK, phases.AFTER_HINT[1])))
        case phases.IDLE_LOOK:
            return Step(step.state, (*step.effects, *idle_look(state)))
        case _:
            return step


def _requested(state: State, event: events.ReloadRequested | events.UndoRequested) -> Step:
    match event:
        case events.ReloadRequested(ticket):
            waiting = replace(state, tickets=(*state.tickets, ticket))
        case events.UndoRequested(ticket):
            waiting = replace(state, undos=(*state.undos, ticket))
        case _:
            assert_never(event)
    match state.phase:
        case Idle() | Running() | RollingBack() | Restoring() | Restarting() if state.following and not state.ending:
            return Step(waiting)  # the leader is asked
        case Idle():
            return start_looking(waiting)
        case Scheduled():
            return start_looking(waiting).preceded_by(*phases.STOP_EDIT_TIMERS)
        case Unstarted() | Looking():
            return Step(waiting)
        case Running() | RollingBack() | Restoring() if not state.ending:
            return Step(waiting)
        case Restarting() if not state.ending:
            return bridges.interrupt_restart(waiting)
        case Running() | RollingBack() | Restoring() | Restarting() | Closing() | Closed():
            return Step(state, answer((event.ticket,), succeeded=False))
        case _:
            assert_never(state.phase)


# --- closing


def _close_requested(state: State) -> Step:
    under_way = state.phase.cycle.tickets if isinstance(state.phase, Running | RollingBack | Restoring) else ()
    first = (ticket for ticket in state.first if ticket not in (*under_way, *state.tickets))
    known = state.following
    at_leader = () if known is None else tuple(ticket for ticket, _ in (*known.asked, *known.answered))
    waiting = (*state.tickets, *state.undos, *first, *at_leader)
    followed = None if known is None else replace(known, asked=(), answered=())
    ending = replace(state, ending=True, tickets=(), undos=(), first=(), following=followed)
    stop: tuple[Effect, ...] = (*phases.STOP_TIMERS, *answer(waiting, succeeded=False), Unpublish())
    match state.phase:
        case Unstarted() | Idle() | Scheduled() | Looking():
            return begin_closing(ending).preceded_by(*stop)
        case Running(cycle) if cycle.swapped or state.ending:
            return Step(ending, stop)
        case Running(cycle) if state.is_waiting:
            return rollback.roll_back_waiting(ending, cycle).preceded_by(*stop)
        case Running():
            return Step(ending, (*stop, Interrupt()))
        case Restoring(cycle) if state.is_waiting:
            return rollback.end(drop_waiting(ending), cycle, None).preceded_by(*stop)
        case Restoring() if not state.ending:
            return Step(ending, (*stop, Interrupt()))
        case Restarting():
            return bridges.interrupt_restart(ending).preceded_by(*stop)
        case RollingBack() | Restoring():
            return Step(ending, stop)
        case Closing() | Closed():
            return Step(state)
        case _:
            assert_never(state.phase)
