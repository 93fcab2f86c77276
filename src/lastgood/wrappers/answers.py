"""Memoised queries: the answer to a query about one module or type, with everything that it depends on.

An answer stays valid as long as every module that was consulted for it has the same state (see :attr:`.ModuleSource.state`).
An answer from an earlier session, or from before an edit that was reverted, is therefore as good as a new one.
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

__all__ = ["Answer", "Cache", "NoCache", "answer_of", "key_of"]


class Answer(msgspec.Struct, frozen=True):
    """The answer to a query. ``found`` is None if a module is broken.

    ``failures`` has the line and the message for each broken module, by name. ``consulted`` has the states of all modules
    that the answer depends on, including missing ones.
    """

    found: Extract | Declaration | None
    consulted: Mapping[str, str]
    failures: Mapping[str, tuple[int | None, str]] = {}


class Cache(Protocol):
    """A store in which answers outlive a process. An entry that cannot be read or written counts as missing."""

    def get(self, key: str) -> bytes | None:
        """Return the data last stored under ``key``; None if there are none."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Store ``data`` under ``key``."""
        ...


class NoCache:
    """A cache that stores nothing."""

    def get(self, _key: str) -> bytes | None:
        """Return None."""
        return None

    def put(self, _key: str, _data: bytes) -> None:
        """Do nothing."""


_ENCODER = msgspec.msgpack.Encoder(order="deterministic")
_DECODER = msgspec.msgpack.Decoder(Answer)


def answer_of(key: str, cache: Cache, holds: Callable[[Answer], bool], compute: Callable[[], Answer]) -> Answer:
    """Return the cached answer at ``key`` if it ``holds``; else compute it, and cache it unless a module is broken."""
    data = cache.get(key)
    if data is not None:
        try:
            known = _DECODER.decode(data)
        except msgspec.MsgspecError:
            pass  # foreign or damaged data
        else:
            if holds(known):
                return known
    answer = compute()
    if not answer.failures:
        # An answer that cannot be encoded, for example for surrogates in a docstring, is computed each time.
        with contextlib.suppress(UnicodeEncodeError, RecursionError):
            cache.put(key, _ENCODER.encode(answer))
    return answer


def key_of(*parts: str) -> str:
    """Return the cache key of a query. It includes the versions of lastgood, griffe and Python, which affect the answer."""
    text = "\0".join((_version_digest(), *parts)).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()


@functools.cache
def _version_digest() -> str:
    """Return a digest of everything that computes answers: griffe, Python, and the source text of this package."""
    try:
        griffe = importlib.metadata.version("griffelib")
    except importlib.metadata.PackageNotFoundError:  # no metadata, as in a fake file system
        griffe = "unknown"
    versions = f"{griffe} {sys.version_info[:2]}"
    digest = hashlib.sha256(versions.encode())
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
