"""lastgood.children.turns: shorter turns of the interpreter while a thread of lastgood's works."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from lastgood.children.limits import in_thread
from lastgood.children.turns import SHORT_TURNS

SHORT = pytest.approx(0.0005)


@pytest.fixture(autouse=True)
def before() -> Iterator[float]:
    before = sys.getswitchinterval()
    yield before
    sys.setswitchinterval(before)


async def test_turns_are_short_while_a_thread_works_and_as_long_as_before_afterwards(before: float) -> None:
    assert await in_thread(sys.getswitchinterval) == SHORT
    assert sys.getswitchinterval() == before


async def test_the_last_thread_that_ends_makes_them_as_long_as_before(before: float) -> None:
    end = trio.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(in_thread, trio.from_thread.run, end.wait)
        await trio.testing.wait_all_tasks_blocked()
        assert await in_thread(sys.getswitchinterval) == SHORT
        assert sys.getswitchinterval() == SHORT
        end.set()
    assert sys.getswitchinterval() == before


def test_what_the_app_sets_itself_stays() -> None:
    with SHORT_TURNS:
        sys.setswitchinterval(0.02)
    assert sys.getswitchinterval() == pytest.approx(0.02)


def test_turns_that_are_shorter_already_stay_so() -> None:
    sys.setswitchinterval(0.0001)
    with SHORT_TURNS:
        assert sys.getswitchinterval() == pytest.approx(0.0001)
    assert sys.getswitchinterval() == pytest.approx(0.0001)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_forked_child_has_what_was_before(before: float) -> None:
    with SHORT_TURNS:
        child = os.fork()
        if not child:
            os._exit(0 if sys.getswitchinterval() == before else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
