"""``lastgood demo``: a real session on a small real project, with real edits. Read :mod:`~lastgood.demo.scenario` as an example."""

from __future__ import annotations

from lastgood.demo.story import run

__all__ = ["run"]
