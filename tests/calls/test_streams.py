"""Streams through a handle: which bridge they go to, how long its lease is held, and how they end early."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import pytest
import trio
import trio.testing

from flavours import CANCELLED, Flavour
from lastgood.calls import registry as runtime
from lastgood.calls.declarations import declaration_of, redeclare
from lastgood.calls.portal import Portal
from lastgood.calls.registry import Slot
from lastgood.errors import BridgeError, Disposed, FunctionRemoved, NoRuntimeBridge, ReturnTypeError
from scripted_bridges import Named, slot_with


class Streaming(Named):
    """A bridge whose streams are the generator of ``script``; ``closed`` says how often one was closed or has ended."""

    def __init__(self, script: Callable[..., AsyncGenerator[Any]], name: str = "streaming") -> None:
        super().__init__(name)
        self.script = script
        self.closed = 0

    async def stream(self, _module: str, _function: str, args: Any, _kwargs: Any) -> AsyncGenerator[Any]:
        try:
            async with aclosing(self.script(*args)) as items:
                async for item in items:
                    yield item
        finally:
            self.closed += 1


async def numbers(end: int = 3) -> AsyncGenerator[int]:
    for number in range(end):
        yield number


async def failing() -> AsyncGenerator[int]:
    yield 0
    raise ValueError("mine")


async def unread(until: Callable[[], bool], flavour: Flavour) -> None:
    while not until():
        await flavour.settle()


def test_items_come_from_the_live_bridge_and_a_lease_is_held_to_the_end(flavour: Flavour) -> None:
    async def main() -> None:
        slot, old = slot_with(Streaming(numbers))
        stream = slot.handle.stream("m", "f", [3])
        assert repr(stream) == "<stream of m.f>"
        assert old.count == 0
        assert await anext(stream) == 0
        assert old.count == 1
        slot.swap(Streaming(lambda: numbers(1), "new"))
        idle: list[str] = []
        old.on_idle(lambda: idle.append("idle"))
        assert [item async for item in stream] == [1, 2]
        assert (old.count, idle) == (0, ["idle"])
        assert [item async for item in stream] == []
        assert [item async for item in slot.handle.stream("m", "f")] == [0]

    flavour.run(main)


def test_what_it_raises_is_raised_once_and_ends_the_lease(flavour: Flavour) -> None:
    async def main() -> None:
        slot, live = slot_with(Streaming(failing))
        stream = slot.handle.stream("m", "f")
        assert await anext(stream) == 0
        with pytest.raises(ValueError, match="mine"):
            await anext(stream)
        assert live.count == 0
        assert [item async for item in stream] == []

    flavour.run(main)


@pytest.mark.parametrize("how", ["break", "aclose", "aclosing", "garbage"])
def test_leaving_early_closes_it_and_ends_the_lease(flavour: Flavour, how: str) -> None:
    async def main() -> None:
        bridge = Streaming(numbers)
        slot, live = slot_with(bridge)
        if how == "break":
            async for _item in slot.handle.stream("m", "f"):
                break
        else:
            stream: Any = slot.handle.stream("m", "f")
            assert await anext(stream) == 0
            if how == "aclosing":
                async with aclosing(stream):
                    assert await anext(stream) == 1
                assert (live.count, bridge.closed) == (0, 1)
            if how == "aclose":
                await stream.aclose()
                await stream.aclose()
                assert (live.count, bridge.closed) == (0, 1)
                assert [item async for item in stream] == []
            del stream
            gc.collect()
        await unread(lambda: (live.count, bridge.closed) == (0, 1), flavour)

    flavour.run(main)


def test_one_that_was_never_read_takes_no_lease(flavour: Flavour) -> None:
    async def main() -> None:
        bridge = Streaming(numbers)
        slot, live = slot_with(bridge)
        stream = slot.handle.stream("m", "f")
        await stream.aclose()
        assert [item async for item in stream] == []
        assert (live.count, bridge.closed) == (0, 0)

    flavour.run(main)


def test_a_cancelled_request_closes_it(flavour: Flavour) -> None:
    async def main() -> None:
        gate = flavour.event()

        async def waiting() -> AsyncGenerator[int]:
            yield 0
            await gate.wait()

        bridge = Streaming(waiting)
        slot, live = slot_with(bridge)
        stream = slot.handle.stream("m", "f")
        await anext(stream)
        async with flavour.tasks() as start:
            task = start(stream.__anext__)
            await flavour.settle()
            with pytest.raises(RuntimeError, match="is being read already"):
                await anext(stream)
            with pytest.raises(RuntimeError, match="is being read already"):
                await stream.aclose()
            task.cancel()
            assert await task.result() == CANCELLED
        assert (live.count, bridge.closed) == (0, 1)
        assert [item async for item in stream] == []

    flavour.run(main)


@pytest.mark.parametrize("waits", [True, False])
def test_a_stream_that_is_cut_off_says_why(flavour: Flavour, waits: bool) -> None:
    async def main() -> None:
        gate = flavour.event()

        async def waiting() -> AsyncGenerator[int]:
            yield 0
            await gate.wait()

        bridge = Streaming(waiting)
        slot, live = slot_with(bridge)
        stream = slot.handle.stream("m", "f")
        await anext(stream)
        async with flavour.tasks() as start:

            async def read() -> None:
                with pytest.raises(BridgeError, match="time is over"):
                    await anext(stream)

            task = start(read) if waits else None
            await flavour.settle()
            live.cut_off(lambda: BridgeError("time is over"))
            await unread(lambda: (live.count, bridge.closed) == (0, 1), flavour)
            if task is not None:
                await task.result()
            else:
                await read()
            assert [item async for item in stream] == []

    flavour.run(main)


def test_a_stream_that_is_cut_off_as_an_item_comes_does_not_go_on(flavour: Flavour) -> None:
    async def main() -> None:
        gate = flavour.event()

        async def waiting() -> AsyncGenerator[int]:
            await gate.wait()
            for number in range(10):
                yield number

        bridge = Streaming(waiting)
        slot, live = slot_with(bridge)
        stream = slot.handle.stream("m", "f")
        async with flavour.tasks() as start:

            async def read() -> None:
                with pytest.raises(BridgeError, match="time is over"):
                    async for _item in stream:
                        pass

            task = start(read)
            await flavour.settle()
            gate.set()
            (guard,) = live._in_flight
            live.cut_off(lambda: BridgeError("time is over"))
            guard.cancel()  # as it is called soon, but before the item that is on its way has been returned
            await task.result()
        assert (live.count, bridge.closed) == (0, 1)

    flavour.run(main)


def test_once_its_end_has_come_it_needs_no_bridge(flavour: Flavour) -> None:
    class Ending:
        """Items that come with the end, as from a worker."""

        def __init__(self) -> None:
            self.has_ended = False

        def __aiter__(self) -> Ending:
            return self

        async def __anext__(self) -> Any: ...

        async def next_items(self) -> list[int]:
            if self.has_ended:
                raise ValueError("mine")
            self.has_ended = True
            return [1, 2]

    class Bridge(Named):
        def stream(self, *_call: Any) -> Ending:
            return Ending()

    async def main() -> None:
        slot, old = slot_with(Bridge("ending"))
        stream = slot.handle.stream("m", "f")
        idle: list[str] = []
        assert await anext(stream) == 1
        assert old.count == 0
        old.on_idle(lambda: idle.append("idle"))
        old.cut_off(lambda: BridgeError("time is over"))
        assert (await anext(stream), idle) == (2, ["idle"])
        with pytest.raises(ValueError, match="mine"):
            await anext(stream)
        assert [item async for item in stream] == []

    flavour.run(main)


def test_items_are_converted_as_the_wrapper_declares_when_the_lease_is_taken(flavour: Flavour) -> None:
    refused: list[int] = []

    class Wrapper:
        is_exact = False
        checks: Any = "error"

        def __init__(self, word: str) -> None:
            self.word = word

        def begin(self) -> Any:
            return None

        def item(self, value: Any, number: int) -> Any:
            if number in refused:
                raise TypeError(f"item {number}")
            return f"{self.word} {number}: {value}"

    async def main() -> None:
        bridge = Streaming(numbers)
        slot, live = slot_with(bridge)
        stream = slot.handle.of_wrapper(Wrapper("old")).stream("m", "f")
        assert [item async for item in stream] == ["old 1: 0", "old 2: 1", "old 3: 2"]
        stream = slot.handle.of_wrapper(Wrapper("")).stream("m", "f")
        assert await anext(stream) == " 1: 0"
        refused.append(2)
        with pytest.raises(TypeError, match="item 2"):
            await anext(stream)
        assert [item async for item in stream] == []
        await unread(lambda: (live.count, bridge.closed) == (0, 2), flavour)

    flavour.run(main)


def test_a_bridge_without_streams_says_what_to_add(flavour: Flavour) -> None:
    class Wrong(Named):
        async def stream(self, *_call: Any) -> Any:
            return 1

    async def main() -> None:
        slot, live = slot_with(Named("plain"))
        with pytest.raises(BridgeError, match=r"Named has no method stream\(module, function, args, kwargs\)"):
            await anext(slot.handle.stream("m", "f"))
        assert live.count == 0
        slot.swap(Wrong("wrong"))
        with pytest.raises(BridgeError, match="returned an object of type coroutine, no async iterator"):
            await anext(slot.handle.stream("m", "f"))

    flavour.run(main)


def test_without_a_bridge(flavour: Flavour) -> None:
    async def main() -> None:
        slot = Slot("a test")
        with pytest.raises(NoRuntimeBridge):
            await anext(slot.handle.stream("m", "f"))
        slot.swap(Streaming(numbers))
        slot.close()
        with pytest.raises(Disposed):
            await anext(slot.handle.stream("m", "f"))

    flavour.run(main)


# --- wrappers


def wrapper(annotation: str, *, stream: bool = True, **names: Any) -> Any:
    """A function of a wrapper that declares a stream."""
    head = (
        "from __future__ import annotations\n"
        "from collections.abc import AsyncIterator, Iterator\n"
        "from lastgood.runtime import remote\n"
    )
    space: dict[str, Any] = {"__name__": "wrapper", **names}
    exec(f"{head}@remote('m', 'f', stream={stream})\ndef f(*args: int) -> {annotation}: ...\n", space)
    return space["f"]


def test_a_wrapper_gives_a_stream_of_items_of_its_type(flavour: Flavour) -> None:
    async def main() -> None:
        runtime.set_runtime_bridge(Streaming(numbers))
        assert [item async for item in wrapper("AsyncIterator[int]")(2)] == [0, 1]
        bad = wrapper("AsyncIterator[str]")(2)
        with pytest.raises(ReturnTypeError) as caught:
            await anext(bad)
        assert str(caught.value).startswith(
            "m.f is annotated `-> Iterator[str]`, but its result does not match: item 1: expected str, got int."
        )
        assert [item async for item in bad] == []

    try:
        flavour.run(main)
    finally:
        runtime.clear_runtime_bridge()


def test_a_sync_wrapper_is_read_by_a_plain_for() -> None:
    runtime.set_runtime_bridge(Streaming(numbers))
    try:
        assert list(wrapper("Iterator[int]")(3)) == [0, 1, 2]
    finally:
        runtime.clear_runtime_bridge()
    with pytest.raises(NoRuntimeBridge):
        wrapper("Iterator[int]")(3)


def test_items_are_of_the_declaration_at_the_lease() -> None:
    runtime.set_runtime_bridge(Streaming(numbers))
    try:
        function = wrapper("Iterator[int]")
        stream, never = function(3), function(3)
        assert next(stream) == 0
        new = declaration_of(wrapper("Iterator[str]"))
        assert new is not None
        redeclare(function, new)
        assert list(stream) == [1, 2]
        with pytest.raises(ReturnTypeError, match="item 1: expected str, got int"):
            next(never)
        redeclare(function, new.removed())
        with pytest.raises(FunctionRemoved):
            function(3)
    finally:
        runtime.clear_runtime_bridge()


def test_a_sync_wrapper_is_the_same_function_when_it_becomes_a_stream_and_back() -> None:
    runtime.set_runtime_bridge(Streaming(numbers))
    try:
        function = wrapper("tuple[str, str, tuple[int, ...], dict[str, int]]", stream=False)
        plain, stream = declaration_of(function), declaration_of(wrapper("Iterator[int]"))
        assert plain is not None
        assert stream is not None
        redeclare(function, stream)
        never = function(2)
        assert list(function(2)) == [0, 1]
        redeclare(function, plain)
        assert function(2) == ("streaming", "m.f", (2,), {})
        with pytest.raises(BridgeError, match=r"^m\.f is no stream of items any more .*, and call it as `f\(\.\.\.\)`"):
            next(never)
    finally:
        runtime.clear_runtime_bridge()


# --- from elsewhere


def test_from_another_loop_without_a_portal_it_is_refused() -> None:
    async def main() -> None:
        slot, live = slot_with(Streaming(numbers))
        stream = slot.handle.stream("m", "f")
        with pytest.raises(BridgeError, match="but its bridge lives on"):
            await trio.to_thread.run_sync(asyncio.run, _next(stream))
        with pytest.raises(BridgeError, match="but its bridge lives on"):
            await trio.to_thread.run_sync(next, slot.handle.stream_blocking("m", "f"))
        with pytest.raises(BridgeError, match="it would wait for itself"):
            next(slot.handle.stream_blocking("m", "f"))
        assert live.count == 0

    trio.run(main)


async def _next(stream: Any) -> Any:
    return await anext(stream)


def through_a_portal(
    work: Callable[[Slot, Streaming], Any], script: Callable[..., AsyncGenerator[Any]] = numbers
) -> None:
    """Run ``work`` in a thread, with a slot whose bridge lives on a trio loop elsewhere. No lease may be left."""

    async def main() -> None:
        with trio.fail_after(30):
            bridge = Streaming(script)
            slot = Slot("a test", Portal())
            slot.swap(bridge)
            await trio.to_thread.run_sync(work, slot, bridge)
            gc.collect()
            while slot.live is None or slot.live.count:
                await trio.lowlevel.checkpoint()

    trio.run(main)


def test_plain_code_takes_items_through_the_portal() -> None:
    def work(slot: Slot, bridge: Streaming) -> None:
        stream = slot.handle.stream_blocking("m", "f")
        assert list(stream) == [0, 1, 2]
        assert list(stream) == []
        stream = slot.handle.stream_blocking("m", "f")
        assert next(stream) == 0
        stream.close()
        stream.close()
        assert bridge.closed == 2
        assert list(stream) == []
        for _item in slot.handle.stream_blocking("m", "f"):
            break

    through_a_portal(work)


def test_what_it_raises_comes_through_the_portal() -> None:
    def work(slot: Slot, _bridge: Streaming) -> None:
        stream = slot.handle.stream_blocking("m", "f")
        assert next(stream) == 0
        with pytest.raises(ValueError, match="mine"):
            next(stream)
        assert list(stream) == []

    through_a_portal(work, failing)


def test_threads_that_share_a_stream_each_take_other_items() -> None:
    def work(slot: Slot, _bridge: Streaming) -> None:
        stream = slot.handle.stream_blocking("m", "f", [500])
        with ThreadPoolExecutor(4) as pool:
            taken = list(pool.map(lambda _: list(stream), range(4)))
        assert sorted(item for items in taken for item in items) == list(range(500))

    through_a_portal(work)


def test_a_request_that_is_cancelled_as_its_items_come_ends_the_stream() -> None:
    gate = threading.Event()

    async def script() -> AsyncGenerator[int]:
        for number in range(3):
            await trio.lowlevel.checkpoint()
            while number == 1 and not gate.is_set():
                await trio.lowlevel.checkpoint()
            yield number

    def work(slot: Slot, _bridge: Streaming) -> None:
        async def main() -> None:
            stream = slot.handle.stream("m", "f")
            assert await anext(stream) == 0
            task = asyncio.ensure_future(_next(stream))
            await asyncio.sleep(0)
            gate.set()
            assert slot._portal is not None
            slot._portal.cross_blocking(
                trio.testing.wait_all_tasks_blocked
            )  # the item is on its way, and this loop stands
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert [item async for item in stream] == []

        asyncio.run(main())

    through_a_portal(work, script)


def test_closing_it_when_the_session_is_over_is_no_error() -> None:
    kept: list[Any] = []

    def work(slot: Slot) -> None:
        async def main() -> None:
            kept[:] = slot.handle.stream("m", "f"), slot.handle.stream_blocking("m", "f")
            assert await anext(kept[0]) == await asyncio.to_thread(next, kept[1]) == 0

        asyncio.run(main())

    async def host() -> None:
        slot = Slot("a test", Portal())
        slot.swap(Streaming(numbers))
        await trio.to_thread.run_sync(work, slot)

    trio.run(host)
    asyncio.run(kept[0].aclose())
    kept[1].close()
    assert list(kept[1]) == []


def test_a_thread_that_takes_item_after_item_does_not_keep_another_from_closing_it() -> None:
    async def endless() -> AsyncGenerator[int]:
        while True:
            yield 0

    def work(slot: Slot, bridge: Streaming) -> None:
        stream = slot.handle.stream_blocking("m", "f")
        assert next(stream) == 0
        with ThreadPoolExecutor(1) as pool:
            reader = pool.submit(all, (item == 0 for item in stream))
            stream.close()
            assert reader.result()
        assert bridge.closed == 1

    through_a_portal(work, endless)


@pytest.mark.parametrize("run", [trio.run, lambda main: asyncio.run(main())], ids=["trio", "asyncio"])
def test_another_loop_takes_items_through_the_portal(run: Callable[[Any], None]) -> None:
    def work(slot: Slot, bridge: Streaming) -> None:
        async def main() -> None:
            assert [item async for item in slot.handle.stream("m", "f")] == [0, 1, 2]
            stream = slot.handle.stream("m", "f")
            assert await anext(stream) == 0
            await stream.aclose()
            assert bridge.closed == 2
            async for _item in slot.handle.stream("m", "f"):
                break

        run(main)

    through_a_portal(work)


def test_the_last_reference_may_go_in_any_thread() -> None:
    def work(slot: Slot, _bridge: Streaming) -> None:
        streams = [slot.handle.stream_blocking("m", "f")]
        assert next(streams[0]) == 0
        thread = threading.Thread(target=streams.clear)
        thread.start()
        thread.join()

    through_a_portal(work)


def test_a_bridge_on_no_loop_is_read_by_plain_code() -> None:
    bridge = Streaming(numbers)
    runtime.set_runtime_bridge(bridge)
    try:
        handle = runtime.get_runtime_bridge()
        assert list(handle.stream_blocking("m", "f")) == [0, 1, 2]
        assert next(handle.stream_blocking("m", "f")) == 0, "and it is garbage after that"
        assert bridge.closed == 2
    finally:
        runtime.clear_runtime_bridge()


def test_garbage_at_the_end_of_the_loop_harms_nothing() -> None:
    bridge = Streaming(numbers)
    kept: list[Any] = []

    async def main() -> None:
        slot, _ = slot_with(bridge)
        kept.append(slot.handle.stream("m", "f"))
        assert await anext(kept[0]) == 0
        trio.lowlevel.current_trio_token().run_sync_soon(kept.clear)

    trio.run(main)
    assert bridge.closed == 1
