"""Bridges: what carries calls to the worker (contract §§1, 10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from lastgood.bridges.worker.values.values import Typed

__all__ = ["Bridge", "Typed"]


@runtime_checkable
class Bridge(Protocol):
    """An object that carries calls.

    It may also have ``async init()``, awaited once before anything is called; ``async lost()``, which a session awaits of its
    live bridge, and which returns an error when the bridge has broken down by itself: the session then makes it once more from
    the same generation (a pending one is cancelled when the bridge is replaced); ``async prepare_spare()``, awaited of the
    live bridge while no cycle runs, for what the next one can take over; an attribute ``thread_safe``: true if ``call``
    may be used from any thread and event loop, rather than only from those that created it; and
    ``async call_typed(module, function, args, kwargs, types)``. That is a ``call`` by a wrapper whose result's type has classes
    that plain data do not tell apart. ``types`` are their (module, qualified name) as wrappers declare them, the module with
    the package of the output in front. It gives a :class:`Typed`, with another in the place of each value in it that is an
    instance of one of ``types``, the nearest that it derives from. Of a bridge that has none, ``call`` is used.
    """

    async def call(self, module: str, function: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call ``function`` (dots pass through classes) of ``module`` and give what it returned."""
        ...

    async def dispose(self) -> None:
        """Let go of everything. Called once; calls still in flight may fail."""
        ...
