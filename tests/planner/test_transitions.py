"""lastgood.planner.transitions: every event in every phase, and a good cycle."""

from __future__ import annotations

import typing
from pathlib import Path

import pytest
from msgspec.structs import replace

from lastgood import effects, watch_events
from lastgood.planner import State, events, plan, plan_of_cycle, states
from lastgood.planner.news import News
from planner_script import (
    ERROR,
    IDLE_LOOK,
    LIB,
    PHASES,
    RESTART,
    SCHEDULE,
    SETTINGS,
    SRC,
    STOP,
    WATCH,
    A,
    actions,
    idle,
    looked,
    name_of,
    second_cycle,
    src,
    unstarted,
)

# --- a good cycle


def test_a_start_is_a_manual_cycle_without_anything_to_dispose() -> None:
    script = unstarted()
    script.send(events.Started(7), effects.Emit(watch_events.ReloadStart(1, True, ())), effects.Stage(1), IDLE_LOOK)
    script.stage(1)
    script.send(events.Promoted(effects.Promote(1), 0.25, (Path("a.py"),), (Path("a.py"),)), effects.Warm(1, 60.0))
    script.send(events.Warmed(effects.Warm(1, 60.0), 2.0, ("a: differs",)), effects.Swap(1))
    script.send(events.Swapped(effects.Swap(1), 0.0), effects.Watch(1))
    success = watch_events.ReloadSuccess(
        1,
        True,
        (),
        generation=1,
        written=(Path("a.py"),),
        touched=(Path("a.py"),),
        warnings=("a: differs",),
        timings={"stage": 0.5, "promote": 0.25, "warm": 2.0, "swap": 0.0, "watch": 0.0},
    )
    script.send(
        events.Watched(effects.Watch(1), 0.0),
        effects.Emit(watch_events.WatchPaths((SRC,))),
        effects.Emit(success),
        effects.Answer((7,), succeeded=True),
        effects.Prepare(1),
    )
    assert script.phase() == states.Idle()
    assert script.state.live == states.Generation(1, 1)


def test_an_edit_leads_through_debounce_and_look_to_a_cycle() -> None:
    script = idle()
    script.send(events.Observed(src("2")), effects.Emit(watch_events.Change(A)), *SCHEDULE)
    script.send(events.TimerElapsed("debounce"), *STOP, script.next_look())
    script.send(
        looked(src("2")),
        effects.Emit(watch_events.ReloadStart(2, False, (A,))),
        effects.Stage(2),
    )
    script.through(2, "swap")
    script.send(events.Disposed(1, 0.125))
    success = watch_events.ReloadSuccess(
        2,
        False,
        (A,),
        generation=2,
        written=(Path("a.py"), Path("b.py")),
        touched=(Path("a.py"),),
        warnings=("careful", "kept"),
        timings={"stage": 0.5, "promote": 0.25, "warm": 2.0, "swap": 0.0, "dispose": 0.125, "watch": 0.0},
    )
    script.send(events.Watched(effects.Watch(2), 0.0), effects.Emit(success), effects.Prepare(2, (A,)))
    assert script.phase() == states.Idle()
    assert script.state.generation == 2
    assert script.state.retired == ()


def test_the_plan_of_a_cycle_is_whole_before_it_starts() -> None:
    assert plan_of_cycle(SETTINGS, 1, None) == effects.Plan(1, (*actions(1), effects.Watch(1)), 10.0)
    replacing = plan_of_cycle(SETTINGS, 9, states.Generation(4, 7))
    assert replacing.actions == (*actions(9), effects.Dispose(7, 10.0), effects.Watch(9))
    patient = plan_of_cycle(replace(SETTINGS, stage_timeout=7.0), 1, None)
    assert patient.actions[-1] == effects.Watch(1, 7.0)


# --- what is passed on


def test_a_notice_is_passed_on() -> None:
    idle().send(
        events.Noticed(watch_events.PollingStarted("no inotify left")),
        effects.Emit(watch_events.PollingStarted("no inotify left")),
        effects.SetTimer("idle-look", 1.0),
    )


# --- every pair of phase and event

# By what they are in the second cycle. "stray" is an outcome of an action of no cycle that there is.
EVENTS: dict[str, events.Event] = {
    "started": events.Started(9),
    "hinted": events.Hinted(),
    "same": events.Observed(src("2")),
    "edit": events.Observed(src("3")),
    "reverted": events.Observed(src("1")),
    "looked": looked(src("3")),
    "looked, same": looked(src("1")),
    "timer": events.TimerElapsed("debounce"),
    "second look": events.TimerElapsed("second-look"),
    "last look": events.TimerElapsed("last-look"),
    "idle look": events.TimerElapsed("idle-look"),
    "drain timer": events.TimerElapsed("drain 1"),
    "restart timer": events.TimerElapsed("restart"),
    "request": events.ReloadRequested(9),
    "lock removed": events.LockRemoved(),
    "undo": events.UndoRequested(9),
    "settle": events.SettleRequested(9),
    "close": events.CloseRequested(),
    "staged": events.Staged(effects.Stage(2), 0.5, WATCH, src("2")),
    "promoted": events.Promoted(effects.Promote(2), 0.5, (), ()),
    "warmed": events.Warmed(effects.Warm(2, 60.0), 0.5),
    "swapped": events.Swapped(effects.Swap(2), 0.5),
    "watched": events.Watched(effects.Watch(2), 0.5),
    "failed": events.Failed(effects.Stage(2), 0.5, ERROR, 1.0),
    "stray staged": events.Staged(effects.Stage(99), 0.5, WATCH, src("9")),
    "stray watched": events.Watched(effects.Watch(99), 0.5),
    "stray failed": events.Failed(effects.Warm(99, 60.0), 0.5, ERROR, 1.0),
    "stage returned": events.StageReturned(),
    "rolled back": events.RolledBack(effects.Rollback(effects.Stage(2), 10.0)),
    "rollback failed": events.RollbackFailed(effects.Rollback(effects.Stage(2), 10.0), ERROR),
    "draining": events.Draining(1, 0.5),
    "disposed": events.Disposed(1, 0.5),
    "dispose failed": events.DisposeFailed(1, 0.5, ERROR),
    "disposed, unknown": events.Disposed(99, 0.5),
    "lost": events.Lost(1, ERROR, 5.0),
    "lost, unknown": events.Lost(99, ERROR, 5.0),
    "restarted": events.Restarted(RESTART, 0.5),
    "restart failed": events.RestartFailed(RESTART, 0.5, ERROR, 6.0),
    "restart interrupted": events.RestartFailed(RESTART, 0.5, None, 6.0),
    "loaded late": events.LoadedLate(1, (events.Late("plugin", LIB / "plugin.py", "1"),)),
    "loaded late, unknown": events.LoadedLate(99, (events.Late("plugin", LIB / "plugin.py", "1"),)),
    "pinned": events.Pinned(1),
    "noticed": events.Noticed(watch_events.PollingStarted("x")),
    "released": events.Released(),
    "heard": events.Heard(News(7), 1.0),
    "elected": events.Elected(8),
    "followed": events.Followed(1, (LIB,)),
}


# (phase, event) -> the phase that follows, and the effects by their names. What is not here leaves the phase and asks for
# nothing; None: the phase stays.
STOPS = "StopTimer StopTimer"
STOP_ALL = " ".join(["StopTimer"] * 8)
TABLE: dict[tuple[str, str], tuple[type | None, str]] = {
    ("unstarted", "started"): (states.Running, "reload-start stage SetTimer"),
    ("unstarted", "close"): (states.Closing, f"{STOP_ALL} Unpublish release"),
    ("idle", "same"): (states.Scheduled, "change SetTimer SetTimer"),
    ("idle", "edit"): (states.Scheduled, "change SetTimer SetTimer"),
    ("idle", "looked"): (states.Scheduled, "change SetTimer SetTimer"),
    ("idle", "request"): (states.Looking, "Look"),
    ("idle", "undo"): (states.Looking, "Look"),
    ("idle", "lost"): (states.Idle, "notice-bridge-lost SetTimer"),
    ("idle", "loaded late"): (states.Idle, "notice-module-loaded-late Pin watch-paths Arm"),
    ("idle", "close"): (states.Closing, f"{STOP_ALL} Unpublish dispose release"),
    ("scheduled", "edit"): (states.Scheduled, "change SetTimer"),
    ("scheduled", "looked"): (states.Scheduled, "change SetTimer"),
    ("scheduled", "reverted"): (states.Idle, STOPS),
    ("scheduled", "looked, same"): (states.Idle, STOPS),
    ("scheduled", "timer"): (states.Looking, f"{STOPS} Look"),
    ("scheduled", "request"): (states.Looking, f"{STOPS} Look"),
    ("scheduled", "undo"): (states.Looking, f"{STOPS} Look"),
    ("scheduled", "lost"): (states.Scheduled, "notice-bridge-lost"),
    ("scheduled", "loaded late"): (states.Scheduled, "notice-module-loaded-late Pin watch-paths Arm"),
    ("scheduled", "close"): (states.Closing, f"{STOP_ALL} Unpublish dispose release"),
    ("looking", "edit"): (states.Looking, "change"),
    ("looking", "looked"): (states.Running, "change reload-start stage"),
    ("looking", "looked, same"): (states.Idle, ""),
    ("looking", "lost"): (states.Looking, "notice-bridge-lost"),
    ("looking", "loaded late"): (states.Looking, "notice-module-loaded-late Pin watch-paths Arm"),
    ("looking", "close"): (states.Closing, f"{STOP_ALL} Unpublish dispose release"),
    ("asked", "same"): (states.Looking, "change"),
    ("asked", "edit"): (states.Looking, "change"),
    ("asked", "looked"): (states.Running, "change reload-start stage"),
    ("asked", "looked, same"): (states.Running, "reload-start stage"),
    ("asked", "lost"): (states.Looking, "notice-bridge-lost"),
    ("asked", "loaded late"): (states.Looking, "notice-module-loaded-late Pin watch-paths Arm"),
    ("asked", "close"): (states.Closing, f"{STOP_ALL} Answer Unpublish dispose release"),
    ("running", "edit"): (states.Running, "change"),
    ("running", "reverted"): (states.Running, "change"),
    ("running", "looked"): (states.Running, "change"),
    ("running", "looked, same"): (states.Running, "change"),
    ("running", "lost"): (states.Running, "notice-bridge-lost"),
    ("running", "loaded late"): (states.Running, "notice-module-loaded-late Pin watch-paths Arm"),
    ("running", "close"): (states.Running, f"{STOP_ALL} Unpublish Interrupt"),
    ("running", "staged"): (states.Running, "promote"),
    ("running", "promoted"): (states.Running, "warm"),
    ("running", "warmed"): (states.Running, "swap"),
    ("running", "swapped"): (states.Running, "Look dispose watch"),
    ("running", "failed"): (states.RollingBack, "rollback"),
    ("swapped", "edit"): (states.Running, "change"),
    ("swapped", "reverted"): (states.Running, "change"),
    ("swapped", "looked"): (states.Running, "change"),
    ("swapped", "looked, same"): (states.Running, "change"),
    ("swapped", "close"): (states.Running, f"{STOP_ALL} Unpublish"),
    ("swapped", "watched"): (states.Idle, "reload-success Prepare"),
    ("swapped", "draining"): (states.Running, "SetTimer"),
    ("swapped", "dispose failed"): (states.Running, "notice-dispose-failed"),
    ("interrupted", "undo"): (states.Running, "Answer"),
    ("interrupted", "request"): (states.Running, "Answer"),
    ("interrupted", "close"): (states.Running, f"{STOP_ALL} Unpublish"),
    ("interrupted", "staged"): (states.RollingBack, "rollback"),
    ("interrupted", "promoted"): (states.RollingBack, "rollback rollback"),
    ("interrupted", "warmed"): (states.RollingBack, "rollback rollback rollback"),
    ("interrupted", "swapped"): (states.Running, "dispose watch"),
    ("interrupted", "failed"): (states.RollingBack, "rollback"),
    ("interrupted", "loaded late"): (states.Running, "Pin"),
    ("rolling back", "edit"): (states.RollingBack, "change"),
    ("rolling back", "reverted"): (states.RollingBack, "change"),
    ("rolling back", "looked"): (states.RollingBack, "change"),
    ("rolling back", "looked, same"): (states.RollingBack, "change"),
    ("rolling back", "lost"): (states.RollingBack, "notice-bridge-lost"),
    ("rolling back", "loaded late"): (states.RollingBack, "notice-module-loaded-late Pin watch-paths Arm"),
    ("rolling back", "close"): (states.RollingBack, f"{STOP_ALL} Unpublish"),
    ("rolling back", "rolled back"): (states.Idle, "reload-error Prepare"),
    ("rolling back", "rollback failed"): (states.Idle, "notice-rollback-failed reload-error Prepare"),
    ("making way", "edit"): (states.Running, "change"),
    ("making way", "looked"): (states.Running, "change"),
    ("making way", "reverted"): (states.Running, "change"),
    ("making way", "looked, same"): (states.Running, "change"),
    ("making way", "loaded late"): (states.Running, "notice-module-loaded-late Pin watch-paths Arm"),
    ("making way", "draining"): (states.Running, "SetTimer"),
    ("making way", "drain timer"): (states.Running, "CutOff"),
    ("making way", "disposed"): (states.Running, "StopTimer warm"),
    ("making way", "dispose failed"): (states.Running, "StopTimer notice-dispose-failed warm"),
    ("making way", "close"): (states.RollingBack, f"{STOP_ALL} Unpublish rollback rollback"),
    ("restoring", "edit"): (states.Restoring, "change"),
    ("restoring", "looked"): (states.Restoring, "change"),
    ("restoring", "reverted"): (states.Restoring, "change"),
    ("restoring", "looked, same"): (states.Restoring, "change"),
    ("restoring", "loaded late"): (states.Restoring, "notice-module-loaded-late Pin watch-paths Arm"),
    ("restoring", "restarted"): (states.Idle, "reload-error Prepare"),
    ("restoring", "restart failed"): (states.Idle, "Refuse reload-error SetTimer notice-bridge-lost"),
    ("restoring", "restart interrupted"): (states.Restarting, "reload-error restart"),
    ("restoring", "close"): (states.Restoring, f"{STOP_ALL} Unpublish Interrupt"),
    ("lost", "same"): (states.Scheduled, "change SetTimer SetTimer"),
    ("lost", "edit"): (states.Scheduled, "change SetTimer SetTimer"),
    ("lost", "looked"): (states.Scheduled, "change SetTimer SetTimer"),
    ("lost", "restart timer"): (states.Restarting, "restart"),
    ("lost", "request"): (states.Looking, "Look"),
    ("lost", "undo"): (states.Looking, "Look"),
    ("lost", "loaded late"): (states.Idle, "notice-module-loaded-late Pin watch-paths Arm"),
    ("lost", "close"): (states.Closing, f"{STOP_ALL} Unpublish dispose release"),
    ("restarting", "same"): (states.Restarting, "change SetTimer"),
    ("restarting", "edit"): (states.Restarting, "change SetTimer"),
    ("restarting", "looked"): (states.Restarting, "change SetTimer"),
    ("restarting", "timer"): (states.Restarting, "Interrupt"),
    ("restarting", "request"): (states.Restarting, "Interrupt"),
    ("restarting", "undo"): (states.Restarting, "Interrupt"),
    ("restarting", "restarted"): (states.Idle, "notice-bridge-restored dispose Prepare"),
    ("restarting", "restart failed"): (states.Idle, "notice-bridge-lost SetTimer"),
    ("restarting", "restart interrupted"): (states.Idle, "SetTimer"),
    ("restarting", "loaded late"): (states.Restarting, "notice-module-loaded-late Pin watch-paths Arm"),
    ("restarting", "close"): (states.Restarting, f"{STOP_ALL} Unpublish Interrupt"),
    ("closing", "draining"): (states.Closing, "SetTimer"),
    ("closing", "undo"): (states.Closing, "Answer"),
    ("closed", "undo"): (states.Closed, "Answer"),
    ("closing", "started"): (states.Closing, "Answer"),
    ("closing", "request"): (states.Closing, "Answer"),
    ("closed", "started"): (states.Closed, "Answer"),
    ("closed", "request"): (states.Closed, "Answer"),
    **{
        (phase, event): (None, names)
        for phase in PHASES
        if phase not in ("unstarted", "closing", "closed")
        for event, names in (
            ("hinted", "Look SetTimer"),
            ("second look", "Look SetTimer"),
            ("last look", "Look"),
            ("idle look", "Look SetTimer"),
        )
    },
    **{
        (phase, "settle"): (None, "Answer" if phase in ("interrupted", "closing", "closed") else "Look")
        for phase in PHASES
    },
    **{(phase, "released"): (states.Closed, "") for phase in PHASES},
    **{
        (phase, "noticed"): (None, "notice-polling-started SetTimer")
        for phase in PHASES
        if phase not in ("interrupted", "closing", "closed")
    },
    **{
        (phase, "followed"): (None, "Arm Beat SetTimer")
        for phase in PHASES
        if phase not in ("unstarted", "interrupted", "closing", "closed")
    },
}


TABLE |= {(phase, "lock removed"): result for (phase, event), result in TABLE.items() if event == "request"}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("phase", PHASES)
def test_every_event_in_every_phase(phase: str, event: str) -> None:
    before = PHASES[phase]().state
    step = plan(before, EVENTS[event])
    follows, names = TABLE.get((phase, event), (None, ""))
    assert type(step.state.phase) is (follows or type(before.phase))
    assert " ".join(name_of(each) for each in step.effects) == names


@pytest.mark.parametrize("event", [name for name in EVENTS if name.startswith("stray") or "unknown" in name])
@pytest.mark.parametrize("phase", PHASES)
def test_an_outcome_of_what_is_not_under_way_changes_nothing(phase: str, event: str) -> None:
    state = PHASES[phase]().state
    assert plan(state, EVENTS[event]).state == state


def test_the_table_names_every_phase_and_event() -> None:
    phases = {
        states.Unstarted,
        states.Idle,
        states.Scheduled,
        states.Looking,
        states.Running,
        states.RollingBack,
        states.Restoring,
        states.Restarting,
        states.Closing,
        states.Closed,
    }
    assert {type(make().state.phase) for make in PHASES.values()} == phases
    assert {type(event) for event in EVENTS.values()} == {*typing.get_args(events.Event)}
    assert {(phase, event) for phase, event in TABLE} <= {(phase, event) for phase in PHASES for event in EVENTS}


def test_plan_is_pure() -> None:
    script = second_cycle()
    before = replace(script.state)
    for event in EVENTS.values():
        assert plan(script.state, event) == plan(script.state, event)
    assert script.state == before


# --- what users see of a state


def status_of(state: State) -> states.Status:
    return states.Status.of(state, lambda _cycle: 0)


def test_a_status_is_stale_by_a_failure_or_a_loss() -> None:
    error = LookupError("mine")
    live = states.Generation(3, 4)
    assert status_of(State(live=live)) == states.Status(3, False, None, None)
    assert status_of(State(live=live, stale=states.Stale(error, 7.0))) == states.Status(3, True, 7.0, error)
    assert status_of(State(live=live, lost=states.Lost(error, 8.0))) == states.Status(3, True, 8.0, error)


def test_a_status_has_the_calls_in_flight_by_generation() -> None:
    broken = states.Generation(3, -1)  # its bridge was made again, as that of cycle 4
    state = State(live=states.Generation(3, 4), retired=(states.Generation(1, 1), states.Generation(2, 3), broken))
    status = states.Status.of(state, {1: 2, 3: 0, 4: 5, -1: 1, 7: 9}.__getitem__)
    assert status.calls == {1: 2, 3: 6}
    assert status == states.Status(3, False, None, None)
    assert hash(status) == hash(states.Status(3, False, None, None))
    assert repr(status) == "Status(generation=3, stale=False, since=None, error=None, calls={1: 2, 3: 6})"
    assert states.Status.of(State(retired=state.retired), lambda _cycle: 0).calls == {}


@pytest.mark.parametrize(
    ("text", "brief"), [("no", "LookupError: no"), ("no\nbecause", "LookupError: no …"), ("", "LookupError: ")]
)
def test_a_status_shows_the_first_line_of_its_error(text: str, brief: str) -> None:
    status = states.Status(3, True, 7.0, LookupError(text))
    assert status.brief == brief
    assert repr(status) == f"Status(generation=3, stale=True, since=7.0, error=<{brief}>, calls={{}})"


def test_a_status_that_is_good_has_nothing_to_show() -> None:
    assert states.Status(3, False, None, None).brief == ""
