"""Promotion on real files: the claim, what is in the way, and a fault and a kill at every single system call (contract §5)."""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem

from lastgood.errors import AlreadyWatched, PromotionError, UnmanagedFile
from lastgood.store import disk
from lastgood.store.disk import Disk
from lastgood.store.file_system import digest_of
from lastgood.store.header import with_header
from lastgood.store.promotion import OutputDirectory, Promoting
from lastgood.store.trees import make_directories, read_sealed, remove_tree, staged_files, staged_place, write_sealed

Tree = dict[str, tuple[bytes, int, int]]

OLD = {
    "__init__.py": "",
    "same.py": "same",
    "changed.py": "old",
    "removed.py": "goes",
    "emptied/deep/mod.py": "goes, and its directories",
    "edited.py": "generated",
    "file.py": "a directory in the next",
    "directory.py/file.py": "a file in the next",
}
NEW = {
    "__init__.py": "",
    "same.py": "same",
    "changed.py": "new",
    "edited.py": "generated anew",
    "fresh/deep/mod.py": "new, with its directories",
    "file.py/within.py": "was a file",
    "directory.py": "was a directory",
}
TOUCHED = ("changed.py", "removed.py", "emptied/deep/mod.py", "edited.py")


def claim(path: Path, pid: int = 1) -> OutputDirectory:
    return OutputDirectory.claim(Disk(), path, pid)


def staged(output: OutputDirectory, texts: dict[str, str]) -> Promoting:
    where = output.home / "stage-1"
    for name, text in texts.items():
        make_directories(Disk(), (where / name).parent)
        Disk().write(staged_place(where, name), with_header(name, text))
    digests = {name: digest_of(with_header(name, text)) for name, text in texts.items()}
    return Promoting(output, where, digests)


def promote(output: OutputDirectory, texts: dict[str, str]) -> None:
    promoting = staged(output, texts)
    promoting.apply()
    promoting.commit()
    promoting.sweep()
    remove_tree(Disk(), promoting.stage)


def put_bytecode(path: Path) -> None:
    """As imports of every wrapper leave it."""
    for source in [*path.rglob("*.py")]:
        (source.parent / "__pycache__").mkdir(exist_ok=True)
        (source.parent / "__pycache__" / f"{source.stem}.cpython-311.pyc").write_bytes(b"bytecode")


def bytecode(path: Path) -> set[str]:
    """The wrappers that have some."""
    return {
        (each.parent.parent / f"{each.name.split('.')[0]}.py").relative_to(path).as_posix()
        for each in path.rglob("__pycache__/*.pyc")
    }


def project(path: Path) -> Tree:
    """An output directory as an earlier generation and its user have left it."""
    path.parent.mkdir(parents=True)
    output = claim(path)
    promote(output, OLD)
    output.release()
    (path / "edited.py").write_text("edited by hand\n")
    (path / "notes.txt").write_text("somebody else's\n")
    for number, file in enumerate(sorted(path.rglob("*.*"))):
        os.chmod(file, 0o600 + 8 * number)
        os.utime(file, ns=(10**18 + number, 10**18 + number))
    os.chmod(path / "emptied", 0o750)
    os.chmod(path / "emptied" / "deep", 0o700)
    return tree(path)


def tree(path: Path) -> Tree:
    """Every file with its bytes, mode and time, every directory with its mode; caches left out."""
    found: Tree = {}
    for each in sorted(path.rglob("*")):
        if "__pycache__" in each.parts:
            continue
        seen = each.lstat()
        mode = stat.S_IMODE(seen.st_mode)
        found[each.relative_to(path).as_posix()] = (
            (b"", mode, 0) if each.is_dir() else (each.read_bytes(), mode, seen.st_mtime_ns)
        )
    return found


def files_of(found: Tree) -> set[str]:
    return {name for name, (_, _, modified) in found.items() if modified}


def home(path: Path) -> Path:
    return path.parent / ".lastgood" / path.name


def leftovers(path: Path) -> list[str]:
    return sorted({each.name for each in home(path).iterdir()} - {"lock", "pid", "manifest.json"})


# --- the claim


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


# --- what a generator says it wrote


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("/etc/passwd", "not a path inside the stage"),
        ("../../kept.py", "not a path inside the stage"),
        ("a/../../kept.py", "not a path inside the stage"),
        ("", "not a path inside the stage"),
        (".", "not a path inside the stage"),
        ("missing.py", "no such file"),
        ("directory", "no such file"),
        ("link.py", "no such file"),
        ("through/kept.py", "symbolic link"),
        ("\udcff.py", "UTF-8"),
    ],
)
def test_files_that_a_generator_cannot_have_written_are_refused(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept.py").touch()
    stage = tmp_path / "stage"
    (stage / "directory").mkdir(parents=True)
    (stage / "link.py").symlink_to(tmp_path / "elsewhere" / "kept.py")
    (stage / "through").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PromotionError, match=problem):
        staged_files(Disk(), stage, [name])


def test_files_are_told_by_their_relative_paths_sorted(tmp_path: Path) -> None:
    for name in ("b.py", "a/c.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert [*staged_files(Disk(), tmp_path, [Path("b.py"), "./a/c.py", "b.py"])] == ["a/c.py", "b.py"]


# --- what is in the way


@pytest.mark.parametrize("what", ["a file", "a directory", "a link", "a file where a directory belongs", "unreadable"])
def test_what_is_not_ours_stays_and_is_named(tmp_path: Path, what: str) -> None:
    path = tmp_path / "generated"
    output = claim(path)
    path.mkdir()
    at = path / "shop" / "a.py" if what != "a file where a directory belongs" else path / "shop"
    at.parent.mkdir(exist_ok=True)
    match what:
        case "a directory":
            at.mkdir()
        case "a link":
            at.symlink_to(tmp_path / "elsewhere")
        case _:
            at.write_text("mine\n")
    before = {each: each.lstat() for each in path.rglob("*")}
    promoting = staged(output, {"first.py": "1", "shop/a.py": "1"})
    with pytest.raises(UnmanagedFile) as caught:
        promoting.apply()
    assert caught.value.path == at
    promoting.undo()
    assert {each: each.lstat() for each in path.rglob("*")} == before
    assert leftovers(path) == ["stage-1"]
    output.release()


def test_what_somebody_puts_there_in_the_meantime_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "generated"

    class Raced(Disk):
        def barrier(self, paths: Sequence[Path]) -> None:
            super().barrier(paths)
            (path / "a.py").parent.mkdir(exist_ok=True)
            (path / "a.py").write_text("mine\n")

    output = claim(path)
    path.mkdir()
    promoting = staged(output, {"a.py": "1"})
    output.files = Raced()
    with pytest.raises(PromotionError, match="File exists"):
        promoting.apply()
    promoting.undo()
    assert (path / "a.py").read_text() == "mine\n"
    output.release()


def test_the_same_once_more_touches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "generated"
    output = claim(path)
    promote(output, NEW)

    class Untouchable(Disk):
        def write(self, path: Path, data: bytes) -> None:
            raise AssertionError(path, data)

    promoting = staged(output, NEW)
    output.files = Untouchable()
    promoting.apply()
    promoting.commit()
    promoting.undo()
    output.files = Disk()
    output.release()
    assert files_of(tree(path)) == {*NEW}


def test_a_wrapper_that_is_replaced_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "project" / "generated"
    before = project(path)
    output = claim(path)
    promote(output, NEW)
    output.release()
    after = tree(path)
    assert {name: after[name][1] for name in ("changed.py", "edited.py", "same.py")} == {
        name: before[name][1] for name in ("changed.py", "edited.py", "same.py")
    }
    assert after["same.py"] == before["same.py"]
    assert after["edited.py.edited"] == before["edited.py"], "the very file, kept aside"


def test_a_wrapper_that_cannot_be_read_is_not_called_somebody_elses(tmp_path: Path) -> None:
    path = tmp_path / "project" / "generated"
    before = project(path)
    output = claim(path)
    promoting = staged(output, NEW)

    class Worn(Disk):
        def read(self, path: Path) -> bytes:
            if path.name == "changed.py":
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            return super().read(path)

    output.files = Worn()
    with pytest.raises(PromotionError, match="Input/output error") as caught:
        promoting.apply()
    assert not isinstance(caught.value, UnmanagedFile)
    assert caught.value.path == path / "changed.py"
    promoting.undo()
    assert tree(path) == before
    output.release()


# --- bytecode


def test_the_bytecode_of_what_is_written_or_removed_goes_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "generated"
    project(path / "x")
    path = path / "x"
    put_bytecode(path)
    output = claim(path)
    promote(output, NEW)
    output.release()
    assert bytecode(path) == {"__init__.py", "same.py"}


def test_the_bytecode_of_what_is_restored_goes(tmp_path: Path) -> None:
    path = tmp_path / "project" / "generated"
    before = project(path)
    output = claim(path)
    promoting = staged(output, NEW)
    promoting.apply()
    put_bytecode(path)  # somebody imports the new wrappers
    promoting.undo()
    output.release()
    assert tree(path) == before
    assert bytecode(path) == {"__init__.py", "same.py"}


# --- every system call


class Killed(BaseException):
    """The process is gone: nothing may catch this, and nothing is done any more."""


Fault = Callable[[], BaseException]


CALLS = frozenset(("open", "write", "close", "fsync", "replace", "link", "unlink", "mkdir", "rmdir", "chmod", "utime"))
LOOKS = frozenset(("stat", "lstat", "listdir", "scandir"))


class FaultyOs:
    """:mod:`os` as :mod:`lastgood.store.disk` sees it: one call in it raises. Once killed, all that follow do."""

    def __init__(self, system: ModuleType) -> None:
        self._system = system
        self.names: list[str] = []
        self.at = 0
        self.fault: Fault = Killed
        self.acts = False
        self.refused = ""

    def arm(self, at: int, fault: Fault, *, acts: bool = False) -> None:
        """From here on calls count, and the one of this number raises."""
        self.names = []
        self.at, self.fault, self.acts = at, fault, acts

    def rest(self) -> int:
        """From here on everything goes well. How many calls there have been."""
        self.at = 0
        return len(self.names)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._system, name)
        if name == "fsync":
            found = _flushed
        return self.counted(name, found) if name in CALLS | LOOKS else found

    def counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **more: Any) -> Any:
            if name == self.refused:
                raise OSError(errno.EPERM, os.strerror(errno.EPERM))
            if self.at:
                self.names.append(name)
            reached = len(self.names)
            if not self.at or reached < self.at or (reached > self.at and self.fault is not Killed):
                return call(*args, **more)
            # A file that is made and not opened there is not, and a descriptor that stays open would only be lost.
            if (self.acts and reached == self.at and name not in ("open", "read")) or name == "close":
                call(*args, **more)
            raise self.fault()

        return counted


def _flushed(_descriptor: int) -> None:
    """What it would wait for makes no difference here."""


class Unlocked:
    """A lock that nobody else wants."""

    def release(self) -> None:
        """Nothing is held."""


def unlocked(_disk: Disk, path: Path, **_: object) -> Unlocked:
    """Of a process that was killed the system takes the locks; here the killed one lives on."""
    path.touch()
    return Unlocked()


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> FaultyOs:
    """Every system call of :class:`Disk`."""
    monkeypatch.setattr(Disk, "lock", unlocked)
    faulty = FaultyOs(os)
    monkeypatch.setattr(disk, "os", faulty)
    monkeypatch.setattr(disk, "open", faulty.counted("read", open), raising=False)
    return faulty


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Path]:
    """A new place for each run."""
    return (tmp_path / f"run{number}" / "generated" for number in itertools.count())


def failing(number: int) -> Fault:
    return lambda: OSError(number, os.strerror(number))


CODES = pytest.mark.parametrize(
    "number",
    [pytest.param(errno.EIO, id="EIO"), pytest.param(errno.EACCES, id="EACCES", marks=pytest.mark.torture)],
)
MOMENTS = pytest.mark.parametrize("acts", [False, True], ids=["before it acts", "after it acted"])
AFTER = {*NEW, "notes.txt", "edited.py.edited"}


@MOMENTS
@CODES
def test_a_fault_at_every_system_call_is_undone_byte_for_byte(
    system: FaultyOs, paths: Iterator[Path], number: int, acts: bool
) -> None:
    path = next(paths)
    before = project(path)
    undone = 0
    for at in itertools.count(1):
        put_bytecode(path)
        output = claim(path)
        promoting = staged(output, NEW)
        system.arm(at, failing(number), acts=acts)
        try:
            promoting.apply()
            promoting.commit()
        except (OSError, PromotionError):
            system.rest()
            promoting.undo()
            assert tree(path) == before, (at, system.names[-1])
            assert leftovers(path) == ["stage-1"], (at, system.names[-1])
            output.release()
            undone += 1
            continue
        # A fault need not stop it: a link can be a copy, and what is none of ours need not be read.
        reached = system.rest()
        assert {*NEW} <= files_of(tree(path)), (at, system.names[at - 1])
        assert not bytecode(path) & {*NEW} & {*TOUCHED}, (at, system.names[at - 1])
        if reached < at:
            break
        path = next(paths)
        before = project(path)
    assert undone > 100


@CODES
def test_a_fault_at_every_system_call_of_an_undoing_is_told_and_made_good_later(
    system: FaultyOs, paths: Iterator[Path], number: int
) -> None:
    path = next(paths)
    before = project(path)
    told = 0
    for at in itertools.count(1):
        output = claim(path)
        promoting = staged(output, NEW)
        promoting.apply()
        put_bytecode(path)
        system.arm(at, failing(number))
        try:
            promoting.undo()
        except OSError:
            told += 1
            system.rest()
            output.recover()
        reached = system.rest()
        assert tree(path) == before, (at, system.names[-1])
        assert not bytecode(path) & {*TOUCHED}, (at, system.names[-1])
        output.release()
        if reached < at:
            break
    assert told > 50


def test_a_kill_at_every_system_call_comes_back_to_the_old_until_the_commit(
    system: FaultyOs, paths: Iterator[Path]
) -> None:
    path = next(paths)
    before = project(path)
    for at in itertools.count(1):
        promoting = staged(claim(path), NEW)
        system.arm(at, Killed)
        with suppress(Killed):
            promoting.apply()
            promoting.commit()
        if system.rest() < at:
            break
        put_bytecode(path)  # what was imported in the meantime
        output = claim(path, pid=2)
        assert tree(path) == before, (at, system.names[-1])
        assert leftovers(path) == []
        assert not output.recovered or not bytecode(path) & {*TOUCHED}, (at, system.names[-1])
        output.release()
    assert at > 100
    claim(path, pid=2).release()
    assert files_of(tree(path)) == AFTER
    assert leftovers(path) == []


def test_a_kill_at_every_system_call_of_a_recovery_comes_back_all_the_same(
    system: FaultyOs, paths: Iterator[Path]
) -> None:
    path = next(paths)
    before = project(path)
    for at in itertools.count(1):
        staged(claim(path), NEW).apply()
        system.arm(at, Killed)
        with suppress(Killed):
            claim(path, pid=2).release()
        reached = system.rest()
        if reached >= at:
            put_bytecode(path)
            output = claim(path, pid=3)
            assert not output.recovered or not bytecode(path) & {*TOUCHED}, (at, system.names[-1])
            output.release()
        assert tree(path) == before, (at, system.names[-1])
        assert leftovers(path) == []
        if reached < at:
            break
    assert at > 50


def test_a_claim_that_is_killed_at_every_system_call_can_be_made_again(system: FaultyOs, paths: Iterator[Path]) -> None:
    for at in itertools.count(1):
        path = next(paths)
        path.parent.mkdir()
        system.arm(at, Killed)
        with suppress(Killed):
            claim(path).release()
        reached = system.rest()
        claim(path, pid=2).release()
        assert [each.name for each in home(path).iterdir()] == ["lock"]
        around = path.parent / ".lastgood"
        assert (around / ".gitignore").read_bytes() == b"*\n", (at, system.names[-1])
        assert [each.name for each in around.iterdir() if each.is_file()] == [".gitignore"]
        if reached < at:
            break
    assert at > 10


def test_a_disk_that_is_really_full_changes_nothing(fs: FakeFilesystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Disk, "lock", unlocked)
    path = Path("/run/generated")
    before = project(path)
    output = claim(path)
    fs.set_disk_usage(10**6)
    for room in itertools.count(0, 100):
        promoting = staged(output, NEW)
        Path("/ballast").write_bytes(b"x" * (fs.get_disk_usage("/")[2] - room))
        refused = False
        try:
            promoting.apply()
        except PromotionError as error:
            refused = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENOSPC
        Path("/ballast").unlink()
        if not refused:
            break
        promoting.undo()
        assert tree(path) == before
        assert leftovers(path) == ["stage-1"]
        remove_tree(Disk(), promoting.stage)
    assert room > 500
    promoting.commit()
    assert files_of(tree(path)) == AFTER


def test_what_a_kill_left_is_recovered_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run" / "generated"
    before = project(path)
    killed = claim(path, pid=9)
    staged(killed, NEW).apply()
    killed.lock.release()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Disk, "write", full)
        output = claim(path)
    assert output.recovered
    assert tree(path) == before
    with pytest.raises(AlreadyWatched) as caught:
        claim(path)
    assert caught.value.pid is None
    output.release()


def test_without_hard_links_copies_do_as_well(system: FaultyOs, paths: Iterator[Path]) -> None:
    path = next(paths)
    before = project(path)
    output = claim(path)
    system.arm(0, Killed)
    system.refused = "link"
    promoting = staged(output, NEW)
    promoting.apply()
    promoting.undo()
    assert tree(path) == before
    remove_tree(Disk(), promoting.stage)
    promoting = staged(output, NEW)
    promoting.apply()
    promoting.commit()
    assert files_of(tree(path)) == AFTER


def test_without_hard_links_a_copy_that_fails_leaves_no_part_of_it(system: FaultyOs, paths: Iterator[Path]) -> None:
    path = next(paths)
    before = project(path)
    output = claim(path)
    system.refused = "link"
    for at in itertools.count(1):
        promoting = staged(output, NEW)
        system.arm(at, failing(errno.ENOSPC), acts=True)
        with suppress(PromotionError):
            promoting.apply()
        reached = system.rest()
        promoting.undo()
        assert tree(path) == before, (at, system.names[-1])
        assert leftovers(path) == ["stage-1"], (at, system.names[-1])
        remove_tree(Disk(), promoting.stage)
        if reached < at:
            break
    assert at > 100
