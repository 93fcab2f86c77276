"""A key of the user's own, by which what lastgood has written is told from what anybody else put in its place.

A ``.lastgood/`` can come with a repository, or be written to by others. What is read from it and acted upon carries a seal: an
HMAC by a key that lies outside of every project, in ``$XDG_STATE_HOME/lastgood/key`` (``~/.local/state`` by default). The seal
covers the path, too, so that a sealed file is none in another place. What would cost more to seal than to move, caches, lies
outside altogether, in ``$XDG_CACHE_HOME/lastgood/`` (``~/.cache`` by default).

Neither is used unless it belongs to this user and nobody else can write there.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

__all__ = ["cache_directory", "seal", "unseal", "user_key"]

_LENGTH = 32
_OF_THIS_PROCESS = secrets.token_bytes(_LENGTH)
_HEAD = b"lastgood-sealed-1 "


def seal(key: bytes, path: Path, data: bytes) -> bytes:
    """What is to be written to ``path`` so that :func:`unseal` knows it again: a first line, then ``data``."""
    return _HEAD + _mark(key, path, data) + b"\n" + data


def unseal(key: bytes, path: Path, written: bytes) -> bytes | None:
    """The data that was sealed for ``path`` by the owner of ``key``; None if it was not."""
    head, _, data = written.partition(b"\n")
    return data if hmac.compare_digest(head, _HEAD + _mark(key, path, data)) else None


def _mark(key: bytes, path: Path, data: bytes) -> bytes:
    return hmac.new(key, os.fsencode(path) + b"\0" + data, hashlib.sha256).hexdigest().encode()


def user_key() -> bytes:
    """The key of this user, made when it is first needed; one that only this process knows where it cannot be kept."""
    directory = _own("XDG_STATE_HOME", ".local/state")
    if directory is not None:
        with contextlib.suppress(OSError):
            os.makedirs(directory, mode=0o700, exist_ok=True)
            return _read(directory / "key") or _make(directory / "key")
    return _OF_THIS_PROCESS


def cache_directory(home: Path) -> Path | None:
    """The directory of the caches for ``home``; None if there cannot be one. It is not made here."""
    directory = _own("XDG_CACHE_HOME", ".cache")
    return None if directory is None else directory / hashlib.sha256(os.fsencode(home)).hexdigest()[:32]


def _own(variable: str, otherwise: str) -> Path | None:
    """``lastgood/`` in a base directory of the user's, which need not exist; None if it is not, or would not be, the user's."""
    base = os.environ.get(variable, "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), otherwise)
    directory = os.path.join(base, "lastgood")
    try:
        # What is made in somebody else's home is in their way.
        return Path(directory) if os.path.isabs(base) and _is_private(_first_that_exists(directory)) else None
    except OSError:
        return None


def _first_that_exists(path: str) -> str:
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def _is_private(path: str) -> bool:
    """Whether it belongs to this user, and nobody else can write to it."""
    found = os.stat(path)
    return not hasattr(os, "geteuid") or (found.st_uid == os.geteuid() and not found.st_mode & stat.S_IWOTH)


def _read(path: Path) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if hasattr(os, "geteuid") and (found.st_uid != os.geteuid() or found.st_mode & 0o077):
            raise PermissionError(f"{path} is not this user's alone")
        key = file.read(_LENGTH + 1)
    if len(key) != _LENGTH:
        raise OSError(f"{path} is not a key")
    return key


def _make(path: Path) -> bytes:
    """Make the key: it is there as a whole or not at all, and of two processes that make it both have the same."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_LENGTH))
            file.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        os.unlink(fresh)
    key = _read(path)
    if key is None:
        raise FileNotFoundError(path)
    return key
