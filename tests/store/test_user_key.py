"""lastgood.store.user_key: a secret of this user's, or of this process alone, and never an error."""

from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lastgood.bridges.worker.codes import Codes
from lastgood.bridges.worker.parts import Parts
from lastgood.sources.memo_on_disk import AnswersOnDisk
from lastgood.store import user_key as module
from lastgood.store.user_key import cache_directory, seal, unseal, user_key


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setattr(module, "_warned", set())
    return tmp_path / "XDG_STATE_HOME"


def test_it_is_made_once_and_for_nobody_else(base: Path) -> None:
    key = user_key()
    assert len(key) == 32
    assert user_key() == key
    file = base / "lastgood" / "key"
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (key, 0o600)
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert os.listdir(file.parent) == ["key"]


def test_all_who_make_it_at_once_have_the_same() -> None:
    barrier, keys = threading.Barrier(8), []

    def make() -> None:
        barrier.wait()
        keys.append(user_key())

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({*keys}) == 1


def test_without_the_variables_it_lies_in_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which counts as not set
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_key() == (tmp_path / ".local/state/lastgood/key").read_bytes()
    home = cache_directory(Path("/p/.lastgood/generated"))
    assert home is not None
    assert home.parent == tmp_path / ".cache/lastgood"
    assert home != cache_directory(Path("/q/.lastgood/generated"))
    assert not home.parent.exists(), "it is made when there is something to keep"


def readable_for_others(file: Path) -> None:
    file.chmod(0o644)


def too_short(file: Path) -> None:
    file.write_bytes(b"short")


def too_long(file: Path) -> None:
    file.write_bytes(bytes(33))


def a_link(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


def a_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


def a_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def open_to_all(file: Path) -> None:
    file.parent.chmod(0o777)


def open_to_the_group(file: Path) -> None:
    file.parent.chmod(0o770)


def exchangeable(file: Path) -> None:
    file.parents[1].chmod(0o777)


def elsewhere(file: Path) -> None:
    """A link to nowhere in place of the directory."""
    file.parent.rename(file.parents[1] / "gone")
    file.parent.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("harm", "remedy"),
    [
        (readable_for_others, "Run: chmod 600"),
        (too_short, "Run: rm"),
        (too_long, "Run: rm"),
        (a_link, "Run: rm"),
        (a_fifo, "Run: rm"),
        (a_directory, "Run: rm -r"),
        (open_to_all, "Run: chmod go-w"),
        (open_to_the_group, "Run: chmod go-w"),
    ],
)
def test_what_may_be_known_to_others_is_not_used(
    base: Path, harm: Callable[[Path], None], remedy: str, caplog: pytest.LogCaptureFixture
) -> None:
    key = user_key()
    harm(base / "lastgood" / "key")
    assert user_key() not in (key, b"")
    assert user_key() == user_key(), "it lasts as long as the process"
    (warning,) = caplog.messages
    assert f"{base / 'lastgood' / 'key'} cannot be used" in warning
    assert f"{remedy} {base / 'lastgood'}" in warning


@pytest.mark.parametrize("harm", [exchangeable, elsewhere])
def test_a_directory_that_others_may_exchange_is_not_used(
    base: Path, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    key = user_key()
    harm(base / "lastgood" / "key")
    assert user_key() not in (key, b"")
    assert f"{base} is not private" in caplog.text or f"{base / 'lastgood'} is not private" in caplog.text
    base.chmod(0o1777)
    assert (user_key() == key) is (harm is exchangeable), "nobody else's can be renamed in a sticky directory"


def test_whatever_the_umask_everything_is_made_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, name in (("XDG_STATE_HOME", "a/state"), ("XDG_CACHE_HOME", "b/cache")):
        monkeypatch.setenv(variable, str(tmp_path / name))
    cache = cache_directory(tmp_path / "home")
    assert cache is not None
    parts = Parts(0, None, compile("", "a.py", "exec"))
    before = os.umask(0)
    try:
        user_key()
        Codes(str(cache / "code")).keep("digest", "a.py", parts)
        answers = AnswersOnDisk(cache / "answers")
        answers.put(("a",), b"1")
        answers.close()
    finally:
        os.umask(before)
    made = [path for top in ("a", "b") for path in (tmp_path / top, *(tmp_path / top).rglob("*")) if path.is_dir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o700}
    assert Codes(str(cache / "code")).get("digest", "a.py") is not None
    assert cache_directory(tmp_path / "home") == cache


def test_a_home_directory_that_does_not_exist_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for variable in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path / "nonexistent"))
    assert user_key() == user_key()
    assert cache_directory(Path("/p")) is None
    assert not (tmp_path / "nonexistent").exists()
    assert "There is no home directory" in caplog.text


def test_somebody_elses_home_is_left_alone(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of sudo, which may leave HOME as it was."""
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert len(user_key()) == 32
    assert cache_directory(Path("/p")) is None
    assert not base.exists()


def test_where_nothing_can_be_written_it_is_this_process_s_alone(
    base: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    base.parent.joinpath("file").write_bytes(b"")
    monkeypatch.setenv("XDG_STATE_HOME", str(base.parent / "file"))
    assert user_key() == user_key()
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "nowhere")
    assert user_key() == user_key()
    for message, problem in zip(caplog.messages, ("Make .* writable", "no home directory"), strict=True):
        assert re.search(problem, message)


def test_a_seal_holds_for_one_key_one_path_and_the_very_bytes() -> None:
    key, path = b"key", Path("/p/manifest.json")
    sealed = seal(key, path, b"one\ntwo\n")
    assert unseal(key, path, sealed) == b"one\ntwo\n"
    assert unseal(b"other", path, sealed) is None
    assert unseal(key, Path("/q/manifest.json"), sealed) is None
    assert unseal(key, path, sealed + b"x") is None
    assert unseal(key, path, b"") is None
    assert unseal(key, path, b"one\ntwo\n") is None
    assert unseal(key, path, "lastgood-sealed-1 ä\n".encode()) is None


def test_a_new_key_and_its_directories_survive_a_power_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "local" / "state"))
    monkeypatch.setattr(os, "fsync", noting)
    key = user_key()
    directory = tmp_path / "local" / "state" / "lastgood"
    assert (directory / "key").read_bytes() == key
    assert Path(flushed[0]).parent == directory, "the key itself, under another name"
    assert flushed[1:5] == [str(each) for each in (directory, *directory.parents[:3])]
    flushed.clear()
    assert user_key() == key
    assert flushed == []
