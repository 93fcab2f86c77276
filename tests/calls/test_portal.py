"""lastgood.calls.portal: onto a trio loop from elsewhere, and back."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio

from flavours import CANCELLED, DEADLINE, Flavour
from lastgood.calls.portal import LoopClosed, Portal


class Loop:
    """A trio loop in a thread, until :meth:`end`."""

    def __init__(self) -> None:
        self.portal: Portal
        self._there = threading.Event()
        self._end = trio.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main,))
        self._thread.start()
        assert self._there.wait(DEADLINE)

    async def _main(self) -> None:
        self.portal = Portal()
        self._there.set()
        await self._end.wait()

    def end(self) -> None:
        self.portal.send(self._end.set)
        self._thread.join(DEADLINE)


@contextmanager
def a_loop() -> Iterator[Loop]:
    loop = Loop()
    try:
        yield loop
    finally:
        loop.end()


VARIABLE = contextvars.ContextVar("variable", default="nothing")


async def where() -> tuple[str, str]:
    await trio.lowlevel.checkpoint()
    return threading.current_thread().name, VARIABLE.get()


def test_it_runs_there_in_the_callers_context(flavour: Flavour) -> None:
    with a_loop() as loop:

        async def main() -> None:
            VARIABLE.set("mine")
            assert await loop.portal.cross(where) == (loop._thread.name, "mine")
            assert not loop.portal.is_here()

        flavour.run(main)
        VARIABLE.set("plain")
        assert loop.portal.cross_blocking(where) == (loop._thread.name, "plain")


@pytest.mark.parametrize("error", [LookupError("mine"), SystemExit(3)], ids=["an error", "an exit"])
def test_what_is_raised_there_is_raised_here_as_the_same_object(flavour: Flavour, error: BaseException) -> None:
    async def fail() -> None:
        raise error

    with a_loop() as loop:

        async def main() -> None:
            with pytest.raises(type(error)) as caught:
                await loop.portal.cross(fail)
            assert caught.value is error

        flavour.run(main)
        with pytest.raises(type(error)) as caught:
            loop.portal.cross_blocking(fail)
        assert caught.value is error


def test_a_cancelled_caller_goes_when_the_other_side_has_unwound(flavour: Flavour) -> None:
    begun, log = threading.Event(), []

    async def wait() -> None:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
            log.append("unwound")

    with a_loop() as loop:

        async def main() -> None:
            async with flavour.tasks() as start:
                call = start(lambda: loop.portal.cross(wait))
                await flavour.in_thread(lambda: begun.wait(DEADLINE))
                assert not call.done(), "the caller's own loop goes on meanwhile"
                call.cancel()
                assert await call.result() == CANCELLED
            assert log == ["unwound"]

        flavour.run(main)


def test_a_cancellation_that_comes_too_late_does_not_lose_the_result() -> None:
    begun, go_on = threading.Event(), trio.Event()

    async def stubborn() -> str:
        with trio.CancelScope(shield=True):
            begun.set()
            await go_on.wait()
        return "done"

    with a_loop() as loop:

        async def main() -> None:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:

                    async def cancel() -> None:
                        await trio.to_thread.run_sync(begun.wait, DEADLINE)
                        scope.cancel()
                        loop.portal.send(go_on.set)

                    nursery.start_soon(cancel)
                    assert await loop.portal.cross(stubborn) == "done"
            assert scope.cancel_called

        trio.run(main)


def test_what_is_cancelled_already_does_not_cross() -> None:
    crossed: list[str] = []

    async def cross() -> None:
        crossed.append("there")

    with a_loop() as loop:

        async def main() -> None:
            with trio.CancelScope() as scope:
                scope.cancel()
                await loop.portal.cross(cross)
            assert scope.cancelled_caught
            await loop.portal.cross(where)

        trio.run(main)
    assert crossed == []


def test_a_caller_whose_loop_was_closed_under_it_harms_nobody() -> None:
    begun, go_on = threading.Event(), trio.Event()

    async def wait() -> None:
        begun.set()
        await go_on.wait()

    with a_loop() as loop:
        callers = asyncio.new_event_loop()
        call = callers.create_task(loop.portal.cross(wait))
        callers.run_until_complete(asyncio.sleep(0))
        assert begun.wait(DEADLINE)
        callers.close()
        loop.portal.send(go_on.set)
        assert loop.portal.cross_blocking(where)[0] == loop._thread.name
        del call


def test_a_loop_that_is_over_says_so(flavour: Flavour) -> None:
    with a_loop() as loop:
        pass

    async def main() -> None:
        with pytest.raises(LoopClosed):
            await loop.portal.cross(where)

    flavour.run(main)
    with pytest.raises(LoopClosed):
        loop.portal.cross_blocking(where)


def test_what_is_there_when_the_loop_ends_is_told_so(flavour: Flavour) -> None:
    begun = threading.Event()

    async def wait() -> None:
        begun.set()
        await trio.sleep_forever()

    with a_loop() as loop:

        async def main() -> None:
            async with flavour.tasks() as start:
                call = start(lambda: loop.portal.cross(wait))
                await flavour.in_thread(lambda: begun.wait(DEADLINE))
                await flavour.in_thread(loop.end)
                with pytest.raises(LoopClosed):
                    await call.result()

        flavour.run(main)


def test_a_loop_can_wait_until_nothing_is_inside() -> None:
    begun, go_on, log = threading.Event(), trio.Event(), []

    async def main() -> None:
        portal = Portal()

        async def visit() -> str:
            begun.set()
            await go_on.wait()
            return "done"

        async with trio.open_nursery() as nursery:

            async def call() -> None:
                log.append(await trio.to_thread.run_sync(portal.cross_blocking, visit))

            nursery.start_soon(call)
            await trio.to_thread.run_sync(begun.wait, DEADLINE)
            await portal.emptied(0.001)
            assert log == [], "its patience is bounded"
            go_on.set()
            await portal.emptied(DEADLINE)
        assert log == ["done"]

    trio.run(main)


def test_a_ctrl_c_that_ends_the_callback_at_the_way_back_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    class Event(asyncio.Event):
        def set(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(asyncio, "Event", Event)
    with a_loop() as loop, pytest.raises(KeyboardInterrupt):
        asyncio.run(loop.portal.cross(where))
