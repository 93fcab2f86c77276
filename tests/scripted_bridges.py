"""Bridges that answer with what they were called with, or do what they are told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from lastgood.calls.leases import Leased
from lastgood.calls.registry import Slot


class Named:
    """A bridge that answers each call with its own name and what it was called with."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def call(self, module: str, function: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return self.name, f"{module}.{function}", tuple(args), dict(kwargs)

    async def dispose(self) -> None: ...


class Scripted(Named):
    """A bridge whose calls do what they are told."""

    def __init__(self, script: Callable[[], Awaitable[Any]]) -> None:
        super().__init__("scripted")
        self.script = script

    async def call(self, *_args: Any, **_kwargs: Any) -> Any:
        return await self.script()


def slot_with(bridge: Named, owner: str = "a test") -> tuple[Slot, Leased]:
    slot = Slot(owner)
    assert slot.swap(bridge) is None
    assert slot.live is not None
    return slot, slot.live
