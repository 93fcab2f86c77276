"""``create_bridge_reloader``: the live bridge, replaced when you say so (contract §2).

No watcher, no files, no trio: it runs under trio, asyncio and Pyodide, and imports neither library.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lastgood.calls import loops
from lastgood.calls.registry import DISPOSE_TIMEOUT, Handle, Leased, Slot, publish, unpublish
from lastgood.errors import BridgeError

if TYPE_CHECKING:
    from typing import Self

    from lastgood.bridges import Bridge

__all__ = ["BridgeReloader", "create_bridge_reloader"]

logger = logging.getLogger(__name__)

B = TypeVar("B", bound="Bridge")


async def create_bridge_reloader(
    create_bridge: Callable[[], B | Awaitable[B]], *, set_as_global: bool = True
) -> BridgeReloader[B]:
    """Create a bridge, and give the reloader that holds it and replaces it (contract §2).

    ``create_bridge``, plain or async, takes no argument and makes a new bridge each time; its ``init()``, if it has one,
    is awaited before it goes live. With ``set_as_global`` the live bridge is what wrappers call.

    Raises what ``create_bridge`` or ``init()`` raises, with nothing published and a half-made bridge disposed; and
    :class:`BridgeError`, before anything is created, if another bridge is published, or if neither trio nor asyncio runs.
    """
    loop = loops.current()
    if loop is None:
        raise BridgeError("create_bridge_reloader() runs under trio or asyncio; neither runs here.")
    reloader = BridgeReloader(create_bridge, loop)
    if set_as_global:
        publish(reloader._slot)
    try:
        await reloader.reload()
    except BaseException:
        await reloader.dispose()
        raise
    return reloader


class BridgeReloader(Generic[B]):
    """Holds a live bridge and replaces it. Made by :func:`create_bridge_reloader`; an async context manager that disposes."""

    def __init__(self, create_bridge: Callable[[], B | Awaitable[B]], loop: loops.Loop) -> None:
        self._create_bridge = create_bridge
        self._loop = loop
        self._reloading = loop.lock()
        self._slot = Slot("a bridge reloader")
        self._current: B | None = None
        self._disposed = False
        self._attempt: object = None

    @property
    def current(self) -> B:
        """The live bridge: the factory's own object. Raises :class:`Disposed` after :meth:`dispose`."""
        self._slot.check_process()
        if self._disposed or self._current is None:
            raise self._slot.over()
        return self._current

    @property
    def handle(self) -> Handle:
        """Calls the bridge that is live at the moment of the call, published or not."""
        return self._slot.handle

    async def reload(self) -> B:
        """Create a new bridge and make it the live one; give it.

        Reloads take turns; each begins after its call. The old bridge is disposed before this returns if no call is in
        flight on it, else by the task that ends the last one; what its ``dispose()`` raises is logged.

        Raises what ``create_bridge`` or ``init()`` raises, the new bridge disposed and the old one still live, likewise
        when cancelled. Raises :class:`Disposed` after :meth:`dispose`, also when that comes in the middle, and
        :class:`BridgeError` when called from inside ``create_bridge`` or ``init()``, or from another loop.
        """
        self._refuse_reentry("reload()")
        async with self._reloading:
            if self._disposed:
                raise self._slot.over()
            bridge = await self._create()
            self._current = bridge
            old = self._slot.swap(bridge)
        # Out of turn: an old bridge that is slow to go keeps no reload waiting.
        await self._retire(old)
        return bridge

    async def dispose(self) -> None:
        """Withdraw the live bridge and dispose it: now if no call is in flight on it, else when the last one ends.

        Idempotent. A reload in the middle is not waited for: its new bridge is disposed, and it raises
        :class:`Disposed`.
        """
        if self._slot.was_left():
            return
        self._refuse_reentry("dispose()")
        self._disposed = True
        self._current = None
        unpublish(self._slot)
        await self._retire(self._slot.close())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.dispose()

    async def _create(self) -> B:
        self._attempt = attempt = object()
        token = _creating.set(attempt)
        try:
            made: Any = self._create_bridge()
            bridge: B = await made if inspect.isawaitable(made) else made
            if bridge is None or bridge is self._current:
                what = "None" if bridge is None else "the live bridge"
                raise BridgeError(f"create_bridge returned {what}; expected a new bridge.")
            try:
                init = getattr(bridge, "init", None)
                if init is not None:
                    await init()
                if self._disposed:
                    raise self._slot.over()
            except BaseException:
                await self._dispose(bridge)
                raise
        finally:
            self._attempt = None
            _creating.reset(token)
        return bridge

    async def _retire(self, old: Leased | None) -> None:
        if old is not None:
            disposing = old.on_idle(lambda: self._dispose(old.bridge))
            if disposing is not None:
                await disposing

    async def _dispose(self, bridge: Bridge) -> None:
        """Dispose ``bridge``, whoever cancels. Never raises on the bridge's account: what is live does not depend on it."""

        async def dispose() -> None:
            try:
                await bridge.dispose()
            except Exception:
                logger.exception("Disposing of %r failed", bridge)

        if not await self._loop.shielded(dispose, DISPOSE_TIMEOUT):
            logger.error("Disposing of %r was given up: it had not ended after %g s", bridge, DISPOSE_TIMEOUT)

    def _refuse_reentry(self, what: str) -> None:
        self._slot.check_process()
        if not self._loop.is_here():
            raise BridgeError(f"{what} was called from another event loop than the reloader's, which is {self._loop}.")
        if self._attempt is not None and _creating.get() is self._attempt:
            raise BridgeError(
                f"{what} was called from inside create_bridge or init(), which it would have to wait for."
            )


# The attempt at a bridge, of whichever reloader, that the running code is part of. It can outlive the attempt, in tasks that
# a factory leaves behind; these may reload.
_creating: ContextVar[object] = ContextVar("creating", default=None)
