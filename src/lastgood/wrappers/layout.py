"""Brackets broken over lines as ruff and Black break them, so that formatting the wrappers changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["WIDTH", "Brackets", "lay_out"]

WIDTH = 88  # ruff's and Black's own


@dataclass(frozen=True, slots=True)
class Brackets:
    """``items`` between ``open`` and ``close``, separated by commas.

    ``hugs``: broken up, several items may share one line (as arguments do, and the items of a list do not).
    """

    open: str
    items: Sequence[str | Brackets]
    close: str
    hugs: bool = False

    def __str__(self) -> str:
        comma = "," if len(self.items) == 1 and self.open == "(" and not self.hugs else ""
        return f"{self.open}{', '.join(map(str, self.items))}{comma}{self.close}"


def lay_out(item: str | Brackets, indent: str, before: str = "", after: str = "") -> list[str]:
    """The lines of ``before + item + after``: one if it fits, else broken at the brackets of ``item``."""
    line = f"{indent}{before}{item}{after}"
    if len(line) <= WIDTH or isinstance(item, str) or not item.items:
        return [line]
    inner = indent + "    "
    lines = [f"{indent}{before}{item.open}"]
    shared = inner + ", ".join(map(str, item.items))
    if item.hugs and len(item.items) > 1 and len(shared) <= WIDTH:
        lines.append(shared)
    else:
        for part in item.items:
            lines += lay_out(part, inner, after=",")
    return [*lines, f"{indent}{item.close}{after}"]
