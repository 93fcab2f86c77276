"""lastgood.bridges.worker.codes: code that is kept is that of the very source, or there is none."""

from __future__ import annotations

import marshal
import sys
from pathlib import Path

import pytest

from lastgood.bridges.worker.codes import Codes
from lastgood.bridges.worker.manifest import digest_of

DIGEST = digest_of(b"source")
PATH = "/p/src/pricing.py"


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(tmp_path / "cache" / "code")


def kept(directory: str) -> Path:
    """The one file of code."""
    (file,) = Path(directory).iterdir()
    return file


def value(codes: Codes, digest: str = DIGEST, path: str = PATH) -> object:
    code = codes.get(digest, path)
    return None if code is None else eval(code)


def test_what_was_kept_is_there_for_another(directory: str) -> None:
    Codes(directory).keep(DIGEST, PATH, compile("6 * 7", PATH, "eval"))
    assert value(Codes(directory)) == 42
    assert kept(directory).name.startswith(f"{DIGEST}-")


def test_another_source_or_path_or_interpreter_has_other_code(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Codes(directory).keep(DIGEST, PATH, compile("42", PATH, "eval"))
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
    Codes(directory).keep(DIGEST, PATH, compile("42", PATH, "eval"))
    file = kept(directory)
    file.write_bytes(damage(file.read_bytes()))
    assert value(Codes(directory)) is None
    Codes(directory).keep(DIGEST, PATH, compile("43", PATH, "eval"))
    assert value(Codes(directory)) == 43


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for codes in (Codes(str(tmp_path / "file" / "code")), Codes(None)):
        codes.keep(DIGEST, PATH, compile("42", PATH, "eval"))
        assert value(codes) is None


def test_a_code_is_no_more_than_its_digest_and_what_marshal_makes_of_it(directory: str) -> None:
    code = compile("42", PATH, "eval")
    Codes(directory).keep(DIGEST, PATH, code)
    data = marshal.dumps(code)
    assert kept(directory).read_bytes() == digest_of(data).encode() + data
