"""The user's key, which authenticates files that lastgood has written.

A ``.lastgood/`` can come with a repository, or be writable by others. Files in it that affect what lastgood does carry a seal:
an HMAC with a key outside of every project, in ``$XDG_STATE_HOME/lastgood/key`` (``~/.local/state`` by default). The seal covers
the path, too, so a sealed file is not valid in another place. Caches, which would be expensive to seal, are outside of the
project, in ``$XDG_CACHE_HOME/lastgood/`` (``~/.cache`` by default).

Both directories are only used if they belong to this user and nobody else can write there. They are made private, whatever the
umask. Without such a directory, as in a container whose user has no home, the key and the caches last as long as the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import secrets
import stat
from pathlib import Path
from shlex import quote

from lastgood.bridges.worker.codes import make_private_directories

__all__ = ["cache_directory", "seal", "unseal", "user_key"]

logger = logging.getLogger(__name__)

_LENGTH = 32
_PROCESS_KEY = secrets.token_bytes(_LENGTH)
_HEAD = b"lastgood-sealed-1 "


def seal(key: bytes, path: Path, data: bytes) -> bytes:
    """Return the content to write to ``path`` for :func:`unseal`: a first line with the seal, then ``data``."""
    return _HEAD + _hmac_of(key, path, data) + b"\n" + data


def unseal(key: bytes, path: Path, written: bytes) -> bytes | None:
    """Return the data that was sealed for ``path`` with ``key``; None if the seal is not valid."""
    head, _, data = written.partition(b"\n")
    return data if hmac.compare_digest(head, _HEAD + _hmac_of(key, path, data)) else None


def _hmac_of(key: bytes, path: Path, data: bytes) -> bytes:
    return hmac.new(key, os.fsencode(path) + b"\0" + data, hashlib.sha256).hexdigest().encode()


def user_key() -> bytes:
    """Return this user's key, which is created at first use; if it cannot be stored, a key of this process, with a warning."""
    directory = _private_directory("XDG_STATE_HOME", ".local/state")
    if directory is None:
        _warn_once(*_unusable_directory())
        return _PROCESS_KEY
    path = directory / "key"
    try:
        make_private_directories(str(directory))
        return _read_key(path) or _make(path)
    except OSError as error:
        _warn_once(f"{path} cannot be used: {error.strerror or error}", _remedy(path))
        return _PROCESS_KEY


_warned: set[str] = set()


def _warn_once(problem: str, remedy: str) -> None:
    """Warn, once in a process, that the key is one of this process alone."""
    if problem not in _warned:
        _warned.add(problem)
        logger.warning(
            "%s. So later runs will not recognize what this one keeps: there is no undo, and no recovery. %s",
            problem,
            remedy,
        )


def _remedy(path: Path) -> str:
    """Return what to run so that the key can be used."""
    try:
        status = os.lstat(path)
    except OSError:
        return f"Make {path.parent} writable."
    if is_own(status) and stat.S_ISREG(status.st_mode) and status.st_size == _LENGTH:
        return f"Run: chmod 600 {quote(str(path))}"
    return f"Run: rm {'-r ' if stat.S_ISDIR(status.st_mode) else ''}{quote(str(path))}"


def _unusable_directory() -> tuple[str, str]:
    """Return why there is no private directory for the key, and what to do."""
    remedy = "Set XDG_STATE_HOME to a directory of this user that others cannot write to."
    directory = _directory("XDG_STATE_HOME", ".local/state")
    if directory is None:
        return "There is no home directory for lastgood's key", remedy
    found = _exposed(directory)
    if found in (directory, os.path.dirname(directory)) and os.path.isdir(found):
        remedy = f"Run: chmod go-w {quote(found)}, if it is this user's. Otherwise: {remedy[0].lower()}{remedy[1:]}"
    return f"{os.path.join(directory, 'key')} cannot be used: {found} is not private to this user", remedy


def cache_directory(home: Path) -> Path | None:
    """Return the directory of the caches for ``home``, which may not exist yet; None if no private one is available."""
    directory = _private_directory("XDG_CACHE_HOME", ".cache")
    return None if directory is None else directory / hashlib.sha256(os.fsencode(home)).hexdigest()[:32]


def _private_directory(variable: str, otherwise: str) -> Path | None:
    """Return ``lastgood/`` in a base directory of the user's, which need not exist; None if it is not private to the user."""
    directory = _directory(variable, otherwise)
    return None if directory is None or _exposed(directory) else Path(directory)


def _directory(variable: str, otherwise: str) -> str | None:
    """Return ``lastgood/`` in a base directory of the user's; None without a home directory, which is not made."""
    base = os.environ.get(variable, "")
    if not os.path.isabs(base):
        home = os.path.expanduser("~")
        if not os.path.isabs(home) or not os.path.isdir(home):
            return None
        base = os.path.join(home, otherwise)
    return os.path.join(base, "lastgood")


def _exposed(directory: str) -> str:
    """Return the directory because of which others could write to ``directory``, or exchange it; empty if they cannot."""
    if not hasattr(os, "geteuid"):
        return ""
    standing = _first_that_exists(directory)
    try:
        found = os.stat(standing)
    except OSError:  # a link to nowhere
        return standing
    forbidden = stat.S_IWOTH | stat.S_IWGRP if standing == directory else stat.S_IWOTH
    if not is_own(found) or found.st_mode & forbidden:  # the first: another user's home, for example under sudo
        return standing
    around = os.path.dirname(directory)
    mode = os.stat(around).st_mode if standing == directory else 0
    return around if mode & stat.S_IWOTH and not mode & stat.S_ISVTX else ""


def _first_that_exists(path: str) -> str:
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def is_own(found: os.stat_result) -> bool:
    """Return whether this user owns the file; True on systems without uids."""
    return not hasattr(os, "geteuid") or found.st_uid == os.geteuid()


def _read_key(path: Path) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if hasattr(os, "geteuid") and (not is_own(found) or found.st_mode & 0o077):
            raise PermissionError("it is not private to this user")
        if not stat.S_ISREG(found.st_mode):
            raise OSError("it is not a regular file")
        key = file.read(_LENGTH + 1)
    if len(key) != _LENGTH:
        raise OSError("it is not a key")
    return key


def _make(path: Path) -> bytes:
    """Create the key file atomically, and return the key. If two processes do it at once, both return the same key."""
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
    _flush_names(path)
    key = _read_key(path)
    if key is None:
        raise FileNotFoundError(path)
    return key


def _flush_names(path: Path) -> None:
    """Have the names of a file and of the directories above it, as far as they are this user's, survive a power failure."""
    for directory in path.parents:
        if not is_own(os.lstat(directory)):
            break
        with contextlib.suppress(
            OSError
        ):  # one that this user may not list was not made here, and some cannot be flushed
            descriptor = os.open(directory, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
