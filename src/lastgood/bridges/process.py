"""The default bridge: call functions in a worker process."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import trio

from lastgood.bridges.answers import check_sequences, disposed, error_of, started_before, unreadable, unsendable
from lastgood.bridges.blank import take_blank
from lastgood.bridges.late import LAST_EDIT, LATE_IMPORT_LISTENER, LoadedLate, decode_loaded
from lastgood.bridges.logs import LEVELS
from lastgood.bridges.pending import PendingAnswer
from lastgood.bridges.raised import leave
from lastgood.bridges.remote import PACK, RemoteWorker, unpacker
from lastgood.bridges.spare import RunContext, Spare, becomes_ready, newest_source, take_spare
from lastgood.bridges.streams import WorkerStream
from lastgood.bridges.worker import frames
from lastgood.bridges.worker.manifest import Damaged
from lastgood.bridges.worker.values.known import Known
from lastgood.bridges.worker.values.values import DecodeError, EncodeError, Values
from lastgood.children.child import KILL_WAIT
from lastgood.children.limits import in_thread
from lastgood.children.platforms import require_processes
from lastgood.config import Config, ModuleConfig, ProcessConfig
from lastgood.errors import BridgeError, CallTimeout, ConfigError, Forked, RemoteError
from lastgood.sources.environment import Environment, find_environment
from lastgood.store.user_key import cache_directory

__all__ = ["MAX_LATE_BYTES", "MAX_LOADED_LATE", "VALUES", "LoadedLate", "ProcessBridge"]

logger = logging.getLogger(__name__)

MAX_LOADED_LATE = 10_000
"""Local modules that a worker may report to have loaded late."""

MAX_LATE_BYTES = 64 << 20
"""Bytes of late modules to keep. For modules beyond that, only their names and digests are kept."""

VALUES = Values(PACK, unpacker, msgspec.msgpack.Ext, towards="to the worker")
"""The app's side of the codec."""


class ProcessBridge:
    """Calls functions of ``modules`` in a worker process, which ``await init()`` starts.

    ``python`` is the worker's interpreter: 3.9 or newer, nothing needs to be installed in it, default this one. Alternatively,
    ``virtual_env`` is the directory of a virtual environment. ``import_path`` lists the directories where modules are looked
    for first. ``modules`` are the names of the modules that may be called, or a mapping from these to a
    :class:`~lastgood.config.ModuleConfig`.

    ``timeout`` limits each call, counted from its beginning; ``grace`` is the time the worker gets to exit by itself. Both are
    in seconds. Calls begin in order, ``threads`` at once; once they have begun, ``async def`` functions run together on
    an event loop of ``async_backend``, ``"asyncio"`` or ``"trio"``.

    A call that times out or is cancelled raises a ``KeyboardInterrupt`` in the thread that runs it.

    The worker runs with the app's environment variables plus ``env``, in the app's working directory or ``cwd``; its output
    goes to the app's stderr. What it logs is handled by the app's loggers of the same names, unless its imports give the root
    logger a handler. It logs at the levels that the app's loggers have; a change reaches it with the next call. ``pool`` is the
    number of workers; a call goes to the least busy one. A worker that dies takes only its own calls with it. When all have died,
    every call raises :class:`WorkerDied`. With ``spare``, a bridge of a pinned generation has other workers run its program
    ahead for the next bridge, see :class:`lastgood.config.ProcessConfig`.

    ``pinned`` is the manifest of a pinned generation: local modules are then imported from the files it names. Keep it and
    those files while the bridge lives. Set ``on_loaded_late`` to be notified of loaded modules that are not in it.

    Use the bridge on the trio event loop that awaited ``init()``; anywhere else its methods raise :class:`BridgeError`.
    """

    thread_safe = False
    ends_in_background = True
    """A session does not wait for the end of a worker that it has replaced, before its ``close()``."""

    def __init__(
        self,
        python: str | Path | None = None,
        *,
        import_path: Sequence[str | Path] = (),
        modules: Sequence[str] | Mapping[str, ModuleConfig] = (),
        timeout: float = 30.0,
        virtual_env: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        threads: int = 1,
        pool: int = 1,
        grace: float = 1.0,
        async_backend: str = "asyncio",
        spare: bool = True,
        pinned: str | Path | None = None,
    ) -> None:
        require_processes("ProcessBridge")
        check_sequences(modules, import_path)
        self._process = ProcessConfig(
            python=None if python is None else _command(python),
            virtual_env=None if virtual_env is None else Path(os.path.abspath(virtual_env)),
            env=dict(env or {}),
            cwd=None if cwd is None else Path(os.path.abspath(cwd)),
            timeout=float(timeout),
            threads=threads,
            pool=pool,
            grace=float(grace),
            async_backend=async_backend,
            spare=spare,
        )
        wrong = self._process.wrong_field()
        if wrong is not None:
            raise ValueError(f"{wrong[0]}: {wrong[1]}")
        self._config_file: Path | None = None
        self._import_path = [os.path.abspath(entry) for entry in import_path]
        self._modules = modules if isinstance(modules, Mapping) else {name: ModuleConfig() for name in modules}
        self._pinned = None if pinned is None else os.path.abspath(pinned)
        self._loaded_late: dict[Path, LoadedLate] = {}
        self._late_bytes = 0
        self.on_loaded_late = LATE_IMPORT_LISTENER.get()
        self._state: Literal["new", "starting", "ready", "disposed"] = "new"
        self._token: trio.lowlevel.TrioToken | None = None
        self._workers: list[RemoteWorker] = []
        self._environment: Environment | None = None
        self._edited: tuple[Path, ...] = ()
        self._loaded: list[str] = []
        self._spares: list[Spare] = []
        self._no_spare = "spare = false"
        self._preparing: trio.Lock | None = None
        self._taken: list[RemoteWorker] = []
        self.warm: Literal["fresh", "spare"] = "fresh"
        """``"spare"`` if all its workers had been spares, else ``"fresh"``."""
        self.why_fresh: str | None = None
        """The reason if one of them had not."""
        self._gone = trio.Event()
        self._app = os.getpid()

    @classmethod
    def from_config(cls, config: Config) -> ProcessBridge:
        """Create the bridge that a config describes, without starting it."""
        process = config.runtime.process
        made = cls(
            process.python,
            import_path=config.python_import_path,
            modules=config.modules,
            timeout=process.timeout,
            virtual_env=process.virtual_env,
            env=process.env,
            cwd=process.cwd,
            threads=process.threads,
            pool=process.pool,
            grace=process.grace,
            async_backend=process.async_backend,
            spare=process.spare and process.overlap,
            pinned=config.pinned,
        )
        if not process.overlap:
            made._no_spare = "overlap = false"
        made._config_file = config.path
        return made

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
        """Start the worker, and wait until it has imported every module.

        Raises :class:`RemoteError` if a module raises while it is imported, :class:`WorkerDied` if the worker ends before it
        is ready, and :class:`BridgeError` if the interpreter or environment is missing or cannot be started
        (:class:`ConfigError` for a bridge made from a config). When it fails or is cancelled, no process is left running.
        """
        if self._state != "new":
            raise started_before()
        self._token = _current_token("init")
        self._state = "starting"
        try:
            setup = self._setup()
            await self._start(setup)
            body = PACK(setup)  # plain data, and of thousands of modules
            for worker in self._workers:
                worker.levels = LEVELS.current
            answers = [worker.channel.submit(frames.SETUP, body) for worker in self._workers]
            for index, answer in enumerate(answers):
                await self._get_ready(index, answer, body)
            self.warm = "spare" if self.why_fresh is None else "fresh"
            self._state = "ready"
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.dispose()
            raise

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
            _current_token("call") is not self._token
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
        if not self._workers or os.getpid() != self._app:  # the workers of a forked child belong to its parent
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
                for spare in self._spares:
                    nursery.start_soon(spare.end)
        finally:
            self._spares.clear()
            self._gone.set()
        if failed:
            raise failed[0]

    async def prepare_spare(self) -> None:
        """Start a spare worker for each worker of this bridge, for the next bridge. Return when they wait for it.

        A spare waits before it runs what follows the imports of a file that was edited last (``LAST_EDIT``, which the session
        sets; if there is none, the newest file). A session calls this after each cycle, including a failed one, which may have
        used up the spare, and from time to time, since a spare grows old. Errors are only logged.
        """
        if self._state != "ready" or not (self._process.spare and self._pinned and self._environment):
            return
        manifest = Path(self._pinned)
        try:
            self._preparing = self._preparing or trio.Lock()
            async with self._preparing:
                edited = LAST_EDIT.get() or self._edited or await in_thread(newest_source, manifest)
                for spare in self._spares:
                    if not spare.is_usable() or spare.is_old() or edited != self._edited:
                        await spare.end()
                self._spares = [spare for spare in self._spares if spare.is_waiting()]
                self._edited = edited
                while self._state == "ready" and len(self._spares) < self._process.pool:
                    await self._add_spare(self._environment)
        except (BridgeError, Damaged, OSError) as error:
            logger.warning("no spare worker could be made: %s", error)

    async def _add_spare(self, environment: Environment) -> None:
        worker = self._make_worker(environment, is_spare=True)
        spare, answer = self.start_spare(worker, environment, self._edited)
        self._spares.append(spare)
        await worker.channel.wait(answer)

    def start_spare(
        self, worker: RemoteWorker, environment: Environment, edited: tuple[Path, ...]
    ) -> tuple[Spare, PendingAnswer]:
        """Have a blank worker run this bridge's program ahead, up to what follows the imports of the ``edited`` files.

        Return it as a spare for another bridge, and its answer, which comes when it has done that.
        """
        setup = self._setup()
        spare = Spare(worker, _context(environment, setup))
        spare.wait()
        body = PACK({**setup, "focus": [str(path) for path in edited], "later": self._loaded})
        return spare, worker.channel.submit(frames.AHEAD, body)

    async def _start(self, setup: Mapping[str, Any]) -> None:
        environment = self._environment = self._find_environment()
        self.why_fresh = None if self._process.spare else self._no_spare
        for _ in range(self._process.pool):
            found: Spare | str = self.why_fresh or "its sources are not pinned"
            if self._process.spare and self._pinned:
                found = await take_spare(_context(environment, setup))
            if isinstance(found, str):
                self.why_fresh = self.why_fresh or found
                blank = self._take_blank(environment)
                self._workers.append(self._make_worker(environment) if blank is None else self._adopted(blank))
            else:
                self._workers.append(self._adopted(found.worker))
                self._taken.append(found.worker)

    def _adopted(self, worker: RemoteWorker) -> RemoteWorker:
        loaded = partial(self._note_loaded, worker)
        worker.channel.adopt(threads=self._process.threads, timeout=self._process.timeout, on_loaded=loaded)
        return worker

    async def _get_ready(self, index: int, answer: PendingAnswer, setup: bytes) -> None:
        worker = self._workers[index]
        if worker not in self._taken:
            await worker.channel.wait(answer)
        else:
            why = "the spare ended, or was stopped by a signal"
            if await becomes_ready(worker, answer):
                why = _reason(answer.body) if answer.kind == frames.UNFIT else ""
            if why:
                self.why_fresh = self.why_fresh or why
                await worker.end(0)
                worker, answer = self._replace(index, setup)
                await worker.channel.wait(answer)
        loaded = self._result(worker, answer, is_import=True)
        self._loaded = [] if loaded is None else loaded
        if not (isinstance(self._loaded, list) and all(isinstance(path, str) for path in self._loaded)):
            raise worker.fail_with(f"{loaded!r:.200} is not a list of the modules that it has loaded")
        worker.ready = True

    def _replace(self, index: int, setup: bytes) -> tuple[RemoteWorker, PendingAnswer]:
        """Start a fresh worker in place of a spare, whose outcome is final."""
        assert self._environment is not None
        worker = self._workers[index] = self._make_worker(self._environment)
        answer = worker.channel.submit(frames.SETUP, setup)
        for late in self._loaded_late.values():
            _pin(worker, late)
        return worker, answer

    def _take_blank(self, environment: Environment) -> RemoteWorker | None:
        return take_blank(environment, self._process.grace)

    def _pass_fds(self) -> Sequence[int]:
        """Return descriptors that each worker inherits, besides those of its channel."""
        return ()

    def _make_worker(self, environment: Environment, *, is_spare: bool = False) -> RemoteWorker:
        return RemoteWorker(
            environment,
            is_spare=is_spare,
            pass_fds=self._pass_fds(),
            threads=self._process.threads,
            timeout=self._process.timeout,
            grace=self._process.grace,
            on_loaded=self._note_loaded,
        )

    def _find_environment(self) -> Environment:
        try:
            return find_environment(self._process)
        except ConfigError as error:
            if self._config_file is None:
                raise BridgeError(f"The worker cannot be started: {error}") from None
            error.file = self._config_file
            raise

    def _least_busy(self) -> RemoteWorker:
        """Return the least busy living worker; if none lives, the first, whose channel raises how it died."""
        living = [worker for worker in self._workers if not worker.channel.failed()]
        return min(living or self._workers, key=lambda worker: worker.channel.load())

    def _setup(self) -> dict[str, Any]:
        home = None if self._pinned is None else Path(self._pinned, "../../..")
        cache = None if home is None else cache_directory(Path(os.path.abspath(home)))
        return {
            "import_path": self._import_path,
            "pinned": self._pinned,
            "codes": None if cache is None else str(cache / "code"),
            "threads": self._process.threads,
            "grace": self._process.grace,
            "async_backend": self._process.async_backend,
            "log_levels": LEVELS.renew(),
            "modules": dict(self._modules),
        }

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
        loaded = decode_loaded(VALUES.loads, body, self._import_path)
        if loaded.path in self._loaded_late:
            return
        if len(self._loaded_late) == MAX_LOADED_LATE:
            raise frames.FrameError(f"a report of more than {MAX_LOADED_LATE} modules that were loaded late")
        assert loaded.source is not None
        self._late_bytes += len(loaded.source)
        for other in self._workers:
            if other is not worker:
                _pin(other, loaded)
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
        if _current_token(what) is not self._token:
            raise BridgeError(
                f"{what}() of a ProcessBridge was used from another event loop or thread than its init(). "
                "It belongs to one trio event loop; use trio.from_thread.run() to get back there."
            )

    def _not_ready(self) -> BridgeError:
        if os.getpid() != self._app:
            return Forked("the bridge", self._app)
        if self._state == "disposed":
            return disposed()
        return BridgeError("The bridge has no worker yet: await init() before the first call().")


def _pin(worker: RemoteWorker, late: LoadedLate) -> None:
    if late.source is not None:
        worker.channel.pin(VALUES.dumps([str(late.path), late.source]))


def _command(python: str | Path) -> Path:
    """Return an interpreter as :class:`ProcessConfig` takes it: absolute, unless it is a bare name to look up on ``PATH``."""
    text = os.fspath(python)
    return Path(os.path.abspath(text)) if os.path.dirname(text) else Path(text)


def _reason(body: bytes) -> str:
    """Decode the text in an UNFIT frame, which must not be empty."""
    try:
        return str(VALUES.loads(body)) or "the spare gave no reason"
    except (ValueError, TypeError) as error:
        return f"the spare sent invalid data: {error}"


def _context(environment: Environment, setup: Mapping[str, Any]) -> RunContext:
    """Return what a worker's run depends on. Of the modules, only the names count; what may be called in them is said later."""
    others = {name: value for name, value in setup.items() if name not in ("pinned", "modules")}
    return RunContext(environment, {**others, "modules": list(setup["modules"])}, str(Path(setup["pinned"]).parents[1]))


def _current_token(what: str) -> trio.lowlevel.TrioToken:
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:
        raise BridgeError(
            f"{what}() of a ProcessBridge was used outside of trio. It belongs to one trio event loop, on one thread."
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
