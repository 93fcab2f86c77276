"""A worker's stdout and stderr: forward them to the app's stderr, and keep the last lines for the error if it dies."""

from __future__ import annotations

import os
import select
import sys
import threading

__all__ = ["StderrPump"]

_READ = 1 << 16
# A pipe that polls writable takes this much without blocking, so the pump can always be stopped.
_WRITE = select.PIPE_BUF if hasattr(select, "PIPE_BUF") else 512
_KEPT_BYTES = 16 * 1024
_KEPT_LINES = 64
_FINAL_READS = 16


class StderrPump:
    """A pipe, and a thread that reads it.

    It is a thread so that output gets through while nobody awaits the bridge and while the app's event loop is busy. Give
    ``write_end`` to the worker and then call :meth:`start`. :meth:`finish` ends the thread and closes the pipe, even while a
    grandchild still holds the other end.
    """

    def __init__(self) -> None:
        self._source, self.write_end = os.pipe()
        try:
            self._wake, self._waker = os.pipe()
        except OSError:
            os.close(self._source)
            os.close(self.write_end)
            raise
        os.set_blocking(self._source, False)
        self._target = _app_stderr()
        self._kept = bytearray()
        self._thread: threading.Thread | None = None

    def start(self, name: str) -> None:
        """Close this process's ``write_end``, which the worker has inherited, and start the thread."""
        self._close_write_end()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def tail(self) -> str:
        """Return the last lines (at most 64, and 16 KiB)."""
        lines = bytes(self._kept[-_KEPT_BYTES:]).decode(errors="replace").splitlines()
        return "\n".join(lines[-_KEPT_LINES:])

    def finish(self) -> None:
        """Read what is there, end the thread, close everything. Return without waiting for more; may be called again."""
        self._close_write_end()
        if self._waker < 0:
            return
        os.close(self._waker)
        self._waker = -1
        if self._thread is not None:
            self._thread.join()
        for descriptor in (self._source, self._wake, self._target):
            if descriptor >= 0:
                os.close(descriptor)

    def _close_write_end(self) -> None:
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def _run(self) -> None:
        source, both = select.poll(), select.poll()
        source.register(self._source, select.POLLIN)
        both.register(self._source, select.POLLIN)
        both.register(self._wake, select.POLLIN)
        more = True
        while more and not self._woken(both.poll()):
            more = self._pump(may_wait=True)
        # finish() was called: read what is there, but no more, however fast a grandchild goes on writing.
        for _ in range(_FINAL_READS):
            if not (more and source.poll(0)):
                break
            more = self._pump(may_wait=False)

    def _woken(self, events: list[tuple[int, int]]) -> bool:
        return any(descriptor == self._wake for descriptor, _ in events)

    def _pump(self, *, may_wait: bool) -> bool:
        """Forward what is there; return False at the end of the pipe."""
        try:
            chunk = os.read(self._source, _READ)
        except BlockingIOError:
            return True
        if not chunk:
            return False
        self._kept += chunk
        if len(self._kept) > 2 * _KEPT_BYTES:
            del self._kept[:-_KEPT_BYTES]
        self._forward(memoryview(chunk), may_wait)
        return True

    def _forward(self, chunk: memoryview, may_wait: bool) -> None:
        poll = select.poll()
        if self._target < 0:
            return
        poll.register(self._target, select.POLLOUT)
        poll.register(self._wake, select.POLLIN)
        while chunk:
            events = poll.poll(None if may_wait else 0)
            may_wait = may_wait and not self._woken(events)
            if not any(descriptor == self._target for descriptor, _ in events):
                if may_wait:
                    continue
                return  # nobody reads the app's stderr, and finish() must not block
            try:
                chunk = chunk[os.write(self._target, chunk[:_WRITE]) :]
            except BlockingIOError:
                continue
            except OSError:
                return  # the app's stderr is gone; the tail is still kept


def _app_stderr() -> int:
    """Return a duplicate of the app's stderr descriptor, whose number cannot be reused; -1 if there is none."""
    try:
        return -1 if sys.__stderr__ is None else os.dup(sys.__stderr__.fileno())
    except (OSError, ValueError):
        return -1
