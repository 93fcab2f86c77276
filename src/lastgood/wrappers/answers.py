"""What was found out about one module or one type, and all that it depends on: it is found out once.

An answer holds for as long as every module that was consulted for it says what it said then. Their states tell (see
:attr:`.ModuleSource.state`), so that one that an earlier session has found, or from before an edit that was taken back, does
as well as one of a moment ago.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from lastgood.wrappers.read.extract import Extract
from lastgood.wrappers.types.declaring import Declaration

__all__ = ["Answer", "Cache", "Nothing", "answer_of", "key_of"]


class Answer(msgspec.Struct, frozen=True):
    """``found`` is None where the modules are broken: ``failures`` says by name, with line and message, which and how.

    ``consulted`` are the states of all modules that it depends on, also of those that are not there.
    """

    found: Extract | Declaration | None
    consulted: Mapping[str, str]
    failures: Mapping[str, tuple[int | None, str]] = {}


class Cache(Protocol):
    """Where answers outlive a process. What cannot be read or written is as if it were not there."""

    def get(self, key: str) -> bytes | None:
        """What was last put at ``key``; None if there is nothing."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Keep ``data``."""
        ...


class Nothing:
    """The cache that keeps nothing."""

    def get(self, _key: str) -> bytes | None:
        """None."""
        return None

    def put(self, _key: str, _data: bytes) -> None:
        """Nothing."""


_ENCODER = msgspec.msgpack.Encoder(order="deterministic")
_DECODER = msgspec.msgpack.Decoder(Answer)


def answer_of(key: str, cache: Cache, holds: Callable[[Answer], bool], find_out: Callable[[], Answer]) -> Answer:
    """The answer that is kept at ``key``, if it ``holds``; else what is found out now, and kept if nothing is broken."""
    data = cache.get(key)
    if data is not None:
        try:
            known = _DECODER.decode(data)
        except msgspec.MsgspecError:
            pass  # not ours, or damaged
        else:
            if holds(known):
                return known
    answer = find_out()
    if not answer.failures:
        # What cannot be kept, for surrogates in a docstring say, is found out anew each time.
        with contextlib.suppress(UnicodeEncodeError, RecursionError):
            cache.put(key, _ENCODER.encode(answer))
    return answer


def key_of(*parts: str) -> str:
    """The key of a question in a cache. Another lastgood, griffe or Python may give another answer."""
    text = "\0".join((_maker(), *parts)).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()


@functools.cache
def _maker() -> str:
    """What makes the answers: griffe, Python's parser, and our own text, version or not."""
    try:
        griffe = importlib.metadata.version("griffelib")
    except importlib.metadata.PackageNotFoundError:  # where its metadata cannot be seen, as in a fake file system
        griffe = "unknown"
    versions = f"{griffe} {sys.version_info[:2]}"
    digest = hashlib.sha256(versions.encode())
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
