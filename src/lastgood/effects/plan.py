"""The plan of one cycle, which is complete before the cycle starts, and its printed form."""

from __future__ import annotations

from dataclasses import dataclass

from lastgood.effects.cycle import Action, Promote, Rollback, Stage, Swap, Warm

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

    @property
    def until_commit(self) -> tuple[Action, ...]:
        """The actions up to and including the swap."""
        return self.actions[: self._committed]

    @property
    def after_commit(self) -> tuple[Action, ...]:
        """The actions after the swap."""
        return self.actions[self._committed :]

    @property
    def _committed(self) -> int:
        return next(number for number, action in enumerate(self.actions, 1) if isinstance(action, Swap))

    def __str__(self) -> str:
        lines = [f"cycle {self.cycle}"]
        for number, action in enumerate(self.actions, 1):
            lines.append(f"  {number}. {action.name:<8} {action}")
            undo = self.undo(action)
            if undo is not None:
                lines.append(f"     {'':<8} undo: {undo}")
            elif isinstance(action, Swap):
                lines.append(f"     {'':<8} no undo: what comes after it can only lead to a notice")
        return "\n".join(lines)
