"""Frames: the messages on the two pipes between an app and its worker. Both sides import this file.

A frame is a header (length of the body, kind, number of the call) and a body. Every CALL gets exactly one answer, even if
nobody waits for it any more, so both sides know which calls are open. Calls begin in the order in which they arrive. At
most ``threads`` run at once, not counting those that are APART or forgotten. So both sides know which calls have begun,
unless a stream is open: a plain one takes a turn among the calls for each of its items, so the worker sends BEGAN then.
FORGET for an unanswered STREAM or TAKE closes the stream as well.

    app -> worker   SETUP      body: packed {"import_path": [...], "modules": {name: selection}, "pinned": path of a
                               manifest or None, "codes": directory of cached compiled code or None,
                               "threads": calls that run at once, "grace": seconds the worker gets to exit,
                               "async_backend": "asyncio" or "trio", "server": what serve/worker/ is told, if it is to serve};
                               answered when the worker is ready, with the paths of the installed modules that it has loaded.
                               It is the first frame, or follows AHEAD
                    AHEAD      body: that of a SETUP, with "focus": [path of a file that is likely to be edited next, ...] and
                               "later": [path of an installed module that the program imports, ...]; the worker runs
                               this generation's program ahead of a SETUP (ahead.py); answered with the place where it
                               waits for that
                    CALL       body: length of the target, the target ("module\\0function"), packed [args, kwargs] or
                               [args, kwargs, [[module, name], ...]] to find out which values of the result are
                               instances of these classes (see requested.py)
                    FORGET     no body: nobody waits for the answer to this call any more
                    READ       no body: the app has read the part of this call's answer that is in the arena
                    PIN        number 0; body: packed [path, source] of a local module that another worker of the
                               bridge has LOADED
                    STREAM     body: that of a CALL of a function that gives an iterator. The number is the stream's from
                               then on; answered with its first items
                    TAKE       body: the number of a stream; answered with its next items. It is sent once all earlier
                               items were taken
                    CLOSE      body: the number of a stream, which is closed; answered with RESULT or RAISED
                    INTERFACE  body: packed [[[module, function], ...], [module, ...]]; answered with what these are in the
                               worker (interface.py)
                    SERVE      body: packed [name, argument], a command for the server of a worker that has one (serve/worker/);
                               answered when it is done, unless the number is 0
                    LEVELS     number 0; body: packed {logger: level}, which the app's loggers have from now on
    worker -> app   RESULT     body: the packed value
                    RAISED     body: packed [type, message, traceback, details, others] (failures.py)
                    REFUSED    body: a packed text, the reason why the worker refused the call
                    FORGOTTEN  no body: a forgotten call has ended
                    UNFIT      body: a packed text, the reason why a worker that has run ahead cannot be used for that SETUP;
                               it exits
                    ITEMS      body: one or more records, each a kind, a length and as many bytes: a RESULT for each
                               item, then at the end of the stream ENDED, RAISED or REFUSED
                    APART      no answer, no body: this call now runs on an event loop and occupies no thread
                    BEGAN      no answer, no body: this call begins now. It is sent while a stream is open
                    LOADED     no answer, number 0; body: packed [name, path, source] of a local module that is about
                               to be imported and is not in the manifest
                    TAKEN      no answer, no body: a worker that has run ahead goes on with the generation of this SETUP
                    LOGGED     no answer, number 0, no body: log records are in the pipe for these; handle them first
    by a pipe for   LOG        number 0; body: a packed log record (log_handler.py), or how many were dropped before
    log records                the next one
"""

from __future__ import annotations

import os
from struct import Struct
from struct import error as StructError  # noqa: N812 - the class has the name of a function

__all__ = [
    "AHEAD",
    "ANSWERS",
    "APART",
    "BEGAN",
    "CALL",
    "CLOSE",
    "ENDED",
    "FORGET",
    "FORGOTTEN",
    "HEADER",
    "INTERFACE",
    "ITEMS",
    "LEVELS",
    "LOADED",
    "LOG",
    "LOGGED",
    "MAX_BODY",
    "PIN",
    "RAISED",
    "READ",
    "RECORD",
    "REFUSED",
    "RESULT",
    "SERVE",
    "SETUP",
    "STREAM",
    "STREAM_NUMBER",
    "TAKE",
    "TAKEN",
    "TARGET_LENGTH",
    "UNFIT",
    "FrameError",
    "Inbox",
    "StructError",
    "read_exactly",
    "records_of",
]

HEADER = Struct("<IBQ")
_HEAD, _UNPACK_FROM = HEADER.size, HEADER.unpack_from  # looked up once, since every call uses them
TARGET_LENGTH = Struct("<H")
STREAM_NUMBER = Struct("<Q")
RECORD = Struct("<BI")
MAX_BODY = 1 << 30
"""The longest body in bytes, in either direction."""

SETUP, CALL, FORGET, READ, AHEAD, PIN, INTERFACE, LEVELS, SERVE = 1, 2, 3, 4, 5, 6, 7, 8, 9
RESULT, RAISED, REFUSED, FORGOTTEN, UNFIT = 16, 17, 18, 19, 20
LOADED, APART = 32, 33
LOG, LOGGED, BEGAN, TAKEN = 34, 35, 36, 37
STREAM, TAKE, CLOSE, ITEMS, ENDED = 40, 41, 42, 48, 49
ANSWERS = frozenset((RESULT, RAISED, REFUSED, FORGOTTEN, UNFIT, ITEMS))


_RECORDS = (RESULT, ENDED, RAISED, REFUSED)


class FrameError(ValueError):
    """The received bytes are not a valid frame, and the stream cannot be read any further."""


def read_exactly(descriptor: int, size: int) -> bytes:
    """Return the next ``size`` bytes from ``descriptor``. Raise :class:`EOFError` if its other end is closed before."""
    data = bytearray()
    while len(data) < size:
        chunk = os.read(descriptor, min(size - len(data), 1 << 20))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)


def records_of(body: bytes) -> list[tuple[int, bytes]]:
    """Return (kind, body) of each record in the body of an ITEMS frame. Raise :class:`FrameError`."""
    records = []
    at, size = 0, len(body)
    while at < size:
        if size - at < RECORD.size:
            raise FrameError("a record of a stream without a length")
        kind, length = RECORD.unpack_from(body, at)
        at += RECORD.size
        if length > size - at or kind not in _RECORDS:
            raise FrameError(
                f"a record of kind {kind} and {length} bytes in a stream, where {size - at} bytes are left"
            )
        records.append((kind, body[at : at + length]))
        at += length
    if not records or any(kind != RESULT for kind, _ in records[:-1]):
        raise FrameError("an answer of a stream without items, or with some after its end")
    return records


class Inbox:
    """Splits received bytes into frames. Memory grows with the received bytes, never with the length a header claims."""

    def __init__(self, max_body: int = MAX_BODY) -> None:
        self._max_body = max_body
        self.rest = bytearray()
        """The received part of the next frame."""

    def begun(self) -> tuple[int, int, int] | None:
        """Return (length, kind, number) of a partly received frame; None if its header is not complete."""
        return HEADER.unpack_from(self.rest) if len(self.rest) >= _HEAD else None

    def feed(self, chunk: bytes) -> list[tuple[int, int, bytes]]:
        """Return the frames that ``chunk`` completes, each as (kind, number, body). Raise :class:`FrameError`."""
        rest = self.rest
        if rest:
            rest += chunk
        elif len(chunk) >= _HEAD:
            length, kind, number = _UNPACK_FROM(chunk)
            if length == len(chunk) - _HEAD and length <= self._max_body:
                return [(kind, number, chunk[_HEAD:])]  # the common case: exactly one whole frame
        buffer = memoryview(rest or chunk)
        frames = []
        at, size = 0, len(buffer)
        with buffer:
            while size - at >= _HEAD:
                length, kind, number = _UNPACK_FROM(buffer, at)
                if length > self._max_body:
                    raise FrameError(f"a frame of {length} bytes, and no frame may have more than {self._max_body}")
                end = at + _HEAD + length
                if end > size:
                    break
                frames.append((kind, number, bytes(buffer[at + _HEAD : end])))
                at = end
        if rest:
            del rest[:at]
        elif at < size:
            rest += chunk[at:]
        return frames
