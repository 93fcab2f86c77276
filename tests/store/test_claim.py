"""The claim of an output directory: by one session at a time, and what dead ones left."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from lastgood.errors import AlreadyWatched, PromotionError
from lastgood.store.disk import Disk
from lastgood.store.trees import read_sealed, remove_tree, write_sealed
from output_trees import NEW, OLD, claim, files_of, home, project, promote, tree


def test_a_second_claim_names_the_first_ones_process(tmp_path: Path) -> None:
    first = claim(tmp_path / "generated", pid=1)
    with pytest.raises(AlreadyWatched, match="process 1") as caught:
        claim(tmp_path / "generated", pid=4712)
    assert (caught.value.output, caught.value.pid) == (tmp_path / "generated", 1)
    first.release()
    claim(tmp_path / "generated", pid=4712).release()


@pytest.mark.parametrize(
    "content", [b"", b"many\n", b" " * 40 + b"7", None], ids=["empty", "no number", "long", "gone"]
)
def test_a_pid_that_cannot_be_read_does_not_hide_that_it_is_taken(tmp_path: Path, content: bytes | None) -> None:
    first = claim(tmp_path / "generated")
    (first.home / "pid").unlink() if content is None else (first.home / "pid").write_bytes(content)
    with pytest.raises(AlreadyWatched, match="another session") as caught:
        claim(tmp_path / "generated")
    assert caught.value.pid is None
    first.release()


def test_two_output_directories_of_one_project_are_apart(tmp_path: Path) -> None:
    one, other = claim(tmp_path / "one"), claim(tmp_path / "other")
    one.release()
    other.release()


def test_a_claim_makes_its_own_directory_and_not_the_output(tmp_path: Path) -> None:
    output = claim(tmp_path / "a" / "generated", pid=12)
    assert not (tmp_path / "a" / "generated").exists()
    assert (tmp_path / "a" / ".lastgood" / ".gitignore").read_text() == "*\n"
    assert (output.home / "pid").read_text() == "12\n"
    output.release()
    assert not (output.home / "pid").exists()


def test_a_gitignore_of_somebody_elses_making_stays(tmp_path: Path) -> None:
    (tmp_path / ".lastgood").mkdir()
    (tmp_path / ".lastgood" / ".gitignore").write_text("mine\n")
    claim(tmp_path / "generated").release()
    assert (tmp_path / ".lastgood" / ".gitignore").read_text() == "mine\n"


def test_a_child_that_is_listed_and_cannot_be_looked_at_is_an_error(tmp_path: Path) -> None:
    class Ghostly(Disk):
        def children(self, path: Path) -> list[str]:
            return ["ghost"] if path == tmp_path else super().children(path)

    with pytest.raises(OSError, match="ghost") as caught:
        remove_tree(Ghostly(), tmp_path)
    assert caught.value.errno == errno.ENAMETOOLONG


def test_a_claim_that_fails_lets_go_of_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "generated"
    home(path).mkdir(parents=True)
    write_sealed(Disk(), home(path) / "journal.json", b"{")
    for _ in range(2):
        with pytest.raises(PromotionError, match="journal"):
            claim(path)


@pytest.mark.parametrize("what", ["a file", "a link that leads nowhere"])
def test_an_output_that_is_no_directory_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "generated"
    path.write_text("mine\n") if what == "a file" else path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(PromotionError, match="not a directory"):
        claim(path)
    assert not (tmp_path / ".lastgood").exists()


def test_an_output_that_is_a_link_to_a_directory_is_used(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "generated").symlink_to(tmp_path / "real")
    output = claim(tmp_path / "generated")
    promote(output, {"a.py": "1"})
    output.release()
    assert [each.name for each in (tmp_path / "real").iterdir()] == ["a.py"]


def test_what_dead_sessions_left_is_swept(tmp_path: Path) -> None:
    left = home(tmp_path / "generated")
    (left / "stage-3" / "deep").mkdir(parents=True)
    (left / "stage-3" / "deep" / "a.py").touch()
    (left / "backup").mkdir()
    (left / "manifest.json.new").touch()
    claim(tmp_path / "generated").release()
    assert [each.name for each in left.iterdir()] == ["lock"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 1, "files": 3}'])
def test_a_manifest_that_cannot_be_read_counts_as_none(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "generated"
    output = claim(path)
    promote(output, OLD)
    write_sealed(Disk(), output.home / "manifest.json", content.encode())
    assert output.manifest() == {}
    assert "cannot be used" in caplog.text
    promote(output, NEW)
    output.release()
    assert files_of(tree(path)) == {*NEW}, "headers decide"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"version": 1, "entries": 3, "had_manifest": false}',
        '{"version": 2, "entries": [{"operation": "Teleport", "path": "a.py"}], "had_manifest": false}',
    ],
    ids=["empty", "cut short", "a list", "of another shape", "of another version"],
)
def test_a_journal_that_cannot_be_followed_says_so_and_stays(tmp_path: Path, content: str) -> None:
    path = tmp_path / "generated"
    project(path / "x")  # something beside it
    home(path).mkdir(parents=True, exist_ok=True)
    write_sealed(Disk(), home(path) / "journal.json", content.encode())
    (home(path) / "backup").mkdir()
    (home(path) / "backup" / "0").write_text("kept\n")
    with pytest.raises(PromotionError, match="backup") as caught:
        claim(path)
    assert caught.value.path == home(path) / "journal.json"
    assert (home(path) / "backup" / "0").read_text() == "kept\n"
    assert read_sealed(Disk(), home(path) / "journal.json") == content.encode()
