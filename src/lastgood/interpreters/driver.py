"""The queue of effects, common to every interpreter: events in, the planner's answers out, in the right order.

Commands are followed as they come; actions wait in the queue and are taken one at a time. An action that failed and an
:class:`~lastgood.effects.Interrupt` drop what is left of it, for the planner's answer replaces it (contract §8).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from lastgood.effects import (
    Action,
    Command,
    Dispose,
    Interrupt,
    Promote,
    Release,
    Restart,
    Rollback,
    Stage,
    Swap,
    Warm,
    Watch,
)
from lastgood.planner import State, plan
from lastgood.planner.events import Event, Failed

__all__ = ["Driver"]


class Driver:
    """``follow(command)`` is called for each command; an Interrupt reaches it only while an action runs."""

    def __init__(self, state: State, follow: Callable[[Command], None]) -> None:
        self.state = state
        self.running: Action | None = None
        self.interrupted = False
        self._follow = follow
        self._queue: deque[Action] = deque()
        self._inbox: deque[Event] = deque()
        self._telling = False

    def tell(self, event: Event) -> None:
        """Have the planner answer ``event``. One that is told from within waits for its turn."""
        self._inbox.append(event)
        if self._telling:
            return
        self._telling = True
        try:
            while self._inbox:
                self._answer(self._inbox.popleft())
        finally:
            self._telling = False

    def _answer(self, event: Event) -> None:
        if isinstance(event, Failed):
            self._queue.clear()
        step = plan(self.state, event)
        self.state = step.state
        for effect in step.effects:
            match effect:
                case Stage() | Promote() | Warm() | Swap() | Dispose() | Restart() | Watch() | Rollback() | Release():
                    self._queue.append(effect)
                case Interrupt():
                    self._interrupt(effect)
                case _:
                    self._follow(effect)

    def _interrupt(self, effect: Interrupt) -> None:
        if self.running is not None:
            self._queue.clear()
            self._follow(effect)
            return
        # Nothing runs yet: the first action is told as interrupted, without being done.
        while len(self._queue) > 1:
            self._queue.pop()
        self.interrupted = True

    def take(self) -> Action | None:
        """The next action, which runs from now on until :meth:`finish`; None if there is nothing to do."""
        self.running = self._queue.popleft() if self._queue else None
        return self.running

    def finish(self, outcome: Event) -> None:
        """The action that ran has come to ``outcome``."""
        self.running = None
        self.interrupted = False
        self.tell(outcome)
