"""Limits of the system: an error says which one it is about and how to raise it, and work goes on without threads."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from lastgood.children.limits import advice, explain, free_descriptors, in_thread, is_about_a_limit
from lastgood.errors import BridgeError, PromotionError, WorkerDied
from scarcity import few_descriptors, no_threads


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def caused(cause: BaseException) -> BridgeError:
    error = BridgeError("it cannot be started")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (os_error(errno.EMFILE), "ulimit -n 4096"),
        (os_error(errno.ENFILE), "fs.file-max"),
        (os_error(errno.ENOMEM), "ulimit -v"),
        (MemoryError(), "ulimit -v"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
        (os_error(errno.ENOSPC), "df -h"),
        (os_error(errno.EDQUOT), "quota -s"),
        (os_error(errno.EROFS), "read-only"),
        (caused(os_error(errno.EAGAIN)), "--pids-limit"),
        (caused(caused(os_error(errno.EMFILE))), "ulimit -n"),
        (PromotionError("the wrappers could not be promoted: No space left on device."), "df -i"),
        (WorkerDied(1, "RuntimeError: can't start new thread"), "ulimit -u"),
        (WorkerDied(1, "OSError: [Errno 24] Too many open files"), "ulimit -n"),
    ],
    ids=str,
)
def test_the_limit_is_named_with_what_raises_it(error: BaseException, remedy: str) -> None:
    explain(error)
    explain(error)
    (note,) = error.__notes__
    assert remedy in note


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "no such file"),
        os_error(errno.EAGAIN),  # a lock that is held, a pipe without data
        ValueError("Too many open files, says the user's own code"),
        RuntimeError("something else"),
        WorkerDied(1, "BlockingIOError: [Errno 11] Resource temporarily unavailable"),
    ],
    ids=repr,
)
def test_any_other_error_is_left_as_it_is(error: BaseException) -> None:
    explain(error)
    assert advice(error) is None
    assert not hasattr(error, "__notes__")
    assert not is_about_a_limit(error)


def test_causes_in_a_circle_end() -> None:
    one, other = BridgeError("one"), BridgeError("other")
    one.__cause__, other.__cause__ = other, one
    assert advice(one) is None


async def test_what_no_thread_can_do_is_done_here() -> None:
    assert await in_thread(threading.current_thread) is not threading.current_thread()
    with no_threads():
        assert await in_thread(threading.current_thread) is threading.current_thread()
        assert await in_thread(int, "17") == 17


async def test_what_has_begun_in_a_thread_is_not_done_again() -> None:
    begun = []

    def start_another() -> None:
        begun.append(True)
        raise RuntimeError("can't start new thread")

    with pytest.raises(RuntimeError, match="new thread"):
        await in_thread(start_another)
    assert begun == [True]


def test_how_many_files_can_be_opened() -> None:
    with few_descriptors(0):
        assert free_descriptors()[0] == 0
    with few_descriptors(7):
        free, limit = free_descriptors()
        assert 6 <= free <= 7, "looking takes one"
        assert limit > free
