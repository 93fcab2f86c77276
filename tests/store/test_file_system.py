"""lastgood.store.disk and memory_files: what every file system promises, on the disk and in memory; and what only a disk has."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from lastgood.store import disk
from lastgood.store.disk import Disk
from lastgood.store.file_system import FileSystem, digest_of
from lastgood.store.memory_files import MemoryFiles


@pytest.fixture(params=["disk", "memory"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[FileSystem, Path]:
    """A file system, and an empty directory in it."""
    if request.param == "disk":
        return Disk(), tmp_path
    files = MemoryFiles()
    files.put(Path("/top/x"), b"")
    files.unlink(Path("/top/x"))
    return files, Path("/top")


def mode_of(files: FileSystem, path: Path) -> int:
    standing = files.stat(path)
    assert standing is not None
    return standing.mode


def kind_of(files: FileSystem, path: Path) -> str | None:
    standing = files.stat(path)
    return None if standing is None else standing.kind


def signature_of(files: FileSystem, path: Path) -> tuple[int, ...]:
    standing = files.stat(path)
    assert standing is not None
    return standing.signature


def test_a_file_is_written_once(both: tuple[FileSystem, Path]) -> None:
    files, top = both
    files.write(top / "a", b"1")
    assert files.read(top / "a") == b"1"
    with pytest.raises(FileExistsError):
        files.write(top / "a", b"2")
    assert files.read(top / "a") == b"1"


def test_a_replaced_file_keeps_its_mode_and_its_identity(both: tuple[FileSystem, Path]) -> None:
    files, top = both
    files.write(top / "new", b"new")
    files.chmod(top / "new", 0o640)
    files.write(top / "old", b"old")
    before = signature_of(files, top / "new")[:-1]
    files.replace(top / "new", top / "old")
    assert files.read(top / "old") == b"new"
    assert mode_of(files, top / "old") == 0o640
    assert signature_of(files, top / "old")[: len(before)] == before
    assert files.children(top) == ["old"]


def test_a_link_is_a_second_name_that_stays_when_the_first_goes(both: tuple[FileSystem, Path]) -> None:
    files, top = both
    files.write(top / "a", b"1")
    files.link(top / "a", top / "b")
    files.unlink(top / "a")
    assert files.read(top / "b") == b"1"


def test_a_link_overwrites_nothing(both: tuple[FileSystem, Path]) -> None:
    files, top = both
    files.write(top / "a", b"1")
    files.write(top / "b", b"2")
    with pytest.raises(FileExistsError):
        files.link(top / "a", top / "b")


def test_a_file_that_replaces_its_own_second_name_leaves_both(both: tuple[FileSystem, Path]) -> None:
    files, top = both
    files.write(top / "a", b"1")
    files.link(top / "a", top / "b")
    files.replace(top / "a", top / "b")
    assert files.children(top) == ["a", "b"]


def test_directories_are_made_and_removed_one_at_a_time(both: tuple[FileSystem, Path]) -> None:
    files, top = both
    files.mkdir(top / "d")
    files.write(top / "d" / "a", b"")
    assert (files.is_dir(top / "d"), files.is_file(top / "d"), files.is_file(top / "d" / "a")) == (True, False, True)
    assert (kind_of(files, top / "d"), kind_of(files, top / "d" / "a")) == ("directory", "file")
    with pytest.raises(OSError, match="not empty"):
        files.rmdir(top / "d")
    files.unlink(top / "d" / "a")
    files.rmdir(top / "d")
    assert kind_of(files, top / "d") is None


def test_a_directory_is_moved_with_all_that_is_in_it(both: tuple[FileSystem, Path]) -> None:
    files, top = both
    files.mkdir(top / "d")
    files.mkdir(top / "d" / "deep")
    files.write(top / "d" / "deep" / "a", b"1")
    files.chmod(top / "d", 0o700)
    files.mkdir(top / "empty")
    files.replace(top / "d", top / "empty")
    assert files.children(top) == ["empty"]
    assert files.read(top / "empty" / "deep" / "a") == b"1"
    assert mode_of(files, top / "empty") == 0o700


ERRORS: dict[str, tuple[Callable[[FileSystem, Path], object], int]] = {
    "read what is not there": (lambda files, top: files.read(top / "no"), errno.ENOENT),
    "read a directory": (lambda files, top: files.read(top), errno.EISDIR),
    "write where there is no directory": (lambda files, top: files.write(top / "no" / "a", b""), errno.ENOENT),
    "replace by what is not there": (lambda files, top: files.replace(top / "no", top / "a"), errno.ENOENT),
    "replace a directory": (lambda files, top: files.replace(top / "a", top / "d"), errno.EISDIR),
    "replace where there is no directory": (
        lambda files, top: files.replace(top / "a", top / "no" / "a"),
        errno.ENOENT,
    ),
    "replace a file by a directory": (lambda files, top: files.replace(top / "d", top / "a"), errno.ENOTDIR),
    "replace a directory that is not empty": (lambda files, top: files.replace(top / "d", top), errno.ENOTEMPTY),
    "flush what is not there": (lambda files, top: files.barrier((top, top / "no")), errno.ENOENT),
    "link what is not there": (lambda files, top: files.link(top / "no", top / "b"), errno.ENOENT),
    "unlink what is not there": (lambda files, top: files.unlink(top / "no"), errno.ENOENT),
    "make what is there": (lambda files, top: files.mkdir(top / "d"), errno.EEXIST),
    "make where there is no directory": (lambda files, top: files.mkdir(top / "no" / "d"), errno.ENOENT),
    "remove a directory that is not there": (lambda files, top: files.rmdir(top / "no"), errno.ENOENT),
    "change the mode of what is not there": (lambda files, top: files.chmod(top / "no", 0o600), errno.ENOENT),
}


@pytest.mark.parametrize(("act", "code"), ERRORS.values(), ids=ERRORS)
def test_what_cannot_be_done_is_the_systems_own_error(
    both: tuple[FileSystem, Path], act: Callable[[FileSystem, Path], object], code: int
) -> None:
    files, top = both
    files.write(top / "a", b"")
    files.mkdir(top / "d")
    with pytest.raises(OSError) as caught:  # noqa: PT011  # the code is looked at
        act(files, top)
    assert caught.value.errno == code
    assert Path(caught.value.filename).is_relative_to(top)
    assert files.children(top) == ["a", "d"]


def test_what_is_not_there_has_no_stat_and_no_children(both: tuple[FileSystem, Path]) -> None:
    files, top = both
    files.write(top / "a", b"")
    assert files.stat(top / "no") is None
    assert files.stat(top / "no" / "deeper") is None
    assert files.stat(top / "a" / "deeper") is None
    assert files.children(top / "no") == files.children(top / "a") == []
    assert files.scan(str(top / "no")) == {}
    assert files.signature(str(top / "no")) == ()


def test_children_are_sorted_names_and_a_scan_tells_what_they_are(both: tuple[FileSystem, Path]) -> None:
    files, top = both
    files.write(top / "b", b"")
    files.mkdir(top / "a")
    files.write(top / "a" / "deep", b"")
    assert files.children(top) == ["a", "b"]
    assert files.scan(str(top)) == {"a": "directory", "b": "file"}
    assert files.signature(str(top / "b")) == signature_of(files, top / "b")


def test_a_lock_is_held_by_one_and_free_again(both: tuple[FileSystem, Path]) -> None:
    files, top = both
    held = files.lock(top / "lock")
    assert held is not None
    assert files.lock(top / "lock") is None
    held.release()
    again = files.lock(top / "lock")
    assert again is not None
    again.release()
    assert files.is_file(top / "lock")


def test_a_lock_that_a_child_of_a_dead_process_holds_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed while it starts another one leaves its descriptors with that one, until it has started."""
    monkeypatch.setattr("lastgood.store.disk._LOCK_WAIT", 30.0)
    holds = "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", holds, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        assert Disk().lock(tmp_path / "lock", holder=os.getpid()) is None
        assert Disk().lock(tmp_path / "lock") is None
        threading.Timer(0.2, child.stdin.close).start()
        claim = Disk().lock(tmp_path / "lock", holder=dead.pid)
        assert claim is not None
        claim.release()


def test_a_barrier_takes_files_and_directories(both: tuple[FileSystem, Path]) -> None:
    files, top = both
    files.write(top / "a", b"")
    files.barrier((top / "a", top))


# --- the disk alone


def test_kinds(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "directory")
    (tmp_path / "nowhere").symlink_to(tmp_path / "no")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "fifo")
    disk = Disk()
    kinds = {each.name: kind_of(disk, each) for each in tmp_path.iterdir()}
    assert kinds == {
        "directory": "directory",
        "file": "file",
        "link": "link",
        "nowhere": "link",
        "loop": "link",
        "fifo": "other",
    }
    followed = disk.stat(tmp_path / "link", follow=True)
    assert followed is not None
    assert followed.kind == "directory"
    assert disk.stat(tmp_path / "nowhere", follow=True) is None
    assert disk.stat(tmp_path / "loop", follow=True) is None
    assert disk.stat(tmp_path / "a\0b") is None
    assert disk.stat(tmp_path / ("x" * 300)) is None
    assert disk.scan(str(tmp_path)) == kinds
    assert disk.real_path(tmp_path / "link" / "more") == tmp_path / "directory" / "more"


@pytest.mark.parametrize("look", ["stat", "children"])
def test_what_cannot_be_looked_at_does_not_count_as_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    def denied(path: Path) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "lstat" if look == "stat" else "listdir", denied)
    with pytest.raises(PermissionError):
        Disk().stat(tmp_path) if look == "stat" else Disk().children(tmp_path)


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV], ids=errno.errorcode.get)
def test_where_there_are_no_links_a_copy_has_the_mode_and_the_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refused(*_: object, **__: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    source = tmp_path / "a"
    source.write_bytes(b"1")
    os.chmod(source, 0o640)
    os.utime(source, ns=(10**18, 10**18 + 1))
    monkeypatch.setattr(os, "link", refused)
    Disk().link(source, tmp_path / "b")
    copied = (tmp_path / "b").stat()
    assert (tmp_path / "b").read_bytes() == b"1"
    assert (stat.S_IMODE(copied.st_mode), copied.st_mtime_ns) == (0o640, 10**18 + 1)
    assert copied.st_ino != source.stat().st_ino
    with pytest.raises(FileExistsError):
        Disk().link(source, tmp_path / "b")


def test_where_there_are_no_links_a_file_that_appears_during_the_copy_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def appears_meanwhile(path: Path, *, ns: tuple[int, int]) -> None:
        set_times(path, ns=ns)
        (tmp_path / "b").write_bytes(b"theirs")

    set_times = os.utime
    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(os, "utime", appears_meanwhile)
    (tmp_path / "a").write_bytes(b"1")
    with pytest.raises(FileExistsError) as caught:
        Disk().link(tmp_path / "a", tmp_path / "b")
    assert caught.value.filename == str(tmp_path / "b")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"a": b"1", "b": b"theirs"}


def test_where_there_are_no_links_a_failed_copy_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(os, "replace", refused)
    (tmp_path / "a").write_bytes(b"1")
    with pytest.raises(PermissionError):
        Disk().link(tmp_path / "a", tmp_path / "b")
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


def test_the_time_of_a_change_is_in_whole_nanoseconds(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    os.utime(tmp_path / "a", ns=(10**18, 10**18 + 1))
    found = Disk().stat(tmp_path / "a")
    assert found is not None
    assert found.mtime_ns == 10**18 + 1


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    Disk().write(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_half_a_file_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    written: list[int] = []

    def full(descriptor: int, data: bytes) -> int:
        if written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(write(descriptor, data[:3]))
        return written[0]

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left") as caught:
        Disk().write(tmp_path / "a", b"0123456789")
    assert caught.value.filename == str(tmp_path / "a")
    assert [*tmp_path.iterdir()] == []


def test_few_files_are_flushed_singly_and_many_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _: flushed.append("one"))
    monkeypatch.setattr(disk, "_syncfs", lambda: lambda _: flushed.append("all"))
    monkeypatch.setattr(os, "sync", lambda: flushed.append("every file system of the machine"))
    many = [tmp_path / str(number) for number in range(100)]
    for path in many:
        path.write_bytes(b"")
    Disk().barrier([tmp_path, *many[:3], tmp_path])
    assert flushed == ["one"] * 4
    Disk().barrier(many)
    assert flushed[4:] == ["all"]
    monkeypatch.setattr(disk, "_syncfs", lambda: None)
    Disk().barrier(many)
    assert flushed[5:] == ["one"] * 100


def test_where_a_drive_keeps_what_was_flushed_it_is_flushed_once_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[object] = []
    answers = [0, OSError(errno.ENOTSUP, "not on this file system"), OSError(errno.EIO, "broken")]

    def of_macos(_: int, command: int) -> int:
        flushed.append(command)
        match answers.pop(0):
            case OSError() as error:
                raise error
            case _:
                return 0

    (tmp_path / "a").write_bytes(b"")
    monkeypatch.setattr(os, "fsync", lambda _: flushed.append("fsync"))
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", of_macos)
    for _ in range(2):
        Disk().barrier([tmp_path, tmp_path / "a"])
        assert flushed == ["fsync", "fsync", 51]
        flushed.clear()
    with pytest.raises(OSError, match="broken"):
        Disk().barrier([tmp_path])


def test_a_flush_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [tmp_path / str(number) for number in range(100)]
    for path in many:
        path.write_bytes(b"")
    Disk().barrier(many)
    if (flush_all := disk._syncfs()) is not None:  # macOS has none
        with pytest.raises(OSError, match="Bad file descriptor"):
            flush_all(-1)

    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(disk, "_syncfs", lambda: broken)
    monkeypatch.setattr(os, "fsync", broken)
    for paths in (many[:1], many):
        with pytest.raises(OSError, match="Input/output error"):
            Disk().barrier(paths)


def test_digests_tell_bytes_apart() -> None:
    assert digest_of(b"1") == digest_of(b"1") != digest_of(b"2")


def test_a_fifo_is_an_error_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for read in (Disk().read, Disk().digest):
        for name in ("pipe", "link"):
            with pytest.raises(OSError, match="it is not a regular file"):
                read(tmp_path / name)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("read", [Disk.read, Disk.digest], ids=["read", "digest"])
def test_a_fifo_that_replaces_a_file_just_before_it_is_opened_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Disk, Path], object]
) -> None:
    def replaced_afterwards(path: Path) -> os.stat_result:
        found = look(path)
        path.unlink()
        os.mkfifo(path)
        return found

    look = os.stat
    (tmp_path / "a").write_bytes(b"1")
    descriptors = os.listdir("/proc/self/fd")
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", replaced_afterwards)
        with pytest.raises(OSError, match="it is not a regular file"):
            read(Disk(), tmp_path / "a")
    assert os.listdir("/proc/self/fd") == descriptors


def test_a_link_that_replaces_a_file_just_before_it_is_opened_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replaced_afterwards(path: Path) -> os.stat_result:
        found = look(path)
        path.rename(tmp_path / "elsewhere")
        path.symlink_to("../elsewhere")
        return found

    look = os.lstat
    own = tmp_path / ".lastgood" / "a"
    own.parent.mkdir()
    own.write_bytes(b"1")
    with monkeypatch.context() as patch:
        patch.setattr(os, "lstat", replaced_afterwards)
        with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
            Disk().read(own)
    with pytest.raises(OSError, match="it is not a regular file"):
        Disk().read(own)
    (tmp_path / "elsewhere").write_bytes(b"2")
    (tmp_path / "link").symlink_to("elsewhere")
    assert Disk().read(tmp_path / "link") == b"2", "of a user's files, links are followed"


def test_a_directory_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as caught:
        Disk().read(tmp_path)
    assert caught.value.filename == str(tmp_path)
