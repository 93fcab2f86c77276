"""The answers of a memo on disk, in one SQLite file. Only a process that uses one imports this module, and SQLite with it."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from lastgood.bridges.worker.codes import make_private_directories
from lastgood.sources.memo import version_digest

__all__ = ["AnswersOnDisk"]

_FORMAT = 1
_LEAST_KEPT = 10_000
_MOST_UNWRITTEN = 60_000_000
"""Bytes of answers that are kept in memory while the file cannot be written."""
_PATIENCE = 0.5  # seconds for which another process may lock the file
_TABLE = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, digest BLOB, data BLOB, used INTEGER) WITHOUT ROWID"


class AnswersOnDisk:
    """Encoded answers in one SQLite file. An error of reading or writing counts as if nothing were there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_read_only = False
        self._unwritten: dict[str, bytes] = {}
        self._used: set[str] = set()
        self._database: sqlite3.Connection | None = None

    def _connect(self, mode: str) -> sqlite3.Connection:
        if self._database is None:
            # By hand, because as_uri() imports urllib, which takes longer than all that is read here.
            uri = f"file:{''.join(f'%{byte:02x}' for byte in os.fsencode(self.path))}?mode={mode}"
            # The threads of a session's stages come one after another.
            self._database = sqlite3.connect(uri, uri=True, timeout=_PATIENCE, check_same_thread=False)
        return self._database

    def _disconnect(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def get(self, place: tuple[object, ...]) -> bytes | None:
        """Return the data last stored at ``place``, a query and its key; None if there are none."""
        key = _key(place)
        if key in self._unwritten:
            return self._unwritten[key]
        with suppress(sqlite3.Error):  # there is no file yet, or it is locked or damaged
            rows = self._connect("ro").execute("SELECT digest, data FROM answers WHERE key = ?", (key,))
            for digest, data in rows.fetchall():
                if _checksum(data) == digest:
                    self._used.add(key)
                    return bytes(data)
        return None

    def put(self, place: tuple[object, ...], data: bytes) -> None:
        """Store ``data`` at ``place``. The next :meth:`flush` writes them to disk."""
        self._unwritten[_key(place)] = data

    def flush(self) -> None:
        """Write what is new to disk, into a new file if there is one that is none of ours, or damaged."""
        if self.is_read_only or not (self._unwritten or self._used):
            return
        with suppress(OSError, sqlite3.Error):  # locked, disk full, or directory not writable
            make_private_directories(str(self.path.parent))
            try:
                self._write()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self.path.unlink()
                self._write()
            self._unwritten = {}
        self._used = set()
        if sum(map(len, self._unwritten.values())) > _MOST_UNWRITTEN:
            self._unwritten = {}

    def _write(self) -> None:
        self._disconnect()  # it may only read, or be of a file that was removed
        with self._connect("rwc") as database:
            database.execute("PRAGMA synchronous = OFF")  # losing entries in a power failure is acceptable
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version not in (0, _FORMAT):
                raise sqlite3.DatabaseError("another format")
            if version == 0:
                database.executescript(f"{_TABLE}; PRAGMA user_version = {_FORMAT}")
            (last,) = database.execute("SELECT coalesce(max(used), 0) FROM answers").fetchone()
            now = last + 1
            database.executemany("UPDATE answers SET used = ? WHERE key = ?", [(now, key) for key in self._used])
            rows = [(key, _checksum(data), data, now) for key, data in self._unwritten.items()]
            database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", rows)
            (count,) = database.execute("SELECT count(*) FROM answers").fetchone()
            most = max(_LEAST_KEPT, 4 * len(self._used))
            if count > 2 * most:
                oldest = "SELECT key FROM answers WHERE used < ? ORDER BY used LIMIT ?"
                database.execute(f"DELETE FROM answers WHERE key IN ({oldest})", (now, count - most))

    def close(self) -> None:
        """Write what is new to disk, and close the file."""
        self.flush()
        self._disconnect()


def _checksum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _key(place: tuple[object, ...]) -> str:
    """Return a digest of ``place``, and of the versions of lastgood and Python, which affect the answer."""
    text = "\0".join((version_digest(), *map(str, place))).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()
