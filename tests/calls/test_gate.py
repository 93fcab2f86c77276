"""Calls that wait while there is no bridge to call, by every way in."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import trio

from flavours import DEADLINE, FLAVOURS, Flavour
from lastgood.calls.portal import Portal
from lastgood.calls.registry import Slot
from lastgood.errors import BridgeError, Disposed


class Numbered:
    """A bridge that answers with its number, and notes the order of its calls."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.calls: list[str] = []

    async def call(self, _module: str, function: str, *_: Any) -> Any:
        self.calls.append(function)
        return self.number

    async def stream(self, *_: Any) -> AsyncIterator[int]:
        yield self.number

    async def dispose(self) -> None: ...


class Anywhere(Numbered):
    """One that may be called from every thread."""

    thread_safe = True

    def call_blocking(self, *_: Any) -> Any:
        return self.number

    def stream_blocking(self, *_: Any) -> Iterator[int]:
        yield self.number


def held(number: int = 1) -> Slot:
    """A slot whose bridge has made way."""
    slot = Slot("a test")
    slot.swap(Numbered(number))
    slot.hold()
    return slot


async def first_of(slot: Slot) -> int:
    items: list[int] = [item async for item in slot.handle.stream("m", "f")]
    [first] = items
    return first


@pytest.fixture(params=FLAVOURS, ids=lambda flavour: flavour.name)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    chosen: Flavour = request.param
    return chosen


@pytest.mark.parametrize("way", ["call", "stream"])
def test_they_wait_for_the_next_bridge(flavour: Flavour, way: str) -> None:
    async def main() -> None:
        slot = held()
        async with flavour.tasks() as start:
            task = start(lambda: slot.handle.call("m", "f") if way == "call" else first_of(slot))
            await flavour.settle()
            assert not task.done()
            slot.hold()  # again: nothing changes
            slot.swap(Numbered(2))
            assert await task.result() == 2

    flavour.run(main)


def test_they_begin_in_the_order_in_which_they_came(flavour: Flavour) -> None:
    async def main() -> None:
        slot, following = held(), Numbered(2)
        names = [f"f{number}" for number in range(20)]
        async with flavour.tasks() as start:
            tasks = []
            for name in names:
                tasks.append(start(lambda name=name: slot.handle.call("m", name)))  # type: ignore[misc]  # mypy knows no defaults here
                await flavour.settle()
            slot.swap(following)
            for task in tasks:
                assert await task.result() == 2
        assert following.calls == names

    flavour.run(main)


def test_one_that_is_cancelled_goes_at_once_and_holds_up_no_other(flavour: Flavour) -> None:
    async def main() -> None:
        slot, following = held(), Numbered(2)
        async with flavour.tasks() as start:
            first = start(lambda: slot.handle.call("m", "first"))
            await flavour.settle()
            second = start(lambda: slot.handle.call("m", "second"))
            await flavour.settle()
            first.cancel()
            await flavour.settle()
            assert first.done()
            slot.swap(following)
            assert await second.result() == 2
        assert following.calls == ["second"]

    flavour.run(main)


@pytest.mark.parametrize("way", ["call", "stream"])
def test_a_close_tells_them(flavour: Flavour, way: str) -> None:
    async def main() -> None:
        slot = held()

        async def called() -> str:
            with pytest.raises(Disposed, match="a test is over"):
                await (slot.handle.call("m", "f") if way == "call" else first_of(slot))
            return "told"

        async with flavour.tasks() as start:
            task = start(called)
            await flavour.settle()
            slot.close()
            assert await task.result() == "told"
        slot.hold()  # after its end it does nothing
        slot.refuse(BridgeError)
        with pytest.raises(Disposed):
            await slot.handle.call("m", "f")

    flavour.run(main)


def test_without_a_next_bridge_each_has_an_error_of_its_own_until_there_is_one(flavour: Flavour) -> None:
    async def main() -> None:
        slot, errors = held(), [BridgeError("first"), BridgeError("second")]

        async def refused() -> BaseException:
            with pytest.raises(BridgeError) as caught:
                await slot.handle.call("m", "f")
            return caught.value

        async with flavour.tasks() as start:
            task = start(refused)
            await flavour.settle()
            made = iter(errors)
            slot.refuse(lambda: next(made))
            assert await task.result() is errors[0]
            assert await refused() is errors[1]
        slot.hold()
        slot.swap(Numbered(2))
        assert await slot.handle.call("m", "f") == 2

    flavour.run(main)


# --- from other threads and loops


class Asked(Slot):
    """A slot that counts who asks for a lease."""

    def __init__(self) -> None:
        super().__init__("a test", Portal())
        self.count = threading.Semaphore(0)

    def lease(self, *args: Any) -> Any:
        taken = super().lease(*args)
        self.count.release()
        return taken


def beside(*ways: Callable[[Slot], object], bridge: Callable[[int], Numbered] = Numbered) -> list[object]:
    """Call in threads beside a slot on a trio loop, whose bridge has made way; return what they get of the next one."""
    got: list[object] = []

    def call(way: Callable[[Slot], object], slot: Slot) -> None:
        got.append(way(slot))

    async def main() -> None:
        slot = Asked()
        slot.swap(bridge(1))
        slot.hold()
        with trio.fail_after(DEADLINE):
            async with trio.open_nursery() as nursery:
                for way in ways:
                    nursery.start_soon(trio.to_thread.run_sync, call, way, slot)
                for _ in ways:
                    await trio.to_thread.run_sync(slot.count.acquire)
                assert got == []
                slot.swap(bridge(2))

    trio.run(main)
    return got


def blocking_call(slot: Slot) -> object:
    return slot.handle.call_blocking("m", "f")


def blocking_stream(slot: Slot) -> object:
    return list(slot.handle.stream_blocking("m", "f"))


def in_asyncio(slot: Slot) -> object:
    return asyncio.run(slot.handle.call("m", "f"))


def streamed_in_asyncio(slot: Slot) -> object:
    return asyncio.run(first_of(slot))


WAYS = [blocking_call, blocking_stream, in_asyncio, streamed_in_asyncio]


@pytest.mark.parametrize("bridge", [Numbered, Anywhere])
@pytest.mark.parametrize("way", WAYS)
def test_from_another_thread(way: Callable[[Slot], object], bridge: type[Numbered]) -> None:
    assert beside(way, bridge=bridge) in ([2], [[2]])


@pytest.mark.parametrize("bridge", [Numbered, Anywhere])
def test_several_threads_at_once(bridge: type[Numbered]) -> None:
    assert beside(*[blocking_call] * 5, bridge=bridge) == [2] * 5


def test_a_blocking_call_on_the_loop_of_the_bridge_would_wait_for_itself() -> None:
    async def main() -> None:
        slot = Slot("a test")
        slot.swap(Anywhere(1))
        slot.hold()
        with pytest.raises(BridgeError, match="it would wait for itself"):
            slot.handle.call_blocking("m", "f")

    trio.run(main)


def test_without_a_loop_there_is_nothing_to_wait_on() -> None:
    slot = Slot("a test", bound=False)
    slot.swap(Numbered(1))
    slot.hold()
    with pytest.raises(BridgeError, match="a test is between two bridges"):
        slot.handle.call("m", "f").send(None)
