"""The plan of one cycle, whole before the cycle starts, and how it prints."""

from __future__ import annotations

from dataclasses import dataclass

from lastgood.effects.cycle import Deed, Promote, Rollback, Stage, Swap, Warm

__all__ = ["Plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """The deeds of ``cycle``, in order. ``undo_timeout`` seconds bound each undoing that waits for something."""

    cycle: int
    deeds: tuple[Deed, ...]
    undo_timeout: float

    def undo(self, deed: Deed) -> Rollback | None:
        """What undoes ``deed``, done or half-done; None where there is nothing to undo."""
        return Rollback(deed, self.undo_timeout) if isinstance(deed, Stage | Promote | Warm) else None

    def undo_through(self, failed: Deed) -> tuple[Rollback, ...]:
        """What undoes everything up to and including ``failed``, the last first."""
        reached = self.deeds[: self.deeds.index(failed) + 1]
        return tuple(undo for deed in reversed(reached) if (undo := self.undo(deed)) is not None)

    def after(self, deed: Deed) -> tuple[Deed, ...]:
        """What comes after ``deed``."""
        return self.deeds[self.deeds.index(deed) + 1 :]

    def __str__(self) -> str:
        lines = [f"cycle {self.cycle}"]
        for number, deed in enumerate(self.deeds, 1):
            lines.append(f"  {number}. {deed.name:<8} {deed}")
            undo = self.undo(deed)
            if undo is not None:
                lines.append(f"     {'':<8} undo: {undo}")
            elif isinstance(deed, Swap):
                lines.append(f"     {'':<8} no undo: what comes after it can only lead to a notice")
        return "\n".join(lines)
