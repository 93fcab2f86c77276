"""Reading what is watched: what counts as a difference, and what is passed over."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lastgood.planner.watch_set import WatchSet, differing
from lastgood.sources.contents import Contents
from lastgood.sources.snapshots import Reader
from lastgood.store.disk import Disk
from lastgood.store.file_system import Stat, digest_of


class Later(Disk):
    """The disk, long after its files have changed: only their signatures decide."""

    def now(self) -> float:
        return 1e10


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two files, a directory with another, and links to all three."""
    top = Path(os.path.realpath(tmp_path)) / "pkg"
    (top / "sub").mkdir(parents=True)
    for name in ("one.py", "two.py", "sub/three.py"):
        (top / name).write_text(name)
    (top / "file.py").symlink_to("one.py")
    (top / "directory").symlink_to("sub")
    return top


def link(path: Path, target: str) -> None:
    fresh = path.with_name(".fresh.swp")
    fresh.symlink_to(target)
    fresh.replace(path)


def replace(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


CHANGES: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "new bytes": (lambda top: (top / "one.py").write_text("eno.py"), {"one.py"}),
    "new bytes behind a link": (lambda top: (top / "directory" / "three.py").write_text("new"), {"sub/three.py"}),
    "a new file": (lambda top: (top / "sub" / "new.py").touch(), {"sub/new.py"}),
    "a file that goes": (lambda top: (top / "two.py").unlink(), {"two.py"}),
    "a new link": (lambda top: link(top / "new.py", "one.py"), {"new.py"}),
    "a link that leads elsewhere": (lambda top: link(top / "file.py", "two.py"), {"file.py"}),
    "a link that leads nowhere": (lambda top: link(top / "file.py", "nowhere.py"), {"file.py"}),
    "a link to a directory that leads elsewhere": (lambda top: link(top / "directory", "."), {"directory"}),
    "a link that goes": (lambda top: (top / "file.py").unlink(), {"file.py"}),
    "a link that becomes a file of the same bytes": (lambda top: replace(top / "file.py", "one.py"), {"file.py"}),
    "a touch": (lambda top: os.utime(top / "one.py", (1, 1)), set()),
    "another mode": (lambda top: (top / "one.py").chmod(0o600), set()),
    "the same bytes again": (lambda top: (top / "one.py").write_text("one.py"), set()),
    "a link made anew": (lambda top: link(top / "file.py", "one.py"), set()),
    "an empty directory": (lambda top: (top / "empty").mkdir(), set()),
    "a FIFO": (lambda top: os.mkfifo(top / "pipe.py"), set()),
    "a link in a circle": (lambda top: link(top / "sub" / "up", ".."), {"sub/up"}),
}


@pytest.mark.parametrize(("change", "paths"), CHANGES.values(), ids=CHANGES)
def test_what_differs_from_one_reading_to_the_next(
    change: Callable[[Path], object], paths: set[str], tree: Path
) -> None:
    reader, watched = Reader(Contents(Later())), WatchSet((tree,))
    before = reader.read(watched)
    change(tree)
    after = reader.read(watched)
    assert {path.relative_to(tree).as_posix() for path in differing(before, after)} == paths


def test_names_of_any_bytes_are_read(tree: Path) -> None:
    names = [os.fsdecode(name) for name in (b"a\nb.py", b"caf\xe9.py", b" .py")]
    for name in names:
        (tree / name).touch()
    assert {tree / name for name in names} <= set(Reader(Contents(Later())).read(WatchSet((tree,)))[tree])


def test_caches_are_passed_over_at_any_depth_but_a_root_is_judged_by_nothing_above_it(tmp_path: Path) -> None:
    root = Path(os.path.realpath(tmp_path)) / ".git" / "__pycache__" / "a.bak"
    for name in ("a.py", "sub/__pycache__/a.pyc", ".git/index", "sub/.a.py.swp"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    assert set(Reader(Contents(Later())).read(WatchSet((root,)))[root]) == {root / "a.py"}


@pytest.mark.parametrize(
    ("root", "read"),
    [
        ("src", {"src/a.py", "src/generated_too/a.py"}),
        ("src/generated", {"src/generated/a.py", "src/generated/lib/a.py"}),
        ("src/generated/lib", {"src/generated/lib/a.py"}),
    ],
    ids=["above it", "it is a source", "a source inside of it"],
)
def test_the_output_directory_inside_a_source_is_passed_over(root: str, read: set[str], tmp_path: Path) -> None:
    top = Path(os.path.realpath(tmp_path))
    for name in ("src/a.py", "src/generated/a.py", "src/generated/lib/a.py", "src/generated_too/a.py"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).touch()
    found = Reader(Contents(Later())).read(WatchSet((top / root,), output=top / "src/generated"))
    assert {path.relative_to(top).as_posix() for path in found[top / root]} == read


class Counting(Later):
    """Counts what is asked about directories."""

    def __init__(self) -> None:
        self.listed: list[str] = []
        self.examined: list[Path] = []

    def scan(self, directory: str) -> dict[str, str]:
        self.listed.append(directory)
        return super().scan(directory)

    def stat(self, path: Path, *, follow: bool = False) -> Stat | None:
        self.examined.append(path)
        return super().stat(path, follow=follow)


def test_a_reading_lists_each_directory_once_and_examines_none_also_when_some_have_changed(tmp_path: Path) -> None:
    top = Path(os.path.realpath(tmp_path)) / "pkg"
    directories = [top, *(top / f"d{number // 10}" / f"e{number}" for number in range(50))]
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "data.py").touch()
    disk, watched = Counting(), WatchSet((top,))
    reader = Reader(Contents(disk))
    reader.read(watched)
    changes: list[Callable[[], object]] = [
        lambda: None,
        (top / "d3/e31/new.py").touch,
        (top / "d3/e31/data.py").unlink,
        (top / "d9").mkdir,
    ]
    for change in changes:
        change()
        disk.listed.clear()
        disk.examined.clear()
        before = set(reader.read(watched)[top])
        assert len(disk.listed) == len(set(disk.listed))
        assert len(disk.listed) == 1 + sum(1 for path in (top, *top.rglob("*")) if path.is_dir())
        assert not [path for path in disk.examined if path.is_dir() and path != top]
        assert before == set(top.rglob("*.py"))


def test_a_large_file_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(256)) * 20_000
    (tmp_path / "data.bin").write_bytes(data)
    monkeypatch.setattr(Later, "read", None)
    (found,) = Reader(Contents(Later())).read(WatchSet((tmp_path,))).values()
    assert set(found.values()) == {digest_of(data)}
