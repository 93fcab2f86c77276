"""Histories of several streams on real bridges; stream_histories.py says what each reader must see."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import trio
from hypothesis import given, settings

from flavours import FLAVOURS, Flavour
from imported import forgotten
from lastgood import InProcessBridge
from lastgood.bridges.process import ProcessBridge
from lastgood.calls.portal import Portal
from process_bridges import DEADLINE
from stream_histories import Make, Step, histories, play, write_source


@asynccontextmanager
async def in_process(directory: Path) -> AsyncIterator[Make]:
    made: list[InProcessBridge] = []

    async def make(generation: int) -> InProcessBridge:
        write_source(directory / str(generation), generation)
        bridge = InProcessBridge(import_path=[directory / str(generation)], modules=["svc"], fresh=True)
        bridge.start()
        made.append(bridge)
        return bridge

    try:
        yield make
    finally:
        for bridge in made:
            bridge.stop()


class Killable(ProcessBridge):
    def kill(self) -> None:
        assert self.pid is not None
        os.kill(self.pid, signal.SIGKILL)


@asynccontextmanager
async def in_workers(directory: Path, **options: Any) -> AsyncIterator[Make]:
    async with AsyncExitStack() as stack:

        async def make(generation: int) -> ProcessBridge:
            write_source(directory / str(generation), generation)
            bridge = Killable(import_path=[directory / str(generation)], modules=["svc"], timeout=DEADLINE, **options)
            await bridge.init()
            stack.push_async_callback(bridge.dispose)
            return bridge

        yield make


@pytest.mark.parametrize("flavour", FLAVOURS, ids=lambda flavour: flavour.name)
def test_in_this_process(flavour: Flavour) -> None:
    @settings(max_examples=40)
    @given(histories())
    def check(history: list[Step]) -> None:
        with TemporaryDirectory() as directory, forgotten(Path(directory)):
            flavour.run(lambda: play(flavour, history, in_process(Path(directory))))

    check()


@pytest.mark.torture
@pytest.mark.parametrize(
    "options", [{}, {"threads": 3}, {"pool": 2}, {"async_backend": "trio"}], ids=["plain", "threads", "pool", "trio"]
)
def test_in_workers(options: dict[str, Any]) -> None:
    (flavour,) = (each for each in FLAVOURS if each.name == "trio")

    @settings(max_examples=150)
    @given(histories(kills="pool" not in options))
    def check(history: list[Step]) -> None:
        with TemporaryDirectory() as directory:
            trio.run(play, flavour, history, in_workers(Path(directory), **options))

    check()


@pytest.mark.torture
@pytest.mark.parametrize("flavour", FLAVOURS, ids=lambda flavour: flavour.name)
def test_in_workers_of_a_loop_in_another_thread(flavour: Flavour) -> None:
    async def host(history: list[Step]) -> None:
        with TemporaryDirectory() as directory:
            async with in_workers(Path(directory)) as make:
                portal, bridges = Portal(), nullcontext(make)
                await trio.to_thread.run_sync(flavour.run, lambda: play(flavour, history, bridges, portal))

    @settings(max_examples=150)
    @given(histories(kills=True))
    def check(history: list[Step]) -> None:
        trio.run(host, history)

    check()
