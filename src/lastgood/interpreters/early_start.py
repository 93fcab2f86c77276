"""The first bridge of a session is begun before the first stage is done."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from lastgood.config import Config
from lastgood.errors import BridgeError, LastgoodError
from lastgood.interpreters.hooks import Beginning
from lastgood.interpreters.project import Project

__all__ = ["EarlyStart"]

logger = logging.getLogger(__name__)


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

    def run_ahead(self) -> None:
        """Go on with the first bridge, once the output directory is claimed."""
        begun, config = self._begun, self._project.expected
        if begun is not None and config is not None:
            self._nursery.start_soon(self._run_ahead, begun, config)

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
