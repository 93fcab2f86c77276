"""The driver between events and an interpreter: it gives events to the planner and queues the effects that result.

Commands are carried out as they come; actions wait in a queue and are taken one at a time. A failed action and an
:class:`~lastgood.effects.Interrupt` clear the queue, because the planner's answer replaces the remaining actions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from lastgood import effects
from lastgood.planner import State, plan
from lastgood.planner.events import Event, Failed

__all__ = ["Driver"]


class Driver:
    """The state of a session and the queue of its actions.

    ``carry_out(command)`` is called for each command; for an Interrupt, only while an action runs.
    """

    def __init__(self, state: State, carry_out: Callable[[effects.Command], None]) -> None:
        self.state = state
        self.running: effects.Action | None = None
        self.interrupted = False
        self._carry_out = carry_out
        self._queue: deque[effects.Action] = deque()
        self._inbox: deque[Event] = deque()
        self._answering = False

    def handle(self, event: Event) -> None:
        """Give ``event`` to the planner, and queue its effects. A nested call only puts the event in the inbox."""
        self._inbox.append(event)
        if self._answering:
            return
        self._answering = True
        try:
            while self._inbox:
                self._answer(self._inbox.popleft())
        finally:
            self._answering = False

    def _answer(self, event: Event) -> None:
        if isinstance(event, Failed):
            self._queue.clear()
        step = plan(self.state, event)
        self.state = step.state
        for effect in step.effects:
            match effect:
                case (
                    effects.Stage()
                    | effects.Promote()
                    | effects.Warm()
                    | effects.Swap()
                    | effects.Dispose()
                    | effects.Restart()
                    | effects.Watch()
                    | effects.Rollback()
                    | effects.Release()
                ):
                    self._queue.append(effect)
                case effects.Interrupt():
                    self._interrupt(effect)
                case _:
                    self._carry_out(effect)

    def _interrupt(self, effect: effects.Interrupt) -> None:
        if self.running is not None:
            self._queue.clear()
            self._carry_out(effect)
            return
        # No action runs yet: the first one is reported as interrupted without being performed.
        while len(self._queue) > 1:
            self._queue.pop()
        self.interrupted = True

    def take(self) -> effects.Action | None:
        """Return the next action, which counts as running until :meth:`finish`; None if there is none, or if it is held."""
        is_next = self._queue and not self.state.is_held(self._queue[0])
        self.running = self._queue.popleft() if is_next else None
        return self.running

    def finish(self, outcome: Event) -> None:
        """Report ``outcome``, the result of the running action."""
        self.running = None
        self.interrupted = False
        self.handle(outcome)
