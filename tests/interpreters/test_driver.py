"""The driver between events and an interpreter."""

from __future__ import annotations

from lastgood import effects
from lastgood.interpreters.driver import Driver
from lastgood.planner import events
from planner_script import ERROR, RESTART, SRC, idle

LATE = events.LoadedLate(1, (events.Late("plugin", SRC / "plugin.py", "1"),))


def test_an_action_is_taken_when_the_modules_that_were_loaded_late_until_then_are_stored() -> None:
    commands: list[effects.Command] = []
    driver = Driver(idle().state, commands.append)
    for event in (LATE, events.Lost(1, ERROR, 1000.0), events.TimerElapsed("restart")):
        driver.handle(event)
    assert driver.take() is None
    driver.handle(events.Pinned(1))
    driver.handle(LATE)
    assert driver.take() is None
    driver.handle(events.Pinned(1))
    assert driver.take() == RESTART
    assert commands.count(effects.Pin(1)) == 2
