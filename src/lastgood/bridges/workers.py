"""Bridges to workers: calls, streams and losses, wherever the workers run.

A bridge decides how its workers are started: :class:`.process.ProcessBridge` starts processes here,
:class:`lastgood.remote.RemoteBridge` elsewhere.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import msgspec
import trio

from lastgood.bridges.answers import disposed, error_of, started_before, unreadable, unsendable
from lastgood.bridges.late import LATE_IMPORT_LISTENER, LoadedLate
from lastgood.bridges.pending import PendingAnswer
from lastgood.bridges.raised import leave
from lastgood.bridges.remote import PACK, RemoteWorker, unpacker
from lastgood.bridges.streams import WorkerStream
from lastgood.bridges.worker import frames
from lastgood.bridges.worker.manifest import digest_of
from lastgood.bridges.worker.values.known import Known
from lastgood.bridges.worker.values.values import DecodeError, EncodeError, Values
from lastgood.children.child import KILL_WAIT
from lastgood.config import ProcessConfig
from lastgood.errors import BridgeError, CallTimeout, Forked, RemoteError

__all__ = ["MAX_LATE_BYTES", "MAX_LOADED_LATE", "VALUES", "WorkerBridge", "current_token", "pin"]

logger = logging.getLogger(__name__)

MAX_LOADED_LATE = 10_000
"""Local modules that a worker may report to have loaded late."""

MAX_LATE_BYTES = 64 << 20
"""Bytes of late modules to keep. For modules beyond that, only their names and digests are kept."""

VALUES = Values(PACK, unpacker, msgspec.msgpack.Ext, towards="to the worker")
"""The app's side of the codec."""


class _Ends(Protocol):
    def end(self) -> Awaitable[object]: ...


class WorkerBridge:
    """Calls functions in workers, which :meth:`init` starts. What they are, and where, is up to the class that derives from this.

    ``process``, of whose settings ``timeout`` and ``grace`` matter here, applies to each of them; ``import_path`` are the
    directories of local modules. Set ``on_loaded_late`` to be notified of loaded modules that are not pinned.

    Use the bridge on the trio event loop that awaited ``init()``; anywhere else its methods raise :class:`BridgeError`.
    """

    thread_safe = False
    ends_in_background = True
    """A session does not wait for the end of a worker that it has replaced, before its ``close()``."""

    _name: ClassVar[str] = "a bridge"

    def __init__(self, process: ProcessConfig, import_path: Sequence[str]) -> None:
        self._process = process
        self._import_path = list(import_path)
        self._loaded_late: dict[Path, LoadedLate] = {}
        self._late_bytes = 0
        self.on_loaded_late = LATE_IMPORT_LISTENER.get()
        self._state: Literal["new", "starting", "ready", "disposed"] = "new"
        self._token: trio.lowlevel.TrioToken | None = None
        self._workers: list[RemoteWorker] = []
        self._gone = trio.Event()
        self._app = os.getpid()

    @property
    def ends_within(self) -> float:
        """The seconds that :meth:`dispose` takes at most: ``grace`` before SIGTERM and again before SIGKILL, and what follows."""
        return 2 * self._process.grace + 2 * KILL_WAIT

    @property
    def pid(self) -> int | None:
        """The process id of the first living worker; None if there is none."""
        return next(iter(self.pids), None)

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the living workers."""
        return tuple(pid for worker in self._workers if (pid := worker.pid) is not None)

    @property
    def loaded_late(self) -> tuple[LoadedLate, ...]:
        """The modules that the workers have reported as loaded late. Reports arrive with the next answer to a call."""
        return tuple(self._loaded_late.values())

    async def init(self) -> None:
        """Start the workers, and wait until they have imported every module.

        Raises :class:`RemoteError` if a module raises while it is imported, :class:`WorkerDied` if a worker ends before it
        is ready, and :class:`BridgeError` if it cannot be started. When this fails or is cancelled, no process is left running.
        """
        if self._state != "new":
            raise started_before()
        self._token = current_token("init", self)
        self._state = "starting"
        try:
            await self._start()
            self._state = "ready"
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.dispose()
            raise

    async def _start(self) -> None:
        """Start the workers and have them import the modules. What was started is in ``_workers``, also if this fails."""
        raise NotImplementedError

    def _companions(self) -> Sequence[_Ends]:
        """Return what ends with the workers; it is not asked for again."""
        return ()

    async def call(
        self,
        module: str,
        function: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        known: Known | None = None,
    ) -> Any:
        """Call ``function`` (a dotted path for methods of classes) of ``module`` in the worker and return its result.

        Enum members, dataclass instances and named tuples in it are plain data; with ``known``, they are of the classes that the
        app knows.

        Raises :class:`RemoteError` if the function raised, :class:`CallTimeout`, :class:`WorkerDied`, or another
        :class:`BridgeError` if the function may not be called, or if an argument or the result cannot be transferred.
        """
        if self._state != "ready" or os.getpid() != self._app:
            raise self._not_ready()
        if (
            current_token("call", self) is not self._token
        ):  # checked inline: another function frame would slow a call by a percent
            self._check_loop("call")
        await trio.lowlevel.checkpoint_if_cancelled()
        worker = self._workers[0] if len(self._workers) == 1 else self._least_busy()
        answer = _submit(worker, module, function, args, kwargs, known)
        await worker.channel.wait(answer)
        if answer.kind is None:
            raise CallTimeout(f"{module}.{function}", self._process.timeout, waited=answer.waited)
        try:
            return self._result(worker, answer, known)
        except RemoteError as error:
            leave(error)
            raise

    call_exact = call

    def stream(
        self,
        module: str,
        function: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        known: Known | None = None,
    ) -> WorkerStream:
        """Return an async iterator over what ``function`` yields, or over the iterator that it returns.

        Nothing is called before the first item is asked for. Items are made ahead: up to 256, or 1 MiB of them. The iterator has
        ``aclose()``; when it is garbage, or a request for an item is cancelled, the generator is closed in the worker, too.
        Asking for an item raises what :meth:`call` raises, after the items before it. ``timeout`` limits each request. With
        ``known``, items are as the results of :meth:`call` are with it.
        """
        return WorkerStream(
            self._open_stream, self._check_loop, module, function, args, {} if kwargs is None else kwargs, known
        )

    stream_exact = stream

    async def interface(self, functions: Sequence[tuple[str, str]], modules: Sequence[str]) -> Any:
        """Return what ``functions``, pairs of a module and a path in it, and ``modules`` are in the worker.

        The answer is that of :func:`.worker.interface.interface`. Raises what :meth:`call` raises.
        """
        if self._state != "ready" or os.getpid() != self._app:
            raise self._not_ready()
        self._check_loop("interface")
        worker = self._least_busy()
        question = VALUES.dumps([[list(each) for each in functions], list(modules)])
        answer = worker.channel.submit(frames.INTERFACE, question)
        await worker.channel.wait(answer)
        if answer.kind is None:
            raise CallTimeout("the interface of the modules", self._process.timeout)
        return self._result(worker, answer)

    def _open_stream(
        self, module: str, function: str, args: Sequence[Any], kwargs: Mapping[str, Any], known: Known | None
    ) -> tuple[RemoteWorker, PendingAnswer]:
        if self._state != "ready" or os.getpid() != self._app:
            raise self._not_ready()
        worker = self._least_busy()
        return worker, _submit(worker, module, function, args, kwargs, known, kind=frames.STREAM)

    async def lost(self) -> BridgeError:
        """Wait until a worker has died by itself, and return the error that its calls raise. Call it after ``init()``.

        A session awaits this method of its live bridge, if the bridge has one, to restart it.
        """
        self._check_loop("lost")
        died: list[BridgeError] = []

        async def watch(worker: RemoteWorker) -> None:
            died.append(await worker.died())
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for worker in self._workers:
                nursery.start_soon(watch, worker)
        return died[0]

    async def dispose(self) -> None:
        """End the worker and all it started. Calls in flight raise :class:`BridgeError`. May be called again.

        Closing the requests asks the worker to exit. After ``grace`` seconds it gets SIGTERM, after as many again SIGKILL; a
        busy worker gets SIGTERM at once. If cancelled, send SIGKILL immediately. On return, no process of the worker is left.
        """
        if self._token is None or os.getpid() != self._app:  # the workers of a forked child belong to its parent
            self._state = "disposed"
            return
        self._check_loop("dispose")
        if self._state == "disposed":
            await self._gone.wait()
            return
        self._state = "disposed"
        failed: list[BridgeError] = []

        async def end(worker: RemoteWorker) -> None:
            try:
                await worker.end(self._process.grace)
            except BridgeError as error:
                failed.append(error)

        try:
            async with trio.open_nursery() as nursery:
                for worker in self._workers:
                    nursery.start_soon(end, worker)
                for companion in self._companions():
                    nursery.start_soon(companion.end)
        finally:
            self._gone.set()
        if failed:
            raise failed[0]

    def _least_busy(self) -> RemoteWorker:
        """Return the least busy living worker; if none lives, the first, whose channel raises how it died."""
        living = [worker for worker in self._workers if not worker.channel.failed()]
        return min(living or self._workers, key=lambda worker: worker.channel.load())

    def _result(
        self, worker: RemoteWorker, answer: PendingAnswer, known: Known | None = None, *, is_import: bool = False
    ) -> Any:
        try:
            value = worker.read(answer, known)
            raised = error_of(answer.kind, value, known=known, is_import=is_import)
        except DecodeError as error:
            raise unreadable(error) from None
        except (ValueError, TypeError) as error:
            failure = worker.fail_with(str(error))
            raise failure from None
        if raised is not None:
            raise raised
        return value

    def _note_loaded(self, worker: RemoteWorker, body: bytes) -> None:
        """Record a late module. The first worker to report it has read it for all: the others import the same bytes.

        Another worker may be reading the file at the same moment. The two then agree unless the file was just being edited,
        and that edit leads to a new cycle, since the file is watched from here on.
        """
        loaded = _decode_loaded(worker, body, self._import_path)
        if loaded.path in self._loaded_late:
            return
        if len(self._loaded_late) == MAX_LOADED_LATE:
            raise frames.FrameError(f"a report of more than {MAX_LOADED_LATE} modules that were loaded late")
        assert loaded.source is not None
        self._late_bytes += len(loaded.source)
        for other in self._workers:
            if other is not worker:
                pin(other, loaded)
        if self._late_bytes > MAX_LATE_BYTES:
            logger.warning(
                "More than %d bytes of modules were loaded late; a worker that is started again reads %s from the disk.",
                MAX_LATE_BYTES,
                loaded.name,
            )
            loaded = replace(loaded, source=None)
        self._loaded_late[loaded.path] = loaded
        if self.on_loaded_late is not None:
            try:
                self.on_loaded_late(loaded)
            except Exception:  # the user's callback must not fail the calls whose answers come next
                logger.exception("on_loaded_late raised for %s", loaded.name)

    def _check_loop(self, what: str) -> None:
        if os.getpid() != self._app:
            raise Forked("the bridge", self._app)
        if current_token(what, self) is not self._token:
            raise BridgeError(
                f"{what}() of {self._name} was used from another event loop or thread than its init(). "
                "It belongs to one trio event loop; use trio.from_thread.run() to get back there."
            )

    def _not_ready(self) -> BridgeError:
        if os.getpid() != self._app:
            return Forked("the bridge", self._app)
        if self._state == "disposed":
            return disposed()
        return BridgeError("The bridge has no worker yet: await init() before the first call().")


def _decode_loaded(worker: RemoteWorker, body: bytes, import_path: Sequence[str]) -> LoadedLate:
    """Decode a LOADED frame. The path will be watched, so it must be a local module's; raise FrameError otherwise."""
    try:
        name, path, source = VALUES.loads(body)
    except (ValueError, TypeError) as error:
        raise frames.FrameError(str(error)) from None
    if not (isinstance(name, str) and isinstance(path, str) and isinstance(source, bytes)):
        raise frames.FrameError("a LOADED frame without a name, a path and a source")
    path = worker.here(path)
    is_local = any(path.startswith(os.path.join(entry, "")) for entry in import_path)
    if not (is_local and os.path.normpath(path) == path and "\0" not in path):
        raise frames.FrameError(f"{path[:200]!r} is not the path of a local module")
    return LoadedLate(name, Path(path), digest_of(source), source)


def pin(worker: RemoteWorker, late: LoadedLate) -> None:
    """Have ``worker`` use the bytes of a late module that another one has read."""
    if late.source is not None:
        worker.channel.pin(VALUES.dumps([worker.there(str(late.path)), late.source]))


def current_token(what: str, bridge: WorkerBridge) -> trio.lowlevel.TrioToken:
    """Return the token of the running event loop, on which ``what`` of the bridge is used."""
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:
        raise BridgeError(
            f"{what}() of {bridge._name} was used outside of trio. It belongs to one trio event loop, on one thread."
        ) from None


def _submit(
    worker: RemoteWorker,
    module: str,
    function: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    known: Known | None = None,
    kind: int = frames.CALL,
) -> PendingAnswer:
    try:
        return worker.submit(f"{module}\0{function}".encode(), args, kwargs, known, kind=kind)
    except (EncodeError, UnicodeEncodeError, frames.StructError) as error:
        raise unsendable(error, module, function) from None
