"""The cache on disk: answers by key, in one SQLite file in the user's cache directory.

It never lies in the project: wrappers are generated from the answers and imported by the app, and SQLite is not safe against
a file that somebody else prepared.

The cache is only an optimisation. Unreadable entries count as missing, a foreign file is replaced, and entries that a power
failure has damaged are detected by their digest.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["DiskCache"]

_FORMAT = 1
_LEAST_KEPT = 10_000
_TABLE = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, digest BLOB, data BLOB, used INTEGER) WITHOUT ROWID"


class DiskCache:
    """The cache in the file ``path``, for one thread. With ``read_only``, nothing is written until :meth:`make_writable`."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._read_only = read_only
        self._fresh: dict[str, bytes] = {}
        self._used: set[str] = set()
        self._database: sqlite3.Connection | None = None
        self._open_or_make()

    def _open_or_make(self) -> None:
        if not self._open():
            with suppress(OSError):
                self.path.unlink()
            self._open()

    def _open(self) -> bool:
        """Open the file. Return False if it is a foreign file, to be replaced; True if it is open or cannot be opened."""
        if self._read_only and not self.path.exists():
            return True
        mode = "ro" if self._read_only else "rwc"
        try:
            if not self._read_only:
                os.makedirs(self.path.parent, mode=0o700, exist_ok=True)
            database = sqlite3.connect(f"{self.path.as_uri()}?mode={mode}", uri=True, timeout=0.5)
        except (OSError, sqlite3.Error):
            return True
        version = -1
        try:
            database.execute("PRAGMA synchronous = OFF")  # losing entries in a power failure is acceptable
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version == 0 and not self._read_only:
                with database:
                    database.execute(_TABLE)
                    database.execute(f"PRAGMA user_version = {_FORMAT}")
                version = _FORMAT
            if version == _FORMAT:
                database.execute("SELECT key, digest, data, used FROM answers LIMIT 1").fetchone()
                self._database = database
                return True
        except sqlite3.OperationalError:  # locked, disk full, or directory not writable
            database.close()
            return True
        except sqlite3.DatabaseError:
            pass
        database.close()
        return self._read_only

    def get(self, key: str) -> bytes | None:
        """Return the data last stored under ``key``; None if there are none."""
        if key in self._fresh:
            return self._fresh[key]
        found = self._try(lambda database: database.execute("SELECT digest, data FROM answers WHERE key = ?", (key,)))
        for digest, data in found or ():
            if _digest(data) == digest:
                self._used.add(key)
                return bytes(data)
        return None

    def put(self, key: str, data: bytes) -> None:
        """Store ``data`` under ``key``. The next :meth:`flush` writes them to disk."""
        self._fresh[key] = data

    def make_writable(self) -> None:
        """End the read-only mode."""
        if self._read_only:
            self._read_only = False
            if self._database is not None:
                self._database.close()
                self._database = None
            self._open_or_make()

    def flush(self) -> None:
        """Write new entries to disk, and evict the least recently used ones if they far outnumber those in use."""
        fresh, used = self._fresh, self._used
        if self._read_only or not (fresh or used):
            return
        self._fresh, self._used = {}, set()
        self._try(lambda database: _write(database, fresh, used))

    def close(self) -> None:
        """Flush, and close the file."""
        self.flush()
        if self._database is not None:
            self._database.close()
            self._database = None

    def _try(self, ask: Callable[[sqlite3.Connection], sqlite3.Cursor | None]) -> list[tuple[bytes, bytes]]:
        if self._database is None:
            return []
        try:
            answer = ask(self._database)
            return [] if answer is None else answer.fetchall()
        except sqlite3.Error:
            return []


def _write(database: sqlite3.Connection, fresh: dict[str, bytes], used: set[str]) -> None:
    with database:
        (last,) = database.execute("SELECT coalesce(max(used), 0) FROM answers").fetchone()
        now = last + 1
        database.executemany("UPDATE answers SET used = ? WHERE key = ?", [(now, key) for key in used])
        rows = [(key, _digest(data), data, now) for key, data in fresh.items()]
        database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", rows)
        (count,) = database.execute("SELECT count(*) FROM answers").fetchone()
        most = max(_LEAST_KEPT, 4 * len(used))
        if count > 2 * most:
            oldest = "SELECT key FROM answers WHERE used < ? ORDER BY used LIMIT ?"
            database.execute(f"DELETE FROM answers WHERE key IN ({oldest})", (now, count - most))


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
