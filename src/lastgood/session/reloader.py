"""``create_bridge_reloader``: a live bridge that is replaced on request.

It uses no watcher and no files. It runs under trio, asyncio and Pyodide, and imports neither of these libraries.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lastgood.bridges import call_plain, check_bridge, result_of
from lastgood.calls import loops
from lastgood.calls.leases import DISPOSE_TIMEOUT, Leased
from lastgood.calls.registry import Handle, Slot, publish, unpublish
from lastgood.errors import BridgeError
from lastgood.session import arguments

if TYPE_CHECKING:
    from typing import Self

    from lastgood.bridges import Bridge

__all__ = ["BridgeReloader", "create_bridge_reloader"]

logger = logging.getLogger(__name__)

B = TypeVar("B", bound="Bridge")


async def create_bridge_reloader(
    create_bridge: Callable[[], B | Awaitable[B]], *, set_as_global: bool = True
) -> BridgeReloader[B]:
    """Create a bridge, and return the reloader that holds and replaces it.

    ``create_bridge``, plain or async, takes no argument and returns a new bridge each time. The bridge's ``init()``, if it has
    one, is awaited before the bridge goes live. With ``set_as_global``, wrappers call the live bridge.

    If ``create_bridge`` or ``init()`` raises, the bridge is disposed, nothing is published, and the error is raised. Raises
    :class:`TypeError` if ``create_bridge`` cannot be called so, and :class:`BridgeError`, before anything is created, if another
    bridge is published or neither trio nor asyncio runs.
    """
    arguments.function("create_bridge_reloader(): create_bridge", create_bridge)
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
    """The holder of a live bridge that can be replaced. :func:`create_bridge_reloader` creates it.

    As an async context manager it disposes the bridge at the end.
    """

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
        """The live bridge, as the factory returned it. Raises :class:`Disposed` after :meth:`dispose`."""
        self._slot.check_process()
        if self._disposed or self._current is None:
            raise self._slot.over()
        return self._current

    @property
    def handle(self) -> Handle:
        """A handle whose calls go to the bridge that is live at the time of the call, published or not."""
        return self._slot.handle

    async def reload(self) -> B:
        """Create a new bridge, make it the live one, and return it.

        Concurrent reloads run one after another. The old bridge is disposed before this returns if no call is in flight on it,
        else by the task that ends the last call; errors of its ``dispose()`` are logged.

        If ``create_bridge`` or ``init()`` raises, or on cancellation, the new bridge is disposed, the old one stays live, and
        the error is raised. Raises :class:`Disposed` if :meth:`dispose` was called before or meanwhile, and
        :class:`BridgeError` inside ``create_bridge`` or ``init()`` and on another loop.
        """
        self._refuse_reentry("reload()")
        old: Leased | None = None
        try:
            async with self._reloading:
                if self._disposed:
                    raise self._slot.over()
                bridge = await self._create()
                self._current = bridge
                old = self._slot.swap(bridge)
                call_plain(bridge, "live", let_through=(KeyboardInterrupt,))
        finally:
            # After the lock is released, so that a slow dispose() does not delay the next reload.
            await self._retire(old)
        return bridge

    async def dispose(self) -> None:
        """Unpublish the live bridge and dispose it: now if no call is in flight on it, else when the last call ends.

        Idempotent. It does not wait for a running reload, which disposes its new bridge and raises :class:`Disposed`.
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
            bridge: B = await result_of(made)
            if bridge is None or bridge is self._current:
                what = "None" if bridge is None else "the live bridge"
                raise BridgeError(f"create_bridge returned {what}; expected a new bridge.")
            try:
                check_bridge(bridge)
                init = getattr(bridge, "init", None)
                if init is not None:
                    await result_of(init())
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
            disposing = old.on_idle(lambda: self._dispose(old.bridge, getattr(old.bridge, "idle", None)))
            if disposing is not None:
                await disposing

    async def _dispose(self, bridge: Bridge, idle: Callable[[], object] | None = None) -> None:
        """Dispose ``bridge``, shielded from cancellation. Errors are only logged: the live bridge does not depend on them."""
        try:
            if idle is not None:
                await self._finish(idle, f"Waiting for idle() of {bridge!r}")
        finally:
            if callable(getattr(bridge, "dispose", None)):
                await self._finish(bridge.dispose, f"Disposing of {bridge!r}")

    async def _finish(self, step: Callable[[], object], what: str) -> None:
        async def take() -> None:
            await result_of(step())

        error = await self._loop.shielded(take, DISPOSE_TIMEOUT)
        if isinstance(error, KeyboardInterrupt):
            raise error
        if isinstance(error, loops.Abandoned):
            logger.error("%s was given up: it had not ended after %g s", what, DISPOSE_TIMEOUT)
        elif error is not None:
            logger.error("%s failed", what, exc_info=error)

    def _refuse_reentry(self, what: str) -> None:
        self._slot.check_process()
        if not self._loop.is_here():
            raise BridgeError(f"{what} was called from another event loop than the reloader's, which is {self._loop}.")
        if self._attempt is not None and _creating.get() is self._attempt:
            raise BridgeError(
                f"{what} was called from inside create_bridge or init(), which it would have to wait for."
            )


# The reload attempt, of any reloader, that the running code is part of. In tasks that a factory has started it outlives the
# attempt; such tasks may reload after it.
_creating: ContextVar[object] = ContextVar("creating", default=None)
