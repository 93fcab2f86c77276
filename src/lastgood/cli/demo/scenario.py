"""The scenario of the demo, written to be read from top to bottom as an example of the API.

An app imports a generated wrapper once, and keeps calling it. Meanwhile the sources are edited: correctly, then with a syntax
error, then correctly while the app's own factory fails. Each step is followed by checks of what lastgood promises.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import lastgood
from lastgood.cli.demo.story import Story
from lastgood.runtime import get_runtime_bridge
from lastgood.store.disk import is_running

__all__ = ["play"]

NEW_FUNCTION = '''

def shade(celsius: float) -> bool:
    """Return whether to unroll the blinds."""
    return celsius > 32
'''


async def play(project: Path, story: Story) -> None:
    """Play the scenario in the directory ``project``. Raises at the first failed check."""
    source = project / "greenhouse" / "climate.py"
    wrappers = project / "greenhouse_wrappers"
    sensors = Sensors()

    def create_bridge(config: lastgood.Config) -> lastgood.ProcessBridge:
        if not sensors.connected:
            raise ConnectionError("the sensors do not answer")
        return lastgood.ProcessBridge.from_config(config)

    story.step("Start: wrappers are generated, a worker imports the modules and builds a table.")
    program = lastgood.watch(project / "lastgood.toml", create_bridge=create_bridge, on_event=story.on_event)
    async with program as session:
        app = App(importlib.import_module("greenhouse_wrappers.greenhouse.climate"))
        workers = [session.bridge.pid]
        story.check("the outcome", await story.outcome(app.call), "reload-success")
        story.check("the live generation", session.generation, 1)
        story.check("the wrapper's answer", await app.call(), 30)

        story.step("A good edit: the windows open further.")
        edit(source, "OPENING = 5", "OPENING = 10")
        story.check("the outcome", await story.outcome(app.call), "reload-success")
        workers.append(session.bridge.pid)
        story.check("the live generation", session.generation, 2)
        story.check("the answer of the wrapper imported before", await app.call(), 60)
        story.check("any other answers so far", app.take_answers() - {30, 60}, set())
        last_good = LastGood(session, wrappers)

        story.step("A syntax error: nothing can be generated.")
        edit(source, "OPENING = 10", "OPENING = (15")
        story.check("the outcome", await story.outcome(app.call), "reload-error at stage")
        story.check("the reported error", type(session.status.error), lastgood.GenerationError)
        await last_good.check(app, story)

        story.step("The syntax is right again, and there is a new function; but now the app's factory fails.")
        sensors.connected = False
        edit(source, "OPENING = (15", "OPENING = 15", add=NEW_FUNCTION)
        story.check("the outcome", await story.outcome(app.call), "reload-error at warm")
        story.check("the reported error", type(session.status.error), ConnectionError)
        await last_good.check(app, story)

        story.step("The fix: the sensors are back, and the next edit is reloaded.")
        sensors.connected = True
        edit(source, "OPENING = 15", "OPENING = 15.0")
        story.check("the outcome", await story.outcome(app.call), "reload-success")
        workers.append(session.bridge.pid)
        story.check("the live generation", session.generation, 3)
        story.check("stale", session.status.stale, False)
        story.check("the answer of the wrapper imported before", await app.call(), 90)
        story.check("any other answers meanwhile", app.take_answers() - {60, 90}, set())
        story.check(
            "the new function is wrapped", b"async def shade(" in contents(wrappers)["greenhouse/climate.py"], True
        )

    story.step("The end: the session is closed.")
    story.check("worker processes left", [pid for pid in workers if is_running(pid)], [])
    story.check("a bridge left", published(), None)
    story.end(f"{app.calls} calls went through the wrapper that was imported at the start, and each was answered.")


# --- the app and its parts


class Sensors:
    """Sensors that the app's factory needs."""

    connected = True


class App:
    """An app that imported a wrapper once, and calls it."""

    def __init__(self, climate: ModuleType) -> None:
        self._climate = climate
        self._answers: set[int] = set()
        self.calls = 0

    async def call(self) -> int:
        """Ask how far to open the windows at 30 degrees. Exceptions are not caught: the demo would fail."""
        answer: int = await self._climate.window(30.0)
        self._answers.add(answer)
        self.calls += 1
        return answer

    def take_answers(self) -> set[int]:
        """Return every distinct answer since the last call of this method."""
        answers, self._answers = self._answers, set()
        return answers


class LastGood:
    """A snapshot of what is live, to compare with after failures."""

    def __init__(self, session: lastgood.Session, wrappers: Path) -> None:
        self._session = session
        self._wrappers = wrappers
        self._bridge = session.bridge
        self._generation = session.generation
        self._contents = contents(wrappers)
        self._times = times(wrappers)

    async def check(self, app: App, story: Story) -> None:
        """Check after a failure that everything live is unchanged, and that the session is stale."""
        session = self._session
        story.check("stale", session.status.stale, True)
        story.check("the live generation", session.generation, self._generation)
        story.check("the live bridge is the same object", session.bridge is self._bridge, True)
        story.check("the published bridge is the same object", get_runtime_bridge().bridge is self._bridge, True)
        story.check("wrappers whose bytes changed", changed(self._contents, contents(self._wrappers)), [])
        story.check("wrappers whose mode or time changed", changed(self._times, times(self._wrappers)), [])
        story.check("the wrapper's answer", await app.call(), 60)
        story.check("any other answers meanwhile", app.take_answers() - {60}, set())


# --- helpers


def edit(source: Path, old: str, new: str, *, add: str = "") -> None:
    """Save ``source`` as editors do: write a new file, then rename it over the old one."""
    text = source.read_text(encoding="utf-8")
    fresh = source.with_name(f"{source.name}~")
    fresh.write_text(text.replace(old, new) + add, encoding="utf-8")
    fresh.replace(source)


def contents(directory: Path) -> dict[str, bytes]:
    """Return the bytes of every file except cached bytecode."""
    return {name: path.read_bytes() for name, path in _files(directory).items()}


def times(directory: Path) -> dict[str, tuple[int, int]]:
    """Return the mode and modification time of every file."""
    found = {name: path.stat() for name, path in _files(directory).items()}
    return {name: (stat.st_mode, stat.st_mtime_ns) for name, stat in found.items()}


def _files(directory: Path) -> dict[str, Path]:
    files = (path for path in directory.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(directory).as_posix(): path for path in files}


def changed(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """Return the names whose values differ."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def published() -> lastgood.Bridge | None:
    """Return the bridge that wrappers would call; None if none is published."""
    try:
        return get_runtime_bridge().bridge
    except lastgood.NoRuntimeBridge:
        return None
