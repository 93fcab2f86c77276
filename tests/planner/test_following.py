"""lastgood.planner.following: a follower takes over what its leader makes, asks it, and leads when it is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood import effects, watch_events
from lastgood.effects import Answer, Ask, Emit, LeaderGeneration, SetTimer, StopTimer
from lastgood.errors import LeaderFailed, WatchError
from lastgood.planner import events, plan_of_cycle, states
from lastgood.planner.news import LeaderFailure, News
from lastgood.planner.watch_set import WatchSet
from planner_script import ERROR, IDLE_LOOK, SCHEDULE, SETTINGS, SRC, STOP, A, Script, idle, looked, second_cycle, src

LEADER, OTHER = 4711, 4712
PLUGIN = Path("/p/plugin.py")
FOLLOWS = Emit(watch_events.LeaderChanged("follower", LEADER))
SILENCE, LISTEN = SetTimer("silence", 5.0), SetTimer("listen", 0.5)


def good(cycle: int, generation: int | None = None, **more: object) -> LeaderGeneration:
    number = cycle if generation is None else generation
    return LeaderGeneration(cycle, number, f"m{number}", watched=(SRC,), written=(Path("a.py"),), **more)  # type: ignore[arg-type]  # as given


def adopts(cycle: int, made: LeaderGeneration | None = None) -> effects.Stage:
    return effects.Stage(cycle, adopts=good(cycle) if made is None else made)


def failure(cycle: int, name: str = "GenerationError") -> LeaderFailure:
    return LeaderFailure(cycle, name, "it is broken", 1000.0, changed=(A,))


class Follower(Script):
    """A script of a follower: the leader tells, actions succeed."""

    beats = 0

    def hear(
        self, made: LeaderGeneration | None, failed: LeaderFailure | None = None, pid: int = LEADER, **more: object
    ) -> tuple[effects.Effect, ...]:
        self.beats += 1
        return self.give(events.Heard(News(pid, made, failed), 1000.0 + self.beats, self.beats, **more))  # type: ignore[arg-type]  # as given

    def adopt(self, stage: effects.Stage, *, overlap: bool = True, ready: bool = True) -> tuple[effects.Effect, ...]:
        """Let the cycle of ``stage``, which has begun, succeed, or fail at its warm-up."""
        cycle, live = stage.cycle, self.state.live
        self.give(events.Staged(stage, 0.25, WatchSet((SRC,)), {}, overlap=overlap))
        if not overlap and live is not None:
            self.give(events.Disposed(live.cycle, 0.0))
        if not ready:
            self.give(events.Failed(effects.Warm(cycle, 60.0), 0.5, ERROR, 2000.0))
            self.give(events.RolledBack(effects.Rollback(effects.Warm(cycle, 60.0), 10.0)))
            return self.give(events.RolledBack(effects.Rollback(stage, 10.0)))
        self.give(events.Warmed(effects.Warm(cycle, 60.0), 0.5))
        self.give(events.Swapped(effects.Swap(cycle), 0.0, 2000.0))
        if overlap and live is not None:
            self.give(events.Disposed(live.cycle, 0.0))
        return self.give(events.Watched(effects.Watch(cycle), 0.0))

    def told(self) -> list[watch_events.WatchEvent]:
        """The events for the user among the last effects."""
        return [effect.event for effect in self.last_effects() if isinstance(effect, Emit)]

    def known(self) -> states.State:
        """The state, asked anew."""
        return self.state


def started(news: News | None = None, *, waits: bool = False) -> Follower:
    script = Follower()
    script.give(events.Started(0, waits, News(LEADER) if news is None else news))
    return script


def following() -> Follower:
    """Generation 1 of the leader is live."""
    script = started(News(LEADER, good(1)))
    script.hear(good(1))
    script.adopt(adopts(1))
    return script


# --- taking over


def test_a_session_that_starts_beside_another_listens_to_it() -> None:
    script = Follower()
    script.send(
        events.Started(0, leader=News(LEADER)),
        *STOP,
        StopTimer("idle-look"),
        StopTimer("beat"),
        FOLLOWS,
        LISTEN,
        SILENCE,
        effects.Look(1),
    )
    assert script.known().role == "follower"


def test_it_adopts_the_last_good_generation_in_place_of_staging_and_promoting() -> None:
    script = Follower()
    begun = script.give(events.Started(5, leader=News(LEADER, good(7, 3, manual=True))))
    assert begun[-2:] == (Emit(watch_events.ReloadStart(7, True, ())), adopts(7, good(7, 3, manual=True)))
    done = script.adopt(adopts(7, good(7, 3, manual=True)))
    assert Answer((5,), succeeded=True) in done
    [paths, success] = script.told()
    assert paths == watch_events.WatchPaths((SRC,))
    assert isinstance(success, watch_events.ReloadSuccess)
    assert (success.cycle, success.generation, success.written) == (7, 3, (Path("a.py"),))
    assert success.timings == {"stage": 0.25, "warm": 0.5, "swap": 0.0, "watch": 0.0}
    assert (script.state.generation, script.state.cycle, script.state.attempted) == (3, 7, {})


def test_its_plan_is_printed() -> None:
    assert "1. stage    take over generation 3 of the session that leads" in str(
        plan_of_cycle(SETTINGS, 7, None, adopts=good(7, 3))
    )


def test_the_first_generation_is_waited_for() -> None:
    script = started()
    assert script.hear(None) == (SILENCE,)
    assert adopts(1) in script.hear(good(1))
    assert Answer((0,), succeeded=True) in script.adopt(adopts(1))


def test_each_generation_is_taken_over_once() -> None:
    script = following()
    assert script.hear(good(1)) == (SILENCE,)
    assert script.hear(good(2)) == (SILENCE, Emit(watch_events.ReloadStart(2, False, ())), adopts(2))
    assert effects.Prepare(2) in script.adopt(adopts(2))
    assert script.state.generation == 2


def test_one_that_comes_while_another_is_taken_over_is_next_and_no_spare_is_prepared_for_that() -> None:
    script = following()
    script.hear(good(2))
    assert script.hear(good(3)) == (SILENCE,)
    done = script.adopt(adopts(2))
    assert done[-2:] == (Emit(watch_events.ReloadStart(3, False, ())), adopts(3))
    assert not any(isinstance(effect, effects.Prepare) for effect in done)


def test_one_that_does_not_warm_leaves_the_last_good_one_and_is_not_tried_again() -> None:
    script = following()
    script.hear(good(2))
    script.adopt(adopts(2), ready=False)
    [error] = script.told()
    assert isinstance(error, watch_events.ReloadError)
    assert (error.error, error.effect, error.live_generation) == (ERROR, "warm", 1)
    assert script.hear(good(2)) == (SILENCE,)
    assert script.known().stale == states.Stale(ERROR, 2000.0)
    script.hear(good(3))
    script.adopt(adopts(3))
    assert script.known().stale is None


def test_a_start_that_does_not_warm_ends_the_session_unless_it_waits() -> None:
    ending = started(News(LEADER, good(1)))
    ending.adopt(adopts(1), ready=False)
    assert isinstance(ending.phase(), states.Closing)
    waiting = started(News(LEADER, good(1)), waits=True)
    waiting.adopt(adopts(1), ready=False)
    assert isinstance(waiting.phase(), states.Idle)
    waiting.hear(good(2))
    assert Answer((0,), succeeded=True) in waiting.adopt(adopts(2))


def test_without_overlap_the_live_bridge_makes_way() -> None:
    script = following()
    script.hear(good(2))
    script.adopt(adopts(2), overlap=False)
    assert script.state.generation == 2


def test_a_close_while_the_live_bridge_makes_way_undoes_what_was_read() -> None:
    script = following()
    script.hear(good(2))
    script.give(events.Staged(adopts(2), 0.25, WatchSet((SRC,)), {}, overlap=False))
    script.give(events.Draining(1, 0.0))
    assert script.give(events.CloseRequested())[-1] == effects.Rollback(adopts(2), 10.0)


def test_a_number_that_was_used_before_is_not_used_again() -> None:
    script = following()
    script.hear(good(1, 1, manual=False), pid=OTHER)
    assert adopts(2, good(1, 9)) in script.hear(good(1, 9), pid=OTHER)


# --- the leader's failures


def test_a_failure_of_the_leader_is_told_and_makes_stale() -> None:
    script = following()
    script.hear(good(1), failure(2))
    [start, error] = script.told()
    assert start == watch_events.ReloadStart(2, False, (A,))
    assert isinstance(error, watch_events.ReloadError)
    assert (error.cycle, error.effect, error.live_generation) == (2, "stage", 1)
    assert isinstance(error.error, LeaderFailed)
    assert str(error.error) == "The session that leads has failed with GenerationError: it is broken"
    assert script.stale_since() == 1000.0
    assert script.hear(good(1), failure(2)) == (SILENCE,)
    assert script.state.cycle == 2


def test_a_good_generation_after_it_makes_good() -> None:
    script = following()
    script.hear(good(1), failure(2))
    script.hear(good(3, 2))
    script.adopt(adopts(3, good(3, 2)))
    assert script.staleness() is None


def test_one_that_starts_beside_a_stale_leader_is_stale() -> None:
    script = started(News(LEADER, good(1), failure(2)))
    script.adopt(adopts(1))
    assert [event.type for event in script.told()] == ["watch-paths", "reload-success", "reload-start", "reload-error"]
    assert script.stale_since() == 1000.0


def test_a_first_generation_that_fails_at_the_leader_is_told() -> None:
    script = started(waits=True)
    script.hear(None, failure(1))
    [_, error] = script.told()
    assert isinstance(error, watch_events.ReloadError)
    assert error.live_generation is None


def test_an_undo_makes_stale_without_a_failed_cycle() -> None:
    script = following()
    script.hear(good(2), failure(2, "Undone"))
    script.adopt(adopts(2))
    assert [event.type for event in script.told()] == ["reload-success"]
    assert script.stale_since() == 1000.0


def test_what_ends_without_another_generation_ends_here_too() -> None:
    script = following()
    script.hear(good(1), failure(1, "RunawayError"))
    assert script.stale_since() == 1000.0
    script.hear(good(1))
    assert script.staleness() is None


# --- requests


def test_the_leader_is_asked_and_its_answer_is_passed_on_when_its_generation_is_live() -> None:
    script = following()
    script.send(events.ReloadRequested(5), Ask(5, "reload"))
    script.hear(good(2), answers=((5, True), (99, True)))
    assert Answer((5,), succeeded=True) in script.adopt(adopts(2))
    assert script.hear(good(2), answers=((5, True),)) == (SILENCE,)


@pytest.mark.parametrize("request_", ["reload", "undo", "settle"])
def test_what_the_leader_cannot_do_is_answered_by_false(request_: str) -> None:
    script = following()
    asked = script.give(events.REQUESTS[request_](5))  # type: ignore[index]  # it is one of the three
    assert asked[-1] == Ask(5, request_)  # type: ignore[arg-type]  # likewise
    assert Answer((5,), succeeded=False) in script.hear(good(1), answers=((5, False),))


def test_a_generation_that_does_not_warm_here_is_answered_by_false() -> None:
    script = following()
    script.give(events.ReloadRequested(5))
    script.hear(good(2), answers=((5, True),))
    assert Answer((5,), succeeded=False) in script.adopt(adopts(2), ready=False)


def test_what_is_asked_while_a_generation_is_taken_over_is_asked_after_it() -> None:
    script = following()
    script.hear(good(2))
    script.send(events.UndoRequested(5))
    assert script.adopt(adopts(2))[-1] == Ask(5, "undo")


def test_a_close_answers_everybody() -> None:
    script = following()
    script.give(events.ReloadRequested(5))
    script.give(events.UndoRequested(6))
    script.hear(good(2))
    script.hear(good(2), answers=((5, True),))
    assert Answer((6, 5), succeeded=False) in script.give(events.CloseRequested())


# --- silence


def test_a_leader_that_gives_no_sign_of_life_makes_stale() -> None:
    script = following()
    script.send(events.TimerElapsed("silence"), Emit(watch_events.LeaderChanged("follower", LEADER, responding=False)))
    staleness = script.staleness()
    assert staleness is not None
    assert isinstance(staleness.error, WatchError)
    assert "process 4711" in str(staleness.error)
    assert staleness.since == 1001.0
    script.send(events.Heard(News(LEADER, good(1)), 1009.0, script.beats))
    script.send(events.Heard(News(LEADER, good(1)), 1010.0, 99), FOLLOWS, SILENCE, StopTimer("patience"))
    assert script.staleness() is None


def test_what_it_was_stale_by_before_stays() -> None:
    script = following()
    script.hear(good(1), failure(2))
    script.give(events.TimerElapsed("silence"))
    script.hear(good(1), failure(2))
    assert script.stale_since() == 1000.0


def test_who_has_asked_a_silent_leader_gets_an_error_after_warm_timeout() -> None:
    script = following()
    script.give(events.ReloadRequested(5))
    assert script.give(events.TimerElapsed("silence"))[-1] == SetTimer("patience", 55.0)
    [given_up] = script.give(events.TimerElapsed("patience"))
    assert isinstance(given_up, Answer)
    assert (given_up.tickets, type(given_up.error)) == ((5,), WatchError)
    assert script.give(events.TimerElapsed("patience")) == ()
    assert script.give(events.ReloadRequested(6)) == (Ask(6, "reload"), SetTimer("patience", 60.0))


def test_news_are_read_from_time_to_time() -> None:
    script = following()
    script.send(events.TimerElapsed("listen"), script.next_look(), LISTEN)
    script.send(events.Hinted(), script.next_look())
    script.send(events.TimerElapsed("beat"))


# --- leading


def leads(pid: int = 8) -> Emit:
    return Emit(watch_events.LeaderChanged("leader", pid))


STOP_LISTENING = tuple(StopTimer(timer) for timer in ("listen", "silence", "patience"))


def test_one_that_is_elected_begins_with_a_cycle_and_goes_on_counting() -> None:
    script = following()
    script.hear(good(1), failure(6))
    script.send(events.Elected(8), *STOP_LISTENING, leads(), IDLE_LOOK, script.next_look())
    assert script.known().role == "leader"
    assert script.give(looked({})) == (Emit(watch_events.ReloadStart(7, True, ())), effects.Stage(7))
    script.through(7, "watch", live=1)
    assert (script.state.cycle, script.state.generation) == (7, 2)


def test_the_number_of_a_generation_that_was_only_heard_of_is_not_used_again() -> None:
    script = following()
    script.hear(good(2, 5))
    script.give(events.Elected(8))
    script.adopt(adopts(2, good(2)), ready=False)
    script.give(looked({}))
    script.through(3, "watch", live=1)
    assert script.state.generation == 6


def test_it_takes_over_what_its_callers_have_asked_for() -> None:
    script = following()
    script.give(events.ReloadRequested(5))
    script.give(events.UndoRequested(6))
    script.give(events.SettleRequested(7))
    script.hear(good(2), answers=((5, True),))
    script.give(events.Elected(8))
    assert (script.state.tickets, script.state.undos) == ((5, -1), (6,))
    assert script.state.settling == ((7, script.state.looks + 1),)


def test_what_was_stale_by_silence_is_so_no_more() -> None:
    script = following()
    script.give(events.TimerElapsed("silence"))
    script.give(events.Elected(8))
    assert script.staleness() is None


def test_a_follower_without_a_generation_starts_by_itself() -> None:
    script = started()
    script.give(events.Elected(8))
    assert script.give(looked({})) == (Emit(watch_events.ReloadStart(1, True, ())), effects.Stage(1))
    assert Answer((0, -1), succeeded=True) in script.through(1, "watch").last_effects()


def restarting() -> Follower:
    script = following()
    script.give(events.Lost(1, ERROR, 3000.0))
    script.give(events.TimerElapsed("restart"))
    return script


def test_a_restart_of_the_live_bridge_makes_way_for_news_and_for_leading() -> None:
    for cause in (events.Heard(News(LEADER, good(2)), 2.0, 99), events.Elected(8)):
        script = restarting()
        assert effects.Interrupt() in script.give(cause)
    script = restarting()
    assert script.hear(good(1)) == (SILENCE,)
    script.send(events.ReloadRequested(5))
    assert Ask(5, "reload") in script.give(events.Restarted(effects.Restart(1, 60.0), 0.5))


def test_another_leader_is_told() -> None:
    script = following()
    assert script.hear(good(1), pid=OTHER)[0] == Emit(watch_events.LeaderChanged("follower", OTHER))


def test_what_the_former_leader_was_asked_for_the_next_one_is_asked_for() -> None:
    script = following()
    script.give(events.ReloadRequested(5))
    assert script.hear(good(1), pid=OTHER)[-1] == Ask(5, "reload")


def test_a_new_leader_counts_after_those_who_follow_it() -> None:
    script = Script()
    [start, stage, _] = script.give(events.Started(0, numbered=(6, 4)))
    assert (start, stage) == (Emit(watch_events.ReloadStart(7, True, ())), effects.Stage(7))
    script.through(7, "watch")
    assert script.state.generation == 5


def test_followers_are_given_signs_of_life() -> None:
    script = idle()
    script.send(events.Followed(1), effects.Beat(), SetTimer("beat", 2.0))
    script.send(events.TimerElapsed("beat"), effects.Beat(), SetTimer("beat", 2.0))
    script.send(events.Followed(2))
    script.send(events.Followed(0), StopTimer("beat"))
    script.send(events.TimerElapsed("beat"))


def test_what_followers_ask_for_is_watched_from_its_first_reading_on() -> None:
    script = idle()
    script.send(events.Followed(1, (PLUGIN,)), effects.Arm((PLUGIN,)), effects.Beat(), SetTimer("beat", 2.0))
    script.send(events.Observed({**src("1"), PLUGIN: {PLUGIN: "1"}}))
    script.send(events.Observed({**src("1"), PLUGIN: {PLUGIN: "2"}}), Emit(watch_events.Change(PLUGIN)), *SCHEDULE)


# --- losing the lead


def test_a_cycle_of_one_that_leads_no_more_is_superseded_by_what_the_other_makes() -> None:
    script = Follower()
    script.state = second_cycle().state
    script.give(events.ReloadRequested(5))
    failed = events.Failed(effects.Stage(2), 0.5, ERROR, 1.0, leader=News(LEADER, good(9, 7)))
    rollback = effects.Rollback(effects.Stage(2), 10.0)
    assert script.give(failed)[-2:] == (script.last_look(), rollback)
    undone = script.give(events.RolledBack(rollback))
    assert undone[0] == Emit(watch_events.Superseded(2, (A,)))
    assert undone[-1] == adopts(9, good(9, 7))
    assert Ask(5, "reload") in script.adopt(adopts(9, good(9, 7)))
    assert script.state.generation == 7


def test_a_cycle_whose_lock_was_removed_is_followed_by_one_that_takes_it_anew() -> None:
    script = Follower()
    script.state = second_cycle().state
    script.give(events.Failed(effects.Stage(2), 0.5, ERROR, 1.0, displaced=True))
    ended = script.give(events.RolledBack(effects.Rollback(effects.Stage(2), 10.0)))
    assert ended[-1] == script.last_look()
    assert script.give(looked(src("2")))[-1] == effects.Stage(3)


def test_one_that_cannot_start_because_another_is_faster_follows_that() -> None:
    script = Follower()
    script.give(events.Started(0))
    script.give(events.Failed(effects.Stage(1), 0.5, ERROR, 1.0, leader=News(LEADER)))
    script.give(events.RolledBack(effects.Rollback(effects.Stage(1), 10.0)))
    assert script.state.tickets == (0,)
    assert adopts(2, good(1)) in script.hear(good(1))


def test_a_close_comes_first() -> None:
    script = Follower()
    script.state = second_cycle().state
    script.give(events.CloseRequested())
    script.give(events.Failed(effects.Stage(2), 0.5, ERROR, 1.0, leader=News(LEADER)))
    assert script.known().role == "leader"
    follower = following()
    follower.give(events.CloseRequested())
    for event in (events.Heard(News(LEADER, good(2)), 2.0, 99), events.Elected(8), events.TimerElapsed("listen")):
        assert follower.give(event) == ()


def test_a_leader_hears_of_no_other_and_a_follower_of_no_source() -> None:
    assert idle().give(events.Elected(8)) == ()
    assert following().give(events.Observed(src("2"))) == ()
    assert following().give(events.Followed(1)) == ()


def test_a_generation_that_is_gone_when_it_is_to_be_taken_over_gives_way_to_the_next() -> None:
    script = Follower()
    script.give(events.Started(5, leader=News(LEADER, good(7, 3))))
    stage = adopts(7, good(7, 3))
    gone = script.give(events.Failed(stage, 0.5, ERROR, 1.0, leader=News(LEADER, good(9, 5))))
    assert FOLLOWS not in gone
    begun = script.give(events.RolledBack(effects.Rollback(stage, 10.0)))
    assert adopts(9, good(9, 5)) in begun
    assert not [each for each in begun if isinstance(each, Answer)]
