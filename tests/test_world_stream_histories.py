"""Several streams of a World at once, under swaps, losses, drains and undo: a model says what each reader must see.

``World`` is pure, so that hypothesis tries many histories.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from lastgood.errors import BridgeError, WorkerDied
from lastgood.planner.settings import MOST_DRAINING
from lastgood.testing import ScriptedBridge, ScriptedStream
from world_scripts import started

DRAIN = 10.0
STEP = 0.5  # divides every wait, so that nothing happens between two steps


class FailedError(Exception):
    """Raised by a stream after its items."""


@dataclass
class Reader:
    """A stream, and what is expected of it. ``ahead`` are the items that were not taken."""

    stream: ScriptedStream | None
    ahead: list[Any]
    error: FailedError | None
    bridge: ScriptedBridge | None = None  # once it has begun
    broken: type[Exception] | None = None  # raised at the next request
    is_over: bool = False

    def holds(self, bridge: ScriptedBridge) -> bool:
        return self.bridge is bridge and self.broken is None and not self.is_over


@dataclass
class Draining:
    bridge: ScriptedBridge
    until: float


@dataclass
class Model:
    readers: list[Reader] = field(default_factory=list)
    draining: list[Draining] = field(default_factory=list)

    def held(self, bridge: ScriptedBridge) -> int:
        return sum(reader.holds(bridge) for reader in self.readers)

    def break_off(self, bridge: ScriptedBridge, error: type[Exception]) -> None:
        for reader in self.readers:
            if reader.holds(bridge):
                reader.broken = error


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = started(drain_timeout=DRAIN)
        self.model = Model()
        self.live = self.world.bridge
        self.is_lost = self.takes_no_calls = False

    def reader(self, number: int) -> Reader | None:
        """One of those that are left."""
        left = [reader for reader in self.model.readers if reader.stream is not None]
        return left[number % len(left)] if left else None

    def follow(self) -> None:
        """Note what has become of the bridges."""
        if self.world.bridge is not self.live:
            old, self.live = self.live, self.world.bridge
            self.is_lost = self.takes_no_calls = False
            assert old is not None
            self.model.draining.append(Draining(old, self.world.clock.now + DRAIN))
        kept = [each for each in self.model.draining if self.model.held(each.bridge)]
        for number, each in enumerate(kept):
            if each.until <= self.world.clock.now or number < len(kept) - MOST_DRAINING:
                self.model.break_off(each.bridge, BridgeError)
        self.model.draining = [each for each in kept if self.model.held(each.bridge)]

    @rule(count=st.integers(0, 3), fails=st.booleans())
    def open(self, count: int, fails: bool) -> None:
        number, error = len(self.model.readers), FailedError() if fails else None
        items = [(number, item) for item in range(count)]
        self.model.readers.append(Reader(self.world.open_stream(items, error), items, error))

    @rule(number=st.integers(0, 7))
    def take(self, number: int) -> None:
        reader = self.reader(number)
        if reader is None or reader.stream is None:
            return
        expected: object = StopIteration
        if not reader.is_over and reader.broken is None:
            if reader.bridge is None and self.takes_no_calls:
                reader.broken = WorkerDied
            elif reader.bridge is None:
                reader.bridge = self.live
            expected = reader.ahead.pop(0) if reader.ahead and not reader.broken else reader.error or StopIteration
        if reader.broken is not None and not reader.is_over:
            expected = reader.broken
        try:
            found: object = next(reader.stream)
        except (StopIteration, WorkerDied, BridgeError, FailedError) as error:
            found = error if isinstance(expected, FailedError) else type(error)
            reader.is_over = True
        assert found == expected
        assert reader.stream.bridge is reader.bridge
        self.follow()

    @rule(number=st.integers(0, 7), how=st.sampled_from(["close", "garbage"]))
    def leave(self, number: int, how: str) -> None:
        reader = self.reader(number)
        if reader is None or reader.stream is None:
            return
        reader.is_over = True
        if how == "garbage":
            reader.stream = None
        else:
            reader.stream.close()
        self.follow()

    @rule(how=st.sampled_from(["reload", "failing", "undo"]))
    def swap(self, how: str) -> None:
        if how == "failing":
            self.world.fail("warm", at=2)
        if how == "undo":
            self.world.undo()
        else:
            assert self.world.reload_now() == (how == "reload")
        self.follow()

    @precondition(lambda self: not self.is_lost)
    @rule(calls_go_on=st.booleans())
    def lose(self, calls_go_on: bool) -> None:
        assert self.live is not None
        self.is_lost = True
        lost = self.live
        self.takes_no_calls = not calls_go_on
        if not calls_go_on:
            self.model.break_off(lost, WorkerDied)
        self.world.lose_bridge(calls_go_on=calls_go_on)
        self.follow()

    @rule(steps=st.integers(1, 24))
    def wait(self, steps: int) -> None:
        for _ in range(steps):
            self.world.advance(STEP)
            self.follow()

    @invariant()
    def a_bridge_is_held_by_its_streams_alone(self) -> None:
        for bridge in self.world.bridges:
            held = self.model.held(bridge)
            assert bridge.leases == held
            assert (bridge.state == "disposed") == (bridge is not self.live and not held)

    def teardown(self) -> None:
        for reader in self.model.readers:
            reader.stream = None
        gc.collect()
        assert [bridge.leases for bridge in self.world.bridges] == [0] * len(self.world.bridges)
        self.world.close()
        assert {bridge.state for bridge in self.world.bridges} == {"disposed"}


def test_each_reader_sees_what_the_model_says_and_nothing_is_left() -> None:
    run_state_machine_as_test(Histories, settings=settings(max_examples=60, stateful_step_count=25))
