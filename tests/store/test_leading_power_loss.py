"""Whatever a loss of power leaves of what several sessions write for each other, it is read as it was written or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lastgood.planner.news import News
from lastgood.store.leading import Asked, FollowerFiles, Identity, LeaderFiles, Needs, Record
from power_loss import PageCache, left_by_power_losses

HOME = Path("/p/.lastgood/generated")
SAME = Identity("1", "/p/lastgood.toml", "", "python", generates=False)
OLD, NEW = (Record(SAME, pid, News(pid), {f"x-{pid}": True}) for pid in (7, 8))
NEEDS = Needs(9, ("/p/data.txt",), ("m1",))

Act = Callable[[LeaderFiles, FollowerFiles], object]

ACTS: dict[str, Act] = {
    "another leader": lambda leader, _: leader.tell(NEW),
    "a beat": lambda leader, _: leader.beat(5),
    "another follower": lambda leader, _: FollowerFiles(leader._files, HOME, "y").join(NEEDS),
    "a follower that needs something else": lambda _, follower: follower.join(Needs(9)),
    "a request": lambda _, follower: follower.ask(3, "reload"),
    "a request that is taken": lambda leader, follower: (follower.ask(3, "reload"), leader.take()),
    "a follower that leaves": lambda _, follower: follower.leave(),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_it_is_read_as_it_was_written_or_not_at_all(act: Act) -> None:
    files = PageCache()
    files.put(HOME / "pid", b"7\n")
    leader, follower = LeaderFiles(files, HOME), FollowerFiles(files.of_another_process(), HOME, "x")
    leader.tell(OLD)
    follower.join(NEEDS)
    files.flush()
    begun = len(files.changes)
    act(leader, follower)
    states = 0
    for how, left in left_by_power_losses(files, begun, every=True, samples=20):
        states += 1
        now = LeaderFiles(left, HOME)
        assert now.last() in (OLD, NEW, None), how
        assert now.read() in (*((each, beat) for each in (OLD, NEW) for beat in (0, 5)), None), how
        assert now.take() == Asked(), how  # no process has outlived it
        assert left.children(HOME / "followers") == [], how
        now.tell(NEW)
        now.beat(6)
        other = FollowerFiles(left.of_another_process(), HOME, "x")
        other.join(NEEDS)
        assert other.ask(3, "undo") == "x-3"
        assert now.read() == (NEW, 6), how
        assert now.take() == Asked({"x-3": "undo"}, 1, (Path("/p/data.txt"),), frozenset({"m1"})), how
    assert states > 3
