"""The registry: which bridge is live, and the calls in flight on it (contract §2).

A :class:`Slot` is where one session or reloader keeps its live bridge; swapping it is one assignment. A :class:`Leased`
is one bridge with its leases. A :class:`Handle` calls through a slot, or through whichever slot is published: generated
wrappers use that of :func:`get_runtime_bridge`. Runs under trio, asyncio and Pyodide, and imports neither library.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from lastgood.calls import loops
from lastgood.calls.loops import Guard, Loop
from lastgood.calls.portal import LoopClosed, Portal
from lastgood.errors import BridgeError, Disposed, Forked, LastgoodError, NoRuntimeBridge

if TYPE_CHECKING:
    from lastgood.bridges import Bridge

__all__ = [
    "DISPOSE_TIMEOUT",
    "Handle",
    "IdleCallback",
    "Leased",
    "Slot",
    "clear_runtime_bridge",
    "get_runtime_bridge",
    "publish",
    "set_runtime_bridge",
    "unpublish",
]

DISPOSE_TIMEOUT = 10.0
"""Seconds for what runs when a bridge's last lease ends; then it is given up, and that is logged."""

logger = logging.getLogger(__name__)

IdleCallback: TypeAlias = Callable[[], Awaitable[None] | None]


class Leased:
    """A bridge, and its leases: the calls in flight on it. Made by :meth:`Slot.swap`."""

    __slots__ = ("_cut_error", "_home", "_in_flight", "_lock", "_waiting", "bridge")

    def __init__(self, bridge: Bridge, home: Loop | None, lock: threading.Lock) -> None:
        self.bridge = bridge
        self._home = home
        self._lock = lock  # the slot's: taking a lease and swapping exclude each other
        self._in_flight: dict[Guard, Loop | None] = {}
        self._waiting: list[IdleCallback] = []
        self._cut_error: Callable[[], BaseException] = BridgeError

    @property
    def count(self) -> int:
        """Calls in flight."""
        return len(self._in_flight)

    def on_idle(self, callback: IdleCallback) -> Awaitable[None] | None:
        """Call ``callback`` at once if no call is in flight, and return what it gives, for you to await.

        Else None is returned, and the task that ends the last lease calls it, and awaits what it gives, before its own
        call returns: shielded, for at most :data:`DISPOSE_TIMEOUT` seconds; what it raises is logged, never raised
        there. If that task runs on another loop than the bridge's, the callback gets a task of its own on the bridge's.
        Meant for a bridge that is no longer live: on a live one, the next call may begin right after.
        """
        with self._lock:
            if self._in_flight:
                self._waiting.append(callback)
                return None
        return callback()

    def cut_off(self, error_factory: Callable[[], BaseException]) -> None:
        """End the calls in flight: each is cancelled, and raises an ``error_factory()`` of its own.

        Says no more than "now": a call counts as in flight until it has unwound. A cancellation of the caller's own that
        comes at the same time stays one.
        """
        with self._lock:
            self._cut_error = error_factory
            calls = list(self._in_flight.items())
        for guard, loop in calls:
            if loop is not None:
                loop.soon(guard.cancel)

    def _end(self, guard: Guard) -> list[IdleCallback]:
        """End a lease; gives the callbacks that were waiting for that."""
        with self._lock:
            del self._in_flight[guard]
            if self._in_flight or not self._waiting:
                return []
            waiting, self._waiting = self._waiting, []
            return waiting

    async def _tell_idle(self, waiting: list[IdleCallback], loop: Loop | None) -> None:
        async def tell() -> None:
            for callback in waiting:
                try:
                    result = callback()
                    if result is not None:
                        await result
                except Exception:
                    logger.exception("What waited for the last call on %r raised", self.bridge)

        if self._home is not None and not self._home.is_here():
            self._home.spawn(tell)
        elif loop is None:
            await tell()
        elif not await loop.shielded(tell, DISPOSE_TIMEOUT):
            logger.error(
                "What waited for the last call on %r was given up: it had not ended after %g s",
                self.bridge,
                DISPOSE_TIMEOUT,
            )


class Slot:
    """Where one session or reloader keeps its live bridge. ``owner`` says whose it is, in errors: ``"a bridge reloader"``.

    The first :meth:`swap` binds it to the loop it is called on: calls from elsewhere are refused, unless the bridge's
    ``thread_safe`` is true. Called on no loop, it is bound to none. With an ``portal`` to that loop, calls from elsewhere
    are brought there instead: the lease, the call and its end are then as local as any.
    """

    def __init__(self, owner: str, portal: Portal | None = None) -> None:
        self.owner = owner
        self._portal = portal
        self.handle = Handle(lambda: self)
        self._live: Leased | None = None
        self._home: Loop | None = None
        self._fresh = True
        self._closed = False
        self._lock = threading.Lock()
        self._pid = os.getpid()

    @property
    def live(self) -> Leased | None:
        """The live bridge; None before the first swap and after :meth:`close`."""
        return self._live

    def swap(self, bridge: Bridge) -> Leased | None:
        """Make ``bridge`` the live one: every call that begins after this goes to it. Gives the bridge that was."""
        if self._fresh:
            self._fresh = False
            self._home = loops.current()
        new = Leased(bridge, self._home, self._lock)
        with self._lock:
            old, self._live = self._live, new
        return old

    def close(self) -> Leased | None:
        """No bridge is live from now on, and calls raise :class:`Disposed`. Gives the bridge that was."""
        with self._lock:
            old, self._live, self._closed = self._live, None, True
        return old

    def check_process(self) -> None:
        """Raise :class:`Forked` in a process that was forked since: the loop that a bridge lives on did not come along.

        A bridge that was set on no loop did.
        """
        if self.was_left():
            raise Forked(self.owner, self._pid)

    def was_left(self) -> bool:
        """Whether :meth:`check_process` raises."""
        return os.getpid() != self._pid and (self._fresh or self._home is not None)

    def over(self) -> Disposed:
        """The error for who comes after :meth:`close`."""
        return Disposed(f"{self.owner} is over: it was closed or disposed.")

    def nothing_live(self) -> Disposed | NoRuntimeBridge:
        """The error for who comes before the first swap, or after :meth:`close`."""
        if self._closed:
            return self.over()
        return NoRuntimeBridge(
            hint=f"Nothing can be called yet: {self.owner} is starting. Call once it has started, so neither in create_bridge, "
            "generate or probe, nor before `with` or `async with` has been entered."
        )

    async def _call(
        self,
        module: str,
        function: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        types: Sequence[tuple[str, str]] = (),
    ) -> Any:
        self.check_process()
        home = self._home
        loop = home if home is not None and home.is_here() else loops.current()
        portal = self._portal
        if portal is not None and loop is not None and not portal.is_here() and not _is_thread_safe(self._live):
            try:
                return await portal.cross(lambda: self._call(module, function, args, kwargs, types))
            except LoopClosed:
                raise self.over() from None
        guard = _Unguarded() if loop is None else loop.guard()
        leased = self._lease(guard, loop)
        try:
            with guard:
                if types and (call_typed := getattr(leased.bridge, "call_typed", None)) is not None:
                    return await call_typed(module, function, args, {} if kwargs is None else kwargs, types)
                return await leased.bridge.call(module, function, args, {} if kwargs is None else kwargs)
        finally:
            if waiting := leased._end(guard):
                await leased._tell_idle(waiting, loop)
        raise leased._cut_error()

    def _call_blocking(
        self,
        module: str,
        function: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        types: Sequence[tuple[str, str]] = (),
    ) -> Any:
        self.check_process()
        home, portal = self._home, self._portal
        if (home is not None and home.is_here()) or (portal is not None and portal.is_here()):
            raise BridgeError(
                f"The call of {module}.{function} blocks, and came from the very loop that its bridge lives on: it would wait "
                'for itself. Call it in another thread, or await it (wrappers of [output] style = "async").'
            )
        if portal is not None:
            try:
                return portal.cross_blocking(lambda: self._call(module, function, args, kwargs, types))
            except LoopClosed:
                raise self.over() from None
        if home is not None:
            raise self._refusal(self._live)
        return _result_at_once(self._call(module, function, args, kwargs, types))

    def _lease(self, guard: Guard, loop: Loop | None) -> Leased:
        at_home = self._home is None or loop is self._home
        with self._lock:
            leased = self._live
            if leased is not None and (at_home or _is_thread_safe(leased)):
                leased._in_flight[guard] = loop
                return leased
        raise self._refusal(leased)

    def _refusal(self, leased: Leased | None) -> LastgoodError:
        """Why a call cannot be made from here."""
        if leased is None:
            return self.nothing_live()
        if self._portal is None:
            advice = (
                "Call it from there, or run the session by `with watch(...)`, `watch(...).start()` or `watch(...).in_thread()`: it "
                "takes calls from every thread and loop. A bridge that may be awaited anywhere says thread_safe = True."
            )
        else:
            advice = "Await it on a loop of trio or asyncio; in plain code use `handle.call_blocking(...)`, or sync wrappers."
        return BridgeError(
            f"A call through {self.owner} came from {loops.here()}, but its bridge lives on {self._home}. {advice}"
        )


def _is_thread_safe(leased: Leased | None) -> bool:
    return leased is not None and getattr(leased.bridge, "thread_safe", False) is True


def _result_at_once(call: Coroutine[Any, Any, Any]) -> Any:
    """What a call gives that waits for nothing, as those of a fake do: a bridge that lives on no loop has none to wait on."""
    try:
        call.send(None)
    except StopIteration as stop:
        return stop.value
    call.close()
    raise BridgeError(
        "A blocking call has to wait, and its bridge lives on no event loop to wait on: it was set outside of one. "
        "Await it, or run a session by `with watch(...)` or `watch(...).start()`."
    )


class _Unguarded:
    """The guard of a call that runs on no loop we know: nothing can cancel it."""

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> Literal[False]:
        return False

    def cancel(self) -> None: ...


class Handle:
    """Calls the bridge that is live at the moment of the call (contract §2). It stays good across swaps."""

    __slots__ = ("_slot",)

    def __init__(self, slot: Callable[[], Slot]) -> None:
        self._slot = slot

    @property
    def bridge(self) -> Bridge:
        """The live bridge itself. Raises like :meth:`call`."""
        slot = self._slot()
        slot.check_process()
        live = slot.live
        if live is None:
            raise slot.nothing_live()
        return live.bridge

    async def call(
        self, module: str, function: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call ``function`` of ``module`` on the live bridge, holding a lease on it until that returns or raises.

        What the bridge's ``call`` raises comes as it is. Else raises :class:`NoRuntimeBridge` if no bridge is live,
        :class:`Disposed` if the session or reloader behind this handle is over, :class:`Forked` in a process that was forked
        from theirs, :class:`BridgeError` if the call comes from another loop or thread than the bridge's, or was cut off
        because the bridge had to go.
        """
        return await self._slot()._call(module, function, args, kwargs)

    def call_blocking(
        self, module: str, function: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """The same for plain code: it blocks the thread. For a session that runs in a thread of its own: ``with watch(...)``.

        Raises like :meth:`call`; also :class:`BridgeError` on the loop that the bridge lives on, where it would wait for itself.
        """
        return self._slot()._call_blocking(module, function, args, kwargs)

    def telling(self, types: Sequence[tuple[str, str]]) -> Handle:
        """The same handle, whose calls go to the bridge's ``call_typed`` if it has one, with these ``types``.

        See :class:`lastgood.bridges.Bridge`. Wrappers use it by :meth:`lastgood.calls.results.Returns.through`.
        """
        return _Telling(self._slot, types)


class _Telling(Handle):
    __slots__ = ("_types",)

    def __init__(self, slot: Callable[[], Slot], types: Sequence[tuple[str, str]]) -> None:
        super().__init__(slot)
        self._types = types

    async def call(
        self, module: str, function: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return await self._slot()._call(module, function, args, kwargs, self._types)

    def call_blocking(
        self, module: str, function: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return self._slot()._call_blocking(module, function, args, kwargs, self._types)


# --- what is published --------------------------------------------------------------------------------------

_published: Slot | None = None
_publishing = threading.Lock()


def _published_slot() -> Slot:
    slot = _published
    if slot is None:
        raise NoRuntimeBridge
    slot.check_process()
    return slot


_published_handle = Handle(_published_slot)


def get_runtime_bridge() -> Handle:
    """A handle on whatever bridge is published at the moment of each call.

    Raises :class:`NoRuntimeBridge` if none is now, and :class:`Forked` in a process that was forked from one in which one is; so
    does the handle by then.
    """
    slot = _published_slot()
    if slot.live is None:
        raise NoRuntimeBridge if slot._closed else slot.nothing_live()
    return _published_handle


def set_runtime_bridge(bridge: Bridge) -> None:
    """Publish a bridge of your own, in the place of whatever was published.

    Nothing is disposed: the bridge before is its owner's, this one yours. Set on a running loop, it is bound to that;
    set elsewhere, it may be called from any.
    """
    global _published
    if bridge is None:
        raise BridgeError("set_runtime_bridge() expects a bridge, not None. To have none, call clear_runtime_bridge().")
    slot = Slot("a bridge set by set_runtime_bridge()")
    slot.swap(bridge)
    with _publishing:
        _published = slot


def clear_runtime_bridge() -> None:
    """Have no bridge published. Handles taken before raise :class:`NoRuntimeBridge` from now on."""
    global _published
    with _publishing:
        _published = None


def publish(slot: Slot) -> None:
    """Publish ``slot``: what is or becomes live in it is what :func:`get_runtime_bridge` reaches.

    An empty slot is as good as none to callers, but holds the place: publish first, then create the bridge. Raises
    :class:`BridgeError` if another slot, or a bridge set by hand, is published.
    """
    global _published
    with _publishing:
        if _published is not None and _published is not slot and not _published.was_left():
            raise BridgeError(
                f"Only one bridge can be published, and {_published.owner} is already: {slot.owner} has to wait. Close the "
                "former, call clear_runtime_bridge(), or start the latter with set_as_global=False and use its handle."
            )
        _published = slot


def unpublish(slot: Slot) -> None:
    """Withdraw ``slot`` if it is what is published; anything else stays."""
    global _published
    with _publishing:
        if _published is slot:
            _published = None


def _after_fork() -> None:
    """In a forked child: whatever held a lock in another thread did not come along."""
    global _publishing
    _publishing = threading.Lock()
    if _published is not None:
        _published._lock = threading.Lock()
        if _published._live is not None:
            _published._live._lock = _published._lock


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
