"""Streams in a World: a stream goes on with the generation that it began with."""

from __future__ import annotations

import pytest

from lastgood.errors import BridgeError, Disposed, WorkerDied
from lastgood.testing import ScriptedStream
from world_scripts import started


def test_a_stream_goes_on_on_its_own_generation_and_holds_its_bridge() -> None:
    world = started()
    stream = world.open_stream([1, 2, 3])
    assert next(stream) == 1
    old = stream.bridge
    assert old is not None
    assert old is world.bridge
    assert world.reload_now()
    assert list(stream) == [2, 3]
    assert (old.state, old.cut_off) == ("disposed", False)
    assert list(stream) == []


def test_it_begins_with_its_first_item_on_the_bridge_that_is_live_then() -> None:
    world = started()
    stream = world.open_stream([1])
    assert world.reload_now()
    assert list(stream) == [1]
    assert stream.bridge is world.bridge


def test_it_is_cut_off_after_drain_timeout_and_says_so_once() -> None:
    world = started(drain_timeout=10.0)
    stream = world.open_stream([1, 2])
    assert next(stream) == 1
    assert world.reload_now()
    world.advance(10.0)
    with pytest.raises(BridgeError, match="disposed while the stream was open"):
        next(stream)
    assert list(stream) == []


def test_a_bridge_that_is_lost_ends_it() -> None:
    world = started()
    stream = world.open_stream([1, 2])
    assert next(stream) == 1
    world.lose_bridge()
    with pytest.raises(WorkerDied):
        next(stream)


def test_its_error_comes_after_its_items_and_ends_it() -> None:
    world = started()
    stream = world.open_stream([1], ValueError("mine"))
    assert next(stream) == 1
    old = stream.bridge
    assert old is not None
    with pytest.raises(ValueError, match="mine"):
        next(stream)
    assert old.leases == 0


def test_closing_it_ends_it_and_calls_count_beside_it() -> None:
    world = started()
    stream = world.open_stream([1, 2])
    next(stream)
    old = world.begin_call()
    assert old.leases == 2
    assert world.reload_now()
    world.end_calls(old)
    assert (old.state, old.leases) == ("ready", 1)
    world.begin_call()
    assert world.status.calls == {1: 1, 2: 1}
    stream.close()
    assert world.status.calls == {2: 1}
    stream.close()
    assert old.state == "disposed"
    assert isinstance(stream, ScriptedStream)


def test_without_a_live_bridge_it_cannot_begin() -> None:
    world = started()
    world.close()
    with pytest.raises(Disposed):
        next(world.open_stream([1]))
