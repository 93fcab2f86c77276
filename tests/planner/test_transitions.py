"""lastgood.planner.transitions: send this event, expect these effects (contract §§4, 5, 8)."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lastgood.effects import (
    Action,
    Answer,
    Arm,
    CutOff,
    Dispose,
    Effect,
    Emit,
    Interrupt,
    Look,
    Pin,
    Plan,
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
from lastgood.errors import Undone
from lastgood.planner import Settings, State, plan, plan_of_cycle, states
from lastgood.planner.events import (
    CloseRequested,
    Disposed,
    DisposeFailed,
    Draining,
    Event,
    Failed,
    Late,
    LoadedLate,
    Lost,
    Noticed,
    Observed,
    Promoted,
    Released,
    ReloadRequested,
    Restarted,
    RestartFailed,
    RollbackFailed,
    RolledBack,
    Staged,
    StageReturned,
    Started,
    Swapped,
    TimerElapsed,
    UndoRequested,
    Warmed,
    Watched,
)
from lastgood.planner.states import (
    Closed,
    Closing,
    Generation,
    Idle,
    Looking,
    Phase,
    Restarting,
    RollingBack,
    Running,
    Scheduled,
    Stale,
    Unstarted,
)
from lastgood.planner.watch_set import Snapshot, WatchSet
from lastgood.watch_events import (
    BridgeLost,
    BridgeRestored,
    Change,
    GenerationUndone,
    ModuleLoadedLate,
    PollingStarted,
    ReloadError,
    ReloadStart,
    ReloadSuccess,
    WatchPaths,
)
from lastgood.watch_events import DisposeFailed as DisposeFailedNotice
from lastgood.watch_events import RollbackFailed as RollbackFailedNotice

SETTINGS = Settings(debounce=0.1, max_wait=2.0, warm_timeout=60.0, drain_timeout=10.0)
SRC, LIB = Path("/p/src"), Path("/p/lib")
A, B = SRC / "a.py", SRC / "b.py"
WATCH = WatchSet((SRC,))
STOP = (StopTimer("debounce"), StopTimer("max-wait"))
STOP_ALL = (*STOP, StopTimer("restart"))
SCHEDULE = (SetTimer("debounce", 0.1), SetTimer("max-wait", 2.0))
ERROR = ValueError("no")


def src(a: str = "1", **more: str) -> Snapshot:
    """A reading of SRC, in which a.py has these bytes."""
    return {SRC: {A: a} | {SRC / f"{name}.py": digest for name, digest in more.items()}}


def actions(cycle: int, live: int | None = None) -> tuple[Action, ...]:
    dispose = () if live is None else (Dispose(live, 10.0),)
    return (Stage(cycle), Promote(cycle), Warm(cycle, 60.0), Swap(cycle), *dispose, Watch(cycle))


def rollbacks(cycle: int, *names: str) -> tuple[Rollback, ...]:
    undoable = {"stage": Stage(cycle), "promote": Promote(cycle), "warm": Warm(cycle, 60.0)}
    return tuple(Rollback(undoable[name], 10.0) for name in names)  # type: ignore[arg-type]  # a union of the three


class Script:
    """Events go in, effects come out."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.state = State(settings)

    def send(self, event: Event, *expected: Effect) -> None:
        """Send ``event``; exactly these effects follow."""
        assert self.give(event) == expected

    def give(self, event: Event) -> tuple[Effect, ...]:
        step = plan(self.state, event)
        self.state = step.state
        return step.effects

    def phase(self) -> Phase:
        """Asked anew each time: what an assertion has shown does not hold for the next one."""
        return self.state.phase

    def staleness(self) -> Stale | None:
        return self.state.staleness

    def stale_since(self) -> float | None:
        return None if self.state.stale is None else self.state.stale.since

    def stage(self, cycle: int, watch: WatchSet = WATCH, read: Snapshot | None = None) -> None:
        self.send(Staged(Stage(cycle), 0.5, watch, src() if read is None else read))

    def through(self, cycle: int, last: str, watch: WatchSet = WATCH, live: int | None = None) -> Script:
        """Let the actions of ``cycle``, which has begun, succeed, until ``last`` has."""
        outcomes: dict[str, Event] = {
            "stage": Staged(Stage(cycle), 0.5, watch, src(), ("careful",)),
            "promote": Promoted(Promote(cycle), 0.25, (Path("a.py"), Path("b.py")), (Path("a.py"),), ("kept",)),
            "warm": Warmed(Warm(cycle, 60.0), 2.0),
            "swap": Swapped(Swap(cycle), 0.0),
        }
        if live is not None:
            outcomes["dispose"] = Disposed(live, 0.125)
        for name, event in {**outcomes, "watch": Watched(Watch(cycle), 0.0)}.items():
            self.give(event)
            if name == last:
                break
        return self


def unstarted() -> Script:
    return Script()


def first_cycle() -> Script:
    """Running, nothing done yet."""
    script = Script()
    script.send(Started(0), Emit(ReloadStart(1, True, ())), *actions(1))
    return script


def idle() -> Script:
    """Generation 1 is live."""
    return first_cycle().through(1, "watch")


def scheduled() -> Script:
    script = idle()
    script.send(Observed(src("2")), Emit(Change(A)), *SCHEDULE)
    return script


def looking() -> Script:
    """Because of an edit."""
    script = scheduled()
    script.send(TimerElapsed("debounce"), *STOP, Look())
    return script


def asked() -> Script:
    """Because of a reload_now() that holds ticket 5."""
    script = idle()
    script.send(ReloadRequested(5), Look())
    return script


def second_cycle() -> Script:
    """Running, because of an edit of a.py; nothing is done yet."""
    script = looking()
    script.send(Observed(src("2"), asked=True), Emit(ReloadStart(2, False, (A,))), *actions(2, live=1))
    return script


def swapped() -> Script:
    """The second cycle has passed its commit point."""
    return second_cycle().through(2, "swap")


def interrupted() -> Script:
    """The second cycle runs, and a close has come."""
    script = second_cycle()
    script.send(CloseRequested(), *STOP_ALL, Unpublish(), Interrupt())
    return script


def rolling_back() -> Script:
    """The stage of the second cycle has failed."""
    script = second_cycle()
    script.send(Failed(Stage(2), 0.5, ERROR, at=1000.0), *rollbacks(2, "stage"))
    return script


RESTART = Restart(1, 60.0, 10.0)


def lost() -> Script:
    """The bridge of generation 1 broke down."""
    script = idle()
    script.send(Lost(1, ERROR, 1000.0), Emit(BridgeLost(1, ERROR, 0.0)), SetTimer("restart", 0.0))
    return script


def restarting() -> Script:
    script = lost()
    script.send(TimerElapsed("restart"), RESTART)
    return script


def closing() -> Script:
    script = idle()
    script.send(CloseRequested(), *STOP_ALL, Unpublish(), Dispose(1, 10.0), Release())
    return script


def closed() -> Script:
    script = closing()
    script.send(Released())
    return script


# --- a good cycle


def test_a_start_is_a_manual_cycle_without_anything_to_dispose() -> None:
    script = unstarted()
    script.send(Started(7), Emit(ReloadStart(1, True, ())), *actions(1))
    script.stage(1)
    script.send(Promoted(Promote(1), 0.25, (Path("a.py"),), (Path("a.py"),)))
    script.send(Warmed(Warm(1, 60.0), 2.0))
    script.send(Swapped(Swap(1), 0.0))
    success = ReloadSuccess(
        1,
        True,
        (),
        generation=1,
        written=(Path("a.py"),),
        touched=(Path("a.py"),),
        warnings=(),
        timings={"stage": 0.5, "promote": 0.25, "warm": 2.0, "swap": 0.0, "watch": 0.0},
    )
    script.send(
        Watched(Watch(1), 0.0), Emit(WatchPaths((SRC,))), Emit(success), Answer((7,), succeeded=True), Prepare(1)
    )
    assert script.phase() == Idle()
    assert script.state.live == Generation(1, 1)


def test_an_edit_leads_through_debounce_and_look_to_a_cycle() -> None:
    script = idle()
    script.send(Observed(src("2")), Emit(Change(A)), *SCHEDULE)
    script.send(TimerElapsed("debounce"), *STOP, Look())
    script.send(Observed(src("2"), asked=True), Emit(ReloadStart(2, False, (A,))), *actions(2, live=1))
    script.through(2, "swap")
    script.send(Disposed(1, 0.125))
    success = ReloadSuccess(
        2,
        False,
        (A,),
        generation=2,
        written=(Path("a.py"), Path("b.py")),
        touched=(Path("a.py"),),
        warnings=("careful", "kept"),
        timings={"stage": 0.5, "promote": 0.25, "warm": 2.0, "swap": 0.0, "dispose": 0.125, "watch": 0.0},
    )
    script.send(Watched(Watch(2), 0.0), Emit(success), Prepare(2))
    assert script.phase() == Idle()
    assert script.state.generation == 2
    assert script.state.retired == ()


def test_the_plan_of_a_cycle_is_whole_before_it_starts() -> None:
    assert plan_of_cycle(SETTINGS, 1, None) == Plan(1, actions(1), 10.0)
    assert plan_of_cycle(SETTINGS, 9, Generation(4, 7)) == Plan(9, actions(9, live=7), 10.0)


def test_watch_paths_are_told_when_the_set_changes_and_only_then() -> None:
    script = second_cycle().through(2, "dispose", WatchSet((LIB, SRC)), live=1)
    assert Emit(WatchPaths((LIB, SRC))) in script.give(Watched(Watch(2), 0.0))
    script = second_cycle().through(2, "dispose", WatchSet((SRC,), candidates=(LIB,)), live=1)
    effects = script.give(Watched(Watch(2), 0.0))
    assert not [each for each in effects if isinstance(each, Emit) and isinstance(each.event, WatchPaths)]


def test_after_a_cycle_only_what_is_watched_is_remembered() -> None:
    script = second_cycle()
    script.send(Staged(Stage(2), 0.5, WatchSet((LIB,)), {LIB: {LIB / "c.py": "1"}, SRC: {A: "2"}}))
    script.send(Observed({**src("3"), LIB: {LIB / "c.py": "1"}}), Emit(Change(A)))
    script.through(2, "watch", WatchSet((LIB,)), live=1)
    assert script.phase() == Idle(), "the edit lies in what is not watched any more"
    assert [*script.state.attempted] == [*script.state.observed] == [LIB]


# --- edits


def test_a_touch_is_no_edit() -> None:
    script = idle()
    script.send(Observed(src("1")))
    assert script.phase() == Idle()


def test_an_edit_restarts_the_debounce_and_leaves_max_wait() -> None:
    script = scheduled()
    script.send(Observed(src("3")), Emit(Change(A)), SetTimer("debounce", 0.1))
    script.send(Observed(src("3", b="1")), Emit(Change(B)), SetTimer("debounce", 0.1))
    script.send(Observed(src("3", b="1")))
    script.send(TimerElapsed("max-wait"), *STOP, Look())


def test_an_edit_that_is_taken_back_before_the_debounce_is_none() -> None:
    script = scheduled()
    script.send(Observed(src("1")), *STOP)
    assert script.phase() == Idle()


def test_an_edit_that_is_taken_back_before_the_look_is_none() -> None:
    script = looking()
    script.send(Observed(src("1"), asked=True))
    assert script.phase() == Idle()


def test_a_reading_that_began_before_the_look_starts_no_cycle() -> None:
    script = looking()
    script.send(Observed(src("3")), Emit(Change(A)))
    script.send(Observed(src("3"), asked=True), Emit(ReloadStart(2, False, (A,))), *actions(2, live=1))


def test_an_edit_that_the_look_finds_is_told_before_the_cycle_and_belongs_to_it() -> None:
    script = looking()
    start = ReloadStart(2, False, (A, B))
    script.send(Observed(src("2", b="1"), asked=True), Emit(Change(B)), Emit(start), *actions(2, live=1))


@pytest.mark.parametrize("last", ["stage", "promote", "warm", "swap", "dispose"])
def test_an_edit_while_a_cycle_runs_leads_to_the_next_one(last: str) -> None:
    script = second_cycle().through(2, last, live=1)
    script.send(Observed(src("3")), Emit(Change(A)))
    script.through(2, "watch", live=1)
    assert script.phase() == Scheduled()
    script.send(TimerElapsed("debounce"), *STOP, Look())
    script.send(Observed(src("3"), asked=True), Emit(ReloadStart(3, False, (A,))), *actions(3, live=2))


def test_an_edit_that_is_taken_back_while_a_cycle_runs_still_leads_to_the_next_one() -> None:
    script = second_cycle()
    script.send(Observed(src("3")), Emit(Change(A)))  # the stage may have read this, ...
    script.send(Observed(src("2")))  # ... or this
    script.through(2, "watch", live=1)
    assert script.phase() == Scheduled()
    script.send(TimerElapsed("debounce"), *STOP, Look())
    script.send(Observed(src("2"), asked=True), Emit(ReloadStart(3, False, (A,))), *actions(3, live=2))
    script.through(3, "watch", live=2)
    assert script.phase() == Idle()


def test_a_file_that_comes_and_goes_while_a_cycle_runs_does_not_lead_to_another() -> None:
    script = second_cycle()
    script.send(Observed(src("2", lock="1")), Emit(Change(SRC / "lock.py")))
    script.send(Observed(src("2")))
    script.through(2, "watch", live=1)
    assert script.phase() == Idle()


def test_an_edit_while_a_failed_cycle_is_undone_leads_to_the_next_one() -> None:
    script = rolling_back()
    script.send(Observed(src("3")), Emit(Change(A)))
    error = ReloadError(2, False, (A,), error=ERROR, effect="stage", live_generation=1)
    script.send(RolledBack(Rollback(Stage(2), 10.0)), Emit(error), Prepare(1), *SCHEDULE)


def test_an_edit_of_what_a_stage_has_just_armed_is_found_by_its_own_reading() -> None:
    script = second_cycle()
    script.send(Observed({**src("2"), LIB: {LIB / "c.py": "new"}}))  # read after the stage had armed LIB and read it
    fresh = {**src("2"), LIB: {LIB / "c.py": "old"}}
    script.send(Staged(Stage(2), 0.5, WatchSet((LIB, SRC)), fresh), Emit(Change(LIB / "c.py")))
    script.through(2, "watch", WatchSet((LIB, SRC)), live=1)
    assert script.phase() == Scheduled()
    script.send(Observed(fresh))
    assert script.phase() == Scheduled(), "the stage may have read what it was in between"


@pytest.mark.parametrize("fails", [False, True], ids=["it succeeds", "it fails"])
def test_bytes_that_were_there_for_the_cycle_alone_are_an_edit(fails: bool) -> None:
    script = second_cycle()
    used = {A: "there for a moment", LIB / "c.py": "of nobody who watches"}
    if fails:
        script.send(Failed(Stage(2), 0.5, ERROR, at=1000.0, used=used), Emit(Change(A)), *rollbacks(2, "stage"))
        error = ReloadError(2, False, (A,), error=ERROR, effect="stage", live_generation=1)
        script.send(RolledBack(Rollback(Stage(2), 10.0)), Emit(error), Prepare(1), *SCHEDULE)
    else:
        script.send(Staged(Stage(2), 0.5, WATCH, src("2"), used=used), Emit(Change(A)))
        script.send(Observed(src("2")))
        script.through(2, "watch", live=1)
    assert script.phase() == Scheduled()


def test_bytes_that_the_look_has_seen_are_no_edit() -> None:
    script = second_cycle()
    script.send(Staged(Stage(2), 0.5, WATCH, src("2"), used={A: "2"}))


def test_bytes_that_failed_are_not_tried_again_by_themselves() -> None:
    script = rolling_back()
    script.give(RolledBack(Rollback(Stage(2), 10.0)))
    assert script.phase() == Idle()
    script.send(Observed(src("2")))
    script.send(Observed(src("1")), Emit(Change(A)), *SCHEDULE)


def test_what_a_failed_stage_had_armed_stays_watched() -> None:
    script = second_cycle()
    read = {**src("2"), LIB: {LIB / "c.py": "1"}}
    script.send(Failed(Stage(2), 0.5, ERROR, at=1000.0, read=read), *rollbacks(2, "stage"))
    script.give(RolledBack(Rollback(Stage(2), 10.0)))
    script.send(Observed({**src("2"), LIB: {LIB / "c.py": "2"}}), Emit(Change(LIB / "c.py")), *SCHEDULE)


# --- reload_now()


def test_a_reload_looks_first_and_tells_what_it_finds() -> None:
    script = idle()
    script.send(ReloadRequested(5), Look())
    start = (Emit(Change(A, manual=True)), Emit(ReloadStart(2, True, (A,))))
    script.send(Observed(src("2"), asked=True), *start, *actions(2, live=1))


def test_a_reload_without_an_edit_runs_a_cycle_all_the_same() -> None:
    script = asked()
    script.send(Observed(src("1"), asked=True), Emit(ReloadStart(2, True, ())), *actions(2, live=1))
    script.through(2, "dispose", live=1)
    assert script.give(Watched(Watch(2), 0.0))[-2:] == (Answer((5,), succeeded=True), Prepare(2))


def test_a_reload_waits_for_no_timer() -> None:
    script = scheduled()
    script.send(ReloadRequested(5), *STOP, Look())


def test_callers_that_wait_together_share_a_cycle() -> None:
    script = asked()
    script.send(ReloadRequested(6))
    script.give(Observed(src("1"), asked=True))
    script.through(2, "dispose", live=1)
    assert script.give(Watched(Watch(2), 0.0))[-2:] == (Answer((5, 6), succeeded=True), Prepare(2))


@pytest.mark.parametrize("last", ["stage", "promote", "warm", "swap", "dispose"])
def test_a_reload_asked_for_while_a_cycle_runs_gets_the_next_one(last: str) -> None:
    script = second_cycle().through(2, last, live=1)
    script.send(ReloadRequested(5))
    script.through(2, "warm", live=1).give(Swapped(Swap(2), 0.0))
    effects = script.give(Watched(Watch(2), 0.0))
    assert effects[-1] == Look()
    assert not [each for each in effects if isinstance(each, Answer)]
    script.send(Observed(src("2"), asked=True), Emit(ReloadStart(3, True, ())), *actions(3, live=2))


def test_a_reload_asked_for_while_a_cycle_is_undone_gets_the_next_one() -> None:
    script = rolling_back()
    script.send(ReloadRequested(5))
    assert script.give(RolledBack(Rollback(Stage(2), 10.0)))[-1] == Look()


def test_a_reload_asked_for_before_the_start_gets_the_first_cycle() -> None:
    script = unstarted()
    script.send(ReloadRequested(5))
    script.send(Started(0), Emit(ReloadStart(1, True, ())), *actions(1))
    script.through(1, "swap")
    assert script.give(Watched(Watch(1), 0.0))[-2:] == (Answer((0, 5), succeeded=True), Prepare(1))


def test_a_reload_whose_cycle_fails_is_answered_with_false() -> None:
    script = asked()
    script.give(Observed(src("1"), asked=True))
    script.give(Failed(Stage(2), 0.5, ERROR, at=1000.0))
    error = ReloadError(2, True, (), error=ERROR, effect="stage", live_generation=1)
    script.send(RolledBack(Rollback(Stage(2), 10.0)), Emit(error), Answer((5,), succeeded=False), Prepare(1))


# --- what fails


@pytest.mark.parametrize(
    ("done", "failed", "undone"),
    [
        ("", Stage(2), ["stage"]),
        ("stage", Promote(2), ["promote", "stage"]),
        ("promote", Warm(2, 60.0), ["warm", "promote", "stage"]),
        ("warm", Swap(2), ["warm", "promote", "stage"]),
    ],
    ids=["stage", "promote", "warm", "swap"],
)
def test_a_failure_undoes_what_was_reached_and_keeps_the_last_good(
    done: str, failed: Stage | Promote | Warm | Swap, undone: list[str]
) -> None:
    script = second_cycle()
    if done:
        script.through(2, done)
    script.send(Failed(failed, 0.5, ERROR, at=1000.0), *rollbacks(2, *undone))
    *first, last = rollbacks(2, *undone)
    for rollback in first:
        script.send(RolledBack(rollback))
    error = ReloadError(2, False, (A,), error=ERROR, effect=failed.name, live_generation=1)
    script.send(RolledBack(last), Emit(error), Prepare(1))
    assert script.phase() == Idle()
    assert script.state.live == Generation(1, 1)
    assert script.state.stale == Stale(ERROR, 1000.0)


def test_stale_since_is_the_first_of_a_row_of_failures_until_one_succeeds() -> None:
    script = rolling_back()
    script.give(RolledBack(Rollback(Stage(2), 10.0)))
    for event in (ReloadRequested(5), Observed(src("2"), asked=True), Failed(Stage(3), 0.5, ERROR, at=2000.0)):
        script.give(event)
    script.give(RolledBack(Rollback(Stage(3), 10.0)))
    assert script.stale_since() == 1000.0, "the first of the row"
    for event in (ReloadRequested(6), Observed(src("2"), asked=True)):
        script.give(event)
    script.through(4, "watch", live=1)
    assert script.stale_since() is None
    assert script.state.stale is None
    assert script.state.live == Generation(2, 4)


def test_an_undoing_that_fails_is_told_with_both_errors_and_stops_nothing() -> None:
    script = second_cycle().through(2, "stage")
    script.send(Failed(Promote(2), 0.5, ERROR, at=1000.0), *rollbacks(2, "promote", "stage"))
    worse = OSError("worse")
    promote, stage = rollbacks(2, "promote", "stage")
    script.send(RollbackFailed(promote, worse), Emit(RollbackFailedNotice("promote", worse, ERROR)))
    error = ReloadError(2, False, (A,), error=ERROR, effect="promote", live_generation=1)
    script.send(RolledBack(stage), Emit(error), Prepare(1))


def test_a_start_that_fails_is_told_and_ends_the_session() -> None:
    script = first_cycle()
    script.send(Failed(Stage(1), 0.5, ERROR, at=1000.0), *rollbacks(1, "stage"))
    error = ReloadError(1, True, (), error=ERROR, effect="stage", live_generation=None)
    script.send(RolledBack(Rollback(Stage(1), 10.0)), Emit(error), Answer((0,), succeeded=False), Release())
    script.send(Released())
    assert script.phase() == Closed()


def test_a_reload_asked_for_during_a_start_that_fails_is_answered_with_false() -> None:
    script = first_cycle()
    script.send(ReloadRequested(5))
    script.give(Failed(Stage(1), 0.5, ERROR, at=1000.0))
    effects = script.give(RolledBack(Rollback(Stage(1), 10.0)))
    assert [each for each in effects if isinstance(each, Answer)] == [
        Answer((0,), succeeded=False),
        Answer((5,), succeeded=False),
    ]


# --- close


@pytest.mark.parametrize("make", [idle, scheduled, looking], ids=lambda make: str(make.__name__))
def test_a_close_between_cycles_lets_everything_go(make: Callable[[], Script]) -> None:
    make().send(CloseRequested(), *STOP_ALL, Unpublish(), Dispose(1, 10.0), Release())


def test_a_close_before_the_start_leaves_nothing_to_start() -> None:
    script = unstarted()
    script.send(CloseRequested(), *STOP_ALL, Unpublish(), Release())
    script.send(Started(0), Answer((0,), succeeded=False))
    script.send(Released())
    script.send(Started(1), Answer((1,), succeeded=False))


@pytest.mark.parametrize(
    ("done", "ended"),
    [("", Stage(2)), ("stage", Promote(2)), ("promote", Warm(2, 60.0)), ("warm", Swap(2))],
    ids=["stage", "promote", "warm", "swap"],
)
def test_a_close_before_the_swap_undoes_the_cycle_in_silence(done: str, ended: Stage | Promote | Warm | Swap) -> None:
    script = asked()
    script.give(Observed(src("1"), asked=True))
    if done:
        script.through(2, done)
    script.send(ReloadRequested(6))
    script.send(CloseRequested(), *STOP_ALL, Answer((6,), succeeded=False), Unpublish(), Interrupt())
    script.send(CloseRequested(), *STOP_ALL, Unpublish())  # a second one interrupts nothing
    *first, last = plan_of_cycle(SETTINGS, 2, Generation(1, 1)).undo_through(ended)
    script.send(Failed(ended, 0.5, ERROR, at=1000.0), *first, last)
    for rollback in first:
        script.send(RolledBack(rollback))
    script.send(RolledBack(last), Answer((5,), succeeded=False), Dispose(1, 10.0), Release())
    assert script.state.stale is None, "a close is no failure"


@pytest.mark.parametrize("name", ["stage", "promote", "warm"])
def test_a_deed_that_ends_well_in_spite_of_a_close_is_undone(name: str) -> None:
    done = ["stage", "promote", "warm"][: ["stage", "promote", "warm"].index(name) + 1]
    script = second_cycle()
    if done[:-1]:
        script.through(2, done[-2])
    script.give(CloseRequested())
    outcomes: dict[str, Event] = {
        "stage": Staged(Stage(2), 0.5, WATCH, src()),
        "promote": Promoted(Promote(2), 0.25, (), ()),
        "warm": Warmed(Warm(2, 60.0), 2.0),
    }
    script.send(outcomes[name], *rollbacks(2, *reversed(done)))


def test_a_swap_that_ends_well_in_spite_of_a_close_is_followed_by_the_rest_of_the_cycle() -> None:
    script = asked()
    script.give(Observed(src("1"), asked=True))
    script.through(2, "warm")
    script.send(CloseRequested(), *STOP_ALL, Unpublish(), Interrupt())  # drops what is left of the cycle
    script.send(Swapped(Swap(2), 0.0), Dispose(1, 10.0), Watch(2))
    script.send(Disposed(1, 0.0))
    script.send(Watched(Watch(2), 0.0), Answer((5,), succeeded=False), Dispose(2, 10.0), Release())


def test_a_close_after_the_swap_lets_the_cycle_end_in_silence() -> None:
    script = swapped()
    script.send(CloseRequested(), *STOP_ALL, Unpublish())
    script.send(DisposeFailed(1, 0.0, ERROR))
    script.send(Watched(Watch(2), 0.0), Dispose(2, 10.0), Release())


def test_a_close_while_a_cycle_is_undone_waits_for_it_in_silence() -> None:
    script = rolling_back()
    script.send(CloseRequested(), *STOP_ALL, Unpublish())
    script.send(RolledBack(Rollback(Stage(2), 10.0)), Dispose(1, 10.0), Release())


def test_after_a_close_nothing_is_told() -> None:
    script = closing()
    script.send(Noticed(PollingStarted("x")))
    script.send(DisposeFailed(1, 0.0, ERROR))
    script.send(ReloadRequested(5), Answer((5,), succeeded=False))
    script.send(Observed(src("9")))
    assert script.state.retired == ()


def test_a_rollback_that_fails_while_closing_is_not_told() -> None:
    script = interrupted()
    script.give(Failed(Stage(2), 0.5, ERROR, at=1000.0))
    script.send(RollbackFailed(Rollback(Stage(2), 10.0), ERROR), Dispose(1, 10.0), Release())


# --- bridges that are replaced


def test_a_third_draining_bridge_cuts_the_oldest_off() -> None:
    script = idle()
    for cycle in (2, 3, 4):
        script.give(ReloadRequested(cycle))
        script.give(Observed(src("1"), asked=True))
        script.through(cycle, "swap")
        script.send(Draining(cycle - 1, 0.0), *((CutOff(1),) if cycle == 4 else ()))
        script.give(Watched(Watch(cycle), 0.0))
    assert [each.cycle for each in script.state.retired] == [1, 2, 3]
    script.send(Disposed(1, 0.0))
    assert [each.cycle for each in script.state.retired] == [2, 3]


def test_a_dispose_that_fails_is_a_notice_that_names_the_generation() -> None:
    script = swapped()
    script.send(DisposeFailed(1, 0.5, ERROR), Emit(DisposeFailedNotice(1, ERROR)))
    assert isinstance(script.state.phase, Running)
    assert script.state.phase.cycle.timings["dispose"] == 0.5
    assert script.state.retired == ()


def test_a_bridge_that_ends_draining_later_does_not_count_into_another_cycle() -> None:
    script = swapped()
    script.send(Draining(1, 0.25))
    script.give(Watched(Watch(2), 0.0))
    script.give(ReloadRequested(5))
    script.give(Observed(src("2"), asked=True))
    script.send(Disposed(1, 9.0))
    assert isinstance(script.state.phase, Running)
    assert script.state.phase.cycle.timings == {}


def test_a_notice_is_passed_on() -> None:
    idle().send(Noticed(PollingStarted("no inotify left")), Emit(PollingStarted("no inotify left")))


# --- a bridge that is lost


def test_a_lost_bridge_is_made_once_more_and_the_status_says_so_meanwhile() -> None:
    script = restarting()
    assert script.staleness() == Stale(ERROR, 1000.0)
    script.send(Restarted(RESTART, 0.5), Emit(BridgeRestored(1)), Prepare(1))
    assert script.phase() == Idle()
    assert script.staleness() is None
    assert script.state.live == Generation(1, 1)


def test_a_bridge_that_is_lost_again_and_again_is_made_after_longer_waits_and_then_no_more() -> None:
    script = idle()
    for number, wait in enumerate((0.0, 0.5, 1.0, 2.0, 4.0)):
        script.send(Lost(1, ERROR, 1000.0 + number), Emit(BridgeLost(1, ERROR, wait)), SetTimer("restart", wait))
        restart = replace(RESTART, broken=-1 - number)
        script.send(TimerElapsed("restart"), restart)
        script.send(Restarted(restart, 0.5), Emit(BridgeRestored(1)), Prepare(1))
    script.send(Lost(1, ERROR, 1005.0), Emit(BridgeLost(1, ERROR, None)))
    assert script.phase() == Idle()
    script.give(Observed(src("2")))
    assert script.phase() == Scheduled(), "an edit is worth a try"


def test_at_most_two_drain_after_losses_too_and_the_oldest_is_cut_off() -> None:
    script = idle()
    for number, cut_off in enumerate(((), (), (CutOff(-1),), (CutOff(-2),))):
        script.give(Lost(1, ERROR, 1000.0 + 100 * number))
        restart = replace(RESTART, broken=-1 - number)
        script.send(TimerElapsed("restart"), restart)
        script.send(Restarted(restart, 0.5, draining=True), Emit(BridgeRestored(1)), *cut_off, Prepare(1))
        if cut_off:
            script.send(Disposed(cut_off[0].bridge, 0.5))
    script.send(DisposeFailed(-3, 0.5, ERROR), Emit(DisposeFailedNotice(1, ERROR)))
    assert [each.cycle for each in script.state.retired] == [-4]


def test_losses_are_forgotten_after_a_minute() -> None:
    script = idle()
    for at in (1000.0, 1061.0):
        script.send(Lost(1, ERROR, at), Emit(BridgeLost(1, ERROR, 0.0)), SetTimer("restart", 0.0))
        script.give(TimerElapsed("restart"))
        script.give(Restarted(RESTART, 0.5))


def test_a_restart_that_fails_counts_like_a_loss() -> None:
    script = restarting()
    worse = OSError("no fork")
    script.send(RestartFailed(RESTART, 0.5, worse, 1001.0), Emit(BridgeLost(1, worse, 0.5)), SetTimer("restart", 0.5))
    assert script.staleness() == Stale(ERROR, 1000.0)


def test_what_leads_to_a_cycle_ends_a_restart_and_the_cycle_replaces_the_bridge() -> None:
    script = restarting()
    script.send(ReloadRequested(5), Interrupt())
    script.send(RestartFailed(RESTART, 0.5, None, 1001.0), Look())
    script.send(Observed(src("1"), asked=True), Emit(ReloadStart(2, True, ())), *actions(2, live=1))
    script.through(2, "watch", live=1)
    assert script.phase() == Idle()
    assert script.state.lost is None


def test_a_cycle_that_fails_leaves_a_lost_bridge_to_be_made_once_more() -> None:
    script = second_cycle()
    script.send(Lost(1, ERROR, 1000.0), Emit(BridgeLost(1, ERROR)))
    script.give(Failed(Stage(2), 0.5, ERROR, at=1001.0))
    error = ReloadError(2, False, (A,), error=ERROR, effect="stage", live_generation=1)
    script.send(RolledBack(Rollback(Stage(2), 10.0)), Emit(error), SetTimer("restart", 0.0))


def test_an_edit_that_is_taken_back_leaves_a_lost_bridge_to_be_made_once_more() -> None:
    script = scheduled()
    script.send(Lost(1, ERROR, 1000.0), Emit(BridgeLost(1, ERROR)))
    script.send(Observed(src("1")), *STOP, SetTimer("restart", 0.0))


def test_edits_during_a_restart_end_it_when_they_have_settled() -> None:
    script = restarting()
    script.send(Observed(src("2")), Emit(Change(A)), SetTimer("debounce", 0.1))
    script.send(TimerElapsed("debounce"), Interrupt())
    script.send(RestartFailed(RESTART, 0.5, None, 1001.0), *SCHEDULE)


def test_a_close_during_a_restart_ends_the_session() -> None:
    script = restarting()
    script.give(CloseRequested())
    script.send(RestartFailed(RESTART, 0.5, None, 1001.0), Dispose(1, 10.0), Release())


# --- undo


def undo_deeds(cycle: int, live: int) -> tuple[Action, ...]:
    return (Stage(cycle, undo=True), *actions(cycle, live)[1:])


def on_probation() -> Script:
    """Generation 2 is live since the second 1000, on trial for 5 seconds."""
    script = second_cycle()
    script.give(Staged(Stage(2), 0.5, WATCH, src("2"), previous=True, probation=5.0))
    for event in (Promoted(Promote(2), 0.5, (), ()), Warmed(Warm(2, 60.0), 0.5), Swapped(Swap(2), 0.0, 1000.0)):
        script.give(event)
    script.give(Disposed(1, 0.0))
    script.give(Watched(Watch(2), 0.0))
    assert script.phase() == Idle()
    return script


def through_undo(script: Script, live: int) -> tuple[Effect, ...]:
    script.give(Staged(Stage(3, undo=True), 0.5, WATCH, src(), previous=True, probation=5.0))
    for event in (Promoted(Promote(3), 0.5, (), ()), Warmed(Warm(3, 60.0), 0.5), Swapped(Swap(3), 0.0, 2000.0)):
        script.give(event)
    script.give(Disposed(live, 0.0))
    return script.give(Watched(Watch(3), 0.0))


def test_an_undo_is_a_cycle_that_leaves_the_status_stale_until_one_succeeds() -> None:
    script = on_probation()
    script.send(UndoRequested(7), Look())
    script.send(Observed(src("2"), asked=True), Emit(ReloadStart(3, True, ())), *undo_deeds(3, live=2))
    notice, success, answer, prepare = through_undo(script, live=2)
    assert notice == Emit(GenerationUndone(2, None))
    assert name_of(success) == "reload-success"
    assert answer == Answer((7,), succeeded=True)
    assert prepare == Prepare(3)
    assert script.state.generation == 3
    assert script.state.stale is not None
    assert isinstance(script.state.stale.error, Undone)
    assert script.state.stale.error.generation == 2
    assert script.stale_since() == 2000.0
    script.send(Observed(src("2")))
    assert script.phase() == Idle(), "what was undone is not tried again by itself"
    script.give(ReloadRequested(8))
    script.give(Observed(src("2"), asked=True))
    script.through(4, "watch", live=3)
    assert script.stale_since() is None


def test_an_undo_attempts_no_edit_and_so_loses_none() -> None:
    script = on_probation()
    script.give(Observed(src("3")))
    script.give(UndoRequested(7))
    script.send(Observed(src("3"), asked=True), Emit(ReloadStart(3, True, ())), *undo_deeds(3, live=2))
    through_undo(script, live=2)
    assert script.phase() == Scheduled()


def test_requests_are_served_in_the_order_they_came() -> None:
    script = on_probation()
    for event in (ReloadRequested(7), UndoRequested(8), ReloadRequested(9)):
        script.give(event)
    script.send(Observed(src("2"), asked=True), Emit(ReloadStart(3, True, ())), *actions(3, live=2))
    assert isinstance(script.state.phase, Running)
    assert script.state.phase.cycle.tickets == (7, 9), "those who wait for a reload share one"
    script.through(3, "watch", live=2)
    script.send(Observed(src("2"), asked=True), Emit(ReloadStart(4, True, ())), *undo_deeds(4, live=3))


def test_a_bridge_that_is_lost_on_trial_brings_the_generation_before_back() -> None:
    script = on_probation()
    script.send(Lost(2, ERROR, 1004.0), Emit(BridgeLost(2, ERROR)), Look())
    script.send(Observed(src("2"), asked=True), Emit(ReloadStart(3, False, ())), *undo_deeds(3, live=2))
    notice, *_ = through_undo(script, live=2)
    assert notice == Emit(GenerationUndone(2, ERROR))
    assert script.state.stale is not None
    assert isinstance(script.state.stale.error, Undone)
    assert script.state.stale.error.reason is ERROR
    script.send(Lost(3, ERROR, 2001.0), Emit(BridgeLost(3, ERROR, 0.0)), SetTimer("restart", 0.0))


def test_after_its_trial_a_bridge_that_is_lost_is_made_once_more() -> None:
    on_probation().send(Lost(2, ERROR, 1005.0), Emit(BridgeLost(2, ERROR, 0.0)), SetTimer("restart", 0.0))


def test_an_undo_by_loss_that_fails_leaves_the_bridge_to_be_made_once_more() -> None:
    script = on_probation()
    script.give(Lost(2, ERROR, 1004.0))
    script.give(Observed(src("2"), asked=True))
    worse = OSError("damaged")
    stage = Stage(3, undo=True)
    script.send(Failed(stage, 0.5, worse, at=1005.0), Rollback(stage, 10.0))
    error = ReloadError(3, False, (), error=worse, effect="stage", live_generation=2)
    script.send(RolledBack(Rollback(stage, 10.0)), Emit(error), SetTimer("restart", 0.0))


def test_the_first_generation_of_a_session_is_not_on_trial() -> None:
    script = first_cycle()
    script.give(Staged(Stage(1), 0.5, WATCH, src("2"), previous=True, probation=5.0))
    for event in (Promoted(Promote(1), 0.5, (), ()), Warmed(Warm(1, 60.0), 0.5), Swapped(Swap(1), 0.0, 1000.0)):
        script.give(event)
    script.give(Watched(Watch(1), 0.0))
    script.send(Lost(1, ERROR, 1001.0), Emit(BridgeLost(1, ERROR, 0.0)), SetTimer("restart", 0.0))


# --- what the next bridge can take over


def test_a_cycle_that_is_over_has_the_live_bridge_prepare_for_the_next() -> None:
    assert second_cycle().through(2, "dispose", live=1).give(Watched(Watch(2), 0.0))[-1] == Prepare(2)
    assert rolling_back().give(RolledBack(Rollback(Stage(2), 10.0)))[-1] == Prepare(1), "it may have given what it had"


def test_nothing_is_prepared_while_a_cycle_is_about_to_start() -> None:
    script = second_cycle()
    script.give(ReloadRequested(5))
    assert script.through(2, "dispose", live=1).give(Watched(Watch(2), 0.0))[-1] == Look()


def test_a_lost_bridge_prepares_nothing_before_it_is_back() -> None:
    script = second_cycle()
    script.give(Lost(1, ERROR, 1000.0))
    script.give(Failed(Stage(2), 0.5, ERROR, at=1001.0))
    assert Prepare(1) not in script.give(RolledBack(Rollback(Stage(2), 10.0)))
    script.send(TimerElapsed("restart"), RESTART)
    script.send(Restarted(RESTART, 0.5), Emit(BridgeRestored(1)), Prepare(1))


def test_a_session_that_ends_prepares_nothing() -> None:
    script = swapped()
    script.give(CloseRequested())
    script.give(Disposed(1, 0.125))
    script.send(Watched(Watch(2), 0.0), Dispose(2, 10.0), Release())


# --- modules that are loaded late


def test_what_is_loaded_late_is_watched_from_the_bytes_that_were_loaded() -> None:
    script = idle()
    plugin = LIB / "plugin.py"
    watched = WatchPaths((plugin, SRC))
    script.send(
        LoadedLate(1, (Late("plugin", plugin, "1"),)),
        Emit(ModuleLoadedLate("plugin", plugin)),
        Pin(1),
        Emit(watched),
        Arm((plugin,)),
    )
    script.send(Observed({**src("1"), plugin: {plugin: "1"}}))
    script.send(Observed({**src("1"), plugin: {plugin: "2"}}), Emit(Change(plugin)), *SCHEDULE)


def test_what_is_loaded_late_inside_of_what_is_watched_is_told_alone() -> None:
    late = SRC / "late.py"
    idle().send(LoadedLate(1, (Late("late", late, "1"),)), Emit(ModuleLoadedLate("late", late)), Pin(1))


def test_what_is_loaded_late_together_is_watched_at_once() -> None:
    script = idle()
    x, y = LIB / "x.py", LIB / "y.py"
    late = Late("y", y, "1"), Late("a.late", SRC / "late.py", "1"), Late("x", x, "1")
    notices = [Emit(ModuleLoadedLate(each.name, each.path)) for each in late]
    script.send(LoadedLate(1, late), *notices, Pin(1), Emit(WatchPaths((x, y, SRC))), Arm((x, y)))
    script.send(LoadedLate(1, late[:1]), notices[0], Pin(1))


def test_what_a_fresh_bridge_has_loaded_late_is_watched_with_the_rest_of_its_cycle() -> None:
    script = second_cycle().through(2, "swap", live=1)
    plugin = LIB / "plugin.py"
    script.send(LoadedLate(2, (Late("plugin", plugin, "1"),)), Emit(ModuleLoadedLate("plugin", plugin)), Pin(2))
    script.give(Disposed(1, 0.0))
    paths, success, arm, prepare = script.give(Watched(Watch(2), 0.0))
    assert (paths, name_of(success)) == (Emit(WatchPaths((plugin, SRC))), "reload-success")
    assert (arm, prepare) == (Arm((plugin,)), Prepare(2))
    script.give(ReloadRequested(5))
    script.give(Observed({**src("2"), plugin: {plugin: "1"}}, asked=True))
    script.through(3, "watch", live=2)
    assert script.state.watched == WATCH, "the next bridge has not loaded it"


# --- every pair of phase and event

PHASES: dict[str, Callable[[], Script]] = {
    "unstarted": unstarted,
    "idle": idle,
    "scheduled": scheduled,
    "looking": looking,
    "asked": asked,
    "running": second_cycle,
    "swapped": swapped,
    "interrupted": interrupted,
    "rolling back": rolling_back,
    "lost": lost,
    "restarting": restarting,
    "closing": closing,
    "closed": closed,
}

# By what they are in the second cycle. "stray" is an outcome of an action of no cycle that there is.
EVENTS: dict[str, Event] = {
    "started": Started(9),
    "same": Observed(src("2")),
    "edit": Observed(src("3")),
    "reverted": Observed(src("1")),
    "looked": Observed(src("3"), asked=True),
    "looked, same": Observed(src("1"), asked=True),
    "timer": TimerElapsed("debounce"),
    "restart timer": TimerElapsed("restart"),
    "request": ReloadRequested(9),
    "undo": UndoRequested(9),
    "close": CloseRequested(),
    "staged": Staged(Stage(2), 0.5, WATCH, src("2")),
    "promoted": Promoted(Promote(2), 0.5, (), ()),
    "warmed": Warmed(Warm(2, 60.0), 0.5),
    "swapped": Swapped(Swap(2), 0.5),
    "watched": Watched(Watch(2), 0.5),
    "failed": Failed(Stage(2), 0.5, ERROR, 1.0),
    "stray staged": Staged(Stage(99), 0.5, WATCH, src("9")),
    "stray watched": Watched(Watch(99), 0.5),
    "stray failed": Failed(Warm(99, 60.0), 0.5, ERROR, 1.0),
    "stage returned": StageReturned(),
    "rolled back": RolledBack(Rollback(Stage(2), 10.0)),
    "rollback failed": RollbackFailed(Rollback(Stage(2), 10.0), ERROR),
    "draining": Draining(1, 0.5),
    "disposed": Disposed(1, 0.5),
    "dispose failed": DisposeFailed(1, 0.5, ERROR),
    "disposed, unknown": Disposed(99, 0.5),
    "lost": Lost(1, ERROR, 5.0),
    "lost, unknown": Lost(99, ERROR, 5.0),
    "restarted": Restarted(RESTART, 0.5),
    "restart failed": RestartFailed(RESTART, 0.5, ERROR, 6.0),
    "restart interrupted": RestartFailed(RESTART, 0.5, None, 6.0),
    "loaded late": LoadedLate(1, (Late("plugin", LIB / "plugin.py", "1"),)),
    "loaded late, unknown": LoadedLate(99, (Late("plugin", LIB / "plugin.py", "1"),)),
    "noticed": Noticed(PollingStarted("x")),
    "released": Released(),
}

# (phase, event) -> the phase that follows, and the effects by their names. What is not here leaves the phase and asks for
# nothing; None: the phase stays.
CYCLE2 = "stage promote warm swap dispose watch"
STOPS = "StopTimer StopTimer"
TABLE: dict[tuple[str, str], tuple[type | None, str]] = {
    ("unstarted", "started"): (Running, "reload-start stage promote warm swap watch"),
    ("unstarted", "close"): (Closing, f"{STOPS} StopTimer Unpublish release"),
    ("idle", "same"): (Scheduled, "change SetTimer SetTimer"),
    ("idle", "edit"): (Scheduled, "change SetTimer SetTimer"),
    ("idle", "looked"): (Scheduled, "change SetTimer SetTimer"),
    ("idle", "request"): (Looking, "Look"),
    ("idle", "undo"): (Looking, "Look"),
    ("idle", "lost"): (Idle, "notice-bridge-lost SetTimer"),
    ("idle", "loaded late"): (Idle, "notice-module-loaded-late Pin watch-paths Arm"),
    ("idle", "close"): (Closing, f"{STOPS} StopTimer Unpublish dispose release"),
    ("scheduled", "edit"): (Scheduled, "change SetTimer"),
    ("scheduled", "looked"): (Scheduled, "change SetTimer"),
    ("scheduled", "reverted"): (Idle, STOPS),
    ("scheduled", "looked, same"): (Idle, STOPS),
    ("scheduled", "timer"): (Looking, f"{STOPS} Look"),
    ("scheduled", "request"): (Looking, f"{STOPS} Look"),
    ("scheduled", "undo"): (Looking, f"{STOPS} Look"),
    ("scheduled", "lost"): (Scheduled, "notice-bridge-lost"),
    ("scheduled", "loaded late"): (Scheduled, "notice-module-loaded-late Pin watch-paths Arm"),
    ("scheduled", "close"): (Closing, f"{STOPS} StopTimer Unpublish dispose release"),
    ("looking", "edit"): (Looking, "change"),
    ("looking", "looked"): (Running, f"change reload-start {CYCLE2}"),
    ("looking", "looked, same"): (Idle, ""),
    ("looking", "lost"): (Looking, "notice-bridge-lost"),
    ("looking", "loaded late"): (Looking, "notice-module-loaded-late Pin watch-paths Arm"),
    ("looking", "close"): (Closing, f"{STOPS} StopTimer Unpublish dispose release"),
    ("asked", "same"): (Looking, "change"),
    ("asked", "edit"): (Looking, "change"),
    ("asked", "looked"): (Running, f"change reload-start {CYCLE2}"),
    ("asked", "looked, same"): (Running, f"reload-start {CYCLE2}"),
    ("asked", "lost"): (Looking, "notice-bridge-lost"),
    ("asked", "loaded late"): (Looking, "notice-module-loaded-late Pin watch-paths Arm"),
    ("asked", "close"): (Closing, f"{STOPS} StopTimer Answer Unpublish dispose release"),
    ("running", "edit"): (Running, "change"),
    ("running", "reverted"): (Running, "change"),
    ("running", "looked"): (Running, "change"),
    ("running", "looked, same"): (Running, "change"),
    ("running", "lost"): (Running, "notice-bridge-lost"),
    ("running", "loaded late"): (Running, "notice-module-loaded-late Pin watch-paths Arm"),
    ("running", "close"): (Running, f"{STOPS} StopTimer Unpublish Interrupt"),
    ("running", "failed"): (RollingBack, "rollback"),
    ("swapped", "edit"): (Running, "change"),
    ("swapped", "reverted"): (Running, "change"),
    ("swapped", "looked"): (Running, "change"),
    ("swapped", "looked, same"): (Running, "change"),
    ("swapped", "close"): (Running, f"{STOPS} StopTimer Unpublish"),
    ("swapped", "watched"): (Idle, "reload-success Prepare"),
    ("swapped", "dispose failed"): (Running, "notice-dispose-failed"),
    ("swapped", "failed"): (RollingBack, "rollback"),
    ("interrupted", "undo"): (Running, "Answer"),
    ("interrupted", "request"): (Running, "Answer"),
    ("interrupted", "close"): (Running, f"{STOPS} StopTimer Unpublish"),
    ("interrupted", "staged"): (RollingBack, "rollback"),
    ("interrupted", "promoted"): (RollingBack, "rollback rollback"),
    ("interrupted", "warmed"): (RollingBack, "rollback rollback rollback"),
    ("interrupted", "swapped"): (Running, "dispose watch"),
    ("interrupted", "failed"): (RollingBack, "rollback"),
    ("interrupted", "loaded late"): (Running, "Pin"),
    ("rolling back", "edit"): (RollingBack, "change"),
    ("rolling back", "reverted"): (RollingBack, "change"),
    ("rolling back", "looked"): (RollingBack, "change"),
    ("rolling back", "looked, same"): (RollingBack, "change"),
    ("rolling back", "lost"): (RollingBack, "notice-bridge-lost"),
    ("rolling back", "loaded late"): (RollingBack, "notice-module-loaded-late Pin watch-paths Arm"),
    ("rolling back", "close"): (RollingBack, f"{STOPS} StopTimer Unpublish"),
    ("rolling back", "rolled back"): (Idle, "reload-error Prepare"),
    ("rolling back", "rollback failed"): (Idle, "notice-rollback-failed reload-error Prepare"),
    ("lost", "same"): (Scheduled, "change SetTimer SetTimer"),
    ("lost", "edit"): (Scheduled, "change SetTimer SetTimer"),
    ("lost", "looked"): (Scheduled, "change SetTimer SetTimer"),
    ("lost", "restart timer"): (Restarting, "restart"),
    ("lost", "request"): (Looking, "Look"),
    ("lost", "undo"): (Looking, "Look"),
    ("lost", "loaded late"): (Idle, "notice-module-loaded-late Pin watch-paths Arm"),
    ("lost", "close"): (Closing, f"{STOPS} StopTimer Unpublish dispose release"),
    ("restarting", "same"): (Restarting, "change SetTimer"),
    ("restarting", "edit"): (Restarting, "change SetTimer"),
    ("restarting", "looked"): (Restarting, "change SetTimer"),
    ("restarting", "timer"): (Restarting, "Interrupt"),
    ("restarting", "request"): (Restarting, "Interrupt"),
    ("restarting", "undo"): (Restarting, "Interrupt"),
    ("restarting", "restarted"): (Idle, "notice-bridge-restored Prepare"),
    ("restarting", "restart failed"): (Idle, "notice-bridge-lost SetTimer"),
    ("restarting", "restart interrupted"): (Idle, "SetTimer"),
    ("restarting", "loaded late"): (Restarting, "notice-module-loaded-late Pin watch-paths Arm"),
    ("restarting", "close"): (Restarting, f"{STOPS} StopTimer Unpublish Interrupt"),
    ("closing", "undo"): (Closing, "Answer"),
    ("closed", "undo"): (Closed, "Answer"),
    ("closing", "started"): (Closing, "Answer"),
    ("closing", "request"): (Closing, "Answer"),
    ("closed", "started"): (Closed, "Answer"),
    ("closed", "request"): (Closed, "Answer"),
    **{(phase, "released"): (Closed, "") for phase in PHASES},
    **{
        (phase, "noticed"): (None, "notice-polling-started")
        for phase in PHASES
        if phase not in ("interrupted", "closing", "closed")
    },
}


def name_of(effect: Effect) -> str:
    match effect:
        case Emit(event):
            return event.type
        case _:
            return getattr(effect, "name", type(effect).__name__)


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("phase", PHASES)
def test_every_event_in_every_phase(phase: str, event: str) -> None:
    before = PHASES[phase]().state
    step = plan(before, EVENTS[event])
    follows, effects = TABLE.get((phase, event), (None, ""))
    assert type(step.state.phase) is (follows or type(before.phase))
    assert " ".join(name_of(each) for each in step.effects) == effects


@pytest.mark.parametrize("event", [name for name in EVENTS if name.startswith("stray") or "unknown" in name])
@pytest.mark.parametrize("phase", PHASES)
def test_an_outcome_of_what_is_not_under_way_changes_nothing(phase: str, event: str) -> None:
    state = PHASES[phase]().state
    assert plan(state, EVENTS[event]).state == state


def test_the_table_names_every_phase_and_event() -> None:
    phases = {Unstarted, Idle, Scheduled, Looking, Running, RollingBack, Restarting, Closing, Closed}
    assert {type(make().state.phase) for make in PHASES.values()} == phases
    assert {type(event) for event in EVENTS.values()} == {*typing.get_args(Event)}
    assert {(phase, event) for phase, event in TABLE} <= {(phase, event) for phase in PHASES for event in EVENTS}


def test_plan_is_pure() -> None:
    script = second_cycle()
    before = dataclasses.replace(script.state)
    for event in EVENTS.values():
        assert plan(script.state, event) == plan(script.state, event)
    assert script.state == before


# --- a stage is bounded


def test_a_stage_and_the_wait_for_its_thread_have_the_time_that_was_asked_for() -> None:
    script = Script(dataclasses.replace(SETTINGS, stage_timeout=5.0))
    assert script.give(Started(0))[1] == Stage(1, timeout=5.0)
    assert script.give(CloseRequested())[-1] == Interrupt()
    script.give(Failed(Stage(1, timeout=5.0), 0.5, ERROR, at=1000.0))
    rolled_back = script.give(RolledBack(Rollback(Stage(1, timeout=5.0), 10.0)))
    assert rolled_back[-1] == Release(5.0)


def waited() -> Script:
    """The stage of the third cycle is to have other bytes than that of the second, which hangs, and has only waited for it."""
    script = rolling_back()
    script.give(RolledBack(Rollback(Stage(2), 10.0)))
    script.give(Observed(src("3")))
    script.give(TimerElapsed("debounce"))
    assert script.give(Observed(src("3"), asked=True))[0] == Emit(ReloadStart(3, False, (A,)))
    script.send(Failed(Stage(3), 0.5, ERROR, at=1000.0, only_waited=True), *rollbacks(3, "stage"))
    return script


WAITED = RolledBack(Rollback(Stage(3), 10.0))


def test_what_a_stage_that_only_waited_was_to_have_is_attempted_when_the_thread_is_back() -> None:
    script = waited()
    assert script.give(WAITED)[-1] == Prepare(1)
    assert script.phase() == Idle(), "it does not wait over and over"
    script.send(StageReturned(), Look())
    assert script.give(Observed(src("3"), asked=True))[0] == Emit(ReloadStart(4, False, (A,)))
    script.send(StageReturned())


def test_a_thread_that_is_back_before_the_stage_is_undone() -> None:
    script = waited()
    script.send(StageReturned())
    assert script.give(WAITED)[-2:] == SCHEDULE


@pytest.mark.parametrize("when", ["while it waits", "later"])
def test_bytes_that_failed_are_not_tried_again_when_the_thread_is_back(when: str) -> None:
    script = waited()
    reverted = Observed(src("2"))
    if when == "later":
        script.give(WAITED)
        script.send(reverted)
    else:
        script.give(reverted)
        script.give(WAITED)
    assert script.phase() == Idle()
    script.send(StageReturned())


def test_an_edit_does_not_wait_for_the_thread_to_be_back() -> None:
    script = waited()
    script.give(WAITED)
    script.send(Observed(src("4")), Emit(Change(A)), *SCHEDULE)
    script.send(StageReturned())
    assert isinstance(script.phase(), Scheduled)


def test_a_status_is_stale_by_a_failure_or_a_loss() -> None:
    error = LookupError("mine")
    live = Generation(3, 4)
    assert states.Status.of(State(live=live)) == states.Status(3, False, None, None)
    assert states.Status.of(State(live=live, stale=Stale(error, 7.0))) == states.Status(3, True, 7.0, error)
    assert states.Status.of(State(live=live, lost=states.Lost(error, 8.0))) == states.Status(3, True, 8.0, error)
