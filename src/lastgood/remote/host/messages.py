"""The messages between an app and a host, and the buffers for them. Both sides import this file.

A host first sends GREETING. A message is a header (kind, length of the body) and a body. Those from and to the worker are bytes of
its own pipes, which are passed on as they come: the host knows nothing of frames.

    app -> host   BEAT       no body: the app lives
                  OPEN       json {"beat": seconds between two BEATs, "silence": seconds without any message after which the app is
                             taken for gone}; answered with HELLO
                  SHIP       packed json {"manifest": text, "worker": files, "tree": files, "directories": [...], "tree_name"},
                             each file [path, digest, size, is executable]; answered with LACKS
                  OBJECT     digest, packed bytes: one of those that LACKS names
                  START      json {"env", "cwd", "grace"}: start the worker of what was shipped; answered with STARTED or REFUSED
                  REQUESTS   bytes for the worker's requests
                  SIGNAL     json [number]: send a signal to the worker's process group
                  END        json {"patience", "grace"}: close the requests, SIGTERM after ``patience`` seconds, SIGKILL after
                             ``grace`` more; answered with EXIT, after which the host ends
    host -> app   BEAT       no body: the host lives
                  HELLO      json {"pid", "python", "executable", "home"}: ``home`` is the directory of the cache
                  LACKS      packed json {"objects": [digest, ...], "manifest": path, "codes": path}
                  STARTED    json {"pid"}
                  REFUSED    json {"problem": a sentence}
                  ANSWERS, LOGS, OUTPUT
                             bytes that the worker has written: answers, log records, and what it prints
                  EXIT       json {"status": exit status, negative for a signal}: the worker, and all in its process group, are gone
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BEAT, OPEN, SHIP, OBJECT, START, REQUESTS, SIGNAL, END = range(8)
HELLO, LACKS, STARTED, REFUSED, ANSWERS, LOGS, OUTPUT, EXIT = range(16, 24)
HEADER = struct.Struct("<BI")
GREETING = b"\0lastgood-host-1\n"
"""The first bytes of a host, which tell them from what a shell prints as it starts."""
DIGEST_SIZE = 64
MAX_OBJECT = 1 << 28
"""The longest object in bytes."""
MAX_BODY = MAX_OBJECT + (1 << 20)


class Problem(Exception):
    """Something that the person at the terminal has to know. The text is a sentence."""


def packed(value: Any) -> bytes:
    """Return json, compressed."""
    return zlib.compress(json.dumps(value).encode(), 1)


def unpacked(body: bytes) -> Any:
    """Return what :func:`packed` was given."""
    return json.loads(zlib.decompress(body))


def digest_of(data: bytes) -> str:
    """Return the SHA-256 digest in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


class Inbox:
    """Splits received bytes into messages."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> list[tuple[int, bytes]]:
        """Return (kind, body) of each message that ``chunk`` completes. Raises ValueError for one that is too long."""
        rest = self._rest
        rest += chunk
        messages = []
        at, size = 0, len(rest)
        with memoryview(rest) as view:
            while size - at >= HEADER.size:
                kind, length = HEADER.unpack_from(view, at)
                if length > MAX_BODY:
                    raise ValueError(f"a message of {length} bytes")
                end = at + HEADER.size + length
                if end > size:
                    break
                messages.append((kind, bytes(view[at + HEADER.size : end])))
                at = end
        del rest[:at]
        return messages


class Outbox:
    """Bytes that wait to be written to a descriptor, which is closed once they are written after :meth:`finish`."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.size = 0
        self._waiting: list[memoryview] = []
        self._is_finishing = False
        os.set_blocking(descriptor, False)

    def put(self, data: bytes) -> None:
        """Write ``data``, or have it wait. What is for a pipe that is closed is dropped."""
        if self.descriptor >= 0:
            self._waiting.append(memoryview(data))
            self.size += len(data)
            if len(self._waiting) == 1:
                self.flush()

    def flush(self) -> None:
        """Write what the pipe takes."""
        try:
            while self._waiting:
                sent = os.write(self.descriptor, self._waiting[0])
                self.size -= sent
                if sent == len(self._waiting[0]):
                    del self._waiting[0]
                else:
                    self._waiting[0] = self._waiting[0][sent:]
        except BlockingIOError:
            return
        except OSError:  # nobody reads it any more
            self.close()
        if self._is_finishing:
            self.close()

    def finish(self) -> None:
        """Close the descriptor once all is written."""
        self._is_finishing = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        """Close the descriptor, and drop what waits."""
        self._waiting.clear()
        self.size = 0
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
