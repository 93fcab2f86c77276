"""A program beside the app: start it, notice its exit, end it with all that it has started."""

from __future__ import annotations

import math
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import trio

from lastgood.children.descriptors import above_standard
from lastgood.children.forks import FORKS
from lastgood.children.guard import open_exit
from lastgood.children.guardian import GUARDIAN
from lastgood.children.output import Output
from lastgood.errors import Blame

__all__ = ["KILL_WAIT", "Child", "exit_text"]

KILL_WAIT = 5.0
"""Seconds from SIGKILL to the exit; a process that takes longer is stuck in the kernel."""

_POLL = 0.005  # seconds between polls, where no descriptor tells of an exit
_REAP = 1.0  # seconds for the kernel to release a killed process


class Child:
    """A program in a process group of its own, so that Ctrl-C in the app's terminal does not reach it.

    Start one that dies with its app (see bridges/worker/parent.py) on the thread that runs the app's event loop: the kernel
    kills it when the *thread* that started it ends. A short-lived thread would kill it while the app lives.

    ``out`` and ``err`` have the end of its output. If ``output`` is given, it is both, and becomes this object's own. It has no
    input, unless ``stdin`` is a descriptor of the caller's; nor is what it writes to ``stdout``, if that is one, in ``out``. The
    descriptors in ``pass_fds`` are above those of the standard streams (:mod:`lastgood.children.descriptors`).
    ``may_have_children`` is false for a program that dies with its app, and starts no process before its owner has called
    ``GUARDIAN.begin()`` and told it to go on.
    ``pidfd`` is readable when the process has exited (-1: the system has no such descriptors, or :meth:`kill` was called); on
    macOS it is a queue of kernel events. ``gone``: it has exited, and was killed or ended here; ``status`` is then the exit
    status as in :mod:`subprocess`, or None if it is not known, because the app ignores SIGCHLD or has waited for all its children
    itself. :meth:`signal` is thread-safe. Raises :class:`OSError`, or :class:`ValueError` for a null character, if it cannot be
    started.
    """

    death = ""
    blame: Blame | None = None

    @trio.lowlevel.enable_ki_protection
    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        output: Output | None = None,
        pass_fds: Sequence[int] = (),
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = None,
        may_have_children: bool = True,
    ) -> None:
        self.status: int | None = None
        self.gone = False
        self._exit_status: int | None = None
        self._app = os.getpid()
        self._reaping = threading.Lock()
        with FORKS.starting:
            self._start(arguments, output, pass_fds, cwd, env, stdin, stdout)
            GUARDIAN.add(self.pid, at_once=may_have_children)
            FORKS.add(self)

    def _start(
        self,
        arguments: Sequence[str | Path],
        output: Output | None,
        pass_fds: Sequence[int],
        cwd: str | Path | None,
        env: Mapping[str, str] | None,
        stdin: int,
        stdout: int | None,
    ) -> None:
        with ExitStack() as undo:
            self.out = output or Output(forward=False)
            undo.callback(self.out.finish)
            self.err = output or (Output(forward=False) if stdout is None else self.out)
            undo.callback(self.err.finish)
            self._process = subprocess.Popen(
                arguments,
                stdin=stdin,
                stdout=self.out.write_end if stdout is None else stdout,
                stderr=self.err.write_end,
                pass_fds=pass_fds,
                cwd=cwd,
                env=env,
                start_new_session=True,
            )
            undo.pop_all()
        self.out.close_write_end()
        self.err.close_write_end()
        self.pid = self._process.pid
        self.pidfd = _open_pidfd(self.pid)

    def leave_to_parent(self) -> list[int]:
        """See :class:`.Owner`. Only the parent can wait for the process."""
        self._process.returncode = self._process.returncode or 0
        return [self.pidfd]

    def has_exited(self, within: float = 0) -> bool:
        """Wait at most ``within`` seconds for its exit, blocking this thread; return whether it has exited."""
        if not self.gone and self.pidfd >= 0:
            poll = select.poll()  # select() takes no descriptor above 1023
            poll.register(self.pidfd, select.POLLIN)
            return bool(poll.poll(within * 1000))
        deadline = time.monotonic() + within
        while not (over := self._is_over()) and time.monotonic() < deadline:
            time.sleep(_POLL)
        return over

    async def exited(self, within: float = math.inf) -> bool:
        """Wait at most ``within`` seconds for its exit; return whether it has exited."""
        with trio.move_on_after(within):
            # Several tasks may wait, and each needs its own descriptor. The pid may be another process's by now.
            pidfd = _copied(self.pidfd)
            if pidfd >= 0:
                try:
                    await trio.lowlevel.wait_readable(pidfd)
                finally:
                    os.close(pidfd)
            while not self.has_exited():  # noqa: ASYNC110 - without pidfds, an exit can only be polled
                await trio.sleep(_POLL)
        return self.has_exited()

    def is_stopped(self) -> bool:
        """Return whether it is stopped by a signal."""
        with suppress(ChildProcessError, AttributeError):  # as in _is_over()
            ways = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
            return not self.gone and os.waitid(os.P_PID, self.pid, ways) is not None
        return False

    def signal(self, number: int) -> None:
        """Send a signal to its process group."""
        # In a forked child of the app, the process belongs to the parent. After it has been reaped, its pid may be reused.
        if os.getpid() == self._app:
            with self._reaping, suppress(ProcessLookupError, PermissionError):
                if self._process.returncode is None:
                    os.killpg(self.pid, number)

    async def end(self, grace: float, *, patience: float = 0) -> bool:
        """End it and its process group: SIGTERM, SIGKILL after ``grace`` seconds, reap. Return False if it still exists.

        It has ``patience`` seconds to exit before the SIGTERM, which is sent to what it started in any case. If cancelled,
        send SIGKILL at once.
        """
        companions: list[int] = []
        try:
            exited = await self.exited(patience)
            companions = self._companions()
            if companions or not exited:
                self.signal(signal.SIGTERM)
                with trio.move_on_after(grace):
                    await self.exited()
                    for pidfd in companions:
                        await trio.lowlevel.wait_readable(pidfd)
        finally:
            for pidfd in companions:
                os.close(pidfd)
            if not self.has_exited():
                self.signal(signal.SIGKILL)
                with trio.CancelScope(shield=True):
                    await self.exited(KILL_WAIT)
            self.kill()
        return self.gone

    @trio.lowlevel.enable_ki_protection
    def kill(self) -> None:
        """Kill its process group, reap it, close everything, blocking this thread a moment. May be called again."""
        if not self.gone:
            if hasattr(os, "killpg"):
                self.signal(signal.SIGKILL)
            else:
                self._process.kill()  # Windows has no process groups
            # Usually it has exited. If the caller waited on a virtual clock, it may need some more real time.
            deadline = time.monotonic() + _REAP
            if self.has_exited(_REAP):
                while not self._try_reaping() and time.monotonic() < deadline:
                    time.sleep(_POLL)  # kqueue tells of an exit a moment before the status can be had
        self.out.finish()
        self.err.finish()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        GUARDIAN.remove(self.pid)

    def _try_reaping(self) -> bool:
        with self._reaping:
            self.gone = self._reap()
            self.status = self._exit_status
        return self.gone

    def _is_over(self) -> bool:
        """Return whether it has exited, without a pidfd, and without reaping it if the system can."""
        if self.gone:
            return True
        with self._reaping:
            try:
                return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
            except ChildProcessError:  # somebody else has reaped it
                return True
            except AttributeError:  # macOS has no waitid before Python 3.13, and nor has Windows
                return self._reap()

    def _reap(self) -> bool:
        """Reap it if it has exited, and return whether it has. :mod:`subprocess` takes a status that it does not get for 0."""
        if self._process.returncode is not None:
            return True
        if os.name != "posix":
            self._exit_status = self._process.poll()
            return self._exit_status is not None
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            self._process.returncode = 0  # it must not be waited for again
            return True
        if pid:
            self._process.returncode = self._exit_status = os.waitstatus_to_exitcode(status)
        return bool(pid)

    def _companions(self) -> list[int]:
        """Return a pidfd for each other process in its process group, by a search of /proc. The caller closes them."""
        running: list[int] = []
        if not self.gone:
            with suppress(OSError):
                running += (int(name) for name in os.listdir("/proc") if name.isdecimal())
        others = (pid for pid in running if pid != self.pid and _group_of(pid) == self.pid)
        return [pidfd for pid in others if (pidfd := _open_pidfd(pid)) >= 0]


def exit_text(child: Child) -> str:
    """Return how a process ended, that was to be ended: the predicate of a sentence."""
    status = child.status
    if status is None:
        return "ended with a status that is not known" if child.gone else "could not be killed"
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal has no name
        return f"was killed by signal {-status}"


def _open_pidfd(pid: int) -> int:
    """Return a descriptor that is readable when the process has exited; -1 where the system has none, or no room for it."""
    try:
        descriptor = open_exit(pid)
        return descriptor if descriptor < 0 else above_standard(descriptor)
    except OSError:
        return -1


def _copied(descriptor: int) -> int:
    """Return a copy of a descriptor; -1 if there is none, or no room for it."""
    try:
        return -1 if descriptor < 0 else above_standard(os.dup(descriptor))
    except OSError:
        return -1


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1
