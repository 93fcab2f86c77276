"""Interpreters do what the planner asks for (contract §8): :mod:`~lastgood.interpreters.trio_interpreter` for real, and
:mod:`~lastgood.interpreters.memory` on a dict, with scripted bridges and a virtual clock. Neither decides anything.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from lastgood.effects import Action, Command

__all__ = ["Interpreter"]

Outcome = TypeVar("Outcome", covariant=True)


class Interpreter(Protocol[Outcome]):
    """What a session needs to have its effects done. ``Outcome`` is an event, or an awaitable of one."""

    def perform(self, action: Action) -> Outcome:
        """Do it, and say what came of it. A failure is an event, too."""
        ...

    def carry_out(self, command: Command) -> None:
        """Do it at once, without waiting."""
        ...
