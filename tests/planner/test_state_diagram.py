"""docs/explanation/architecture.md shows the phases of the planner as plan() has them."""

from __future__ import annotations

import typing

import pytest

import state_diagram
from lastgood.planner import states
from lastgood.planner.events import Event
from test_scripts_agree import FILES, SCRIPTS, Virtual, flat


@pytest.mark.timeout(600)  # a minute, on a machine that has nothing else to do
def test_the_document_shows_the_diagram_of_today() -> None:
    found = state_diagram.explored()
    document = state_diagram.DOCUMENT.read_text(encoding="utf-8")
    assert document == state_diagram.renewed(document, found), "`python tests/state_diagram.py` draws it anew"
    reached = {phase for before, _, after in found for phase in (before, after)}
    assert reached == {phase.__name__ for phase in typing.get_args(states.Phase)}
    came = {event.partition("(")[0] for _, event, _ in found}
    assert came == {event.__name__ for event in typing.get_args(Event)}


async def test_every_change_of_phase_in_the_scripts_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = state_diagram.recorded(monkeypatch)
    for script in SCRIPTS.values():
        virtual = Virtual(FILES)
        for step, *arguments in flat(script):
            await getattr(virtual, step)(*arguments)
    assert seen
    assert seen <= state_diagram.drawn()
