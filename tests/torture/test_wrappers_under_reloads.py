"""Wrappers that are called without a pause while they are brought up to date: each result is as its own generation declares."""

from __future__ import annotations

import importlib
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from generating import importable
from lastgood.session.watch import watch
from real_project import DEADLINE, RealProject

CALLERS = 8
SWAPS = [6, pytest.param(200, marks=pytest.mark.torture)]


def source(number: int) -> str:
    """A generation whose result type, whose class and whose enum are other ones than before."""
    kind = "int" if number % 2 else "str"
    return (
        "from dataclasses import dataclass\nfrom enum import Enum\n"
        f"class Unit(Enum):\n    PIECE = 0\n    N{number} = {number}\n"
        f"@dataclass\nclass Price:\n    n{number}: int\n    unit: Unit = Unit.N{number}\n"
        f"def plain() -> {kind}: ...\ndef price() -> Price: ...\n"
    )


class Answering:
    """The bridge of one generation, whose answers fit that generation alone."""

    def __init__(self, number: int) -> None:
        self._answers: dict[str, Any] = {
            "plain": number if number % 2 else str(number),
            "price": {f"n{number}": number, "unit": number},
        }

    async def call(self, module: str, function: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        assert (module, args, kwargs) == ("pricing", (), {})
        await trio.lowlevel.checkpoint()  # a swap may come here
        return self._answers[function]

    async def dispose(self) -> None: ...


class Checking:
    """What callers check of each result."""

    def __init__(self, wrapper: Any) -> None:
        self._price = wrapper.Price
        self.calls: list[int] = [0] * CALLERS
        self.is_over = False

    def check(self, caller: int, plain: Any, price: Any) -> None:
        assert type(plain) is (int if int(plain) % 2 else str)
        assert type(price) is self._price
        values = vars(price)
        name = next(name for name in values if name != "unit")
        assert values[name] == int(name[1:]) == values["unit"].value
        self.calls[caller] += 1


@pytest.fixture
def project(tmp_path: Path) -> Iterator[RealProject]:
    project = RealProject(tmp_path, {"pricing.py": source(1)})
    with importable(tmp_path, "generated"):
        yield project


def bridges() -> Callable[[object], Answering]:
    numbers = itertools.count(1)
    return lambda _: Answering(next(numbers))


@pytest.mark.parametrize("swaps", SWAPS)
async def test_by_tasks(swaps: int, project: RealProject) -> None:
    async def call(checking: Checking, plain: Any, price: Any, caller: int) -> None:
        while not checking.is_over:
            checking.check(caller, await plain(), await price())

    program = watch(project.config_file, create_bridge=bridges(), debounce=1000, max_wait=1000)
    with trio.fail_after(DEADLINE + swaps * 2):
        async with program as session, trio.open_nursery() as nursery:
            wrapper = importlib.import_module("generated.pricing")
            checking = Checking(wrapper)
            for caller in range(CALLERS):
                nursery.start_soon(partial(call, checking, wrapper.plain, wrapper.price, caller))
            for number in range(2, swaps + 2):
                project.save("pricing.py", source(number))
                assert await session.reload_now()
            checking.is_over = True
    assert min(checking.calls) > swaps


@pytest.mark.parametrize("swaps", SWAPS)
def test_by_threads(swaps: int, project: RealProject) -> None:
    project.save("lastgood.toml", project.config_file.read_text() + 'style = "sync"\n')
    everybody = threading.Barrier(CALLERS + 1, timeout=DEADLINE)

    def call(checking: Checking, plain: Any, price: Any, caller: int) -> None:
        everybody.wait()
        while not checking.is_over:
            checking.check(caller, plain(), price())

    program = watch(project.config_file, create_bridge=bridges(), debounce=1000, max_wait=1000)
    with program as session, ThreadPoolExecutor(CALLERS) as threads:
        wrapper = importlib.import_module("generated.pricing")
        checking = Checking(wrapper)
        calling = [threads.submit(call, checking, wrapper.plain, wrapper.price, caller) for caller in range(CALLERS)]
        everybody.wait()
        try:
            for number in range(2, swaps + 2):
                project.save("pricing.py", source(number))
                assert session.reload_now()
        finally:
            checking.is_over = True
        for each in calling:
            each.result()
    assert min(checking.calls) > 0
