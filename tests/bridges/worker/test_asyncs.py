"""The event loops of the worker, played by the test."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from lastgood.bridges.worker import frames
from lastgood.bridges.worker.asyncs import Loops, _LoopThread


class EndsAtOnce(_LoopThread):
    """A loop that ends as soon as it has begun its first call."""

    def __init__(self, on_end: Callable[[_LoopThread], None]) -> None:
        self.ended = False
        self.cancelled = set()
        self.on_end = on_end
        self.begun: list[int] = []

    def call_soon(self, function: Callable[..., None], *args: Any) -> None:
        function(*args)
        self.ended = True

    def spawn(self, number: int, _context: Any, coroutine: Coroutine[Any, Any, Any], _pack: Any, _finish: Any) -> None:
        self.begun.append(number)
        coroutine.close()


async def call() -> None: ...


def test_a_call_that_a_loop_has_begun_is_not_begun_again_when_that_ends() -> None:
    made: list[EndsAtOnce] = []
    answers: list[tuple[int, int]] = []

    def make(on_end: Callable[[_LoopThread], None]) -> EndsAtOnce:
        made.append(EndsAtOnce(on_end))
        return made[-1]

    loops = Loops("asyncio", lambda number, kind, _body: answers.append((number, kind)))
    loops._make = make
    assert loops.start(7, call(), lambda _result: (frames.RESULT, b""))
    assert [loop.begun for loop in made] == [[7]]
    made[0].on_end(made[0])
    assert answers == [(7, frames.REFUSED)]


class Runs(EndsAtOnce):
    """A loop that runs its calls for ever."""

    def call_soon(self, function: Callable[..., None], *args: Any) -> None:
        function(*args)

    def cancel(self, number: int) -> None:
        self.begun.remove(number)


def test_a_call_is_cancelled_once_so_that_what_it_does_about_it_is_not_cancelled_too() -> None:
    loops = Loops("asyncio", lambda *_: None)
    loops._make = Runs
    assert loops.start(7, call(), lambda _result: (frames.RESULT, b""))
    for _ in range(2):
        loops.cancel(7)
