"""The files that several sessions write for each other, forged: before they start, and while they run."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

import lastgood
from lastgood.planner.news import News
from lastgood.store.disk import Disk
from lastgood.store.file_system import Claim
from lastgood.store.leading import Asked, FollowerFiles, Identity, LeaderFiles, Needs, Record
from lastgood.store.trees import remove_tree, write_sealed
from real_project import QUOTE, FakeFactory, Told
from victim import Forgery, Victim, content, dangling, directory, fifo, hard_link, huge, link

NAME = "9-1-ab"
RECORD = "leader/record.json"
BEAT = "leader/beat"
NEEDS = f"followers/{NAME}.json"
LOCK = f"followers/{NAME}.lock"
REQUEST = f"followers/{NAME}-7.request"
FILES = (RECORD, BEAT, NEEDS, LOCK, REQUEST)
DIRECTORIES = ("leader", "followers")
SAME = Identity("1", "/p/lastgood.toml", "", "python", generates=False)
TOLD = Record(SAME, os.getpid(), News(os.getpid()), {"x-1": True})
NEEDED = Needs(9, ("/p/data.txt",), ("m1",))


def moved(name: str) -> Forgery:
    """What is there is moved outside, and a link leads to it."""

    def forge(victim: Victim) -> None:
        there = victim.outside / Path(name).name
        while (victim.home / name).exists() and not (victim.home / name).is_symlink():
            remove_tree(Disk(), there)
            shutil.move(victim.home / name, there)
            with suppress(FileExistsError):  # a session that runs has made it anew
                (victim.home / name).symlink_to(there)

    return forge


def no_access(name: str) -> Forgery:
    def forge(victim: Victim) -> None:
        if (victim.home / name).exists():
            (victim.home / name).chmod(0)

    return forge


def of_another_user(name: str) -> Forgery:
    def forge(victim: Victim) -> None:
        if os.geteuid() == 0 and (victim.home / name).exists():
            os.chown(victim.home / name, 12345, 12345)
            (victim.home / name).chmod(0o777)

    return forge


FORGED: Mapping[str, Forgery] = {
    **{f"{name} is a link": link(name, "precious") for name in FILES},
    **{f"{name} is a hard link": hard_link(name) for name in FILES},
    **{f"{name} is a FIFO": fifo(name) for name in (*FILES, *DIRECTORIES)},
    **{f"{name} is a directory": directory(name) for name in FILES},
    **{f"{name} is huge": huge(name) for name in FILES},
    **{f"{name} is a link to a directory": link(name) for name in DIRECTORIES},
    **{f"{name} is a link to nowhere": dangling(name) for name in DIRECTORIES},
    **{f"{name} is a file": content(name, b"") for name in DIRECTORIES},
    **{f"{name} has no seal": content(name, b'{"request": "undo", "pid": 1}') for name in (RECORD, NEEDS, REQUEST)},
    "the beat is no number": content(BEAT, b"\xff" * 32),
    "the pid of a stranger": content("pid", b"1\n"),
    **{f"{name} was moved, and a link leads there": moved(name) for name in (*FILES, *DIRECTORIES)},
    **{f"{name} cannot be accessed": no_access(name) for name in (*FILES, *DIRECTORIES)},
    **{f"{name} is of another user": of_another_user(name) for name in (*FILES, *DIRECTORIES)},
}
IN_PLACE = ("was moved", "cannot be", "of another user")


@pytest.fixture
def victim(tmp_path: Path) -> Victim:
    victim = Victim(tmp_path)
    victim.commit("pid", f"{os.getpid()}\n")
    return victim


def put(victim: Victim, name: str) -> None:
    """Forge what the ``name`` says, in place of what is there."""
    about = "pid" if name.startswith("the pid") else BEAT if name.startswith("the beat") else name.split()[0]
    path = victim.home / about
    if not any(each in name for each in IN_PLACE):
        remove_tree(Disk(), path)
    FORGED[name](victim)


def test_as_many_are_tried_as_the_documentation_says() -> None:
    page = Path(__file__).parents[2] / "docs" / "explanation" / "reliability.md"
    assert f"| {len(FORGED)} attacks, before they start" in page.read_text(encoding="utf-8")


# --- by the files alone


@pytest.mark.parametrize("name", FORGED)
def test_what_is_forged_is_not_believed_and_mended(victim: Victim, name: str) -> None:
    leader, follower = LeaderFiles(Disk(), victim.home), FollowerFiles(Disk(), victim.home, NAME)
    told = leader.tell(TOLD)
    follower.join(NEEDED)
    put(victim, name)
    before = victim.untouched()

    found = leader.read()
    assert found is None or found[0] == TOLD
    assert leader.take() in (Asked({}, 1, (Path("/p/data.txt"),), frozenset({"m1"})), Asked({}, 1), Asked())
    if not leader.is_told(told):
        leader.tell(TOLD)
    leader.beat(5)
    follower.join(NEEDED)
    asked = follower.ask(8, "reload")

    assert leader.read() == (TOLD, 5)
    assert leader.take() == Asked({asked: "reload"}, 1, (Path("/p/data.txt"),), frozenset({"m1"}))
    follower.leave()
    assert leader.take() == Asked()
    assert [*(victim.home / "followers").iterdir()] == []
    assert victim.untouched() == before


@pytest.mark.parametrize("name", FORGED)
def test_what_was_there_before_them_is_in_nobodys_way(victim: Victim, name: str) -> None:
    put(victim, name)
    before = victim.untouched()
    leader, follower = LeaderFiles(Disk(), victim.home), FollowerFiles(Disk(), victim.home, "other")
    assert leader.last() is None
    assert leader.read() is None
    assert leader.followers() == {}
    leader.tell(TOLD)
    leader.beat(1)
    follower.join(NEEDED)
    assert leader.read() == (TOLD, 1)
    assert leader.take().followers == 1
    assert victim.untouched() == before


@pytest.mark.parametrize("which", ["another place", "another key"])
def test_what_is_genuine_elsewhere_is_not_believed(
    victim: Victim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """A session of another project, or of another user, has written it."""
    leader = LeaderFiles(Disk(), victim.home)
    there = tmp_path / "elsewhere" if which == "another place" else victim.home
    with monkeypatch.context() as patch:
        if which == "another key":
            patch.setenv("XDG_STATE_HOME", str(tmp_path / "theirs"))
        (there / "followers").mkdir(parents=True, exist_ok=True)
        LeaderFiles(Disk(), there).tell(TOLD)
        FollowerFiles(Disk(), there, NAME).ask(7, "undo")
    if there != victim.home:
        shutil.copytree(there, victim.home, dirs_exist_ok=True)
    follower = FollowerFiles(Disk(), victim.home, NAME)
    follower.join(NEEDED)
    assert leader.read() is None
    assert leader.take().requests == {}


def test_a_request_is_none_once_more_when_its_follower_is_gone(victim: Victim) -> None:
    leader, follower = LeaderFiles(Disk(), victim.home), FollowerFiles(Disk(), victim.home, NAME)
    leader.tell(TOLD)
    follower.join(NEEDED)
    follower.ask(7, "undo")
    kept = {path: path.read_bytes() for path in (victim.home / "followers").iterdir()}
    assert leader.take().requests == {f"{NAME}-7": "undo"}
    follower.leave()
    for path, data in kept.items():
        path.write_bytes(data)
    assert leader.take() == Asked()


def test_a_name_that_no_follower_has_is_removed(victim: Victim) -> None:
    leader, follower = LeaderFiles(Disk(), victim.home), FollowerFiles(Disk(), victim.home, NAME)
    leader.tell(TOLD)
    follower.join(NEEDED)
    for name in ("sitecustomize.py", f"{NAME}-8.request.new", "8-1-cd.json.new", "8-1-cd-1.request.new", "-.request"):
        victim.commit(f"followers/{name}", b"")
    leader.take()
    assert {path.name for path in (victim.home / "followers").iterdir()} == {
        f"{NAME}.json",
        f"{NAME}.lock",
        f"{NAME}-8.request.new",  # it may be on its way
    }


def test_a_lock_that_cannot_be_looked_at_keeps_the_leader_from_no_follower(
    victim: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of another user's, for anybody but root."""
    leader, follower = LeaderFiles(Disk(), victim.home), FollowerFiles(Disk(), victim.home, NAME)
    leader.tell(TOLD)
    follower.join(NEEDED)
    victim.commit("followers/1-1-aa.lock", b"")
    lock = Disk.lock

    def lock_of(self: Disk, path: Path, *, holder: int | None = None) -> Claim | None:
        if path.name == "1-1-aa.lock":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return lock(self, path, holder=holder)

    monkeypatch.setattr(Disk, "lock", lock_of)
    follower.ask(8, "reload")
    assert leader.take().requests == {f"{NAME}-8": "reload"}
    assert not (victim.home / "followers/1-1-aa.lock").exists()


# --- in a session


def forged_good(victim: Victim) -> None:
    """The record of this process, with a manifest that leads elsewhere, without a seal."""
    good = {"cycle": 9, "generation": 9, "manifest": "../../../../outside/precious"}
    victim.commit(
        RECORD, {**msgspec.to_builtins(TOLD, enc_hook=str), "news": {"pid": os.getpid(), "good": good}, "answers": {}}
    )


AT_A_START: Mapping[str, Forgery] = {
    "a record without a seal": forged_good,
    **{name: FORGED[name] for name in FORGED if name.split()[0] in DIRECTORIES and "is a" in name},
    **{name: FORGED[name] for name in (f"{LOCK} is a hard link", f"{LOCK} is a FIFO", f"{RECORD} is huge")},
}


@pytest.mark.parametrize("forge", AT_A_START.values(), ids=AT_A_START)
def test_no_command_believes_it(victim: Victim, forge: Forgery) -> None:
    forge(victim)
    before = victim.untouched()
    for command, status in (("status", 5), ("plan", 0), ("history", 0), ("undo", 1), ("generate", 0), ("status", 5)):
        done = victim.run(command)
        assert done.exit_code == status, f"{command}: {done.output}"
        assert victim.untouched() == before, command


@pytest.mark.parametrize(
    "names",
    [
        ("leader was moved, and a link leads there", "followers was moved, and a link leads there"),
        ("leader is a FIFO", "followers is a link to a directory"),
        (f"{RECORD} is a link", f"{BEAT} is a hard link", "the pid of a stranger"),
        (f"{RECORD} is a directory", f"{BEAT} is a FIFO", "followers cannot be accessed"),
    ],
    ids=str,
)
async def test_sessions_go_on_beside_what_is_forged_while_they_run(victim: Victim, names: tuple[str, ...]) -> None:
    path, told = victim.project.config_file, Told()
    async with (
        lastgood.watch(path, create_bridge=FakeFactory().create_bridge) as first,
        lastgood.watch(
            path, create_bridge=FakeFactory().create_bridge, set_as_global=False, on_event=told, warm_timeout=30.0
        ) as second,
    ):
        assert first._interpreter is not None
        with first._interpreter.others._leader._writing:  # else a thread may write what is just being forged
            for name in names:
                put(victim, name)
        victim.project.save("pricing.py", QUOTE.replace("sku", "code"))
        before = victim.untouched()
        while (await told.success()).generation < 2:
            pass
        assert await second.reload_now()
        assert (first.role, second.role) == ("leader", "follower")
        assert first.generation == second.generation == 3
    assert victim.untouched() == before


async def test_a_record_of_an_earlier_session_that_comes_back_does_not_stay(victim: Victim) -> None:
    """It is this user's own, of this very place, and so is the pid beside it: as if somebody had committed them."""
    path, told = victim.project.config_file, Told()
    now, (before, later) = LeaderFiles(Disk(), victim.home), (earlier(1), earlier(os.getpid()))
    async with (
        lastgood.watch(path, create_bridge=FakeFactory().create_bridge) as first,
        lastgood.watch(
            path, create_bridge=FakeFactory().create_bridge, set_as_global=False, on_event=told, warm_timeout=30.0
        ) as second,
    ):
        assert first._interpreter is not None
        for record in (before, later):
            text = msgspec.json.encode(msgspec.to_builtins(record, enc_hook=str))
            with first._interpreter.others._leader._writing:  # as above
                write_sealed(Disk(), victim.home / RECORD, text)
                victim.commit("pid", f"{record.pid}\n")
            assert await second.reload_now()
        found = now.read()
        assert found is not None
        assert found[0].news.generation == first.generation == second.generation == 3


def earlier(pid: int) -> Record:
    return Record(SAME, pid, News(pid), {})
