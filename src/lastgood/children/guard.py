"""The guardian's program: ``python -I -S guard.py APP GRACE``, with a pipe as its stdin. See guardian.py.

Each line of input names a process group: ``+17`` adds one to guard, ``-17`` removes it. When the process with the pid APP has
gone, every guarded group gets SIGTERM, after GRACE seconds SIGKILL, and this program ends.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

_CHECK_INTERVAL = 0.01  # seconds between two checks


def guard(app: int, grace: float) -> None:
    """Guard process groups until the app has gone, then end them."""
    groups: set[int] = set()
    rest = b""
    gone = False
    poll = select.poll()
    poll.register(0, select.POLLIN)
    # EOF is not enough: a process that the app forked may hold the other end of the pipe and outlive the app.
    exit_of_app = open_exit(app)
    if exit_of_app >= 0:
        poll.register(exit_of_app, select.POLLIN)
    while True:
        gone = gone or os.getppid() != app
        # Read everything the app has sent, even if the app ended before this program started.
        ready = {descriptor for descriptor, _ in poll.poll(0 if gone else None)}
        if 0 in ready:
            chunk = os.read(0, 1 << 16)
            if not chunk:
                break
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                (groups.add if line[:1] == b"+" else groups.discard)(int(line[1:]))
        elif gone:
            break
        else:
            gone = exit_of_app in ready
    end(groups, grace)


def open_exit(pid: int) -> int:
    """Return a descriptor that is readable when a process has exited, also before it is reaped; -1 where the system has none.

    It is a pidfd on Linux, and a queue of kernel events on macOS and BSD.
    """
    try:
        return os.pidfd_open(pid)
    except AttributeError:
        return _open_exit_queue(pid)
    except OSError:
        return -1


def _open_exit_queue(pid: int) -> int:
    have = vars(select)  # no type checker on Linux knows these names
    if "kqueue" not in have:
        return -1
    try:
        queue = have["kqueue"]()
    except OSError:
        return -1
    try:
        ways = have["KQ_EV_ADD"] | have["KQ_EV_ONESHOT"]
        queue.control([have["kevent"](pid, have["KQ_FILTER_PROC"], ways, have["KQ_NOTE_EXIT"])], 0)
        return os.dup(queue.fileno())  # the object closes its own with its end
    except ProcessLookupError:  # it is exiting already
        return _readable()
    except OSError:
        return -1
    finally:
        queue.close()


def _readable() -> int:
    """Return a descriptor that is readable at once."""
    read_end, write_end = os.pipe()
    os.close(write_end)
    return read_end


def end(groups: set[int], grace: float) -> None:
    """End these process groups."""
    left = {group for group in groups if send_signal(group, signal.SIGTERM)}
    deadline = time.monotonic() + grace
    while left and time.monotonic() < deadline:
        time.sleep(_CHECK_INTERVAL)
        left = {group for group in left if send_signal(group, 0)}
    for group in left:
        send_signal(group, signal.SIGKILL)


def send_signal(group: int, number: int) -> bool:
    """Send a signal to a process group; return whether the group exists."""
    try:
        os.killpg(group, number)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    guard(int(sys.argv[1]), float(sys.argv[2]))
    os._exit(0)
