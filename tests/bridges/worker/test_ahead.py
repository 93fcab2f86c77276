"""lastgood.bridges.worker.ahead: what makes a worker that has run ahead useless, however it came about."""

from __future__ import annotations

import _thread
import threading

import pytest

from lastgood.bridges.worker import ahead
from lastgood.bridges.worker.ahead import Ahead


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Ahead:
    """One that observes this process, without an audit hook."""
    made = Ahead((), waits=lambda _: None, taken=lambda _: None, refused=lambda *_: None)
    monkeypatch.setattr(made, "_threads", _thread._count(), raising=False)
    monkeypatch.setattr(ahead, "getitimer", lambda _: (0.0, 0.0))  # the tests' own timeout is one
    return made


def test_one_that_is_young_and_alone_has_no_problem(running: Ahead) -> None:
    assert running._problem() is None


def test_one_that_is_too_old(running: Ahead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "MAX_AGE", -1.0)
    assert running._problem() == "the spare was older than -1 s"


def test_one_with_a_thread(running: Ahead) -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    assert running._problem() == "a thread of the program was running"
    done.set()
    thread.join()
