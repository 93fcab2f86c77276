"""A worker's process: start it, notice its exit, end it and all it started."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path

import trio

from lastgood.bridges.stderr import StderrPump
from lastgood.bridges.worker.values.arena import make_arena
from lastgood.children.group import is_readable, open_pidfd
from lastgood.children.guardian import GUARDIAN
from lastgood.errors import BridgeError
from lastgood.sources.environment import Environment

__all__ = ["Child"]

_MAIN = Path(__file__).with_name("worker") / "main.py"
_POLL = 0.005  # seconds between polls, on systems without pidfds
_REAP = 1.0  # seconds for the kernel to release a killed process


class Child:
    """A worker process in a process group of its own, so that Ctrl-C in the app's terminal does not reach it.

    Start it on the thread that runs the app's event loop: the kernel kills the worker when the *thread* that started it ends
    (see worker/parent.py). So no worker survives a killed app. A short-lived thread would kill the worker of a living app.

    ``requests`` and ``answers`` are the app's ends of the two pipes; ``arenas`` are descriptors of the outgoing and the
    incoming arena (-1: none). Their user closes them. ``pidfd`` is readable when the process has exited (-1: pidfds are not
    supported, or :meth:`end` was called). Raises :class:`BridgeError` with the interpreter's name if it cannot be started.
    """

    @trio.lowlevel.enable_ki_protection
    def __init__(self, environment: Environment) -> None:
        self.status: int | None = None
        self._app = os.getpid()
        try:
            with ExitStack() as undo, ExitStack() as theirs:
                self._stderr = StderrPump()
                undo.callback(self._stderr.finish)
                theirs_in, self.requests = _pipe(theirs, undo)
                theirs_out, self.answers = reversed(_pipe(undo, theirs))
                self.arenas = make_arena(), make_arena()
                for arena in self.arenas:
                    if arena >= 0:
                        undo.callback(os.close, arena)
                shared = [theirs_in, theirs_out, *self.arenas]
                self._process = subprocess.Popen(
                    [environment.python, "-u", str(_MAIN), *map(str, shared), str(os.getpid())],
                    stdin=subprocess.DEVNULL,
                    stdout=self._stderr.write_end,
                    stderr=self._stderr.write_end,
                    pass_fds=[descriptor for descriptor in shared if descriptor >= 0],
                    env=environment.env,
                    cwd=environment.cwd,
                    start_new_session=True,
                )
                undo.pop_all()
        except (OSError, ValueError) as error:
            raise BridgeError(_cannot_start(environment.python, error)) from error
        self.pid = self._process.pid
        self.pidfd = open_pidfd(self.pid)
        GUARDIAN.add(self.pid)
        self._stderr.start(f"lastgood-stderr-{self.pid}")

    def tail(self) -> str:
        """Return the last lines that it printed."""
        return self._stderr.tail()

    def has_exited(self) -> bool:
        """Return whether it has exited."""
        if self.pidfd >= 0:
            return is_readable(self.pidfd, 0)
        return self._process.poll() is not None

    def is_stopped(self) -> bool:
        """Return whether it is stopped by a signal."""
        with suppress(
            ChildProcessError, AttributeError
        ):  # somebody else has reaped it; macOS has no waitid before Python 3.13
            ways = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
            return self.status is None and os.waitid(os.P_PID, self.pid, ways) is not None
        return False

    async def exited(self, within: float) -> bool:
        """Wait at most ``within`` seconds for its exit; return whether it has exited. One task at a time."""
        with trio.move_on_after(within):
            if self.pidfd >= 0:
                await trio.lowlevel.wait_readable(self.pidfd)
            else:
                while self._process.poll() is None:  # noqa: ASYNC110 - without pidfds, an exit can only be polled
                    await trio.sleep(_POLL)
            return True
        return False

    def offspring(self) -> list[int]:
        """Return a pidfd for each running direct child that is in its process group. The caller closes them."""
        started: list[int] = []
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{self.pid}/task"):
                with open(f"/proc/{self.pid}/task/{thread}/children") as file:
                    started += map(int, file.read().split())
        return [pidfd for pid in started if _group_of(pid) == self.pid and (pidfd := open_pidfd(pid)) >= 0]

    def companions(self) -> list[int]:
        """Return a pidfd for each other process in its process group, by a search of /proc. The caller closes them."""
        running: list[int] = []
        with suppress(OSError):
            running += (int(name) for name in os.listdir("/proc") if name.isdecimal())
        others = (pid for pid in running if pid != self.pid and _group_of(pid) == self.pid)
        return [pidfd for pid in others if (pidfd := open_pidfd(pid)) >= 0]

    def signal(self, number: int) -> None:
        """Send a signal to its process group."""
        # After it has been reaped, its pid may be reused. In a forked child of the app, the workers belong to the parent.
        if self._process.returncode is None and os.getpid() == self._app:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    @trio.lowlevel.enable_ki_protection
    def end(self) -> bool:
        """Kill what is left, reap it, close everything; return False if it has not exited yet. May be called again."""
        if self.status is None:
            self.signal(signal.SIGKILL)
            # Usually it has exited. If the caller waited on a virtual clock, it may need some more real time.
            with suppress(subprocess.TimeoutExpired):
                self.status = self._process.wait(_REAP)
        self._stderr.finish()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        GUARDIAN.remove(self.pid)
        return self.status is not None


def _pipe(read_end: ExitStack, write_end: ExitStack) -> tuple[int, int]:
    """Make a pipe, each end of which is closed with its stack."""
    ends = os.pipe()
    for descriptor, stack in zip(ends, (read_end, write_end), strict=True):
        stack.callback(os.close, descriptor)
    return ends


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


def _cannot_start(python: str, error: Exception) -> str:
    match error:
        case FileNotFoundError():
            why = "there is no such file"
        case PermissionError():
            why = "it may not be executed"
        case _:
            why = str(error)
    return (
        f"The worker's interpreter {python} cannot be started: {why}. Set python under [runtime.process] in the config."
    )
