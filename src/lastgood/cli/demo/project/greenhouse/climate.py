"""The windows."""

from __future__ import annotations

OPENING = 5  # percent for each degree above COMFORTABLE
COMFORTABLE = 24.0


def window(celsius: float) -> int:
    """Return how far to open the windows, in percent."""
    too_warm = max(0.0, celsius - COMFORTABLE)
    return min(100, round(too_warm * OPENING))
