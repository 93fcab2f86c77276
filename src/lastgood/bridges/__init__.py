"""Bridges: objects that carry calls to the worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from lastgood.bridges.worker.values.values import Typed

__all__ = ["Bridge", "Typed"]


@runtime_checkable
class Bridge(Protocol):
    """An object that carries calls.

    It may also have these members:

    - ``async init()``: awaited once before any call.
    - ``async lost()``: a session awaits it of its live bridge. It returns an error when the bridge has broken down by itself;
      the session then restarts it from the same generation. It is cancelled when the bridge is replaced.
    - ``async prepare_spare()``: awaited of the live bridge while no cycle runs, to prepare what the next bridge can use.
    - ``thread_safe``: true if ``call`` may be used from any thread and event loop, not only those that created the bridge.
    - ``call_blocking(module, function, args, kwargs, types)``, if ``thread_safe`` is true: plain wrappers use it, in their own
      thread, instead of having ``call`` awaited on the loop of the bridge. With ``types`` it does as ``call_typed`` does.
    - ``async call_typed(module, function, args, kwargs, types)``: used instead of ``call`` by a wrapper whose result type has
      classes that plain data do not distinguish. ``types`` are their (module, qualified name) as wrappers declare them, where
      the module name begins with the output's package. It returns a :class:`Typed`, which contains another one for each value
      that is an instance of one of ``types``, with the nearest of its base classes. Without it, ``call`` is used.
    """

    async def call(self, module: str, function: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call ``function`` (a dotted path for methods of classes) of ``module``, and return its result."""
        ...

    async def dispose(self) -> None:
        """Release all resources. Called once; calls still in flight may fail."""
        ...
