"""lastgood.planner.watch_set: what is watched, what is ignored, what an edit is."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood.planner.watch_set import WatchSet, differing, is_ignored_name, merge, restrict

SRC = Path("/project/src")
LIB = Path("/project/lib")
CONFIG = Path("/project/lastgood.toml")


def test_roots_are_the_paths_and_the_candidates_each_once_and_sorted() -> None:
    watch = WatchSet((SRC, CONFIG), candidates=(SRC, LIB))
    assert watch.roots == (CONFIG, LIB, SRC)


def test_a_union_watches_both_and_keeps_its_own_output() -> None:
    fresh = WatchSet((CONFIG, SRC), (LIB,), SRC / "generated")
    former = WatchSet((CONFIG, LIB), (Path("/x"),), LIB / "generated")
    assert fresh.union(former) == WatchSet((CONFIG, LIB, SRC), (LIB, Path("/x")), SRC / "generated")
    assert fresh.union(None) is fresh


def test_what_is_watched_besides_lies_in_none_of_the_rest() -> None:
    watch = WatchSet((LIB, SRC), candidates=(Path("/q/b.py"),))
    paths = (SRC / "a.py", Path("/q/b.py"), Path("/q/a.py"), Path("/project/src2"), LIB)
    assert watch.uncovered(paths) == (Path("/project/src2"), Path("/q/a.py"))
    assert watch.with_paths(paths).paths == (LIB, SRC, Path("/project/src2"), Path("/q/a.py"), Path("/q/b.py"))
    assert watch.with_paths((SRC,)) is watch


@pytest.mark.parametrize(
    "name",
    [
        "__pycache__",
        ".pytest_cache",
        ".mypy_cache",
        ".ruff_cache",
        ".git",
        ".lastgood",
        "a.py~",
        ".a.py.swp",
        ".a.py.swpx",
        ".a.py.swx",
        "4913",
        ".#a.py",
        "#a.py#",
        "a.py___jb_tmp___",
        "a.py___jb_old___",
        ".a.py.kate-swp",
        ".goutputstream-AB12CD",
        "a.py.tmp",
        "a.py.tmp.4711",
        "a.py.bak",
        ".DS_Store",
    ],
)
def test_caches_and_editors_temporary_files_are_ignored(name: str) -> None:
    assert is_ignored_name(name)


@pytest.mark.parametrize("name", ["a.py", "data.json", "tmp", "git", ".hidden.py", "bak.py"])
def test_sources_are_not_ignored(name: str) -> None:
    assert not is_ignored_name(name)


A, B = SRC / "a.py", SRC / "b.py"


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ({SRC: {A: "1"}}, {SRC: {A: "1"}}, set()),
        ({SRC: {A: "1"}}, {SRC: {A: "2"}}, {A}),
        ({SRC: {A: "1"}}, {SRC: {A: "1", B: "1"}}, {B}),
        ({SRC: {A: "1", B: "1"}}, {SRC: {B: "1"}}, {A}),
        ({SRC: {A: "1"}}, {LIB: {LIB / "c.py": "1"}}, set()),
        ({SRC: {}, LIB: {}}, {SRC: {A: "1"}}, {A}),
    ],
    ids=["same bytes", "changed", "added", "removed", "of another root", "of one that has no files"],
)
def test_an_edit_is_a_change_of_bytes_in_a_root_that_was_read_before(
    before: dict[Path, dict[Path, str]], after: dict[Path, dict[Path, str]], changed: set[Path]
) -> None:
    assert differing(before, after) == changed


def test_merge_adds_only_what_is_new_and_restrict_keeps_only_what_is_named() -> None:
    known = {SRC: {A: "1"}}
    fresh = {SRC: {A: "2"}, LIB: {LIB / "c.py": "1"}}
    assert merge(known, fresh) == {SRC: {A: "1"}, LIB: {LIB / "c.py": "1"}}
    assert restrict(fresh, [LIB, CONFIG]) == {LIB: {LIB / "c.py": "1"}}
