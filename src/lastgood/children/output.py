"""The output of a child: the last lines are kept, and all of it may be forwarded to the app's stderr."""

from __future__ import annotations

import os
import select
import sys
import threading

from lastgood.children.descriptors import above_standard, pipe
from lastgood.children.forks import FORKS

__all__ = ["LineMarker", "Output"]

_READ = 1 << 16
# A pipe that polls writable takes this much without blocking, so the thread can always be stopped.
_WRITE = select.PIPE_BUF if hasattr(select, "PIPE_BUF") else 512
_KEPT_BYTES = 16 * 1024
_KEPT_LINES = 64
_FINAL_READS = 16
_MAX_HELD = 1 << 20  # bytes
_CAN_POLL = hasattr(select, "poll")  # not on Windows
_JOIN = 1.0  # seconds to wait for the end of a pipe that cannot be polled
_LONGEST = 1 << 13  # bytes of a line to wait for its end
_PATIENCE = 500  # milliseconds to wait for the end of a line


class LineMarker:
    """Puts ``mark`` before each line, and keeps a line back until its end has come. No byte is altered."""

    def __init__(self, mark: bytes) -> None:
        self._mark = mark
        self._rest = b""
        self._is_in_line = False  # a part of a line was given already

    def holds(self) -> bool:
        """Return whether the beginning of a line is kept back."""
        return bool(self._rest)

    def feed(self, chunk: bytes) -> bytes:
        """Return what to write for a chunk of output."""
        if not self._mark:
            return chunk
        data, self._rest = self._rest + chunk, b""
        head = b""
        if self._is_in_line:
            end = data.find(b"\n") + 1
            if not end:
                return self._remarked(data)
            head, data = self._remarked(data[:end]), data[end:]
            self._is_in_line = False
        *lines, self._rest = data.split(b"\n")
        given = head + b"".join(self._mark + self._remarked(line) + b"\n" for line in lines)
        return given + self.flush() if len(self._rest) > _LONGEST else given

    def flush(self) -> bytes:
        """Return the beginning of a line, whose end may come later."""
        rest, self._rest = self._rest, b""
        if not rest:
            return b""
        self._is_in_line = True
        return self._mark + self._remarked(rest)

    def _remarked(self, part: bytes) -> bytes:
        """Put the mark where a progress bar begins its line anew, too."""
        if b"\r" not in part:
            return part
        body = part.rstrip(b"\r\n")
        return body.replace(b"\r", b"\r" + self._mark) + part[len(body) :]


class Output:
    """A pipe, and a thread that reads it.

    It is a thread so that output gets through while nobody waits for the child and while the app's event loop is busy. Give
    ``write_end`` to the child and then call :meth:`close_write_end`. :meth:`finish` ends the thread and closes the pipe, even
    while a grandchild still holds the other end. ``forward``: write everything to the app's stderr, too, each line after
    ``mark``; if it is ``held``, not before :meth:`release`. What is held waits in the pipe once it is more than 1 MiB.
    """

    def __init__(self, *, forward: bool, mark: bytes = b"", held: bool = False) -> None:
        self._held: bytearray | None = bytearray() if held else None
        self._kept = bytearray()
        self._is_cut = False
        self._marker = LineMarker(mark)
        self._source = self.write_end = self._wake = self._waker = self._target = -1
        self._thread = threading.Thread(target=self._run, name="lastgood-output", daemon=True)
        try:
            with FORKS.starting:
                FORKS.add(self)
                self._target = _app_stderr() if forward else -1
                self._source, self.write_end = pipe()
                self._wake, self._waker = pipe()
            self._thread.start()
        except BaseException:
            self.finish()
            raise

    def close_write_end(self) -> None:
        """Close this process's ``write_end``, which the child has inherited."""
        self.write_end = _closed(self.write_end)

    def leave_to_parent(self) -> list[int]:
        """See :class:`.Owner`."""
        return [self._source, self.write_end, self._wake, self._waker, self._target]

    def release(self) -> None:
        """Forward what was held, and what comes."""
        if self._waker >= 0:
            os.write(self._waker, b"r")

    def tail(self) -> str:
        """Return the last lines (at most 64, and 16 KiB)."""
        return "\n".join(self._text().splitlines()[-_KEPT_LINES:])

    def text(self) -> str:
        """Return everything, or the lines in the last 16 KiB after an ellipsis."""
        text = self._text()
        return f"…{text.partition(chr(10))[2] or text}" if self._is_cut else text

    def _text(self) -> str:
        return bytes(self._kept[-_KEPT_BYTES:]).decode(errors="replace")

    def finish(self) -> None:
        """Read what is there, end the thread, close everything. Return without waiting for more; may be called again."""
        self.close_write_end()
        self._waker = _closed(self._waker)
        if self._thread.ident is not None:
            self._thread.join(None if _CAN_POLL else _JOIN)
        if not self._thread.is_alive():
            self._source, self._wake, self._target = map(_closed, (self._source, self._wake, self._target))

    def _run(self) -> None:
        more = True
        if not _CAN_POLL:
            while more:
                more = self._read(may_wait=True)
            return
        source, wake, both = select.poll(), select.poll(), select.poll()
        for poll in (source, both):
            poll.register(self._source, select.POLLIN)
        for poll in (wake, both):
            poll.register(self._wake, select.POLLIN)
        while more:
            is_full = self._held is not None and len(self._held) > _MAX_HELD
            events = (wake if is_full else both).poll(_PATIENCE if self._marker.holds() else None)
            if self._woken(events):
                if not os.read(self._wake, 1):
                    break
                held, self._held = self._held, None
                self._forward(bytes(held or b""), may_wait=True)
            elif events:
                more = self._read(may_wait=True)
            else:
                self._forward(self._marker.flush(), may_wait=True)
        # finish() was called: read what is there, but no more, however fast a grandchild goes on writing.
        for _ in range(_FINAL_READS):
            if not (more and source.poll(0)):
                break
            more = self._read(may_wait=False)
        self._forward(self._marker.flush(), may_wait=False)

    def _woken(self, events: list[tuple[int, int]]) -> bool:
        return any(descriptor == self._wake for descriptor, _ in events)

    def _read(self, *, may_wait: bool) -> bool:
        """Keep and forward what is there; return False at the end of the pipe."""
        chunk = os.read(self._source, _READ)
        self._kept += chunk
        self._is_cut = self._is_cut or len(self._kept) > _KEPT_BYTES
        if len(self._kept) > 2 * _KEPT_BYTES:
            del self._kept[:-_KEPT_BYTES]
        self._forward(self._marker.feed(chunk), may_wait=may_wait)
        return bool(chunk)

    def _forward(self, data: bytes, *, may_wait: bool) -> None:
        if self._held is not None:
            self._held += data
            return
        if self._target < 0:
            return
        chunk = memoryview(data)
        poll = select.poll()
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


def _closed(descriptor: int) -> int:
    """Close a descriptor, if there is one; return -1."""
    if descriptor >= 0:
        os.close(descriptor)
    return -1


def _app_stderr() -> int:
    """Return a duplicate of the app's stderr descriptor, whose number cannot be reused; -1 if there is none."""
    try:
        return -1 if sys.__stderr__ is None else above_standard(os.dup(sys.__stderr__.fileno()))
    except (OSError, ValueError):
        return -1
