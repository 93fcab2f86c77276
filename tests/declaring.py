"""Modules as wrappers are: they declare the classes of a source. For tests that need no generated file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType

__all__ = ["declaring", "imported_as"]


@contextmanager
def imported_as(name: str, text: str) -> Iterator[ModuleType]:
    """A module of this name and text, in ``sys.modules`` for the block."""
    module = ModuleType(name)
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        exec(compile(text, f"<{name}>", "exec", dont_inherit=True), vars(module))
        yield module
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before


def declaring(source: str, text: str) -> AbstractContextManager[ModuleType]:
    """The wrapper of the module ``source``, for the block."""
    return imported_as(f"generated.{source}", f'__source__ = "{source}"\n{text}')
