"""The plan of one cycle, which is complete before the cycle starts, and its printed form."""

from __future__ import annotations

from dataclasses import dataclass

from lastgood.effects.cycle import Action, Dispose, Promote, Rollback, Stage, Swap, Warm

__all__ = ["Plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """The actions of ``cycle``, in order. ``undo_timeout``: the limit, in seconds, of a rollback that has to wait."""

    cycle: int
    actions: tuple[Action, ...]
    undo_timeout: float

    def undo(self, action: Action) -> Rollback | None:
        """Return the rollback that undoes ``action``, completed or not; None if there is nothing to undo."""
        return Rollback(action, self.undo_timeout) if isinstance(action, Stage | Promote | Warm) else None

    def undo_through(self, failed: Action) -> tuple[Rollback, ...]:
        """Return the rollbacks of all actions up to and including ``failed``, in reverse order."""
        reached = self.actions[: self.actions.index(failed) + 1]
        return tuple(undo for action in reversed(reached) if (undo := self.undo(action)) is not None)

    def after(self, action: Action) -> tuple[Action, ...]:
        """Return the actions after ``action``."""
        return self.actions[self.actions.index(action) + 1 :]

    def __str__(self) -> str:
        lines = [f"cycle {self.cycle}"]
        for number, action in enumerate(self.actions, 1):
            lines.append(f"  {number}. {action.name:<8} {action}")
            undo = self.undo(action)
            if undo is not None:
                lines.append(f"     {'':<8} undo: {undo}")
            elif isinstance(action, Dispose) and action.makes_way:
                lines.append(f"     {'':<8} undo: create it again, once all else is undone")
            elif isinstance(action, Swap):
                lines.append(f"     {'':<8} no undo: what comes after it can only lead to a notice")
        return "\n".join(lines)
