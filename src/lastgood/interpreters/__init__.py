"""Interpreters perform the effects that the planner asks for; they make no decisions.

:mod:`~lastgood.interpreters.trio_interpreter` uses real files, processes and time;
:mod:`~lastgood.interpreters.memory` uses a dict, scripted bridges and a virtual clock.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from lastgood.effects import Action, Command

__all__ = ["Interpreter"]

Outcome = TypeVar("Outcome", covariant=True)


class Interpreter(Protocol[Outcome]):
    """The interface of an interpreter to a session. ``Outcome`` is an event, or an awaitable of one."""

    def perform(self, action: Action) -> Outcome:
        """Perform ``action`` and return its outcome as an event. A failure is an event, too."""
        ...

    def carry_out(self, command: Command) -> None:
        """Carry out ``command`` at once, without waiting."""
        ...
