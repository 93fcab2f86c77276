"""lastgood.bridges.worker.read_ahead: code that was read ahead is that of the very file, or it is not used."""

from __future__ import annotations

import importlib.util
import os
import py_compile
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType

import pytest

from lastgood.bridges.worker.read_ahead import ReadAhead


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "module.py"
    source.write_text("VALUE = 1\n")
    os.utime(source, (1e9, 1e9))
    return source


def code_of(source: Path) -> CodeType | None:
    return SourceFileLoader("module", str(source)).get_code("module")


def value_of(source: Path) -> object:
    code, names = code_of(source), dict[str, object]()
    assert code is not None
    exec(code, names)
    return names["VALUE"]


def read(source: Path) -> ReadAhead:
    made = ReadAhead()
    made.read([str(source)], lambda: False)
    return made


def test_what_was_read_is_used_once(source: Path) -> None:
    py_compile.compile(str(source))
    ahead = read(source)
    ahead.install()
    try:
        assert len(ahead._codes) == 1
        assert value_of(source) == 1
        assert not ahead._codes
        assert value_of(source) == 1
    finally:
        ahead.remove()
    assert "get_code" not in vars(SourceFileLoader)


@pytest.mark.parametrize("what", ["the source", "its bytecode", "both are gone"])
def test_what_has_changed_since_is_not_used(what: str, source: Path) -> None:
    py_compile.compile(str(source))
    ahead = read(source)
    assert ahead._take(str(source)) is not None
    ahead.read([str(source)], lambda: False)
    cached = Path(importlib.util.cache_from_source(str(source)))
    if what == "the source":
        source.write_text("VALUE = 2\n")
    elif what == "its bytecode":
        cached.write_bytes(cached.read_bytes() + b" ")
    else:
        source.unlink()
    assert ahead._take(str(source)) is None


@pytest.mark.parametrize("damage", [b"", b"x" * 40, None], ids=["empty", "no bytecode", "of another source"])
def test_what_is_not_valid_is_not_kept(damage: bytes | None, source: Path) -> None:
    py_compile.compile(str(source))
    cached = Path(importlib.util.cache_from_source(str(source)))
    if damage is None:
        os.utime(source, (2e9, 2e9))
    else:
        cached.write_bytes(damage)
    assert not read(source)._codes


def test_what_is_validated_by_its_digest_is_left_to_the_import(source: Path) -> None:
    py_compile.compile(str(source), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    assert not read(source)._codes


def test_reading_stops_when_it_is_enough(source: Path) -> None:
    py_compile.compile(str(source))
    made = ReadAhead()
    made.read([str(source)], lambda: True)
    made.read([os.__file__, str(source.with_name("missing.py"))], lambda: False)
    assert not made._codes, "enough, imported already, or missing"
