"""A place that a command leads to: its stdin and stdout are those of the host."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence

import trio

from lastgood.children.child import Child, exit_text
from lastgood.children.descriptors import enlarge, pipe
from lastgood.children.forks import FORKS
from lastgood.children.limits import explain
from lastgood.remote.link import lost_place

__all__ = ["CommandPlace"]

_READ = 1 << 18
_EXIT_WAIT = 1.0  # seconds from the end of its output to its exit
_GRACE = 0.5


class CommandPlace:
    """A place for one worker, which a command leads to, such as ``["docker", "exec", "-i", "box", "python3", "-c", BOOTSTRAP]``.

    The command runs here, beside the app and not longer than it, in ``env`` (None: the app's environment). Its stdin and stdout are
    those of the host; the end of what it writes to stderr is in the errors. ``name`` is for messages (default: its first words).
    """

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str] | None = None, name: str = "") -> None:
        if isinstance(command, str):
            raise TypeError("command is a sequence: a program and its arguments.")
        self._command = list(command)
        self._env = env
        self._name = name or " ".join([os.path.basename(self._command[0]), *self._command[1:2]])
        self._child: Child | None = None
        self._stdin: trio.lowlevel.FdStream | None = None
        self._stdout: trio.lowlevel.FdStream | None = None
        FORKS.add(self)

    def __str__(self) -> str:
        return self._name

    async def start(self) -> None:
        """See :class:`.Place`."""
        await trio.lowlevel.checkpoint()
        with FORKS.starting:
            theirs_in, ours_in = pipe()
            ours_out, theirs_out = pipe()
            try:
                self._child = Child(self._command, env=self._env, stdin=theirs_in, stdout=theirs_out)
            except (OSError, ValueError, RuntimeError) as error:  # the last: no thread can be started
                os.close(ours_in)
                os.close(ours_out)
                failure = lost_place(f"{self}: {self._cannot_start(error)}")
                explain(failure)
                raise failure from error
            finally:
                os.close(theirs_in)
                os.close(theirs_out)
            for descriptor in (ours_in, ours_out):
                enlarge(descriptor)
            self._stdin, self._stdout = trio.lowlevel.FdStream(ours_in), trio.lowlevel.FdStream(ours_out)

    def _cannot_start(self, error: Exception) -> str:
        """Return why the command cannot be started, as a sentence."""
        program = self._command[0]
        why = "there is no such command on PATH" if isinstance(error, FileNotFoundError) else str(error)
        return f"{program} cannot be started: {why}."

    async def send(self, data: bytes) -> None:
        """See :class:`.Place`."""
        assert self._stdin is not None
        try:
            await self._stdin.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def gone(self, received: Callable[[bytes], Awaitable[None]]) -> str:
        """See :class:`.Place`."""
        assert self._stdout is not None
        assert self._child is not None
        try:
            while chunk := await self._stdout.receive_some(_READ):
                await received(chunk)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return "it was removed"
        await self._child.exited(_EXIT_WAIT)
        await self._child.end(_GRACE)
        return self.reason(self._child.status, self._child.err.tail().strip())

    def reason(self, status: int | None, stderr: str) -> str:  # noqa: ARG002 - for the classes that derive from this
        """Return why the host is gone, by the exit status of the command and the end of its stderr: a clause."""
        assert self._child is not None
        return f"{os.path.basename(self._command[0])} {exit_text(self._child)}{f': {stderr}' if stderr else ''}"

    async def remove(self) -> None:
        """See :class:`.Place`."""
        for stream in (self._stdin, self._stdout):
            if stream is not None:
                await trio.aclose_forcefully(stream)
        if self._child is not None:
            await self._child.end(_GRACE)

    def leave_to_parent(self) -> list[int]:
        """See :class:`~lastgood.children.forks.Owner`."""
        streams = [each for each in (self._stdin, self._stdout) if each is not None]
        return [each.fileno() for each in streams if each.fileno() >= 0]
