"""Streams of a session with a real worker: wrappers, swaps, drains, losses, undo, and every kind of program."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import trio

import lastgood
from generating import importable
from imported import forgotten
from lastgood import BridgeError, WorkerDied
from lastgood.session.watch import watch
from lastgood.watch_events import WatchEvent
from real_project import DEADLINE, RealProject

SOURCE = '''
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

@dataclass
class Token:
    number: int
    text: str = "one"

def tokens(end: int) -> Iterator[Token]:
    """What it says."""
    for number in range(end):
        yield Token(number)

async def later(end: int) -> AsyncIterator[Token]:
    for number in range(end):
        yield Token(number)

class Desk:
    @classmethod
    def numbers(cls, end: int) -> Iterator[int]:
        yield from range(end)

def pid() -> int:
    return os.getpid()
'''
TWO = SOURCE.replace('"one"', '"two"')
SYNC = '[modules.pricing]\n[output]\ndir = "generated"\nstyle = "sync"\n'


@pytest.fixture(autouse=True)
def _the_output_can_be_imported(project: RealProject) -> Iterator[None]:
    project.save("pricing.py", SOURCE)
    with importable(project.root, "generated"), forgotten(project.root):
        yield


def load() -> Any:
    return importlib.import_module("generated.pricing")


def ignore(_event: WatchEvent) -> None: ...


async def test_a_stream_ends_on_its_own_generation(project: RealProject) -> None:
    with trio.fail_after(DEADLINE):
        async with watch(project.config_file, on_event=ignore) as session:
            wrapper = load()
            stream = wrapper.tokens(1000)
            assert await anext(stream) == wrapper.Token(0, "one")
            old = await wrapper.pid()
            project.save("pricing.py", TWO)
            assert await session.reload_now()
            assert await wrapper.pid() != old
            assert [item async for item in stream] == [wrapper.Token(number, "one") for number in range(1, 1000)]
            for function in (wrapper.tokens, wrapper.later):
                assert [item async for item in function(2)] == [wrapper.Token(0, "two"), wrapper.Token(1, "two")]
            assert [item async for item in wrapper.Desk.numbers(3)] == [0, 1, 2]
            assert await session.undo()
            assert [item.text async for item in wrapper.tokens(1)] == ["one"]


async def test_a_stream_that_outlives_the_drain_ends_with_an_error(project: RealProject) -> None:
    with trio.fail_after(DEADLINE):
        async with watch(project.config_file, on_event=ignore, drain_timeout=0.0) as session:
            wrapper = load()
            stream = wrapper.tokens(10**9)
            assert await anext(stream) == wrapper.Token(0)
            assert await session.reload_now()
            with pytest.raises(BridgeError):
                async for _item in stream:
                    pass
            assert [item async for item in stream] == []
            assert [item.number async for item in wrapper.tokens(2)] == [0, 1]


async def test_a_lost_worker_ends_its_streams_and_the_next_one_has_others(project: RealProject) -> None:
    with trio.fail_after(DEADLINE):
        async with watch(project.config_file, on_event=ignore) as session:
            wrapper = load()
            stream = wrapper.later(10**9)
            await anext(stream)
            os.kill(await wrapper.pid(), signal.SIGKILL)
            with pytest.raises(WorkerDied):
                async for _item in stream:
                    pass
            assert await session.reload_now()
            assert [item.number async for item in wrapper.later(2)] == [0, 1]


def test_sync_wrappers_of_a_session_in_a_thread(project: RealProject) -> None:
    project.save("lastgood.toml", SYNC)
    with watch(project.config_file, on_event=ignore) as session:
        wrapper = load()
        assert [item.number for item in wrapper.tokens(1000)] == list(range(1000))
        stream = wrapper.later(10**9)
        assert next(stream) == wrapper.Token(0)
        project.save("pricing.py", TWO)
        assert session.reload_now()
        assert next(stream).text == "one"
        stream.close()
        for item in wrapper.tokens(10**9):
            assert item.text == "two"
            break
        assert list(wrapper.Desk.numbers(2)) == [0, 1]


def test_under_asyncio(project: RealProject) -> None:
    async def main() -> None:
        async with asyncio.timeout(DEADLINE), watch(project.config_file, on_event=ignore) as session:
            wrapper = load()
            assert [item.number async for item in wrapper.tokens(1000)] == list(range(1000))
            stream = wrapper.later(10**9)
            await anext(stream)
            assert await session.reload_now()
            assert (await anext(stream)).number == 1
            await stream.aclose()
            async for _item in wrapper.tokens(10**9):
                break

    asyncio.run(main())


def test_direct_gives_the_same(project: RealProject) -> None:
    lastgood_toml = project.config_file

    async def main() -> None:
        async with watch(lastgood_toml, on_event=ignore):
            pass

    trio.run(main)

    async def items() -> list[Any]:
        wrapper = load()
        found = [[item.number async for item in function(3)] for function in (wrapper.tokens, wrapper.later)]
        async for item in wrapper.tokens(3):
            assert type(item) is wrapper.Token
            break
        return found

    with lastgood.direct(lastgood_toml):
        assert trio.run(items) == asyncio.run(items()) == [[0, 1, 2]] * 2
