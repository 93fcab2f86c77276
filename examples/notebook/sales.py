"""Functions for the notebook. Edit them, and run its cells again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Summary:
    """What a column of numbers comes to."""

    count: int
    total: float
    mean: float


def summarize(amounts: list[float]) -> Summary:
    """Summarize a column of numbers."""
    return Summary(len(amounts), sum(amounts), sum(amounts) / len(amounts))
