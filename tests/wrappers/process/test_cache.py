"""lastgood.wrappers.process.cache: a shortcut that may be missing, damaged or out of reach, and never more than a shortcut."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from lastgood.wrappers.process import cache as cache_module
from lastgood.wrappers.process.cache import DiskCache


def kept(path: Path, **entries: bytes) -> None:
    cache = DiskCache(path)
    for key, data in entries.items():
        cache.put(key, data)
    cache.close()


def test_what_is_put_is_there_at_once_and_in_the_next_process(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache")
    cache.put("a", b"1")
    assert (cache.get("a"), cache.get("b")) == (b"1", None)
    cache.close()
    again = DiskCache(tmp_path / "cache")
    assert (again.get("a"), again.get("b")) == (b"1", None)
    again.close()


def test_the_last_put_counts(tmp_path: Path) -> None:
    kept(tmp_path / "cache", a=b"1")
    kept(tmp_path / "cache", a=b"2")
    cache = DiskCache(tmp_path / "cache")
    assert cache.get("a") == b"2"
    cache.close()


def test_one_that_only_reads_makes_no_file_until_it_may(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache", read_only=True)
    cache.put("a", b"1")
    cache.flush()
    assert list(tmp_path.iterdir()) == []
    assert cache.get("a") == b"1"
    cache.make_writable()
    cache.close()
    again = DiskCache(tmp_path / "cache", read_only=True)
    assert again.get("a") == b"1"
    again.close()


def test_one_that_only_reads_changes_nothing(tmp_path: Path) -> None:
    kept(tmp_path / "cache", a=b"1")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    cache = DiskCache(tmp_path / "cache", read_only=True)
    assert cache.get("a") == b"1"
    cache.put("b", b"2")
    cache.close()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("damage", [b"", b"rubbish", b"SQLite format 3\0" + bytes(5000)], ids=["empty", "text", "cut"])
def test_a_file_that_is_none_of_ours_is_made_anew(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(damage)
    kept(tmp_path / "cache", a=b"1")
    cache = DiskCache(tmp_path / "cache")
    assert cache.get("a") == b"1"
    cache.close()


def test_a_file_of_another_form_is_made_anew(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "cache") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    kept(tmp_path / "cache", a=b"1")
    cache = DiskCache(tmp_path / "cache")
    assert cache.get("a") == b"1"
    cache.close()


def test_bytes_that_were_spoilt_are_not_there(tmp_path: Path) -> None:
    kept(tmp_path / "cache", a=b"1", b=b"2")
    with sqlite3.connect(tmp_path / "cache") as database:
        database.execute("UPDATE answers SET data = ? WHERE key = 'a'", (b"3",))
    database.close()
    cache = DiskCache(tmp_path / "cache")
    assert (cache.get("a"), cache.get("b")) == (None, b"2")
    cache.close()


def test_a_place_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = DiskCache(tmp_path / "file" / "cache")
    cache.put("a", b"1")
    cache.close()
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_its_directory_is_made_for_nobody_else(tmp_path: Path) -> None:
    kept(tmp_path / "project" / "cache", a=b"1")
    assert stat.S_IMODE((tmp_path / "project").stat().st_mode) == 0o700


def test_a_directory_in_its_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    kept(tmp_path / "cache", a=b"1")
    assert list(tmp_path.iterdir()) == [tmp_path / "cache"]


def test_what_has_not_been_used_for_the_longest_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_LEAST_KEPT", 2)
    for key in "abcd":
        kept(tmp_path / "cache", **{key: b"1"})
    cache = DiskCache(tmp_path / "cache")
    assert cache.get("a") == b"1"  # so that it is the one used last
    for key in "efghi":
        cache.put(key, b"1")
    cache.close()
    again = DiskCache(tmp_path / "cache")
    assert "".join(key for key in "abcdefghi" if again.get(key)) == "aefghi"
    again.close()
