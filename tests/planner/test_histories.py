"""lastgood.planner in any history that an interpreter could tell, against a small model of what lies outside of it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import state_diagram
import strategies
from lastgood.planner import State, events, plan
from planner_model import Outside
from planner_model_parts import FILES, HAPPENINGS


@given(st.lists(strategies.events(), max_size=30))
@settings(derandomize=True, max_examples=150)
def test_plan_is_total_whatever_comes(history: list[events.Event]) -> None:
    state = State()
    for event in history:
        state = plan(state, event).state


def test_many_histories_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same model, led by a seeded die instead of hypothesis, which shrinks well but seldom goes deep."""
    changes = state_diagram.recorded(monkeypatch)
    for seed in range(1500):
        wander(Random(seed))
    assert changes <= state_diagram.drawn(), "docs/explanation/architecture.md does not show them"


def wander(die: Random) -> None:
    outside = Outside()
    outside.start(well=die.random() < 0.75)
    for _ in range(12):
        script = [
            ([(die.choice(HAPPENINGS), die.choice([*FILES]), die.choice(["0", "1", None]))], die.random() < 0.85)
            for _ in range(die.randint(1, 8))
        ]
        outside.work(script, lib=die.random() < 0.5)
        outside.edit(die.choice([*FILES]), die.choice(["0", "1", None]))
        if "draining" in outside.bridges.values() and die.random() < 0.3:
            outside.end_drain(ok=die.random() < 0.5)
        for holds in (
            outside.bridges_are_accounted_for,
            outside.at_most_two_drain,
            outside.everything_that_waits_waits_for_something,
            outside.calls_wait_for_something,
            outside.no_edit_is_forgotten,
        ):
            holds()
        if outside.close_asked:
            break
    outside.teardown()


Outside.TestCase.settings = settings(derandomize=True, max_examples=150, stateful_step_count=30, deadline=None)
TestOutside = Outside.TestCase
