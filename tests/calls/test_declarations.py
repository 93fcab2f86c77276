"""The functions of wrappers: whom they call, and what a swap changes about them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from lastgood.calls.declarations import Declaration, declaration_of, redeclare
from lastgood.calls.grafting import graft
from lastgood.calls.registry import Slot, clear_runtime_bridge, publish
from lastgood.errors import FunctionRemoved, ReturnTypeError

HEAD = "from __future__ import annotations\nfrom lastgood.runtime import remote\n"


def declared(annotation: str, **names: Any) -> Any:
    """A function of a wrapper that returns what ``annotation`` says."""
    space = {"__name__": "wrapper", **names}
    exec(f"{HEAD}@remote('m', 'f')\nasync def f(sku: str = 'a') -> {annotation}: ...\n", space)
    return space["f"]


class Answering:
    """A bridge that gives one answer, once it may."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked = trio.Event()
        self.may = trio.Event()

    async def call(self, *_: Any) -> Any:
        self.asked.set()
        await self.may.wait()
        return self.answer

    async def dispose(self) -> None: ...


@pytest.fixture
def slot() -> Iterator[Slot]:
    slot = Slot("a test")
    publish(slot)
    yield slot
    clear_runtime_bridge()


def test_another_declaration_is_the_same_function() -> None:
    f = declared("int")
    f.mine = 1
    other = declaration_of(declared("str"))
    assert other is not None
    redeclare(f, other)
    assert inspect.signature(f).return_annotation == "str"
    assert f.mine == 1
    assert declaration_of(object()) is declaration_of(len) is None


async def test_a_removed_function_says_so(slot: Slot) -> None:
    slot.swap(Answering(1))
    f = declared("int")
    declaration = declaration_of(f)
    assert declaration is not None
    redeclare(f, declaration.removed())
    with pytest.raises(FunctionRemoved, match=r"^m\.f is gone"):
        await f()


async def test_a_result_is_of_the_declaration_at_the_time_of_its_lease(slot: Slot) -> None:
    before, after = Answering(1), Answering("one")
    slot.swap(before)
    f = declared("int")
    new = declaration_of(declared("str"))
    assert new is not None

    async with trio.open_nursery() as nursery:
        results: list[Any] = []

        async def call() -> None:
            results.append(await f())

        nursery.start_soon(call)
        await before.asked.wait()
        slot.swap(after, lambda: redeclare(f, new))
        nursery.start_soon(call)
        await after.asked.wait()
        for bridge in (after, before):
            bridge.may.set()
    assert sorted(results, key=str) == [1, "one"]


class Late(Slot):
    """A slot on which a swap comes just before the lease of the next call is taken."""

    before_lease: Callable[[], object] | None = None

    def lease(self, *args: Any) -> Any:
        first, self.before_lease = self.before_lease, None
        if first is not None:
            first()
        return super().lease(*args)


@pytest.mark.parametrize(("annotation", "answer"), [("str", "two"), ("int", 2)], ids=["another", "the same"])
async def test_a_swap_just_before_the_lease(annotation: str, answer: Any) -> None:
    slot = Late("a test")
    slot.swap(Answering(1))
    after = Answering(answer)
    after.may.set()
    f = declared("int")
    new = declaration_of(declared(annotation))
    assert isinstance(new, Declaration)
    slot.before_lease = lambda: slot.swap(after, lambda: redeclare(f, new))
    publish(slot)
    try:
        assert await f() == answer
    finally:
        clear_runtime_bridge()


async def test_a_result_on_its_way_keeps_the_fields_of_its_generation(slot: Slot) -> None:
    @dataclass
    class Shape:
        sku: str
        price: float

    kept = Shape

    def changed() -> Any:
        @dataclass
        class Shape:
            sku: str
            count: int

        return Shape

    bridge = Answering({"sku": "a", "price": 1.0})
    slot.swap(bridge)
    f = declared("Shape", Shape=Shape)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def call() -> None:
            result = await f()
            assert isinstance(result, kept)
            assert vars(result) == {"sku": "a", "price": 1.0}

        await bridge.asked.wait()
        graft(kept, changed())
        bridge.may.set()
    declaration = declaration_of(f)
    assert declaration is not None
    redeclare(f, declaration.renewed())
    with pytest.raises(ReturnTypeError, match=r"dict without .?count"):
        await f()
