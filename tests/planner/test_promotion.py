"""lastgood.planner.promotion: two trees -> file operations."""

from __future__ import annotations

from collections.abc import Mapping
from posixpath import dirname

import pytest
from hypothesis import given, settings
from returns.result import Failure, Success

from lastgood.effects import (
    FileOperation,
    KeepCopy,
    MakeDirectory,
    RemoveDirectory,
    RemoveFile,
    ReplaceFile,
    SetAside,
    WriteFile,
)
from lastgood.planner.promotion import Clash, Existing, Promotion, plan_promotion
from strategies import Trees, trees

TOP = Existing("directory")
DIRECTORY = Existing("directory")
LINK = Existing("other")
THEIRS = Existing("file", "theirs")


KEPT = ".lastgood/generated/kept"


def wrapper(digest: str, *, converted_from: str = "", intact: bool = False) -> Existing:
    """A file with lastgood's header."""
    return Existing("file", digest, converted_from or digest, intact)


def edited(digest: str) -> Existing:
    """A file without it."""
    return Existing("file", digest)


def promotion(
    before: Mapping[str, Existing], staged: Mapping[str, str], managed: Mapping[str, str] | None = None
) -> Promotion:
    match plan_promotion(before, staged, {} if managed is None else managed, KEPT):
        case Success(planned):
            return planned
        case Failure(clash):
            raise AssertionError(f"{clash} was not expected")


PLANS: dict[str, tuple[dict[str, Existing], dict[str, str], dict[str, str], list[FileOperation]]] = {
    "nothing into nothing": ({}, {}, {}, []),
    "the first time, with the directory itself": (
        {},
        {"a.py": "1", "shop/b.py": "2"},
        {},
        [MakeDirectory(""), MakeDirectory("shop"), WriteFile("a.py"), WriteFile("shop/b.py")],
    ),
    "a new file": ({"": TOP}, {"a.py": "1"}, {}, [WriteFile("a.py")]),
    "a changed file": ({"": TOP, "a.py": wrapper("1")}, {"a.py": "2"}, {"a.py": "1"}, [ReplaceFile("a.py")]),
    "equal content gives none": ({"": TOP, "a.py": wrapper("1")}, {"a.py": "1"}, {"a.py": "1"}, []),
    "a removed file": ({"": TOP, "a.py": wrapper("1")}, {}, {"a.py": "1"}, [RemoveFile("a.py")]),
    "managed, and gone already": ({"": TOP}, {}, {"a.py": "1"}, []),
    "ours by the header alone, as in a fresh clone": (
        {"": TOP, "a.py": wrapper("1"), "b": DIRECTORY, "b/c.py": wrapper("1")},
        {"a.py": "2"},
        {},
        [
            KeepCopy("a.py", f"{KEPT}/1/a.py"),
            KeepCopy("b/c.py", f"{KEPT}/1/c.py"),
            ReplaceFile("a.py"),
            RemoveFile("b/c.py"),
            RemoveDirectory("b"),
        ],
    ),
    "ours by the header alone, with staged bytes": ({"": TOP, "a.py": wrapper("1")}, {"a.py": "1"}, {}, []),
    "ours by the header alone, with staged bytes but for line endings": (
        {"": TOP, "a.py": wrapper("x", converted_from="1")},
        {"a.py": "1"},
        {},
        [ReplaceFile("a.py")],
    ),
    "ours by the header alone, with a digest line that matches": (
        {"": TOP, "a.py": wrapper("1", intact=True), "b.py": wrapper("1", intact=True)},
        {"a.py": "2"},
        {},
        [ReplaceFile("a.py"), RemoveFile("b.py")],
    ),
    "line endings converted, then changed": (
        {"": TOP, "a.py": wrapper("x", converted_from="1")},
        {"a.py": "2"},
        {"a.py": "1"},
        [ReplaceFile("a.py")],
    ),
    "edited by hand below its header, then changed": (
        {"": TOP, "a.py": wrapper("x")},
        {"a.py": "2"},
        {"a.py": "1"},
        [SetAside("a.py", "a.py.edited"), ReplaceFile("a.py")],
    ),
    "ours by equal bytes alone": ({"": TOP, "a.py": THEIRS}, {"a.py": "theirs"}, {}, []),
    "what is not ours stays": ({"": TOP, "notes.txt": THEIRS, "sub": DIRECTORY, "link": LINK}, {}, {}, []),
    "edited by hand, then changed": (
        {"": TOP, "a.py": edited("x")},
        {"a.py": "2"},
        {"a.py": "1"},
        [SetAside("a.py", "a.py.edited"), ReplaceFile("a.py")],
    ),
    "edited by hand, then removed": (
        {"": TOP, "a.py": edited("x")},
        {},
        {"a.py": "1"},
        [SetAside("a.py", "a.py.edited"), RemoveFile("a.py")],
    ),
    "edited by hand, more than once": (
        {"": TOP, "a.py": edited("x"), "a.py.edited": THEIRS, "a.py.edited-2": THEIRS},
        {"a.py": "2"},
        {"a.py": "1"},
        [SetAside("a.py", "a.py.edited-3"), ReplaceFile("a.py")],
    ),
    "edited by hand into what is staged": ({"": TOP, "a.py": edited("2")}, {"a.py": "2"}, {"a.py": "1"}, []),
    "another version's wrapper is no edit": (
        {"": TOP, "a.py": wrapper("0", intact=True)},
        {"a.py": "2"},
        {"a.py": "1"},
        [ReplaceFile("a.py")],
    ),
    "emptied directories, the deepest first": (
        {"": TOP, "a": DIRECTORY, "a/b": DIRECTORY, "a/b/c.py": wrapper("1"), "a/d.py": wrapper("1")},
        {},
        {"a/b/c.py": "1", "a/d.py": "1"},
        [RemoveFile("a/b/c.py"), RemoveFile("a/d.py"), RemoveDirectory("a/b"), RemoveDirectory("a")],
    ),
    "the output directory itself stays, emptied": (
        {"": TOP, "a.py": wrapper("1")},
        {},
        {"a.py": "1"},
        [RemoveFile("a.py")],
    ),
    "a directory that holds something else stays": (
        {"": TOP, "a": DIRECTORY, "a/b.py": wrapper("1"), "a/mine.txt": THEIRS},
        {},
        {"a/b.py": "1"},
        [RemoveFile("a/b.py")],
    ),
    "a directory that holds what was set aside stays": (
        {"": TOP, "a": DIRECTORY, "a/b.py": edited("x")},
        {},
        {"a/b.py": "1"},
        [SetAside("a/b.py", "a/b.py.edited"), RemoveFile("a/b.py")],
    ),
    "a directory that was empty before is not ours": ({"": TOP, "a": DIRECTORY}, {}, {}, []),
    "a directory that is emptied and filled again": (
        {"": TOP, "a": DIRECTORY, "a/b.py": wrapper("1")},
        {"a/c.py": "1"},
        {"a/b.py": "1"},
        [WriteFile("a/c.py"), RemoveFile("a/b.py")],
    ),
    "a module becomes a package": (
        {"": TOP, "a.py": wrapper("1")},
        {"a/__init__.py": "1", "a/b.py": "2"},
        {"a.py": "1"},
        [MakeDirectory("a"), WriteFile("a/__init__.py"), WriteFile("a/b.py"), RemoveFile("a.py")],
    ),
    "a file becomes a directory: it goes first": (
        {"": TOP, "a": edited("1"), "b": wrapper("1")},
        {"a/x": "1"},
        {"a": "1", "b": "1"},
        [RemoveFile("a"), MakeDirectory("a"), WriteFile("a/x"), RemoveFile("b")],
    ),
    "a directory becomes a file: it goes first": (
        {"": TOP, "a": DIRECTORY, "a/b": DIRECTORY, "a/b/x": edited("1"), "a/y": edited("1")},
        {"a": "1"},
        {"a/b/x": "1", "a/y": "1"},
        [RemoveFile("a/b/x"), RemoveFile("a/y"), RemoveDirectory("a/b"), RemoveDirectory("a"), WriteFile("a")],
    ),
    "a package becomes a module": (
        {"": TOP, "a": DIRECTORY, "a/__init__.py": wrapper("1"), "a/b.py": wrapper("2")},
        {"a.py": "1"},
        {"a/__init__.py": "1", "a/b.py": "2"},
        [WriteFile("a.py"), RemoveFile("a/__init__.py"), RemoveFile("a/b.py"), RemoveDirectory("a")],
    ),
}


@pytest.mark.parametrize(("before", "staged", "managed", "operations"), PLANS.values(), ids=PLANS)
def test_two_trees_give_the_operations_between_them(
    before: Mapping[str, Existing],
    staged: Mapping[str, str],
    managed: Mapping[str, str],
    operations: list[FileOperation],
) -> None:
    assert [*promotion(before, staged, managed).operations] == operations


@pytest.mark.parametrize(
    ("before", "staged", "clash"),
    [
        ({"": TOP, "a.py": THEIRS}, {"a.py": "1"}, "a.py"),
        ({"": TOP, "a.py": DIRECTORY}, {"a.py": "1"}, "a.py"),
        ({"": TOP, "a.py": LINK}, {"a.py": "1"}, "a.py"),
        ({"": TOP, "a": THEIRS}, {"a/b.py": "1"}, "a"),
        ({"": TOP, "a": LINK}, {"a/b.py": "1"}, "a"),
        ({"": TOP, "a": DIRECTORY, "a/b.py": wrapper("1"), "a/mine": THEIRS}, {"a": "1"}, "a"),
        ({"": THEIRS}, {"a.py": "1"}, ""),
        ({"": TOP, "a.py": wrapper("1"), "z.py": THEIRS}, {"a.py": "2", "z.py": "1"}, "z.py"),
    ],
    ids=[
        "a file",
        "a directory where a file belongs",
        "a link",
        "a file where a directory belongs",
        "a link where a directory belongs",
        "a directory, in which not all is ours, where a file belongs",
        "a file where the output directory belongs",
        "a single clash among good ones",
    ],
)
def test_what_is_not_ours_and_in_the_way_is_a_clash_that_names_it(
    before: Mapping[str, Existing], staged: Mapping[str, str], clash: str
) -> None:
    assert plan_promotion(before, staged, {}, KEPT) == Failure(Clash(clash))


def test_a_directory_where_a_managed_file_was_is_never_removed() -> None:
    before = {"": TOP, "a.py": DIRECTORY}
    assert promotion(before, {}, {"a.py": "1"}).operations == ()
    assert plan_promotion(before, {"a.py": "2"}, {"a.py": "1"}, KEPT) == Failure(Clash("a.py"))


def test_a_hand_edited_file_is_told() -> None:
    planned = promotion({"": TOP, "a.py": edited("x")}, {"a.py": "2"}, {"a.py": "1"})
    assert planned.warnings == ("a.py had been edited by hand; it was kept as a.py.edited.",)


def test_files_whose_origin_is_unknown_are_told_in_one_warning() -> None:
    names = [f"{letter}.py" for letter in "abcdefg"]
    before = {"": TOP, **{name: wrapper("1") for name in names}}
    (warning,) = promotion(before, {"a.py": "2"}).warnings
    assert warning == (
        "a.py, b.py, c.py, d.py, e.py and 2 more may have been edited by hand: there is no record of them in .lastgood/, as in a "
        f"fresh clone. Copies stay in {KEPT} for 30 days."
    )
    assert promotion({"": TOP, "a.py": wrapper("1")}, {"a.py": "1"}).warnings == ()


def test_touched_is_what_is_written_or_removed_sorted() -> None:
    before = {"": TOP, "z.py": wrapper("1"), "m": DIRECTORY, "m/x.py": wrapper("1"), "k.py": wrapper("1")}
    planned = promotion(before, {"z.py": "2", "b/n.py": "1", "k.py": "1"}, {"z.py": "0"})
    assert planned.touched == ("b/n.py", "m/x.py", "z.py")


def apply(before: Mapping[str, Existing], staged: Mapping[str, str], planned: Promotion) -> dict[str, Existing]:
    """What the operations lead to, if each is done as it says, and asserts that it can be."""
    tree = dict(before)
    for operation in planned.operations:
        match operation:
            case MakeDirectory(path):
                assert path not in tree
                assert path == "" or tree[dirname(path)].kind == "directory"
                tree[path] = DIRECTORY
            case WriteFile(path):
                assert path not in tree
                assert tree[dirname(path)].kind == "directory"
                tree[path] = wrapper(staged[path])
            case ReplaceFile(path):
                assert tree[path].kind == "file"
                tree[path] = wrapper(staged[path])
            case RemoveFile(path):
                assert tree.pop(path).kind == "file"
            case SetAside(path, to):
                assert to not in tree
                tree[to] = edited(tree[path].digest)
            case KeepCopy(path, to):
                assert tree[path].digest in to
            case RemoveDirectory(path):
                assert tree.pop(path).kind == "directory"
                assert not [each for each in tree if each and dirname(each) == path]
    return tree


@given(trees())
@settings(derandomize=True, max_examples=150)
def test_any_two_trees(drawn: Trees) -> None:
    match plan_promotion(drawn.before, drawn.staged, drawn.managed, KEPT):
        case Failure(clash):
            standing = drawn.before[clash.path]
            assert standing.kind != "file" or clash.path not in drawn.staged or not standing.has_header
        case Success(planned):
            after = apply(drawn.before, drawn.staged, planned)
            assert {path: after[path].digest for path in drawn.staged} == drawn.staged
            for path, standing in drawn.before.items():
                ours = standing.kind == "file" and (standing.has_header or path in drawn.managed)
                if not ours and standing.kind != "directory":
                    assert after[path].digest == standing.digest, "what is not ours stays as it is"
                elif ours and path not in drawn.staged:
                    assert path not in after or after[path].kind == "directory"
            kept = {each.digest for each in after.values()}
            kept |= {drawn.before[each.path].digest for each in planned.operations if isinstance(each, KeepCopy)}
            for path in {*planned.touched} & {*drawn.before}:
                was = drawn.before[path]
                written = {drawn.managed.get(path), drawn.staged.get(path)}
                if not was.intact and written.isdisjoint({was.digest, was.converted_from}):
                    assert was.kind == "directory" or was.digest in kept, "what lastgood did not write is kept"
            assert promotion(after, drawn.staged, drawn.staged).operations == (), "once more gives nothing"
