"""Places on this machine, for tests of workers elsewhere: the other side has a cache of its own, and none of the sources."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

from lastgood.config import Config, ModuleConfig, OutputConfig, ProcessConfig, RuntimeConfig
from lastgood.remote import BOOTSTRAP, CommandPlace, Place, RemoteBridge
from process_bridges import DEADLINE
from staged_project import StagedProject

__all__ = ["Elsewhere", "config_of"]


class _Bridge(RemoteBridge):
    lost_places: list[Place]

    def avoid(self, place: Place) -> None:
        self.lost_places.append(place)


class Elsewhere:
    """Another side, whose cache is below ``home``. ``lost``: the places that bridges had to avoid."""

    def __init__(self, home: Path, python: str | Path = sys.executable) -> None:
        self.home = home
        self.python = str(python)
        self.lost: list[Place] = []
        self.made: list[CommandPlace] = []

    @property
    def cache(self) -> Path:
        return self.home / "lastgood" / "remote"

    def place(self) -> CommandPlace:
        env = {**os.environ, "XDG_CACHE_HOME": str(self.home), "THERE": "yes"}
        self.made.append(CommandPlace([self.python, "-c", BOOTSTRAP], env=env, name="a place here"))
        return self.made[-1]

    def bridge(self, config: Config, **options: Any) -> RemoteBridge:
        """A bridge to it, for ``create_bridge``."""
        made = _Bridge(config, self.place, **{"ahead": "elsewhere", **options})
        made.lost_places = self.lost
        return made

    @asynccontextmanager
    async def running(self, staged: StagedProject, process: Any = None, **options: Any) -> AsyncIterator[RemoteBridge]:
        bridge = self.bridge(config_of(staged, **(process or {})), **options)
        with trio.fail_after(DEADLINE):
            await bridge.init()
            try:
                yield bridge
            finally:
                await bridge.dispose()


def config_of(staged: StagedProject, **process: Any) -> Config:
    """The config of a staged project, as a session would give it to ``create_bridge``."""
    return Config(
        path=staged.top / "lastgood.toml",
        python_import_path=staged.import_path,
        modules={name: ModuleConfig() for name in staged.modules},
        output=OutputConfig(dir=staged.top / "generated"),
        runtime=RuntimeConfig(process=msgspec.structs.replace(ProcessConfig(timeout=DEADLINE), **process)),
        pinned=staged.manifest,
    )
