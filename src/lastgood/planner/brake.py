"""How often, and after what wait, a live bridge that is lost is made once more (contract §§3, 9)."""

from __future__ import annotations

__all__ = ["LOSSES_COUNT", "RESTART_WAITS", "counted", "restart_wait"]

RESTART_WAITS = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Seconds before a lost bridge is made once more: after the first loss within :data:`LOSSES_COUNT`, the second, and so on."""
LOSSES_COUNT = 60.0
"""Seconds for which a loss is remembered."""


def counted(losses: tuple[float, ...], at: float) -> tuple[float, ...]:
    """``losses``, as far as they still count, and one at ``at``; both in seconds since the epoch."""
    return (*(loss for loss in losses if at - loss < LOSSES_COUNT), at)


def restart_wait(losses: tuple[float, ...]) -> float | None:
    """Seconds until the bridge is made once more, after that many losses; None if they are too many."""
    return RESTART_WAITS[len(losses) - 1] if len(losses) <= len(RESTART_WAITS) else None
