"""``lastgood demo``: a real session on a small real project, with real edits. Its example is :mod:`~lastgood.cli.demo.scenario`."""

from __future__ import annotations

from lastgood.cli.demo.story import run

__all__ = ["run"]
