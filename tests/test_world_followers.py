"""Several sessions on one project, in memory: one leads, the others follow; it is killed, stopped, and cleaned away."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lastgood.errors import AlreadyWatched, LeaderFailed, WatchError
from lastgood.store import output_directory
from lastgood.testing import World
from lastgood.watch_events import LeaderChanged, ReloadError, ReloadStart, ReloadSuccess

CONFIG = 'python_import_path = ["src"]\n[modules.pricing]\n[output]\ndir = "generated"\n'
ONE = "def quote(n: int) -> int:\n    return n\n"
TWO = "def quote(n: int) -> int:\n    return 2 * n\n"
MORE = "def quote(n: int) -> int:\n    return 3 * n\n\n\ndef more() -> None: ...\n"
BROKEN = "def quote(n: int"
FILES = {"lastgood.toml": CONFIG, "src/pricing.py": ONE}


def leader(files: dict[str, str] | None = None, **settings: Any) -> World:
    world = World(FILES if files is None else files, **settings)
    world.start()
    return world


def follower(beside: World, **settings: Any) -> World:
    world = World({}, beside=beside, **settings)
    world.start()
    return world


def runs(world: World) -> str:
    """The source that the live bridge runs."""
    assert world.bridge is not None
    return world.bridge.sources["pricing"]


def promotions(world: World) -> int:
    return sum(effect.name == "promote" for effect in world.effects if hasattr(effect, "name"))


def types(world: World) -> list[str]:
    return [event.type for event in world.events]


def edit(world: World, text: str) -> None:
    world.write("src/pricing.py", text)
    world.advance(0.2)


def test_the_second_session_follows_and_runs_what_the_first_has_made() -> None:
    first = leader()
    second = follower(first)
    assert (first.role, second.role) == ("leader", "follower")
    assert (second.generation, runs(second)) == (1, ONE)
    assert types(second) == ["notice-leader", "reload-start", "watch-paths", "reload-success"]
    assert promotions(second) == 0


def test_an_edit_is_live_in_all_of_them_under_the_leaders_numbers() -> None:
    first = leader()
    others = [follower(first), follower(first)]
    edit(first, TWO)
    for world in (first, *others):
        assert (world.generation, runs(world), world.status.stale) == (2, TWO, False)
        success = [event for event in world.events if isinstance(event, ReloadSuccess)][-1]
        assert (success.cycle, success.generation, [path.name for path in success.changed]) == (2, 2, ["pricing.py"])


def test_a_broken_edit_makes_all_of_them_stale() -> None:
    first = leader()
    second = follower(first)
    edit(first, BROKEN)
    assert second.status.stale
    assert isinstance(second.status.error, LeaderFailed)
    assert second.status.error.type_name == "GenerationError"
    assert runs(second) == ONE
    edit(first, MORE)
    assert (runs(second), second.status.stale) == (MORE, False)
    starts = [event.cycle for event in second.events if isinstance(event, ReloadStart)]
    assert starts == [1, 2, 3]


def test_one_that_comes_when_the_leader_is_stale_starts_stale_from_the_last_good_generation() -> None:
    first = leader()
    edit(first, BROKEN)
    second = follower(first)
    assert (runs(second), second.status.stale) == (ONE, True)


def test_a_follower_that_does_not_warm_keeps_its_own_and_the_leader_does_not_mind() -> None:
    first = leader()
    second = follower(first)
    second.fail("warm", 2)
    edit(first, TWO)
    assert (runs(first), first.status.stale) == (TWO, False)
    assert (runs(second), second.status.stale) == (ONE, True)
    assert [event.effect for event in second.events if isinstance(event, ReloadError)] == ["warm"]
    edit(first, MORE)
    assert (runs(second), second.status.stale) == (MORE, False)


def test_a_lost_bridge_of_a_follower_comes_back_from_its_own_generation() -> None:
    first = leader()
    second = follower(first)
    second.fail("warm", 2)
    edit(first, TWO)
    second.lose_bridge()
    second.advance(1.0)
    assert runs(second) == ONE


def test_a_module_that_only_a_follower_has_imported_late_is_watched_and_pinned() -> None:
    first = leader({**FILES, "src/plugin.py": "A = 1\n"})
    second = follower(first)
    second.load_late("plugin", "src/plugin.py")
    second.lose_bridge()
    second.advance(1.0)
    assert second.bridge is not None
    assert second.bridge.sources["plugin"] == "A = 1\n"
    first.write("src/plugin.py", "A = 2\n")
    first.advance(0.5)
    assert (first.generation, second.generation) == (2, 2)


# --- requests


def test_a_follower_asks_the_leader_to_reload() -> None:
    first = leader()
    second = follower(first)
    assert second.reload_now()
    assert (first.generation, second.generation) == (2, 2)
    first.write("src/pricing.py", BROKEN)
    assert not second.reload_now()
    assert second.status.stale


def test_a_follower_asks_the_leader_to_undo() -> None:
    first = leader()
    second = follower(first)
    edit(first, TWO)
    assert second.undo()
    assert (runs(first), runs(second)) == (ONE, ONE)
    assert (first.status.stale, second.status.stale) == (True, True)
    assert types(second).count("reload-error") == 0
    assert not second.undo()


def test_a_follower_settles_by_the_leader() -> None:
    first = leader()
    second = follower(first)
    second.write("src/pricing.py", TWO)
    assert second.settle()
    assert runs(second) == TWO
    second.write("src/pricing.py", BROKEN)
    assert not second.settle()


def test_a_leader_that_is_silent_is_told_and_answers_nobody() -> None:
    first = leader()
    second = follower(first, warm_timeout=20.0)
    first.stop()
    second.advance(8.0)
    assert second.status.stale
    assert second.events[-1] == LeaderChanged("follower", 1, responding=False)
    with pytest.raises(WatchError, match=r"process 1, has given no sign of life for 20 s \(warm_timeout\)"):
        second.reload_now()
    first.go_on()
    second.advance(1.0)
    assert LeaderChanged("follower", 1) in second.events[-3:]
    assert not second.status.stale


def test_signs_of_life_go_on_for_as_long_as_there_are_followers() -> None:
    first = leader()
    second = follower(first)
    second.advance(60.0)
    assert not second.status.stale


def test_a_request_that_was_cleaned_away_is_made_again() -> None:
    first = leader()
    second = follower(first)
    first.stop()
    ticket = second.request_reload()
    for name in [path for path in second._disk.names if "followers" in path.parts]:
        del second._disk.names[name]
    first.go_on()
    second.advance(1.0)
    assert second.answer(ticket) is True


def test_news_that_were_cleaned_away_are_told_again() -> None:
    first = leader()
    second = follower(first)
    for name in [path for path in second._disk.names if "leader" in path.parts]:
        del second._disk.names[name]
    second.advance(10.0)
    edit(first, TWO)
    assert (runs(second), second.status.stale) == (TWO, False)


def test_a_request_that_cannot_be_made_is_answered_by_false(caplog: pytest.LogCaptureFixture) -> None:
    first = leader()
    second = follower(first)
    second._disk.before = _full
    ticket = second.request_reload()
    second.advance(1.0)
    assert second.answer(ticket) is False
    assert "the session that leads cannot be asked" in caplog.text


def _full(operation: str, path: Path) -> None:
    if operation == "write":
        raise OSError(28, "No space left on device", str(path))


# --- the leader ends


def test_when_the_leader_closes_a_follower_leads_and_goes_on_counting() -> None:
    first = leader()
    second, third = follower(first), follower(first)
    edit(first, TWO)
    first.close()
    second.advance(1.0)
    assert sorted([second.role, third.role]) == ["follower", "leader"]
    assert (second.generation, third.generation) == (3, 3)
    edit(second, MORE)
    assert (runs(second), runs(third), second.generation, third.generation) == (MORE, MORE, 4, 4)


def test_an_edit_that_nobody_has_seen_is_found_by_the_next_leader() -> None:
    first = leader()
    second = follower(first)
    first.kill()
    second.write("src/pricing.py", TWO)
    second.advance(1.0)
    assert (second.role, runs(second)) == ("leader", TWO)


class Killed(BaseException):
    """Ends a process in the middle of an operation."""


@pytest.mark.parametrize("effect", ["stage", "promote", "warm", "swap", "watch"])
@pytest.mark.parametrize("at", range(1, 25))
def test_a_leader_that_is_killed_anywhere_in_a_cycle_leaves_a_follower_that_makes_the_edit_live(
    effect: str, at: int
) -> None:
    first = leader({**FILES, "lastgood.toml": CONFIG + "[modules.more]\n", "src/more.py": ONE})
    second = follower(first)

    def kill() -> None:
        first.kill()
        raise Killed

    first.at(effect, at, kill)
    with suppress(Killed):
        first.write("src/more.py", MORE)
        first.advance(0.2)
    second.advance(3.0)
    assert second.role == ("leader" if first.killed else "follower")
    assert second.bridge is not None
    assert second.bridge.sources["more"] == MORE
    assert "def more" in second.files["generated/more.py"]
    assert not second.leftovers
    edit(second, TWO)
    assert runs(second) == TWO


def test_a_follower_whose_leader_dies_before_its_first_generation_makes_it() -> None:
    first = World(FILES, wait_for_first=True)
    first.write("src/pricing.py", BROKEN)
    first.start()
    second = World({}, beside=first, wait_for_first=True)
    second.start()
    assert second.bridge is None
    first.kill()
    second.write("src/pricing.py", ONE)
    second.advance(1.0)
    assert (second.role, runs(second)) == ("leader", ONE)


# --- the lock is cleaned away


def test_after_a_clean_one_leads_and_no_edit_is_lost() -> None:
    first = leader()
    second = follower(first)
    first.clean()
    second.advance(1.0)
    edit(first, TWO)
    first.advance(1.0)
    assert sorted([first.role, second.role]) == ["follower", "leader"]
    assert (runs(first), runs(second)) == (TWO, TWO)
    assert "notice-superseded" in types(first)


def test_one_whose_lock_was_cleaned_away_follows_without_an_edit() -> None:
    first = leader()
    second = follower(first)
    first.clean()
    second.advance(1.0)
    first.advance(3.0)
    assert (first.role, second.role) == ("follower", "leader")


@pytest.mark.parametrize("effect", ["stage", "promote", "warm", "swap"])
@pytest.mark.parametrize("at", range(1, 20, 3))
def test_a_clean_anywhere_in_a_cycle_loses_no_edit(effect: str, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_directory, "_TURN", 0.0)  # the other one comes for it while this one has the turn
    first = leader()
    second = follower(first)
    first.at(effect, at, first.clean)
    edit(first, TWO)
    first.advance(5.0)
    assert sorted([first.role, second.role]) == ["follower", "leader"]
    assert (runs(first), runs(second)) == (TWO, TWO)
    assert "2 * n" not in first.files["generated/pricing.py"]
    edit(first, MORE)
    first.advance(3.0)
    assert (runs(first), runs(second)) == (MORE, MORE)
    assert "def more" in first.files["generated/pricing.py"]


def test_one_that_comes_to_lead_says_so_before_its_first_cycle() -> None:
    first = leader()
    second, third = follower(first), follower(first)
    second.write("lastgood.toml", "[[")
    first.kill()
    second.advance(2.0)
    told = [event for world in (second, third) for event in world.events if isinstance(event, LeaderChanged)]
    assert [event.role for event in told].count("leader") == 1
    assert len({event.pid for event in told}) == 2


def test_one_whose_first_generation_is_swept_while_it_starts_takes_over_the_next() -> None:
    first = leader()
    second = World({}, beside=first)

    def edits() -> None:
        for number in range(20):
            edit(first, TWO.replace("2", str(number + 5)))

    second.at("stage", 1, edits)
    second.start()
    second.advance(1.0)
    assert (second.role, runs(second), second.generation) == ("follower", runs(first), 21)
    assert not second.status.stale
    assert types(second).count("notice-superseded") == 1


# --- who cannot follow


def test_a_session_of_another_config_is_refused_and_told_what_differs() -> None:
    first = leader({**FILES, "other.toml": CONFIG})
    other = World({}, beside=first, config_file="other.toml")
    with pytest.raises(AlreadyWatched) as caught:
        other.start()
    assert caught.value.pid == 1
    assert caught.value.difference == "its config file is /project/lastgood.toml, and this one's is /project/other.toml"
    assert "which this one cannot follow: its config file is" in str(caught.value)


def test_a_session_with_another_interpreter_for_its_workers_is_refused() -> None:
    first = leader()
    first.stop()
    first.write("lastgood.toml", CONFIG + '[runtime.process]\npython = "/opt/python"\n')
    other = World({}, beside=first)
    with pytest.raises(AlreadyWatched, match="its workers' interpreter is"):
        other.start()
