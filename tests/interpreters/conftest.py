"""The time of a stage, and a gate that holds it up, for the tests of bounded stages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bounded_time import Gate, Time
from lastgood.interpreters import bounded_stage


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(bounded_stage, "_call_after", time.call_after)
    return time


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()
