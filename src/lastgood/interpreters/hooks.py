"""The functions that a session is given, and the outcome of a stopped action. It is read where there is no trio, too."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from lastgood.config import Config

__all__ = ["Beginning", "Hooks", "Interrupted", "is_async"]


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


def is_async(function: Callable[..., object]) -> bool:
    """Return whether calling ``function`` gives something to await."""
    call = getattr(function, "__call__", None)  # noqa: B004  # an object with an async __call__ counts
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
