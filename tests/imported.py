"""Modules that a test has imported into this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["forgotten"]


@contextmanager
def forgotten(directory: Path) -> Iterator[None]:
    """Afterwards ``sys.modules`` has nothing from ``directory``, and ``sys.path`` is what it was."""
    path = [*sys.path]
    try:
        yield
    finally:
        sys.path[:] = path
        for name, module in [*sys.modules.items()]:
            places = [getattr(module, "__file__", None), *(getattr(module, "__path__", None) or ())]
            if any(Path(place).is_relative_to(directory) for place in places if place is not None):
                del sys.modules[name]
