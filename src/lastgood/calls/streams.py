"""Streams through the registry: iterators whose items come from the bridge that is live when the first one is asked for.

A stream holds a lease from the request of its first item to its end, so that a swap leaves it to its own generation until that
is cut off. :class:`AsyncItems` and :class:`BlockingItems` are what a caller has, on any loop and in any thread. When the last
reference to one is gone, the stream is closed. :class:`_Leased` is the stream on the bridge's own loop.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from types import FunctionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from lastgood.bridges.raised import leave
from lastgood.calls import loops
from lastgood.calls.portal import LoopClosed
from lastgood.errors import BridgeError, Disposed, RemoteError

if TYPE_CHECKING:
    from lastgood.bridges.worker.values.known import Known
    from lastgood.calls.leases import IdleCallback, Leased
    from lastgood.calls.loops import Guard, Loop
    from lastgood.calls.registry import OfWrapper, Slot

__all__ = ["AsyncItems", "BlockingItems", "Opening", "already_running"]

logger = logging.getLogger(__name__)

T = TypeVar("T")


def already_running() -> RuntimeError:
    """Return the error for a stream that is asked for an item while somebody waits for one: a generator raises it as well."""
    return RuntimeError(
        "The stream is being read already. Only one consumer at a time can wait for an item: have one task read the stream, and "
        "hand the items on."
    )


class Opening:
    """The call that opens a stream, of a ``wrapper``'s if there is one."""

    __slots__ = ("args", "function", "kwargs", "module", "wrapper")

    def __init__(
        self,
        module: str,
        function: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        wrapper: OfWrapper | None = None,
    ) -> None:
        self.module = module
        self.function = function
        self.args = args
        self.kwargs = {} if kwargs is None else kwargs
        self.wrapper = wrapper

    def on(self, bridge: Any, known: Known | None) -> AsyncIterator[Any]:
        """Return the bridge's stream."""
        stream = getattr(bridge, "stream", None)
        if stream is None:
            raise BridgeError(
                f"{self.module}.{self.function} gives a stream, but the bridge has none: {type(bridge).__qualname__} has no "
                "method stream(module, function, args, kwargs) that returns an async iterator. Add one, such as "
                "`async def stream(self, module, function, args, kwargs): ...` with a `yield` for each item."
            )
        exact = self.exact(bridge, known)
        if exact is not None:
            source = exact(self.module, self.function, self.args, self.kwargs, known)
        else:
            source = stream(self.module, self.function, self.args, self.kwargs)
        if not hasattr(type(source), "__anext__"):
            if hasattr(source, "close"):
                source.close()  # a coroutine that nobody awaits
            raise BridgeError(
                f"stream() of {type(bridge).__qualname__} returned an object of type {type(source).__qualname__}, no async "
                "iterator. Make it an async generator, or a plain function that returns one."
            )
        return source  # type: ignore[no-any-return]  # checked just above

    def blocking_on(self, bridge: Any, known: Known | None) -> Any:
        """Return the bridge's stream for plain code."""
        if self.exact(bridge, known) is None:
            return bridge.stream_blocking(self.module, self.function, self.args, self.kwargs)
        return bridge.stream_blocking(self.module, self.function, self.args, self.kwargs, known)

    def exact(self, bridge: Any, known: Known | None) -> Callable[..., Any] | None:
        """Return the bridge's ``stream_exact`` if a wrapper's items come by it, which it is told."""
        from lastgood.calls.leases import exact_of

        found = exact_of(bridge, "stream")
        if known is None or self.wrapper is None or found is None:
            return None
        self.wrapper.is_exact = True
        return found


def _log_late(call: Opening, error: Exception) -> None:
    """Log what a generator has raised when nobody waited for its end."""
    if isinstance(error, RemoteError):
        leave(error)
    logger.warning("%s.%s raised as its stream was closed", call.module, call.function, exc_info=error)


class _Leased:
    """A stream with its lease, on the loop of its bridge. It is the guard of its own lease."""

    def __init__(self, slot: Slot, call: Opening) -> None:
        self._slot = slot
        self._call = call
        self._loop: Loop | None = None
        self._leased: Leased | None = None
        self._source: Any = None
        self._guard: Guard | None = None  # of the request that waits
        self._waits = False
        self._is_cut = False  # while a request waited, which may have its items all the same
        self._is_over = False
        self._error: BaseException | None = None

    # A guard, for whoever cuts the stream off.

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> Literal[False]:
        return False

    def cancel(self) -> None:
        """End the stream: a request raises why. It is called on the loop of the stream."""
        if self._guard is not None:
            self._is_cut = True
            self._guard.cancel()
        elif not self._is_over and self._leased is not None and self._loop is not None:
            self._error = self._leased._cut_error()
            self._is_over = True
            self._loop.spawn(self._close_quietly)

    async def next_items(self) -> Sequence[Any]:
        """Return the next items, at least one. Raise StopAsyncIteration at the end."""
        if self._waits:
            raise already_running()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if self._is_over:
            raise StopAsyncIteration
        self._waits = True
        try:
            if self._is_cut and self._leased is not None and self in self._leased._in_flight:
                raise await self._cut_off(self._leased)
            return await self._request()
        finally:
            self._waits = False

    async def _request(self) -> Sequence[Any]:
        items = None
        try:
            if self._leased is None:
                await self._open()
            loop = self._loop
            guard = self._guard = loops.Unguarded() if loop is None else loop.guard()
            with guard:
                items = await _next_items_of(self._source)
        except BaseException:
            self._is_over = True
            await self._end_lease()
            raise
        finally:
            self._guard = None
        assert self._leased is not None
        if items is None:
            raise await self._cut_off(self._leased)
        if getattr(self._source, "has_ended", False) and (waiting := self._leased_no_more()):
            self._leased._spawn_idle_callbacks(waiting)  # what has come needs no bridge, however slowly it is read
        return items

    async def _cut_off(self, leased: Leased) -> BaseException:
        """Close the stream; return why it was cut off."""
        self._is_over = True
        await self._close_quietly()
        return leased._cut_error()

    async def _open(self) -> None:
        home = self._slot._home
        self._loop = home if home is not None and home.is_here() else loops.current()
        self._slot.check_process()
        while (taken := self._slot.lease(self, self._loop, self._call.wrapper)) is None:
            await self._slot.wait(self._loop)
        self._leased, known = taken
        self._source = self._call.on(self._leased.bridge, known)

    async def aclose(self) -> None:
        """Close the stream, and end its lease. Raises what its generator raises then."""
        if self._waits:
            raise already_running()
        self._error = None
        if not self._is_over:
            self._is_over = True
            await self._close()

    def let_go(self) -> None:
        """Close the stream without waiting for it. Safe from any thread."""
        if self._leased is None or self._is_over:
            self._is_over = True
        elif self._loop is not None:
            self._loop.spawn(self._leave)
        else:
            with suppress(BridgeError):  # it would have to wait
                loops.result_at_once(self._leave())

    async def _leave(self) -> None:
        if not self._waits and not self._is_over:
            self._is_over = True
            await self._close_quietly()

    async def _close(self) -> None:
        close = getattr(self._source, "aclose", None)
        try:
            if close is not None:
                await close()
        finally:
            await self._end_lease()

    async def _close_quietly(self) -> None:
        try:
            await self._close()
        except Exception as error:
            _log_late(self._call, error)

    async def _end_lease(self) -> None:
        if self._leased is not None and (waiting := self._leased_no_more()):
            await self._leased._run_idle_callbacks(waiting, self._loop)

    def _leased_no_more(self) -> list[IdleCallback]:
        """End the lease, if it has not ended. Return the callbacks to run."""
        leased = self._leased
        return leased._end(self) if leased is not None and self in leased._in_flight else []


class _InPlace:
    """A stream with its lease, whose items are made in the thread that asks for them."""

    def __init__(self, slot: Slot, call: Opening) -> None:
        self._slot = slot
        self._call = call
        self._leased: Leased | None = None
        self._source: Any = None
        self._is_over = False

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> Literal[False]:
        return False

    def cancel(self) -> None:
        """Do nothing: a thread cannot be interrupted."""

    def next_items(self) -> Sequence[Any]:
        """Return the next item. Raise StopAsyncIteration at the end."""
        if self._is_over:
            raise StopAsyncIteration
        try:
            if self._leased is None:
                self._slot.check_process()
                while (taken := self._slot.lease(self, None, self._call.wrapper)) is None:
                    self._slot.wait_blocking(f"{self._call.module}.{self._call.function}")
                self._leased, known = taken
                self._source = self._call.blocking_on(self._leased.bridge, known)
            return [next(self._source)]
        except StopIteration:
            self.let_go()
            raise StopAsyncIteration from None
        except BaseException:
            self.let_go()
            raise

    def close(self) -> None:
        """Close the stream, and end its lease."""
        if self._is_over:
            return
        self._is_over = True
        try:
            if self._source is not None:
                self._source.close()
        finally:
            if self._leased is not None and (waiting := self._leased._end(self)):
                self._leased._spawn_idle_callbacks(waiting)

    def let_go(self) -> None:
        """Close the stream. An error is logged."""
        try:
            self.close()
        except Exception as error:
            _log_late(self._call, error)


class _Items:
    """What the iterators of callers have in common."""

    def __init__(self, slot: Callable[[], Slot], call: Opening) -> None:
        self._slot_of = slot
        self._call = call
        self._slot: Slot | None = None
        self._stream: _Leased | _InPlace | None = None
        self._is_closed = False
        self._items: deque[Any] = deque()
        self._count = 0

    def _begun(self) -> tuple[Slot, _Leased | _InPlace]:
        if self._slot is None or self._stream is None:
            self._slot = self._slot_of()
            self._stream = self._made(self._slot)
        self._slot.check_process()
        return self._slot, self._stream

    def _was_left(self) -> bool:
        """Return whether this is a forked child: the stream belongs to its parent, which may hold its lock."""
        return self._slot is not None and self._slot.was_left()

    def _made(self, slot: Slot) -> _Leased | _InPlace:
        return _Leased(slot, self._call)

    def _next_item(self) -> Any:
        """Return the next of the items that have come, as its declared type."""
        item = self._items.popleft()
        self._count += 1
        if self._call.wrapper is None:
            return item
        try:
            return self._call.wrapper.item(item, self._count)
        except BaseException:
            self._let_go()
            raise

    def _note_failed(self, error: BaseException) -> None:
        """Note what a request has raised. One that is cancelled on its way back has lost what it brings: the stream is over."""
        if isinstance(error, RemoteError):
            leave(error)
        elif not isinstance(error, Exception):
            self._let_go()

    def _let_go(self) -> None:
        self._is_closed = True
        self._items.clear()
        if self._stream is not None and not self._was_left():
            self._stream.let_go()

    def __del__(self) -> None:
        if not self._is_closed and self._stream is not None and not self._was_left():
            self._stream.let_go()

    def __repr__(self) -> str:
        return f"<stream of {self._call.module}.{self._call.function}>"


class AsyncItems(_Items):
    """An async iterator over the items of a stream. A single consumer at a time may wait for an item."""

    _is_asked = False
    """Somebody waits for an item. On its way from another loop a request is not known to the bridge yet, or not any more."""

    def __aiter__(self) -> AsyncItems:
        return self

    async def __anext__(self) -> Any:
        """Return the next item. Raises StopAsyncIteration at the end, and what the bridge's stream raises."""
        if not self._items or self._was_left():
            if self._is_closed:
                raise StopAsyncIteration
            self._check_not_asked()
            slot, stream = self._begun()
            assert isinstance(stream, _Leased)
            self._is_asked = True
            try:
                self._items.extend(await self._cross(slot, stream.next_items))
            except BaseException as error:
                self._note_failed(error)
                raise
            finally:
                self._is_asked = False
        return self._next_item()

    async def aclose(self) -> None:
        """Close the stream, and wait until its generator is closed. Raises what that raises."""
        if self._stream is not None and not self._is_closed and not self._was_left():
            self._check_not_asked()
            slot, stream = self._begun()
            assert isinstance(stream, _Leased)
            try:
                with suppress(Disposed):  # the session is over, and has closed the stream
                    await self._cross(slot, stream.aclose)
            except BaseException as error:
                self._note_failed(error)
                raise
        self._is_closed = True
        self._items.clear()

    def _check_not_asked(self) -> None:
        if self._is_asked:
            raise already_running()

    async def _cross(self, slot: Slot, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        portal = slot._portal
        if portal is None or portal.is_here() or loops.current() is None or slot.is_thread_safe:
            return await function()
        try:
            return await portal.cross(function)
        except LoopClosed:
            raise slot.over() from None


class BlockingItems(_Items):
    """An iterator over the items of a stream, for plain code. Several threads may share it: each item goes to one of them."""

    def __init__(self, slot: Callable[[], Slot], call: Opening) -> None:
        super().__init__(slot, call)
        self._lock = threading.Lock()
        self._is_closing = False  # a thread that takes item after item could keep the lock from another that closes it

    def __iter__(self) -> BlockingItems:
        return self

    def __next__(self) -> Any:
        """Return the next item. Raises what the bridge's stream raises."""
        if self._was_left():
            self._begun()  # raises Forked
        with self._lock:
            if self._is_closing:
                raise StopIteration
            if not self._items:
                if self._is_closed:
                    raise StopIteration
                slot, stream = self._begun()
                try:
                    self._items.extend(self._run(slot, stream.next_items))
                except StopAsyncIteration:
                    raise StopIteration from None
                except BaseException as error:
                    self._note_failed(error)
                    raise
            return self._next_item()

    def close(self) -> None:
        """Close the stream, and wait until its generator is closed. Raises what that raises."""
        if self._was_left():
            self._is_closed = True
            return
        self._is_closing = True
        with self._lock:
            if self._stream is not None and not self._is_closed:
                slot, stream = self._begun()
                try:
                    with suppress(Disposed):
                        self._run(slot, stream.close if isinstance(stream, _InPlace) else stream.aclose)
                except BaseException as error:
                    self._note_failed(error)
                    raise
            self._is_closed = True
            self._items.clear()

    def _made(self, slot: Slot) -> _Leased | _InPlace:
        live = slot.live
        if live is not None and slot.is_thread_safe and hasattr(live.bridge, "stream_blocking"):
            return _InPlace(slot, self._call)
        return super()._made(slot)

    def _run(self, slot: Slot, function: Callable[[], Any]) -> Any:
        if isinstance(self._stream, _InPlace):
            return function()
        return slot.run_blocking(f"{self._call.module}.{self._call.function}", function)


async def _next_items_of(source: Any) -> Sequence[Any]:
    """Return the items that a bridge's stream has, or its next one."""
    if isinstance(getattr(type(source), "next_items", None), FunctionType):
        return await source.next_items()  # type: ignore[no-any-return]  # a WorkerStream's
    return [await source.__anext__()]
