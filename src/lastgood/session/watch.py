"""``watch()``: its arguments, and the ways to run the program that it returns, in trio, asyncio and plain code."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from lastgood.bridges import Bridge
from lastgood.calls import loops
from lastgood.calls.portal import Portal
from lastgood.children.platforms import require_processes
from lastgood.config import ARGUMENTS, Config, decode_config
from lastgood.effects import Plan
from lastgood.errors import ConfigError, WatchError
from lastgood.interpreters.hooks import Beginning, Hooks
from lastgood.planner import Settings, plan_of_cycle
from lastgood.session import arguments
from lastgood.watch_events import WatchEvent

if TYPE_CHECKING:
    from lastgood.session.session import Session
    from lastgood.session.threaded import InThread, ThreadedSession

__all__ = ["WatchProgram", "watch"]


def watch(
    config_file: str | os.PathLike[str] | None = None,
    *,
    modules: Iterable[str] | Mapping[str, Any] | None = None,
    import_path: Iterable[str | os.PathLike[str]] | None = None,
    output: str | os.PathLike[str] | Mapping[str, Any] | Literal[False] | None = None,
    create_bridge: Callable[[Config], Any] | None = None,
    generate: Callable[[Config, Path], Any] | None = None,
    probe: Callable[[Any], Any] | None = None,
    extra_watch_paths: Iterable[str | os.PathLike[str]] = (),
    debounce: float | None = None,
    max_wait: float | None = None,
    warm_timeout: float | None = None,
    drain_timeout: float | None = None,
    stage_timeout: float | None = None,
    supersede_after: float | None = None,
    wait_for_first: bool = False,
    on_event: Callable[[WatchEvent], object] | None = None,
    set_as_global: bool = True,
) -> WatchProgram:
    """Keep wrappers and one live bridge in step with the sources that ``config_file`` names.

    Without ``config_file``, the program uses the nearest ``lastgood.toml``, or ``pyproject.toml`` with a ``[tool.lastgood]``
    table, in the current working directory or above it. Nothing is read or written until the program runs.

    With ``modules``, names or a mapping of names to what ``[modules.<name>]`` holds, no config is read. They are looked for in
    ``import_path`` (default: ``["."]``), their wrappers are written to the directory ``output`` (default: ``"generated"``; False:
    there are none), or as a mapping such as ``{"style": "sync"}`` says. Relative paths begin at the current working directory.

    - ``create_bridge(config)`` makes a bridge (default: a :class:`~lastgood.ProcessBridge`).
    - ``generate(config, stage_dir)``, async or plain, which runs in a thread, writes wrappers and returns a
      :class:`~lastgood.Generated` (default: the built-in generator).
    - ``probe(bridge)`` raises if the bridge is not ready. ``extra_watch_paths`` are additional files or directories to watch.
    - The following are seconds (``math.inf``: no limit); None stands for what ``[watch]`` says, else for the number in parentheses.

      - ``debounce``: the time without an edit before a cycle starts (0.1). ``max_wait``: the longest delay of a cycle while edits
        continue (2).
      - ``warm_timeout``: the time that a bridge has to get ready (60). ``drain_timeout``: that which calls on a replaced bridge
        have to end (10; when the session closes, 10 even where there is no limit).
      - ``stage_timeout``: the time for resolving the config and generating the wrappers (60).
      - ``supersede_after``: the age from which a cycle that has not swapped yet is undone for the sake of an edit that waits (twice
        the longest of the last five good cycles, at least 2).
    - ``wait_for_first``: if the first cycle fails, wait until an edit mends it, instead of raising its error.
    - ``on_event(event)``, a plain function, is called for each event (:func:`lastgood.print_events` prints them). Errors that it
      raises are logged. By default, events are logged under ``lastgood.session``.
    - ``set_as_global``: publish the live bridge, for wrappers and :func:`lastgood.runtime.get_runtime_bridge`.

    Raises :class:`TypeError` and :class:`ValueError` for invalid arguments, and :class:`ConfigError` for invalid ``modules`` and
    ``output``, and if both ``config_file`` and ``modules`` are given.
    """
    arguments.function("watch(): on_event", on_event, "event", plain="To await something, use session.events().")
    config = arguments.path("watch(): config_file", config_file)
    instead = _instead_of_config(config, modules, import_path, output)
    return WatchProgram(
        config_file=config if instead is None else Path(os.path.abspath(ARGUMENTS)),
        directory=Path.cwd() if config is None else config.parent,
        arguments=instead,
        extra_watch_paths=_absolute(arguments.paths("watch(): extra_watch_paths", extra_watch_paths)),
        given=_given(
            debounce=debounce,
            max_wait=max_wait,
            warm_timeout=warm_timeout,
            drain_timeout=drain_timeout,
            stage_timeout=stage_timeout,
            supersede_after=supersede_after,
        ),
        wait_for_first=arguments.flag("watch(): wait_for_first", wait_for_first),
        hooks=_hooks(create_bridge, generate, probe, set_as_global),
        on_event=on_event,
    )


def _import_session(create_bridge: object) -> None:
    """Import what a session is made of. Later, that would hold up the event loop that it is entered on."""
    with suppress(ModuleNotFoundError):  # entering it imports the same, and says what is missing
        import lastgood.session.session
        import lastgood.sources.memo_on_disk

        if create_bridge is None:
            import lastgood.bridges.blank
            import lastgood.bridges.process
            import lastgood.wrappers.differences  # noqa: F401 - by Python, for others


def _absolute(paths: Iterable[str]) -> tuple[Path, ...]:
    return tuple(Path(os.path.abspath(path)) for path in paths)


def _instead_of_config(config_file: Path | None, modules: object, import_path: object, output: object) -> bytes | None:
    """Return what takes the place of a config file's bytes; None if a config file is to be read."""
    arguments.no_single("watch()", modules, import_path)
    if modules is None and import_path is None and output is None:
        return None
    if config_file is not None:
        raise ConfigError("watch() takes either a config file or modules, import_path and output, found both.")
    if modules is None:
        raise ConfigError("watch() takes import_path and output together with modules, found them without.")
    tables = arguments.names("watch(): modules", modules)
    chosen = dict(output) if isinstance(output, Mapping) else {} if output is None else {"dir": output}
    paths = {} if import_path is None else {"python_import_path": arguments.paths("watch(): import_path", import_path)}
    given = {"modules": tables, "output": {"dir": "generated", **chosen}, **paths}
    return arguments.configured(given, ARGUMENTS)[0]


def _given(**seconds: float | None) -> Mapping[str, float]:
    """Return those of the arguments of :func:`watch` that are not None. Raises as :func:`arguments.seconds` does."""
    return {
        name: arguments.seconds(f"watch(): {name}", value, may_be_zero=name not in ("warm_timeout", "stage_timeout"))
        for name, value in seconds.items()
        if value is not None
    }


def _default_bridge(config: Config) -> Bridge:
    from lastgood.bridges.process import ProcessBridge

    return ProcessBridge.from_config(config)


def _hooks(
    create_bridge: Callable[[Config], Any] | None,
    generate: Callable[[Config, Path], Any] | None,
    probe: Callable[[Any], Any] | None,
    set_as_global: object,
) -> Hooks:
    arguments.function("watch(): create_bridge", create_bridge, "config")
    arguments.function("watch(): generate", generate, "config", "stage_dir")
    arguments.function("watch(): probe", probe, "bridge")
    published = arguments.flag("watch(): set_as_global", set_as_global)
    _import_session(create_bridge)
    begin = _blank_worker if create_bridge is None else None
    return Hooks(create_bridge or _default_bridge, generate, probe, published, begin)


def _blank_worker(config: Config) -> Beginning:
    from lastgood.bridges.blank import Blank

    return Blank(config.runtime.process)


@dataclass(slots=True, eq=False, repr=False)
class WatchProgram:
    """The result of :func:`watch`: run it with ``trio.run``, enter it with ``async with`` or ``with``, or print :meth:`plan`."""

    config_file: Path | None
    """None: use the nearest one, in ``directory`` or above it."""
    directory: Path
    arguments: bytes | None
    """What takes the place of the bytes of ``config_file``, which then is no file."""
    extra_watch_paths: tuple[Path, ...]
    given: Mapping[str, float]
    """The seconds that were given, by name."""
    hooks: Hooks
    on_event: Callable[[WatchEvent], object] | None
    wait_for_first: bool = False
    adapt: Callable[[Config], Config] | None = None
    """What changes the config of each cycle, for ``lastgood serve``."""
    session: Session | None = field(default=None, init=False)
    """The running session, if the program was entered by ``async with``."""
    begun: Session | None = field(default=None, init=False)
    """The last session that was begun. It is there before its first cycle, and may have ended."""
    _entered: AbstractAsyncContextManager[Session] | None = field(default=None, init=False)
    _threaded: InThread | None = field(default=None, init=False)
    _portal: Portal | None = field(default=None, init=False)
    """The portal for calls from other loops and threads, if the session accepts them."""

    def __repr__(self) -> str:
        return (
            f"<lastgood.watch() of {self.config_file or self.directory}. Run it by `trio.run(program)` or "
            "`asyncio.run(program())`; in an app, by `async with program as session:`, `with`, or `program.start()`>"
        )

    def plan(self) -> Plan:
        """Return the plan of the first cycle, which can be printed. Nothing is read or written."""
        promotes = self.arguments is None or decode_config(self.arguments, Path(ARGUMENTS)).output.dir is not None
        return plan_of_cycle(self.settings, 1, None, promotes=promotes)

    @property
    def settings(self) -> Settings:
        """The timing, as far as no config has been read."""
        return Settings(**self.given)

    # --- trio, asyncio

    async def __call__(self) -> None:
        """Watch until a cancellation, Ctrl-C, or the session's ``close()``."""
        async with self as session:
            await session.wait_closed()

    def __await__(self) -> NoReturn:
        raise TypeError("A watch() program is called, not awaited: `await watch(...)()`, or `async with watch(...)`.")

    async def __aenter__(self) -> Session:
        """Run the first cycle. If it fails, raises its error. Under asyncio the session runs in a background thread."""
        self._check_not_running()
        match loops.current():
            case None:
                raise WatchError(
                    "`async with watch(...)` needs a loop of trio or asyncio. In other code, use `with watch(...)`."
                )
            case loops.TrioLoop():
                from lastgood.session.session import running

                self._entered = running(self)
            case _:
                from lastgood.session.threaded import BesideAsyncio

                self._entered = BesideAsyncio(self)
        try:
            self.session = await self._entered.__aenter__()
        except BaseException:
            self._entered = None
            raise
        return self.session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Close the session, if it is still open."""
        entered, self._entered, self.session = self._entered, None, None
        assert entered is not None
        return await entered.__aexit__(kind, error, traceback)

    def _check_not_running(self) -> None:
        require_processes("watch()")
        if self._entered is not None or (self._threaded is not None and self._threaded.running):
            raise WatchError("This watch() program is running already; call watch() again for a second session.")

    def lifespan(
        self, wrap: Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]] | None = None
    ) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
        """Return a lifespan for an ASGI framework: ``FastAPI(lifespan=lastgood.watch().lifespan())``.

        The session runs as long as the app does, and is in the lifespan's state as ``"lastgood"``. ``wrap`` is the app's own
        lifespan: it begins when the first generation is live, and ends before the session; its state is kept.
        """

        @asynccontextmanager
        async def lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
            async with self as session:
                if wrap is None:
                    yield {"lastgood": session}
                    return
                async with wrap(app) as state:
                    yield {**(state or {}), "lastgood": session}

        return lifespan

    # --- plain code

    def start(self) -> ThreadedSession:
        """Run the first cycle in a background thread, and wait for it. If the cycle fails, raises its error.

        The session's methods block; wrappers may be called from any thread and event loop. The session ends with its
        ``close()``, or with the process. ``with`` enters the program by this method. Raises :class:`WatchError` in a trio task,
        because it would block the trio loop.
        """
        self._check_not_running()
        if isinstance(loops.current(), loops.TrioLoop):
            raise WatchError(
                "Starting a session by `with` or start() would block the trio loop that runs here. "
                "Use `async with watch(...) as session:`."
            )
        self._threaded = self.in_thread()
        return self._threaded.__enter__()

    __enter__ = start

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the session. Raises :class:`WatchError` if the watcher has failed, unless the block itself raised."""
        assert self._threaded is not None, "__enter__() comes first"
        self._threaded.__exit__(kind, error, traceback)

    def in_thread(self) -> InThread:
        """Return a context manager for one session in a thread. One program can make several of them.

        Example: ``with watch(...).in_thread() as session:``.
        """
        require_processes("watch()")
        from lastgood.session.threaded import InThread

        return InThread(replace(self))
