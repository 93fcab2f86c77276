"""Forks of the app: what a forked child leaves to its parent, and that none is made in the midst of a start."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lastgood.children import forks
from lastgood.children.child import Child
from lastgood.children.forks import Forks

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")


class Pipe:
    def __init__(self) -> None:
        self.ends = os.pipe()

    def leave_to_parent(self) -> tuple[int, ...]:
        return (*self.ends, -1)

    def is_left(self) -> bool:
        return all(os.readlink(f"/proc/self/fd/{end}") == os.devnull for end in self.ends)

    def close(self) -> None:
        for end in self.ends:
            os.close(end)


def in_child(check: Callable[[], bool]) -> bool:
    """What ``check`` says in a forked child."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if check() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_child_has_none_of_its_parents_descriptors_and_their_numbers_stay_taken() -> None:
    found, pipe = Forks(), Pipe()
    found.add(pipe)

    def left_and_closed() -> bool:
        was_left = pipe.is_left()
        pipe.close()  # as a finaliser may
        return was_left

    assert in_child(left_and_closed)
    os.write(pipe.ends[1], b"x")
    assert os.read(pipe.ends[0], 1) == b"x"
    pipe.close()


def test_what_a_child_has_made_itself_is_left_to_it_by_its_own_children() -> None:
    found, pipe = Forks(), Pipe()
    found.add(pipe)

    def of_the_grandchild() -> bool:
        pipe.close()
        mine = Pipe()  # has the numbers of the parent's
        return mine.ends == pipe.ends and in_child(lambda: not mine.is_left())

    assert in_child(of_the_grandchild)
    pipe.close()


def test_no_process_is_forked_while_another_thread_starts_one() -> None:
    made: list[Pipe] = []
    starting, forking = threading.Event(), threading.Event()
    found = Forks()

    def start() -> None:
        with found.starting:
            starting.set()
            forking.wait()
            made.append(Pipe())
            found.add(made[0])

    os.register_at_fork(before=forking.set)  # runs before the hooks that were registered earlier
    thread = threading.Thread(target=start)
    thread.start()
    starting.wait()
    assert in_child(lambda: bool(made) and made[0].is_left())
    thread.join()
    made[0].close()


def test_a_start_that_hangs_holds_no_fork_up_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "_PATIENCE", 0.01)
    found = Forks()
    starting, over = threading.Event(), threading.Event()

    def start() -> None:
        with found.starting:
            starting.set()
            over.wait()

    thread = threading.Thread(target=start)
    thread.start()
    starting.wait()
    assert in_child(lambda: found.starting.acquire(blocking=False))
    over.set()
    thread.join()


def test_a_start_may_fork() -> None:
    found = Forks()
    with found.starting:
        assert in_child(lambda: True)
    assert found.starting.acquire(blocking=False)
    found.starting.release()


def test_a_child_may_end_what_its_parent_has_started(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    child = Child(["sh", "-c", f"sleep 1000; touch {gone}"])

    def kill() -> bool:
        child.kill()
        return child.gone and child.status is None  # only the parent can know it

    assert in_child(kill)
    assert not child.has_exited()
    child.kill()
    assert child.status == -9
