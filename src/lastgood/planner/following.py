"""Transitions of several sessions on one project, of which one leads and the others follow (the pattern "leader and followers").

A follower reads what the leader tells: the leader's last good generation, and why the leader is stale. It takes over each
generation by a cycle that adopts in place of staging and promoting, one after another, beginning in the phase ``Idle``. What its
own callers ask for, it asks the leader, and answers when it has taken over what came of it.
"""

from __future__ import annotations

from msgspec.structs import replace

from lastgood import watch_events
from lastgood.effects import Answer, Arm, Ask, Beat, Effect, Emit, Prepare, SetTimer, StopTimer
from lastgood.errors import WatchError
from lastgood.planner import bridges, cycles, events, phases, rollback
from lastgood.planner.events import NOBODY
from lastgood.planner.news import Following, News
from lastgood.planner.phases import Step, answer, idle_look, look, start_looking
from lastgood.planner.states import (
    Closed,
    Closing,
    Idle,
    Restarting,
    Runaway,
    Stale,
    State,
    Unstarted,
)
from lastgood.planner.watch_set import merge

__all__ = ["TIMERS", "begin", "deposed", "elected", "followed", "heard", "proceeded", "timer_elapsed", "with_asked_for"]

LISTEN = "listen"
SILENCE = "silence"
PATIENCE = "patience"
BEAT = "beat"
TIMERS = frozenset((LISTEN, SILENCE, PATIENCE, BEAT))

_LISTEN_EVERY = 0.5
"""Seconds between two readings of the news that nothing has hinted at, and between two attempts to lead."""
_SILENT_AFTER = 5.0
"""Seconds without a sign of life from which the leader counts as silent."""
_BEAT_EVERY = 2.0
"""Seconds between two signs of life."""


def begin(state: State, news: News) -> Step:
    """Follow the session that leads and tells ``news``. What was read of the sources counts no more: the leader watches them."""
    before = state.following
    following = Following(news) if before is None else replace(before, news=news)
    told = () if before is not None else (Emit(watch_events.LeaderChanged("follower", news.pid)),)
    state = replace(
        state,
        following=following,
        attempted={},
        observed={},
        disturbed=frozenset(),
        blocked=False,
        watched=None,
        runaway=Runaway(),
        followers=0,
        asked_for=(),
    )
    step = look(state)
    return Step(
        step.state,
        (
            *phases.STOP_EDIT_TIMERS,
            StopTimer(phases.IDLE_LOOK),
            StopTimer(BEAT),
            *told,
            SetTimer(LISTEN, _LISTEN_EVERY),
            SetTimer(SILENCE, _SILENT_AFTER),
            *step.effects,
        ),
    )


def deposed(state: State, event: events.Failed, news: News) -> Step:
    """Follow the session that leads by now, or what it has made by now: the running cycle is superseded by that."""
    cycle = cycles.cycle_of(state, event.effect)
    if cycle is None or state.ending:
        return cycles.failed(state, event)
    begun = begin(state, news)
    undone = rollback.roll_back(begun.state, replace(cycle, superseded=True), event.effect, None)
    return undone.preceded_by(*begun.effects)


def heard(state: State, event: events.Heard) -> Step:
    """Take note of the leader's news; what follows from them begins in the phase ``Idle``."""
    following = state.following
    if following is None or isinstance(state.phase, Unstarted | Closing | Closed):
        return Step(state)
    effects: list[Effect] = []
    is_first = not following.heard_at
    is_alive = is_first or (event.beat, event.news) != (following.beat, following.news)
    is_back = following.silence is not None and is_alive
    if is_back or event.news.pid != following.news.pid:
        effects.append(Emit(watch_events.LeaderChanged("follower", event.news.pid)))
    if is_alive:
        effects.append(SetTimer(SILENCE, _SILENT_AFTER))
    if is_back:
        effects.append(StopTimer(PATIENCE))
        if state.stale is not None and state.stale.error is following.silence:
            state = replace(state, stale=None)
    answers = dict(event.answers)
    known = replace(
        following,
        news=event.news,
        beat=event.beat,
        heard_at=event.at if is_alive else following.heard_at,
        silence=None if is_alive else following.silence,
        asked=tuple(each for each in following.asked if each[0] not in answers),
        answered=(
            *following.answered,
            *((ticket, answers[ticket]) for ticket, _ in following.asked if ticket in answers),
        ),
    )
    state = replace(state, following=known)
    if event.news.pid != following.news.pid:
        state = _asked_anew(state, known)
    if isinstance(state.phase, Restarting) and known.is_behind:
        return bridges.interrupt_restart(state).preceded_by(*effects)
    return Step(state, tuple(effects))


def elected(state: State, event: events.Elected) -> Step:
    """Lead from now on, and begin with a cycle, because nobody has watched the sources since the leader was gone."""
    following = state.following
    if following is None or isinstance(state.phase, Unstarted | Closing | Closed):
        return Step(state)
    answered = tuple(ticket for ticket, _ in following.answered)
    is_silence = state.stale is not None and state.stale.error is following.silence
    state = _asked_anew(state, following)
    state = replace(
        state,
        following=None,
        cycle=max(state.cycle, following.news.cycle),
        numbered=max(state.numbered, following.news.generation),
        tickets=(*state.tickets, *answered, NOBODY),
        stale=None if is_silence else state.stale,
    )
    effects: tuple[Effect, ...] = (
        *(StopTimer(timer) for timer in (LISTEN, SILENCE, PATIENCE)),
        Emit(watch_events.LeaderChanged("leader", event.pid)),
        *idle_look(state),
    )
    match state.phase:
        case Idle():
            return start_looking(state).preceded_by(*effects)
        case Restarting():
            return bridges.interrupt_restart(state).preceded_by(*effects)
        case _:
            return Step(state, effects)


def _asked_anew(state: State, following: Following) -> State:
    """Return ``state`` with what a former leader was asked for among what is still to be asked for, or done."""
    asked = {
        request: tuple(ticket for ticket, other in following.asked if other == request)
        for request in ("reload", "undo", "settle")
    }
    return replace(
        state,
        following=replace(following, asked=()),
        tickets=(*state.tickets, *asked["reload"]),
        undos=(*state.undos, *asked["undo"]),
        settling=(*state.settling, *((ticket, state.looks + 1) for ticket in asked["settle"])),
    )


def followed(state: State, event: events.Followed) -> Step:
    """Give signs of life as long as there are followers, and watch what they want to have watched."""
    if state.following is not None or state.ending or isinstance(state.phase, Unstarted | Closing | Closed):
        return Step(state)
    fresh = tuple(path for path in event.paths if path not in state.asked_for)
    effects: list[Effect] = [Arm(fresh)] if fresh else []
    if event.followers and not state.followers:
        effects += [Beat(), SetTimer(BEAT, _BEAT_EVERY)]
    if state.followers and not event.followers:
        effects.append(StopTimer(BEAT))
    return Step(replace(state, followers=event.followers, asked_for=event.paths), tuple(effects))


def with_asked_for(state: State, event: events.Observed) -> State:
    """Return ``state`` with the first reading of what followers want to have watched as what was attempted."""
    if not state.asked_for:
        return state
    fresh = {root: files for root, files in event.files.items() if root in state.asked_for}
    return replace(state, attempted=merge(state.attempted, fresh))


def timer_elapsed(state: State, timer: str) -> Step:
    """Go on after one of :data:`TIMERS`."""
    following = state.following
    if isinstance(state.phase, Unstarted | Closing | Closed):
        return Step(state)
    if following is None:
        is_beat = timer == BEAT and state.followers
        return Step(state, (Beat(), SetTimer(BEAT, _BEAT_EVERY)) if is_beat else ())
    match timer:
        case "listen":
            step = look(state)
            return Step(step.state, (*step.effects, SetTimer(LISTEN, _LISTEN_EVERY)))
        case "silence":
            return _fallen_silent(state, following)
        case "patience":
            return _given_up(state, following)
        case _:
            return Step(state)


def _fallen_silent(state: State, following: Following) -> Step:
    pid = following.news.pid
    silence = WatchError(
        f"The session that leads, of process {pid}, has given no sign of life for {_SILENT_AFTER:g} s. If it is stopped, let it "
        "go on; if it hangs, end it: another session leads then."
    )
    stale = state.stale or Stale(silence, following.heard_at)
    silent = replace(state, following=replace(following, silence=silence), stale=stale)
    patience = max(state.settings.warm_timeout - _SILENT_AFTER, 0.0)
    timer = () if not following.asked else (SetTimer(PATIENCE, patience),)
    return Step(silent, (Emit(watch_events.LeaderChanged("follower", pid, responding=False)), *timer))


def _given_up(state: State, following: Following) -> Step:
    """Answer the callers whose requests a silent leader has had for long."""
    asked = tuple(ticket for ticket, _ in following.asked)
    error = WatchError(
        f"The session that leads, of process {following.news.pid}, has given no sign of life for "
        f"{state.settings.warm_timeout:g} s (warm_timeout)."
    )
    given_up = replace(state, following=replace(following, asked=()))
    return Step(given_up, (Answer(asked, succeeded=False, error=error),) if asked else ())


def proceeded(step: Step) -> Step:
    """Add to ``step`` what a follower does next when nothing else is under way."""
    state, following = step.state, step.state.following
    if following is None or state.ending or not isinstance(state.phase, Idle):
        return step
    good = following.news.good
    if good is not None and following.is_behind:
        adopted = good.cycle, good.generation
        adopting = replace(state, following=replace(following, adopted=adopted, failure=None, error=None))
        others = (effect for effect in step.effects if not isinstance(effect, Prepare))
        return cycles.adopt(adopting, good).preceded_by(*others)
    told = _tell_failure(state, following)
    asked = _ask(told.state)
    answered = _answer(asked.state)
    return Step(answered.state, (*step.effects, *told.effects, *asked.effects, *answered.effects))


def _tell_failure(state: State, following: Following) -> Step:
    failure, good = following.news.failure, following.news.good
    if failure == following.failure:
        return Step(state)
    is_leaders = state.stale is not None and state.stale.error is following.error
    error = None if failure is None else failure.error
    state = replace(
        state, following=replace(following, failure=failure, error=error), stale=None if is_leaders else state.stale
    )
    if failure is None or error is None:
        return Step(state)
    state = replace(state, cycle=max(state.cycle, failure.cycle), stale=Stale(error, failure.since))
    if (
        good is not None and failure.cycle <= good.cycle
    ):  # an undo, or files that change with each reload: no cycle has failed
        return Step(state)
    live = None if state.live is None else state.live.number
    start = watch_events.ReloadStart(failure.cycle, failure.manual, failure.changed)
    end = watch_events.ReloadError(
        failure.cycle,
        failure.manual,
        failure.changed,
        error=error,
        effect=failure.effect,
        live_generation=live,
    )
    return Step(state, (Emit(start), Emit(end)))


def _ask(state: State) -> Step:
    """Ask the leader for what callers wait for. Who waits for the first generation of this session waits on."""
    following = state.following
    assert following is not None
    wanted = (
        *(Ask(ticket, "reload") for ticket in state.tickets if state.live is not None),
        *(Ask(ticket, "undo") for ticket in state.undos),
        *(Ask(ticket, "settle") for ticket, _ in state.settling),
    )
    if not wanted:
        return Step(state)
    asked = (*following.asked, *((each.ticket, each.request) for each in wanted))
    tickets = () if state.live is not None else state.tickets
    waiting = replace(state, following=replace(following, asked=asked), tickets=tickets, undos=(), settling=())
    timer = () if following.silence is None else (SetTimer(PATIENCE, state.settings.warm_timeout),)
    return Step(waiting, (*wanted, *timer))


def _answer(state: State) -> Step:
    """Pass on the leader's answers: what it has made has been taken over, as far as that was possible."""
    following = state.following
    assert following is not None
    is_live = state.lost is None and state.generation == following.news.generation
    effects = tuple(
        effect
        for ticket, succeeded in following.answered
        for effect in answer((ticket,), succeeded=succeeded and is_live)
    )
    return Step(replace(state, following=replace(following, answered=())) if effects else state, effects)
