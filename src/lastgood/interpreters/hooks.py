"""The functions that a session is given, what is begun before its first stage is done, and the outcome of a stopped action."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import trio
from msgspec import Struct

from lastgood.config import Config
from lastgood.errors import BridgeError, LastgoodError
from lastgood.interpreters.project import Project

__all__ = ["Beginning", "EarlyStart", "Hooks", "Interrupted", "is_async"]

logger = logging.getLogger(__name__)


class Interrupted(Exception):  # an outcome rather than an error
    """The outcome of an action that was stopped because the session ends or a cycle takes precedence. No user sees it."""


class Beginning(Protocol):
    """What was begun for the first bridge."""

    async def run_ahead(self, config: Config, last_good: Callable[[], Path | None]) -> None:
        """Do with it what can be done ahead, if an earlier session has left a good generation; ``last_good()`` may block."""
        ...

    async def end(self) -> None:
        """End it, unless the bridge has it. Raises :class:`BridgeError` if that does not succeed."""
        ...


class Hooks(Struct, frozen=True):
    """The functions that the user has given to :func:`lastgood.watch`. ``generate`` None: the built-in generator."""

    create_bridge: Callable[[Config], Any]
    generate: Callable[[Config, Path], Any] | None = None
    probe: Callable[[Any], Any] | None = None
    set_as_global: bool = False
    begin: Callable[[Config], Beginning] | None = None
    """Begin what ``create_bridge`` will go on with, before the first stage is done; raises :class:`LastgoodError`."""


class EarlyStart:
    """The first bridge of a session, as far as it can be begun before the first stage is done."""

    def __init__(self, begin: Callable[[Config], Beginning] | None, project: Project, nursery: trio.Nursery) -> None:
        self._begin = begin
        self._project = project
        self._nursery = nursery
        self._begun: Beginning | None = None

    def begin(self) -> None:
        """Begin the first bridge, if its config is known."""
        config = self._project.expected
        if self._begin is not None and config is not None:
            try:
                self._begun = self._begin(config)
            except (LastgoodError, OSError):  # raised again when the bridge is created
                logger.debug("the first bridge could not be begun", exc_info=True)
            else:
                self._nursery.start_soon(self._run_ahead, self._begun, config)

    @trio.lowlevel.enable_ki_protection
    async def _run_ahead(self, begun: Beginning, config: Config) -> None:
        try:
            await begun.run_ahead(config, self._project.last_good)
        except BridgeError:  # the bridge is created without
            logger.debug("the program of the last good generation could not be run ahead", exc_info=True)

    async def end(self) -> None:
        """End what the bridge did not take."""
        begun, self._begun = self._begun, None
        try:
            if begun is not None:
                await begun.end()
        except BridgeError:
            logger.exception("what was begun for the first bridge could not be ended")


def is_async(function: Callable[..., object]) -> bool:
    """Return whether calling ``function`` gives something to await."""
    call = getattr(function, "__call__", None)  # noqa: B004  # an object with an async __call__ counts
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
