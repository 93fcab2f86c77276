"""Interpreters do what the planner asks for (contract §8): :mod:`~lastgood.interpreters.trio_interpreter` for real, and
:mod:`~lastgood.interpreters.memory` on a dict, with scripted bridges and a virtual clock. Neither decides anything.
"""

from __future__ import annotations

from typing import Protocol

from lastgood.effects import Deed, Signal
from lastgood.planner.events import Event

__all__ = ["Interpreter"]


class Interpreter(Protocol):
    """What a session needs to have its effects done."""

    async def perform(self, deed: Deed) -> Event:
        """Do it, and say what came of it. Raises nothing of its own: a failure is an event."""
        ...

    def carry_out(self, signal: Signal) -> None:
        """Do it at once, without waiting."""
        ...
