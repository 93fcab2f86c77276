"""The messages between an app and its extractor process: msgpack, each message preceded by its length.

The bytes of a source are sent once, and referred to by their digest from then on. Both sides remember the modules and files
of the last request, and send only differences.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import msgspec

from lastgood.config import ModuleConfig, Style
from lastgood.errors import ModuleFailure
from lastgood.sources.import_statements import Imports

__all__ = [
    "LENGTH",
    "MOST",
    "Defect",
    "FoundImports",
    "Made",
    "Progress",
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
"""Maximum size of a message in bytes. A larger length is treated as a broken stream."""


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A module as :class:`.ModuleSource` has it, with the digest in place of its bytes. ``is_named``: it is to be wrapped."""

    name: str
    path: Path | None
    digest: str
    is_package: bool
    is_named: bool
    selection: ModuleConfig


class Read(msgspec.Struct, tag=0):
    """A request for the imports of ``data``, answered by :class:`FoundImports`."""

    data: bytes


class Use(msgspec.Struct, tag=1):
    """An instruction to keep results in the file ``memo``; see :meth:`.Memo.use`. Not answered."""

    memo: Path | None
    read_only: bool


class Wrap(msgspec.Struct, tag=2):
    """A request for wrappers of the modules of the last request, updated by ``changed`` and without those ``gone``.

    ``data`` are the sources' bytes that have not been sent before. Answered by :class:`Progress` for each module that is analysed,
    then by :class:`Made`.
    """

    style: Style
    annotated: tuple[str, ...]
    changed: tuple[Row, ...]
    gone: tuple[str, ...]
    data: tuple[bytes, ...]


class FoundImports(msgspec.Struct, tag=0):
    """The import statements of a source."""

    imports: Imports


class Progress(msgspec.Struct, tag=1):
    """A notice that ``module`` is analysed from now on."""

    module: str


class Made(msgspec.Struct, tag=2):
    """The result, as :class:`.Wrapped` has it: the files and IRs that differ from the last one, and the names of removed ones."""

    files: dict[str, bytes]
    no_files: tuple[str, ...]
    modules: dict[str, bytes]
    no_modules: tuple[str, ...]
    warnings: tuple[str, ...]
    failures: tuple[ModuleFailure, ...]


class Defect(msgspec.Struct, tag=3):
    """A report of a defect in lastgood. ``text`` is a traceback."""

    text: str


Request = Read | Use | Wrap
Reply = FoundImports | Progress | Made | Defect


def _path(type_: type, data: Any) -> Any:
    return type_(os.fsdecode(data))


_ENCODER = msgspec.msgpack.Encoder(enc_hook=os.fsencode)  # of a path, the only type that msgspec does not know
_REQUESTS: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request, dec_hook=_path)
_REPLIES: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply, dec_hook=_path)


def encode(message: Request | Reply) -> bytes:
    """Return the bytes of a message, its length included."""
    data = _ENCODER.encode(message)
    return LENGTH.pack(len(data)) + data


def request_from(data: bytes) -> Request:
    """Decode a request, without its length. Raises :class:`msgspec.MsgspecError`."""
    return _REQUESTS.decode(data)


def reply_from(data: bytes) -> Reply:
    """Decode a reply, without its length. Raises :class:`msgspec.MsgspecError`."""
    return _REPLIES.decode(data)
