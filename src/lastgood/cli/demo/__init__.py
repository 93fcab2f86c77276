"""``lastgood demo``: a real session on a small project, with real edits.

:mod:`~lastgood.cli.demo.scenario` has the code to read as an example.
"""

from __future__ import annotations

from lastgood.cli.demo.story import run

__all__ = ["run"]
