"""What calls see of ``contextvars``, decimal and numpy: what the imports left, whatever they run in and whatever ran before."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from declaring import declaring
from lastgood.bridges.process import ProcessBridge
from lastgood.errors import RemoteError
from process_bridges import HOLD

DEADLINE = 60

SERVICE = (
    """
import decimal
import threading
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal, getcontext

TENANT = ContextVar("tenant", default="nobody")
TENANT.set("the imports")
getcontext().prec = 6

def seen():
    return [TENANT.get(), str(Decimal(1) / 7)]

async def seen_on_a_loop():
    return seen()

def change():
    TENANT.set("a call")
    getcontext().prec = 3
    return seen()

async def change_on_a_loop():
    return change()

def replace():
    decimal.setcontext(decimal.Context(prec=3))
    return change()

def change_first():
    change()
    return seen_on_a_loop()

def thread():
    return threading.current_thread().name

def hold_and_see(path):
    hold(path)
    return seen()

async def hold_the_loop(path):
    return hold_and_see(path)

class Sevenths(tuple):
    def __iter__(self):
        return iter(seen())

def gives():
    return [Sevenths([1])]

async def gives_on_a_loop():
    return [Sevenths([1])]

class Problem(Exception):
    def __str__(self):
        return repr(seen())

def fails():
    raise Problem

async def fails_on_a_loop():
    raise Problem

@dataclass
class Order:
    name: str
    def __post_init__(self):
        self.name = repr(seen())

def takes(order: Order):
    return order.name

def imports(name):
    change()
    __import__(name)
    return seen()
"""
    + HOLD
)
LEFT = ["the imports", "0.142857"]
CHANGED = ["a call", "0.143"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "svc.py").write_text(SERVICE)
    return tmp_path


@dataclass
class Worker:
    """A bridge to ``svc``, and calls that wait."""

    bridge: ProcessBridge
    source: Path
    gates: list[int]

    async def call(self, function: str, *args: Any) -> Any:
        return await self.bridge.call("svc", function, args, {})

    async def reach(self, nursery: trio.Nursery, function: str) -> None:
        """Begin a call of a function that waits until the end of the test, or until :meth:`release`."""
        path = self.source / f"gate{len(self.gates)}"
        os.mkfifo(path)
        nursery.start_soon(self.call, function, str(path))
        self.gates.append(await trio.to_thread.run_sync(os.open, path, os.O_WRONLY, abandon_on_cancel=True))

    async def forget(self, function: str) -> None:
        """Begin such a call, and cancel it: as after a timeout, it goes on, and nobody waits for it."""
        async with trio.open_nursery() as nursery:
            await self.reach(nursery, function)
            nursery.cancel_scope.cancel()

    def release(self) -> None:
        while self.gates:
            os.close(self.gates.pop())


@asynccontextmanager
async def running(source: Path, **options: Any) -> AsyncIterator[Worker]:
    bridge = ProcessBridge(import_path=[source], modules=["svc"], timeout=DEADLINE, **options)
    worker = Worker(bridge, source, [])
    with trio.fail_after(DEADLINE):
        await bridge.init()
        try:
            yield worker
        finally:
            worker.release()
            await bridge.dispose()


# --- whatever a call runs in


async def test_the_main_thread_and_those_that_take_its_place(source: Path) -> None:
    async with running(source) as worker:
        assert await worker.call("seen") == LEFT
        for _ in range(3):
            await worker.forget("hold_and_see")
            assert await worker.call("thread") == "lastgood-substitute"
            assert await worker.call("seen") == LEFT
        worker.release()
        while await worker.call("thread") != "MainThread":
            pass
        assert await worker.call("seen") == LEFT


async def test_every_thread_of_several(source: Path) -> None:
    seen: list[Any] = []

    async with running(source, threads=4) as worker:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                await worker.reach(nursery, "hold_and_see")
            seen.append(await worker.call("seen"))  # in the fourth
            await worker.forget("hold_and_see")
            seen.append(await worker.call("seen"))
            worker.release()
        async with trio.open_nursery() as nursery:

            async def hold(path: Path) -> None:
                seen.append(await worker.call("hold_and_see", str(path)))

            for number in range(4):
                os.mkfifo(source / f"all{number}")
                nursery.start_soon(hold, source / f"all{number}")
            for number in range(4):
                end = await trio.to_thread.run_sync(os.open, source / f"all{number}", os.O_WRONLY)
                worker.gates.append(end)
            worker.release()
    assert seen == [LEFT] * 6


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_event_loops_and_those_made_anew(source: Path, backend: str) -> None:
    async with running(source, async_backend=backend) as worker:
        for _ in range(3):
            assert await worker.call("seen_on_a_loop") == LEFT
            await worker.forget("hold_the_loop")
        assert await worker.call("seen_on_a_loop") == LEFT
        await worker.forget("hold_and_see")  # a substitute gives it the next
        assert await worker.call("seen_on_a_loop") == LEFT


async def test_every_worker_of_a_pool(source: Path) -> None:
    async with running(source, pool=2) as worker, trio.open_nursery() as nursery:
        await worker.reach(nursery, "hold_and_see")
        assert await worker.call("seen") == LEFT
        worker.release()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_what_arguments_results_and_exceptions_do_as_they_cross(source: Path, backend: str) -> None:
    order = "from dataclasses import dataclass\n@dataclass\nclass Order:\n    name: str\n"
    with declaring("svc", order) as wrapper:
        async with running(source, async_backend=backend) as worker:
            assert await worker.call("takes", wrapper.Order("")) == repr(LEFT)
    async with running(source, async_backend=backend) as worker:
        for _ in range(2):
            for suffix in ("", "_on_a_loop"):
                assert [list(each) for each in await worker.call(f"gives{suffix}")] == [LEFT]
                with pytest.raises(RemoteError) as caught:
                    await worker.call(f"fails{suffix}")
                assert caught.value.message == repr(LEFT)
            await worker.forget("hold_and_see")


# --- whatever calls change


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("change", ["change", "replace", "change_on_a_loop", "change_first"])
async def test_what_a_call_changes_ends_with_it(source: Path, change: str, backend: str) -> None:
    async with running(source, async_backend=backend) as worker:
        for _ in range(2):
            assert await worker.call(change) == CHANGED, "of its own it sees it, the coroutine that it gives, too"
            assert await worker.call("seen") == LEFT
            assert await worker.call("seen_on_a_loop") == LEFT
            await worker.forget("hold_and_see")


async def test_no_two_calls_share_decimals_context(source: Path) -> None:
    seen: list[Any] = []

    async with running(source, threads=2) as worker, trio.open_nursery() as nursery:
        path = source / "gate"
        os.mkfifo(path)

        async def hold() -> None:
            seen.append(await worker.call("hold_and_see", str(path)))

        nursery.start_soon(hold)
        worker.gates.append(await trio.to_thread.run_sync(os.open, path, os.O_WRONLY))
        assert await worker.call("change") == CHANGED
        worker.release()
    assert seen == [LEFT]


async def test_what_the_imports_did_not_change_does_not_last_either(source: Path) -> None:
    plain = SERVICE.replace('TENANT.set("the imports")', "").replace("getcontext().prec = 6", "")
    (source / "svc.py").write_text(plain)
    async with running(source) as worker:
        before = await worker.call("seen")
        assert before == ["nobody", "0.1428571428571428571428571429"]
        assert await worker.call("change") == CHANGED
        assert await worker.call("seen") == before
        assert await worker.call("seen_on_a_loop") == before


# --- imports in calls


LATE = """
from svc import TENANT
from decimal import Decimal, getcontext
{}
EAGER = Decimal(1) / 3
"""


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ("TENANT.set('late')", ["late", LEFT[1]]),
        ("getcontext().prec = 9", [LEFT[0], "0.142857143"]),
        ("getcontext().rounding = 'ROUND_UP'", [LEFT[0], "0.142858"]),
        ("import later", ["later", LEFT[1]]),
        ("", LEFT),
    ],
    ids=["a variable", "decimal", "another part of decimal", "by what it imports", "nothing"],
)
async def test_what_a_late_import_leaves_is_there_from_then_on(source: Path, change: str, left: list[str]) -> None:
    (source / "late.py").write_text(LATE.format(change))
    (source / "later.py").write_text("from svc import TENANT\nTENANT.set('later')\n")
    async with running(source) as worker:
        await worker.call("imports", "late")
        assert await worker.call("seen") == left, "and nothing of what the call itself has changed"
        assert await worker.call("seen_on_a_loop") == left
        await worker.forget("hold_and_see")
        assert await worker.call("seen") == left


async def test_an_import_that_fails_leaves_nothing(source: Path) -> None:
    (source / "late.py").write_text(LATE.format("TENANT.set('late')\n1 / 0"))
    async with running(source) as worker:
        with pytest.raises(ZeroDivisionError):
            await worker.call("imports", "late")
        assert await worker.call("seen") == LEFT


# --- numpy

NUMPY = (
    SERVICE
    + """
import numpy
numpy.seterr(divide="raise")

def seen():
    return numpy.geterr()["divide"]

def change():
    numpy.seterr(divide="ignore")
    return seen()
"""
)


async def test_numpys_error_state(source: Path) -> None:
    pytest.importorskip("numpy")
    (source / "svc.py").write_text(NUMPY)
    async with running(source, threads=2) as worker:
        for _ in range(4):
            assert await worker.call("change") == "ignore"
            assert await worker.call("seen") == "raise"
            await worker.forget("hold_and_see")
        assert await worker.call("seen_on_a_loop") == "raise"
        await worker.forget("hold_the_loop")
        assert await worker.call("seen_on_a_loop") == "raise"
