"""A game loop of 60 frames a second whose rules can be edited while it runs.

Run ``python game.py``, and edit rules.py: the next frame has the new rules, and the ball goes on from where it is. Break them, or
have their import take ten seconds: the frames go on by the last good rules. Ctrl-C ends it.
"""

from __future__ import annotations

import time
from pathlib import Path

import lastgood

CONFIG = Path(__file__).with_name("lastgood.toml")
FRAME = 1 / 60


def play(session: lastgood.ThreadedSession) -> None:
    """Show frames until Ctrl-C, and how long the longest one took."""
    from generated import rules

    ball, frames, longest = rules.Ball(), 0, 0.0
    begun = now = time.perf_counter()
    try:
        while True:
            ball = rules.step(ball, FRAME)
            line = (" " * int(ball.place) + ball.shape).ljust(60)
            print(f"|{line}| {'STALE' if session.status.stale else 'live'}", flush=True)
            frames += 1
            time.sleep(max(0.0, begun + frames * FRAME - time.perf_counter()))
            before, now = now, time.perf_counter()
            longest = max(longest, now - before)
    except KeyboardInterrupt:
        print(f"{frames} frames, the longest of {1000 * longest:.0f} ms")


if __name__ == "__main__":
    with lastgood.watch(CONFIG) as session:
        play(session)
