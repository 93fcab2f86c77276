"""Bridges: what carries calls to the worker (contract §§1, 10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from lastgood.bridges.process import ProcessBridge

__all__ = ["Bridge", "ProcessBridge"]


@runtime_checkable
class Bridge(Protocol):
    """An object that carries calls.

    It may also have ``async init()``, awaited once before anything is called, and an attribute ``thread_safe``: true if
    ``call`` may be used from any thread and event loop, rather than only from those that created it.
    """

    async def call(self, module: str, function: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call ``function`` (dots pass through classes) of ``module`` and give what it returned."""
        ...

    async def dispose(self) -> None:
        """Let go of everything. Called once; calls still in flight may fail."""
        ...


def __getattr__(name: str) -> Any:
    # Lazy: ProcessBridge needs trio and msgspec, the protocol neither.
    if name == "ProcessBridge":
        from lastgood.bridges.process import ProcessBridge

        return ProcessBridge
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
