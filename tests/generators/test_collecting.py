"""lastgood.generators.collecting: from a directory of its own into the stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood.generators.collecting import FileCollision, collect, written


@pytest.fixture
def made(tmp_path: Path) -> Path:
    for name in ("b.py", "a/x.py", "a/__pycache__/x.pyc", "empty/.keep"):
        path = tmp_path / "made" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "made" / "nothing").mkdir()
    (tmp_path / "stage" / "a").mkdir(parents=True)
    return tmp_path / "made"


def test_every_file_is_found_apart_from_bytecode(made: Path) -> None:
    assert written(made) == ("a/x.py", "b.py", "empty/.keep")


def test_what_is_no_file_is_refused(made: Path) -> None:
    (made / "a" / "link").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="a/link is neither a file nor a directory"):
        written(made)


@pytest.mark.parametrize(("into", "expected"), [("", "a/x.py"), ("one/two", "one/two/a/x.py")])
def test_files_are_moved_where_they_belong(made: Path, tmp_path: Path, into: str, expected: str) -> None:
    moved = collect(made, ("a/x.py",), tmp_path / "stage", into, ())
    assert moved == (expected,)
    assert (tmp_path / "stage" / expected).read_text() == "a/x.py"
    assert not (made / "a" / "x.py").exists()


def test_what_is_there_already_is_a_clash(made: Path, tmp_path: Path) -> None:
    (tmp_path / "stage" / "a" / "x.py").write_text("another's")
    with pytest.raises(FileCollision) as caught:
        collect(made, ("b.py", "a/x.py"), tmp_path / "stage", "", ())
    assert caught.value.name == "a/x.py"
    assert (tmp_path / "stage" / "a" / "x.py").read_text() == "another's"


def test_what_another_has_made_elsewhere_is_one_too(made: Path, tmp_path: Path) -> None:
    with pytest.raises(FileCollision):
        collect(made, ("b.py",), tmp_path / "stage", "", {"b.py"})
