"""What is done with the model. This is the module to edit."""

from __future__ import annotations

from weights import WEIGHTS

SCALE = 10


def predict(text: str) -> float:
    """Return how good a text sounds."""
    return SCALE * sum(WEIGHTS.get(word, 0.0) for word in text.split())
