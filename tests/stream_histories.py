"""Histories of several streams at once, on bridges that are swapped, cut off and killed, and what each reader must see.

Hypothesis writes a history as a list of steps. :func:`play` does them one after the other and compares with a model: the items of
a stream come in order from the generation on which it began, none is lost or doubled, and after them comes its end, or what it
raises. One that was broken off (its bridge cut off, or its worker killed) gives what had come, and then says so, once. In the end
no lease is left, and each generator that was begun has been closed.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pytest
from hypothesis import strategies as st

from flavours import CANCELLED, Flavour, Start, Task
from lastgood.calls.leases import Leased
from lastgood.calls.portal import Portal
from lastgood.calls.registry import Slot
from lastgood.errors import BridgeError, RemoteError, WorkerDied

__all__ = ["Make", "Step", "histories", "play", "write_source"]

SOURCE = """
import asyncio, gc, sys

begun, closed = [], []

def plain(name, end, fails):
    begun.append(name)
    try:
        for number in range(end):
            yield [{generation}, name, number]
        if fails:
            raise ValueError(name)
    finally:
        closed.append(name)

async def later(name, end, fails):
    begun.append(name)
    try:
        for number in range(end):
            if number % 3 == 2:
                await turn()
            yield [{generation}, name, number]
        if fails:
            raise ValueError(name)
    finally:
        try:
            await turn()
        finally:  # it may have ended by itself, and be cancelled here
            closed.append(name)

async def waiting(name, end, fails):
    begun.append(name)
    try:
        for number in range(end):
            yield [{generation}, name, number]
        await forever()
    finally:
        closed.append(name)

async def turn():
    if "trio" in sys.modules and sys.modules["trio"].lowlevel.in_trio_run():
        await sys.modules["trio"].lowlevel.checkpoint()
    else:
        await asyncio.sleep(0)

async def forever():
    if "trio" in sys.modules and sys.modules["trio"].lowlevel.in_trio_run():
        await sys.modules["trio"].sleep_forever()
    else:
        await asyncio.Event().wait()

def marks():
    return [sorted(begun), sorted(closed)]

def left():
    return sum(type(each).__name__ == "Stream" and each.iterator is not None for each in gc.get_objects())
"""
LENGTHS = (0, 1, 1, 2, 127, 300, 700)  # around the batches and the window of a worker
READERS = 3

Kind: TypeAlias = Literal["plain", "later", "waiting"]
Make: TypeAlias = Callable[[int], Awaitable[Any]]
"""Makes the bridge of a generation. ``bridge.kill()``, where there is one, ends its worker."""


@dataclass(frozen=True)
class Step:
    """``do`` with reader ``number``. ``count``: the items to take, or that a stream has."""

    do: Literal["open", "take", "aclose", "drop", "cancel", "swap", "cut off", "kill", "call"]
    number: int = 0
    count: int = 1
    kind: Kind = "plain"
    fails: bool = False


def histories(*, kills: bool = False) -> st.SearchStrategy[list[Step]]:
    """Any history; with ``kills`` also such as need a worker."""
    numbers = st.integers(0, READERS - 1)
    kinds = st.sampled_from(["plain", "later", "waiting"])
    opening = st.builds(Step, st.just("open"), numbers, st.sampled_from(LENGTHS), kinds, st.booleans())
    taking = st.builds(Step, st.just("take"), numbers, st.sampled_from((1, 1, 2, 130, 1000)))
    leaving = st.builds(Step, st.sampled_from(["aclose", "drop", "cancel"]), numbers)
    others = ["swap", "cut off", "call", *(["kill"] if kills else [])]
    return st.lists(st.one_of(opening, taking, taking, leaving, st.builds(Step, st.sampled_from(others))), max_size=30)


def write_source(directory: Path, generation: int) -> None:
    directory.mkdir()
    (directory / "svc.py").write_text(SOURCE.format(generation=generation))


@dataclass
class Generation:
    number: int
    leased: Leased
    is_killed: bool = False


@dataclass
class Reader:
    """A stream and its model."""

    stream: Any
    name: int
    kind: Kind
    end: int
    fails: bool
    generation: Generation | None = None
    taken: int = 0
    broken: type[Exception] | None = None
    is_over: bool = False
    waits: Task | None = None

    async def take(self) -> None:
        """Take an item, and compare."""
        try:
            item: Any = await anext(self.stream)
        except (StopAsyncIteration, BridgeError) as error:
            self.ended(error)
            return
        assert self.generation is not None
        assert not self.is_over
        assert item == [self.generation.number, self.name, self.taken]
        assert self.taken < self.end
        self.taken += 1

    def ended(self, error: StopAsyncIteration | BridgeError) -> None:
        if self.is_over:
            assert type(error) is StopAsyncIteration, f"a second end: {error!r}"
            return
        self.is_over = True
        natural = self.taken == self.end and self.kind != "waiting"
        if self.broken is not None and type(error) is self.broken:
            assert self.broken is WorkerDied or str(error) == "time is over"
        elif natural and self.fails:
            assert isinstance(error, RemoteError)
            assert (error.type_name, error.message) == ("ValueError", str(self.name))
        else:
            assert natural, f"{self} ended by {error!r}"
            assert type(error) is StopAsyncIteration

    def would_wait(self) -> bool:
        """Return whether the next item will never come."""
        return self.kind == "waiting" and self.taken == self.end and not self.is_over and self.broken is None

    def break_off(self, generation: Generation, error: type[Exception]) -> None:
        if self.generation is generation and self.broken is None:
            self.broken = error


@dataclass
class Player:
    flavour: Flavour
    make: Make
    start: Start
    slot: Slot
    generations: list[Generation] = field(default_factory=list)
    readers: dict[int, Reader] = field(default_factory=dict)
    opened: int = 0

    async def at_home(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Call ``function`` on the loop of the bridges."""
        portal = self.slot._portal
        return await (function(*args) if portal is None else portal.cross(lambda: function(*args)))

    async def swap(self) -> None:
        async def swap() -> None:
            self.slot.swap(await self.make(len(self.generations)))

        await self.at_home(swap)
        assert self.slot.live is not None
        self.generations.append(Generation(len(self.generations), self.slot.live))

    async def do(self, step: Step) -> None:
        match step.do:
            case "open":
                await self.leave(step.number, "drop")
                arguments = [self.opened, step.count, step.fails]
                stream = self.slot.handle.stream("svc", step.kind, arguments)
                self.readers[step.number] = Reader(stream, self.opened, step.kind, step.count, step.fails)
                self.opened += 1
            case "take":
                await self.take(step.number, step.count)
            case "aclose" | "drop" | "cancel":
                await self.leave(step.number, step.do)
            case "swap":
                await self.swap()
            case "cut off" if len(self.generations) > 1:
                old = self.generations[-2]
                old.leased.cut_off(lambda: BridgeError("time is over"))
                await self.broken(old, BridgeError)
            case "kill":
                await self.kill()
            case "call":
                assert await self.slot.handle.call("svc", "marks")

    async def kill(self) -> None:
        live = self.generations[-1]
        await self.swap()
        live.is_killed = True
        live.leased.bridge.kill()  # type: ignore[attr-defined]  # a test's bridge has it
        await self.broken(live, WorkerDied)

    async def broken(self, generation: Generation, error: type[Exception]) -> None:
        for reader in self.readers.values():
            reader.break_off(generation, error)
            if reader.waits is not None and reader.broken is not None:
                await reader.waits.result()
                reader.waits = None

    async def take(self, number: int, count: int) -> None:
        reader = self.readers.get(number)
        for _ in range(count):
            if reader is None or await self.is_read_already(reader):
                return
            if reader.generation is None and not reader.is_over:
                reader.generation = self.generations[-1]
            if reader.would_wait():
                reader.waits = self.start(reader.take)
                await self.flavour.settle()
                return
            await reader.take()
            if reader.is_over:
                count = 1

    async def is_read_already(self, reader: Reader) -> bool:
        """Return whether somebody waits for an item, whom another consumer must not disturb."""
        for request in (reader.stream.__anext__, reader.stream.aclose) if reader.waits is not None else ():
            with pytest.raises(RuntimeError, match="is being read already"):
                await request()
        return reader.waits is not None

    async def leave(self, number: int, how: str) -> None:
        reader = self.readers.get(number)
        if reader is None:
            return
        if reader.waits is not None:
            reader.waits.cancel()
            assert await reader.waits.result() == CANCELLED
            reader.waits, reader.is_over = None, True
        if how == "aclose":
            await reader.stream.aclose()
            reader.is_over = True
        elif how == "drop":
            del self.readers[number], reader

    async def finish(self, until: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]) -> None:
        """Leave every stream, and wait until nothing is left of any."""
        for number in [*self.readers]:
            await self.leave(number, "aclose" if number % 2 else "drop")
        self.readers.clear()
        gc.collect()
        for generation in self.generations:

            async def is_clean(generation: Generation = generation) -> bool:
                bridge: Any = generation.leased.bridge
                if generation.leased.count:
                    return False
                if generation.is_killed:
                    return True
                begun, closed = await self.at_home(bridge.call, "svc", "marks", [], {})
                left: int = await self.at_home(bridge.call, "svc", "left", [], {})
                return bool(begun == closed and left == 0)

            await until(is_clean)


async def play(
    flavour: Flavour, history: list[Step], bridges: AbstractAsyncContextManager[Make], portal: Portal | None = None
) -> None:
    """Play a history on bridges that :data:`Make` makes, each of its generation; with ``portal``, on its loop."""

    async def until(condition: Callable[[], Awaitable[bool]]) -> None:
        while not await condition():
            await flavour.settle()

    async with bridges as make, flavour.tasks() as start:
        player = Player(flavour, make, start, Slot("a history", portal))
        await player.swap()
        for step in history:
            await player.do(step)
        await player.finish(until)
