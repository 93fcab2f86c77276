"""The bridge without a worker: call the sources in this very process.

Arguments and results are encoded and decoded as on the way to a worker and back, by the worker's own code. So a call gives the
same values, the same errors and the same refusals as through a :class:`~lastgood.ProcessBridge`, and nothing that one side
changes later is shared with the other. It needs neither trio nor another process, and writes no file.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.machinery import PathFinder
from pathlib import Path
from types import CoroutineType, ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Literal

from lastgood.bridges.answers import check_sequences, disposed, error_of, started_before, unreadable, unsendable
from lastgood.bridges.raised import leave
from lastgood.bridges.worker import frames
from lastgood.bridges.worker.calling import Callables, Refused
from lastgood.bridges.worker.manifest import Damaged
from lastgood.bridges.worker.performing import VALUES, encode_result, import_modules, pack_raised, run_call
from lastgood.bridges.worker.values.codec import CODEC, Codec
from lastgood.bridges.worker.values.known import Known
from lastgood.bridges.worker.values.values import DecodeError, EncodeError
from lastgood.calls import loops
from lastgood.calls.classes import Declared
from lastgood.errors import BridgeError, RemoteError

if TYPE_CHECKING:
    from lastgood.bridges.worker.fresh import FreshModules
    from lastgood.config import Config, ModuleConfig

__all__ = ["InProcessBridge"]

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_MRO = vars(type)["__mro__"]
_CONTEXT, _MEMBERS = vars(BaseException)["__context__"], vars(BaseExceptionGroup)["exceptions"]
_SELECTION = ("functions", "classes", "exclude", "exclude_patterns")


_ELSEWHERE = (
    "call it where the browser or Node.js has JSPI, in code that JavaScript awaits (runPythonAsync, callPromising)"
    if sys.platform == "emscripten"
    else "call it in another thread"
)


class InProcessBridge:
    """Calls functions of ``modules`` in this process.

    ``import_path`` lists directories that are put first on ``sys.path`` while the bridge lives. ``modules`` are the names of the
    modules that may be called, or a mapping from these to a :class:`~lastgood.config.ModuleConfig`; :meth:`start`, or
    ``await init()``, imports them. With ``fresh``, the bridge has modules of its own, see :mod:`lastgood.bridges.worker.fresh`:
    another bridge that is made after an edit runs the edited sources, and this one goes on with what it has imported.

    Plain functions run in the calling thread, ``async def`` functions in the calling task. :meth:`call_blocking` runs the latter
    by ``asyncio.run``, or by ``trio.run`` if the config says ``async_backend = "trio"``; in Pyodide, whose loop always runs, by
    switching stacks (``pyodide.ffi.run_sync``). A call sees the caller's own context
    (``contextvars``). A bridge may be used from every thread and event loop, and in forked processes.

    Ctrl-C and a cancellation of the caller leave a call as they are. Everything else that a function raises comes as
    :class:`~lastgood.RemoteError`, whose ``__traceback__`` leads to the frame that raised. No call times out.
    """

    thread_safe = True

    def __init__(
        self,
        *,
        import_path: Sequence[str | Path] = (),
        modules: Sequence[str] | Mapping[str, ModuleConfig] = (),
        fresh: bool = False,
    ) -> None:
        check_sequences(modules, import_path)
        self._import_path = [os.path.abspath(entry) for entry in import_path]
        self._names = tuple(modules)
        self._selections: dict[str, dict[str, Any]] = {}
        if isinstance(modules, Mapping):
            self._selections = {
                name: {field: getattr(chosen, field) for field in _SELECTION} for name, chosen in modules.items()
            }
        self._fresh: FreshModules | None = None
        if fresh:
            from lastgood.bridges.worker.fresh import FreshModules

            self._fresh = FreshModules(self._import_path)
        self._backend = "asyncio"
        self._codec = Codec("to the worker")
        self._modules: dict[str, ModuleType] = {}
        self._callables: Callables | None = None
        self._state: Literal["new", "ready", "disposed"] = "new"
        self._entered: list[str] = []

    @classmethod
    def from_config(cls, config: Config) -> InProcessBridge:
        """Create the bridge that a config describes, without importing anything. Settings of processes have no effect.

        In a session, as ``watch(create_bridge=InProcessBridge.from_config)``, the bridge has fresh modules, of the bytes that are
        pinned for its generation.
        """
        made = cls(import_path=config.python_import_path, modules=config.modules)
        made._backend = config.runtime.process.async_backend
        if config.pinned is not None:
            from lastgood.bridges.worker.fresh import FreshModules

            try:
                made._fresh = FreshModules(made._import_path, config.pinned)
            except Damaged as damaged:
                raise BridgeError(f"The pinned generation cannot be run. {damaged}") from None
        return made

    async def init(self) -> None:
        """Import every module. Raises as :meth:`start` does."""
        self.start()

    def start(self) -> None:
        """Import every module.

        Raises :class:`~lastgood.RemoteError` if a module raises while it is imported, and :class:`~lastgood.BridgeError` if one
        of that name was imported from elsewhere before.
        """
        if self._state != "new":
            raise started_before()
        fresh = self._fresh
        self._entered = [] if fresh is not None else _PATH.enter(self._import_path)
        try:
            with _NOTHING if fresh is None else fresh.importing(self._names), _SourceErrors(fresh, is_import=True):
                self._modules = import_modules(self._names)
            for name in () if fresh is not None else self._names:
                self._check_origin(name)
        except BaseException as error:
            self.stop()
            self._explain_missing(error)
            raise
        for codec in (CODEC, self._codec):
            codec.check_loaded()
        self._callables = Callables(self._modules, self._selections)
        self._state = "ready"

    async def call(
        self,
        module: str,
        function: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        known: Known | None = None,
    ) -> Any:
        """Call ``function`` (a dotted path for methods of classes) of ``module`` and return its result.

        Enum members, dataclass instances and named tuples in it are plain data; with ``known``, they are of the classes that the
        app knows. Raises :class:`~lastgood.RemoteError` if the function raised, and another :class:`~lastgood.BridgeError` if it
        may not be called, or if an argument or the result could not be transferred to a worker and back.
        """
        callables, body = self._begin(module, function, args, kwargs, known)
        trio = sys.modules.get("trio")
        if trio is not None and trio.lowlevel.in_trio_run():
            await trio.lowlevel.checkpoint()  # as every async call under trio; a plain function has none
        try:
            with self._in_view(), _SourceErrors(self._fresh, known=known):
                result, requested = run_call(callables, body)
            if type(result) is CoroutineType:
                result = await self._awaited(result, known)
            return self._finish(result, requested, known)
        except RemoteError as error:
            leave(error)
            raise

    call_exact = call

    def call_blocking(
        self,
        module: str,
        function: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        known: Known | None = None,
    ) -> Any:
        """Call as :meth:`call` does, from plain code.

        Raises :class:`~lastgood.BridgeError` for an ``async def`` function if an event loop runs in this thread.
        """
        callables, body = self._begin(module, function, args, kwargs, known)
        try:
            with self._in_view(), _SourceErrors(self._fresh, known=known):
                result, requested = run_call(callables, body)
            if type(result) is CoroutineType:
                result = self._run(result, f"{module}.{function}", known)
            return self._finish(result, requested, known)
        except RemoteError as error:
            leave(error)
            raise

    def stream(
        self,
        module: str,
        function: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        known: Known | None = None,
    ) -> AsyncGenerator[Any]:
        """Return an async iterator over the items of ``function``, each of which is made when it is asked for.

        Items are as the results of :meth:`call` are.
        """
        from lastgood.bridges.in_process_streams import stream

        return stream(self, (module, function, args, {} if kwargs is None else kwargs, known))

    stream_exact = stream

    def stream_blocking(
        self,
        module: str,
        function: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        known: Known | None = None,
    ) -> Generator[Any]:
        """Return an iterator as :meth:`stream` does, for plain code.

        Raises :class:`~lastgood.BridgeError` for an async generator if an event loop runs in this thread.
        """
        from lastgood.bridges.in_process_streams import stream_blocking

        return stream_blocking(self, (module, function, args, {} if kwargs is None else kwargs, known))

    async def interface(self, functions: Sequence[tuple[str, str]], modules: Sequence[str]) -> Any:
        """Return what ``functions`` and ``modules`` are, as :meth:`.ProcessBridge.interface` does."""
        from lastgood.bridges.worker.interface import interface

        if self._callables is None:
            raise self._not_ready()
        with self._in_view():
            return interface(self._callables, functions, modules)

    def find(self, module: str, function: str) -> Callable[..., Any]:
        """Return the function that a call would run. Raises :class:`.worker.calling.Refused` if it may not be called."""
        if self._callables is None:
            raise self._not_ready()
        return self._callables.find(f"{module}\0{function}".encode())

    def module(self, name: str) -> ModuleType:
        """Return the module of this name, as the bridge has imported it."""
        return self._modules[name]

    async def dispose(self) -> None:
        """Let the modules go. Further calls raise :class:`~lastgood.BridgeError`; those in flight end by themselves."""
        self.stop()

    def stop(self) -> None:
        """Do as :meth:`dispose` does, from plain code."""
        self._state = "disposed"
        self._callables = None
        self._modules = {}
        entered, self._entered = self._entered, []
        _PATH.leave(entered)
        if self._fresh is not None:
            self._fresh.hide_lines()

    def _begin(
        self,
        module: str,
        function: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        known: Known | None,
    ) -> tuple[Callables, bytes]:
        """Return what may be called, and the body of the frame that a worker would get."""
        callables = self._callables
        if callables is None:
            raise self._not_ready()
        call: list[Any] = [list(args), dict(kwargs), *([True] if known is not None else [])]
        try:
            target = f"{module}\0{function}".encode()
            packed = self._codec.dumps(call, known or Declared(), lenient=known is None)
            return callables, frames.TARGET_LENGTH.pack(len(target)) + target + packed
        except (EncodeError, UnicodeEncodeError, frames.StructError) as error:
            raise _as_a_worker(unsendable(error, module, function)) from None

    def _finish(self, result: Any, requested: Sequence[Any], known: Known | None) -> Any:
        with self._in_view(), _SourceErrors(self._fresh, known=known):
            body = encode_result(result, requested)
        try:
            return self._codec.loads(body, 0, known)
        except DecodeError as error:
            raise _as_a_worker(unreadable(error)) from None

    def _run(self, coroutine: CoroutineType[Any, Any, Any], called: str, known: Known | None) -> Any:
        loop = loops.current()
        if loop is not None:
            if sys.platform == "emscripten" and (wait := _stack_switching()) is not None:
                return wait(self._awaited(coroutine, known))
            coroutine.close()
            raise BridgeError(
                f"{called} is an async def function, and the call of it blocks {loop}, where it would have to run. "
                f'Await it (wrappers of [output] style = "async"), or {_ELSEWHERE}.'
            )
        if self._backend == "trio":
            import trio

            return trio.run(self._awaited, coroutine, known)
        import asyncio

        return asyncio.run(self._awaited(coroutine, known))

    async def _awaited(self, coroutine: CoroutineType[Any, Any, Any], known: Known | None) -> Any:
        try:
            with _SourceErrors(self._fresh, GeneratorExit, known=known):
                return await (coroutine if self._fresh is None else self._fresh.steps(coroutine))
        except RemoteError as error:
            here = "trio" if isinstance(loops.current(), loops.TrioLoop) else "asyncio"
            if here != self._backend and error.type_name in ("RuntimeError", "TypeError"):
                error.add_note(
                    f"An async source runs on the event loop of its caller here, which is {here}'s, but async_backend under "
                    f"[runtime.process] says that it is written for {self._backend}. It can be called from another thread, by a "
                    'wrapper of style "sync" or handle.call_blocking().'
                )
            raise

    def _in_view(self) -> AbstractContextManager[object]:
        return _NOTHING if self._fresh is None else self._fresh.view()

    def _explain_missing(self, error: BaseException) -> None:
        """Add a note to an error that says that one of the modules themselves does not exist."""
        if not isinstance(error, RemoteError) or error.type_name != "ModuleNotFoundError":
            return
        for name in self._names:
            parts = name.split(".")
            around = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
            if error.message in [f"No module named {each!r}" for each in around]:
                places = ", ".join([*self._import_path, "sys.path"])
                error.add_note(
                    f'"{name}" is one of the modules that may be called, and was looked for in {places}. Correct its name, or name '
                    "the directory that it is in: direct(modules=[...], import_path=[...]), or python_import_path in the config."
                )

    def _check_origin(self, name: str) -> None:
        """Raise an error if module ``name`` was imported earlier, from elsewhere than ``import_path`` leads to."""
        top = name.partition(".")[0]
        found = PathFinder.find_spec(top, self._import_path)
        loaded = getattr(sys.modules.get(top), "__file__", None)
        if found is None or found.origin is None or loaded is None:
            return
        if os.path.realpath(found.origin) != os.path.realpath(loaded):
            raise BridgeError(
                f'Module "{top}" has been imported from {loaded} in this process, but import_path leads to {found.origin}. '
                "Rename one of them, or put the latter first on sys.path before anything imports the former."
            )

    def _not_ready(self) -> BridgeError:
        if self._state == "disposed":
            return disposed()
        return BridgeError("The bridge has imported nothing yet: await init(), or call start(), before the first call.")


_NOTHING = nullcontext()


def _as_a_worker(error: BridgeError) -> BridgeError:
    error.add_note(
        "No worker is involved: calls in this process refuse what a worker would refuse, so that they do the same with one."
    )
    return error


def _stack_switching() -> Callable[[Any], Any] | None:
    """Return what waits for a coroutine in the midst of plain code, in Pyodide; None where its host, or its caller, cannot."""
    ffi = importlib.import_module("pyodide.ffi")
    return ffi.run_sync if ffi.can_run_sync() else None


class _SourceErrors:
    """Raises what a source raises as a :class:`~lastgood.ProcessBridge` does.

    What is meant for the caller stays as it is, and so do exceptions of the classes that are ``exempt``.
    """

    __slots__ = ("_exempt", "_fresh", "_handled", "_is_import", "_known")

    def __init__(
        self,
        fresh: FreshModules | None,
        *exempt: type[BaseException],
        known: Known | None = None,
        is_import: bool = False,
    ) -> None:
        self._fresh = fresh
        self._known = known
        self._is_import = is_import
        self._exempt = exempt

    def __enter__(self) -> None:
        self._handled = sys.exception()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or any(_is_of(error, each) for each in self._exempt) or _is_for_the_caller(error):
            return
        if type(error) is Refused:
            raise _as_a_worker(BridgeError(str(error))) from None
        if self._handled is not None:
            _drop_context(error, self._handled)
        if self._fresh is not None:
            self._fresh.show_lines()
        trace = _without_own_frames(trace)
        answer, body = pack_raised(BaseException.with_traceback(error, trace))  # the class may have another
        remote = error_of(answer, VALUES.loads(body), known=self._known, trace=trace, is_import=self._is_import)
        assert remote is not None
        context = remote.__context__ or self._handled
        try:
            raise remote.with_traceback(trace)
        finally:  # not the exception itself, which the error stands for
            remote.__context__ = context


def _drop_context(error: BaseException, handled: BaseException) -> None:
    """Remove ``handled``, which the app was handling at the call, from the context of ``error``: a worker knows nothing of it."""
    seen = set()
    while (context := _CONTEXT.__get__(error)) is not None and id(error) not in seen:
        if context is handled:
            _CONTEXT.__set__(error, None)
            return
        seen.add(id(error))
        error = context


def _is_for_the_caller(error: BaseException) -> bool:
    """Return whether this is Ctrl-C, the end of the calling task, or the end of a debugger, rather than a source's own error."""
    if _is_of(error, KeyboardInterrupt):
        return True
    if _is_of(error, BaseExceptionGroup):
        return any(map(_is_for_the_caller, _MEMBERS.__get__(error)))
    asyncio, trio, bdb = map(sys.modules.get, ("asyncio", "trio", "bdb"))
    if asyncio is not None and _is_of(error, asyncio.CancelledError):
        try:
            task = asyncio.current_task()
        except RuntimeError:
            return False
        return task is not None and task.cancelling() > 0
    return (trio is not None and _is_of(error, trio.Cancelled)) or (bdb is not None and _is_of(error, bdb.BdbQuit))


def _is_of(error: BaseException, kind: type[BaseException]) -> bool:
    """Do as ``isinstance`` does, without running code of the error's class or metaclass."""
    return any(each is kind for each in _MRO.__get__(type(error)))


def _without_own_frames(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_HERE):
        trace = trace.tb_next
    return trace


class _ImportPath:
    """The directories on ``sys.path`` that bridges of this process have put there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: Counter[str] = Counter()

    def enter(self, directories: Sequence[str]) -> list[str]:
        """Put ``directories`` first, except those that somebody else has put on ``sys.path``. Return those to leave."""
        with self._lock:
            entered = [each for each in directories if self._users[each] or each not in sys.path]
            sys.path[:0] = [each for each in dict.fromkeys(entered) if not self._users[each]]
            self._users.update(entered)
            return entered

    def leave(self, directories: Sequence[str]) -> None:
        """Remove ``directories`` unless another bridge needs them."""
        with self._lock:
            self._users.subtract(directories)
            for each in dict.fromkeys(directories):
                if not self._users[each] and each in sys.path:
                    sys.path.remove(each)


_PATH = _ImportPath()
