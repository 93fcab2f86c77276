"""Copies of what examples/ has, for tests that run and edit them."""

from __future__ import annotations

from pathlib import Path

from real_project import RealProject

__all__ = ["EXAMPLES", "copy_of"]

EXAMPLES = Path(__file__).parents[1] / "examples"

_MADE = {"generated", ".lastgood", "__pycache__", ".venv", ".pytest_cache", "node_modules", "site"}
"""Directories that somebody who tried an example has left there."""


def copy_of(example: str, root: Path) -> RealProject:
    """Return a copy of an example, below ``root``."""
    there = EXAMPLES / example
    files = [path for path in sorted(there.rglob("*")) if path.is_file() and not _MADE & {*path.parts}]
    assert files, there
    return RealProject(root, {path.relative_to(there).as_posix(): path.read_text("utf-8") for path in files})
