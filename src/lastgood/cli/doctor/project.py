"""The checks of the config, of what it names, and of the worker's interpreter."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import trio
from msgspec import Struct

from lastgood.cli.doctor.machine import Said
from lastgood.cli.generating import count_text
from lastgood.config import Config, load_config
from lastgood.interpreters.once import preview
from lastgood.interpreters.project import Project
from lastgood.interpreters.watching import places
from lastgood.session.error_texts import listed, nearby
from lastgood.sources.environment import find_environment
from lastgood.sources.resolution import resolve_modules, worker_interpreter
from lastgood.store.disk import Disk
from lastgood.wrappers.process.extractor_process import ExtractorProcess

__all__ = ["Examined", "interpreter", "modules", "the_config", "worker", "wrappers"]

_START_TIMEOUT = 30.0
"""Seconds for the start of a worker that imports nothing."""


class Examined(Struct):
    """The project that is looked at, as far as it could be read."""

    config: Config | None = None
    project: Project | None = None
    has_interpreter: bool = False
    has_modules: bool = False

    def known(self) -> tuple[Config, Project]:
        """Return both; only what needs them is called where they are there."""
        assert self.config is not None
        assert self.project is not None
        return self.config, self.project

    def watched(self) -> tuple[list[Path], list[Path]]:
        """Return the directories that a session would watch with all below them, and those that it would watch by themselves."""
        resolution = None if self.project is None else self.project.resolution
        if resolution is None:
            return [], [] if self.config is None else [self.config.path.parent]
        trees, alone = places(resolution.watch)
        return sorted(trees), sorted(alone)

    def directories(self) -> int | None:
        """Count the directories that a session would watch; None if they are not known."""
        if self.project is None or self.project.resolution is None:
            return None
        trees, alone = self.watched()
        return len(alone) + sum(1 for tree in trees for _ in os.walk(tree))

    def release(self) -> None:
        """Release what the project holds."""
        if self.project is not None:
            self.project.release()


def near(path: Path) -> str:
    """Return a path relative to the working directory, if it lies below it."""
    return nearby(path, Path.cwd())


def the_config(examined: Examined, config_file: Callable[[], Path]) -> Said:
    """Read the config."""
    path = config_file()
    config = load_config(path)
    examined.config = config
    examined.project = Project(Disk(), path, (), load_config, worker_interpreter, os.getpid(), ExtractorProcess())
    if config.modules or config.generators:
        where = "it asks for no wrappers" if config.output.dir is None else f"wrappers go to {near(config.output.dir)}"
        yield "ok", f"{near(path)} is valid; {where}", ""
    else:
        yield "warn", f"{near(path)} names no module", "Name the modules that the app calls under [modules]."


def interpreter(examined: Examined) -> Said:
    """Ask the worker's interpreter which one it is."""
    config, project = examined.known()
    found = find_environment(config.runtime.process)
    version = ".".join(map(str, project.ask_interpreter(config.runtime.process).version))
    examined.has_interpreter = True
    whose = ", as lastgood does" if found.own else f", {near(Path(found.python))}"
    yield "ok", f"workers run Python {version}{whose}", ""


def worker(examined: Examined) -> Said:
    """Start a worker that imports nothing."""
    from lastgood.bridges.process import ProcessBridge

    config, _ = examined.known()
    if not examined.has_interpreter:
        return
    process = msgspec.structs.replace(config.runtime.process, pool=1, spare=False)
    alone = msgspec.structs.replace(
        config, modules={}, runtime=msgspec.structs.replace(config.runtime, process=process)
    )

    async def start() -> None:
        bridge = ProcessBridge.from_config(alone)
        with trio.fail_after(_START_TIMEOUT):
            await bridge.init()
        await bridge.dispose()

    began = time.perf_counter()
    try:
        trio.run(start)
    except trio.TooSlowError:
        text = f"a worker that imports nothing was not ready within {_START_TIMEOUT:g} s"
        yield (
            "wrong",
            text,
            "See what the interpreter does at its start: a sitecustomize, .pth files, a slow file system.",
        )
        return
    yield "ok", f"a worker starts and ends in {time.perf_counter() - began:.1f} s", ""


def modules(examined: Examined) -> Said:
    """Look for each module that the config names."""
    config, project = examined.known()
    if not examined.has_interpreter:
        return
    found = resolve_modules(config, project.finder(config))
    examined.has_modules = True
    names = sorted(found)
    yield (
        "ok",
        f"{listed(names)} {'is' if len(names) == 1 else 'are'} found" if names else "there is none to look for",
        "",
    )


def wrappers(examined: Examined) -> Said:
    """Compare the wrappers with their sources, as ``lastgood generate --check`` does."""
    _, project = examined.known()
    if not examined.has_modules:
        return
    would = preview(project)
    stale = len(would.written) + len(would.removed)
    warned = f"; {len(would.warnings)} warnings, which it prints" if would.warnings else ""
    if stale:
        text = f"{count_text(stale, 'file')} out of date in {near(would.output)}"
        yield "warn", text, f'Run "lastgood generate", or "lastgood watch"{warned}.'
    else:
        yield "ok", f"{count_text(len(would.unchanged), 'file')} up to date in {near(would.output)}", ""
