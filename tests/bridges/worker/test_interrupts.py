"""Exposing a thread to an interrupt, and shielding it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from lastgood.bridges.worker.interrupts import Exposure, Interrupted, Shield


class Thread:
    """A thread that runs one call, and the lock under which it is interrupted."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.exposure = Exposure(self.lock)
        self.shield = Shield()
        self.shield.bind(self.exposure)
        self.exposure.expose()

    def interrupt(self) -> None:
        with self.lock:
            self.exposure.interrupt()


def in_a_thread(work: Callable[[], object]) -> None:
    """Run ``work`` in a thread of its own, and raise what it raises."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # also what an interrupt leaves
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def step() -> None:
    """Let Python look for an interrupt."""


def test_an_exposed_thread_is_interrupted_at_its_next_step() -> None:
    def work() -> None:
        thread = Thread()
        with pytest.raises(Interrupted):
            thread.interrupt()
            step()
        thread.exposure.cover()
        step()

    in_a_thread(work)


def test_a_thread_that_is_not_exposed_is_not_interrupted() -> None:
    def work() -> None:
        thread = Thread()
        thread.exposure.cover()
        thread.interrupt()
        step()
        with pytest.raises(Interrupted):
            thread.exposure.expose()
        thread.exposure.expose()  # it is interrupted once

    in_a_thread(work)


def test_a_shielded_thread_is_interrupted_when_the_shield_ends() -> None:
    done = []

    def work() -> None:
        thread = Thread()
        with pytest.raises(Interrupted), thread.shield:
            thread.interrupt()
            step()
            done.append("the whole step")
        thread.exposure.cover()

    in_a_thread(work)
    assert done == ["the whole step"]


def test_a_shield_within_the_workers_own_code_exposes_nothing() -> None:
    def work() -> None:
        thread = Thread()
        thread.exposure.cover()
        with thread.shield:
            step()
        thread.interrupt()
        step()

    in_a_thread(work)


def test_a_shield_in_a_thread_without_calls_does_nothing() -> None:
    shield = Shield()
    with shield:
        step()
