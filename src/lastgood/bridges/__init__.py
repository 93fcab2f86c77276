"""Bridges: objects that carry calls to the worker."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from lastgood.errors import BridgeError

__all__ = ["Bridge", "call_plain", "check_bridge", "result_of"]

logger = logging.getLogger(__name__)


@runtime_checkable
class Bridge(Protocol):
    """An object that carries calls.

    It may also have these members:

    - ``async init()``: awaited once before any call.
    - ``live()``: plain; called with the swap that makes this bridge the live one. It cannot make the swap fail: errors are logged.
    - ``tell(generation, stale)``: plain; called with the swap, before ``live()``, and of the live bridge when one of the two
      changes: the number of its generation, and whether that is older than the sources. Errors are logged.
    - ``async idle()``: awaited of a bridge that was replaced and is not lost: it returns when what the bridge has begun by itself
      is done, such as the answers of a server. Like calls in flight, that has ``drain_timeout`` seconds, after which ``idle()``
      is cancelled; nothing waits for it but ``dispose()``, and the session's ``close()``.
    - ``async lost()``: a session awaits it of its live bridge. It returns an error when the bridge has broken down by itself;
      the session then restarts it from the same generation. It is cancelled when the bridge is replaced.
    - ``ends_in_background``: true if a session need not wait for ``dispose()`` of a bridge that it has replaced, before its
      ``close()``.
    - ``most_draining``: the number of replaced bridges that may have calls, or be busy, at once while this one is live; the oldest
      of more is cut off. By default 2.
    - ``ends_within``: the seconds that ``dispose()`` takes at most, if it sees to that itself. A session gives up any other one
      after ``drain_timeout``.
    - ``async prepare_spare()``: awaited of the live bridge while no cycle runs, to prepare what the next bridge can use, and
      again after some minutes. It is cancelled when the bridge is replaced.
    - ``warm`` and ``why_fresh``: what the session's :class:`~lastgood.watch_events.ReloadSuccess` says of the bridge.
    - ``thread_safe``: true if ``call`` may be used from any thread and event loop, not only those that created the bridge.
    - ``call_blocking(module, function, args, kwargs, known=None)``, if ``thread_safe`` is true: plain wrappers use it, in their
      own thread, instead of having ``call`` awaited on the loop of the bridge. With ``known`` it does as ``call_exact`` does.
    - ``async call_exact(module, function, args, kwargs, known)``: used by wrappers instead of ``call``. Enum members, instances
      and named tuples in its result are of the classes that wrappers declare; ``known`` finds these by the names of the source's.
      A bridge that wraps a :class:`~lastgood.ProcessBridge` may hand such a call on to it. Without it, or in a subclass that
      overrides only ``call``, wrappers use ``call``, and convert plain data by their annotations.
    - ``stream(module, function, args, kwargs)``: returns an async iterator over the items of a function that gives a stream,
      such as an async generator's. If it has ``aclose()``, that is awaited when a caller leaves early. Without this member,
      streams are refused. ``stream_exact(module, function, args, kwargs, known)`` is to it what ``call_exact`` is to ``call``.
    - ``async interface(functions, modules)``: asked of a new bridge before it is live, within two seconds; returns what
      :func:`lastgood.bridges.worker.interface.interface` does, with which wrappers are compared. A bridge that wraps a
      :class:`~lastgood.ProcessBridge` may hand it on. Without it, wrappers are not compared.
    - ``stream_blocking(module, function, args, kwargs, known=None)``, if ``thread_safe`` is true: returns a generator, for plain
      wrappers.
    """

    async def call(self, module: str, function: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call ``function`` (a dotted path for methods of classes) of ``module``, and return its result."""
        ...

    async def dispose(self) -> None:
        """Release all resources. Called once; calls still in flight may fail."""
        ...


def check_bridge(bridge: Any) -> None:
    """Raise :class:`BridgeError` if what ``create_bridge`` has returned lacks what every bridge has."""
    if isinstance(bridge, type):
        raise BridgeError(f"create_bridge() returned the class {bridge.__name__}; expected an instance of it.")
    kind = type(bridge).__name__
    for method in ("call", "dispose"):
        if not callable(getattr(bridge, method, None)):
            raise BridgeError(
                f"create_bridge() returned {kind}, which has no {method}(). "
                "A bridge has async call(module, function, args, kwargs) and async dispose()."
            )
    if inspect.iscoroutinefunction(getattr(bridge, "live", None)):
        raise BridgeError(
            f"create_bridge() returned {kind}, whose live() is async. It is called with the swap, which waits for nothing: "
            "make it a plain method, and start there what takes time."
        )


def call_plain(bridge: Any, name: str, *arguments: Any, let_through: tuple[type[BaseException], ...] = ()) -> None:
    """Call the method ``name`` of a live bridge, if it has one. It cannot make a reload fail: errors are only logged.

    Exceptions of the types in ``let_through`` are raised.
    """
    method = getattr(bridge, name, None)
    if callable(method):
        try:
            method(*arguments)
        except let_through:
            raise
        except BaseException:  # SystemExit, too
            logger.exception("%s() of the live bridge raised; the bridge stays live nevertheless", name)


async def result_of(value: Any) -> Any:
    """Return what a function of the user's has returned, which may be async."""
    return await value if inspect.isawaitable(value) else value
