"""Scripts for the ``World`` of lastgood.testing: a project, an edit, and what a test looks at afterwards."""

from __future__ import annotations

from collections.abc import Mapping

from lastgood.testing import ScriptedBridge, World
from lastgood.watch_events import ReloadError

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


def bridge_of(world: World) -> ScriptedBridge:
    assert world.bridge is not None
    return world.bridge


def texts(found: Wrappers) -> dict[str, str]:
    return {name: text for name, (text, _, _) in found.items()}
