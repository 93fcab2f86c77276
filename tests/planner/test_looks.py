"""When the watched files are read: after hints, and from time to time."""

from __future__ import annotations

import math

from msgspec.structs import replace

from lastgood import effects, watch_events
from lastgood.planner import events, states
from lastgood.planner.watch_set import WatchSet
from planner_script import IDLE_LOOK, SETTINGS, SRC, A, Script, closing, idle, looking, second_cycle, src


def test_a_hint_leads_to_three_looks() -> None:
    script = idle()
    script.send(events.Hinted(), effects.Look(1), effects.SetTimer("second-look", 0.05))
    script.send(events.TimerElapsed("second-look"), effects.Look(2), effects.SetTimer("last-look", 0.45))
    script.send(events.TimerElapsed("last-look"), effects.Look(3))


def test_a_look_is_due_though_nothing_hints_at_a_change() -> None:
    script = idle()
    script.send(events.TimerElapsed("idle-look"), effects.Look(1), IDLE_LOOK)
    script.send(events.TimerElapsed("idle-look"), effects.Look(2), IDLE_LOOK)


def test_looks_take_no_more_than_a_fiftieth_of_the_time() -> None:
    script = idle()
    script.give(events.Observed(src("1"), seconds=0.1))
    script.send(events.TimerElapsed("idle-look"), effects.Look(1), effects.SetTimer("idle-look", 5.0))


def test_where_every_change_is_reported_nothing_is_read_without_one() -> None:
    script = Script(replace(SETTINGS, idle_look=math.inf))
    script.send(events.Started(0), effects.Emit(watch_events.ReloadStart(1, True, ())), effects.Stage(1))


def test_what_the_system_cannot_watch_is_read_each_second() -> None:
    script = idle()
    notice = watch_events.PollingStarted("the limit")
    poll = effects.SetTimer("idle-look", 1.0)
    script.send(events.Noticed(notice), effects.Emit(notice), poll)
    script.give(events.Observed(src("1"), seconds=0.1))
    script.send(events.TimerElapsed("idle-look"), effects.Look(1), poll)


def test_what_is_to_be_polled_is_read_every_so_often_from_its_commit_on() -> None:
    poll = effects.SetTimer("idle-look", 0.5)
    script = second_cycle().through(2, "dispose", WatchSet((SRC,), poll=0.5), live=1)
    assert poll in script.give(events.Watched(effects.Watch(2), 0.0))
    script.give(events.Observed(src("1"), seconds=0.1))
    script.send(events.TimerElapsed("idle-look"), script.next_look(), poll)


def test_what_is_polled_is_read_a_quarter_of_the_time_at_most() -> None:
    script = second_cycle().through(2, "watch", WatchSet((SRC,), poll=0.5), live=1)
    script.give(events.Observed(src("1"), seconds=1.0))
    script.send(events.TimerElapsed("idle-look"), script.next_look(), effects.SetTimer("idle-look", 4.0))


def test_when_polling_ends_it_is_idle_looks_again() -> None:
    script = second_cycle().through(2, "watch", WatchSet((SRC,), poll=0.5), live=1)
    script.give(events.ReloadRequested(9))
    script.give(events.Observed(src("2"), look=script.state.looks))
    script.through(3, "dispose", WatchSet((SRC,)), live=2)
    assert IDLE_LOOK in script.give(events.Watched(effects.Watch(3), 0.0))


def test_a_cycle_waits_for_a_reading_that_began_after_its_own_look() -> None:
    script = looking()
    assert script.phase() == states.Looking(1)
    script.send(events.Hinted(), effects.Look(2), effects.SetTimer("second-look", 0.05))
    script.send(events.Observed(src("2"), look=0))
    assert script.phase() == states.Looking(1)
    script.give(events.Observed(src("2"), look=2))
    assert isinstance(script.phase(), states.Running)


def test_an_edit_is_found_by_a_look_of_any_cause() -> None:
    script = idle()
    script.give(events.TimerElapsed("idle-look"))
    script.give(events.Observed(src("2"), look=1))
    assert script.phase() == states.Scheduled()
    assert script.state.edits == (A,)


def test_while_a_cycle_runs_files_are_read_too() -> None:
    second_cycle().send(events.Hinted(), effects.Look(2), effects.SetTimer("second-look", 0.05))


def test_a_session_that_closes_looks_no_more() -> None:
    script = closing()
    before = replace(script.state)
    script.send(events.Hinted())
    for timer in ("second-look", "last-look", "idle-look"):
        script.send(events.TimerElapsed(timer))
    assert script.state == before
