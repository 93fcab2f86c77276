"""Bridges that plain code calls in its own thread, by ``call_blocking``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock

import pytest

from flavours import FLAVOURS, Flavour
from lastgood.calls.registry import Slot, get_runtime_bridge, set_runtime_bridge
from lastgood.errors import BridgeError, Disposed
from scripted_bridges import Named, slot_with

pytestmark = pytest.mark.usefixtures("cleared_registry")


class Blocking(Named):
    """A bridge that answers with the thread in which it is called."""

    thread_safe = True

    def __init__(self, hook: Callable[[], object] = bool) -> None:
        super().__init__("blocking")
        self.hook = hook

    def call_blocking(self, *call: Any) -> tuple[str, tuple[Any, ...]]:
        self.hook()
        return threading.current_thread().name, call


def test_it_is_called_where_the_caller_is_on_a_loop_too(flavour: Flavour) -> None:
    async def main() -> None:
        slot, live = slot_with(Blocking())
        here = threading.current_thread().name
        assert slot.handle.call_blocking("m", "f", (1,), {"x": 2}) == (here, ("m", "f", (1,), {"x": 2}))
        assert (await flavour.in_thread(lambda: slot.handle.call_blocking("m", "f")))[0] != here
        assert live.count == 0

    flavour.run(main)


def test_a_call_holds_a_lease_whose_end_is_told_on_the_bridges_loop(flavour: Flavour) -> None:
    async def main() -> None:
        home, told, idle = threading.current_thread().name, [], flavour.event()

        def on_idle() -> None:
            told.append(threading.current_thread().name)
            idle.set()

        def replaced() -> None:
            assert live.count == 1
            live.on_idle(on_idle)

        slot, live = slot_with(Blocking(replaced))
        await flavour.in_thread(lambda: slot.handle.call_blocking("m", "f"))
        await idle.wait()
        assert told == [home]

    flavour.run(main)


def test_without_a_loop_it_is_told_in_the_callers_thread() -> None:
    told: list[str] = []
    slot, live = slot_with(Blocking(lambda: live.on_idle(lambda: told.append(threading.current_thread().name))))
    slot.handle.call_blocking("m", "f")
    assert told == [threading.current_thread().name]


def test_a_slot_that_is_bound_to_no_loop_is_called_from_every_loop() -> None:
    slot = Slot("a test", bound=False)
    FLAVOURS[0].run(lambda: _swapped(slot))
    for flavour in FLAVOURS:
        assert flavour.run(lambda: slot.handle.call("m", "f"))[0] == "anywhere"
    slot.close()
    with pytest.raises(Disposed):
        slot.handle.call_blocking("m", "f")


async def _swapped(slot: Slot) -> None:
    slot.swap(Named("anywhere"))


def test_a_bridge_that_may_not_be_called_from_anywhere_is_awaited() -> None:
    """A mock has every method; that it is thread-safe, it would have to say."""
    mock = AsyncMock()
    mock.call.return_value = "awaited"
    mock.call_typed.return_value = "awaited"
    set_runtime_bridge(mock)
    assert get_runtime_bridge().call_blocking("m", "f") == "awaited"
    mock.call_blocking.assert_not_called()


def test_one_that_lives_on_a_loop_is_refused_as_ever(flavour: Flavour) -> None:
    async def main() -> None:
        slot, _ = slot_with(Named("at home"))
        with pytest.raises(BridgeError, match="it would wait for itself"):
            slot.handle.call_blocking("m", "f")

    flavour.run(main)
