"""lastgood.bridges.worker.observed: what was read has changed, or it has not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lastgood.bridges.worker import observed
from lastgood.bridges.worker.observed import Observed

LONG_AGO = 10**18


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "data.txt"
    file.write_text("data")
    os.utime(file, ns=(LONG_AGO, LONG_AGO))
    return file


def test_nothing_has_changed(file: Path, tmp_path: Path) -> None:
    seen = Observed()
    for path in (file, os.fsencode(file), tmp_path / "nothing", 3, "/proc/self/stat"):
        seen.file(path)
    seen.directory(tmp_path, "user.py")
    seen.directory(None, "user.py")
    assert seen.difference() is None


@pytest.mark.parametrize("change", ["written", "replaced", "removed"])
def test_a_file_that_changes_differs(change: str, file: Path) -> None:
    seen = Observed()
    seen.file(file)
    if change == "written":
        file.write_text("datum")
    elif change == "replaced":
        other = file.with_name("other")
        other.write_text("data")
        os.utime(other, ns=(LONG_AGO, LONG_AGO))
        other.replace(file)
    else:
        file.unlink()
    assert seen.difference() == f"{file} has changed since the spare read it"


def test_a_file_that_was_missing_and_is_there_differs(tmp_path: Path) -> None:
    seen = Observed()
    seen.file(tmp_path / "new")
    (tmp_path / "new").touch()
    assert seen.difference() is not None


def test_a_file_that_was_written_a_moment_before_may_change_without_a_trace(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observed, "time_ns", lambda: file.stat().st_mtime_ns + 1)
    seen = Observed()
    seen.file(file)
    assert seen.difference() is not None


def test_bytecode_stands_for_its_source(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("")
    os.utime(source, ns=(LONG_AGO, LONG_AGO))
    seen = Observed()
    seen.file(tmp_path / "__pycache__" / "module.cpython-311.pyc")
    assert seen.difference() is None
    source.write_text("x = 1")
    assert seen.difference() == f"{source} has changed since the spare read it"


def test_what_is_ignored_does_not_count(file: Path, tmp_path: Path) -> None:
    seen = Observed((str(tmp_path),))
    seen.file(file)
    file.unlink()
    assert seen.difference() is None


def test_a_listing_differs_by_its_names(tmp_path: Path) -> None:
    seen = Observed()
    seen.directory(tmp_path, "<frozen importlib._bootstrap_external>")
    (tmp_path / "__pycache__").mkdir()
    assert seen.difference() is None, "the import system makes this itself"
    (tmp_path / "new").touch()
    assert seen.difference({"other"}) is None, "no module of that name was looked for"
    assert seen.difference({"new"}) == f"{tmp_path} has other files than when the spare listed it"


def test_a_directory_that_the_program_lists_is_compared_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["b", "a"]
    monkeypatch.setattr(observed, "listdir", lambda _: list(names))
    seen = Observed()
    seen.directory(tmp_path, "<frozen importlib._bootstrap_external>")
    names.reverse()
    assert seen.difference({"a"}) is None
    seen.directory(tmp_path, "user.py")
    names.reverse()
    assert seen.difference() is not None


def test_the_modules_that_are_loaded_count(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Observed()
    seen.loaded()
    monkeypatch.setattr(observed, "state_of", lambda _: time.time())
    assert str(seen.difference()).endswith("has changed since the spare read it")
