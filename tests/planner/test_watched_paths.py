"""What is watched, as cycles and modules that are loaded late change it."""

from __future__ import annotations

from lastgood import effects, watch_events
from lastgood.planner import events, states
from lastgood.planner.watch_set import WatchSet
from planner_script import ERROR, LIB, SCHEDULE, SRC, WATCH, A, idle, looked, name_of, rollbacks, second_cycle, src

# --- cycles


def test_watch_paths_are_told_when_the_set_changes_and_only_then() -> None:
    script = second_cycle().through(2, "dispose", WatchSet((LIB, SRC)), live=1)
    assert effects.Emit(watch_events.WatchPaths((LIB, SRC))) in script.give(events.Watched(effects.Watch(2), 0.0))
    script = second_cycle().through(2, "dispose", WatchSet((SRC,), candidates=(LIB,)), live=1)
    given = script.give(events.Watched(effects.Watch(2), 0.0))
    assert not [
        each for each in given if isinstance(each, effects.Emit) and isinstance(each.event, watch_events.WatchPaths)
    ]


def test_after_a_cycle_only_what_is_watched_is_remembered() -> None:
    script = second_cycle()
    staged = events.Staged(effects.Stage(2), 0.5, WatchSet((LIB,)), {LIB: {LIB / "c.py": "1"}, SRC: {A: "2"}})
    script.send(staged, effects.Promote(2))
    script.send(events.Observed({**src("3"), LIB: {LIB / "c.py": "1"}}), effects.Emit(watch_events.Change(A)))
    script.through(2, "watch", WatchSet((LIB,)), live=1)
    assert script.phase() == states.Idle(), "the edit lies in what is not watched any more"
    assert [*script.state.attempted] == [*script.state.observed] == [LIB]


# --- modules that are loaded late


def test_what_is_loaded_late_is_watched_from_the_bytes_that_were_loaded() -> None:
    script = idle()
    plugin = LIB / "plugin.py"
    watched = watch_events.WatchPaths((plugin, SRC))
    script.send(
        events.LoadedLate(1, (events.Late("plugin", plugin, "1"),)),
        effects.Emit(watch_events.ModuleLoadedLate("plugin", plugin)),
        effects.Pin(1),
        effects.Emit(watched),
        effects.Arm((plugin,)),
    )
    script.send(events.Observed({**src("1"), plugin: {plugin: "1"}}))
    script.send(
        events.Observed({**src("1"), plugin: {plugin: "2"}}), effects.Emit(watch_events.Change(plugin)), *SCHEDULE
    )


def test_what_was_edited_since_it_was_loaded_late_is_an_edit() -> None:
    script = idle()
    plugin = LIB / "plugin.py"
    script.give(events.LoadedLate(1, (events.Late("plugin", plugin, "1"),)))
    script.send(
        events.Observed({**src("1"), plugin: {plugin: "2"}}), effects.Emit(watch_events.Change(plugin)), *SCHEDULE
    )


def test_what_the_old_bridge_loads_late_while_a_cycle_runs_stays_watched_if_that_fails() -> None:
    script = second_cycle().through(2, "stage")
    plugin = LIB / "plugin.py"
    script.send(
        events.LoadedLate(1, (events.Late("plugin", plugin, "1"),)),
        effects.Emit(watch_events.ModuleLoadedLate("plugin", plugin)),
        effects.Pin(1),
        effects.Emit(watch_events.WatchPaths((plugin, SRC))),
        effects.Arm((plugin,)),
    )
    script.give(events.Failed(effects.Promote(2), 0.5, ERROR, at=1000.0))
    for rollback in rollbacks(2, "promote", "stage"):
        script.give(events.RolledBack(rollback))
    assert script.state.watched == WatchSet((plugin, SRC))


def test_what_is_loaded_late_inside_of_what_is_watched_is_told_alone() -> None:
    late = SRC / "late.py"
    idle().send(
        events.LoadedLate(1, (events.Late("late", late, "1"),)),
        effects.Emit(watch_events.ModuleLoadedLate("late", late)),
        effects.Pin(1),
    )


def test_what_is_loaded_late_together_is_watched_at_once() -> None:
    script = idle()
    x, y = LIB / "x.py", LIB / "y.py"
    late = events.Late("y", y, "1"), events.Late("a.late", SRC / "late.py", "1"), events.Late("x", x, "1")
    notices = [effects.Emit(watch_events.ModuleLoadedLate(each.name, each.path)) for each in late]
    script.send(
        events.LoadedLate(1, late),
        *notices,
        effects.Pin(1),
        effects.Emit(watch_events.WatchPaths((x, y, SRC))),
        effects.Arm((x, y)),
    )
    script.send(events.LoadedLate(1, late[:1]), notices[0], effects.Pin(1))


def test_what_a_fresh_bridge_has_loaded_late_is_watched_with_the_rest_of_its_cycle() -> None:
    script = second_cycle().through(2, "swap", live=1)
    plugin = LIB / "plugin.py"
    script.send(
        events.LoadedLate(2, (events.Late("plugin", plugin, "1"),)),
        effects.Emit(watch_events.ModuleLoadedLate("plugin", plugin)),
        effects.Pin(2),
    )
    script.give(events.Disposed(1, 0.0))
    paths, success, arm, prepare = script.give(events.Watched(effects.Watch(2), 0.0))
    assert (paths, name_of(success)) == (effects.Emit(watch_events.WatchPaths((plugin, SRC))), "reload-success")
    assert (arm, prepare) == (effects.Arm((plugin,)), effects.Prepare(2, (A,)))
    script.give(events.Pinned(2))
    script.give(events.ReloadRequested(5))
    script.give(looked({**src("2"), plugin: {plugin: "1"}}))
    script.through(3, "watch", live=2)
    assert script.state.watched == WATCH, "the next bridge has not loaded it"
