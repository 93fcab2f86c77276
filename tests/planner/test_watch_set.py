"""lastgood.planner.watch_set: what is watched, what is ignored, what an edit is."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood.planner.watch_set import (
    Rules,
    WatchSet,
    differing,
    is_ignored_name,
    merge,
    overlay,
    restrict,
    update,
)

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


def test_a_union_is_polled_only_if_both_are() -> None:
    native, slow, quick = (WatchSet((SRC,), poll=poll) for poll in (0.0, 1.0, 0.5))
    assert slow.union(quick).poll == 0.5
    assert native.union(slow).poll == slow.union(native).poll == 0


def test_what_is_watched_besides_lies_in_none_of_the_rest() -> None:
    watch = WatchSet((LIB, SRC), candidates=(Path("/q/b.py"),))
    paths = (SRC / "a.py", Path("/q/b.py"), Path("/q/a.py"), Path("/project/src2"), LIB)
    assert watch.uncovered(paths) == (Path("/project/src2"), Path("/q/a.py"))
    assert watch.with_paths(paths).paths == (LIB, SRC, Path("/project/src2"), Path("/q/a.py"), Path("/q/b.py"))
    assert watch.with_paths((SRC,)) is watch


def test_a_module_below_a_directory_that_is_watched_for_other_files_is_a_path_of_its_own() -> None:
    module = SRC / "views.py"
    watch = WatchSet((SRC,), rules=Rules("/project", include=("*.html",), others=frozenset({str(SRC)})))
    assert watch.uncovered((module,)) == (module,)
    assert watch.with_paths((module,)).paths == (SRC, module)
    assert watch.with_paths((module,)).uncovered((module,)) == ()


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


def test_what_has_not_changed_stays_the_same_object() -> None:
    root, other = Path("/p/a.py"), Path("/p/b.py")
    known = {root: {root: "1"}, other: {}}
    assert merge(known, {}) is known
    assert restrict(known, (root, other)) is known
    assert overlay(known, {root: "1"}) is known
    assert overlay(known, {}) is known
    edited = overlay(known, {root: "2", other: "2"})
    assert edited == {root: {root: "2"}, other: {}}
    assert edited[other] is known[other]
    package = {root: {root / "a": "1", root / "b": "1"}}
    assert overlay(package, {root / "a": "1"}) is package
    assert overlay(package, {root / "a": "2"}) == {root: {root / "a": "2", root / "b": "1"}}
    again = {root: {root: "1"}, other: {}}
    assert update(known, again) is again


def test_an_update_keeps_the_roots_that_were_not_read() -> None:
    root, other = Path("/p/a.py"), Path("/p/b.py")
    assert update({root: {root: "1"}}, {other: {other: "1"}}) == {root: {root: "1"}, other: {other: "1"}}
    assert update({root: {root: "1"}, other: {}}, {root: {}}) == {root: {}, other: {}}


def test_roots_are_found_by_directory_and_name_and_a_directory_comes_before_those_in_it() -> None:
    watched = WatchSet((Path("/p/a.py"),), (Path("/p/a/__init__.py"), Path("/p/b.py")))
    assert watched.by_directory == {
        "/p": {"a.py": Path("/p/a.py"), "b.py": Path("/p/b.py")},
        "/p/a": {"__init__.py": Path("/p/a/__init__.py")},
    }
    assert list(watched.by_directory) == ["/p", "/p/a"]


def test_links_that_are_nothing_else_are_not_looked_for_by_directory() -> None:
    watched = WatchSet(
        (Path("/p/a.py"),), (Path("/q/b.py"),), links=(Path("/current"), Path("/p/a.py"), Path("/q/b.py"))
    )
    assert watched.bare_links == (Path("/current"),)
    assert list(watched.by_directory) == ["/p", "/q"]
    assert Path("/current") in watched.roots


def test_what_covers_another_set_has_all_of_its_roots() -> None:
    small, large = WatchSet((Path("/p/a.py"),)), WatchSet((Path("/p/a.py"),), (Path("/p/b.py"),), Path("/p/out"))
    assert small.includes(small)
    assert large.includes(small)
    assert not small.includes(large)
    assert small.counts_as(WatchSet(()))
    assert not small.counts_as(large)


def test_merge_adds_only_what_is_new_and_restrict_keeps_only_what_is_named() -> None:
    known = {SRC: {A: "1"}}
    fresh = {SRC: {A: "2"}, LIB: {LIB / "c.py": "1"}}
    assert merge(known, fresh) == {SRC: {A: "1"}, LIB: {LIB / "c.py": "1"}}
    assert restrict(fresh, [LIB, CONFIG]) == {LIB: {LIB / "c.py": "1"}}


# --- what counts below a root

TREE = "/project/src/shop"


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("a.py", True),
        ("deep/a.pyi", True),
        ("a.cpython-311-x86_64-linux-gnu.so", True),
        ("a.txt", False),
        ("py", False),
    ],
)
def test_in_a_package_tree_what_can_be_imported_counts(path: str, counts: bool) -> None:
    assert Rules("/project", frozenset({TREE})).takes(TREE, f"{TREE}/{path}") is counts
    assert Rules("/project").takes(TREE, f"{TREE}/{path}"), "elsewhere everything does"


GLOBS = [
    ("*.log", "errors.log", True),
    ("*.log", "deep/er/errors.log", True),
    ("*.log", "log", False),
    ("data", "data/vat.json", True),
    ("data/", "data/deep/vat.json", True),
    ("data/*.json", "data/vat.json", True),
    ("data/*.json", "data/deep/vat.json", False),
    ("data/**/*.json", "data/vat.json", True),
    ("data/**/*.json", "data/deep/er/vat.json", True),
    ("data/**", "data/deep/vat.json", True),
    ("data/**", "data", False),
    ("**/vat.json", "vat.json", True),
    ("src/shop/data/**", "data/vat.json", True),
    ("shop/data/**", "data/vat.json", False),
    ("v?t.json", "vat.json", True),
    ("v?t.json", "vt.json", False),
    ("[uv]at.[!x]son", "vat.json", True),
    ("[!uv]at.json", "vat.json", False),
    ("a.b", "axb", False),
    ("x(y", "x(y", True),
]


@pytest.mark.parametrize(("glob", "path", "matches"), GLOBS)
def test_globs_name_files_by_name_or_below_the_config_or_the_root(glob: str, path: str, matches: bool) -> None:
    included = Rules("/project", frozenset({TREE}), include=(glob,))
    ignored = Rules("/project", frozenset(), ignore=("nothing", glob))
    assert included.takes(TREE, f"{TREE}/{path}") is matches
    assert ignored.takes(TREE, f"{TREE}/{path}") is not matches


def test_ignore_wins_over_include() -> None:
    assert not Rules("/project", frozenset({TREE}), ("*.json",), ("vat.json",)).takes(TREE, f"{TREE}/vat.json")


def test_rules_of_no_config_give_way() -> None:
    former = Rules("/project", frozenset({TREE}), ("*.json",))
    assert Rules().union(former) == former
    fresh = Rules("/project", frozenset({"/project/lib"}), (), ("*.log",))
    assert fresh.union(former) == Rules("/project", frozenset({TREE, "/project/lib"}), (), ("*.log",))


CONCERNS = {
    "/p/src/shop": True,  # a root
    "/p/src/shop/deep/new.py": True,
    "/p/src": True,  # above a root
    "/p/src/shop.py": True,  # at which a new file would be another module
    "/p/src/other.py": False,
    "/p/README.md": False,
    "/elsewhere/x.py": False,
    "/p/src/shop/.a.py.swp": False,
    "/p/src/shop/__pycache__/a.pyc": False,
    "/p/src/shop/.git": True,  # above a root
    "/p/src/shop/.hg~": False,
    "/p/src/shop/.git/inside/a.py": True,  # in a root that lies there
    "/p/src/shop/out": False,  # the wrappers
    "/p/src/shop/out/a.py": False,
}


@pytest.mark.parametrize(("path", "concerns"), CONCERNS.items())
def test_a_change_of_an_entry_concerns_a_set_if_it_may_show_in_a_reading(path: str, concerns: bool) -> None:
    roots = (Path("/p/src/shop"), Path("/p/src/shop/.git/inside"))
    watch = WatchSet(roots, (Path("/p/src/shop.py"),), Path("/p/src/shop/out"))
    assert watch.concerns(path) is concerns


def test_everything_concerns_the_root_directory() -> None:
    assert WatchSet((Path("/"),)).concerns("/x.py")
