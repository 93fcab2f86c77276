"""lastgood.store.leading: what a leader and its followers write for each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood.planner.news import News
from lastgood.store.leading import FollowerFiles, Identity, LeaderFiles, Needs, Record
from lastgood.store.memory_files import MemoryFiles
from lastgood.store.trees import read_sealed, write_sealed

HOME = Path("/p/.lastgood/generated")
SAME = Identity("1", "/p/lastgood.toml", "", "python", generates=False)


@pytest.fixture
def files() -> MemoryFiles:
    files = MemoryFiles()
    files.put(HOME / "pid", b"7\n")
    return files


@pytest.fixture
def leader(files: MemoryFiles) -> LeaderFiles:
    leader = LeaderFiles(files, HOME)
    leader.tell(Record(SAME, 7, News(7), {"x-1": True}))
    return leader


@pytest.fixture
def follower(files: MemoryFiles, leader: LeaderFiles) -> FollowerFiles:
    follower = FollowerFiles(files.of_another_process(), leader.asked.parent, "x")
    follower.join(Needs(8, ("/p/data.txt",), ("m1",)))
    return follower


def test_what_a_leader_tells_is_read_as_it_was_written(files: MemoryFiles, leader: LeaderFiles) -> None:
    assert leader.read() == (Record(SAME, 7, News(7), {"x-1": True}), 0)
    leader.beat(5)
    assert leader.read() == (Record(SAME, 7, News(7), {"x-1": True}), 5)
    files.put(HOME / "pid", b"8\n")
    assert leader.read() is None, "it is of an earlier leader"
    assert leader.last() is not None


@pytest.mark.parametrize("data", [b"", b"{}", b"not sealed"])
def test_a_record_that_is_torn_counts_as_absent(files: MemoryFiles, leader: LeaderFiles, data: bytes) -> None:
    files.put(HOME / "leader" / "record.json", data)
    assert leader.read() is None
    write_sealed(files, HOME / "leader" / "record.json", b'{"pid": "seven"}')
    assert leader.read() is None


def test_a_beat_that_is_torn_is_none(files: MemoryFiles, leader: LeaderFiles) -> None:
    files.put(HOME / "leader" / "beat", b"x")
    found = leader.read()
    assert found is not None
    assert found[1] == 0


def test_a_request_is_taken_once_and_one_that_is_being_written_is_left(
    files: MemoryFiles, leader: LeaderFiles, follower: FollowerFiles
) -> None:
    assert follower.ask(3, "undo") == "x-3"
    files.put(HOME / "followers" / "x-4.request.new", b"half")
    asked = leader.take()
    assert (asked.requests, asked.followers, asked.paths) == ({"x-3": "undo"}, 1, (Path("/p/data.txt"),))
    assert asked.manifests == {"m1"}
    assert leader.take().requests == {}
    assert HOME / "followers" / "x-4.request.new" in files.names


def test_what_a_follower_that_is_gone_has_asked_for_is_dropped(
    files: MemoryFiles, leader: LeaderFiles, follower: FollowerFiles
) -> None:
    follower.ask(3, "reload")
    files._locked.clear()
    assert leader.take().requests == {}
    assert files.children(HOME / "followers") == []


@pytest.mark.usefixtures("follower")
def test_a_request_without_a_seal_is_dropped(files: MemoryFiles, leader: LeaderFiles) -> None:
    files.put(HOME / "followers" / "x-9.request", b'{"request": "undo"}')
    assert leader.take().requests == {}
    assert HOME / "followers" / "x-9.request" not in files.names


def test_one_that_leaves_leaves_nothing_and_joins_again(
    files: MemoryFiles, leader: LeaderFiles, follower: FollowerFiles
) -> None:
    follower.ask(3, "reload")
    follower.leave()
    assert (files.children(HOME / "followers"), leader.take().followers) == ([], 0)
    assert follower.join(Needs(8))
    assert not follower.join(Needs(8))
    assert read_sealed(files, HOME / "followers" / "x.json") is not None


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (SAME, ""),
        (Identity("2", *("/p/lastgood.toml", "", "python"), generates=False), "it is of another version of lastgood"),
        (Identity("1", *("/q/lastgood.toml", "", "python"), generates=False), "its config file is /q/lastgood.toml"),
        (Identity("1", *("/p/lastgood.toml", "x", "python"), generates=False), "its watch() has other arguments"),
        (Identity("1", *("/p/lastgood.toml", "", "py"), generates=False), "its workers' interpreter is py"),
        (Identity("1", *("/p/lastgood.toml", "", "python"), generates=True), "sessions that were given a generate()"),
    ],
)
def test_what_differs_is_said(other: Identity, difference: str) -> None:
    found = SAME.difference(other, lambda one, two: one == two)
    assert found.startswith(difference)
    assert bool(found) is bool(difference)
