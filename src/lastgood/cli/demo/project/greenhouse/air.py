"""The capacity of air for water. The table is built at import, which takes a moment: the time that a warm-up needs."""

from __future__ import annotations

_STEPS_PER_DEGREE = 20_000
_HIGHEST = 50


def _build() -> tuple[float, ...]:
    """Saturation vapour pressure in hPa at 0, 1, ... degrees Celsius, by integrating the Clausius-Clapeyron equation."""
    table = [6.112]
    kelvin, pressure, step = 273.15, 6.112, 1 / _STEPS_PER_DEGREE
    for _ in range(_HIGHEST):
        for _ in range(_STEPS_PER_DEGREE):
            latent_heat = 2.501e6 - 2370 * (kelvin - 273.15)
            pressure += step * latent_heat * pressure / (461.5 * kelvin * kelvin)
            kelvin += step
        table.append(pressure)
    return tuple(table)


SATURATION = _build()


def deficit(celsius: float, humidity: float) -> float:
    """Return how much more vapour the air could hold, in hPa; ``humidity`` in percent."""
    degree = min(max(round(celsius), 0), _HIGHEST)
    return SATURATION[degree] * (1 - humidity / 100)
