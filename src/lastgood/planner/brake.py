"""Restart policy: how often a lost live bridge is restarted, and after which delay."""

from __future__ import annotations

__all__ = ["LOSSES_COUNT", "RESTART_WAITS", "count_loss", "restart_wait"]

RESTART_WAITS = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Delays in seconds before a restart: after the first loss within :data:`LOSSES_COUNT`, after the second, and so on."""
LOSSES_COUNT = 60.0
"""Seconds after which a loss is forgotten."""


def count_loss(losses: tuple[float, ...], at: float) -> tuple[float, ...]:
    """Return ``losses`` without those that are too old, plus one at ``at``; all in seconds since the epoch."""
    return (*(loss for loss in losses if at - loss < LOSSES_COUNT), at)


def restart_wait(losses: tuple[float, ...]) -> float | None:
    """Return the delay in seconds before the next restart; None if there were too many losses to restart at all."""
    return RESTART_WAITS[len(losses) - 1] if len(losses) <= len(RESTART_WAITS) else None
