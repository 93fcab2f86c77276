"""lastgood.bridges.worker.codes: code that is kept is that of the very source, or there is none."""

from __future__ import annotations

import marshal
import sys
from pathlib import Path

import pytest

from lastgood.bridges.worker.codes import Codes
from lastgood.bridges.worker.manifest import digest_of
from lastgood.bridges.worker.parts import Parts, make_parts

DIGEST = digest_of(b"source")
PATH = "/p/src/pricing.py"


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(tmp_path / "cache" / "code")


def kept(directory: str) -> Path:
    """The one file of code."""
    (file,) = Path(directory).iterdir()
    return file


def parts(expression: str) -> Parts:
    return make_parts(f"import os\nvalue = {expression}".encode(), PATH)


def value(codes: Codes, digest: str = DIGEST, path: str = PATH) -> object:
    found = codes.get(digest, path)
    names: dict[str, object] = {}
    if found is None:
        return None
    assert found.count == 1
    for code in (found.header, found.rest):
        assert code is not None
        exec(code, names)
    return names["value"]


def test_what_was_kept_is_there_for_another(directory: str) -> None:
    Codes(directory).keep(DIGEST, PATH, parts("6 * 7"))
    assert value(Codes(directory)) == 42
    assert kept(directory).name.startswith(f"{DIGEST}-")


def test_another_source_or_path_or_interpreter_has_other_code(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Codes(directory).keep(DIGEST, PATH, parts("42"))
    assert value(Codes(directory), digest=digest_of(b"other")) is None
    assert value(Codes(directory), path="/q/pricing.py") is None
    monkeypatch.setattr(sys, "version", "another")
    assert value(Codes(directory)) is None


@pytest.mark.parametrize(
    "damage",
    [lambda _: b"", lambda data: data[:70], lambda data: data[:-1] + b"x", lambda data: b"x" + data],
    ids=["empty", "cut", "spoilt", "shifted"],
)
def test_what_is_damaged_is_not_there(damage: object, directory: str) -> None:
    assert callable(damage)
    Codes(directory).keep(DIGEST, PATH, parts("42"))
    file = kept(directory)
    file.write_bytes(damage(file.read_bytes()))
    assert value(Codes(directory)) is None
    Codes(directory).keep(DIGEST, PATH, parts("43"))
    assert value(Codes(directory)) == 43


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for codes in (Codes(str(tmp_path / "file" / "code")), Codes(None)):
        codes.keep(DIGEST, PATH, parts("42"))
        assert value(codes) is None


def test_a_code_is_no_more_than_its_digest_and_what_marshal_makes_of_it(directory: str) -> None:
    code = parts("42")
    Codes(directory).keep(DIGEST, PATH, code)
    data = marshal.dumps((code.count, code.header, code.rest))
    assert kept(directory).read_bytes() == digest_of(data).encode() + data
