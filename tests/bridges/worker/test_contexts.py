"""The contexts of calls, in one process: what is kept of the imports, and numpy 1, whose error state belongs to a thread."""

from __future__ import annotations

import sys
import threading
from contextvars import Context, ContextVar
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lastgood.bridges.worker.contexts import Contexts
from running import Ran, run

VAR = ContextVar("VAR", default="unset")


class NumpyOne(threading.local):
    """As numpy 1 keeps its error state: a list for each thread, which is given out and changed in place."""

    def __init__(self) -> None:
        self.errors = [8192, 521, None]

    def geterrobj(self) -> list[object]:
        return self.errors  # type: ignore[return-value]  # mypy's lists are invariant

    def seterrobj(self, errors: list[object]) -> None:
        self.errors = errors  # type: ignore[assignment]  # likewise


@pytest.fixture
def numpy(monkeypatch: pytest.MonkeyPatch) -> NumpyOne:
    made = NumpyOne()
    monkeypatch.setitem(sys.modules, "numpy", SimpleNamespace(geterrobj=made.geterrobj, seterrobj=made.seterrobj))
    return made


def kept(value: str) -> Contexts:
    """Contexts of imports that left this value."""
    made = Contexts()

    def leave() -> None:
        VAR.set(value)
        made.keep()

    Context().run(leave)
    return made


def on_another_thread(contexts: Contexts, numpy: NumpyOne) -> object:
    seen: list[object] = []
    thread = threading.Thread(target=contexts.run, args=(lambda: seen.append(numpy.geterrobj()[1]),))
    thread.start()
    thread.join()
    return seen[0]


def test_until_the_imports_are_done_contexts_are_empty() -> None:
    contexts = Contexts()
    assert contexts.run(VAR.get) == "unset"
    assert contexts.before_import() is None
    contexts.after_import(None)


def test_each_has_what_the_imports_left() -> None:
    contexts = kept("left")
    contexts.run(VAR.set, "changed")
    assert contexts.run(VAR.get) == "left"


def test_a_variable_of_the_users_that_is_called_as_decimals_is_one_of_theirs() -> None:
    own = ContextVar[list[int]]("decimal_context")
    contexts = Contexts()

    def leave() -> None:
        own.set([1])
        contexts.keep()

    Context().run(leave)
    assert contexts.run(own.get) == [1]


def test_numpy_1_has_its_error_state_on_every_thread_and_in_every_call(numpy: NumpyOne) -> None:
    numpy.errors[1] = 1
    contexts = kept("left")

    def change() -> None:
        numpy.geterrobj()[1] = 2

    contexts.run(change)
    assert contexts.run(numpy.geterrobj)[1] == 1
    assert on_another_thread(contexts, numpy) == 1


def test_what_a_late_import_sets_in_numpy_1_stays(numpy: NumpyOne) -> None:
    contexts = kept("left")

    def late() -> None:
        before = contexts.before_import()
        numpy.geterrobj()[1] = 3
        contexts.after_import(before)

    contexts.run(late)
    assert on_another_thread(contexts, numpy) == 3
    assert contexts.run(VAR.get) == "left"


ON_A_LOOP = """
import sys, threading
from types import SimpleNamespace

mine = threading.local()
sys.modules["numpy"] = SimpleNamespace(
    geterrobj=lambda: getattr(mine, "errors", [8192, 521, None]), seterrobj=lambda errors: setattr(mine, "errors", errors)
)
import numpy
from lastgood.bridges.worker import asyncs

numpy.seterrobj([8192, 7, None])
asyncs.CONTEXTS.keep()
answered = threading.Semaphore(0)
loops = asyncs.Loops(sys.argv[1], lambda *_: answered.release())

async def call():
    print(numpy.geterrobj()[1])
    numpy.seterrobj([8192, 0, None])

for number in (1, 2):
    assert loops.start(number, call(), lambda result: (0, b""))
    answered.acquire()
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_event_loop_begins_each_call_with_numpys_error_state(backend: str, tmp_path: Path) -> None:
    assert run([sys.executable, "-c", ON_A_LOOP, backend], tmp_path) == Ran(0, "7\n7\n", "")


def test_a_variable_of_the_users_may_be_called_like_decimals() -> None:
    contexts, theirs = Contexts(), ContextVar[Any]("decimal_context")
    value = SimpleNamespace(clear_flags=None)

    def leave() -> None:
        theirs.set(value)
        contexts.keep()

    Context().run(leave)
    assert contexts.run(theirs.get) is value
