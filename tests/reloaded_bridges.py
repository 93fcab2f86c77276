"""Bridges for tests of the reloader, which record what is done to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["Bridge", "Factory"]


async def nothing() -> None: ...


class Bridge:
    """Records what is done to it; ``on_call``, ``on_init`` and ``on_dispose`` are what it does itself."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.log: list[str] = []
        self.on_call: Callable[[], Awaitable[Any]] = nothing
        self.on_init: Callable[[], Awaitable[Any]] = nothing
        self.on_dispose: Callable[[], Awaitable[Any]] = nothing

    @property
    def disposed(self) -> bool:
        return "disposed" in self.log

    async def init(self) -> None:
        self.log.append("init")
        await self.on_init()

    async def call(self, *_args: Any, **_kwargs: Any) -> int:
        await self.on_call()
        return self.number

    async def dispose(self) -> None:
        self.log.append("dispose")
        await self.on_dispose()
        self.log.append("disposed")


class Factory:
    """Makes bridges, numbered from 1. ``script`` runs in each making, and may change the bridge."""

    def __init__(self) -> None:
        self.made: list[Bridge] = []
        self.script: Callable[[Bridge], Awaitable[Any] | None] = lambda _: None

    async def __call__(self) -> Bridge:
        bridge = Bridge(len(self.made) + 1)
        self.made.append(bridge)
        waiting = self.script(bridge)
        if waiting is not None:
            await waiting
        return bridge
