"""A module of generators for real workers to serve, and how tests read them."""

from __future__ import annotations

from typing import Any

import trio

from lastgood.bridges.process import ProcessBridge
from lastgood.bridges.streams import WorkerStream
from process_bridges import DEADLINE

__all__ = ["STREAMS", "closed", "items_of", "open_stream"]

STREAMS = '''
import asyncio, contextvars, os, threading

made, closed = [], []
var = contextvars.ContextVar("var", default=0)

def marks():
    return [list(made), list(closed)]

def count(end, name="count"):
    try:
        for number in range(end):
            made.append(number)
            yield number
    except GeneratorExit:
        closed.append(name)
        raise

async def count_async(end, name="count_async"):
    try:
        for number in range(end):
            await asyncio.sleep(0)
            made.append(number)
            yield number
    finally:
        closed.append(name)

async def slow_to_close(name):
    try:
        while True:
            await asyncio.sleep(0)
            yield 1
    finally:
        await asyncio.sleep(0.001)
        closed.append(name)

async def eager(end):
    for number in range(end):
        yield number

class Desk:
    @staticmethod
    def numbers(end):
        yield from range(end)

    @classmethod
    async def names(cls, end):
        for number in range(end):
            yield f"{cls.__name__} {number}"

def given(kind):
    return {"list": [1, 2], "map": map(str, [1, 2]), "none": None, "agen": eager(2), "dict": {1: 2}, "bad": Bad()}[kind]

class Bad:
    def __iter__(self):
        raise ValueError("no items today")

async def given_later(kind):
    await asyncio.sleep(0)
    return given(kind)

def failing(end):
    yield from range(end)
    raise ValueError("no more")

async def failing_async(end):
    for number in range(end):
        yield number
    raise ValueError("no more")

def uncrossable():
    yield 1
    yield {"x": object()}
    yield 3

def nested():
    yield count(3)

def held(*paths):
    """Wait at each FIFO before the item of its number."""
    try:
        for number, path in enumerate(paths):
            with open(path) as fifo:
                fifo.read()
            yield number
    finally:
        closed.append("held")

async def waiting():
    try:
        yield 1
        await asyncio.Event().wait()
    finally:
        closed.append("waiting")

async def stubborn():
    yield 1
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            yield "still there"

def hang():
    yield 1
    threading.Event().wait()

def hang_at_once():
    threading.Event().wait()
    yield 1

def dying(end):
    yield from range(end)
    os._exit(3)

def bad_end():
    try:
        while True:
            yield 1
    finally:
        raise ValueError("while it was closed")

async def bad_end_async():
    try:
        while True:
            yield 1
    finally:
        raise ValueError("while it was closed")

def held_and_failing(path):
    yield 1
    with open(path) as fifo:
        fifo.read()
    raise ValueError("ahead")

async def held_and_failing_async(path):
    for item in held_and_failing(path):
        yield item

async def in_a_group(name):
    try:
        async with asyncio.TaskGroup() as group:
            while True:
                yield 1
    finally:
        await asyncio.sleep(0)
        closed.append(name)

def leaving(path):
    try:
        while True:
            yield 1
    finally:
        with open(path, "w") as file:
            file.write("left")

async def leaving_async(path):
    try:
        while True:
            yield 1
    finally:
        with open(path, "w") as file:
            file.write("left")

def contexts(end):
    for number in range(end):
        var.set(var.get() + 1)
        yield var.get()

async def contexts_async(end):
    for number in range(end):
        var.set(var.get() + 1)
        await asyncio.sleep(0)
        yield var.get()

def get_var():
    return var.get()

def blobs(end, size):
    for number in range(end):
        made.append(number)
        yield bytes([number]) * size

def arrays(end):
    import numpy
    for number in range(end):
        yield numpy.full(500_000, number)

def give(value):
    return value
'''


def open_stream(bridge: ProcessBridge, function: str, *args: Any) -> WorkerStream:
    return bridge.stream("svc", function, args, {})


async def items_of(stream: WorkerStream) -> list[Any]:
    return [item async for item in stream]


async def closed(bridge: ProcessBridge, name: str) -> None:
    """Wait until the generator of this name has been closed."""
    with trio.fail_after(DEADLINE):
        while name not in (await bridge.call("svc", "marks", [], {}))[1]:
            await trio.lowlevel.checkpoint()
