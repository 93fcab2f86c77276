"""lastgood.store.manifests_in_use: which manifests somebody may still read."""

from __future__ import annotations

from pathlib import Path

from lastgood.store.manifests_in_use import ManifestsInUse

A, B, C, D = map(Path, "ABCD")


def test_a_bridge_is_started_from_the_latest_and_what_runs_goes_on_with_its_own() -> None:
    used = ManifestsInUse()
    used.begin(1, A)
    used.grow(1, B)
    used.grow(1, C)
    assert used.latest(1) == C
    assert used.paths() == {A, C}, "nobody was started from B"
    assert used.give(1) == used.give(1) == C
    used.grow(1, D)
    assert used.paths() == {A, C, D}
    assert [used.is_given(each) for each in (A, B, C, D)] == [True, False, True, False]


def test_of_a_bridge_that_is_gone_nothing_is_in_use() -> None:
    used = ManifestsInUse()
    used.begin(1, A)
    used.end(1)
    used.grow(1, B)
    assert used.paths() == set()
    assert used.latest(1) is used.give(1) is None
    used.end(1)


def test_a_generation_is_that_of_the_last_bridge_which_runs_it() -> None:
    used = ManifestsInUse()
    used.begin(1, A)
    assert used.is_live(1)
    used.begin(2, A)
    assert [used.is_live(1), used.is_live(2)] == [False, True]
    assert [used.is_last_of(1), used.is_last_of(2)] == [False, True]
    used.grow(2, B)
    assert used.is_last_of(1)
