"""The default bridge: a worker process (contract §10)."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import trio

from lastgood.bridges.channel import Answer, Channel
from lastgood.bridges.child import Child
from lastgood.bridges.worker import frames
from lastgood.bridges.worker.values import Uncarriable, Values
from lastgood.config import Config, ModuleConfig
from lastgood.errors import BridgeError, CallTimeout, RemoteError, WorkerDied

__all__ = ["ARGUMENTS", "MAX_LOADED_LATE", "VALUES", "LoadedLate", "ProcessBridge"]

logger = logging.getLogger(__name__)

MAX_LOADED_LATE = 10_000
"""Local modules that a worker may report to have loaded late."""

_EXIT_WAIT = 1.0  # seconds from the end of a worker's answers to its exit
_KILL_WAIT = 5.0  # seconds from SIGKILL to its exit; one that needs more is stuck in the kernel


def _unpacker(lift: Callable[[int, Any], Any]) -> Callable[[Any], Any]:
    return msgspec.msgpack.Decoder(ext_hook=lift).decode


VALUES = Values(msgspec.msgpack.Encoder().encode, _unpacker, msgspec.msgpack.Ext, towards="to the worker")
"""The app's side of the codec."""

ARGUMENTS = Values(msgspec.msgpack.Encoder().encode, _unpacker, msgspec.msgpack.Ext, towards="to the worker", tags=True)
"""The same, for arguments: the worker makes them what the annotations of the called function say."""


@dataclass(frozen=True, slots=True)
class LoadedLate:
    """A local module that no import statement leads to: the worker pinned it when it was first imported (contract §9).

    ``path`` is the user's file, as the worker's Python names it, ``digest`` the one of the bytes that it runs.
    """

    name: str
    path: Path
    digest: str


class ProcessBridge:
    """Calls functions of ``modules`` in a worker process, which ``await init()`` starts.

    ``python`` is its interpreter (None: this one; 3.9 or newer, nothing needs to be installed in it), ``import_path`` the
    directories where it looks for modules first, ``modules`` the names of the modules that may be called, or a mapping from
    them to what of each. ``timeout`` is what a call may take, ``grace`` what the worker is given to exit by itself; both in
    seconds. The worker has the app's environment and working directory; what it prints goes to the app's stderr.
    ``pinned`` is the manifest of a pinned generation: local modules are then imported from the bytes that it names. Keep it,
    and those, for as long as the bridge lives. ``on_loaded_late`` may be set to hear of modules that are not in it.

    All of it happens on the trio event loop that awaited ``init()``; from elsewhere it is a :class:`BridgeError`.
    """

    thread_safe = False

    def __init__(
        self,
        python: str | Path | None = None,
        *,
        import_path: Sequence[str | Path] = (),
        modules: Sequence[str] | Mapping[str, ModuleConfig] = (),
        timeout: float = 30.0,
        grace: float = 1.0,
        pinned: str | Path | None = None,
    ) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout must be more than 0 seconds, not {timeout!r}.")
        if not grace >= 0:
            raise ValueError(f"grace must be at least 0 seconds, not {grace!r}.")
        if isinstance(modules, str) or isinstance(import_path, str):
            raise TypeError("modules and import_path are sequences; put the one text that was given into a list.")
        self._python = sys.executable if python is None else os.fspath(python)
        self._import_path = [os.path.abspath(entry) for entry in import_path]
        self._modules = modules if isinstance(modules, Mapping) else {name: ModuleConfig() for name in modules}
        self._timeout = timeout
        self._grace = grace
        self._pinned = None if pinned is None else os.path.abspath(pinned)
        self._loaded_late: dict[Path, LoadedLate] = {}
        self.on_loaded_late: Callable[[LoadedLate], object] | None = None
        self._state: Literal["new", "starting", "ready", "disposed"] = "new"
        self._token: trio.lowlevel.TrioToken | None = None
        self._child: Child | None = None
        self._channel: Channel | None = None
        self._gone = trio.Event()

    @classmethod
    def from_config(cls, config: Config) -> ProcessBridge:
        """The bridge that a config describes. Nothing is started yet."""
        return cls(
            config.runtime.process.python,
            import_path=config.python_import_path,
            modules=config.modules,
            timeout=config.runtime.process.timeout,
            pinned=config.pinned,
        )

    @property
    def pid(self) -> int | None:
        """The worker's process id; None while there is no worker."""
        return None if self._child is None or self._child.status is not None else self._child.pid

    @property
    def loaded_late(self) -> tuple[LoadedLate, ...]:
        """What the worker has told of so far. It tells together with the next answer to a call."""
        return tuple(self._loaded_late.values())

    async def init(self) -> None:
        """Start the worker, and wait until it has imported every module.

        What a module raises while it is imported comes as :class:`RemoteError`; an interpreter that cannot be started is a
        :class:`BridgeError`, one that ends before it is ready :class:`WorkerDied`. Failed or cancelled, it leaves nothing.
        """
        if self._state != "new":
            raise BridgeError("init() of a bridge can be awaited once; create another bridge.")
        self._token = _current_token("init")
        self._state = "starting"
        try:
            channel = self._start()
            answer = channel.submit(frames.SETUP, VALUES.dumps(self._setup()))
            await channel.wait(answer)
            self._result(answer)
            self._state = "ready"
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.dispose()
            raise

    async def call(self, module: str, function: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call ``function`` (dots pass through classes) of ``module`` in the worker and give what it returned.

        Raises :class:`RemoteError` if the function raised, :class:`CallTimeout`, :class:`WorkerDied`, or another
        :class:`BridgeError` if the function may not be called, or if an argument or the result cannot cross.
        """
        channel = self._channel
        if self._state != "ready" or channel is None:
            raise self._not_ready()
        self._check_loop("call")
        await trio.lowlevel.checkpoint_if_cancelled()
        answer = channel.submit(frames.CALL, _call_body(module, function, args, kwargs))
        with trio.move_on_after(self._timeout):
            await channel.wait(answer)
        if answer.kind is None:
            raise CallTimeout(f"{module}.{function}", self._timeout)
        return self._result(answer)

    async def dispose(self) -> None:
        """End the worker and all it started. Calls in flight raise :class:`BridgeError`. May be called again.

        It is asked to exit by the end of its requests, after ``grace`` by SIGTERM, after as much again by SIGKILL; one that is
        busy, at once by SIGTERM. Cancelled, it goes straight to SIGKILL. When this returns, nothing of the worker is left.
        """
        if self._child is None:
            self._state = "disposed"
            return
        self._check_loop("dispose")
        if self._state == "disposed":
            await self._gone.wait()
            return
        self._state = "disposed"
        busy = self._channel is None or self._channel.busy()
        if self._channel is not None:
            self._channel.fail(lambda: BridgeError("The bridge was disposed while the call was in flight."))
        try:
            await self._end(self._child, self._channel, busy=busy)
        finally:
            self._gone.set()

    @trio.lowlevel.enable_ki_protection
    def _start(self) -> Channel:
        child = self._child = Child(self._python)
        self._channel = Channel(
            child.requests,
            child.answers,
            child.pidfd,
            on_end=self._bury,
            on_garbage=self._break,
            on_loaded=self._note_loaded,
        )
        return self._channel

    async def _end(self, child: Child, channel: Channel | None, *, busy: bool) -> None:
        if child.pidfd >= 0:
            trio.lowlevel.notify_closing(child.pidfd)  # a caller may be waiting for its exit; now we do
        if channel is not None:
            channel.close()
        try:
            if child.status is None and (busy or not await child.exited(self._grace)):
                child.signal(signal.SIGTERM)
                await child.exited(self._grace)
        finally:
            with trio.CancelScope(shield=True):
                if child.status is None:
                    child.signal(signal.SIGKILL)
                    await child.exited(_KILL_WAIT)
                if not child.end():
                    raise BridgeError(f"The worker process {child.pid} still exists {_KILL_WAIT:g} s after SIGKILL.")

    def _setup(self) -> dict[str, Any]:
        return {
            "import_path": self._import_path,
            "pinned": self._pinned,
            "modules": {
                name: {
                    "functions": None if chosen.functions is None else list(chosen.functions),
                    "classes": None if chosen.classes is None else list(chosen.classes),
                    "exclude": list(chosen.exclude),
                    "exclude_patterns": list(chosen.exclude_patterns),
                }
                for name, chosen in self._modules.items()
            },
        }

    def _result(self, answer: Answer) -> Any:
        try:
            value = VALUES.loads(answer.body) if answer.body else None
            if answer.kind == frames.RESULT:
                return value
            if answer.kind == frames.RAISED:
                name, message, traceback = map(str, value or ())
                raise RemoteError(name, message, traceback)
            raise BridgeError(str(value))
        except (ValueError, TypeError) as error:
            failure = self._break(str(error))
            raise failure from None

    def _note_loaded(self, body: bytes) -> None:
        try:
            name, path, digest = map(str, VALUES.loads(body))
            loaded = LoadedLate(name, Path(path), digest)
        except (ValueError, TypeError) as error:
            raise frames.FrameError(str(error)) from None
        if loaded.path in self._loaded_late:
            return
        if len(self._loaded_late) == MAX_LOADED_LATE:
            raise frames.FrameError(f"a report of more than {MAX_LOADED_LATE} modules that were loaded late")
        self._loaded_late[loaded.path] = loaded
        if self.on_loaded_late is not None:
            try:
                self.on_loaded_late(loaded)
            except Exception:  # it must not harm the calls whose answers come after it
                logger.exception("on_loaded_late raised for %s", loaded.name)

    def _break(self, problem: str) -> BridgeError:
        """The worker sent what it should not: have no more to do with it."""
        failure = BridgeError(f"The worker sent what cannot be understood, and was killed: {problem}.")
        assert self._child is not None
        assert self._channel is not None
        self._child.signal(signal.SIGKILL)
        self._channel.fail(lambda: BridgeError(*failure.args))
        return failure

    async def _bury(self) -> None:
        """The worker's answers have ended: find out how it died."""
        child, channel = self._child, self._channel
        assert child is not None
        assert channel is not None
        if not await child.exited(_EXIT_WAIT):
            child.signal(signal.SIGKILL)
            await child.exited(_KILL_WAIT)
        child.end()
        status, tail, doing = child.status, child.tail(), "" if self._state == "ready" else "before it was ready"
        channel.fail(lambda: WorkerDied(status, tail, doing=doing))

    def _check_loop(self, what: str) -> None:
        if _current_token(what) is not self._token:
            raise BridgeError(
                f"{what}() of a ProcessBridge was used from another event loop or thread than its init(). "
                "It belongs to one trio event loop; use trio.from_thread.run() to get back there."
            )

    def _not_ready(self) -> BridgeError:
        if self._state == "disposed":
            return BridgeError("The bridge was disposed; no more calls can be made through it.")
        return BridgeError("The bridge has no worker yet: await init() before the first call().")


def _current_token(what: str) -> trio.lowlevel.TrioToken:
    try:
        return trio.lowlevel.current_trio_token()
    except RuntimeError:
        raise BridgeError(
            f"{what}() of a ProcessBridge was used outside of trio. It belongs to one trio event loop, on one thread."
        ) from None


def _call_body(module: str, function: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    try:
        target = f"{module}\0{function}".encode()
        return frames.TARGET_LENGTH.pack(len(target)) + target + ARGUMENTS.dumps([list(args), dict(kwargs)])
    except Uncarriable as error:
        raise BridgeError(_argument(error)) from None
    except (UnicodeEncodeError, frames.StructError):
        raise BridgeError(
            f"{module[:200]!r}, {function[:200]!r} cannot be the names of a module and a function."
        ) from None


def _argument(error: Uncarriable) -> str:
    match error.path:
        case [_, ("item", int(index)), *_]:
            return error.text(f"argument {index + 1}", skip=2)
        case [_, ("key", name), *_]:
            return error.text(f"argument {name}", skip=2)
        case _:
            return error.text("the arguments", skip=len(error.path))
