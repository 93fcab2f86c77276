"""The rules of the game. Edit them while it runs: the ball goes on from where it is."""

from __future__ import annotations

from dataclasses import dataclass

SPEED = 20.0


@dataclass
class Ball:
    """A ball on a line of 60 places."""

    place: float = 0.0
    direction: int = 1
    shape: str = "o"


def step(ball: Ball, seconds: float) -> Ball:
    """Return where the ball is after so many seconds."""
    place = ball.place + ball.direction * SPEED * seconds
    if 0 <= place < 60:
        return Ball(place, ball.direction)
    return Ball(min(max(place, 0.0), 59.0), -ball.direction)
