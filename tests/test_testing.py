"""lastgood.testing: good cycles, what they watch, and bridges that are replaced, as short scripts."""

from __future__ import annotations

import doctest
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lastgood.config import Config
from lastgood.effects import Prepare, Stage, Warm
from lastgood.errors import BridgeError, ConfigError, Disposed, UnwatchableModule, WatchError
from lastgood.testing import ROOT, ScriptedBridge, World, world
from lastgood.watch_events import DisposeFailed, ReloadStart, ReloadSuccess, WatchPaths
from world_scripts import (
    BEFORE_SWAP,
    GOOD,
    ONE,
    SOURCES,
    THREE,
    TWO,
    bridge_of,
    config,
    edit,
    edited,
    failures,
    not_disposed,
    started,
    types,
    wrappers,
)

# --- the world itself


@pytest.mark.parametrize(
    ("misuse", "error", "says"),
    [
        (lambda world: world.start(), WatchError, "starts once"),
        (lambda world: world.remove("nowhere.py"), FileNotFoundError, "no file nowhere.py"),
        (lambda world: world.touch("nowhere.py"), FileNotFoundError, "no file nowhere.py"),
        (lambda world: world.write("a.py", 3), TypeError, "a text or bytes, not int"),
        (lambda world: world.fail("promote", error="boom"), TypeError, "must be an exception, such as OSError"),
        (lambda _: World({"a.py": None}), TypeError, "a text or bytes, not NoneType"),  # type: ignore[dict-item]
        (lambda _: World({}, debounce="1"), TypeError, "World(): debounce must be a number"),  # type: ignore[arg-type]
        (lambda _: World({}, warm_timeout=0), ValueError, "World(): warm_timeout must be more than 0"),
    ],
    ids=["start", "remove", "touch", "write", "fail", "files", "type", "seconds"],
)
def test_what_cannot_be_meant_is_refused(misuse: Callable[[Any], object], error: type[Exception], says: str) -> None:
    world = started()
    with pytest.raises(error) as caught:
        misuse(world)
    assert says in str(caught.value)


def test_files_may_be_bytes_and_its_repr_says_what_is_live() -> None:
    world = World({name: text.encode() for name, text in SOURCES.items()})
    assert repr(world).startswith("<lastgood.testing.World: Status(generation=0")
    world.start()
    assert "generation=1" in repr(world)
    world.close()
    assert repr(world) == "<lastgood.testing.World: closed>"


def test_the_example_in_its_docstring_runs() -> None:
    assert doctest.testmod(world) == doctest.TestResults(0, 10)


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


# --- a good cycle


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


def test_differences_from_the_worker_can_be_scripted() -> None:
    world = started()
    world.differ("kept.f: differs")
    assert world.reload_now()
    assert isinstance(world.events[-1], ReloadSuccess)
    assert world.events[-1].warnings == ("kept.f: differs",)


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


WAITING = f"{SOURCES['lastgood.toml']}[watch]\ndebounce = 3\nmax_wait = 9\nwarm_timeout = false\n"


@pytest.mark.parametrize(("given", "seconds"), [({}, 3.0), ({"debounce": 0.5}, 0.5)])
def test_the_config_says_how_long_an_edit_waits_unless_the_caller_does(given: dict[str, Any], seconds: float) -> None:
    world = World({**SOURCES, "lastgood.toml": WAITING}, **given)
    world.start()
    world.write("kept.py", TWO)
    world.advance(seconds - 0.01)
    assert world.generation == 1
    world.advance(0.02)
    assert world.generation == 2


def test_an_edit_of_the_config_changes_how_long_the_next_ones_wait() -> None:
    world = World(SOURCES)
    world.start()
    world.write("lastgood.toml", WAITING)
    world.advance(0.2)
    warms = [each for each in world.effects if isinstance(each, Warm)]
    assert (world.generation, warms[-1].timeout) == (2, math.inf)
    world.write("kept.py", TWO)
    world.advance(2.5)
    assert world.generation == 2
    world.advance(1)
    assert world.generation == 3


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


# --- between cycles, and the end


def test_between_two_cycles_the_live_bridge_prepares_for_the_next() -> None:
    world = started()
    assert bridge_of(world).prepared
    assert [each for each in world.effects if isinstance(each, Prepare)] == [Prepare(1)]


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


# --- what the watched set follows


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
    assert isinstance(failure.error, UnwatchableModule)
    assert failure.error.module == "later.on"
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


# --- bridges that are replaced


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


def test_a_close_gives_calls_ten_seconds_where_none_is_cut_off_otherwise() -> None:
    world = started(drain_timeout=math.inf)
    old = world.begin_call()
    world.reload_now()
    world.advance(1000.0)
    assert (old.state, old.cut_off) == ("ready", False)
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


@pytest.mark.parametrize(
    "script",
    [
        lambda world: world.fail("promotion"),
        lambda world: world.fail("promote", at=0),
        lambda world: world.hang("swap"),
        lambda world: world.at("warmed", 1, world.close),
    ],
    ids=["fail", "place", "hang", "call"],
)
def test_a_fault_that_could_never_happen_is_refused(script: Callable[[world.World], None]) -> None:
    with pytest.raises(ValueError, match="never comes; expected one of stage, "):
        script(started())


def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="advance\\(\\) takes seconds from 0, found -1"):
        started().advance(-1.0)


@pytest.mark.parametrize("method", ["reload_now", "undo"])
def test_nothing_can_be_asked_for_before_the_start(method: str) -> None:
    with pytest.raises(WatchError, match="has not started"):
        getattr(world.World({}), method)()


def test_settling_tells_whether_what_is_on_disk_is_live() -> None:
    world = started(debounce=60.0, max_wait=60.0)
    assert world.settle()
    world.write("kept.py", TWO)
    begun = world.clock.now
    assert world.settle()
    assert (world.generation, world.clock.now) == (2, begun), "it waits for no debounce"
    world.write("kept.py", "def f(:\n")
    assert not world.settle()
    assert not world.settle(), "these bytes have failed, and are not tried again"
    assert types(world).count("reload-error") == 1
    world.write("kept.py", THREE)
    assert world.settle()


def test_a_world_can_wait_for_its_first_good_generation() -> None:
    world = World({**SOURCES, "kept.py": "def f(:\n"}, wait_for_first=True)
    world.start()
    assert (world.generation, world.status.stale, types(world)) == (0, True, ["reload-start", "reload-error"])
    assert not world.undo(), "there is nothing to go back to"
    assert not world.reload_now()
    world.write("kept.py", ONE)
    world.advance(0.2)
    assert (world.generation, world.status.stale) == (1, False)
