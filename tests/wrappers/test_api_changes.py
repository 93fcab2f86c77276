"""``ReloadSuccess.changes``: what callers see differently than in the good generation before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import trio

from lastgood.config import Config
from lastgood.session.watch import WatchProgram
from lastgood.testing import World
from lastgood.watch_events import ApiChange, ReloadSuccess
from lastgood.wrappers import Generated
from real_project import DEADLINE, QUOTE, RealProject, Told

CONFIG = '[modules.pricing]\n[output]\ndir = "generated"\n'
OLD, NEW = "(sku: str) -> float", "(sku: str, number: int) -> float"
ALTERED = (ApiChange("altered", "function", "pricing", "quote", OLD, NEW, breaking=True),)
BACK = (ApiChange("altered", "function", "pricing", "quote", NEW, OLD, breaking=True),)
TWO = QUOTE.replace("sku: str", "sku: str, number: int")


def successes(told: Told) -> list[ReloadSuccess]:
    return [event for event in told.events if isinstance(event, ReloadSuccess)]


def told_by(world: World) -> tuple[ApiChange, ...]:
    """Those of the last success."""
    return next(event for event in reversed(world.events) if isinstance(event, ReloadSuccess)).changes


def world_of(text: str = QUOTE) -> World:
    world = World({"lastgood.toml": CONFIG, "pricing.py": text})
    world.start()
    return world


def edit(world: World, text: str, path: str = "pricing.py") -> tuple[ApiChange, ...]:
    world.write(path, text)
    assert world.reload_now()
    return told_by(world)


def test_a_first_start_has_nothing_to_compare_with() -> None:
    assert told_by(world_of()) == ()


def test_a_cycle_tells_what_it_changed_for_callers_and_the_next_nothing_of_it() -> None:
    world = world_of()
    assert edit(world, TWO) == ALTERED
    assert edit(world, TWO + "# a comment\n") == ()


def test_what_failed_in_between_does_not_count() -> None:
    world = world_of()
    world.fail("warm")
    world.write("pricing.py", TWO)
    assert not world.reload_now()
    assert edit(world, TWO + "\n") == ALTERED


def test_an_undo_has_the_reverse_changes() -> None:
    world = world_of()
    edit(world, TWO)
    assert world.undo()
    assert told_by(world) == BACK


def test_a_module_that_is_no_longer_named_takes_its_functions_along() -> None:
    world = world_of()
    assert edit(world, '[modules]\n[output]\ndir = "generated"\n', "lastgood.toml") == (
        ApiChange("removed", "function", "pricing", "quote", OLD, None, breaking=True),
    )


def test_another_output_directory_is_no_change_for_callers() -> None:
    world = world_of()
    assert edit(world, CONFIG.replace("generated", "elsewhere"), "lastgood.toml") == ()


async def test_a_start_compares_with_what_an_earlier_session_has_kept(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    with trio.fail_after(DEADLINE):
        async with start():
            pass
        project.save("pricing.py", TWO)
        async with start():
            pass
    assert successes(told)[-1].changes == ALTERED


async def test_with_a_generator_of_ones_own_there_are_none(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    def generate(_: Config, stage: Path) -> Generated:
        (stage / "pricing.py").write_text("")
        return Generated(("pricing.py",))

    with trio.fail_after(DEADLINE):
        async with start():
            pass
        project.save("pricing.py", TWO)
        async with start(generate=generate):
            pass
        async with start():
            pass
    assert [success.changes for success in successes(told)] == [(), (), ()]


async def test_what_was_kept_and_is_damaged_is_not_compared_with(
    project: RealProject, start: Callable[..., WatchProgram], told: Told
) -> None:
    with trio.fail_after(DEADLINE):
        async with start():
            pass
        for kept in (project.root / ".lastgood" / "generated" / "generations" / "objects").iterdir():
            kept.write_bytes(b"")
        project.save("pricing.py", TWO)
        async with start():
            pass
    assert successes(told)[-1].changes == ()


def test_a_function_that_becomes_a_stream_breaks_its_callers_and_back_again() -> None:
    world = world_of("def ask() -> int: ...\n")
    stream = "from collections.abc import Iterator\ndef ask() -> Iterator[int]: ...\n"
    text = "() -> collections.abc.Iterator[int]"
    assert edit(world, stream) == (
        ApiChange("altered", "function", "pricing", "ask", "() -> int", text, breaking=True),
    )
    wider = stream.replace("[int]", "[int | str]")
    (change,) = edit(world, wider)
    assert change.breaking
    (change,) = edit(world, stream)
    assert not change.breaking
    (change,) = edit(world, "def ask() -> int: ...\n")
    assert change.breaking
