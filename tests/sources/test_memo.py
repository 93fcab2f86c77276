"""lastgood.sources.memo: each answer is found out once, as long as what it came from is the same, and never trusted blindly."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from lastgood.sources import memo as memo_module
from lastgood.sources import memo_on_disk
from lastgood.sources.memo import Answer, Memo, Problem, Query

TEXT = Query("text", Answer[str])
TREE: Query[object] = Query("tree")


class Asker:
    """A memo, in the file ``path`` if there is one, and the keys whose answers had to be found out."""

    def __init__(self, path: Path | None = None, *, read_only: bool = False) -> None:
        self.memo = Memo()
        self.memo.use(path, read_only=read_only)
        self.found_out: list[str] = []

    def ask(self, key: str, found: str = "1", **consulted: str) -> str:
        def compute() -> Answer[str]:
            self.found_out.append(key)
            return Answer(found, consulted)

        return self.memo.ask(TEXT, (key,), compute).found


def kept(path: Path, **entries: str) -> None:
    asker = Asker(path)
    for key, found in entries.items():
        assert asker.ask(key, found) == found
    asker.memo.close()


def remembered(path: Path, keys: str) -> str:
    asker = Asker(path, read_only=True)
    for key in keys:
        asker.ask(key)
    asker.memo.close()
    return "".join(key for key in keys if key not in asker.found_out)


@pytest.fixture(params=["memory", "disk"])
def asker(request: pytest.FixtureRequest, tmp_path: Path) -> Asker:
    return Asker(tmp_path / "cache" if request.param == "disk" else None)


def test_what_was_found_out_is_not_found_out_again(asker: Asker) -> None:
    assert [asker.ask(key) for key in "aba"] == ["1", "1", "1"]
    assert asker.found_out == ["a", "b"]


def test_the_same_key_of_another_query_is_another(asker: Asker) -> None:
    other = Query("other", Answer[int])
    assert asker.ask("a") == "1"
    assert asker.memo.ask(other, ("a",), lambda: Answer(2)).found == 2
    assert asker.ask("a", "3") == "1"


def test_it_holds_as_long_as_what_was_consulted_is_the_same(asker: Asker) -> None:
    states = {"m": "1", "n": ""}
    asker.memo.begin_run(lambda name: states[name])
    assert asker.ask("a", "before", m="1", n="") == "before"
    assert asker.ask("a", "after", m="1", n="") == "before"
    states["n"] = "appeared"
    assert asker.ask("a", "after", m="1", n="appeared") == "after"
    assert asker.found_out == ["a", "a"]


def test_a_run_tells_which_of_what_was_consulted_has_changed(asker: Asker) -> None:
    states = {"m": "1", "n": "1", "o": "1"}
    asker.memo.begin_run(lambda name: states[name])
    asker.ask("a", m="1", n="1")
    states |= {"m": "2", "n": "2", "o": "2"}
    assert asker.memo.begin_run(lambda name: states[name], ["n", "o"]) == {"n"}
    assert asker.memo.begin_run(lambda name: states[name]) == {"m"}
    assert asker.memo.begin_run(lambda name: states[name]) == set()


def test_failures_are_found_out_each_time(asker: Asker) -> None:
    failed = Answer("", failures={"m": Problem(1, "broken")})
    assert asker.memo.ask(TEXT, ("a",), lambda: failed) == failed
    assert asker.ask("a", "mended") == "mended"


def test_what_cannot_be_written_is_answered_all_the_same(tmp_path: Path) -> None:
    asker = Asker(tmp_path / "cache")
    assert [asker.ask("a", "\ud800") for _ in range(2)] == ["\ud800", "\ud800"]
    tree = object()
    assert [asker.memo.ask(TREE, ("a",), lambda: Answer(tree)).found for _ in range(2)] == [tree, tree]
    asker.memo.close()
    assert remembered(tmp_path / "cache", "a") == ""


def test_what_was_used_longest_ago_leaves_memory_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo_module, "KEPT_IN_A_RUN", 30)
    asker = Asker()
    for key in "abcad":
        asker.memo.ask(TREE, (key,), lambda: Answer(object()), 10)
    assert [place[1] for place in asker.memo._here] == ["c", "a", "d"]
    monkeypatch.setattr(memo_module, "KEPT_BETWEEN", 25)
    asker.memo.tidy()
    assert [place[1] for place in asker.memo._here] == ["a", "d"]
    monkeypatch.setattr(memo_module, "KEPT_BETWEEN", 15)
    asker.memo.begin_run(lambda _: "")
    assert [place[1] for place in asker.memo._here] == ["d"]


def test_no_more_is_kept_in_memory_than_was_used_last() -> None:
    asker = Asker()
    for key in "abca":
        asker.ask(key)
    asker.memo.keep(2)
    assert [asker.ask(key) for key in "acb"] == ["1"] * 3
    assert asker.found_out == ["a", "b", "c", "b"]


def test_what_has_gone_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo_module, "KEPT_IN_A_RUN", 30)
    asker = Asker()
    states = {"m": "0"}
    asker.memo.begin_run(lambda name: states[name])
    for state in "0123":  # the same key is found out again and again
        states["m"] = state
        asker.memo.ask(TREE, ("a",), lambda: Answer(object(), dict(states)), 10)
    for key in "bc":
        asker.memo.ask(TREE, (key,), lambda: Answer(object()), 10)
    assert [place[1] for place in asker.memo._here] == ["a", "b", "c"]
    asker.memo.keep(1)
    for key in "de":
        asker.memo.ask(TREE, (key,), lambda: Answer(object()), 10)
    assert [place[1] for place in asker.memo._here] == ["c", "d", "e"]


def test_an_answer_that_is_larger_than_all_that_is_kept_is_kept_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo_module, "KEPT_IN_A_RUN", 30)
    asker = Asker()
    for key, size in (("a", 10), ("b", 40)):
        asker.memo.ask(TREE, (key,), lambda: Answer(object()), size)
    assert [place[1] for place in asker.memo._here] == ["b"]


# On disk.


def test_between_two_runs_it_is_on_disk(tmp_path: Path) -> None:
    asker = Asker(tmp_path / "cache")
    asker.ask("a")
    asker.memo.tidy()
    assert remembered(tmp_path / "cache", "a") == "a"
    asker.memo.close()


def test_what_is_kept_is_there_in_the_next_process(tmp_path: Path) -> None:
    kept(tmp_path / "cache", a="1")
    assert remembered(tmp_path / "cache", "ab") == "a"


def test_other_versions_of_what_answers_ask_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path / "cache", a="1")
    monkeypatch.setattr(memo_on_disk, "version_digest", lambda: "another")
    assert remembered(tmp_path / "cache", "a") == ""


def test_one_that_only_reads_makes_no_file_until_it_may(tmp_path: Path) -> None:
    asker = Asker(tmp_path / "cache", read_only=True)
    asker.ask("a")
    asker.memo.tidy()
    assert list(tmp_path.iterdir()) == []
    asker.memo.use(tmp_path / "cache")
    asker.memo.close()
    assert asker.found_out == ["a"]
    assert remembered(tmp_path / "cache", "a") == "a"


def test_one_that_only_reads_changes_nothing(tmp_path: Path) -> None:
    kept(tmp_path / "cache", a="1")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert remembered(tmp_path / "cache", "ab") == "a"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_was_written_is_read_by_the_same_process(tmp_path: Path) -> None:
    asker = Asker(tmp_path / "cache")
    for _ in range(3):
        asker.ask("a")
        asker.memo.tidy()
    asker.memo.close()
    assert asker.found_out == ["a"]


def test_another_place_has_answers_of_its_own(tmp_path: Path) -> None:
    kept(tmp_path / "a", a="1")
    asker = Asker(tmp_path / "b")
    asker.ask("b")
    asker.memo.use(tmp_path / "a", read_only=True)
    asker.ask("a")
    asker.memo.close()
    assert asker.found_out == ["b"]
    assert remembered(tmp_path / "b", "ab") == "b"


@pytest.mark.parametrize("damage", [b"", b"rubbish", b"SQLite format 3\0" + bytes(5000)], ids=["empty", "text", "cut"])
def test_a_file_that_is_none_of_ours_is_made_anew(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(damage)
    kept(tmp_path / "cache", a="1")
    assert remembered(tmp_path / "cache", "a") == "a"


def test_a_file_of_another_form_is_made_anew(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "cache") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    kept(tmp_path / "cache", a="1")
    assert remembered(tmp_path / "cache", "a") == "a"


def test_a_file_whose_pages_are_damaged_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    kept(path, **{f"a{number}": "1" * 3000 for number in range(20)})
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    kept(path, a="1")
    assert remembered(path, "a") == "a"


@pytest.mark.parametrize("spoilt", ["digest = digest", "digest = x'00'"], ids=["bytes", "digest"])
def test_bytes_that_were_spoilt_are_not_there(spoilt: str, tmp_path: Path) -> None:
    kept(tmp_path / "cache", a="1", b="2")
    with sqlite3.connect(tmp_path / "cache") as database:
        database.execute(f"UPDATE answers SET data = ?, {spoilt} WHERE data = ?", (b"3", b"\x81\xa5found\xa11"))
        assert database.total_changes == 1
    database.close()
    assert remembered(tmp_path / "cache", "ab") == "b"


def test_bytes_of_another_form_are_not_there(tmp_path: Path) -> None:
    kept(tmp_path / "cache", a="1", b="2")
    other = Asker(tmp_path / "cache", read_only=True).memo
    assert other.ask(Query("text", Answer[int]), ("a",), lambda: Answer(3)).found == 3
    other.close()


def test_a_place_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    kept(tmp_path / "file" / "cache", a="1")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_what_cannot_be_written_lasts_as_long_as_the_memo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "directory").write_bytes(b"")
    asker = Asker(tmp_path / "directory" / "cache")
    for _ in range(2):
        asker.ask("a")
        asker.memo.tidy()
    assert asker.found_out == ["a"]
    (tmp_path / "directory").unlink()
    asker.memo.close()
    assert remembered(tmp_path / "directory" / "cache", "a") == "a", "there is room again"
    monkeypatch.setattr(memo_on_disk, "_MOST_UNWRITTEN", 2)
    asker = Asker(tmp_path / "directory" / "cache" / "below")
    for _ in range(2):
        asker.ask("a")
        asker.memo.tidy()
    assert asker.found_out == ["a", "a"], "up to a limit"
    asker.memo.close()


def test_a_locked_file_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo_on_disk, "_PATIENCE", 0)
    kept(tmp_path / "cache", a="1")
    database = sqlite3.connect(tmp_path / "cache", isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")
    kept(tmp_path / "cache", b="1")
    database.close()
    assert remembered(tmp_path / "cache", "ab") == "a"


def test_its_directory_is_made_for_nobody_else(tmp_path: Path) -> None:
    kept(tmp_path / "project" / "cache", a="1")
    assert stat.S_IMODE((tmp_path / "project").stat().st_mode) == 0o700


def test_a_directory_in_its_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    kept(tmp_path / "cache", a="1")
    assert list(tmp_path.iterdir()) == [tmp_path / "cache"]


def test_what_has_not_been_used_for_the_longest_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo_on_disk, "_LEAST_KEPT", 2)
    for key in "abcd":
        kept(tmp_path / "cache", **{key: "1"})
    kept(tmp_path / "cache", **dict.fromkeys("aefghi", "1"))  # "a" is used, and the others are new
    assert remembered(tmp_path / "cache", "abcdefghi") == "aefghi"
