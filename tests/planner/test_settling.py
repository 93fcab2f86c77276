"""Callers of ``settle()``: a look, at most a cycle, and an answer."""

from __future__ import annotations

from lastgood import effects, watch_events
from lastgood.planner import events
from planner_script import IDLE_LOOK, STOP, A, Script, idle, looked, looking, scheduled, second_cycle, src


def asked(script: Script) -> Script:
    script.send(events.SettleRequested(7), script.next_look())
    return script


def read(script: Script, digest: str) -> tuple[effects.Effect, ...]:
    """The reading that was asked for has this in a.py."""
    return script.give(events.Observed(src(digest), script.state.looks))


def test_what_is_live_already_is_settled_by_a_look() -> None:
    assert read(asked(idle()), "1") == (effects.Answer((7,), True),)


def test_a_reading_that_began_before_settles_nothing() -> None:
    script = asked(idle())
    assert script.give(events.Observed(src("1"), script.state.looks - 1)) == ()
    assert read(script, "1") == (effects.Answer((7,), True),)


def test_an_edit_is_attempted_without_a_debounce() -> None:
    script = asked(idle())
    found = read(script, "2")
    assert found[0] == effects.Emit(watch_events.Change(A))
    assert found[-3:] == (*STOP, script.last_look())
    assert effects.Stage(2) in read(script, "2")
    assert effects.Answer((7,), True) in script.through(2, "watch", live=1).last_effects()


def test_an_edit_that_is_debounced_already_is_attempted_at_once() -> None:
    script = asked(scheduled())
    assert read(script, "2")[-3:] == (*STOP, script.last_look())


def test_a_cycle_that_fails_is_the_answer() -> None:
    script = asked(idle())
    read(script, "2")
    read(script, "2")
    script.give(events.Failed(effects.Stage(2), 0.5, ValueError("no"), 0.0))
    assert effects.Answer((7,), False) in script.give(events.RolledBack(effects.Rollback(effects.Stage(2), 10.0)))


def test_bytes_that_have_failed_are_not_tried_again() -> None:
    script = asked(idle())
    read(script, "2")
    read(script, "2")
    script.give(events.Failed(effects.Stage(2), 0.5, ValueError("no"), 0.0))
    script.give(events.RolledBack(effects.Rollback(effects.Stage(2), 10.0)))
    script.send(events.SettleRequested(8), script.next_look())
    assert read(script, "2") == (effects.Answer((8,), False),)


def test_a_cycle_that_has_read_what_is_there_is_waited_for() -> None:
    script = asked(second_cycle())
    assert read(script, "2") == ()
    assert effects.Answer((7,), True) in script.through(2, "watch", live=1).last_effects()


def test_an_edit_in_the_midst_of_a_cycle_leads_to_another() -> None:
    script = asked(second_cycle())
    read(script, "3")
    script.through(2, "watch", live=1)
    assert script.last_effects()[-1] == script.last_look()
    assert effects.Stage(3) in read(script, "3")


def test_callers_of_both_kinds_wait_together() -> None:
    script = asked(looking())
    script.give(events.ReloadRequested(8))
    read(script, "2")
    answers = [each for each in script.through(2, "watch", live=1).last_effects() if isinstance(each, effects.Answer)]
    assert sorted(ticket for each in answers for ticket in each.tickets) == [7, 8]


def test_a_close_answers_false() -> None:
    script = asked(idle())
    assert effects.Answer((7,), False) in script.give(events.CloseRequested())
    script.send(events.SettleRequested(8), effects.Answer((8,), False))


def test_before_the_first_cycle_it_waits_for_that() -> None:
    script = Script()
    script.send(events.SettleRequested(7), effects.Look(1))
    script.send(events.Started(0), effects.Emit(watch_events.ReloadStart(1, True, ())), effects.Stage(1), IDLE_LOOK)
    script.through(1, "watch")
    script.give(looked(src()))
    assert not script.state.settling
