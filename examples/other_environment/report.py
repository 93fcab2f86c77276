"""It runs in the environment .venv, which has humanize. The app need not have it, and may be another Python."""

from __future__ import annotations

import sys

import humanize


def size(count: int) -> str:
    """Return a number of bytes in words."""
    return humanize.naturalsize(count)


def environment() -> str:
    """Return the directory of the environment that this runs in."""
    return sys.prefix
