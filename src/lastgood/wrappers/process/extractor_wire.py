"""What an app and its extractor process say to each other: msgpack, each message behind its length (contract §9).

A source's bytes are sent once, and named by their digest from then on. Both sides remember the modules and the files of the
last time: only what differs is sent.
"""

from __future__ import annotations

import struct

import msgspec

from lastgood.config import ModuleConfig, Style
from lastgood.sources.import_statements import Imports

__all__ = [
    "LENGTH",
    "MOST",
    "At",
    "Broke",
    "Found",
    "Made",
    "Read",
    "Reply",
    "Request",
    "Row",
    "Use",
    "Wrap",
    "encode",
    "reply_from",
    "request_from",
]

LENGTH = struct.Struct("<Q")
MOST = 1 << 32
"""Bytes of the largest message: what claims to be larger is none."""


class Row(msgspec.Struct, frozen=True, array_like=True):
    """A module: what :class:`.ModuleSource` says, with the digest for its bytes. ``is_named``: it is to be wrapped."""

    name: str
    path: str | None
    digest: str
    is_package: bool
    is_named: bool
    selection: ModuleConfig


class Read(msgspec.Struct, tag=0):
    """What does ``data`` import? Answered by :class:`Found`."""

    data: bytes


class Use(msgspec.Struct, tag=1):
    """Keep what is found out in the directory ``cache``. Not answered."""

    cache: str | None
    read_only: bool


class Wrap(msgspec.Struct, tag=2):
    """Make wrappers of the modules of the last time, with these ``changed`` and those ``gone``.

    ``data`` are the bytes that were not sent before. Answered by :class:`At`, for each module that is looked into, and then
    by :class:`Made`.
    """

    style: Style
    changed: tuple[Row, ...]
    gone: tuple[str, ...]
    data: tuple[bytes, ...]


class Found(msgspec.Struct, tag=0):
    """The import statements of a source."""

    imports: Imports


class At(msgspec.Struct, tag=1):
    """The module that is looked into from now on."""

    module: str


class Made(msgspec.Struct, tag=2):
    """What was made, as :class:`.Wrapped` says it: those of the files and IRs that differ, and those that are gone."""

    files: dict[str, bytes]
    no_files: tuple[str, ...]
    modules: dict[str, bytes]
    no_modules: tuple[str, ...]
    warnings: tuple[str, ...]
    failures: tuple[tuple[str, str | None, int | None, str], ...]


class Broke(msgspec.Struct, tag=3):
    """A bug of ours. ``text`` is a traceback."""

    text: str


Request = Read | Use | Wrap
Reply = Found | At | Made | Broke

_ENCODER = msgspec.msgpack.Encoder()
_REQUESTS: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_REPLIES: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def encode(message: Request | Reply) -> bytes:
    """The bytes that are sent."""
    data = _ENCODER.encode(message)
    return LENGTH.pack(len(data)) + data


def request_from(data: bytes) -> Request:
    """The message in what came behind a length. Raises :class:`msgspec.MsgspecError`."""
    return _REQUESTS.decode(data)


def reply_from(data: bytes) -> Reply:
    """The message in what came behind a length. Raises :class:`msgspec.MsgspecError`."""
    return _REPLIES.decode(data)
