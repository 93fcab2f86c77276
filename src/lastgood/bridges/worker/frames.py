"""Frames: what crosses the two pipes between an app and its worker. Both sides read this file.

A frame is a header (length of the body, kind, number of the call) and a body. Every CALL gets exactly one answer, also
one that nobody waits for any more, so both sides know which numbers are open. Calls begin in the order in which they came, as
many at once as the SETUP says, those that are APART or forgotten not counted; so both sides know which have begun.

    app -> worker   SETUP      body: packed {"import_path": [...], "modules": {name: selection}, "pinned": the path of a
                               manifest, or None, "codes": the directory of what sources were compiled to, or None,
                               "threads": calls that run at once, "grace": seconds it is given to exit,
                               "async_backend": "asyncio" or "trio"};
                               its answer says "ready", and has [name, path] of each installed module that is loaded
                    PRELOAD    no answer, and before SETUP alone; body: packed names of installed modules to import already
                    CALL       body: length of the target, the target ("module\\0function"), packed [args, kwargs], or
                               [args, kwargs, [[module, name], ...]] to be told which values of the result are instances
                               of these classes (see telling.py)
                    FORGET     no body: nobody waits for the answer to this call any more
                    READ       no body: what the answer to this call has in the arena was read
                    PIN        its number is 0; body: packed [path, source] of a local module that another worker of the
                               bridge has LOADED
    worker -> app   RESULT     body: the packed value
                    RAISED     body: packed [type, message, traceback]
                    REFUSED    body: a packed text, why the worker would not do it
                    FORGOTTEN  no body: a forgotten call has come to its end
                    APART      no answer, no body: this call runs on an event loop from here, and holds up no other
                    LOADED     no answer, its number is 0; body: packed [name, path, source] of a local module that is
                               about to be imported, and is not in the manifest
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError  # noqa: N812 - the class has the name of a function

__all__ = [
    "ANSWERS",
    "APART",
    "CALL",
    "FORGET",
    "FORGOTTEN",
    "HEADER",
    "LOADED",
    "MAX_BODY",
    "PIN",
    "PRELOAD",
    "RAISED",
    "READ",
    "REFUSED",
    "RESULT",
    "SETUP",
    "TARGET_LENGTH",
    "FrameError",
    "Inbox",
    "StructError",
]

HEADER = Struct("<IBQ")
_HEAD, _UNPACK_FROM = HEADER.size, HEADER.unpack_from  # as every call needs them
TARGET_LENGTH = Struct("<H")
MAX_BODY = 1 << 30
"""The longest body in bytes, in either direction."""

SETUP, CALL, FORGET, READ, PRELOAD, PIN = 1, 2, 3, 4, 5, 6
RESULT, RAISED, REFUSED, FORGOTTEN = 16, 17, 18, 19
LOADED, APART = 32, 33
ANSWERS = frozenset((RESULT, RAISED, REFUSED, FORGOTTEN))


class FrameError(ValueError):
    """What came is no frame. The stream cannot be read on."""


class Inbox:
    """Bytes as they come, to whole frames. Memory grows with what came, never with what a header claims."""

    def __init__(self, max_body: int = MAX_BODY) -> None:
        self._max_body = max_body
        self.rest = bytearray()
        """What came of the next frame so far."""

    def begun(self) -> tuple[int, int, int] | None:
        """(length, kind, number) of a frame whose header is there, and whose body is not yet."""
        return HEADER.unpack_from(self.rest) if len(self.rest) >= _HEAD else None

    def feed(self, chunk: bytes) -> list[tuple[int, int, bytes]]:
        """The frames that ``chunk`` completes, each as (kind, number, body). Raises :class:`FrameError`."""
        rest = self.rest
        if rest:
            rest += chunk
        elif len(chunk) >= _HEAD:
            length, kind, number = _UNPACK_FROM(chunk)
            if length == len(chunk) - _HEAD and length <= self._max_body:
                return [(kind, number, chunk[_HEAD:])]  # one whole frame, as most often
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
