"""The default bridge: call functions in a worker process."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import trio

from lastgood.bridges.answers import check_sequences
from lastgood.bridges.blank import take_blank
from lastgood.bridges.late import EDITED_MODULES, LAST_EDIT, LoadedLate
from lastgood.bridges.logs import LEVELS
from lastgood.bridges.pending import PendingAnswer
from lastgood.bridges.remote import PACK, RemoteWorker
from lastgood.bridges.spare import RunContext, Spare, becomes_ready, newest_source, take_spare
from lastgood.bridges.start import start_worker
from lastgood.bridges.worker import frames
from lastgood.bridges.worker.manifest import Damaged
from lastgood.bridges.workers import VALUES, WorkerBridge, pin
from lastgood.children.guardian import GUARDIAN
from lastgood.children.limits import in_thread
from lastgood.children.platforms import require_processes
from lastgood.config import Config, ModuleConfig, ProcessConfig
from lastgood.errors import BridgeError, ConfigError
from lastgood.sources.environment import Environment, find_environment
from lastgood.store.user_key import cache_directory

__all__ = ["VALUES", "LoadedLate", "ProcessBridge"]

logger = logging.getLogger(__name__)


class ProcessBridge(WorkerBridge):
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

    _name = "a ProcessBridge"

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
        process = ProcessConfig(
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
        wrong = process.wrong_field()
        if wrong is not None:
            raise ValueError(f"{wrong[0]}: {wrong[1]}")
        super().__init__(process, [os.path.abspath(entry) for entry in import_path])
        self._config_file: Path | None = None
        self._modules = modules if isinstance(modules, Mapping) else {name: ModuleConfig() for name in modules}
        self._pinned = None if pinned is None else os.path.abspath(pinned)
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

    async def init(self) -> None:
        """Start the worker, and wait until it has imported every module.

        Raises :class:`RemoteError` if a module raises while it is imported, :class:`WorkerDied` if the worker ends before it
        is ready, and :class:`BridgeError` if the interpreter or environment is missing or cannot be started
        (:class:`ConfigError` for a bridge made from a config). When it fails or is cancelled, no process is left running.
        """
        await super().init()

    async def _start(self) -> None:
        setup = self._setup()
        await self._start_workers(setup)
        edited = EDITED_MODULES.get()
        body = _packed({**setup, "edited": edited} if edited else setup)
        for worker in self._workers:
            worker.levels = LEVELS.current
        answers = [worker.channel.submit(frames.SETUP, body) for worker in self._workers]
        for index, answer in enumerate(answers):
            await self._get_ready(index, answer, body)
        self.warm = "spare" if self.why_fresh is None else "fresh"

    def _companions(self) -> list[Spare]:
        spares, self._spares = self._spares, []
        return spares

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
            if self._state == "ready":  # else the bridge was disposed meanwhile, which ends its spares
                logger.warning("no spare worker could be made: %s", error)

    async def _add_spare(self, environment: Environment) -> None:
        worker = self._make_worker(environment, is_spare=True)
        spare, answer = self.start_spare(worker, environment, self._edited)
        self._spares.append(spare)
        try:
            await worker.channel.wait(answer)
        except BridgeError:
            if spare.is_waiting():
                raise
            # Else the next bridge has taken or ended it on its way, and says so in why_fresh.

    def start_spare(
        self, worker: RemoteWorker, environment: Environment, edited: tuple[Path, ...]
    ) -> tuple[Spare, PendingAnswer]:
        """Have a blank worker run this bridge's program ahead, up to what follows the imports of the ``edited`` files.

        Return it as a spare for another bridge, and its answer, which comes when it has done that.
        """
        setup = self._setup()
        spare = Spare(worker, _context(environment, setup), setup["pinned"])
        spare.wait()
        body = _packed({**setup, "focus": [str(path) for path in edited], "later": self._loaded})
        return spare, worker.channel.submit(frames.AHEAD, body)

    async def _start_workers(self, setup: Mapping[str, Any]) -> None:
        environment = self._environment = self._find_environment()
        self.why_fresh = None if self._process.spare else self._no_spare
        for _ in range(self._process.pool):
            found: Spare | str = self.why_fresh or "its sources are not pinned"
            if self._process.spare and self._pinned:
                found = await take_spare(_context(environment, setup), self._pinned)
            if isinstance(found, str):
                self.why_fresh = self.why_fresh or found
                blank = self._take_blank(environment)
                self._workers.append(self._make_worker(environment) if blank is None else self._adopted(blank))
            else:
                self._workers.append(self._adopted(found.worker))
                self._taken.append(found.worker)

    def _adopted(self, worker: RemoteWorker) -> RemoteWorker:
        GUARDIAN.begin()  # it may start processes from now on
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
            pin(worker, late)
        return worker, answer

    def _take_blank(self, environment: Environment) -> RemoteWorker | None:
        return take_blank(environment, self._process.grace)

    def _pass_fds(self) -> Sequence[int]:
        """Return descriptors that each worker inherits, besides those of its channel."""
        return ()

    def _make_worker(self, environment: Environment, *, is_spare: bool = False) -> RemoteWorker:
        return RemoteWorker(
            partial(start_worker, environment, held=is_spare, pass_fds=self._pass_fds()),
            is_spare=is_spare,
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


def _packed(setup: Mapping[str, Any]) -> bytes:
    try:
        return PACK(setup)  # plain data, and of thousands of modules
    except UnicodeEncodeError:  # a path that is not UTF-8
        return VALUES.dumps(setup)


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
