"""The app's side of a stream: items from a worker, in batches (the worker's side is worker/streams.py)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import trio

from lastgood.bridges.answers import error_of, unreadable
from lastgood.bridges.pending import PendingAnswer
from lastgood.bridges.raised import leave
from lastgood.bridges.remote import RemoteWorker
from lastgood.bridges.worker import frames
from lastgood.bridges.worker.values.known import Known
from lastgood.bridges.worker.values.values import DecodeError
from lastgood.calls.streams import already_running
from lastgood.errors import BridgeError, CallTimeout, RemoteError

__all__ = ["WorkerStream"]

_PATIENCE = 1.0  # seconds for a plain generator to come to its next ``yield`` when it is closed


class WorkerStream:
    """An async iterator over the items of one stream; see :meth:`.ProcessBridge.stream`.

    ``begin`` calls the function. ``check`` raises if the stream is used on another loop than the bridge's.

    A single consumer at a time may wait for an item.
    """

    def __init__(
        self,
        begin: Callable[..., tuple[RemoteWorker, PendingAnswer]],
        check: Callable[[str], None],
        module: str,
        function: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        known: Known | None = None,
    ) -> None:
        self._begin: Callable[..., tuple[RemoteWorker, PendingAnswer]] | None = begin
        self._check = check
        self._call: tuple[Any, ...] = module, function, args, kwargs, known
        self._known = known
        self._name = f"{module}.{function}"
        self._worker: RemoteWorker | None = None
        self._number = 0
        self._token: trio.lowlevel.TrioToken | None = None
        self._items: deque[Any] = deque()
        self._error: BaseException | None = None  # raised after the items
        self._is_over = False
        self._waits = False

    def __aiter__(self) -> WorkerStream:
        return self

    async def __anext__(self) -> Any:
        """Return the next item. Raises StopAsyncIteration at the end."""
        if not self._items:
            try:
                self._items.extend(await self.next_items())
            except RemoteError as error:
                leave(error)
                raise
        return self._items.popleft()

    @property
    def has_ended(self) -> bool:
        """Whether the end has come, after the items that were returned: the worker is not asked again."""
        return self._is_over

    async def next_items(self) -> Sequence[Any]:
        """Return the next items, at least one: those that have been made. Raises as :meth:`__anext__` does."""
        if self._waits:
            raise already_running()
        if self._items:
            received, self._items = self._items, deque()
            return received
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if self._is_over:
            raise StopAsyncIteration
        self._waits = True
        try:
            answer = await self._request()
        except BaseException:
            self._leave()
            raise
        finally:
            self._waits = False
        if answer.kind is None:
            self._leave()
            raise CallTimeout(self._name, self._timeout, "yield its next item", answer.waited)
        return self._read(answer) or await self.next_items()

    async def aclose(self) -> None:
        """Close the generator in the worker, and wait until it is closed. Raises what it raises then."""
        if self._waits:
            raise already_running()
        self._items.clear()
        self._error = None
        worker = self._worker
        was_over, self._is_over = self._is_over, True
        if was_over or worker is None:
            return
        self._check("stream")
        del worker.channel.streams[self._number]
        close = frames.CLOSE, frames.STREAM_NUMBER.pack(self._number)
        try:
            answer = worker.channel.submit(*close)
            with trio.move_on_after(_PATIENCE):
                await worker.channel.wait(answer)
            if answer.kind is None and not answer.late:
                # A plain generator is in the midst of an item that nobody asked for. It was interrupted, as a cancelled call is.
                answer = worker.channel.submit(*close)
                await worker.channel.wait(answer)
        except BridgeError:
            worker.channel.close_stream(self._number)  # unless the worker has gone, and the generator with it
            return
        if answer.kind is None:
            raise CallTimeout(self._name, self._timeout, "close")
        if answer.kind != frames.FORGOTTEN:
            try:
                self._value(answer.kind, answer.body)
            except RemoteError as error:
                leave(error)
                raise

    def __del__(self) -> None:
        if self._worker is not None and not self._is_over and self._token is not None:
            # A finalizer may run in any thread, and at any moment, also within the channel.
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(_close_garbage, self._worker, self._number)

    async def _request(self) -> PendingAnswer:
        self._check("stream")
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._worker is None:
            assert self._begin is not None
            begin, self._begin = self._begin, None
            self._token = trio.lowlevel.current_trio_token()
            self._worker, answer = begin(*self._call)
            self._call = ()
            self._number = answer.number
            self._worker.channel.streams[self._number] = answer
        else:
            channel = self._worker.channel
            opening = channel.streams[self._number]
            answer = channel.submit(frames.TAKE, frames.STREAM_NUMBER.pack(self._number), opening.target)
            answer.apart = opening.apart
        await self._worker.channel.wait(answer)
        return answer

    @property
    def _timeout(self) -> float:
        assert self._worker is not None
        return self._worker.channel.timeout

    def _read(self, answer: PendingAnswer) -> list[Any]:
        """Return the items of an answer. Note how the stream ends, if it does."""
        assert self._worker is not None
        worker = self._worker
        items: list[Any] = []
        reads = worker.codec.incoming.reads
        try:
            if answer.kind != frames.ITEMS:
                self._end(BridgeError("The worker has given the stream up."))
                if answer.kind != frames.FORGOTTEN:
                    self._value(answer.kind, answer.body)
                return items
            for kind, body in frames.records_of(answer.body):
                if kind == frames.ENDED:
                    self._end(None)
                elif kind == frames.RESULT:
                    items.append(self._value(kind, body))
                else:
                    self._end(None)
                    self._value(kind, body)
        except frames.FrameError as error:
            self._end(worker.fail_with(str(error)))
        except BridgeError as error:
            if not self._is_over:
                worker.channel.close_stream(self._number)
            self._end(error)
        finally:
            if worker.codec.incoming.reads != reads:
                worker.channel.send_read(answer.number)
        return items

    def _value(self, kind: int | None, body: bytes) -> Any:
        """Return the value of a RESULT, or raise the error that another answer stands for."""
        assert self._worker is not None
        try:
            value = self._worker.read_item(kind, body, self._known)
            raised = error_of(kind, value, known=self._known)
        except DecodeError as error:
            raise unreadable(error) from None
        except (ValueError, TypeError) as error:
            raise self._worker.fail_with(str(error)) from None
        if raised is not None:
            raise raised
        return value

    def _end(self, error: BaseException | None) -> None:
        self._error = error
        if not self._is_over:
            self._is_over = True
            if self._worker is not None:
                del self._worker.channel.streams[self._number]

    def _leave(self) -> None:
        """Have the worker close the stream, which nobody will ask for another item."""
        if self._worker is not None and not self._is_over:
            self._worker.channel.close_stream(self._number)
        self._end(None)


def _close_garbage(worker: RemoteWorker, number: int) -> None:
    worker.channel.close_stream(number)
    del worker.channel.streams[number]
