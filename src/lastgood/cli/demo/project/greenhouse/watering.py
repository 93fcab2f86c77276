"""The pump."""

from __future__ import annotations

from .air import deficit

THIRST = 0.04  # litres for each square metre and hPa


def litres(celsius: float, humidity: float, *, square_metres: float = 10.0) -> float:
    """Return the litres of water for an hour."""
    return round(THIRST * deficit(celsius, humidity) * square_metres, 2)
