"""The state diagram of ``docs/explanation/architecture.md``, drawn from ``plan()``: ``python tests/state_diagram.py`` renews it.

The planner is explored breadth first, from the state before the start. In each situation every event that an interpreter could
send there is sent to ``plan()``: the outcomes of the action that is running, the timers that are set, a reading, a request, a
close, the loss of a bridge. A situation that was seen before, up to what the phase depends on, is not explored again.
"""

from __future__ import annotations

import re
import typing
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest
from msgspec import Struct
from msgspec.structs import replace

from lastgood.effects import (
    Action,
    Dispose,
    Effect,
    Interrupt,
    LeaderGeneration,
    Look,
    Pin,
    Promote,
    Release,
    Restart,
    Rollback,
    SetTimer,
    Stage,
    StopTimer,
    Swap,
    Warm,
    Watch,
)
from lastgood.interpreters import driver
from lastgood.planner import State, Step, events, plan, states
from lastgood.planner.events import Event
from lastgood.planner.following import TIMERS
from lastgood.planner.news import Following, LeaderFailure, News
from lastgood.planner.phases import DEBOUNCE, IDLE_LOOK, LAST_LOOK, QUIET, SECOND_LOOK, SUPERSEDE, drain_timer
from lastgood.planner.watch_set import Snapshot, WatchSet
from lastgood.watch_events import PollingStarted

__all__ = ["DOCUMENT", "Transition", "drawing", "drawn", "explored", "recorded", "renewed"]

DOCUMENT = Path(__file__).parents[1] / "docs" / "explanation" / "architecture.md"
BEGIN, END = "<!-- state diagram: begin -->", "<!-- state diagram: end -->"

SOURCES = Path("/p/src")
WATCHED = WatchSet((SOURCES,))
ERROR = ValueError("no")
SWAPPED_AT, ON_PROBATION, LATER = 1000.0, 1001.0, 2000.0
PROBATION = 5.0


NEWS = News(1, LeaderGeneration(1, 1, "m"))

LOOKS = (SECOND_LOOK, LAST_LOOK, IDLE_LOOK)
ANYTIME = {*LOOKS, "drain", SUPERSEDE, QUIET, *TIMERS}
"""Timers that may elapse at any time: to know which of them are set would multiply the situations."""


class Transition(typing.NamedTuple):
    """The names of the phase before an event, the event, and the phase after it."""

    before: str
    event: str
    after: str


def _transition(before: State, event: Event, after: State) -> Transition:
    return Transition(type(before.phase).__name__, _name(before, event), type(after.phase).__name__)


def _name(before: State, event: Event) -> str:
    match event:
        case events.TimerElapsed(timer):
            return f"TimerElapsed({_kind(timer)})"
        case events.Observed(look=number) if _is_awaited(before, number):
            return "Observed(asked)"
        case events.Failed(leader=leader) if leader is not None:
            return "Failed(another leads)"
        case _:
            return type(event).__name__


def _kind(timer: str) -> str:
    """The name of a timer, without the bridge that it is for."""
    return timer.partition(" ")[0]


def _is_awaited(state: State, look: int) -> bool:
    return isinstance(state.phase, states.Looking) and look >= state.phase.look


# --- exploring


class Situation(Struct, frozen=True):
    """The state of the planner, and of an interpreter that does what it asks for.

    ``queue`` are the actions to be done: the first one is running. ``interrupted``: it is to stop.
    """

    state: State
    queue: tuple[Action, ...] = ()
    interrupted: bool = False
    timers: frozenset[str] = frozenset()
    asked: bool = False
    draining: tuple[int, ...] = ()
    pins: int = 0

    def after(self, event: Event, step: Step) -> Situation:
        """The situation after ``event``, to which the planner answered with ``step``."""
        following = replace(self, state=step.state)
        match event:
            case events.TimerElapsed(timer):
                following = replace(following, timers=following.timers - {timer})
            case events.Observed(look=number) if _is_awaited(self.state, number):
                following = replace(following, asked=False)
            case events.Pinned():
                following = replace(following, pins=following.pins - 1)
            case events.Disposed(bridge) | events.DisposeFailed(bridge) if bridge in self.draining:
                following = replace(following, draining=tuple(each for each in self.draining if each != bridge))
            case _ if _is_outcome(event):
                queue = () if isinstance(event, events.Failed) else self.queue[1:]
                following = replace(following, queue=queue, interrupted=False)
        match event:
            case events.Draining(bridge):
                following = replace(following, draining=(*following.draining, bridge))
        for effect in step.effects:
            following = following.with_effect(effect)
        return following

    def with_effect(self, effect: Effect) -> Situation:
        match effect:
            case SetTimer(timer) if _kind(timer) not in ANYTIME:
                return replace(self, timers=self.timers | {timer})
            case StopTimer(timer):
                return replace(self, timers=self.timers - {timer})
            case Look():
                return replace(self, asked=True)
            case Pin():
                return replace(self, pins=self.pins + 1)
            case Interrupt():
                return replace(self, queue=self.queue[:1], interrupted=True)
            case Stage() | Promote() | Warm() | Swap() | Dispose() | Restart() | Watch() | Rollback() | Release():
                return replace(self, queue=(*self.queue, effect))
            case _:
                return self

    def outline(self) -> tuple[object, ...]:
        """What the next phases depend on: two situations that have this in common lead to the same ones."""
        state = self.state
        undo_is_first = bool(state.tickets and state.undos) and state.undos[0] < state.tickets[0]
        lost = None if state.lost is None else state.lost.failed_probation
        phase: tuple[object, ...] = (type(state.phase),)
        match state.phase:
            case states.Running(cycle):
                overlap = cycle.swapped or cycle.staged is None or cycle.staged.overlap
                phase += (cycle.swapped, cycle.undoes is None, cycle.superseded, overlap)
                if not (cycle.swapped or cycle.superseded or cycle.undoes):
                    phase += (cycle.overdue, cycle.edits_settled)
            case states.RollingBack(cycle, failure, left):
                phase += (failure is None, left, cycle.superseded)
            case states.Restoring(_, failure):
                phase += (failure is None,)
        if state.following is not None:  # less, as all else is as at a leader
            known = state.following.is_behind, state.following.silence is None, bool(state.following.asked)
            lives = state.ending, state.live is None, bool(state.tickets), state.lost is None, state.away
            return phase, tuple(map(type, self.queue)), self.interrupted, *lives, *known
        timers = self.timers
        if isinstance(state.phase, states.Looking | states.RollingBack | states.Closing) or phase[1:2] == (True,):
            timers -= {DEBOUNCE}  # nothing comes of it before it is set again
        return (
            *(phase, tuple(map(type, self.queue)), self.interrupted, timers),
            *(self.asked, bool(self.draining), bool(self.pins), tuple(map(type, state.held))),
            *(state.ending, state.live is None, bool(state.tickets), bool(state.undos), undo_is_first, lost),
            bool(state.settling) and isinstance(state.phase, states.Idle | states.Scheduled),
            *(state.blocked, bool(state.edits), bool(state.late) and isinstance(state.phase, states.Running)),
            *(state.away, tuple(map(type, state.vacating)), state.live is None or state.live.overlap),
        )


def _is_outcome(event: Event) -> bool:
    """Tell the outcome of an action from what happens by itself."""
    return not isinstance(
        event,
        events.Started
        | events.ReloadRequested
        | events.LockRemoved
        | events.UndoRequested
        | events.SettleRequested
        | events.CloseRequested
        | events.Observed
        | events.Lost
        | events.LoadedLate
        | events.Pinned
        | events.Hinted
        | events.StageReturned
        | events.Noticed
        | events.Heard
        | events.Elected
        | events.Followed,
    )


def _is_like_a_hint(event: Event) -> bool:
    """Tell what leads to a look, in whatever phase, and so to the same situation as a hint."""
    return isinstance(event, events.Noticed) or (isinstance(event, events.TimerElapsed) and event.timer in LOOKS)


def _reading(digest: str) -> Snapshot:
    return {SOURCES: {SOURCES / "a.py": digest}}


def _possible(situation: Situation) -> Iterator[Event]:
    """Every event that an interpreter can send in ``situation``."""
    state = situation.state
    if isinstance(state.phase, states.Unstarted):
        yield events.Started(0)
        yield events.Started(0, leader=NEWS)
    yield events.CloseRequested()
    if state.following is not None:
        yield from _possible_for_a_follower(situation, state.following)
        return
    if isinstance(state.phase, states.Idle) and not state.followers:
        yield events.Followed(1)
    if not isinstance(state.phase, states.Unstarted):
        ticket = max((*state.tickets, *state.undos), default=0) + 1
        if not state.tickets:
            yield events.ReloadRequested(ticket)
        if not state.tickets and isinstance(state.phase, states.Idle):
            yield events.LockRemoved()  # elsewhere, too, as a request that nobody waits for
        if not state.undos:
            yield events.UndoRequested(ticket)
        if not state.settling and isinstance(state.phase, states.Idle | states.Scheduled | states.Closed):
            yield events.SettleRequested(ticket)  # elsewhere it is no more than a hint
        yield events.Noticed(PollingStarted("the limit"))
        yield events.Hinted()
        yield events.StageReturned()
        for digest in ("1", "2", "3"):
            yield events.Observed(_reading(digest))
            if situation.asked:
                yield events.Observed(_reading(digest), state.looks)
        for timer in LOOKS:
            yield events.TimerElapsed(timer)
        if isinstance(state.phase, states.Running):
            yield events.TimerElapsed(SUPERSEDE)
        for bridge in situation.draining:
            yield events.TimerElapsed(drain_timer(bridge))
    for timer in sorted(situation.timers):
        yield events.TimerElapsed(timer)
    if state.live is not None:
        bridge = state.live.cycle
        if not situation.pins:
            yield events.LoadedLate(bridge, (events.Late("plugin", Path("/p/plugin.py"), "1"),))
        for at in (ON_PROBATION, LATER) if state.lost is None else ():
            yield events.Lost(bridge, ERROR, at)
    if state.pinning:
        yield events.Pinned(state.pinning[0])
    for bridge in situation.draining:
        yield events.Disposed(bridge, 0.0)
        yield events.DisposeFailed(bridge, 0.0, ERROR)
    if situation.queue:
        yield from _outcomes(situation)


def _possible_for_a_follower(situation: Situation, following: Following) -> Iterator[Event]:
    """Every event that differs from those of a leader, and the outcomes of what is under way."""
    state, news = situation.state, following.news
    yield events.Elected(2)
    beat, asked = following.beat + 1, tuple((ticket, True) for ticket, _ in following.asked)
    yield events.Heard(news, LATER, beat, asked)
    if not following.is_behind:
        number = state.cycle + 1
        yield events.Heard(News(1, LeaderGeneration(number, news.generation + 1, "m")), LATER, beat)
        yield events.Heard(News(1, news.good, LeaderFailure(number, "E", "", LATER)), LATER, beat)
    if not (state.tickets or following.asked or following.answered):
        yield events.ReloadRequested(1)
    for timer in sorted((*situation.timers, *TIMERS)):
        yield events.TimerElapsed(timer)
    if state.live is not None and state.lost is None:
        yield events.Lost(state.live.cycle, ERROR, LATER)
    for bridge in situation.draining:
        yield events.Disposed(bridge, 0.0)
    if situation.queue:  # what fails at the end of a bridge is as at a leader
        rare = events.Draining | events.DisposeFailed | events.RollbackFailed
        yield from (event for event in _outcomes(situation) if not isinstance(event, rare))


def _outcomes(situation: Situation) -> Iterator[Event]:
    """Every outcome of the running action."""
    action, may_drain = situation.queue[0], not situation.draining
    match action:
        case Stage():
            # So bridges of both kinds are lost, superseded and undone, and not each situation comes twice.
            overlap = action.undo or situation.state.live is None
            yield events.Staged(
                *(action, 0.0, WATCHED, _reading("1")), previous=True, probation=PROBATION, overlap=overlap
            )
        case Promote():
            yield events.Promoted(action, 0.0, (), ())
        case Warm():
            yield events.Warmed(action, 0.0)
        case Swap():
            yield events.Swapped(action, 0.0, SWAPPED_AT)
        case Watch():
            yield events.Watched(action, 0.0)
        case Dispose(bridge):
            yield events.Disposed(bridge, 0.0)
            yield events.DisposeFailed(bridge, 0.0, ERROR)
            if may_drain:
                yield events.Draining(bridge, 0.0)
        case Restart():
            yield events.Restarted(action, 0.0)
            yield events.RestartFailed(action, 0.0, None if situation.interrupted else ERROR, LATER)
        case Rollback():
            yield events.RolledBack(action)
            yield events.RollbackFailed(action, ERROR)
        case Release():
            if not situation.draining:
                yield events.Released()
    if isinstance(action, Stage | Promote | Warm | Swap):
        yield events.Failed(action, 0.0, ERROR, LATER)
    if isinstance(action, Stage) and situation.state.live is not None:
        yield events.Failed(action, 0.0, ERROR, LATER, only_waited=True)
    if isinstance(action, Stage) and not situation.interrupted and action.adopts is None:
        yield events.Failed(action, 0.0, ERROR, LATER, leader=NEWS)


def explored() -> Mapping[Transition, tuple[str, ...]]:
    """Every transition there is, in the order in which they are found, with the names of the effects that may follow it."""
    found: dict[Transition, dict[str, None]] = {}
    first = Situation(State())
    seen, left = {first.outline()}, deque([first])
    while left:
        situation = left.popleft()
        for event in _possible(situation):
            if _is_like_a_hint(event) and _transition(situation.state, event, situation.state) in found:
                continue
            step = plan(situation.state, event)
            effects = found.setdefault(_transition(situation.state, event, step.state), {})
            effects |= dict.fromkeys(type(effect).__name__ for effect in step.effects)
            if (situation.state.following is None) is not (step.state.following is None) and situation.queue:
                continue  # what follows is as after a start in the other role
            following = situation.after(event, step)
            outline = following.outline()
            if outline not in seen:
                seen.add(outline)
                left.append(following)
    return {transition: tuple(effects) for transition, effects in found.items()}


# --- drawing

_PHASES = tuple(phase.__name__ for phase in typing.get_args(states.Phase))
_EVENTS = tuple(event.__name__ for event in typing.get_args(Event))


def drawing(found: Mapping[Transition, tuple[str, ...]]) -> str:
    """The diagram of the changes of phase, and the tables beneath it, as Markdown."""
    found = dict(sorted(found.items(), key=lambda item: _place(item[0])))
    changes = {each: effects for each, effects in found.items() if each.before != each.after}
    return "\n".join(
        [
            "```mermaid",
            "stateDiagram-v2",
            *_diagram(changes),
            "```",
            "",
            "<details><summary>The effects that follow each change of phase</summary>",
            "",
            "| in the phase | the event | leads to | and asks for |",
            "|---|---|---|---|",
            *(
                f"| {before} | {event} | {after} | {', '.join(effects) or '–'} |"
                for (before, event, after), effects in changes.items()
            ),
            "",
            "</details>",
            "",
            "<details><summary>The effects of events that keep the phase</summary>",
            "",
            "| the event | in the phases | asks for |",
            "|---|---|---|",
            *_kept(found),
            "",
            "</details>",
        ]
    )


def _place(transition: Transition) -> tuple[int, int, int, str]:
    """Sort as the planner's own lists of phases and events do."""
    before, event, after = transition
    return _PHASES.index(before), _PHASES.index(after), _EVENTS.index(event.partition("(")[0]), event


def _diagram(changes: Iterable[Transition]) -> Iterator[str]:
    labels: dict[tuple[str, str], list[str]] = {}
    for before, event, after in changes:
        labels.setdefault((before, after), []).append(event)
    yield f"    [*] --> {_PHASES[0]}"
    for (before, after), names in labels.items():
        yield f"    {before} --> {after} : {'<br/>'.join(names)}"
    yield f"    {_PHASES[-1]} --> [*]"


def _kept(found: Mapping[Transition, tuple[str, ...]]) -> Iterator[str]:
    rows: dict[str, tuple[list[str], dict[str, None]]] = {}
    for (before, event, after), effects in found.items():
        if before == after and effects:
            phases, every = rows.setdefault(event, ([], {}))
            phases.append(before)
            every.update(dict.fromkeys(effects))
    for event, (phases, every) in sorted(rows.items(), key=lambda row: _EVENTS.index(row[0].partition("(")[0])):
        yield f"| {event} | {', '.join(phases)} | {', '.join(every)} |"


def renewed(document: str, found: Mapping[Transition, tuple[str, ...]]) -> str:
    """``document`` with the drawing of ``found`` between its two marks."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert end, f"{DOCUMENT.name} has lost one of its marks: {BEGIN}, {END}"
    return f"{before}{begin}\n{drawing(found)}\n{end}{after}"


# --- comparing


def drawn() -> set[tuple[str, str, str]]:
    """The phase before, the event, and the phase after each change that the document shows."""
    lines = re.findall(r"^ +(\w+) --> (\w+) : (.+)$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    return {(before, event, after) for before, after, label in lines for event in label.split("<br/>")}


def recorded(monkeypatch: pytest.MonkeyPatch) -> set[Transition]:
    """Every change of phase that an interpreter makes from now on, up to the end of the test."""
    seen: set[Transition] = set()

    def recording_plan(state: State, event: Event) -> Step:
        step = plan(state, event)
        transition = _transition(state, event, step.state)
        if transition.before != transition.after:
            seen.add(transition)
        return step

    monkeypatch.setattr(driver, "plan", recording_plan)
    return seen


if __name__ == "__main__":
    DOCUMENT.write_text(renewed(DOCUMENT.read_text(encoding="utf-8"), explored()), encoding="utf-8")
