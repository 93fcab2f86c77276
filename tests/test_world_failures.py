"""A failure at every operation, in the world of lastgood.testing: the last good generation stays live."""

from __future__ import annotations

from itertools import takewhile

import pytest

from lastgood.errors import BridgeError, GenerationError, PromotionError, UnmanagedFile
from lastgood.session.session import Status
from lastgood.testing import World
from lastgood.watch_events import Recovered, ReloadSuccess, RollbackFailed
from world_scripts import (
    AFTER_SWAP,
    BEFORE_SWAP,
    BROKEN,
    GOOD,
    ONE,
    SOURCES,
    THREE,
    TWO,
    config,
    edit,
    failures,
    named,
    not_disposed,
    start_operations,
    started,
    types,
    wrappers,
)


def caused_by(error: BaseException, cause: BaseException) -> bool:
    """Whether it is the very object, or an error of ours that says so of a file operation."""
    return error is cause or (isinstance(error, PromotionError) and error.__cause__ is cause)


# --- when something fails


def test_every_broken_module_is_named() -> None:
    world = started()
    world.write("kept.py", BROKEN)
    world.write("same.py", BROKEN)
    world.advance(0.1)
    [failure] = failures(world)
    assert isinstance(failure.error, GenerationError)
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
    world.write("same.py", TWO)  # without an edit a stage has a single operation
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


@pytest.mark.parametrize("at", [1, 2, 3])
def test_what_is_left_after_a_swap_has_the_time_of_a_stage_and_the_cycle_is_good(at: int) -> None:
    world = started(stage_timeout=7.0)
    edit(world)
    begun = world.clock.now
    world.hang("watch", at)
    assert world.reload_now()
    assert world.clock.now - begun == 7.0
    assert (world.status.stale, world.generation) == (False, 2)
    assert world.reload_now()
    assert (world.leftovers, world.generation) == ((), 3)


@pytest.mark.parametrize("back", ["later", "while the next one waits"])
def test_an_edit_whose_stage_could_only_wait_is_tried_when_the_earlier_one_is_back(back: str) -> None:
    world = started(stage_timeout=7.0)
    world.hang("stage", 1, stuck=True)
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


# --- rollbacks that fail


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


def test_a_stage_that_could_not_be_removed_goes_with_the_next_cycle() -> None:
    world = started()
    edit(world)
    world.fail("stage", last("stage"))
    world.fail("rollback", 1)
    world.advance(0.1)
    assert [event for event in world.events if isinstance(event, RollbackFailed)]
    assert world.leftovers != ()
    world.fail("warm")
    assert not world.reload_now()
    assert world.leftovers == ()
