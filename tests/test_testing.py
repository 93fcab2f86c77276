"""lastgood.testing: contract §§4 and 5 as short scripts, then every failure at every operation, with what may come in its midst."""

from __future__ import annotations

import doctest
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count, takewhile
from pathlib import Path

import pytest

from lastgood import testing
from lastgood.config import Config
from lastgood.effects import Prepare, Stage, Warm
from lastgood.errors import (
    BridgeError,
    ConfigError,
    Disposed,
    GenerationError,
    NothingToUndo,
    PromotionError,
    Undone,
    UnmanagedFile,
    WorkerDied,
)
from lastgood.session.session import Status
from lastgood.testing import ROOT, ScriptedBridge, World
from lastgood.watch_events import (
    BridgeLost,
    BridgeRestored,
    DisposeFailed,
    GenerationUndone,
    ModuleLoadedLate,
    Recovered,
    ReloadError,
    ReloadStart,
    ReloadSuccess,
    RollbackFailed,
    WatchPaths,
)

Wrappers = dict[str, tuple[str, int, float]]


def config(*modules: str, output: str = "generated") -> str:
    return "".join(f'[modules."{name}"]\n' for name in modules) + f'[output]\ndir = "{output}"\n'


ONE = "def f() -> int: ...\n"
TWO = "def f(x: int) -> int: ...\n"
THREE = "def f(x: int, y: int) -> int: ...\n"
BROKEN = "def f(:\n"

SOURCES = {
    "lastgood.toml": config("kept", "same", "old.gone"),
    "kept.py": ONE,
    "same.py": ONE,
    "old/__init__.py": "",
    "old/gone.py": ONE,
    "fresh/__init__.py": "",
    "fresh/deep.py": ONE,
}


def started(
    files: Mapping[str, str] = SOURCES,
    *,
    debounce: float = 0.1,
    max_wait: float = 2.0,
    warm_timeout: float = 60.0,
    drain_timeout: float = 10.0,
    stage_timeout: float = 60.0,
) -> World:
    world = World(
        files,
        debounce=debounce,
        max_wait=max_wait,
        warm_timeout=warm_timeout,
        drain_timeout=drain_timeout,
        stage_timeout=stage_timeout,
    )
    world.start()
    world.advance(5)  # so that a file that is written anew has another time
    return world


def edit(world: World) -> None:
    """A new, a changed, a removed and an unchanged wrapper; a new directory, and an emptied one."""
    world.write("kept.py", TWO)
    world.write("lastgood.toml", config("kept", "same", "fresh.deep"))


def edited() -> World:
    world = started()
    edit(world)
    world.advance(0.1)
    return world


def wrappers(world: World) -> Wrappers:
    """Every generated file with its mode and time."""
    return {
        name: (text, *world.times[name])
        for name, text in world.files.items()
        if name.startswith(("generated/", "other/"))
    }


def types(world: World) -> list[str]:
    return [event.type for event in world.events]


def failures(world: World) -> list[ReloadError]:
    return [event for event in world.events if isinstance(event, ReloadError)]


def not_disposed(world: World) -> list[int]:
    return [bridge.cycle for bridge in world.bridges if bridge.state != "disposed"]


def operations(world: World) -> list[tuple[str, int]]:
    """The operations of the last cycle of ``world``: the effect, and which of the effect's it was."""
    counted: list[tuple[str, int]] = []
    for effect, _ in world.operations:
        at = counted[-1][1] + 1 if counted and counted[-1][0] == effect else 1
        counted.append((effect, at))
    starts = [index for index, (effect, at) in enumerate(counted) if (effect, at) == ("stage", 1)]
    return counted[starts[-1] :]


GOOD = operations(edited())
BEFORE_SWAP = [point for point in GOOD if point[0] in ("stage", "promote", "warm", "swap")]
AFTER_SWAP = [point for point in GOOD if point[0] in ("dispose", "watch")]


def start_operations() -> list[tuple[str, int]]:
    world = World(SOURCES)
    world.start()
    return operations(world)


def named(point: tuple[str, int]) -> str:
    return f"{point[0]} {point[1]}"


def caused_by(error: BaseException, cause: BaseException) -> bool:
    """Whether it is the very object, or an error of ours that says so of a file operation."""
    return error is cause or (isinstance(error, PromotionError) and error.__cause__ is cause)


# --- the world itself


def test_the_example_in_its_docstring_runs() -> None:
    assert doctest.testmod(testing) == doctest.TestResults(0, 10)


def test_every_effect_of_a_good_cycle_has_operations_to_fail_at() -> None:
    assert {effect for effect, _ in GOOD} == {"stage", "promote", "warm", "swap", "dispose", "watch"}
    assert [at for effect, at in GOOD if effect == "warm"] == [1, 2, 3]
    assert len(BEFORE_SWAP) > 30


def test_effects_and_events_are_recorded_in_order() -> None:
    world = edited()
    assert types(world) == [
        "reload-start",
        "watch-paths",
        "reload-success",
        "change",
        "change",
        "reload-start",
        "watch-paths",
        "reload-success",
    ]
    assert [effect for effect in world.effects if isinstance(effect, Stage | Warm)] == [
        Stage(1),
        Warm(1, 60.0),
        Stage(2),
        Warm(2, 60.0),
    ]


# --- a good cycle (§4)


def test_a_start_makes_wrappers_and_a_bridge() -> None:
    world = started()
    assert world.generation == 1
    assert world.bridge == world.bridges[0]
    assert world.bridges[0].state == "ready"
    assert sorted(wrappers(world)) == [
        "generated/__init__.py",
        "generated/kept.py",
        "generated/old/__init__.py",
        "generated/old/gone.py",
        "generated/same.py",
    ]
    assert world.leftovers == ()


def test_a_reload_writes_what_differs_and_removes_what_is_gone() -> None:
    world = started()
    before = wrappers(world)
    edit(world)
    world.advance(0.1)
    after = wrappers(world)
    assert "x: int" in after["generated/kept.py"][0]
    assert after["generated/same.py"] == before["generated/same.py"], "not touched, its time included"
    assert "generated/fresh/deep.py" in after
    assert not [name for name in after if name.startswith("generated/old")]
    success = world.events[-1]
    assert isinstance(success, ReloadSuccess)
    assert [path.as_posix() for path in success.written] == [
        "__init__.py",
        "fresh/__init__.py",
        "fresh/deep.py",
        "kept.py",
        "same.py",
    ]
    assert [path.as_posix() for path in success.touched] == [
        "fresh/__init__.py",
        "fresh/deep.py",
        "kept.py",
        "old/__init__.py",
        "old/gone.py",
    ]
    assert not_disposed(world) == [2]
    assert world.leftovers == ()


def test_the_bridge_of_a_generation_is_made_from_its_sources() -> None:
    world = edited()
    assert world.bridge is not None
    assert world.bridge.sources["kept"] == TWO
    assert world.bridges[0].sources["kept"] == ONE


def test_a_touch_is_no_edit() -> None:
    world = started()
    world.touch("kept.py")
    world.advance(10)
    assert types(world) == ["reload-start", "watch-paths", "reload-success"]


def test_an_edit_taken_back_before_the_debounce_is_none() -> None:
    world = started()
    world.write("kept.py", TWO)
    world.advance(0.05)
    world.write("kept.py", ONE)
    world.advance(10)
    assert types(world)[3:] == ["change"]
    assert world.generation == 1


def test_edits_are_debounced() -> None:
    world = started(debounce=0.1)
    for text in (TWO, THREE, TWO, THREE):
        world.write("kept.py", text)
        world.advance(0.09)
    assert world.generation == 1
    world.advance(0.01)
    assert world.generation == 2
    assert "y: int" in world.files["generated/kept.py"]


def test_max_wait_bounds_steady_edits() -> None:
    world = started(debounce=0.1, max_wait=2.0)
    begun = world.clock.now
    for text in (TWO, THREE) * 20:
        world.write("kept.py", text)
        if world.generation > 1:
            break
        world.advance(0.09)
    assert 2.0 <= world.clock.now - begun < 2.1


def test_a_reload_waits_for_no_debounce() -> None:
    world = started(debounce=60.0)
    world.write("kept.py", TWO)
    assert world.reload_now()
    assert world.generation == 2


def test_a_reload_that_finds_an_edit_nobody_has_noticed_says_it_is_manual() -> None:
    world = started()
    world.at("stage", 1, lambda: None)
    assert world.reload_now()
    start = world.events[-2]
    assert isinstance(start, ReloadStart)
    assert (start.cycle, start.manual, start.changed) == (2, True, ())


# --- undo, and a bridge that is lost


def test_an_undo_brings_wrappers_and_bridge_of_the_generation_before_back() -> None:
    world = started()
    before = wrappers(world)
    edit(world)
    world.advance(1)
    assert world.undo()
    assert texts(wrappers(world)) == texts(before)
    assert world.bridge is not None
    assert world.bridge.sources["kept"] == ONE
    assert world.generation == 3
    assert str(world.status.error).startswith("Generation 2 was undone")
    assert types(world)[-3:] == ["reload-start", "notice-generation-undone", "reload-success"]
    world.advance(100)
    assert world.generation == 3, "what was undone is not tried again by itself"
    world.write("kept.py", THREE)
    world.advance(1)
    assert not world.status.stale
    assert "y: int" in world.files["generated/kept.py"]


def test_an_undo_goes_back_further_each_time_until_there_is_nothing() -> None:
    world = started()
    for text in (TWO, THREE):
        world.write("kept.py", text)
        world.advance(1)
    assert world.undo()
    assert "f(x: int)" in world.files["generated/kept.py"]
    assert world.undo()
    assert "f()" in world.files["generated/kept.py"]
    kept = wrappers(world)
    assert not world.undo()
    assert isinstance(world.status.error, NothingToUndo)
    assert wrappers(world) == kept
    assert world.reload_now()
    assert "y: int" in world.files["generated/kept.py"]
    assert world.undo(), "a reload after an undo is a new generation"
    assert "f()" in world.files["generated/kept.py"]


def test_an_undo_needs_neither_the_config_nor_the_sources() -> None:
    world = started()
    edit(world)
    world.advance(1)
    world.write("lastgood.toml", "nonsense")
    world.remove("kept.py")
    world.advance(1)
    assert world.status.stale
    assert world.undo()
    assert "f()" in world.files["generated/kept.py"]


def test_an_undo_with_an_edit_that_waits_loses_it_not() -> None:
    world = started()
    edit(world)
    world.advance(1)
    world.write("kept.py", THREE)
    assert world.undo()
    world.advance(1)
    assert "y: int" in world.files["generated/kept.py"]


def test_a_lost_bridge_comes_back_from_its_own_generation() -> None:
    world = started()
    world.advance(60)
    world.write("kept.py", BROKEN)
    world.advance(1)
    was = world.bridge
    world.lose_bridge()
    assert world.bridge is was
    assert types(world)[-1] == "notice-bridge-lost"
    world.advance(0.1)
    assert types(world)[-1] == "notice-bridge-restored"
    assert world.bridge is not None
    assert world.bridge is not was
    assert world.bridge.sources["kept"] == ONE
    assert world.generation == 1


def test_a_lost_bridge_that_does_not_come_back_is_tried_again_and_then_given_up() -> None:
    world = started()
    for at in range(1, 6):
        world.fail("restart", 1 + at % 3)
    world.lose_bridge()
    world.advance(60)
    assert types(world).count("notice-bridge-lost") == 6
    assert world.status.stale
    assert world.reload_now()
    assert not world.status.stale


def test_a_restart_that_hangs_is_given_up_after_warm_timeout() -> None:
    world = started(warm_timeout=3.0)
    world.hang("restart", 2)
    world.lose_bridge()
    world.advance(10)
    assert types(world).count("notice-bridge-lost") == 2
    assert types(world)[-1] == "notice-bridge-restored"


def test_a_bridge_that_is_lost_on_probation_brings_the_generation_before_back() -> None:
    world = started()
    edit(world)
    world.advance(1)
    error = WorkerDied(-11, "")
    world.lose_bridge(error)
    assert "f()" in world.files["generated/kept.py"]
    assert world.bridge is not None
    assert world.bridge.sources["kept"] == ONE
    undone = next(event for event in world.events if isinstance(event, GenerationUndone))
    assert undone == GenerationUndone(2, error)
    assert isinstance(world.status.error, Undone)
    assert world.status.error.reason is error


def test_probation_is_a_setting() -> None:
    world = started({**SOURCES, "lastgood.toml": SOURCES["lastgood.toml"] + "[runtime.process]\nprobation = 0\n"})
    world.write("kept.py", TWO)
    world.advance(0.1)
    world.lose_bridge()
    world.advance(1)
    assert types(world)[-1] == "notice-bridge-restored"
    assert world.generation == 2


def test_a_module_that_is_loaded_late_is_watched() -> None:
    world = started({**SOURCES, "plugins/late.py": ONE})
    world.load_late("late", "plugins/late.py")
    assert ModuleLoadedLate("late", ROOT / "plugins/late.py") in world.events
    paths = world.events[-1]
    assert isinstance(paths, WatchPaths)
    assert ROOT / "plugins/late.py" in paths.paths
    world.write("plugins/late.py", TWO)
    world.advance(1)
    assert world.generation == 2


def test_what_was_loaded_late_comes_back_with_the_bridge_and_with_an_undo() -> None:
    world = started({**SOURCES, "plugins/late.py": ONE})
    world.load_late("late", "plugins/late.py")
    world.write("kept.py", "def broken(:\n")
    world.write("plugins/late.py", TWO)
    world.advance(1)
    world.lose_bridge()
    world.advance(1)
    assert types(world)[-1] == "notice-bridge-restored"
    assert bridge_of(world).sources["late"] == ONE
    world.write("kept.py", TWO)
    world.advance(1)
    assert "late" not in bridge_of(world).sources
    assert world.undo()
    assert bridge_of(world).sources["late"] == ONE
    assert ROOT / "plugins/late.py" in last_paths(world)
    world.write("plugins/late.py", "def three() -> int: ...\n")
    world.advance(1)
    assert world.generation == 4


@pytest.mark.parametrize("late", [False, True], ids=["", "that had loaded a module late"])
def test_a_reload_of_the_same_generation_is_neither_on_trial_nor_undone_to_itself(late: bool) -> None:
    world = started({**SOURCES, "plugins/late.py": ONE})
    world.write("kept.py", TWO)
    world.advance(1)
    if late:
        world.load_late("late", "plugins/late.py")
    assert world.reload_now()
    world.lose_bridge()
    world.advance(1)
    assert types(world)[-1] == "notice-bridge-restored"
    assert world.undo()
    assert bridge_of(world).sources["kept"] == ONE


def test_of_equal_generations_that_loaded_other_bytes_late_each_can_be_gone_back_to() -> None:
    world = started({**SOURCES, "plugins/late.py": ONE})
    world.load_late("late", "plugins/late.py")
    world.write("plugins/late.py", TWO)
    world.advance(1)
    world.lose_bridge()
    world.advance(1)
    assert types(world)[-1] == "reload-success", "the new bytes are on trial"
    assert bridge_of(world).sources["late"] == ONE


@pytest.mark.parametrize("at", ["stage", "warm"])
def test_what_is_loaded_late_while_a_cycle_runs_is_kept_all_the_same(at: str) -> None:
    world = started({**SOURCES, "plugins/late.py": ONE})
    world.at(at, 1, lambda: world.load_late("late", "plugins/late.py"))
    world.fail(at, 2)
    assert not world.reload_now()
    world.write("kept.py", "def broken(:\n")
    world.write("plugins/late.py", TWO)
    world.advance(1)
    world.lose_bridge()
    world.advance(1)
    assert bridge_of(world).sources["late"] == ONE


def test_between_two_cycles_the_live_bridge_prepares_for_the_next() -> None:
    world = started()
    assert bridge_of(world).prepared
    assert world.effects[-1] == Prepare(1)


def bridge_of(world: World) -> ScriptedBridge:
    assert world.bridge is not None
    return world.bridge


def last_paths(world: World) -> tuple[Path, ...]:
    return [event for event in world.events if isinstance(event, WatchPaths)][-1].paths


@pytest.mark.parametrize(
    ("name", "text"),
    [("kept.py", TWO), ("lastgood.toml", config("kept", output="other"))],
    ids=["a source", "the config"],
)
def test_what_only_the_cycle_has_seen_does_not_stay_live(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = started()
    before = wrappers(world)
    path, was = ROOT / name, world.files[name]
    load = world._interpreter.project.load

    def load_what_is_there_for_a_moment(file: Path, read: Callable[[Path], bytes]) -> Config:
        monkeypatch.undo()
        world._disk.put(path, text.encode())
        return load(file, read)

    monkeypatch.setattr(world._interpreter.project, "load", load_what_is_there_for_a_moment)
    world.at("promote", 1, partial(world._disk.put, path, was.encode()))
    world.reload_now()
    assert wrappers(world).keys() != before.keys() or "x: int" in world.files["generated/kept.py"]
    world.advance(1)
    assert wrappers(world).keys() == before.keys()
    assert "x: int" not in world.files["generated/kept.py"]
    assert world.generation == 3


def test_after_a_close_a_reload_is_refused() -> None:
    world = started()
    world.close()
    assert world.closed
    assert world.bridge is None
    assert not_disposed(world) == []
    with pytest.raises(Disposed):
        world.reload_now()
    with pytest.raises(Disposed):
        world.begin_call()


def test_a_second_close_is_fine() -> None:
    world = started()
    world.close()
    told = types(world)
    world.close()
    assert types(world) == told


# --- what the watched set follows (§6)


def test_a_module_that_is_named_is_watched_and_one_that_is_not_any_more_is_not() -> None:
    world = edited()
    world.write("old/gone.py", TWO)
    world.advance(10)
    assert world.generation == 2
    world.write("fresh/deep.py", TWO)
    world.advance(10)
    assert world.generation == 3


def test_a_config_that_breaks_is_watched_until_it_is_fixed() -> None:
    world = started()
    world.write("lastgood.toml", "modules = 3\n")
    world.advance(0.1)
    [failure] = failures(world)
    assert isinstance(failure.error, ConfigError)
    assert failure.effect == "stage"
    world.write("lastgood.toml", config("kept"))
    world.advance(0.1)
    assert world.generation == 2
    assert not world.status.stale


def test_a_source_edited_while_the_config_is_broken_is_seen() -> None:
    world = started()
    world.write("lastgood.toml", "modules = 3\n")
    world.advance(0.1)
    world.write("kept.py", TWO)
    world.advance(0.1)
    assert len(failures(world)) == 2


def test_a_missing_module_is_noticed_when_it_appears() -> None:
    world = started()
    world.write("lastgood.toml", config("kept", "later.on"))
    world.advance(0.1)
    [failure] = failures(world)
    assert str(failure.error) == 'Module "later.on" could not be resolved for watching'
    world.write("later/on.py", ONE)
    world.advance(0.1)
    assert world.generation == 2
    assert "generated/later/on.py" in world.files


def test_a_source_that_is_deleted_fails_and_comes_back() -> None:
    world = started()
    before = wrappers(world)
    world.remove("kept.py")
    world.advance(0.1)
    assert len(failures(world)) == 1
    assert wrappers(world) == before
    world.write("kept.py", TWO)
    world.advance(0.1)
    assert world.generation == 2


def test_watch_paths_are_told_when_they_change() -> None:
    world = edited()
    told = [event for event in world.events if isinstance(event, WatchPaths)]
    assert [[path.name for path in event.paths] for event in told] == [
        ["kept.py", "lastgood.toml", "__init__.py", "gone.py", "same.py"],
        ["__init__.py", "deep.py", "kept.py", "lastgood.toml", "same.py"],
    ]


# --- when something fails (§5)


def test_every_broken_module_is_named() -> None:
    world = started()
    world.write("kept.py", BROKEN)
    world.write("same.py", BROKEN)
    world.advance(0.1)
    [failure] = failures(world)
    assert isinstance(failure.error, GenerationError)
    assert str(failure.error).startswith("Generation failed for 2 module(s):")
    assert [each.module for each in failure.error.failures] == ["kept", "same"]


def test_bytes_that_failed_are_not_tried_again_by_themselves() -> None:
    world = started()
    world.write("kept.py", BROKEN)
    world.advance(0.1)
    world.touch("kept.py")
    world.advance(3600)
    assert len(failures(world)) == 1
    assert not world.reload_now()
    assert len(failures(world)) == 2
    world.write("kept.py", ONE)  # back to what is live
    world.advance(0.1)
    assert world.generation == 2
    assert not world.status.stale


def test_stale_since_the_first_failure_until_a_cycle_succeeds() -> None:
    world = started()
    world.write("kept.py", BROKEN)
    world.advance(0.1)
    since = world.clock.now
    world.advance(5)
    world.reload_now()
    assert (world.status.stale, world.status.since) == (True, since)
    assert world.status.error is failures(world)[-1].error
    world.write("kept.py", TWO)
    world.advance(0.1)
    assert world.status == Status(generation=2, stale=False, since=None, error=None)


@pytest.mark.parametrize("point", BEFORE_SWAP, ids=named)
def test_a_failure_at_any_operation_keeps_the_last_good(point: tuple[str, int]) -> None:
    effect, at = point
    world = started()
    before, live = wrappers(world), world.begin_call()
    error = LookupError("no") if effect == "warm" else OSError("no")
    world.fail(effect, at, error)
    edit(world)
    world.advance(0.1)

    [failure] = failures(world)
    assert caused_by(failure.error, error)
    assert (failure.effect, failure.cycle, failure.live_generation) == (effect, 2, 1)
    assert wrappers(world) == before
    assert world.leftovers == ()
    assert world.bridge is live
    assert (live.state, live.leases, live.cut_off) == ("ready", 1, False), "the call in flight goes on"
    assert not_disposed(world) == [1]
    assert (world.generation, world.status.stale, world.status.error) == (1, True, failure.error)

    world.write("same.py", TWO)
    world.advance(0.1)
    assert (world.generation, world.status.stale) == (2, False)
    assert "x: int" in world.files["generated/kept.py"]
    assert world.leftovers == ()


@pytest.mark.parametrize("point", BEFORE_SWAP, ids=named)
def test_a_reload_that_fails_gives_false_and_the_next_one_true(point: tuple[str, int]) -> None:
    world = started()
    edit(world)
    world.fail(*point)
    assert not world.reload_now()
    assert world.reload_now()
    assert len(failures(world)) == 1
    assert world.generation == 2


@pytest.mark.parametrize("point", AFTER_SWAP, ids=named)
def test_what_fails_after_the_swap_is_no_failure(point: tuple[str, int]) -> None:
    world = started()
    edit(world)
    world.fail(*point)
    assert world.reload_now()
    assert failures(world) == []
    assert not_disposed(world) == [2]
    assert ("notice-dispose-failed" in types(world)) == (point[0] == "dispose")
    world.write("kept.py", THREE)
    world.advance(0.1)
    assert world.generation == 3
    assert world.leftovers == () or point[0] == "watch"


@pytest.mark.parametrize(
    ("former", "latter"),
    [("generated", "other"), ("generated", "generated/inner"), ("generated/inner", "generated")],
    ids=["beside it", "into the former", "out of the latter"],
)
def test_an_output_directory_that_moves_takes_every_wrapper_with_it(former: str, latter: str) -> None:
    world = started({**SOURCES, "lastgood.toml": config("kept", output=former)})
    world.write("lastgood.toml", config("kept", output=latter))
    world.advance(0.1)
    assert world.generation == 2
    assert {*world.files} - {*SOURCES} == {f"{latter}/__init__.py", f"{latter}/kept.py"}
    world.write("kept.py", TWO)
    world.advance(0.1)
    assert {*world.files} - {*SOURCES} == {f"{latter}/__init__.py", f"{latter}/kept.py"}


def test_a_former_output_directory_is_emptied_whatever_else_cannot_be_removed() -> None:
    world = started({**SOURCES, "lastgood.toml": config("kept", "same")})
    world.write("kept.py", TWO)
    world.fail("watch", 1)  # the backups cannot be removed
    world.write("lastgood.toml", config("kept", output="other"))
    world.advance(0.1)
    assert world.generation == 2
    assert not [name for name in world.files if name.startswith("generated/")]


@pytest.mark.parametrize("point", [each for each in start_operations() if each[0] != "watch"], ids=named)
def test_a_start_that_fails_raises_the_error_itself_and_leaves_nothing(point: tuple[str, int]) -> None:
    effect, at = point
    world = World(SOURCES)
    error = LookupError("no") if effect == "warm" else OSError("no")
    world.fail(effect, at, error)
    with pytest.raises((LookupError, OSError, PromotionError)) as caught:
        world.start()
    assert caused_by(caught.value, error)
    assert world.files == SOURCES
    assert world.leftovers == ()
    assert world.closed
    assert world.bridge is None
    assert not_disposed(world) == []
    assert types(world) == ["reload-start", "reload-error"]


def test_a_start_on_what_is_not_ours_leaves_it_alone() -> None:
    world = World({**SOURCES, "generated/kept.py": "mine\n"})
    with pytest.raises(UnmanagedFile) as caught:
        world.start()
    assert str(caught.value.path) == "/project/generated/kept.py"
    assert world.files["generated/kept.py"] == "mine\n"
    assert len(world.files) == len(SOURCES) + 1


def test_a_wrapper_that_was_edited_by_hand_is_kept_aside_with_a_warning() -> None:
    world = started()
    world.write("generated/kept.py", "mine\n")
    edit(world)
    world.advance(0.1)
    assert world.files["generated/kept.py.edited"] == "mine\n"
    success = world.events[-1]
    assert isinstance(success, ReloadSuccess)
    assert success.warnings == ("kept.py had been edited by hand; it was kept as kept.py.edited.",)


@pytest.mark.parametrize("at", [1, 2, 3], ids=["create", "init", "probe"])
def test_a_warm_up_that_hangs_is_given_up_after_its_timeout(at: int) -> None:
    world = started(warm_timeout=7.0)
    before, begun = wrappers(world), world.clock.now
    world.hang("warm", at)
    assert not world.reload_now()
    [failure] = failures(world)
    assert isinstance(failure.error, BridgeError)
    assert "7 s (warm_timeout)" in str(failure.error)
    assert world.clock.now - begun == 7.0
    assert wrappers(world) == before
    assert not_disposed(world) == [1]


@pytest.mark.parametrize("at", range(1, 6))
def test_a_stage_that_hangs_is_given_up_after_its_timeout_and_the_next_edit_is_tried(at: int) -> None:
    world = started(stage_timeout=7.0)
    before, begun = wrappers(world), world.clock.now
    world.hang("stage", at)
    assert not world.reload_now()
    [failure] = failures(world)
    assert failure.effect == "stage"
    assert isinstance(failure.error, GenerationError)
    assert "the stage was not done within 7 s (stage_timeout)" in str(failure.error)
    assert world.clock.now - begun == 7.0
    assert world.status.stale
    assert (wrappers(world), world.leftovers, world.generation) == (before, (), 1)
    edit(world)
    world.advance(0.1)
    assert (world.status.stale, world.generation) == (False, 2)


@pytest.mark.parametrize("back", ["later", "while the next one waits"])
def test_an_edit_whose_stage_could_only_wait_is_tried_when_the_earlier_one_is_back(back: str) -> None:
    world = started(stage_timeout=7.0)
    world.hang("stage", 2, stuck=True)
    assert not world.reload_now()
    edit(world)
    if back == "later":
        world.advance(0.1)
        assert "an earlier stage is still working on this" in str(failures(world)[-1].error)
        world.advance(60.0)
        assert len(failures(world)) == 2, "it does not wait over and over"
        world.return_stage()
    else:
        world.clock.call_later("back", 5.0, world.return_stage)
        world.advance(0.1)
    assert (world.status.stale, world.generation) == (False, 2)


def test_an_undo_has_the_time_of_a_stage() -> None:
    world = started(stage_timeout=7.0)
    edit(world)
    world.advance(0.1)
    world.hang("stage", 1)
    assert not world.undo()
    assert "7 s (stage_timeout)" in str(failures(world)[-1].error)
    assert world.generation == 2


# --- bridges that are replaced (§4)


def test_a_bridge_without_a_call_is_disposed_before_the_cycle_is_over() -> None:
    world = edited()
    assert world.bridges[0].state == "disposed"
    success = world.events[-1]
    assert isinstance(success, ReloadSuccess)
    assert list(success.timings) == ["stage", "promote", "warm", "swap", "dispose", "watch"]


def test_a_call_in_flight_keeps_the_old_bridge_alive_until_it_returns() -> None:
    world = started()
    old = world.begin_call()
    assert world.reload_now()
    assert world.bridge is not old
    assert old.state == "ready"
    world.end_calls(old)
    assert (old.state, old.cut_off) == ("disposed", False)


def test_a_call_that_does_not_end_is_cut_off_after_drain_timeout() -> None:
    world = started(drain_timeout=10.0)
    old = world.begin_call()
    assert world.reload_now()
    world.advance(9.9)
    assert (old.state, old.cut_off) == ("ready", False)
    world.advance(0.1)
    assert (old.state, old.cut_off) == ("disposed", True)


def test_at_most_two_bridges_drain_and_the_oldest_is_cut_off() -> None:
    world = started()
    old: list[ScriptedBridge] = []
    for _ in range(3):
        old.append(world.begin_call())
        assert world.reload_now()
    assert [(bridge.state, bridge.cut_off) for bridge in old] == [
        ("disposed", True),
        ("ready", False),
        ("ready", False),
    ]


def test_those_that_broke_down_count_and_drain_like_any_other() -> None:
    world = started(drain_timeout=100.0)
    broken = []
    for _ in range(3):
        broken.append(world.begin_call())
        world.lose_bridge(calls_go_on=True)
        world.advance(5.0)
    assert [(bridge.state, bridge.cut_off) for bridge in broken] == [
        ("disposed", True),
        ("lost", False),
        ("lost", False),
    ]
    world.end_calls(broken[1])
    assert (broken[1].state, broken[1].cut_off) == ("disposed", False)
    world.advance(100.0)
    assert (broken[2].state, broken[2].cut_off) == ("disposed", True)
    assert world.bridge is not None
    assert world.bridge.state == "ready"


def test_a_close_gives_calls_in_flight_their_time_then_cuts_them_off() -> None:
    world = started(drain_timeout=10.0)
    old = world.begin_call()
    world.reload_now()
    live, begun = world.begin_call(), world.clock.now
    world.close()
    assert world.closed
    assert 10.0 <= world.clock.now - begun < 10.2
    assert [(bridge.state, bridge.cut_off) for bridge in (old, live)] == [("disposed", True)] * 2


@pytest.mark.parametrize("how", ["raises", "hangs"])
def test_a_dispose_that_fails_is_a_notice(how: str) -> None:
    world = started()
    error = LookupError("no")
    if how == "hangs":
        world.hang("dispose")
    else:
        world.fail("dispose", error=error)
    assert world.reload_now()
    [notice] = [event for event in world.events if isinstance(event, DisposeFailed)]
    assert notice.generation == 1
    assert notice.error is error if how == "raises" else isinstance(notice.error, BridgeError)
    assert world.generation == 2


# --- rollbacks that fail (§5)


def last(effect: str) -> int:
    return max(at for name, at in GOOD if name == effect)


def undoing_of_a_promotion() -> int:
    """How many operations it takes to undo the whole of one."""
    world = started()
    edit(world)
    world.fail("promote", last("promote"))
    world.advance(0.1)
    undoing = [what for effect, what in world.operations if effect == "rollback"]
    return len(list(takewhile(lambda what: "/stage-" not in what, undoing)))


@pytest.mark.parametrize("at", range(1, undoing_of_a_promotion() + 1))
def test_a_rollback_that_fails_is_told_and_finished_by_the_next_cycle(at: int) -> None:
    world = started()
    before = wrappers(world)
    cause, error = OSError("first"), OSError("second")
    edit(world)
    world.fail("promote", last("promote"), cause)
    world.fail("rollback", at, error)
    world.advance(0.1)
    [notice] = [event for event in world.events if isinstance(event, RollbackFailed)]
    [failure] = failures(world)
    assert notice.error is error
    assert notice.cause is failure.error
    assert caused_by(failure.error, cause)
    assert world.bridge is world.bridges[0]

    # The next cycle fails too, before it has changed anything; the restore comes before that.
    world.fail("warm")
    assert not world.reload_now()
    assert wrappers(world) == before
    assert world.reload_now()
    assert world.generation == 2


def test_a_restore_that_was_finished_later_says_so() -> None:
    world = started()
    edit(world)
    world.fail("promote", last("promote"))
    world.fail("rollback", 1)
    world.advance(0.1)
    assert world.leftovers != ()
    assert world.reload_now()
    [notice] = [event for event in world.events if isinstance(event, Recovered)]
    assert str(notice.output) == "/project/generated"
    assert "kept.py" in [path.as_posix() for path in notice.restored]
    assert world.leftovers == ()


# --- what comes in the midst of a cycle (§4)


@pytest.mark.parametrize("point", GOOD, ids=named)
def test_an_edit_in_the_midst_of_any_operation_leads_to_a_cycle_that_starts_after_it(point: tuple[str, int]) -> None:
    world = started()
    edit(world)
    world.at(*point, lambda: world.write("kept.py", THREE))
    world.advance(0.1)
    world.advance(0.1)
    starts = [event for event in world.events if isinstance(event, ReloadStart)]
    assert [start.cycle for start in starts] == [1, 2, 3]
    assert [path.name for path in starts[-1].changed] == ["kept.py"]
    assert world.generation == 3
    assert "y: int" in world.files["generated/kept.py"]
    assert world.bridge is not None
    assert world.bridge.sources["kept"] == THREE


@pytest.mark.parametrize("point", GOOD, ids=named)
def test_a_reload_in_the_midst_of_any_operation_gets_a_cycle_that_starts_after_it(point: tuple[str, int]) -> None:
    world = started()
    edit(world)
    tickets: list[int] = []
    world.at(*point, lambda: tickets.append(world.request_reload()))
    world.advance(0.1)
    assert [world.answer(ticket) for ticket in tickets] == [True]
    assert len([event for event in world.events if isinstance(event, ReloadStart)]) == 3


@pytest.mark.parametrize("point", GOOD, ids=named)
def test_a_close_in_the_midst_of_any_operation_wins(point: tuple[str, int]) -> None:
    world = started()
    before = wrappers(world)
    edit(world)
    told: list[str] = []

    def close() -> None:
        told.extend(types(world))
        world.close()

    world.at(*point, close)
    assert not world.reload_now()
    assert world.closed
    assert types(world) == told
    assert world.bridge is None
    assert not_disposed(world) == []
    assert world.leftovers == ()
    if point in BEFORE_SWAP and point[0] != "swap":
        assert wrappers(world) == before


@pytest.mark.parametrize("point", start_operations(), ids=named)
def test_a_close_in_the_midst_of_a_start_leaves_nothing(point: tuple[str, int]) -> None:
    world = World(SOURCES)
    world.at(*point, world.close)
    with pytest.raises(Exception, match="ended before it had started"):
        world.start()
    assert world.closed
    assert not_disposed(world) == []
    assert world.leftovers == ()
    if point[0] in ("stage", "promote", "warm"):
        assert world.files == SOURCES


# --- every history, up to a depth


@dataclass(frozen=True)
class History:
    """A fault at one operation, and something that comes in the midst of another; None: there is no such thing."""

    fault: tuple[str, int] | None
    arrival: tuple[str, tuple[str, int]] | None

    def __str__(self) -> str:
        return f"fault at {self.fault}, arriving {self.arrival}"


SMALL = {"lastgood.toml": config("kept", "gone"), "kept.py": ONE, "gone.py": ONE}
ARRIVALS: dict[str, Callable[[World], int | None]] = {
    "an edit": lambda world: world.write("kept.py", THREE),
    "a request": World.request_reload,
    "a close": World.close,
    "an undo": World.request_undo,
    "a loss": World.lose_bridge,
}


def play(history: History) -> tuple[World, Wrappers, list[int | None]]:
    """A session whose second cycle meets ``history``. Also the wrappers before it, and the ticket of what arrived."""
    world = started(SMALL)
    before, arrived = wrappers(world), list[int | None]()
    world.write("kept.py", TWO)
    world.write("lastgood.toml", config("kept"))
    if history.arrival is not None:
        what, point = history.arrival
        world.at(*point, lambda: arrived.append(ARRIVALS[what](world)))
    if history.fault is not None:
        world.fail(*history.fault)
    world.advance(0.1)
    return world, before, arrived


def check(history: History) -> bool:
    """Play it, and see to what holds after every history; False if what was to arrive had no occasion to."""
    world, before, arrived = play(history)
    what = "" if history.arrival is None else history.arrival[0]
    if what and not arrived:
        return False
    fatal = history.fault is not None and history.fault in SMALL_POINTS and history.fault[0] not in ("dispose", "watch")
    starts = [event.cycle for event in world.events if isinstance(event, ReloadStart)]
    assert starts == [*range(1, len(starts) + 1)], history
    # What could not be removed after a swap goes at the next start.
    assert world.leftovers == () or (history.fault is not None and history.fault[0] == "watch"), history
    if what == "a close":
        assert world.closed, history
        assert (world.bridge, not_disposed(world)) == (None, []), history
        if [effect for effect, _ in world.operations].count("swap") == 1:
            assert wrappers(world) == before, history
        return True
    assert world.bridge is not None, history
    assert not_disposed(world) == [world.bridge.cycle], history
    if what == "a loss":
        check_loss(world, before, history)
    elif what == "an undo":
        check_undo(world, before, history, arrived[0], possible=not fatal)
    else:
        assert len(failures(world)) == fatal, history
        told = [world.answer(ticket) for ticket in arrived if ticket is not None]
        assert told == [True] * (what == "a request"), history
    if fatal and not what:
        assert (wrappers(world), world.generation) == (before, 1), history
    world.advance(0.1)
    if what == "an edit":
        assert "y: int" in world.files["generated/kept.py"], history
        assert world.bridge.sources["kept"] == THREE, history
    assert world.reload_now(), history
    assert not world.status.stale, history
    assert "generated/gone.py" not in world.files, history
    return True


def check_loss(world: World, before: Wrappers, history: History) -> None:
    """The bridge is back, or a later one is live; after a loss on trial, the generation before is."""
    assert world.bridge is not None
    assert world.bridge.state == "ready", history
    lost = next(event.generation for event in world.events if isinstance(event, BridgeLost))
    if lost == 2:
        assert world.generation == 3, history
        assert isinstance(world.status.error, Undone), history
        assert texts(wrappers(world)) == texts(before), history
    else:
        restored = [event.generation for event in world.events if isinstance(event, BridgeRestored)]
        assert restored == [1] * (world.generation == 1), history


def check_undo(world: World, before: Wrappers, history: History, ticket: int | None, *, possible: bool) -> None:
    """What was live before is live again; where there is nothing to go back to, nothing has changed."""
    assert ticket is not None
    assert world.answer(ticket) is possible, history
    assert texts(wrappers(world)) == texts(before), history
    assert type(world.status.error) is (Undone if possible else NothingToUndo), history
    assert world.generation == (3 if possible else 1), history


def texts(found: Wrappers) -> dict[str, str]:
    return {name: text for name, (text, _, _) in found.items()}


def small_points() -> list[tuple[str, int]]:
    world = started(SMALL)
    world.write("kept.py", TWO)
    world.write("lastgood.toml", config("kept"))
    world.advance(0.1)
    return operations(world)


SMALL_POINTS = small_points()


def histories(stride: int) -> Iterator[Iterable[History]]:
    """Each fault alone, each arrival alone, and each fault with each arrival before it or while it is undone.

    In rows, each of which ends where there is no occasion for the arrival any more; of the pairs one in ``stride``.
    """
    yield [History(None, None)]
    yield [History(fault, None) for fault in SMALL_POINTS]
    for what in ARRIVALS:
        yield [History(None, (what, point)) for point in SMALL_POINTS]
        for index, fault in enumerate(SMALL_POINTS):
            yield [History(fault, (what, point)) for point in SMALL_POINTS[index % stride : index + 1 : stride]]
            yield (History(fault, (what, ("rollback", at))) for at in count(1 + index % stride, stride))


@pytest.mark.parametrize(
    "stride", [pytest.param(1, marks=pytest.mark.torture, id="all"), pytest.param(96, id="one pair in ninety-six")]
)
def test_every_history(stride: int, capsys: pytest.CaptureFixture[str]) -> None:
    played = sum(len(list(takewhile(check, row))) for row in histories(stride))
    with capsys.disabled():
        print(f" {played} histories ", end="")
    assert played > 300
