"""A diary: what a user does, step by step, printed with the seconds since the beginning."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

__all__ = ["Diary"]


class Diary:
    """Prints its steps past pytest's capturing: a diary is also read when all is well."""

    def __init__(self, title: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._begun = time.monotonic()
        self._first: float | None = None
        self._print(f"\n\n{title}")

    def _print(self, line: str) -> None:
        with self._capsys.disabled():
            print(line, flush=True)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Print a step when it is done, with the seconds that it took."""
        begun = time.monotonic()
        yield
        now = time.monotonic()
        self._print(f"{now - self._begun:7.2f} s  {text} ({now - begun:.2f} s)")

    def first_success(self) -> None:
        """Print the seconds from nothing to the first success."""
        assert self._first is None
        self._first = time.monotonic() - self._begun
        self._print(f"           first success after {self._first:.2f} s")
