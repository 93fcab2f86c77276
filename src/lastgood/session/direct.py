"""``direct()``: wrappers call the sources in this very process, without worker, watcher or writing.

A program ships with it, and tests, coverage, profilers and debuggers run under it. It imports no event loop of its own: plain code
loads neither trio nor asyncio. See docs/how-to/direct.md.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from lastgood.bridges.in_process import InProcessBridge
from lastgood.calls.import_hints import expect_imports
from lastgood.calls.registry import Handle, Slot, publish, unpublish
from lastgood.errors import BridgeError, ConfigError
from lastgood.session import arguments

if TYPE_CHECKING:
    from typing import Self

    from lastgood.config import Config, ModuleConfig

__all__ = ["DirectSession", "direct"]


def direct(
    config_file: str | os.PathLike[str] | None = None,
    *,
    modules: Iterable[str] | Mapping[str, Any] | None = None,
    import_path: Iterable[str | os.PathLike[str]] | None = None,
) -> DirectSession:
    """Have wrappers call the sources in this process, by the same conversions as on the way to a worker and back.

    Use the result as a context manager, ``with`` or ``async with``, under trio, asyncio and in plain code. Without
    ``config_file``, the nearest ``lastgood.toml``, or ``pyproject.toml`` with a ``[tool.lastgood]`` table, is used, in the current
    working directory or above it. With ``modules``, names or a mapping of names to what ``[modules.<name>]`` holds, no config is
    read: these modules can be called, and are looked for in
    ``import_path`` first, a list of directories relative to the current working directory (default: that one).

    Plain sources run in the calling thread, async ones on its event loop; where no loop runs, a ``"sync"`` wrapper runs them by
    ``asyncio.run``. ``timeout``, ``threads``, ``pool`` and everything else that concerns a worker has no effect.

    Raises :class:`~lastgood.ConfigError` if both ``config_file`` and ``modules`` or ``import_path`` are given.
    """
    arguments.no_single("direct()", modules, import_path)
    config = arguments.path("direct(): config_file", config_file)
    if config is not None and not (modules is None and import_path is None):
        raise ConfigError("direct() takes either a config file or modules with their import_path, found both.")
    if modules is None and import_path is not None:
        raise ConfigError("direct() takes an import_path together with modules, found it alone.")
    directory = Path.cwd() if config is None else config.parent
    if modules is not None:
        chosen = _chosen(arguments.names("direct(): modules", modules))
        entries = [""] if import_path is None else arguments.paths("direct(): import_path", import_path)
        bridge = partial(InProcessBridge, import_path=[directory / entry for entry in entries], modules=chosen)
        return DirectSession(f"direct() of {', '.join(chosen) or 'no module'}", lambda: (bridge(), None))
    return DirectSession(f"direct() of {config or directory}", lambda: _configured(config, directory))


def _chosen(modules: Mapping[str, Any]) -> Sequence[str] | Mapping[str, ModuleConfig]:
    """Return the modules, with what is chosen of each, if anything. Raises :class:`~lastgood.ConfigError`."""
    tables = {name: chosen for name, chosen in modules.items() if chosen is None or isinstance(chosen, Mapping)}
    if not any(chosen != {} for chosen in modules.values()):
        return tuple(modules)
    return {**modules, **arguments.configured({"modules": tables, "output": {"dir": False}}, "direct()")[1].modules}


def _configured(file: Path | None, directory: Path) -> tuple[InProcessBridge, Config]:
    """Create the bridge of a config. Raises :class:`~lastgood.ConfigError` also if a wrapper is missing."""
    from lastgood.config import find_config, load_config

    config = load_config(find_config(directory) if file is None else file)
    refuse_missing_wrappers(config)
    return InProcessBridge.from_config(config), config


def refuse_missing_wrappers(config: Config) -> None:
    """Raise :class:`~lastgood.ConfigError` if a module of the config has no wrapper."""
    from lastgood.session.older_wrappers import missing_wrappers

    missing = missing_wrappers(config)
    if missing:
        module, path = missing[0]
        many = f" ({len(missing)} of {len(config.modules)} wrappers are missing)" if missing[1:] else ""
        raise ConfigError(
            f"the wrapper {path} does not exist{many}.",
            file=config.path,
            field=f"modules.{module}",
            hint='Write them by "lastgood generate", or name the sources by direct(modules=[...]) to do without.',
        )


class DirectSession:
    """Calls of wrappers without a worker, as :func:`direct` returns it: enter it by ``with`` or ``async with``.

    Where no block fits, :meth:`start` and :meth:`close` do the same. It can be entered once, and is used from any thread, event
    loop and forked process.
    """

    def __init__(self, owner: str, make_bridge: Callable[[], tuple[InProcessBridge, Config | None]]) -> None:
        self._make_bridge = make_bridge
        self._bridge: InProcessBridge | None = None
        self._slot = Slot(owner, bound=False)
        self._state: Literal["new", "open", "closed"] = "new"

    def __repr__(self) -> str:
        return f"<lastgood.{self._slot.owner}, {self._state}>"

    @property
    def handle(self) -> Handle:
        """A handle for calls without wrappers: ``await handle.call(...)``, in plain code ``handle.call_blocking(...)``."""
        return self._slot.handle

    def start(self) -> Self:
        """Import the sources and publish the bridge. ``with`` and ``async with`` do this at their beginning.

        Warns (:class:`UserWarning`) of each wrapper that is older than its source. Raises :class:`~lastgood.ConfigError` if the
        config is missing or invalid, or if it has a module without a wrapper; :class:`~lastgood.RemoteError` if a source raises
        while it is imported; and :class:`~lastgood.BridgeError` if another bridge is published.
        """
        return self._start(stacklevel=3)

    def _start(self, stacklevel: int) -> Self:
        if self._state != "new":
            raise BridgeError(f"{self._slot.owner} was entered before; call direct() again for another session.")
        publish(self._slot, "or call the latter's sources by an InProcessBridge, which is not published")
        try:
            self._bridge, config = self._make_bridge()
            self._bridge.start()
            if config is not None:
                from lastgood.session.older_wrappers import older_wrappers

                for text in older_wrappers(config, self._bridge):
                    warnings.warn(text, stacklevel=stacklevel)
        except BaseException:
            unpublish(self._slot)
            if self._bridge is not None:
                self._bridge.stop()
            raise
        expect_imports(self, () if config is None else (os.path.realpath(config.place),))
        self._slot.swap(self._bridge, checks="error" if config is None else config.output.check_results)
        self._state = "open"
        return self

    def close(self) -> None:
        """Unpublish the bridge. Later calls raise; calls in flight end by themselves. It may be called repeatedly."""
        if self._state == "open":
            self._state = "closed"
            expect_imports(self, ())
            unpublish(self._slot)
            self._slot.close()
            assert self._bridge is not None
            self._bridge.stop()

    __enter__ = start

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self._start(stacklevel=3)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
