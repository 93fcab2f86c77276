"""The registry of the live bridge.

A :class:`Slot` holds the live bridge of one session or reloader; a swap is one assignment. A :class:`Handle` calls through a
slot, or through whichever slot is published: generated wrappers use the handle of :func:`get_runtime_bridge`. It runs under
trio, asyncio and Pyodide, and imports neither library.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from lastgood.bridges.raised import leave
from lastgood.calls import loops
from lastgood.calls.gate import Gate
from lastgood.calls.leases import Leased
from lastgood.calls.loops import Guard, Loop
from lastgood.calls.portal import LoopClosed, Portal
from lastgood.calls.streams import AsyncItems, BlockingItems, Opening
from lastgood.errors import BridgeError, Disposed, Forked, LastgoodError, NoRuntimeBridge, RemoteError

if TYPE_CHECKING:
    from lastgood.bridges import Bridge
    from lastgood.bridges.worker.values.known import Known
    from lastgood.config import CheckResults

__all__ = [
    "Handle",
    "OfWrapper",
    "Slot",
    "clear_runtime_bridge",
    "get_runtime_bridge",
    "publish",
    "set_runtime_bridge",
    "unpublish",
]


class OfWrapper(Protocol):
    """A wrapper's call. ``is_exact`` is set to true if the bridge has made the result of the classes that it was of."""

    is_exact: bool
    checks: CheckResults

    def begin(self) -> Known:
        """Return the classes that the app knows. Called when the lease is taken; no swap comes in between."""
        ...

    def item(self, value: Any, number: int) -> Any:
        """Return what the wrapper gives for an item of its stream; ``number`` is the item's, from 1 on."""
        ...


class Slot:
    """The live bridge of one session or reloader. ``owner`` names that one in errors, such as ``"a bridge reloader"``.

    The first :meth:`swap` binds the slot to the loop on which it is called, or to none, as with ``bound`` false. Calls from
    other loops and threads are refused, unless the bridge's ``thread_safe`` is true. With a ``portal`` to that loop, such
    calls are run there instead, lease included.
    """

    def __init__(self, owner: str, portal: Portal | None = None, *, bound: bool = True) -> None:
        self.owner = owner
        self._portal = portal
        self._bound = bound
        self.handle = Handle(lambda: self)
        self._live: Leased | None = None
        self._gate: Gate | None = None
        self._home: Loop | None = None
        self._fresh = True
        self._closed = False
        # Reentrant, because a call that is garbage collected while it is held ends its lease.
        self._lock = threading.RLock()
        self._pid = os.getpid()

    @property
    def live(self) -> Leased | None:
        """The live bridge; None before the first swap and after :meth:`close`."""
        return self._live

    @property
    def is_thread_safe(self) -> bool:
        """Whether the live bridge may be called from every thread and loop."""
        return _is_thread_safe(self._live)

    def swap(
        self, bridge: Bridge, along: Callable[[], object] | None = None, *, checks: CheckResults = "error"
    ) -> Leased | None:
        """Make ``bridge`` the live one: every call that begins after this goes to it. Return the previous bridge.

        ``along`` is called with it: no lease is taken in between. It must not fail. ``checks`` says what becomes of a result of
        another type than its source declares.
        """
        if self._fresh:
            self._fresh = False
            self._home = loops.current() if self._bound else None
        new = Leased(bridge, self._home, self._lock, checks)
        with self._lock:
            old, self._live = self._live, new
            if along is not None:
                along()
            self._open_gate()
        return old

    def hold(self) -> None:
        """Let calls wait until the next :meth:`swap`, :meth:`refuse` or :meth:`close`, instead of going to the live bridge."""
        with self._lock:
            if self._live is not None and (self._gate is None or self._gate.refusal is not None):
                self._gate = Gate()

    def refuse(self, error_factory: Callable[[], BaseException]) -> None:
        """Let the calls that wait, and new ones, raise their own ``error_factory()`` until the next :meth:`swap`."""
        with self._lock:
            if self._live is not None:
                self._open_gate()
                self._gate = Gate(error_factory)

    def _open_gate(self) -> None:
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.open()

    async def wait(self, loop: Loop | None) -> None:
        """Wait on ``loop``, the running one, until there is something to call, or an error to raise."""
        with self._lock:
            gate = self._gate
            if gate is None or gate.refusal is not None:
                return
            if loop is None:
                raise BridgeError(f"{self.owner} is between two bridges, and there is no event loop to wait on.")
            barrier = gate.on(loop)
        async with barrier:
            pass

    def wait_blocking(self, called: str) -> None:
        """Wait as :meth:`wait` does, and block this thread. ``called`` names the call in errors."""
        self._check_not_here(called)
        gate = self._gate
        if gate is not None and gate.refusal is None:
            with gate.in_thread:
                pass

    def close(self) -> Leased | None:
        """Close the slot: no bridge is live, and calls raise :class:`Disposed`. Return the previous bridge."""
        with self._lock:
            old, self._live, self._closed = self._live, None, True
            self._open_gate()
        return old

    def check_process(self) -> None:
        """Raise :class:`Forked` in a forked child: the event loop of the bridge does not exist there.

        A bridge that is bound to no loop stays usable.
        """
        if self.was_left():
            raise Forked(self.owner, self._pid)

    def was_left(self) -> bool:
        """Return whether :meth:`check_process` raises."""
        return os.getpid() != self._pid and (self._fresh or self._home is not None)

    def over(self) -> Disposed:
        """Return the error for a call after :meth:`close`."""
        return Disposed(f"{self.owner} is over: it was closed or disposed.")

    def unavailable_error(self) -> Disposed | NoRuntimeBridge:
        """Return the error for a call before the first swap or after :meth:`close`."""
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
        wrapper: OfWrapper | None = None,
    ) -> Any:
        self.check_process()
        home = self._home
        loop = home if home is not None and home.is_here() else loops.current()
        portal = self._portal
        if portal is not None and loop is not None and not portal.is_here() and not _is_thread_safe(self._live):
            try:
                return await portal.cross(lambda: self._call(module, function, args, kwargs, wrapper))
            except LoopClosed:
                raise self.over() from None
        guard = loops.Unguarded() if loop is None else loop.guard()
        taken = self.lease(guard, loop, wrapper)
        if taken is None:
            await self.wait(loop)
            return await self._call(module, function, args, kwargs, wrapper)  # by the next bridge's way
        leased, known = taken
        try:
            with guard:
                if known is not None and wrapper is not None and leased.call_exact is not None:
                    wrapper.is_exact = True
                    return await leased.call_exact(module, function, args, {} if kwargs is None else kwargs, known)
                return await leased.bridge.call(module, function, args, {} if kwargs is None else kwargs)
        finally:
            if waiting := leased._end(guard):
                await leased._run_idle_callbacks(waiting, loop)
        raise leased._cut_error()

    def _call_blocking(
        self,
        module: str,
        function: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        wrapper: OfWrapper | None = None,
    ) -> Any:
        self.check_process()
        live, called = self._live, f"{module}.{function}"
        if live is not None and _is_thread_safe(live) and hasattr(live.bridge, "call_blocking"):
            guard = loops.Unguarded()
            taken = self.lease(guard, None, wrapper)
            if taken is not None:
                return self._call_in_place(module, function, args, kwargs, wrapper, guard, *taken)
            self.wait_blocking(called)
            return self._call_blocking(module, function, args, kwargs, wrapper)
        return self.run_blocking(called, lambda: self._call(module, function, args, kwargs, wrapper))

    def run_blocking(self, called: str, function: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run ``function`` on the loop of the bridge, and block this thread. ``called`` names the call in errors."""
        self._check_not_here(called)
        home, portal = self._home, self._portal
        if portal is not None:
            try:
                return portal.cross_blocking(function)
            except LoopClosed:
                raise self.over() from None
        if home is not None:
            raise self._refusal(self._live)
        return loops.result_at_once(function())

    def _check_not_here(self, called: str) -> None:
        home, portal = self._home, self._portal
        if (home is not None and home.is_here()) or (portal is not None and portal.is_here()):
            raise BridgeError(
                f"The call of {called} blocks, and came from the very loop that its bridge lives on: it would wait "
                'for itself. Call it in another thread, or await it (wrappers of [output] style = "async").'
            )

    def _call_in_place(
        self,
        module: str,
        function: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        wrapper: OfWrapper | None,
        guard: Guard,
        leased: Leased,
        known: Known | None,
    ) -> Any:
        """Call by the ``call_blocking`` of the bridge of ``leased``, in this thread."""
        bridge: Any = leased.bridge
        try:
            if known is not None and wrapper is not None and leased.call_exact is not None:
                wrapper.is_exact = True
                return bridge.call_blocking(module, function, args, {} if kwargs is None else kwargs, known)
            return bridge.call_blocking(module, function, args, {} if kwargs is None else kwargs)
        finally:
            if waiting := leased._end(guard):
                leased._spawn_idle_callbacks(waiting)

    def lease(self, guard: Guard, loop: Loop | None, wrapper: OfWrapper | None) -> tuple[Leased, Known | None] | None:
        """Take a lease on the live bridge for a call on ``loop``; None if the call has to :meth:`wait` first."""
        at_home = self._home is None or loop is self._home
        with self._lock:
            leased = self._live
            if leased is not None and (at_home or _is_thread_safe(leased)):
                if self._gate is not None:
                    if self._gate.refusal is not None:
                        raise self._gate.refusal()
                    return None
                known = None
                if wrapper is not None:
                    known, wrapper.checks = wrapper.begin(), leased.checks
                leased._in_flight[guard] = loop
                return leased, known
        raise self._refusal(leased)

    def _refusal(self, leased: Leased | None) -> LastgoodError:
        """Return the error that says why the calling code cannot make a call."""
        if leased is None:
            return self.unavailable_error()
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


class Handle:
    """A handle whose calls go to the bridge that is live at the moment of the call. It stays valid across swaps."""

    __slots__ = ("_slot",)

    def __init__(self, slot: Callable[[], Slot]) -> None:
        self._slot = slot

    @property
    def bridge(self) -> Bridge:
        """The live bridge itself. Raises as :meth:`call` does if there is none."""
        slot = self._slot()
        slot.check_process()
        live = slot.live
        if live is None:
            raise slot.unavailable_error()
        return live.bridge

    async def call(
        self, module: str, function: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call ``function`` of ``module`` on the live bridge, holding a lease on it until the call returns or raises.

        Exceptions of the bridge's ``call`` propagate unchanged. Raises :class:`NoRuntimeBridge` if no bridge is live,
        :class:`Disposed` if the session or reloader of this handle has been closed, :class:`Forked` in a process that was
        forked from its process, and :class:`BridgeError` if the call comes from another loop or thread than the bridge's, or
        if it was cut off because its bridge was disposed.
        """
        try:
            return await self._slot()._call(module, function, args, kwargs)
        except RemoteError as error:
            leave(error)
            raise

    def call_blocking(
        self, module: str, function: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call as :meth:`call` does, from plain code, blocking the thread.

        It is meant for a session that runs in a thread of its own, as ``with watch(...)`` starts it. Raises as :meth:`call`
        does, and :class:`BridgeError` on the bridge's own loop, where the call would wait for itself.
        """
        try:
            return self._slot()._call_blocking(module, function, args, kwargs)
        except RemoteError as error:
            leave(error)
            raise

    def stream(
        self, module: str, function: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> AsyncItems:
        """Return an async iterator over the items of ``function``, a generator or a function that returns an iterator.

        The function is called on the bridge that is live when the first item is asked for; the iterator holds a lease on it to
        its end. ``aclose()`` closes the generator, and so does the end of the last reference to the iterator. Asking for an item
        raises as :meth:`call` does.
        """
        return AsyncItems(self._slot, Opening(module, function, args, kwargs))

    def stream_blocking(
        self, module: str, function: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> BlockingItems:
        """Return an iterator as :meth:`stream` does, for plain code: it blocks the thread, and has ``close()``."""
        return BlockingItems(self._slot, Opening(module, function, args, kwargs))

    def of_wrapper(self, wrapper: OfWrapper) -> Handle:
        """Return a handle on the same slot for one call of a wrapper: the result is of the classes that it was of.

        It calls the bridge's ``call_exact``, if it has one; see :class:`lastgood.bridges.Bridge`.
        """
        return _HandleOfWrapper(self._slot, wrapper)


class _HandleOfWrapper(Handle):
    __slots__ = ("_wrapper",)

    def __init__(self, slot: Callable[[], Slot], wrapper: OfWrapper) -> None:
        super().__init__(slot)
        self._wrapper = wrapper

    async def call(
        self, module: str, function: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return await self._slot()._call(module, function, args, kwargs, self._wrapper)

    def call_blocking(
        self, module: str, function: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return self._slot()._call_blocking(module, function, args, kwargs, self._wrapper)

    def stream(
        self, module: str, function: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> AsyncItems:
        return AsyncItems(self._slot, Opening(module, function, args, kwargs, self._wrapper))

    def stream_blocking(
        self, module: str, function: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> BlockingItems:
        return BlockingItems(self._slot, Opening(module, function, args, kwargs, self._wrapper))


# --- the published slot ---------------------------------------------------------------------------------------

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
    """Return a handle on whatever bridge is published at the moment of each call.

    Raises :class:`NoRuntimeBridge` if no bridge is published, and :class:`Forked` in a process that was forked from the one
    that published it. The calls of the handle raise the same errors.
    """
    slot = _published_slot()
    if slot.live is None:
        raise NoRuntimeBridge if slot._closed else slot.unavailable_error()
    return _published_handle


def set_runtime_bridge(bridge: Bridge) -> None:
    """Publish a bridge of your own in place of the published one.

    Neither bridge is disposed: the previous one belongs to its owner, the new one to the caller. A bridge that is set on a
    running loop is bound to that loop; one that is set outside of any loop may be called from any. Raises
    :class:`BridgeError` if ``bridge`` is None.
    """
    global _published
    if bridge is None:
        raise BridgeError("set_runtime_bridge() expects a bridge, not None. To have none, call clear_runtime_bridge().")
    slot = Slot("a bridge set by set_runtime_bridge()")
    slot.swap(bridge)
    with _publishing:
        _published = slot


def clear_runtime_bridge() -> None:
    """Withdraw the published bridge. Existing handles raise :class:`NoRuntimeBridge` from now on."""
    global _published
    with _publishing:
        _published = None


def publish(slot: Slot, instead: str = "or start the latter with set_as_global=False and use its handle") -> None:
    """Publish ``slot``: :func:`get_runtime_bridge` reaches the bridge that is live in it.

    Publish the slot before creating the bridge: an empty slot already reserves the place, and callers see no bridge. Raises
    :class:`BridgeError` if another slot, or a bridge set by :func:`set_runtime_bridge`, is published; ``instead`` ends its
    advice.
    """
    global _published
    with _publishing:
        if _published is not None and _published is not slot and not _published.was_left():
            raise BridgeError(
                f"Only one bridge can be published, and {_published.owner} is already: {slot.owner} has to wait. Close the "
                f"former, call clear_runtime_bridge(), {instead}."
            )
        _published = slot


def unpublish(slot: Slot) -> None:
    """Withdraw ``slot`` if it is the published one; any other stays published."""
    global _published
    with _publishing:
        if _published is slot:
            _published = None


def _after_fork() -> None:
    """Replace the locks in a forked child: the thread that held one does not exist there."""
    global _publishing
    _publishing = threading.Lock()
    if _published is not None:
        _published._lock = threading.RLock()
        if _published._live is not None:
            _published._live._lock = _published._lock


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
